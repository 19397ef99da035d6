"""Seconds of `localexplain demo` in a fresh folder, from an installed environment: start of the process to its end."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import run_part, say


def measure(quick: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "run"
        command = [sys.executable, "-m", "localexplain.cli", "demo", "--out", str(folder), "--json"]
        began = time.perf_counter()
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        seconds = time.perf_counter() - began
        again = time.perf_counter()
        repeated = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        again_seconds = time.perf_counter() - again
    assert done.stdout == repeated.stdout
    say(f"demo: {seconds:.0f} s")
    stages = {stage: round(value, 1) for stage, value in json.loads(done.stdout)["seconds"].items()}
    return {
        "demo_seconds": round(seconds, 1),
        "demo_stage_seconds": stages,
        "demo_again_seconds": round(again_seconds, 1),
    }


if __name__ == "__main__":
    run_part(measure)
