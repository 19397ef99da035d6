"""What an explanation of the small models may name, and the pattern that holds it to that."""

import re

from hypothesis import given
from hypothesis import strategies as st

from localexplain.explain.answers import answer_slots, shared_affixes
from localexplain.explain.prompt import ShownExcerpt, answer_pattern
from localexplain.prompts import escape_regex, load_prompt

INLINE = load_prompt("explain", "inline-v2")


def pattern_of(*excerpts):
    shown = [
        ShownExcerpt(tokens=tuple(token for token, _ in pairs), levels=tuple(level for _, level in pairs))
        for pairs in excerpts
    ]
    return answer_pattern(INLINE, shown)


def allows(pattern, text):
    return re.fullmatch(pattern, f" {text}\n") is not None


def test_words_are_whole_lower_case_and_the_strongest_first():
    """Tokens cut "trombone" in two, and half of it is active: the word is named whole. "The" is below the lowest."""
    tokens = ("The", " tro", "mbone", " and", " Flute", ".")
    slots = answer_slots([(tokens, (2, 0, 7, 0, 9, 0))], lowest=3, most_words=5)
    assert slots.words == ("flute", "trombone")
    assert slots.lists == ("flute", "flute and trombone")
    assert slots.signs == ()


def test_a_neighbour_is_named_where_most_active_words_follow_it():
    often = [((" upon", " this"), (0, 9)), ((" upon", " arrival"), (0, 8)), ((" at", " noon"), (0, 5))]
    assert answer_slots(often, 3, 5).before == ("upon",)  # 2 of 3, at least 60 %
    seldom = [*often, ((" by", " night"), (0, 5))]
    assert answer_slots(seldom, 3, 5).before == ()  # 2 of 4


def test_affixes_by_hand():
    # dark-ness and kind-ness share "ness" and its ends; two of three words are 67 %, at least 60 %
    assert "ness" in shared_affixes(["darkness", "kindness", "boat"], at_end=True)
    assert shared_affixes(["darkness", "boat", "river"], at_end=True) == ()
    assert "un" in shared_affixes(["unkind", "unfair"], at_end=False)
    assert shared_affixes(["unit"], at_end=False) == ()  # one word shares nothing


def test_only_what_is_shown_can_be_named():
    pattern = pattern_of([(" the", 0), (" mat", 9)], [(" a", 0), (" rug", 6)])
    assert allows(pattern, "words such as mat and rug")
    assert allows(pattern, "the words mat")
    assert not allows(pattern, "words such as carpet")
    assert not allows(pattern, "words such as rug and mat")  # the strongest first
    assert not allows(pattern, "words such as mat and mat")
    assert not allows(pattern, "the word right after the")  # neither neighbour is seen twice
    assert allows(pattern, "text inside brackets")  # a form that names nothing shown


def test_a_single_word_a_sign_and_a_neighbour():
    assert allows(pattern_of([(" mat", 9)]), "the word mat")
    assert not allows(pattern_of([(" mat", 9)]), "words such as mat")
    signs = pattern_of([("Stop", 0), ("(!)", 9)])
    assert allows(signs, "the sign (!)")
    assert not allows(signs, "the sign !")
    after = pattern_of([(" upon", 0), (" this", 9)], [(" upon", 0), (" arrival", 9)])
    assert allows(after, "the word right after upon")


@given(st.text(max_size=30))
def test_an_escaped_text_matches_itself_alone(text):
    assert re.fullmatch(escape_regex(text), text)
    assert not re.fullmatch(escape_regex(text), text + "x")


@given(st.lists(st.tuples(st.text(alphabet="ab '.(!\n*é", max_size=5), st.integers(0, 10)), max_size=8))
def test_a_pattern_is_a_regular_expression_whatever_is_shown(pairs):
    assert re.compile(pattern_of(pairs))
