"""p-values of several tests together, and rank correlations over clusters."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from localexplain.score.cluster import (
    Correlation,
    correlate_ranks,
    find_rank_interval,
    holm,
    rank_correlation,
)
from tests.score.clustered_data import FEW, N_SETS, columns

# Holm ----------------------------------------------------------------------------------------------------------------

P_VALUES = st.lists(st.none() | st.integers(0, 200).map(lambda n: n / 200), max_size=8)


@settings(deadline=None)
@given(P_VALUES, st.sampled_from([0.011, 0.052, 0.103, 0.507]))
def test_holm_rejects_what_the_steps_reject(p_values, alpha):
    """Holm's procedure: the smallest p against alpha/m, the next against alpha/(m-1), until one fails."""
    remaining = [place for place, p in enumerate(p_values) if p is not None]
    rejected = set()
    while remaining:
        smallest = min(remaining, key=lambda place: p_values[place])
        if p_values[smallest] > alpha / len(remaining):
            break
        rejected.add(smallest)
        remaining.remove(smallest)
    adjusted = holm(p_values)
    assert {place for place, p in enumerate(adjusted) if p is not None and p <= alpha} == rejected
    assert [p is None for p in adjusted] == [p is None for p in p_values]


@settings(deadline=None)
@given(P_VALUES)
def test_holm_lies_between_the_p_and_bonferroni(p_values):
    n = sum(p is not None for p in p_values)
    for p, adjusted in zip(p_values, holm(p_values), strict=True):
        assert p is None or p <= adjusted <= min(1, n * p)


def test_holm_by_hand():
    # 3 * 0.25 = 0.75; 2 * 0.5 = 1; 0.5, raised to 1
    assert holm([0.5, None, 0.25, 0.5]) == [1.0, None, 0.75, 1.0]
    assert holm([0.5]) == [0.5]
    assert holm([None]) == [None]
    assert holm([]) == []


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan])
def test_holm_refuses_what_is_no_p(p):
    with pytest.raises(ValueError, match="p value"):
        holm([0.5, p])


# ranks ---------------------------------------------------------------------------------------------------------------

SMALL = st.integers(-4, 4).map(lambda n: n / 4)  # few different ones: many ties


@FEW
@given(st.lists(st.tuples(SMALL, SMALL), min_size=1, max_size=25))
def test_rank_correlation_is_that_of_scipy(pairs):
    a, b = columns(pairs)
    result = rank_correlation(a, b, range(len(a)), seed=0)
    if len(set(a)) < 2 or len(set(b)) < 2:
        assert result == Correlation(value=None, low=None, high=None, n=len(a))
    else:
        assert result.value == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-12)
        assert -1 <= result.low <= result.high <= 1
        assert result.n == len(a)


@settings(deadline=None)
@given(st.lists(st.tuples(SMALL, SMALL, st.integers(0, 3)), min_size=2, max_size=12))
def test_weights_are_repetitions(rows):
    a, b, times = (np.array([row[i] for row in rows]) for i in range(3))
    ours = correlate_ranks(a, b, times[None, :].astype(np.float64))[0]
    a, b = np.repeat(a, times), np.repeat(b, times)
    if np.unique(a).size < 2 or np.unique(b).size < 2:
        assert math.isnan(ours)
    else:
        assert ours == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-12)


def test_only_pairs_that_have_both_are_ranked():
    # 1 2 3 against 10 30 20: deviations -1 0 1 and -1 1 0, so 1 / 2
    result = rank_correlation([1.0, None, 2.0, 9.0, 3.0], [10.0, 5.0, 30.0, None, 20.0], "abcde", seed=0)
    assert (result.value, result.n) == (pytest.approx(0.5), 3)
    assert rank_correlation([None, 0.1], [0.1, None], "ab", seed=0).n == 0


def test_ranks_see_the_order_alone():
    rng = np.random.default_rng(11)
    a = rng.normal(size=20)
    b = a + rng.normal(size=20)
    plain = rank_correlation(a.tolist(), b.tolist(), range(20), seed=0)
    assert rank_correlation(np.exp(a).tolist(), (b**3).tolist(), range(20), seed=0) == plain
    turned = rank_correlation(a.tolist(), (-b).tolist(), range(20), seed=0)
    assert (turned.value, turned.low) == (pytest.approx(-plain.value), pytest.approx(-plain.high))


@pytest.mark.parametrize(("b", "value"), [([1.0, 5.0, 9.0], 1), ([9.0, 5.0, 1.0], -1)])
def test_one_order_has_an_interval_without_width(b, value):
    result = rank_correlation([1.0, 2.0, 3.0], b, "abc", seed=0)
    assert (result.value, result.low, result.high) == pytest.approx((value, value, value))


def test_one_cluster_has_a_correlation_without_an_interval():
    result = rank_correlation([1.0, 2.0, 3.0], [1.0, 3.0, 2.0], "aaa", seed=0)
    assert result.value == pytest.approx(0.5)
    assert (result.low, result.high, result.n) == (None, None, 3)


def draw_pairs(rng, n_clusters, per_cluster):
    """Pairs whose parts are normal and correlate by 0.6, so that Spearman's is 6/pi asin(0.6/2); a cluster's pairs
    share four fifths of the variance."""

    def correlated(shape):
        x, y = rng.normal(size=(2, *shape))
        return np.stack([x, 0.6 * x + 0.8 * y])

    a, b = math.sqrt(0.8) * correlated((n_clusters, 1)) + math.sqrt(0.2) * correlated((n_clusters, per_cluster))
    return a.ravel(), b.ravel(), np.repeat(np.arange(n_clusters), per_cluster)


@pytest.mark.parametrize("per_cluster", [1, 4])
def test_intervals_of_rank_correlations_cover_as_often_as_they_say(per_cluster):
    rng = np.random.default_rng([12, per_cluster])
    truth = 6 / math.pi * math.asin(0.3)
    covered = ignored = 0
    for seed in range(N_SETS):
        a, b, places = draw_pairs(rng, 30, per_cluster)
        interval = find_rank_interval(a, b, places, seed, 300)
        covered += interval.low <= truth <= interval.high
        if seed < 150:
            interval = find_rank_interval(a, b, np.arange(a.size), seed, 300)
            ignored += interval.low <= truth <= interval.high
    assert 0.93 <= covered / N_SETS <= 0.97
    assert per_cluster == 1 or ignored / 150 < 0.85
