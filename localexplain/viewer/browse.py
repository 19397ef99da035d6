"""What the start page lists, and where its links lead: read from the tables for browsing, one scan each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from localexplain.store.store import Store
from localexplain.viewer.query import PAGE_ROWS, BadAddress, ListState

SEPARATOR = "\x1f"  # between the peak tokens of a unit, as browse/2_peaks.sql joins them
PEAKS_SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedUnit:
    """A unit in the list.

    value, reason     its score over top and random excerpts, or why it has none; both None where it is not explained
    lookup, shuffled  what these controls scored, or None
    peaks             tokens that its top records peak on, the strongest first
    """

    unit: str
    status: str
    active_token_fraction: float
    highest: float
    value: float | None
    reason: str | None
    lookup: float | None
    shuffled: float | None
    text: str | None
    peaks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitList:
    """A page of what fits, and how many fit in all."""

    units: tuple[ListedUnit, ...]
    n: int
    page: int
    last_page: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """Units before and after one; None at the ends."""

    before: str | None
    after: str | None


def fold(text: str) -> str:
    """In lower case as DuckDB's lower() has it, one letter for each: str.lower gives a Greek word another last letter.

    >>> fold("ΟΔΟΣ") == "οδοσ", "ΟΔΟΣ".lower() == "οδοσ"
    (True, False)
    """
    return "".join(character.lower()[0] for character in text)


def as_parameters(state: ListState, series: int) -> dict[str, Any]:
    """Of browse_list; `series` as the tables for browsing number it."""

    def fraction(percent: float | None) -> float | None:
        return None if percent is None else percent / 100

    return {
        "series": series,
        "layer": state.layer,
        "low": state.low,
        "high": state.high,
        "rare": fraction(state.rare),
        "frequent": fraction(state.frequent),
        "explained": None if state.explained == "all" else state.explained == "yes",
        "q": fold(state.q),
        "in_said": state.where != "tokens",
        "in_peaked": state.where != "explanations",
    }


def as_listed(row: dict[str, Any]) -> ListedUnit:
    peaks = row["peaks"].split(SEPARATOR)[:PEAKS_SHOWN] if row["peaks"] else []
    own = {name: row[name] for name in ListedUnit.__slots__ if name != "peaks"}
    return ListedUnit(**own, peaks=tuple(peaks))


def list_units(store: Store, state: ListState, series: int) -> UnitList:
    """Raises BadAddress for a page behind the last."""
    skipped = (state.page - 1) * PAGE_ROWS
    parameters = as_parameters(state, series) | {"sort": state.sort, "seed": 0, "n": PAGE_ROWS, "skipped": skipped}
    rows = store.query("browse_list", **parameters).to_pylist()
    n = rows[0]["n_fit"]
    last_page = max(1, -(-n // PAGE_ROWS))
    if state.page > last_page:
        raise BadAddress(f"page={state.page}: there are {last_page}")
    units = tuple(as_listed(row) for row in rows if row["unit"] is not None)
    return UnitList(units=units, n=n, page=state.page, last_page=last_page)


def pick_unit(store: Store, state: ListState, series: int, seed: int) -> str | None:
    """One of the units that fit, drawn by the seed; None where none fits."""
    parameters = as_parameters(state, series) | {"sort": "random", "seed": seed, "n": 1, "skipped": 0}
    found: str | None = store.query("browse_list", **parameters).to_pylist()[0]["unit"]
    return found


def read_neighbours(store: Store, series: int, unit: str) -> Neighbours:
    row = store.query("browse_near", series=series, unit=unit).to_pylist()[0]
    return Neighbours(before=row["before"], after=row["after"])


def read_listed(store: Store, series: int, units: Sequence[str]) -> dict[str, tuple[float | None, str | None]]:
    """unit -> (score, explanation), of those among `units` that the run has."""
    rows = store.query("browse_units", series=series, units=list(units)).to_pylist()
    return {row["unit"]: (row["value"], row["text"]) for row in rows}
