"""The records that cross from one module to another. Pure: nothing here reads, writes or computes.

Activations are raw (never normalised, never clipped) unless a name says otherwise; T is the excerpt's length in
subject tokens.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32

Kind = Literal["top", "random", "stratum"]
Split = Literal["train", "calibration", "valid", "test"]
Mode = Literal["expected", "grid", "rule", "control"]
Source = Literal["explanation", "shuffled", "empty", "lookup", "linear"]

UNIT_PATTERN = re.compile(r"([a-z]+)\.([0-9]{1,9}):([0-9]{1,9})")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Unit:
    """One scalar inside the subject: a basis (`mlp`), the layer it is in and its index there. Written `mlp.3:127`."""

    basis: str
    layer: int
    index: int

    def __str__(self) -> str:
        return f"{self.basis}.{self.layer}:{self.index}"


def parse_unit(text: str) -> Unit | None:
    """The unit that `text` writes, or None.

    >>> parse_unit("mlp.3:127")
    Unit(basis='mlp', layer=3, index=127)
    """
    match = UNIT_PATTERN.fullmatch(text)
    return Unit(basis=match[1], layer=int(match[2]), index=int(match[3])) if match else None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Record:
    """One unit's activations on one excerpt.

    kind         why it was kept: among the unit's top excerpts, in the shared random sample, or in a stratum
    rank         top: 0 is the highest maximum; random: place in the unit's sample; stratum: place in the stratum
    stratum      0 (lowest maxima) to 4 for kind "stratum", else None
    split        None for strata: these are for looking at and for the lookup control, never scored
    tokens       [T] the subject tokens as text (see subject.tokens.token_text)
    token_ids    [T]
    activations  [T] float32
    """

    unit: Unit
    excerpt_id: int
    kind: Kind
    rank: int
    stratum: int | None
    split: Split | None
    tokens: tuple[str, ...]
    token_ids: tuple[int, ...]
    activations: Float32[np.ndarray, " T"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCounts:
    """What a request cost, in tokens of the engine's model.

    prompt     tokens of the prompts as sent
    computed   prompt tokens the model really ran, those found in a prefix cache left out, padding counted in
    generated  tokens written
    """

    prompt: int = 0
    computed: int = 0
    generated: int = 0

    def __add__(self, other: "TokenCounts") -> "TokenCounts":
        return TokenCounts(
            prompt=self.prompt + other.prompt,
            computed=self.computed + other.computed,
            generated=self.generated + other.generated,
        )


def sum_counts(counts: Sequence[TokenCounts]) -> TokenCounts:
    """The sum; of nothing, zeros."""
    total = TokenCounts()
    for count in counts:
        total = total + count
    return total


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a model or a rule is: part of the key of everything it makes.

    kind     "transformers", "vllm", "scripted", "lookup", "rule", "subject" ...
    name     the folder's name, or the rule's
    details  sorted (key, value) pairs: weights hash, dtype, quantisation, prompt version, library versions
    """

    kind: str
    name: str
    details: tuple[tuple[str, str], ...] = ()


# what an explainer gets and gives ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExplainTask:
    """Explain one unit from its train records. `seed` makes sample number `sample` repeatable."""

    unit: Unit
    records: tuple[Record, ...]
    sample: int = 0
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainReply:
    """An explanation, or why there is none: exactly one of `text` and `error` is None.

    prompt  what the explainer was shown, for audit; "" for a rule
    raw     what it answered before `text` was cut out of it
    """

    text: str | None
    error: str | None = None
    prompt: str = ""
    raw: str = ""
    counts: TokenCounts = TokenCounts()


# what a simulator gets and gives -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulateTask:
    """Predict a unit's activation on each of `tokens` [T] from `explanation` alone ("" is the empty control)."""

    explanation: str
    tokens: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SimulateReply:
    """A prediction, or why there is none: exactly one of `expected` and `error` is None.

    expected    [T] float32 in [0, 10]
    label_mass  lowest share of probability, over the T positions, that fell on the eleven labels; None where no
                probabilities were read
    label_set   which labels were read: "digits", "words", "letters"; "" where none were
    """

    expected: Float32[np.ndarray, " T"] | None
    error: str | None = None
    label_mass: float | None = None
    label_set: str = ""
    counts: TokenCounts = TokenCounts()


# scores --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One number about one simulation of one unit, or why there is none: exactly one of `value` and `reason` is None.

    metric      "correlation", "explained_variance", "absolute_deviation_explained"
    n_tokens    tokens it is computed over; n_excerpts the excerpts they are from
    """

    metric: str
    value: float | None
    reason: str | None
    n_tokens: int
    n_excerpts: int
