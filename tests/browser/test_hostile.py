"""Texts that would act stay texts: those of a run, and those that an address brings."""

import subprocess
import sys
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import TabOpener
from tests.browser.served import HOSTILE
from tests.browser.tabs import Tab

pytestmark = pytest.mark.browser


def assert_nothing_acts(page: Page) -> None:
    """The page's own security policy would stop a script too, so it is also looked for what it would have stopped."""
    page.wait_for_load_state("load")
    assert page.evaluate("() => window.__hit") is None
    assert page.locator("img").count() == 0
    assert page.locator("script:not([src])").count() == 0
    assert page.locator("[onerror], [onload], [onclick]").count() == 0


def test_the_sign_would_be_seen(tab: Tab) -> None:
    """The text does act where it is let."""
    page = tab.visit("/about")
    page.goto("about:blank")
    page.set_content(HOSTILE)
    assert page.evaluate("() => window.__hit") == 1
    tab.faults.clear()  # it asks for a picture


def test_texts_of_a_run(open_tab: TabOpener, hostile_site: str) -> None:
    tab = open_tab(hostile_site)
    for path in ("/", "/?series=2", "/?q=script", "/unit/mlp.0:0", "/unit/mlp.0:0?show=2&view=beside", "/about"):
        page = tab.visit(path)
        assert HOSTILE in page.locator("body").inner_text(), path
        assert_nothing_acts(page)
    page = tab.visit("/unit/mlp.0:0")
    page.locator(".tokens span", has_text="window.__hit").first.hover()
    assert HOSTILE in page.locator("#readout").inner_text()
    assert_nothing_acts(page)


def test_texts_of_an_address(tab: Tab, units: list[str]) -> None:
    unit = f"/unit/{units[0]}"
    shown = {
        f"/?q={quote_plus(HOSTILE)}": 200,
        f"{unit}/sentence?text={quote_plus(HOSTILE)}&explanation={quote_plus(HOSTILE)}": 200,
        f"/unit/{quote(HOSTILE, safe='')}": 404,
        f"/go?unit={quote_plus(HOSTILE)}": 404,
        f"/?sort={quote_plus(HOSTILE)}": 400,
        f"/?{quote_plus(HOSTILE)}=1": 400,
    }
    for path, status in shown.items():
        answer = tab.page.goto(tab.site + path)
        assert answer is not None
        # a slash ends the part of an address that names a unit, so that one may lead to no page instead of to no unit
        assert answer.status == status or (status, answer.status) == (404, 400), path
        tab.refusals.clear()
        assert_nothing_acts(tab.page)
        fields = [item.input_value() for item in tab.page.locator("input[name=q], textarea").all()]
        if status == 200:
            assert HOSTILE in fields


def test_the_report(open_tab: TabOpener, hostile_run: Path, tmp_path: Path) -> None:
    """A file has no security policy: here nothing but the text's own form keeps it from acting."""
    path = tmp_path / "report.html"
    command = [sys.executable, "-m", "localexplain.cli", "report", str(hostile_run), "--out", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    page = open_tab(path.as_uri()).visit("")
    assert page.locator("details.card > summary", has_text="window.__hit").count() > 0
    assert page.locator(".tokens span", has_text="window.__hit").count() > 0
    assert HOSTILE in (page.locator("body").text_content() or "")
    assert_nothing_acts(page)
