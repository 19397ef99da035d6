"""Raw activations to the whole numbers 0..10 that prompts show."""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float32

from localexplain.types import Record

LEVELS = 10  # the highest number shown


def normalise(activations: Float32[np.ndarray, " T"], maximum: float) -> tuple[int, ...]:
    """Each activation as min(10, floor(10 relu(a) / maximum)): 0..10 [T]; all 0 where `maximum` is not above 0.

    Source: Bills et al. 2023. Computed in float64, so that the maximum itself is always 10.

    >>> normalise(np.array([-1.0, 0.0, 0.39, 0.4, 4.0, 5.0], dtype=np.float32), 4.0)
    (0, 0, 0, 1, 10, 10)
    """
    if not maximum > 0:
        return (0,) * len(activations)
    share = np.maximum(activations.astype(np.float64), 0.0) / maximum
    return tuple(int(level) for level in np.minimum(np.floor(LEVELS * share), LEVELS))


def highest_activation(records: Iterable[Record]) -> float:
    """The maximum over all tokens of all records; 0.0 of none."""
    return max((float(record.activations.max()) for record in records if record.activations.size), default=0.0)


def active_fraction(levels: Sequence[Sequence[int]]) -> float:
    """The share of normalised activations that are not 0, in [0, 1]; 0.0 of none.

    >>> active_fraction([(0, 0, 3), (0, 10, 0)])
    0.3333333333333333
    """
    flat = [level for row in levels for level in row]
    return sum(level != 0 for level in flat) / len(flat) if flat else 0.0
