"""A manifest's text is the one that was written or is refused; what differs in a folder is found, each by its kind."""

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localexplain.carry.manifest import (
    MANIFEST_FILE,
    FileEntry,
    Manifest,
    ModelEntry,
    check_entry,
    compare,
    compare_folder,
    find_entry,
    list_files,
    manifest_text,
    model_name,
    parse_manifest,
    read_entries,
    read_manifest,
    role_of,
    seal,
    unseal,
    write_manifest,
)
from localexplain.errors import UserError
from tests.carry_models import model_contents, write_model

LETTERS = st.text(max_size=8)  # no half of a pair: hypothesis draws none by default
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | LETTERS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(LETTERS, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(LETTERS.filter(lambda key: key != "digest"), VALUES, max_size=4)


def entry_of(folder: Path, name: str = "one", path: str = "one") -> ModelEntry:
    return ModelEntry(name=name, path=path, files=read_entries(folder), repository="org/one", added_at="2026-01-02")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """One model, listed."""
    folder = write_model(tmp_path / "store" / "one")
    write_manifest(folder.parent, Manifest(models={"one": entry_of(folder)}))
    return folder.parent


# the text -------------------------------------------------------------------------------------------------------------


@given(OBJECTS)
def test_what_is_sealed_is_what_comes_back(values: dict[str, Any]) -> None:
    assert unseal(seal(values), "x") == values


@given(OBJECTS, st.data())
def test_one_character_put_in_taken_out_or_replaced_is_refused(values: dict[str, Any], data: st.DataObject) -> None:
    text = seal(values)
    place = data.draw(st.integers(0, len(text) - 1))
    # letters, figures and JSON's own marks; "é" for what is no ASCII
    letter = data.draw(st.sampled_from('aZ09fe"{}[],:\\ \n\r\t-.é'))
    changed = {
        text[:place] + letter + text[place:],
        text[:place] + text[place + 1 :],
        text[:place] + letter + text[place + 1 :],
    } - {text}
    for one in changed:
        with pytest.raises(UserError, match=r"^x: changed since it was written"):
            unseal(one, "x")


def test_each_byte_of_a_manifest_counts(store: Path) -> None:
    """Every byte of the file in turn: its lowest bit the other way, and a carriage return, which reading as text would
    take for the end of a line."""
    entry = entry_of(store / "one")
    write_manifest(store, Manifest(models={"one": replace(entry, files=entry.files[:1])}))
    path = store / MANIFEST_FILE
    whole = path.read_bytes()
    for place, byte in enumerate(whole):
        for other in {byte ^ 1, ord("\r")} - {byte}:
            path.write_bytes(whole[:place] + bytes([other]) + whole[place + 1 :])
            with pytest.raises(UserError, match="changed since it was written"):
                read_manifest(store)
    path.write_bytes(whole)
    assert list(read_manifest(store).models) == ["one"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", "null", '{"digest": 3}', "[" * 100_000, '{"a": 1}', '{"a": NaN, "digest": ""}']
)
def test_what_no_manifest_is(text: str) -> None:
    with pytest.raises(UserError, match=r"^here: changed") as error:
        parse_manifest(text, "here")
    assert "\n" not in str(error.value)


def test_the_digest_is_of_the_rest_as_json_with_sorted_keys() -> None:
    """Worked out here: the text that is hashed has neither blanks nor the digest."""
    digest = hashlib.sha256('{"a":"é","b":[1,2]}'.encode()).hexdigest()
    assert json.loads(seal({"b": (1, 2), "a": "é"})) == {"b": [1, 2], "a": "é", "digest": digest}


def test_another_format_and_another_shape_are_said_apart() -> None:
    with pytest.raises(UserError, match="of format 2, not 1; update"):
        parse_manifest(seal({"format": 2, "models": {}}), "here")
    for models in ({"a": {"path": "a"}}, {"a": 3}, ["a"], {"a": {"files": [{"path": "x"}], "pickled": []}}):
        with pytest.raises(UserError, match="no list of models"):
            parse_manifest(seal({"format": 1, "models": models}), "here")


def test_a_manifest_comes_back_as_it_was_written(store: Path) -> None:
    entry = replace(entry_of(store / "one"), copied=True, pickled=("a.bin",), revision="3" * 40)
    other = replace(entry, name="two", path="a/b")
    manifest = Manifest(models={"two": other, "one": entry})
    write_manifest(store, manifest)
    found = read_manifest(store)
    assert found.models == manifest.models
    assert list(found.models) == ["one", "two"]
    assert manifest_text(found) == (store / MANIFEST_FILE).read_text(encoding="utf-8")
    assert read_manifest(store / "one").models == {}  # a folder without one


def test_a_manifest_that_is_not_utf8(store: Path) -> None:
    (store / MANIFEST_FILE).write_bytes(b"\xff" + (store / MANIFEST_FILE).read_bytes())
    with pytest.raises(UserError, match="not UTF-8"):
        read_manifest(store)


# files ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "role"),
    [
        ("model.safetensors", "weights"),
        ("original/consolidated.00.safetensors", "weights"),
        ("model.safetensors.index.json", "weights"),
        ("pytorch_model.bin", "pickled weights"),
        ("pytorch_model.bin.index.json", "other"),
        ("optimizer.PT", "pickled weights"),
        ("tf_model.h5", "pickled weights"),
        ("flax_model.msgpack", "pickled weights"),
        ("rust_model.ot", "pickled weights"),
        ("config.json", "config"),
        ("generation_config.json", "config"),
        ("tokenizer.json", "tokenizer"),
        ("tokenizer.model", "tokenizer"),
        ("merges.txt", "tokenizer"),
        ("chat_template.jinja", "chat template"),
        ("chat_template.json", "chat template"),
        ("quantize_config.json", "quantisation"),
        ("hf_quant_config.json", "quantisation"),
        ("LICENSE", "licence"),
        ("LICENSE.md", "licence"),
        ("USE_POLICY.md", "licence"),
        ("Notice.txt", "licence"),
        ("README.md", "card"),
        ("card.json", "card"),
        ("modeling_own.py", "code"),
        ("model.gguf", "other"),
        ("a.bin/note.txt", "other"),
    ],
)
def test_a_role_is_told_by_the_name(path: str, role: str) -> None:
    assert role_of(path) == role


def test_every_file_is_listed_but_hidden_ones(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    wanted = sorted(model_contents())
    for hidden in (".gitattributes", ".cache/x/y.json", "original/.DS_Store"):
        (folder / hidden).parent.mkdir(parents=True, exist_ok=True)
        (folder / hidden).touch()
    (folder / "empty").mkdir()
    (folder / "gone").symlink_to(tmp_path / "nowhere")
    (folder / "linked.txt").symlink_to(folder / "LICENSE")
    assert list(list_files(folder)) == sorted([*wanted, "linked.txt"])


def test_entries_are_those_of_sha256(tmp_path: Path) -> None:
    contents = model_contents(3) | {"empty.txt": b""}
    write_model(tmp_path / "m", 3)
    (tmp_path / "m" / "empty.txt").touch()
    found = {entry.path: (entry.bytes, entry.sha256) for entry in read_entries(tmp_path / "m")}
    assert found == {name: (len(data), hashlib.sha256(data).hexdigest()) for name, data in contents.items()}


HASHES = st.sampled_from(["a" * 64, "b" * 64])
FOLDERS = st.dictionaries(st.sampled_from(["a", "b", "c/d", "c/e"]), st.tuples(st.integers(0, 2), HASHES))


@given(FOLDERS, FOLDERS)
def test_what_differs_is_what_a_plain_count_of_names_says(
    before: dict[str, tuple[int, str]], now: dict[str, tuple[int, str]]
) -> None:
    def entries(folder: dict[str, tuple[int, str]]) -> list[FileEntry]:
        return [FileEntry(path=path, bytes=n, sha256=sha, role="other") for path, (n, sha) in folder.items()]

    wanted = []
    for path in ["a", "b", "c/d", "c/e"]:
        if path in before and path not in now:
            wanted.append((path, "missing"))
        elif path in now and path not in before:
            wanted.append((path, "extra"))
        elif path in before and before[path] != now[path]:
            wanted.append((path, "changed"))
    assert [(fault.path, fault.what) for fault in compare(entries(before), entries(now))] == wanted


def test_a_fault_says_by_what(tmp_path: Path) -> None:
    """Sizes where these differ; else how the hashes begin, worked out with hashlib."""
    folder = write_model(tmp_path / "m")
    entries = read_entries(folder)
    old = (folder / "LICENSE").read_bytes()
    (folder / "LICENSE").write_bytes(old + b"!")
    assert str(compare_folder(folder, entries)[0]) == f"LICENSE: changed ({len(old) + 1} bytes instead of {len(old)})"
    new = b"l" + old[1:]
    (folder / "LICENSE").write_bytes(new)
    begins, began = (hashlib.sha256(data).hexdigest()[:8] for data in (new, old))
    assert [str(fault) for fault in compare_folder(folder, entries)] == [
        f"LICENSE: changed (sha256 {begins}... instead of {began}...)"
    ]


def test_a_file_that_cannot_be_read_is_missing_and_the_rest_is_read(tmp_path: Path) -> None:
    """/proc/self/mem: a file to every test of names, whose first byte nobody can read."""
    folder = write_model(tmp_path / "m")
    entries = read_entries(folder)
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("/proc/self/mem")
    (folder / "LICENSE").write_bytes(b"another")
    faults = compare_folder(folder, entries)
    assert [(fault.path, fault.what) for fault in faults] == [("LICENSE", "changed"), ("config.json", "missing")]


def test_a_models_digest_is_of_its_content_alone(tmp_path: Path) -> None:
    one = entry_of(write_model(tmp_path / "a"))
    two = replace(entry_of(write_model(tmp_path / "elsewhere" / "b")), name="x", path="y", added_at="z", copied=True)
    assert one.digest == two.digest
    assert entry_of(write_model(tmp_path / "c", seed=1)).digest != one.digest
    assert one.total_bytes == sum(map(len, model_contents().values()))
    assert asdict(one)["files"][0]["path"] == "LICENSE"


# a model that is about to be used -------------------------------------------------------------------------------------


def test_a_models_entry_is_found_by_every_path_that_leads_to_it(store: Path, tmp_path: Path, monkeypatch: Any) -> None:
    entry = read_manifest(store).models["one"]
    link = tmp_path / "elsewhere"
    link.symlink_to(store / "one")
    (tmp_path / "current").symlink_to(store)
    monkeypatch.chdir(store)
    for path in (store / "one", Path("one"), store / "x" / ".." / "one", link, tmp_path / "current" / "one"):
        assert find_entry(path) == entry, path
        assert model_name(path) == "one"
    assert find_entry(store / "one" / "original") is None
    assert find_entry(store / "two") is None
    assert find_entry(tmp_path) is None


def test_a_folder_that_is_named_by_a_commit_is_called_as_its_entry_says(store: Path) -> None:
    snapshot = write_model(store / "models--org--two" / "snapshots" / "4d", seed=2)
    assert model_name(snapshot) == "4d"
    entry = entry_of(snapshot, "two", "models--org--two/snapshots/4d")
    write_manifest(store, Manifest(models={"two": entry}))
    assert model_name(snapshot) == "two"


@pytest.mark.parametrize("text", ['{"name": "a page", "icons": []}', "[]", '"digest"'])
def test_another_programs_manifest_in_a_folder_above_does_not_matter(store: Path, text: str) -> None:
    (store.parent / MANIFEST_FILE).write_text(text, encoding="utf-8")
    assert find_entry(store / "two") is None
    entry = find_entry(store / "one")
    assert entry is not None
    assert entry.name == "one"


@pytest.mark.parametrize("place", ['"models"', '"digest"', "{"])
def test_a_damaged_manifest_is_no_other_programs(store: Path, place: str) -> None:
    path = store / MANIFEST_FILE
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(place, place.replace("e", "f").replace("{", "("), 1), encoding="utf-8")
    with pytest.raises(UserError, match=r"manifest\.json: changed since it was written"):
        find_entry(store / "one")


def test_a_model_is_used_only_as_it_is_listed(store: Path) -> None:
    assert check_entry(store / "one", "subject") == read_manifest(store).models["one"]
    for name in ("LICENSE", "config.json", "tokenizer.json", "original/params.json"):
        (store / "one" / name).write_bytes(b"x")
    with pytest.raises(UserError) as error:
        check_entry(store / "one", "subject")
    text = str(error.value)
    assert text.startswith(f"subject model: {store / 'one'} is not what its manifest lists: LICENSE: changed")
    assert "config.json: changed" in text
    assert "and 1 more" in text  # three of the four are named
    assert check_entry(store / "unlisted", "subject") is None
