"""The small explainers that ship: their cards hold, they read what they are told, and engines agree on them."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from localexplain.engines.transformers import TransformersEngine
from localexplain.engines.vllm import VllmEngine
from localexplain.evaluate.bench import OWN_MODELS, simulate_config
from localexplain.evaluate.planted import score_explanations, shuffled
from localexplain.evaluate.units import plant_units, subject_cut
from localexplain.planted.bed import read_bed
from localexplain.resources import resource
from localexplain.simulate.expected import ExpectedSimulator
from localexplain.simulate.grid import GridSimulator
from localexplain.train.training_set import hash_held_out
from localexplain.types import SimulateTask

SIZES = {"tiny-explainer-1m": (0.8e6, 1.6e6), "tiny-explainer-4m": (3e6, 5e6), "tiny-explainer-12m": (10e6, 16e6)}
LARGEST_FILE = 32 * 10**6
ENGINES_AGREE = 0.02  # largest difference of a unit's score


def card_of(name: str) -> dict:
    return json.loads(resource("models", name, "card.json").read_text(encoding="utf-8"))


def weights_of(name: str) -> Path:
    return resource("models", name, "model.safetensors")


@pytest.fixture(scope="module")
def units():
    """Every second unit of the bed: all kinds are among them."""
    return plant_units(read_bed(), subject_cut(), seed=0)[::2]


@pytest.mark.parametrize("name", OWN_MODELS)
def test_a_model_is_of_its_size_in_16_bit_and_small_enough_to_ship(name):
    with safe_open(weights_of(name), "numpy") as file:
        names = file.keys()
        tensors = [file.get_slice(name) for name in names]
    assert {tensor.get_dtype() for tensor in tensors} == {"F16"}
    count = sum(int(np.prod(tensor.get_shape())) for tensor in tensors)
    low, high = SIZES[name]
    assert low < count < high
    assert card_of(name)["parameters"] == count
    assert weights_of(name).stat().st_size < LARGEST_FILE


@pytest.mark.parametrize("name", OWN_MODELS)
def test_a_card_names_the_held_out_set_as_it_is_now(name):
    """The hash covers all words and texts of the bed and the puzzles: had one been added or changed after training,
    nothing would say that it did not enter."""
    assert card_of(name)["data"]["held_out"] == hash_held_out()


@pytest.mark.parametrize("name", OWN_MODELS)
def test_all_sizes_share_one_tokenizer_that_is_not_the_subjects(name):
    own = resource("models", name, "tokenizer.json").read_bytes()
    assert own == resource("models", OWN_MODELS[0], "tokenizer.json").read_bytes()
    assert own != resource("models", "tiny-subject", "tokenizer.json").read_bytes()
    config = json.loads(resource("models", name, "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["Qwen3ForCausalLM"]
    assert config["max_position_embeddings"] >= 2048


def test_the_largest_reads_the_explanation(units):
    """The same texts with another unit's explanation are an intervention on the explanation alone."""
    folder = resource("models", OWN_MODELS[-1])
    engine = TransformersEngine.load(folder)
    simulator = ExpectedSimulator(engine, simulate_config(folder, "expected"))
    truths = [unit.concept.explanations[0] for unit in units]
    true = score_explanations(simulator, units, truths)
    wrong = score_explanations(simulator, units, shuffled(truths, seed=0))
    engine.close()
    assert true.failed == wrong.failed == 0
    lift = np.array(true.scores, dtype=float) - np.array(wrong.scores, dtype=float)
    assert lift.mean() > 4 * lift.std() / len(lift) ** 0.5  # four standard errors above a simulator that does not read


def test_every_grid_is_valid_at_any_length():
    folder = resource("models", OWN_MODELS[0])
    engine = TransformersEngine.load(folder)
    simulator = GridSimulator(engine, simulate_config(folder, "grid"))
    tokens = ("", "the", "ferry", "left", "at", "dawn", ";", "nobody", "saw", "it", "go", ".", "7", "\\", "ü")
    tasks = [SimulateTask(explanation="words about boats", tokens=(tokens * 6)[:length]) for length in (1, 2, 9, 64)]
    replies = simulator.simulate(tasks)
    engine.close()
    assert [reply.error for reply in replies] == [None] * 4
    assert [len(reply.expected) for reply in replies] == [1, 2, 9, 64]


@pytest.mark.vllm
def test_vllm_and_transformers_give_the_same_scores(units):
    folder = resource("models", OWN_MODELS[-1])
    chosen = (units * 2)[:50]
    explanations = [unit.concept.explanations[place // len(units)] for place, unit in enumerate(chosen)]
    scores = []
    for engine_class in (TransformersEngine, VllmEngine):
        engine = engine_class.load(folder)
        simulator = ExpectedSimulator(engine, simulate_config(folder, "expected"))
        scores.append(np.array(score_explanations(simulator, chosen, explanations).scores, dtype=float))
        engine.close()
    assert np.isfinite(scores).all()
    assert np.abs(scores[0] - scores[1]).max() < ENGINES_AGREE
