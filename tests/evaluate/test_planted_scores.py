"""Simulators on planted units: those that know the truth, those that do not, those that fail."""

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from localexplain.engines.scripted import ScriptedEngine, level
from localexplain.errors import EngineError
from localexplain.evaluate.planted import (
    UNIT_TASKS,
    ExplainerResult,
    SimulatorResult,
    mean_of,
    measure_simulator,
    phrasings,
    score_explanations,
    shuffled,
)
from localexplain.simulate.base import SimulateConfig
from localexplain.simulate.expected import ExpectedSimulator
from tests.evaluate.planted_units import WORDS, Simple, deaf, noisy_units, oracle, quiet_units, told

# scores by hand ------------------------------------------------------------------------------------------------------


def test_the_score_is_one_correlation_over_all_texts_together():
    # True 0 4 | 0 0 and simulated 0 2 | 2 0. Means 1 and 1; deviations -1 3 -1 -1 and -1 1 1 -1; their products sum to
    # 1 + 3 - 1 + 1 = 4; 4 / sqrt(12 * 4) = 1 / sqrt(3). The first text alone would give 1 and the second nothing.
    unit = told([[0, 4], [0, 0]])
    answers = {("a0", "a1"): [0, 2], ("b0", "b1"): [2, 0]}
    found = score_explanations(Simple(lambda explanation, tokens: answers[tokens]), [unit], ["x"])
    assert found.scores == [pytest.approx(1 / math.sqrt(3), abs=1e-6)]
    assert found.failed == 0


def test_a_simulation_upside_down_scores_minus_one():
    unit = told([[0, 4, 1], [2, 0]])
    upside_down = {t.tokens: 10 - t.activations for t in unit.scored}
    found = score_explanations(Simple(lambda explanation, tokens: upside_down[tokens]), [unit], ["x"])
    assert found.scores == [pytest.approx(-1, abs=1e-6)]


@pytest.mark.parametrize(
    ("activations", "simulated"),
    [([[0, 4], [0]], [[3, 3], [3]]), ([[2, 2], [2]], [[0, 1], [2]])],
    ids=["constant simulation", "constant truth"],
)
def test_what_is_undefined_is_no_zero_and_no_failure(activations, simulated):
    unit = told(activations)
    answers = {t.tokens: values for t, values in zip(unit.scored, simulated, strict=True)}
    found = score_explanations(Simple(lambda explanation, tokens: answers[tokens]), [unit], ["x"])
    assert (found.scores, found.failed) == ([None], 0)


def test_one_failed_text_leaves_its_unit_without_a_score_and_the_next_with_its_own():
    units = [told([[0, 4], [0, 9], [1, 0]]), told([[3, 0], [0, 1]])]

    def predict(explanation, tokens):
        if explanation == "first" and tokens[0] in ("a0", "c0"):
            return None
        return [3, 0] if tokens[0] == "a0" else [0, 1]

    found = score_explanations(Simple(predict), units, ["first", "second"])
    assert found.scores == [None, pytest.approx(1, abs=1e-6)]
    assert found.failed == 2


def test_a_unit_without_an_explanation_is_not_simulated():
    units = quiet_units()
    simulator = oracle(units)
    explanations = [None if place % 2 else unit.concept.explanations[0] for place, unit in enumerate(units)]
    found = score_explanations(simulator, units, explanations)
    assert found.scores == [None if place % 2 else pytest.approx(1, abs=1e-6) for place in range(8)]
    assert found.failed == 0
    assert {task.explanation for call in simulator.calls for task in call} == {t for t in explanations if t}


def test_an_empty_explanation_is_simulated():
    simulator = deaf()
    found = score_explanations(simulator, quiet_units(), [""] * 8)
    assert None not in found.scores
    assert {task.explanation for call in simulator.calls for task in call} == {""}


@given(st.lists(st.sampled_from([None, "up", "down", "fail"]), min_size=1, max_size=3 * UNIT_TASKS))
def test_in_portions_every_unit_keeps_its_own_score(explanations):
    # "up" simulates the truth, "down" its opposite; units differ in how many texts they have
    units = [told([[0, 4, 1]] * (1 + place % 3)) for place in range(len(explanations))]
    signs = {"up": 1, "down": -1, "fail": None}

    def predict(explanation, tokens):
        return None if explanation == "fail" else np.array([0, 4, 1]) * signs[explanation] + 5

    simulator = Simple(predict)
    found = score_explanations(simulator, units, explanations)
    expected = [None if text is None else signs[text] for text in explanations]
    assert [None if score is None else round(score, 6) for score in found.scores] == expected
    asked = [unit for unit, text in zip(units, explanations, strict=True) if text is not None]
    assert sum(map(len, simulator.calls)) == sum(len(unit.scored) for unit in asked)
    assert len(simulator.calls) == math.ceil(len(units) / UNIT_TASKS)
    failed = [unit for unit, text in zip(units, explanations, strict=True) if text == "fail"]
    assert found.failed == sum(len(unit.scored) for unit in failed)


# shuffled and phrasings ----------------------------------------------------------------------------------------------


@given(st.lists(st.none() | st.integers(0, 10**6), min_size=2, max_size=40, unique=True), st.integers(0, 1000))
def test_shuffled_gives_no_unit_its_own_and_every_text_once(numbers, seed):
    texts = [None if number is None else f"words about {number}" for number in numbers]
    found = shuffled(texts, seed)
    present = [text for text in texts if text is not None]
    if len(present) < 2:
        assert found == [None] * len(texts)
        return
    assert [text is None for text in found] == [text is None for text in texts]
    assert sorted(text for text in found if text is not None) == sorted(present)
    assert not any(a == b for a, b in zip(texts, found, strict=True) if a is not None)


def test_shuffled_depends_on_the_seed_alone():
    texts = [f"words about {number}" for number in range(12)]
    draws = {seed: tuple(shuffled(texts, seed)) for seed in range(10)}
    assert draws == {seed: tuple(shuffled(texts, seed)) for seed in range(10)}
    assert len(set(draws.values())) == 10


def test_phrasings_are_rows_over_all_units():
    units = [told([[0, 1]], ("a1", "a2", "a3")), told([[0, 1]], ("b1",)), told([[0, 1]], ("c1", "c2"))]
    assert phrasings(units) == [["a1", "b1", "c1"], ["a2", None, "c2"], ["a3", None, None]]


def test_the_mean_over_phrasings_leaves_out_what_is_missing():
    # unit 0: (0.25 + 0.75) / 2; unit 1: 0.5 alone, where a zero would make it 0.25; unit 2: nothing
    assert mean_of([[0.25, 0.5, None], [0.75, None, None]]) == [0.5, 0.5, None]


# simulators measured -------------------------------------------------------------------------------------------------


def test_an_oracle_without_noise_scores_one():
    units = quiet_units()
    result = measure_simulator(oracle(units), units, seed=0)
    assert result.true == [pytest.approx(1, abs=1e-6)] * 8
    assert result.failed == 0
    assert result.empty == [None] * 8  # silent everywhere: undefined, and not 0
    # Another word's simulation is constant on these texts, or active on the one silent text: never right
    assert all(score is None or score < 0 for score in result.shuffled)


def test_an_oracle_with_the_beds_noise_has_a_large_lift():
    # Two of eleven tokens are active in an own text, at 7 to 10. Over six own and six silent texts the noise costs a
    # few hundredths; another word is active in few of the texts or none, and never where this one is.
    units = noisy_units()
    result = measure_simulator(oracle(units), units, seed=0)
    assert all(0.9 < score < 1 for score in result.true)
    assert all(score is None or score < 0.1 for score in result.shuffled)
    assert any(score is not None for score in result.shuffled)
    assert all(lift is None or lift > 0.8 for lift in result.lift)


def test_one_that_ignores_the_explanation_has_no_lift_at_all():
    units = noisy_units()
    result = measure_simulator(deaf(), units, seed=0)
    assert None not in result.true
    assert len(set(result.true)) == 8
    assert result.shuffled == result.true
    assert result.lift == [0.0] * 8
    assert result.empty == pytest.approx(result.true)


def test_lift_is_true_minus_shuffled_and_missing_where_either_is():
    result = SimulatorResult(true=[0.75, 0.5, None], shuffled=[0.25, None, 0.5], empty=[None] * 3)
    assert result.lift == [0.5, None, None]
    assert ExplainerResult(explanations=["a", "b", "c"], true=result.true, shuffled=result.shuffled).lift == result.lift


def test_no_unit_is_measured_on_its_own_text_as_shuffled():
    units = quiet_units()
    simulator = Simple(lambda explanation, tokens: [float(len(token)) for token in tokens])
    measure_simulator(simulator, units, seed=3)
    # Three true phrasings, three shuffled and the empty one, all units in one call each
    assert len(simulator.calls) == 7
    own = {t.tokens: set(unit.concept.explanations) for unit in units for t in unit.scored[:1]}
    for number, call in enumerate(simulator.calls):
        given_texts = [(task.explanation, own[task.tokens]) for task in call if task.tokens in own]
        assert len(given_texts) == 8
        if number < 3:
            assert all(explanation in mine for explanation, mine in given_texts)
        elif number < 6:
            assert not any(explanation in mine for explanation, mine in given_texts)
        else:
            assert {explanation for explanation, _ in given_texts} == {""}


def test_a_value_is_the_mean_over_phrasings():
    # True 0 1 0 0; "good" is right (1); "bad" says 1 0 0 0: deviations 3 -1 -1 -1 and -1 3 -1 -1, (-3 - 3 + 1 + 1) / 12
    # = -1/3. Their mean is 1/3.
    unit = told([[0, 1, 0, 0]], ("good", "bad"))
    answers = {"good": [0, 1, 0, 0], "bad": [1, 0, 0, 0], "": [0, 0, 0, 0]}
    result = measure_simulator(Simple(lambda explanation, tokens: answers[explanation]), [unit], seed=0)
    assert result.true == [pytest.approx(1 / 3, abs=1e-6)]
    assert result.shuffled == [None]  # there is no other unit


@pytest.mark.parametrize("bad", ["the word cat", "cat, wherever it stands"])
def test_a_phrasing_that_fails_is_counted_and_left_out_of_the_mean(bad):
    units = quiet_units()
    whole = oracle(units)
    result = measure_simulator(Simple(lambda e, t: None if e == bad else whole.predict(e, t)), units, seed=0)
    assert result.true == [pytest.approx(1, abs=1e-6)] * 8
    # two scored texts with the cat's own phrasing, and two of the unit that gets it as another's
    assert result.failed == 4


def test_a_simulator_that_always_fails_has_no_scores_and_a_full_count():
    units = quiet_units()
    result = measure_simulator(Simple(lambda explanation, tokens: None), units, seed=0)
    assert result.true == result.shuffled == result.empty == result.lift == [None] * 8
    assert result.failed == 8 * 2 * 7  # units, texts, and 3 true, 3 shuffled, 1 empty
    assert result.label_mass is None


def test_label_mass_is_the_lowest_of_the_true_simulations():
    units = quiet_units()
    masses = {"the word cat": 0.75, "only tea and nothing else": 0.5, "": 0.25}
    simulator = Simple(oracle(units).predict, masses=lambda explanation, tokens: masses.get(explanation, 0.9))
    assert measure_simulator(simulator, units, seed=0).label_mass == 0.5
    assert measure_simulator(oracle(units), units, seed=0).label_mass is None


# with an engine ------------------------------------------------------------------------------------------------------


def belief(prefix, before, cell):
    """It reads the explanation, "the word oak", and says 10 at that word, 0 elsewhere."""
    word = re.findall(r"responds to: the word (\w+)", prefix)
    token = before.split("\n")[-1].removesuffix("\t").strip()
    return level(10 if word and token == word[-1] else 0)


def half_sure(prefix, before, cell):
    """Likewise, with half of the probability on other words than the labels."""
    return [value + math.log(0.5) for value in belief(prefix, before, cell)]


def test_an_engine_that_believes_the_explanation_scores_one():
    units = quiet_units(explanations=1)
    simulator = ExpectedSimulator(ScriptedEngine(label_logprobs=half_sure), SimulateConfig(mode="expected", few_shot=0))
    result = measure_simulator(simulator, units, seed=0)
    assert result.true == [pytest.approx(1, abs=1e-5)] * 8
    assert result.empty == [None] * 8
    assert all(score is None or score < 0 for score in result.shuffled)
    assert result.label_mass == pytest.approx(0.5, abs=1e-3)
    assert result.failed == 0


def test_an_engine_that_fails_on_one_text_costs_one_unit_its_score():
    units = quiet_units(explanations=1)

    def script(prefix, before, cell):
        if "the word tea\n" in prefix and " 5" in before and " tea" in before:
            raise EngineError("out of memory")
        return belief(prefix, before, cell)

    simulator = ExpectedSimulator(ScriptedEngine(label_logprobs=script), SimulateConfig(mode="expected", few_shot=0))
    found = score_explanations(simulator, units, phrasings(units)[0])
    assert found.failed == 1
    assert found.scores == [None if word == "tea" else pytest.approx(1, abs=1e-5) for word in WORDS]
