"""Grids that a model learns from its own expected values."""

import pytest

from localexplain.engines.transformers import TransformersEngine
from localexplain.errors import ConfigError
from localexplain.simulate.base import SimulateConfig
from localexplain.simulate.expected import ExpectedSimulator
from localexplain.train.dataset import ExampleSource, make_shard, word_pieces
from localexplain.train.examples import PROMPT_VERSION, ExampleWriter
from localexplain.train.explainer import train_explainer
from localexplain.train.explainer_settings import ExplainerTraining
from localexplain.train.taught import TaughtWriter, load_teacher
from localexplain.train.training_set import load_source
from localexplain.types import SimulateTask
from tests.train.explainer_recipe import configure, quiet
from tests.train.tiny_vocabulary import TOKENIZER

TOKENS = ("the", " cat", ".", "\n", "", " 10")


def test_a_grid_has_the_taught_levels_and_nothing_of_the_true_ones():
    asked = []

    def teach(explanation, tokens):
        asked.append((explanation, tuple(tokens)))
        return [3, 0, 10, 1, 0, 7]

    taught = TaughtWriter(TOKENIZER, teach)
    plain = ExampleWriter(TOKENIZER)
    for true in ([0] * 6, [10] * 6):
        found = taught.grid("cats", TOKENS, true)
        wanted = plain.grid("cats", TOKENS, [3, 0, 10, 1, 0, 7])
        assert (found.ids, found.targets) == (wanted.ids, wanted.targets)
    assert asked == [("cats", TOKENS)] * 2
    # all other examples are those of the plain writer
    one, other = (writer.simulate("cats", TOKENS, [1] * 6, fits=True) for writer in (taught, plain))
    assert (one.ids, one.targets) == (other.ids, other.targets)


def test_the_teacher_gives_the_model_s_expected_values_rounded(trained):
    teach = load_teacher(trained)
    config = SimulateConfig(prompt_version=PROMPT_VERSION, few_shot=0, chat="never")
    simulator = ExpectedSimulator(TransformersEngine.load(trained, device="cpu"), config)
    for explanation in ("reptiles", ""):
        (reply,) = simulator.simulate([SimulateTask(explanation=explanation, tokens=TOKENS)])
        assert list(teach(explanation, TOKENS)) == [round(float(value)) for value in reply.expected]
    simulator.close()


def grid_levels(shard):
    """Of each grid among the examples, the levels that it asks for: a label that is followed by itself is written."""
    labels = ExampleWriter(TOKENIZER).label_ids
    first = TOKENIZER.vocabulary_tokens
    found = []
    for example in shard:
        places = [place for place, target in enumerate(example.targets) if first <= target < first + 11]
        levels = [example.targets[place] - first for place in places]
        following = [example.ids[place + 1] for place in places if place + 1 < len(example.ids)]
        if places and following == [labels[level] for level in levels]:
            found.append(levels)
    return found


def test_in_the_last_stage_half_of_the_simulations_are_grids_and_the_teacher_is_asked_for_each(data):
    asked = []

    def teach(explanation, tokens):
        asked.append(len(tokens))
        return [3] * len(tokens)

    plain = load_source(data, "", "")
    taught = ExampleSource(plain._concepts, TaughtWriter(TOKENIZER, teach), word_pieces, [])
    shard = make_shard(taught, "grid", 0, 20_000, seed=0)
    grids = grid_levels(shard)
    assert [len(levels) for levels in grids] == [n for n in asked if n]
    assert {level for levels in grids for level in levels} == {3}
    # text and explanations are about a quarter of the examples; of the others a half, where "all" has a tenth
    assert 0.2 < len(grids) / len(shard) < 0.6
    true = ExampleSource(plain._concepts, ExampleWriter(TOKENIZER), word_pieces, [])  # its own has another vocabulary
    others = grid_levels(make_shard(true, "all", 0, 20_000, seed=0))
    assert len(others) < len(grids) / 2
    assert {level for levels in others for level in levels} > {0, 3}


def test_the_last_stage_runs_and_lies_in_the_model_s_own_folder(texts, trained, tmp_path):
    out, data = tmp_path / "model", tmp_path / "data"
    none = {"text_tokens": 0, "easy_tokens": 0, "all_tokens": 0}
    card = train_explainer(configure(texts, out, data, start=str(trained), grid_tokens=3000, **none), quiet)
    assert card["start"]["settings"]["out"] == trained.name
    assert card["training_tokens_seen"] >= 3000
    assert [path.name for path in sorted((out / "taught").iterdir())] == [
        "grid-000.npz",
        "grid-001.npz",
        "grid-002.npz",
    ]
    assert not list(data.glob("*-*.npz"))  # of stages without tokens nothing is made


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"grid_tokens": 5}, "grid_tokens = 5: needs a model to start from"),
        ({"easy_tokens": 0, "all_tokens": 0}, "nothing to train on"),
        ({"grid_tokens": -1}, "grid_tokens"),
    ],
)
def test_settings_that_do_not_go_together_are_named(changes, named):
    with pytest.raises(ConfigError, match=named):
        ExplainerTraining(texts="texts", out="out", **changes)
