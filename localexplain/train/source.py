"""What concepts to train on are drawn from, kept clear of the held-out bed's words and topics.

A set that holds two held-out words, or is named like a held-out topic, is dropped whole; a single word alone.
"""

import re
from collections.abc import Callable, Collection, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from localexplain.train.drafts import Draft, Random, pick, some
from localexplain.train.lists import read_list
from localexplain.train.passages import Passages
from localexplain.train.senses import Sense, collect_senses
from localexplain.train.shapes import HELD_OUT_TOPICS, PREFIXES, SUFFIXES
from localexplain.train.wordnet import Synset, WordSet, make_sets, synonym_sets

PHRASINGS = 6  # explanations that a drawn concept has
FEWEST_PASSAGES = 3  # a concept's word stands in at least so many
FEWEST_AFFIXED = 6  # words that an affix must have


class ConceptSource:
    """What concepts are drawn from: passages, sets of words, phrasings.

    `held_out` are the words of the held-out bed and puzzles, lower case: none becomes a concept's word here; phrases
    among them, "no longer", are not drawn as such.
    """

    def __init__(self, passages: Passages, synsets: Sequence[Synset], held_out: Collection[str]) -> None:
        self.passages = passages
        self.held_out = frozenset(held_out)
        self.phrasings = read_list("phrasings")
        self.parameters = read_list("parameters")
        self._synsets = synsets

    @cached_property
    def known(self) -> dict[str, int]:
        """Words that may be a concept's, with the number of passages they stand in."""
        counts = {word: len(places) for word, places in self.passages.by_word.items()}
        return {
            word: count
            for word, count in sorted(counts.items())
            if count >= FEWEST_PASSAGES and word.isalpha() and word not in self.held_out and len(word) > 1
        }

    @cached_property
    def _common(self) -> tuple[list[str], np.ndarray]:
        words = list(self.known)
        weights = np.array([min(count, 400) for count in self.known.values()], dtype=np.float64) ** 0.5
        return words, weights / weights.sum()

    def _allowed_set(self, found: WordSet) -> bool:
        """Not a topic of the bed, by its name or by its words."""
        if any(HELD_OUT_TOPICS.search(name.lower()) for name in found.names):
            return False
        return sum(word in self.held_out for word in found.words) < 2

    def _plural_held_out(self, word: str) -> bool:
        """A set is active on its words' plurals too."""
        return not self.held_out.isdisjoint((f"{word}s", f"{word}es"))

    def _usable(self, sets: Sequence[WordSet], fewest: int) -> list[WordSet]:
        kept: list[WordSet] = []
        for found in sets:
            words = tuple(word for word in found.words if word in self.known and not self._plural_held_out(word))
            if self._allowed_set(found) and len(words) >= fewest:
                kept.append(WordSet(names=found.names, definition=found.definition, words=words))
        return kept

    @cached_property
    def wordnet_sets(self) -> list[WordSet]:
        vocabulary = set(self.known) | self.held_out
        return self._usable(make_sets(self._synsets, vocabulary), 4)

    @cached_property
    def synonyms(self) -> list[WordSet]:
        vocabulary = set(self.known) | self.held_out
        return self._usable(synonym_sets(self._synsets, vocabulary), 2)

    def _listed(self, name: str) -> list[WordSet]:
        sets = [
            WordSet(names=(item["name"], *item["names"]), definition="", words=tuple(item["words"]))
            for item in read_list(name)["set"]
        ]
        return self._usable(sets, 3)

    @cached_property
    def own_sets(self) -> list[WordSet]:
        return self._listed("lexical")

    @cached_property
    def all_sets(self) -> list[WordSet]:
        """Every set that has a name."""
        return [*self.own_sets, *self.wordnet_sets]

    @cached_property
    def sets_with(self) -> dict[str, list[int]]:
        """Which of `all_sets` a word is in."""
        places: dict[str, list[int]] = {}
        for place, found in enumerate(self.all_sets):
            for word in found.words:
                places.setdefault(word, []).append(place)
        return places

    @cached_property
    def senses(self) -> list[list[Sense]]:
        return collect_senses(self._synsets, self.known)

    @cached_property
    def sentiments(self) -> list[WordSet]:
        return self._listed("sentiment")

    @cached_property
    def suffixes(self) -> dict[str, list[str]]:
        found = {
            affix: [word for word in self.known if word.endswith(affix) and len(word) >= len(affix) + 3]
            for affix in SUFFIXES
        }
        return {affix: words for affix, words in found.items() if len(words) >= FEWEST_AFFIXED}

    @cached_property
    def prefixes(self) -> dict[str, list[str]]:
        found = {
            affix: [word for word in self.known if word.startswith(affix) and len(word) >= len(affix) + 3]
            for affix in PREFIXES
        }
        return {affix: words for affix, words in found.items() if len(words) >= FEWEST_AFFIXED}

    # drawing

    def word(self, random: Random) -> str:
        words, weights = self._common
        return words[int(random.choice(len(words), p=weights))]

    def say(self, table: str, random: Random, n: int = PHRASINGS, **slots: str) -> tuple[str, ...]:
        """`n` explanations from the table's templates; the first is always of its first template that fits."""
        found: Any = self.phrasings
        for part in table.split("."):
            found = found[part]
        fitting = [text for text in found["templates"] if set(re.findall(r"{(\w+)}", text)) <= set(slots)]
        chosen = [fitting[0], *some(fitting, n - 1, random)]
        return tuple(template.format(**slots) for template in chosen)

    def say_parameter(self, table: str, value: str, random: Random) -> tuple[str, ...]:
        templates = self.parameters[table]["templates"]
        return tuple(template.format(x=value) for template in [templates[0], *some(templates, PHRASINGS - 1, random)])

    def parameter(self, table: str, random: Random) -> str:
        return pick(self.parameters[table]["values"], random)


Draw = Callable[[ConceptSource, Random], Draft | None]


def draw_from(source: ConceptSource, random: Random, kinds: dict[Draw, float]) -> Draft:
    """A concept of one of the kinds, drawn by weight; a draw that comes to nothing is drawn again."""
    draws = list(kinds)
    weights = np.array(list(kinds.values()))
    while True:
        draft = draws[int(random.choice(len(draws), p=weights / weights.sum()))](source, random)
        if draft is not None:
            return draft
