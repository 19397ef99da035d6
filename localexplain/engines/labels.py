"""Eleven labels for the levels 0..10 that a model can write with one token each.

"10" is one token in some vocabularies and "1", "0" in others; reading the probability of "1" there would count every
10 as a 1. So the labels are chosen, and proven, against the vocabulary they are read from.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from localexplain.errors import EngineError

LEVELS = 11  # 0..10
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

# A leading space comes first for words and letters: many vocabularies merge a tab with a letter right after it
# ("\tA" is one token), none merges a tab with " A", and they hold more words with a space than without.
CANDIDATES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("digits", tuple(str(level) for level in range(LEVELS))),
    ("words", tuple(f" {word}" for word in WORDS)),
    ("words", WORDS),
    ("letters", tuple(f" {letter}" for letter in "ABCDEFGHIJK")),
    ("letters", tuple("ABCDEFGHIJK")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSet:
    """How the levels 0..10 are written right after a separator, index = level.

    name   "digits", "words" or "letters"
    texts  what follows the separator, a leading space included where there is one
    ids    the one token of each, all different
    """

    name: str
    texts: tuple[str, ...]
    ids: tuple[int, ...]


def label_id(
    encode: Callable[[str], Sequence[int]], decode: Callable[[Sequence[int]], str], separator: str, text: str
) -> int | None:
    """The one token that writes `text` after the separator's tokens, or None where that takes more than one.

    First the token that `text` becomes behind the separator; where the vocabulary merges the two, the last token of
    `text` alone (what stands before it may be the empty piece that sentencepiece puts at a text's start). Either counts
    only if decoding it behind the separator adds exactly `text`.
    """
    before = list(encode(separator))
    together = list(encode(separator + text))
    found = together[len(before) :] if together[: len(before)] == before else []
    alone = list(encode(text))[-1:]
    for ids in (found, alone):
        if len(ids) == 1 and decode([*before, *ids]) == decode(before) + text:
            return ids[0]
    return None


def choose_labels(
    encode: Callable[[str], Sequence[int]], decode: Callable[[Sequence[int]], str], separator: str
) -> LabelSet:
    """The first set of digits, words, letters whose eleven labels are single tokens after `separator`; they are
    distinct, since each decodes to its own text.

    `encode` adds no special tokens. Raises EngineError when no set qualifies.
    """
    refused: list[str] = []
    for name, texts in CANDIDATES:
        ids: list[int] = []
        for text in texts:
            found = label_id(encode, decode, separator, text)
            if found is None:
                refused.append(repr(text))
                break
            ids.append(found)
        else:
            return LabelSet(name=name, texts=texts, ids=tuple(ids))
    raise EngineError(
        f"the vocabulary has no eleven single-token labels after {separator!r} (digits, words and letters fail at "
        f"{', '.join(refused)}); simulate in grid mode, or with another model"
    )
