"""Patterns that generation obeys, by Outlines: which tokens may come next for the reply to match in the end.

Outlines reads alternatives in order, the first that matches winning: at a pattern's end "1|10" never lets "10" come,
"10|1" does. A pattern names the longer one first. And outlines_core 0.2.14 goes on from a text that matches only to
texts that match too: "1(00)?" never lets "100" come token by token. What does come always matches.
"""

import json
import re
from collections.abc import Collection, Iterable
from functools import cache, lru_cache

import numpy as np
from jaxtyping import Bool
from outlines_core import Guide, Index, Vocabulary
from tokenizers import Tokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")
KEPT_INDICES = 64  # patterns differ by the length of an excerpt alone, so that few are alive at once
MASK_BITS = 32


@cache
def byte_alphabet() -> dict[str, int]:
    """The character that byte-level vocabularies write for each byte -> the byte."""
    alphabet: dict[int, str] = bytes_to_unicode()
    return {character: byte for byte, character in alphabet.items()}


def piece_bytes(piece: str, decoder: str) -> bytes | None:
    """The bytes that a vocabulary entry stands for, or None where it stands for none.

    decoder  the tokenizer's decoder as JSON
    """
    if '"ByteLevel"' in decoder:
        alphabet = byte_alphabet()
        return bytes(map(alphabet.__getitem__, piece)) if set(piece) <= alphabet.keys() else None
    if '"ByteFallback"' in decoder and (match := BYTE_PIECE.fullmatch(piece)):
        return bytes([int(match[1], 16)])
    return piece.replace("▁", " ").encode("utf-8", "surrogatepass")


def token_bytes(backend: Tokenizer, left_out: Collection[int]) -> dict[bytes, list[int]]:
    """Bytes -> the tokens that write them, those of `left_out` and those that write nothing left out.

    A token is kept only if its bytes are what the tokenizer decodes it to, or are no whole characters by themselves.
    """
    decoder = json.dumps(json.loads(backend.to_str())["decoder"])
    found: dict[bytes, list[int]] = {}
    for piece, index in sorted(backend.get_vocab(with_added_tokens=False).items(), key=lambda item: item[1]):
        data = None if index in left_out else piece_bytes(piece, decoder)
        if data and decodes_to(backend, index, data):
            found.setdefault(data, []).append(index)
    return found


def decodes_to(backend: Tokenizer, index: int, data: bytes) -> bool:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return True
    return str(backend.decode([index], skip_special_tokens=False)) == text


class PatternGuide:
    """One reply's way through a pattern: `allowed` says what may come next, `advance` takes what came."""

    def __init__(self, index: Index, stop_ids: Collection[int], logit_columns: int) -> None:
        self._guide = Guide(index)
        self._stop_ids = sorted(stop_ids)
        self._columns = logit_columns
        self._words = np.zeros((logit_columns + MASK_BITS - 1) // MASK_BITS, dtype=np.int32)

    @property
    def is_matched(self) -> bool:
        """Whether what has come so far matches the whole pattern; more may still follow."""
        return bool(self._guide.is_finished())

    def allowed(self) -> Bool[np.ndarray, " columns"]:
        """The tokens that may come next, the model's stop tokens among them once the pattern is matched."""
        self._guide.write_mask_into(self._words.ctypes.data, self._words.size, self._words.itemsize)
        bits = np.unpackbits(self._words.view(np.uint8), bitorder="little", count=self._columns).astype(np.bool_)
        bits[self._stop_ids] = self.is_matched
        return bits

    @property
    def is_complete(self) -> bool:
        """Whether the pattern is matched and nothing can follow."""
        return self.is_matched and int(self.allowed().sum()) == len(self._stop_ids)

    def advance(self, token_id: int) -> None:
        """Takes a token that was allowed and is no stop token."""
        self._guide.advance(token_id, return_tokens=False)


class PatternCompiler:
    """Patterns over one vocabulary, each compiled once.

    stop_ids       tokens that end a reply; at least one
    logit_columns  the model's vocabulary, which may be padded beyond the tokenizer's
    """

    def __init__(
        self, backend: Tokenizer, added_ids: Collection[int], stop_ids: Iterable[int], logit_columns: int
    ) -> None:
        self._stop_ids = tuple(sorted(stop_ids))
        self._columns = logit_columns
        pieces = token_bytes(backend, {*added_ids, *self._stop_ids})
        self._vocabulary = Vocabulary(self._stop_ids[0], pieces)
        self._index = lru_cache(maxsize=KEPT_INDICES)(self._compile)

    def _compile(self, pattern: str) -> Index:
        return Index(pattern, self._vocabulary)

    def start(self, pattern: str) -> PatternGuide:
        """A guide at the start of the pattern.

        Raises ValueError when it is no regular expression, or cannot be written in this vocabulary.
        """
        return PatternGuide(self._index(pattern), self._stop_ids, self._columns)
