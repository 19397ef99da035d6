import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from localexplain.score import summary as module
from localexplain.score.summary import Summary, paired_difference, resample_means, summarise

SCORES = st.lists(st.none() | st.integers(-64, 64).map(lambda n: n / 64), max_size=30)


@given(SCORES)
def test_counts_and_middle(values):
    present = [value for value in values if value is not None]
    result = summarise(values, seed=0)
    assert (result.n, result.unscored) == (len(present), len(values) - len(present))
    assert (result.mean is None) == (result.median is None) == (not present)
    if present:
        assert result.mean == pytest.approx(statistics.fmean(present), abs=1e-12)
        assert result.median == statistics.median(present)
    assert (result.low is None) == (result.high is None) == (len(present) < 2)
    if len(present) > 1:
        assert min(present) <= result.low <= result.high <= max(present)


def test_what_is_unscored_is_no_zero():
    # (0.25 + 0.75) / 2; a zero for the missing one would give 1/3
    assert summarise([0.25, None, 0.75], seed=0).mean == 0.5


def test_nothing_scored():
    nothing = Summary(mean=None, median=None, n=0, unscored=0, low=None, high=None)
    assert summarise([], seed=0) == nothing
    assert summarise([None, None], seed=0).unscored == 2
    assert summarise([0.5, None], seed=0) == Summary(mean=0.5, median=0.5, n=1, unscored=1, low=None, high=None)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_is_refused(value):
    with pytest.raises(ValueError, match="not finite"):
        summarise([0.1, value], seed=0)
    with pytest.raises(ValueError, match="not finite"):
        summarise(np.array([0.1, value]), seed=0)


def test_an_array_is_its_values_and_what_it_has_no_place_for_is_told():
    values = [0.25, 0.5, -0.125, 0.75]
    assert summarise(np.array(values), seed=3, unscored=2) == summarise([None, *values, None], seed=3)
    assert summarise([0.5, None], seed=0, unscored=4).unscored == 5


def test_interval_is_that_of_scipy():
    values = np.random.default_rng(0).normal(0.2, 0.185, 200)
    ours = summarise(values.tolist(), seed=1)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=2).confidence_interval
    # The width is 0.051, and each end moves by about 1 % of it between seeds; 5 % leaves room for both
    assert ours.low == pytest.approx(theirs.low, abs=0.0026)
    assert ours.high == pytest.approx(theirs.high, abs=0.0026)


def test_interval_covers_the_true_mean_about_as_often_as_it_says():
    # 200 samples of 40: 95 % nominal, the percentile bootstrap a little under; standard error 1.7 %
    rng = np.random.default_rng(3)
    intervals = [summarise(rng.normal(0.15, 0.2, 40).tolist(), seed=seed) for seed in range(200)]
    covered = sum(result.low <= 0.15 <= result.high for result in intervals) / 200
    assert 0.88 <= covered <= 0.99


def test_interval_shrinks_with_the_root_of_n():
    values = np.random.default_rng(4).normal(size=1600)
    wide, narrow = summarise(values[:100].tolist(), seed=0), summarise(values.tolist(), seed=0)
    assert (wide.high - wide.low) / (narrow.high - narrow.low) == pytest.approx(4, rel=0.25)


def test_the_seed_decides_the_interval_and_nothing_else():
    values = np.random.default_rng(5).normal(size=50).tolist()
    first, again, other = (summarise(values, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert (first.mean, first.median) == (other.mean, other.median)
    assert (first.low, first.high) != (other.low, other.high)


@pytest.mark.parametrize("skewed", ["exponential", "few_high"])
def test_many_values_have_the_normal_interval_which_is_that_of_the_bootstrap(skewed):
    rng = np.random.default_rng(7)
    n = module.MOST_RESAMPLED + 1
    # skewness 2, and (1 - 2p) / sqrt(p (1 - p)) = 2.7 for a tenth of ones
    values = rng.exponential(0.2, n) if skewed == "exponential" else (rng.random(n) < 0.1).astype(float)
    ours = summarise(values, seed=0)
    half = 1.959964 * np.std(values, ddof=1) / np.sqrt(n)
    assert (ours.low, ours.high) == (pytest.approx(values.mean() - half), pytest.approx(values.mean() + half))
    means = np.concatenate([values[rng.integers(0, n, (200, n))].mean(axis=1) for _ in range(80)])
    low, high = np.quantile(means, (0.025, 0.975))
    # 16,000 draws leave each end about 0.5 % of the width of noise; the skewness moves it by 0.3 to 0.5 %
    assert abs(ours.low - low) < 0.02 * (high - low)
    assert abs(ours.high - high) < 0.02 * (high - low)


def test_the_bootstrap_ends_where_it_says():
    values = np.random.default_rng(8).exponential(size=module.MOST_RESAMPLED + 1)
    assert summarise(values, seed=0) == summarise(values, seed=1)  # no draw decides the normal interval
    assert summarise(values[1:], seed=0) != summarise(values[1:], seed=1)


def test_equal_values_have_an_interval_without_width():
    assert summarise([0.5] * 10, seed=0) == Summary(mean=0.5, median=0.5, n=10, unscored=0, low=0.5, high=0.5)


def test_drawing_in_chunks_gives_the_same_means(monkeypatch):
    values = np.random.default_rng(6).normal(size=37)
    whole = resample_means(values, 0)
    monkeypatch.setattr(module, "MAX_DRAWS_AT_ONCE", 37 * 30 + 5)  # 30 rows at a time, the last chunk shorter
    assert resample_means(values, 0).tolist() == whole.tolist()
    assert whole.shape == (module.N_RESAMPLES,)
    monkeypatch.setattr(module, "MAX_DRAWS_AT_ONCE", 1)  # fewer than one row: still one at a time
    assert resample_means(values[:3], 0).shape == (module.N_RESAMPLES,)


# paired --------------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(*[st.none() | st.integers(-64, 64).map(lambda n: n / 64)] * 2), max_size=20))
def test_paired_is_over_units_that_have_both(pairs):
    a, b = [x for x, _ in pairs], [y for _, y in pairs]
    differences = [x - y for x, y in pairs if x is not None and y is not None]
    result = paired_difference(a, b, seed=0)
    assert (result.n, result.unscored) == (len(differences), len(pairs) - len(differences))
    assert result.mean == (pytest.approx(statistics.fmean(differences), abs=1e-12) if differences else None)


def test_pairing_sees_what_two_intervals_do_not():
    # Units differ by 0.3 from each other and by 0.02 within a pair: the intervals of the means overlap by far.
    rng = np.random.default_rng(7)
    b = rng.normal(0.2, 0.3, 100)
    a = b + rng.normal(0.02, 0.02, 100)
    apart = summarise(a.tolist(), seed=0), summarise(b.tolist(), seed=0)
    together = paired_difference(a.tolist(), b.tolist(), seed=0)
    assert apart[0].low < apart[1].high
    assert 0 < together.low < 0.02 < together.high < 0.04


def test_swapping_turns_the_difference():
    a, b = [0.5, 0.25, 1.0], [0.0, 0.5, 0.25]
    there, back = paired_difference(a, b, seed=0), paired_difference(b, a, seed=0)
    assert (there.mean, there.low, there.high) == (-back.mean, pytest.approx(-back.high), pytest.approx(-back.low))


def test_lists_of_different_units_are_a_bug():
    with pytest.raises(ValueError, match=r"shorter|longer"):
        paired_difference([0.1], [0.1, 0.2], seed=0)
