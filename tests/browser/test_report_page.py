"""The report, opened from disk: whole without anything else, and it opens and closes."""

import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import TabOpener
from tests.browser.tabs import PHONE, Tab

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, run: Path, units: list[str]) -> Path:
    """Two of the best, none else but the last unit, by name."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    command = [sys.executable, "-m", "localexplain.cli", "report", str(run), "--out", str(path)]
    command += ["--best", "2", "--worst", "0", "--random", "0", "--list", units[-1]]
    subprocess.run(command, check=True, capture_output=True)
    return path


def open_report(open_tab: TabOpener, report: Path, **options: object) -> Tab:
    tab = open_tab(report.as_uri(), **options)
    tab.visit("")
    return tab


def test_it_asks_for_nothing_but_itself(open_tab: TabOpener, report: Path) -> None:
    tab = open_report(open_tab, report)
    tab.page.wait_for_load_state("networkidle")
    assert tab.requests == [report.as_uri()]
    assert tab.ask("() => performance.getEntriesByType('resource').length") == 0


def test_units_open_and_the_listed_one_is_there(open_tab: TabOpener, report: Path, units: list[str]) -> None:
    page = open_report(open_tab, report).page
    for series in ("series-1", "series-2"):
        assert page.locator(f"#{series} details.card").count() == 3
        card = page.locator(f'[id="{series}-listed-{units[-1]}"]')
        assert units[-1] in card.locator("summary").first.inner_text()
        second = page.locator(f"#{series} details.card[id*='best']").nth(1)
        expect(second.locator("> .body")).to_be_hidden()  # of each group the first alone is open
        second.locator("> summary").click()
        expect(second.locator("> .body")).to_be_visible()
        assert second.locator(".tokens.both span").count() > 32
        second.locator("figure.map summary").first.click()
        expect(second.locator("figure.map table").first).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(open_tab: TabOpener, report: Path, scheme: str) -> None:
    tab = open_report(open_tab, report, viewport=PHONE, color_scheme=scheme)
    tab.ask("() => document.querySelectorAll('details').forEach((item) => { item.open = true; })")
    assert tab.ask("() => document.documentElement.scrollWidth") <= PHONE["width"]
    is_light = tab.ask("() => parseInt(getComputedStyle(document.body).backgroundColor.slice(4)) > 128")
    assert is_light == (scheme == "light")
