"""Puzzles: does a simulator rank the true explanation above the false ones?

Each explanation's simulation of all sentences is correlated with the puzzle's activations; a correlation that is not
defined (a constant simulation) ranks below every other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from localexplain.planted.puzzles import Puzzle
from localexplain.score.correlation import Undefined, correlation
from localexplain.simulate.base import Simulator
from localexplain.types import SimulateTask


@dataclass(frozen=True, slots=True, kw_only=True)
class PuzzleResult:
    """scores: of the truth first, then of each false explanation; None where undefined or failed."""

    name: str
    scores: tuple[float | None, ...]

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
    return PuzzleResult(name=puzzle.name, scores=tuple(scores))


def measure_puzzles(simulator: Simulator, puzzles: Sequence[Puzzle]) -> list[PuzzleResult]:
    return [measure_puzzle(simulator, puzzle) for puzzle in puzzles]
