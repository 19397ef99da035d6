"""The viewer's addresses: each reads its state from the URL and answers with a page.

    /                          the run at a glance, and its units: listed, filtered, searched
    /unit/mlp.3:127            a unit;  .../weights  by its weights;  .../sentence  on a text of the reader's own
    /random, /go               lead to a unit
    /about                     where the numbers come from
    /static/...                one style sheet, one script

A page says what is wrong instead of failing: whatever the address asks, and whatever the run holds, the server lives.
"""

import random
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from localexplain.errors import LocalexplainError, UserError
from localexplain.report import words
from localexplain.report.pages import REPORT_TEMPLATES, page_environment
from localexplain.report.reading import SELECTIONS
from localexplain.report.shading import LEVELS
from localexplain.types import parse_unit
from localexplain.viewer.browse import pick_unit
from localexplain.viewer.desk import Desk, Look
from localexplain.viewer.guard import Access, Guard
from localexplain.viewer.live_pages import read_sentence_page, read_weights_page
from localexplain.viewer.pages import read_start, read_unit_page, table_series
from localexplain.viewer.query import BadAddress, ListState, PageState, SentenceState, UnitState, read_state

HERE = Path(__file__).parent
STATIC = {
    "style.css": (REPORT_TEMPLATES / "style.css", "text/css"),
    "viewer.css": (HERE / "static" / "viewer.css", "text/css"),
    "viewer.js": (HERE / "static" / "viewer.js", "text/javascript"),
}
LONGEST_UNIT = 60  # characters
State = TypeVar("State", bound=PageState)
Answer = Callable[[Request], Response]


class NoSuchPage(UserError):
    """An address that leads nowhere."""


def parameters_of(request: Request) -> dict[str, str]:
    """Raises BadAddress, naming the parameter."""
    items = request.query_params.multi_items()
    names = [name for name, _ in items]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BadAddress(f"{twice[0][:40]}: is given twice; give it once")
    return dict(items)


def state_of(request: Request, kind: type[State]) -> State:
    """Raises BadAddress, naming the parameter."""
    return read_state(kind, parameters_of(request))


def unit_of(request: Request) -> str:
    """Raises NoSuchPage for what is far too long to name a unit."""
    text = str(request.path_params["unit"])
    if len(text) > LONGEST_UNIT:
        raise NoSuchPage(f"{text[:LONGEST_UNIT]!r} and so on is no unit; write a layer and an index like 3:127")
    return text


class Pages:
    """The answers; `desk` has the run and the models."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._environment = page_environment(HERE / "templates")
        self._environment.globals |= {
            "words": words,
            "levels": range(LEVELS),
            "selections": SELECTIONS,
            "list_link": lambda state, **changes: f"/?{state.link(**changes)}",
            "unit_link": lambda unit, state=None, **changes: f"/unit/{unit}{self._query(state, changes)}",
        }

    @staticmethod
    def _query(state: PageState | None, changes: dict[str, Any]) -> str:
        query = (state or UnitState()).link(**changes)
        return f"?{query}" if query else ""

    def render(self, template: str, look: Look | None, status: int = 200, **values: Any) -> HTMLResponse:
        page = self._environment.get_template(template).render(look=look, **values)
        return HTMLResponse(page, status)

    def start(self, request: Request) -> Response:
        state = state_of(request, ListState)
        look = self._desk.look()
        page = read_start(look.store, look.glance, state)
        return self.render("start.html", look, page=page, state=state, plain=ListState(series=state.series))

    def unit(self, request: Request) -> Response:
        state = state_of(request, UnitState)
        look = self._desk.look()
        page = read_unit_page(look.store, look.glance, unit_of(request), state)
        return self.render("unit.html", look, page=page, view=page.view, state=state)

    def weights(self, request: Request) -> Response:
        state = state_of(request, UnitState)
        look = self._desk.look()
        page = read_weights_page(look, self._desk, unit_of(request), state)
        return self.render("weights.html", look, page=page, state=state)

    def sentence(self, request: Request) -> Response:
        state = state_of(request, SentenceState)
        look = self._desk.look()
        page = read_sentence_page(look, self._desk, unit_of(request), state)
        return self.render("sentence.html", look, page=page, state=state)

    def about(self, request: Request) -> Response:
        state = state_of(request, PageState)
        return self.render("about.html", self._desk.look(), state=state)

    def random(self, request: Request) -> Response:
        """To a unit drawn from those that fit; the unit's address then stays."""
        state = state_of(request, ListState)
        look = self._desk.look()
        look.glance.view(state.series)
        found = pick_unit(look.store, state, table_series(look.glance, state.series), random.getrandbits(32))
        if found is None:
            raise NoSuchPage("no unit of this run fits; loosen the filters")
        return RedirectResponse(f"/unit/{found}{self._query(UnitState(series=state.series), {})}", 303)

    def go(self, request: Request) -> Response:
        """To the unit that was typed, "3:127" meaning the same as "mlp.3:127"."""
        given = parameters_of(request)
        text = given.pop("unit", "").strip()
        state = read_state(PageState, given)
        unit = None if len(text) > LONGEST_UNIT else parse_unit(text) or parse_unit(f"mlp.{text}")
        if unit is None:
            raise NoSuchPage(f"{text[:LONGEST_UNIT]!r} is no unit; write a layer and an index like 3:127")
        return RedirectResponse(f"/unit/{unit}{self._query(UnitState(series=state.series), {})}", 303)

    def static(self, request: Request) -> Response:
        """Of the few files there are, none other: a path is never put together from what was asked."""
        found = STATIC.get(request.path_params["name"])
        if found is None:
            raise NoSuchPage("no such file")
        path, kind = found
        return FileResponse(path, media_type=kind)

    def apologise(self, request: Request, error: Exception) -> Response:
        """A page that says what is wrong."""
        if isinstance(error, HTTPException):
            status, why = error.status_code, "there is no page at this address"
        elif isinstance(error, LocalexplainError):
            status, why = (404 if isinstance(error, NoSuchPage) else 400), str(error)
        else:
            traceback.print_exception(error, file=sys.stderr)  # ours: whoever runs the server has to see it
            status, why = 500, "the viewer failed; what happened is printed where it was started"
        return self.render("error.html", None, status, why=why, path=request.url.path)


def make_app(desk: Desk, access: Access) -> ASGIApp:
    """The application; nothing is loaded or opened before the first request."""
    pages = Pages(desk)
    unit = "/unit/{unit:str}"
    routes = [
        Route("/", pages.start),
        Route(unit, pages.unit),
        Route(f"{unit}/weights", pages.weights),
        Route(f"{unit}/sentence", pages.sentence),
        Route("/about", pages.about),
        Route("/random", pages.random),
        Route("/go", pages.go),
        Route("/static/{name:str}", pages.static),
    ]

    def apologise(request: Request, error: Exception) -> Response:
        return pages.apologise(request, error)

    handlers = {HTTPException: apologise, LocalexplainError: apologise, Exception: apologise}
    # Around it, not among its middleware: what answers for our own bugs would be outside of that.
    return Guard(Starlette(routes=routes, exception_handlers=handlers), access)
