import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from localexplain.score.correlation import (
    Undefined,
    absolute_deviation_explained,
    correlation,
    explained_variance,
    is_constant,
)

METRICS = (correlation, explained_variance, absolute_deviation_explained)
# Multiples of 1/8: a spread is either zero or far above rounding, so that properties hold to a stated tolerance.
EIGHTHS = st.integers(-800, 800).map(lambda n: n / 8)


@st.composite
def pairs(draw):
    """Truth and simulation, equally long, neither constant."""
    n = draw(st.integers(2, 40))
    arrays = [np.array(draw(st.lists(EIGHTHS, min_size=n, max_size=n))) for _ in range(2)]
    for values in arrays:
        values[0] = values[1] + 1  # not constant, whatever was drawn
    return arrays


def near(value):
    return pytest.approx(value, abs=1e-9, rel=1e-9)


# correlation ---------------------------------------------------------------------------------------------------------


@given(pairs())
def test_correlation_is_that_of_numpy_and_scipy(pair):
    true, predicted = pair
    assert correlation(true, predicted) == near(np.corrcoef(true, predicted)[0, 1])
    assert correlation(true, predicted) == near(stats.pearsonr(true, predicted).statistic)


@given(pairs())
def test_correlation_is_that_of_the_plain_sums(pair):
    true, predicted = (values.tolist() for values in pair)
    n = len(true)
    mean_a, mean_s = math.fsum(true) / n, math.fsum(predicted) / n
    cov = math.fsum((a - mean_a) * (s - mean_s) for a, s in zip(true, predicted, strict=True))
    var_a = math.fsum((a - mean_a) ** 2 for a in true)
    var_s = math.fsum((s - mean_s) ** 2 for s in predicted)
    assert correlation(*pair) == near(cov / math.sqrt(var_a * var_s))


@given(pairs(), st.integers(-80, 80), st.integers(1, 80))
def test_correlation_ignores_shift_and_positive_scale_and_turns_with_a_negative_one(pair, shift, scale):
    true, predicted = pair
    value = correlation(true, predicted)
    assert -1 <= value <= 1
    assert correlation(true, scale * predicted + shift) == near(value)
    assert correlation(scale * true + shift, predicted) == near(value)
    assert correlation(true, -scale * predicted + shift) == near(-value)
    assert correlation(predicted, true) == near(value)


@given(pairs())
def test_a_perfect_simulation_correlates_at_most_1(pair):
    true, _ = pair
    assert correlation(true, true) == near(1.0)
    assert correlation(true, 3 * true + 0.1) <= 1.0


def test_correlation_by_hand():
    # a = 1 2 3 6, mean 3: -2 -1 0 3.  s = 0 4 0 4, mean 2: -2 2 -2 2.  4 - 2 + 0 + 6 = 8; sqrt(14 * 16) = 14.9666
    assert correlation(np.array([1.0, 2, 3, 6]), np.array([0.0, 4, 0, 4])) == near(8 / math.sqrt(224))


@pytest.mark.parametrize("factor", [1e-200, 1e-30, 1e30, 1e200, 1e307])
def test_extreme_sizes_neither_overflow_nor_vanish(factor):
    true, predicted = np.array([1.0, 2, 3, 6]), np.array([0.0, 4, 0, 4])
    assert correlation(true * factor, predicted) == near(8 / math.sqrt(224))
    assert correlation(true, predicted * factor) == near(8 / math.sqrt(224))
    assert explained_variance(true * factor, predicted * factor) == near(explained_variance(true, predicted))
    assert absolute_deviation_explained(true * factor, predicted * factor) == near(
        absolute_deviation_explained(true, predicted)
    )


def test_a_small_spread_on_a_large_offset_is_not_lost():
    # 2^48 + k is exact in float64 but the mean of the three is not (steps of 1/16). As 0 0 1 with 0 1 2: deviations
    # -1/3 -1/3 2/3 and -1 0 1, so 1 / sqrt(2/3 * 2). Errors of 1/2 everywhere: 1 - (3/4) / (2/3) = -1/8.
    true = 2.0**48 + np.array([0.0, 0, 1])
    assert correlation(true, np.array([0.0, 1, 2])) == near(math.sqrt(3 / 4))
    assert explained_variance(true, true + 0.5) == near(-1 / 8)


# constants -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0.0, 0.1, -0.17, 1e-300, 1e8, 1.1e300])
@pytest.mark.parametrize("n", [2, 3, 10, 320])
def test_a_repeated_value_is_constant_though_its_mean_rounds(value, n):
    constant, other = np.full(n, value), np.arange(n, dtype=float)
    assert correlation(other, constant) == Undefined(reason="constant simulation")
    for metric in METRICS:
        assert metric(constant, other) == Undefined(reason="constant activations")


def test_residue_of_rounding_is_constant_and_a_step_above_it_is_not():
    value = np.float32(3.3)
    above = np.nextafter(value, np.float32(4))
    assert is_constant(np.array([value, above, value]))
    assert not is_constant(np.array([value, above, value], dtype=np.float64))  # in float64 these are far apart
    assert not is_constant(np.array([3.3, 3.3 + 1e-4], dtype=np.float32))
    assert not is_constant(np.array([1e8, 1e8 + 1]))
    assert not is_constant(np.array([-1.7e308, 1.7e308]))  # their difference overflows
    assert not is_constant(np.array([1.0, np.nan]))


def test_a_constant_simulation_has_an_explained_variance_and_deviation():
    # a = 0 0 0 4: mean 1, squares about it 12, mean size 1
    true = np.array([0.0, 0, 0, 4])
    assert explained_variance(true, np.full(4, 1.0)) == 0.0
    assert explained_variance(true, np.zeros(4)) == near(1 - 16 / 12)
    assert absolute_deviation_explained(true, np.zeros(4)) == 0.0
    assert absolute_deviation_explained(true, np.full(4, 1.0)) == near(1 - 1.5 / 1)  # errors 1 1 1 3


# explained variance and deviation ------------------------------------------------------------------------------------


@given(pairs())
def test_explained_variance_is_the_plain_ratio(pair):
    true, predicted = pair
    assert explained_variance(true, predicted) == near(1 - np.mean((true - predicted) ** 2) / np.var(true))
    assert explained_variance(true, true) == 1.0
    assert explained_variance(true, predicted) <= 1.0


@given(pairs())
def test_absolute_deviation_explained_is_the_plain_ratio(pair):
    true, predicted = pair
    expected = 1 - np.mean(np.abs(true - predicted)) / np.mean(np.abs(true))
    assert absolute_deviation_explained(true, predicted) == near(expected)
    assert absolute_deviation_explained(true, true) == 1.0
    assert absolute_deviation_explained(true, predicted) <= 1.0


def test_explained_variance_is_centred_and_the_deviation_is_not():
    # a = 10 10 12 12, s = its mean: the variance has 0 explained; sum(a^2) uncentred would give 1 - 4/488.
    true = np.array([10.0, 10, 12, 12])
    assert explained_variance(true, np.full(4, 11.0)) == 0.0
    assert absolute_deviation_explained(true, np.full(4, 11.0)) == near(1 - 1 / 11)


@given(pairs(), st.integers(1, 80))
def test_both_keep_their_value_when_truth_and_simulation_are_scaled_together(pair, scale):
    true, predicted = pair
    for metric in (explained_variance, absolute_deviation_explained):
        assert metric(scale * true, scale * predicted) == near(metric(true, predicted))


def test_truth_goes_in_unquantised():
    # A score against the 0-10 digits of a prompt is another number: floor(10 a / 4) of 0.3 0.5 1 4 is 0 1 2 10.
    true, digits = np.array([0.3, 0.5, 1, 4]), np.array([0.0, 1, 2, 10])
    predicted = np.array([1.0, 0, 3, 9])
    assert correlation(true, predicted) == near(np.corrcoef(true, predicted)[0, 1])
    assert abs(correlation(true, predicted) - correlation(digits, predicted)) > 1e-4


# undefined -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("true", "predicted", "reason"),
    [
        ([], [], "fewer than 2 tokens"),
        ([1.0], [2.0], "fewer than 2 tokens"),
        ([1.0, math.nan], [1.0, 2.0], "activations not finite"),
        ([1.0, math.inf], [1.0, math.nan], "activations not finite"),
        ([1.0, 2.0], [math.nan, 2.0], "simulation not finite"),
        ([1.0, 2.0], [-math.inf, 2.0], "simulation not finite"),
        ([2.0, 2.0], [1.0, 1.0], "constant activations"),
        ([0.0, 0.0], [1.0, 2.0], "constant activations"),
    ],
)
def test_what_has_no_value_says_why(metric, true, predicted, reason):
    assert metric(np.array(true), np.array(predicted)) == Undefined(reason=reason)


@pytest.mark.parametrize("metric", [explained_variance, absolute_deviation_explained])
def test_a_value_beyond_float_range_is_undefined_without_a_warning(metric):
    assert metric(np.array([0.0, 1e-300]), np.array([1e300, -1e300])) == Undefined(reason="score too large for a float")
    assert metric(np.array([-1.7e308, 1.7e308]), np.array([1.7e308, -1.7e308])) == Undefined(
        reason="score too large for a float"
    )


@pytest.mark.parametrize("metric", METRICS)
def test_arrays_of_different_shapes_are_a_bug(metric):
    # TypeError where array annotations are checked at run time, before the function's own ValueError
    with pytest.raises((TypeError, ValueError)):
        metric(np.zeros(3), np.zeros(2))
    with pytest.raises((TypeError, ValueError)):
        metric(np.zeros((2, 2)), np.zeros((2, 2)))


@given(pairs())
def test_float32_gives_the_float64_value_of_the_same_numbers(pair):
    true, predicted = pair  # eighths up to 100 are exact in float32
    for metric in METRICS:
        assert metric(true.astype(np.float32), predicted.astype(np.float32)) == metric(true, predicted)
