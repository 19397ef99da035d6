"""How long the hashes of a run's tables take, and the highest memory, as JSON.

python -m eval.bench.audit --run RUN
"""

import argparse
import json
import time
from pathlib import Path

from localexplain.audit.tables import hash_table, table_names
from localexplain.pipeline.run import peak_memory_bytes
from localexplain.store.store import connect


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True)
    rows, began = 0, time.monotonic()
    with connect(parser.parse_args().run / "run.duckdb", read_only=True) as store:
        for table in table_names(store):
            rows += hash_table(store, table).rows
    seconds = time.monotonic() - began
    print(json.dumps({"rows": rows, "seconds": round(seconds, 1), "peak_memory_bytes": peak_memory_bytes()}))


if __name__ == "__main__":
    main()
