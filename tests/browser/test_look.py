"""What every page has to have, whoever looks: room on a phone, contrast in both schemes, names for what is there."""

from itertools import pairwise
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from localexplain.store.store import open_for_reading
from tests.browser.conftest import TabOpener
from tests.browser.tabs import PHONE, Tab

pytestmark = pytest.mark.browser

SENTENCE = "/sentence?text=The+ferry+leaves+the+harbour+at+seven.&explanation=words+about+boats"
LEAST_CONTRAST = 4.5  # WCAG 2.2, 1.4.3, for text of usual size
LEAST_TARGET = 24  # pixels; WCAG 2.2, 2.5.8

# The contrast of an element's text with what lies behind it, by WCAG's formula. A token's colour is the first layer of
# its background picture, one of a single colour; below it, the nearest ancestor that has a colour.
CONTRAST = """
function parts(colour) { return colour.match(/[0-9.]+/g).map(Number); }
function luminance(colour) {
  const [r, g, b] = parts(colour).slice(0, 3).map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function isOpaque(colour) { return parts(colour).length === 3 || parts(colour)[3] === 1; }
function behind(element) {
  for (let at = element; at; at = at.parentElement) {
    const style = getComputedStyle(at);
    const layer = style.backgroundImage.match(/rgba?\\([^)]*\\)/);
    if (layer && isOpaque(layer[0])) return layer[0];
    if (isOpaque(style.backgroundColor)) return style.backgroundColor;
  }
  return "rgb(255, 255, 255)";
}
function contrast(element) {
  const style = getComputedStyle(element);
  const ink = luminance(element instanceof SVGElement ? style.fill : style.color);
  const paper = luminance(behind(element));
  return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
}
"""
# Of every element with text of its own that is drawn: [contrast, the text].
ALL_TEXTS = (
    "() => {"
    + CONTRAST
    + """
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (own && element.checkVisibility()) found.push([contrast(element), element.textContent.trim().slice(0, 40)]);
  }
  return found;
}"""
)
# Of a token of each level, in a heat map of each sort: {"overlay r0": [contrast, colour behind], ...}.
ALL_LEVELS = (
    "() => {"
    + CONTRAST
    + """
  const found = {};
  for (const kind of ["", "both", "simulated"]) {
    for (let level = 0; level < 10; level += 1) {
      const line = document.createElement("p"), token = document.createElement("span");
      line.className = `tokens ${kind}`;
      token.className = kind === "simulated" ? `s${level}` : `r${level} s0`;
      token.textContent = "token";
      line.append(token);
      document.querySelector("main").append(line);
      found[`${kind} ${level}`] = [contrast(token), behind(token)];
    }
  }
  return found;
}"""
)

FIELDS_WITHOUT_LABEL = """() => [...document.querySelectorAll("input:not([type=hidden]), select, textarea")]
  .filter((field) => ![...field.labels].some((label) => label.textContent.trim())).map((field) => field.name)"""

# Of every heat map: the texts of its lines of tokens, the titles of the first, and what its table has.
HEAT_MAPS = """() => [...document.querySelectorAll("figure.map")].map((map) => {
  const texts = (root, selector) => [...root.querySelectorAll(selector)].map((item) => item.textContent);
  const lines = [...map.querySelectorAll(".tokens")];
  return {
    lines: lines.map((line) => texts(line, "span:not(.line)")),
    titles: [...lines[0].querySelectorAll("span[title]")].map((item) => item.title),
    rows: texts(map, "tbody th"),
    real: texts(map, "tbody td:nth-child(2)"),
    columns: map.querySelectorAll("thead th").length,
  };
})"""


@pytest.fixture
def paths(units: list[str]) -> list[str]:
    """One address of every sort of page."""
    unit = f"/unit/{units[0]}"
    return [
        "/",
        "/?q=the&sort=unit&explained=yes",
        unit,
        f"{unit}?view=beside&scale=own&kinds=top",
        f"{unit}/weights",
        f"{unit}/sentence",
        unit + SENTENCE,
        f"{unit}{SENTENCE}&view=beside",
        "/about",
    ]


def test_contrast_is_reckoned_right(tab: Tab) -> None:
    # WCAG: black on white is 21; #767676 on white is the lightest grey of 4.5, #777777 is 4.48
    page = tab.visit("/about")
    page.evaluate(
        """() => { for (const [name, ink] of [["a", "#000"], ["b", "#767676"], ["c", "#777777"]]) {
          const box = document.createElement("div"); box.style.background = "#fff";
          box.innerHTML = `<b id="probe-${name}">x</b>`; box.firstChild.style.color = ink;
          document.body.append(box); } }"""
    )
    script = (
        "() => {" + CONTRAST + 'return ["a", "b", "c"].map((n) => contrast(document.getElementById(`probe-${n}`)))}'
    )
    assert tab.ask(script) == pytest.approx([21, 4.54, 4.48], abs=0.005)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out(open_tab: TabOpener, site: str, paths: list[str], scheme: str) -> None:
    tab = open_tab(site, color_scheme=scheme)
    for path in paths:
        page = tab.visit(path)
        page.evaluate("() => document.querySelectorAll('details').forEach((item) => { item.open = true; })")
        texts = tab.ask(ALL_TEXTS)
        assert len(texts) > 20
        assert [text for text in texts if text[0] < LEAST_CONTRAST] == [], path


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_shade_is_its_own_and_can_be_read_on(
    open_tab: TabOpener, site: str, units: list[str], scheme: str
) -> None:
    tab = open_tab(site, color_scheme=scheme)
    tab.visit(f"/unit/{units[0]}")
    levels = tab.ask(ALL_LEVELS)
    assert len(levels) == 30
    assert {name: value for name, value in levels.items() if value[0] < LEAST_CONTRAST} == {}
    for kind in ("", "both", "simulated"):
        assert len({levels[f"{kind} {level}"][1] for level in range(10)}) == 10


def test_light_and_dark_differ(open_tab: TabOpener, site: str) -> None:
    seen = []
    for scheme in ("light", "dark"):
        tab = open_tab(site, color_scheme=scheme)
        tab.visit("/")
        seen.append(tab.ask("() => getComputedStyle(document.body).backgroundColor"))
    assert seen[0] != seen[1]


# on a phone -----------------------------------------------------------------------------------------------------------


def test_no_page_is_wider_than_a_phone(open_tab: TabOpener, site: str, paths: list[str]) -> None:
    tab = open_tab(site, viewport=PHONE)
    for path in paths:
        page = tab.visit(path)
        page.evaluate("() => document.querySelectorAll('details').forEach((item) => { item.open = true; })")
        assert tab.ask("() => document.documentElement.scrollWidth") <= PHONE["width"], path


def test_links_and_buttons_are_large_enough_for_a_finger(open_tab: TabOpener, site: str, paths: list[str]) -> None:
    tab = open_tab(site, viewport=PHONE)
    for path in paths:
        page = tab.visit(path)
        targets = page.locator(
            "nav a, .tabs a, .toggle a, .pager a, button, input:visible, select, summary:visible"
        ).all()
        boxes = [(target.bounding_box(), target.text_content()) for target in targets if target.is_visible()]
        assert len(boxes) >= 7
        # the link that skips is off the page until a key brings it in
        small = [text for box, text in boxes if box is not None and box["height"] < LEAST_TARGET]
        assert small == [], path


# named --------------------------------------------------------------------------------------------------------------


def assert_headings_go_down_by_one_step(page: Page) -> None:
    levels = [int(item.evaluate("(item) => item.tagName[1]")) for item in page.locator("h1, h2, h3, h4, h5, h6").all()]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_headings_fields_languages_and_titles(tab: Tab, paths: list[str], units: list[str]) -> None:
    titles = {}
    for path in [*paths, f"/unit/{units[1]}", f"/unit/{units[1]}/weights"]:
        page = tab.visit(path)
        assert_headings_go_down_by_one_step(page)
        assert tab.ask(FIELDS_WITHOUT_LABEL) == [], path
        assert page.locator("html").get_attribute("lang") == "en"
        titles[path.partition("?")[0]] = page.title()
    assert len(set(titles.values())) == len(titles) == 7


def test_a_heat_map_is_also_a_table(tab: Tab, run: Path, units: list[str]) -> None:
    with open_for_reading(run) as store:
        counted = "SELECT count(*) AS n FROM records JOIN units USING (unit_id) WHERE unit = $unit"
        n_records = store.sql(counted, {"unit": units[0]}).to_pylist()[0]["n"]
    assert n_records >= 15  # 9 top and 6 random ones at least
    for view in ("overlay", "beside"):
        tab.visit(f"/unit/{units[0]}?view={view}")
        maps = tab.ask(HEAT_MAPS)
        assert len(maps) == n_records
        for heat_map in maps:
            assert len(heat_map["rows"]) == 32
            assert all(line == heat_map["rows"] for line in heat_map["lines"])
            assert [title.removeprefix("real ").partition(",")[0] for title in heat_map["titles"]] == heat_map["real"]
            is_simulated = heat_map["columns"] == 3
            assert all(("simulated" in title) == is_simulated for title in heat_map["titles"])
            assert len(heat_map["lines"]) == (2 if is_simulated and view == "beside" else 1)
        assert 0 < sum(heat_map["columns"] == 3 for heat_map in maps) < n_records


def test_what_a_screen_reader_is_told(tab: Tab, units: list[str]) -> None:
    page = tab.visit(f"/unit/{units[0]}")
    page.locator("figure.map summary").first.click()
    caption = page.locator("figure.map figcaption").first.inner_text()
    expect(page.get_by_role("table", name=f"Numbers of {caption}")).to_be_visible()
    tree = page.locator("body").aria_snapshot()
    for line in (
        f'- heading "{units[0]}" [level=1]',
        '- heading "Records" [level=2]',
        '- navigation "Run"',
        '- navigation "Other units"',
        '- table "Scores beside controls"',
        '- table "Tokens by mean activation"',
        f'- table "Numbers of {caption}"',
        '- searchbox "Search explanations and tokens"',
        '- group "real and simulated"',
        '- img "How often the unit has which activation on its random records',
        "- main:",
        "- search:",
        "- contentinfo:",
    ):
        assert line in tree, line
    assert '- table "Units"' in tab.visit("/").locator("main").aria_snapshot()
