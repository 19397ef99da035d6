"""What capturing all MLP neurons costs over the bare forward pass, on the same batches in one process.

Three arms take turns, so that whatever else the machine does hits all of them alike, and each turn is one ratio:

    bare     the base model, nothing hooked
    stopped  the same, ended where capture ends: before the last layer's output projection
    capture  with the reductions, the running top excerpts and the file of maxima; the state goes on from turn to turn

The excerpts are random tokens. In the first batches most excerpts are new tops of most neurons, which costs most; told
apart are the start, the rest (which falls further the longer a run is) and all. On one thread the processor's seconds
are what is compared: they leave out the time in which another process ran. The clock's are beside them.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from common import GPT2_SMALL, LENGTH_TOKENS, every_unit, random_gpt2, random_pool, run_part, say, spread

if TYPE_CHECKING:
    from localexplain.subject.capture import CaptureState
    from localexplain.subject.capture_config import CaptureConfig, Dtype
    from localexplain.subject.model import Subject

THREADS = 1  # with more, a torch operation waits for the slowest core, and another process makes the ratio a lottery
CHECKPOINT_BATCHES = 64  # the default: the state is written this often, which `checkpoint` puts in proportion


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The first `turns` x `batches` batches of a run over `run_excerpts`; the first `start` turns are told apart."""

    turns: int
    start: int
    batches: int
    run_excerpts: int
    batch_excerpts: int = 32

    @property
    def excerpts(self) -> int:
        return self.turns * self.batches * self.batch_excerpts


PLANS = {
    "gpt2_small_shape": Plan(turns=16, start=4, batches=1, run_excerpts=16_384),
    "gpt2_small_shape_bfloat16": Plan(turns=48, start=16, batches=1, run_excerpts=16_384),
    "tiny_subject": Plan(turns=80, start=8, batches=4, run_excerpts=10_240),
}
QUICK = Plan(turns=3, start=1, batches=1, run_excerpts=16, batch_excerpts=4)
QUICK_SHAPE = {"n_layer": 2, "n_embd": 64, "n_head": 2, "vocab_size": 500}


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Seconds of one turn: the clock's, and those the processor spent on this thread."""

    clock: float
    processor: float


def multiplies_bfloat16() -> bool:
    """Whether this processor has instructions for it; without them it is far slower than float32."""
    import torch

    known = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(known.get("avx512_bf16") or known.get("amx_bf16") or known.get("sve_bf16"))


def timed(work: Callable[[], None]) -> Times:
    clock, processor = time.perf_counter(), time.thread_time()
    work()
    return Times(clock=time.perf_counter() - clock, processor=time.thread_time() - processor)


class Arms:
    """The three ways to run some batches; `capture` keeps its state from call to call."""

    def __init__(
        self, subject: "Subject", bos: int | None, config: "CaptureConfig", plan: Plan, file: BinaryIO
    ) -> None:
        self.subject, self.bos, self.config, self.file = subject, bos, config, file
        self.units = every_unit(subject)
        self.columns = sum(map(len, self.units.values()))
        self.pool = random_pool(plan.run_excerpts, subject.vocabulary)
        self.state: CaptureState | None = None

    def bare(self, batches: range) -> None:
        import torch

        from localexplain.subject.model import run_tokens

        size = self.config.batch_excerpts
        for batch in batches:
            run_tokens(self.subject, torch.tensor(self.pool.token_ids[batch * size : (batch + 1) * size]), self.bos)

    def stopped(self, batches: range) -> None:
        from localexplain.subject.capture import watch_layers

        remove = watch_layers(self.subject, self.units, 0, lambda layer, activations: None)
        self.bare(batches)
        remove()

    def capture(self, batches: range) -> None:
        from localexplain.subject.capture import capture_batches

        self.state = capture_batches(
            self.subject,
            self.pool,
            self.units,
            self.bos,
            self.config,
            batches=batches,
            state=self.state,
            write_maxima=self._write_maxima,
        )

    def save(self) -> None:
        from localexplain.subject.capture import save_state

        assert self.state is not None
        save_state(self.state, Path(self.file.name).with_name("state"))

    def _write_maxima(self, first_excerpt: int, rows: np.ndarray) -> None:
        self.file.seek(first_excerpt * self.columns * 2)
        self.file.write(rows.tobytes())


def time_turns(arms: Arms, plan: Plan) -> dict[str, list[Times]]:
    """Of each arm's turns, in order; and of one checkpoint."""
    calls = {"bare": arms.bare, "stopped": arms.stopped, "capture": arms.capture}
    names = list(calls)
    found: dict[str, list[Times]] = {name: [] for name in names}
    arms.bare(range(1))  # the first pass of a process allocates
    for turn in range(plan.turns):
        batches = range(turn * plan.batches, (turn + 1) * plan.batches)
        for name in names[turn % 3 :] + names[: turn % 3]:  # each is first as often as last
            found[name].append(timed(partial(calls[name], batches)))
    found["save"] = [timed(arms.save)]
    return found


def describe(found: dict[str, list[Times]], plan: Plan) -> dict[str, Any]:
    """The fraction over the bare pass after the start, then all that qualifies it."""

    def overheads(base: str, turns: slice, kind: str = "processor") -> dict[str, Any]:
        pairs = zip(found["capture"][turns], found[base][turns], strict=True)
        return spread([getattr(mine, kind) / getattr(other, kind) - 1 for mine, other in pairs])

    start, rest = slice(plan.start), slice(plan.start, None)
    bare, capture = (sum(times.processor for times in found[name]) for name in ("bare", "capture"))
    seconds_between_checkpoints = CHECKPOINT_BATCHES * bare / (plan.turns * plan.batches)
    return {
        **overheads("bare", rest),
        "by_the_clock": overheads("bare", rest, "clock"),
        "start": overheads("bare", start),
        "all_turns_summed": round(capture / bare - 1, 4),
        "over_stopped_forward": overheads("stopped", rest),
        "checkpoint": round(found["save"][0].clock / seconds_between_checkpoints, 4),
        "excerpts": plan.excerpts,
        "excerpts_at_start": plan.start * plan.batches * plan.batch_excerpts,
        "run_excerpts": plan.run_excerpts,
        "bare_tokens_per_second": round(LENGTH_TOKENS * plan.excerpts / bare),
    }


def measure(quick: bool) -> dict[str, Any]:
    import torch

    from localexplain.resources import resource
    from localexplain.subject.capture_config import CaptureConfig
    from localexplain.subject.model import bos_token, load_subject

    torch.set_num_threads(THREADS)
    found: dict[str, Any] = {}
    for name, plan in PLANS.items():
        dtype: Dtype = "bfloat16" if name.endswith("bfloat16") else "float32"
        if dtype == "bfloat16" and not multiplies_bfloat16():
            continue
        chosen = QUICK if quick else plan
        if name == "tiny_subject":
            subject = load_subject(resource("models", "tiny-subject"), dtype, "cpu")
            bos = bos_token(subject, "auto")
        else:
            subject, bos = random_gpt2(dtype, **(QUICK_SHAPE if quick else GPT2_SMALL)), None
        say(f"capture: {name}, {chosen.excerpts} excerpts, three times ...")
        config = CaptureConfig(dtype=dtype, batch_excerpts=chosen.batch_excerpts)
        with tempfile.TemporaryDirectory() as folder, Path(folder, "maxima").open("wb") as file:
            found[name] = describe(time_turns(Arms(subject, bos, config, chosen, file), chosen), chosen)
        say(f"capture: {name}: {found[name]}")
    return {"capture_overhead_fraction": found | {"threads": THREADS}}


if __name__ == "__main__":
    run_part(measure)
