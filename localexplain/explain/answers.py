"""What an explanation may name: the words, signs, neighbours and affixes that are in what is shown. Pure.

    excerpts ──answer_slots──> words, neighbours, affixes, signs ──answer.j2──> a pattern the explanation must match

For small models, which find the right form of a sentence long before they can copy the words that belong into it: the
pattern leaves the choice of the form, and of how many words to name, to the model, and lets it name nothing else.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

SHARED = 0.6  # of the active words have an affix in common, or follow the same word
SHORTEST_AFFIX, LONGEST_AFFIX, SHORTEST_STEM = 2, 5, 2
FEWEST = 2  # different words that share an affix; times that a neighbour is seen
WORD = re.compile(r"[A-Za-z0-9']+")
SIGNS = re.compile(r"[^\sA-Za-z0-9]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerSlots:
    """words       whole words with an active token in them, lower case, those of highest level first
    before      words that stand right before an active one and do so often
    suffixes    endings that most of the words share, with at least SHORTEST_STEM letters before them
    prefixes    likewise, beginnings
    signs       runs of signs that are active by themselves
    """

    words: tuple[str, ...]
    before: tuple[str, ...]
    suffixes: tuple[str, ...]
    prefixes: tuple[str, ...]
    signs: tuple[str, ...]

    @property
    def lists(self) -> tuple[str, ...]:
        """The first word, the first two, three ... as a list each.

        >>> AnswerSlots(words=("a", "b", "c"), before=(), suffixes=(), prefixes=(), signs=()).lists
        ('a', 'a and b', 'a, b and c')
        """
        return tuple(
            f"{', '.join(self.words[: size - 1])} and {self.words[size - 1]}" if size > 1 else self.words[0]
            for size in range(1, len(self.words) + 1)
        )


def active_places(
    tokens: Sequence[str], levels: Sequence[int], lowest: int, find: re.Pattern[str]
) -> list[tuple[int, int]]:
    """(start of the match in the text, its highest level) of what `find` finds where a token is active."""
    here: list[int] = []
    for token, level in zip(tokens, levels, strict=True):
        here += [level] * len(token)
    found = ((match.start(), max(here[match.start() : match.end()])) for match in find.finditer("".join(tokens)))
    return [(start, level) for start, level in found if level >= lowest]


def shared_affixes(words: Sequence[str], *, at_end: bool) -> tuple[str, ...]:
    """Affixes that at least SHARED of the words have, longest first; none where there are fewer than FEWEST words.

    >>> shared_affixes(["darkness", "kindness", "boat"], at_end=True)
    ('ness', 'ess', 'ss')
    """
    counts: Counter[str] = Counter()
    for word in words:
        for size in range(SHORTEST_AFFIX, min(LONGEST_AFFIX, len(word) - SHORTEST_STEM) + 1):
            counts[word[-size:] if at_end else word[:size]] += 1
    least = max(FEWEST, SHARED * len(words))
    return tuple(sorted((affix for affix in counts if counts[affix] >= least), key=lambda affix: (-len(affix), affix)))


def answer_slots(excerpts: Sequence[tuple[Sequence[str], Sequence[int]]], lowest: int, most_words: int) -> AnswerSlots:
    """`excerpts`: (tokens, levels) of each; a token is active from `lowest` on."""
    words: dict[str, int] = {}
    signs: dict[str, int] = {}
    before: Counter[str] = Counter()
    n_active = 0
    for tokens, levels in excerpts:
        text = "".join(tokens)
        matches = {match.start(): match[0] for match in WORD.finditer(text)}
        starts = list(matches)
        for start, level in active_places(tokens, levels, lowest, WORD):
            word = matches[start].lower()
            words[word] = max(words.get(word, 0), level)
            n_active += 1
            place = starts.index(start)
            if place:
                before[matches[starts[place - 1]].lower()] += 1
        marks = {match.start(): match[0] for match in SIGNS.finditer(text)}
        for start, level in active_places(tokens, levels, lowest, SIGNS):
            signs[marks[start]] = max(signs.get(marks[start], 0), level)
    ordered = sorted(words, key=lambda word: -words[word])
    common = [word for word, count in before.most_common() if count >= max(FEWEST, SHARED * n_active)]
    return AnswerSlots(
        words=tuple(ordered[:most_words]),
        before=tuple(common),
        suffixes=shared_affixes(ordered, at_end=True),
        prefixes=shared_affixes(ordered, at_end=False),
        signs=tuple(sorted(signs, key=lambda sign: -signs[sign])[:most_words]),
    )
