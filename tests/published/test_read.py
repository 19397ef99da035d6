"""A folder of released neurons is read whole; each kind of bad file costs itself and nothing else."""

import json
import os
import shutil

import numpy as np
import pytest

from localexplain.errors import UserError
from localexplain.published.read import detect_release, list_neurons, read_neurons
from localexplain.published.records import LeftOut, PublishedNeuron
from tests.published_fixtures import (
    correlate,
    explanation_data,
    explanation_path,
    make_neuron,
    neuron_data,
    neuron_path,
    plain,
    write_json,
    write_release,
)

PLACES = [(0, 0), (3, 7), (3, 12), (20, 6399)]
BAD = (3, 7)  # the one whose file the tests spoil
NEURON_FILE, EXPLANATION_FILE = "collated-activations/3/7.json", "explanations/3/7.jsonl"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    return folder, write_release(folder, PLACES, seed=4)


@pytest.fixture
def release(written, tmp_path):
    """A folder with PLACES that a test may spoil, and what is in it."""
    return shutil.copytree(written[0], tmp_path / "release"), written[1]


def split(items):
    """What was read, by place, and what was left out, in order."""
    items = list(items)
    neurons = {(item.layer, item.index): item for item in items if isinstance(item, PublishedNeuron)}
    left_out = [item for item in items if isinstance(item, LeftOut)]
    assert len(neurons) + len(left_out) == len(items)
    return neurons, left_out


def places(folder):
    return [(files.layer, files.index) for files in list_neurons(folder)]


# whole folders -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("old_names", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_what_was_written_is_read_in_order(tmp_path, old_names, seed):
    made = write_release(
        tmp_path,
        [(20, 6399), (3, 12), (0, 0), (3, 7)],
        old_names=old_names,
        seed=seed,
        constant=[(3, 12)],
        without_strata=[(0, 0)],
        class_names=not old_names,
        ascii_only=not old_names,  # then tokens hold U+2028 as it is, which is no end of a line in JSON Lines
    )
    found = list(read_neurons(tmp_path, "gpt2-xl", None))
    assert [(item.layer, item.index) for item in found] == PLACES
    assert [plain(item) for item in found] == [plain(item) for item in (made[2], made[3], made[1], made[0])]
    assert [len(item.strata) for item in found] == [0, 5, 5, 5]
    assert [item.explanation.score is None for item in found] == [False, False, True, False]


def test_the_written_scores_verify_and_the_release_has_all_kinds_of_number(release):
    folder, _ = release
    neurons, _ = split(read_neurons(folder, "gpt2-xl", None))
    for neuron in neurons.values():
        parts = neuron.explanation.simulations
        true, expected = (np.concatenate([getattr(item, name) for item in parts]) for name in ("true", "expected"))
        assert neuron.explanation.score == pytest.approx(np.corrcoef(true, expected)[0, 1], abs=1e-6)
        assert 0.3 < neuron.explanation.score < 1
        assert (len(true), true.min() < 0) == (640, True)
        assert [item.tokens for item in parts[:5]] == [neuron.top[place].tokens for place in (2, 6, 10, 14, 18)]
        assert [item.tokens for item in parts[5:]] == [neuron.random[place].tokens for place in (1, 4, 7, 10, 13)]
        maxima = [item.activations.max() for item in neuron.top]
        assert maxima == sorted(maxima, reverse=True)
    tokens = {token for neuron in neurons.values() for item in neuron.random for token in item.tokens}
    assert {"", "\U0001f600", "\ufffd", "\u2028", "\n"} <= tokens
    assert any(item.score is None for neuron in neurons.values() for item in neuron.explanation.simulations)
    assert correlate(np.ones(3), np.arange(3)) is None


def test_only_the_wanted_ones_are_read_and_what_is_absent_is_told(release):
    folder, made = release
    neurons, left_out = split(read_neurons(folder, "gpt2-xl", [(20, 6399), (3, 8), (3, 7), (3, 7)]))
    assert list(neurons) == [(3, 7), (20, 6399)]
    assert plain(neurons[3, 7]) == plain(made[1])
    assert left_out == [LeftOut(path="collated-activations/3/8.json", reason="not there; nor is its explanation")]
    assert list(read_neurons(folder, "gpt2-xl", [])) == []


def test_neurons_come_one_at_a_time(release):
    folder, _ = release
    items = read_neurons(folder, "gpt2-xl", None)
    assert next(items).index == 0
    neuron_path(folder, *BAD).write_text("{")  # after the first was read
    assert next(items).path == NEURON_FILE


# one bad file --------------------------------------------------------------------------------------------------------


def truncate(path):
    path.write_bytes(path.read_bytes()[:-40])


def change(path, edit):
    data = json.loads(path.read_text())
    edit(data)
    write_json(path, data)


def shorten_activations(data):
    data["most_positive_activation_records"][3]["activations"].pop()


def shorten_simulation(data):
    simulations = data["scored_explanations"][0]["scored_simulation"]["scored_sequence_simulations"]
    simulations[2]["simulation"]["expected_activations"].pop()


def replace_by_folder(path):
    path.unlink()
    path.mkdir()


def replace_by_pipe(path):
    path.unlink()
    os.mkfifo(path)


def replace_by_broken_link(path):
    path.unlink()
    path.symlink_to(path.with_name("nowhere"))


BAD_FILES = {
    "truncated": (truncate, "not JSON ("),
    "empty": (lambda path: path.write_bytes(b""), "empty; copy it again"),
    "blank": (lambda path: path.write_bytes(b"\n \n"), "empty; copy it again"),
    "not UTF-8": (lambda path: path.write_bytes(b'{"a": "\xff"}'), "not UTF-8 text (at byte 7); copy it again"),
    "packed": (lambda path: path.write_bytes(b"\x1f\x8b\x08\x00 packed"), "not UTF-8 text (at byte 1)"),
    "not JSON": (lambda path: path.write_text("<html>gone</html>"), "not JSON (Expecting value: line 1"),
    "deep": (lambda path: path.write_text("[" * 100_000), "not JSON of this layout: nested too deeply"),
    "endless number": (lambda path: path.write_text("9" * 5_000), "not JSON ("),
    "no object": (lambda path: path.write_text("[]"), "the file: a list of 0, not an object"),
    "folder": (replace_by_folder, "not a file"),
    "broken link": (replace_by_broken_link, "not a file"),
    "pipe": (replace_by_pipe, "not a file"),
    "of another neuron": (
        lambda path: change(path, lambda data: data["neuron_id"].update(neuron_index=8)),
        "neuron_id: layer 3, neuron 8, in the file of layer 3, neuron 7",
    ),
}
PARAMS = [
    pytest.param(*(value.values if hasattr(value, "values") else value), id=name, marks=getattr(value, "marks", ()))
    for name, value in BAD_FILES.items()
]


@pytest.mark.parametrize(("spoil", "reason"), PARAMS)
def test_a_bad_file_of_activations_costs_its_neuron(release, spoil, reason):
    folder, made = release
    spoil(neuron_path(folder, *BAD))
    neurons, left_out = split(read_neurons(folder, "gpt2-xl", None))
    assert [item.path for item in left_out] == [NEURON_FILE]
    assert left_out[0].reason.startswith(reason)
    assert "\n" not in left_out[0].reason
    assert [plain(item) for item in neurons.values()] == [plain(made[place]) for place in (0, 2, 3)]


@pytest.mark.parametrize(("spoil", "reason"), PARAMS)
def test_a_bad_explanation_costs_the_explanation_alone(release, spoil, reason):
    folder, made = release
    spoil(explanation_path(folder, *BAD))
    neurons, left_out = split(read_neurons(folder, "gpt2-xl", None))
    assert [item.path for item in left_out] == [EXPLANATION_FILE]
    assert left_out[0].reason.startswith(reason)
    assert list(neurons) == PLACES
    assert plain(neurons.pop(BAD)) == plain(make_neuron(*BAD, seed=4)) | {"explanation": None}
    assert [plain(item) for item in neurons.values()] == [plain(made[place]) for place in (0, 2, 3)]


def test_lengths_that_differ_are_told_with_their_place(release):
    folder, _ = release
    change(neuron_path(folder, *BAD), shorten_activations)
    change(explanation_path(folder, 0, 0), shorten_simulation)
    _, left_out = split(read_neurons(folder, "gpt2-xl", None))
    assert left_out == [
        LeftOut(
            path="explanations/0/0.jsonl",
            reason="scored_explanations[0].scored_simulation.scored_sequence_simulations[2].simulation."
            "expected_activations: 63 numbers for 64 tokens",
        ),
        LeftOut(path=NEURON_FILE, reason="most_positive_activation_records[3].activations: 63 numbers for 64 tokens"),
    ]


def test_both_files_bad_are_both_told(release):
    folder, _ = release
    truncate(neuron_path(folder, *BAD))
    truncate(explanation_path(folder, *BAD))
    neurons, left_out = split(read_neurons(folder, "gpt2-xl", None))
    assert [item.path for item in left_out] == [EXPLANATION_FILE, NEURON_FILE]
    assert len(neurons) == 3


def test_a_missing_file_is_told(release):
    folder, made = release
    explanation_path(folder, *BAD).unlink()
    neuron_path(folder, 3, 12).unlink()
    neurons, left_out = split(read_neurons(folder, "gpt2-xl", None))
    assert left_out == [
        LeftOut(path=EXPLANATION_FILE, reason="not there; only the neuron's activations are"),
        LeftOut(path="collated-activations/3/12.json", reason="not there; only its explanation is"),
    ]
    assert list(neurons) == [(0, 0), (3, 7), (20, 6399)]
    assert (neurons[BAD].explanation, plain(neurons[BAD].top)) == (None, plain(made[1].top))


def test_neurons_of_a_larger_model_are_left_out_of_the_small_one(tmp_path):
    made = write_release(tmp_path, [(11, 3071), (11, 3072), (12, 0)])
    neurons, left_out = split(read_neurons(tmp_path, "gpt2-small", None))
    assert [plain(item) for item in neurons.values()] == [plain(made[0])]
    assert left_out == [
        LeftOut(
            path="collated-activations/11/3072.json",
            reason="neuron 3072 is beyond gpt2-small, whose neurons are 0 to 3071",
        ),
        LeftOut(
            path="collated-activations/12/0.json", reason="layer 12 is beyond gpt2-small, whose layers are 0 to 11"
        ),
    ]
    neuron_path(tmp_path, 12, 0).unlink()
    _, left_out = split(read_neurons(tmp_path, "gpt2-small", [(12, 0)]))
    assert [item.path for item in left_out] == ["explanations/12/0.jsonl"]


# lines, marks and names ----------------------------------------------------------------------------------------------


def test_the_first_line_of_an_explanation_is_the_one_read(release):
    folder, made = release
    path = explanation_path(folder, *BAD)
    path.write_bytes(b"\n" + path.read_bytes() + b"\r\nand a line that is no JSON\n")
    found = list(read_neurons(folder, "gpt2-xl", [BAD]))
    assert [plain(item) for item in found] == [plain(made[1])]


def test_a_byte_order_mark_is_no_fault(release):
    folder, made = release
    for path in (neuron_path(folder, *BAD), explanation_path(folder, *BAD)):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert [plain(item) for item in read_neurons(folder, "gpt2-xl", [BAD])] == [plain(made[1])]


def test_names_of_another_form_are_no_neurons(release):
    folder, _ = release
    layer = folder / "collated-activations" / "3"
    for name in ("007.json", "7.json.gz", "8.jsonl", "-1.json", "9.JSON", "\u0663.json", "._7.json", "10", "x.json"):
        (layer / name).write_text("{}")
    (folder / "collated-activations" / "notes.txt").write_text("not a layer")
    (folder / "collated-activations" / "4").write_text("a file in a layer's place")
    write_json(folder / "collated-activations" / "05" / "1.json", {})
    write_json(folder / "related-tokens" / "activation-based" / "6" / "1.json", {})
    assert places(folder) == PLACES


def test_neurons_are_listed_by_number_with_both_files(tmp_path):
    assert make_neuron(2, 10, seed=0).explanation is not None
    write_release(tmp_path, [(10, 1), (2, 10), (2, 9)], without_explanation=[(2, 9)])
    neuron_path(tmp_path, 10, 1).unlink()
    assert [(files.layer, files.index, files.activations, files.explanation) for files in list_neurons(tmp_path)] == [
        (2, 9, neuron_path(tmp_path, 2, 9), None),
        (2, 10, neuron_path(tmp_path, 2, 10), explanation_path(tmp_path, 2, 10)),
        (10, 1, None, explanation_path(tmp_path, 10, 1)),
    ]


def test_a_folder_of_explanations_alone_tells_of_each(tmp_path):
    neuron = make_neuron(1, 2, seed=0)
    write_json(explanation_path(tmp_path, 1, 2), explanation_data(neuron))
    assert [item.path for item in read_neurons(tmp_path, "gpt2-xl", None)] == ["collated-activations/1/2.json"]


@pytest.mark.parametrize("kind", ["missing", "empty", "file", "one too deep", "no neurons"])
def test_a_folder_that_is_not_of_the_layout(tmp_path, kind):
    folder = tmp_path / "data"
    if kind == "file":
        folder.write_text("a file")
    elif kind != "missing":
        folder.mkdir()
    if kind == "one too deep":
        write_json(neuron_path(folder, 1, 2), neuron_data(make_neuron(1, 2, seed=0)))
        folder = folder / "collated-activations"
    if kind == "no neurons":
        (folder / "collated-activations" / "3").mkdir(parents=True)
        (folder / "explanations").write_text("a file")
    for ask in (list_neurons, detect_release, lambda folder: read_neurons(folder, "gpt2-xl", [(1, 2)])):
        with pytest.raises(UserError, match=r"no collated-activations/LAYER/NEURON\.json in it; give the folder"):
            ask(folder)  # at once, before anything is taken from it


# which release -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [(12, 0), (0, 3072), (47, 6399), (99, 0)])
def test_a_place_that_only_the_large_model_has_shows_the_release(tmp_path, place):
    for layer, index in ((0, 1), place):
        write_json(neuron_path(tmp_path, layer, index), {})
    assert detect_release(tmp_path) == detect_release(tmp_path, "auto") == "gpt2-xl"


def test_places_that_both_have_show_nothing(tmp_path):
    write_json(neuron_path(tmp_path, 11, 3071), {})
    with pytest.raises(UserError, match=r"may be of gpt2-xl or of gpt2-small \(no layer is beyond 11, no neuron"):
        detect_release(tmp_path)


@pytest.mark.parametrize("name", ["gpt2-xl", "gpt2-small"])
def test_a_named_release_is_taken_at_its_word(tmp_path, name):
    write_json(neuron_path(tmp_path, 12, 1), {})
    assert detect_release(tmp_path, name) == name
