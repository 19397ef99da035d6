"""Neuron puzzles: hand-made activations for a true explanation that stands beside false ones.

The format is that of the published puzzles: name, explanation, sentences (a token is a string, activation 0, or
[token, activation]), false_explanations.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from localexplain.errors import UserError
from localexplain.planted.concept import PlantedText
from localexplain.resources import resource

LARGEST = 1e30  # an activation beyond it is no number of a model; NaN is beyond it too
PUZZLES = ("eval", "puzzles", "puzzles.json")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Puzzle:
    """`explanation` is true of the activations of `sentences`, the `false_explanations` are not."""

    name: str
    explanation: str
    sentences: tuple[PlantedText, ...]
    false_explanations: tuple[str, ...]


def parse_sentence(data: object, where: str) -> PlantedText:
    tokens: list[str] = []
    activations: list[float] = []
    for item in data if isinstance(data, list) else []:
        token, activation = item if isinstance(item, list) and len(item) == 2 else (item, 0)
        is_number = isinstance(activation, int | float) and not isinstance(activation, bool)
        if not isinstance(token, str) or not is_number or not abs(activation) <= LARGEST:
            raise UserError(f"{where}: {item!r} is neither a token nor a token and its activation")
        tokens.append(token)
        activations.append(float(activation))
    if not tokens:
        raise UserError(f"{where}: a sentence is a list of tokens, not {str(data)[:40]!r}")
    return PlantedText(tokens=tuple(tokens), activations=np.array(activations, dtype=np.float32))


@lru_cache(maxsize=8)
def read_puzzles(path: Path | None = None) -> tuple[Puzzle, ...]:
    """All puzzles of a file, ours by default. Raises UserError, naming the puzzle, for what is not of the format."""
    path = resource(*PUZZLES) if path is None else path
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give a file of puzzles") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not JSON ({error}); give a list of puzzles") from error
    if not isinstance(rows, list) or not rows:
        raise UserError(f"{path}: not a list of puzzles")
    found: list[Puzzle] = []
    for number, row in enumerate(rows, start=1):
        where = f"{path}, puzzle {number}"
        fields = row if isinstance(row, dict) else {}
        name, explanation = fields.get("name"), fields.get("explanation")
        sentences, false = fields.get("sentences"), fields.get("false_explanations")
        if not isinstance(name, str) or not isinstance(explanation, str):
            raise UserError(f"{where}: needs a name and an explanation")
        if not isinstance(sentences, list) or not sentences:
            raise UserError(f"{where} ({name}): needs sentences")
        if not isinstance(false, list) or not false or not all(isinstance(text, str) for text in false):
            raise UserError(f"{where} ({name}): needs false_explanations, a list of texts")
        found.append(
            Puzzle(
                name=name,
                explanation=explanation,
                sentences=tuple(parse_sentence(item, f"{where} ({name})") for item in sentences),
                false_explanations=tuple(false),
            )
        )
    return tuple(found)
