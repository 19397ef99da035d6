"""What sharing prompt prefixes saves in `expected` mode on the transformers engine: tokens computed, and seconds.

Ten excerpts of 64 tokens for each of several explanations, the real prompt. The same requests are answered twice, turn
about: as the simulator makes them, and with the prefix moved into each tail, so that nothing is shared.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from common import run_part, say

sys.path.insert(0, str(Path(__file__).parents[2]))

from localexplain.engines.base import LabelReply, LabelRequest
from localexplain.types import SimulateTask

EXPLANATIONS = (
    "words for boats and the sea",
    "numbers that stand before a unit of measure",
    "the second word of a quotation",
    "names of months",
)
SENTENCE = "the river of stone and copper rain on a garden where seven boats came back in winter"
WORDS = SENTENCE.split()
EXCERPTS, LENGTH_TOKENS = 10, 64
LARGER = {"hidden_size": 512, "num_hidden_layers": 8, "num_attention_heads": 8, "intermediate_size": 1408}


def make_tasks(n_explanations: int, n_excerpts: int) -> list[SimulateTask]:
    random = np.random.default_rng(0)
    return [
        SimulateTask(
            explanation=explanation, tokens=tuple(f" {WORDS[i]}" for i in random.integers(0, len(WORDS), LENGTH_TOKENS))
        )
        for explanation in EXPLANATIONS[:n_explanations]
        for _ in range(n_excerpts)
    ]


def write_engine(folder: Path, quick: bool) -> Path:
    """A checkpoint of random weights with room for the prompts; large enough, unless `quick`, that computing is what
    takes the time."""
    from tests import tiny_models

    if not quick:
        tiny_models.GROUPED.update(LARGER, num_key_value_heads=4, head_dim=64)
    path = tiny_models.write_tiny_engine(folder / "engine", family="qwen3")
    tiny_models.edit_json(path / "config.json", max_position_embeddings=8192)
    return path


class Recorder:
    """An engine that hands requests on and keeps the last call's."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.requests: Sequence[LabelRequest] = ()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def label_logprobs(self, requests: Sequence[LabelRequest]) -> list[LabelReply]:
        self.requests = requests
        return list(self._engine.label_logprobs(requests))


def without_sharing(request: LabelRequest) -> LabelRequest:
    """The same prompt and positions, all of it in the tail."""
    moved = len(request.prefix)
    positions = tuple(position + moved for position in request.positions)
    return replace(request, prefix=(), tail=request.prefix + request.tail, positions=positions)


def measure(quick: bool) -> dict[str, Any]:
    import torch

    from localexplain.engines.transformers import TransformersEngine
    from localexplain.simulate.base import SimulateConfig
    from localexplain.simulate.expected import ExpectedSimulator

    torch.set_num_threads(1)
    tasks = make_tasks(2 if quick else len(EXPLANATIONS), 4 if quick else EXCERPTS)
    with tempfile.TemporaryDirectory() as folder:
        engine = TransformersEngine.load(write_engine(Path(folder), quick))
        recorder = Recorder(engine)
        simulator = ExpectedSimulator(recorder, SimulateConfig())
        replies = simulator.simulate(tasks)
        assert all(reply.error is None for reply in replies)
        shared = list(recorder.requests)
        # One prompt at a time: together, the engine would find what they have in common even so.
        alone = [without_sharing(request) for request in shared]
        seconds: dict[str, list[float]] = {"shared": [], "alone": []}
        computed = {"shared": 0, "alone": 0}
        for _ in range(1 if quick else 3):
            began = time.perf_counter()
            computed["shared"] = sum(reply.counts.computed for reply in engine.label_logprobs(shared))
            seconds["shared"].append(time.perf_counter() - began)
            began = time.perf_counter()
            computed["alone"] = sum(engine.label_logprobs([request])[0].counts.computed for request in alone)
            seconds["alone"].append(time.perf_counter() - began)
        engine.close()
    ratios = [mine / other for mine, other in zip(seconds["shared"], seconds["alone"], strict=True)]
    say(f"expected: computed {computed}, seconds {seconds}")
    return {
        "expected_computed_fraction": round(computed["shared"] / computed["alone"], 4),
        "expected_seconds_ratio": round(statistics.median(ratios), 4),
        "expected_prompts": len(tasks),
        "expected_prompt_tokens": sum(len(request.prefix) + len(request.tail) for request in shared),
        "expected_turns": len(ratios),
    }


if __name__ == "__main__":
    run_part(measure)
