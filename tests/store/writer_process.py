"""A process that has a run's store open for writing, and does what it is told on standard input, a word a line:

add      stores a unit that was not there        pause    makes the copy that was asked for, if one was
publish  makes copies of a store that nobody has open, until it is killed
Each line is answered with one: what came of it.
"""

import sys
from pathlib import Path

from localexplain.store.snapshot import publish_file, publish_if_asked
from localexplain.store.store import Store, open_for_writing
from tests.report.small_store import insert


def add_unit(store: Store) -> int:
    """Copies the first unit under a new name; returns how many units there are then."""
    rows = store.sql("SELECT * FROM units ORDER BY unit_id").to_pylist()
    index = 100 + len(rows)
    insert(store, "units", [rows[0] | {"unit_id": index, "unit": f"mlp.0:{index}", "unit_index": index}])
    return len(rows) + 1


def publish_for_ever(folder: Path) -> None:
    print("publishing", flush=True)
    while True:
        publish_file(folder)


def obey(folder: Path) -> None:
    with open_for_writing(folder) as store:
        print("open", flush=True)
        for line in sys.stdin:
            if line.strip() == "add":
                print(add_unit(store), flush=True)
            elif line.strip() == "pause":
                print(publish_if_asked(store), flush=True)


if __name__ == "__main__":
    task, place = sys.argv[1:]
    {"publish": publish_for_ever, "write": obey}[task](Path(place))
