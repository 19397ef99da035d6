"""Whether a simulator's scores may be shown as more than provisional: a card of checks whose truth is known.

    puzzles        the truth above false explanations, P(above) over all pairs
    planted units  lift: score with the true explanation minus that with another unit's
    repeatability  the same requests twice, and in another order and batch: largest difference in expected values
    label mass     the share of probability that fell on the eleven labels

The card of a run is kept in RUN/cards; the simulator's identity is in its name, so another version gets another card.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from localexplain.errors import RunError
from localexplain.evaluate.planted import measure_simulator
from localexplain.evaluate.puzzles import PuzzleResult, measure_puzzles
from localexplain.evaluate.units import PlantedUnit, plant_units, quick_units, subject_cut
from localexplain.evaluate.weighted import summarise_kinds
from localexplain.files import write_whole
from localexplain.pipeline.config import RunConfig
from localexplain.pipeline.models import plan_simulator
from localexplain.pipeline.run import model_key
from localexplain.planted.bed import read_bed
from localexplain.planted.puzzles import Puzzle, read_puzzles
from localexplain.report.cards import CARD_FOLDER
from localexplain.score.summary import Summary, summarise
from localexplain.simulate.base import Simulator
from localexplain.types import SimulateTask

REPEATED_TASKS = 12
LARGEST_DIFFERENCE = 0.05  # of 10, between the same requests in other batches: more than rounding, less than a level
LOWEST_LABEL_MASS = 0.5  # at the median request: below it the labels are the lesser part of what the model would say
EVEN_CHANCE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorCard:
    """What the checks gave.

    pairs       P(truth above a false explanation) over the puzzles; truth_first of n_puzzles
    true, lift  on the planted units, kinds weighing the same
    again, reordered  largest difference in expected values (0..10); None where nothing could be simulated twice
    label_mass  lowest over the planted units' positions; None where no probabilities are read
    failed      simulations that failed
    """

    name: str
    pairs: Summary
    truth_first: int
    n_puzzles: int
    true: Summary
    lift: Summary
    again: float | None
    reordered: float | None
    label_mass: float | None
    failed: int

    @property
    def faults(self) -> tuple[str, ...]:
        """Why the simulator is unqualified; () where it is not."""
        found: list[str] = []
        if self.lift.low is None or self.lift.low <= 0:
            found.append("on planted units a true explanation scores no better than another unit's")
        if self.pairs.low is None or self.pairs.low <= EVEN_CHANCE:
            found.append("on the puzzles the truth is not shown to score above false explanations")
        for name, value in (("twice", self.again), ("in another order", self.reordered)):
            if value is None or value > LARGEST_DIFFERENCE:
                found.append(f"the same requests {name} differ by {'?' if value is None else f'{value:.3f}'} of 10")
        if self.label_mass is not None and self.label_mass < LOWEST_LABEL_MASS:
            found.append(f"as little as {self.label_mass:.2f} of the probability falls on the labels")
        if self.failed:
            found.append(f"{self.failed} simulations failed")
        return tuple(found)


def warnings_of(cards: Sequence[SimulatorCard]) -> tuple[str, ...]:
    """What a report says at its head of simulators that are not qualified."""
    return tuple(
        f"Simulator {card.name} is not qualified, its scores are provisional: {'; '.join(card.faults)}."
        for card in cards
        if card.faults
    )


def largest_difference(first: Sequence[Any], second: Sequence[Any]) -> float | None:
    """Over the replies' expected values, in the same order; None where one failed."""
    pairs = [(a.expected, b.expected) for a, b in zip(first, second, strict=True)]
    if not pairs or any(a is None or b is None for a, b in pairs):
        return None
    return max(float(np.abs(a - b).max(initial=0.0)) for a, b in pairs)


def measure_repeatability(simulator: Simulator, units: Sequence[PlantedUnit]) -> tuple[float | None, float | None]:
    """Largest differences: the same call twice; the same requests in reverse, one at a time."""
    tasks = [
        SimulateTask(explanation=unit.concept.explanations[0], tokens=unit.scored[0].tokens)
        for unit in units[:REPEATED_TASKS]
    ]
    first = simulator.simulate(tasks)
    reverse = [reply for task in reversed(tasks) for reply in simulator.simulate([task])]
    return largest_difference(first, simulator.simulate(tasks)), largest_difference(first, reverse[::-1])


def beaten_pairs(results: Sequence[PuzzleResult], seed: int) -> Summary:
    """By puzzle, the share of false explanations that the truth beats."""
    return summarise([sum(result.beaten) / len(result.beaten) for result in results], seed)


def examine(simulator: Simulator, name: str, puzzles: Sequence[Puzzle], seed: int) -> SimulatorCard:
    """Runs every check."""
    units = quick_units(plant_units(read_bed(), subject_cut(), seed))
    planted = measure_simulator(simulator, units, seed)
    kinds = [unit.concept.kind for unit in units]
    solved = measure_puzzles(simulator, puzzles)
    again, reordered = measure_repeatability(simulator, units)
    return SimulatorCard(
        name=name,
        pairs=beaten_pairs(solved, seed),
        truth_first=sum(result.rank == 1 for result in solved),
        n_puzzles=len(solved),
        true=summarise_kinds(planted.true, kinds, seed),
        lift=summarise_kinds(planted.lift, kinds, seed),
        again=again,
        reordered=reordered,
        label_mass=planted.label_mass,
        failed=planted.failed,
    )


def card_path(folder: Path, config: RunConfig) -> Path:
    return folder / CARD_FOLDER / f"{model_key(plan_simulator(config.simulate).identity)}.json"


def read_simulator_card(folder: Path, config: RunConfig) -> SimulatorCard | None:
    """The run's card of its simulator; None where there is none. Raises RunError for one that is none."""
    path = card_path(folder, config)
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        values.pop("faults")  # for readers that know no cards; here they are worked out anew
        for name in ("pairs", "true", "lift"):
            values[name] = Summary(**values[name])
        return SimulatorCard(**values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{path}: no card of a simulator; take the file away and run the same command again") from error


def qualify(folder: Path, config: RunConfig, name: str) -> SimulatorCard:
    """The run's card of the simulator, made and stored if there is none."""
    found = read_simulator_card(folder, config)
    if found is not None:
        return found
    simulator = plan_simulator(config.simulate).load()
    try:
        card = examine(simulator, name, read_puzzles(), config.seed)
    finally:
        simulator.close()
    path = card_path(folder, config)
    path.parent.mkdir(exist_ok=True)
    write_whole(path, json.dumps(asdict(card) | {"faults": list(card.faults)}, indent=2) + "\n")
    return card
