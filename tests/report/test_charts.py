import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localexplain.report.charts import (
    BOTTOM,
    CHART_HEIGHT,
    CHART_WIDTH,
    LEFT,
    RIGHT,
    TOP,
    Scale,
    connect,
    count_bins,
    histogram,
    interval_rows,
    layer_chart,
    layer_ticks,
    whole_ticks,
)
from localexplain.report.reading import LayerScore, SourceScore
from localexplain.score.summary import Summary


def summary(mean: float | None, low: float | None = None, high: float | None = None) -> Summary:
    return Summary(mean=mean, median=mean, n=0 if mean is None else 3, unscored=1, low=low, high=high)


def layer(number: int, mean: float | None, lookup: float | None, **ends: float) -> LayerScore:
    return LayerScore(layer=number, explanation=summary(mean, **ends), controls=(("lookup", lookup),))


def test_layer_chart() -> None:
    chart = layer_chart([layer(0, 0.5, 1.0, low=0.4, high=0.6), layer(1, None, 0.5), layer(2, 0.25, 0.5)])
    lookup, own = chart.curves  # the explanation last: it is drawn on top
    # values from 0 to 1 on a height of 170 (180 down to 10); layers -0.5 to 2.5 on a width of 318 from 34
    assert [mark.y for mark in own.marks] == [pytest.approx(95.0), pytest.approx(137.5)]
    assert (own.marks[0].low, own.marks[0].high) == (pytest.approx(112.0), pytest.approx(78.0))
    assert [mark.x for mark in lookup.marks] == [pytest.approx(87.0), pytest.approx(193.0), pytest.approx(299.0)]
    assert own.paths == ()  # no neighbours: nothing to connect across the layer without a score
    assert lookup.paths == ("M87.0 10.0L193.0 95.0L299.0 95.0",)
    assert chart.zero == pytest.approx(CHART_HEIGHT - BOTTOM)
    assert [tick.label for tick in chart.x_ticks] == ["0", "1", "2"]
    assert [tick.label for tick in chart.y_ticks] == ["0", "0.25", "0.5", "0.75", "1"]
    assert own.marks[0].title == "explanation, layer 0: 0.500 (n 3, unscored 1)"


@given(st.lists(st.none() | st.floats(-1, 1), min_size=1, max_size=30))
def test_all_marks_are_inside(means: list[float | None]) -> None:
    chart = layer_chart([layer(place, mean, mean) for place, mean in enumerate(means)])
    for mark in itertools.chain.from_iterable(curve.marks for curve in chart.curves):
        assert LEFT <= mark.x <= CHART_WIDTH - RIGHT
        assert TOP - 1e-6 <= mark.y <= CHART_HEIGHT - BOTTOM + 1e-6


def test_many_layers_have_fewer_ticks() -> None:
    scale = Scale(low=0, high=48, start=0, end=48)
    assert [tick.label for tick in layer_ticks(range(48), scale)] == [str(number) for number in range(0, 48, 4)]


def test_connect_breaks_where_there_is_no_value() -> None:
    assert connect([(0, 0), (1, 1), None, (3, 3), None, (5, 5), (6, 6)]) == ("M0.0 0.0L1.0 1.0", "M5.0 5.0L6.0 6.0")


def test_histogram() -> None:
    drawn = histogram([0.0, 0.04, 0.05, 0.5])
    assert drawn is not None
    # bins of 0.05 on a width of 318: two values in the first, one in the second, one in the eleventh
    assert [bar.title for bar in drawn.bars] == ["0.00 to 0.05: 2", "0.05 to 0.10: 1", "0.50 to 0.55: 1"]
    assert [bar.height for bar in drawn.bars] == [170.0, 85.0, 85.0]
    assert drawn.bars[1].x - drawn.bars[0].x == pytest.approx(318 * 0.05)
    assert drawn.mean_label == "mean 0.147"  # 0.59 / 4 = 0.1475, which is a little less in binary
    assert drawn.mean == pytest.approx(34 + 318 * 0.1475)
    assert histogram([]) is None


@given(st.lists(st.floats(-1, 1), min_size=1))
def test_every_value_is_in_one_bin(values: list[float]) -> None:
    start, counts = count_bins(values)
    assert sum(counts) == len(values)
    assert start <= min(values) + 1e-6
    assert start + 0.05 * len(counts) <= 1 + 1e-9


@given(st.integers(1, 10**7))
def test_whole_ticks_are_few(highest: int) -> None:
    ticks = whole_ticks(highest)
    assert ticks[0] == 0
    assert ticks[-1] <= highest
    assert 2 <= len(ticks) <= 5


def test_interval_rows_share_one_scale() -> None:
    first, second, third = interval_rows(
        [
            SourceScore(source=name, selection="random_only", metric="correlation", summary=values)
            for name, values in (
                ("explanation", summary(0.5, 0.25, 0.75)),
                ("shuffled", summary(-0.25, -0.5, 0.0)),
                ("empty", summary(None)),
            )
        ]
    )
    # -0.5 to 1 between 6 and 194: zero a third of the way, at 68.67
    assert first.zero == second.zero == pytest.approx(6 + 188 / 3)
    assert (first.mean, first.low) == (pytest.approx(6 + 188 * 1.0 / 1.5), pytest.approx(6 + 188 * 0.75 / 1.5))
    assert (second.low, second.high) == (pytest.approx(6.0), second.zero)
    assert (third.mean, third.low, third.high) == (None, None, None)
