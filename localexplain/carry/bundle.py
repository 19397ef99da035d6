"""What a bundle holds: the record, and its text.

    part-001/
        bundle-001-of-003.json   the manifest: the same text in every part, sealed with a digest of itself
        install.sh               for a machine with nothing but Python
        localexplain-carry.pyz   what it runs
        files/...                content, whole or cut: NAME, or NAME.piece-0001, NAME.piece-0002, ...

The digest inside the manifest tells an accident; whoever can write a manifest can write a digest that fits it. Against
a forger compare it with the one that `bundle make` printed and that came by another way, on paper or by phone: that is
what `--digest` does, and with it every byte of the bundle is vouched for.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from localexplain.carry.manifest import SHA256_CHARACTERS, FileEntry, ModelEntry, digest_of, seal, unseal
from localexplain.errors import UserError

FORMAT = 1
ID_CHARACTERS = 16
FILES = "files"
MODELS, WHEELS, PROMPTS, CARDS, DATA, SOURCE = "models", "wheels", "prompts", "cards", "data", "source"
REQUIREMENTS = "requirements.txt"
MANIFEST_NAME = re.compile(r"bundle-([0-9]{3})-of-([0-9]{3})\.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A run of a file's bytes.

    part    that holds it, counted from 1
    """

    part: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleFile:
    """path    in the bundle, with "/": wheels/..., models/NAME/...
    pieces  in order of their bytes; at least one
    """

    path: str
    bytes: int
    sha256: str
    role: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """made_at   UTC, ISO 8601, to the second
    version   of localexplain
    python    of the other side, "3.11"
    platform  that the wheels ask for, "manylinux_2_28_x86_64"; "any" where they ask for none
    engine    whose wheels are there
    parts     how many
    scripts   in every part; paths in the part
    models    entries for the other side's model store; their files are those below models/NAME/
    """

    made_at: str
    version: str
    python: str
    platform: str
    engine: str
    parts: int
    scripts: tuple[FileEntry, ...]
    models: tuple[ModelEntry, ...]
    files: tuple[BundleFile, ...]

    @property
    def id(self) -> str:
        """Short digest of content and layout: the same whenever it was made."""
        values = bundle_values(self)
        del values["made_at"]
        for file in values["files"]:
            file["pieces"] = [[part, size] for part, size, _ in file["pieces"]]
        return digest_of(values)[:ID_CHARACTERS]

    @property
    def total_bytes(self) -> int:
        return sum(file.bytes for file in self.files)


def manifest_name(part: int, parts: int) -> str:
    """
    >>> manifest_name(2, 3)
    'bundle-002-of-003.json'
    """
    return f"bundle-{part:03d}-of-{parts:03d}.json"


def part_name(part: int) -> str:
    return f"part-{part:03d}"


def piece_name(file: BundleFile, index: int) -> str:
    """Path of one piece in its part."""
    return f"{FILES}/{file.path}" if len(file.pieces) == 1 else f"{FILES}/{file.path}.piece-{index + 1:04d}"


def part_entries(bundle: Bundle, part: int) -> tuple[FileEntry, ...]:
    """What the part holds beside its manifest: scripts and pieces."""
    pieces = [
        FileEntry(path=piece_name(file, index), bytes=piece.bytes, sha256=piece.sha256, role=file.role)
        for file in bundle.files
        for index, piece in enumerate(file.pieces)
        if piece.part == part
    ]
    return (*bundle.scripts, *pieces)


def model_files(files: tuple[BundleFile, ...], name: str) -> tuple[FileEntry, ...]:
    """The files of one model, with paths below its folder, in order of path."""
    start = f"{MODELS}/{name}/"
    return tuple(
        FileEntry(path=file.path.removeprefix(start), bytes=file.bytes, sha256=file.sha256, role=file.role)
        for file in sorted(files, key=lambda file: file.path)
        if file.path.startswith(start)
    )


# as text --------------------------------------------------------------------------------------------------------------


def bundle_values(bundle: Bundle) -> dict[str, Any]:
    """As JSON has it; a model's files are listed once, among the bundle's."""
    values = {"format": FORMAT} | asdict(replace(bundle, files=()))
    for model in values["models"]:
        del model["files"]
    values["files"] = [
        {
            "path": file.path,
            "bytes": file.bytes,
            "sha256": file.sha256,
            "role": file.role,
            "pieces": [[piece.part, piece.bytes, piece.sha256] for piece in file.pieces],
        }
        for file in bundle.files
    ]
    return values


def bundle_text(bundle: Bundle) -> str:
    return seal(bundle_values(bundle))


def digest_in(text: str) -> str:
    """The digest that the text holds of itself."""
    return str(json.loads(text)["digest"])


def bundle_from(values: Mapping[str, Any]) -> Bundle:
    """Raises KeyError, TypeError, ValueError for what is none."""
    files = tuple(
        BundleFile(
            **{key: file[key] for key in ("path", "bytes", "sha256", "role")},
            pieces=tuple(Piece(part=part, bytes=size, sha256=sha256) for part, size, sha256 in file["pieces"]),
        )
        for file in values["files"]
    )
    models = tuple(
        ModelEntry(**(model | {"files": model_files(files, model["name"]), "pickled": tuple(model["pickled"])}))
        for model in values["models"]
    )
    scripts = tuple(FileEntry(**script) for script in values["scripts"])
    plain = {key: values[key] for key in ("made_at", "version", "python", "platform", "engine", "parts")}
    return Bundle(**plain, scripts=scripts, models=models, files=files)


def is_safe(path: str) -> bool:
    """Whether the path stays below the folder it is joined to.

    >>> is_safe("models/tiny/config.json"), is_safe("../x"), is_safe("/x"), is_safe("a//b"), is_safe("a/./b")
    (True, False, False, False, False)
    """
    parts = PurePosixPath(path).parts
    return path == "/".join(parts) and bool(parts) and not {"..", "/"} & set(parts) and "\0" not in path


def find_flaw(bundle: Bundle) -> str:
    """What is wrong with a manifest whose digest fits: a forged or a broken one; "" where nothing is."""
    places = [(piece.part, piece_name(file, at)) for file in bundle.files for at, piece in enumerate(file.pieces)]
    hashes = [file.sha256 for file in bundle.files] + [piece.sha256 for file in bundle.files for piece in file.pieces]
    hashes += [script.sha256 for script in bundle.scripts]
    for path in [file.path for file in bundle.files] + [script.path for script in bundle.scripts]:
        if not is_safe(path):
            return f"{path!r} leads out of its folder"
    for model in bundle.models:
        if not is_safe(model.name) or "/" in model.name or model.name.startswith(".") or model.path != model.name:
            return f"{model.name!r} is no name of a model"
    for file in bundle.files:
        if not file.pieces or sum(piece.bytes for piece in file.pieces) != file.bytes:
            return f"the pieces of {file.path} do not add up"
        if len(file.pieces) == 1 and file.pieces[0].sha256 != file.sha256:
            return f"{file.path} and its one piece differ"
    if len({file.path for file in bundle.files}) != len(bundle.files) or len(set(places)) != len(places):
        return "a file is listed twice"
    if not all(1 <= part <= bundle.parts for part, _ in places):
        return "a piece is in a part that there is not"
    if not all(re.fullmatch(f"[0-9a-f]{{{SHA256_CHARACTERS}}}", value) for value in hashes):
        return "a hash is no sha256"
    return ""


def parse_bundle(text: str, where: str) -> Bundle:
    """Raises UserError, naming `where`, for a text that was changed, is of another format, or describes no bundle."""
    values = unseal(text, where)
    if values.get("format") != FORMAT:
        raise UserError(f"{where}: of format {values.get('format')}, not {FORMAT}; use the scripts beside it")
    try:
        bundle = bundle_from(values)
        flaw = find_flaw(bundle)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{where}: not the manifest of a bundle; bring the bundle again") from error
    if flaw:
        raise UserError(f"{where}: cannot be used, {flaw}; bring the bundle again")
    return bundle


def check_digest(text: str, wanted: str | None) -> None:
    """Raises UserError where a digest was given and is not that of the manifest. Blanks, dashes and capitals in it do
    not count: it may have been read from paper."""
    if wanted is None:
        return
    plain = re.sub(r"[\s-]", "", wanted).lower()
    if not re.fullmatch(f"[0-9a-f]{{{SHA256_CHARACTERS}}}", plain):
        raise UserError(f"--digest {wanted}: not {SHA256_CHARACTERS} hexadecimal characters; give all that was printed")
    if plain != digest_in(text):
        raise UserError(
            f"--digest {plain[:8]}...: this bundle's is {digest_in(text)[:8]}..., so it is not the one that was "
            f"meant; do not install it"
        )
