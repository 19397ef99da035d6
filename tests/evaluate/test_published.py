"""Which neurons of a release are drawn, and what the cells of the table say."""

import json

import pytest

from localexplain.errors import UserError
from localexplain.evaluate.published import contrasts, draw_neurons, parse_neurons, place_beside
from localexplain.published.table import read_table
from tests.evaluate.cells import make_cell
from tests.published_fixtures import explanation_path, write_release

PER_LAYER = 30


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """Three layers, the stored score of neuron n being n / PER_LAYER."""
    folder = tmp_path_factory.mktemp("release")
    write_release(folder, [(layer, 0) for layer in (0, 20, 47)])
    for layer in (0, 20, 47):
        data = json.loads(explanation_path(folder, layer, 0).read_text(encoding="utf-8"))
        activations = (folder / "collated-activations" / str(layer) / "0.json").read_bytes()
        for index in range(PER_LAYER):
            data["neuron_id"]["neuron_index"] = index
            data["scored_explanations"][0]["scored_simulation"]["ev_correlation_score"] = index / PER_LAYER
            explanation_path(folder, layer, index).write_text(json.dumps(data), encoding="utf-8")
            (folder / "collated-activations" / str(layer) / f"{index}.json").write_bytes(activations)
    return folder


def test_every_layer_and_every_fifth_of_the_scores_is_drawn_alike(release):
    drawn = draw_neurons(release, 15, seed=0)
    assert len(set(drawn)) == 15
    for layer in (0, 20, 47):
        indices = [index for own, index in drawn if own == layer]
        # all thirty are candidates: one of each fifth of six
        assert sorted(index // 6 for index in indices) == [0, 1, 2, 3, 4]
    assert draw_neurons(release, 15, seed=0) == drawn
    assert draw_neurons(release, 500, seed=0) == sorted((layer, i) for layer in (0, 20, 47) for i in range(PER_LAYER))


def test_a_rest_goes_to_the_first_layers(release):
    drawn = draw_neurons(release, 4, seed=1)
    assert [sum(own == layer for own, _ in drawn) for layer in (0, 20, 47)] == [2, 1, 1]


def test_a_list_of_neurons_is_read_and_what_is_none_is_named():
    assert parse_neurons("mlp.3:127, mlp.40:9") == [(3, 127), (40, 9)]
    for text in ("mlp.3", "attention.1:2", "", "3:127"):
        with pytest.raises(UserError, match="not a neuron"):
            parse_neurons(text)


def test_causes_are_told_apart_by_the_cell_that_differs_in_one_of_them():
    released = make_cell("published", [0.5, 0.25, 0.75], simulator="published")
    again = make_cell("published", [0.25, 0.25, None], simulator="open")
    own = make_cell("ours", [0.125, 0.5, 0.5], simulator="open")
    found = {item.name: item for item in contrasts([released, again, own], "top_and_random", 0)}
    assert found["simulator"].difference.mean == pytest.approx((-0.25 + 0.0) / 2)
    assert found["explainer"].difference.mean == pytest.approx((-0.125 + 0.25) / 2)
    assert found["both"].difference.mean == pytest.approx((-0.375 + 0.25 - 0.25) / 3)
    assert (found["simulator"].difference.n, found["simulator"].difference.unscored) == (2, 1)
    assert found["both"].by_layer[1].mean == pytest.approx(0.25)  # layers 0, 1, 2: one unit each
    assert [item.name for item in contrasts([released], "top_and_random", 0)] == []


def test_a_layer_stands_beside_its_own_published_mean():
    table = read_table()
    rows = place_beside([0, 0, 47], [0.5, 0.25, None], table, "top_and_random", 0)
    assert [(row["layer"], row["published"], row["own"]["mean"], row["own"]["unscored"]) for row in rows] == [
        (0, 0.38, 0.375, 0), (47, 0.065, None, 1),
    ]  # fmt: skip
    (row,) = place_beside([3], [0.5], table, "random_only", 0)
    assert row["published"] is None  # read off the figure for some layers only
