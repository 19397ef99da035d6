"""The pattern of an echoed grid as an engine compiles it, over the tokens of a real vocabulary."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models

from localexplain.engines.patterns import PatternCompiler, token_bytes
from localexplain.simulate.grid import echoed_grid
from tests.simulate.echoes import CELLS, read_by_hand, spell
from tests.tiny_models import train_tokenizer

# One character of each category that text has, private and unassigned ones and the last code point among them.
ODD = (
    "Aa\u01c5\u02b0\u05d0\u0301\u0903\u20dd1\u2167\u00b2_-()\u00ab\u00bb!+$^\u20ac\u00a6 \xa0"
    "\u2028\u2029\x85\u200b\ufeff\xad\ud800\ue000\u0378\ufdd0\uffff\U0001f600\U0010ffff"
)


@pytest.fixture(scope="module")
def vocabulary():
    """Byte-level, 600 tokens; the first three are special."""
    return train_tokenizer()


@pytest.fixture(scope="module")
def compiler(vocabulary):
    return PatternCompiler(vocabulary, (0, 1, 2), (2,), vocabulary.get_vocab_size())


def walks(compiler, grid, ids):
    """Whether the guide lets the ids pass one by one, and the reply end behind them."""
    guide = compiler.start(grid.pattern)
    for index in ids:
        if not guide.allowed()[index]:
            return False
        guide.advance(index)
    return guide.is_matched


def spellings(vocabulary, text):
    """The text's ids as the tokenizer cuts it, and with a token for each byte."""
    vocabulary.encode_special_tokens = True
    whole = vocabulary.encode(text, add_special_tokens=False).ids
    bytes_of = {data: ids[0] for data, ids in token_bytes(vocabulary, {0, 1, 2}).items()}
    return whole, [bytes_of[bytes([byte])] for byte in text.encode("utf-8")]


def test_every_character_can_be_written(vocabulary, compiler):
    """All of ASCII and of Latin-1, signs of regular expressions among them, and one of every category."""
    tokens = [*map(chr, range(256)), *ODD, "<|im_end|>", "\\d+", "(?i)", "日本", ""]
    cells = [(token, place % 11) for place, token in enumerate(tokens)]
    for ids in spellings(vocabulary, spell(cells)):
        assert walks(compiler, echoed_grid(tokens), ids)


@settings(max_examples=40, deadline=None)
@given(CELLS, st.data())
def test_the_compiled_pattern_is_the_grid_and_nothing_else(vocabulary, compiler, cells, data):
    tokens = [token for token, _ in cells]
    text = spell(cells)
    for ids in spellings(vocabulary, text):
        assert walks(compiler, echoed_grid(tokens), ids)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(start + 2, len(text))))
    changed = text[:start] + data.draw(st.text(" 01.,\\\n\u0661", max_size=2)) + text[end:]
    for ids in spellings(vocabulary, changed):
        assert walks(compiler, echoed_grid(tokens), ids) == (read_by_hand(changed, tokens) is not None)


def test_whatever_the_guide_lets_pass_is_a_grid_within_max_tokens(vocabulary, compiler):
    """A hundred walks that take any allowed token, each as likely."""
    random = np.random.default_rng(0)
    tokens = ("1", " 日", "", "10", "[x]", "\t", " harbour")
    grid = echoed_grid(tokens)
    seen = set()
    for _ in range(100):
        guide, ids = compiler.start(grid.pattern), []
        while not guide.is_complete:
            allowed = guide.allowed().nonzero()[0]
            assert 2 not in allowed  # the stop token: no reply ends before the last line does
            ids.append(int(allowed[int(random.integers(len(allowed)))]))
            guide.advance(ids[-1])
        assert len(ids) <= grid.max_tokens
        found = grid.read(vocabulary.decode(ids))
        assert found is not None
        seen.update(found.tolist())
    assert seen == set(range(11))


@pytest.mark.parametrize("written", ["a1", "a10\n1", "a1\n1\n101"], ids=["first", "of an empty token", "last"])
def test_behind_a_1_come_the_line_end_or_a_0_and_nothing_else(vocabulary, compiler, written):
    """Nor may the reply end there, in the last cell as little as before it."""
    guide = compiler.start(echoed_grid(["a", "", "10"]).pattern)
    _, ids = spellings(vocabulary, written)
    for index in ids:
        guide.advance(index)
    texts = {index: text for text, found in token_bytes(vocabulary, {0, 1, 2}).items() for index in found}
    assert {b"0\n".find(texts[int(index)]) for index in guide.allowed().nonzero()[0]} == {0, 1}
    assert not guide.is_matched


def test_a_token_that_the_vocabulary_cannot_spell_is_an_error_of_its_excerpt():
    """Words and no bytes: "é" cannot be written."""
    pieces = {piece: place for place, piece in enumerate(["</s>", *"0123456789", "a", "\n"])}
    backend = Tokenizer(models.BPE(pieces, []))
    backend.decoder = decoders.Fuse()
    poor = PatternCompiler(backend, (), (0,), len(pieces))
    assert walks(poor, echoed_grid(["a", ""]), [pieces[sign] for sign in "a3\n10\n"])
    with pytest.raises(ValueError, match=r"[Vv]ocabulary"):
        poor.start(echoed_grid(["a", "é"]).pattern)
