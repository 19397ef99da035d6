"""Simulators, explainers and judges on planted units, whose truth is known.

    simulator   score with a true explanation, a shuffled one (another unit's) and an empty one; lift = true - shuffled
    explainer   score of its explanations, and of shuffled ones, under one fixed simulator, beside lookup's
    judge       share of excerpts that it says right of whether a true explanation fits them

A unit's value is the mean over its phrasings; a unit without one is counted, never averaged as a zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from localexplain.evaluate.units import PlantedUnit, as_records
from localexplain.explain.base import Explainer
from localexplain.judge.judge import Judge, JudgeTask
from localexplain.planted.concept import CLEARLY
from localexplain.score.controls import shuffle_explanations
from localexplain.score.correlation import Undefined, correlation
from localexplain.score.summary import subtract
from localexplain.simulate.base import Simulator
from localexplain.types import ExplainTask, SimulateTask, Unit

UNIT_TASKS = 16  # simulated at once: bounds memory

Values = list[float | None]


@dataclass(slots=True, kw_only=True)
class SimulatorResult:
    """A value for each unit, and the lowest label mass seen (None in grid mode)."""

    true: Values
    shuffled: Values
    empty: Values
    label_mass: float | None = None
    failed: int = 0

    @property
    def lift(self) -> Values:
        return subtract(self.true, self.shuffled)


@dataclass(slots=True, kw_only=True)
class ExplainerResult:
    """Explanations (None where there is none) and a value for each unit."""

    explanations: list[str | None]
    true: Values
    shuffled: Values

    @property
    def lift(self) -> Values:
        return subtract(self.true, self.shuffled)


@dataclass(slots=True)
class Simulated:
    """Scores by unit of one set of explanations."""

    scores: Values = field(default_factory=list)
    masses: list[float] = field(default_factory=list)
    failed: int = 0


def score_explanations(
    simulator: Simulator, units: Sequence[PlantedUnit], explanations: Sequence[str | None]
) -> Simulated:
    """The correlation of each unit's scored texts, all tokens together, with what is simulated from its explanation;
    None where there is no explanation, a simulation failed, or either side is constant."""
    found = Simulated()
    for first in range(0, len(units), UNIT_TASKS):
        chosen = range(first, min(first + UNIT_TASKS, len(units)))
        tasks = [
            SimulateTask(explanation=explanation, tokens=text.tokens)
            for place in chosen
            if (explanation := explanations[place]) is not None
            for text in units[place].scored
        ]
        replies = iter(simulator.simulate(tasks))
        for place in chosen:
            if explanations[place] is None:
                found.scores.append(None)
                continue
            answers = [next(replies) for _ in units[place].scored]
            found.failed += sum(answer.expected is None for answer in answers)
            found.masses += [answer.label_mass for answer in answers if answer.label_mass is not None]
            parts = [answer.expected for answer in answers if answer.expected is not None]
            if len(parts) < len(answers):
                found.scores.append(None)
                continue
            truth = np.concatenate([text.activations for text in units[place].scored])
            value = correlation(truth, np.concatenate(parts))
            found.scores.append(None if isinstance(value, Undefined) else value)
    return found


def mean_of(rows: Sequence[Values]) -> Values:
    """For each unit the mean of its values over the rows, None where it has none."""
    found: Values = []
    for values in zip(*rows, strict=True):
        present = [value for value in values if value is not None]
        found.append(float(np.mean(present)) if present else None)
    return found


def shuffled(explanations: Sequence[str | None], seed: int) -> list[str | None]:
    """Another unit's explanation for each unit that has one."""
    places = [place for place, text in enumerate(explanations) if text is not None]
    texts = [text for text in explanations if text is not None]
    given: list[str | None] = [None] * len(explanations)
    if len(texts) < 2:
        return given
    for place, donor in zip(places, shuffle_explanations(texts, seed), strict=True):
        given[place] = texts[donor]
    return given


def phrasings(units: Sequence[PlantedUnit]) -> list[list[str | None]]:
    """The first, second ... true explanation of every unit; None where a unit has fewer."""
    most = max(len(unit.concept.explanations) for unit in units)
    return [
        [unit.concept.explanations[n] if n < len(unit.concept.explanations) else None for unit in units]
        for n in range(most)
    ]


def measure_simulator(simulator: Simulator, units: Sequence[PlantedUnit], seed: int) -> SimulatorResult:
    """Every phrasing is simulated, and shuffled among the units."""
    true = [score_explanations(simulator, units, row) for row in phrasings(units)]
    wrong = [score_explanations(simulator, units, shuffled(row, seed)) for row in phrasings(units)]
    empty = score_explanations(simulator, units, [""] * len(units))
    masses = [mass for row in true for mass in row.masses]
    return SimulatorResult(
        true=mean_of([row.scores for row in true]),
        shuffled=mean_of([row.scores for row in wrong]),
        empty=empty.scores,
        label_mass=min(masses) if masses else None,
        failed=sum(row.failed for row in (*true, *wrong, empty)),
    )


def explain_units(explainer: Explainer, units: Sequence[PlantedUnit], seed: int) -> list[str | None]:
    """One explanation for each unit from its shown texts; None where the explainer fails."""
    tasks = [
        ExplainTask(unit=unit, records=as_records(planted.shown, unit), seed=seed)
        for place, planted in enumerate(units)
        if (unit := Unit(basis="planted", layer=0, index=place))
    ]
    return [reply.text for reply in explainer.explain(tasks)]


def measure_explanations(
    simulator: Simulator, units: Sequence[PlantedUnit], explanations: list[str | None], seed: int
) -> ExplainerResult:
    true = score_explanations(simulator, units, explanations)
    wrong = score_explanations(simulator, units, shuffled(explanations, seed))
    return ExplainerResult(explanations=explanations, true=true.scores, shuffled=wrong.scores)


def measure_judge(judge: Judge, units: Sequence[PlantedUnit]) -> Values:
    """For each unit the share of (phrasing, excerpt) pairs judged right; an excerpt fits where the concept is clearly
    active in it. None where every answer failed."""
    found: Values = []
    for unit in units:
        tasks = [
            JudgeTask(explanation=text, tokens=excerpt.tokens)
            for text in unit.concept.explanations
            for excerpt in unit.scored
        ]
        fits = [bool(excerpt.activations.max(initial=0.0) >= CLEARLY) for excerpt in unit.scored]
        wanted = fits * len(unit.concept.explanations)
        replies = judge.judge(tasks)
        right = [
            (reply.fits > 0.5) == fit for reply, fit in zip(replies, wanted, strict=True) if reply.fits is not None
        ]
        found.append(float(np.mean(right)) if right else None)
    return found
