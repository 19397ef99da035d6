from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from localexplain.score.controls import LookupTable, select_unscored, shuffle_explanations
from localexplain.types import Record, Unit

UNIT = Unit(basis="mlp", layer=0, index=7)


def record(token_ids, activations, *, split="train", excerpt_id=0, unit=UNIT):
    return Record(
        unit=unit,
        excerpt_id=excerpt_id,
        kind="stratum" if split is None else "top",
        rank=0,
        stratum=0 if split is None else None,
        split=split,
        tokens=tuple(f"t{i}" for i in token_ids),
        token_ids=tuple(token_ids),
        activations=np.array(activations, dtype=np.float32),
    )


# lookup --------------------------------------------------------------------------------------------------------------


def test_lookup_by_hand():
    # token 5: (1 + 3 + 5) / 3 = 3; token 2: 7; unseen: (1 + 3 + 7 + 5) / 4 = 4, not the mean of 3 and 7
    table = LookupTable.fit([record([5, 5, 2], [1, 3, 7]), record([5], [5], split=None)])
    predicted = table.predict([2, 5, 0, 3, 99, 5])
    assert predicted.tolist() == [7, 3, 4, 4, 4, 3]
    assert predicted.dtype == np.float32
    assert table.predict([]).tolist() == []


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 9), st.integers(-40, 40)), max_size=12), min_size=1),
    st.lists(st.integers(-3, 12)),
)
def test_lookup_is_the_plain_loop(texts, wanted):
    seen = defaultdict(list)
    for token, activation in (pair for text in texts for pair in text):
        seen[token].append(activation)
    everything = [activation for activations in seen.values() for activation in activations]
    records = [record([t for t, _ in text], [a for _, a in text]) for text in texts]
    if not everything:
        with pytest.raises(ValueError, match="no tokens"):
            LookupTable.fit(records)
        return
    expected = [np.mean(seen.get(token, everything)) for token in wanted]
    assert LookupTable.fit(records).predict(wanted) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("split", ["valid", "test"])
def test_lookup_refuses_what_is_scored(split):
    with pytest.raises(ValueError, match=split):
        LookupTable.fit([record([1], [1]), record([2], [2], split=split)])


def test_lookup_refuses_nothing_and_two_units():
    with pytest.raises(ValueError, match="no tokens"):
        LookupTable.fit([])
    with pytest.raises(ValueError, match="several"):
        LookupTable.fit([record([1], [1]), record([1], [1], unit=Unit(basis="mlp", layer=0, index=8))])


def test_a_stratum_on_a_scored_excerpt_is_left_out():
    # The leak that the split alone does not show: the same excerpt once as valid, once as a stratum.
    train, calibration = record([1], [1], excerpt_id=1), record([1], [2], split="calibration", excerpt_id=2)
    free, shared = record([1], [3], split=None, excerpt_id=3), record([1], [4], split=None, excerpt_id=4)
    valid, test = record([1], [4], split="valid", excerpt_id=4), record([1], [5], split="test", excerpt_id=5)
    kept = select_unscored([shared, train, valid, free, calibration, test])
    assert [r.excerpt_id for r in kept] == [1, 3, 2]
    assert LookupTable.fit(kept).predict([1]).tolist() == [2]


# shuffled ------------------------------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from("abcdef"), min_size=2, max_size=30), st.integers(0, 10**6))
def test_shuffled_is_a_derangement_that_avoids_equal_texts(texts, seed):
    donors = shuffle_explanations(texts, seed)
    assert sorted(donors) == list(range(len(texts)))
    assert all(donor != unit for unit, donor in enumerate(donors))
    # A text shared by m of n units meets n - m others, so 2m - n of its units get it back at best; no other has to.
    unavoidable = max(0, 2 * max(Counter(texts).values()) - len(texts))
    assert sum(texts[donor] == texts[unit] for unit, donor in enumerate(donors)) == unavoidable


@pytest.mark.parametrize("n", [2, 3, 10, 1000])
def test_shuffled_over_distinct_texts_depends_on_the_seed_alone(n):
    texts = [f"words about {i}" for i in range(n)]
    draws = {seed: shuffle_explanations(texts, seed) for seed in range(20)}
    assert draws == {seed: shuffle_explanations(texts, seed) for seed in range(20)}
    # Circles over n units: (n - 1)! of them, so 1 for two units, 2 for three and no repeat in 20 draws from ten up
    assert len(set(draws.values())) == {2: 1, 3: 2, 10: 20, 1000: 20}[n]


def test_shuffled_keeps_its_draw_from_release_to_release():
    # A stored run must stay reproducible. hashlib.blake2b(b"0:a", digest_size=16) and so on stand in the order a c b d;
    # each takes the next one's: a <- c, c <- b, b <- d, d <- a.
    assert shuffle_explanations(["a", "b", "c", "d"], 0) == (2, 3, 1, 0)


def test_every_other_unit_can_be_the_donor():
    texts = ["a", "b", "c", "d", "e"]
    givers = Counter(shuffle_explanations(texts, seed)[0] for seed in range(400))
    # 400 draws over 4 donors: 100 each, standard deviation 8.7; 60 is more than four below
    assert set(givers) == {1, 2, 3, 4}
    assert min(givers.values()) > 60


def test_shuffled_of_none_and_of_one():
    assert shuffle_explanations([], 0) == ()
    with pytest.raises(ValueError, match="one explanation"):
        shuffle_explanations(["alone"], 0)
    assert shuffle_explanations(["same", "same"], 0) == (1, 0)


def test_a_lone_surrogate_in_a_text_is_no_obstacle():
    assert sorted(shuffle_explanations(["\ud83d", "", "x"], 0)) == [0, 1, 2]
