"""From a simulator's scale, 0 to 10, to a unit's own: a map fitted on the calibration split and applied to the valid
one. It never sees what is scored.

A linear map cannot change the size of a correlation, so `correlation` takes simulations uncalibrated. Source: Bills et
al. 2023, released code, linear and percentile-matching calibrated simulators.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from localexplain.score.correlation import (
    ACTIVATIONS_NOT_FINITE,
    SIMULATION_NOT_FINITE,
    Undefined,
    is_constant,
)

NO_CALIBRATION_TOKENS = "no calibration tokens"
CALIBRATION_TOO_STEEP = "calibration too steep for a float"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearCalibration:
    """slope * predicted + intercept. With a slope above 0 it leaves `correlation` as it is; a slope below 0, which a
    simulation that is wrong on the calibration split gets, would turn its sign."""

    slope: float
    intercept: float

    def apply(self, predicted: Float[np.ndarray, " T"]) -> Float64[np.ndarray, " T"]:
        """The predictions on the activations' scale."""
        return self.slope * predicted.astype(np.float64) + self.intercept


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PercentileCalibration:
    """A rising piecewise linear map through the points (predicted, true); flat before the first and after the last.

    predicted  [points] strictly rising
    true       [points] rising or level
    """

    predicted: Float64[np.ndarray, " points"]
    true: Float64[np.ndarray, " points"]

    def apply(self, predicted: Float[np.ndarray, " T"]) -> Float64[np.ndarray, " T"]:
        """The predictions on the activations' scale, inside the range seen on the calibration split."""
        return np.asarray(np.interp(predicted.astype(np.float64), self.predicted, self.true), dtype=np.float64)


Calibration = LinearCalibration | PercentileCalibration
Fit = Callable[[Float[np.ndarray, " T"], Float[np.ndarray, " T"]], Calibration | Undefined]


def find_calibration_problem(true: Float[np.ndarray, " T"], predicted: Float[np.ndarray, " T"]) -> Undefined | None:
    """What makes a fit impossible, or None. Raises: ValueError where the two are not 1-D or not of one length."""
    if true.ndim != 1 or true.shape != predicted.shape:
        raise ValueError(f"true {true.shape} and predicted {predicted.shape} must be 1-D and equally long")
    if true.size == 0:
        return Undefined(reason=NO_CALIBRATION_TOKENS)
    if not np.isfinite(true).all():
        return Undefined(reason=f"calibration: {ACTIVATIONS_NOT_FINITE}")
    if not np.isfinite(predicted).all():
        return Undefined(reason=f"calibration: {SIMULATION_NOT_FINITE}")
    return None


def fit_linear(true: Float[np.ndarray, " T"], predicted: Float[np.ndarray, " T"]) -> LinearCalibration | Undefined:
    """Least squares: the slope and intercept with the least sum((true - slope * predicted - intercept)^2).

    A constant simulation (one token is one) says nothing about the slope: it is 0, the intercept the mean of `true`.
    Undefined without tokens and where a number is not finite.

    By hand: predicted 0 5 10, true 1 1 4. Deviations -5 0 5 and -1 -1 2: slope 15 / 50 = 0.3, intercept 2 - 0.3 * 5.

    >>> fit_linear(np.array([1.0, 1, 4]), np.array([0.0, 5, 10]))
    LinearCalibration(slope=0.3, intercept=0.5)
    """
    problem = find_calibration_problem(true, predicted)
    if problem is not None:
        return problem
    a, s = true.astype(np.float64), predicted.astype(np.float64)
    if is_constant(predicted):
        return LinearCalibration(slope=0.0, intercept=float(a.mean()))
    mean_a, mean_s = float(a.mean()), float(s.mean())
    deviations = s - mean_s
    unit = float(np.abs(deviations).max())
    scaled = deviations / unit  # or the squares of very small deviations would vanish
    slope = float(scaled @ (a - mean_a)) / float(scaled @ scaled) / unit
    intercept = mean_a - slope * mean_s
    if not (math.isfinite(slope) and math.isfinite(intercept)):
        return Undefined(reason=CALIBRATION_TOO_STEEP)
    return LinearCalibration(slope=slope, intercept=intercept)


def fit_percentiles(
    true: Float[np.ndarray, " T"], predicted: Float[np.ndarray, " T"]
) -> PercentileCalibration | Undefined:
    """The map that sends the n-th lowest prediction to the n-th lowest activation, whichever tokens they are on.

    It gives simulations the activations' distribution, and is overconfident where they are wrong. Equal predictions
    have one image, the mean of the activations that their ranks point to: the published code leaves it to the
    interpolation, which takes the highest: a simulator that mostly says 0 is then read as firing on all these tokens.
    Undefined without tokens and where a number is not finite; a constant simulation is sent to the mean.

    By hand: predicted 0 10 0, true 3 5 1. Ranks 0 0 10 meet 1 3 5: 0 -> (1 + 3) / 2 = 2, 10 -> 5, 5 half way, 3.5.

    >>> fit_percentiles(np.array([3.0, 5, 1]), np.array([0.0, 10, 0])).apply(np.array([0.0, 5, 10, 11]))
    array([2. , 3.5, 5. , 5. ])
    """
    problem = find_calibration_problem(true, predicted)
    if problem is not None:
        return problem
    points, counts = np.unique(predicted.astype(np.float64), return_counts=True)
    starts = np.cumsum(counts) - counts
    means = np.add.reduceat(np.sort(true.astype(np.float64)), starts) / counts
    # A mean of equal numbers can round to just above the next point's: without this the map would dip there.
    return PercentileCalibration(predicted=points, true=np.maximum.accumulate(means))
