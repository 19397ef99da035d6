"""Plots of comparisons as SVG text: numbers in, a picture out, the same text for the same numbers.

What has no value is left out and counted under the plot; NaN and infinity count as none.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

from localexplain.report import words
from localexplain.report.charts import BIN_WIDTH
from localexplain.report.drawing import (
    COLOURS,
    DASHES,
    INK,
    LINE_POINTS,
    MARKERS,
    POINTS_PER_INCH,
    ZERO_LINE,
    draw_points,
    format_ticks,
    ink_on,
    label_below,
    plot_axes,
    to_svg,
    wrap,
    write_legend,
    write_lines,
)
from localexplain.report.shading import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# In inches. With the names beside them plots are about 360 points wide, a phone's width, so that letters are not
# shrunk there.
PLOT_WIDTH, PLOT_HEIGHT = 4.3, 2.5
INTERVAL_WIDTH, ROW_HEIGHT = 3.0, 0.24
CELL_WIDTH, CELL_HEIGHT = 0.95, 0.46
NAME_LETTERS, HEADER_LETTERS = 26, 15  # what stands beside a row and above a column, before the line is broken

SCALE_OF_CELLS = "cividis"  # a colour map made for colour-blind readers, from dark blue to yellow
UNDECIDED = "#ffffff"  # fills the point of a difference that may be 0
BINS = round(2 / BIN_WIDTH)
ROUNDING = 1e-6  # a correlation may exceed 1 by rounding


@dataclass(frozen=True, slots=True, kw_only=True)
class IntervalRow:
    """A named mean with its 95 % interval; None where there is none. A row without a mean is left out."""

    name: str
    mean: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """A mean at a number `x`, with its 95 % interval; None where there is none."""

    x: float
    mean: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A series of points, in any order.

    is_reference  drawn in grey and without markers, its intervals as a band; a single point is a level line
    """

    name: str
    points: tuple[CurvePoint, ...]
    is_reference: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """Values in [-1, 1], None for what has none."""

    name: str
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossCell:
    """The mean of an explainer's explanations under a simulator, with its 95 % interval; None where there is none."""

    explainer: str
    simulator: str
    mean: float | None
    low: float | None = None
    high: float | None = None


def exists(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def note_count(count: int, what: str) -> list[str]:
    """A note of how many there are, where there are any.

    >>> note_count(2, "beyond 1"), note_count(0, "beyond 1")
    (['2 beyond 1'], [])
    """
    return [f"{words.count(count)} {what}"] if count else []


def note_missing(n_missing: int, n_shown: int) -> list[str]:
    """What is to be said of values that do not exist, or of there being none at all."""
    return note_count(n_missing, "without a value") or ([] if n_shown else ["nothing to show"])


# means with intervals -------------------------------------------------------------------------------------------------


def interval_plot(rows: Sequence[IntervalRow], x_label: str = "") -> str:
    """Rows from top to bottom: a point for the mean, a line for its interval, and where 0 is."""
    return draw_intervals(rows, [COLOURS[0]] * len(rows), x_label)


def difference_plot(rows: Sequence[IntervalRow], x_label: str = "") -> str:
    """As interval_plot, of differences; the point is white where the interval holds 0: neither side is shown to be the
    higher one."""
    return draw_intervals(rows, [UNDECIDED if holds_zero(row) else COLOURS[0] for row in rows], x_label)


def holds_zero(row: IntervalRow) -> bool:
    """Whether there is a mean with an interval, and 0 is in it.

    >>> [holds_zero(IntervalRow(name="a", mean=0.1, low=low, high=0.2)) for low in (-0.1, 0.0, 0.05, None)]
    [True, True, False, False]
    """
    return exists(row.mean) and exists(row.low) and exists(row.high) and row.low <= 0 <= row.high


def draw_intervals(rows: Sequence[IntervalRow], fills: Sequence[str], x_label: str) -> str:
    """The rows, each with the colour that its point is filled with."""
    shown = [(row, row.mean, fill) for row, fill in zip(rows, fills, strict=True) if exists(row.mean)]
    names = [wrap(row.name, NAME_LETTERS) for row, _, _ in shown]
    height = ROW_HEIGHT + LINE_POINTS / POINTS_PER_INCH * (max(map(len, names), default=1) - 1)
    notes = note_missing(len(rows) - len(shown), len(shown))
    if any(fill == UNDECIDED for _, _, fill in shown):
        notes.append("white: the interval holds 0")
    with plot_axes(INTERVAL_WIDTH, height * max(1, len(shown))) as axes:
        axes.axvline(0, **ZERO_LINE)
        for y, ((row, mean, fill), lines) in enumerate(zip(shown, names, strict=True)):
            if exists(row.low) and exists(row.high):
                axes.hlines(y, row.low, row.high, colors=COLOURS[0], gid=f"intervals-{y}")
            draw_points(axes, [(mean, y)], marker="o", color=COLOURS[0], markerfacecolor=fill, gid=f"points-{y}")
            write_lines(axes, (0, y), lines, shift=(-8, 0), xycoords=("axes fraction", "data"), ha="right")
        axes.set_ylim(max(1, len(shown)) - 0.5, -0.5)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        format_ticks(axes)
        label_below(axes, x_label, notes)
        return to_svg(axes)


# curves ---------------------------------------------------------------------------------------------------------------


def curve_plot(series: Sequence[Curve], x_label: str, y_label: str, log_x: bool = False) -> str:
    """Each series' points by x with their intervals, joined by a line that breaks where one has no value; 0 is always
    in the plot. On a logarithmic axis points at 0 and below are left out and counted."""
    on_axis = [[point for point in curve.points if point.x > 0 or not log_x] for curve in series]
    n_off_axis = sum(len(curve.points) for curve in series) - sum(map(len, on_axis))
    places = [point.x for points in on_axis for point in points]
    n_missing = sum(not exists(point.mean) for points in on_axis for point in points)
    keys = []
    with plot_axes(PLOT_WIDTH, PLOT_HEIGHT) as axes:
        if log_x:
            axes.set_xscale("log")
        axes.axhline(0, **ZERO_LINE)
        ranks = Counter[bool]()  # own curves and references each have their own succession of looks
        for number, (curve, points) in enumerate(zip(series, on_axis, strict=True)):
            draw = draw_reference if curve.is_reference else draw_curve
            keys.append(draw(axes, sorted(points, key=lambda point: point.x), number, ranks[curve.is_reference]))
            ranks[curve.is_reference] += 1
        axes.set_ylabel(visible(y_label))
        axes.grid(axis="y")
        place_ticks(axes, places, log_x)
        format_ticks(axes)
        write_legend(axes, keys, [curve.name for curve in series])
        notes = note_missing(n_missing, len(places) - n_missing + n_off_axis)
        label_below(axes, x_label, notes + note_count(n_off_axis, "at 0 or below, off the logarithmic axis"))
        return to_svg(axes)


def place_ticks(axes: "Axes", places: Sequence[float], log_x: bool) -> None:
    """At whole numbers where all places are; on a logarithmic axis of less than three decades at 1, 2 and 5."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    if log_x:
        is_short = bool(places) and max(places) < 1000 * min(places)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if is_short else (1,)))
        axes.xaxis.set_minor_locator(NullLocator())
    elif all(float(place).is_integer() for place in places):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def spans(points: Sequence[CurvePoint]) -> list[tuple[float, float, float]]:
    """x, low and high of the points that have a mean and an interval."""
    return [
        (point.x, point.low, point.high)
        for point in points
        if exists(point.mean) and exists(point.low) and exists(point.high)
    ]


def draw_curve(axes: "Axes", points: Sequence[CurvePoint], number: int, rank: int) -> dict[str, Any]:
    """Line, intervals and points in the looks of this rank; returns what the legend shows of them."""
    key = {"color": COLOURS[rank % len(COLOURS)], "marker": MARKERS[rank % len(MARKERS)]}
    means = [(point.x, point.mean if exists(point.mean) else math.nan) for point in points]
    axes.plot([x for x, _ in means], [y for _, y in means], color=key["color"], gid=f"line-{number}")
    bars = spans(points)
    lows, highs = [low for _, low, _ in bars], [high for _, _, high in bars]
    axes.vlines([x for x, _, _ in bars], lows, highs, colors=key["color"], linewidth=1.2, gid=f"intervals-{number}")
    draw_points(axes, means, gid=f"points-{number}", **key)
    return key


def draw_reference(axes: "Axes", points: Sequence[CurvePoint], number: int, rank: int) -> dict[str, Any]:
    """Line and band in the looks of this rank; returns what the legend shows of them."""
    key: dict[str, Any] = {"color": INK, "linestyle": DASHES[1 + rank % (len(DASHES) - 1)]}
    band: dict[str, Any] = {"color": INK, "alpha": 0.2, "linewidth": 0, "gid": f"band-{number}"}
    means = [(point.x, point.mean) for point in points if exists(point.mean)]
    ends = spans(points)
    if len(means) == 1:
        axes.axhline(means[0][1], gid=f"line-{number}", **key)
        for _, low, high in ends:
            axes.axhspan(low, high, **band)
    else:
        axes.plot([x for x, _ in means], [y for _, y in means], gid=f"line-{number}", **key)
        axes.fill_between([x for x, _, _ in ends], [low for _, low, _ in ends], [high for _, _, high in ends], **band)
    return key


# distributions --------------------------------------------------------------------------------------------------------


def bin_shares(values: Sequence[float]) -> tuple[float, ...]:
    """The share of the values in each of BINS bins from -1 to 1; a value on an edge counts to its right, one of 1 or
    more to the last bin, one below -1 to the first. `values` is not empty.

    >>> [(place, share) for place, share in enumerate(bin_shares([-1.0, 0.3, 0.3, 1.0])) if share]
    [(0, 0.25), (26, 0.5), (39, 0.25)]
    """
    # Rounded, because 1.3 / 0.05 may come out a little below 26.
    places = Counter(min(max(math.floor(round((value + 1) / BIN_WIDTH, 6)), 0), BINS - 1) for value in values)
    return tuple(places[place] / len(values) for place in range(BINS))


def distribution_plot(groups: Sequence[Distribution], x_label: str) -> str:
    """The outline of each group's histogram: the share of its values in each bin of BIN_WIDTH from -1 to 1."""
    edges = [round(-1 + place * BIN_WIDTH, 10) for place in range(BINS + 1)]
    keys, names, n_missing, n_shown, n_beyond = [], [], 0, 0, 0
    with plot_axes(PLOT_WIDTH, PLOT_HEIGHT) as axes:
        for number, group in enumerate(groups):
            values = [value for value in group.values if exists(value)]
            n_missing += len(group.values) - len(values)
            n_shown += len(values)
            n_beyond += sum(abs(value) > 1 + ROUNDING for value in values)
            keys.append({"color": COLOURS[number % len(COLOURS)], "linestyle": DASHES[number % len(DASHES)]})
            if values:
                axes.stairs(bin_shares(values), edges, gid=f"steps-{number}", linewidth=1.6, **keys[-1])
            mean = words.number(sum(values) / len(values) if values else None)
            names.append(f"{group.name}: n {words.count(len(values))}, mean {mean}")
        axes.set_xlim(-1, 1)
        axes.set_ylim(bottom=0)
        axes.set_ylabel("share")
        axes.grid(axis="y")
        format_ticks(axes)
        write_legend(axes, keys, names)
        notes = note_missing(n_missing, n_shown)
        label_below(axes, x_label, notes + note_count(n_beyond, "beyond -1 or 1, in the outermost bins"))
        return to_svg(axes)


# cross tables ---------------------------------------------------------------------------------------------------------


def cross_table_plot(cells: Sequence[CrossCell]) -> str:
    """Explainers down, simulators across, both in the order they first come in; each cell with its mean, its interval
    and a colour between that of 0 (or of the lowest mean, if lower) and that of the highest mean. A pair that is not
    given has no value.

    Raises: ValueError when a pair is given twice.
    """
    found = {(cell.explainer, cell.simulator): cell for cell in cells}
    if len(found) < len(cells):
        raise ValueError("a pair of explainer and simulator is given twice")
    explainers = list(dict.fromkeys(cell.explainer for cell in cells))
    simulators = list(dict.fromkeys(cell.simulator for cell in cells))
    means = [cell.mean for cell in cells if exists(cell.mean)]
    low, high = min([0.0, *means]), max([0.0, *means])
    n_columns, n_rows = max(1, len(simulators)), max(1, len(explainers))
    with plot_axes(CELL_WIDTH * n_columns, CELL_HEIGHT * n_rows) as axes:
        axes.set_axis_off()
        axes.set_xlim(0, n_columns)
        axes.set_ylim(n_rows, 0)
        write_headers(axes, explainers, simulators)
        for y, explainer in enumerate(explainers):
            for x, simulator in enumerate(simulators):
                cell = found.get((explainer, simulator))
                if cell is None or not exists(cell.mean):
                    write_lines(axes, (x + 0.5, y + 0.5), [words.NONE], ha="center")
                else:
                    draw_cell(axes, x, y, cell, (cell.mean - low) / (high - low) if high > low else 0.0)
        notes = note_missing(len(explainers) * len(simulators) - len(means), len(means))
        label_below(axes, "", notes, depth=8.0)
        return to_svg(axes)


def write_headers(axes: "Axes", explainers: Sequence[str], simulators: Sequence[str]) -> None:
    """Names of the rows and of the columns, and what they are."""
    for y, explainer in enumerate(explainers):
        write_lines(axes, (0, y + 0.5), wrap(explainer, NAME_LETTERS), shift=(-8, 0), ha="right")
    headers = [wrap(simulator, HEADER_LETTERS) for simulator in simulators]
    depth = max(map(len, headers), default=0) * LINE_POINTS
    for x, lines in enumerate(headers):
        write_lines(axes, (x + 0.5, 0), lines, shift=(0, 5 + len(lines) * LINE_POINTS / 2), ha="center")
    write_lines(axes, (0, 0), ["explainer"], shift=(-8, 9), ha="right", style="italic")
    write_lines(axes, (0, 0), ["simulator"], shift=(0, 14 + depth), ha="left", style="italic")


def draw_cell(axes: "Axes", x: int, y: int, cell: CrossCell, level: float) -> None:
    """The cell of column x and row y in the colour of `level` in [0, 1]."""
    import matplotlib
    from matplotlib.colors import to_hex
    from matplotlib.patches import Rectangle

    colour = to_hex(matplotlib.colormaps[SCALE_OF_CELLS](level))
    axes.add_patch(Rectangle((x, y), 1, 1, facecolor=colour, edgecolor=INK, linewidth=0.8, gid=f"cell-{y}-{x}"))
    style = {"color": ink_on(colour), "ha": "center"}
    has_interval = exists(cell.low) and exists(cell.high)
    mean_rise = 5 if has_interval else 0
    write_lines(axes, (x + 0.5, y + 0.5), [words.number(cell.mean)], shift=(0, mean_rise), fontsize=10.0, **style)
    if has_interval:
        interval = f"{words.number(cell.low)} to {words.number(cell.high)}"
        write_lines(axes, (x + 0.5, y + 0.5), [interval], shift=(0, -7), fontsize=7.0, **style)
