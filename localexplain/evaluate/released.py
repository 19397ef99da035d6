"""`eval published`: a folder of released neurons, or a run of one's own on GPT-2 XL, beside the published scores."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from localexplain.errors import UserError
from localexplain.evaluate.cells import Cell, ModelChoice, parse_choice
from localexplain.evaluate.published import (
    check_comparable,
    draw_neurons,
    fill_open,
    import_config,
    import_release,
    open_config,
    parse_neurons,
    place_beside,
    published_values,
    read_released,
    score_published,
    verify,
)
from localexplain.evaluate.qualify import qualify, warnings_of
from localexplain.pipeline.config import RunConfig
from localexplain.pipeline.run import Run
from localexplain.published.read import ReleaseChoice, detect_release
from localexplain.published.records import LeftOut
from localexplain.published.table import PublishedTable, read_table
from localexplain.report.cards import provisional_note
from localexplain.score.summary import summarise
from localexplain.score.unit import SELECTIONS
from localexplain.store.store import open_for_writing

Report = Callable[[str], None]

NO_FOURTH_CELL = (
    "The cell of an open explanation under the published simulator is empty: it would need that simulator. "
    "So the two causes are told apart along one way round the table alone."
)
DRAWN_NOTE = "Neurons were drawn in equal numbers from every layer and from every fifth of the stored scores."
LISTED_NOTE = (
    "The neurons are a list. Where they were picked for a high published score, their scores regress towards the mean "
    "whenever they are scored again, by whatever simulator: the difference from the release is then no loss."
)
SMALL_NOTE = (
    "The published means are of GPT-2 XL; the scores of GPT-2 small were made another way, so none stands beside these."
)
ALL_NOTE = "Every neuron of the folder was used."


def table_values(table: PublishedTable) -> dict[str, Any]:
    """The published means that a result is placed beside."""
    return asdict(table)


def compare_release(
    data: Path,
    out: Path,
    *,
    release: ReleaseChoice,
    units: int | None,
    neurons: str | None,
    explainer: str | None,
    simulator: str | None,
    seed: int,
    report: Report,
) -> dict[str, Any]:
    """Imports, verifies, fills the cells that can be filled. Doing it again goes on where it stopped.

    Raises UserError: no such layout, no such model, both ways of choosing neurons at once, an explainer without a
    simulator; RunError for an OUT that holds another run.
    """
    if units is not None and neurons is not None:
        raise UserError("give --units or --neurons, not both")
    if explainer is not None and simulator is None:
        raise UserError("an open explainer needs --simulator: the published one is not at hand")
    named = detect_release(data, release)
    wanted = parse_neurons(neurons) if neurons else draw_neurons(data, units, seed) if units else None
    note = LISTED_NOTE if neurons else DRAWN_NOTE if units else ALL_NOTE
    config = import_config(named, seed)
    own = parse_choice(explainer) if explainer else None
    chosen = parse_choice(simulator) if simulator else None
    with open_for_writing(out) as store:
        run = Run(folder=out, store=store)
        left_out = import_release(run, data, named, wanted, seed)
        verification = verify(run)
        if verification.n + verification.undefined + verification.one_sided == 0:
            first = f"; first: {left_out[0].path}: {left_out[0].reason}" if left_out else ""
            raise UserError(f"{data}: none of its neurons could be used{first}")
        report(f"{verification.n} stored scores recomputed, largest difference {verification.largest}")
        cells: list[Cell] = [score_published(run, named, config)]
        if chosen is not None:
            report(f"simulates with {simulator}")
            opened = fill_open(run, named, config, own, chosen)
            cells = [read_released(run, named, config), *opened]  # anew: the units' controls are there by now
        known = store.sql("SELECT path, reason FROM left_out ORDER BY path").to_pylist()
    warnings = [] if chosen is None else check_simulator(out, open_config(config, own, chosen), chosen)
    table = read_table() if named == "gpt2-xl" else None
    values = published_values(cells, verification, [LeftOut(**row) for row in known], table, tuple(SELECTIONS), seed)
    return {
        "release": named,
        "n_neurons": len(cells[0].units),
        "seed": seed,
        "warnings": warnings,
        "notes": [note, NO_FOURTH_CELL] + ([] if table else [SMALL_NOTE]),
        "published": table_values(table) if table else None,
        **values,
    }


def check_simulator(folder: Path, config: RunConfig, simulator: ModelChoice) -> list[str]:
    """Why the open simulator's scores are provisional, from its card, which is made if there is none."""
    if simulator.name == "rule":
        return []
    return list(warnings_of([qualify(folder, config, simulator.label)]))


def compare_own_run(folder: Path) -> dict[str, Any]:
    """A run's own means by layer beside the published curve, and what differs. Raises UserError for a run on another
    subject."""
    table = read_table()
    with open_for_writing(folder) as store:
        notes = check_comparable(Run(folder=folder, store=store))
        rows = store.query("series_scores").to_pylist()
    if not rows:
        raise UserError(f"{folder}: nothing scored yet; run `localexplain run {folder}` first")
    simulators = {(row["simulator_key"], row["simulator_kind"], row["simulator"]) for row in rows}
    provisional = [provisional_note(folder, key=key, kind=kind, name=name) for key, kind, name in sorted(simulators)]
    values: dict[str, Any] = {}
    for selection in SELECTIONS:
        series: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for row in rows:
            if row["selection"] == selection:
                series.setdefault((row["explainer"], row["simulator"]), []).append(row)
        values[selection] = {
            "cells": [
                {
                    "explainer": explainer,
                    "simulator": simulator,
                    "units": [row["unit"] for row in own],
                    "scores": [row["value"] for row in own],
                    "explanation": asdict(summarise([row["value"] for row in own], 0)),
                    "by_layer": place_beside(
                        [row["layer"] for row in own], [row["value"] for row in own], table, selection, 0
                    ),
                }
                for (explainer, simulator), own in series.items()
            ],
            "contrasts": [],
            "rank_correlation": None,
        }
    return {
        "release": "own run",
        "n_neurons": len({row["unit"] for row in rows}),
        "seed": 0,
        "warnings": [note for note in provisional if note is not None],
        "notes": ["What differs from the published run: " + "; ".join(notes) + "."],
        "published": table_values(table),
        "verification": None,
        "left_out": [],
        "selections": values,
    }
