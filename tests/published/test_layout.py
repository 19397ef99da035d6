"""Every field name of the released files, now and before, is read; whatever is wrong is told with its place."""

import copy
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localexplain.published.layout import LARGEST, LayoutError, check_in_release, mend, parse_explanation, parse_neuron
from tests.published_fixtures import drop_class_names, explanation_data, make_neuron, neuron_data, plain

PLACE = {"layer": 5, "index": 9}


def excerpt(*activations):
    return {"tokens": ["Rain", " fell", "."][: len(activations)], "activations": list(activations)}


def simulation(expected, true, score):
    return {
        "simulation": {
            "tokens": ["Rain", " fell", "."],
            "expected_activations": expected,
            "activation_scale": "simulated_normalized_activations",
        },
        "true_activations": true,
        "ev_correlation_score": score,
    }


NEURON = {
    "neuron_id": {"layer_index": 5, "neuron_index": 9},
    "random_sample": [excerpt(0.0, -0.125, 1)],
    "random_sample_by_quantile": [[excerpt(0.25)], []],
    "quantile_boundaries": [0.5],
    "mean": -0.5,
    "variance": 2,
    "skewness": 1.5,
    "kurtosis": 3.5,
    "most_positive_activation_records": [excerpt(7.5, 0.0, -0.25), excerpt(3.5, 1)],
}
EXPLANATION = {
    "neuron_id": {"layer_index": 5, "neuron_index": 9},
    "scored_explanations": [
        {
            "explanation": " words about the weather\n",
            "scored_simulation": {
                "scored_sequence_simulations": [
                    simulation([10, 0.5, 0.0], [7.5, 0.0, -0.25], 0.99),
                    simulation([0.0, 0.0, 0.0], [1.0, 2.0, 3.0], math.nan),
                ],
                "ev_correlation_score": 0.625,
            },
        },
        {"explanation": "a second one, which is not looked at"},
    ],
}
SCORED = ("scored_explanations", 0)
RESULT = (*SCORED, "scored_simulation")
SEQUENCE = (*RESULT, "scored_sequence_simulations", 1)


def read(neuron=NEURON, explanation=EXPLANATION, release="gpt2-xl"):
    read_explanation = None if explanation is None else parse_explanation(explanation, **PLACE)
    return parse_neuron(neuron, read_explanation, release=release, **PLACE)


def inside(data, path):
    for step in path:
        data = data[step]
    return data


def changed(data, path, value):
    """A copy of `data` with the value at `path` replaced."""
    data = copy.deepcopy(data)
    inside(data, path[:-1])[path[-1]] = value
    return data


def renamed(data, path, name):
    """A copy of `data` with the field at `path` under another name."""
    data = copy.deepcopy(data)
    owner = inside(data, path[:-1])
    owner[name] = owner.pop(path[-1])
    return data


def without(data, path):
    data = copy.deepcopy(data)
    del inside(data, path[:-1])[path[-1]]
    return data


def fault(data):
    """The message for a file that is no good, of either kind."""
    is_explanation = SCORED[0] in data or "another_name" in data
    with pytest.raises(LayoutError) as caught:
        parse_explanation(data, **PLACE) if is_explanation else read(data, None)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# what a whole file says ----------------------------------------------------------------------------------------------


def test_a_neuron_is_read_field_by_field():
    neuron = read()
    assert (neuron.layer, neuron.index, neuron.mean, neuron.variance) == (5, 9, -0.5, 2.0)
    assert [item.tokens for item in neuron.top] == [("Rain", " fell", "."), ("Rain", " fell")]
    assert [item.activations.tolist() for item in neuron.top] == [[7.5, 0.0, -0.25], [3.5, 1.0]]
    assert [item.activations.tolist() for item in neuron.random] == [[0.0, -0.125, 1.0]]
    assert [[item.activations.tolist() for item in stratum] for stratum in neuron.strata] == [[[0.25]], []]
    assert neuron.top[0].activations.dtype == np.float32


def test_an_explanation_is_the_first_one_and_nan_is_no_score():
    explanation = read().explanation
    assert (explanation.text, explanation.score) == ("words about the weather", 0.625)
    first, second = explanation.simulations
    assert (first.tokens, first.score, second.score) == (("Rain", " fell", "."), 0.99, None)
    assert (first.true.tolist(), first.expected.tolist()) == ([7.5, 0.0, -0.25], [10.0, 0.5, 0.0])
    assert (second.true.tolist(), second.expected.tolist()) == ([1.0, 2.0, 3.0], [0.0, 0.0, 0.0])
    assert {first.true.dtype, first.expected.dtype} == {np.dtype(np.float32)}


def test_a_neuron_without_an_explanation():
    assert read(explanation=None).explanation is None


@pytest.mark.parametrize(
    ("path", "older"),
    [
        (("neuron_id", "layer_index"), "layer"),
        (("neuron_id", "neuron_index"), "idx"),
    ],
)
def test_older_names_in_both_files(path, older):
    assert plain(read(renamed(NEURON, path, older), renamed(EXPLANATION, path, older))) == plain(read())


@pytest.mark.parametrize(
    ("path", "older"),
    [
        (SCORED[:1], "scored_explanation_or_baseline_list"),
        ((*SCORED, "explanation"), "explanation_or_baseline"),
        ((*SEQUENCE, "simulation"), "sequence_simulation"),
        ((*SEQUENCE, "simulation", "activation_scale"), "unit"),
    ],
)
def test_older_names_in_explanations(path, older):
    assert plain(read(explanation=renamed(EXPLANATION, path, older))) == plain(read())
    if older == "unit":  # a scale is only compared with the others, and may be missing
        mixed = changed(renamed(EXPLANATION, path, older), (*path[:-1], older), "neuron_activations")
        assert fault(mixed).startswith(f"{SEQUENCE_PATH}[1].simulation.unit: 'neuron_activations', where others")
    else:
        assert fault(renamed(EXPLANATION, path, "another_name")).endswith(f": no {path[-1]} or {older}")


def test_the_layer_may_be_a_string_as_it_once_was():
    assert plain(read(changed(NEURON, ("neuron_id", "layer_index"), "5"))) == plain(read())


def test_what_no_record_needs_may_be_missing_or_more():
    neuron = {**NEURON, "dataclass_name": "NeuronRecord", "activation_location": {"new": 1}}
    for name in ("skewness", "kurtosis", "quantile_boundaries"):
        del neuron[name]
    assert plain(read(neuron)) == plain(read())


@pytest.mark.parametrize("value", [None, math.nan, math.inf, "missing"])
def test_a_moment_that_is_none_is_nan(value):
    neuron = without(NEURON, ("mean",)) if value == "missing" else changed(NEURON, ("mean",), value)
    assert math.isnan(read(neuron).mean)
    assert read(neuron).variance == 2.0


@pytest.mark.parametrize("value", [None, "missing", []])
def test_no_quantiles_are_no_strata(value):
    path = ("random_sample_by_quantile",)
    assert read(without(NEURON, path) if value == "missing" else changed(NEURON, path, value)).strata == ()


def test_a_random_sample_may_be_empty():
    assert read(changed(NEURON, ("random_sample",), [])).random == ()


@pytest.mark.parametrize("path", [(*RESULT, "ev_correlation_score"), (*SEQUENCE, "ev_correlation_score")])
@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf, 10**400, "missing"])
def test_a_score_that_is_none(path, value):
    data = without(EXPLANATION, path) if value == "missing" else changed(EXPLANATION, path, value)
    explanation = parse_explanation(data, **PLACE)
    assert (explanation.simulations[1] if path[:-1] == SEQUENCE else explanation).score is None


@settings(deadline=None)
@given(st.lists(st.floats(min_value=-LARGEST, max_value=LARGEST), min_size=1, max_size=80))
def test_activations_are_the_nearest_float32(values):
    data = {"tokens": ["x"] * len(values), "activations": values}
    found = read(changed(NEURON, ("random_sample", 0), data)).random[0].activations
    assert found.tolist() == [float(np.float32(value)) for value in values]


# tokens --------------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.text(max_size=4), min_size=1, max_size=8))
def test_tokens_are_read_as_they_are(tokens):
    data = json.loads(json.dumps({"tokens": tokens, "activations": [0.5] * len(tokens)}))
    assert read(changed(NEURON, ("random_sample", 0), data)).random[0].tokens == tuple(tokens)


def test_half_a_surrogate_pair_is_replaced_and_nothing_else():
    data = json.loads(
        r'{"tokens": ["\ud83d", "\ude00", "", "\ud83d\ude00", "a\udc80b"], "activations": [0, 0, 0, 0, 0]}'
    )
    tokens = read(changed(NEURON, ("random_sample", 0), data)).random[0].tokens
    assert tokens == ("\ufffd", "\ufffd", "", "\U0001f600", "a\ufffdb")
    explanation = parse_explanation(changed(EXPLANATION, (*SCORED, "explanation"), "smiles \ud83d"), **PLACE)
    assert explanation.text == "smiles \ufffd"


@given(st.text(st.characters(exclude_categories=())))
def test_mended_text_can_be_written(text):
    mend(text).encode()
    whole = "".join(character for character in text if not 0xD800 <= ord(character) < 0xE000)
    assert mend(whole) == whole


# what is wrong is told with its place --------------------------------------------------------------------------------

TOP = "most_positive_activation_records"
NEURON_FAULTS = [
    ((TOP, 1, "activations"), [1.0], f"{TOP}[1].activations: 1 numbers for 2 tokens"),
    ((TOP, 1, "activations"), [1.0] * 3, f"{TOP}[1].activations: 3 numbers for 2 tokens"),
    ((TOP, 1, "activations"), [1.0, math.nan], f"{TOP}[1].activations[1]: nan is no activation"),
    ((TOP, 1, "activations"), [-math.inf, 1.0], f"{TOP}[1].activations[0]: -inf is no activation"),
    ((TOP, 1, "activations"), [1.0, 2e30], f"{TOP}[1].activations[1]: 2e+30 is no activation"),
    ((TOP, 1, "activations"), [1.0, 10**400], f"{TOP}[1].activations: a number too large for an activation"),
    ((TOP, 1, "activations"), [1.0, None], f"{TOP}[1].activations[1]: null, not a number"),
    ((TOP, 1, "activations"), [1.0, "2.0"], f"{TOP}[1].activations[1]: '2.0', not a number"),
    ((TOP, 1, "activations"), [True, 2.0], f"{TOP}[1].activations[0]: True, not a number"),
    ((TOP, 1, "activations"), [[1.0], 2.0], f"{TOP}[1].activations[0]: a list of 1, not a number"),
    ((TOP, 1, "activations"), "12", f"{TOP}[1].activations: '12', not a list of numbers"),
    ((TOP, 1, "activations"), None, f"{TOP}[1]: no activations"),
    ((TOP, 1, "tokens"), ["a", 7], f"{TOP}[1].tokens[1]: 7, not a token"),
    ((TOP, 1, "tokens"), ["a", None], f"{TOP}[1].tokens[1]: null, not a token"),
    ((TOP, 1, "tokens"), [], f"{TOP}[1].tokens: a list of 0, not a list of tokens"),
    ((TOP, 1, "tokens"), "ab", f"{TOP}[1].tokens: 'ab', not a list of tokens"),
    ((TOP, 1), [], f"{TOP}[1]: a list of 0, not an object"),
    ((TOP,), [], f"{TOP}: no excerpt"),
    ((TOP,), {}, f"{TOP}: an object, not a list"),
    (("random_sample",), None, "the file: no random_sample"),
    (("random_sample", 0, "activations", 2), math.nan, "random_sample[0].activations[2]: nan is no activation"),
    (("random_sample_by_quantile",), "none", "random_sample_by_quantile: 'none', not a list"),
    (("random_sample_by_quantile", 1), None, "random_sample_by_quantile[1]: null, not a list"),
    (
        ("random_sample_by_quantile", 0, 0, "tokens"),
        ["a", "b"],
        "random_sample_by_quantile[0][0].activations: 1 numbers for 2 tokens",
    ),
    (("mean",), "0.5", "mean: '0.5', not a number"),
    (("variance",), True, "variance: True, not a number"),
    (("neuron_id",), None, "the file: no neuron_id"),
    (("neuron_id",), 9, "neuron_id: 9, not an object"),
    (("neuron_id", "layer_index"), None, "neuron_id: no layer_index or layer"),
    (("neuron_id", "layer_index"), 5.0, "neuron_id.layer_index: 5.0, not a whole number"),
    (("neuron_id", "layer_index"), "five", "neuron_id.layer_index: 'five', not a whole number"),
    (("neuron_id", "neuron_index"), True, "neuron_id.neuron_index: True, not a whole number"),
    (("neuron_id", "layer_index"), 6, "neuron_id: layer 6, neuron 9, in the file of layer 5, neuron 9"),
    (("neuron_id", "neuron_index"), 90, "neuron_id: layer 5, neuron 90, in the file of layer 5, neuron 9"),
]
SEQUENCE_PATH = "scored_explanations[0].scored_simulation.scored_sequence_simulations"
EXPLANATION_FAULTS = [
    ((*SEQUENCE, "true_activations"), [1.0], f"{SEQUENCE_PATH}[1].true_activations: 1 numbers for 3 tokens"),
    (
        (*SEQUENCE, "simulation", "expected_activations"),
        [1.0] * 4,
        f"{SEQUENCE_PATH}[1].simulation.expected_activations: 4 numbers for 3 tokens",
    ),
    (
        (*SEQUENCE, "simulation", "expected_activations", 2),
        math.nan,
        f"{SEQUENCE_PATH}[1].simulation.expected_activations[2]: nan is no activation",
    ),
    (
        (*SEQUENCE, "simulation", "activation_scale"),
        "neuron_activations",
        f"{SEQUENCE_PATH}[1].simulation.activation_scale: 'neuron_activations', "
        "where others are 'simulated_normalized_activations'",
    ),
    ((*SEQUENCE, "ev_correlation_score"), "0.5", f"{SEQUENCE_PATH}[1].ev_correlation_score: '0.5', not a number"),
    (SEQUENCE[:-1], [], f"{SEQUENCE_PATH}: no simulation"),
    ((*RESULT, "ev_correlation_score"), True, "scored_explanations[0].scored_simulation.ev_correlation_score: True"),
    ((*SCORED, "scored_simulation"), None, "scored_explanations[0]: no scored_simulation"),
    ((*SCORED, "explanation"), " \n", "scored_explanations[0].explanation: empty"),
    ((*SCORED, "explanation"), "", "scored_explanations[0].explanation: empty"),
    ((*SCORED, "explanation"), ["a"], "scored_explanations[0].explanation: a list of 1, not a text"),
    (SCORED[:1], [], "scored_explanations: no scored explanation"),
    (("neuron_id", "neuron_index"), 8, "neuron_id: layer 5, neuron 8, in the file of layer 5, neuron 9"),
]


@pytest.mark.parametrize(
    ("data", "path", "value", "message"),
    [(NEURON, *row) for row in NEURON_FAULTS] + [(EXPLANATION, *row) for row in EXPLANATION_FAULTS],
)
def test_faults(data, path, value, message):
    assert fault(changed(data, path, value)).startswith(message)


@pytest.mark.parametrize("data", [None, [], "text", 7, True])
def test_a_file_that_holds_no_object(data):
    with pytest.raises(LayoutError, match=r"^the file: .*, not an object$"):
        read(data, None)
    with pytest.raises(LayoutError, match=r"^the file: .*, not an object$"):
        parse_explanation(data, **PLACE)


def test_a_long_or_deep_value_is_not_repeated_in_the_message():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    assert len(fault(changed(EXPLANATION, (*SCORED, "explanation"), deep))) < 80
    assert len(fault(changed(EXPLANATION, (*SCORED, "scored_simulation"), "x" * 10_000))) < 120


@pytest.mark.parametrize(
    ("release", "layer", "index", "message"),
    [
        ("gpt2-xl", 48, 0, "layer 48 is beyond gpt2-xl, whose layers are 0 to 47"),
        ("gpt2-xl", 47, 6400, "neuron 6400 is beyond gpt2-xl, whose neurons are 0 to 6399"),
        ("gpt2-small", 12, 0, "layer 12 is beyond gpt2-small, whose layers are 0 to 11"),
        ("gpt2-small", 11, 3072, "neuron 3072 is beyond gpt2-small, whose neurons are 0 to 3071"),
    ],
)
def test_the_ends_of_a_release(release, layer, index, message):
    data = NEURON | {"neuron_id": {"layer_index": layer, "neuron_index": index}}
    with pytest.raises(LayoutError, match=message):
        parse_neuron(data, None, release=release, layer=layer, index=index)
    check_in_release(release, layer=layer - (index == 0), index=index - (index > 0))  # the last one within


# whole neurons, there and back ---------------------------------------------------------------------------------------


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    old_names=st.booleans(),
    class_names=st.booleans(),
    constant=st.booleans(),
    strata=st.booleans(),
)
def test_what_is_written_is_what_is_read(seed, old_names, class_names, constant, strata):
    made = make_neuron(31, 4000, seed=seed, constant=constant, strata=strata)
    files = [neuron_data(made, old_names=old_names), explanation_data(made, old_names=old_names)]
    neuron, explanation = json.loads(json.dumps(files if class_names else drop_class_names(files)))
    read_explanation = parse_explanation(explanation, layer=31, index=4000)
    found = parse_neuron(neuron, read_explanation, release="gpt2-xl", layer=31, index=4000)
    assert plain(found) == plain(made)
    assert (found.explanation.score is None) == constant
