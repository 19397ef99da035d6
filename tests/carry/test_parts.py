"""Files are spread over parts: no byte lost, none twice, no part too large; what cannot be is said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localexplain.carry.parts import MOST_PARTS, Layout, count_parts, fill, plan_parts, smallest_part_bytes, try_plan
from localexplain.errors import UserError

SIZES = st.lists(st.integers(0, 5000), max_size=30)
FIXED, EACH = 300, 20  # bytes of scripts, and of a manifest's line


def measure(layout: Layout) -> int:
    """A manifest whose lines get longer where there are many parts, as numbers do."""
    pieces = sum(map(len, layout))
    return FIXED + pieces * (EACH + len(str(count_parts(layout))))


def check(layout: Layout, sizes: list[int], part_bytes: int) -> None:
    """Every byte of every file once and in order, every part within its limit, no part without a piece."""
    content = dict.fromkeys(range(1, count_parts(layout) + 1), 0)
    for size, pieces in zip(sizes, layout, strict=True):
        covered = [offset for piece in pieces for offset in range(piece.start, piece.start + piece.bytes)]
        assert covered == list(range(size))
        assert [piece.part for piece in pieces] == sorted({piece.part for piece in pieces})
        assert all(piece.bytes for piece in pieces) or (size == 0 and len(pieces) == 1)
        for piece in pieces:
            content[piece.part] += piece.bytes
    assert max(content.values()) + measure(layout) <= part_bytes
    assert all(content.values()) or sum(sizes) == 0
    placed = [piece.part for pieces in layout for piece in pieces]
    assert placed == sorted(placed)


@given(SIZES, st.integers(300, 20_000))
def test_every_byte_is_in_one_piece_and_no_part_is_too_large(sizes: list[int], part_bytes: int) -> None:
    layout = try_plan(sizes, part_bytes, measure)
    if layout is not None:
        check(layout, sizes, part_bytes)
        assert layout == try_plan(sizes, part_bytes, measure)


@given(SIZES)
def test_the_smallest_size_works_and_one_byte_less_does_not(sizes: list[int]) -> None:
    smallest = smallest_part_bytes(sizes, measure)
    layout = plan_parts(sizes, smallest, measure)
    check(layout, sizes, smallest)
    with pytest.raises(UserError, match=f"the smallest that works is {smallest}$"):
        plan_parts(sizes, smallest - 1, measure)


def test_files_worked_out_by_hand() -> None:
    """Parts of 400 with three files of 50, 120, 0 bytes. Three lines of 21 bytes and 300 fixed leave 37: three files
    of 50 and 120 are then 2 + 4 pieces and the empty one 1 in 5 parts, 7 * 21 + 300 = 447 > 400: nothing fits. In 470
    it does: 470 - 363 = 107 leaves two parts, 1 + 2 + 1 = 4 pieces and 384; so 86 bytes a part: 50 + 36, then 84."""
    sizes = [50, 120, 0]
    assert try_plan(sizes, 400, measure) is None
    layout = plan_parts(sizes, 470, measure)
    assert [[(piece.part, piece.start, piece.bytes) for piece in file] for file in layout] == [
        [(1, 0, 50)],
        [(1, 0, 36), (2, 36, 84)],
        [(2, 0, 0)],
    ]


def test_no_size_is_one_part() -> None:
    assert count_parts(plan_parts([10**12, 3], None, measure)) == 1
    assert fill([], 5) == ()


def test_more_parts_than_names_are_refused() -> None:
    """A manifest that weighs nothing: parts of 10 bytes for 10,000 would be 1,000."""
    layout = plan_parts([10 * MOST_PARTS], 10, lambda _: 0)
    assert count_parts(layout) == MOST_PARTS
    with pytest.raises(UserError, match=r"for 999 parts to hold all of it; the smallest that works is 11$"):
        plan_parts([10 * MOST_PARTS + 1], 10, lambda _: 0)
