"""Files that are written whole or not at all, and files hashed. Standard library only: the script that installs on a
machine where nothing is installed yet uses it too."""

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

READ_BYTES = 1 << 22  # large enough that hashing runs at the disk's speed
PARTIAL = ".partial"  # what is being written ends so, until it is whole


def sync_folder(folder: Path) -> None:
    """Brings the names in the folder to the disk, so that a rename outlives a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_whole(path: Path, text: str) -> None:
    """Writes beside the target and renames, so that a kill leaves the old file or the new one. Raises OSError, with
    nothing left beside the target."""
    scratch = path.with_name(path.name + PARTIAL)
    try:
        with scratch.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    except BaseException:
        with suppress(OSError):
            scratch.unlink()
        raise
    sync_folder(path.parent)


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A scratch folder beside `target`, empty, that becomes `target` where the block ends well; what a kill left of an
    earlier one is removed first. `target` must not be there. Raises OSError, with nothing left beside it."""
    scratch = target.with_name(f".{target.name}{PARTIAL}")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        yield scratch
        os.rename(scratch, target)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    sync_folder(target.parent)


def hash_file(path: Path) -> str:
    """The file's sha256, hexadecimal. Raises OSError."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(READ_BYTES))
    with path.open("rb", buffering=0) as file:
        while size := file.readinto(buffer):
            digest.update(buffer[:size])
    return digest.hexdigest()


def hash_files(paths: Iterable[Path], threads: int = 0) -> dict[Path, str]:
    """sha256 of each file, several at once: one thread a usable core, or `threads`. Raises OSError."""
    listed = list(paths)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    with ThreadPoolExecutor(threads or cores) as pool:  # hashing and reading let other threads run
        return dict(zip(listed, pool.map(hash_file, listed), strict=True))


def copy_hashed(source: Path, target: Path) -> str:
    """Copies a file's bytes, hashing them on the way, and brings them to the disk; returns the sha256. Raises
    OSError."""
    digest = hashlib.sha256()
    with source.open("rb") as reading, target.open("wb") as writing:
        while block := reading.read(READ_BYTES):
            digest.update(block)
            writing.write(block)
        writing.flush()
        os.fsync(writing.fileno())
    return digest.hexdigest()
