"""What later stages read of a capture: units, and their records as the package's own types."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from localexplain.errors import RunError
from localexplain.pipeline.config import RunConfig
from localexplain.pipeline.run import Run
from localexplain.store.rows import matrix
from localexplain.subject.select import choose_units
from localexplain.types import Record, Unit, parse_unit

KnownKeys = Callable[[Run, str, Sequence[int]], set[str]]  # (run, stage, unit ids) -> keys that are not made again
CAPTURE_STATE_FILE = "capture-state.pt"  # below the run folder while the capture is not finished


@dataclass(frozen=True, slots=True, kw_only=True)
class CapturedUnit:
    """A unit of the run. `too_few` says why it is not explained, or is None."""

    unit_id: int
    unit: Unit
    too_few: str | None


def as_unit(text: str) -> Unit:
    """A unit as the store writes it."""
    unit = parse_unit(text)
    assert unit is not None, text
    return unit


def find_capture(run: Run) -> dict[str, Any] | None:
    """The run's row of `captures`, or None."""
    rows: list[dict[str, Any]] = run.store.sql("SELECT * FROM captures").to_pylist()
    return rows[0] if rows else None


def require_capture(run: Run) -> dict[str, Any]:
    """The run's row of `captures`. Raises RunError when there is none, or it is not finished."""
    found = find_capture(run)
    # units are stored after the pass, while its state still lies there
    has_units = run.store.sql("SELECT count(*) > 0 FROM units").column(0)[0].as_py()
    if found is None or not has_units or (run.folder / CAPTURE_STATE_FILE).exists():
        raise RunError(f"{run.folder}: its capture is not finished; run `localexplain capture {run.folder}` first")
    return found


def captured_units(run: Run, choice: str, config: RunConfig) -> list[CapturedUnit]:
    """The units that `choice` names among those captured, in the order of their ids.

    Raises UserError: malformed, out of range, not captured.
    """
    found = require_capture(run)
    rows = run.store.query("units").to_pylist()
    by_unit = {as_unit(row["unit"]): row for row in rows}
    chosen = choose_units(choice, list(by_unit), dict(enumerate(found["layer_sizes"])), config.seed)
    top_k = config.capture.top_k
    return sorted(
        (
            CapturedUnit(
                unit_id=by_unit[unit]["unit_id"],
                unit=unit,
                too_few=None
                if by_unit[unit]["status"] == "ok"
                else f"active in {by_unit[unit]['n_active_excerpts']} excerpts, fewer than {top_k}",
            )
            for unit in chosen
        ),
        key=lambda item: item.unit_id,
    )


def read_records(run: Run, unit_ids: Sequence[int], splits: Sequence[str]) -> dict[int, list[Record]]:
    """unit id -> its records of these splits ("none" for strata), by kind, stratum and rank; every unit has a list."""
    records: dict[int, list[Record]] = {unit_id: [] for unit_id in unit_ids}
    if not unit_ids:
        return records
    rows = run.store.query(
        "records_of_units", unit_ids=list(unit_ids), low=min(unit_ids), high=max(unit_ids), splits=list(splits)
    )
    if not rows.num_rows:
        return records
    activations = matrix(rows.column("activations"), "float32")
    units = {text: as_unit(text) for text in set(rows.column("unit").to_pylist())}
    plain = rows.drop_columns(["activations"]).to_pylist()
    for row, values in zip(plain, activations, strict=True):
        records[row["unit_id"]].append(
            Record(
                unit=units[row["unit"]],
                excerpt_id=row["excerpt_id"],
                kind=row["kind"],
                rank=row["rank"],
                stratum=row["stratum"],
                split=row["split"],
                tokens=tuple(row["tokens"]),
                token_ids=tuple(row["token_ids"]),
                activations=np.asarray(values),
            )
        )
    return records


def made_keys(run: Run, stage: str, unit_ids: Sequence[int]) -> set[str]:
    """Keys of the stage's rows that these units have."""
    if not unit_ids:
        return set()
    bounds = {"unit_ids": list(unit_ids), "low": min(unit_ids), "high": max(unit_ids)}
    return set(run.store.query("made_keys", stage=stage, **bounds).column("key").to_pylist())


def failure_reasons(run: Run, stage: str, unit_ids: Sequence[int]) -> dict[str, str]:
    """Key -> reason of the stage's items of these units that failed."""
    if not unit_ids:
        return {}
    bounds = {"unit_ids": list(unit_ids), "low": min(unit_ids), "high": max(unit_ids)}
    rows = run.store.query("failures_of_units", stage=stage, **bounds).to_pylist()
    return {row["failure_key"]: row["reason"] for row in rows}


def tried_keys(run: Run, stage: str, unit_ids: Sequence[int]) -> set[str]:
    """Keys of the stage's items that these units already have, failed ones among them."""
    return made_keys(run, stage, unit_ids) | failure_reasons(run, stage, unit_ids).keys()


def forget_failures(run: Run, keys: Sequence[str]) -> None:
    """Removes these items' failures, before they are stored anew."""
    run.store.execute("delete_failures", failure_keys=list(keys))
