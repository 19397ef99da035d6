"""A unit as a page shows it: its explanations judged, its records as heat maps, where its activations lie.

UnitReport ──judge──> explanations with scores, intervals and controls
           ──draw───> heat maps of its records, real beside simulated
           ──count──> tokens by mean activation, histogram
"""

import zlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from localexplain.report import words
from localexplain.report.charts import Histogram, activation_histogram
from localexplain.report.reading import CALIBRATED_METRICS, CORRELATION, SELECTIONS
from localexplain.report.shading import SIMULATED_SCALE, find_maximum, level, visible
from localexplain.report.unit import Judgement, Simulated, UnitRecord, UnitReport, UnitScore, judge
from localexplain.score.excerpts import ExcerptInterval, find_excerpt_interval

ScaleChoice = Literal["shared", "own"]

MOST_TOKENS = 20  # in the table of tokens by mean activation
GROUPS = (
    ("top", "Top records", "The excerpts with the unit's highest activations, the highest first."),
    (
        "stratum",
        "Strata",
        "Of bands of all excerpts by the unit's maximum: 0 is the lower half, 4 the highest thousandth.",
    ),
    ("random", "Random records", "Drawn from all excerpts, whatever the unit does on them."),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownToken:
    """A token in visible form; `style` names its real and simulated level ("r7 s0"; "r7" where not simulated)."""

    text: str
    style: str
    title: str
    real: float
    simulated: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatMap:
    """A record: its tokens, and whether a simulation of it is among their levels."""

    title: str
    is_simulated: bool
    tokens: tuple[ShownToken, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordGroup:
    kind: str
    title: str
    note: str
    maps: tuple[HeatMap, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreLine:
    """One metric of one source; `values` by SELECTIONS."""

    name: str
    note: str
    values: tuple[UnitScore | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """An explanation by one explainer as one simulator had it.

    number    from 1 among the unit's
    score     the correlation over top and random excerpts, with its reason where it has no value; None where not scored
    interval  of that score, over excerpts drawn anew; None where there is none
    lines     the explanation's scores, those of the controls, and its other metrics
    """

    number: int
    judgement: Judgement
    score: UnitScore | None
    interval: ExcerptInterval | None
    lines: tuple[ScoreLine, ...]

    @property
    def text(self) -> str | None:
        return self.judgement.explanation.text if self.judgement.explanation else None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenMean:
    """A token in visible form, the unit's mean and highest activation on it, and how often it stands in its records."""

    text: str
    mean: float
    highest: float
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitView:
    """All that a page shows of a unit.

    shown              whose simulations the heat maps have; None where nothing is judged
    maximum            what real activations are shown relative to: the highest of all records
    simulated_maximum  what simulated ones are
    """

    report: UnitReport
    judged: tuple[Judged, ...]
    shown: Judged | None
    maximum: float
    simulated_maximum: float
    groups: tuple[RecordGroup, ...]
    tokens: tuple[TokenMean, ...]
    histogram: Histogram | None


# explanations ---------------------------------------------------------------------------------------------------------


def score_line(name: str, note: str, scores: Sequence[UnitScore], metric: str) -> ScoreLine:
    found = {score.selection: score for score in scores if score.metric == metric}
    return ScoreLine(name=name, note=note, values=tuple(found.get(selection) for selection in SELECTIONS))


def score_lines(judgement: Judgement) -> tuple[ScoreLine, ...]:
    """The explanation's correlation, the controls', and the explanation's other metrics."""
    lines = [score_line("explanation", words.SOURCE_NOTES["explanation"], judgement.scores, CORRELATION)]
    for source in dict.fromkeys(score.source for score in judgement.controls):
        of_source = [score for score in judgement.controls if score.source == source]
        name, note = source, words.SOURCE_NOTES[source]
        if of_source[0].other_unit is not None:
            name, note = f"{source} ({of_source[0].other_unit}'s)", f"it says: {of_source[0].other_text}"
        lines.append(score_line(name, note, of_source, CORRELATION))
    lines += [
        score_line(words.METRIC_NAMES[metric], "of the explanation, calibrated", judgement.scores, metric)
        for metric in CALIBRATED_METRICS
    ]
    return tuple(lines)


def simulation_of(record: UnitRecord, judgement: Judgement | None) -> Simulated | None:
    """The record's simulation from the judged explanation, by its simulator."""
    if judgement is None or judgement.explanation is None:
        return None
    wanted = (judgement.explanation.key, judgement.simulator.key, judgement.mode)
    return next(
        (item for item in record.simulated if (item.explanation_key, item.simulator_key, item.mode) == wanted), None
    )


def find_interval(report: UnitReport, judgement: Judgement) -> ExcerptInterval | None:
    """Over the excerpts that the score is over; None where one of them was not simulated, as then there is no score."""
    scored = [record for record in report.records if record.split == "valid"]
    found = [(record, simulation_of(record, judgement)) for record in scored]
    excerpts = [
        (record.kind, np.asarray(record.activations), np.asarray(simulated.expected))
        for record, simulated in found
        if simulated is not None
    ]
    if len(excerpts) < len(scored):
        return None
    return find_excerpt_interval(excerpts, seed=zlib.crc32(report.unit.encode()))


def judge_all(report: UnitReport) -> tuple[Judged, ...]:
    found: list[Judged] = []
    for number, judgement in enumerate(judge(report), start=1):
        main = [s for s in judgement.scores if (s.metric, s.selection) == (CORRELATION, SELECTIONS[0])]
        score = main[0] if main else None
        has_value = score is not None and score.value is not None
        found.append(
            Judged(
                number=number,
                judgement=judgement,
                score=score,
                interval=find_interval(report, judgement) if has_value else None,
                lines=score_lines(judgement),
            )
        )
    return tuple(found)


# records --------------------------------------------------------------------------------------------------------------


def show_tokens(
    tokens: Sequence[str],
    activations: Sequence[float],
    maximum: float,
    expected: Sequence[float] | None,
    simulated_maximum: float = SIMULATED_SCALE,
) -> tuple[ShownToken, ...]:
    """The tokens [T] with the levels of their activations [T], relative to `maximum`, and of what was expected [T]."""
    shown = []
    for place, (token, activation) in enumerate(zip(tokens, activations, strict=True)):
        style, title = f"r{level(activation, maximum)}", f"real {words.number(activation, 2)}"
        if expected is not None:
            style += f" s{level(expected[place], simulated_maximum)}"
            title += f", simulated {words.number(expected[place], 1)} of 10"
        simulated = None if expected is None else expected[place]
        shown.append(ShownToken(text=visible(token), style=style, title=title, real=activation, simulated=simulated))
    return tuple(shown)


def draw_map(record: UnitRecord, maximum: float, shown: Judgement | None, simulated_maximum: float) -> HeatMap:
    simulated = simulation_of(record, shown)
    expected = None if simulated is None else simulated.expected
    return HeatMap(
        title=words.record_title(record),
        is_simulated=expected is not None,
        tokens=show_tokens(record.tokens, record.activations, maximum, expected, simulated_maximum),
    )


def draw_groups(
    records: Sequence[UnitRecord], maximum: float, shown: Judgement | None, simulated_maximum: float
) -> tuple[RecordGroup, ...]:
    """The records by kind, in the order of GROUPS and, within, in the order given; a kind without records is left
    out."""
    return tuple(
        RecordGroup(
            kind=kind,
            title=title,
            note=note,
            maps=tuple(draw_map(record, maximum, shown, simulated_maximum) for record in of_kind),
        )
        for kind, title, note in GROUPS
        if (of_kind := [record for record in records if record.kind == kind])
    )


def mean_by_token(records: Sequence[UnitRecord]) -> tuple[TokenMean, ...]:
    """Tokens by the unit's mean activation on them over all its records, the highest first; at most MOST_TOKENS, and
    only those with a mean above 0."""
    found: dict[str, list[float]] = defaultdict(list)
    for record in records:
        for token, activation in zip(record.tokens, record.activations, strict=True):
            found[token].append(activation)
    means = [
        TokenMean(text=visible(token), mean=float(np.mean(values)), highest=max(values), n=len(values))
        for token, values in found.items()
    ]
    ranked = sorted((item for item in means if item.mean > 0), key=lambda item: (-item.mean, item.text))
    return tuple(ranked[:MOST_TOKENS])


# the unit -------------------------------------------------------------------------------------------------------------


def make_unit_view(
    report: UnitReport, records: Sequence[UnitRecord], shown: int | None, scale: ScaleChoice = "shared"
) -> UnitView:
    """What a page shows of the unit.

    records  those to draw, some or all of the report's
    shown    number of the judged explanation whose simulations are drawn; None or one that is not there: the first
    scale    "own": simulated activations too are shown relative to the highest of those drawn
    """
    judged = judge_all(report)
    chosen = next((item for item in judged if item.number == shown), judged[0] if judged else None)
    judgement = chosen.judgement if chosen else None
    simulated = [item.expected for record in records if (item := simulation_of(record, judgement))]
    simulated_maximum = find_maximum(simulated) if scale == "own" else SIMULATED_SCALE
    maximum = find_maximum(record.activations for record in report.records)
    at_random = [value for record in report.records if record.kind == "random" for value in record.activations]
    return UnitView(
        report=report,
        judged=judged,
        shown=chosen,
        maximum=maximum,
        simulated_maximum=simulated_maximum,
        groups=draw_groups(records, maximum, judgement, simulated_maximum),
        tokens=mean_by_token(report.records),
        histogram=activation_histogram(at_random),
    )
