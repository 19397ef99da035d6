"""A read-only copy of a run's store, for those who look on while the run goes on writing.

DuckDB lets no second process into a file that one writes to. So readers who stay open look at a copy:

    run.duckdb ──copied between two writes──> published.duckdb + tables for browsing ──> viewer

Where nobody writes, the viewer makes the copy. Where a run has the store, the viewer leaves a request in the folder and
the run makes the copy at its next pause; without such a request a run never spends time on one.
"""

import fcntl
import os
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from itertools import count
from pathlib import Path

import duckdb

from localexplain.errors import LocalexplainError, RunError, StoreError
from localexplain.store.store import FILE_NAME, SQL_FOLDER, Store, apply_schema, connect, explain_failure

PUBLISHED = "published.duckdb"
REQUEST = "publish.request"
COPY_BYTES = 2**24  # at a time
COPY_TRIES = 3  # a store that changes while it is copied is copied anew
PRIVATE_NAMES = count()  # in one process DuckDB takes one path for one database, whatever file lies there by now
READER_MEMORY = "400MB"  # what DuckDB may use for looking: a viewer stays below 1 GiB


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """Which state of a store this is: of its file, and of what is written ahead of it."""

    size: int
    changed_ns: int


def is_locked(path: Path) -> bool:
    """Whether another process writes to the store. (In its own process a lock is never seen.)"""
    try:
        with path.open("rb") as file:
            fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            fcntl.lockf(file, fcntl.LOCK_UN)
    except BlockingIOError:
        return True
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror}); give another run folder") from error
    return False


def write_ahead(path: Path) -> Path:
    """Where DuckDB keeps what it has not yet put into the file."""
    return path.with_name(f"{path.name}.wal")


def stamp(path: Path) -> Stamp | None:
    """None where there is no such file. New rows may be ahead of the file alone, for as long as a run lasts."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    try:
        ahead = write_ahead(path).stat()
    except FileNotFoundError:
        return Stamp(size=found.st_size, changed_ns=found.st_mtime_ns)
    return Stamp(size=found.st_size + ahead.st_size, changed_ns=max(found.st_mtime_ns, ahead.st_mtime_ns))


@cache
def copy_version() -> str:
    """Of what a copy has in it: one made by another version of the program may lack what is asked of it."""
    files = [file for kind in ("schema", "browse") for file in sorted((SQL_FOLDER / kind).glob("*.sql"))]
    return sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def add_browsing(path: Path, source: Stamp, began: float) -> None:
    """Brings the copy to the newest schema, adds the tables for browsing and notes what it is a copy of.

    Raises RunError when it is no store of ours.
    """
    with connect(path, read_only=False) as store:
        store.connection.execute(f"SET memory_limit = '{READER_MEMORY}'")
        apply_schema(store)
        with store.transaction():
            for file in sorted((SQL_FOLDER / "browse").glob("*.sql")):
                store.connection.execute(file.read_text(encoding="utf-8"))
            now = datetime.now(UTC).replace(tzinfo=None)
            store.connection.execute(
                "INSERT INTO published_from VALUES ($version, $size, $changed_ns, $now, $seconds)",
                {
                    "version": copy_version(),
                    "size": source.size,
                    "changed_ns": source.changed_ns,
                    "now": now,
                    "seconds": time.monotonic() - began,
                },
            )
        with store.guarded():
            store.connection.execute("CHECKPOINT")


@cache
def keep_open(path: Path, inode: int) -> int:
    """A descriptor of the file that is never closed: on closing any, a process loses its locks on the file, and with
    them DuckDB's, which keeps other writers out."""
    return os.open(path, os.O_RDONLY)


def copy_bytes(source: int, target: Path) -> None:
    """The whole file behind a descriptor, which stays open."""
    place = 0
    with target.open("wb") as file:
        while block := os.pread(source, COPY_BYTES, place):
            file.write(block)
            place += len(block)


def copy_store(source: Path, descriptor: int, target: Path) -> Stamp:
    """Copies the file, and what was written ahead of it; returns the state that was copied.

    Raises StoreError when it changed all the while.
    """
    for _ in range(COPY_TRIES):
        before = stamp(source)
        if before is None:
            raise RunError(f"{source.parent}: not a run folder, it holds no {FILE_NAME}; give the folder of a run")
        for path in (target, write_ahead(target)):
            path.unlink(missing_ok=True)
        copy_bytes(descriptor, target)
        with suppress(FileNotFoundError):
            shutil.copyfile(write_ahead(source), write_ahead(target))
        if stamp(source) == before:
            return before
    raise StoreError(f"{source}: it is being written; try again in a moment")


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def remove_abandoned(folder: Path) -> None:
    """Removes what processes left that were killed while they made or opened a copy: each file may be as large as the
    run, and is named after its process."""
    for path in (*folder.glob(f"{PUBLISHED}.*.part*"), *folder.glob(f".{PUBLISHED}.*")):
        process = path.name.removeprefix(".").removeprefix(f"{PUBLISHED}.").partition(".")[0]
        if process.isdecimal() and not is_running(int(process)):
            with suppress(OSError):
                path.unlink()


def publish_open(folder: Path, descriptor: int) -> None:
    """Makes the copy anew, whole or not at all, from a descriptor of the run's file.

    Raises RunError when it is no store of ours, StoreError when it cannot be copied.
    """
    part = folder / f"{PUBLISHED}.{os.getpid()}.part"
    began = time.monotonic()
    try:
        remove_abandoned(folder)
        add_browsing(part, copy_store(folder / FILE_NAME, descriptor, part), began)
        os.replace(part, folder / PUBLISHED)
    except OSError as error:
        raise explain_failure(error, folder / PUBLISHED) from error
    finally:
        for path in (part, write_ahead(part)):
            with suppress(OSError):  # where nothing can be written, nothing can be removed either
                path.unlink(missing_ok=True)


def publish_file(folder: Path) -> None:
    """Makes the copy anew, for a process that does not have the run's store open; nothing may be writing to it.

    Raises RunError when it is no store of ours, StoreError when it cannot be copied.
    """
    try:
        descriptor = os.open(folder / FILE_NAME, os.O_RDONLY)
    except FileNotFoundError as error:
        raise RunError(f"{folder}: not a run folder, it holds no {FILE_NAME}; give the folder of a run") from error
    except OSError as error:
        raise RunError(f"{folder / FILE_NAME}: cannot be read ({error.strerror}); give another folder") from error
    try:
        publish_open(folder, descriptor)
    finally:
        os.close(descriptor)


def publish_if_asked(store: Store) -> bool:
    """For whoever writes to a run, between two transactions: makes the copy where one is asked for."""
    folder = store.path.parent
    if not (folder / REQUEST).exists():
        return False
    (folder / REQUEST).unlink(missing_ok=True)
    with store.guarded():
        store.connection.execute("CHECKPOINT")
    try:
        publish_open(folder, keep_open(store.path, store.path.stat().st_ino))
    except LocalexplainError:
        return False  # no room, most likely: the run matters more than who looks on
    return True


def ask_for_copy(folder: Path) -> None:
    """Leaves the request, for the process that writes."""
    with suppress(OSError):
        (folder / REQUEST).touch()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Snapshot:
    """An open copy: of which state of the run's file, when it was made (UTC), and how long that took."""

    store: Store
    source: Stamp
    copied_at: datetime
    seconds: float

    def cursor(self) -> Store:
        """The same copy for one more thread; need not be closed."""
        return Store(self.store.connection.cursor(), self.store.path)


def open_private(path: Path) -> Store:
    """Opens the file under a name of this call's own, which is gone again at once: the open file stays readable when
    another is put in its place."""
    private = path.with_name(f".{path.name}.{os.getpid()}.{next(PRIVATE_NAMES)}")
    try:
        private.unlink(missing_ok=True)
        os.link(path, private)
    except OSError:  # a folder that cannot be written to: nothing will be put in the file's place there
        return connect(path, read_only=True)
    try:
        return connect(private, read_only=True)
    finally:
        private.unlink(missing_ok=True)


def open_published(folder: Path) -> Snapshot | None:
    """The copy that lies there; None where there is none, or not one that this version of the program made."""
    path = folder / PUBLISHED
    if not path.is_file():
        return None
    try:
        store = open_private(path)
    except (StoreError, RunError, OSError):
        return None
    try:
        found = store.sql("SELECT * FROM published_from").to_pylist()
        if len(found) != 1 or found[0]["version"] != copy_version():
            store.close()
            return None
        store.connection.execute(f"SET memory_limit = '{READER_MEMORY}'")
    except (duckdb.Error, LocalexplainError):
        store.close()
        return None
    source = Stamp(size=found[0]["size"], changed_ns=found[0]["changed_ns"])
    return Snapshot(store=store, source=source, copied_at=found[0]["copied_at"], seconds=found[0]["seconds"])
