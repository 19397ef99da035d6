"""The text of single subject tokens: what people, explainers and simulators are shown.

A byte of a character that the token does not hold whole is written as `\\xNN`; nothing is ever replaced by "\\ufffd",
so two different tokens are never shown alike for that reason.
"""

import json
import re
from functools import cache
from typing import Any

BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")  # how sentencepiece vocabularies write a lone byte


@cache
def byte_alphabet() -> dict[str, int]:
    """The printable character that byte-level BPE writes for each byte, and the byte. Source: GPT-2's encoder."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    pairs = {chr(byte): byte for byte in printable}
    return pairs | {chr(256 + place): byte for place, byte in enumerate(others)}


def is_byte_level(tokenizer: Any) -> bool:
    """Whether a `tokenizers.Tokenizer` writes its vocabulary in the byte alphabet, where a space is "Ġ".

    Its decoder tells; the vocabulary does not, for "Ġ" is also a letter of Maltese.
    """
    decoder = json.loads(tokenizer.to_str()).get("decoder") or {}
    parts = decoder.get("decoders", [decoder])
    return any(part.get("type") == "ByteLevel" for part in parts)


def piece_text(piece: str, byte_level: bool) -> str:
    """The text of one vocabulary entry.

    >>> piece_text("Ġmovie", byte_level=True), piece_text("âĢ", byte_level=True), piece_text("▁film", byte_level=False)
    (' movie', '\\\\xe2\\\\x80', ' film')
    """
    if byte_level:
        alphabet = byte_alphabet()
        if all(character in alphabet for character in piece):
            return bytes(alphabet[character] for character in piece).decode("utf-8", "backslashreplace")
        return piece
    if match := BYTE_TOKEN.fullmatch(piece):
        return bytes([int(match[1], 16)]).decode("utf-8", "backslashreplace")
    return piece.replace("▁", " ")


def token_texts(tokenizer: Any) -> tuple[str, ...]:
    """The text of every id of a transformers fast tokenizer, index = id; special tokens as they are written."""
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    byte_level = is_byte_level(tokenizer.backend_tokenizer)
    added = set(tokenizer.get_added_vocab())
    texts = [""] * (max(vocabulary.values()) + 1)
    for piece, index in vocabulary.items():
        texts[index] = piece if piece in added else piece_text(piece, byte_level)
    return tuple(texts)
