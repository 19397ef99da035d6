"""How files are spread over parts of limited size. Pure: sizes in, places out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from localexplain.errors import UserError

MOST_PARTS = 999  # their names have three digits


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """A run of one file's bytes in one part.

    part   counted from 1
    start  offset in the file
    """

    part: int
    start: int
    bytes: int


Layout = tuple[tuple[Slice, ...], ...]  # for each file its slices, in order of their bytes


def count_parts(layout: Layout) -> int:
    """
    >>> count_parts(fill([3, 4], 5)), count_parts(())
    (2, 1)
    """
    return max((piece.part for pieces in layout for piece in pieces), default=1)


def fill(sizes: Sequence[int], room_bytes: int) -> Layout:
    """Files one after another into parts of `room_bytes`, every part but the last filled; one that does not fit into
    the room left is cut. An empty file is one slice of no bytes.

    >>> [[(piece.part, piece.bytes) for piece in file] for file in fill([3, 4, 0], 5)]
    [[(1, 3)], [(1, 2), (2, 2)], [(2, 0)]]
    """
    part, left = 1, room_bytes
    layout = []
    for size in sizes:
        pieces: list[Slice] = []
        start = 0
        while start < size or not pieces:
            if left == 0 and start < size:
                part, left = part + 1, room_bytes
            taken = min(left, size - start)
            pieces.append(Slice(part=part, start=start, bytes=taken))
            start, left = start + taken, left - taken
        layout.append(tuple(pieces))
    return tuple(layout)


def try_plan(sizes: Sequence[int], part_bytes: int, measure: Callable[[Layout], int]) -> Layout | None:
    """A layout whose parts, what comes on top included, are no larger than `part_bytes`; None where there is none.

    measure  bytes of what each part holds beside the files: it grows with the number of slices, because a manifest
             lists them; so room is taken away until what the layout needs fits into what was kept for it
    """
    total = sum(sizes)
    kept = measure(fill(sizes, max(total, 1)))
    while kept <= part_bytes and total <= (part_bytes - kept) * MOST_PARTS:
        layout = fill(sizes, part_bytes - kept)
        needed = measure(layout)
        if needed <= kept:
            return layout
        kept = needed
    return None


def smallest_part_bytes(sizes: Sequence[int], measure: Callable[[Layout], int]) -> int:
    """A part size that can be planned where one byte less cannot."""
    fails, works = -1, sum(sizes) + measure(fill(sizes, max(sum(sizes), 1)))  # all of it in one part
    while works - fails > 1:
        middle = (fails + works) // 2
        if try_plan(sizes, middle, measure) is None:
            fails = middle
        else:
            works = middle
    return works


def plan_parts(sizes: Sequence[int], part_bytes: int | None, measure: Callable[[Layout], int]) -> Layout:
    """Where each byte of each file goes; everything in one part where `part_bytes` is None. Raises UserError with the
    smallest size that works where this one does not."""
    if part_bytes is None:
        return fill(sizes, max(sum(sizes), 1))
    layout = try_plan(sizes, part_bytes, measure)
    if layout is None:
        smallest = smallest_part_bytes(sizes, measure)
        raise UserError(
            f"--part-size {part_bytes}: too small for a part's manifest and scripts and a piece of the content, or for "
            f"{MOST_PARTS} parts to hold all of it; the smallest that works is {smallest}"
        )
    return layout
