"""Puzzles: does a simulator rank the true explanation above the false ones?

Each explanation's simulation of all sentences is correlated with the puzzle's activations; a correlation that is not
defined (a constant simulation) ranks below every other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from localexplain.evaluate.units import as_records
from localexplain.explain.base import Explainer
from localexplain.planted.puzzles import Puzzle
from localexplain.score.correlation import Undefined, correlation
from localexplain.simulate.base import Simulator
from localexplain.types import ExplainTask, SimulateTask, Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class PuzzleResult:
    """scores: of the truth first, then of each false explanation; None where undefined or failed.
    truth, answer: the true explanation, and what the same model writes as an explainer, for reading; None where it was
    not asked, or failed."""

    name: str
    scores: tuple[float | None, ...]
    truth: str = ""
    answer: str | None = None

    @property
    def beaten(self) -> tuple[float, ...]:
        """For each false explanation 1 where the truth scores higher, 0 where lower, 0.5 for a tie."""
        truth, *false = (-2.0 if score is None else score for score in self.scores)  # below every correlation
        return tuple(1.0 if truth > other else 0.5 if truth == other else 0.0 for other in false)

    @property
    def rank(self) -> int:
        """Place of the truth, 1 the best; a tie counts against it."""
        return 1 + sum(value < 1.0 for value in self.beaten)


def measure_puzzle(simulator: Simulator, puzzle: Puzzle) -> PuzzleResult:
    explanations = (puzzle.explanation, *puzzle.false_explanations)
    tasks = [
        SimulateTask(explanation=text, tokens=sentence.tokens) for text in explanations for sentence in puzzle.sentences
    ]
    replies = simulator.simulate(tasks)
    truth = np.concatenate([sentence.activations for sentence in puzzle.sentences])
    scores: list[float | None] = []
    for place in range(len(explanations)):
        chosen = replies[place * len(puzzle.sentences) : (place + 1) * len(puzzle.sentences)]
        parts = [reply.expected for reply in chosen if reply.expected is not None]
        value = correlation(truth, np.concatenate(parts)) if len(parts) == len(chosen) else Undefined(reason="failed")
        scores.append(None if isinstance(value, Undefined) else value)
    return PuzzleResult(name=puzzle.name, scores=tuple(scores), truth=puzzle.explanation)


def measure_puzzles(simulator: Simulator, puzzles: Sequence[Puzzle]) -> list[PuzzleResult]:
    return [measure_puzzle(simulator, puzzle) for puzzle in puzzles]


def answer_puzzles(explainer: Explainer, puzzles: Sequence[Puzzle], seed: int) -> list[str | None]:
    """What the explainer makes of each puzzle's active sentences; None where it fails, or no sentence is active."""
    shown = [[text for text in puzzle.sentences if text.activations.any()] for puzzle in puzzles]
    asked = [place for place, texts in enumerate(shown) if texts]
    tasks = [
        ExplainTask(unit=unit, records=as_records(shown[place], unit), seed=seed)
        for place in asked
        if (unit := Unit(basis="puzzle", layer=0, index=place))
    ]
    answers: list[str | None] = [None] * len(puzzles)
    for place, reply in zip(asked, explainer.explain(tasks), strict=True):
        answers[place] = reply.text
    return answers
