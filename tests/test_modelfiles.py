import hashlib
import json
import os
import time

import pytest

from localexplain.errors import UserError
from localexplain.files import READ_BYTES, hash_file
from localexplain.modelfiles import (
    KNOWN_HASHES,
    SETTLED_NS,
    check_model_folder,
    hash_model_folder,
    hash_once,
    mark,
)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "model"
    path.mkdir()
    (path / "config.json").write_text('{"model_type": "gpt2"}')
    (path / "tokenizer.json").write_text("{}")
    (path / "model.safetensors").write_bytes(b"weights")
    return path


def test_a_whole_folder_gives_its_configuration(folder):
    assert check_model_folder(folder, "subject") == {"model_type": "gpt2"}


def refusal(folder, role="subject"):
    """The message, after the checks that hold for all of them."""
    with pytest.raises(UserError) as error:
        check_model_folder(folder, role)
    text = str(error.value)
    assert type(error.value) is UserError
    assert text.startswith(f"{role} model: ")
    assert str(folder) in text
    assert "\n" not in text
    return text


@pytest.mark.parametrize("role", ["subject", "explainer", "simulator"])
def test_no_such_folder(tmp_path, role):
    assert "no such folder" in refusal(tmp_path / "absent", role)


def test_a_file_is_no_folder(folder):
    assert "no such folder" in refusal(folder / "config.json")


def test_no_config(folder):
    (folder / "config.json").unlink()
    assert "holds no config.json" in refusal(folder)


def test_no_tokenizer(folder):
    (folder / "tokenizer.json").unlink()
    assert "holds no tokenizer.json" in refusal(folder)


def test_no_weights(folder):
    (folder / "model.safetensors").unlink()
    text = refusal(folder)
    assert "no weights" in text
    assert "pickled" not in text


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt"])
def test_only_pickled_weights(folder, name):
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(b"pickle")
    assert "only pickled weights" in refusal(folder)


def test_pickled_weights_beside_safetensors_do_not_matter(folder):
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    assert check_model_folder(folder, "subject")
    before = hash_model_folder(folder)
    (folder / "pytorch_model.bin").write_bytes(b"another")
    assert hash_model_folder(folder) == before


@pytest.mark.parametrize("content", [b"{", b"", b"\xff{}"])
def test_a_config_that_is_not_json(folder, content):
    (folder / "config.json").write_bytes(content)
    assert "config.json is not JSON" in refusal(folder)


@pytest.mark.parametrize("content", ["[]", "3", "null"])
def test_a_config_that_is_not_an_object(folder, content):
    (folder / "config.json").write_text(content)
    assert "not a JSON object" in refusal(folder)


# hashes --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, READ_BYTES - 1, READ_BYTES, READ_BYTES + 1, 2 * READ_BYTES + 3])
def test_a_file_is_hashed_whole(tmp_path, size):
    data = bytes(range(251)) * (size // 251 + 1)
    (tmp_path / "file").write_bytes(data[:size])
    assert hash_file(tmp_path / "file") == hashlib.sha256(data[:size]).hexdigest()


def test_the_hash_does_not_depend_on_where_the_folder_is(folder, tmp_path):
    before = hash_model_folder(folder)
    folder.rename(tmp_path / "elsewhere")
    assert hash_model_folder(tmp_path / "elsewhere") == before


@pytest.mark.parametrize(
    "name",
    [
        "model.safetensors",
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "generation_config.json",
        "special_tokens_map.json",
        "chat_template.jinja",
        "b.safetensors",
    ],
)
def test_the_hash_follows_every_file_that_counts(folder, name):
    hashes = {hash_model_folder(folder)}
    for content in (b"one", b"two"):
        (folder / name).write_bytes(content)
        hashes.add(hash_model_folder(folder))
    assert len(hashes) == 3


def test_renaming_a_shard_or_moving_bytes_between_two_changes_the_hash(folder):
    before = hash_model_folder(folder)
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    renamed = hash_model_folder(folder)
    (folder / "other.safetensors").write_bytes(b"weig")
    (folder / "p.safetensors").write_bytes(b"hts")
    assert len({before, renamed, hash_model_folder(folder)}) == 3


def test_what_does_not_count_is_left_out(folder):
    before = hash_model_folder(folder)
    (folder / "README.md").write_text("a card")
    (folder / "training.json").write_text(json.dumps({"loss": 3}))
    assert hash_model_folder(folder) == before


def test_a_file_just_written_is_hashed_again_each_time(folder):
    """Two writes within one tick of the file system's clock leave the same times: what is so new is not remembered."""
    path = folder / "model.safetensors"
    for content in (b"one", b"two", b"six"):
        path.write_bytes(content)
        assert hash_once([path]) == {path: hashlib.sha256(content).hexdigest()}
        assert mark(path) not in KNOWN_HASHES


def test_a_settled_file_is_remembered_until_it_is_touched(folder):
    """Put back to its old time of modification after another write of as many bytes: what was changed shows still."""
    path = folder / "model.safetensors"
    path.write_bytes(b"one")
    time.sleep(SETTLED_NS / 1e9 + 0.1)
    before = hash_once([path])
    settled = path.stat()
    assert KNOWN_HASHES[mark(path)] == before[path]
    KNOWN_HASHES[mark(path)] = "as remembered"
    assert hash_once([path]) == {path: "as remembered"}
    path.write_bytes(b"two")
    os.utime(path, ns=(settled.st_atime_ns, settled.st_mtime_ns))
    assert hash_once([path]) == {path: hashlib.sha256(b"two").hexdigest()}
