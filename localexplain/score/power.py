"""How small a paired difference a comparison can find, before anything is run: Student's t test on the clusters' mean
differences, two-sided.

A cluster is what was drawn independently: a unit with its samples and explanations. More values per cluster make the
sd smaller, never the number of clusters larger. The test that is reported afterwards flips signs (cluster.py); where
the t test finds a normal difference 80 % of the time, it does so 79 % of the time with 8 or 10 clusters, 75 % with 7
and 62 % with 6. With fewer than 6 it never comes under p = 0.05: of at most 32 sign patterns two reach any sum seen.

Nothing is approximated by the normal distribution. With s^2 the sample variance over the true one, the test
statistic is (Z + shift) / s for a standard normal Z, so each tail is a mean over s of a normal tail:

    P(T > c) = E_s[Phi(shift - c s)]    and    P(T < -c) = E_s[Phi(-shift - c s)]

and s^2 is chi-squared with df degrees over df. That mean is a sum over points equally spaced in log s.
"""

import math
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np
from jaxtyping import Float64

POWER = 0.8  # the customary chance of finding what is there
ALPHA = 0.05  # two-sided, as the intervals' 95 %

# Powers are then right to 7 digits, save where 2 clusters are tested at an alpha of 0.01 or below: the normal tail
# drops from 1 to 0 between two points there, and the difference found can be 1 % off.
N_POINTS = 2048
# Outside these many units of 1/sqrt(df) and 1/df around log s = 0 the density has lost the factor e^25.
SQUARE_REACH = 5.0
LEFT_REACH = 25.0
HALVINGS = 50  # of a bracket: to the last digits of a float
MIN_CLUSTERS = 2  # one cluster has no sd


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SpreadPoints:
    """The distribution of s, the sample's sd over the true sd, at finitely many points.

    spreads  [points] s, rising
    weights  [points] their probabilities, sum 1
    """

    spreads: Float64[np.ndarray, " points"]
    weights: Float64[np.ndarray, " points"]


def spread_points(df: int) -> SpreadPoints:
    """The distribution of sqrt(chi-squared(df) / df). In u = log s its density is proportional to
    exp(-df (e^(2u) - 1 - 2u) / 2), which falls off smoothly on both sides, so that equal steps in u sum it to nearly
    all digits; dividing by the sum spares the gamma function."""
    near = SQUARE_REACH / math.sqrt(df)
    u = np.linspace(-near - LEFT_REACH / df, near, N_POINTS)
    density = np.exp(-df / 2 * (np.expm1(2 * u) - 2 * u))
    return SpreadPoints(spreads=np.exp(u), weights=density / density.sum())


def find_tail(critical: float, shift: float, points: SpreadPoints) -> float:
    """P(T > critical) for T = (Z + shift) / s: the noncentral t distribution's upper tail."""
    arguments = (critical * points.spreads - shift) / math.sqrt(2)
    tails = np.array([math.erfc(argument) for argument in arguments.tolist()])
    return float(points.weights @ tails) / 2


@cache
def t_quantile(tail: float, df: int) -> float:
    """The value that Student's t with df degrees of freedom exceeds with probability `tail`.

    Raises: ValueError for a tail outside (0, 0.5] or df < 1.

    >>> round(t_quantile(0.025, 9), 4)
    2.2622
    """
    if not 0 < tail <= 0.5 or df < 1:
        raise ValueError(f"a t quantile needs a tail within (0, 0.5] and df of 1 or more, not {tail} and {df}")
    points = spread_points(df)
    low, high = 0.0, 1.0
    while find_tail(high, 0.0, points) > tail:
        low, high = high, 2 * high
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if find_tail(middle, 0.0, points) > tail else (low, middle)
    return (low + high) / 2


def find_two_sided(critical: float, shift: float, points: SpreadPoints) -> float:
    """P(|T| > critical): the tail on the side of the shift, and the small one opposite."""
    return find_tail(critical, shift, points) + find_tail(critical, -shift, points)


def check_test(power: float, alpha: float) -> None:
    """Raises: ValueError where the two are no test's: any test finds a difference of 0 with power alpha."""
    if not 0 < alpha < power < 1:
        raise ValueError(f"needs 0 < alpha < power < 1, not alpha {alpha} and power {power}")


def check_size(name: str, value: float) -> None:
    """Raises: ValueError where the value is not a finite number above 0. An sd of 0 would promise that everything
    can be found; it comes from a trial run too small to show any spread."""
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be a finite number above 0, not {value}")


def check_clusters(n_clusters: int) -> None:
    """Raises: ValueError for fewer than 2 clusters."""
    if n_clusters < MIN_CLUSTERS:
        raise ValueError(f"a test needs at least {MIN_CLUSTERS} clusters, not {n_clusters}")


def find_power(difference: float, n_clusters: int, sd: float, alpha: float = ALPHA) -> float:
    """The probability, 0-1, that the test finds a true mean difference of this size.

    difference  of the true means, above 0
    sd          of the clusters' mean differences, in the same unit

    Raises: ValueError for a difference or sd that is not above 0, fewer than 2 clusters, alpha outside (0, 1).

    >>> round(find_power(0.5, n_clusters=34, sd=1.0), 3)
    0.808
    """
    check_size("difference", difference)
    check_size("sd", sd)
    check_clusters(n_clusters)
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie within (0, 1), not {alpha}")
    critical = t_quantile(alpha / 2, n_clusters - 1)
    return find_two_sided(critical, difference / sd * math.sqrt(n_clusters), spread_points(n_clusters - 1))


def detectable_difference(n_clusters: int, sd: float, power: float = POWER, alpha: float = ALPHA) -> float:
    """The smallest true mean paired difference, above 0, that a two-sided test at alpha finds with this power; in the
    unit of sd, which is that of the clusters' mean differences.

    Raises: ValueError for fewer than 2 clusters, an sd that is not above 0, and unless 0 < alpha < power < 1.

    >>> round(detectable_difference(100, sd=0.185), 4)
    0.0523
    """
    check_clusters(n_clusters)
    check_size("sd", sd)
    check_test(power, alpha)
    points = spread_points(n_clusters - 1)
    critical = t_quantile(alpha / 2, n_clusters - 1)
    low, high = 0.0, 1.0
    while find_two_sided(critical, high, points) < power:
        low, high = high, 2 * high
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if find_two_sided(critical, middle, points) < power else (low, middle)
    return high * sd / math.sqrt(n_clusters)


def clusters_needed(difference: float, sd: float, power: float = POWER, alpha: float = ALPHA) -> int:
    """The fewest clusters, 2 or more, whose two-sided test at alpha finds this true mean difference with this power.

    Raises: ValueError for a difference or an sd that is not above 0, and unless 0 < alpha < power < 1.

    >>> clusters_needed(0.5, sd=1.0), clusters_needed(0.01, sd=0.185)
    (34, 2689)
    """
    check_size("difference", difference)
    check_size("sd", sd)
    check_test(power, alpha)
    # A test that knew the sd would be the stronger one, and this many would do for it: the search starts from there.
    normal = NormalDist()
    start = ((normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(power)) * sd / difference) ** 2
    low, high, step = MIN_CLUSTERS, max(MIN_CLUSTERS, math.ceil(start)), 1
    while find_power(difference, high, sd, alpha) < power:
        low, high, step = high + 1, high + step, 2 * step
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if find_power(difference, middle, sd, alpha) < power else (low, middle)
    return high
