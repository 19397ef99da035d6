"""Token-exact prompt cells: each subject token's activation is read at one known position. Pure.

Two layouts. A line for each token, for any model:

    subject token's text | separator | label or filler | end          (each a run of token ids of the engine's model)
                                   ^ read position: the distribution after it is that of the label

The ids are put together cell by cell. The joined text is never tokenised: a tab or a line break of the subject would
merge with the separator there, and shift every later cell.

Running text, for small models trained on it: the excerpt as it stands, each activation read at the last piece of its
token, so that a word is written with the same pieces as in an explanation, whatever tokens the subject cuts it into.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from localexplain.errors import EngineError
from localexplain.prompts import show_token, split_runs

Encode = Callable[[str], Sequence[int]]
EncodeStarts = Callable[[str], tuple[Sequence[int], Sequence[int]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CellFormat:
    """Texts of a cell: token, separator, label or filler, end."""

    separator: str
    filler: str
    end: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """token_ids of all cells in order; positions [T] into them, never descending, where each activation is read: in
    lines the last separator token of each cell, in running text the token's last piece, which two tokens may share."""

    token_ids: tuple[int, ...]
    positions: tuple[int, ...]


class CellWriter:
    """Writes cells for one engine's vocabulary. `label_ids`: one token id for each activation 0..10, as chosen for the
    same separator; `encode` puts nothing before a text, so that pieces can be joined (see EngineTokenizer).

    Raises EngineError when the separator or the filler is no token of the vocabulary.
    """

    def __init__(self, encode: Encode, form: CellFormat, label_ids: Sequence[int]) -> None:
        self._encode = encode
        self._labels = tuple((label,) for label in label_ids)
        self._separator = tuple(encode(form.separator))
        self._filler = tuple(encode(form.filler))
        self._end = tuple(encode(form.end))
        self._known: dict[str, tuple[int, ...]] = {}  # subject tokens repeat, and encoding is the slow part
        if not self._separator or not self._filler:
            raise EngineError("the model's vocabulary cannot write the cells of a simulation prompt; use another model")

    def write(self, tokens: Sequence[str], levels: Sequence[int | None]) -> Cells:
        """The cells of `tokens` [T], each with the label of its level [T], 0..10, or the filler where that is None.

        Every token, an empty one too, has one cell and one position.
        """
        token_ids: list[int] = []
        positions: list[int] = []
        for token, level in zip(tokens, levels, strict=True):
            token_ids += self._token_ids(token)
            token_ids += self._separator
            positions.append(len(token_ids) - 1)
            token_ids += self._filler if level is None else self._labels[level]
            token_ids += self._end
        return Cells(token_ids=tuple(token_ids), positions=tuple(positions))

    def _token_ids(self, token: str) -> tuple[int, ...]:
        known = self._known.get(token)
        if known is None:
            known = tuple(self._encode(show_token(token))) if token else ()
            self._known[token] = known
        return known


class InlineWriter:
    """Writes an excerpt as running text; `encode_starts` as in EngineTokenizer."""

    def __init__(self, encode_starts: EncodeStarts) -> None:
        self._encode_starts = encode_starts

    def write(self, tokens: Sequence[str], levels: Sequence[int | None]) -> Cells:
        """The joined texts of `tokens` [T]. `levels` [T] are not shown: nothing stands between two tokens.

        A token that ends inside a piece is read at that piece, an empty one where the token before it is read. White
        space that is a token of its own never shares a piece with a sign behind it.
        """
        shown = [show_token(token) for token in tokens]
        token_ids: list[int] = []
        places: list[int] = []
        for run in split_runs(shown):
            ids, starts = self._encode_starts("".join(run))
            ends = np.cumsum([len(text) for text in run])
            found = np.searchsorted(np.asarray(starts), ends, side="left") - 1
            places += [max(0, len(token_ids) + int(place)) for place in found]
            token_ids += ids
        return Cells(token_ids=tuple(token_ids), positions=tuple(places))


def cell_text(tokens: Sequence[str], levels: Sequence[int | None], form: CellFormat, labels: Sequence[str]) -> str:
    """The same cells as text, for a turn of a chat."""
    return "".join(
        f"{show_token(token)}{form.separator}{form.filler if level is None else labels[level]}{form.end}"
        for token, level in zip(tokens, levels, strict=True)
    )
