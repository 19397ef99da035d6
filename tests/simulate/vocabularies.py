"""Tokenizers whose pieces cross what a subject cuts, and excerpts that are cut anywhere."""

from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from localexplain.engines.scripted import ScriptedTokenizer
from localexplain.engines.tokenizer import HuggingFaceTokenizer
from localexplain.prompts import show_token
from localexplain.simulate.cells import InlineWriter
from localexplain.subject.tokens import byte_alphabet
from tests.tiny_models import train_tokenizer

BYTES = byte_alphabet()  # letter of the vocabulary -> byte
LETTERS = {byte: letter for letter, byte in BYTES.items()}


def crossing():
    """A byte-level BPE whose pieces cross words, and the two bytes of neighbouring characters (A9 ends "é", C3 begins
    it)."""
    merges = [
        (LETTERS[0xA9], LETTERS[0xC3]),
        (LETTERS[0x20], LETTERS[0x20]),
        ("t", "h"),
        ("th", "e"),
        ("e", LETTERS[0x20]),
        ("the", LETTERS[0x20]),
        ("\\", "n"),
        ("\\n", "\\n"),
        ("1", "0"),
    ]
    pieces = [*sorted(BYTES), *(left + right for left, right in merges)]
    backend = Tokenizer(models.BPE({piece: place for place, piece in enumerate(pieces)}, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    return backend


class ByteLevel:
    """A real tokenizer, and the bytes of its pieces."""

    def __init__(self, backend):
        self.tokenizer = HuggingFaceTokenizer(PreTrainedTokenizerFast(tokenizer_object=backend))

    def piece_bytes(self, ids):
        return [bytes(BYTES[letter] for letter in self.tokenizer.backend.id_to_token(index)) for index in ids]


class Scripted:
    """The scripted tokenizer likewise."""

    tokenizer = ScriptedTokenizer()

    def piece_bytes(self, ids):
        return [encoded(self.tokenizer.decode([index])) for index in ids]


VOCABULARIES = {"scripted": Scripted(), "words": ByteLevel(train_tokenizer()), "crossing": ByteLevel(crossing())}

AWKWARD = (
    "",
    " ",
    "  ",
    "\t",
    "\n",
    "\r\n",
    "\\",
    "\\n",
    "1",
    "0",
    "10",
    "\ufffd",
    "\u2028",
    "<|im_start|>",
    "é",
    "🙂",
)
HALVES = ("\\xe2\\x80", "\\x9c", "\\xc3", "\ud800")  # how a subject's tokens show bytes that are no whole character
LOOSE = st.lists(st.sampled_from(AWKWARD + HALVES) | st.text(st.characters(), max_size=4), max_size=12)


@st.composite
def cut_text(draw):
    """Running text whose words the vocabularies know, cut anywhere, so that tokens end inside pieces."""
    words = ["the ", " ferry", " harbour", "éé", "10", "\n", "\n\n", "  ", "日本", "\\xe2", " 1010"]
    text = "".join(draw(st.lists(st.sampled_from(words), min_size=1, max_size=6)))
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=10)))
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


TOKENS = LOOSE | cut_text()
SPELT = ["", "", "t", "he", " ", " ", "ferr", "y", "", "é", "é", "\n", "\n", "\\xe2", "1", "0", "1", "0", "", ""]


def encoded(text):
    return text.encode("utf-8", "surrogatepass")


def holders(vocabulary, token_ids):
    """For each byte of the text, the piece that holds it."""
    return [place for place, piece in enumerate(vocabulary.piece_bytes(token_ids)) for _ in piece]


def oracle(vocabulary, tokens, token_ids):
    """The piece that holds each token's last byte; an empty one goes with those before it, or with the first."""
    held, end, places = holders(vocabulary, token_ids), 0, []
    for token in tokens:
        end += len(encoded(show_token(token)))
        places.append(held[end - 1] if end else 0)
    return places


def parts_before_signs(tokens):
    """Places of tokens that begin with a sign and come, empty ones aside, right after white space that is a token."""
    found, before = [], ""
    for place, token in enumerate(map(show_token, tokens)):
        sign = token[:1] and not (token[0].isspace() or token[0].isalnum() or token[0] == "_")
        if sign and before and before.isspace():
            found.append(place)
        before = token or before
    return found


def write(vocabulary, tokens, levels=None):
    writer = InlineWriter(vocabulary.tokenizer.encode_starts)
    return writer.write(tokens, [None] * len(tokens) if levels is None else levels)
