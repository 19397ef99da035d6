"""Peak memory of capture over a stream and over one eight times as long, each in a process of its own.

The real path of the pipeline: the pass with its saved states and the file of maxima, over a random GPT-2 with all
neurons. Both peaks are raw; `baseline` is the peak of the process with the libraries and the model loaded, before it
captures anything.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import every_unit, peak_bytes, random_gpt2, random_pool, run_part, say

SHAPE = {"n_layer": 4, "n_embd": 256, "n_head": 4, "vocab_size": 4096}
EXCERPTS = 1024


def capture_peak(n_excerpts: int) -> dict[str, int]:
    """In this process: the peak before and after capturing so many excerpts."""
    import torch

    from localexplain.pipeline.capture import run_pass
    from localexplain.pipeline.run import Run
    from localexplain.store.store import open_for_writing
    from localexplain.subject.capture_config import CaptureConfig

    torch.set_num_threads(1)
    subject = random_gpt2("float32", **SHAPE)
    pool = random_pool(n_excerpts, subject.vocabulary)
    baseline = peak_bytes()
    with tempfile.TemporaryDirectory() as temporary, open_for_writing(Path(temporary) / "run") as store:
        run = Run(folder=Path(temporary) / "run", store=store)
        run_pass(run, subject, pool, every_unit(subject), None, CaptureConfig(checkpoint_batches=8))
    return {"baseline": baseline, "peak": peak_bytes()}


def measure(quick: bool) -> dict[str, Any]:
    excerpts = 64 if quick else EXCERPTS
    found: dict[str, Any] = {"excerpts_1x": excerpts}
    for times in (1, 8):
        command = [sys.executable, __file__, "--excerpts", str(times * excerpts)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        peaks = json.loads(done.stdout.splitlines()[-1])
        found |= {f"{times}x": peaks["peak"], f"baseline_{times}x": peaks["baseline"]}
        say(f"memory: {times}x {peaks}")
    return {"capture_peak_bytes": found}


if __name__ == "__main__":
    if "--excerpts" in sys.argv:
        print(json.dumps(capture_peak(int(sys.argv[-1]))))
    else:
        run_part(measure)
