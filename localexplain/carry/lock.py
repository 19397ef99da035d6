"""One process at a time in a folder."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def only_one(folder: Path, report: Callable[[str], None]) -> Iterator[int]:
    """Makes the folder where it is not there and waits until no other process holds it. Gives the lock's descriptor:
    a child that is handed it keeps the folder held also after its parent was killed, so that nobody clears away what
    it still writes."""
    told = False
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
        try:
            if not told:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    report(f"{folder}: another process works there; waiting for it to end")
                    told = True
            fcntl.flock(handle, fcntl.LOCK_EX)
            if folder.exists() and os.fstat(handle).st_ino == folder.stat().st_ino:
                yield handle
                return
        finally:  # the one before may have removed the folder: then again, with a new one
            os.close(handle)
