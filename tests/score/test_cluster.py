import itertools
import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from localexplain.score import cluster as module
from localexplain.score.cluster import (
    draw_clusters,
    find_mean_interval,
    number_clusters,
    paired_clustered,
    rank_correlation,
    sign_flip_p,
    sum_clusters,
    summarise_clustered,
)
from localexplain.score.summary import Summary, summarise
from tests.score.clustered_data import FEW, N_RESAMPLES, N_SETS, VALUES, VALUES_OF_CLUSTERS, columns, draw_values

# summaries -----------------------------------------------------------------------------------------------------------


@FEW
@given(VALUES_OF_CLUSTERS)
def test_counts_mean_and_median(pairs):
    values, clusters = columns(pairs)
    present = [value for value in values if value is not None]
    result = summarise_clustered(values, clusters, seed=0)
    assert (result.n, result.unscored) == (len(present), len(values) - len(present))
    assert result.mean == (pytest.approx(statistics.fmean(present), abs=1e-12) if present else None)
    assert result.median == (statistics.median(present) if present else None)
    several = len({cluster for value, cluster in pairs if value is not None}) > 1
    assert (result.low is not None) == (result.high is not None) == several
    assert not several or result.low <= result.high


def test_every_value_weighs_the_same_not_every_cluster():
    # (1 + 1 + 1 + 0) / 4, where the mean of the clusters' means would be 0.5
    assert summarise_clustered([1.0, 1.0, None, 1.0, 0.0], ["a", "a", "a", "a", "b"], seed=0).mean == 0.75


def test_what_has_no_interval():
    nothing = Summary(mean=None, median=None, n=0, unscored=2, low=None, high=None)
    assert summarise_clustered([None, None], ["a", "b"], seed=0) == nothing
    # two clusters, but only one has values
    one = summarise_clustered([0.25, 0.75, None], ["a", "a", "b"], seed=0)
    assert one == Summary(mean=0.5, median=0.5, n=2, unscored=1, low=None, high=None)


def test_a_cluster_without_values_changes_nothing_but_the_count():
    values, clusters = draw_values(np.random.default_rng(0), 12, skewed=True, per_cluster=3)
    alone = summarise_clustered(values, clusters, seed=0)
    beside = summarise_clustered([None, *values, None], ["x", *clusters, "y"], seed=0)
    assert (beside.mean, beside.low, beside.high) == (alone.mean, alone.low, alone.high)
    assert beside.unscored == 2


@FEW
@given(VALUES_OF_CLUSTERS, st.integers(2, 5))
def test_saying_everything_several_times_is_no_more_evidence(pairs, times):
    once = summarise_clustered(*columns(pairs), seed=0)
    often = summarise_clustered(*columns(pairs * times), seed=0)
    assert often.n == times * once.n
    if once.low is not None:
        assert (often.low, often.high) == (pytest.approx(once.low, abs=1e-9), pytest.approx(once.high, abs=1e-9))


def test_names_of_clusters_mean_nothing():
    values = draw_values(np.random.default_rng(1), 3, skewed=True, per_cluster=2)[0]
    numbers, names = [5, 5, 0, 0, 7, 7], ["u", "u", ("mlp", 3), ("mlp", 3), None, None]
    assert summarise_clustered(values, numbers, seed=0) == summarise_clustered(values, names, seed=0)
    assert number_clusters(names).tolist() == [0, 0, 1, 1, 2, 2]


def test_the_interval_is_that_of_a_plain_loop():
    """The same method over lists of values, cluster by cluster, with draws of its own."""
    rng = np.random.default_rng(2)
    values, clusters = draw_values(rng, 20, skewed=True, per_cluster=None)
    groups = [[v for v, c in zip(values, clusters, strict=True) if c == cluster] for cluster in range(20)]

    def mean_and_error(drawn):
        everything = [value for group in drawn for value in group]
        mean = statistics.fmean(everything)
        squares = sum(sum(value - mean for value in group) ** 2 for group in drawn)
        return mean, math.sqrt(squares * 20 / 19) / len(everything)

    mean, error = mean_and_error(groups)
    t_values = []
    for _ in range(4000):
        drawn_mean, drawn_error = mean_and_error([groups[i] for i in rng.integers(0, 20, 20)])
        t_values.append((drawn_mean - mean) / max(drawn_error, error / 3))
    left, right = np.quantile(t_values, (0.025, 0.975))
    result = summarise_clustered(values, clusters, seed=0)
    # the width is 4.5 errors, and each end moves by some 2 % of it between draws
    assert result.low == pytest.approx(mean - right * error, abs=0.3 * error)
    assert result.high == pytest.approx(mean - left * error, abs=0.3 * error)


def test_the_interval_leans_to_where_the_tail_is():
    # 25 evenly spaced quantiles of the exponential distribution: a sample as typical as can be
    values = (-np.log(1 - (np.arange(25) + 0.5) / 25)).tolist()
    right = summarise_clustered(values, range(25), seed=0)
    left = summarise_clustered([-value for value in values], range(25), seed=0)
    assert right.high - right.mean > 1.3 * (right.mean - right.low)
    assert left.mean - left.low > 1.3 * (left.high - left.mean)


def test_many_clusters_of_one_value_have_the_interval_of_student():
    values = np.random.default_rng(3).normal(0.2, 0.185, 500)
    low, high = stats.t.interval(0.95, 499, values.mean(), values.std(ddof=1) / math.sqrt(500))
    ours, percentile = summarise_clustered(values.tolist(), range(500), seed=0), summarise(values.tolist(), seed=0)
    for result in (ours, percentile):
        assert (result.low, result.high) == (pytest.approx(low, abs=0.002), pytest.approx(high, abs=0.002))


def covered_fraction(rng, n_clusters, n_sets, *, skewed, per_cluster, ignore=False):
    """How often the interval holds the true mean; `ignore` takes each value for a cluster of its own."""
    covered = 0
    for seed in range(n_sets):
        values, clusters = draw_values(rng, n_clusters, skewed=skewed, per_cluster=per_cluster)
        sums = sum_clusters(values, range(len(values)) if ignore else clusters)
        interval = find_mean_interval(sums, seed, N_RESAMPLES)
        covered += interval.low <= 0.2 <= interval.high
    return covered / n_sets


@pytest.mark.parametrize("n_clusters", [30, 100])
@pytest.mark.parametrize("skewed", [False, True])
def test_intervals_of_plain_values_cover_as_often_as_they_say(n_clusters, skewed):
    rng = np.random.default_rng([n_clusters, skewed])
    assert 0.93 <= covered_fraction(rng, n_clusters, N_SETS, skewed=skewed, per_cluster=1) <= 0.97


@pytest.mark.parametrize("n_clusters", [30, 100])
@pytest.mark.parametrize("per_cluster", [8, None])
def test_intervals_of_clustered_values_cover_as_often_as_they_say(n_clusters, per_cluster):
    rng = np.random.default_rng([n_clusters, per_cluster or 0])
    assert 0.93 <= covered_fraction(rng, n_clusters, N_SETS, skewed=True, per_cluster=per_cluster) <= 0.97
    # Taken for independent, 8 values that correlate by 0.8 have a standard error sqrt(1 + 7 * 0.8) = 2.6 times too
    # small, so 1.96 of it are 0.76 true ones: 55 %.
    ignored = covered_fraction(rng, n_clusters, 150, skewed=True, per_cluster=per_cluster, ignore=True)
    assert ignored < 0.75


def test_one_value_unlike_all_others_does_not_widen_without_bound(monkeypatch):
    # 29 zeros and a 1: mean and its error are 1/30. Every third resample lacks the 1 and has no spread at all.
    values = [0.0] * 29 + [1.0]
    bounded = summarise_clustered(values, range(30), seed=0)
    assert bounded.low < 1 / 30 < bounded.high <= 1 / 30 + 3 / 30 + 1e-9
    monkeypatch.setattr(module, "MIN_ERROR_FRACTION", 1e-6)
    assert summarise_clustered(values, range(30), seed=0).high > 1000


def test_the_floor_does_not_touch_ordinary_values(monkeypatch):
    values, clusters = draw_values(np.random.default_rng(4), 30, skewed=True, per_cluster=4)
    bounded = summarise_clustered(values, clusters, seed=0)
    monkeypatch.setattr(module, "MIN_ERROR_FRACTION", 1e-6)
    assert summarise_clustered(values, clusters, seed=0) == bounded


def test_equal_values_have_an_interval_without_width():
    result = summarise_clustered([0.5] * 6, [0, 0, 1, 1, 1, 2], seed=0)
    assert (result.mean, result.low, result.high) == (0.5, 0.5, 0.5)


def test_the_seed_decides_the_interval_and_nothing_else():
    values, clusters = draw_values(np.random.default_rng(5), 20, skewed=True, per_cluster=2)
    first, again, other = (summarise_clustered(values, clusters, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert (first.mean, first.median) == (other.mean, other.median)
    assert (first.low, first.high) != (other.low, other.high)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_not_finite_is_refused(value):
    with pytest.raises(ValueError, match="not finite"):
        summarise_clustered([0.1, value], ["a", "b"], seed=0)
    with pytest.raises(ValueError, match="not finite"):
        sign_flip_p([0.1, value], ["a", "b"], seed=0)
    with pytest.raises(ValueError, match="not finite"):
        rank_correlation([0.1, value], [0.1, 0.2], ["a", "b"], seed=0)


def test_lists_of_different_lengths_are_a_bug():
    with pytest.raises(ValueError, match=r"shorter|longer"):
        summarise_clustered([0.1, 0.2], ["a"], seed=0)
    with pytest.raises(ValueError, match=r"shorter|longer"):
        paired_clustered([0.1, 0.2], [0.1], ["a", "b"], seed=0)
    with pytest.raises(ValueError, match=r"shorter|longer"):
        rank_correlation([0.1, 0.2], [0.1, 0.2], ["a"], seed=0)
    with pytest.raises(ValueError, match=r"shorter|longer"):
        sign_flip_p([0.1], ["a", "b"], seed=0)


def test_draws_are_as_many_as_there_are_clusters_and_the_same_in_chunks(monkeypatch):
    whole = np.concatenate(list(draw_clusters(7, row_size=7, n_resamples=300, seed=0)))
    assert whole.shape == (300, 7)
    assert set(whole.sum(axis=1)) == {7.0}
    # mean 1 and variance 1 - 1/7 each: 7 columns of 300, standard error 0.05
    assert whole.mean(axis=0) == pytest.approx(np.ones(7), abs=0.2)
    assert whole.var() == pytest.approx(6 / 7, abs=0.1)
    monkeypatch.setattr(module, "MAX_DRAWS_AT_ONCE", 1000)  # 20 rows of 50 numbers at a time
    chunks = list(draw_clusters(7, row_size=50, n_resamples=300, seed=0))
    assert {chunk.shape for chunk in chunks} == {(20, 7)}
    assert np.concatenate(chunks).tolist() == whole.tolist()


# paired --------------------------------------------------------------------------------------------------------------


@FEW
@given(st.lists(st.tuples(VALUES, VALUES, st.integers(0, 5)), max_size=20))
def test_paired_is_the_summary_of_the_differences(triples):
    a, b, clusters = ([row[i] for row in triples] for i in range(3))
    differences = [None if None in (x, y) else x - y for x, y in zip(a, b, strict=True)]
    assert paired_clustered(a, b, clusters, seed=3) == summarise_clustered(differences, clusters, seed=3)


def test_swapping_turns_the_difference():
    rng = np.random.default_rng(6)
    (a, clusters), (b, _) = (draw_values(rng, 15, skewed=True, per_cluster=2) for _ in range(2))
    there, back = paired_clustered(a, b, clusters, seed=0), paired_clustered(b, a, clusters, seed=0)
    turned = (pytest.approx(-back.mean), pytest.approx(-back.high), pytest.approx(-back.low))
    assert (there.mean, there.low, there.high) == turned


# sign flips ----------------------------------------------------------------------------------------------------------


@FEW
@given(st.lists(st.tuples(VALUES, st.integers(0, 7)), max_size=14))
def test_p_is_the_share_of_sign_patterns_as_far_out(pairs):
    """Over all patterns, flipped value by value."""
    differences, clusters = columns([pair for pair in pairs if pair[0] is not None])
    present = sorted(set(clusters))
    extreme = []
    for signs in itertools.product((1, -1), repeat=len(present)):
        sign_of = dict(zip(present, signs, strict=True))
        flipped = [sign_of[c] * v for v, c in zip(differences, clusters, strict=True)]
        extreme.append(abs(math.fsum(flipped)) >= abs(math.fsum(differences)))
    expected = sum(extreme) / len(extreme) if len(present) > 1 else None
    assert sign_flip_p(*columns(pairs), seed=0) == expected


def test_p_is_that_of_scipy():
    rng = np.random.default_rng(7)
    a, b = rng.normal(0.1, 0.2, 12), rng.normal(0, 0.2, 12)
    theirs = stats.permutation_test(
        (a, b), lambda x, y, axis: (x - y).mean(axis=axis), permutation_type="samples", n_resamples=np.inf
    )
    assert sign_flip_p((a - b).tolist(), range(12), seed=0) == pytest.approx(theirs.pvalue, abs=1e-12)


def test_random_flips_come_near_to_all_of_them():
    values = np.random.default_rng(8).normal(0.3, 1, 16).tolist()
    exact = sign_flip_p(values, range(16), seed=0, n_flips=2**16 - 1)
    drawn = sign_flip_p(values, range(16), seed=0, n_flips=2**16 - 2)  # one fewer than all: random ones
    assert drawn != exact
    assert drawn == pytest.approx(exact, abs=0.01)  # standard error below 0.002


def test_p_is_never_zero():
    assert sign_flip_p([1.0] * 40, range(40), seed=0, n_flips=999) == 1 / 1000
    assert sign_flip_p([1.0] * 40, range(40), seed=0) == 1 / 10_000
    assert sign_flip_p([1.0] * 5, range(5), seed=0) == 2 / 32


def test_no_difference_anywhere_has_p_1():
    assert sign_flip_p([0.0, 0.0, 0.0], ["a", "b", "c"], seed=0) == 1


def test_equal_sums_that_round_differently_are_ties():
    # |0.1 + 0.2 + 0.3| is 0.6000000000000001 in one order and 0.6 in another; its reflection must count
    assert sign_flip_p([0.1, 0.2, 0.3], [0, 1, 2], seed=0) == sign_flip_p([0.3, 0.2, 0.1], [0, 1, 2], seed=0) == 0.25


def test_one_cluster_has_no_p():
    assert sign_flip_p([0.5, 0.7], ["a", "a"], seed=0) is None
    assert sign_flip_p([0.5, None], ["a", "b"], seed=0) is None
    assert sign_flip_p([], [], seed=0) is None


def test_signs_in_chunks_give_the_same_p(monkeypatch):
    few, many = [0.1, -0.3, 0.4, 0.2, 0.5], np.random.default_rng(9).normal(0.2, 1, 30).tolist()
    whole = sign_flip_p(few, range(5), seed=0), sign_flip_p(many, range(30), seed=0, n_flips=500)
    monkeypatch.setattr(module, "MAX_DRAWS_AT_ONCE", 70)  # 14 and 2 rows at a time
    assert (sign_flip_p(few, range(5), seed=0), sign_flip_p(many, range(30), seed=0, n_flips=500)) == whole


def test_no_flips_are_refused():
    with pytest.raises(ValueError, match="n_flips"):
        sign_flip_p([0.1, 0.2], ["a", "b"], seed=0, n_flips=0)


def rejected_fraction(rng, n_sets, *, shift, per_cluster, ignore=False):
    """How often p <= 0.05 for two skewed values whose true means differ by `shift`."""
    rejected = 0
    for seed in range(n_sets):
        (a, clusters), (b, _) = (draw_values(rng, 30, skewed=True, per_cluster=per_cluster) for _ in range(2))
        differences = [x - y + shift for x, y in zip(a, b, strict=True)]
        rejected += sign_flip_p(differences, range(len(a)) if ignore else clusters, seed, n_flips=199) <= 0.05
    return rejected / n_sets


@pytest.mark.parametrize("per_cluster", [1, 8])
def test_the_sign_flip_rejects_a_true_null_as_often_as_it_says_and_a_false_one_often(per_cluster):
    rng = np.random.default_rng(per_cluster)
    assert 0.03 <= rejected_fraction(rng, N_SETS, shift=0, per_cluster=per_cluster) <= 0.07
    # differences of two levels have an sd of 0.25, so 0.2 is 4.3 standard errors of 30 of them
    assert rejected_fraction(rng, 100, shift=0.2, per_cluster=per_cluster) > 0.9


def test_the_sign_flip_of_single_values_rejects_a_true_null_far_too_often():
    """So that the test above is known to notice."""
    assert rejected_fraction(np.random.default_rng(10), 150, shift=0, per_cluster=8, ignore=True) > 0.25
