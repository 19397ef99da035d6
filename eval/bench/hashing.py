"""How fast `localexplain models verify` hashes beside sha256sum on the same files, as JSON.

    python -m eval.bench.hashing --folder SCRATCH [--files 8 --mbytes 256 --large-mbytes 1024 --turns 7] [--json]

Arms take turns, in an order drawn anew every turn: ours (a thread a core); `sha256sum FILES`, which reads one after
another; `xargs -P CORES -n 1 sha256sum`, which has the cores that ours has; where it is installed `openssl dgst`, whose
code ours calls too and which uses the processor's own instructions; and `cat`, which only reads. Ratios are ours over
the other's in the same turn, above 1 where ours is faster. Warm: the files were just read. Cold: the system was told to
forget them before each arm, which takes root; null where it cannot. One file alone shows what a core does.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from eval.bench.common import machine, say, spread
from localexplain.files import hash_files

DROP_CACHES = Path("/proc/sys/vm/drop_caches")
MBYTE = 10**6
BLOCK_BYTES = 16 * MBYTE
CORES = len(os.sched_getaffinity(0))

Arm = Callable[[Sequence[Path]], dict[str, str] | None]


# the files ------------------------------------------------------------------------------------------------------------


def write_random(path: Path, size: int, seed: int) -> None:
    """A file of random bytes; one of the right length is taken as it is."""
    if path.is_file() and path.stat().st_size == size:
        return
    draw = random.Random(seed)
    with path.open("wb") as file:
        for start in range(0, size, BLOCK_BYTES):
            file.write(draw.randbytes(min(BLOCK_BYTES, size - start)))
        file.flush()
        os.fsync(file.fileno())


def write_all(folder: Path, n_files: int, mbytes: int, large_mbytes: int) -> dict[str, list[Path]]:
    folder.mkdir(parents=True, exist_ok=True)
    several = [folder / f"shard-{number}.safetensors" for number in range(n_files)]
    for number, path in enumerate(several):
        write_random(path, mbytes * MBYTE, number)
    large = folder / "large.safetensors"
    write_random(large, large_mbytes * MBYTE, n_files)
    return {f"{n_files} x {mbytes} MB": several, f"1 x {large_mbytes} MB": [large]}


# the arms -------------------------------------------------------------------------------------------------------------


def ours(paths: Sequence[Path]) -> dict[str, str]:
    return {str(path): digest for path, digest in hash_files(paths).items()}


def read_sums(text: str) -> dict[str, str]:
    """path -> hash, of what sha256sum printed."""
    return {path: digest for digest, path in (line.split("  ", 1) for line in text.splitlines())}


def sha256sum(paths: Sequence[Path]) -> dict[str, str]:
    return read_sums(subprocess.run(["sha256sum", *paths], capture_output=True, text=True, check=True).stdout)


def parallel_sha256sum(paths: Sequence[Path]) -> dict[str, str]:
    listed = "\0".join(map(str, paths))
    command = ["xargs", "-0", "-P", str(CORES), "-n", "1", "sha256sum"]
    return read_sums(subprocess.run(command, input=listed, capture_output=True, text=True, check=True).stdout)


def parallel_openssl(paths: Sequence[Path]) -> dict[str, str]:
    listed = "\0".join(map(str, paths))
    command = ["xargs", "-0", "-P", str(CORES), "-n", "1", "openssl", "dgst", "-sha256", "-r"]
    text = subprocess.run(command, input=listed, capture_output=True, text=True, check=True).stdout
    return read_sums(text.replace(" *", "  "))


def only_read(paths: Sequence[Path]) -> None:
    subprocess.run(["cat", *paths], stdout=subprocess.DEVNULL, check=True)


ARMS: dict[str, Arm] = {
    "ours": ours,
    "sha256sum": sha256sum,
    "xargs -P sha256sum": parallel_sha256sum,
    **({"xargs -P openssl dgst": parallel_openssl} if shutil.which("openssl") else {}),
    "cat": only_read,
}


# measuring ------------------------------------------------------------------------------------------------------------


def forget_files() -> bool:
    """Whether the system could be told to forget what it has read."""
    os.sync()
    try:
        DROP_CACHES.write_text("3", encoding="utf-8")
    except OSError:
        return False
    return True


def time_arms(paths: Sequence[Path], turns: int, is_cold: bool) -> dict[str, Any] | None:
    """Bytes a second of each arm, and ratios of ours; None where the files cannot be forgotten."""
    if is_cold and not forget_files():
        return None
    size = sum(path.stat().st_size for path in paths)
    rates: dict[str, list[float]] = {name: [] for name in ARMS}
    order, draw = list(ARMS), random.Random(0)
    wanted = sha256sum(paths)  # the files are read before the first turn, too
    for turn in range(turns):
        draw.shuffle(order)
        for name in order:
            if is_cold:
                forget_files()
            began = time.perf_counter()
            found = ARMS[name](paths)
            rates[name].append(size / (time.perf_counter() - began))
            assert found in (None, wanted), f"{name} hashes otherwise than sha256sum"
        say(f"turn {turn + 1} of {turns}: " + ", ".join(f"{name} {rates[name][-1] / 1e6:.0f} MB/s" for name in ARMS))
    ratios = {
        name: spread([mine / other for mine, other in zip(rates["ours"], rates[name], strict=True)])
        for name in ARMS
        if name != "ours"
    }
    return {"bytes_per_second": {name: spread(values) for name, values in rates.items()}, "ours_over": ratios}


def measure(folder: Path, n_files: int, mbytes: int, large_mbytes: int, turns: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, paths in write_all(folder, n_files, mbytes, large_mbytes).items():
        found[name] = {}
        for state in ("warm", "cold"):
            say(f"{name}, {state}")
            found[name][state] = time_arms(paths, turns, is_cold=state == "cold")
    return {"machine": machine() | {"usable_cores": CORES}, "hashing": found}


def show(values: dict[str, Any]) -> None:
    for name, states in values["hashing"].items():
        for state, found in states.items():
            if found is None:
                print(f"{name}, {state}: not measured; it takes root")
                continue
            for arm, rate in found["bytes_per_second"].items():
                line = f"{name}, {state}, {arm}: {rate['median'] / 1e6:.0f} MB/s"
                if (ratio := found["ours_over"].get(arm)) is not None:
                    line += f"; ours {ratio['median']:.2f} of it ({ratio['low']:.2f} to {ratio['high']:.2f})"
                print(f"{line}, n {rate['n']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, metavar="SCRATCH", help="the files are made there, kept")
    parser.add_argument("--files", type=int, default=8, metavar="N")
    parser.add_argument("--mbytes", type=int, default=256, metavar="N")
    parser.add_argument("--large-mbytes", type=int, default=1024, metavar="N")
    parser.add_argument("--turns", type=int, default=7, metavar="N")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    values = measure(given.folder, given.files, given.mbytes, given.large_mbytes, given.turns)
    if given.json:
        print(json.dumps(values))
    else:
        show(values)


if __name__ == "__main__":
    main()
