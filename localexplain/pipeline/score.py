"""Stage 4: records and simulations -> scores. No model runs; what cannot be scored is a row with its reason."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Float32

from localexplain.keys import key_of
from localexplain.pipeline.config import RunConfig
from localexplain.pipeline.explain import wanted_items
from localexplain.pipeline.models import ExplainerPlan, SimulatorPlan
from localexplain.pipeline.reading import CapturedUnit, failure_reasons, read_records
from localexplain.pipeline.run import Run, chunks, model_key, store_model, timed_stage
from localexplain.pipeline.simulate import LINEAR, LOOKUP, Item, Plan
from localexplain.score.unit import CALIBRATED_METRICS, RAW_METRICS, SELECTIONS, ScoredExcerpt, UnitScore, score_unit
from localexplain.store.rows import matrix
from localexplain.types import Identity, Record, Score, Source

UNITS_PER_CHUNK = 256
NOT_SIMULATED = "not simulated yet"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """What the store has for a chunk of units."""

    expected: dict[str, Float32[np.ndarray, " T"]]
    failures: dict[str, str]
    not_explained: dict[int, str]
    records: dict[tuple[int, int], Record]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The simulations that one set of scores is over."""

    unit: CapturedUnit
    source: Source
    explanation_key: str | None
    simulator: Identity
    items: tuple[Item, ...]
    reason: str | None = None


def read_found(
    run: Run,
    units: Sequence[CapturedUnit],
    explainer: ExplainerPlan,
    simulator_keys: Sequence[str],
    config: RunConfig,
) -> Found:
    ids = [unit.unit_id for unit in units]
    bounds = {"unit_ids": ids, "low": min(ids), "high": max(ids)}
    rows = run.store.query("simulations_of_units", simulator_keys=list(simulator_keys), **bounds)
    keys = rows.column("simulation_key").to_pylist()
    values = matrix(rows.column("expected"), "float32") if keys else np.zeros((0, 0), dtype=np.float32)
    unexplained = failure_reasons(run, "explain", ids)
    wanted = wanted_items(run, units, explainer, config)
    records = read_records(run, ids, ["valid", "calibration"])
    return Found(
        expected=dict(zip(keys, values, strict=True)),
        failures=failure_reasons(run, "simulate", ids),
        not_explained={item.unit.unit_id: unexplained[item.key] for item in wanted if item.key in unexplained},
        records={(unit_id, record.excerpt_id): record for unit_id, some in records.items() for record in some},
    )


def group_items(plan: Plan, units: Sequence[CapturedUnit], found: Found) -> list[Group]:
    """The sets of simulations to score: for each unit its sources, those it lacks with the reason."""
    simulators: dict[Source, Identity] = {
        "explanation": plan.simulator.identity,
        "shuffled": plan.simulator.identity,
        "empty": plan.simulator.identity,
        "lookup": LOOKUP,
        "linear": LINEAR,
    }
    sources: list[Source] = ["explanation", *plan.config.simulate.controls]
    together: dict[tuple[int, Source, str | None], list[Item]] = {}
    for item in plan.wanted(units):
        about = item.explanation.key if item.explanation else None
        together.setdefault((item.unit_id, item.source, about), []).append(item)
    groups: list[Group] = []
    for unit in units:
        for source in sources:
            own = {key: items for key, items in together.items() if key[:2] == (unit.unit_id, source)}
            reason = unit.too_few or f"no explanation: {found.not_explained.get(unit.unit_id, 'not explained yet')}"
            if source == "shuffled" and plan.explanations.get(unit.unit_id):
                reason = NOT_SIMULATED if len(plan.explanations) > 1 else "no other explanation to put in its place"
            if not own:
                own = {(unit.unit_id, source, None): []}
            groups += [
                Group(
                    unit=unit,
                    source=source,
                    explanation_key=about,
                    simulator=simulators[source],
                    items=tuple(items),
                    reason=None if items else reason,
                )
                for (_, _, about), items in own.items()
            ]
    return groups


def scored_excerpt(item: Item, found: Found) -> ScoredExcerpt:
    record = found.records[item.unit_id, item.excerpt_id]
    expected = found.expected.get(item.key)
    return ScoredExcerpt(
        kind="top" if record.kind == "top" else "random",
        true=record.activations,
        predicted=expected,
        error=None if expected is not None else found.failures.get(item.key, NOT_SIMULATED),
    )


def score_group(group: Group, found: Found) -> tuple[UnitScore, ...]:
    """Every metric over every selection; with the group's reason where there is nothing to score."""
    if group.reason is not None:
        empty = [
            Score(metric=metric, value=None, reason=group.reason, n_tokens=0, n_excerpts=0)
            for metric in (*RAW_METRICS, *CALIBRATED_METRICS)
        ]
        return tuple(UnitScore(selection=selection, score=score) for selection in SELECTIONS for score in empty)
    split = {item.key: found.records[item.unit_id, item.excerpt_id].split for item in group.items}
    return score_unit(
        [scored_excerpt(item, found) for item in group.items if split[item.key] == "valid"],
        [scored_excerpt(item, found) for item in group.items if split[item.key] == "calibration"],
    )


def score_rows(group: Group, scores: Sequence[UnitScore], found: Found, plan: Plan) -> list[dict[str, object]]:
    """Rows of `scores`; the key holds which simulations there were, so that a completed set is scored anew."""
    present = sorted(item.key for item in group.items if item.key in found.expected)
    simulator_key = model_key(group.simulator)
    explainer_key = plan.explainer_key if group.source in ("explanation", "shuffled") else None
    about = (group.unit.unit_id, group.source, explainer_key, group.explanation_key, simulator_key, present)
    return [
        {
            "score_key": key_of("score", about, item.selection, item.score.metric, item.score.reason),
            "unit_id": group.unit.unit_id,
            "source": group.source,
            "explainer_key": explainer_key,
            "explanation_key": group.explanation_key,
            "simulator_key": simulator_key,
            "mode": "control" if group.source in ("lookup", "linear") else plan.config.simulate.prompt.mode,
            "selection": item.selection,
            "metric": item.score.metric,
            "value": item.score.value,
            "reason": item.score.reason,
            "n_tokens": item.score.n_tokens,
            "n_excerpts": item.score.n_excerpts,
        }
        for item in scores
    ]


SCORE_COLUMNS = pa.schema(
    [
        ("score_key", pa.string()),
        ("unit_id", pa.int32()),
        ("source", pa.string()),
        ("explainer_key", pa.string()),
        ("explanation_key", pa.string()),
        ("simulator_key", pa.string()),
        ("mode", pa.string()),
        ("selection", pa.string()),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("reason", pa.string()),
        ("n_tokens", pa.int32()),
        ("n_excerpts", pa.int32()),
    ]
)


def store_scores(
    run: Run, plan: Plan, rows: list[dict[str, object]], unit_ids: Sequence[int], simulator_keys: Sequence[str]
) -> int:
    """Writes the rows that are new and removes those they replace; returns how many were written. Scores of another
    explainer, another simulator or a control that is not asked for now stay."""
    known = run.store.query(
        "score_keys_of_units",
        unit_ids=list(unit_ids),
        simulator_keys=list(simulator_keys),
        explainer_key=plan.explainer_key,
        sources=["explanation", *plan.config.simulate.controls],
    )
    before = set(known.column("score_key").to_pylist())
    fresh = [row for row in rows if row["score_key"] not in before]
    stale = before - {str(row["score_key"]) for row in rows}
    if fresh or stale:
        with run.store.transaction():
            run.store.execute("delete_scores", score_keys=sorted(stale))
            if fresh:
                run.store.insert("scores", pa.Table.from_pylist(fresh, schema=SCORE_COLUMNS))
    return len(fresh)


def score(run: Run, explainer: ExplainerPlan, simulator: SimulatorPlan, config: RunConfig) -> None:
    """Scores every chosen unit's explanation and controls. Raises RunError when the capture is not finished."""
    plan = Plan(run, explainer, simulator, config)
    identities = (simulator.identity, LOOKUP, LINEAR)
    keys = [model_key(identity) for identity in identities]
    with timed_stage(run, "score", config) as work:
        with run.store.transaction():
            for identity in (LOOKUP, LINEAR):
                store_model(run.store, identity)
            for model in (explainer, simulator):
                store_model(run.store, model.identity, model.used)
        run.watcher.begin("score", len(plan.units), "units")
        for units in chunks(plan.units, UNITS_PER_CHUNK):
            found = read_found(run, units, explainer, keys, config)
            rows = [
                row
                for group in group_items(plan, units, found)
                for row in score_rows(group, score_group(group, found), found, plan)
            ]
            work.n_items += store_scores(run, plan, rows, [unit.unit_id for unit in units], keys)
            run.watcher.advance(len(units))
            run.pause()
        run.watcher.end()
