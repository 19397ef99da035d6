import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from localexplain.subject.tokens import byte_alphabet, is_byte_level, piece_text, token_texts
from tests.tiny_models import train_tokenizer

BYTE_LEVEL = PreTrainedTokenizerFast(tokenizer_object=train_tokenizer(), eos_token="<|im_end|>")
TEXTS = token_texts(BYTE_LEVEL)


def bytes_of(text):
    """The bytes that a token's text stands for, "\\xNN" read as one; for texts without a backslash of their own."""
    parts = re.split(r"\\x([0-9a-f]{2})", text)
    return b"".join(bytes.fromhex(part) if place % 2 else part.encode() for place, part in enumerate(parts))


# byte level ----------------------------------------------------------------------------------------------------------


def test_the_alphabet_is_the_one_of_the_tokenizers_library():
    # Its 256 characters, and for each byte of a text that needs no merge the character the library writes.
    alphabet = byte_alphabet()
    assert sorted(alphabet) == sorted(pre_tokenizers.ByteLevel.alphabet())
    assert sorted(alphabet.values()) == list(range(256))
    write = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    text = "".join(map(chr, range(0x800)))  # one and two bytes: every byte that such characters begin or go on with
    written = "".join(piece for piece, _ in write.pre_tokenize_str(text))
    assert bytes(alphabet[character] for character in written) == text.encode()


@settings(deadline=None)
@given(st.text(alphabet=st.characters(exclude_characters="\\", exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_joined_pieces_are_the_text(text):
    ids = BYTE_LEVEL(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert b"".join(bytes_of(TEXTS[index]) for index in ids).decode() == text


def test_texts_of_every_token_are_what_the_tokenizer_decodes():
    whole = 0
    for index, text in enumerate(TEXTS):
        decoded = BYTE_LEVEL.decode([index])
        if "\ufffd" in decoded:  # not a whole character: the decoder loses which bytes it was
            assert text.startswith("\\x")
        else:
            assert text == decoded
            whole += 1
    assert whole > 128
    assert len(TEXTS) == BYTE_LEVEL.backend_tokenizer.get_vocab_size()


def test_half_a_character_is_written_byte_by_byte():
    # "日" is e6 97 a5; the tokenizer has never seen it, so each byte is a token
    ids = BYTE_LEVEL("日", add_special_tokens=False)["input_ids"]
    assert [TEXTS[index] for index in ids] == ["\\xe6", "\\x97", "\\xa5"]
    assert not any("\ufffd" in text for text in TEXTS)
    assert len(set(TEXTS)) == len(TEXTS)  # no two tokens are shown alike


@pytest.mark.parametrize(
    ("piece", "text"),
    [
        ("Ġmovie", " movie"),
        ("Ċ", "\n"),
        ("ĉ", "\t"),
        ("Ã©", "é"),
        ("âĢ", "\\xe2\\x80"),  # the first two bytes of a dash
        ("âĢĶ", "—"),
        ("Ġâ", " \\xe2"),  # whole characters before the half one stay as they are
        ("aÃ", "a\\xc3"),
        ("日", "日"),  # not of the alphabet: an added token, left as it is
    ],
)
def test_byte_level_pieces_by_hand(piece, text):
    assert piece_text(piece, byte_level=True) == text


def test_special_tokens_are_shown_as_written():
    assert TEXTS[:3] == ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


# sentencepiece style -------------------------------------------------------------------------------------------------


def sentencepiece_style(*more):
    """A BPE as Gemma and Llama 2 have it: "▁" for a space, a token for each byte, whole characters besides."""
    pieces = ["<unk>", "<bos>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "é", "a", "▁a", *more]
    backend = Tokenizer(
        models.BPE({p: i for i, p in enumerate(pieces)}, [("▁", "a")], unk_token="<unk>", byte_fallback=True)
    )
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", bos_token="<bos>")
    return tokenizer, {piece: token_texts(tokenizer)[index] for piece, index in backend.get_vocab().items()}


def test_sentencepiece_pieces():
    _, texts = sentencepiece_style()
    assert texts["▁a"] == " a"
    assert texts["▁"] == " "
    assert texts["é"] == "é"
    assert texts["<0x0A>"] == "\n"
    assert texts["<0x41>"] == "A"
    assert texts["<0xE2>"] == "\\xe2"
    assert texts["<bos>"] == "<bos>"


def test_a_maltese_letter_does_not_make_a_vocabulary_byte_level():
    # The old fault: "Ġ" in the vocabulary was taken for byte level, so that "▁a" stayed as it is and "é" became "\xe9".
    tokenizer, texts = sentencepiece_style("Ġ")
    assert not is_byte_level(tokenizer.backend_tokenizer)
    assert (texts["▁a"], texts["é"], texts["Ġ"]) == (" a", "é", "Ġ")


SENTENCEPIECE, _ = sentencepiece_style()
SENTENCEPIECE_TEXTS = token_texts(SENTENCEPIECE)


@settings(deadline=None)
@given(st.text(alphabet=st.sampled_from("a é日\n🙂"), min_size=1, max_size=20))
def test_joined_sentencepiece_pieces_are_the_text(text):
    texts = SENTENCEPIECE_TEXTS
    ids = SENTENCEPIECE(text, add_special_tokens=False)["input_ids"]
    assert b"".join(bytes_of(texts[index]) for index in ids).decode() == text


def test_byte_level_is_what_the_decoder_says():
    backend = train_tokenizer()
    assert is_byte_level(backend)
    backend.decoder = decoders.Sequence([decoders.ByteLevel()])
    assert is_byte_level(backend)
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    assert not is_byte_level(backend)
    assert not is_byte_level(Tokenizer(models.BPE()))


def test_ids_without_a_piece_have_no_text():
    # A vocabulary with a gap, as left by removed tokens: the texts stay at their ids.
    backend = Tokenizer(models.BPE({"a": 0, "▁": 3}, []))
    assert token_texts(PreTrainedTokenizerFast(tokenizer_object=backend)) == ("a", "", "", " ")
