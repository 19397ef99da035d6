"""Texts to short passages, and which passages a word stands in.

documents ──cut_passages──> 12 to 60 words each, at sentence ends where these come in time ──> Passages, by word
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Int32

WORD = re.compile(r"[A-Za-z]+(?:'[a-z]+)?")
SENTENCE_END = re.compile(r"(?<=[.!?])[\"')]*\s+")
FEWEST_WORDS, MOST_WORDS = 12, 60
SHARED_WORDS = 8  # a run of so many words that also stands in a held-out text keeps a passage out


def words_of(text: str) -> list[str]:
    """Lower-case words, in order.

    >>> words_of("It's 3 o'clock, Anna.")
    ["it's", "o'clock", 'anna']
    """
    return [match[0].lower() for match in WORD.finditer(text)]


def word_runs(text: str, length: int = SHARED_WORDS) -> set[tuple[str, ...]]:
    """Every run of `length` words in the text."""
    words = words_of(text)
    return {tuple(words[start : start + length]) for start in range(len(words) - length + 1)}


def cut_passages(text: str, random: np.random.Generator) -> Iterable[str]:
    """The text in runs of whole sentences of at least a drawn number of words; a longer run is cut there."""
    wanted = int(random.integers(FEWEST_WORDS, MOST_WORDS // 2))
    held: list[str] = []
    for sentence in SENTENCE_END.split(text):
        for word in sentence.split():
            held.append(word)
            if len(held) >= MOST_WORDS:
                yield " ".join(held)
                held = []
        if len(held) >= wanted:
            yield " ".join(held)
            held = []
            wanted = int(random.integers(FEWEST_WORDS, MOST_WORDS // 2))
    if len(held) >= FEWEST_WORDS:
        yield " ".join(held)


@dataclass(frozen=True, slots=True)
class Passages:
    """texts, and for each lower-case word the passages it stands in, ascending."""

    texts: tuple[str, ...]
    by_word: dict[str, Int32[np.ndarray, " passages"]]

    @classmethod
    def of(cls, texts: Sequence[str]) -> "Passages":
        places: dict[str, list[int]] = {}
        for place, text in enumerate(texts):
            for word in set(words_of(text)):
                places.setdefault(word, []).append(place)
        return cls(tuple(texts), {word: np.array(found, dtype=np.int32) for word, found in places.items()})

    def count(self, word: str) -> int:
        """How many passages hold the word."""
        return len(self.by_word.get(word, ()))

    def draw(self, random: np.random.Generator) -> str:
        return self.texts[int(random.integers(len(self.texts)))]

    def draw_with(self, word: str, random: np.random.Generator) -> str | None:
        """A passage that holds the word, or None where there is none."""
        places = self.by_word.get(word)
        return None if places is None else self.texts[int(random.choice(places))]


@lru_cache(maxsize=4)
def all_runs(texts: tuple[str, ...]) -> frozenset[tuple[str, ...]]:
    """Every run of SHARED_WORDS words in any of the texts."""
    return frozenset(run for text in texts for run in word_runs(text))


def without_shared(texts: Iterable[str], held_out: Sequence[str]) -> list[str]:
    """The texts that share no run of SHARED_WORDS words with any held-out text."""
    runs = all_runs(tuple(held_out))
    return [text for text in texts if runs.isdisjoint(word_runs(text))]
