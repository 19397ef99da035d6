"""Whether a bundle is still what was made: every byte of every part hashed, every fault named.

Parts may lie anywhere and come in any order. What is beside the parts is nobody's business; what is in one and not
listed is a fault.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from localexplain.carry.bundle import (
    MANIFEST_NAME,
    Bundle,
    BundleFile,
    check_digest,
    digest_in,
    manifest_name,
    parse_bundle,
    part_entries,
    piece_name,
)
from localexplain.carry.manifest import Fault, FileEntry, compare
from localexplain.errors import UserError
from localexplain.files import READ_BYTES, hash_file

PART_NAME = re.compile(r"part-([0-9]{3})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A folder that holds a part.

    number  counted from 1, as its manifest's name says, else its own name; None where neither does
    text    of its manifest; None where that is missing or cannot be read as text
    """

    folder: Path
    number: int | None
    text: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """Parts whose manifests agree, but for those that are damaged.

    parts  in order of their number; one may be there more than once, in other folders
    """

    bundle: Bundle
    text: str
    parts: tuple[Part, ...]

    @property
    def digest(self) -> str:
        return digest_in(self.text)

    @property
    def missing_parts(self) -> tuple[int, ...]:
        here = {part.number for part in self.parts}
        return tuple(number for number in range(1, self.bundle.parts + 1) if number not in here)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """opened  None where every manifest is damaged, so that nothing else could be checked
    faults  all of them, in order
    """

    opened: Opened | None
    faults: tuple[Fault, ...]


# finding parts --------------------------------------------------------------------------------------------------------


def manifests_in(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if MANIFEST_NAME.fullmatch(path.name)]


def find_folders(paths: Iterable[Path]) -> tuple[Path, ...]:
    """The folders of parts: those given, and those in a bundle's folder that is given; each once. Raises UserError for
    a path that is neither."""
    found: dict[Path, Path] = {}
    for path in paths:
        if not path.is_dir():
            raise UserError(f"{path}: no such folder; give the bundle's folder, or folders of its parts")
        inside = [one for one in sorted(path.iterdir()) if PART_NAME.fullmatch(one.name) and one.is_dir()]
        if manifests_in(path) or (PART_NAME.fullmatch(path.absolute().name) and not inside):
            inside = [path]
        if not inside:
            raise UserError(f"{path}: holds no part of a bundle; give the folder that `bundle make` wrote, or a part")
        found |= {one.resolve(): one for one in inside}
    return tuple(found.values())


def read_part(folder: Path) -> Part:
    manifests = manifests_in(folder)
    name = PART_NAME.fullmatch(folder.absolute().name)
    number = int(name[1]) if name else None
    if not manifests:
        return Part(folder=folder, number=number, text=None)
    match = MANIFEST_NAME.fullmatch(manifests[0].name)
    number = int(match[1]) if match else number
    try:
        return Part(folder=folder, number=number, text=manifests[0].read_bytes().decode("utf-8"))
    except (UnicodeDecodeError, OSError):  # a medium that cannot be read there
        return Part(folder=folder, number=number, text=None)


def is_whole(text: str) -> bool:
    try:
        parse_bundle(text, "")
    except UserError:
        return False
    return True


def open_parts(paths: Sequence[Path], digest: str | None = None) -> Opened | tuple[Fault, ...]:
    """The parts, or what is wrong where no manifest among them is whole. Raises UserError for folders that are no
    parts, for parts of different bundles, and where `digest` is not theirs."""
    parts = [read_part(folder) for folder in find_folders(paths)]
    texts = {text for text in {part.text for part in parts} if text is not None and is_whole(text)}
    whole = [part for part in parts if part.text in texts]
    if not whole:
        detail = "so nothing else can be checked"
        names = {part.folder: [path.name for path in manifests_in(part.folder)] for part in parts}
        return tuple(
            Fault(path=str(folder / name[0]), what="changed", detail=detail)
            if name
            else Fault(path=str(folder / "bundle-NNN-of-NNN.json"), what="missing", detail=detail)
            for folder, name in names.items()
        )
    for part in whole:
        check_digest(part.text or "", digest)
    first = whole[0]
    for part in whole:
        if part.text != first.text:
            raise UserError(f"{first.folder} and {part.folder} are parts of different bundles; give those of one")
    text = first.text or ""
    bundle = parse_bundle(text, str(first.folder))
    return Opened(bundle=bundle, text=text, parts=tuple(sorted(parts, key=lambda part: part.number or 0)))


# hashing what is there ------------------------------------------------------------------------------------------------


def list_everything(folder: Path) -> dict[str, Path]:
    """Relative path -> file, for all that is below the folder and is no folder, hidden names and links included."""
    found = {}
    for place, folders, names in os.walk(folder):
        for name in names + [one for one in folders if Path(place, one).is_symlink()]:
            path = Path(place, name)
            found[os.fsencode(path.relative_to(folder)).decode("utf-8", "replace")] = path
    return dict(sorted(found.items()))


def hash_or_why(path: Path) -> tuple[str, str]:
    """sha256 and "", or "" and why the file cannot be read: a scratched disc is a fault like any other."""
    try:
        return (hash_file(path), "") if path.is_file() else ("", "not a file")
    except OSError as error:
        return "", error.strerror or str(error)


def expected_entries(opened: Opened, number: int) -> tuple[FileEntry, ...]:
    """All that the part holds, its manifest included."""
    text = opened.text.encode()
    name = manifest_name(number, opened.bundle.parts)
    manifest = FileEntry(path=name, bytes=len(text), sha256=hashlib.sha256(text).hexdigest(), role="manifest")
    return (manifest, *part_entries(opened.bundle, number))


def compare_part(folder: Path, expected: Sequence[FileEntry], hashes: Mapping[Path, tuple[str, str]]) -> list[Fault]:
    """What differs in the part; paths are below `folder` as it was given. Pure but for the sizes."""
    listed = list_everything(folder)
    unreadable = {name: hashes[path][1] for name, path in listed.items() if hashes.get(path, ("", ""))[1]}
    found = [
        FileEntry(path=name, bytes=path.stat().st_size, sha256=hashes.get(path, ("", ""))[0], role="")
        for name, path in listed.items()
        if name not in unreadable and path.exists()
    ]
    faults = list(compare([entry for entry in expected if entry.path not in unreadable], found))
    faults += [Fault(path=name, what="changed", detail=f"cannot be read: {why}") for name, why in unreadable.items()]
    faults += [Fault(path=name, what="extra") for name, path in listed.items() if not path.exists()]  # a dangling link
    return [Fault(path=str(folder / fault.path), what=fault.what, detail=fault.detail) for fault in faults]


def check_part(opened: Opened, part: Part) -> list[Fault]:
    """Every byte of the part, hashed by several threads."""
    if part.number is None or part.number > opened.bundle.parts or part.number < 1:
        return [Fault(path=str(part.folder), what="extra", detail="nothing says which part it is")]
    expected = expected_entries(opened, part.number)
    wanted = {entry.path for entry in expected}
    paths = [path for name, path in list_everything(part.folder).items() if name in wanted]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        hashes = dict(zip(paths, pool.map(hash_or_why, paths), strict=True))
    return compare_part(part.folder, expected, hashes)


def check_joined(file: BundleFile, folders: Mapping[int, Path]) -> Fault | None:
    """Whether the pieces, one after another, are the file."""
    digest = hashlib.sha256()
    for index, piece in enumerate(file.pieces):
        with (folders[piece.part] / piece_name(file, index)).open("rb") as reading:
            while block := reading.read(READ_BYTES):
                digest.update(block)
    if digest.hexdigest() == file.sha256:
        return None
    return Fault(path=file.path, what="changed", detail="its pieces are right and the file they make is not")


def describe_part(bundle: Bundle, number: int) -> str:
    pieces = sum(piece.part == number for file in bundle.files for piece in file.pieces)
    return f"{pieces} file{'' if pieces == 1 else 's'} or pieces of them"


def check_bundle(paths: Sequence[Path], digest: str | None = None) -> Checked:
    """All that is wrong with the parts given, and which are not given. Raises UserError as `open_parts`."""
    opened = open_parts(paths, digest)
    if not isinstance(opened, Opened):
        return Checked(opened=None, faults=opened)
    bundle = opened.bundle
    faults = [fault for part in opened.parts for fault in check_part(opened, part)]
    for number in opened.missing_parts:
        detail = describe_part(bundle, number)
        faults.append(Fault(path=f"part {number} of {bundle.parts}", what="missing", detail=detail))
    if not faults:
        folders = {part.number: part.folder for part in opened.parts if part.number is not None}
        joined = [check_joined(file, folders) for file in bundle.files if len(file.pieces) > 1]
        faults += [fault for fault in joined if fault is not None]
    return Checked(opened=opened, faults=tuple(sorted(faults)))
