"""Explainers beside explainers, simulators beside simulators: same units, same records, every cell of the table.

    plan ──what this many units can show──> before the run
    cells ──comparison_values──> means, shuffled controls, paired differences, costs

A paired difference is over units, drawn whole; p-values are by flipping signs, adjusted over all pairs of the table by
Holm's method. A unit that either side lacks is counted as unscored.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from localexplain.errors import UserError
from localexplain.evaluate.cells import (
    Cell,
    ModelChoice,
    cell_config,
    fill_cell,
    parse_choice,
    read_cell,
)
from localexplain.evaluate.qualify import SimulatorCard, qualify
from localexplain.pipeline.config import RunConfig
from localexplain.pipeline.reading import captured_units
from localexplain.pipeline.run import Run
from localexplain.score.cluster import holm, paired_clustered, sign_flip_p, summarise_clustered
from localexplain.score.power import clusters_needed, detectable_difference
from localexplain.score.summary import Summary, subtract
from localexplain.score.unit import Selection
from localexplain.store.store import open_for_writing

POWER, ALPHA = 0.8, 0.05
ASSUMED_SD = 0.185  # of a difference, before anything is known: that of the published scores over neurons
LEAST_WANTED = 0.0001  # of a correlation: nobody has the units for less
LEAST_SD = 1e-6  # where all differences are one: no number of units is infinite
DIFFERENCES = (0.01, 0.02, 0.05, 0.1)  # for which the needed number of units is said

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparePlan:
    """What a comparison of so many units can show, before it is run.

    sd          of the units' paired differences: assumed, or of cells that are there already
    smallest    mean difference found with POWER at ALPHA, two-sided
    needed      difference -> units it would take
    """

    n_units: int
    n_too_few: int
    sd: float
    is_assumed: bool
    smallest: float
    needed: dict[str, int]

    @property
    def lines(self) -> tuple[str, ...]:
        origin = "assumed" if self.is_assumed else "of the scores that are there"
        others = ", ".join(f"{difference} takes {count:,}" for difference, count in self.needed.items())
        return (
            f"{self.n_units} units can be scored, {self.n_too_few} are active too rarely",
            f"the smallest mean difference that is found in {POWER:.0%} of such runs is {self.smallest:.3f} "
            f"(two-sided at {ALPHA:.0%}, one pair; SD of a difference {self.sd:.3f}, {origin})",
            f"units for other differences: {others}",
        )


def plan_comparison(
    n_units: int, n_too_few: int, differences: Sequence[float], wanted: Sequence[float] = DIFFERENCES
) -> ComparePlan:
    """`differences` of pairs of cells already there, if any; `wanted`: for which the number of units is said.

    Raises UserError for fewer than 2 units, and a wanted difference that is no number from LEAST_WANTED to 2.
    """
    wrong = [value for value in wanted if not LEAST_WANTED <= value <= 2]
    if wrong:
        raise UserError(f"a wanted difference of {wrong[0]}: must be a number from {LEAST_WANTED} to 2")
    if n_units < 2:
        raise UserError(f"{n_units} units can be scored; a comparison needs at least 2")
    is_assumed = len(differences) < 2
    sd = ASSUMED_SD if is_assumed else max(LEAST_SD, float(np.std(np.asarray(differences), ddof=1)))
    return ComparePlan(
        n_units=n_units,
        n_too_few=n_too_few,
        sd=sd,
        is_assumed=is_assumed,
        smallest=detectable_difference(n_units, sd, POWER, ALPHA),
        needed={str(difference): clusters_needed(difference, sd, POWER, ALPHA) for difference in wanted},
    )


# values --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """a - b over the units that both have. `p` is for no difference at all, `p_holm` adjusted over the table."""

    a: str
    b: str
    simulator: str
    difference: Summary
    sd: float | None
    smallest: float | None
    p: float | None
    p_holm: float | None


def make_pairs(cells: Sequence[Cell], selection: Selection, seed: int) -> list[Pair]:
    """Every two explainers under one simulator, and every two simulators of one explainer, in the order of cells."""
    chosen = [(a, b) for a, b in combinations(cells, 2) if (a.simulator == b.simulator) != (a.explainer == b.explainer)]
    parts = []
    for a, b in chosen:
        left, right = a.values["explanation"][selection], b.values["explanation"][selection]
        differences = subtract(left, right)
        present = [value for value in differences if value is not None]
        sd = float(np.std(present, ddof=1)) if len(present) > 1 else None
        parts.append(
            (
                a,
                b,
                paired_clustered(left, right, a.units, seed),
                sd,
                detectable_difference(len(present), sd, POWER, ALPHA) if sd else None,
                sign_flip_p(differences, a.units, seed),
            )
        )
    adjusted = holm([part[-1] for part in parts])
    return [
        Pair(
            a=a.label,
            b=b.label,
            simulator=a.simulator if a.simulator == b.simulator else "both",
            difference=difference,
            sd=sd,
            smallest=smallest,
            p=p,
            p_holm=p_holm,
        )
        for (a, b, difference, sd, smallest, p), p_holm in zip(parts, adjusted, strict=True)
    ]


def by_layer(cell: Cell, source: str, selection: Selection, seed: int) -> dict[int, Summary]:
    """layer -> the summary of its units."""
    groups: dict[int, list[float | None]] = {}
    names: dict[int, list[str]] = {}
    for unit, layer, value in zip(cell.units, cell.layers, cell.values[source][selection], strict=True):
        groups.setdefault(layer, []).append(value)
        names.setdefault(layer, []).append(unit)
    return {layer: summarise_clustered(groups[layer], names[layer], seed) for layer in sorted(groups)}


def cell_values(cell: Cell, selection: Selection, seed: int) -> dict[str, Any]:
    """One cell as JSON: its mean, its controls, what it cost."""
    own = cell.values["explanation"][selection]
    shuffled = cell.values["shuffled"][selection]
    return {
        "explainer": cell.explainer,
        "simulator": cell.simulator,
        "explainer_parameters": cell.explainer_parameters,
        "score": asdict(summarise_clustered(own, cell.units, seed)),
        "shuffled": asdict(summarise_clustered(shuffled, cell.units, seed)),
        "lift": asdict(paired_clustered(own, shuffled, cell.units, seed)),
        "empty": asdict(summarise_clustered(cell.values["empty"][selection], cell.units, seed)),
        "by_layer": {
            str(layer): asdict(found) for layer, found in by_layer(cell, "explanation", selection, seed).items()
        },
        "cost": {"explain": asdict(cell.explain), "simulate": asdict(cell.simulate)},
    }


def comparison_values(
    cells: Sequence[Cell], cards: Sequence[SimulatorCard], plan: ComparePlan, selections: Sequence[Selection], seed: int
) -> dict[str, Any]:
    """What `eval compare --json` prints."""
    return {
        "seed": seed,
        "plan": asdict(plan),
        "units": list(cells[0].units) if cells else [],
        "selections": {
            selection: {
                "cells": [cell_values(cell, selection, seed) for cell in cells],
                "pairs": [asdict(pair) for pair in make_pairs(cells, selection, seed)],
            }
            for selection in selections
        },
        "simulators": {card.name: asdict(card) | {"faults": list(card.faults)} for card in cards},
    }


# the whole -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The cells of a table, the simulators' cards, and what was said beforehand."""

    cells: tuple[Cell, ...]
    cards: tuple[SimulatorCard, ...]
    plan: ComparePlan


def parse_choices(text: str, noun: str) -> tuple[ModelChoice, ...]:
    """Raises UserError where there is none, or one stands twice."""
    choices = tuple(parse_choice(part) for part in text.split(",") if part.strip())
    if not choices:
        raise UserError(f"{noun}: names no model; write NAME or NAME,NAME")
    if len({choice.label for choice in choices}) < len(choices):
        raise UserError(f"{noun}: names a model twice; name it once")
    return choices


def read_plan(folder: Path, base: RunConfig, cells: Sequence[Cell], wanted: Sequence[float]) -> ComparePlan:
    """From the run's units, and the first pair of cells that has scores already."""
    with open_for_writing(folder) as store:
        units = captured_units(Run(folder=folder, store=store), base.explain.units, base)
    known = [
        [
            value
            for value in subtract(a.values["explanation"]["top_and_random"], b.values["explanation"]["top_and_random"])
            if value is not None
        ]
        for a, b in combinations(cells, 2)
    ]
    too_few = sum(unit.too_few is not None for unit in units)
    return plan_comparison(len(units) - too_few, too_few, next((some for some in known if len(some) > 1), []), wanted)


def compare(
    folder: Path,
    base: RunConfig,
    explainers: Sequence[ModelChoice],
    simulators: Sequence[ModelChoice],
    report: Report,
    wanted: Sequence[float] = DIFFERENCES,
) -> Comparison:
    """Fills and reads every cell, one model in memory at a time; the plan is reported before anything is run.

    Raises UserError for a model that cannot be read, RunError for a run that is not captured, EngineError when a cell
    cannot be filled; what was done stays.
    """
    table = [
        (cell_config(base, explainer, simulator), explainer, simulator)
        for simulator in simulators
        for explainer in explainers
    ]
    cells = read_cells(folder, table)
    plan = read_plan(folder, base, cells, wanted)
    for line in plan.lines:
        report(line)
    for config, explainer, simulator in table:
        fill_cell(folder, config, report, f"{explainer.label} by {simulator.label}")
    cards = [
        qualify(folder, cell_config(base, explainers[0], simulator), simulator.label)
        for simulator in simulators
        if simulator.name != "rule"
    ]
    return Comparison(cells=tuple(read_cells(folder, table)), cards=tuple(cards), plan=plan)


def read_cells(folder: Path, table: Sequence[tuple[RunConfig, ModelChoice, ModelChoice]]) -> list[Cell]:
    with open_for_writing(folder) as store:
        run = Run(folder=folder, store=store)
        return [read_cell(run, config, explainer, simulator) for config, explainer, simulator in table]
