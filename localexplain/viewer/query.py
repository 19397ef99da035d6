"""What a page shows, as its address says it: every state of the viewer is in the URL, and nowhere else. Pure.

    "q=sea&sort=worst" ──read_list──> ListState ──link(page=2)──> "q=sea&sort=worst&page=2"

A parameter that is missing has its default; one that is malformed is an error that names it; one that no page knows is
an error too, for a misspelt filter would otherwise show everything. Links leave defaults out.
"""

from collections.abc import Mapping
from dataclasses import Field, dataclass, fields
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints
from urllib.parse import urlencode

from localexplain.errors import UserError

PAGE_ROWS = 50
LONGEST_SEARCH = 200  # characters
LONGEST_TEXT = 4000
LONGEST_EXPLANATION = 1000
HIGHEST_NUMBER = 10**9

Sort = Literal["best", "worst", "unit", "frequent", "rare"]
Where = Literal["all", "explanations", "tokens"]
State = TypeVar("State", bound="PageState")


class BadAddress(UserError):
    """A parameter of the address that cannot be used as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageState:
    """`series`: which explainer, simulator and mode, numbered from 1 as on the start page."""

    series: int = 1

    def link(self, **changes: Any) -> str:
        """The query string of this state with some values changed; "" where all are defaults."""
        given = {
            item.name: changes.get(item.name, getattr(self, item.name))
            for item in fields(self)
            if changes.get(item.name, getattr(self, item.name)) != item.default
        }
        return urlencode({name: show_value(value) for name, value in given.items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class ListState(PageState):
    """The units listed on the start page.

    q, where        what is searched for, and in what
    layer           one layer, or None for all
    low, high       least and highest score; a unit without a score then is not listed
    rare, frequent  least and highest share of tokens that a unit is active on, in percent
    explained       "yes": units that have a score or a reason for having none; "no": the others
    page            from 1, PAGE_ROWS units each
    """

    q: str = ""
    where: Where = "all"
    layer: int | None = None
    low: float | None = None
    high: float | None = None
    rare: float | None = None
    frequent: float | None = None
    explained: Literal["all", "yes", "no"] = "all"
    sort: Sort = "best"
    page: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitState(PageState):
    """A unit's page.

    show    which of the judged explanations its heat maps are of, numbered from 1; 0 is the first of the series
    view    real and simulated over one another, or beside one another
    scale   "shared": tenths of the highest activation shown, and of 10; "own": simulated ones too are shown relative to
            the highest of theirs
    kinds   which records
    """

    show: int = 0
    view: Literal["overlay", "beside"] = "overlay"
    scale: Literal["shared", "own"] = "shared"
    kinds: Literal["all", "top", "strata", "random"] = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class SentenceState(PageState):
    """The page of a text of the user's own.

    explanation  that is tried on it; None is the unit's own, "" the empty control
    """

    text: str = ""
    explanation: str | None = None
    show: int = 0
    view: Literal["overlay", "beside"] = "overlay"
    scale: Literal["shared", "own"] = "shared"


LENGTHS = {"q": LONGEST_SEARCH, "text": LONGEST_TEXT, "explanation": LONGEST_EXPLANATION}
LOWEST = {"series": 1, "page": 1, "layer": 0}


def show_value(value: Any) -> str:
    """A value as an address has it: read again, it is the same.

    >>> show_value(0.5), show_value(2.0), show_value(0.1234567), show_value("sea")
    ('0.5', '2', '0.1234567', 'sea')
    """
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)


def read_whole(name: str, text: str) -> int:
    lowest = LOWEST.get(name, 0)
    if not (text.isascii() and text.isdigit() and len(text) < 12) or not lowest <= int(text) <= HIGHEST_NUMBER:
        raise BadAddress(f"{name}={text[:40]}: must be a whole number from {lowest} on")
    return int(text)


def read_number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) <= HIGHEST_NUMBER:
        raise BadAddress(f"{name}={text[:40]}: must be a number")
    return value


def read_text(name: str, text: str) -> str:
    longest = LENGTHS[name]
    text = text.replace("\r\n", "\n")  # as forms send the lines of a text
    if len(text) > longest:
        raise BadAddress(f"{name}: {len(text):,} characters are too many; give at most {longest:,}")
    if any("\ud800" <= character <= "\udfff" for character in text) or "\x00" in text:
        raise BadAddress(f"{name}: holds characters that are no text; leave them out")
    return text


def read_value(item: "Field[Any]", kind: Any, text: str) -> Any:
    """One parameter; empty text is the default, as a form sends a field that was left empty."""
    if str in (kind, *get_args(kind)):
        return read_text(item.name, text)
    if text == "" and item.default is None:
        return None
    if get_origin(kind) is Literal:
        if text not in get_args(kind):
            raise BadAddress(f"{item.name}={text[:40]}: must be one of {', '.join(get_args(kind))}")
        return text
    return read_whole(item.name, text) if int in (kind, *get_args(kind)) else read_number(item.name, text)


def read_state(kind: type[State], parameters: Mapping[str, str]) -> State:
    """The state that the parameters say. Raises BadAddress, naming the parameter.

    >>> read_state(UnitState, {"view": "beside", "show": "2"}).link(show=0)
    'view=beside'
    """
    known = {item.name: item for item in fields(kind)}
    if unknown := sorted(set(parameters) - set(known)):
        raise BadAddress(f"{unknown[0][:40]}: no such parameter here; there are {', '.join(known)}")
    hints = get_type_hints(kind)
    return kind(**{name: read_value(known[name], hints[name], text) for name, text in parameters.items()})
