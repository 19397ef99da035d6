import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from localexplain.report.excerpts import SHADES, Line, draw_excerpt, excerpt_lines, is_shaded, legend
from localexplain.report.unit import read_unit
from localexplain.store.store import Store

REAL = Line(name="real", levels=(0, 9, 5, 1))
SIMULATED = Line(name="sim 1", levels=(2, 0, 9, 3))
TOKENS = ("It", " rains", ",", " ha")


def test_digits_stand_below_the_first_letter() -> None:
    drawn = draw_excerpt(TOKENS, [REAL, SIMULATED], 40, shaded=False)
    assert [line.plain for line in drawn] == [
        "       It rains, ha",
        "real      9    5 1",
        "sim 1  2       9 3",
    ]


def test_real_and_simulated_wrap_together() -> None:
    # 7 columns of names leave 9: "It rains" is 8 wide, a ninth column takes the comma
    drawn = draw_excerpt(TOKENS, [REAL, SIMULATED], 16, shaded=True)
    assert [line.plain for line in drawn] == ["real   It rains,", "sim 1  It rains,", "real    ha", "sim 1   ha"]
    styles = [[(span.start, span.style) for span in line.spans if span.style in SHADES] for line in drawn]
    assert styles[0] == [(9, SHADES[9]), (15, SHADES[5])]  # level 0 has no style of its own
    assert styles[1] == [(7, SHADES[2]), (15, SHADES[9])]
    assert styles[2] == [(7, SHADES[1])]


def test_a_token_wider_than_the_line_comes_in_parts() -> None:
    drawn = draw_excerpt(("abcdefgh",), [Line(name="real", levels=(7,))], 10, shaded=False)
    assert [line.plain for line in drawn] == ["      abcd", "real  7", "      efgh", "real  7"]


@given(st.lists(st.text(max_size=12), max_size=12), st.integers(8, 40), st.booleans())
def test_no_line_is_wider_than_the_console(tokens: list[str], width: int, shaded: bool) -> None:
    lines = [Line(name="real", levels=(9,) * len(tokens)), Line(name="sim", levels=(4,) * len(tokens))]
    for line in draw_excerpt(tokens, lines, width, shaded):
        assert cell_len(line.plain) <= width


def test_lines_of_a_record(store: Store) -> None:
    record = read_unit(store, "mlp.0:0").records[1]
    lines = excerpt_lines(record, 4.0, {"w0": 2, "n0": 1})
    # tenths of 4 for 3, 0.4, -2, 1.2, 0 (0.4 and 1.2 as the nearest float32, which is above); then 0 to 10
    assert [(line.name, line.levels) for line in lines] == [
        ("real", (7, 1, 0, 3, 0)),
        ("sim 1", (9, 0, 0, 0, 0)),
        ("sim 2", (5, 0, 1, 0, 9)),
    ]
    assert [line.name for line in excerpt_lines(record, 4.0, {"n0": 1})] == ["real", "sim 1"]


@pytest.mark.parametrize(
    ("settings", "shaded"),
    [
        ({"force_terminal": True, "color_system": "truecolor"}, True),
        ({"force_terminal": True, "color_system": "256"}, True),
        ({"force_terminal": True, "color_system": "standard"}, False),
        ({"force_terminal": True, "color_system": "truecolor", "no_color": True}, False),
        ({"force_terminal": False, "color_system": "truecolor"}, False),
    ],
)
def test_shades_need_a_terminal_with_many_colours(settings: dict[str, object], shaded: bool) -> None:
    assert is_shaded(Console(file=io.StringIO(), **settings)) is shaded  # type: ignore[arg-type]


def test_legend_names_both_scales() -> None:
    for shaded in (True, False):
        text = legend(4.8077, shaded).plain
        assert "tenths of 4.81" in text
        assert "0 to 10" in text
    assert "digits" in legend(1.0, shaded=False).plain
