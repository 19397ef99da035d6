"""The explainer's recipe on a few hundred sentences: what it writes, that it can be stopped, and that it repeats."""

import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localexplain.engines.transformers import TransformersEngine
from localexplain.errors import ConfigError, CorpusError, UserError
from localexplain.simulate.base import SimulateConfig
from localexplain.simulate.expected import ExpectedSimulator
from localexplain.train.batches import ExampleSet, plan_steps
from localexplain.train.examples import NOTHING
from localexplain.train.explainer import learning_rate_share, train_explainer
from localexplain.train.training_set import prepare_data, shard_numbers, shard_path, write_shard
from localexplain.types import SimulateTask
from tests.train.explainer_recipe import HELD_OUT, SETTINGS, WEIGHTS, configure, contents, quiet, stop_before_the_end

# the model -----------------------------------------------------------------------------------------------------------


def test_the_folder_is_an_engine_s_model(trained):
    """It loads, and gives every token of a text a level, with all the probability that a simulator can read."""
    engine = TransformersEngine.load(trained, dtype="float32", device="cpu", context_tokens=0)
    simulator = ExpectedSimulator(engine, SimulateConfig(prompt_version="inline-v2", few_shot=0))
    (reply,) = simulator.simulate([SimulateTask(explanation="reptiles", tokens=("a", " viper", " walked"))])
    assert reply.error is None
    assert reply.expected.shape == (3,)
    assert np.isfinite(reply.expected).all()
    simulator.close()


def test_the_card_says_what_was_done(texts, trained):
    card = json.loads((trained / "card.json").read_text())
    assert (card["prompt_version"], card["few_shot"]) == ("inline-v2", 0)
    assert {key: card["settings"][key] for key in SETTINGS if key != "processes"} == {
        key: value for key, value in SETTINGS.items() if key != "processes"
    }
    assert (card["settings"]["texts"], card["settings"]["out"]) == (texts.name, "model")  # no path of this machine
    assert "data" not in card["settings"]
    # embeddings 800 x 96; a block: four projections 96 x 96, the MLP 3 x 96 x 192, norms 2 x 96 + 2 x 32; the last norm
    assert card["parameters"] == 800 * 96 + 3 * (4 * 96 * 96 + 3 * 96 * 192 + 2 * 96 + 2 * 32) + 96
    assert card["training_tokens_seen"] >= 500 + 1600 + 3000
    assert card["final_loss_nats"]["step"] == card["steps"]


def test_the_same_seed_gives_the_same_weights_and_a_learning_rate_is_obeyed(texts, data, trained, tmp_path):
    """At next to no learning rate it learns nothing. At the size's own the labels cost a nat less, the written tokens a
    tenth, over all of its few steps."""
    again = tmp_path / "model"
    card = train_explainer(configure(texts, again, data), quiet)
    assert (again / WEIGHTS).read_bytes() == (trained / WEIGHTS).read_bytes()
    still = train_explainer(configure(texts, tmp_path / "still", data, learning_rate=1e-9), quiet)
    assert card["steps"] == still["steps"]
    for name, margin in (("labels", 1.0), ("text", 0.1)):
        assert card["final_loss_nats"][name] < still["final_loss_nats"][name] - margin, name


# stopped and resumed -------------------------------------------------------------------------------------------------


def test_stopped_and_resumed_it_has_the_same_weights(texts, data, trained, tmp_path):
    """And between the two, other settings are refused and change nothing."""
    out = tmp_path / "model"
    stop_before_the_end(configure(texts, out, data))
    before = contents(out)
    assert sorted(before) == ["checkpoint.pt"]
    for change in ({"learning_rate": 1e-3}, {"all_tokens": 3100}):
        with pytest.raises(UserError, match="begun with other settings"):
            train_explainer(configure(texts, out, data, **change), quiet)
    assert contents(out) == before
    lines = []
    card = train_explainer(configure(texts, out, data), lines.append)
    resumed = int(lines[0].removeprefix("resumed at step ").split()[0])
    assert resumed % 8 == 0
    assert 8 <= resumed < card["steps"]
    assert (out / WEIGHTS).read_bytes() == (trained / WEIGHTS).read_bytes()
    assert sorted(contents(out)) == sorted(contents(trained))


def test_a_finished_folder_is_left_as_it_is(texts, data, trained):
    before = contents(trained)
    lines = []
    card = train_explainer(configure(texts, trained, data, processes=2), lines.append)
    assert card == json.loads(before["card.json"])
    assert lines == [f"{trained}: trained already"]
    with pytest.raises(UserError, match="trained with other settings; use another folder"):
        train_explainer(configure(texts, trained, data, seed=2), quiet)
    assert contents(trained) == before


# the training set ----------------------------------------------------------------------------------------------------


def test_no_passage_holds_a_text_of_the_bed(data):
    with (data / "source.pickle").open("rb") as file:
        passages = pickle.load(file)["passages"]
    assert len(passages) > 100
    held = HELD_OUT.split()
    runs = {" ".join(held[start : start + 8]) for start in range(len(held) - 7)}
    assert not [text for text in passages if any(run in text for run in runs)]


def test_a_training_set_of_other_settings_is_refused(texts, data, tmp_path):
    before = contents(data)
    for change in ({"seed": 2}, {"vocabulary": 900}, {"easy_tokens": 3000}):
        with pytest.raises(UserError, match="training set made with other settings"):
            prepare_data(configure(texts, tmp_path, data, **change), quiet)
    assert contents(data) == before
    # what a stage trains on, and how, is no matter of the training set
    prepare_data(configure(texts, tmp_path, data, learning_rate=1.0, all_tokens=9), quiet)
    assert contents(data) == before


def test_a_shard_that_was_lost_is_made_again_as_it_was(texts, data):
    """In another process, alone, and not after those before it."""
    setting = configure(texts, data, data)
    numbers = {stage: list(shard_numbers(setting, stage)) for stage in ("text", "easy", "all")}
    assert numbers == {"text": [0], "easy": [0, 1], "all": [0, 1]}  # 500, 1600 and 1600 tokens by 1000
    path = shard_path(setting, "all", 1)
    before = path.read_bytes()
    path.unlink()
    write_shard((setting, "all", 1))
    with np.load(path) as found:
        assert found["ends"][-1] >= 1000
    assert path.read_bytes() == before


def test_too_little_text_is_named(tmp_path):
    (tmp_path / "few").mkdir()
    (tmp_path / "few" / "a.txt").write_text("Twelve words are what it takes to make a single passage here. " * 20)
    with pytest.raises(CorpusError, match=r"few: [0-9]+ passages are too few"):
        prepare_data(configure(tmp_path / "few", tmp_path / "out", tmp_path / "data"), quiet)


# batches -------------------------------------------------------------------------------------------------------------


def example_set(lengths):
    """Examples of these lengths; the ids of example n are all n + 1, its targets all n."""
    ends = np.cumsum(np.array(lengths, dtype=np.int64))
    numbers = np.repeat(np.arange(len(lengths)), lengths)
    return ExampleSet((numbers + 1).astype(np.uint16), numbers.astype(np.uint16), ends - lengths, ends)


LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=80)


@settings(max_examples=40, deadline=None)
@given(lengths=LENGTHS, batch_tokens=st.integers(1, 120), epoch=st.integers(0, 3), seed=st.integers(0, 3))
def test_every_example_is_in_one_batch_of_an_epoch(lengths, batch_tokens, epoch, seed):
    """And no batch is larger than it may be with its padding, but for an example that is alone too long."""
    found = example_set(lengths).batches(epoch, batch_tokens, seed)
    assert sorted(np.concatenate(found).tolist()) == list(range(len(lengths)))
    for batch in found:
        assert len(batch) == 1 or len(batch) * max(lengths[int(n)] for n in batch) <= batch_tokens


def test_epochs_and_seeds_differ_and_repeat():
    examples = example_set([5] * 40)

    def order(epoch, seed):
        return np.concatenate(examples.batches(epoch, 20, seed)).tolist()

    assert order(0, 1) == order(0, 1)
    assert order(0, 1) != order(1, 1)
    assert order(0, 1) != order(0, 2)


def test_examples_of_like_length_stand_together():
    """Half are 2 long, half 50: without sorting nearly every batch of 4 would be mostly padding."""
    lengths = [2, 50] * 40
    found = example_set(lengths).batches(0, 200, 0)
    mixed = [batch for batch in found if len({lengths[int(n)] for n in batch}) > 1]
    assert len(mixed) <= 1
    first_ten = [lengths[int(batch[0])] for batch in found[:10]]
    assert first_ten != sorted(first_ten)  # and the lengths come in no order


def test_a_batch_is_read_with_padding_behind():
    ids, targets = example_set([2, 1, 3]).read(np.array([2, 1]), NOTHING)
    assert ids.tolist() == [[3, 3, 3], [2, 0, 0]]
    assert targets.tolist() == [[2, 2, 2], [1, NOTHING, NOTHING]]


def test_steps_by_hand(texts):
    """Ten examples of 10 tokens, 20 a batch: five steps an epoch. 150 tokens of "easy" are an epoch and a half, cut
    after 8 steps (160); 40 of "all" are two steps, after them."""
    setting = configure(texts, texts, "", batch_tokens=20, easy_tokens=150, all_tokens=40)
    sets = {"easy": example_set([10] * 10), "all": example_set([10] * 10)}
    steps = plan_steps(setting, sets)
    assert [stage for stage, _ in steps] == ["easy"] * 8 + ["all"] * 2
    assert sorted(np.concatenate([batch for _, batch in steps[:5]]).tolist()) == list(range(10))
    assert len(set(np.concatenate([batch for _, batch in steps[5:8]]).tolist())) == 6
    again = plan_steps(setting, sets)
    assert [(stage, batch.tolist()) for stage, batch in steps] == [(stage, batch.tolist()) for stage, batch in again]


def test_the_learning_rate_rises_stays_and_falls():
    """Ten steps up; of 100 flat to step 40; half of the cosine at 70: 0.05 + 0.95 / 2; a twentieth at the end."""
    shares = [learning_rate_share(step, 100, 10) for step in range(101)]
    assert shares[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert shares[10:41] == pytest.approx([1.0] * 31)
    assert shares[70] == pytest.approx(0.525)
    assert shares[100] == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"size": "2m"}, "size"),
        ({"vocabulary": 511}, "vocabulary"),
        ({"vocabulary": 32_001}, "vocabulary"),
        *(({name: 0}, name) for name in ("distinct_tokens", "shard_tokens", "batch_tokens")),
        ({"text_tokens": 0, "easy_tokens": 0, "all_tokens": 0}, "all_tokens"),
        ({"grid_tokens": 5}, "grid_tokens"),  # nobody to learn from
        *(({name: 0}, name) for name in ("checkpoint_steps", "processes")),
        *(
            ({name: -1}, name)
            for name in ("learning_rate", "weight_decay", "warmup_steps", "seed", "text_tokens", "snapshots")
        ),
    ],
)
def test_a_setting_out_of_range_is_named(changes, named, tmp_path):
    with pytest.raises(ConfigError, match=f"{named} = "):
        configure(tmp_path, tmp_path, "", **changes)
