"""A drawn concept, and how texts are made to hold it: words put in, signs put around, numbers, capitals. Pure."""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np

from localexplain.planted.concept import Concept

Random = np.random.Generator
Edit = Callable[[str, Random], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A concept to train on.

    look_up   words whose passages are likely to hold it; () where any passage is as likely
    edit      puts it into a text
    shown     an explanation that names the words `{list}` of the texts shown: what an explainer should say; "" for none
    whole     texts are shown from their beginning on: the concept counts from there
    """

    concept: Concept
    look_up: tuple[str, ...] = ()
    edit: Edit | None = None
    shown: str = ""
    whole: bool = False


def pick(items: Sequence[str], random: Random) -> str:
    return items[int(random.integers(len(items)))]


def some(items: Sequence[str], n: int, random: Random) -> list[str]:
    """Up to `n` different ones, in random order."""
    return [items[int(place)] for place in random.permutation(len(items))[:n]]


def alternatives(words: Sequence[str], endings: str = "") -> str:
    joined = "|".join(sorted(map(re.escape, words), key=len, reverse=True))
    return rf"\b(?i:{joined}){endings}\b"


def name_words(words: Sequence[str]) -> str:
    """The words as an explainer lists them.

    >>> name_words(["rug", "mat", "carpet"]), name_words(["rug"])
    ('rug, mat and carpet', 'rug')
    """
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]


def join_words(words: Sequence[str], random: Random) -> str:
    """A list as people write one: plain, quoted, with or without "and"."""
    quote = "" if random.random() < 0.6 else '"'
    quoted = [f"{quote}{word}{quote}" for word in words]
    if len(quoted) < 2 or random.random() < 0.2:
        return ", ".join(quoted)
    return f"{', '.join(quoted[:-1])} {pick(('and', 'or'), random)} {quoted[-1]}"


def substitute(word: str) -> Edit:
    """Puts `word` in the place of some other word of a text."""

    def edit(text: str, random: Random) -> str:
        places = [match.span() for match in re.finditer(r"\b[a-z]{3,}\b", text)]
        if not places:
            return f"{text} {word}"
        start, end = places[int(random.integers(len(places)))]
        return f"{text[:start]}{word}{text[end:]}"

    return edit


CODE_FRAMES = (
    "{word}({other})", "{other}.{word}", "\n{word} ", " {word};", "{{{word}}}", "[{word}]", '"{word}"',
    "\n    {word} = {other}", "({word} ", " {word}:", "\t{word},",
)  # fmt: skip
IDENTIFIER = re.compile(r"\b[a-z]{3,}\b")


def rename_some(code: str, words: Sequence[str], kept: Collection[str], random: Random) -> str:
    """Gives half of the lower-case names in a snippet of program text other names, the same everywhere."""
    names = sorted(set(IDENTIFIER.findall(code)) - set(kept))
    new = {name: pick(words, random) for name in names if random.random() < 0.5}
    return IDENTIFIER.sub(lambda match: new.get(match[0], match[0]), code)


def into_code(word: str, code: str, other: str, random: Random) -> str:
    """Puts the word somewhere into program text, as such words stand there: beside signs and line ends."""
    places = [match.start() for match in re.finditer(r"\s", code)] or [len(code)]
    place = places[int(random.integers(len(places)))]
    return code[: place + 1] + pick(CODE_FRAMES, random).format(word=word, other=other) + code[place:]


def substitute_one_of(words: Sequence[str]) -> Edit:
    def edit(text: str, random: Random) -> str:
        for _ in range(int(random.integers(1, 4))):
            text = substitute(pick(words, random))(text, random)
        return text

    return edit


def wrap(opening: str, closing: str) -> Edit:
    """Puts the signs around one to five words of a text."""

    def edit(text: str, random: Random) -> str:
        words = text.split(" ")
        size = int(random.integers(1, 6))
        start = int(random.integers(max(1, len(words) - size)))
        words[start : start + size] = [f"{opening}{' '.join(words[start : start + size])}{closing}"]
        return " ".join(words)

    return edit


def append_sign(sign: str) -> Edit:
    """Puts the sign behind, before or between some words of a text."""

    def edit(text: str, random: Random) -> str:
        words = text.split(" ")
        for _ in range(int(random.integers(1, 4))):
            place = int(random.integers(len(words)))
            words[place] = pick((f"{words[place]}{sign}", f"{sign}{words[place]}", f"{words[place]} {sign}"), random)
        return " ".join(words)

    return edit


def insert_number(text_of: Callable[[Random], str]) -> Edit:
    def edit(text: str, random: Random) -> str:
        for _ in range(int(random.integers(1, 3))):
            text = substitute(text_of(random))(text, random)
        return text

    return edit


def random_digits(length: int, random: Random) -> str:
    first = str(random.integers(1, 10))
    return first + "".join(str(random.integers(10)) for _ in range(length - 1))


def upper_some(lengths: Collection[int]) -> Edit:
    """Writes some words of a text in capitals, of the given lengths where there are any."""

    def edit(text: str, random: Random) -> str:
        places = [match for match in re.finditer(r"\b[a-z]+\b", text) if len(match[0]) in lengths]
        for number in random.permutation(len(places))[: int(random.integers(1, 4))]:
            start, end = places[int(number)].span()
            text = text[:start] + text[start:end].upper() + text[end:]
        return text

    return edit
