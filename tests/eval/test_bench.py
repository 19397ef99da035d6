"""The benchmarks run, and what in them is a count and no time holds."""

import json
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parents[2] / "eval" / "bench" / "bench.py"


def test_quick_run_ends_with_one_object() -> None:
    command = [sys.executable, str(BENCH), "--quick", "--only", "expected,store,memory"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert set(found["store"]) >= {
        "write_seconds", "peak_bytes", "file_bytes", "unit_read_seconds", "layer_scores_seconds"
    }  # fmt: skip
    assert set(found["capture_peak_bytes"]) >= {"1x", "8x"}
    # 8 prompts of 2 explanations: instructions and examples are computed once for all, each explanation once for 4.
    assert 0 < found["expected_computed_fraction"] <= 1 / 3
    assert found["expected_seconds_ratio"] > 0
