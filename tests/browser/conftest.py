"""A browser, a run of the models that ship, and a server; and the rule for tests that need a browser."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.browser.served import explained_units, make_hostile_run, make_run, serve
from tests.browser.tabs import DESKTOP, Tab, find_browser, open_browser

TabOpener = Callable[..., Tab]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test marked `browser` is skipped, with the reason, where there is no browser; in CI it fails."""
    if item.get_closest_marker("browser") is None:
        return
    path, why = find_browser()
    if path is None and os.environ.get("CI"):
        pytest.fail(f"no browser, and in CI there must be one: {why}", pytrace=False)
    if path is None:
        pytest.skip(f"no browser: {why}")


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("viewed"))


@pytest.fixture(scope="session")
def site(run: Path) -> Iterator[str]:
    with serve(run) as address:
        yield address


@pytest.fixture(scope="session")
def hostile_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_hostile_run(tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="session")
def hostile_site(hostile_run: Path) -> Iterator[str]:
    with serve(hostile_run) as address:
        yield address


@pytest.fixture(scope="session")
def units(run: Path) -> list[str]:
    """Those that are explained."""
    return explained_units(run)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Of one module: while it is open, no other test could start an event loop of its own."""
    path, _ = find_browser()
    assert path is not None
    with open_browser(path) as opened:
        yield opened


@pytest.fixture
def open_tab(browser: Browser) -> Iterator[TabOpener]:
    """Opens a tab on a site, a light desktop's unless told otherwise; at the end none may have a fault."""
    tabs: list[Tab] = []

    def open_one(site: str, **options: Any) -> Tab:
        context = browser.new_context(**{"viewport": DESKTOP, "color_scheme": "light", **options})
        tabs.append(Tab(page=context.new_page(), site=site))
        return tabs[-1]

    yield open_one
    for tab in tabs:
        tab.page.context.close()
    assert [fault for tab in tabs for fault in tab.faults] == []
    assert [status for tab in tabs for status in tab.refusals] == []


@pytest.fixture
def tab(open_tab: TabOpener, site: str) -> Tab:
    return open_tab(site)
