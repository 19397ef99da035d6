import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import localexplain.subject.reduce as reduce
from localexplain.subject.reduce import reduce_batch

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def random_batch(n_batch, n_tokens, n_units, seed, dtype=torch.float32):
    numbers = np.random.default_rng(seed).normal(size=(n_batch, n_tokens, n_units)).round(1)  # rounded: some are 0
    return torch.from_numpy(numbers).to(dtype)


def check(found, activations):
    """Extremes and counts exactly; sums within the roundings of float32."""
    values = activations.double().numpy()
    assert found.maxima.tolist() == values.max(1).tolist()
    assert found.lowest.tolist() == values.min((0, 1)).tolist()
    assert found.positive.tolist() == (values > 0).sum((0, 1)).tolist()
    flat = values.reshape(-1, values.shape[2]).T
    size = np.array([math.fsum(np.abs(unit)) for unit in flat])
    squares = np.array([math.fsum(unit**2) for unit in flat])
    assert np.all(np.abs(found.sums.numpy() - [math.fsum(unit) for unit in flat]) <= 1e-5 * size)
    assert np.all(np.abs(found.squares.numpy() - squares) <= 1e-5 * squares)
    assert (found.sums.dtype, found.squares.dtype, found.positive.dtype) == (torch.float64, torch.float64, torch.int64)
    assert (found.maxima.dtype, found.lowest.dtype) == (torch.float32, torch.float32)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 9), st.integers(1, 7), st.integers(1, 6), st.integers(0, 10**6), st.sampled_from(DTYPES), st.data()
)
def test_reductions_are_those_of_numpy_whatever_the_blocks(n_batch, n_tokens, n_units, seed, dtype, data):
    activations = random_batch(n_batch, n_tokens, n_units, seed, dtype)
    with pytest.MonkeyPatch.context() as patch:  # from one excerpt a block to all in one
        patch.setattr(reduce, "BLOCK_VALUES_CPU", data.draw(st.integers(1, 2 * activations.numel())))
        check(reduce_batch(activations), activations)


def test_nothing_is_left_over_from_an_earlier_batch():
    # The room is kept from batch to batch; after a larger and louder one, a shorter last one.
    for n_batch, scale in ((8, 1000.0), (3, 1.0), (8, 1.0), (1, 1.0)):
        activations = random_batch(n_batch, 4, 5, n_batch) * scale
        check(reduce_batch(activations), activations)


def test_a_batch_that_does_not_lie_in_one_piece():
    # As the hook hands it on with a beginning-of-sequence token, and with some units only.
    whole = random_batch(4, 9, 12, 0)
    check(reduce_batch(whole[:, 1:]), whole[:, 1:])
    check(reduce_batch(whole.transpose(0, 1)), whole.transpose(0, 1))
    check(reduce_batch(whole[..., ::3]), whole[..., ::3])


def test_it_works_inside_inference_mode_and_outside():
    activations = random_batch(4, 5, 6, 1)
    with torch.inference_mode():
        check(reduce_batch(activations), activations)
    check(reduce_batch(activations), activations)


def test_the_batch_is_not_changed():
    activations = random_batch(4, 5, 6, 1)
    before = activations.clone()
    reduce_batch(activations)
    assert torch.equal(activations, before)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("block_values", [1, 10**6])
def test_what_is_not_finite_shows_in_the_extremes(value, block_values, monkeypatch):
    # What the capture's check looks at; and the next batch is free of it.
    monkeypatch.setattr(reduce, "BLOCK_VALUES_CPU", block_values)
    activations = random_batch(5, 4, 3, 2)
    activations[2, 1, 1] = value
    found = reduce_batch(activations)
    assert [bool(unit.isfinite().all()) for unit in [*found.maxima.T]] == [True, value == -math.inf, True]
    assert found.lowest.isfinite().tolist() == [True, value == math.inf, True]
    check(reduce_batch(random_batch(5, 4, 3, 3)), random_batch(5, 4, 3, 3))
