"""Real records to train on: units of a subject, their top and random excerpts, and the list of words that tells most.

    texts ──cut_excerpts, capture_batches──> top and random excerpts of each unit ──best_listing──> RealUnit

A listing is made from half of a unit's excerpts and has to hold on the other half; units that no listing fits are left
out. HELD_OUT_EVERY keeps every third unit for evaluation.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float32

from localexplain.explain.normalise import normalise
from localexplain.subject.capture import capture_batches, choose_random, n_batches
from localexplain.subject.capture_config import CaptureConfig
from localexplain.subject.corpus import Document, cut_excerpts
from localexplain.subject.model import bos_token, encode_text, load_subject
from localexplain.types import Unit

HELD_OUT_EVERY = 3
MOST_WORDS = 6
LOWEST_CORRELATION = 0.2
CAPTURE = CaptureConfig(top_k=20, random_excerpts=10, stratum_excerpts=0)
LETTERS = re.compile(r"[A-Za-z']+|[^\sA-Za-z']+")

Listing = Literal["words", "after"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RealExcerpt:
    """tokens [T] of the subject and the unit's levels there [T], 0..10, in parts of its highest activation."""

    tokens: tuple[str, ...]
    levels: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RealUnit:
    """A unit, its excerpts, and the listing that fits it: the words it is active on, or the words it follows."""

    unit: Unit
    top: tuple[RealExcerpt, ...]
    random: tuple[RealExcerpt, ...]
    listing: Listing
    words: tuple[str, ...]


def is_held_out(unit: Unit) -> bool:
    """Whether the unit is kept for evaluation."""
    return unit.index % HELD_OUT_EVERY == 0


def token_words(tokens: Sequence[str]) -> list[tuple[str, str]]:
    """For each token the whole word it is part of and the word before that, lower case; "" where there is none.

    >>> token_words(["The", " tro", "mb", "one"])
    [('the', ''), ('trombone', 'the'), ('trombone', 'the'), ('trombone', 'the')]
    """
    text = "".join(tokens)
    words = [(match.start(), match.end(), match[0].lower()) for match in LETTERS.finditer(text)]
    found: list[tuple[str, str]] = []
    end, number = 0, 0
    for token in tokens:
        end += len(token)
        while number < len(words) - 1 and words[number + 1][0] < end:
            number += 1
        inside = bool(words) and words[number][0] < end
        before = words[number - 1][2] if number else ""
        found.append((words[number][2], before) if inside else ("", ""))
    return found


def correlation(predicted: Sequence[float], levels: Sequence[int]) -> float:
    """Pearson's, 0 where either is constant."""
    if np.std(predicted) == 0.0 or np.std(levels) == 0.0:
        return 0.0
    return float(np.corrcoef(predicted, levels)[0, 1])


def best_listing(excerpts: Sequence[RealExcerpt], forbidden: Collection[str]) -> tuple[Listing, tuple[str, ...]] | None:
    """The kind of listing and its words, or None where neither correlates well on the excerpts it was not made from.

    Words are ranked by their mean level times the logarithm of one more than their number; `forbidden` are never named.
    """
    shown, kept = excerpts[::2], excerpts[1::2]
    best: tuple[float, Listing, tuple[str, ...]] | None = None
    listings: tuple[Listing, Listing] = ("words", "after")
    for which, listing in enumerate(listings):
        levels: dict[str, list[int]] = {}
        for excerpt in shown:
            for pair, level in zip(token_words(excerpt.tokens), excerpt.levels, strict=True):
                levels.setdefault(pair[which], []).append(level)
        rank = {word: np.mean(found) * np.log1p(len(found)) for word, found in levels.items()}
        order = sorted((word for word in rank if word and word not in forbidden), key=lambda word: (-rank[word], word))
        high = [word for word in order[:MOST_WORDS] if np.mean(levels[word]) >= 2.0]
        if not high:
            continue
        weight = {word: float(np.mean(levels[word])) for word in high}
        predicted = [weight.get(pair[which], 0.0) for excerpt in kept for pair in token_words(excerpt.tokens)]
        score = correlation(predicted, [level for excerpt in kept for level in excerpt.levels])
        if best is None or score > best[0]:
            best = (score, listing, tuple(high))
    return best[1:] if best is not None and best[0] >= LOWEST_CORRELATION else None


def capture_units(
    folder: Path, documents: Iterable[Document], most_excerpts: int, seed: int, forbidden: Collection[str]
) -> list[RealUnit]:
    """The subject's units that a listing fits, those kept for evaluation left out, from `most_excerpts` excerpts."""
    subject = load_subject(folder)
    pool = cut_excerpts(
        documents, lambda text: encode_text(subject, text), max_excerpts=most_excerpts, seed=seed, length_tokens=64
    )
    units = {site.layer: torch.arange(site.n_units) for site in subject.sites}
    bos = bos_token(subject, "auto")
    state = capture_batches(subject, pool, units, bos, CAPTURE, batches=range(n_batches(len(pool), CAPTURE)))
    sample = choose_random(pool, CAPTURE)[: CAPTURE.random_excerpts]

    def excerpt(row: int, activations: Float32[np.ndarray, " T"], maximum: float) -> RealExcerpt:
        tokens = tuple(subject.texts[token] for token in pool.token_ids[row])
        return RealExcerpt(tokens=tokens, levels=normalise(activations, maximum))

    found: list[RealUnit] = []
    for layer in state.layers:
        for index in range(len(layer.units)):
            unit = Unit(basis="mlp", layer=layer.layer, index=index)
            maximum = float(layer.highest[index])
            if is_held_out(unit) or maximum <= 0:
                continue
            rows = layer.top.excerpts[index].tolist()
            payload = layer.top.payload[index][layer.top.slots[index]].numpy()
            top = tuple(excerpt(row, values, maximum) for row, values in zip(rows, payload, strict=True) if row >= 0)
            chance = tuple(
                excerpt(int(row), layer.random[index, place].numpy(), maximum) for place, row in enumerate(sample)
            )
            listing = best_listing((*top, *chance), forbidden)
            if listing is not None:
                found.append(RealUnit(unit=unit, top=top, random=chance, listing=listing[0], words=listing[1]))
    return found
