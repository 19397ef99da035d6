"""Ranks of the truth among false explanations, worked out by hand and by brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from localexplain.evaluate.puzzles import PuzzleResult, measure_puzzle, measure_puzzles
from localexplain.planted.concept import PlantedText
from localexplain.planted.puzzles import Puzzle, read_puzzles
from localexplain.simulate.rule import RuleSimulator
from localexplain.types import Identity, SimulateReply

SCORE = st.none() | st.integers(-4, 4).map(lambda n: n / 4)


def result(*scores):
    """The truth's score first."""
    return PuzzleResult(name="made", scores=scores)


def puzzle(explanation, *false, sentences=None):
    sentences = sentences or [("a b c", [0, 4, 0]), ("d", [0])]
    return Puzzle(
        name="made",
        explanation=explanation,
        sentences=tuple(
            PlantedText(tokens=tuple(text.split()), activations=np.array(values, dtype=np.float32))
            for text, values in sentences
        ),
        false_explanations=false,
    )


class Table:
    """A simulator that looks its answer up by the explanation, for all sentences in a row; None is a failure."""

    identity = Identity(kind="made", name="table")
    mode = "expected"

    def __init__(self, answers):
        self.answers = answers

    def simulate(self, tasks):
        return [self.reply(task) for task in tasks]

    def reply(self, task):
        answer = self.answers[task.explanation]
        values = [answer["abcd".index(token)] for token in task.tokens]
        if None in values:
            return SimulateReply(expected=None, error="it was told to fail")
        return SimulateReply(expected=np.array(values, dtype=np.float32))

    def close(self):
        """Nothing is held."""


# ranks ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "rank", "beaten"),
    [
        ((0.9, 0.5, 0.1, -0.2), 1, (1, 1, 1)),
        ((0.5, 0.9, 0.1, -0.2), 2, (0, 1, 1)),
        ((-0.9, 0.9, 0.1, -0.2), 4, (0, 0, 0)),
        ((0.5, 0.5, 0.1, -0.2), 2, (0.5, 1, 1)),  # a tie counts against the truth
        ((0.5, 0.5, 0.5, 0.5), 4, (0.5, 0.5, 0.5)),  # what ignores the explanation is last
        ((None, 0.9, 0.1, -1.0), 4, (0, 0, 0)),  # undefined is below every correlation, -1 too
        ((-1.0, None, None, None), 1, (1, 1, 1)),
        ((None, None, 0.1, None), 4, (0.5, 0, 0.5)),
        ((None, None, None, None), 4, (0.5, 0.5, 0.5)),
        ((0.0, None, 0.0, 0.5), 3, (1, 0.5, 0)),  # a zero is a score
    ],
)
def test_ranks_by_hand(scores, rank, beaten):
    found = result(*scores)
    assert (found.rank, found.beaten) == (rank, beaten)


@given(st.lists(SCORE, min_size=2, max_size=7))
def test_the_rank_is_the_last_place_a_sort_can_give_the_truth(scores):
    # sorted from the best, undefined at the end; of equals the truth stands last
    order = sorted(range(len(scores)), key=lambda n: (scores[n] is None, -(scores[n] or 0), n == 0))
    found = result(*scores)
    assert found.rank == order.index(0) + 1
    assert isinstance(found.rank, int)


@given(st.lists(SCORE, min_size=2, max_size=7), st.randoms(use_true_random=False))
def test_the_order_of_the_false_ones_does_not_matter(scores, shuffle):
    false = scores[1:]
    shuffle.shuffle(false)
    assert result(scores[0], *false).rank == result(*scores).rank


@given(SCORE, SCORE)
def test_of_a_pair_what_one_wins_the_other_loses(a, b):
    assert result(a, b).beaten[0] + result(b, a).beaten[0] == 1


# measured ------------------------------------------------------------------------------------------------------------


def test_scores_are_of_all_sentences_together_and_the_truth_is_first():
    # Activations 0 4 0 | 0: deviations -1 3 -1 -1.
    # "good" 0 1 0 | 0 is right: 1.
    # "half" 0 1 0 | 1: deviations -1 1 -1 1, halved; (1 + 3 + 1 - 1) / 2 = 2, over sqrt(12 * 1): 1 / sqrt(3).
    # "bad" 1 0 0 | 0: deviations 3 -1 -1 -1, quartered; (-3 - 3 + 1 + 1) / 4 = -1, over sqrt(12 * 0.75) = 3: -1/3.
    # "flat" is undefined.
    answers = {"good": [0, 1, 0, 0], "half": [0, 1, 0, 1], "bad": [1, 0, 0, 0], "flat": [2, 2, 2, 2]}
    found = measure_puzzle(Table(answers), puzzle("good", "half", "bad", "flat"))
    assert found.scores == (pytest.approx(1), pytest.approx(1 / 3**0.5), pytest.approx(-1 / 3), None)
    assert (found.name, found.rank, found.beaten) == ("made", 1, (1, 1, 1))
    turned = measure_puzzle(Table(answers), puzzle("bad", "flat", "good", "half"))
    assert turned.scores == (pytest.approx(-1 / 3), None, pytest.approx(1), pytest.approx(1 / 3**0.5))
    assert (turned.rank, turned.beaten) == (3, (1, 0, 0))


def test_one_that_ignores_the_explanation_ties_with_itself():
    answers = {text: [1, 3, 2, 0] for text in ("true", "x", "y")}
    found = measure_puzzle(Table(answers), puzzle("true", "x", "y"))
    assert found.rank == 3
    assert found.beaten == (0.5, 0.5)


def test_the_simulator_is_not_shown_the_activations():
    # other activations, the same simulation: only the scores turn round
    answers = {"true": [0, 1, 0, 0], "x": [1, 0, 1, 1]}
    sentences = [("a b c", [4, 0, 4]), ("d", [4])]
    first = measure_puzzle(Table(answers), puzzle("true", "x"))
    second = measure_puzzle(Table(answers), puzzle("true", "x", sentences=sentences))
    assert second.scores == tuple(pytest.approx(-score) for score in first.scores)
    assert (first.rank, second.rank) == (1, 2)


def test_every_puzzle_has_its_own_result_in_their_order():
    answers = {"good": [0, 1, 0, 0], "bad": [1, 0, 0, 0]}
    found = measure_puzzles(Table(answers), [puzzle("good", "bad"), puzzle("bad", "good")])
    assert [one.rank for one in found] == [1, 2]
    assert measure_puzzles(Table(answers), []) == []


@pytest.mark.parametrize("missing", [[None, None, None, None], [0, 1, 0, None]], ids=["all", "one sentence"])
def test_an_explanation_whose_simulation_failed_ranks_last(missing):
    answers = {"good": [0, 1, 0, 0], "bad": [1, 0, 0, 0], "gone": missing}
    found = measure_puzzle(Table(answers), puzzle("good", "gone", "bad"))
    assert found.scores == (pytest.approx(1), None, pytest.approx(-1 / 3))
    assert found.rank == 1
    lost = measure_puzzle(Table(answers), puzzle("gone", "good", "bad"))
    assert lost.scores[0] is None
    assert lost.rank == 3


# what ships ----------------------------------------------------------------------------------------------------------


class Oracle:
    """Knows the activations of every sentence and gives them for a true explanation; for a false one, those of the
    sentence's tokens turned round."""

    identity = Identity(kind="made", name="oracle")
    mode = "expected"

    def __init__(self, puzzles):
        self.true = {item.explanation for item in puzzles}
        self.activations = {s.tokens: s.activations for item in puzzles for s in item.sentences}

    def simulate(self, tasks):
        known = [(task.explanation in self.true, self.activations[task.tokens]) for task in tasks]
        return [SimulateReply(expected=values if true else values[::-1].copy()) for true, values in known]

    def close(self):
        """Nothing is held."""


def test_an_oracle_solves_every_puzzle_that_ships():
    puzzles = read_puzzles()
    found = measure_puzzles(Oracle(puzzles), puzzles)
    assert [one.name for one in found] == [item.name for item in puzzles]
    assert all(one.rank == 1 and one.scores[0] == pytest.approx(1) for one in found)
    assert all(len(one.scores) == 5 and max(one.scores[1:]) < 1 for one in found)


def test_a_rule_that_reads_no_such_explanations_solves_none():
    # nothing in the puzzles is quoted as the rule wants it, so it is silent everywhere: undefined for all five
    found = measure_puzzles(RuleSimulator(), read_puzzles())
    assert {one.scores for one in found} == {(None,) * 5}
    assert {one.rank for one in found} == {5}
