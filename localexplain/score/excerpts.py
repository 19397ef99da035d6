"""How sure one unit's score is: its correlation had other excerpts of the same kinds been drawn.

The interval of a mean over units (summary.py) says nothing of a single unit, whose score rests on ten excerpts or so.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from localexplain.score.summary import CONFIDENCE_FRACTION

N_RESAMPLES = 2000
FEWEST_EXCERPTS = 2  # of each kind: one alone is always drawn again, and its share of the doubt would be lost


@dataclass(frozen=True, slots=True, kw_only=True)
class ExcerptInterval:
    """The 95 % interval of a unit's correlation over excerpts drawn anew; n_excerpts it was drawn from."""

    low: float
    high: float
    n_excerpts: int


def sum_excerpt(
    true: Float[np.ndarray, " T"], predicted: Float[np.ndarray, " T"], centre: tuple[float, float]
) -> Float64[np.ndarray, " 6"]:
    """n, sum x, sum y, sum xx, sum yy, sum xy of x = true and y = predicted, both less their `centre`."""
    x, y = true.astype(np.float64) - centre[0], predicted.astype(np.float64) - centre[1]
    return np.array([x.size, x.sum(), y.sum(), x @ x, y @ y, x @ y])


def correlate_sums(sums: Float64[np.ndarray, "rows 6"]) -> Float64[np.ndarray, " rows"]:
    """The correlation of each row of sums; NaN where true or predicted do not vary."""
    n, x, y, xx, yy, xy = sums.T
    spread = (xx - x * x / n) * (yy - y * y / n)
    floor = 1e-12 * xx * yy  # what rounding leaves of a spread that is none
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(spread > floor, (xy - x * y / n) / np.sqrt(spread), np.nan)


def find_excerpt_interval(
    excerpts: Sequence[tuple[str, Float[np.ndarray, " _"], Float[np.ndarray, " _"]]], seed: int
) -> ExcerptInterval | None:
    """The percentile bootstrap over excerpts: as many of each kind as there are, drawn with replacement.

    excerpts  (kind, true [T], predicted [T]) of every scored one, T its own
    None where a kind has fewer than FEWEST_EXCERPTS, and where a twentieth of the draws has no correlation.

    >>> wave, flat = np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.1, 0.1])
    >>> find_excerpt_interval([("top", wave, 2 * wave), ("top", 3 * wave, 6 * wave)], seed=0)
    ExcerptInterval(low=1.0, high=1.0, n_excerpts=2)
    >>> find_excerpt_interval([("top", wave, wave), ("random", flat, wave)], seed=0) is None
    True
    """
    kinds = sorted({kind for kind, _, _ in excerpts})
    groups = [[item for item in excerpts if item[0] == kind] for kind in kinds]
    if not groups or min(map(len, groups)) < FEWEST_EXCERPTS:
        return None
    centre = (
        float(np.concatenate([true for _, true, _ in excerpts]).mean(dtype=np.float64)),
        float(np.concatenate([predicted for _, _, predicted in excerpts]).mean(dtype=np.float64)),
    )
    random = np.random.default_rng(seed)
    total = np.zeros((N_RESAMPLES, 6))
    for group in groups:
        sums = np.stack([sum_excerpt(true, predicted, centre) for _, true, predicted in group])
        total += sums[random.integers(0, len(group), (N_RESAMPLES, len(group)))].sum(axis=1)
    values = correlate_sums(total)
    defined = np.clip(values[~np.isnan(values)], -1.0, 1.0)
    if defined.size < CONFIDENCE_FRACTION * N_RESAMPLES:
        return None
    tail = (1 - CONFIDENCE_FRACTION) / 2
    low, high = (round(float(end), 12) for end in np.quantile(defined, (tail, 1 - tail)))
    return ExcerptInterval(low=low, high=high, n_excerpts=len(excerpts))
