"""Distributions, tables in colours, and the small parts of plots."""

import itertools
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence

import matplotlib
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex

from localexplain.report.drawing import read_svg, short_number, wrap
from localexplain.report.plots import (
    CrossCell,
    Distribution,
    bin_shares,
    cross_table_plot,
    distribution_plot,
)
from tests.report.pictures import SVG, Picture, cell, contrast, read

# distributions --------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(-100, 100), min_size=1))
def test_bins_of_hundredths(hundredths: list[int]) -> None:
    # bins of five hundredths: in whole numbers there is nothing to round
    counts = [0] * 40
    for number in hundredths:
        counts[min((number + 100) // 5, 39)] += 1
    assert bin_shares([number / 100 for number in hundredths]) == pytest.approx([n / len(hundredths) for n in counts])


def heights_by_bin(picture: Picture, name: str) -> dict[float, float]:
    """Height of the outline over the middle of each bin, in data: the level lines of the path."""
    path = picture.path(name)
    x, y = picture.ruler("x"), picture.ruler("y")
    levels = {}
    for place in range(40):
        middle = x(-1 + (place + 0.5) * 0.05)
        ((height,),) = [
            {end[2]} for start, end in itertools.pairwise(path)
            if start[2] == end[2] and min(start[1], end[1]) < middle < max(start[1], end[1])
        ]  # fmt: skip
        levels[place] = (height - y(0)) / (y(1) - y(0))
    return levels


def test_distributions_are_outlined() -> None:
    groups = [
        Distribution(name="own", values=(0.31, 0.32, 0.33, -1.0, None)),
        Distribution(name="other", values=(0.0, 1.0)),
        Distribution(name="none", values=(None,)),
    ]
    picture = read(distribution_plot(groups, "correlation"))
    own, other = heights_by_bin(picture, "steps-0"), heights_by_bin(picture, "steps-1")
    assert {place: round(height, 4) for place, height in own.items() if height > 1e-6} == {0: 0.25, 26: 0.75}
    assert {place: round(height, 4) for place, height in other.items() if height > 1e-6} == {20: 0.5, 39: 0.5}
    assert picture.group("steps-2") is None
    # (0.31 + 0.32 + 0.33 - 1) / 4 = -0.01
    assert {"own: n 4, mean -0.010", "other: n 2, mean 0.500", "none: n 0, mean -"} <= set(picture.texts)
    assert "2 without a value" in picture.texts


def test_values_beyond_the_bins_are_said() -> None:
    picture = read(
        distribution_plot([Distribution(name="a", values=(-3.0, 1.0 + 1e-9, 0.0, 1.5))], "explained variance")
    )
    assert "2 beyond -1 or 1, in the outermost bins" in picture.texts
    steps = heights_by_bin(picture, "steps-0")
    assert {place: round(height, 4) for place, height in steps.items() if height > 1e-6} == {0: 0.25, 20: 0.25, 39: 0.5}


# cross tables ---------------------------------------------------------------------------------------------------------

CELLS = (
    cell("published", "rule", 0.05),
    cell("published", "model", 0.31),
    cell("own", "rule", None),
    cell("own", "model", 0.205),
    cell("lookup", "model", 0.25),
)


def corners(picture: Picture, name: str) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of a cell."""
    path = picture.path(name)
    xs, ys = [x for _, x, _ in path], [y for _, _, y in path]
    return min(xs), min(ys), max(xs), max(ys)


def texts_inside(picture: Picture, box: Sequence[float]) -> list[ET.Element]:
    left, top, right, bottom = box
    return [
        element
        for element in picture.root.iter(f"{SVG}text")
        if left < float(element.get("x", "-1")) < right and top < float(element.get("y", "-1")) < bottom
    ]


def test_cells_hold_their_numbers() -> None:
    picture = read(cross_table_plot(CELLS))
    expected = {
        (0, 0): ["0.050", "0.040 to 0.070"],
        (0, 1): ["0.310", "0.300 to 0.330"],
        (1, 1): ["0.205", "0.195 to 0.225"],
        (2, 1): ["0.250", "0.240 to 0.270"],
    }
    for (row, column), texts in expected.items():
        box = corners(picture, f"cell-{row}-{column}")
        assert [element.text for element in texts_inside(picture, box)] == texts
        assert box[2] - box[0] == pytest.approx(0.95 * 72)
    assert picture.group("cell-1-0") is picture.group("cell-2-0") is None
    assert picture.texts.count("-") == 2  # no mean, and no such pair
    assert "2 without a value" in picture.texts
    first, right, below = (corners(picture, f"cell-{name}") for name in ("0-0", "0-1", "1-1"))
    assert right[0] == pytest.approx(first[2])
    assert below[1] == pytest.approx(right[3])


def test_headers_stand_at_their_rows_and_columns() -> None:
    picture = read(cross_table_plot(CELLS))
    places = {text.text: (float(text.attrib["x"]), float(text.attrib["y"])) for text in picture.root.iter(f"{SVG}text")}
    left, top, right, bottom = corners(picture, "cell-2-1")
    assert left < places["model"][0] < right
    assert places["model"][1] < corners(picture, "cell-0-0")[1]
    assert top < places["lookup"][1] < bottom
    assert places["lookup"][0] < corners(picture, "cell-0-0")[0]


def test_colours_follow_the_means_and_numbers_read() -> None:
    means = [i / 10 for i in range(-2, 9)]
    picture = read(cross_table_plot([cell("e", f"s{i}", mean) for i, mean in enumerate(means)]))
    brightness = []
    for column in range(len(means)):
        group = picture.group(f"cell-0-{column}")
        assert group is not None
        (fill,) = re.findall(r"fill: (#\w+)", next(group.iter(f"{SVG}path")).attrib["style"])
        brightness.append(contrast(fill, "#000000"))
        for text in texts_inside(picture, corners(picture, f"cell-0-{column}")):
            (ink,) = re.findall(r"fill: (#\w+)", text.attrib["style"]) or ["#000000"]
            assert contrast(fill, ink) > 4.5
    assert brightness == sorted(brightness)
    assert len(set(brightness)) == len(means)
    # the ends of the colour map: its darkest for the lowest mean, its brightest for the highest
    ends = [to_hex(matplotlib.colormaps["cividis"](end)) for end in (0.0, 1.0)]
    assert [brightness[0], brightness[-1]] == [contrast(end, "#000000") for end in ends]


def test_a_pair_given_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="given twice"):
        cross_table_plot([cell("e", "s", 0.1), cell("e", "s", 0.2)])


def test_cells_that_are_all_zero() -> None:
    assert "0.000" in read(cross_table_plot([CrossCell(explainer="e", simulator="s", mean=0.0)])).texts


# small parts ----------------------------------------------------------------------------------------------------------


@given(st.text(max_size=200), st.integers(5, 40))
def test_wrapped_names(name: str, letters: int) -> None:
    lines = wrap(name, letters)
    assert 1 <= len(lines) <= 3
    assert all(len(line) <= letters and line.isprintable() for line in lines)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (-0.0, "0"), (0.1 + 0.2, "0.3"), (999, "999"), (1000, "1k"), (-2500, "\N{MINUS SIGN}2.5k"), (2e9, "2B")],
)
def test_short_numbers(value: float, text: str) -> None:
    assert short_number(value) == text


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("<script>1</script>", "script"),
        ('<image href="#a"/>', "image"),
        ('<a href="#a"/>', "<a>"),
        ('<use href="other.svg#a"/>', "reaches out"),
        ('<use xmlns:x="http://www.w3.org/1999/xlink" x:href="http://a.b"/>', "reaches out"),
        ('<g onclick="1"/>', "reaches out"),
        ('<g style="fill: url(http://a.b)"/>', "reaches out"),
        ("<g>", "not well-formed"),
    ],
)
def test_foreign_pictures_are_refused(body: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        read_svg(f'<svg xmlns="http://www.w3.org/2000/svg">{body}</svg>')


def test_only_an_svg_is_one() -> None:
    with pytest.raises(ValueError, match="not <svg>"):
        read_svg("<html/>")
