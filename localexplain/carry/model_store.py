"""A folder of models and its manifest: models are taken in, listed, proven to be unchanged, and taken out.

    STORE/manifest.json     see manifest.py; writing it is the one commit of every change
    STORE/NAME/             a model's files, copied there, or
    STORE/any/folder/       recorded where they lay, e.g. in a Hugging Face cache
    STORE/.lock             held while the store is being changed
    STORE/.NAME.partial/    being copied; UNFINISHED in a folder: not committed yet, or no longer

A kill leaves the old state or the new one: what it left half done is in no manifest, and the next change clears it.
"""

import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from localexplain.carry.accept import check_name, check_names, check_pickled, check_weights, first_of, notes_of
from localexplain.carry.hub import Found, expected_sha256, resolve
from localexplain.carry.manifest import (
    MANIFEST_FILE,
    Fault,
    FileEntry,
    Manifest,
    ModelEntry,
    compare_folder,
    list_files,
    read_entries,
    read_manifest,
    role_of,
    write_manifest,
)
from localexplain.errors import UserError
from localexplain.files import PARTIAL, copy_hashed, hash_files, sync_folder, whole_folder

LOCK_FILE = ".lock"
UNFINISHED = ".localexplain-unfinished"  # hidden, so that no list of a model's files holds it
BY_THE_SYSTEM = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EIO)

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """A model of the store.

    is_new  False where it was there before, with the same content
    """

    entry: ModelEntry
    is_new: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """are_files_deleted  False for a folder that was recorded where it lay, and stays"""

    entry: ModelEntry
    are_files_deleted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """faults    of each model that was looked at, by name; () where it is as listed
    unlisted  folders of the store, with "/", that hold weights and are in no entry; no fault
    """

    faults: Mapping[str, tuple[Fault, ...]]
    unlisted: tuple[str, ...] = ()

    @property
    def n_faults(self) -> int:
        return sum(map(len, self.faults.values()))


# the store as a folder ------------------------------------------------------------------------------------------------


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turns what the system refuses into a line; a full disk, which the command line speaks of, stays."""
    try:
        yield
    except OSError as error:
        if error.errno not in BY_THE_SYSTEM:
            raise
        raise UserError(f"{error.filename or 'the model store'}: {error.strerror}; check who may use it") from error


def check_store(store: Path) -> None:
    """Raises UserError for what is no folder."""
    if not store.is_dir():
        raise UserError(f"{store}: no such model store; `localexplain models add PATH --as NAME` makes one")


def clear_unfinished(store: Path, manifest: Manifest) -> None:
    """Takes away what a killed change left. Only under the lock."""
    listed = {entry.path for entry in manifest.models.values()}
    for path in store.glob(f".*{PARTIAL}"):
        shutil.rmtree(path, ignore_errors=True)
    for mark in store.glob(f"*/{UNFINISHED}"):
        if mark.parent.name in listed:
            mark.unlink()
        else:
            delete_folder(mark.parent)


def delete_folder(folder: Path) -> None:
    """In one step out of sight, then for good; the next change goes on with what a kill leaves of it."""
    hidden = folder.with_name(f".{folder.name}{PARTIAL}")
    shutil.rmtree(hidden, ignore_errors=True)
    os.rename(folder, hidden)
    shutil.rmtree(hidden)


@contextmanager
def changing(store: Path, report: Report) -> Iterator[Manifest]:
    """The store's manifest, while nobody else changes the store. Raises UserError for a manifest that was changed."""
    with plain_errors(), (store / LOCK_FILE).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report(f"{store}: another command is changing it; waiting")
            fcntl.flock(lock, fcntl.LOCK_EX)
        manifest = read_manifest(store)
        clear_unfinished(store, manifest)
        yield manifest


def make_folder(store: Path) -> None:
    """Raises UserError for a file in the way."""
    with plain_errors():
        try:
            store.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise UserError(f"{store}: a file; give a folder for the models") from error


# add ------------------------------------------------------------------------------------------------------------------


def check_downloaded(files: Mapping[str, Path], entries: Sequence[FileEntry]) -> None:
    """Raises UserError for a file that is not what its blob's name says was downloaded."""
    for entry in entries:
        if expected_sha256(files[entry.path]) not in ("", entry.sha256):
            raise UserError(f"{files[entry.path]}: not what was downloaded, by its hash; download it again")


def copy_files(files: Mapping[str, Path], scratch: Path) -> tuple[FileEntry, ...]:
    """Copies the files, brings them to the disk, and reads them back. Raises UserError for one that came out
    otherwise."""
    hashes = {}
    for name, path in files.items():
        target = scratch / name
        target.parent.mkdir(parents=True, exist_ok=True)
        hashes[name] = copy_hashed(path, target)
    for folder in {(scratch / name).parent for name in files} | {scratch}:
        sync_folder(folder)
    written = hash_files(scratch / name for name in files)
    wrong = next((name for name in files if written[scratch / name] != hashes[name]), None)
    if wrong is not None:
        raise UserError(f"{files[wrong]}: reads back otherwise than it was copied; check the disk, then add it again")
    return tuple(
        FileEntry(path=name, bytes=(scratch / name).stat().st_size, sha256=hashes[name], role=role_of(name))
        for name in files
    )


def commit(store: Path, manifest: Manifest, entry: ModelEntry) -> None:
    write_manifest(store, Manifest(models={**manifest.models, entry.name: entry}))


def copy_in(store: Path, manifest: Manifest, entry: ModelEntry, files: Mapping[str, Path]) -> ModelEntry:
    """Copies a model into the store and lists it. Raises UserError for a folder in the way."""
    target = store / entry.name
    if os.path.lexists(target):
        raise UserError(
            f"{target}: there already, and not as {entry.name}; move it away, add that folder, or take another name"
        )
    with whole_folder(target) as scratch:
        (scratch / UNFINISHED).touch()
        copied = copy_files(files, scratch)
        check_downloaded(files, copied)
    whole = replace(entry, path=entry.name, files=copied, copied=True)
    try:
        commit(store, manifest, whole)
    except BaseException:
        delete_folder(target)
        raise
    (target / UNFINISHED).unlink()
    return whole


def find_same(store: Path, old: ModelEntry, folder: Path) -> Added:
    """The model that has the name already. Raises UserError where it is another, or is damaged."""
    new = replace(old, files=read_entries(folder))
    if new.digest != old.digest:
        raise UserError(
            f"{old.name}: the model store has another model of this name; `localexplain models remove {old.name}` "
            "first, or take another name"
        )
    faults = compare_folder(store / old.path, old.files)
    if faults:
        raise UserError(
            f"{old.name}: there already, but damaged ({faults[0]}); `localexplain models remove {old.name}`, then add "
            "it again"
        )
    return Added(entry=old, is_new=False)


def path_inside(store: Path, folder: Path) -> str:
    """The folder's path below the store, with "/"; "" where it lies elsewhere. Raises UserError where the store lies
    in the folder."""
    root = store.resolve()
    if root.is_relative_to(folder):
        raise UserError(f"{folder}: holds the model store {store}; add a model's own folder")
    return folder.relative_to(root).as_posix() if folder.is_relative_to(root) else ""


def add(
    store: Path,
    path: Path,
    name: str,
    *,
    now: datetime,
    repository: str = "",
    allowed_pickled: Sequence[str] = (),
    taken: Collection[str] = (),
    report: Report = lambda line: None,
) -> Added:
    """Takes a model into the store, which is made where it is not there: recorded where it lies if that is inside the
    store, else copied. `path` and `repository` as `hub.resolve` takes them.

    allowed_pickled  paths below the model's folder of pickled files to keep; they are never loaded
    taken            names that mean other models already
    report           is told, a line each, what is worth knowing
    Raises UserError: no model there, a model that is not to be taken in, another one of this name. OSError for a full
    disk, with the store as it was.
    """
    check_name(name, taken)
    with plain_errors():
        found: Found = resolve(path, repository)
        files = list_files(found.folder)
        check_names(found.folder, list(files))
        check_weights(found.folder, files)
        pickled = check_pickled(found.folder, list(files), allowed_pickled)
        inside = path_inside(store, found.folder)
        notes = notes_of(files)
    make_folder(store)
    with changing(store, report) as manifest:
        if (old := manifest.models.get(name)) is not None:
            return find_same(store, old, found.folder)
        other = next((entry.name for entry in manifest.models.values() if inside and entry.path == inside), None)
        if other is not None:
            raise UserError(f"{found.folder}: in the model store already, as {other}")
        entry = ModelEntry(
            name=name,
            path=inside,
            files=(),
            repository=found.repository,
            revision=found.revision,
            added_at=now.astimezone(UTC).isoformat(timespec="seconds"),
            pickled=pickled,
        )
        if inside:
            entry = replace(entry, files=read_entries(found.folder))
            check_downloaded(files, entry.files)
            commit(store, manifest, entry)
        else:
            entry = copy_in(store, manifest, entry, files)
    for note in notes:
        report(f"{name}: {note}")
    return Added(entry=entry, is_new=True)


# verify, remove -------------------------------------------------------------------------------------------------------


def find_model(manifest: Manifest, name: str, store: Path) -> ModelEntry:
    """Raises UserError for a name that is not listed."""
    entry = manifest.models.get(name)
    if entry is None:
        there = ", ".join(sorted(manifest.models)) or "none"
        raise UserError(f"{name}: not in the model store {store}; there: {there}")
    return entry


def list_unlisted(store: Path, manifest: Manifest) -> tuple[str, ...]:
    """Folders of the store that hold weights and are in no entry, hidden and unfinished ones left out."""
    listed = {store / entry.path for entry in manifest.models.values()}
    found: list[str] = []
    for place, inner, files in os.walk(store):
        folder = Path(place)
        if folder in listed or UNFINISHED in files:
            inner.clear()
        elif any(name.endswith(".safetensors") for name in files):
            found.append(folder.relative_to(store).as_posix())
            inner.clear()
        inner[:] = [name for name in inner if not name.startswith(".")]
    return tuple(sorted(found))


def verify_model(store: Path, entry: ModelEntry) -> tuple[Fault, ...]:
    folder = store / entry.path
    if not folder.is_dir():
        return (Fault(path=entry.path, what="missing", detail="the whole folder"),)
    return compare_folder(folder, entry.files)


def verify(store: Path, name: str | None = None) -> Verified:
    """Hashes again every file of one model, or of all of them and then looks for unlisted ones too.

    Raises UserError: no such store or name, no manifest, one that was changed.
    """
    check_store(store)
    if not (store / MANIFEST_FILE).is_file():
        raise UserError(f"{store}: holds no {MANIFEST_FILE}, so nothing can be verified; bring it, or add the models")
    with plain_errors():
        manifest = read_manifest(store)
        if name is not None:
            return Verified(faults={name: verify_model(store, find_model(manifest, name, store))})
        faults = {entry.name: verify_model(store, entry) for entry in manifest.models.values()}
        return Verified(faults=faults, unlisted=list_unlisted(store, manifest))


def remove(store: Path, name: str, report: Report = lambda line: None) -> Removed:
    """Takes a model out of the manifest, then deletes its files where they are the store's own copy.

    Raises UserError: no such store or name, a copy that holds files which are not the model's.
    """
    check_store(store)
    with changing(store, report) as manifest:
        entry = find_model(manifest, name, store)
        folder = store / entry.path
        own = entry.copied and entry.path == entry.name and folder.is_dir() and not folder.is_symlink()
        if own:
            listed = {file.path for file in entry.files}
            others = [path for path in list_files(folder) if path not in listed]
            if others:
                raise UserError(f"{folder}: holds files that are not the model's: {first_of(others)}; move them away")
            (folder / UNFINISHED).touch()
            sync_folder(folder)
        write_manifest(store, Manifest(models={key: kept for key, kept in manifest.models.items() if key != name}))
        if own:
            delete_folder(folder)
    return Removed(entry=entry, are_files_deleted=own)
