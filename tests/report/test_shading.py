import math

from hypothesis import given
from hypothesis import strategies as st

from localexplain.report.shading import find_maximum, level, levels, visible


def test_levels() -> None:
    # tenths of 4: 0.4 is the first of level 1, 3.6 the first of level 9, and nothing is above that
    assert levels([-4.0, 0.0, 0.39, 0.4, 2.0, 3.59, 3.6, 4.0, 40.0], 4.0) == (0, 0, 0, 1, 5, 8, 9, 9, 9)
    assert levels([1.0, 2.0], 0.0) == (0, 0)
    assert [level(math.nan, 1.0), level(math.inf, 1.0), level(math.inf, math.inf)] == [0, 9, 9]


@given(st.floats(allow_nan=True), st.floats(allow_nan=True))
def test_a_level_is_one_digit(value: float, maximum: float) -> None:
    assert 0 <= level(value, maximum) <= 9


def test_maximum() -> None:
    assert find_maximum([(-3.0, 1.0), (2.0,)]) == 2.0
    assert find_maximum([(-3.0,), ()]) == 0.0
    assert find_maximum([(math.nan, 1.0)]) == 1.0


def test_visible() -> None:
    assert [visible(token) for token in (" a", "a b", " ", "   ", "\n", "a\r\n", "\t", "")] == [
        " a", "a b", "␣", "␣␣␣", "↵", "a␍↵", "⇥", "∅",
    ]  # fmt: skip
    # an escape sequence, a direction override and a no-break space would act, or look like nothing
    assert [visible(token) for token in ("\x1b[2J", "\u202eab", "\xa0")] == ["\\x1b[2J", "\\u202eab", "\\xa0"]
    assert visible("日本 é") == "日本 é"


@given(st.text())
def test_visible_text_is_printable(text: str) -> None:
    assert visible(text).isprintable()
