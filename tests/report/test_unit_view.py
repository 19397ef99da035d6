"""What a page shows of a unit, on reports written by hand."""

import math
import zlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from localexplain.report.charts import ACTIVATION_BINS, CHART_HEIGHT, CHART_WIDTH, activation_histogram
from localexplain.report.reading import Model
from localexplain.report.unit import Simulated, UnitExplanation, UnitRecord, UnitReport, UnitScore
from localexplain.report.unit_view import MOST_TOKENS, ScaleChoice, UnitView, make_unit_view, mean_by_token
from localexplain.score.excerpts import find_excerpt_interval

NAMER = Model(key="namer", kind="lookup", name="namer", details=())
RULE = Model(key="rule", kind="rule", name="rule", details=())
OTHER = Model(key="other", kind="transformers", name="other", details=())
LOOKUP = Model(key="lookup", kind="control", name="lookup", details=())


def make_record(
    excerpt: int,
    activations: Sequence[float],
    kind: str = "top",
    split: str | None = "valid",
    tokens: Sequence[str] = (),
    **simulated: Sequence[float],
) -> UnitRecord:
    """`simulated` by the explanation's key, by the rule."""
    return UnitRecord(
        excerpt_id=excerpt,
        kind=kind,
        rank=excerpt,
        stratum=2 if kind == "stratum" else None,
        split=split,
        document_id="d",
        offset_tokens=64 * excerpt,
        tokens=tuple(tokens) or tuple("abcdefghij"[: len(activations)]),
        activations=tuple(activations),
        simulated=tuple(
            Simulated(explanation_key=key, simulator_key="rule", mode="rule", expected=tuple(map(float, expected)))
            for key, expected in simulated.items()
        ),
    )


def make_score(key: str | None, value: float | None, simulator: Model = RULE, source: str = "explanation") -> UnitScore:
    return UnitScore(
        source=source,
        simulator=simulator,
        mode="control" if source == "lookup" else "rule",
        selection="top_and_random",
        metric="correlation",
        value=value,
        reason=None if value is not None else "constant simulation",
        n_tokens=10,
        n_excerpts=2,
        explanation_key=key,
        explainer=None if source == "lookup" else NAMER,
        sample=0 if key else None,
        other_unit=None,
        other_text=None,
    )


def make_report(
    records: Sequence[UnitRecord], scores: Sequence[UnitScore], texts: Sequence[str] = ("a", "b")
) -> UnitReport:
    explanations = [
        UnitExplanation(number=place, key=text, explainer=NAMER, sample=place - 1, text=f"says {text}", excerpt_ids=())
        for place, text in enumerate(texts, start=1)
    ]
    return UnitReport(
        unit="mlp.1:2",
        layer=1,
        status="ok",
        n_tokens=100,
        n_excerpts=10,
        n_active_excerpts=9,
        active_token_fraction=0.5,
        mean=0.0,
        standard_deviation=1.0,
        lowest=-1.0,
        highest=9.0,
        explanations=tuple(explanations),
        exchanges={},
        scores=tuple(scores),
        records=tuple(records),
        failures=(),
        released=None,
    )


RECORDS = (
    make_record(0, [0.0, 8.0, 4.0], "top", "train", a=[0, 9, 9]),
    make_record(1, [1.0, 6.0, 0.0], "top", a=[1, 5, 0], b=[2, 2, 0]),
    make_record(2, [5.0, -3.0, 0.5], "top", a=[4, 0, 1], b=[0, 0, 3]),
    make_record(3, [0.0, 2.0, 0.0], "stratum", None),
    make_record(4, [0.0, 1.0, 0.2], "random", a=[0, 3, 0], b=[1, 0, 0]),
    make_record(5, [0.3, 0.0, 0.1], "random", a=[0, 0, 1], b=[0, 1, 0]),
)
SCORES = (
    make_score("a", 0.7),
    make_score("b", 0.2),
    make_score("a", None, OTHER),
    make_score(None, 0.9, LOOKUP, "lookup"),
)


def view_of(
    records: Sequence[UnitRecord] = RECORDS,
    scores: Sequence[UnitScore] = SCORES,
    shown: int | None = None,
    scale: ScaleChoice = "shared",
) -> UnitView:
    report = make_report(records, scores)
    return make_unit_view(report, report.records, shown, scale)


# explanations ---------------------------------------------------------------------------------------------------------


def test_each_explanation_by_each_simulator_is_judged_once_and_numbered() -> None:
    judged = view_of().judged
    assert [(item.number, item.text, item.judgement.simulator.name) for item in judged] == [
        (1, "says a", "rule"),
        (2, "says a", "other"),
        (3, "says b", "rule"),
    ]
    assert [item.score and item.score.value for item in judged] == [0.7, None, 0.2]
    assert [[line.name for line in item.lines][:2] for item in judged] == [["explanation", "lookup"]] * 3


def test_an_interval_is_over_the_scored_excerpts_of_each_kind() -> None:
    judged = {item.number: item for item in view_of().judged}
    valid = [record for record in RECORDS if record.split == "valid"]
    for number, key in ((1, 0), (3, 1)):
        excerpts = [
            (record.kind, np.array(record.activations), np.array(record.simulated[key].expected)) for record in valid
        ]
        expected = find_excerpt_interval(excerpts, zlib.crc32(b"mlp.1:2"))
        assert expected is not None
        assert judged[number].interval == expected
        assert expected.n_excerpts == 4  # neither the one for the explainer nor the stratum's
    assert judged[2].interval is None  # it has no score


def test_there_is_no_interval_where_a_scored_excerpt_was_not_simulated() -> None:
    records = [*RECORDS, make_record(6, [1.0, 2.0, 3.0], "random", a=[0, 0, 1])]
    with_a, _, with_b = view_of(records).judged
    assert with_a.interval is not None
    assert with_b.interval is None


def test_there_is_no_interval_over_one_excerpt_of_a_kind() -> None:
    assert [item.interval for item in view_of(RECORDS[:5]).judged] == [None, None, None]


def test_what_is_shown_is_what_was_asked_for_or_the_first() -> None:
    assert [view_of(shown=number).shown.number for number in (None, 1, 3, 9)] == [1, 1, 3, 1]
    assert view_of(scores=()).shown is None
    assert view_of(scores=()).judged == ()


# records --------------------------------------------------------------------------------------------------------------


def styles_of(view: UnitView, kind: str) -> list[str]:
    group = next(item for item in view.groups if item.kind == kind)
    return [" ".join(token.style for token in item.tokens) for item in group.maps]


def test_records_are_grouped_and_shaded_by_the_highest_of_all() -> None:
    view = view_of()
    assert [(group.kind, len(group.maps)) for group in view.groups] == [("top", 3), ("stratum", 1), ("random", 2)]
    assert (view.maximum, view.simulated_maximum) == (8.0, 10.0)
    # Tenths of 8: 4 is the fifth, 1 the first (0.8 to 1.6), 6 the seventh, 5 the sixth, 0.5 below the first.
    assert styles_of(view, "top") == ["r0 s0 r9 s9 r5 s9", "r1 s1 r7 s5 r0 s0", "r6 s4 r0 s0 r0 s1"]
    assert styles_of(view, "stratum") == ["r0 r2 r0"]
    assert [item.is_simulated for group in view.groups for item in group.maps] == [True] * 3 + [False] + [True] * 2


def test_another_explanation_changes_the_simulated_levels_alone() -> None:
    first, other = view_of(shown=1), view_of(shown=3)
    assert styles_of(other, "top") == ["r0 r9 r5", "r1 s2 r7 s2 r0 s0", "r6 s0 r0 s0 r0 s3"]
    assert (other.maximum, other.tokens, other.histogram) == (first.maximum, first.tokens, first.histogram)


def test_its_own_scale_changes_the_simulated_levels_alone() -> None:
    """The highest that "b" expects is 3: 2 of 3 is the sixth tenth, 1 of 3 the third."""
    shared, own = view_of(shown=3), view_of(shown=3, scale="own")
    assert (own.maximum, own.simulated_maximum) == (8.0, 3.0)
    assert styles_of(own, "top") == ["r0 r9 r5", "r1 s6 r7 s6 r0 s0", "r6 s0 r0 s0 r0 s9"]
    assert styles_of(own, "random") == ["r0 s3 r1 s0 r0 s0", "r0 s0 r0 s3 r0 s0"]
    numbers = [
        [(token.text, token.real, token.simulated, token.title) for item in group.maps for token in item.tokens]
        for view in (shared, own)
        for group in view.groups
    ]
    assert numbers[:3] == numbers[3:]


def test_drawing_some_records_leaves_out_the_others_and_changes_no_scale() -> None:
    report = make_report(RECORDS, SCORES)
    some = [record for record in RECORDS if record.kind == "random"]
    view = make_unit_view(report, some, None)
    assert [group.kind for group in view.groups] == ["random"]
    assert (view.maximum, view.tokens, view.histogram) == (8.0, view_of().tokens, view_of().histogram)
    # Its own scale is of what is drawn: at most 3 there.
    assert make_unit_view(report, some, None, "own").simulated_maximum == 3.0
    assert make_unit_view(report, (), None).groups == ()


def test_a_unit_that_is_never_active_has_no_levels() -> None:
    silent = [make_record(0, [-1.0, 0.0, -2.0], a=[0, 0, 0])]
    view = view_of(silent, scale="own")
    assert (view.maximum, view.simulated_maximum) == (0.0, 0.0)
    assert styles_of(view, "top") == ["r0 s0 r0 s0 r0 s0"]
    assert view.tokens == ()


# tokens ---------------------------------------------------------------------------------------------------------------


def test_tokens_by_mean_by_hand() -> None:
    """ " sea" 4, 0 and 2: mean 2; newline 3; "x" 1 and -1: mean 0, so not listed; "<b>" 2: a tie by its name."""
    records = [
        make_record(0, [4.0, 3.0, 1.0], tokens=[" sea", "\n", "x"]),
        make_record(1, [0.0, 2.0, -1.0, 2.0], "random", tokens=[" sea", " sea", "x", "<b>"]),
    ]
    assert [(item.text, item.mean, item.highest, item.n) for item in mean_by_token(records)] == [
        ("↵", 3.0, 3.0, 1),
        (" sea", 2.0, 4.0, 3),
        ("<b>", 2.0, 2.0, 1),
    ]


@given(st.lists(st.lists(st.tuples(st.sampled_from("abcdefg\n"), st.integers(-3, 3)), min_size=1), max_size=6))
def test_tokens_by_mean_are_what_a_loop_finds(rows: list[list[tuple[str, int]]]) -> None:
    records = [make_record(n, [float(v) for _, v in row], tokens=[t for t, _ in row]) for n, row in enumerate(rows)]
    found = {item.text: (item.mean, item.highest, item.n) for item in mean_by_token(records)}
    for token in "abcdefg\n":
        values = [value for row in rows for text, value in row if text == token]
        shown = token.replace("\n", "↵")
        if sum(values) <= 0:
            assert shown not in found
        else:
            assert found[shown] == (pytest.approx(sum(values) / len(values)), max(values), len(values))


def test_no_more_tokens_than_fit_a_table_and_the_highest_of_them() -> None:
    n = MOST_TOKENS + 5
    found = mean_by_token([make_record(0, [float(place) for place in range(n)], tokens=[f"t{p}" for p in range(n)])])
    assert [item.text for item in found] == [f"t{place}" for place in range(n - 1, n - 1 - MOST_TOKENS, -1)]


# the histogram --------------------------------------------------------------------------------------------------------


def test_the_histogram_is_of_random_records_alone() -> None:
    view = view_of()
    assert view.histogram == activation_histogram([0.0, 1.0, 0.2, 0.3, 0.0, 0.1])
    tops = tuple(replace(record, kind="top") for record in RECORDS)
    assert view_of(tops).histogram is None


def test_a_histogram_by_hand() -> None:
    """0 to 3 in thirty bins of 0.1: three times 0, once 1.55, and 3 in the last bin."""
    found = activation_histogram([0.0, 0.0, 0.0, 1.55, 3.0])
    assert found is not None
    assert [bar.title for bar in found.bars] == ["0 to 0.1: 3", "1.5 to 1.6: 1", "2.9 to 3: 1"]
    heights = [bar.height for bar in found.bars]
    # log(1 + 3) is twice log(1 + 1).
    assert heights == [pytest.approx(2 * heights[1]), heights[1], pytest.approx(heights[1])]
    bottom = found.bars[0].y + found.bars[0].height
    assert [bar.y + bar.height for bar in found.bars] == pytest.approx([bottom] * 3)
    assert [tick.label for tick in found.x_ticks] == ["0", "0.75", "1.5", "2.2", "3"]
    assert [tick.label for tick in found.y_ticks] == ["1"]
    assert found.mean_label == "mean 0.91"
    left, right = found.x_ticks[0].place, found.x_ticks[-1].place
    assert found.mean == pytest.approx(left + 0.91 / 3 * (right - left))
    # The middle bar stands at half the width.
    assert found.bars[1].x == pytest.approx((left + right) / 2 + 0.5)


@pytest.mark.parametrize("values", [[], [0.0], [1.5, 1.5, 1.5]])
def test_where_there_is_nothing_to_count_there_is_no_histogram(values: list[float]) -> None:
    assert activation_histogram(values) is None


@given(st.lists(st.floats(-(2.0**99), 2.0**99, width=32), min_size=2, max_size=60).filter(lambda v: min(v) < max(v)))
def test_every_value_is_counted_and_every_bar_is_within_the_picture(values: list[float]) -> None:
    found = activation_histogram(values)
    assert found is not None
    assert sum(int(bar.title.rpartition(": ")[2].replace(",", "")) for bar in found.bars) == len(values)
    assert len(found.bars) <= ACTIVATION_BINS
    for bar in found.bars:
        assert 0 <= bar.x < bar.x + bar.width <= CHART_WIDTH
        assert 0 <= bar.y <= bar.y + bar.height <= CHART_HEIGHT
        assert bar.height > 0
    assert math.isfinite(found.mean)
    assert all(0 <= tick.place <= CHART_WIDTH for tick in found.x_ticks)
