import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from localexplain.score.cluster import sign_flip_p
from localexplain.score.power import clusters_needed, detectable_difference, find_power, t_quantile


def power_by_scipy(difference, n_clusters, sd, alpha):
    df, shift = n_clusters - 1, difference / sd * math.sqrt(n_clusters)
    critical = stats.t.isf(alpha / 2, df)
    return float(stats.nct.sf(critical, df, shift) + stats.nct.cdf(-critical, df, shift))


# quantiles -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("df", [1, 2, 3, 5, 9, 29, 99, 1000, 10**6])
@pytest.mark.parametrize("tail", [0.4, 0.1, 0.025, 0.005, 0.0005])
def test_t_quantile_is_that_of_scipy(df, tail):
    assert t_quantile(tail, df) == pytest.approx(stats.t.isf(tail, df), rel=1e-7)


def test_t_quantile_by_hand():
    # df 1 is the Cauchy distribution: P(T > 1) = 1/4. df 2: P(T > t) = (1 - t / sqrt(2 + t^2)) / 2.
    assert t_quantile(0.25, 1) == pytest.approx(1)
    assert t_quantile((1 - 3 / math.sqrt(11)) / 2, 2) == pytest.approx(3)
    assert t_quantile(0.5, 7) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("tail", "df"), [(0.0, 3), (0.6, 3), (-0.1, 3), (math.nan, 3), (0.025, 0)])
def test_t_quantile_refuses_nonsense(tail, df):
    with pytest.raises(ValueError, match="t quantile"):
        t_quantile(tail, df)


# power ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_clusters", [2, 3, 6, 10, 30, 100, 1000])
@pytest.mark.parametrize("alpha", [0.2, 0.05, 0.01])
@pytest.mark.parametrize("size", [0.1, 1.0, 2.5, 4.0])
def test_power_is_that_of_the_noncentral_t(n_clusters, alpha, size):
    """Size in standard errors."""
    difference = size * 0.3 / math.sqrt(n_clusters)
    theirs = power_by_scipy(difference, n_clusters, 0.3, alpha)
    assert find_power(difference, n_clusters, 0.3, alpha) == pytest.approx(theirs, abs=1e-6)


def test_power_of_almost_no_difference_is_alpha():
    assert find_power(1e-9, n_clusters=12, sd=1.0, alpha=0.05) == pytest.approx(0.05)


@pytest.mark.parametrize("n_clusters", [6, 10, 30, 100, 1000])  # scipy has NaN for fewer
@pytest.mark.parametrize("power", [0.5, 0.8, 0.9])
@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_the_detectable_difference_has_the_power_by_scipy(n_clusters, power, alpha):
    difference = detectable_difference(n_clusters, 0.185, power, alpha)
    above, below = (power_by_scipy(factor * difference, n_clusters, 0.185, alpha) for factor in (1.02, 0.98))
    assert below < power < above


def test_two_clusters_without_scipy():
    # df 1: s = |Z|, so at a large shift P(T > c) = P(s < shift / c) nearly. c = 12.706 at alpha 0.05; P(|Z| < 1.2816)
    # = 0.8, so shift = 16.28 and the difference that / sqrt(2) = 11.51, within what "nearly" leaves: 1 %.
    assert detectable_difference(2, 1.0) == pytest.approx(11.51, rel=0.01)
    # at alpha 0.001 c = 636.62: 815.9 / sqrt(2)
    assert detectable_difference(2, 1.0, alpha=0.001) == pytest.approx(576.9, rel=0.02)


def test_many_clusters_are_the_normal_case_and_few_are_not():
    def by_normal(n):
        return (stats.norm.isf(0.025) + stats.norm.isf(0.2)) / math.sqrt(n)

    assert detectable_difference(100_000, 1.0) == pytest.approx(by_normal(100_000), rel=1e-4)
    assert detectable_difference(10, 1.0) > 1.1 * by_normal(10)


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 400), st.floats(0.01, 50), st.floats(0.1, 0.99), st.floats(0.001, 0.09))
def test_the_detectable_difference_inverts_the_power_and_scales(n_clusters, sd, power, alpha):
    difference = detectable_difference(n_clusters, sd, power, alpha)
    assert find_power(difference, n_clusters, sd, alpha) == pytest.approx(power, abs=1e-6)
    assert difference == pytest.approx(sd * detectable_difference(n_clusters, 1.0, power, alpha))


@pytest.mark.parametrize("n_clusters", [10, 40])
def test_simulated_comparisons_find_the_detectable_difference_as_often_as_planned(n_clusters):
    """By Student's test and by the sign flips that are reported. 1,500 comparisons: standard error 1 %."""
    difference = detectable_difference(n_clusters, 0.185)
    noise = np.random.default_rng(n_clusters).normal(0, 0.185, (1500, n_clusters))
    errors = noise.std(axis=1, ddof=1) / math.sqrt(n_clusters)
    critical = stats.t.isf(0.025, n_clusters - 1)
    by_student = np.abs(noise.mean(axis=1) + difference) / errors > critical
    by_flips = [
        sign_flip_p(differences.tolist(), range(n_clusters), seed, n_flips=399) <= 0.05
        for seed, differences in enumerate(noise + difference)
    ]
    assert by_student.mean() == pytest.approx(0.8, abs=0.04)
    assert np.mean(by_flips) == pytest.approx(0.8, abs=0.04)
    # a fifth less is not found as often: the lines above can fail
    assert (np.abs(noise.mean(axis=1) + 0.8 * difference) / errors > critical).mean() < 0.7


# how many ------------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(st.floats(0.05, 5), st.floats(0.3, 0.99), st.floats(0.001, 0.2))
def test_clusters_needed_is_the_smallest_number_that_does(difference, power, alpha):
    n = clusters_needed(difference, 1.0, power, alpha)
    assert find_power(difference, n, 1.0, alpha) >= power
    assert n == 2 or find_power(difference, n - 1, 1.0, alpha) < power


def test_clusters_needed_near_the_lowest_power():
    # Both tails find as much as one here, so that fewer do than the search starts from.
    n = clusters_needed(0.2, 1.0, power=0.51, alpha=0.5)
    assert find_power(0.2, n, 1.0, 0.5) >= 0.51
    assert n == 2 or find_power(0.2, n - 1, 1.0, 0.5) < 0.51


def test_known_numbers_of_clusters():
    # Cohen's tables for a one-sample t test, power 0.8, alpha 0.05: d = 0.2, 0.5, 0.8
    assert [clusters_needed(d, 1.0) for d in (0.2, 0.5, 0.8)] == [199, 34, 15]
    assert clusters_needed(1000.0, 1.0) == 2
    # ((1.959964 + 0.841621) * 0.185 / 0.001)^2 = 268,627.9, and 1.96^2 / 2 = 1.9 more for the unknown sd
    assert clusters_needed(0.001, 0.185) == 268_630


# nonsense ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [0.0, -0.1, math.nan, math.inf])
def test_sizes_that_are_none_are_refused(wrong):
    with pytest.raises(ValueError, match="sd must be"):
        detectable_difference(10, wrong)
    with pytest.raises(ValueError, match="sd must be"):
        clusters_needed(0.1, wrong)
    with pytest.raises(ValueError, match="difference must be"):
        clusters_needed(wrong, 0.1)
    with pytest.raises(ValueError, match="difference must be"):
        find_power(wrong, 10, 0.1)


@pytest.mark.parametrize(("power", "alpha"), [(0.05, 0.05), (0.04, 0.05), (1.0, 0.05), (0.8, 0.0), (math.nan, 0.05)])
def test_powers_that_are_none_are_refused(power, alpha):
    with pytest.raises(ValueError, match="0 < alpha < power < 1"):
        detectable_difference(10, 0.1, power, alpha)
    with pytest.raises(ValueError, match="0 < alpha < power < 1"):
        clusters_needed(0.1, 0.1, power, alpha)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, math.nan])
def test_an_alpha_that_is_none_is_refused(alpha):
    with pytest.raises(ValueError, match="alpha"):
        find_power(0.1, 10, 0.1, alpha)


@pytest.mark.parametrize("n_clusters", [1, 0, -3])
def test_fewer_than_two_clusters_are_refused(n_clusters):
    with pytest.raises(ValueError, match="at least 2 clusters"):
        detectable_difference(n_clusters, 0.1)
    with pytest.raises(ValueError, match="at least 2 clusters"):
        find_power(0.1, n_clusters, 0.1)
