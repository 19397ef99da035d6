"""Words in one of their senses, on synsets made by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localexplain.train.senses import Sense, collect_senses, find_word, mix_senses
from localexplain.train.wordnet import Synset


def synset(key, words, definition, *examples):
    return Synset(id=key, words=tuple(words), definition=definition, hypernyms=(), examples=examples)


SYNSETS = [
    synset("file-tool", ["file", "rasp"], "(usually plural) a tool that smooths metal", "she took a file to the edge"),
    synset("file-paper", ["file"], "papers kept together", "the clerk opened a file", "two files lay on his desk"),
    synset("file-row", ["file"], "people one behind another", "no sentence with the word in it here: filet"),
    synset("lamp", ["lamp"], "a thing that gives light", "the lamp went out"),
]
TOOL = Sense("file", "a tool that smooths metal", ("she took a file to the edge",))
PAPER = Sense("file", "papers kept together", ("the clerk opened a file", "two files lay on his desk"))


def test_senses_are_those_with_examples_of_words_that_have_two():
    # "file-row" has no example with the word, "lamp" one sense alone, "rasp" is not known
    assert collect_senses(SYNSETS, {"file", "lamp"}) == [[TOOL, PAPER]]
    assert collect_senses(SYNSETS, {"lamp", "rasp"}) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Files, filed and a file; defile, filet", ["Files", "filed", "file"]),
        ("profile", []),
    ],
)
def test_regular_forms_are_found_and_longer_words_are_not(text, found):
    assert [text[start:end] for start, end in find_word("file", text)] == found


@settings(deadline=None)
@given(seed=st.integers(0, 10_000))
def test_only_the_sense_s_own_word_is_active(seed):
    random = np.random.default_rng(seed)
    text, levels = mix_senses(TOOL, [PAPER], ["the lamp went out"], True, random)
    assert len(levels) == len(text)
    start = text.index("took a file") + len("took a ")
    assert np.flatnonzero(levels).tolist() == list(range(start, start + len("file")))
    assert set(levels.tolist()) == {0, 10}
    assert len(find_word("file", text)) == 2  # the other sense is there, and silent
    assert "the lamp went out" in text


@settings(deadline=None)
@given(seed=st.integers(0, 10_000))
def test_without_the_sense_the_whole_text_is_silent(seed):
    text, levels = mix_senses(TOOL, [PAPER], [], False, np.random.default_rng(seed))
    assert find_word("file", text)
    assert not levels.any()
    assert len(levels) == len(text)
