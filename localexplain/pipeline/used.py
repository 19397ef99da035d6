"""The models that a run uses, proven to be those of their model store, and which of their files differ from another
time's."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from localexplain.carry.manifest import (
    FileEntry,
    ModelEntry,
    check_entry,
    compare,
    find_entry,
    list_files,
    role_of,
)
from localexplain.modelfiles import HASHED_FILES, check_model_folder, hash_once
from localexplain.resources import model_folder


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedModel:
    """A language model that a run is about to load, as its files are now.

    name   in the model store, else the folder's own
    entry  None outside a model store
    files  in order of path: all of a model store's; outside one those that a run may read
    """

    folder: Path
    name: str
    entry: ModelEntry | None
    files: tuple[FileEntry, ...]

    @property
    def digest(self) -> str:
        """sha256 over the files' paths, sizes and hashes, as an entry has it."""
        return ModelEntry(name=self.name, path="", files=self.files).digest


def readable_files(folder: Path) -> dict[str, Path]:
    """Relative path -> file, for what a run may read of a model: nothing in folders below, and nothing pickled."""
    listed = list_files(folder)
    return {name: path for name, path in listed.items() if "/" not in name and role_of(name) != "pickled weights"}


def hash_listed(listed: Mapping[str, Path]) -> tuple[FileEntry, ...]:
    """Hashed once a process. Raises OSError."""
    hashes = hash_once(listed.values())
    return tuple(
        FileEntry(path=name, bytes=path.stat().st_size, sha256=hashes[path], role=role_of(name))
        for name, path in listed.items()
    )


def used_model(name: str, role: str) -> UsedModel:
    """The model that a setting names: a path, or the name of one that ships. `role` ("subject", "explainer") says in
    errors which one is meant. Its files are read once a process, however often it is asked for.

    Raises UserError: no such folder, an incomplete one, files that differ from the model's entry in its model store.
    """
    folder = model_folder(name)
    check_model_folder(folder, role)
    entry = find_entry(folder)
    files = hash_listed(readable_files(folder) if entry is None else list_files(folder))
    if entry is not None and compare(entry.files, files):
        check_entry(folder, role)  # reads the files again, and says which they are
    own = folder.resolve().name if entry is None else entry.name
    return UsedModel(folder=folder, name=own, entry=entry, files=files)


def list_differences(before: Iterable[FileEntry], now: Iterable[FileEntry]) -> str:
    """What differs among the files that a model's identity is made of, in words; "" where nothing does."""

    def identifying(files: Iterable[FileEntry]) -> list[FileEntry]:
        return [file for file in files if any(fnmatchcase(file.path, pattern) for pattern in HASHED_FILES)]

    return ", ".join(map(str, compare(identifying(before), identifying(now))))
