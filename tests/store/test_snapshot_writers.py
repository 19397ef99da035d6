"""A copy while others write: made by whoever has the store, and whole even when its maker is killed."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from localexplain.errors import StoreError, StoreFull, StoreLocked
from localexplain.store.snapshot import (
    PUBLISHED,
    REQUEST,
    Snapshot,
    ask_for_copy,
    is_locked,
    open_published,
    publish_file,
    publish_if_asked,
    stamp,
    write_ahead,
)
from localexplain.store.store import FILE_NAME, Store, open_for_reading, open_for_writing
from tests.store.writer_process import add_unit

ROOT = Path(__file__).parents[2]
LONGEST_SECONDS = 60
NOBODY = 65534


class Process:
    """A writer_process; killed at the end of the `with` statement."""

    def __init__(self, task: str, folder: Path) -> None:
        command = [sys.executable, "-m", "tests.store.writer_process", task, str(folder)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)
        try:
            self.answer()  # it has begun
        except BaseException:
            self.kill()
            raise

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()

    def answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line, "the process has ended"
        return line

    def tell(self, word: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        return self.answer()

    def kill(self) -> None:
        """As `kill -9` does: the process cleans up nothing."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()

    @contextmanager
    def killed(self) -> Iterator[None]:
        self.kill()
        yield


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def n_units(store: Store) -> int:
    return int(store.sql("SELECT count(*) AS n FROM browse WHERE series = 1").column("n")[0].as_py())


def open_copy(folder: Path) -> Snapshot:
    found = open_published(folder)
    assert found is not None
    return found


def n_published(folder: Path) -> int:
    found = open_copy(folder)
    n = n_units(found.store)
    found.store.close()
    return n


# a run that goes on ---------------------------------------------------------------------------------------------------


def test_a_writer_makes_the_copy_that_is_asked_for_and_none_unasked(run: Path) -> None:
    with Process("write", run) as writer:
        assert is_locked(run / FILE_NAME)
        with pytest.raises(StoreLocked):
            open_for_reading(run)
        assert writer.tell("pause") == "False"
        assert open_published(run) is None
        ask_for_copy(run)
        assert writer.tell("add") == "6"
        assert open_published(run) is None  # asked for, and not yet served
        assert writer.tell("pause") == "True"
        assert names_in(run) == [PUBLISHED, FILE_NAME]
        first = open_copy(run)
        assert n_units(first.store) == 6

        assert writer.tell("add") == "7"
        assert writer.tell("pause") == "False"
        assert n_published(run) == 6
        ask_for_copy(run)
        ask_for_copy(run)  # twice is once
        assert writer.tell("pause") == "True"
        assert writer.tell("pause") == "False"
        assert n_published(run) == 7
        assert n_units(first.store) == 6  # who has the old one open reads it on
        first.store.close()
    assert REQUEST not in names_in(run)


def test_a_writer_keeps_others_out_after_it_has_made_a_copy(run: Path) -> None:
    """Closing a file gives up all of a process's locks on it: having copied its own store, a run no longer had it to
    itself, and a second run could write into the same file."""
    with Process("write", run) as writer:
        for _ in range(2):
            ask_for_copy(run)
            assert writer.tell("pause") == "True"
            assert is_locked(run / FILE_NAME)
            with pytest.raises(StoreLocked, match="in use by another process"):
                open_for_writing(run)
        assert writer.tell("add") == "6"
    with open_for_writing(run) as store:
        assert store.check() == []


def test_what_a_run_stored_since_its_copy_makes_the_copy_an_old_one(run: Path) -> None:
    """New rows stand ahead of the file for long: by the file alone, a copy was the newest until the run's end."""
    with Process("write", run) as writer:
        ask_for_copy(run)
        writer.tell("pause")
        with_copy = open_copy(run)
        assert with_copy.source == stamp(run / FILE_NAME)
        assert writer.tell("add") == "6"
        assert with_copy.source != stamp(run / FILE_NAME)
        with_copy.store.close()


def test_rows_that_a_killed_writer_left_ahead_of_the_file_are_in_the_copy(run: Path) -> None:
    writer = Process("write", run)
    assert [writer.tell("add"), writer.tell("add")] == ["6", "7"]
    with writer.killed():
        assert names_in(run) == [FILE_NAME, f"{FILE_NAME}.wal"]
        before = [path.read_bytes() for path in (run / FILE_NAME, write_ahead(run / FILE_NAME))]
        publish_file(run)
        assert n_published(run) == 7
        assert open_copy(run).source == stamp(run / FILE_NAME)
        assert names_in(run) == [PUBLISHED, FILE_NAME, f"{FILE_NAME}.wal"]
        assert before == [path.read_bytes() for path in (run / FILE_NAME, write_ahead(run / FILE_NAME))]


# killed while it makes one --------------------------------------------------------------------------------------------


def parts(folder: Path) -> list[Path]:
    return list(folder.glob(f"{PUBLISHED}.*.part"))


def size(folder: Path) -> int:
    try:
        return sum(path.stat().st_size for path in parts(folder))
    except FileNotFoundError:
        return -1


MOMENTS: dict[str, Callable[[Path, int], bool]] = {
    "begun": lambda folder, whole: bool(parts(folder)),
    "half copied": lambda folder, whole: 0 < size(folder) < whole,
    "copied": lambda folder, whole: size(folder) >= whole,
    "writing ahead": lambda folder, whole: any(write_ahead(path).exists() for path in parts(folder)),
    "in place": lambda folder, whole: not parts(folder),
}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("has_copy", [False, True], ids=["first copy", "newer copy"])
def test_a_maker_that_is_killed_leaves_the_old_copy_or_the_new_one(run: Path, moment: str, has_copy: bool) -> None:
    if has_copy:
        publish_file(run)
    with open_for_writing(run) as store:
        add_unit(store)
    whole = (run / FILE_NAME).stat().st_size
    end = time.monotonic() + LONGEST_SECONDS
    with Process("publish", run):
        while not MOMENTS[moment](run, whole):
            assert time.monotonic() < end, moment
    found = open_published(run)
    assert found is not None or not has_copy
    if found is not None:
        assert n_units(found.store) in ({5, 6} if has_copy else {6})
        found.store.close()
    publish_file(run)
    assert n_published(run) == 6
    assert names_in(run) == [PUBLISHED, FILE_NAME]  # what the killed one left is gone, too


def test_what_others_are_making_is_let_alone(run: Path) -> None:
    """Two viewers of one run may make the copy at once; the last one is as good as the first."""
    others = run / f"{PUBLISHED}.{os.getppid()}.part"
    others.write_bytes(b"being made")
    publish_file(run)
    assert others.read_bytes() == b"being made"
    assert n_published(run) == 5


# where none can be made -----------------------------------------------------------------------------------------------


@contextmanager
def room_of(n_bytes: int) -> Iterator[None]:
    """No file that this process writes may grow longer: what a full disk does, to files of this size."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.9, 1.0])
def test_no_room_is_said_in_one_line_and_the_old_copy_stays(run: Path, share: float) -> None:
    publish_file(run)
    with open_for_writing(run) as store:
        add_unit(store)
    whole = (run / FILE_NAME).stat().st_size
    with room_of(int(whole * share)), pytest.raises(StoreFull, match="no room left on the disk") as raised:
        publish_file(run)
    assert "\n" not in str(raised.value)
    assert names_in(run) == [PUBLISHED, FILE_NAME]
    assert n_published(run) == 5
    publish_file(run)
    assert n_published(run) == 6


def test_no_room_for_a_copy_does_not_stop_the_run(run: Path) -> None:
    with open_for_writing(run) as store:
        ask_for_copy(run)
        with room_of(2**20):
            assert not publish_if_asked(store)
        add_unit(store)
        assert names_in(run) == [FILE_NAME, f"{FILE_NAME}.wal"]
    publish_file(run)
    assert n_published(run) == 6


def test_a_folder_that_may_not_be_written_is_said_in_one_line(made: Path) -> None:
    folder = Path(tempfile.mkdtemp())
    publish_file(made)  # so that nothing needs importing as nobody
    try:
        shutil.copy(made / FILE_NAME, folder)
        folder.chmod(0o555)
        user = os.geteuid()
        if user == 0:
            os.seteuid(NOBODY)
        try:
            with pytest.raises(StoreError, match="Permission denied") as raised:
                publish_file(folder)
        finally:
            os.seteuid(user)
        assert "\n" not in str(raised.value)
        assert names_in(folder) == [FILE_NAME]
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_a_name_that_is_taken_by_a_folder_is_said_in_one_line(run: Path) -> None:
    """Nor can the attempt be tidied up then, which was raised in place of what was wrong."""
    part = run / f"{PUBLISHED}.{os.getpid()}.part"
    part.mkdir()
    with pytest.raises(StoreError, match=PUBLISHED) as raised:
        publish_file(run)
    assert "\n" not in str(raised.value)
