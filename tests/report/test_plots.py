"""Where plots put their marks, read back from the SVG: the axes' own tick labels are the ruler."""

import functools
import itertools
import math
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_hex

from localexplain.report.drawing import COLOURS, DASHES, INK, MARKERS, ink_on, read_svg, short_number, wrap
from localexplain.report.plots import (
    CrossCell,
    Curve,
    CurvePoint,
    Distribution,
    IntervalRow,
    bin_shares,
    cross_table_plot,
    curve_plot,
    difference_plot,
    distribution_plot,
    interval_plot,
)

SVG = "{http://www.w3.org/2000/svg}"
NASTY = "_a $x$ <b>|&amp; \x1b\n日本"
NASTY_SHOWN = "_a $x$ <b>|&amp; \\x1b↵日本"


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An SVG, parsed strictly."""

    source: str
    root: ET.Element

    @property
    def texts(self) -> list[str]:
        return [element.text or "" for element in self.root.iter(f"{SVG}text")]

    def group(self, name: str) -> ET.Element | None:
        return next((element for element in self.root.iter(f"{SVG}g") if element.get("id") == name), None)

    def markers(self, name: str) -> list[tuple[float, float]]:
        group = self.group(name)
        assert group is not None, name
        return [(float(use.attrib["x"]), float(use.attrib["y"])) for use in group.iter(f"{SVG}use")]

    def path(self, name: str) -> list[tuple[str, float, float]]:
        """Commands of the first path of the group: M and L with their places, moved to where the path is used."""
        group = self.group(name)
        assert group is not None, name
        path = next(group.iter(f"{SVG}path"))
        found = re.findall(r"([ML]) (\S+) (\S+)", path.attrib["d"])
        use = next(group.iter(f"{SVG}use"), ET.Element("use"))
        left, top = float(use.get("x", "0")), float(use.get("y", "0"))
        return [(command, left + float(x), top + float(y)) for command, x, y in found]

    def segments(self, name: str) -> list[tuple[float, float, float, float]]:
        """The straight lines of a group, sorted: x and y of the one end, of the other."""
        group = self.group(name)
        assert group is not None, name
        found = []
        for path in group.iter(f"{SVG}path"):
            ends = [float(number) for number in re.findall(r"-?[\d.]+", path.attrib["d"])]
            found.append((ends[0], ends[1], ends[2], ends[3]))
        return sorted(found)

    def ruler(self, axis: str, scale: Callable[[float], float] = float) -> Callable[[float], float]:
        """From a value to its place, by the labels of the ticks of "x" or "y" that lie furthest apart."""
        places = []
        for group in self.root.iter(f"{SVG}g"):
            if re.fullmatch(rf"{axis}tick_\d+", group.get("id", "")):
                label = next(group.iter(f"{SVG}text")).text or ""
                use = next(group.iter(f"{SVG}use"))
                places.append((scale(read_label(label)), float(use.attrib[axis])))
        (low, start), (high, end) = min(places), max(places)
        assert high > low
        return lambda value: start + (scale(value) - low) / (high - low) * (end - start)


def read_label(label: str) -> float:
    factor = {"k": 1e3, "M": 1e6, "B": 1e9}.get(label[-1:], 1.0)
    return float(label.rstrip("kMB").replace("\N{MINUS SIGN}", "-")) * factor


def read(source: str) -> Picture:
    return Picture(source=source, root=ET.fromstring(source))


def near(*values: float) -> list[object]:
    return [pytest.approx(value, abs=0.01) for value in values]


def curve(name: str, *points: tuple[float, float | None], is_reference: bool = False, half: float = 0.05) -> Curve:
    return Curve(
        name=name,
        is_reference=is_reference,
        points=tuple(
            CurvePoint(
                x=x, mean=mean, low=None if mean is None else mean - half, high=None if mean is None else mean + half
            )
            for x, mean in points
        ),
    )


def cell(explainer: str, simulator: str, mean: float | None) -> CrossCell:
    ends = (None, None) if mean is None else (mean - 0.01, mean + 0.02)
    return CrossCell(explainer=explainer, simulator=simulator, mean=mean, low=ends[0], high=ends[1])


ROWS = (
    IntervalRow(name="own", mean=0.3, low=0.2, high=0.45),
    IntervalRow(name="gone", mean=None),
    IntervalRow(name="lookup", mean=-0.1, low=-0.2, high=0.1),
    IntervalRow(name="alone", mean=0.5),
)
EVERY_PLOT: dict[str, Callable[[str], str]] = {
    "interval": lambda name: interval_plot([IntervalRow(name=name, mean=0.1), *ROWS], name),
    "difference": lambda name: difference_plot([IntervalRow(name=name, mean=0.1), *ROWS], name),
    "curve": lambda name: curve_plot([curve(name, (1, 0.2), (2, 0.3))], name, name, log_x=False),
    "log curve": lambda name: curve_plot([curve(name, (1e6, 0.2), (2e7, 0.3))], name, name, log_x=True),
    "distribution": lambda name: distribution_plot([Distribution(name=name, values=(0.1, 0.2, None))], name),
    "cross": lambda name: cross_table_plot([cell(name, "s", 0.1), cell("e", name, 0.4)]),
}


@functools.cache
def drawn(kind: str, name: str = "name") -> str:
    """Drawn once for all tests: a plot takes some tenths of a second."""
    return EVERY_PLOT[kind](name)


# what holds for all ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", EVERY_PLOT)
def test_a_plot_stands_for_itself(kind: str) -> None:
    picture = read(drawn(kind))
    assert picture.source.startswith("<svg ")  # neither a declaration nor a document type
    assert picture.source.replace('xmlns="http://www.w3.org/2000/svg"', "").count("http") == 0
    for sign in ("xlink", "metadata", "atplotlib v", "<style", "<image", "DejaVu", "@import"):
        assert sign not in picture.source
    ids = {element.get("id") for element in picture.root.iter() if element.get("id")}
    named = re.findall(r'href="([^"]*)"|url\(([^)]*)\)', picture.source)
    assert {href or url for href, url in named} <= {f"#{name}" for name in ids}
    families = re.findall(r"font-family:([^;\"]*)", picture.source)
    assert families
    assert set(families) == {" sans-serif"}


@pytest.mark.parametrize("kind", EVERY_PLOT)
def test_names_are_text(kind: str) -> None:
    # the cross table's columns are narrow, so a name of several words is on several lines
    assert NASTY_SHOWN in " ".join(read(drawn(kind, NASTY)).texts)


@pytest.mark.parametrize("kind", EVERY_PLOT)
def test_the_same_every_time_whatever_the_settings(kind: str) -> None:
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "axes.grid": True, "svg.hashsalt": "other"}):
        before = dict(matplotlib.rcParams)
        again = EVERY_PLOT[kind]("name")
        assert dict(matplotlib.rcParams) == before
    assert again == drawn(kind)


def test_the_same_in_another_process_without_pyplot() -> None:
    code = (
        "import sys; from tests.report.test_plots import EVERY_PLOT; "
        "print(*[draw('name') for draw in EVERY_PLOT.values()], 'matplotlib.pyplot' in sys.modules, sep='')"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONIOENCODING": "utf-8"}
    environment["PYTHONHASHSEED"] = "1" if os.environ.get("PYTHONHASHSEED") == "2" else "2"  # sets in another order
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, encoding="utf-8", env=environment
    )
    assert found.stdout == "".join(drawn(kind) for kind in EVERY_PLOT) + "False\n"


@pytest.mark.parametrize(
    "draw",
    [
        lambda: interval_plot([]),
        lambda: curve_plot([], "x", "y"),
        lambda: distribution_plot([], "x"),
        lambda: cross_table_plot([]),
    ],
)
def test_nothing_to_show(draw: Callable[[], str]) -> None:
    assert "nothing to show" in read(draw()).texts


def test_the_background_is_transparent_and_ink_reads_on_both_pages() -> None:
    fills = set(re.findall(r"fill: (#[0-9a-f]{6})", interval_plot(ROWS)))
    assert fills == {INK, COLOURS[0]}  # text and points: no background, no frame
    # the page's panels, light and dark
    assert contrast(INK, "#ffffff") > 4
    assert contrast(INK, "#1b1d1f") > 4


def contrast(a: str, b: str) -> float:
    """WCAG 2, by numpy."""
    values = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in (a, b)]) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    dark, light = sorted(linear @ np.array([0.2126, 0.7152, 0.0722]))
    return float((light + 0.05) / (dark + 0.05))


@given(st.integers(0, 0xFFFFFF))
def test_ink_on_a_colour_reads(number: int) -> None:
    colour = f"#{number:06x}"
    inks = {ink: contrast(ink, colour) for ink in ("#000000", "#ffffff")}
    assert inks[ink_on(colour)] == pytest.approx(max(inks.values()))
    assert inks[ink_on(colour)] > 4.5


# means with intervals -------------------------------------------------------------------------------------------------


def test_intervals_are_where_they_should_be() -> None:
    picture = read(interval_plot(ROWS, "correlation"))
    x = picture.ruler("x")
    rows = [picture.markers(f"points-{row}") for row in range(3)]
    assert [len(row) for row in rows] == [1, 1, 1]  # three of four have a mean
    assert picture.group("points-3") is None
    assert [row[0][0] for row in rows] == near(x(0.3), x(-0.1), x(0.5))
    heights = [row[0][1] for row in rows]
    assert heights == sorted(heights)  # from top to bottom
    assert heights[1] - heights[0] == pytest.approx(heights[2] - heights[1])
    for row, low, high in ((0, 0.2, 0.45), (1, -0.2, 0.1)):
        assert list(picture.segments(f"intervals-{row}")[0]) == near(x(low), heights[row], x(high), heights[row])
    assert picture.group("intervals-2") is None  # a mean without an interval
    assert {"own", "lookup", "alone", "correlation", "1 without a value"} <= set(picture.texts)
    assert "gone" not in picture.texts


def test_labels_stand_at_their_rows() -> None:
    picture = read(interval_plot(ROWS))
    for row, name in enumerate(("own", "lookup", "alone")):
        label = next(element for element in picture.root.iter(f"{SVG}text") if element.text == name)
        ((x, y),) = picture.markers(f"points-{row}")
        assert abs(float(label.attrib["y"]) - y) < 5  # its foot, less than a letter's height from the row's middle
        assert float(label.attrib["x"]) < x
        assert "text-anchor: end" in label.attrib["style"]


def test_values_that_are_not_numbers_are_none() -> None:
    picture = read(interval_plot([IntervalRow(name="a", mean=math.nan), IntervalRow(name="b", mean=0.1, low=math.nan)]))
    assert "1 without a value" in picture.texts
    assert len(picture.markers("points-0")) == 1
    assert picture.group("intervals-0") is None


def test_zero_is_always_shown() -> None:
    picture = read(interval_plot([IntervalRow(name="a", mean=0.8, low=0.79, high=0.81)]))
    assert "0" in picture.texts


def test_differences_that_may_be_nothing_are_white() -> None:
    picture = read(difference_plot([*ROWS, IntervalRow(name="lower", mean=-0.3, low=-0.4, high=-0.2)]))
    fills = []
    for row in range(4):
        group = picture.group(f"points-{row}")
        assert group is not None
        fills.append(re.findall(r"fill: (#\w+)", next(group.iter(f"{SVG}use")).attrib["style"]))
    # 0.2 to 0.45; -0.2 to 0.1; no interval; -0.4 to -0.2
    assert fills == [[COLOURS[0]], ["#ffffff"], [COLOURS[0]], [COLOURS[0]]]
    assert "white: the interval holds 0" in picture.texts
    assert not any("white" in text for text in read(difference_plot(ROWS[:1])).texts)
    assert not any("white" in text for text in read(interval_plot(ROWS)).texts)


# curves ---------------------------------------------------------------------------------------------------------------


def test_points_of_curves_are_where_they_should_be() -> None:
    series = [curve("a", (0, 0.1), (3, 0.4), (6, -0.2)), curve("b", (1, 0.25), (5, 0.5), half=0.1)]
    picture = read(curve_plot(series, "layer", "correlation", log_x=False))
    x, y = picture.ruler("x"), picture.ruler("y")
    for number, one in enumerate(series):
        expected = [(x(point.x), y(point.mean or 0.0)) for point in one.points]
        found = picture.markers(f"points-{number}")
        assert [place for pair in found for place in pair] == near(*[place for pair in expected for place in pair])
        line = picture.path(f"line-{number}")
        assert [command for command, _, _ in line] == ["M"] + ["L"] * (len(expected) - 1)
        assert [line[0][1], line[0][2]] == near(*expected[0])
        bars = picture.segments(f"intervals-{number}")
        for point, bar in zip(one.points, bars, strict=True):
            assert list(bar) == near(x(point.x), y(point.low or 0.0), x(point.x), y(point.high or 0.0))
    assert {"a", "b", "layer", "correlation"} <= set(picture.texts)


def test_a_logarithmic_axis() -> None:
    picture = read(
        curve_plot([curve("a", (1e6, 0.1), (4e6, 0.2), (1.2e7, 0.3), (0, 0.9))], "parameters", "y", log_x=True)
    )
    x = picture.ruler("x", math.log10)
    assert [place for place, _ in picture.markers("points-0")] == near(x(1e6), x(4e6), x(1.2e7))
    assert {"1M", "2M", "5M", "10M", "1 at 0 or below, off the logarithmic axis"} <= set(picture.texts)


def test_the_order_of_points_does_not_matter() -> None:
    points = ((3, 0.4), (0, 0.1), (6, -0.2))
    assert curve_plot([curve("a", *points)], "x", "y") == curve_plot([curve("a", *sorted(points))], "x", "y")


def test_missing_points_break_the_line_and_are_counted() -> None:
    series = [curve("a", (0, 0.1), (1, 0.2), (2, None), (3, 0.2), (4, 0.1)), curve("b", (0, None), (1, math.nan))]
    picture = read(curve_plot(series, "x", "y"))
    assert len(picture.markers("points-0")) == 4
    assert [command for command, _, _ in picture.path("line-0")] == ["M", "L", "M", "L"]
    assert len(picture.segments("intervals-0")) == 4
    assert "3 without a value" in picture.texts
    assert "b" in picture.texts  # in the legend all the same


def test_a_reference_is_a_line_with_a_band() -> None:
    series = [curve("own", (0, 0.1), (4, 0.2)), curve("published", (0, 0.3), (2, 0.4), (4, 0.3), is_reference=True)]
    picture = read(curve_plot(series, "x", "y"))
    x, y = picture.ruler("x"), picture.ruler("y")
    assert picture.group("points-1") is None
    assert picture.group("intervals-1") is None
    line = picture.path("line-1")
    assert [place for _, *pair in line for place in pair] == near(x(0), y(0.3), x(2), y(0.4), x(4), y(0.3))
    band = [(place, height) for _, place, height in picture.path("band-1")]
    for point in series[1].points:
        for end in (point.low, point.high):
            assert min(math.dist(corner, (x(point.x), y(end or 0.0))) for corner in band) < 0.01
    group = picture.group("line-1")
    assert group is not None
    assert f"stroke: {INK}" in next(group.iter(f"{SVG}path")).attrib["style"]


def test_a_reference_of_one_point_is_level() -> None:
    series = [curve("own", (0, 0.1), (4, 0.2)), curve("published mean", (2, 0.151), is_reference=True)]
    picture = read(curve_plot(series, "x", "y"))
    x, y = picture.ruler("x"), picture.ruler("y")
    (_, left, start), (_, right, end) = picture.path("line-1")
    assert [start, end] == near(y(0.151), y(0.151))
    assert left < x(0) < x(4) < right
    assert {round(height, 1) for _, _, height in picture.path("band-1")} == {round(y(0.101), 1), round(y(0.201), 1)}


def test_series_differ_in_looks() -> None:
    n = len(COLOURS) * len(MARKERS)
    assert len({(COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]) for i in range(n)}) == n
    n = len(COLOURS) * len(DASHES)
    assert len({(COLOURS[i % len(COLOURS)], DASHES[i % len(DASHES)]) for i in range(n)}) == n
    picture = read(curve_plot([curve(f"series {i}", (0, i / 10), (1, 0)) for i in range(8)], "x", "y"))
    looks = set()
    for i in range(8):
        group = picture.group(f"points-{i}")
        assert group is not None
        use = next(group.iter(f"{SVG}use"))
        looks.add((use.attrib["href"], use.attrib["style"]))
    assert len(looks) == 8


@settings(max_examples=8, deadline=None)  # every one is drawn
@given(st.lists(st.tuples(st.integers(0, 47), st.none() | st.floats(-1, 1)), max_size=8))
def test_there_is_a_marker_for_every_value(points: list[tuple[int, float | None]]) -> None:
    picture = read(curve_plot([curve("a", *points)], "layer", "y"))
    n = sum(mean is not None for _, mean in points)
    group = picture.group("points-0")
    assert sum(1 for _ in group.iter(f"{SVG}use")) == n if group is not None else n == 0
    left_out = [text for text in picture.texts if "without a value" in text]
    assert left_out == ([f"{len(points) - n} without a value"] if n < len(points) else [])


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
