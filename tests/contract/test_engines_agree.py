"""Two engines over one model and one set of prompts: the same probabilities, the same values, the same obedience."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from localexplain.engines.transformers import TransformersEngine
from localexplain.engines.vllm import VllmEngine
from localexplain.simulate.base import SimulateConfig
from localexplain.simulate.expected import ExpectedSimulator
from localexplain.simulate.grid import Grid, GridSimulator, echoed_grid, plain_grid
from localexplain.types import SimulateReply, SimulateTask
from tests.contract.engine_contract import ask, grid_prompt, label_request, label_requests
from tests.tiny_models import edit_json, write_tiny_engine

pytestmark = pytest.mark.vllm

# Measured in float32 on a CPU: 5.7e-6 nats, and 6e-6 of an expected value in 0..10.
LOGPROB_TOLERANCE = 1e-4
EXPECTED_TOLERANCE = 1e-3

CONTEXT_TOKENS = 2048
WORDS = ("The", " ferry", " leaves", "\t", " the", "\n", " harbour", " <|im_start|>", " é", "", " ten", "10")
EXPLANATIONS = ("words for boats", "", "numbers between zero and ten, and rain\nor snow")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Qwen3 with a context that holds a simulation prompt in its small vocabulary."""
    path = write_tiny_engine(tmp_path_factory.mktemp("models") / "tiny-qwen3")
    edit_json(path / "config.json", max_position_embeddings=CONTEXT_TOKENS)
    edit_json(path / "tokenizer_config.json", model_max_length=CONTEXT_TOKENS)
    return path


@pytest.fixture(scope="module")
def plain(folder: Path) -> Iterator[TransformersEngine]:
    engine = TransformersEngine.load(folder, device="cpu")
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def fast(folder: Path) -> Iterator[VllmEngine]:
    engine = VllmEngine.load(folder)
    yield engine
    engine.close()


def tasks() -> list[SimulateTask]:
    """Each explanation over excerpts of 1, 5 and 24 tokens."""
    return [
        SimulateTask(
            explanation=explanation, tokens=tuple(WORDS[(shift + place) % len(WORDS)] for place in range(length))
        )
        for shift, explanation in enumerate(EXPLANATIONS)
        for length in (1, 5, 24)
    ]


def expected_of(replies: list[SimulateReply]) -> np.ndarray:
    assert [reply.error for reply in replies] == [None] * len(replies)
    return np.concatenate([reply.expected for reply in replies if reply.expected is not None])


def test_they_know_the_same_tokens(plain: TransformersEngine, fast: VllmEngine) -> None:
    text = "The ferry\t10\n <|im_start|> é"
    assert plain.tokenizer.encode(text) == fast.tokenizer.encode(text)
    assert plain.context_tokens == fast.context_tokens


def test_label_logprobs_agree(plain: TransformersEngine, fast: VllmEngine) -> None:
    long = label_request(plain, "Where the token is a boat, the activation is ten.\n" * 4, WORDS[:4] * 12)
    requests = [*label_requests(plain), long]
    gaps = []
    for one, other in zip(plain.label_logprobs(requests), fast.label_logprobs(requests), strict=True):
        assert one.logprobs is not None
        assert other.logprobs is not None
        gaps.append(float(np.abs(one.logprobs - other.logprobs).max()))
    assert max(gaps) <= LOGPROB_TOLERANCE


@pytest.mark.parametrize(
    "grid",
    [
        *(plain_grid(["a"] * cells) for cells in (1, 5, 64)),
        echoed_grid(["10"]),
        echoed_grid([*WORDS, "\u65e5\u672c", "[x]", "\\"]),
    ],
    ids=["plain 1", "plain 5", "plain 64", "echoed 1", "echoed 15"],
)
def test_both_obey_the_grid(plain: TransformersEngine, fast: VllmEngine, grid: Grid) -> None:
    for engine in (plain, fast):
        requests = [
            ask(
                engine,
                grid_prompt(len(grid.cells)),
                grid.pattern,
                max_tokens=grid.max_tokens,
                temperature=heat,
                seed=seed,
            )
            for seed, heat in enumerate((0.0, 1.0, 2.0))
        ]
        for reply in engine.generate(requests):
            assert reply.finish == "stop"
            assert re.fullmatch(grid.pattern, reply.text)
            assert grid.read(reply.text) is not None


@pytest.mark.parametrize("version", ["v1", "inline-v2"])
def test_greedy_grids_are_the_same(plain: TransformersEngine, fast: VllmEngine, version: str) -> None:
    config = SimulateConfig(mode="grid", prompt_version=version, few_shot=0)
    one, other = (expected_of(GridSimulator(engine, config).simulate(tasks())) for engine in (plain, fast))
    np.testing.assert_array_equal(one, other)
    assert len(set(one.tolist())) > 3  # else they would agree on nothing


@pytest.mark.parametrize("few_shot", [0, 1])
def test_expected_values_agree(plain: TransformersEngine, fast: VllmEngine, few_shot: int) -> None:
    config = SimulateConfig(mode="expected", few_shot=few_shot)
    one, other = (ExpectedSimulator(engine, config).simulate(tasks()) for engine in (plain, fast))
    gap = np.abs(expected_of(one) - expected_of(other)).max()
    assert gap <= EXPECTED_TOLERANCE
    assert expected_of(one).std() > 0.1
    assert {reply.counts.prompt > 600 for reply in one} == {few_shot == 1}  # the example is in the prompt
    masses = [(left.label_mass, right.label_mass) for left, right in zip(one, other, strict=True)]
    for left, right in masses:
        assert left == pytest.approx(right, rel=1e-3)


def test_expected_values_do_not_hang_on_the_batch(fast: VllmEngine) -> None:
    simulator = ExpectedSimulator(fast, SimulateConfig(mode="expected", few_shot=0))
    asked = tasks()
    together = simulator.simulate(asked)
    backwards = simulator.simulate(asked[::-1])[::-1]
    alone = [simulator.simulate([task])[0] for task in asked]
    for other in (backwards, alone):
        np.testing.assert_allclose(expected_of(other), expected_of(together), rtol=0, atol=EXPECTED_TOLERANCE)
