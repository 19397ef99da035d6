"""Sets of words from a file of synsets: the hyponyms of a synset, under its words or its definition.

A line of the file is one synset: {"id", "category", "words", "definition", "hypernyms": [ids], "examples"}, as Open
English WordNet's exports hold them.
"""

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from localexplain.errors import CorpusError

DEPTH = 2  # hyponyms of hyponyms belong to the set
FEWEST, MOST = 4, 60  # words of a set


@dataclass(frozen=True, slots=True, kw_only=True)
class Synset:
    id: str
    words: tuple[str, ...]
    definition: str
    hypernyms: tuple[str, ...]
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WordSet:
    """names: what the set is called, in different words; definition: "" where there is none; words: its members."""

    names: tuple[str, ...]
    definition: str
    words: tuple[str, ...]


def read_synsets(path: Path) -> list[Synset]:
    """Raises CorpusError, naming the line, for one that is no synset."""
    found: list[Synset] = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                row = json.loads(line)
                found.append(
                    Synset(
                        id=row["id"],
                        words=tuple(row["words"]),
                        definition=row["definition"],
                        hypernyms=tuple(row.get("hypernyms", ())),
                        examples=tuple(row.get("examples", ())),
                    )
                )
            except (json.JSONDecodeError, KeyError, TypeError) as error:
                raise CorpusError(f"{path}, line {number}: no synset ({error}); give id, words, definition") from error
    return found


def plain_words(words: Iterable[str], known: Collection[str]) -> list[str]:
    """Those that are one lower-case word of the texts."""
    return [word for word in words if word.isalpha() and word.islower() and word in known]


def make_sets(synsets: Iterable[Synset], known: Collection[str]) -> list[WordSet]:
    """One set for each synset that has at least FEWEST hyponyms among the `known` words; members sorted."""
    by_id = {synset.id: synset for synset in synsets}
    members: dict[str, set[str]] = {}
    for synset in by_id.values():
        words = plain_words(synset.words, known)
        above = set(synset.hypernyms)
        for _ in range(DEPTH):
            for parent in above:
                members.setdefault(parent, set()).update(words)
            above = {grand for parent in above if parent in by_id for grand in by_id[parent].hypernyms}
    sets: list[WordSet] = []
    for key, found in sorted(members.items()):
        named = by_id.get(key)
        if named is not None and FEWEST <= len(found) <= MOST:
            sets.append(WordSet(names=named.words, definition=named.definition, words=tuple(sorted(found))))
    return sets


def synonym_sets(synsets: Iterable[Synset], known: Collection[str]) -> list[WordSet]:
    """One set for each synset with at least two `known` words: the synonyms, under the definition alone."""
    found = ((synset, plain_words(synset.words, known)) for synset in synsets)
    return [
        WordSet(names=(), definition=synset.definition, words=tuple(words)) for synset, words in found if len(words) > 1
    ]
