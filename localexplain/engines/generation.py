"""A batch of requests written token by token, each with its own sampling, stop strings and pattern.

    prompts ──prefill──> past, hidden states ──> [ logits -> masks -> pick -> take ] until every row has finished

Not transformers' generate(): its settings hold for a whole batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from transformers import DynamicCache

from localexplain.engines.base import Sampling
from localexplain.engines.forward import Head, Run, align_right, past_tokens, run_on
from localexplain.engines.patterns import PatternGuide
from localexplain.engines.sampling import pick_tokens


@dataclass(slots=True, kw_only=True, eq=False)
class Row:
    """One reply while it is being written.

    random     draws one uniform a step, so that what it writes does not depend on the rows beside it
    written    token ids of the text, no stop token among them
    sampled    tokens the model was asked for: the written ones, and the stop token where one came
    cut_text   the text before the stop string that ended it; None where none did
    finish     None until it is "stop" or "length", or "error" with `error` set
    """

    sampling: Sampling
    guide: PatternGuide | None
    random: np.random.Generator
    written: list[int] = field(default_factory=list)
    sampled: int = 0
    cut_text: str | None = None
    finish: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """What generation must know of the tokenizer.

    decode    token ids to text, special tokens left out
    known     ids from 0 to here are tokens; the model's vocabulary may be padded beyond
    stop_ids  tokens that end a reply
    """

    decode: Callable[[Sequence[int]], str]
    known: int
    stop_ids: frozenset[int]


def start_row(sampling: Sampling, guide: PatternGuide | None) -> Row:
    return Row(sampling=sampling, guide=guide, random=np.random.Generator(np.random.PCG64(sampling.seed)))


def cut_at_stop(text: str, stop: Sequence[str]) -> str | None:
    """`text` up to the first stop string in it, or None where there is none.

    >>> cut_at_stop("a b\\nc", ("c", "\\n"))
    'a b'
    """
    places = [place for place in (text.find(string) for string in stop) if place >= 0]
    return text[: min(places)] if places else None


def fits(row: Row, vocabulary: Vocabulary, columns: int) -> np.ndarray:
    """[columns] bool: the tokens that the row may write next. Sets the row's error where there is none."""
    if row.guide is None:
        return np.arange(columns) < vocabulary.known
    allowed = row.guide.allowed()
    if not allowed.any():
        row.finish, row.error = "error", "the pattern cannot be completed in this model's vocabulary"
        return np.ones(columns, dtype=np.bool_)
    return allowed


def choose_next(rows: Sequence[Row], logits: Float[Tensor, "rows columns"], vocabulary: Vocabulary) -> list[int]:
    """The next token of each row."""
    allowed = np.stack([fits(row, vocabulary, logits.shape[-1]) for row in rows])
    logits = logits.masked_fill(~torch.from_numpy(allowed).to(logits.device), -torch.inf)
    numbers = [(row.sampling.temperature, row.sampling.top_p, row.random.random()) for row in rows]
    settings = torch.tensor(numbers, dtype=torch.float64, device=logits.device)
    picked: list[int] = pick_tokens(logits, settings[:, 0], settings[:, 1], settings[:, 2]).tolist()
    return picked


def take_token(row: Row, token_id: int, vocabulary: Vocabulary) -> None:
    """Adds one token to the row, and finishes it where it ends there."""
    row.sampled += 1
    if token_id in vocabulary.stop_ids:
        row.finish = "stop"
        return
    row.written.append(token_id)
    if row.sampling.stop:
        row.cut_text = cut_at_stop(vocabulary.decode(row.written), row.sampling.stop)
        if row.cut_text is not None:
            row.finish = "stop"
            return
    if row.guide is not None:
        row.guide.advance(token_id)
        if row.guide.is_complete:
            row.finish = "stop"
            return
    if row.sampled >= row.sampling.max_tokens:
        row.finish = "length"


def write_rows(
    rows: Sequence[Row],
    prompts: Run,
    padding: Int64[Tensor, " rows"],
    base: Any,
    head: Head,
    vocabulary: Vocabulary,
) -> None:
    """Writes every row to its end.

    prompts  the run over the prompts, padded on the right; `hidden` [rows, 1, width] of each prompt's last token
    padding  places after that token
    """
    cache = DynamicCache(align_right(prompts.past, padding))
    places = past_tokens(prompts.past)
    lengths = places - padding
    mask = torch.arange(places, device=padding.device).unsqueeze(0) >= padding.unsqueeze(1)
    hidden, active = prompts.hidden[:, -1], list(rows)
    while True:
        tokens = choose_next(active, head.logits(hidden), vocabulary)
        for row, token_id in zip(active, tokens, strict=True):
            if row.finish is None:
                take_token(row, token_id, vocabulary)
        going = [place for place, row in enumerate(active) if row.finish is None]
        if not going:
            return
        if len(going) < len(active):
            kept = torch.tensor(going, device=mask.device)
            cache.batch_select_indices(kept)
            mask, lengths = mask[kept], lengths[kept]
            active = [active[place] for place in going]
        mask = torch.cat([mask, mask.new_ones(len(active), 1)], dim=1)
        new = torch.tensor([[tokens[place]] for place in going], device=mask.device)
        hidden = run_on(base, new, cache, mask, lengths.unsqueeze(1))[:, -1]
        lengths = lengths + 1
