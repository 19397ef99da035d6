import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from localexplain.score.calibrate import LinearCalibration, fit_linear, fit_percentiles
from localexplain.score.correlation import Undefined, correlation, explained_variance

EIGHTHS = st.integers(-800, 800).map(lambda n: n / 8)


def arrays(count, min_size=1):
    """`count` equally long arrays."""
    return st.integers(min_size, 40).flatmap(
        lambda n: st.tuples(*[st.lists(EIGHTHS, min_size=n, max_size=n).map(np.array)] * count)
    )


def near(value):
    return pytest.approx(value, abs=1e-8, rel=1e-8)


# linear --------------------------------------------------------------------------------------------------------------


@given(arrays(2, min_size=2))
def test_linear_is_the_least_squares_line(pair):
    true, predicted = pair
    assume(np.ptp(predicted) > 0)
    fitted = fit_linear(true, predicted)
    line = stats.linregress(predicted, true)
    assert (fitted.slope, fitted.intercept) == (near(line.slope), near(line.intercept))
    assert fitted.apply(predicted) == near(line.slope * predicted + line.intercept)


@given(arrays(2, min_size=2), EIGHTHS, EIGHTHS)
def test_no_other_line_has_smaller_errors(pair, slope, intercept):
    true, predicted = pair
    errors = true - fit_linear(true, predicted).apply(predicted)
    others = true - (slope * predicted + intercept)
    assert (errors**2).sum() <= (others**2).sum() * (1 + 1e-9) + 1e-9


@given(arrays(2, min_size=2), st.integers(1, 800), EIGHTHS)
def test_a_positive_slope_leaves_the_correlation_as_it_is(pair, slope, intercept):
    true, predicted = pair
    assume(np.ptp(predicted) > 0 and np.ptp(true) > 0)
    calibrated = LinearCalibration(slope=slope / 8, intercept=intercept).apply(predicted)
    assert correlation(true, calibrated) == near(correlation(true, predicted))


@given(arrays(2, min_size=2))
def test_fitted_on_what_is_scored_explains_the_squared_correlation(pair):
    true, predicted = pair
    assume(np.ptp(predicted) > 0 and np.ptp(true) > 0)
    calibrated = fit_linear(true, predicted).apply(predicted)
    assert explained_variance(true, calibrated) == near(correlation(true, predicted) ** 2)


@pytest.mark.parametrize("constant", [0.0, 0.1, 10.0])
def test_a_constant_simulation_is_sent_to_the_mean(constant):
    # mean of 1 1 4 = 2
    fitted = fit_linear(np.array([1.0, 1, 4]), np.full(3, constant))
    assert fitted == LinearCalibration(slope=0.0, intercept=2.0)
    assert fitted.apply(np.array([7.0])).tolist() == [2.0]


def test_residue_of_rounding_gets_no_slope():
    # One unit in the last place of float32 apart: least squares would draw a line of slope -6 million through it.
    predicted = np.array([3.3, np.nextafter(np.float32(3.3), np.float32(4))], dtype=np.float32)
    assert fit_linear(np.array([1.0, -0.5], dtype=np.float32), predicted).slope == 0.0


@pytest.mark.parametrize("scale", [1e-200, 1e-30, 1e30, 1e150])
def test_linear_survives_extreme_sizes(scale):
    fitted = fit_linear(np.array([1.0, 1, 4]), np.array([0.0, 5, 10]) * scale)
    assert fitted.slope * scale == near(0.3)
    assert fitted.intercept == near(0.5)


def test_a_slope_beyond_float_range_is_undefined():
    assert fit_linear(np.array([0.0, 1e300]), np.array([0.0, 1e-200])) == Undefined(
        reason="calibration too steep for a float"
    )


# percentiles ---------------------------------------------------------------------------------------------------------


@given(arrays(2))
def test_without_ties_the_nth_lowest_prediction_becomes_the_nth_lowest_activation(pair):
    true, predicted = pair
    assume(len(set(predicted)) == predicted.size)
    calibrated = fit_percentiles(true, predicted).apply(predicted)
    assert calibrated.tolist() == np.sort(true)[np.argsort(np.argsort(predicted))].tolist()


@given(arrays(2))
def test_equal_predictions_share_the_mean_of_their_ranks(pair):
    true, predicted = pair
    calibrated = fit_percentiles(true, predicted).apply(predicted)
    ranked = np.sort(true)
    for value, result in zip(predicted, calibrated, strict=True):
        first, last = int((predicted < value).sum()), int((predicted <= value).sum())
        assert result == near(ranked[first:last].mean())
    assert calibrated.mean() == near(true.mean())


@given(arrays(2), st.lists(EIGHTHS, min_size=2, max_size=20))
def test_the_percentile_map_never_falls_and_stays_in_range(pair, values):
    true, predicted = pair
    images = fit_percentiles(true, predicted).apply(np.sort(np.array(values)))
    assert (np.diff(images) >= -1e-9).all()
    assert true.min() - 1e-9 <= images.min()
    assert images.max() <= true.max() + 1e-9


def test_a_simulator_that_mostly_says_0_is_not_read_as_firing():
    # Nine tokens at 0 and one at 10: the zeros' ranks hold eight 0 and one 9. Interpolating over ties sends 0 to 9.
    true, predicted = np.array([0.0] * 8 + [9, 12]), np.array([0.0] * 9 + [10])
    assert np.interp(0.0, np.sort(predicted), np.sort(true)) == 9.0
    assert fit_percentiles(true, predicted).apply(np.array([0.0, 10])).tolist() == [1.0, 12.0]


def test_a_mean_that_rounds_up_makes_no_dip():
    # (0.1 + 0.1 + 0.1) / 3 is 0.10000000000000002, above the 0.1 of the next point
    images = fit_percentiles(np.full(4, 0.1), np.array([0.0, 0, 0, 1])).apply(np.array([0.0, 1]))
    assert images[0] <= images[1]


def test_a_constant_simulation_has_one_image():
    assert fit_percentiles(np.array([1.0, 1, 4]), np.full(3, 0.1)).apply(np.array([-1.0, 0.1, 9])).tolist() == [2.0] * 3


# both ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fit", [fit_linear, fit_percentiles])
def test_what_cannot_be_fitted_says_why(fit):
    empty = np.array([], dtype=float)
    assert fit(empty, empty) == Undefined(reason="no calibration tokens")
    assert fit(np.array([np.nan]), np.array([1.0])) == Undefined(reason="calibration: activations not finite")
    assert fit(np.array([1.0]), np.array([np.inf])) == Undefined(reason="calibration: simulation not finite")
    with pytest.raises((TypeError, ValueError)):
        fit(np.zeros(3), np.zeros(2))


@pytest.mark.parametrize("fit", [fit_linear, fit_percentiles])
def test_a_fit_is_applied_in_float64_to_any_number_of_tokens(fit):
    fitted = fit(np.array([0.0, 1], dtype=np.float32), np.array([0.0, 10], dtype=np.float32))
    assert fitted.apply(np.array([], dtype=np.float32)).tolist() == []
    calibrated = fitted.apply(np.array([5.0], dtype=np.float32))
    assert calibrated.dtype == np.float64
    assert calibrated.tolist() == [0.5]
