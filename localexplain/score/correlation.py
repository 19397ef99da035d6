"""How well a simulation predicts a unit's activations: three numbers over the tokens of all excerpts, concatenated.

    correlation                   invariant to the simulation's scale, so the simulation goes in as it came
    explained_variance            on the scale of the activations, so the simulation is calibrated first
    absolute_deviation_explained  likewise

Each is a number, or `Undefined` with its reason: never NaN, and never a zero that stands for "could not be computed".
True activations go in raw, in the precision they were captured in; the arithmetic is float64.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

TOO_FEW_TOKENS = "fewer than 2 tokens"
CONSTANT_ACTIVATIONS = "constant activations"
CONSTANT_SIMULATION = "constant simulation"
ACTIVATIONS_NOT_FINITE = "activations not finite"
SIMULATION_NOT_FINITE = "simulation not finite"
SCORE_NOT_FINITE = "score too large for a float"

# Equal values that were computed along different ways (another batch, another order of a sum over eleven labels)
# differ by a few units in the last place; correlating such residue gives a number that means nothing.
ROUNDING_STEPS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Undefined:
    """The place of a number that does not exist, and why."""

    reason: str


Metric = Callable[[Float[np.ndarray, " T"], Float[np.ndarray, " T"]], "float | Undefined"]


def is_constant(values: Float[np.ndarray, " T"]) -> bool:
    """Whether the values are one value up to rounding: max - min <= 8 eps max|value|, eps that of the array's own
    dtype (2^-23 for float32, 2^-52 for float64). No values count as constant; NaN does not.

    >>> is_constant(np.full(3, 0.1)), is_constant(np.array([1e8, 1e8 + 1]))  # their mean rounds; a large offset
    (True, False)
    """
    if values.size == 0:
        return True
    low, high = float(values.min()), float(values.max())
    return high - low <= ROUNDING_STEPS * float(np.finfo(values.dtype).eps) * max(abs(low), abs(high))


def find_problem(true: Float[np.ndarray, " T"], predicted: Float[np.ndarray, " T"]) -> Undefined | None:
    """What makes every metric undefined, the truth's faults before the simulation's; None where nothing does.

    Raises: ValueError where the two are not 1-D or not of one length, which is a bug of the caller's.
    """
    if true.ndim != 1 or true.shape != predicted.shape:
        raise ValueError(f"true {true.shape} and predicted {predicted.shape} must be 1-D and equally long")
    if true.size < 2:
        return Undefined(reason=TOO_FEW_TOKENS)
    if not np.isfinite(true).all():
        return Undefined(reason=ACTIVATIONS_NOT_FINITE)
    if not np.isfinite(predicted).all():
        return Undefined(reason=SIMULATION_NOT_FINITE)
    return Undefined(reason=CONSTANT_ACTIVATIONS) if is_constant(true) else None


def find_deviations(values: Float[np.ndarray, " T"]) -> Float64[np.ndarray, " T"]:
    """values - mean(values), times the power of two that brings the largest |value| into [0.5, 1).

    Scaling by a power of two is exact, and squares of the result neither overflow nor, unless the values are constant,
    vanish. The first value is taken off before the mean is, for the mean of values on a large offset rounds.
    """
    _, exponent = np.frexp(np.abs(values.astype(np.float64)).max())
    scaled = np.ldexp(values.astype(np.float64), -int(exponent))
    shifted = scaled - scaled[0]
    return np.asarray(shifted - shifted.mean(), dtype=np.float64)


def find_explained_fraction(
    *, errors: Float64[np.ndarray, " T"], sizes: Float64[np.ndarray, " T"], power: int
) -> float | Undefined:
    """1 - sum|errors|^power / sum|sizes|^power, in units of the largest size; undefined where that overflows."""
    unit = np.abs(sizes).max()
    value = float(1.0 - (np.abs(errors / unit) ** power).sum() / (np.abs(sizes / unit) ** power).sum())
    return value if np.isfinite(value) else Undefined(reason=SCORE_NOT_FINITE)


def correlation(true: Float[np.ndarray, " T"], predicted: Float[np.ndarray, " T"]) -> float | Undefined:
    """Pearson correlation of the activations a with the simulation s.

        sum((a - mean a) (s - mean s)) / sqrt(sum((a - mean a)^2) sum((s - mean s)^2))

    Range [-1, 1], higher is better; 0: no linear relation. Undefined for fewer than 2 tokens (so for none), for a
    constant a and for a constant s. Source: Bills et al. 2023, `ev_correlation_score`; their code gives NaN for a
    constant simulation and the later transformer-debugger 0.0, ours says so.

    By hand: a = 0 0 2 2, s = 0 1 2 1. Deviations -1 -1 1 1 and -1 0 1 0; 2 / sqrt(4 * 2) = 0.7071.

    >>> round(correlation(np.array([0.0, 0, 2, 2]), np.array([0.0, 1, 2, 1])), 4)
    0.7071
    >>> correlation(np.array([0.0, 0, 2, 2]), np.array([0.1, 0.1, 0.1, 0.1]))
    Undefined(reason='constant simulation')
    """
    problem = find_problem(true, predicted)
    if problem is not None:
        return problem
    if is_constant(predicted):
        return Undefined(reason=CONSTANT_SIMULATION)
    a, s = find_deviations(true), find_deviations(predicted)
    value = float(a @ s) / (math.sqrt(float(a @ a)) * math.sqrt(float(s @ s)))
    return min(1.0, max(-1.0, value))  # rounding can leave a perfect simulation at 1.0000000000000002


def explained_variance(true: Float[np.ndarray, " T"], predicted: Float[np.ndarray, " T"]) -> float | Undefined:
    """The share of the activations' variance that a calibrated simulation s accounts for.

        1 - sum((a - s)^2) / sum((a - mean a)^2)

    Range (-inf, 1], higher is better; 1: exact; 0: no better than the mean of a everywhere; below 0: worse than that.
    Undefined for fewer than 2 tokens and for a constant a; a constant s has a value, at most 0. Source: Bills et al.
    2023 divide by the variance, as here; their released code (`rsquared_score`) divides by sum(a^2), uncentred, which
    rewards predicting the mean. The two agree only where mean a = 0.

    By hand: a = 0 0 2 2, s = 0 1 2 1. Errors 0 -1 0 1, so 2; deviations -1 -1 1 1, so 4; 1 - 2/4 = 0.5.

    >>> explained_variance(np.array([0.0, 0, 2, 2]), np.array([0.0, 1, 2, 1]))
    0.5
    """
    problem = find_problem(true, predicted)
    if problem is not None:
        return problem
    a, s = true.astype(np.float64), predicted.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        shifted = a - a[0]  # first, as in find_deviations
        return find_explained_fraction(errors=a - s, sizes=shifted - shifted.mean(), power=2)


def absolute_deviation_explained(
    true: Float[np.ndarray, " T"], predicted: Float[np.ndarray, " T"]
) -> float | Undefined:
    """The share of the activations' size that a calibrated simulation s accounts for; outliers weigh less than in
    `explained_variance`.

        1 - mean|a - s| / mean|a|

    Range (-inf, 1], higher is better; 1: exact; 0: no better than predicting zero everywhere. Not centred: a unit whose
    activations sit away from zero is rewarded for a simulation that only knows its typical value, so compare it with
    a control's value, not with 0. Undefined for fewer than 2 tokens and for a constant a; a constant s has a value.
    Source: Bills et al. 2023, released code, `absolute_dev_explained_score` (the paper does not define it); ours
    differs in that a constant a that is not zero, for which the formula has a value, is undefined: there is nothing
    to explain.

    By hand: a = 0 0 2 2, s = 0 1 2 1. Errors 0 1 0 1, mean 0.5; sizes 0 0 2 2, mean 1; 1 - 0.5/1 = 0.5.

    >>> absolute_deviation_explained(np.array([0.0, 0, 2, 2]), np.array([0.0, 1, 2, 1]))
    0.5
    """
    problem = find_problem(true, predicted)
    if problem is not None:
        return problem
    a, s = true.astype(np.float64), predicted.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        return find_explained_fraction(errors=a - s, sizes=a, power=1)
