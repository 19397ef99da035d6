"""A run as one HTML file that needs nothing else: no script, no font, no picture from outside."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment

from localexplain.errors import UserError
from localexplain.report import words
from localexplain.report.cards import series_note
from localexplain.report.charts import Histogram, IntervalRow, LayerChart, histogram, interval_rows, layer_chart
from localexplain.report.pages import page_environment
from localexplain.report.reading import (
    CALIBRATED_METRICS,
    CORRELATION,
    SELECTIONS,
    Overview,
    RankedUnit,
    Series,
    SeriesReport,
    SourceScore,
    read_overview,
    read_series_report,
)
from localexplain.report.shading import LEVELS, SIMULATED_SCALE, find_maximum, level, visible
from localexplain.report.unit import Judgement, UnitRecord, UnitReport, UnitScore, choose_records, judge, read_unit
from localexplain.store.store import Store

TEMPLATE = "template.html"
N_TOP = 3
N_RANDOM = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token in visible form; `style` names its real and simulated level ("r7 s0"; "r7" where not simulated)."""

    text: str
    style: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Excerpt:
    title: str
    is_simulated: bool
    tokens: tuple[Token, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreLine:
    """One metric of one source; `values` by SELECTIONS."""

    name: str
    note: str
    values: tuple[UnitScore | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A unit as a series has it.

    lines    for each explanation, or for the lack of one: its text (None), its sample, its scores beside controls
    maximum  what real activations are shown relative to
    """

    id: str
    ranked: RankedUnit
    report: UnitReport
    lines: tuple[tuple[str | None, int, tuple[ScoreLine, ...]], ...]
    maximum: float
    excerpts: tuple[Excerpt, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreTable:
    """The scores over one selection, each with its place in the picture."""

    selection: str
    rows: tuple[tuple[SourceScore, IntervalRow], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The best, the worst or some random units."""

    title: str
    note: str
    cards: tuple[Card, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesView:
    """note: why the scores are provisional, None where they are not."""

    id: str
    report: SeriesReport
    note: str | None
    main: dict[str, SourceScore]
    tables: tuple[ScoreTable, ...]
    layers: LayerChart | None
    values: Histogram | None
    groups: tuple[Group, ...]


# a unit's card --------------------------------------------------------------------------------------------------------


def show_tokens(record: UnitRecord, maximum: float, expected: Sequence[float] | None) -> tuple[Token, ...]:
    """The tokens with the levels of their activations (relative to `maximum`) and of what was `expected` [T]."""
    shown = []
    for place, (token, activation) in enumerate(zip(record.tokens, record.activations, strict=True)):
        style, title = f"r{level(activation, maximum)}", f"real {words.number(activation, 2)}"
        if expected is not None:
            style += f" s{level(expected[place], SIMULATED_SCALE)}"
            title += f", simulated {words.number(expected[place], 1)} of 10"
        shown.append(Token(text=visible(token), style=style, title=title))
    return tuple(shown)


def show_excerpt(record: UnitRecord, maximum: float, series: Series, explanation_key: str | None) -> Excerpt:
    """The record beside the series' simulation of one explanation."""
    expected = next(
        (
            item.expected
            for item in record.simulated
            if (item.explanation_key, item.simulator_key, item.mode)
            == (explanation_key, series.simulator.key, series.mode)
        ),
        None,
    )
    return Excerpt(
        title=words.record_title(record),
        is_simulated=expected is not None,
        tokens=show_tokens(record, maximum, expected),
    )


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


def is_of_series(judgement: Judgement, series: Series) -> bool:
    found = (judgement.explainer, judgement.simulator, judgement.mode)
    return found == (series.explainer, series.simulator, series.mode)


def make_card(store: Store, series: Series, ranked: RankedUnit, prefix: str) -> Card:
    report = read_unit(store, ranked.unit)
    own = [judgement for judgement in judge(report) if is_of_series(judgement, series)]
    first = next((judgement.explanation for judgement in own if judgement.explanation), None)
    records = choose_records(report.records, N_TOP, N_RANDOM)
    maximum = find_maximum(record.activations for record in records)
    return Card(
        id=f"{prefix}-{ranked.unit}",
        ranked=ranked,
        report=report,
        lines=tuple(
            (item.explanation.text, item.explanation.sample, score_lines(item))
            if item.explanation
            else (None, 0, score_lines(item))
            for item in own
        ),
        maximum=maximum,
        excerpts=tuple(show_excerpt(record, maximum, series, first.key if first else None) for record in records),
    )


# a series, the page ---------------------------------------------------------------------------------------------------


def view_series(store: Store, series: Series, number: int, seed: int, n_units: int) -> SeriesView:
    report = read_series_report(store, series, seed, n_best=n_units, n_worst=n_units, n_random=n_units)
    prefix = f"series-{number}"
    groups = (
        ("Best explained", "Highest score over top and random excerpts first.", report.best),
        ("Worst explained", "Lowest score first.", report.worst),
        ("Drawn at random", "From all other units, unscored ones among them.", report.random),
    )
    tables = [tuple(score for score in report.scores if score.selection == selection) for selection in SELECTIONS]
    return SeriesView(
        id=prefix,
        report=report,
        note=series_note(store.path.parent, report.series),
        main={score.selection: score for score in report.scores if score.source == "explanation"},
        tables=tuple(
            ScoreTable(selection=selection, rows=tuple(zip(scores, interval_rows(scores), strict=True)))
            for selection, scores in zip(SELECTIONS, tables, strict=True)
        ),
        layers=layer_chart(report.layers) if report.layers else None,
        values=histogram(report.values),
        groups=tuple(
            Group(title=title, note=note, cards=tuple(make_card(store, series, unit, prefix) for unit in units))
            for title, note, units in groups
            if units
        ),
    )


def capitalize_first(text: str) -> str:
    """Unlike str.capitalize, leaves the other letters as they are."""
    return text[:1].upper() + text[1:]


def template_environment() -> Environment:
    environment = page_environment()
    environment.filters |= {
        "capitalize_first": capitalize_first,
        "number": words.number,
        "count": words.count,
        "duration": words.duration,
        "interval": lambda summary: words.interval(summary).replace(" to ", " to\N{NO-BREAK SPACE}"),
        "plural": words.plural,
        "visible": visible,
    }
    return environment


def render_report(overview: Overview, series: Sequence[SeriesView]) -> str:
    """The page; the same for the same arguments."""
    template = template_environment().get_template(TEMPLATE)
    return template.render(overview=overview, series=series, words=words, levels=range(LEVELS), selections=SELECTIONS)


def write_report(store: Store, path: Path, n_units: int = 20) -> int:
    """Writes the page of a run, all of it or nothing; returns its bytes.

    n_units  so many of the best units of each series are shown, of the worst, and of others drawn at random
    Raises RunError when the store holds no capture, UserError when `path` cannot be written.
    """
    overview = read_overview(store)
    views = [
        view_series(store, series, number, overview.seed, n_units)
        for number, series in enumerate(overview.series, start=1)
    ]
    data = render_report(overview, views).encode("utf-8")
    part = path.parent / f"{path.name}.part"
    try:
        part.write_bytes(data)
        os.replace(part, path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise UserError(f"{path}: cannot be written ({error.strerror}); give another path") from error
    return len(data)
