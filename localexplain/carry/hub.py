"""Where a Hugging Face cache holds a model. Nothing is asked of any server: only the folders are read.

    HF_HOME/hub/models--ORG--NAME/refs/main            a commit
                                  blobs/HASH           what was downloaded; sha256 where the hash has 64 digits
                                  snapshots/COMMIT/    the model's files, links into blobs/ as a rule

A folder that `hf download --local-dir` made has .cache/huggingface/download/*.metadata, whose first lines are commits.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from localexplain.errors import UserError

PREFIX, SNAPSHOTS, BLOBS, MAIN = "models--", "snapshots", "blobs", Path("refs") / "main"
LOCAL_CACHE = Path(".cache") / "huggingface" / "download"
UNFINISHED = ".incomplete"
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?", re.ASCII)
SHA256 = re.compile(r"[0-9a-f]{64}")
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A model's folder.

    repository  Hugging Face id, "" where nothing tells it
    revision    commit of the repository, likewise
    """

    folder: Path
    repository: str = ""
    revision: str = ""


# names ----------------------------------------------------------------------------------------------------------------


def folder_name(repository: str) -> str:
    """
    >>> folder_name("Qwen/Qwen3-8B")
    'models--Qwen--Qwen3-8B'
    """
    return PREFIX + repository.replace("/", "--")


def repository_of(folder: Path) -> str:
    """The id that the name of a cache's folder stands for.

    >>> repository_of(Path("hub/models--Qwen--Qwen3-8B")), repository_of(Path("models--gpt2"))
    ('Qwen/Qwen3-8B', 'gpt2')
    """
    return folder.name.removeprefix(PREFIX).replace("--", "/", 1)


def is_repository_folder(folder: Path) -> bool:
    return folder.name.startswith(PREFIX) and (folder / SNAPSHOTS).is_dir()


def list_repositories(hub: Path) -> tuple[Path, ...]:
    """The models' folders of a cache, in order of name; () for any other folder."""
    return tuple(sorted(path for path in hub.glob(f"{PREFIX}*") if is_repository_folder(path)))


def find_hub(folder: Path) -> Path | None:
    """The folder that holds models' folders: this one, or hub/ in it."""
    return next((path for path in (folder, folder / "hub") if path.is_dir() and list_repositories(path)), None)


# one model ------------------------------------------------------------------------------------------------------------


def check_finished(folder: Path, where: Path) -> None:
    """Raises UserError, naming the file, for a link to what is not there, and for a download in `where` that was
    interrupted; what is left of one that was made good later does not matter."""
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() and not path.exists():
            raise UserError(f"{path}: a link to a file that is not there; download the model again, or copy it whole")
    for path in sorted(where.rglob(f"*{UNFINISHED}")):
        if not (path.parent / path.name.split(".")[0]).exists():
            raise UserError(f"{path}: an interrupted download; finish it on the connected side, or delete that file")


def expected_sha256(path: Path) -> str:
    """What a file of a snapshot should hash to, by the name of its blob; "" where the name does not tell."""
    real = path.resolve()
    return real.name if real.parent.name == BLOBS and SHA256.fullmatch(real.name) else ""


def find_snapshot(folder: Path) -> Path:
    """The snapshot of a model's folder that refs/main names, else the only one. Raises UserError."""
    snapshots = sorted(path for path in (folder / SNAPSHOTS).iterdir() if path.is_dir())
    names = ", ".join(path.name for path in snapshots)
    if (folder / MAIN).is_file():
        commit = (folder / MAIN).read_text(encoding="utf-8", errors="replace").strip()
        named = next((path for path in snapshots if path.name == commit), None)
        if named is None:
            there = f"there are {names}: give the path of one" if names else "there is none: download the model again"
            raise UserError(f"{folder}: refs/main names the snapshot {commit!r}, which is not there; {there}")
        return named
    if len(snapshots) != 1:
        many = f"several snapshots and no refs/main; give the path of one: {names}"
        raise UserError(f"{folder}: {many if names else 'no snapshot; download the model again'}")
    return snapshots[0]


def read_snapshot(snapshot: Path) -> Found:
    owner = snapshot.parent.parent
    check_finished(snapshot, owner / BLOBS)
    return Found(folder=snapshot, repository=repository_of(owner), revision=snapshot.name)


def read_plain(folder: Path, repository: str) -> Found:
    cache = folder / LOCAL_CACHE
    check_finished(folder, cache)
    firsts = {path.read_text(encoding="utf-8", errors="replace")[:40] for path in cache.rglob("*.metadata")}
    commit = firsts.pop() if len(firsts) == 1 else ""  # files of several commits are of none
    return Found(folder=folder, repository=repository, revision=commit if COMMIT.fullmatch(commit) else "")


# the whole ------------------------------------------------------------------------------------------------------------


def split_hub(path: Path) -> tuple[Path, str] | None:
    """HUB/ORG/NAME, which is no path of its own, as the models' folder and the id; None where it is none."""
    path = path.absolute()
    for depth in (1, 2):
        if len(path.parts) > depth and (hub := find_hub(path.parents[depth - 1])) is not None:
            repository = "/".join(path.parts[-depth:])
            if (hub / folder_name(repository)).is_dir():
                return hub, repository
    return None


def choose_repository(hub: Path, repository: str) -> Path:
    """The model's folder in a cache that may hold several. Raises UserError."""
    there = list_repositories(hub)
    if not repository and len(there) == 1:
        return there[0]
    chosen = hub / folder_name(repository)
    if not repository or chosen not in there:
        names = ", ".join(repository_of(path) for path in there)
        missing = f"does not hold {repository}" if repository else "a cache of several models"
        raise UserError(f"{hub}: {missing}; say which with --repository: {names}")
    return chosen


def resolve(path: Path, repository: str = "") -> Found:
    """The model that a path means: a plain folder of its files, or, in a Hugging Face cache, a snapshot, a model's
    folder, the cache or HF_HOME (then `repository` says which model, where there are several), or CACHE/ORG/NAME.

    Raises UserError: no such folder, none or several models to choose from, a download that was interrupted, another
    repository than the path is of.
    """
    if repository and not REPOSITORY.fullmatch(repository):
        raise UserError(f"{repository!r} is no repository id; write ORG/NAME")
    if not path.is_dir():
        split = split_hub(path)
        if split is None:
            raise UserError(f"{path}: no such folder; give a model's folder, or one of a Hugging Face cache")
        path = split[0] / folder_name(split[1])
    place = path.resolve()
    if (hub := find_hub(place)) is not None:
        place = choose_repository(hub, repository).resolve()
    if is_repository_folder(place):
        place = find_snapshot(place)
    if place.parent.name != SNAPSHOTS or not place.parent.parent.name.startswith(PREFIX):
        return read_plain(place, repository)
    found = read_snapshot(place)
    if repository not in ("", found.repository):
        raise UserError(f"{path}: of {found.repository}, not of {repository}; leave --repository out")
    return found
