"""A file or a folder is written whole or stays as it was, and nothing is left beside it; files are hashed."""

import hashlib
import multiprocessing
import os
import resource
import signal
from pathlib import Path

import pytest

from localexplain.files import READ_BYTES, copy_hashed, hash_file, hash_files, whole_folder, write_whole

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


# folders ------------------------------------------------------------------------------------------------------------


def test_a_folder_appears_when_its_block_has_ended_and_not_before(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "model"
    with whole_folder(target) as scratch:
        (scratch / "config.json").write_text(NEW, encoding="utf-8")
        assert scratch.parent == target.parent
        assert not target.exists()
    assert names(target) == ["config.json"]
    assert names(target.parent) == ["model"]


def test_a_block_that_fails_leaves_no_folder(tmp_path: Path) -> None:
    def begin() -> None:
        with whole_folder(tmp_path / "model") as scratch:
            (scratch / "config.json").write_text(NEW, encoding="utf-8")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        begin()
    assert names(tmp_path) == []


def test_what_an_earlier_kill_left_of_a_folder_is_not_in_it(tmp_path: Path) -> None:
    (tmp_path / ".model.partial").mkdir()
    (tmp_path / ".model.partial" / "old").touch()
    with whole_folder(tmp_path / "model") as scratch:
        (scratch / "new").touch()
    assert names(tmp_path / "model") == ["new"]
    assert names(tmp_path) == ["model"]


def test_a_folder_in_the_way_of_a_folder_stays(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "kept").touch()
    with pytest.raises(OSError, match="not empty"), whole_folder(tmp_path / "model") as scratch:
        (scratch / "new").touch()
    assert names(tmp_path) == ["model"]
    assert names(tmp_path / "model") == ["kept"]


# hashes -------------------------------------------------------------------------------------------------------------


def write_sizes(folder: Path) -> dict[Path, bytes]:
    """Files of the lengths at which reading in blocks goes wrong if it does."""
    found = {}
    for size in (0, 1, READ_BYTES - 1, READ_BYTES, READ_BYTES + 1, 2 * READ_BYTES + 3):
        found[folder / f"{size}"] = (bytes(range(251)) * (size // 251 + 1))[:size]
    for path, content in found.items():
        path.write_bytes(content)
    return found


@pytest.mark.parametrize("threads", [0, 1, 3, 16])
def test_many_files_are_hashed_as_each_alone(tmp_path: Path, threads: int) -> None:
    contents = write_sizes(tmp_path)
    wanted = {path: hashlib.sha256(content).hexdigest() for path, content in contents.items()}
    assert hash_files(contents, threads) == wanted
    assert list(hash_files(reversed(contents), threads)) == list(reversed(contents))
    assert {path: hash_file(path) for path in contents} == wanted
    assert hash_files([]) == {}


def test_a_file_that_is_not_there_is_an_error_and_no_gap(tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    with pytest.raises(FileNotFoundError):
        hash_files([tmp_path / "there", tmp_path / "absent"])


def test_a_copy_has_the_bytes_and_says_their_hash(tmp_path: Path) -> None:
    for path, content in write_sizes(tmp_path).items():
        copy = path.with_suffix(".copy")
        copy.write_bytes(b"what was there before" * 9)
        assert copy_hashed(path, copy) == hashlib.sha256(content).hexdigest()
        assert copy.read_bytes() == content
