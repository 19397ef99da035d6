"""Vocabulary entries as bytes: what Outlines is told a token writes."""

import json

import pytest
from tokenizers import Tokenizer, decoders, models

from localexplain.engines.patterns import PatternCompiler, piece_bytes, token_bytes
from tests.tiny_models import train_tokenizer

BYTE_LEVEL = json.dumps({"type": "ByteLevel"})
SENTENCEPIECE = json.dumps({"type": "Sequence", "decoders": [{"type": "ByteFallback"}]})


@pytest.mark.parametrize(
    ("piece", "decoder", "wanted"),
    [
        ("Ġmovie", BYTE_LEVEL, b" movie"),
        ("Ã", BYTE_LEVEL, b"\xc3"),  # the first half of "é"
        ("▁film", BYTE_LEVEL, None),  # no character of the byte alphabet
        ("▁film", SENTENCEPIECE, b" film"),
        ("<0x0A>", SENTENCEPIECE, b"\n"),
        ("<0x0A>", json.dumps({"type": "Metaspace"}), b"<0x0A>"),
        ("é", SENTENCEPIECE, "é".encode()),
    ],
)
def test_piece_bytes(piece: str, decoder: str, wanted: bytes | None) -> None:
    assert piece_bytes(piece, decoder) == wanted


def test_token_bytes_spell_what_the_tokenizer_decodes() -> None:
    backend = train_tokenizer()
    found = token_bytes(backend, left_out={0, 1, 2})
    assert sorted(index for ids in found.values() for index in ids) == list(range(3, backend.get_vocab_size()))
    spelt = {index: data for data, ids in found.items() for index in ids}
    text = "The ferry\tleaves é at 10 😀\n"
    assert b"".join(spelt[index] for index in backend.encode(text).ids) == text.encode()


def test_a_token_that_decodes_to_something_else_is_left_out() -> None:
    """This decoder turns "x" into "y": a reply that a pattern took for "x" would read "y"."""
    backend = Tokenizer(models.BPE({"x": 0, "y": 1, "</s>": 2}, []))
    backend.decoder = decoders.Replace("x", "y")
    assert token_bytes(backend, left_out={2}) == {b"y": [1]}


def test_a_guide_allows_what_can_come_next_and_every_stop_token_once_matched() -> None:
    backend = Tokenizer(models.BPE({"</s>": 0, "1": 1, "0": 2, "10": 3, ",": 4, "<eot>": 5}, []))
    backend.decoder = decoders.Fuse()
    compiler = PatternCompiler(backend, added_ids=(), stop_ids=(0, 5), logit_columns=8)
    guide = compiler.start("(10|[01]),1")
    assert guide.allowed().tolist() == [False, True, True, True, False, False, False, False]
    guide.advance(1)  # "1": a comma, or the "0" of "10"
    assert guide.allowed().nonzero()[0].tolist() == [2, 4]
    guide.advance(4)
    assert guide.allowed().nonzero()[0].tolist() == [1]
    assert not guide.is_matched
    guide.advance(1)
    assert guide.allowed().nonzero()[0].tolist() == [0, 5]
    assert guide.is_complete


def test_guides_of_one_pattern_go_their_own_ways() -> None:
    compiler = PatternCompiler(train_tokenizer(), added_ids=(0, 1, 2), stop_ids=(2,), logit_columns=440)
    one, other = compiler.start("[0-9]"), compiler.start("[0-9]")
    one.advance(int(one.allowed().nonzero()[0][0]))
    assert one.is_complete
    assert not other.is_matched


def test_the_longer_alternative_must_come_first() -> None:
    """Not our choice: why the grid's pattern is written "10|[0-9]"."""
    backend = Tokenizer(models.BPE({"</s>": 0, "1": 1, "0": 2}, []))
    backend.decoder = decoders.Fuse()
    compiler = PatternCompiler(backend, added_ids=(), stop_ids=(0,), logit_columns=3)
    for pattern, follows in (("10|[0-9]", [0, 2]), ("[0-9]|10", [0])):
        guide = compiler.start(pattern)
        guide.advance(1)
        assert guide.allowed().nonzero()[0].tolist() == follows


@pytest.mark.parametrize("pattern", ["[0-9", "(?=a)b"])
def test_what_is_no_pattern_is_a_value_error(pattern: str) -> None:
    compiler = PatternCompiler(train_tokenizer(), added_ids=(0, 1, 2), stop_ids=(2,), logit_columns=440)
    with pytest.raises(ValueError, match="DFA"):
        compiler.start(pattern)
