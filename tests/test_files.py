"""A file is written whole or stays as it was, and nothing is left beside it."""

import multiprocessing
import os
import resource
import signal
from pathlib import Path

import pytest

from localexplain.files import write_whole

OLD, NEW = "what was there", "ünd was kommt\n日本 " * 1000
FILE_BYTES = 4096  # fewer than NEW takes


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    path = tmp_path / "card.json"
    path.write_text(OLD, encoding="utf-8")
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_new_file_and_one_that_replaces_another(kept: Path) -> None:
    beside = kept.with_name("new.json")
    for path in (kept, beside):
        write_whole(path, NEW)
        assert path.read_bytes() == NEW.encode()
    assert names(kept.parent) == ["card.json", "new.json"]


def test_a_reader_of_the_old_file_keeps_the_whole_of_it(kept: Path) -> None:
    """A rename gives the name to another file; writing in place would change what is being read."""
    with kept.open(encoding="utf-8") as reader:
        write_whole(kept, NEW)
        assert reader.read() == OLD


def test_what_an_earlier_kill_left_is_overwritten(kept: Path) -> None:
    kept.with_name("card.json.partial").write_text("x" * 10 * len(NEW), encoding="utf-8")
    write_whole(kept, NEW)
    assert kept.read_bytes() == NEW.encode()
    assert names(kept.parent) == ["card.json"]


def test_a_text_that_cannot_be_encoded_leaves_the_old_file(kept: Path) -> None:
    with pytest.raises(UnicodeEncodeError):
        write_whole(kept, "half of a pair: \ud83d")
    assert kept.read_text(encoding="utf-8") == OLD
    assert names(kept.parent) == ["card.json"]


def test_a_folder_in_the_way_stays(tmp_path: Path) -> None:
    folder = tmp_path / "card.json"
    folder.mkdir()
    (folder / "inside").write_text(OLD, encoding="utf-8")
    with pytest.raises(IsADirectoryError):
        write_whole(folder, NEW)
    assert (names(tmp_path), names(folder)) == (["card.json"], ["inside"])


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "cards" / "card.json", NEW)
    assert names(tmp_path) == []


def write_with_too_little_room(path: Path) -> None:
    """Inside a process of its own: exit code 3 where the write is refused."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
    try:
        write_whole(path, NEW)
    except OSError:
        os._exit(3)


def test_a_write_that_fails_halfway_leaves_the_old_file(kept: Path) -> None:
    assert len(NEW.encode()) > FILE_BYTES
    process = multiprocessing.get_context("forkserver").Process(target=write_with_too_little_room, args=(kept,))
    process.start()
    process.join(60)
    assert process.exitcode == 3
    assert kept.read_text(encoding="utf-8") == OLD
    assert names(kept.parent) == ["card.json"]
