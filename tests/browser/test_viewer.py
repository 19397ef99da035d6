"""A reader's way through the viewer, in a real browser: by mouse, by keys, and with no script at all."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import TabOpener
from tests.browser.served import N_CAPTURED, N_EXPLAINED
from tests.browser.tabs import Tab

pytestmark = pytest.mark.browser

TEXT = "The ferry leaves the harbour at seven,\nand rain is on the river."
EXPLANATION = "words about boats & rain"
PAGE_ROWS = 50  # of the list


def parameters(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


def listed(page: Page) -> list[str]:
    return page.locator("table.list tbody th").all_inner_texts()


def found(page: Page) -> int:
    return int(page.locator("#found").inner_text().split()[0])


def follow(target: Locator, key: str | None = None) -> None:
    """Clicks what leads to another page, or presses a key in it, and waits until that page is whole."""
    with target.page.expect_navigation():
        target.press(key) if key else target.click()


def is_alike_after_reload(page: Page) -> bool:
    """Whether the address alone says what is shown."""
    before = page.locator("main").inner_html()
    page.reload()
    return page.locator("main").inner_html() == before


# the way through ------------------------------------------------------------------------------------------------------


def walk(tab: Tab, units: list[str]) -> None:
    """Start page, a unit, its switches, a sentence, and back again."""
    page = tab.visit("/")
    assert found(page) == N_CAPTURED
    follow(page.locator("table.list tbody th a").first)
    unit = page.locator("h1").inner_text()
    assert unit in units  # the best explained one is first
    assert page.url == f"{tab.site}/unit/{unit}"

    simulated = page.locator(".tokens.both")
    n_simulated = simulated.count()
    assert n_simulated > 0
    follow(page.locator("#view-beside"))
    assert parameters(page) == {"view": ["beside"]}
    assert simulated.count() == 0
    assert page.locator(".tokens.simulated").count() == n_simulated
    follow(page.locator("#scale-own"))
    assert parameters(page) == {"view": ["beside"], "scale": ["own"]}
    # each its own: the highest of all that is simulated has the darkest shade
    assert page.locator(".tokens.simulated .s9").count() > 0
    assert is_alike_after_reload(page)
    page.go_back()
    assert parameters(page) == {"view": ["beside"]}

    follow(page.locator("#to-sentence"))
    offered = page.get_by_label("Explanation to try").input_value()
    assert offered in page.content()
    assert offered
    page.get_by_label("Text").fill(TEXT)
    page.get_by_label("Explanation to try").fill(EXPLANATION)
    follow(page.get_by_role("button", name="Run"))
    score = float(page.locator("#result .score b").inner_text())
    assert -1 <= score <= 1
    # newlines are shown as ↵, and a browser's form sends two characters for one
    shown = "".join(page.locator("#result .tokens span").all_inner_texts()).replace("␍", "")
    assert shown == TEXT.replace("\n", "↵")
    assert parameters(page)["explanation"] == [EXPLANATION]
    assert is_alike_after_reload(page)
    assert page.get_by_label("Explanation to try").input_value() == EXPLANATION

    page.get_by_label("Explanation to try").fill("numbers and years")
    follow(page.get_by_role("button", name="Run"))
    assert parameters(page)["explanation"] == ["numbers and years"]
    page.go_back()
    # a browser gives fields back what was typed in them last, unless told not to: not what the result is of
    assert page.get_by_label("Explanation to try").input_value() == EXPLANATION
    assert float(page.locator("#result .score b").inner_text()) == score
    follow(page.locator("#home"))
    assert page.url == f"{tab.site}/"


def test_from_the_start_page_to_a_score_of_ones_own_and_back(tab: Tab, units: list[str]) -> None:
    walk(tab, units)


def test_the_same_way_with_no_script(open_tab: TabOpener, site: str, units: list[str]) -> None:
    walk(open_tab(site, java_script_enabled=False), units)


def test_another_explanation_is_shown_and_begun_from(tab: Tab, units: list[str]) -> None:
    """Each unit has two: its heat maps are of the one that is chosen, and a sentence can start with either."""
    page = tab.visit(f"/unit/{units[0]}")
    texts = page.locator(".said > .text").all_inner_texts()
    assert len(texts) == 2
    assert page.locator(".said.shown .text").inner_text() == texts[0]
    follow(page.get_by_role("link", name="show its simulation below"))
    assert page.locator(".said.shown .text").inner_text() == texts[1]
    page = tab.visit(f"/unit/{units[0]}/sentence")
    follow(page.locator(".sentence").get_by_role("link", name=texts[1], exact=True))
    assert page.get_by_label("Explanation to try").input_value() == texts[1]


def test_weights_lead_to_other_units(tab: Tab, units: list[str]) -> None:
    page = tab.visit(f"/unit/{units[0]}/weights")
    headings = page.locator("main h2").all_inner_texts()
    assert headings == ["Input tokens", "Output tokens", "Upstream units", "Downstream units"]
    assert page.locator("main section").nth(0).locator("tbody tr").count() == 20  # ten highest, ten most negative


# finding --------------------------------------------------------------------------------------------------------------


def test_search_finds_explanations_and_tokens(tab: Tab, units: list[str]) -> None:
    page = tab.visit(f"/unit/{units[0]}")
    word = page.locator(".said > .text").first.inner_text()
    page.get_by_label("Search explanations and tokens").fill(word.upper())
    follow(page.locator(".find").get_by_role("button", name="Search"))
    assert parameters(page) == {"q": [word.upper()]}
    assert units[0] in listed(page)
    assert found(page) < N_CAPTURED
    assert is_alike_after_reload(page)
    page.get_by_label("Search explanations and tokens").fill("zzz no such word")
    follow(page.get_by_label("Search explanations and tokens"), "Enter")
    assert found(page) == 0
    expect(page.get_by_text("No unit fits; loosen the filters.")).to_be_visible()


def test_filters_narrow_the_list_and_pages_turn(tab: Tab, units: list[str]) -> None:
    page = tab.visit("/")
    assert len(listed(page)) == PAGE_ROWS
    follow(page.get_by_role("link", name="next page"))
    assert len(listed(page)) == N_CAPTURED - PAGE_ROWS
    page = tab.visit("/")
    page.locator(".filters [name=explained]").select_option("yes")
    page.locator(".filters [name=sort]").select_option("by layer and index")
    follow(page.get_by_role("button", name="Show"))
    assert sorted(listed(page)) == units
    assert found(page) == N_EXPLAINED
    page.locator(".filters [name=layer]").select_option("1")
    follow(page.get_by_role("button", name="Show"))
    assert listed(page) == [unit for unit in units if unit.startswith("mlp.1:")]
    page.go_back()
    assert page.locator(".filters [name=layer]").input_value() == ""
    page = tab.visit("/?explained=yes")
    scores = [float(text) for text in page.locator("table.list tbody td:first-child").all_inner_texts()]
    assert scores == sorted(scores, reverse=True)
    page.locator(".filters [name=low]").fill(str(scores[1]))
    follow(page.get_by_role("button", name="Show"))
    assert 1 <= found(page) <= 3  # what is shown is rounded, so the second may fall out and a third may be its equal


def test_series_are_told_apart(tab: Tab, units: list[str]) -> None:
    page = tab.visit("/?explained=yes&sort=unit")
    first = page.locator("table.list tbody td:nth-child(3)").all_inner_texts()
    follow(page.locator(".tabs a"))
    second = page.locator("table.list tbody td:nth-child(3)").all_inner_texts()
    assert parameters(page)["series"] == ["2"]
    assert len(first) == len(second) == len(units)
    assert first != second
    follow(page.locator("table.list tbody th a").first)
    assert parameters(page) == {"series": ["2"]}
    assert page.locator(".said.shown .text").inner_text() == second[0]


def test_go_to_a_unit_by_its_number(tab: Tab, units: list[str]) -> None:
    page = tab.visit("/about")
    page.get_by_label("Go to layer and unit").fill(units[-1].removeprefix("mlp."))
    follow(page.get_by_label("Go to layer and unit"), "Enter")
    assert page.url == f"{tab.site}/unit/{units[-1]}"


# keys and pointer -----------------------------------------------------------------------------------------------------


def test_keys(tab: Tab, units: list[str]) -> None:
    page = tab.visit(f"/unit/{units[0]}")
    following = page.locator("#next").inner_text().split()[0]
    page.keyboard.press("j")
    page.wait_for_url(f"{tab.site}/unit/{following}")
    page.keyboard.press("k")
    page.wait_for_url(f"{tab.site}/unit/{units[0]}")
    page.keyboard.press("r")
    page.wait_for_url(lambda url: url not in (f"{tab.site}/unit/{units[0]}", f"{tab.site}/random"))
    assert re.fullmatch(r"/unit/mlp\.\d+:\d+", urlsplit(page.url).path)
    page.keyboard.press("h")
    page.wait_for_url(f"{tab.site}/")
    page.keyboard.press("/")
    search = page.get_by_label("Search explanations and tokens")
    expect(search).to_be_focused()
    page.keyboard.type("jkrh/")  # letters, while one is writing
    assert search.input_value() == "jkrh/"
    assert page.url == f"{tab.site}/"
    page.keyboard.press("Enter")
    page.wait_for_url("**/?q=*")
    assert parameters(page) == {"q": ["jkrh/"]}


def test_a_modified_key_is_the_browsers_own(tab: Tab, units: list[str]) -> None:
    page = tab.visit(f"/unit/{units[0]}")
    for key in ("Control+j", "Alt+k", "Meta+h"):
        page.keyboard.press(key)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    assert page.url == f"{tab.site}/unit/{units[0]}"


def test_pointing_at_a_token_and_touching_one_show_its_numbers(
    open_tab: TabOpener, site: str, units: list[str]
) -> None:
    tab = open_tab(site, has_touch=True)
    page = tab.visit(f"/unit/{units[0]}")
    readout = page.locator("#readout")
    expect(readout).to_be_hidden()
    tokens = page.locator(".tokens.both").first.locator("span")
    texts = [(token.text_content(), token.get_attribute("title")) for token in tokens.all()[:6]]
    tokens.nth(2).hover()
    expect(readout).to_have_text(" ".join(f"{texts[2][0]} {texts[2][1]}".split()))
    assert re.search(r"real -?\d+\.\d\d, simulated \d+\.\d of 10", readout.inner_text())
    tokens.nth(5).tap()
    expect(readout).to_have_text(" ".join(f"{texts[5][0]} {texts[5][1]}".split()))
    assert page.locator(".tokens .at").count() == 1
