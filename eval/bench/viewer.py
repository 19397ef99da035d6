"""How long the viewer's pages take on a run of many units, and how much memory its server has had, as JSON.

    python -m eval.bench.viewer --run RUN [--layers 48 --units-per-layer 6400 --records-per-unit 12] [--times 20]

RUN is made where it is not there (minutes for 307,200 units). Times are from a request's start to its answer's last
byte, in milliseconds, one request after another; the first page, which has the copy made and read, stands by itself.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import numpy as np

from eval.bench.synthetic_store import make_store
from localexplain.store.store import FILE_NAME

PAGES = {
    "start": "/",
    "start, worst of a layer": "/?sort=worst&layer=7",
    "start, a page far down": "/?sort=rare&page=3000",
    "search, a word of few explanations": "/?q=lighthouse",
    "search, tokens alone": "/?q=th&where=tokens",
    "unit": "/unit/mlp.{layer}:17",
    "unit, side by side": "/unit/mlp.{layer}:17?view=beside&scale=own",
    "random unit": "/random",
}
SERVING = re.compile(r"http://[^ ]+/")


def fetch(address: str) -> float:
    """Milliseconds until the answer is here."""
    began = time.perf_counter()
    with urlopen(address) as answer:
        answer.read()
    return (time.perf_counter() - began) * 1000


def read_memory(pid: int) -> dict[str, int]:
    """Resident memory in MB: now, and at its highest."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    found = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB$", text, flags=re.MULTILINE))
    return {"now": int(found["VmRSS"]) // 1024, "highest": int(found["VmHWM"]) // 1024}


def measure(folder: Path, layers: int, times: int) -> dict[str, object]:
    command = [sys.executable, "-m", "localexplain.cli", "view", str(folder), "--port", "0"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    try:
        assert server.stderr is not None
        found = SERVING.search(server.stderr.readline())
        assert found, "the viewer did not say where it is"
        root = found[0].rstrip("/")
        first = fetch(f"{root}/")
        pages = {}
        for name, path in PAGES.items():
            taken = [fetch(root + path.format(layer=number % layers)) for number in range(times)]
            low, middle, high = np.percentile(taken, (25, 50, 75))
            pages[name] = {
                "median_ms": round(middle),
                "quartiles_ms": [round(low), round(high)],
                "highest_ms": round(max(taken)),
                "n": times,
            }
        return {"first_page_s": round(first / 1000, 1), "pages": pages, "memory_mb": read_memory(server.pid)}
    finally:
        server.terminate()
        server.wait(20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--layers", type=int, default=48)
    parser.add_argument("--units-per-layer", type=int, default=6400)
    parser.add_argument("--records-per-unit", type=int, default=12)
    parser.add_argument("--times", type=int, default=20)
    given = parser.parse_args()
    if not (given.run / FILE_NAME).is_file():
        make_store(given.run, given.layers, given.units_per_layer, records_per_unit=given.records_per_unit, seed=0)
    units = given.layers * given.units_per_layer
    print(json.dumps({"units": units} | measure(given.run, given.layers, given.times), indent=2))


if __name__ == "__main__":
    main()
