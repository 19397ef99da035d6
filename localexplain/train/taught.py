"""Grids that a model learns from its own expected values.

A written number is the likeliest one, and on most tokens that is 0 however much speaks against it: a small model that
learns grids from the true levels writes zeros wherever it is not sure. So it is taught to write what it expects:

    explanation, tokens ──the start model, mode "expected"──> expected values ──rounded──> the grid to write
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from localexplain.engines.tokenizer import HuggingFaceTokenizer
from localexplain.train.examples import PROMPT_VERSION, Example, ExampleWriter

Teach = Callable[[str, Sequence[str]], Sequence[int]]


class TaughtWriter(ExampleWriter):
    """Writes grids of the levels that `teach` gives for an explanation and tokens [T]; all else as ever."""

    def __init__(self, tokenizer: HuggingFaceTokenizer, teach: Teach) -> None:
        super().__init__(tokenizer)
        self._teach = teach

    def grid(self, explanation: str, tokens: Sequence[str], levels: Sequence[int]) -> Example:
        """`levels` [T], the true ones, are not looked at."""
        return super().grid(explanation, tokens, self._teach(explanation, tokens) if tokens else ())


def load_teacher(folder: Path) -> Teach:
    """The model's expected values as whole numbers, 0 to 10, on one thread of the CPU or on the GPU."""
    import torch

    from localexplain.engines.transformers import TransformersEngine
    from localexplain.simulate.base import SimulateConfig
    from localexplain.simulate.expected import ExpectedSimulator
    from localexplain.types import SimulateTask

    torch.set_num_threads(1)  # several of these run at once
    config = SimulateConfig(mode="expected", prompt_version=PROMPT_VERSION, few_shot=0, chat="never")
    simulator = ExpectedSimulator(TransformersEngine.load(folder), config)

    def teach(explanation: str, tokens: Sequence[str]) -> Sequence[int]:
        reply = simulator.simulate([SimulateTask(explanation=explanation, tokens=tuple(tokens))])[0]
        if reply.expected is None:
            raise ValueError(f"the start model gave no expected values: {reply.error}")
        levels: list[int] = np.rint(reply.expected).astype(int).tolist()
        return levels

    return teach
