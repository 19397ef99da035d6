"""Means over kinds of equal weight, their stratified bootstrap against scipy's, a slow one and closed forms."""

import random
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from localexplain.evaluate.weighted import by_kind, summarise_kinds
from localexplain.score.summary import Summary, subtract, summarise

VALUE = st.none() | st.integers(-64, 64).map(lambda n: n / 64)
FEW = settings(max_examples=30, deadline=None)  # each example draws 4000 resamples of every kind
PAIRS = st.lists(st.tuples(VALUE, st.sampled_from("abc")), min_size=1, max_size=20)


def whole(groups, seed=0):
    """`groups`: kind -> values."""
    pairs = [(value, kind) for kind, values in groups.items() for value in values]
    return summarise_kinds([value for value, _ in pairs], [kind for _, kind in pairs], seed)


def made_groups(seed=0):
    """Three kinds of unlike size, mean and spread."""
    rng = np.random.default_rng(seed)
    sizes = {"a": (60, 0.1, 0.05), "b": (10, 0.5, 0.2), "c": (25, 0.9, 0.4)}
    return {kind: rng.normal(mean, spread, size).tolist() for kind, (size, mean, spread) in sizes.items()}


# groups --------------------------------------------------------------------------------------------------------------


def test_kinds_are_in_the_order_of_the_alphabet_and_values_in_their_own():
    assert list(by_kind([1.0, None, 2.0, 3.0], ["b", "a", "b", "a"]).items()) == [("a", [None, 3.0]), ("b", [1.0, 2.0])]
    assert by_kind([], []) == {}


def test_values_without_a_kind_are_a_bug():
    with pytest.raises(ValueError, match=r"shorter|longer"):
        by_kind([1.0], ["a", "b"])


@FEW
@given(PAIRS, st.integers(0, 5))
def test_the_mean_is_that_of_the_kinds_means(pairs, seed):
    values, kinds = [value for value, _ in pairs], [kind for _, kind in pairs]
    present = {k: [v for v, kind in pairs if kind == k and v is not None] for k in kinds}
    means = [statistics.fmean(group) for group in present.values() if group]
    found = summarise_kinds(values, kinds, seed)
    scored = [value for value in values if value is not None]
    assert (found.n, found.unscored) == (len(scored), len(values) - len(scored))
    assert found.mean == (pytest.approx(statistics.fmean(means), abs=1e-12) if means else None)
    assert found.median == (statistics.median(scored) if scored else None)
    scored_kinds = {kind for value, kind in pairs if value is not None}
    lone = len(scored) <= len(scored_kinds)  # no kind has two scored units
    assert (found.low is None) == (found.high is None) == lone
    if not lone:
        lowest = statistics.fmean(min(group) for group in present.values() if group)
        highest = statistics.fmean(max(group) for group in present.values() if group)
        assert lowest - 1e-12 <= found.low <= found.high <= highest + 1e-12


def test_by_hand():
    # a: (0.25 + 0.75) / 2 = 0.5; b: 1; c has no value and no weight; (0.5 + 1) / 2 = 0.75, where a plain mean gives 2/3
    found = whole({"a": [0.25, None, 0.75], "b": [1.0], "c": [None, None]})
    assert (found.mean, found.median, found.n, found.unscored) == (0.75, 0.75, 3, 3)


def test_a_kind_that_grows_does_not_outweigh_the_others():
    small = whole({"a": [1.0, 1.0], "b": [0.0, 0.0]})
    large = whole({"a": [1.0] * 50, "b": [0.0, 0.0]})
    assert small.mean == large.mean == 0.5


@FEW
@given(PAIRS, st.randoms(use_true_random=False))
def test_the_mean_does_not_depend_on_the_order(pairs, shuffle):
    shuffled = list(pairs)
    shuffle.shuffle(shuffled)
    found = [summarise_kinds([v for v, _ in rows], [k for _, k in rows], 0) for rows in (pairs, shuffled)]
    assert (found[0].n, found[0].unscored, found[0].median) == (found[1].n, found[1].unscored, found[1].median)
    assert found[0].mean == (None if found[1].mean is None else pytest.approx(found[1].mean, abs=1e-12))


def test_nothing_scored():
    nothing = Summary(mean=None, median=None, n=0, unscored=2, low=None, high=None)
    assert whole({"a": [None], "b": [None]}) == nothing
    assert summarise_kinds([], [], 0).n == 0
    one = Summary(mean=0.5, median=0.5, n=1, unscored=1, low=None, high=None)
    assert whole({"a": [0.5], "b": [None]}) == one


# the interval --------------------------------------------------------------------------------------------------------


@FEW
@given(st.lists(VALUE, max_size=15), st.integers(0, 5))
def test_of_one_kind_it_is_the_plain_summary(values, seed):
    assert summarise_kinds(values, ["a"] * len(values), seed) == summarise(values, seed)


@pytest.mark.parametrize("seed", [0, 1])
def test_interval_is_that_of_scipy(seed):
    groups = made_groups(seed)

    def mean_of_means(*samples, axis):
        return sum(sample.mean(axis=axis) for sample in samples) / len(samples)

    samples = tuple(np.array(values) for values in groups.values())
    result = stats.bootstrap(samples, mean_of_means, n_resamples=4000, method="percentile", rng=7)
    theirs = result.confidence_interval
    ours = whole(groups, seed=seed)
    # Each end moves by about 1 % of the width between draws; 5 % leaves room for both
    room = 0.05 * (theirs.high - theirs.low)
    assert ours.low == pytest.approx(theirs.low, abs=room)
    assert ours.high == pytest.approx(theirs.high, abs=room)


def test_interval_is_that_of_a_slow_bootstrap():
    groups = {"a": [0.0, 0.2, 0.9], "b": [0.5, 0.1], "c": [-0.3, 0.3, 0.4, 0.8]}
    draw = random.Random(0)
    means = sorted(
        sum(sum(draw.choice(values) for _ in values) / len(values) for values in groups.values()) / 3
        for _ in range(20_000)
    )
    ours = whole(groups)
    # the tails, not the ends, are compared: few values make a rough distribution, 2.5 % +- 1 % in 4000 draws
    below = sum(mean < ours.low - 1e-9 for mean in means) / len(means)
    above = sum(mean > ours.high + 1e-9 for mean in means) / len(means)
    assert 0.012 < below < 0.035
    assert 0.012 < above < 0.035


def test_width_is_that_of_the_closed_form():
    # The variance of the mean of K kinds' means: sum of (population variance / n) over the kinds, / K^2
    rng = np.random.default_rng(2)
    groups = {kind: rng.normal(0, spread, 80).tolist() for kind, spread in (("a", 0.1), ("b", 0.4), ("c", 0.2))}
    error = sum(statistics.pvariance(values) / 80 for values in groups.values()) ** 0.5 / 3
    found = whole(groups)
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.06)
    assert (found.low + found.high) / 2 == pytest.approx(found.mean, abs=0.1 * error)


def test_units_are_drawn_within_their_kind():
    # Kinds that differ from each other and not within: nothing moves. Units drawn from all of them would move it.
    assert whole({"a": [0.0] * 5, "b": [1.0] * 5}) == Summary(mean=0.5, median=0.5, n=10, unscored=0, low=0.5, high=0.5)


def test_kinds_are_drawn_independently_of_each_other():
    # Two kinds with the very same values: a draw of its own for each makes the interval narrower by the root of 2.
    values = np.random.default_rng(3).normal(0, 0.3, 50).tolist()
    one, two = whole({"a": values}), whole({"a": values, "b": values})
    assert (one.high - one.low) / (two.high - two.low) == pytest.approx(2**0.5, rel=0.05)


def test_the_seed_decides_the_interval_and_nothing_else():
    groups = made_groups()
    first, again, other = (whole(groups, seed=seed) for seed in (0, 0, 50))
    assert first == again
    assert (first.mean, first.median, first.n) == (other.mean, other.median, other.n)
    assert (first.low, first.high) != (other.low, other.high)


def test_what_is_unscored_moves_nothing():
    groups = made_groups()
    gaps = {kind: [None, *values, None] for kind, values in groups.items()} | {"z": [None]}
    found, whole_found = whole(gaps), whole(groups)
    assert (found.mean, found.median, found.low, found.high, found.n) == (
        whole_found.mean, whole_found.median, whole_found.low, whole_found.high, whole_found.n
    )  # fmt: skip
    assert found.unscored == 7


@pytest.mark.parametrize(("n_kinds", "n_units", "nominal"), [(4, 25, 0.945), (18, 5, 0.92)])
def test_interval_covers_the_true_mean_about_as_often_as_it_says(n_kinds, n_units, nominal):
    # A bootstrap of n units underrates their spread by the root of (n - 1) / n: of 25 units by 0.980, so it covers
    # 2 Phi(1.96 * 0.980) - 1 = 94.5 %; of 5, as in the bed that ships, by 0.894, so 92 %. Kinds differ in their means,
    # which must not count as spread. 200 samples have a standard error of 1.9 % at most; three of them either way.
    rng = np.random.default_rng(4)
    means = [0.1 * place for place in range(n_kinds)]
    true = statistics.fmean(means)
    covered = 0
    for seed in range(200):
        found = whole({f"k{mean:.1f}": rng.normal(mean, 0.3, n_units).tolist() for mean in means}, seed=seed)
        covered += found.low <= true <= found.high
    assert abs(covered / 200 - nominal) <= 3 * 0.019


def test_lone_units_of_unlike_kinds_are_no_proof_of_their_mean():
    # One unit of each kind says nothing of how far another of its kind would be: no interval, or one with a width.
    found = whole({"a": [0.2], "b": [0.9], "c": [0.1]})
    assert found.low is None or found.low < found.high


# differences ---------------------------------------------------------------------------------------------------------


def test_differences_by_hand():
    assert subtract([0.75, None, 0.5, None], [0.25, 0.5, None, None]) == [0.5, None, None, None]
    assert subtract([], []) == []
    assert subtract([0.0], [0.0]) == [0.0]  # a zero is a value


@given(st.lists(st.tuples(VALUE, VALUE), max_size=20))
def test_swapping_turns_every_difference(pairs):
    a, b = [x for x, _ in pairs], [y for _, y in pairs]
    assert subtract(b, a) == [None if value is None else -value for value in subtract(a, b)]


def test_lists_of_different_units_are_a_bug():
    with pytest.raises(ValueError, match=r"shorter|longer"):
        subtract([0.1], [0.1, 0.2])
