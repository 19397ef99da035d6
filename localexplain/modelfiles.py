"""What lies in a model's folder: checked and hashed before anything is loaded from it. Pure file reading, no torch."""

import hashlib
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from localexplain.errors import UserError
from localexplain.files import hash_files

HASHED_FILES = (
    "*.safetensors",
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",  # where older folders name the beginning-of-sequence token
    "chat_template.jinja",
)
SETTLED_NS = 2 * 10**9  # a file touched later than that may be changed again within one tick of its clock, unseen

Mark = tuple[str, int, int, int, int, int]  # path, device, inode, size, modified, changed: another after any write
KNOWN_HASHES: dict[Mark, str] = {}  # of this process


def check_model_folder(path: Path, role: str) -> dict[str, Any]:
    """The folder's config.json. `role` ("subject", "explainer") says in errors which model is meant.

    Raises UserError: no such folder; no config.json, weights in safetensors, or tokenizer in it.
    """
    if not path.is_dir():
        raise UserError(f"{role} model: no such folder {path}; give the path of a model saved by transformers")
    config = path / "config.json"
    if not config.is_file():
        raise UserError(f"{role} model: {path} holds no config.json; give a folder saved by transformers")
    if not any(path.glob("*.safetensors")):
        pickled = any(path.glob("*.bin")) or any(path.glob("*.pt"))
        why = "only pickled weights, which are not read; convert them" if pickled else "no weights; copy them there"
        raise UserError(f"{role} model: {path} holds {why} as .safetensors")
    if not (path / "tokenizer.json").is_file():
        raise UserError(f"{role} model: {path} holds no tokenizer.json; copy the model's tokenizer there")
    try:
        found = json.loads(config.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{role} model: {config} is not JSON; copy the file again") from error
    if not isinstance(found, dict):
        raise UserError(f"{role} model: {config} is not a JSON object; copy the file again")
    return found


def mark(path: Path) -> Mark:
    found = path.stat()
    return (str(path), found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def hash_once(paths: Iterable[Path]) -> dict[Path, str]:
    """sha256 of each file; one that this process has hashed, and nobody has touched since, is not read again. For the
    stages of one command, which all use the same models; what proves that nothing changed is `hash_files`. Raises
    OSError."""
    marks = {path: mark(path) for path in paths}
    began_ns = time.time_ns()
    hashes = hash_files([path for path, before in marks.items() if before not in KNOWN_HASHES])
    for path, found in hashes.items():
        if mark(path) == marks[path] and marks[path][-1] < began_ns - SETTLED_NS:
            KNOWN_HASHES[marks[path]] = found
    return {path: hashes[path] if path in hashes else KNOWN_HASHES[before] for path, before in marks.items()}


def hash_model_folder(path: Path) -> str:
    """One sha256 over the names and hashes of the weights, the configuration and the tokenizer."""
    files = [file for pattern in HASHED_FILES for file in sorted(path.glob(pattern))]
    hashes = hash_once(files)
    return hashlib.sha256("".join(f"{file.name} {hashes[file]}\n" for file in files).encode()).hexdigest()
