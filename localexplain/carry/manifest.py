"""What a folder of models holds, file by file: the manifest, and what differs from it.

    STORE/manifest.json    {"format": 1, "models": {NAME: entry, ...}, "digest": sha256 of all the rest}

Standard library only, as all of this package: see script.py.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from localexplain.errors import UserError
from localexplain.files import hash_file, hash_files, write_whole

MANIFEST_FILE = "manifest.json"
FORMAT = 1
SHA256_CHARACTERS = 64
PICKLED_SUFFIXES = (".bin", ".pt", ".pt2", ".pth", ".pkl", ".pickle", ".dill", ".joblib", ".ckpt", ".ot", ".h5",
                    ".keras", ".msgpack")  # fmt: skip  # may run code, or hide it

Role = Literal["weights", "pickled weights", "config", "tokenizer", "chat template", "quantisation", "licence", "card",
               "code", "other"]  # fmt: skip
CONFIGS = ("config.json", "generation_config.json", "params.json")
QUANTISATIONS = ("quantize_config.json", "quantization_config.json", "quant_config.json", "hf_quant_config.json")
TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
              "vocab.txt", "merges.txt", "tokenizer.model", "tekken.json")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """path    below the model's folder, with "/"
    sha256  hexadecimal, 64 characters
    """

    path: str
    bytes: int
    sha256: str
    role: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """One model of a model store.

    path        of its folder below the model store, with "/"
    files       in order of path; every regular file of the folder
    repository  Hugging Face id, "" where it is not known
    revision    commit of the repository, likewise
    added_at    UTC, ISO 8601
    pickled     pickled files that were allowed by name; they are kept, and never loaded
    copied      whether its folder is the model store's own copy; else it was recorded where it lay
    """

    name: str
    path: str
    files: tuple[FileEntry, ...]
    repository: str = ""
    revision: str = ""
    added_at: str = ""
    pickled: tuple[str, ...] = ()
    copied: bool = False

    @property
    def total_bytes(self) -> int:
        return sum(file.bytes for file in self.files)

    @property
    def digest(self) -> str:
        """sha256 over the paths, sizes and hashes of the files: the same wherever and whenever it was added."""
        listed = [[file.path, file.bytes, file.sha256] for file in self.files]
        return digest_of(listed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """models  by name"""

    models: Mapping[str, ModelEntry]


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Fault:
    """One file that is not as a manifest says.

    what    "missing", "changed" or "extra"
    detail  sizes or the beginnings of hashes, "" where there is nothing to add
    """

    path: str
    what: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.what}{f' ({self.detail})' if self.detail else ''}"


# files and their roles ------------------------------------------------------------------------------------------------


def role_of(path: str) -> Role:
    """What a file of a model is for, by its name.

    >>> role_of("model-00001-of-00002.safetensors"), role_of("chat_template.jinja"), role_of("LICENSE.txt")
    ('weights', 'chat template', 'licence')
    """
    name = PurePosixPath(path).name.lower()
    stem, suffix = PurePosixPath(name).stem, PurePosixPath(name).suffix
    if suffix == ".safetensors" or name.endswith(".safetensors.index.json"):
        return "weights"
    if suffix in PICKLED_SUFFIXES:
        return "pickled weights"
    if name.startswith("chat_template") or suffix == ".jinja":
        return "chat template"
    if name in QUANTISATIONS:
        return "quantisation"
    if name in CONFIGS:
        return "config"
    if name in TOKENIZERS:
        return "tokenizer"
    if stem in ("license", "licence", "notice", "use_policy", "usage_policy", "copying"):
        return "licence"
    if name == "card.json" or stem == "readme":
        return "card"
    return "code" if suffix == ".py" else "other"


def list_files(folder: Path) -> dict[str, Path]:
    """Relative path -> file, for every file below the folder in order of path, links followed; hidden names, and what
    is still being written, left out."""
    found = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }
    return dict(sorted(found.items()))


def read_entries(folder: Path) -> tuple[FileEntry, ...]:
    """Every file of the folder, hashed now. Raises OSError."""
    listed = list_files(folder)
    hashes = hash_files(listed.values())
    return tuple(
        FileEntry(path=name, bytes=path.stat().st_size, sha256=hashes[path], role=role_of(name))
        for name, path in listed.items()
    )


def compare(expected: Iterable[FileEntry], found: Iterable[FileEntry]) -> tuple[Fault, ...]:
    """What is missing, changed or extra in `found`, in order of path. Pure."""
    wanted, there = {file.path: file for file in expected}, {file.path: file for file in found}
    faults = [Fault(path=path, what="missing") for path in wanted.keys() - there.keys()]
    faults += [Fault(path=path, what="extra") for path in there.keys() - wanted.keys()]
    for path in wanted.keys() & there.keys():
        one, other = wanted[path], there[path]
        if one.bytes != other.bytes:
            faults.append(Fault(path=path, what="changed", detail=f"{other.bytes} bytes instead of {one.bytes}"))
        elif one.sha256 != other.sha256:
            detail = f"sha256 {other.sha256[:8]}... instead of {one.sha256[:8]}..."
            faults.append(Fault(path=path, what="changed", detail=detail))
    return tuple(sorted(faults))


def hash_readable(paths: Iterable[Path]) -> dict[Path, str]:
    """sha256 of each file; one that cannot be read is left out."""
    listed = list(paths)
    try:
        return hash_files(listed)
    except OSError:  # which of them does not matter: there is one, and the rest are read one by one
        hashes: dict[Path, str] = {}
        for path in listed:
            with suppress(OSError):
                hashes[path] = hash_file(path)
        return hashes


def compare_folder(folder: Path, expected: Sequence[FileEntry]) -> tuple[Fault, ...]:
    """What differs in the folder, every file hashed now; one that cannot be read is missing."""
    wanted, listed = {file.path for file in expected}, list_files(folder)
    hashes = hash_readable(path for name, path in listed.items() if name in wanted)
    found = [
        FileEntry(path=name, bytes=path.stat().st_size, sha256=hashes.get(path, ""), role=role_of(name))
        for name, path in listed.items()
        if path in hashes or name not in wanted
    ]
    return compare(expected, found)


# as text --------------------------------------------------------------------------------------------------------------


def digest_of(value: Any) -> str:
    """sha256 of the value as JSON with sorted keys and no blanks."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def seal(values: Mapping[str, Any]) -> str:
    """The values as a JSON text that holds a digest of all its other values."""
    plain = json.loads(json.dumps(values))
    return json.dumps(plain | {"digest": digest_of(plain)}, indent=1, ensure_ascii=False) + "\n"


def unseal(text: str, where: str) -> dict[str, Any]:
    """The values that `seal` wrote. Raises UserError, naming `where`, when so much as a character has changed: the text
    must be the very one that `seal` gives for these values."""
    try:
        values = json.loads(text)
        kept = {key: value for key, value in values.items() if key != "digest"}
        whole = values.get("digest") == digest_of(kept) and seal(kept) == text
    except (ValueError, AttributeError, RecursionError):  # not JSON, not an object, nested beyond reason
        whole = False
    if not whole:
        raise UserError(f"{where}: changed since it was written (its digest does not fit); bring an unchanged copy")
    return kept


def entry_from(name: str, values: Mapping[str, Any]) -> ModelEntry:
    """The entry that `asdict` wrote. Raises KeyError, TypeError for what is none."""
    files = tuple(FileEntry(**file) for file in values["files"])
    rest = {key: value for key, value in values.items() if key not in ("name", "files", "pickled")}
    return ModelEntry(name=name, files=files, pickled=tuple(values["pickled"]), **rest)


def manifest_text(manifest: Manifest) -> str:
    models = {name: asdict(entry) for name, entry in sorted(manifest.models.items())}
    return seal({"format": FORMAT, "models": models})


def parse_manifest(text: str, where: str) -> Manifest:
    """Raises UserError for a text that was changed, or is of another format."""
    values = unseal(text, where)
    if values.get("format") != FORMAT:
        raise UserError(f"{where}: of format {values.get('format')}, not {FORMAT}; update localexplain to read it")
    try:
        return Manifest(models={name: entry_from(name, entry) for name, entry in values["models"].items()})
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{where}: no list of models; bring an unchanged copy, or update localexplain") from error


def read_manifest(store: Path) -> Manifest:
    """The model store's manifest; empty where the folder has none. Raises UserError as `parse_manifest`."""
    path = store / MANIFEST_FILE
    if not path.is_file():
        return Manifest(models={})
    try:
        text = path.read_bytes().decode()  # read_text would take a carriage return for a line's end
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: changed since it was written (not UTF-8); bring an unchanged copy") from error
    return parse_manifest(text, str(path))


def write_manifest(store: Path, manifest: Manifest) -> None:
    write_whole(store / MANIFEST_FILE, manifest_text(manifest))


# a model that is about to be used -------------------------------------------------------------------------------------


def is_manifest(path: Path) -> bool:
    """Whether the file is there and a model store's, be it damaged. Other programs have files of this name in folders
    above: JSON with neither of the two keys that no single damage takes away."""
    if not path.is_file():
        return False
    try:
        values = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return True
    return isinstance(values, dict) and ("models" in values or "digest" in values)


def find_entry(folder: Path) -> ModelEntry | None:
    """The entry of a model's folder in the manifest of the model store that it lies in; None where it lies in none, or
    the manifest does not list it. Raises UserError for a manifest that was changed."""
    for place in dict.fromkeys((folder.absolute(), folder.resolve())):  # a link into a model store counts as well
        for store in place.parents:
            if not is_manifest(store / MANIFEST_FILE):
                continue
            path = place.relative_to(store).as_posix()
            for entry in read_manifest(store).models.values():
                if entry.path == path:
                    return entry
    return None


def model_name(folder: Path) -> str:
    """What a model is called: its name in the model store, else its folder's. A folder that was recorded in place may
    be named by a commit. Raises UserError as `find_entry`."""
    entry = find_entry(folder)
    return folder.resolve().name if entry is None else entry.name


def check_entry(folder: Path, role: str) -> ModelEntry | None:
    """The model's entry, its files just proven to be those listed. Raises UserError, naming them, where they differ.
    `role` ("subject", "explainer") says which model is meant."""
    entry = find_entry(folder)
    if entry is None:
        return None
    faults = compare_folder(folder, entry.files)
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise UserError(
            f"{role} model: {folder} is not what its manifest lists: {', '.join(map(str, faults[:3]))}{more}; bring "
            f"the model again, or add it anew if the change was meant"
        )
    return entry
