"""The simulators on a real model: a tiny one with random weights, against its own plain forward pass."""

import numpy as np
import pytest
import torch
import transformers

from localexplain.engines.transformers import TransformersEngine
from localexplain.prompts import load_prompt
from localexplain.simulate.base import SimulateConfig
from localexplain.simulate.cells import CellFormat, CellWriter
from localexplain.simulate.load import load_simulator
from localexplain.types import SimulateTask
from tests.tiny_models import write_tiny_engine

TOKENS = (" boat", "", "\t", "<|im_end|>", " ten", "\n", "10", "\ufffd", ".")
EXPLANATIONS = ("words for boats", "", "words for boats")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_engine(tmp_path_factory.mktemp("models") / "tiny-llama", family="llama")


@pytest.fixture(scope="module")
def engine(folder):
    engine = TransformersEngine.load(folder, device="cpu")
    yield engine
    engine.close()


def simulate(engine, mode, chat):
    tasks = [SimulateTask(explanation=text, tokens=TOKENS[place:]) for place, text in enumerate(EXPLANATIONS)]
    return load_simulator(SimulateConfig(mode=mode, chat=chat, few_shot=0), engine).simulate(tasks)


def test_expected_values_are_those_of_the_whole_prompt_run_plainly(engine, folder):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = engine.tokenizer
    labels = [tokenizer.encode(str(number))[0] for number in range(11)]
    assert [len(tokenizer.encode(str(number))) for number in range(11)] == [1] * 11
    instruction = load_prompt("simulate-expected", "v1").render("instruction.j2", legend="", filler="?")
    form = CellFormat(separator="\t", filler="?", end="\n")
    for place, reply in enumerate(simulate(engine, "expected", "never")):
        cells = CellWriter(tokenizer.encode, form, labels).write(TOKENS[place:], [None] * len(TOKENS[place:]))
        explanation = f" {EXPLANATIONS[place]}" if EXPLANATIONS[place] else ""
        head = f"{instruction}\n\nNeuron 1 responds to:{explanation}\n<excerpt>\n"
        ids = (*tokenizer.encode(head), *cells.token_ids)
        with torch.no_grad():
            logprobs = torch.log_softmax(model(torch.tensor([ids])).logits[0].double(), dim=-1)
        offset = len(ids) - len(cells.token_ids)
        shares = logprobs[[offset + position for position in cells.positions]][:, labels].exp().numpy()
        wanted = shares @ np.arange(11) / shares.sum(axis=1)
        assert np.ptp(wanted) > 0.1  # the model does tell the tokens apart
        assert reply.expected == pytest.approx(wanted, abs=1e-3)
        assert reply.label_mass == pytest.approx(shares.sum(axis=1).min(), rel=1e-3)


@pytest.mark.parametrize("chat", ["always", "never"])
def test_the_grid_holds_one_number_for_each_token(engine, chat):
    replies = simulate(engine, "grid", chat)
    assert [reply.error for reply in replies] == [None] * 3
    for place, reply in enumerate(replies):
        assert len(reply.expected) == len(TOKENS) - place
        assert set(reply.expected.tolist()) <= set(range(11))


def test_expected_values_do_not_hang_on_the_batch(engine):
    tasks = [SimulateTask(explanation=text, tokens=TOKENS[place:]) for place, text in enumerate(EXPLANATIONS)]
    simulator = load_simulator(SimulateConfig(few_shot=0), engine)
    alone = [simulator.simulate([task])[0].expected for task in tasks]
    for left, right in zip(alone, simulator.simulate(tasks), strict=True):
        assert left == pytest.approx(right.expected, abs=1e-3)
