"""One read position for each subject token, whatever the subject's tokens and the model's vocabulary are."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from localexplain.engines.labels import choose_labels
from localexplain.errors import EngineError
from localexplain.prompts import show_token
from localexplain.simulate.cells import CellFormat, CellWriter, cell_text

FORM = CellFormat(separator="\t", filler="?", end="\n")
AWKWARD = (
    "",
    " ",
    "  ",
    "\t",
    "\n",
    "\n\n",
    "\r\n",
    "\\",
    "\\n",
    "?",
    "?\n",
    "\t?",
    "0",
    "10",
    "1",
    "\ufffd",
    "\u2028",
)
SPECIAL = (
    "<|im_start|>",
    "<|endoftext|>",
    "</excerpt>",
    "assistant",
    "<start>",
    "unknown",
    "\\xe2\\x80",
    "\ud800",
    "é",
)
TOKENS = st.lists(st.sampled_from(AWKWARD + SPECIAL) | st.text(st.characters(), max_size=5), max_size=12)


def train(greedy):
    """A byte-level BPE that has learned to merge tabs, line breaks and fillers with their neighbours. `greedy` cuts
    text into no words at all before, so that a merge may cross anything."""
    tokenizer = Tokenizer(models.BPE())
    parts = [] if greedy else [pre_tokenizers.Split(Regex(r"[0-9]| ?\p{L}+|\s+| ?[^\s\p{L}0-9]+"), "isolated")]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*parts, pre_tokenizers.ByteLevel(False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    lines = [f" word\t?\n\\n\t?\n\t\t\n\n  \t{level}\n?\n10\t0" for level in range(10)]
    tokenizer.train_from_iterator(lines * 20, trainer)
    return tokenizer


class Vocabulary:
    def __init__(self, greedy):
        self.backend = train(greedy)

    def encode(self, text):
        return tuple(self.backend.encode(text, add_special_tokens=False).ids)

    def decode(self, ids):
        return self.backend.decode(list(ids))


WORDS, GREEDY = Vocabulary(greedy=False), Vocabulary(greedy=True)
LABELS = choose_labels(WORDS.encode, WORDS.decode, FORM.separator)
WRITERS = {
    vocabulary: CellWriter(vocabulary.encode, FORM, [vocabulary.encode(letter)[0] for letter in "ABCDEFGHIJK"])
    for vocabulary in (WORDS, GREEDY)
}
LETTERS = tuple("ABCDEFGHIJK")


def test_the_vocabularies_are_as_bad_as_they_should_be():
    # joined text does merge across cells here, so the tests below would catch a writer that tokenises it
    joined = cell_text(("\t", ""), (None, None), FORM, LETTERS)
    exact = WRITERS[GREEDY].write(("\t", ""), (None, None)).token_ids
    assert GREEDY.decode(GREEDY.encode(joined)) == GREEDY.decode(exact)
    assert len(GREEDY.encode(joined)) < len(exact)
    assert len(GREEDY.encode("?\n")) == 1


@pytest.mark.parametrize("vocabulary", [WORDS, GREEDY], ids=["words", "greedy"])
@given(tokens=TOKENS, data=st.data())
@example(tokens=list(AWKWARD + SPECIAL), data=None)
def test_one_position_for_each_token_right_behind_its_separator(vocabulary, tokens, data):
    level = st.none() | st.integers(0, 10)
    size = len(tokens)
    levels = [None] * size if data is None else data.draw(st.lists(level, min_size=size, max_size=size))
    cells = WRITERS[vocabulary].write(tokens, levels)
    assert len(cells.positions) == len(tokens)
    assert list(cells.positions) == sorted(set(cells.positions))
    # the reading of every position: the text up to it is the cells before it, then this token and the separator
    text = ""
    for token, told, position in zip(tokens, levels, cells.positions, strict=True):
        assert vocabulary.decode(cells.token_ids[: position + 1]) == text + show_token(token) + "\t"
        text += f"{show_token(token)}\t{'?' if told is None else LETTERS[told]}\n"
    assert vocabulary.decode(cells.token_ids) == text == cell_text(tokens, levels, FORM, LETTERS)


@given(tokens=TOKENS, others=TOKENS)
def test_a_cell_is_the_same_whatever_stands_around_it(tokens, others):
    writer = WRITERS[GREEDY]
    one = writer.write(tokens, [None] * len(tokens))
    two = writer.write(others, [None] * len(others))
    both = writer.write([*tokens, *others], [None] * (len(tokens) + len(others)))
    assert both.token_ids == one.token_ids + two.token_ids
    assert both.positions == (*one.positions, *(len(one.token_ids) + place for place in two.positions))


def test_labels_are_the_given_ids_and_only_the_level_changes():
    writer = CellWriter(WORDS.encode, FORM, LABELS.ids)
    told, untold = writer.write(("a",), (10,)), writer.write(("a",), (None,))
    assert told.positions == untold.positions
    assert told.token_ids[told.positions[0] + 1] == LABELS.ids[10]
    assert untold.token_ids[untold.positions[0] + 1 :] == WORDS.encode("?") + WORDS.encode("\n")


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="shorter"):
        WRITERS[WORDS].write(("a", "b"), (None,))


@pytest.mark.parametrize("lost", ["\t", "?"])
def test_a_vocabulary_that_cannot_write_a_cell_is_refused(lost):
    with pytest.raises(EngineError, match="cannot write the cells"):
        CellWriter(lambda text: [] if text == lost else [1], FORM, range(11))
