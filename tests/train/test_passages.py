"""Texts to passages: where they are cut, which words stand in them, and what a held-out text keeps out."""

import re

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from localexplain.train.passages import (
    FEWEST_WORDS,
    MOST_WORDS,
    Passages,
    cut_passages,
    without_shared,
    word_runs,
    words_of,
)

WORDS = st.text("abcXYZ'", min_size=1, max_size=6)
SENTENCES = st.lists(st.lists(WORDS, min_size=1, max_size=90).map(" ".join), max_size=12)
ENDS = st.sampled_from((". ", "! ", "? ", ".\n\n"))


def random(seed=0):
    return np.random.default_rng(seed)


# cutting -------------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(SENTENCES, ENDS, st.integers(0, 50))
def test_passages_are_the_text_in_order_but_for_a_short_rest(sentences, end, seed):
    """Every passage has 12 to 60 words, none is lost between two, only a rest of under 12 at the end."""
    words = end.join(sentences).split()
    found = list(cut_passages(end.join(sentences), random(seed)))
    cut = [word for passage in found for word in passage.split(" ")]
    assert cut == words[: len(cut)]
    assert len(words) - len(cut) < FEWEST_WORDS
    assert all(FEWEST_WORDS <= len(passage.split(" ")) <= MOST_WORDS for passage in found)


def test_a_passage_ends_with_a_sentence_where_one_ends_in_time():
    """Sentences of 13 words each: a passage wants 12 to 29, so it is one, two or three whole sentences."""
    sentence = "this sentence has thirteen words if one counts the last of them too."
    found = list(cut_passages(" ".join([sentence] * 40), random()))
    assert {passage.count("too.") for passage in found} == {1, 2, 3}
    assert all(passage.endswith("too.") for passage in found)
    assert sum(passage.count("too.") for passage in found) == 40


def test_a_sentence_without_end_is_cut_at_sixty_words():
    words = [f"w{number}" for number in range(145)]
    found = list(cut_passages(" ".join(words), random()))
    # 60 + 60 + 25
    assert found == [" ".join(words[:60]), " ".join(words[60:120]), " ".join(words[120:])]


def test_a_short_rest_is_left_out():
    # 60 + 11
    assert [len(passage.split()) for passage in cut_passages(" ".join(["word"] * 71), random())] == [60]
    assert list(cut_passages("Eleven words are one too few to make a passage of.", random())) == []


def test_the_cut_hangs_on_the_random_numbers_alone():
    text = "Here is one short sentence. " * 200
    assert list(cut_passages(text, random(1))) == list(cut_passages(text, random(1)))
    assert list(cut_passages(text, random(1))) != list(cut_passages(text, random(2)))


# words ---------------------------------------------------------------------------------------------------------------

TEXTS = ("The cat saw the Cat.", "A dog, a cat's dog", "", "It's 10 o'clock")


def test_the_index_by_hand():
    """ "cat's" is a word of its own, digits are none, and a word twice in a passage is there once."""
    found = Passages.of(TEXTS)
    assert found.texts == TEXTS
    assert {word: places.tolist() for word, places in found.by_word.items()} == {
        "the": [0],
        "cat": [0],
        "saw": [0],
        "a": [1],
        "dog": [1],
        "cat's": [1],
        "it's": [3],
        "o'clock": [3],
    }
    assert (found.count("dog"), found.count("Dog"), found.count("horse")) == (1, 0, 0)


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from(("Sun", "moon", "don't", "42")), max_size=6).map(" ".join), max_size=8))
def test_the_index_is_that_of_a_plain_search(texts):
    found = Passages.of(texts)
    for word in ("sun", "moon", "don't"):
        places = [place for place, text in enumerate(texts) if re.search(rf"\b{word}\b", text, re.IGNORECASE)]
        assert found.by_word.get(word, np.array([])).tolist() == places
    assert "42" not in found.by_word


def test_drawing_takes_every_passage_and_only_those_that_hold_the_word():
    passages = Passages.of(("one red", "two", "three red", "four red", "five"))
    draw = random(3)
    assert {passages.draw(draw) for _ in range(100)} == set(passages.texts)
    assert {passages.draw_with("red", draw) for _ in range(100)} == {"one red", "three red", "four red"}
    assert passages.draw_with("blue", draw) is None


# what a held-out text keeps out --------------------------------------------------------------------------------------

HELD = "Nine held-out words stand here, none of them new to anyone."


def test_runs_by_hand():
    assert word_runs("a b, C d", 3) == {("a", "b", "c"), ("b", "c", "d")}
    assert word_runs("a b", 3) == set()


def test_eight_shared_words_keep_a_text_out_and_seven_do_not():
    eight = "He said: HELD OUT words stand; here, none of... them?"  # eight words, other signs and case
    seven = "He said: held out words stand here, none of us."
    assert words_of(eight)[2:10] == words_of(HELD)[1:9]
    assert words_of(seven)[2:9] == words_of(HELD)[1:8]
    assert without_shared([seven, eight, "Something else."], [HELD]) == [seven, "Something else."]
    assert without_shared([seven, eight], []) == [seven, eight]


@settings(deadline=None)
@given(
    held=st.lists(st.sampled_from("abc"), max_size=14), text=st.lists(st.sampled_from("abc"), min_size=1, max_size=14)
)
def test_a_text_is_kept_exactly_where_no_run_of_eight_is_shared(held, text):
    """Against a search of the joined words."""
    spaced = f" {' '.join(held)} "
    shared = any(f" {' '.join(text[start : start + 8])} " in spaced for start in range(len(text) - 7))
    assert (without_shared([" ".join(text)], [" ".join(held)]) == []) == shared
