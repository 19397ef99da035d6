"""The interval of one unit's score, against a bootstrap written as plain loops."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float64

from localexplain.score.excerpts import N_RESAMPLES, ExcerptInterval, find_excerpt_interval

Excerpt = tuple[str, Float64[np.ndarray, " T"], Float64[np.ndarray, " T"]]


def draw_excerpts(seed: int, n_top: int, n_random: int, tokens: int = 16, noise: float = 1.0) -> list[Excerpt]:
    """Simulations that are right but for noise."""
    random = np.random.default_rng(seed)
    found = []
    for kind, n, height in (("top", n_top, 4.0), ("random", n_random, 1.0)):
        for _ in range(n):
            true = height * random.random(tokens) ** 3
            found.append((kind, true, true + noise * random.normal(size=tokens)))
    return found


def bootstrap(excerpts: Sequence[Excerpt], seed: int) -> tuple[float, float]:
    """The same draws, each put together token by token and correlated by NumPy; kinds in order of their names."""
    random = np.random.default_rng(seed)
    kinds = sorted({kind for kind, _, _ in excerpts})
    groups = [[item for item in excerpts if item[0] == kind] for kind in kinds]
    places = [random.integers(0, len(group), (N_RESAMPLES, len(group))) for group in groups]
    values = []
    for draw in range(N_RESAMPLES):
        chosen = [group[i] for group, rows in zip(groups, places, strict=True) for i in rows[draw]]
        true, predicted = (np.concatenate([item[side] for item in chosen]) for side in (1, 2))
        if np.ptp(true) > 0 and np.ptp(predicted) > 0:
            values.append(np.corrcoef(true, predicted)[0, 1])
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def interval_of(excerpts: Sequence[Excerpt], seed: int = 0) -> ExcerptInterval:
    found = find_excerpt_interval(excerpts, seed)
    assert found is not None
    return found


def changed(excerpts: Sequence[Excerpt], true: tuple[float, float], predicted: tuple[float, float]) -> list[Excerpt]:
    """a * x + b of both sides."""
    return [(kind, true[0] * x + true[1], predicted[0] * y + predicted[1]) for kind, x, y in excerpts]


@pytest.mark.parametrize(
    ("n_top", "n_random", "noise"), [(5, 5, 1.0), (2, 7, 0.3), (10, 2, 3.0), (0, 4, 1.0), (2, 0, 0.1)]
)
def test_it_is_what_plain_loops_over_the_same_draws_find(n_top: int, n_random: int, noise: float) -> None:
    excerpts = draw_excerpts(1, n_top, n_random, noise=noise)
    found = interval_of(excerpts, seed=3)
    assert (found.low, found.high) == pytest.approx(bootstrap(excerpts, 3), abs=1e-9)
    assert found.n_excerpts == n_top + n_random
    assert -1 <= found.low < found.high <= 1


def test_excerpts_of_other_lengths_weigh_by_their_tokens() -> None:
    excerpts = [*draw_excerpts(1, 3, 3, tokens=4), *draw_excerpts(2, 3, 3, tokens=40)]
    found = interval_of(excerpts)
    assert (found.low, found.high) == pytest.approx(bootstrap(excerpts, 0), abs=1e-9)


def test_the_order_of_kinds_is_that_of_their_names_not_of_the_records() -> None:
    excerpts = draw_excerpts(1, 4, 4)
    assert interval_of(excerpts) == interval_of([*excerpts[4:], *excerpts[:4]])


def test_it_lies_about_the_correlation_over_all_excerpts() -> None:
    excerpts = draw_excerpts(5, 5, 5)
    true, predicted = (np.concatenate([item[side] for item in excerpts]) for side in (1, 2))
    found = interval_of(excerpts)
    assert found.low < np.corrcoef(true, predicted)[0, 1] < found.high


def test_the_same_seed_gives_the_same_interval_and_another_nearly_the_same() -> None:
    excerpts = draw_excerpts(1, 5, 5)
    first, other = interval_of(excerpts, 0), interval_of(excerpts, 1)
    assert first == interval_of(excerpts, 0)
    assert first != other
    # The ends of 2,000 draws move by a few hundredths of the width at most.
    assert (other.low, other.high) == pytest.approx((first.low, first.high), abs=0.1 * (first.high - first.low))


SCALES = st.floats(1e-6, 1e6)
SHIFTS = st.floats(-1e3, 1e3)


@settings(max_examples=25)
@given(SCALES, SHIFTS, SCALES, SHIFTS)
def test_scale_and_origin_of_either_side_do_not_count(a: float, b: float, c: float, d: float) -> None:
    excerpts = draw_excerpts(2, 4, 4)
    # An origin far off in units of the spread leaves fewer digits: 1e3 beside a spread of 1e-6 leaves seven.
    found = interval_of(changed(excerpts, (a, a * b), (c, c * d)))
    plain = interval_of(excerpts)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), abs=1e-7)


def test_the_sign_of_a_side_turns_the_interval_round() -> None:
    excerpts = draw_excerpts(2, 4, 4)
    plain, turned = interval_of(excerpts), interval_of(changed(excerpts, (1, 0), (-1, 0)))
    assert (turned.low, turned.high) == pytest.approx((-plain.high, -plain.low), abs=1e-9)


def test_activations_as_the_store_has_them_are_summed_in_double_precision() -> None:
    """A large mean under a small spread loses all digits in single precision."""
    excerpts = changed(draw_excerpts(2, 4, 4), (1, 4096), (1, 0))
    single = [(kind, x.astype(np.float32), y.astype(np.float32)) for kind, x, y in excerpts]
    found, plain = find_excerpt_interval(single, 0), interval_of(draw_excerpts(2, 4, 4))
    assert found is not None
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), abs=1e-3)


def test_fewer_excerpts_make_it_wider() -> None:
    """Mean width over twenty units: about as one over the square root of the number of excerpts."""
    widths = [
        np.mean([(found := interval_of(draw_excerpts(seed, n, n))).high - found.low for seed in range(20)])
        for n in (3, 6, 12, 24)
    ]
    assert all(wide > 1.2 * narrow for wide, narrow in pairwise(widths))


def test_a_perfect_simulation_is_sure() -> None:
    exact = [(kind, true, 2 * true + 1) for kind, true, _ in draw_excerpts(1, 3, 3)]
    assert interval_of(exact) == ExcerptInterval(low=1.0, high=1.0, n_excerpts=6)


def test_one_excerpt_that_carries_the_score_makes_it_doubtful() -> None:
    """A simulation that is right on one of three excerpts, and says nothing on the others: where that one is not drawn
    there is no correlation, in (2/3)^3 = 8 of 27 draws, far more than a twentieth."""
    peak, flat = np.array([0.0, 1.0, 0.0]), np.zeros(3)
    assert find_excerpt_interval([("top", peak, peak), ("top", peak, flat), ("top", peak, flat)], 0) is None


@pytest.mark.parametrize(
    "excerpts",
    [
        [],
        draw_excerpts(1, 1, 0),
        draw_excerpts(1, 1, 5),  # the one of its kind would be in every draw
        draw_excerpts(1, 5, 1),
        [(kind, true, np.zeros_like(true)) for kind, true, _ in draw_excerpts(1, 3, 3)],
        [(kind, true, np.full_like(true, 0.1)) for kind, true, _ in draw_excerpts(1, 3, 3)],
        [(kind, np.full_like(true, 7.3), predicted) for kind, true, predicted in draw_excerpts(1, 3, 3)],
    ],
    ids=["none", "one", "one top", "one random", "silent simulation", "constant simulation", "constant unit"],
)
def test_where_there_is_none(excerpts: list[Excerpt]) -> None:
    assert find_excerpt_interval(excerpts, 0) is None


def test_two_of_each_kind_are_enough_and_a_draw_without_a_value_in_twenty_is_not_too_many() -> None:
    """One of six excerpts carries all of the simulation: it is in no draw in (5/6)^6 = 33 % of them; two of six in
    (4/6)^6 = 9 %; three of six in (3/6)^6 = 1.6 %, which is fewer than a twentieth."""
    assert find_excerpt_interval(draw_excerpts(1, 2, 2), 0) is not None
    true = np.array([0.0, 2.0, 1.0, 0.0])
    for n_right, has_one in ((1, False), (2, False), (3, True)):
        excerpts = [("top", true, true if place < n_right else np.zeros(4)) for place in range(6)]
        assert (find_excerpt_interval(excerpts, 0) is not None) == has_one
