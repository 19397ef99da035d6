"""Scores of many units as one line: mean, median, how many there are, how many there are not, and how sure the mean is.

A unit without a score is counted, never averaged as a zero. The units are the sample: the interval says how far the
mean would move had other units of the same kind been drawn, not how well one unit's score is known.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from jaxtyping import Float64

CONFIDENCE_FRACTION = 0.95
# From seed to seed each end of the interval then moves by about 1 % of its width: less than is ever read off it.
N_RESAMPLES = 4000
MAX_DRAWS_AT_ONCE = 2**21  # draws held in memory, 16 MiB of indices
# Above so many values the interval is the normal approximation. The bootstrap leans with the values' skewness g by
# 0.12 g / sqrt(n) of its width (Cornish-Fisher: (1.96^2 - 1) / 6 standard errors, of 2 x 1.96): for g = 2 a third of a
# per cent here, less than its own ends move from seed to seed, and it would take a minute for a model's neurons.
MOST_RESAMPLED = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Some units' values of one metric.

    mean      over the units that have a value; None where none has
    median    likewise
    n         units that have a value
    unscored  units that have none
    low       lower end of the 95 % interval of the mean; None where n < 2
    high      upper end, likewise
    """

    mean: float | None
    median: float | None
    n: int
    unscored: int
    low: float | None
    high: float | None


def resample_means(values: Float64[np.ndarray, " n"], seed: int) -> Float64[np.ndarray, " resamples"]:
    """Means of N_RESAMPLES draws of n of the n values, with replacement."""
    rng = np.random.default_rng(seed)
    rows = max(1, MAX_DRAWS_AT_ONCE // values.size)
    chunks = [min(rows, N_RESAMPLES - start) for start in range(0, N_RESAMPLES, rows)]
    return np.concatenate([values[rng.integers(0, values.size, (chunk, values.size))].mean(axis=1) for chunk in chunks])


def find_interval(values: Float64[np.ndarray, " n"], seed: int) -> tuple[float, float]:
    """The ends of the 95 % interval of the mean of 2 values or more; the seed plays no part above MOST_RESAMPLED."""
    tail = (1 - CONFIDENCE_FRACTION) / 2
    if values.size <= MOST_RESAMPLED:
        low, high = np.quantile(resample_means(values, seed), (tail, 1 - tail))
        return float(low), float(high)
    half = NormalDist().inv_cdf(1 - tail) * float(values.std(ddof=1)) / values.size**0.5
    return float(values.mean()) - half, float(values.mean()) + half


def summarise(values: Sequence[float | None] | Float64[np.ndarray, " n"], seed: int, *, unscored: int = 0) -> Summary:
    """The summary of the values that are there. The interval is the percentile bootstrap over units, above
    MOST_RESAMPLED values the normal approximation, mean ± 1.96 s / sqrt(n).

    unscored  units without a value that are not among `values`: an array has no place for None
    Raises: ValueError for a value that is not finite: a score that does not exist is None.

    >>> summary = summarise([0.1, None, 0.3, 0.8], seed=0)
    >>> round(summary.mean, 4), summary.median, summary.n, summary.unscored
    (0.4, 0.3, 3, 1)
    >>> summarise(np.array([0.1, 0.3, 0.8]), seed=0, unscored=1) == summary
    True
    >>> summarise([None], seed=0)
    Summary(mean=None, median=None, n=0, unscored=1, low=None, high=None)
    """
    if isinstance(values, np.ndarray):
        present = values
    else:
        present = np.array([value for value in values if value is not None], dtype=np.float64)
    unscored += len(values) - present.size
    if not np.isfinite(present).all():
        raise ValueError("a score that is not finite cannot be summarised: it should have been None, with a reason")
    if present.size == 0:
        return Summary(mean=None, median=None, n=0, unscored=unscored, low=None, high=None)
    low, high = find_interval(present, seed) if present.size > 1 else (None, None)
    return Summary(
        mean=float(present.mean()),
        median=float(np.median(present)),
        n=present.size,
        unscored=unscored,
        low=low,
        high=high,
    )


def subtract(a: Sequence[float | None], b: Sequence[float | None]) -> list[float | None]:
    """a - b, pair by pair; None where either is. Raises: ValueError where they are not equally long."""
    return [None if x is None or y is None else x - y for x, y in zip(a, b, strict=True)]


def paired_difference(a: Sequence[float | None], b: Sequence[float | None], seed: int) -> Summary:
    """The summary of a - b, unit by unit: above 0 where a is higher. A unit that lacks either is unscored. Units are
    drawn with both their values, so what makes a unit hard for both cancels; two separate intervals would not show it.

    Raises: ValueError where a and b are not equally long, or a value is not finite.

    >>> difference = paired_difference([0.5, 0.75, None, 0.25], [0.25, 0.25, 0.5, None], seed=0)
    >>> difference.mean, difference.n, difference.unscored
    (0.375, 2, 2)
    """
    return summarise(subtract(a, b), seed)
