"""Where a planted unit is active, by hand and by brute force, and what its noise does and leaves alone."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from localexplain.planted.concept import (
    NOISE,
    Concept,
    Noise,
    Pattern,
    active_spans,
    find_levels,
    plant,
    plant_text,
    token_levels,
)

QUIET = Noise(dimmed=1.0, background=0.0, distractors=0.0)
LEVELS = st.lists(st.integers(0, 10), max_size=40).map(lambda levels: np.array(levels, dtype=np.int8))


def concept(*patterns, exceptions=()):
    """`patterns`: expressions, or (expression, level)."""
    made = tuple(Pattern(find=p) if isinstance(p, str) else Pattern(find=p[0], level=p[1]) for p in patterns)
    return Concept(kind="made", name="up", explanations=("made up",), patterns=made, exceptions=exceptions)


def drawn(seed=0):
    return np.random.default_rng(seed)


# characters ----------------------------------------------------------------------------------------------------------


def test_levels_by_hand():
    # "a cat sat on cats": cat is at 2..5 and 13..16, cats at 13..17, where the higher level wins
    levels = find_levels(concept(("cat", 6), (r"\bcats\b", 9)), "a cat sat on cats")
    assert levels.tolist() == [0, 0, 6, 6, 6, 0, 0, 0, 0, 0, 0, 0, 0, 9, 9, 9, 9]
    assert levels.dtype == np.int8


def test_the_order_of_patterns_does_not_matter():
    patterns = (("o+", 3), ("moo", 8), ("[a-n]", 5))
    found = {find_levels(concept(*order), "a moon, no moor").tobytes() for order in permutations(patterns)}
    assert len(found) == 1


@given(st.lists(st.sampled_from(["a", "b", "ab", "ba", "aab"]), max_size=4), st.text("ab ", max_size=30), st.data())
def test_plain_words_are_found_as_a_slow_search_finds_them(words, text, data):
    chosen = [(word, data.draw(st.integers(1, 10))) for word in words]
    expected = [0] * len(text)
    for word, level in chosen:
        start = text.find(word)
        while start >= 0:
            for place in range(start, start + len(word)):
                expected[place] = max(expected[place], level)
            start = text.find(word, start + len(word))
    assert find_levels(concept(*chosen), text).tolist() == expected


def test_only_the_group_on_is_active_where_there_is_one():
    # "cup of tea": tea is at 7..10
    assert active_spans(r"of (?P<on>\w+)", "cup of tea") == [(7, 10)]
    assert active_spans(r"of (\w+)", "cup of tea") == [(4, 10)]


def test_a_group_that_took_no_part_marks_nothing():
    assert active_spans("(?P<on>cat)|dog", "dog cat dog") == [(4, 7)]


def test_empty_matches_mark_nothing():
    # x* also matches the empty text before a, before b and at the end
    assert active_spans("x*", "axxb") == [(1, 3)]
    assert find_levels(concept("x*"), "axxb").tolist() == [0, 10, 10, 0]


def test_exceptions_silence_their_characters_and_no_others():
    loud = concept("[a-z]+", ("cat", 4))
    text = "the cat, the dog"
    before = find_levels(loud, text)
    after = find_levels(replace(loud, exceptions=("dog", r"(?P<on>the) cat")), text)
    changed = [place for place in range(len(text)) if before[place] != after[place]]
    assert changed == [0, 1, 2, 13, 14, 15]
    assert after[changed].tolist() == [0] * 6


def test_a_text_without_characters_and_a_concept_without_patterns():
    assert find_levels(concept("a"), "").shape == (0,)
    assert find_levels(concept(), "abc").tolist() == [0, 0, 0]


# tokens --------------------------------------------------------------------------------------------------------------


@given(st.lists(st.text("ab ", max_size=4), max_size=12), st.data())
def test_a_token_has_the_highest_level_of_its_characters(tokens, data):
    owners = [place for place, token in enumerate(tokens) for _ in token]
    levels = data.draw(st.lists(st.integers(0, 10), min_size=len(owners), max_size=len(owners)))
    expected = [
        max((level for level, owner in zip(levels, owners, strict=True) if owner == place), default=0)
        for place in range(len(tokens))
    ]
    found = token_levels(np.array(levels, dtype=np.int8), tokens)
    assert found.tolist() == expected
    assert found.dtype == np.int8


def test_a_match_makes_every_token_it_touches_active():
    # "the seaside town": seaside is at 4..11, over " sea", "si" and "de "
    planted = plant_text(concept(("seaside", 7)), ["the", " sea", "si", "de ", "town"], drawn(), QUIET)
    assert planted.activations.tolist() == [0, 7, 7, 7, 0]
    assert planted.tokens == ("the", " sea", "si", "de ", "town")


# noise ---------------------------------------------------------------------------------------------------------------


@given(LEVELS, st.integers(0, 1000))
def test_without_noise_the_activations_are_the_levels(levels, seed):
    found = plant(levels, drawn(seed), QUIET)
    assert found.tolist() == levels.tolist()
    assert found.dtype == np.float32


@given(LEVELS, st.integers(0, 1000))
def test_noise_stays_within_its_bounds(levels, seed):
    found = plant(levels, drawn(seed), NOISE)
    active = levels > 0
    slack = 1e-5  # float32
    assert (found[active] >= NOISE.dimmed * levels[active] - slack).all()
    assert (found[active] <= levels[active]).all()
    loud = found[~active & (found > 1.0)]
    assert len(loud) <= 1
    assert all(2.0 <= value <= 5.0 for value in loud)
    assert (found >= 0).all()


def test_the_shares_are_those_of_the_settings():
    levels = np.array([0] * 9 + [10], dtype=np.int8)
    random = drawn(1)
    found = np.array([plant(levels, random) for _ in range(4000)])
    silent, active = found[:, :9], found[:, 9]
    # Each tolerance is four standard errors. Dimmed: uniform on [7, 10], deviation 3 / sqrt(12) = 0.866, 4000 draws
    assert active.mean() == pytest.approx(8.5, abs=4 * 0.866 / 4000**0.5)
    assert active.min() < 7.05
    assert active.max() > 9.95
    # one text in ten has a distractor: sqrt(0.1 * 0.9 / 4000) = 0.0047
    distractors = (silent >= 2).any(axis=1)
    assert distractors.mean() == pytest.approx(0.1, abs=4 * 0.0047)
    # one silent token in twenty is weak where no distractor took its place: sqrt(0.05 * 0.95 / 32400) = 0.0012
    weak = silent[~distractors]
    assert ((weak > 0) & (weak < 1)).mean() == pytest.approx(0.05, abs=4 * 0.0012)
    assert weak[weak > 0].mean() == pytest.approx(0.5, abs=4 * 0.29 / 1600**0.5)


def test_a_distractor_can_stand_on_any_silent_token():
    levels = np.array([0, 10, 0, 0], dtype=np.int8)
    random = drawn(2)
    noise = replace(QUIET, distractors=1.0)
    places = [int(np.flatnonzero((values := plant(levels, random, noise)) * (values < 10))[0]) for _ in range(100)]
    assert set(places) == {0, 2, 3}


@pytest.mark.parametrize(
    ("setting", "changes"),
    [({"dimmed": 0.2}, "active"), ({"background": 1.0}, "silent"), ({"distractors": 1.0}, "silent")],
)
def test_each_setting_changes_its_own_tokens_and_no_others(setting, changes):
    levels = np.array([0, 10, 0, 5, 0, 0, 1], dtype=np.int8)
    for seed in range(20):
        quiet, noisy = plant(levels, drawn(seed), QUIET), plant(levels, drawn(seed), replace(QUIET, **setting))
        changed = quiet != noisy
        assert changed.any()
        assert not changed[levels == 0 if changes == "active" else levels > 0].any()


@pytest.mark.parametrize("levels", [[], [10, 10, 10]])
def test_a_text_without_silent_tokens_has_no_distractor(levels):
    loud = replace(QUIET, distractors=1.0, background=1.0)
    assert plant(np.array(levels, dtype=np.int8), drawn(), loud).tolist() == levels


def test_the_noise_is_the_generators():
    levels = np.array([0, 10, 0, 7] * 10, dtype=np.int8)
    assert plant(levels, drawn(3)).tolist() == plant(levels, drawn(3)).tolist()
    assert plant(levels, drawn(3)).tolist() != plant(levels, drawn(4)).tolist()
