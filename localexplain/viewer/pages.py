"""What each page shows, read from one state of the run's copy. Templates only arrange it."""

from collections.abc import Sequence
from dataclasses import dataclass

from localexplain.report.html import is_of_series
from localexplain.report.reading import Overview, Series, read_overview
from localexplain.report.series_view import SeriesView, view_series
from localexplain.report.unit import UnitRecord, judge, read_unit
from localexplain.report.unit_view import UnitView, make_unit_view
from localexplain.store.store import Store
from localexplain.viewer.browse import Neighbours, UnitList, list_units, read_neighbours
from localexplain.viewer.query import BadAddress, ListState, UnitState

N_ENDS = 5  # best and worst units named on the start page
KINDS = {"all": ("top", "stratum", "random"), "top": ("top",), "strata": ("stratum",), "random": ("random",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """The run as a whole: read once for a copy, as it goes over every score."""

    overview: Overview
    series: tuple[SeriesView, ...]

    def view(self, number: int) -> SeriesView | None:
        """The series of that number, from 1; None where nothing is scored. Raises BadAddress for another number."""
        if number > max(1, len(self.series)):
            raise BadAddress(f"series={number}: this run has {len(self.series)}")
        return self.series[number - 1] if self.series else None

    def scored(self, number: int) -> Series | None:
        view = self.view(number)
        return view.report.series if view else None


@dataclass(frozen=True, slots=True, kw_only=True)
class StartPage:
    view: SeriesView | None
    units: UnitList


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitPage:
    view: UnitView
    near: Neighbours


def read_glance(store: Store) -> Glance:
    """Raises RunError when nothing is captured yet."""
    overview = read_overview(store)
    return Glance(
        overview=overview,
        series=tuple(
            view_series(store, series, number, overview.seed, n_best=N_ENDS, n_worst=N_ENDS)
            for number, series in enumerate(overview.series, start=1)
        ),
    )


def table_series(glance: Glance, number: int) -> int:
    """The number of a series in the tables for browsing: 0 is a run without scores."""
    return number if glance.series else 0


def read_start(store: Store, glance: Glance, state: ListState) -> StartPage:
    view = glance.view(state.series)
    return StartPage(view=view, units=list_units(store, state, table_series(glance, state.series)))


def order_shown(records: Sequence[UnitRecord]) -> list[UnitRecord]:
    """The highest stratum first; all else as it comes."""
    return sorted(records, key=lambda record: -(record.stratum or 0))


def read_unit_page(store: Store, glance: Glance, unit: str, state: UnitState) -> UnitPage:
    """Raises UserError, naming the range, when the run does not hold the unit."""
    series = glance.scored(state.series)
    report = read_unit(store, unit)
    judged = judge(report)
    if state.show > max(1, len(judged)):
        raise BadAddress(f"show={state.show}: this unit has {len(judged)} judged explanations")
    of_series = [number for number, item in enumerate(judged, start=1) if series and is_of_series(item, series)]
    records = order_shown([record for record in report.records if record.kind in KINDS[state.kinds]])
    view = make_unit_view(report, records, state.show or next(iter(of_series), None), state.scale)
    return UnitPage(view=view, near=read_neighbours(store, table_series(glance, state.series), report.unit))
