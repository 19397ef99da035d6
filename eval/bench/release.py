"""How long a release takes to read, store and verify, as JSON: made-up neurons in the released format.

python eval/bench/release.py [--neurons 2000]
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from localexplain.evaluate.published import import_release, verify
from localexplain.pipeline.run import Run
from localexplain.store.store import open_for_writing

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.published_fixtures import write_release

LAYERS, NEURONS = 48, 6400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--neurons", type=int, default=2000)
    count = parser.parse_args().neurons
    with tempfile.TemporaryDirectory() as scratch:
        data, out = Path(scratch) / "release", Path(scratch) / "run"
        write_release(data, [(place % LAYERS, place * 7 % NEURONS) for place in range(count)])
        seconds: list[float] = []
        for _ in range(2):
            began = time.monotonic()
            with open_for_writing(out) as store:
                run = Run(folder=out, store=store)
                left_out = import_release(run, data, "gpt2-xl", None, 0)
                found = verify(run)
            seconds.append(time.monotonic() - began)
        size = (out / "run.duckdb").stat().st_size
    print(
        json.dumps(
            {
                "neurons": found.n + found.undefined,
                "left_out": len(left_out),
                "largest_difference": found.largest,
                "first_seconds": seconds[0],
                "again_seconds": seconds[1],
                "store_bytes": size,
            }
        )
    )


if __name__ == "__main__":
    main()
