"""The character each token starts in, against the bytes of the tokens themselves."""

from functools import cache
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from localexplain.engines.base import Message
from localexplain.engines.scripted import TEN_ID, ScriptedTokenizer
from localexplain.engines.tokenizer import HuggingFaceTokenizer
from localexplain.subject.tokens import byte_alphabet
from tests.tiny_models import train_tokenizer

BYTES = byte_alphabet()  # letter of the vocabulary -> byte
LETTERS = {byte: letter for letter, byte in BYTES.items()}
CHARACTERS = st.characters(codec="utf-8")
TEXTS = st.text(st.sampled_from("the ferry\n\t10éèà日本🙂\u0301") | CHARACTERS)
SPELT = "é日本🙂 the  ferry\n\n<|im_start|>10"


def wrap(backend, **settings):
    return HuggingFaceTokenizer(PreTrainedTokenizerFast(tokenizer_object=backend, **settings))


def crossing():
    """A byte-level BPE with pieces that begin in one character and end in the next: 0xA9 ends "é", 0xC3 begins it."""
    merges = [(LETTERS[0xA9], LETTERS[0xC3]), ("t", "h"), ("th", "e"), ("e", LETTERS[0x20]), ("1", "0")]
    pieces = [*sorted(BYTES), *(left + right for left, right in merges)]
    backend = Tokenizer(models.BPE({piece: place for place, piece in enumerate(pieces)}, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    return backend


def trimming():
    """As the tokenizers of RoBERTa and Llama 3 are saved: offsets leave out the space that a piece begins with."""
    backend = train_tokenizer()
    backend.post_processor = processors.ByteLevel(trim_offsets=True)
    return backend


def opening():
    """One that puts its BOS before a text."""
    backend = train_tokenizer()
    end = [("<|endoftext|>", 0)]
    backend.post_processor = processors.TemplateProcessing(single="<|endoftext|> $A", special_tokens=end)
    return backend


@cache
def tokenizers():
    """One of each for all examples of a property."""
    return {"words": wrap(train_tokenizer()), "crossing": wrap(crossing()), "opening": wrap(opening())}


def first_bytes(tokenizer, ids):
    """For each token, how many bytes of the text stand before it."""
    sizes = [len([BYTES[letter] for letter in tokenizer.backend.id_to_token(index)]) for index in ids]
    return [sum(sizes[:place]) for place in range(len(sizes))]


def character_of(text, byte):
    """The index of the character that holds a byte, by adding up the characters' sizes."""
    end = 0
    for place, character in enumerate(text):
        end += len(character.encode("utf-8"))
        if byte < end:
            return place
    raise AssertionError(f"{text!r} has no byte {byte}")


# byte-level vocabularies ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["words", "crossing", "opening"])
@given(text=TEXTS)
@example(text="")
@example(text=SPELT)
@settings(deadline=None)
def test_each_token_starts_in_the_character_of_its_first_byte(kind, text):
    tokenizer = tokenizers()[kind]
    ids, starts = tokenizer.encode_starts(text)
    assert ids == tokenizer.encode(text)
    assert list(starts) == [character_of(text, byte) for byte in first_bytes(tokenizer, ids)]
    assert list(starts) == sorted(starts)


def test_the_pieces_of_one_character_share_its_start():
    # "é" is two bytes and "日" three, none of them merged; " the" is one piece
    ids, starts = tokenizers()["words"].encode_starts("é日 the")
    assert starts == (0, 0, 1, 1, 1, 2)
    assert tokenizers()["words"].decode(ids) == "é日 the"


def test_a_piece_over_two_characters_starts_in_the_first_of_them():
    # C3 | A9 C3 | A9: the middle piece ends the first "é" and begins the second
    ids, starts = tokenizers()["crossing"].encode_starts("éé")
    assert [tokenizers()["crossing"].backend.id_to_token(index) for index in ids] == [
        LETTERS[0xC3],
        LETTERS[0xA9] + LETTERS[0xC3],
        LETTERS[0xA9],
    ]
    assert starts == (0, 0, 1)


@pytest.mark.parametrize("text", ["<|im_start|>", "a<|endoftext|>é<|im_end|>", "<|endoftext|>"])
def test_special_strings_stay_text(text):
    ids, starts = tokenizers()["opening"].encode_starts(text)
    assert not set(ids) & {0, 1, 2}  # the three special tokens
    assert starts[0] == 0
    assert tokenizers()["opening"].decode(ids) == text


def test_a_chat_in_between_changes_nothing():
    """The encoder has a switch for special strings that a chat throws."""
    template = "{% for message in messages %}<|im_start|>{{ message.content }}{% endfor %}"
    tokenizer = wrap(train_tokenizer(), chat_template=template)
    before = tokenizer.encode_starts("<|im_start|>a")
    assert 1 in tokenizer.render_chat([Message(role="user", content="a")])  # the template's own is the token
    assert tokenizer.encode_starts("<|im_start|>a") == before
    assert 1 not in before[0]


def test_a_piece_with_a_space_before_it_starts_at_the_space():
    _, untrimmed = wrap(train_tokenizer()).encode_starts("The ferry")
    assert untrimmed == (0, 3)  # The | ferry
    _, starts = wrap(trimming()).encode_starts("The ferry")
    assert starts == (0, 3)


# other vocabularies --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", ["prepend", "metaspace"])
def test_sentencepiece_styles_count_the_characters_of_the_given_text(style):
    """Neither the space that such a tokenizer likes to put first nor the bytes of a character it lacks may shift."""
    pieces = ["<unk>", "▁", "a", "b", "▁a", *(f"<0x{byte:02X}>" for byte in range(256))]
    vocabulary = {piece: place for place, piece in enumerate(pieces)}
    backend = Tokenizer(models.BPE(vocabulary, [("▁", "a")], byte_fallback=True, unk_token="<unk>"))
    if style == "prepend":
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer = wrap(backend)
    # a | C3 A9 | ▁a | b | ▁ | E6 97 A5 | ▁a
    ids, starts = tokenizer.encode_starts("aé ab 日 a")
    assert ids == tokenizer.encode("aé ab 日 a")
    assert [tokenizer.backend.id_to_token(index) for index in ids] == [
        "a", "<0xC3>", "<0xA9>", "▁a", "b", "▁", "<0xE6>", "<0x97>", "<0xA5>", "▁a"
    ]  # fmt: skip
    assert starts == (0, 1, 1, 2, 4, 5, 6, 6, 6, 7)


def test_a_normaliser_that_joins_characters_does_not_shift_those_behind():
    backend = train_tokenizer()
    backend.normalizer = normalizers.NFC()
    ids, starts = wrap(backend).encode_starts("e\u0301xq")  # NFC: é, two bytes from characters 0 and 1
    assert len(ids) == 4
    assert starts[0] == 0
    assert starts[2:] == (2, 3)
    assert list(starts) == sorted(starts)


# the scripted tokenizer ----------------------------------------------------------------------------------------------


@given(st.text(st.sampled_from("10") | st.characters()))
@example("1010")
@example("110\ud800🙂\n0")
def test_scripted_tokens_are_the_text_from_one_start_to_the_next(text):
    tokenizer = ScriptedTokenizer()
    ids, starts = tokenizer.encode_starts(text)
    assert ids == tokenizer.encode(text)
    bounds = (*starts, len(text))
    pieces = [text[start:end] for start, end in pairwise(bounds)]
    assert [tokenizer.decode([index]) for index in ids] == pieces
    assert all(len(piece) == 1 or piece == "10" for piece in pieces)
    assert bounds[0] == 0


def test_scripted_starts_by_hand():
    assert ScriptedTokenizer().encode_starts("a10\n01") == ((97, TEN_ID, 10, 48, 49), (0, 1, 3, 4, 5))
    assert ScriptedTokenizer().encode_starts("") == ((), ())
