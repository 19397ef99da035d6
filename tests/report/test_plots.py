"""Where plots put their marks, read back from the SVG: the axes' own tick labels are the ruler."""

import math
import os
import re
import subprocess
import sys
from collections.abc import Callable

import matplotlib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localexplain.report.drawing import COLOURS, DASHES, INK, MARKERS, ink_on
from localexplain.report.plots import (
    IntervalRow,
    cross_table_plot,
    curve_plot,
    difference_plot,
    distribution_plot,
    interval_plot,
)
from tests.report.pictures import (
    EVERY_PLOT,
    NASTY,
    NASTY_SHOWN,
    ROWS,
    SVG,
    contrast,
    curve,
    drawn,
    near,
    read,
)

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
        "import sys; from tests.report.pictures import EVERY_PLOT; "
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
