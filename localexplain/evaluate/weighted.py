"""A mean over kinds that weigh the same, however many units each has, with the interval of a stratified bootstrap."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from localexplain.score.summary import CONFIDENCE_FRACTION, N_RESAMPLES, Summary, resample_means, summarise


def by_kind(values: Sequence[float | None], kinds: Sequence[str]) -> dict[str, list[float | None]]:
    """The values of each kind, kinds in the order of the alphabet."""
    found: dict[str, list[float | None]] = {kind: [] for kind in sorted(set(kinds))}
    for value, kind in zip(values, kinds, strict=True):
        found[kind].append(value)
    return found


def summarise_kinds(values: Sequence[float | None], kinds: Sequence[str], seed: int) -> Summary:
    """The mean of the kinds' means; the interval draws units anew within each kind. A kind without any value is left
    out of the mean and its units are counted as unscored.

    >>> summary = summarise_kinds([1.0, 1.0, 1.0, 0.0], ["a", "a", "a", "b"], seed=0)
    >>> summary.mean, summary.n, summary.unscored
    (0.5, 4, 0)
    """
    groups = [
        np.array([v for v in group if v is not None], dtype=np.float64) for group in by_kind(values, kinds).values()
    ]
    groups = [group for group in groups if group.size]
    present = [value for value in values if value is not None]
    unscored = len(values) - len(present)
    if not groups:
        return summarise(values, seed)
    total: Float64[np.ndarray, " resamples"] = np.zeros(N_RESAMPLES)
    for place, group in enumerate(groups):
        total += resample_means(group, seed + place)
    tail = (1 - CONFIDENCE_FRACTION) / 2
    low, high = (float(end) for end in np.quantile(total / len(groups), (tail, 1 - tail)))
    return Summary(
        mean=float(np.mean([group.mean() for group in groups])),
        median=float(np.median(present)),
        n=len(present),
        unscored=unscored,
        low=low if len(present) > len(groups) else None,  # kinds of one unit each: nothing says how far they vary
        high=high if len(present) > len(groups) else None,
    )
