"""A run as one HTML file that needs nothing else: no script, no font, no picture from outside."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from localexplain.errors import UserError
from localexplain.report import words
from localexplain.report.pages import page_environment
from localexplain.report.reading import SELECTIONS, Overview, RankedUnit, Series, read_overview
from localexplain.report.series_view import SeriesView, view_series
from localexplain.report.shading import LEVELS
from localexplain.report.unit import Judgement, choose_records, judge, read_unit
from localexplain.report.unit_view import UnitView, judge_all, make_unit_view
from localexplain.store.store import Store

TEMPLATE = "template.html"
N_TOP = 3
N_RANDOM = 2
# Measured on pages of the demo's run and of a made-up one: what is in a page of no units (37 and 52 kB), in a unit
# besides its tokens, and in a token that is shown twice, shaded and in a table.
BYTES_OF_PAGE, BYTES_PER_UNIT, BYTES_PER_TOKEN = 45_000, 8_500, 150


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which units of each series a report shows: so many of the best, of the worst, of all others drawn at random, and
    those listed by name."""

    best: int = 20
    worst: int = 20
    random: int = 20
    listed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A unit as a series has it: `own` are the numbers of the explanations judged in it."""

    id: str
    ranked: RankedUnit
    view: UnitView
    own: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The best, the worst or some random units."""

    title: str
    note: str
    cards: tuple[Card, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A series and its chosen units."""

    view: SeriesView
    groups: tuple[Group, ...]


# a unit's card --------------------------------------------------------------------------------------------------------


def is_of_series(judgement: Judgement, series: Series) -> bool:
    found = (judgement.explainer, judgement.simulator, judgement.mode)
    return found == (series.explainer, series.simulator, series.mode)


def make_card(store: Store, series: Series, ranked: RankedUnit, prefix: str) -> Card:
    report = read_unit(store, ranked.unit)
    own = tuple(number for number, judgement in enumerate(judge(report), start=1) if is_of_series(judgement, series))
    records = choose_records(report.records, N_TOP, N_RANDOM)
    view = make_unit_view(report, records, own[0] if own else None)
    return Card(id=f"{prefix}-{ranked.unit}", ranked=ranked, view=view, own=own)


def rank_listed(store: Store, series: Series, unit: str) -> RankedUnit:
    """A unit named by its reader, with its score in the series. Raises UserError for one the run does not hold."""
    own = [item for item in judge_all(read_unit(store, unit)) if is_of_series(item.judgement, series)]
    values = [item.score.value for item in own if item.score and item.score.value is not None]
    reasons = [item.score.reason for item in own if item.score and item.score.reason is not None]
    return RankedUnit(
        unit=unit,
        value=sum(values) / len(values) if values else None,
        reason=None if values else (reasons or ["not explained in this series"])[0],
        text=own[0].text if own else None,
    )


# the page -------------------------------------------------------------------------------------------------------------


def make_section(store: Store, series: Series, number: int, seed: int, choice: Choice) -> Section:
    view = view_series(store, series, number, seed, n_best=choice.best, n_worst=choice.worst, n_random=choice.random)
    listed = tuple(rank_listed(store, series, unit) for unit in choice.listed)
    groups = (
        ("Listed", "The units that were asked for.", listed),
        ("Best explained", "Highest score over top and random excerpts first.", view.report.best),
        ("Worst explained", "Lowest score first.", view.report.worst),
        ("Drawn at random", "From all other units, unscored ones among them.", view.report.random),
    )
    return Section(
        view=view,
        groups=tuple(
            Group(
                title=title,
                note=note,
                cards=tuple(make_card(store, series, unit, f"{view.id}-{name}") for unit in units),
            )
            for name, (title, note, units) in zip(("listed", "best", "worst", "random"), groups, strict=True)
            if units
        ),
    )


def render_report(overview: Overview, sections: Sequence[Section]) -> str:
    """The page; the same for the same arguments."""
    template = page_environment().get_template(TEMPLATE)
    return template.render(
        overview=overview, sections=sections, words=words, levels=range(LEVELS), selections=SELECTIONS
    )


def make_report(store: Store, choice: Choice) -> bytes:
    """The page of a run. Raises RunError when the store holds no capture, UserError for a listed unit it lacks."""
    overview = read_overview(store)
    sections = [
        make_section(store, series, number, overview.seed, choice)
        for number, series in enumerate(overview.series, start=1)
    ]
    return render_report(overview, sections).encode("utf-8")


def estimate_bytes(overview: Overview, choice: Choice) -> int:
    """About how large the page will be, before anything of it is made."""
    most = choice.best + choice.worst + choice.random
    shown = sum(min(most, series.n_units) + len(choice.listed) for series in overview.series)
    tokens = shown * (N_TOP + N_RANDOM) * overview.length_tokens
    return BYTES_OF_PAGE + shown * BYTES_PER_UNIT + tokens * BYTES_PER_TOKEN


def write_report(store: Store, path: Path, choice: Choice | None = None) -> int:
    """Writes the page of a run, all of it or nothing; returns its bytes.

    Raises RunError when the store holds no capture, UserError for a listed unit it lacks, or when `path` cannot be
    written.
    """
    data = make_report(store, choice or Choice())
    part = path.parent / f"{path.name}.part"
    try:
        part.write_bytes(data)
        os.replace(part, path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise UserError(f"{path}: cannot be written ({error.strerror}); give another path") from error
    return len(data)
