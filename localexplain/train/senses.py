"""Words in one of their senses: examples of usage by sense, from a file of synsets.

A text is made of an example of the sense and examples of the same word's other senses; only the first is active.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int8

from localexplain.planted.concept import HIGHEST
from localexplain.train.drafts import Random, pick
from localexplain.train.wordnet import Synset

ENDINGS = "(?:s|es|d|ed|ing)?"
FEWEST_SENSES = 2  # with examples, for the others to be silent
ASIDE = re.compile(r"^\([^)]*\)\s*")  # "(usually plural) ..." before a definition


@dataclass(frozen=True, slots=True)
class Sense:
    """A word in one sense: its definition and examples in which the word stands."""

    word: str
    definition: str
    examples: tuple[str, ...]


def find_word(word: str, text: str) -> list[tuple[int, int]]:
    """Start and end of each place of the word, or of a regular form of it.

    >>> find_word("bank", "Two banks; an embankment.")
    [(4, 9)]
    """
    return [match.span() for match in re.finditer(rf"\b(?i:{re.escape(word)}){ENDINGS}\b", text)]


def collect_senses(synsets: Sequence[Synset], known: Collection[str]) -> list[list[Sense]]:
    """The senses that have examples, one list for each of the `known` words that has at least FEWEST_SENSES of them."""
    found: dict[str, list[Sense]] = {}
    for synset in synsets:
        for word in synset.words:
            if word in known:
                examples = tuple(example for example in synset.examples if find_word(word, example))
                if examples:
                    definition = ASIDE.sub("", synset.definition)
                    found.setdefault(word, []).append(Sense(word, definition, examples))
    return [senses for _, senses in sorted(found.items()) if len(senses) >= FEWEST_SENSES]


def mix_senses(
    sense: Sense, others: Sequence[Sense], fillers: Sequence[str], active: bool, random: Random
) -> tuple[str, Int8[np.ndarray, " characters"]]:
    """A text in which the word stands in other senses and, where `active`, in the sense; and each character's level."""
    parts = [(pick(other.examples, random), False) for other in others] + [(text, False) for text in fillers]
    if active:
        parts.append((pick(sense.examples, random), True))
    text, spans = "", []
    for place in random.permutation(len(parts)):
        part, counts = parts[int(place)]
        if counts:
            spans += [(len(text) + start, len(text) + end) for start, end in find_word(sense.word, part)]
        text += f"{part}{pick(('. ', '. ', '; '), random)}"
    levels = np.zeros(len(text), dtype=np.int8)
    for start, end in spans:
        levels[start:end] = HIGHEST
    return text.rstrip(), levels[: len(text.rstrip())]
