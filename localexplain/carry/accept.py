"""What may be taken into a model store: names that commands can use, weights that are whole and run no code."""

import json
import re
import struct
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath

from localexplain.carry.manifest import MANIFEST_FILE, role_of
from localexplain.errors import UserError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
RESERVED = (MANIFEST_FILE, "lookup", "rule")  # the last two mean an explainer and a simulator without a model
LENGTH = struct.Struct("<Q")  # what a safetensors file begins with: the length of its header, little-endian
LONGEST_HEADER_BYTES = 100_000_000  # as the format has it
SHOWN_FILES = 5


def check_name(name: str, taken: Collection[str]) -> None:
    """Raises UserError for a name that no command could use. `taken`: names that mean other models already."""
    if not NAME.fullmatch(name):
        raise UserError(f"{name!r} is no name for a model; use up to 100 of A-Z a-z 0-9 . _ - and no . _ - in front")
    if name in RESERVED or name in taken:
        raise UserError(f"{name}: means something else already; take another name")


def first_of(names: Sequence[str]) -> str:
    """
    >>> first_of(["a", "b"]), first_of(list("abcdefg"))
    ('a, b', 'a, b, c, d, e and 2 more')
    """
    more = len(names) - SHOWN_FILES
    return ", ".join(names[:SHOWN_FILES]) + (f" and {more} more" if more > 0 else "")


def check_names(folder: Path, names: Sequence[str]) -> None:
    """Raises UserError for a file whose name cannot be written down."""
    wrong = next((name for name in names if any("\ud800" <= letter <= "\udfff" for letter in name)), None)
    if wrong is not None:
        raise UserError(f"{folder}: the file name {wrong!a} is not UTF-8; rename it")


def check_pickled(folder: Path, names: Sequence[str], allowed: Sequence[str]) -> tuple[str, ...]:
    """The pickled files, all of them allowed. Raises UserError for one that is not, and for a name that allows none."""
    pickled = tuple(name for name in names if role_of(name) == "pickled weights")
    refused = [name for name in pickled if name not in allowed]
    if refused:
        flags = first_of([f"--allow-pickled {name}" for name in refused])
        raise UserError(
            f"{folder}: holds pickled files, which can run code: {first_of(refused)}; take them away, or keep each by "
            f"its name: {flags}"
        )
    unknown = next((name for name in allowed if name not in pickled), None)
    if unknown is not None:
        there = first_of(pickled) or "none"
        raise UserError(f"{folder}: --allow-pickled {unknown}: no such pickled file; pickled files there: {there}")
    return pickled


def is_whole(path: Path) -> bool:
    """Whether the file is as long as its safetensors header says: no download cut short, no pointer, no pickle."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(LENGTH.size)
        if len(start) < LENGTH.size:
            return False
        (length,) = LENGTH.unpack(start)
        if length > min(LONGEST_HEADER_BYTES, size - LENGTH.size):
            return False
        try:
            header = json.loads(file.read(length))
            ends = [tensor["data_offsets"][1] for key, tensor in header.items() if key != "__metadata__"]
            return bool(LENGTH.size + length + max(ends, default=0) == size)
        except (ValueError, AttributeError, KeyError, TypeError, IndexError, RecursionError):
            return False


def listed_shards(index: Path) -> set[str]:
    """Names of the files that hold a model's weights, by its index. Raises UserError."""
    try:
        return {str(name) for name in json.loads(index.read_bytes())["weight_map"].values()}
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{index}: no index of weights; copy the file again") from error


def check_weights(folder: Path, files: Mapping[str, Path]) -> None:
    """Raises UserError where there are no weights in safetensors, and for a file of them that is missing or cut
    short."""
    weights = [name for name in files if name.endswith(".safetensors")]
    if not any("/" not in name for name in weights):
        raise UserError(f"{folder}: no weights as .safetensors; only such are read: convert them, or download them")
    damaged = next((name for name in weights if not is_whole(files[name])), None)
    if damaged is not None:
        raise UserError(
            f"{folder / damaged}: not a whole safetensors file; cut short, or a pointer of Git LFS: download it again"
        )
    for name, index in files.items():
        if name.endswith(".safetensors.index.json"):
            beside = PurePosixPath(name).parent
            missing = sorted(shard for shard in listed_shards(index) if (beside / shard).as_posix() not in files)
            if missing:
                raise UserError(f"{folder}: {name} lists {first_of(missing)}, not there; finish the download")


def notes_of(files: Mapping[str, Path]) -> tuple[str, ...]:
    """What whoever adds the model should know, a line each."""
    code = [name for name in files if role_of(name) == "code"]
    notes = [f"code is kept and never run (trust_remote_code is never on): {first_of(code)}"] if code else []
    try:
        config = json.loads(files["config.json"].read_bytes())
        is_own = "auto_map" in config
    except (KeyError, TypeError, ValueError, RecursionError):
        is_own = False
    if is_own:
        notes.append("config.json names code of its own, which is never run; the model must load without it")
    return tuple(notes)
