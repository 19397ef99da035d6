"""What lies in a model's folder: checked and hashed before anything is loaded from it. Pure file reading, no torch."""

import hashlib
import json
from pathlib import Path
from typing import Any

from localexplain.errors import UserError

HASHED_FILES = (
    "*.safetensors",
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",  # where older folders name the beginning-of-sequence token
    "chat_template.jinja",
)
READ_BYTES = 1 << 22  # large enough that hashing runs at the disk's speed


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


def hash_file(path: Path) -> str:
    """The file's sha256, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def hash_model_folder(path: Path) -> str:
    """One sha256 over the names and hashes of the weights, the configuration and the tokenizer."""
    digest = hashlib.sha256()
    for pattern in HASHED_FILES:
        for file in sorted(path.glob(pattern)):
            digest.update(f"{file.name} {hash_file(file)}\n".encode())
    return digest.hexdigest()
