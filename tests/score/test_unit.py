import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from localexplain.score.calibrate import fit_linear, fit_percentiles
from localexplain.score.correlation import absolute_deviation_explained, correlation, explained_variance
from localexplain.score.unit import ScoredExcerpt, score_unit
from localexplain.types import Score

METRIC_NAMES = ("correlation", "explained_variance", "absolute_deviation_explained")


def done(kind, true, predicted):
    return ScoredExcerpt(kind=kind, true=np.array(true, dtype=float), predicted=np.array(predicted, dtype=float))


def failed(kind, true, error):
    return ScoredExcerpt(kind=kind, true=np.array(true, dtype=float), predicted=None, error=error)


def by_key(rows):
    return {(row.selection, row.score.metric): row.score for row in rows}


TOP = done("top", [0, 4], [1, 10])
RANDOM = done("random", [0, 1, 0, 0], [0, 2, 1, 0])
CALIBRATION = (done("top", [0, 2, 4], [0, 5, 10]), done("random", [0, 1], [0, 2]))


def test_by_hand_over_all_tokens_together():
    # Calibration 0 5 10 -> 0 2 4 has slope 0.4 and intercept 0. Random only: a = 0 1 0 0, s = 0 2 1 0.
    #   deviations of a x4: -1 3 -1 -1, of s x4: -3 5 1 -3; (3 + 15 - 1 + 3) / sqrt(12 * 44) = 20 / sqrt(528)
    #   calibrated s = 0 0.8 0.4 0, errors 0 0.2 -0.4 0: squares 0.2, sizes 0.6; sum (a - mean)^2 = 12/16, sum |a| = 1
    # Top and random: a = 0 4 0 1 0 0, s = 1 10 0 2 1 0; sums 5 and 14, of products 42, of squares 17 and 106:
    #   (6 * 42 - 70) / sqrt((102 - 25) (636 - 196)) = 182 / sqrt(77 * 440)
    #   errors -0.4 0 0 0.2 -0.4 0: squares 0.36, sizes 1; sum (a - mean)^2 = 77/6, sum |a| = 5
    rows = score_unit((TOP, RANDOM), (done("top", [0, 2, 4], [0, 5, 10]),))
    expected = {
        ("top_and_random", "correlation"): 182 / (77 * 440) ** 0.5,
        ("top_and_random", "explained_variance"): 1 - 0.36 / (77 / 6),
        ("top_and_random", "absolute_deviation_explained"): 1 - 1 / 5,
        ("random_only", "correlation"): 20 / 528**0.5,
        ("random_only", "explained_variance"): 1 - 0.2 / 0.75,
        ("random_only", "absolute_deviation_explained"): 1 - 0.6,
    }
    assert [(row.selection, row.score.metric) for row in rows] == list(expected)
    for key, score in by_key(rows).items():
        assert score.value == pytest.approx(expected[key], abs=1e-12)
        assert score.reason is None
        assert (score.n_tokens, score.n_excerpts) == ((6, 2) if key[0] == "top_and_random" else (4, 1))


@given(st.integers(0, 2**32 - 1))
def test_every_score_is_the_metric_of_the_concatenated_tokens(seed):
    rng = np.random.default_rng(seed)
    valid = [done(kind, *rng.normal(size=(2, 8))) for kind in ("top", "random") for _ in range(3)]
    calibration = [done(kind, *rng.normal(size=(2, 8))) for kind in ("top", "random") for _ in range(2)]
    fitted = fit_linear(
        np.concatenate([c.true for c in calibration]), np.concatenate([c.predicted for c in calibration])
    )
    scores = by_key(score_unit(valid, calibration))
    for selection, chosen in (("top_and_random", valid), ("random_only", valid[3:])):
        true, predicted = (np.concatenate([getattr(e, name) for e in chosen]) for name in ("true", "predicted"))
        calibrated = fitted.apply(predicted)
        assert scores[selection, "correlation"].value == correlation(true, predicted)
        assert scores[selection, "explained_variance"].value == explained_variance(true, calibrated)
        assert scores[selection, "absolute_deviation_explained"].value == absolute_deviation_explained(true, calibrated)


def test_not_a_mean_of_scores_per_excerpt():
    # Inside each excerpt the simulation is exactly wrong, but it knows which excerpt fires: the mean would be -1.
    valid = (done("top", [10, 11], [8, 7]), done("random", [0, 1], [1, 0]), done("random", [0, 1], [1, 0]))
    score = by_key(score_unit(valid, ()))["top_and_random", "correlation"]
    assert [correlation(e.true, e.predicted) for e in valid] == pytest.approx([-1, -1, -1])
    assert score.value > 0.9


def test_excerpts_that_are_constant_each_have_a_score_together():
    # The fault: NaN for each silent excerpt, and so for their mean.
    valid = (done("top", [5, 5], [9, 9]), done("random", [0, 0], [1, 1]))
    assert by_key(score_unit(valid, ()))["top_and_random", "correlation"].value == pytest.approx(1.0)


@pytest.mark.parametrize("lost", [0, 1])
def test_a_failed_simulation_takes_the_score_and_is_no_zero(lost):
    valid = [TOP, RANDOM, RANDOM]
    valid[1 + lost] = failed("random", [0, 1, 0, 0], "prompt of 9000 tokens is too long")
    scores = by_key(score_unit(valid, CALIBRATION))
    for name in METRIC_NAMES:
        assert scores["top_and_random", name] == Score(
            metric=name,
            value=None,
            reason="1 of 3 simulations failed: prompt of 9000 tokens is too long",
            n_tokens=10,
            n_excerpts=3,
        )
        assert scores["random_only", name].reason == "1 of 2 simulations failed: prompt of 9000 tokens is too long"


def test_a_failed_top_excerpt_leaves_random_only_alone():
    whole = by_key(score_unit((TOP, RANDOM), CALIBRATION))
    part = by_key(score_unit((failed("top", [0, 4], "no"), RANDOM), CALIBRATION))
    for name in METRIC_NAMES:
        assert part["top_and_random", name].reason == "1 of 2 simulations failed: no"
        assert part["random_only", name] == whole["random_only", name]


def test_all_requests_failing_names_the_first():
    valid = (failed("top", [0, 4], "first"), failed("random", [0, 1], "second"))
    scores = by_key(score_unit(valid, CALIBRATION))
    assert {score.value for score in scores.values()} == {None}
    assert scores["top_and_random", "correlation"].reason == "2 of 2 simulations failed: first"


@pytest.mark.parametrize(
    ("valid", "both", "random_only"),
    [
        ((TOP,), "no random excerpts", "no random excerpts"),
        ((RANDOM,), "no top excerpts", None),
        ((), "no top and no random excerpts", "no random excerpts"),
    ],
)
def test_a_kind_without_excerpts_is_not_replaced_by_the_other(valid, both, random_only):
    scores = by_key(score_unit(valid, CALIBRATION))
    for name in METRIC_NAMES:
        assert scores["top_and_random", name].reason == both
        assert scores["random_only", name].reason == random_only
        assert (scores["random_only", name].value is None) == (random_only is not None)


@pytest.mark.parametrize(
    ("calibration", "reason"),
    [
        ((), "no calibration simulations"),
        ((CALIBRATION[0], failed("random", [1, 2], "no memory")), "1 of 2 calibration simulations failed: no memory"),
        ((done("top", [np.nan, 1], [0, 1]),), "calibration: activations not finite"),
    ],
)
def test_without_calibration_only_the_correlation_is_there(calibration, reason):
    scores = by_key(score_unit((TOP, RANDOM), calibration))
    calibrated = by_key(score_unit((TOP, RANDOM), CALIBRATION))
    for selection in ("top_and_random", "random_only"):
        assert scores[selection, "correlation"] == calibrated[selection, "correlation"]
        for name in METRIC_NAMES[1:]:
            assert (scores[selection, name].value, scores[selection, name].reason) == (None, reason)


def test_calibration_moves_the_calibrated_metrics_alone():
    other = (done("top", [0, 1], [10, 0]),)  # a negative slope, which would turn the sign of the correlation
    a, b = (by_key(score_unit((TOP, RANDOM), calibration)) for calibration in (CALIBRATION, other))
    for selection in ("top_and_random", "random_only"):
        assert a[selection, "correlation"] == b[selection, "correlation"]
        for name in METRIC_NAMES[1:]:
            assert a[selection, name].value > b[selection, name].value


def test_the_way_of_calibrating_can_be_chosen():
    linear = by_key(score_unit((TOP, RANDOM), CALIBRATION))
    percentiles = by_key(score_unit((TOP, RANDOM), CALIBRATION, fit_percentiles))
    key = ("top_and_random", "explained_variance")
    # ranks: predicted 0 0 2 5 10 meet 0 0 1 2 4, so 0->0, 2->1, 5->2, 10->4 and 1->0.5; a = 0 4 0 1 0 0
    # s = 1 10 0 2 1 0 -> 0.5 4 0 1 0.5 0: squares of errors 0.5
    assert percentiles[key].value == pytest.approx(1 - 0.5 / (77 / 6))
    assert linear[key].value != percentiles[key].value


def test_a_constant_simulation_loses_the_correlation_alone():
    valid = (done("top", [0, 4], [0.1, 0.1]), done("random", [0, 1], [0.1, 0.1]))
    scores = by_key(score_unit(valid, CALIBRATION))
    assert scores["top_and_random", "correlation"].reason == "constant simulation"
    assert scores["top_and_random", "explained_variance"].value is not None


def test_a_silent_unit_has_no_score():
    valid = (done("top", [0, 0], [3, 1]), done("random", [0, 0], [0, 1]))
    assert {score.reason for score in by_key(score_unit(valid, CALIBRATION)).values()} == {"constant activations"}


@pytest.mark.parametrize(
    ("predicted", "error"), [(None, None), (np.zeros(2), "and yet"), (np.zeros(3), None)], ids=["no", "two", "shape"]
)
def test_an_excerpt_that_contradicts_itself_is_a_bug(predicted, error):
    with pytest.raises((TypeError, ValueError)):
        ScoredExcerpt(kind="top", true=np.zeros(2), predicted=predicted, error=error)
