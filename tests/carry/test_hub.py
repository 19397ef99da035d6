"""A Hugging Face cache is read as the hub's own library reads it, and what cannot be a model is said in a line."""

import re
from pathlib import Path

import pytest
from huggingface_hub import scan_cache_dir

from localexplain.carry.hub import Found, expected_sha256, resolve
from localexplain.errors import UserError
from tests.carry_models import (
    COMMIT,
    OTHER_COMMIT,
    blob_name,
    model_contents,
    set_main,
    write_cache,
    write_model,
    write_snapshot,
)


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """HF_HOME/hub with two models."""
    hub = tmp_path / "home" / "hub"
    write_cache(hub, "org/small-1B", seed=1)
    write_cache(hub, "gpt2", seed=2)
    return hub


def refusal(path: Path, repository: str = "") -> str:
    with pytest.raises(UserError) as error:
        resolve(path, repository)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_hubs_own_library_finds_the_same(hub: Path) -> None:
    """Oracle: scan_cache_dir, which transformers' own tools use."""
    repositories = scan_cache_dir(hub).repos
    theirs = {(repo.repo_id, rev.commit_hash, rev.snapshot_path) for repo in repositories for rev in repo.revisions}
    ours = [resolve(hub, repo_id) for repo_id in ("gpt2", "org/small-1B")]
    assert {(found.repository, found.revision, found.folder) for found in ours} == theirs


@pytest.mark.parametrize(
    ("below", "repository"),
    [
        ("hub/models--org--small-1B/snapshots/" + COMMIT, ""),
        ("hub/models--org--small-1B/snapshots/" + COMMIT, "org/small-1B"),
        ("hub/models--org--small-1B", ""),
        ("hub/models--org--small-1B/.", "org/small-1B"),
        ("hub/org/small-1B", ""),
        ("org/small-1B", ""),
        ("hub", "org/small-1B"),
        ("", "org/small-1B"),
    ],
)
def test_every_way_to_name_a_model_of_a_cache(hub: Path, below: str, repository: str) -> None:
    folder = hub / "models--org--small-1B" / "snapshots" / COMMIT
    wanted = Found(folder=folder, repository="org/small-1B", revision=COMMIT)
    assert resolve(hub.parent / below, repository) == wanted


def test_a_repository_without_an_organisation_and_a_cache_of_one_model(hub: Path, tmp_path: Path) -> None:
    assert resolve(hub / "gpt2").repository == "gpt2"
    write_cache(tmp_path / "single", "org/only")
    assert resolve(tmp_path / "single").repository == "org/only"


def test_a_relative_path_is_taken_from_where_one_is(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(hub)
    assert resolve(Path("org/small-1B")).repository == "org/small-1B"
    assert resolve(Path("gpt2")).repository == "gpt2"
    monkeypatch.chdir(hub / "models--gpt2" / "snapshots" / COMMIT)
    assert resolve(Path(".")).revision == COMMIT


def test_a_link_to_a_snapshot_is_that_snapshot(hub: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(hub / "models--gpt2" / "snapshots" / COMMIT)
    assert resolve(tmp_path / "link").repository == "gpt2"


def test_files_in_place_of_links_are_a_snapshot_too(hub: Path) -> None:
    """As a cache is on a file system without links."""
    write_model(hub / "models--org--plain" / "snapshots" / COMMIT)
    assert resolve(hub / "models--org--plain").revision == COMMIT


def test_refs_main_decides_between_snapshots(hub: Path) -> None:
    owner = hub / "models--gpt2"
    write_snapshot(hub, "gpt2", model_contents(5), OTHER_COMMIT)
    for commit in (COMMIT, OTHER_COMMIT):
        set_main(hub, "gpt2", f"{commit}\n")
        assert resolve(owner).revision == commit
    (owner / "refs" / "main").unlink()
    text = refusal(owner)
    assert COMMIT in text
    assert OTHER_COMMIT in text
    assert "several snapshots" in text
    assert resolve(owner / "snapshots" / OTHER_COMMIT).revision == OTHER_COMMIT


def test_refs_main_of_a_snapshot_that_is_not_there(hub: Path) -> None:
    set_main(hub, "gpt2", OTHER_COMMIT)
    text = refusal(hub / "models--gpt2")
    assert OTHER_COMMIT in text
    assert f"there are {COMMIT}" in text


def test_no_snapshot_at_all(hub: Path) -> None:
    (hub / "models--org--none" / "snapshots").mkdir(parents=True)
    assert "no snapshot; download the model again" in refusal(hub / "models--org--none")
    set_main(hub, "org/none", COMMIT)
    assert "there is none: download the model again" in refusal(hub / "models--org--none")


def test_a_cache_of_several_models_lists_them(hub: Path) -> None:
    for path in (hub, hub.parent):
        text = refusal(path)
        assert "say which with --repository: gpt2, org/small-1B" in text
    assert "does not hold org/other" in refusal(hub, "org/other")


def test_a_link_into_nowhere_is_named(hub: Path) -> None:
    link = hub / "models--gpt2" / "snapshots" / COMMIT / "model-00002-of-00002.safetensors"
    link.resolve().unlink()
    assert refusal(hub / "models--gpt2").startswith(f"{link}: a link to a file that is not there")


@pytest.mark.parametrize("suffix", [".incomplete", ".1a2b3c4d.incomplete"])
def test_an_interrupted_download_is_named_unless_it_was_made_good(hub: Path, suffix: str) -> None:
    blobs = hub / "models--gpt2" / "blobs"
    made_good = next(path for path in blobs.iterdir())
    (blobs / f"{made_good.name}{suffix}").touch()
    assert resolve(hub / "models--gpt2").revision == COMMIT
    left = blobs / f"{'c' * 64}{suffix}"
    left.touch()
    assert refusal(hub / "models--gpt2").startswith(f"{left}: an interrupted download")


def test_a_plain_folder_is_itself(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "plain")
    assert resolve(folder) == Found(folder=folder, repository="", revision="")
    assert resolve(folder, "org/plain") == Found(folder=folder, repository="org/plain", revision="")


def test_a_download_into_a_folder_tells_its_commit(tmp_path: Path) -> None:
    """As `hf download --local-dir` leaves it: a commit, an etag and a time a file."""
    folder = write_model(tmp_path / "plain")
    cache = folder / ".cache" / "huggingface" / "download"
    cache.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json"):
        (cache / f"{name}.metadata").write_text(f"{COMMIT}\netag\n1700000000.0\n", encoding="utf-8")
    assert resolve(folder).revision == COMMIT
    (cache / "LICENSE.metadata").write_text(f"{OTHER_COMMIT}\netag\n1700000000.0\n", encoding="utf-8")
    assert resolve(folder).revision == ""  # files of two commits
    (cache / "x.etag.incomplete").touch()
    assert "an interrupted download" in refusal(folder)


def test_what_is_no_folder(tmp_path: Path, hub: Path) -> None:
    for path in (tmp_path / "absent", hub / "org" / "absent", hub / "a" / "b" / "c"):
        assert refusal(path).startswith(f"{path}: no such folder")
    (tmp_path / "file").touch()
    assert "no such folder" in refusal(tmp_path / "file")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "no such folder" in refusal(tmp_path / "loop")


@pytest.mark.parametrize("repository", ["a/b/c", "../x", "a b", "https://x/y", "org/"])
def test_what_is_no_repository(tmp_path: Path, repository: str) -> None:
    assert "no repository id" in refusal(write_model(tmp_path / "plain"), repository)


def test_another_repository_than_the_paths(hub: Path) -> None:
    text = refusal(hub / "models--gpt2", "org/small-1B")
    assert re.search("of gpt2, not of org/small-1B", text)


def test_a_blob_says_what_it_hashes_to_where_its_name_is_a_sha256(hub: Path) -> None:
    snapshot = resolve(hub / "gpt2").folder
    contents = model_contents(2)
    for name, content in contents.items():
        wanted = blob_name(name, content) if name.endswith(".safetensors") else ""
        assert expected_sha256(snapshot / name) == wanted
    assert sum(name.endswith(".safetensors") for name in contents) == 2
