"""Label requests as vLLM requests: worked by hand, and against an oracle of what a row means. No vLLM needed."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from localexplain.engines.base import LabelRequest
from localexplain.engines.vllm_plan import (
    RowsPlan,
    cut_calls,
    pick_rows,
    plan_rows,
    plan_singles,
    rows_fault,
    spare_fault,
)

LABELS = (3, 9)


def request(prefix: tuple[int, ...], tail: tuple[int, ...], positions: tuple[int, ...]) -> LabelRequest:
    return LabelRequest(prefix=prefix, tail=tail, positions=positions, label_ids=LABELS)


def after(before: tuple[int, ...], label: int) -> float:
    """The "log-probability" of a label after these tokens: no two prompts have the same."""
    digest = hashlib.sha256(repr((before, label)).encode()).digest()
    return -int.from_bytes(digest[:4], "big") / 2**28


def answer_rows(token_ids: tuple[int, ...], start: int, rows: int) -> np.ndarray:
    """The table of runner V2, by the words of vLLM's documentation: row i scores its ids as predictions of prompt token
    start + i + 1, and there are exactly len(prompt) - 1 - start rows."""
    assert rows == max(len(token_ids) - 1 - start, 0)
    table = [[after(token_ids[: start + row + 1], label) for label in LABELS] for row in range(rows)]
    return np.array(table, dtype=np.float32)


def wanted(asked: LabelRequest) -> np.ndarray:
    """The distribution after each tail[position]."""
    prompts = [(*asked.prefix, *asked.tail[: position + 1]) for position in asked.positions]
    return np.array([[after(prompt, label) for label in LABELS] for prompt in prompts], dtype=np.float32)


def test_rows_worked_by_hand() -> None:
    # place   0  1 | 2  3  4  5  6      prefix of 2, tail of 5; read after tail[1] and tail[3], places 3 and 5.
    # token  10 11 |12 13 14 15 16      Row 0 is what follows place 3 (predicts place 4), row 1 predicts place 5, row 2
    #                                   what follows place 5 (predicts place 6), so the prompt must reach place 6: 7
    #                                   tokens, 7 - 1 - 3 = 3 rows, of which 0 and 2 are picked.
    plan = plan_rows(request((10, 11), (12, 13, 14, 15, 16), (1, 3)))
    assert plan == RowsPlan(token_ids=(10, 11, 12, 13, 14, 15, 16), start=3, rows=3, picked=(0, 2))
    table = np.array([[1, 2], [3, 4], [5, 6]], dtype=np.float32)
    np.testing.assert_array_equal(pick_rows(table, plan), [[1, 2], [5, 6]])


def test_the_last_token_of_the_tail_is_followed_by_one_more() -> None:
    # Read after the last of 3 tokens, place 2: its row predicts place 3, which there is not; any token stands there.
    assert plan_rows(request((), (7, 8, 9), (2,))) == RowsPlan(token_ids=(7, 8, 9, 9), start=2, rows=1, picked=(0,))


def test_what_follows_the_last_position_is_not_computed() -> None:
    # Read after place 0 of 5 tokens: places 0 and 1 are enough.
    assert plan_rows(request((), (5, 6, 7, 8, 9), (0,))).token_ids == (5, 6)
    assert plan_singles(request((4,), (5, 6, 7, 8, 9), (0, 2))) == [(4, 5), (4, 5, 6, 7)]


@st.composite
def label_requests(draw: st.DrawFn) -> LabelRequest:
    tokens = st.integers(0, 50)
    prefix = tuple(draw(st.lists(tokens, max_size=6)))
    tail = tuple(draw(st.lists(tokens, min_size=1, max_size=12)))
    places = draw(st.sets(st.integers(0, len(tail) - 1), min_size=1))
    return request(prefix, tail, tuple(sorted(places)))


@given(label_requests())
def test_both_ways_read_what_follows_each_position(asked: LabelRequest) -> None:
    plan = plan_rows(asked)
    table = answer_rows(plan.token_ids, plan.start, plan.rows)
    assert rows_fault(table, plan, len(LABELS)) is None
    np.testing.assert_array_equal(pick_rows(table, plan), wanted(asked))
    singles = [[after(prompt, label) for label in LABELS] for prompt in plan_singles(asked)]
    np.testing.assert_array_equal(np.array(singles, dtype=np.float32), wanted(asked))


def test_rows_that_were_not_planned_are_refused() -> None:
    plan = plan_rows(request((), (5, 6, 7), (0, 1)))  # 2 rows
    assert rows_fault(np.zeros((2, 2), dtype=np.float32), plan, 2) is None
    assert rows_fault(None, plan, 2) == "vLLM gave no label rows"
    for shape in ((1, 2), (3, 2), (2, 3)):
        assert str(shape) in (rows_fault(np.zeros(shape, dtype=np.float32), plan, 2) or "")


@pytest.mark.parametrize(("positions", "spare", "fits"), [((3,), 0, True), ((3,), 1, False), ((2,), 1, True)])
def test_reading_the_end_of_a_full_context_needs_room(positions: tuple[int, ...], spare: int, fits: bool) -> None:
    # 2 + 4 tokens in a context of 6: after tail[3] nothing more can stand, after tail[2] one more token can.
    fault = spare_fault(request((1, 2), (3, 4, 5, 6), positions), spare, context_tokens=6)
    assert (fault is None) == fits
    assert fits or ("6 tokens" in (fault or "") and "room for 7" in (fault or ""))


@given(st.lists(st.integers(1, 20), max_size=30), st.integers(1, 40))
def test_calls_are_bounded_and_lose_nothing(costs: list[int], most: int) -> None:
    calls = cut_calls(costs, most)
    assert [place for call in calls for place in call] == list(range(len(costs)))
    for place, call in enumerate(calls):
        total = sum(costs[item] for item in call)
        assert total <= most or len(call) == 1
        if place + 1 < len(calls):
            assert total + costs[call.stop] > most  # no call is cut before it is full
