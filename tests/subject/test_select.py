from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localexplain.errors import UserError
from localexplain.subject.select import (
    NO_EXCERPT,
    RANDOM_SPLITS,
    TOP_SPLITS,
    choose_units,
    first_true,
    select_strata,
    select_top_and_random,
    stratum_ranges,
    unit_order,
)
from localexplain.types import Unit

FREE = settings(deadline=None)


@st.composite
def captures(draw):
    """(maxima [excerpts, units], top ids and maxima [units, K], hashes, sample): what a capture hands over."""
    n_excerpts, n_units = draw(st.integers(1, 60)), draw(st.integers(1, 5))
    top_k, n_random = draw(st.integers(1, 12)), draw(st.integers(0, 9))
    numbers = np.random.default_rng(draw(st.integers(0, 10**6)))
    levels = draw(st.integers(1, 8))  # few, so that maxima are equal; shifted, so that some units are hardly active
    maxima = (numbers.integers(-levels, levels + 1, (n_excerpts, n_units)) - draw(st.integers(0, 8))).astype(np.float32)
    top_ids = np.full((n_units, top_k), NO_EXCERPT)
    top_maxima = np.full((n_units, top_k), -np.inf, dtype=np.float32)
    for unit in range(n_units):
        best = sorted(range(n_excerpts), key=lambda excerpt: (-maxima[excerpt, unit], excerpt))[:top_k]
        top_ids[unit, : len(best)], top_maxima[unit, : len(best)] = best, maxima[best, unit]
    hashes = numbers.permutation(n_excerpts).astype(np.uint64) * 1000
    sample = np.argsort(hashes)[: n_random + top_k]
    return maxima, top_ids, top_maxima, hashes, sample, n_random


# top and random ------------------------------------------------------------------------------------------------------


@FREE
@given(captures())
def test_top_and_random_are_the_plain_loop(capture):
    maxima, top_ids, top_maxima, _, sample, n_random = capture
    picked = select_top_and_random(top_ids, top_maxima, sample, n_random)
    for unit in range(len(top_ids)):
        active = [int(i) for i in top_ids[unit] if i >= 0 and maxima[i, unit] > 0]
        wanted_top = active + [NO_EXCERPT] * (top_ids.shape[1] - len(active))
        assert picked.top[unit].tolist() == wanted_top
        free = [(place, int(i)) for place, i in enumerate(sample) if i not in active][:n_random]
        gap = [NO_EXCERPT] * (n_random - len(free))
        assert picked.random[unit].tolist() == [i for _, i in free] + gap
        assert picked.random_places[unit].tolist() == [place for place, _ in free] + gap


@FREE
@given(captures(), st.integers(1, 6))
def test_no_excerpt_is_in_two_places(capture, n_each):
    maxima, top_ids, top_maxima, hashes, sample, n_random = capture
    picked = select_top_and_random(top_ids, top_maxima, sample, n_random)
    taken = np.concatenate([picked.top, picked.random], axis=1)
    strata = select_strata(maxima, hashes, taken, n_each)
    for unit in range(len(top_ids)):
        everything = [*picked.top[unit], *picked.random[unit], *strata[unit].ravel()]
        excerpts = Counter(int(excerpt) for excerpt in everything if excerpt != NO_EXCERPT)
        assert all(count == 1 for count in excerpts.values())
        assert all(0 <= excerpt < len(maxima) for excerpt in excerpts)
        # as many random ones as asked for, unless the texts have no more
        assert (picked.random[unit] >= 0).sum() == min(n_random, len(maxima) - (picked.top[unit] >= 0).sum())


def test_the_splits_of_the_protocol():
    # dealt in turn by rank: stride 4 over the top 20, stride 3 over 15 random ones, five each
    top = {split: [rank for rank in range(20) if TOP_SPLITS[rank % len(TOP_SPLITS)] == split] for split in TOP_SPLITS}
    assert top["train"] == [0, 4, 8, 12, 16]
    assert top["calibration"] == [1, 5, 9, 13, 17]
    assert top["valid"] == [2, 6, 10, 14, 18]
    assert top["test"] == [3, 7, 11, 15, 19]
    random = {s: [rank for rank in range(15) if RANDOM_SPLITS[rank % len(RANDOM_SPLITS)] == s] for s in RANDOM_SPLITS}
    assert random == {"calibration": [0, 3, 6, 9, 12], "valid": [1, 4, 7, 10, 13], "test": [2, 5, 8, 11, 14]}


def test_a_unit_with_too_few_active_excerpts():
    # Three units on six excerpts: active on two of them, on none, on one that the sample begins with.
    top_ids = np.array([[4, 1, 0], [0, 1, 2], [5, 0, 1]])
    top_maxima = np.array([[3.0, 0.5, 0.0], [0.0, -1.0, -1.0], [2.0, -3.0, -4.0]])
    picked = select_top_and_random(top_ids, top_maxima, np.array([5, 1, 4, 0, 2]), 3)
    assert picked.top.tolist() == [[4, 1, -1], [-1, -1, -1], [5, -1, -1]]
    assert picked.random.tolist() == [[5, 0, 2], [5, 1, 4], [1, 4, 0]]
    assert picked.random_places.tolist() == [[0, 3, 4], [0, 1, 2], [1, 2, 3]]


@FREE
@given(st.integers(1, 6), st.integers(0, 9), st.integers(0, 12), st.integers(0, 10**6))
def test_first_true_is_the_plain_loop(n_units, n_options, n, seed):
    mask = np.random.default_rng(seed).integers(0, 2, (n_units, n_options)).astype(bool)
    wanted = [([int(column) for column in np.nonzero(row)[0]] + [NO_EXCERPT] * n)[:n] for row in mask]
    assert first_true(mask, n).tolist() == wanted


# strata --------------------------------------------------------------------------------------------------------------


@given(st.integers(1, 300_000))
def test_strata_tile_the_ranks_at_the_shares(n_excerpts):
    # exact in whole numbers: floor of 5/10, 9/10, 99/100, 999/1000 of the excerpts
    ends = [n_excerpts * 5 // 10, n_excerpts * 9 // 10, n_excerpts * 99 // 100, n_excerpts * 999 // 1000, n_excerpts]
    assert stratum_ranges(n_excerpts) == [range(a, b) for a, b in zip([0, *ends[:-1]], ends, strict=True)]


@pytest.mark.parametrize(
    ("n_excerpts", "ends"),
    [
        (1, [0, 0, 0, 0, 1]),
        (2, [1, 1, 1, 1, 2]),
        (99, [49, 89, 98, 98, 99]),
        (100, [50, 90, 99, 99, 100]),
        (1000, [500, 900, 990, 999, 1000]),
        (50_000, [25_000, 45_000, 49_500, 49_950, 50_000]),
    ],
)
def test_strata_by_hand(n_excerpts, ends):
    assert [part.stop for part in stratum_ranges(n_excerpts)] == ends


@FREE
@given(captures(), st.integers(0, 6))
def test_strata_examples_are_the_plain_loop(capture, n_each):
    maxima, top_ids, top_maxima, hashes, sample, n_random = capture
    picked = select_top_and_random(top_ids, top_maxima, sample, n_random)
    taken = np.concatenate([picked.top, picked.random], axis=1)
    found = select_strata(maxima, hashes, taken, n_each)
    assert found.shape == (len(top_ids), 5, n_each)
    for unit in range(len(top_ids)):
        by_rank = sorted(range(len(maxima)), key=lambda excerpt: (maxima[excerpt, unit], excerpt))
        for stratum, ranks in enumerate(stratum_ranges(len(maxima))):
            inside = [excerpt for excerpt in (by_rank[rank] for rank in ranks) if excerpt not in taken[unit]]
            wanted = sorted(inside, key=lambda excerpt: int(hashes[excerpt]))[:n_each]
            assert found[unit, stratum].tolist() == wanted + [NO_EXCERPT] * (n_each - len(wanted))


def test_strata_of_ten_excerpts_by_hand():
    # Maxima 9, 8 ... 0: rank r is excerpt 9 - r. Strata of ranks 0-4, 5-8, none, none, 9. Excerpt 7 is taken.
    # Hashes make the even excerpts come first.
    maxima = np.arange(9, -1, -1, dtype=np.float32)[:, None]
    hashes = np.array([0, 5, 1, 6, 2, 7, 3, 8, 4, 9], dtype=np.uint64)
    found = select_strata(maxima, hashes, np.array([[7, NO_EXCERPT]]), 3)
    assert found[0].tolist() == [[6, 8, 5], [2, 4, 1], [-1] * 3, [-1] * 3, [0, -1, -1]]


# which units ---------------------------------------------------------------------------------------------------------

SIZES = {0: 6, 1: 4, 3: 6}  # layer 2 was not captured
UNITS = [Unit(basis="mlp", layer=layer, index=index) for layer, size in SIZES.items() for index in range(size)]


def names(units):
    return [str(unit) for unit in units]


def choose(text, seed=0, candidates=UNITS):
    return choose_units(text, candidates, SIZES, seed)


def test_all_units_in_order():
    assert choose("all", candidates=UNITS[::-1]) == sorted(UNITS)


@FREE
@given(st.integers(1, 20), st.integers(0, 10**6), st.randoms())
def test_a_sample_is_even_over_the_layers(n, seed, random):
    shuffled = list(UNITS)
    random.shuffle(shuffled)
    chosen = choose(f"sample:{n}", seed)
    assert chosen == choose(f"sample:{n}", seed, shuffled)  # it depends on the seed and the units alone
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(n, len(UNITS))
    counts = Counter(unit.layer for unit in chosen)
    for layer, size in SIZES.items():
        # a layer has as many as any other, give or take one, unless it has no more units
        assert counts[layer] == size or counts[layer] >= max(counts.values()) - 1
    assert set(chosen) <= set(choose(f"sample:{n + 1}", seed))  # a larger sample keeps the smaller one's units


def test_a_sample_is_random_within_the_layers():
    first = Counter(str(choose("sample:3", seed)[0]) for seed in range(300))
    # one unit of layer 0 each time, 50 of 300 for each of its six, standard deviation 6.5
    assert set(first) == {f"mlp.0:{index}" for index in range(6)}
    assert min(first.values()) > 20


def test_the_order_of_a_sample_stays_from_release_to_release():
    # blake2b of "7 mlp.3:5", 8 bytes:  printf '7 mlp.3:5' | b2sum -l 64
    assert unit_order(Unit(basis="mlp", layer=3, index=5), 7) == "b84ddc3388dd3d33"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("mlp.3:5", ["mlp.3:5"]),
        ("mlp.3:5, mlp.0:2,mlp.3:5", ["mlp.0:2", "mlp.3:5"]),  # in order, each once
        ("mlp.1", ["mlp.1:0", "mlp.1:1", "mlp.1:2", "mlp.1:3"]),
        ("mlp.1:1, mlp.1, mlp.0:0", ["mlp.0:0", "mlp.1:0", "mlp.1:1", "mlp.1:2", "mlp.1:3"]),
        ("  mlp.0:5  ", ["mlp.0:5"]),
    ],
)
def test_a_list_of_units_and_layers(text, wanted):
    assert names(choose(text)) == wanted


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mlp.1:4", "'mlp.1:4' is out of range; layer 1 has units 0 to 3"),
        ("mlp.0:0, mlp.2:0", "'mlp.2:0' is out of range; layers go from 0 to 3"),
        ("mlp.9", "'mlp.9' is out of range; layers go from 0 to 3"),
        ("head.0:1", "'head.0:1' is no unit"),
        ("mlp.0:-1", "'mlp.0:-1' is no unit"),
        ("mlp.0:1:2", "'mlp.0:1:2' is no unit"),
        ("mlp.0:1,", "'' is no unit"),
        ("", "'' is no unit"),
        ("every", "'every' is no unit"),
        ("sample:0", "'sample:0' is not a sample"),
        ("sample:-3", "'sample:-3' is not a sample"),
        ("sample:", "'sample:' is not a sample"),
        ("sample:2.5", "'sample:2.5' is not a sample"),
        ("sample:²", "'sample:²' is not a sample"),
    ],
)
def test_a_choice_that_means_nothing(text, words):
    with pytest.raises(UserError, match=f"^units: {words}") as error:
        choose(text)
    assert "\n" not in str(error.value)


def test_a_unit_that_was_not_captured():
    with pytest.raises(UserError, match=r"mlp.0:1 was not captured in this run; capture it in a new run folder"):
        choose("mlp.0:0, mlp.0:1", candidates=[UNITS[0]])
    assert names(choose("sample:5", candidates=UNITS[:2])) == ["mlp.0:0", "mlp.0:1"]
