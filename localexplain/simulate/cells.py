"""Token-exact prompt cells: one line for each subject token, whose activation is read at one known position. Pure.

    subject token's text | separator | label or filler | end          (each a run of token ids of the engine's model)
                                   ^ read position: the distribution after it is that of the label

The ids are put together cell by cell. The joined text is never tokenised: a tab or a line break of the subject would
merge with the separator there, and shift every later cell.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from localexplain.errors import EngineError
from localexplain.prompts import show_token

Encode = Callable[[str], Sequence[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CellFormat:
    """Texts of a cell: token, separator, label or filler, end."""

    separator: str
    filler: str
    end: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """token_ids of all cells in order; positions [T] into them, ascending: the last separator token of each cell."""

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


def cell_text(tokens: Sequence[str], levels: Sequence[int | None], form: CellFormat, labels: Sequence[str]) -> str:
    """The same cells as text, for a turn of a chat."""
    return "".join(
        f"{show_token(token)}{form.separator}{form.filler if level is None else labels[level]}{form.end}"
        for token, level in zip(tokens, levels, strict=True)
    )
