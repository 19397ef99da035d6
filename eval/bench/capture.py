"""What capturing all MLP neurons costs over the bare forward pass, on the same batches in one process.

Three arms take turns on every few batches, so that whatever else the machine does hits all of them alike:

    bare     the base model, nothing hooked
    stopped  the same, ended where capture ends: before the last layer's output projection
    capture  with the reductions, the running top excerpts and the file of maxima; the state goes on from turn to turn

The excerpts are random tokens. The first batches are all new tops and cost most; later ones cost ever less.
"""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from common import GPT2_SMALL, every_unit, random_gpt2, random_pool, run_part, say, spread

if TYPE_CHECKING:
    from localexplain.subject.capture import CaptureState
    from localexplain.subject.corpus import ExcerptPool
    from localexplain.subject.model import Subject

THREADS = 1  # with more, a torch operation waits for the slowest core, and another process makes the ratio a lottery
ARMS = ("bare", "stopped", "capture")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long a stream is, and how it is cut: `turn` batches for each arm's turn, the first `start` turns apart."""

    turns: int
    start: int
    turn: int
    batch_excerpts: int = 32


PLANS = {
    "gpt2_small_shape": Plan(turns=16, start=4, turn=1),
    "gpt2_small_shape_bfloat16": Plan(turns=16, start=4, turn=1),
    "tiny_subject": Plan(turns=80, start=8, turn=4),
}
QUICK = Plan(turns=3, start=1, turn=1, batch_excerpts=4)


def multiplies_bfloat16() -> bool:
    """Whether this processor has instructions for it; without them it is far slower than float32."""
    import torch

    known = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(known.get("avx512_bf16") or known.get("amx_bf16") or known.get("sve_bf16"))


def time_turns(subject: "Subject", bos: int | None, dtype: str, plan: Plan, folder: Path) -> dict[str, list[float]]:
    """Seconds of each arm's turns."""
    import torch

    from localexplain.subject.capture import capture_batches, save_state, watch_layers
    from localexplain.subject.capture_config import CaptureConfig
    from localexplain.subject.model import run_tokens

    config = CaptureConfig(dtype=dtype, batch_excerpts=plan.batch_excerpts)  # type: ignore[arg-type]
    units = every_unit(subject)
    columns = sum(map(len, units.values()))
    pool = random_pool(plan.turns * plan.turn * plan.batch_excerpts, subject.vocabulary)
    state: CaptureState | None = None
    seconds: dict[str, list[float]] = {arm: [] for arm in ARMS}

    def forward(batches: range) -> None:
        for batch in batches:
            rows = pool.token_ids[batch * plan.batch_excerpts : (batch + 1) * plan.batch_excerpts]
            run_tokens(subject, torch.tensor(rows), bos)

    def forward_stopped(batches: range) -> None:
        remove = watch_layers(subject, units, 0, lambda layer, activations: None)
        forward(batches)
        remove()

    def capture(batches: range) -> None:
        nonlocal state
        state = capture_batches(
            subject, pool, units, bos, config, batches=batches, state=state, write_maxima=write_maxima
        )

    with (folder / "maxima").open("wb") as file:

        def write_maxima(first_excerpt: int, rows: np.ndarray) -> None:
            file.seek(first_excerpt * columns * 2)
            file.write(rows.tobytes())

        calls = dict(zip(ARMS, (forward, forward_stopped, capture), strict=True))
        forward(range(1))  # the first pass of a process allocates
        for turn in range(plan.turns):
            for place in range(len(ARMS)):
                arm = ARMS[(turn + place) % len(ARMS)]
                began = time.perf_counter()
                calls[arm](range(turn * plan.turn, (turn + 1) * plan.turn))
                seconds[arm].append(time.perf_counter() - began)
    assert state is not None
    began = time.perf_counter()
    save_state(state, folder / "state")
    seconds["save"] = [time.perf_counter() - began]
    return seconds


def overheads(seconds: dict[str, list[float]], base: str, turns: slice) -> list[float]:
    """capture / base - 1, turn by turn."""
    return [mine / bare - 1 for mine, bare in zip(seconds["capture"][turns], seconds[base][turns], strict=True)]


def describe(seconds: dict[str, list[float]], plan: Plan) -> dict[str, Any]:
    """The fraction over the bare pass, after the start; then all that qualifies it."""
    start, steady = slice(plan.start), slice(plan.start, None)
    per_batch = sum(seconds["bare"]) / (plan.turns * plan.turn)
    every = 64  # batches between two checkpoints by default
    return {
        **spread(overheads(seconds, "bare", steady)),
        "start": spread(overheads(seconds, "bare", start)),
        "whole_run": round(sum(seconds["capture"]) / sum(seconds["bare"]) - 1, 4),
        "over_stopped_forward": spread(overheads(seconds, "stopped", steady)),
        "checkpoint": round(seconds["save"][0] / (every * per_batch), 4),
        "excerpts": plan.turns * plan.turn * plan.batch_excerpts,
        "excerpts_at_start": plan.start * plan.turn * plan.batch_excerpts,
        "bare_tokens_per_second": round(64 * plan.batch_excerpts / per_batch),
    }


def measure(quick: bool) -> dict[str, Any]:
    import torch

    from localexplain.resources import resource
    from localexplain.subject.model import bos_token, load_subject

    torch.set_num_threads(THREADS)
    found: dict[str, Any] = {}
    for name, plan in PLANS.items():
        dtype = "bfloat16" if name.endswith("bfloat16") else "float32"
        if dtype == "bfloat16" and not multiplies_bfloat16():
            continue
        shape = {"n_layer": 2, "n_embd": 64, "n_head": 2, "vocab_size": 500} if quick else GPT2_SMALL
        own = name == "tiny_subject"
        subject = load_subject(resource("models", "tiny-subject"), "float32", "cpu") if own else random_gpt2(dtype, **shape)
        bos = bos_token(subject, "auto") if own else None
        say(f"capture: {name}, {plan.turns} turns of {plan.turn} batches ...")
        with tempfile.TemporaryDirectory() as folder:
            chosen = QUICK if quick else plan
            found[name] = describe(time_turns(subject, bos, dtype, chosen, Path(folder)), chosen)
        say(f"capture: {name}: {found[name]}")
    return {"capture_overhead_fraction": found | {"threads": THREADS}}


if __name__ == "__main__":
    run_part(measure)
