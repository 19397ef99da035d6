"""The held-out test bed: concepts with texts of their own, files that ship; training never sees any of it.

eval/planted/KIND.toml ──read_bed──> BedConcepts
"""

import re
import tomllib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from localexplain.errors import UserError
from localexplain.planted.concept import HIGHEST, Concept, Pattern, compiled, find_levels
from localexplain.resources import resource

BED = ("eval", "planted")


@dataclass(frozen=True, slots=True, kw_only=True)
class BedConcept:
    """A held-out concept and its own texts, in each of which it is active somewhere."""

    concept: Concept
    texts: tuple[str, ...]


def text_list(value: object) -> tuple[str, ...]:
    """Raises TypeError for what is no list of texts."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TypeError(f"{str(value)[:40]} is no list of texts")
    return tuple(value)


def parse_concept(kind: str, data: dict[str, Any], where: str) -> BedConcept:
    """Raises UserError, naming `where`, for a table that is no concept."""
    try:
        concept = Concept(
            kind=kind,
            name=str(data["name"]),
            explanations=text_list(data["explanations"]),
            patterns=tuple(
                Pattern(find=text_list([item["find"]])[0], level=int(item["level"])) for item in data["patterns"]
            ),
            exceptions=text_list(data.get("except", [])),
            words=text_list(data["words"]),
        )
        texts = text_list(data["texts"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{where}: no concept ({type(error).__name__}: {error}); put the file back") from error
    for pattern in concept.patterns:
        if not 1 <= pattern.level <= HIGHEST:
            raise UserError(f"{where}, {concept.name!r}: level {pattern.level} is not from 1 to {HIGHEST}")
    try:
        for find in (*(pattern.find for pattern in concept.patterns), *concept.exceptions):
            compiled(find)
    except re.error as error:
        raise UserError(f"{where}, {concept.name!r}: not a regular expression ({error})") from error
    for text in texts:
        if not find_levels(concept, text).any():
            raise UserError(f"{where}, {concept.name!r}: not active anywhere in {text[:60]!r}")
    if not concept.explanations or not texts:
        raise UserError(f"{where}, {concept.name!r}: needs explanations and texts")
    return BedConcept(concept=concept, texts=texts)


@lru_cache(maxsize=8)
def read_bed(folder: Path | None = None) -> tuple[BedConcept, ...]:
    """All concepts of the bed, by kind and then in the file's order. Raises UserError for a file that is malformed."""
    folder = resource(*BED) if folder is None else folder
    found: list[BedConcept] = []
    for path in sorted(folder.glob("*.toml")):
        try:
            tables = tomllib.loads(path.read_text(encoding="utf-8")).get("concept", [])
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: not TOML ({error}); put the file back") from error
        if not isinstance(tables, list):
            raise UserError(f"{path}: no concept tables ([[concept]]); put the file back")
        found += [parse_concept(path.stem, table, str(path)) for table in tables]
    if not found:
        raise UserError(f"{folder}: holds no concepts (KIND.toml)")
    return tuple(found)
