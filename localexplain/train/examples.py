"""Training examples in the very form the engines are asked in: the prompts' own files, the labels' own tokens.

explanation + tokens + levels ──simulate──> ids, a level to predict at each token's last piece, yes or no at the end
                              ──grid──────> ids of the question and of the written grid
excerpts + explanation ──────────explain──> ids of the prompt, the explanation to write
text ────────────────────────────text─────> ids, each to be predicted from those before
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Int64

from localexplain.engines.labels import LEVELS, choose_labels
from localexplain.engines.tokenizer import HuggingFaceTokenizer
from localexplain.explain.prompt import ShownExcerpt, as_text, explain_prompt
from localexplain.judge.prompt import judge_labels, judge_question
from localexplain.prompts import load_prompt
from localexplain.simulate.cells import InlineWriter
from localexplain.simulate.expected import join_text, prefix_parts
from localexplain.simulate.grid import LINE_END, echoed_grid, show_question
from localexplain.simulate.grid import as_text as grid_text

PROMPT_VERSION = "inline-v2"
NOTHING = 65_535  # no target at this position
NO_TOKEN = -1
MOST_PREFIXES = 12
JUDGE_CLASSES = 2  # no, yes: behind the levels
SPELLED = LEVELS + JUDGE_CLASSES  # behind these, tokens to be spelled


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """ids [n] and targets [n]: what is to be predicted AFTER each id.

    A target below the vocabulary's size is a token; vocabulary + k is the level k (0..10), vocabulary + 11 and + 12
    are no and yes, both among the label tokens alone; vocabulary + 13 + t is token t among the tokens that its text
    begins with: how to spell what a pattern makes the model write; NOTHING is no target.
    """

    ids: list[int]
    targets: list[int]


class ExampleWriter:
    """Writes examples for one tokenizer, whose vocabulary must hold the labels as single tokens."""

    def __init__(self, tokenizer: HuggingFaceTokenizer) -> None:
        self.tokenizer = tokenizer
        self.vocabulary = tokenizer.vocabulary_tokens
        self._simulate = load_prompt("simulate-expected", PROMPT_VERSION)
        self._grid = load_prompt("simulate-grid", PROMPT_VERSION)
        self._explain = load_prompt("explain", PROMPT_VERSION)
        self._judge = load_prompt("judge", PROMPT_VERSION)
        self._labels = choose_labels(tokenizer.encode, tokenizer.decode, "")
        self._cells = InlineWriter(tokenizer.encode_starts)
        self._start = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
        self._header = lru_cache(maxsize=4096)(self._encode_header)
        self._fits = list(tokenizer.encode(judge_question(self._judge)))

    @property
    def label_ids(self) -> tuple[int, ...]:
        """Token ids of the classes: the levels 0..10, no, yes."""
        return (*self._labels.ids, *judge_labels(self._judge, self.tokenizer))

    def _encode_header(self, explanation: str) -> tuple[int, ...]:
        parts = join_text(prefix_parts(self._simulate, (), explanation, self._labels))
        return tuple(index for part in parts if isinstance(part, str) for index in self.tokenizer.encode(part))

    def simulate(
        self, explanation: str, tokens: Sequence[str], levels: Sequence[int], fits: bool | None = None
    ) -> Example:
        """`tokens` and `levels` [T]; `fits`: the judge's answer, None where it is not asked.

        Of empty tokens alone no level is to be predicted: they have no piece to be read at.
        """
        header = [*self._start, *self._header(explanation)]
        cells = self._cells.write(tokens, [None] * len(tokens))
        targets = [NOTHING] * (len(header) + len(cells.token_ids))
        if cells.token_ids:
            for position, level in zip(cells.positions, levels, strict=True):  # of tokens that share a piece, the last
                targets[len(header) + position] = self.vocabulary + level
        ids = [*header, *cells.token_ids]
        if fits is not None:
            ids += self._fits
            targets += [NOTHING] * (len(self._fits) - 1) + [self.vocabulary + LEVELS + int(fits)]
        return Example(ids, targets)

    def grid(self, explanation: str, tokens: Sequence[str], levels: Sequence[int]) -> Example:
        """The written tokens are targets too: left to itself a model spells in letters what it has read in words. So is
        the line end behind a 1, which the pattern would let become a 10."""
        ids = [*self._start, *self.tokenizer.encode(self._question(explanation, tokens))]
        targets = [NOTHING] * len(ids)
        line_end = self.tokenizer.encode(LINE_END)
        for cell, level in zip(echoed_grid(tokens).cells, levels, strict=True):
            written = self.tokenizer.encode(cell)
            spelled = (self.vocabulary + SPELLED + token for token in written)
            targets[-1], *rest = [*spelled, self.vocabulary + level]
            targets += [*rest, line_end[0] if level == 1 else NOTHING, *[NOTHING] * len(line_end)]
            ids += [*written, self._labels.ids[level], *line_end]
        return Example(ids, targets)

    def _question(self, explanation: str, tokens: Sequence[str]) -> str:
        return grid_text(self._grid, (), show_question(self._grid, 1, explanation, tokens))

    def explain(self, excerpts: Sequence[tuple[Sequence[str], Sequence[int]]], explanation: str) -> Example:
        """`excerpts`: (tokens, levels) of each."""
        shown = [ShownExcerpt(tokens=tuple(tokens), levels=tuple(levels)) for tokens, levels in excerpts]
        prompt = [*self._start, *self.tokenizer.encode(as_text(explain_prompt(self._explain, (), shown)))]
        answer = [*self.tokenizer.encode(f" {explanation}"), *self.tokenizer.encode("\n")]
        targets = [NOTHING] * (len(prompt) - 1) + answer + [NOTHING]
        return Example([*prompt, *answer], targets)

    def text(self, text: str) -> Example:
        ids = [*self._start, *self.tokenizer.encode(text)]
        return Example(ids, [*ids[1:], NOTHING])


def spelling_table(tokenizer: HuggingFaceTokenizer, most: int = MOST_PREFIXES) -> Int64[np.ndarray, "vocabulary most"]:
    """For each token the tokens that are proper beginnings of its text, the longest first; NO_TOKEN behind the last."""
    texts = [tokenizer.backend.id_to_token(index) or "" for index in range(tokenizer.vocabulary_tokens)]
    known = {text: index for index, text in enumerate(texts) if text}
    table = np.full((len(texts), most), NO_TOKEN, dtype=np.int64)
    for index, text in enumerate(texts):
        beginnings = [known[text[:end]] for end in range(len(text) - 1, 0, -1) if text[:end] in known][:most]
        table[index, : len(beginnings)] = beginnings
    return table


def pack(examples: Sequence[Example]) -> dict[str, np.ndarray]:
    """Arrays of many examples: ids and targets in one row each, and where each example ends."""
    return {
        "ids": np.concatenate([np.asarray(example.ids, dtype=np.uint16) for example in examples]),
        "targets": np.concatenate([np.asarray(example.targets, dtype=np.uint16) for example in examples]),
        "ends": np.cumsum([len(example.ids) for example in examples], dtype=np.int64),
    }
