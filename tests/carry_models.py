"""Folders that look like models, and like a Hugging Face cache of them, with known contents and no model in them."""

import hashlib
import json
import random
import struct
from collections.abc import Mapping
from pathlib import Path

COMMIT, OTHER_COMMIT = "1" * 40, "2" * 40


def safetensors(n_bytes: int, seed: int = 0) -> bytes:
    """A whole file of the format with one tensor of so many random bytes."""
    header = json.dumps({"w": {"dtype": "U8", "shape": [n_bytes], "data_offsets": [0, n_bytes]}}).encode()
    return struct.pack("<Q", len(header)) + header + random.Random(seed).randbytes(n_bytes)


def model_contents(seed: int = 0, weight_bytes: int = 600) -> dict[str, bytes]:
    """Relative path -> content of a model in two shards, no two files of any two seeds alike."""
    shards = {f"model-0000{number}-of-00002.safetensors": 100 * seed + number for number in (1, 2)}
    index = {"metadata": {"seed": seed}, "weight_map": {f"layer.{number}": name for name, number in shards.items()}}
    return {
        "config.json": json.dumps({"model_type": "gpt2", "seed": seed}).encode(),
        "tokenizer.json": json.dumps({"version": "1.0", "seed": seed}).encode(),
        "tokenizer_config.json": json.dumps({"seed": seed, "model_max_length": 8}).encode(),
        "chat_template.jinja": f"{{# template {seed} #}}".encode(),
        "LICENSE": f"Licence of model {seed}".encode(),
        "original/params.json": json.dumps({"dim": seed}).encode(),
        "model.safetensors.index.json": json.dumps(index).encode(),
        **{name: safetensors(weight_bytes, number) for name, number in shards.items()},
    }


def write_files(folder: Path, contents: Mapping[str, bytes]) -> Path:
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def write_model(folder: Path, seed: int = 0, weight_bytes: int = 600) -> Path:
    return write_files(folder, model_contents(seed, weight_bytes))


def blob_name(name: str, content: bytes) -> str:
    """As the hub names them: sha256 of what is stored apart, git's own hash of the rest."""
    if name.endswith((".safetensors", ".bin")):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


def write_snapshot(hub: Path, repository: str, contents: Mapping[str, bytes], commit: str = COMMIT) -> Path:
    """A snapshot of links into blobs/, with no refs/main."""
    owner = hub / f"models--{repository.replace('/', '--')}"
    blobs, snapshot = owner / "blobs", owner / "snapshots" / commit
    blobs.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        link = snapshot / name
        link.parent.mkdir(parents=True, exist_ok=True)
        blob = blobs / blob_name(name, content)
        blob.write_bytes(content)
        link.symlink_to(Path(*[".."] * (2 + len(Path(name).parts) - 1)) / "blobs" / blob.name)
    return snapshot


def set_main(hub: Path, repository: str, commit: str) -> None:
    refs = hub / f"models--{repository.replace('/', '--')}" / "refs"
    refs.mkdir(parents=True, exist_ok=True)
    (refs / "main").write_text(commit, encoding="utf-8")


def write_cache(hub: Path, repository: str, seed: int = 0) -> Path:
    """A finished download of refs/main; returns the snapshot."""
    snapshot = write_snapshot(hub, repository, model_contents(seed))
    set_main(hub, repository, COMMIT)
    return snapshot
