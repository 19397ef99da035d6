"""What a released neuron says, once read: the records that `layout` makes of files and that `evaluate` works on. Pure.

Activations are raw, as released. Source of the data's form: Bills et al. 2023 and the code released with it.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32

Release = Literal["gpt2-xl", "gpt2-small"]

LAYERS: dict[Release, int] = {"gpt2-xl": 48, "gpt2-small": 12}
NEURONS: dict[Release, int] = {"gpt2-xl": 6400, "gpt2-small": 3072}  # of a layer


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PublishedExcerpt:
    """tokens [T] and the neuron's activations on them [T]."""

    tokens: tuple[str, ...]
    activations: Float32[np.ndarray, " T"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PublishedSimulation:
    """A simulated excerpt: tokens [T], true activations [T], the simulator's expected activations [T] (its own scale),
    and the correlation stored for this excerpt alone; None where there is none, or it is not a number."""

    tokens: tuple[str, ...]
    true: Float32[np.ndarray, " T"]
    expected: Float32[np.ndarray, " T"]
    score: float | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PublishedExplanation:
    """The explanation, white space at its ends removed, its simulations in their order, and the stored score over all
    of them; None where it is not a number: a constant simulation."""

    text: str
    simulations: tuple[PublishedSimulation, ...]
    score: float | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PublishedNeuron:
    """One neuron of the release.

    top          excerpts with the highest maxima, highest first
    random       a uniform sample
    strata       the quantile samples, lowest first, five in the release; () where the file has none
    mean, variance  as released; NaN where they are not
    explanation  None where there is no explanation file, or none that can be used
    """

    layer: int
    index: int
    mean: float
    variance: float
    top: tuple[PublishedExcerpt, ...]
    random: tuple[PublishedExcerpt, ...]
    strata: tuple[tuple[PublishedExcerpt, ...], ...]
    explanation: PublishedExplanation | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A file, or what should have been one, that could not be used, and why: one line."""

    path: str
    reason: str
