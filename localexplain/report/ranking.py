"""Which of many units are shown: the best, the worst, and some drawn from the others. Places are indices into the
arrays given. Pure."""

import hashlib
import heapq
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int32


def split_ends(n: int, n_best: int, n_worst: int) -> tuple[int, int]:
    """How many of n ranked units are shown as best and as worst, none as both; too few are shared out evenly.

    >>> split_ends(100, 5, 5), split_ends(7, 5, 5), split_ends(3, 5, 0)
    ((5, 5), (4, 3), (3, 0))
    """
    if n >= n_best + n_worst:
        return n_best, n_worst
    best = min(n_best, max(n - n_worst, -(-n // 2)))
    return best, min(n_worst, n - best)


def rank_places(values: Float64[np.ndarray, " n"]) -> list[int]:
    """Places of the values that are not NaN, highest first; of equal ones the first first.

    >>> rank_places(np.array([0.5, np.nan, 0.75, 0.5]))
    [2, 0, 3]
    """
    scored = np.flatnonzero(~np.isnan(values))
    places: list[int] = scored[np.argsort(-values[scored], kind="stable")].tolist()
    return places


def random_order(unit_id: int, seed: int) -> str:
    """A key that puts units in an order drawn by the seed."""
    return hashlib.blake2b(f"{seed} {unit_id}".encode(), digest_size=8).hexdigest()


def draw_places(unit_ids: Int32[np.ndarray, " n"], without: Sequence[int], n: int, seed: int) -> list[int]:
    """n places, drawn by the seed from all but those in `without`; fewer where there are no more."""
    taken = set(without)
    others = (
        (random_order(unit_id, seed), place) for place, unit_id in enumerate(unit_ids.tolist()) if place not in taken
    )
    return [place for _, place in heapq.nsmallest(n, others)] if n else []
