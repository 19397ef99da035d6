"""The explainer's recipe from a model on, and the models that it keeps on the way."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from localexplain.engines.tokenizer import HuggingFaceTokenizer
from localexplain.engines.transformers import TransformersEngine
from localexplain.errors import UserError
from localexplain.simulate.base import SimulateConfig
from localexplain.simulate.expected import ExpectedSimulator
from localexplain.train.explainer import make_model, train_explainer
from localexplain.train.explainer_settings import ExplainerTraining
from localexplain.train.training_set import begin_data, make_tokenizer, prepare_data
from localexplain.types import SimulateTask
from tests.train.explainer_recipe import WEIGHTS, configure, contents, quiet, stop_before_the_end

SHORT = {"text_tokens": 0, "easy_tokens": 0, "all_tokens": 400}  # a step or two
STILL = SHORT | {"learning_rate": 1e-9}


def card_of(folder):
    return json.loads((folder / "card.json").read_text(encoding="utf-8"))


def weights_of(folder):
    return {name: value.astype(np.float64) for name, value in load_file(folder / WEIGHTS).items()}


def distance(one, other):
    """Root mean square of the difference over all weights; the embeddings are those of one tokenizer."""
    assert one.keys() == other.keys()
    gaps = np.concatenate([(one[name] - other[name]).ravel() for name in one])
    return float(np.sqrt(np.mean(gaps**2)))


@pytest.fixture(scope="module")
def start_data(texts, trained, tmp_path_factory):
    """The training set of those that go on from `trained`."""
    folder = tmp_path_factory.mktemp("start-set") / "data"
    prepare_data(configure(texts, folder, folder, start=str(trained), **SHORT), quiet)
    return folder


@pytest.fixture(scope="module")
def short_data(texts, tmp_path_factory):
    """The same without a start: its own tokenizer, trained on the same texts, is the same."""
    folder = tmp_path_factory.mktemp("short-set") / "data"
    prepare_data(configure(texts, folder, folder, **SHORT), quiet)
    return folder


@pytest.fixture(scope="module")
def gone_on(texts, trained, start_data, tmp_path_factory):
    """`trained`, gone on with at next to no learning rate."""
    out = tmp_path_factory.mktemp("gone-on") / "second"
    train_explainer(configure(texts, out, start_data, start=str(trained), **STILL), quiet)
    return out


# going on ------------------------------------------------------------------------------------------------------------


def test_it_begins_with_the_weights_of_the_model_and_not_with_fresh_ones(texts, data, trained, gone_on):
    """At next to no learning rate they stay what they were, but for the rounding to 16 bits; a fresh model of the same
    settings has others."""
    tokenizer = HuggingFaceTokenizer.load(data / "tokenizer")
    pieces = [tokenizer.backend.decode([index]) for index in range(tokenizer.vocabulary_tokens)]
    model = make_model(configure(texts, data, data), np.load(data / "stream.npy").astype(np.int64), pieces)
    fresh = {name: value.detach().double().numpy() for name, value in model.state_dict().items()}
    begun = weights_of(trained)
    fresh = {name: fresh[name] for name in begun}
    assert distance(weights_of(gone_on), begun) < 1e-6
    assert distance(fresh, begun) > 1e-2


def test_it_knows_what_the_model_knew(texts, short_data, gone_on, tmp_path):
    """Neither learns anything over these steps, and the examples are the same: only one of them was trained before."""
    card = train_explainer(configure(texts, tmp_path / "fresh", short_data, **STILL), quiet)
    again = card_of(gone_on)
    assert again["steps"] == card["steps"]
    assert again["training_tokens_seen"] == card["training_tokens_seen"]
    assert again["final_loss_nats"]["labels"] < card["final_loss_nats"]["labels"] - 1.0


def test_it_learns_on_at_a_learning_rate(texts, trained, start_data, tmp_path):
    out = tmp_path / "model"
    train_explainer(configure(texts, out, start_data, start=str(trained), **SHORT), quiet)
    assert distance(weights_of(out), weights_of(trained)) > 1e-4


def test_it_has_the_tokenizer_of_the_model(trained, gone_on, start_data):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (gone_on / name).read_bytes() == (trained / name).read_bytes()
    one, other = (HuggingFaceTokenizer.load(folder) for folder in (trained, start_data / "tokenizer"))
    assert one.encode("The unhappy viper 10\n") == other.encode("The unhappy viper 10\n")
    assert one.bos_id == other.bos_id == 0


def test_a_vocabulary_that_is_asked_for_does_not_change_it(texts, trained, tmp_path):
    begin_data(configure(texts, tmp_path, tmp_path, start=str(trained), vocabulary=600), tmp_path, quiet)
    assert HuggingFaceTokenizer.load(tmp_path / "tokenizer").vocabulary_tokens == 800


def test_the_card_tells_the_whole_way(texts, trained, gone_on, start_data, tmp_path):
    """A third from the second from the first: each says its own settings, and what its start says of itself. The second
    has the first's tokenizer, so the third has its training set."""
    third = tmp_path / "third"
    train_explainer(configure(texts, third, start_data, start=str(gone_on), **STILL), quiet)
    first, second, last = map(card_of, (trained, gone_on, third))
    assert first["start"] is None
    assert (first["settings"]["start"], second["settings"]["start"], last["settings"]["start"]) == (
        "", "model", "second"
    )  # fmt: skip
    for card, before in ((second, first), (last, second)):
        for key in ("start", "settings", "steps", "training_tokens_seen", "final_loss_nats", "data"):
            assert card["start"][key] == before[key], key
    assert last["start"]["start"]["start"] is None
    assert str(trained.parent) not in json.dumps(last)  # no path of this machine


def test_another_size_is_refused_in_one_line(texts, trained, start_data, tmp_path):
    with pytest.raises(UserError, match=r"model: not a model of size 4m; name its size with --size$") as caught:
        train_explainer(configure(texts, tmp_path, start_data, start=str(trained), size="4m", **SHORT), quiet)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("left", [(), ("tokenizer.json", "tokenizer_config.json")], ids=["nothing", "tokenizer"])
def test_a_folder_that_is_no_model_is_refused(texts, trained, short_data, start_data, tmp_path, left):
    """A training set that was there for the same tokenizer, or for none, made it an OSError or let it pass; without one
    it was found only after everything else was made."""
    folder = tmp_path / "empty"
    folder.mkdir()
    for name in left:
        shutil.copyfile(trained / name, folder / name)
    for there in (start_data if left else short_data, tmp_path / "data"):
        with pytest.raises(UserError, match=r"empty: no model to start from; name one of this recipe, or its folder"):
            train_explainer(configure(texts, tmp_path / "out", there, start=str(folder), **SHORT), quiet)
    assert not (tmp_path / "data").exists()


def test_a_name_that_is_no_model_is_refused(texts, tmp_path):
    with pytest.raises(UserError, match="tiny-explainer-7g: no model to start from"):
        prepare_data(configure(texts, tmp_path / "out", tmp_path / "data", start="tiny-explainer-7g"), quiet)


def test_a_training_set_of_another_tokenizer_is_refused(texts, short_data, trained, start_data, tmp_path):
    """Of a fresh one, and of a model's with other tokens."""
    other = shutil.copytree(trained, tmp_path / "other")
    backend = make_tokenizer(ExplainerTraining(texts="", out="", vocabulary=800), ["other words"] * 50, [])
    backend.save_pretrained(other)
    assert (other / "tokenizer.json").read_bytes() != (trained / "tokenizer.json").read_bytes()
    for start, there in ((trained, short_data), (other, start_data), ("", start_data)):
        before = contents(there)
        setting = configure(texts, tmp_path / "out", there, start=str(start), **SHORT)
        with pytest.raises(UserError, match="training set made with other settings"):
            train_explainer(setting, quiet)
        assert contents(there) == before


def test_a_training_begun_from_another_model_is_not_gone_on_with(texts, trained, gone_on, start_data, tmp_path):
    out = tmp_path / "model"
    setting = {"all_tokens": 3000, "text_tokens": 0, "easy_tokens": 0}
    stop_before_the_end(configure(texts, out, start_data, start=str(trained), checkpoint_steps=1, **setting))
    with pytest.raises(UserError, match="begun with other settings"):
        train_explainer(configure(texts, out, start_data, start=str(gone_on), checkpoint_steps=1, **setting), quiet)


# snapshots -----------------------------------------------------------------------------------------------------------


def snapshots_of(out):
    return {int(path.name): path for path in (out / "snapshots").iterdir()}


def test_snapshots_are_the_models_on_the_way_and_change_nothing(texts, data, trained, tmp_path):
    """Two of them, after a third and two thirds of the steps: the second holds what the checkpoint of that step holds.
    The training goes on to the same weights as one that kept none, and it may be stopped in between."""
    steps = card_of(trained)["steps"]
    thirds = [round(steps / 3), round(2 * steps / 3)]
    assert 0 < thirds[0] < thirds[1] < steps
    out = tmp_path / "model"
    setting = configure(texts, out, data, snapshots=2, checkpoint_steps=thirds[1])
    without = configure(texts, tmp_path / "without", data, checkpoint_steps=thirds[1])
    stop_before_the_end(setting)
    kept = snapshots_of(out)
    assert sorted(kept) == thirds
    state = torch.load(out / "checkpoint.pt", weights_only=True)
    assert state["step"] == thirds[1]
    for name, value in load_file(kept[thirds[1]] / WEIGHTS).items():
        np.testing.assert_array_equal(value, state["model"][name].half().numpy())
    before = {step: contents(path) for step, path in kept.items()}
    card = train_explainer(setting, quiet)
    plain = train_explainer(without, quiet)
    assert (out / WEIGHTS).read_bytes() == (tmp_path / "without" / WEIGHTS).read_bytes()
    assert "snapshots" not in card["settings"]
    assert card["final_loss_nats"] == plain["final_loss_nats"]
    assert {step: contents(path) for step, path in snapshots_of(out).items()} == before
    assert not (tmp_path / "without" / "snapshots").exists()
    # three models that are not the same
    three = [weights_of(folder) for folder in (kept[thirds[0]], kept[thirds[1]], out)]
    assert min(distance(three[0], three[1]), distance(three[1], three[2]), distance(three[0], three[2])) > 1e-4
    # whoever asks for a folder that is done gets it, with or without
    assert train_explainer(configure(texts, out, data, checkpoint_steps=thirds[1]), quiet) == card


def test_a_snapshot_is_an_engine_s_model(texts, trained, start_data, tmp_path):
    out = tmp_path / "model"
    setting = SHORT | {"all_tokens": 1500}
    card = train_explainer(configure(texts, out, start_data, start=str(trained), snapshots=1, **setting), quiet)
    (step, folder), *more = snapshots_of(out).items()
    assert (step, more) == (round(card["steps"] / 2), [])
    engine = TransformersEngine.load(folder, dtype="float32", device="cpu", context_tokens=0)
    simulator = ExpectedSimulator(engine, SimulateConfig(prompt_version="inline-v2", few_shot=0))
    (reply,) = simulator.simulate([SimulateTask(explanation="reptiles", tokens=("a", " viper", " walked"))])
    simulator.close()
    assert reply.error is None
    assert np.isfinite(reply.expected).all()
    assert (Path(folder) / "tokenizer.json").read_bytes() == (trained / "tokenizer.json").read_bytes()


def test_more_snapshots_than_steps_are_one_for_each_step(texts, trained, start_data, tmp_path):
    """But for the last, which is the model, when rounding does not reach it."""
    out = tmp_path / "model"
    setting = SHORT | {"all_tokens": 1500}
    card = train_explainer(configure(texts, out, start_data, start=str(trained), snapshots=99, **setting), quiet)
    assert set(range(1, card["steps"])) <= snapshots_of(out).keys() <= set(range(1, card["steps"] + 1))
