"""Parts coming in: pieces are copied, proven, and joined to the files they are of.

TARGET/.incoming/ID/pieces/    a piece under its own name was proven and is on the disk
TARGET/.incoming/ID/whole/     wheels and requirements.txt, joined; all other files go to their version at once
"""

import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from localexplain.carry.bundle import REQUIREMENTS, WHEELS, Bundle, BundleFile, part_entries, piece_name
from localexplain.carry.check import Opened, Part, compare_part, expected_entries, hash_or_why
from localexplain.carry.manifest import Fault, FileEntry
from localexplain.errors import UserError
from localexplain.files import READ_BYTES, copy_hashed, hash_file, sync_folder

VERSIONS, INCOMING, INSTALLED = "versions", ".incoming", "installed.json"
LONGEST_NAMED = 20  # faults said one by one

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one bundle goes."""

    target: Path
    id: str

    @property
    def version(self) -> Path:
        return self.target / VERSIONS / self.id

    @property
    def incoming(self) -> Path:
        return self.target / INCOMING / self.id

    @property
    def pieces(self) -> Path:
        return self.incoming / "pieces"

    @property
    def whole(self) -> Path:
        return self.incoming / "whole"

    def final(self, path: str) -> Path:
        """Where a file of the bundle goes: what is only needed to install stays with what comes in."""
        is_needed_once = path == REQUIREMENTS or path.startswith(f"{WHEELS}/")
        return (self.whole if is_needed_once else self.version) / path

    @property
    def is_complete(self) -> bool:
        return (self.version / INSTALLED).is_file()


def check_room(folder: Path, needed_bytes: int, what: str) -> None:
    free = shutil.disk_usage(folder).free
    if needed_bytes > free:
        raise UserError(
            f"{folder}: {what} needs {needed_bytes} bytes and {free} are free; free some, or choose another folder"
        )


# taking the parts in --------------------------------------------------------------------------------------------------


def has_come(place: Place, bundle: Bundle) -> set[str]:
    """Names of the pieces that need not be copied: they, or the files they are of, are here."""
    found = set()
    for file in bundle.files:
        is_whole = place.final(file.path).is_file()
        for index in range(len(file.pieces)):
            name = piece_name(file, index)
            if is_whole or (place.pieces / name).is_file():
                found.add(name)
    return found


def take_piece(source: Path, entry: FileEntry, place: Place) -> Fault | None:
    """Copies one piece; it gets its name when it is proven and on the disk. Returns what is wrong with it."""
    scratch, final = place.incoming / "copying", place.pieces / entry.path
    try:
        sha256 = copy_hashed(source, scratch)
    except FileNotFoundError:
        return Fault(path=str(source), what="missing")
    except OSError:
        why = hash_or_why(source)[1]
        if not why:  # it can be read, so it was the writing that failed
            raise
        return Fault(path=str(source), what="changed", detail=f"cannot be read: {why}")
    if sha256 != entry.sha256:
        found = FileEntry(path=entry.path, bytes=scratch.stat().st_size, sha256=sha256, role="")
        detail = f"{found.bytes} bytes instead of {entry.bytes}" if found.bytes != entry.bytes else (
            f"sha256 {sha256[:8]}... instead of {entry.sha256[:8]}..."
        )  # fmt: skip
        return Fault(path=str(source), what="changed", detail=detail)
    final.parent.mkdir(parents=True, exist_ok=True)
    os.replace(scratch, final)
    sync_folder(final.parent)
    return None


def take_part(opened: Opened, part: Part, place: Place) -> list[Fault]:
    """Copies what has not come yet; returns all that is wrong with the part, every listed byte of it read once."""
    bundle = opened.bundle
    if part.number is None or not 1 <= part.number <= bundle.parts:
        return [Fault(path=str(part.folder), what="extra", detail="nothing says which part it is")]
    here = has_come(place, bundle)
    pieces = part_entries(bundle, part.number)[len(bundle.scripts) :]
    wanted = [entry for entry in pieces if entry.path not in here]
    check_room(place.incoming, sum(entry.bytes for entry in wanted), f"part {part.number}")
    faults = [take_piece(part.folder / entry.path, entry, place) for entry in wanted]
    small = [entry for entry in expected_entries(opened, part.number) if entry not in pieces]
    hashes = {part.folder / entry.path: hash_or_why(part.folder / entry.path) for entry in small
              if (part.folder / entry.path).exists()}  # fmt: skip
    others = compare_part(part.folder, small, hashes)
    listed = {str(part.folder / entry.path) for entry in pieces}
    return [fault for fault in faults if fault is not None] + [fault for fault in others if fault.path not in listed]


def take_parts(opened: Opened, place: Place, report: Report) -> None:
    """Raises UserError where a part is not as it was made, after all faults were said; what was right is kept."""
    place.pieces.mkdir(parents=True, exist_ok=True)
    faults = []
    for part in opened.parts:
        report(f"taking in {part.folder}")
        faults += take_part(opened, part, place)
    with suppress(FileNotFoundError):
        (place.incoming / "copying").unlink()
    if faults:
        for fault in faults[:LONGEST_NAMED]:
            report(str(fault))
        more = f", {len(faults) - LONGEST_NAMED} of them not named" if len(faults) > LONGEST_NAMED else ""
        raise UserError(
            f"{len(faults)} fault{'' if len(faults) == 1 else 's'} found{more}; bring that part again and repeat the "
            f"command: what was right is kept"
        )


def missing_parts(place: Place, bundle: Bundle) -> tuple[int, ...]:
    """Parts of which a piece has not come."""
    here = has_come(place, bundle)
    absent = {
        piece.part
        for file in bundle.files
        for index, piece in enumerate(file.pieces)
        if piece_name(file, index) not in here
    }
    return tuple(sorted(absent))


def join_file(place: Place, file: BundleFile) -> None:
    """Makes the file from its pieces, proves it, and gives it its name; the pieces go."""
    final = place.final(file.path)
    if final.is_file():
        return
    pieces = [place.pieces / piece_name(file, index) for index in range(len(file.pieces))]
    scratch = pieces[0] if len(pieces) == 1 else place.incoming / "joining"
    if len(pieces) == 1:
        sha256 = hash_file(scratch)
    else:
        digest = hashlib.sha256()
        with scratch.open("wb") as writing:
            for piece in pieces:
                with piece.open("rb") as reading:
                    while block := reading.read(READ_BYTES):
                        digest.update(block)
                        writing.write(block)
            writing.flush()
            os.fsync(writing.fileno())
        sha256 = digest.hexdigest()
    if sha256 != file.sha256:
        for piece in pieces:
            piece.unlink()  # so that the next call takes them anew
        parts = ", ".join(str(number) for number in sorted({piece.part for piece in file.pieces}))
        raise UserError(f"{file.path}: changed after it was received; check the disk, then bring part {parts} again")
    final.parent.mkdir(parents=True, exist_ok=True)
    os.replace(scratch, final)
    sync_folder(final.parent)
    for piece in pieces:
        piece.unlink(missing_ok=True)
