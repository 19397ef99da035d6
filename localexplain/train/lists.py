"""The recipe's own lists, files beside the code: sets of words, pairs, phrasings, snippets of code, sentences."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

LISTS = Path(__file__).resolve().parent / "lists"


@cache
def read_list(name: str) -> dict[str, Any]:
    """The tables of lists/NAME.toml."""
    return tomllib.loads((LISTS / f"{name}.toml").read_text(encoding="utf-8"))
