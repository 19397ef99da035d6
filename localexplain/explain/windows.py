"""What stands around the most active tokens of an excerpt, for prompts that must be short. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A run of an excerpt: (token, level) pairs, level 0 where it is too low to be told; whether the excerpt's first
    token opens it."""

    opens_text: bool
    pairs: tuple[tuple[str, int], ...]


def cut_windows(
    tokens: Sequence[str], levels: Sequence[int], before: int, after: int, lowest: int, most: int
) -> list[Window]:
    """Runs around the `most` most active tokens of at least `lowest`, from `before` tokens before to `after` after
    each; runs that touch are one. Of equal levels the earlier comes first; runs are in the order of the text.

    >>> cut_windows(["a", "b", "c", "d"], [0, 0, 9, 1], before=1, after=0, lowest=3, most=2)
    [Window(opens_text=False, pairs=(('b', 0), ('c', 9)))]
    """
    centres = sorted(range(len(levels)), key=lambda place: (-levels[place], place))[:most]
    spans: list[tuple[int, int]] = []
    for place in sorted(place for place in centres if levels[place] >= lowest):
        start, end = max(0, place - before), min(len(tokens), place + after + 1)
        if spans and start <= spans[-1][1]:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    return [
        Window(
            opens_text=start == 0,
            pairs=tuple((tokens[at], levels[at] if levels[at] >= lowest else 0) for at in range(start, end)),
        )
        for start, end in spans
    ]


def active_words(excerpts: Sequence[tuple[Sequence[str], Sequence[int]]], lowest: int, most: int) -> list[str]:
    """Up to `most` different runs of tokens of at least `lowest`, stripped: those of highest level first, then those
    that came first. `excerpts`: (tokens, levels) of each.

    >>> active_words([([" tro", "mbone", " and", " flute"], [7, 7, 0, 9])], lowest=3, most=5)
    ['flute', 'trombone']
    """
    highest: dict[str, int] = {}
    for tokens, levels in excerpts:
        run, level = "", 0
        for token, here in [*zip(tokens, levels, strict=True), ("", 0)]:
            if here >= lowest and not (run and token.startswith(" ")):
                run, level = run + token, max(level, here) if token else level
                continue
            if word := run.strip():
                highest[word] = max(highest.get(word, 0), level)
            run, level = (token, here) if here >= lowest else ("", 0)
    return sorted(highest, key=lambda word: -highest[word])[:most]
