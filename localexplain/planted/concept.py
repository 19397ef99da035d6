"""Planted units: made-up neurons whose truth is known, because a concept says where in any text they are active. Pure.

concept + text ──find_levels──> level of each character ──token_levels──> level of each token ──plant──> activations
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from jaxtyping import Float32, Int8

HIGHEST = 10
CLEARLY = 5  # the lowest level at which an explanation fits an excerpt
GROUP = "on"  # the part of a match that is active; the whole match where there is no such group


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """`find`: a regular expression; its matches, or their group "on", are active at `level` 1..10."""

    find: str
    level: int = HIGHEST


@dataclass(frozen=True, slots=True, kw_only=True)
class Concept:
    """What a planted unit is active on.

    kind          "lexical", "affix", "position" ...: what sort of property it is
    name          unique within its kind
    explanations  true explanations, in different words
    patterns      where it is active
    exceptions    regular expressions whose matches are silent after all
    words         the words it turns on, lower case; none for pure shapes
    """

    kind: str
    name: str
    explanations: tuple[str, ...]
    patterns: tuple[Pattern, ...]
    exceptions: tuple[str, ...] = ()
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """How a planted unit's activations stray from its concept. All shares and bounds are of the level scale 0..10.

    dimmed      an active token has a level times a number drawn from [dimmed, 1]
    background  share of silent tokens that have a level drawn from (0, 1)
    distractors share of texts in which one silent token has a level drawn from [2, 5]
    """

    dimmed: float = 0.7
    background: float = 0.05
    distractors: float = 0.1


NOISE = Noise()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlantedText:
    """A text as tokens [T] and a planted unit's activations on them [T], 0..10."""

    tokens: tuple[str, ...]
    activations: Float32[np.ndarray, " T"] = field(repr=False)


@lru_cache(maxsize=4096)
def compiled(find: str) -> re.Pattern[str]:
    return re.compile(find)


def active_spans(find: str, text: str) -> list[tuple[int, int]]:
    """Start and end, in characters, of what `find` marks in `text`; empty spans are left out."""
    pattern = compiled(find)
    group: str | int = GROUP if GROUP in pattern.groupindex else 0
    return [span for match in pattern.finditer(text) if (span := match.span(group))[0] < span[1]]


def find_levels(concept: Concept, text: str) -> Int8[np.ndarray, " characters"]:
    """The level, 0..10, of each character of `text`; where patterns overlap, the highest."""
    levels = np.zeros(len(text), dtype=np.int8)
    for pattern in concept.patterns:
        for start, end in active_spans(pattern.find, text):
            levels[start:end] = np.maximum(levels[start:end], pattern.level)
    for find in concept.exceptions:
        for start, end in active_spans(find, text):
            levels[start:end] = 0
    return levels


def token_levels(levels: Int8[np.ndarray, " characters"], tokens: Sequence[str]) -> Int8[np.ndarray, " T"]:
    """The highest level of each token's characters; `tokens` [T] joined are the text.

    >>> token_levels(np.array([0, 9, 9, 9, 0], dtype=np.int8), [" ", "cat", "s"])
    array([0, 9, 0], dtype=int8)
    """
    found = np.zeros(len(tokens), dtype=np.int8)
    start = 0
    for place, token in enumerate(tokens):
        end = start + len(token)
        if end > start:
            found[place] = levels[start:end].max(initial=0)
        start = end
    return found


def plant(
    levels: Int8[np.ndarray, " T"], random: np.random.Generator, noise: Noise = NOISE
) -> Float32[np.ndarray, " T"]:
    """Activations in 0..10 for the tokens' levels: dimmed, with a little background and now and then a distractor."""
    active = levels > 0
    values = levels * random.uniform(noise.dimmed, 1.0, len(levels))
    weak = ~active & (random.random(len(levels)) < noise.background)
    values = np.where(weak, random.uniform(0.0, 1.0, len(levels)), values)
    silent = np.flatnonzero(~active)
    if random.random() < noise.distractors and len(silent):
        values[random.choice(silent)] = random.uniform(2.0, 5.0)
    return values.astype(np.float32)


def plant_text(
    concept: Concept, tokens: Sequence[str], random: np.random.Generator, noise: Noise = NOISE
) -> PlantedText:
    """The planted unit's activations on a text given as tokens that join to it."""
    levels = token_levels(find_levels(concept, "".join(tokens)), tokens)
    return PlantedText(tokens=tuple(tokens), activations=plant(levels, random, noise))
