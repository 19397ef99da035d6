"""The copy of a run that the viewer reads, kept up to date while the run goes on.

request ──current()──> newest copy that can be had without waiting; looked for anew every CHECK_SECONDS
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from localexplain.errors import LocalexplainError, RunError, StoreError
from localexplain.store.snapshot import (
    Snapshot,
    ask_for_copy,
    is_locked,
    open_published,
    publish_file,
    stamp,
)
from localexplain.store.store import FILE_NAME

CHECK_SECONDS = 2.0
YOUNGEST_SECONDS = 15.0  # a copy that is younger is good enough while a run writes
WORK_PER_COPY = 20.0  # a run works so many times as long as it stands still for copies


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class State:
    """A copy, and what pages say of it.

    number      counts the copies that were opened: what is remembered of one is not true of another
    is_current  nothing newer was stored when it was looked at last
    """

    snapshot: Snapshot
    number: int
    is_current: bool

    @property
    def copied_at(self) -> datetime:
        return self.snapshot.copied_at


def is_old(snapshot: Snapshot) -> bool:
    """Whether a run that goes on may be asked for a newer copy: it stands still while it makes one."""
    age = (datetime.now(UTC).replace(tzinfo=None) - snapshot.copied_at).total_seconds()
    return age > max(YOUNGEST_SECONDS, WORK_PER_COPY * snapshot.seconds)


class RunCopy:
    """Opens and reopens the copy of the run in `folder`; any thread may ask for it."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._clock = clock
        self._lock = threading.Lock()
        self._state: State | None = None
        self._looked_at: float | None = None
        self._maker: threading.Thread | None = None

    def current(self) -> State:
        """Raises RunError or StoreError, saying why, where there is no copy and none can be made."""
        with self._lock:
            now = self._clock()
            if self._state is None or self._looked_at is None or now - self._looked_at >= CHECK_SECONDS:
                self._look()
                self._looked_at = now
            assert self._state is not None
            return self._state

    def close(self) -> None:
        if self._maker is not None:
            self._maker.join()
        if self._state is not None:
            self._state.snapshot.store.close()

    def _look(self) -> None:
        """Takes the copy that lies there; has a newer one made where that is possible."""
        file = self._folder / FILE_NAME
        state = stamp(file)
        if state is None:
            raise RunError(f"{self._folder}: not a run folder, it holds no {FILE_NAME}; give the folder of a run")
        if self._state is None or self._state.snapshot.source != state:
            self._open()
        if self._state is not None and self._state.snapshot.source == state:
            self._state = replace(self._state, is_current=True)
            return
        if is_locked(file):
            if self._state is None or is_old(self._state.snapshot):
                ask_for_copy(self._folder)
        elif self._state is None:
            publish_file(self._folder)
            self._open()
        elif self._maker is None or not self._maker.is_alive():
            self._maker = threading.Thread(target=self._make, daemon=True)
            self._maker.start()
        if self._state is None:
            raise StoreError(
                f"{self._folder}: a process is writing to it and has made no copy to look at yet; it does so at its "
                "next pause, so load this page again in a moment"
            )
        self._state = replace(self._state, is_current=False)

    def _open(self) -> None:
        """Opens what lies there, unless it is what is open already."""
        found = open_published(self._folder)
        if found is None:
            return
        if self._state is not None and found.copied_at == self._state.copied_at:
            found.store.close()
            return
        number = 0 if self._state is None else self._state.number + 1
        self._state = State(snapshot=found, number=number, is_current=True)

    def _make(self) -> None:
        """Beside the requests: a large store takes seconds."""
        try:
            publish_file(self._folder)
        except LocalexplainError:
            return  # the old copy stays; the next look tries again
