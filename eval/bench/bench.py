"""All benchmarks, each in a process of its own; the last line of standard output is one JSON object.

make bench                                              everything, about a quarter of an hour on two cores
python eval/bench/bench.py --only store,demo --quick    some parts, small: a smoke run, numbers without meaning
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from common import machine, say

PARTS = ("capture", "memory", "expected", "store", "demo")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(PARTS), metavar="PARTS", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="a smoke run: tiny sizes, numbers without meaning")
    arguments = parser.parse_args()
    wanted = arguments.only.split(",")
    if unknown := [part for part in wanted if part not in PARTS]:
        parser.error(f"no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    found: dict[str, Any] = {}
    for part in wanted:
        say(f"{part} ...")
        command = [
            sys.executable,
            str(Path(__file__).with_name(f"{part}.py")),
            *(["--quick"] if arguments.quick else []),
        ]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found |= json.loads(done.stdout.splitlines()[-1])
    print(json.dumps(found | {"machine": machine()}))


if __name__ == "__main__":
    main()
