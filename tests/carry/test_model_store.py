"""What a model store takes in, what it refuses, and that nothing in it can change unseen."""

import fcntl
import hashlib
import json
import multiprocessing
import os
import random
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from localexplain.carry import model_store
from localexplain.carry.manifest import MANIFEST_FILE, read_manifest
from localexplain.carry.model_store import Added, add, remove, verify
from localexplain.cli import main
from localexplain.errors import UserError
from tests.carry_models import (
    COMMIT,
    model_contents,
    safetensors,
    write_cache,
    write_files,
    write_model,
)
from tests.cli_process import CliProcess, run_cli

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
N_CORRUPTIONS = 240


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return write_model(tmp_path / "plain")


def take(store: Path, path: Path, name: str, **options: Any) -> Added:
    return add(store, path, name, now=NOON, **options)


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(UserError) as error:
        act()
    assert "\n" not in str(error.value)
    return str(error.value)


def contents_of(folder: Path) -> dict[str, bytes]:
    """Everything below a folder, hidden files too, links followed."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def faults_of(store: Path, name: str | None = None) -> list[tuple[str, str, str]]:
    """(model, path, what) of all that differs."""
    found = verify(store, name).faults
    return [(model, fault.path, fault.what) for model, faults in found.items() for fault in faults]


# taking in ------------------------------------------------------------------------------------------------------------


def test_a_plain_folder_is_copied_and_every_file_listed(store: Path, plain: Path) -> None:
    (plain / ".cache").mkdir()
    (plain / ".cache" / "x").touch()
    added = take(store, plain, "one", repository="org/one")
    contents = model_contents()
    assert contents_of(store / "one") == contents
    assert {file.path: (file.bytes, file.sha256) for file in added.entry.files} == {
        name: (len(content), hashlib.sha256(content).hexdigest()) for name, content in contents.items()
    }
    assert {file.path: file.role for file in added.entry.files} == {
        "LICENSE": "licence",
        "chat_template.jinja": "chat template",
        "config.json": "config",
        "model-00001-of-00002.safetensors": "weights",
        "model-00002-of-00002.safetensors": "weights",
        "model.safetensors.index.json": "weights",
        "original/params.json": "config",
        "tokenizer.json": "tokenizer",
        "tokenizer_config.json": "tokenizer",
    }
    assert read_manifest(store).models == {"one": added.entry}
    entry = added.entry
    assert (added.is_new, entry.path, entry.copied, entry.pickled) == (True, "one", True, ())
    assert (entry.repository, entry.revision) == ("org/one", "")
    assert faults_of(store) == []
    assert sorted(path.name for path in store.iterdir()) == [".lock", "manifest.json", "one"]


def test_the_time_is_the_clocks_in_utc(store: Path, plain: Path) -> None:
    """14:00 two hours east of Greenwich is noon there."""
    east = datetime(2026, 1, 2, 14, tzinfo=timezone(timedelta(hours=2)))
    assert add(store, plain, "one", now=east).entry.added_at == "2026-01-02T12:00:00+00:00"


def test_a_snapshot_outside_the_store_is_copied_without_links(store: Path, tmp_path: Path) -> None:
    snapshot = write_cache(tmp_path / "hub", "org/small", seed=4)
    entry = take(store, tmp_path / "hub" / "org" / "small", "small").entry
    assert (entry.path, entry.copied, entry.repository, entry.revision) == ("small", True, "org/small", COMMIT)
    assert contents_of(store / "small") == model_contents(4)
    assert not any(path.is_symlink() for path in (store / "small").rglob("*"))
    assert snapshot.exists()


def test_a_snapshot_inside_the_store_is_recorded_where_it_lies(store: Path) -> None:
    write_cache(store / "hub", "org/small", seed=4)
    before = contents_of(store)
    entry = take(store, store / "hub" / "models--org--small", "small").entry
    assert (entry.path, entry.copied) == (f"hub/models--org--small/snapshots/{COMMIT}", False)
    after = contents_of(store)
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {".lock", "manifest.json"}
    assert faults_of(store) == []
    assert "as small" in refusal(lambda: take(store, store / "hub", "again", repository="org/small"))


def test_a_folder_inside_the_store_may_bear_the_models_name(store: Path) -> None:
    write_model(store / "one")
    assert take(store, store / "one", "one").entry.copied is False
    assert remove(store, "one").are_files_deleted is False
    assert contents_of(store / "one") == model_contents()


def test_the_store_is_not_taken_into_itself(store: Path, plain: Path) -> None:
    for inside in (plain, plain / "models"):
        assert "holds the model store" in refusal(lambda inside=inside: take(inside, plain, "one"))
    assert contents_of(plain) == model_contents()


def test_the_same_again_is_no_fault_and_another_is(store: Path, plain: Path, tmp_path: Path) -> None:
    first = take(store, plain, "one")
    assert take(store, plain, "one") == Added(entry=first.entry, is_new=False)
    other = write_model(tmp_path / "other", seed=1)
    assert "another model of this name" in refusal(lambda: take(store, other, "one"))
    assert contents_of(store / "one") == model_contents()
    remove(store, "one")
    assert take(store, other, "one").is_new
    assert contents_of(store / "one") == model_contents(1)


def test_the_same_again_does_not_hide_damage(store: Path, plain: Path) -> None:
    take(store, plain, "one")
    (store / "one" / "LICENSE").write_bytes(b"x")
    text = refusal(lambda: take(store, plain, "one"))
    assert "there already, but damaged (LICENSE: changed" in text
    remove(store, "one")
    assert take(store, plain, "one").is_new
    assert faults_of(store) == []


@pytest.mark.parametrize(
    "name", ["", ".hidden", "-x", "a/b", "..", "a b", "é", "x" * 101, "manifest.json", "lookup", "rule", "ships", "a@b"]
)
def test_a_name_that_no_command_could_use(store: Path, plain: Path, name: str) -> None:
    text = refusal(lambda: take(store, plain, name, taken=("ships",)))
    assert "name" in text
    assert not store.exists()


def test_a_folder_in_the_way_stays(store: Path, plain: Path) -> None:
    write_model(store / "one", seed=1)
    assert "there already" in refusal(lambda: take(store, plain, "one"))
    assert contents_of(store / "one") == model_contents(1)
    assert read_manifest(store).models == {}
    assert "a file; give a folder" in refusal(lambda: take(plain / "LICENSE", store / "one", "one"))


# refused --------------------------------------------------------------------------------------------------------------


def test_pickled_files_are_refused_unless_each_is_named(store: Path, plain: Path) -> None:
    write_files(plain, {"pytorch_model.bin": b"\x80\x04N.", "original/a.pth": b"\x80\x04N."})
    text = refusal(lambda: take(store, plain, "one"))
    assert "original/a.pth, pytorch_model.bin" in text
    assert "--allow-pickled original/a.pth, --allow-pickled pytorch_model.bin" in text
    text = refusal(lambda: take(store, plain, "one", allowed_pickled=("pytorch_model.bin",)))
    assert "files, which can run code: original/a.pth;" in text
    assert "a.pth" in refusal(lambda: take(store, plain, "one", allowed_pickled=("pytorch_model.bin", "a.pth")))
    assert not store.exists()
    allowed = ("pytorch_model.bin", "original/a.pth")
    entry = take(store, plain, "one", allowed_pickled=allowed).entry
    assert entry.pickled == tuple(sorted(allowed))
    assert {file.role for file in entry.files if file.path in allowed} == {"pickled weights"}
    text = refusal(lambda: take(store, plain, "two", allowed_pickled=(*allowed, "config.json")))
    assert "--allow-pickled config.json: no such pickled file" in text


def test_pickled_weights_alone_are_no_model_even_if_allowed(store: Path, tmp_path: Path) -> None:
    folder = write_files(tmp_path / "m", {"config.json": b"{}", "pytorch_model.bin": b"\x80\x04N."})
    text = refusal(lambda: take(store, folder, "one", allowed_pickled=("pytorch_model.bin",)))
    assert "no weights as .safetensors" in text


def damaged_weights() -> dict[str, bytes]:
    whole = safetensors(100)
    return {
        "empty": b"",
        "seven bytes": whole[:7],
        "inside the header": whole[:30],
        "one byte short": whole[:-1],
        "one byte more": whole + b"x",
        "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
        "pickle": b"\x80\x04N.",
        "header of no object": b"\x02" + b"\0" * 7 + b"[]",
        "header of other things": b"\x07" + b"\0" * 7 + b'{"a":1}',
    }


@pytest.mark.parametrize("kind", damaged_weights())
def test_weights_that_are_not_whole(store: Path, plain: Path, kind: str) -> None:
    shard = plain / "model-00002-of-00002.safetensors"
    shard.write_bytes(damaged_weights()[kind])
    assert refusal(lambda: take(store, plain, "one")).startswith(f"{shard}: not a whole safetensors file")
    assert not store.exists()


def test_a_shard_that_the_index_lists_and_nobody_brought(store: Path, plain: Path) -> None:
    (plain / "model-00002-of-00002.safetensors").unlink()
    text = refusal(lambda: take(store, plain, "one"))
    assert "model.safetensors.index.json lists model-00002-of-00002.safetensors, not there" in text
    (plain / "model.safetensors.index.json").write_text("[]", encoding="utf-8")
    assert "no index of weights" in refusal(lambda: take(store, plain, "one"))


@pytest.mark.parametrize("place", ["outside", "inside"])
def test_a_blob_that_changed_since_its_download(store: Path, tmp_path: Path, place: str) -> None:
    hub = store / "hub" if place == "inside" else tmp_path / "hub"
    snapshot = write_cache(hub, "org/small")
    shard = snapshot / "model-00001-of-00002.safetensors"
    content = shard.read_bytes()
    shard.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    text = refusal(lambda: take(store, snapshot, "one"))
    assert text.startswith(f"{shard}: not what was downloaded, by its hash")
    assert read_manifest(store).models == {}
    assert not (store / "one").exists()


def test_a_file_name_that_nothing_can_write_down(store: Path, plain: Path) -> None:
    (plain / "half-\udcff").touch()
    assert "is not UTF-8" in refusal(lambda: take(store, plain, "one"))


def test_code_is_kept_and_said_to_be_never_run(store: Path, plain: Path) -> None:
    write_files(plain, {"modeling_own.py": b"raise SystemExit", "config.json": b'{"auto_map": {"AutoModel": "x"}}'})
    lines: list[str] = []
    entry = take(store, plain, "one", report=lines.append).entry
    assert [file.role for file in entry.files if file.path == "modeling_own.py"] == ["code"]
    assert lines == [
        "one: code is kept and never run (trust_remote_code is never on): modeling_own.py",
        "one: config.json names code of its own, which is never run; the model must load without it",
    ]


def test_a_damaged_manifest_stops_every_change(store: Path, plain: Path) -> None:
    take(store, plain, "one")
    path = store / MANIFEST_FILE
    path.write_bytes(path.read_bytes().replace(b"LICENSE", b"LICENCE"))
    before = contents_of(store)
    for act in (lambda: take(store, plain, "two"), lambda: remove(store, "one"), lambda: verify(store)):
        assert "manifest.json: changed since it was written" in refusal(act)
    assert contents_of(store) == before


def spoil_copies(store: Path, source: Path) -> None:
    """Inside a process of its own: every copy loses a byte right before it is read back, as on a bad disk. Exit code 3
    where that is said."""
    spoilt: set[str] = set()

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        path = str(arguments[0]) if event == "open" else ""
        if ".one.partial/" in path and "r" in str(arguments[1]) and path not in spoilt:
            spoilt.add(path)
            os.truncate(path, os.stat(path).st_size - 1)

    sys.addaudithook(watch)
    try:
        take(store, source, "one")
    except UserError as error:
        os._exit(3 if "reads back otherwise" in str(error) else 4)


def test_a_copy_is_read_back_before_it_is_listed(store: Path, plain: Path) -> None:
    process = multiprocessing.get_context("forkserver").Process(target=spoil_copies, args=(store, plain))
    process.start()
    process.join(60)
    assert process.exitcode == 3
    assert sorted(path.name for path in store.iterdir()) == [".lock"]


# taking out -----------------------------------------------------------------------------------------------------------


def test_a_copy_is_deleted_and_what_was_recorded_stays(store: Path, plain: Path) -> None:
    take(store, plain, "one")
    write_cache(store, "org/small", seed=1)
    take(store, store / "org" / "small", "small")
    assert remove(store, "one").are_files_deleted
    assert not (store / "one").exists()
    snapshot = store / "models--org--small" / "snapshots" / COMMIT
    assert not remove(store, "small").are_files_deleted
    assert contents_of(snapshot) == model_contents(1)
    assert read_manifest(store).models == {}
    assert contents_of(plain) == model_contents()
    assert "there: none" in refusal(lambda: remove(store, "one"))


def test_a_file_of_the_users_own_is_not_deleted_with_the_copy(store: Path, plain: Path) -> None:
    take(store, plain, "one")
    (store / "one" / "notes.txt").write_text("mine", encoding="utf-8")
    assert "holds files that are not the model's: notes.txt" in refusal(lambda: remove(store, "one"))
    assert contents_of(store / "one") == model_contents() | {"notes.txt": b"mine"}
    assert list(read_manifest(store).models) == ["one"]


def test_a_copy_that_is_gone_can_still_be_taken_out(store: Path, plain: Path) -> None:
    take(store, plain, "one")
    (store / "one").rename(store.parent / "moved")
    assert remove(store, "one").are_files_deleted is False
    assert read_manifest(store).models == {}


# nothing changes unseen -----------------------------------------------------------------------------------------------


@pytest.fixture
def three(store: Path, tmp_path: Path) -> Path:
    """Three models: copied from a folder, copied from a cache, recorded in a cache inside the store."""
    take(store, write_model(tmp_path / "a", seed=1), "one")
    write_cache(tmp_path / "hub", "org/two", seed=2)
    take(store, tmp_path / "hub", "two")
    write_cache(store, "org/three", seed=3)
    take(store, store / "org" / "three", "three")
    assert faults_of(store) == []
    return store


def corrupt(draw: random.Random, files: dict[tuple[str, str], Path]) -> tuple[list[tuple[str, str, str]], list[Path]]:
    """Damages a model store in one random way; returns what verify must say, and the files touched."""
    (model, name), path = draw.choice(sorted(files.items()))
    content = path.read_bytes()
    match draw.choice(("flip", "flip", "cut", "delete", "extra", "swap")):
        case "flip":
            place = draw.randrange(len(content))
            path.write_bytes(
                content[:place] + bytes([content[place] ^ (1 << draw.randrange(8))]) + content[place + 1 :]
            )
            return [(model, name, "changed")], [path]
        case "cut":
            path.write_bytes(content[: draw.randrange(len(content))])
            return [(model, name, "changed")], [path]
        case "delete":
            path.unlink()
            return [(model, name, "missing")], [path]
        case "extra":
            beside = f"{name}.{draw.randrange(100)}"
            (path.parent / Path(beside).name).write_bytes(draw.randbytes(draw.randrange(20)))
            return [(model, beside, "extra")], [path.parent / Path(beside).name]
        case _:
            (other_model, other_name), other = draw.choice(sorted(set(files.items()) - {((model, name), path)}))
            path.write_bytes(other.read_bytes())
            other.write_bytes(content)
            return sorted([(model, name, "changed"), (other_model, other_name, "changed")]), [path, other]


def test_every_random_corruption_is_found_and_named(three: Path) -> None:
    draw = random.Random(6)
    entries = read_manifest(three).models.values()
    files = {(entry.name, file.path): three / entry.path / file.path for entry in entries for file in entry.files}
    whole = {path: path.read_bytes() for path in files.values()}
    kinds: list[str] = []
    for _ in range(N_CORRUPTIONS):
        wanted, touched = corrupt(draw, files)
        assert sorted(faults_of(three)) == wanted
        kinds.append("swapped" if len(wanted) > 1 else wanted[0][2])
        for path in touched:
            path.unlink(missing_ok=True)
            if path in whole:
                path.write_bytes(whole[path])
    assert len(kinds) == N_CORRUPTIONS
    assert all(kinds.count(kind) > 15 for kind in ("changed", "missing", "extra", "swapped"))
    assert faults_of(three) == []


def test_one_model_alone_is_verified_by_its_name(three: Path) -> None:
    for name in ("one", "two"):
        (three / name / "LICENSE").write_bytes(b"x")
    assert faults_of(three, "two") == [("two", "LICENSE", "changed")]
    assert faults_of(three, "three") == []
    assert "there: one, three, two" in refusal(lambda: verify(three, "four"))


def test_a_models_folder_that_is_gone_is_named_once(three: Path) -> None:
    (three / "two").rename(three.parent / "moved")
    assert faults_of(three) == [("two", "two", "missing")]


def test_weights_that_nobody_listed_are_told_and_no_fault(three: Path) -> None:
    write_model(three / "stray", seed=7)
    write_files(three / "deep" / "er", {"model.safetensors": safetensors(3)})
    write_files(three / ".hidden", {"model.safetensors": safetensors(3)})
    write_files(three / "texts", {"a.txt": b"x"})
    found = verify(three)
    assert found.unlisted == ("deep/er", "stray")
    assert found.n_faults == 0
    assert verify(three, "one").unlisted == ()


def test_a_store_without_a_manifest_proves_nothing(three: Path) -> None:
    (three / MANIFEST_FILE).unlink()
    assert "holds no manifest.json" in refusal(lambda: verify(three))
    assert "no such model store" in refusal(lambda: verify(three / "absent"))


# beside each other, and without room ----------------------------------------------------------------------------------


def test_two_adds_wait_for_each_other_and_both_are_listed(store: Path, tmp_path: Path) -> None:
    """Both are made to start before either can go on: the test holds the lock until both say that they wait."""
    take(store, write_model(tmp_path / "zero"), "zero")
    processes = []
    with (store / model_store.LOCK_FILE).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for seed, name in ((1, "one"), (2, "two")):
            scratch = tmp_path / f"scratch-{name}"
            scratch.mkdir()
            source = write_model(tmp_path / name, seed, weight_bytes=200_000)
            processes.append(CliProcess(("models", "add", source, "--as", name, "--store", store), scratch))
            stderr = scratch / "stderr"
            assert processes[-1].wait_for(lambda path=stderr: path.exists() and "waiting" in path.read_text("utf-8"))
        assert list(read_manifest(store).models) == ["zero"]
    for process in processes:
        assert process.end().exit_code == 0
    assert list(read_manifest(store).models) == ["one", "two", "zero"]
    assert faults_of(store) == []


@pytest.mark.parametrize(
    ("weight_bytes", "n_small", "file_bytes"),
    [(50_000, 0, 20_000), (100, 200, 15_000)],
    ids=["the weights", "the manifest"],
)
def test_a_full_disk_leaves_the_store_as_it_was(
    store: Path, tmp_path: Path, weight_bytes: int, n_small: int, file_bytes: int
) -> None:
    """No file may be longer than `file_bytes`: in the second case every file of the model fits, and the manifest, about
    150 bytes a file, does not."""
    take(store, write_model(tmp_path / "zero"), "zero")
    before = contents_of(store)
    source = write_model(tmp_path / "big", seed=1, weight_bytes=weight_bytes)
    write_files(source, {f"{number}.txt": b"x" for number in range(n_small)})
    ended = run_cli("models", "add", source, "--as", "big", "--store", store, scratch=tmp_path, file_bytes=file_bytes)
    assert ended.exit_code == 2
    assert ended.stderr.count("\n") == 1
    assert "no room left on the disk" in ended.stderr
    assert contents_of(store) == before
    assert sorted(path.name for path in store.iterdir()) == [".lock", "manifest.json", "zero"]
    assert run_cli("models", "add", source, "--as", "big", "--store", store, scratch=tmp_path).exit_code == 0
    assert faults_of(store) == []


# the commands ---------------------------------------------------------------------------------------------------------


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output, standard error of `localexplain models ...`."""
    capsys.readouterr()
    code = main(["models", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def values(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    code, out, _ = call(capsys, *arguments, "--json")
    assert code == 0
    assert out.count("\n") == 1
    return json.loads(out)


def test_the_commands_one_after_another_as_json(
    store: Path, tmp_path: Path, plain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_files(plain, {"weights.bin": b"x"})
    flags = ("--as", "one", "--repository", "org/one", "--allow-pickled", "weights.bin", "--store", store)
    added = values(capsys, "add", plain, *flags)
    digest, size = read_manifest(store).models["one"].digest, sum(map(len, model_contents().values())) + 1
    assert (added["is_new"], added["digest"], added["bytes"]) == (True, digest, size)
    assert (added["repository"], added["pickled"], added["copied"]) == ("org/one", ["weights.bin"], True)
    assert added["files"][0] == {
        "path": "LICENSE",
        "bytes": len(model_contents()["LICENSE"]),
        "sha256": hashlib.sha256(model_contents()["LICENSE"]).hexdigest(),
        "role": "licence",
    }
    assert datetime.fromisoformat(added["added_at"]).utcoffset() == timedelta(0)
    assert values(capsys, "add", plain, *flags)["is_new"] is False
    listed = {model["name"]: model for model in values(capsys, "list", "--store", store)}
    assert listed["one"] == {
        "name": "one",
        "where": "model store",
        "folder": str(store / "one"),
        "repository": "org/one",
        "bytes": size,
        "licence": "LICENSE",
    }
    assert listed["tiny-subject"]["where"] == "ships"
    assert listed["qwen3-8b"] == {
        "name": "qwen3-8b",
        "where": "card only",
        "folder": None,
        "repository": "Qwen/Qwen3-8B",
        "bytes": None,
        "licence": "Apache-2.0",
    }
    assert values(capsys, "verify", "--store", store) == {"models": {"one": []}, "unlisted": [], "n_faults": 0}
    removed = values(capsys, "remove", "one", "--store", store)
    assert removed == {"name": "one", "path": "one", "are_files_deleted": True}


def test_verify_ends_with_the_users_fault_after_naming_all(three: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (three / "one" / "LICENSE").write_bytes(b"x")
    (three / "two" / "config.json").unlink()
    (three / "two" / "more.txt").touch()
    write_model(three / "stray", seed=9)
    code, out, err = call(capsys, "verify", "--store", three)
    assert code == 2
    assert out.splitlines() == [
        f"one: LICENSE: changed (1 bytes instead of {len(model_contents(1)['LICENSE'])})",
        "three: as listed",
        "two: config.json: missing",
        "two: more.txt: extra",
        "stray: holds weights, and is not listed; `localexplain models add` takes it in",
    ]
    assert err.count("\n") == 1
    assert "3 files differ from what is listed, of one, two;" in err
    code, out, err = call(capsys, "verify", "--store", three, "--json")
    assert code == 2
    found = json.loads(out)
    assert {name: len(faults) for name, faults in found["models"].items()} == {"one": 1, "three": 0, "two": 2}
    assert found["models"]["two"][0] == {"path": "config.json", "what": "missing", "detail": ""}
    assert (found["n_faults"], found["unlisted"]) == (3, ["stray"])
    assert call(capsys, "verify", "three", "--store", three)[0] == 0


def test_list_and_show_for_a_reader(three: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "list", "--store", three)
    assert code == 0
    rows = {line.split()[0]: line for line in out.splitlines() if line}
    assert "org/three" in rows["three"]
    assert "KiB" in rows["three"]
    assert rows["one"].rstrip().endswith("model store")
    assert rows["tiny-subject"].rstrip().endswith("ships")
    assert rows["gpt2"].rstrip().endswith("card only")
    code, out, _ = call(capsys, "show", "three", "--store", three)
    assert code == 0
    for part in ("gpt2", "LICENSE", "recorded where it lay", COMMIT):
        assert part in out


def test_show_of_a_card_a_shipped_model_a_folder_and_nothing(
    three: Path, plain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = values(capsys, "show", "Qwen/Qwen3-8B", "--gpu-memory", "24GB")
    assert (found["name"], found["where"], found["card"]["licence"]) == ("qwen3-8b", "card only", "Apache-2.0")
    assert found["gpus"]["usable_bytes_per_gpu"] == 21_600_000_000  # nine tenths
    assert found["entry"] is None
    shipped = values(capsys, "show", "tiny-subject")
    assert (shipped["where"], shipped["card"]) == ("ships", None)
    assert (values(capsys, "show", plain)["where"], values(capsys, "show", plain)["card"]) == ("folder", None)
    inside = values(capsys, "show", three / "one")
    assert (inside["name"], inside["entry"]["digest"]) == ("one", read_manifest(three).models["one"].digest)
    assert values(capsys, "show", "one", "--store", three)["entry"]["name"] == "one"
    code, out, err = call(capsys, "show", "nothing-such", "--store", three)
    assert (code, out, err.count("\n")) == (2, "", 1)
    code, _, err = call(capsys, "show", "tiny-subject", "--gpu-memory", "24GB")
    assert (code, "no card says how large it is" in err) == (2, True)


def test_files_that_contradict_the_card_are_said_when_added(
    store: Path, plain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A config.json of one layer under the name of a repository whose card has 36."""
    (plain / "config.json").write_text(json.dumps({"model_type": "qwen3", "num_hidden_layers": 1}), encoding="utf-8")
    code, _, err = call(capsys, "add", plain, "--as", "q", "--repository", "Qwen/Qwen3-8B", "--store", store)
    assert code == 0
    assert any("not as the card of Qwen/Qwen3-8B has it" in line and "36" in line for line in err.splitlines())
    found = values(capsys, "show", "q", "--store", store)
    assert found["card"]["name"] == "qwen3-8b"
    assert found["contradictions"]
    shown = {model["name"]: model for model in values(capsys, "list", "--store", store)}
    assert shown["q"]["licence"] == "Apache-2.0"
    assert "qwen3-8b" not in shown  # it is there, as q
    assert values(capsys, "show", "qwen3-8b", "--store", store)["name"] == "q"


def test_a_name_alone_gives_a_model_no_card(store: Path, plain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values(capsys, "add", plain, "--as", "qwen3-8b", "--store", store)
    listed = [model for model in values(capsys, "list", "--store", store) if model["name"] == "qwen3-8b"]
    assert [(model["where"], model["repository"]) for model in listed] == [
        ("model store", None),
        ("card only", "Qwen/Qwen3-8B"),
    ]


def test_the_environment_names_the_store_and_the_flag_stands_over_it(
    three: Path, plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LOCALEXPLAIN_MODELS", raising=False)
    for command in (("add", plain, "--as", "x"), ("verify",), ("remove", "one")):
        code, out, err = call(capsys, *command)
        assert (code, out) == (2, "")
        assert "give --store DIR, or set LOCALEXPLAIN_MODELS" in err
    monkeypatch.setenv("LOCALEXPLAIN_MODELS", str(three))
    assert set(values(capsys, "verify")["models"]) == {"one", "two", "three"}
    other = tmp_path / "other-store"
    values(capsys, "add", plain, "--as", "x", "--store", other)
    assert set(values(capsys, "verify", "--store", other)["models"]) == {"x"}
    names = {model["name"] for model in values(capsys, "list")}
    assert {"one", "two", "three"} <= names
    monkeypatch.setenv("LOCALEXPLAIN_MODELS", "")
    assert "one" not in {model["name"] for model in values(capsys, "list")}


@pytest.mark.parametrize("name", ["tiny-subject", "tiny-explainer-1m", "lookup"])
def test_the_name_of_a_model_that_ships_is_taken(
    store: Path, plain: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    code, _, err = call(capsys, "add", plain, "--as", name, "--store", store)
    assert (code, "means something else already" in err) == (2, True)


def test_where_the_first_model_is_still_to_be_added_the_others_are_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "list", "--store", str(tmp_path / "absent"), "--json"]) == 0
    printed = capsys.readouterr()
    assert {"tiny-subject", "qwen3-8b"} <= {row["name"] for row in json.loads(printed.out)}
    assert printed.err.startswith(f"{tmp_path}/absent: no model store there yet; ")
    assert printed.err.count("\n") == 1
