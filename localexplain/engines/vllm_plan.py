"""How label requests become vLLM requests, in the two ways that its model runners can answer. Pure.

prompt   a  b  c | d  e  f  g  h            prefix | tail; read after d and after f: positions 0 and 2 of the tail
rows     a  b  c  d  e  f  g                runner V2: one prompt, start = 3, its rows are what follows d, e, f;
                                            rows 0 and 2 are picked
single   a  b  c  d     a  b  c  d  e  f    runner V1: one prompt for each position, asked for its next token
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from localexplain.engines.base import LabelRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsPlan:
    """One prompt from whose own prefill the labels are read.

    token_ids  up to the last position and one token more: a prompt's last token has no row, since row r of a prompt is
               the prediction of its token start + r + 1
    start      place in the prompt of the first position
    rows       how many there are: len(token_ids) - 1 - start, which vLLM demands exactly
    picked     [positions] the rows that were asked for
    """

    token_ids: tuple[int, ...]
    start: int
    rows: int
    picked: tuple[int, ...]


def read_places(request: LabelRequest) -> list[int]:
    """The positions as places in the whole prompt."""
    return [len(request.prefix) + position for position in request.positions]


def plan_rows(request: LabelRequest) -> RowsPlan:
    """Which token follows the last position does not matter; where the tail ends there, its last one is repeated.

    >>> plan_rows(LabelRequest(prefix=(7, 8), tail=(1, 2, 3, 4), positions=(0, 2), label_ids=(5,)))
    RowsPlan(token_ids=(7, 8, 1, 2, 3, 4), start=2, rows=3, picked=(0, 2))
    """
    places = read_places(request)
    prompt = (*request.prefix, *request.tail)
    return RowsPlan(
        token_ids=(*prompt, prompt[-1])[: places[-1] + 2],
        start=places[0],
        rows=places[-1] - places[0] + 1,
        picked=tuple(place - places[0] for place in places),
    )


def plan_singles(request: LabelRequest) -> list[tuple[int, ...]]:
    """[positions] the prompt up to and with each position.

    >>> plan_singles(LabelRequest(prefix=(7, 8), tail=(1, 2, 3, 4), positions=(0, 2), label_ids=(5,)))
    [(7, 8, 1), (7, 8, 1, 2, 3)]
    """
    prompt = (*request.prefix, *request.tail)
    return [prompt[: place + 1] for place in read_places(request)]


def spare_fault(request: LabelRequest, spare_tokens: int, context_tokens: int) -> str | None:
    """Why the request, sound by itself, does not fit with the `spare_tokens` that reading its last position takes."""
    needed = read_places(request)[-1] + 1 + spare_tokens
    if needed <= context_tokens:
        return None
    prompt = len(request.prefix) + len(request.tail)
    return (
        f"prompt of {prompt} tokens, read at its end, does not fit the model's context of {context_tokens} tokens: "
        f"vLLM needs room for {needed}"
    )


def rows_fault(table: np.ndarray | None, plan: RowsPlan, labels: int) -> str | None:
    """Why these are not the rows that were planned, or None."""
    if table is None:
        return "vLLM gave no label rows"
    if table.shape != (plan.rows, labels):
        return f"vLLM gave label rows of shape {table.shape} where {(plan.rows, labels)} was asked for"
    return None


def pick_rows(table: Float32[np.ndarray, "rows labels"], plan: RowsPlan) -> Float32[np.ndarray, "positions labels"]:
    """The rows that were asked for, of a table without fault."""
    return np.asarray(table[list(plan.picked)], dtype=np.float32)


def cut_calls(costs: Sequence[int], most: int) -> list[range]:
    """Consecutive items as calls whose costs sum to at most `most`; an item that costs more is a call alone.

    >>> cut_calls([3, 3, 5, 9, 1], most=8)
    [range(0, 2), range(2, 3), range(3, 4), range(4, 5)]
    """
    calls: list[range] = []
    start = total = 0
    for place, cost in enumerate(costs):
        if place > start and total + cost > most:
            calls.append(range(start, place))
            start, total = place, 0
        total += cost
    return [*calls, range(start, len(costs))] if costs else []
