"""Where the marks of the report's charts stand, in SVG user units (y grows downward). Pure; the template draws them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from localexplain.report.reading import LayerScore, SourceScore

CHART_WIDTH = 360.0  # about the width of a phone, so that letters are not shrunk there
CHART_HEIGHT = 210.0
LEFT, RIGHT, TOP, BOTTOM = 34.0, 8.0, 10.0, 30.0
ROW_WIDTH = 200.0
ROW_MARGIN = 6.0
BIN_WIDTH = 0.05
MOST_LAYER_TICKS = 12
ACTIVATION_BINS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """A value in [low, high] to a place between `start` (that of low) and `end` (that of high)."""

    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    place: float
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A value with its interval, as places; low and high are None where there is no interval."""

    x: float
    y: float
    low: float | None
    high: float | None
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A source's marks by layer, and the lines between neighbours; a layer without a value breaks the line."""

    source: str
    marks: tuple[Mark, ...]
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerChart:
    curves: tuple[Curve, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    zero: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Bars of BIN_WIDTH; `mean` is the place of the mean."""

    bars: tuple[Bar, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    mean: float
    mean_label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IntervalRow:
    """A mean and its interval on a horizontal line: places along x, None where there is no such value."""

    zero: float
    mean: float | None
    low: float | None
    high: float | None


def ticks_between(low: float, high: float, step: float) -> list[float]:
    """Multiples of `step` in [low, high].

    >>> ticks_between(-0.3, 0.5, 0.25)
    [-0.25, 0.0, 0.25, 0.5]
    """
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(place * step, 10) + 0.0 for place in range(first, last + 1)]


def spread(values: Sequence[float], step: float) -> tuple[float, float]:
    """A range that ends on multiples of `step` and holds all values and 0; at least one step long.

    >>> spread([0.12, 0.71], 0.25), spread([-0.1], 0.25), spread([], 0.25)
    ((0.0, 0.75), (-0.25, 0.25), (0.0, 0.25))
    """
    low = min([0.0, *values])
    high = max([step, *values])
    return math.floor(low / step + 1e-9) * step + 0.0, math.ceil(high / step - 1e-9) * step


def value_ticks(scale: Scale) -> tuple[Tick, ...]:
    """Ticks of a scale of scores: quarters, halves on a long one."""
    step = 0.25 if scale.high - scale.low <= 1.25 else 0.5
    values = ticks_between(scale.low, scale.high, step)
    return tuple(Tick(place=scale.place(value), label=f"{value:g}") for value in values)


def layer_ticks(layers: Sequence[int], scale: Scale) -> tuple[Tick, ...]:
    """Every layer, or every second, fourth ... where there are many."""
    step = 1
    while len(layers) / step > MOST_LAYER_TICKS:
        step *= 2
    return tuple(Tick(place=scale.place(layer), label=str(layer)) for layer in layers if layer % step == 0)


def connect(points: Sequence[tuple[float, float] | None]) -> tuple[str, ...]:
    """SVG paths through neighbouring points; None breaks the line.

    >>> connect([(0, 1), (2, 3), None, (4, 5)])
    ('M0.0 1.0L2.0 3.0',)
    """
    runs: list[list[str]] = [[]]
    for point in points:
        if point is None:
            runs.append([])
        else:
            runs[-1].append(f"{point[0]:.1f} {point[1]:.1f}")
    return tuple("M" + "L".join(run) for run in runs if len(run) > 1)


def layer_curve(source: str, layers: Sequence[LayerScore], x: Scale, y: Scale) -> Curve:
    """One source's curve; the explanation's marks carry their intervals."""
    marks: list[Mark | None] = []
    for layer in layers:
        summary = layer.explanation if source == "explanation" else None
        value = summary.mean if summary else dict(layer.controls)[source]
        if value is None:
            marks.append(None)
            continue
        title = f"{source}, layer {layer.layer}: {value:.3f}"
        if summary:
            title += f" (n {summary.n}, unscored {summary.unscored})"
        marks.append(
            Mark(
                x=x.place(layer.layer),
                y=y.place(value),
                low=y.place(summary.low) if summary and summary.low is not None else None,
                high=y.place(summary.high) if summary and summary.high is not None else None,
                title=title,
            )
        )
    return Curve(
        source=source,
        marks=tuple(mark for mark in marks if mark),
        paths=connect([(mark.x, mark.y) if mark else None for mark in marks]),
    )


def layer_chart(layers: Sequence[LayerScore]) -> LayerChart:
    """The correlation by layer, the explanations' last so that it is drawn on top. `layers` is not empty."""
    controls = [source for source, _ in layers[0].controls]
    values = [mean for layer in layers for _, mean in layer.controls if mean is not None]
    for layer in layers:
        ends = (layer.explanation.mean, layer.explanation.low, layer.explanation.high)
        values += [end for end in ends if end is not None]
    low, high = spread(values, 0.1)
    y = Scale(low=low, high=high, start=CHART_HEIGHT - BOTTOM, end=TOP)
    numbers = [layer.layer for layer in layers]
    # Half a layer of room at each end; one layer alone stands in the middle.
    x = Scale(low=min(numbers) - 0.5, high=max(numbers) + 0.5, start=LEFT, end=CHART_WIDTH - RIGHT)
    return LayerChart(
        curves=tuple(layer_curve(source, layers, x, y) for source in (*controls, "explanation")),
        x_ticks=layer_ticks(numbers, x),
        y_ticks=value_ticks(y),
        zero=y.place(0.0),
    )


def count_bins(values: Sequence[float]) -> tuple[float, list[int]]:
    """The left end of the first bin and the number of values in each bin of BIN_WIDTH; a value on an edge counts to
    its right, 1 to the last bin. `values` is not empty.

    >>> count_bins([0.12, 0.10, 0.21])
    (0.1, [2, 0, 1])
    """
    places = [math.floor(round(min(value, 1 - BIN_WIDTH / 2) / BIN_WIDTH, 6)) for value in values]
    first = min(places)
    counts = [0] * (max(places) - first + 1)
    for place in places:
        counts[place - first] += 1
    return round(first * BIN_WIDTH, 10), counts


def whole_ticks(highest: int) -> list[int]:
    """0 and up to four more round counts.

    >>> whole_ticks(3), whole_ticks(37), whole_ticks(1000)
    ([0, 1, 2, 3], [0, 10, 20, 30], [0, 500, 1000])
    """
    for step in (scale * digit for scale in (10**power for power in range(12)) for digit in (1, 2, 5)):
        if highest / step <= 4:
            return list(range(0, highest + 1, step))
    raise ValueError(f"{highest} units are more than a chart can count")


def histogram(values: Sequence[float]) -> Histogram | None:
    """How many units have which score; None where none has."""
    if not values:
        return None
    start, counts = count_bins(values)
    end = start + len(counts) * BIN_WIDTH
    x = Scale(low=min(0.0, start), high=max(1.0, end), start=LEFT, end=CHART_WIDTH - RIGHT)
    y = Scale(low=0.0, high=max(counts), start=CHART_HEIGHT - BOTTOM, end=TOP)
    bars = []
    for place, n in enumerate(counts):
        left, right = start + place * BIN_WIDTH, start + (place + 1) * BIN_WIDTH
        bars.append(
            Bar(
                x=x.place(left) + 0.75,
                y=y.place(n),
                width=x.place(right) - x.place(left) - 1.5,
                height=y.place(0) - y.place(n),
                title=f"{left:.2f} to {right:.2f}: {n}",
            )
        )
    mean = sum(values) / len(values)
    return Histogram(
        bars=tuple(bar for bar in bars if bar.height),
        x_ticks=value_ticks(x),
        y_ticks=tuple(Tick(place=y.place(n), label=f"{n:,}") for n in whole_ticks(max(counts))),
        mean=x.place(mean),
        mean_label=f"mean {mean:.3f}",
    )


def count_evenly(values: Sequence[float], low: float, high: float) -> list[int]:
    """How many values lie in each of ACTIVATION_BINS equal parts of [low, high]; one on an edge counts to its right.

    >>> count_evenly([0.0, 0.5, 1.0], 0.0, 1.0)[::29], sum(count_evenly([0.0, 0.5, 1.0], 0.0, 1.0))
    ([1, 1], 3)
    """
    counts = [0] * ACTIVATION_BINS
    for value in values:
        counts[min(ACTIVATION_BINS - 1, int((value - low) / (high - low) * ACTIVATION_BINS))] += 1
    return counts


def log_ticks(highest: int) -> list[int]:
    """Powers of ten up to `highest`.

    >>> log_ticks(1), log_ticks(640)
    ([1], [1, 10, 100])
    """
    return [10**power for power in range(len(str(highest)))]


def activation_histogram(values: Sequence[float]) -> Histogram | None:
    """How often a unit has which activation; heights are log(1 + count), for most tokens leave most units silent. None
    where there is nothing, or one value alone, to count."""
    if not values or min(values) == max(values):
        return None
    low, high = min(values), max(values)
    counts = count_evenly(values, low, high)
    x = Scale(low=low, high=high, start=LEFT, end=CHART_WIDTH - RIGHT)
    y = Scale(low=0.0, high=math.log1p(max(counts)), start=CHART_HEIGHT - BOTTOM, end=TOP)
    width = (high - low) / ACTIVATION_BINS
    bars = tuple(
        Bar(
            x=x.place(low + place * width) + 0.5,
            y=y.place(math.log1p(n)),
            width=x.place(low + width) - x.place(low) - 1.0,
            height=y.place(0.0) - y.place(math.log1p(n)),
            title=f"{low + place * width:.3g} to {low + (place + 1) * width:.3g}: {n:,}",
        )
        for place, n in enumerate(counts)
        if n
    )
    mean = math.fsum(values) / len(values)
    places = [low + (high - low) * part / 4 for part in range(5)]
    return Histogram(
        bars=bars,
        x_ticks=tuple(Tick(place=x.place(value), label=f"{value:.2g}") for value in places),
        y_ticks=tuple(Tick(place=y.place(math.log1p(n)), label=f"{n:,}") for n in log_ticks(max(counts))),
        mean=x.place(mean),
        mean_label=f"mean {mean:.3g}",
    )


def interval_rows(scores: Sequence[SourceScore]) -> tuple[IntervalRow, ...]:
    """One row for each score, all on one scale that reaches to 1."""
    ends = [end for score in scores for end in (score.summary.low, score.summary.high, score.summary.mean)]
    low, _ = spread([end for end in ends if end is not None], 0.1)
    scale = Scale(low=low, high=1.0, start=ROW_MARGIN, end=ROW_WIDTH - ROW_MARGIN)

    def place(value: float | None) -> float | None:
        return None if value is None else scale.place(value)

    return tuple(
        IntervalRow(
            zero=scale.place(0.0),
            mean=place(score.summary.mean),
            low=place(score.summary.low),
            high=place(score.summary.high),
        )
        for score in scores
    )
