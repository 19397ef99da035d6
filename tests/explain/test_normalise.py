import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from localexplain.explain.normalise import active_fraction, highest_activation, normalise
from localexplain.types import Record, Unit

FLOATS = st.floats(-1e6, 1e6, width=32)


def array(*values):
    return np.array(values, dtype=np.float32)


@pytest.mark.parametrize(
    ("value", "maximum", "level"),
    [
        (-3.0, 8.0, 0),  # relu
        (0.75, 8.0, 0),  # 0.9375, rounded down and not to the nearest
        (0.875, 8.0, 1),  # 1.09375
        (4.0, 8.0, 5),
        (7.99, 8.0, 9),  # 9.9875
        (8.0, 8.0, 10),
        (80.0, 8.0, 10),  # an excerpt that is not among those the maximum is taken over
        (3.0, 0.0, 0),
        (-1.0, -1.0, 0),  # a negative maximum would turn the sign around
    ],
)
def test_by_hand(value, maximum, level):
    assert normalise(array(value), maximum) == (level,)


@given(st.lists(FLOATS, min_size=1, max_size=20))
def test_the_maximum_is_10_and_order_is_kept(values):
    activations = array(*values)
    maximum = float(activations.max())
    levels = normalise(activations, maximum)
    assert all(type(level) is int and 0 <= level <= 10 for level in levels)
    if maximum > 0:
        assert levels[int(activations.argmax())] == 10
        for value, level in zip(activations.tolist(), levels, strict=True):
            assert level == min(10, math.floor(10 * (max(value, 0.0) / maximum)))
    else:
        assert not any(levels)


def test_highest_is_over_all_records():
    def record(*activations):
        return Record(
            unit=Unit(basis="mlp", layer=0, index=0),
            excerpt_id=0,
            kind="top",
            rank=0,
            stratum=None,
            split="train",
            tokens=("a",) * len(activations),
            token_ids=(0,) * len(activations),
            activations=array(*activations),
        )

    assert highest_activation([record(1, 2), record(-5, 7), record(3)]) == 7.0
    assert highest_activation([record(-5, -2)]) == -2.0
    assert highest_activation([]) == 0.0


def test_active_fraction():
    assert active_fraction([(0, 1, 10), (0, 0)]) == 2 / 5
    assert active_fraction([]) == 0.0
