"""Documents: whatever a text holds, it comes out as text; figures stand for themselves; files are whole.

Markdown is read by markdown-it-py, HTML by Python's own parser, figures by a strict XML parser.
"""

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localexplain.errors import UserError
from localexplain.report.document import (
    Document,
    escape,
    plain,
    show_cell,
    to_html,
    to_json,
    to_markdown,
    write_document,
)
from localexplain.report.drawing import INK
from localexplain.report.plots import IntervalRow, interval_plot
from tests.report.documents import NASTY, SMALL_SVG, Page, document, everywhere, figure, read_markdown, table

# texts stay texts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", NASTY)
def test_texts_stay_texts_in_markdown(text: str) -> None:
    page = read_markdown(to_markdown(everywhere(text), "figures"))
    shown = plain(text)
    assert page.faults == []
    assert page.all("h1", "h2", "h3") == [shown] * 4
    assert page.all("th") == [shown, "n"]
    assert page.all("td") == [shown, "1", shown, "-"]
    assert page.all("strong") == ["Warning:", "Warning:", shown, "seed"]
    assert page.all("blockquote") == ["\n", "\n", "\n", "\n"]
    assert page.all("li") == ["", f": {shown}", "", f": {shown}"]
    paragraphs = [text for text in page.all("p") if text]
    # warnings, "Made by:", two paragraphs, caption, note; the picture's paragraph has no text
    assert paragraphs == [f" {shown}", f" {shown}", "Made by:", shown, shown, shown, shown]
    assert [values for tag, values in page.tags if tag == "img"] == [{"src": "figures/a.svg", "alt": shown}]
    known = {"h1", "h2", "h3", "blockquote", "p", "strong", "ul", "li", "pre", "code", "img"}
    assert {tag for tag, _ in page.tags} == known | {"table", "thead", "tbody", "tr", "th", "td"}


@pytest.mark.parametrize("text", NASTY)
def test_texts_stay_texts_in_html(text: str) -> None:
    page = Page(to_html(everywhere(text)))
    shown = plain(text)
    assert page.faults == []
    assert page.all("title") == [shown]
    assert page.all("h1", "h2", "h3") == [shown] * 4
    assert page.all("th") == [shown, "n"]
    assert page.all("td") == [shown, "1", shown, "-"]
    assert page.all("dt", "dd") == [shown, shown, "seed", shown]
    assert page.all("figcaption") == [shown]
    assert page.all("b") == ["Warning:"] * 2
    assert page.all("p") == ["", f" {shown}", "", f" {shown}", shown, shown, shown]
    labels = [values["aria-label"] for _, values in page.tags if "aria-label" in values]
    assert labels == [shown, shown]
    plain_page = Page(to_html(everywhere("word")))
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain_page.tags]  # nothing became an element
    names = [set(values) for _, values in page.tags]
    assert names == [set(values) for _, values in plain_page.tags]  # or an attribute


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text(max_size=30), min_size=2, max_size=2), st.text(max_size=30))
def test_any_cell_comes_back(cells: list[str], paragraph: str) -> None:
    made = document(table(tuple(cells)), warnings=(paragraph,))
    for page in (read_markdown(to_markdown(made, "f")), Page(to_html(made))):
        assert page.faults == []
        assert page.all("td") == [plain(cell) for cell in cells]
        assert page.all("h1", "h2", "h3") == ["Comparison", "Scores", "Means"]


@settings(deadline=None)
@given(st.text(alphabet="ab12 |\\`*_<>[]()#$&!~-+=.:\n", max_size=40))
def test_any_paragraph_of_signs_comes_back(text: str) -> None:
    page = read_markdown(escape(text))
    assert page.all("p") == ([plain(text)] if plain(text) else [])
    assert {tag for tag, _ in page.tags} <= {"p"}


def test_addresses_are_no_links() -> None:
    assert escape("https://a.b www.a.b FTP://a.b") == "https\\://a.b www\\.a.b FTP\\://a.b"
    assert read_markdown(escape("http://a.b")).all("p") == ["http://a.b"]


def test_commands_keep_their_lines() -> None:
    made = document(command="localexplain compare \\\n    `a` <b> --out '*_*'\n")
    lines = "localexplain compare \\\n    `a` <b> --out '*_*'"
    assert read_markdown(to_markdown(made, "f")).all("code") == [f"{lines}\n"]
    assert Page(to_html(made)).all("pre") == [lines]


# numbers --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.12345, "0.123"), (-0.0001, "0.000"), (-1.5, "-1.500"), (1234567, "1,234,567"), (0, "0"), (-3, "-3"),
        (None, "-"), (float("nan"), "-"), (False, "no"), ("", ""), ("0.12345", "0.12345"),
    ],
)  # fmt: skip
def test_cells(value: str | float | None, text: str) -> None:
    assert show_cell(value) == text
    made = document(table((value, 1)))
    assert Page(to_html(made)).all("td") == [text, "1"]
    assert read_markdown(to_markdown(made, "f")).all("td") == [text, "1"]


def test_columns_of_numbers_are_set_right() -> None:
    made = document(table(("a", 0.5, None, None), (None, None, 1, None), columns=("t", "x", "n", "none")))
    assert "\n| --- | ---: | ---: | --- |\n" in to_markdown(made, "f")
    classes = [values.get("class") for tag, values in Page(to_html(made)).tags if tag in ("th", "td")]
    assert classes == [None, "num", "num", None] * 3


# the page -------------------------------------------------------------------------------------------------------------


def test_the_page_needs_nothing_else() -> None:
    svg = interval_plot([IntervalRow(name="a", mean=0.1, low=0.0, high=0.2)], "correlation")
    text = to_html(document(table(("a", 1)), figures=(figure(), figure("other", svg)), warnings=("unqualified",)))
    page = Page(text)
    assert "http" not in text
    for sign in ("<script", "src=", "@import", "javascript:", "<link", "<img", "xmlns", "*{color"):
        assert sign not in text
    assert all((values.get("href") or "#").startswith("#") for _, values in page.tags)
    assert "prefers-color-scheme: dark" in text
    assert "width=device-width" in text


def test_tables_and_figures_scroll_in_boxes_of_their_own() -> None:
    page = Page(to_html(document(table(("a", 1)), figures=(figure(),))))
    for tag in ("table", "svg"):
        place = [name for name, _ in page.tags].index(tag)
        assert page.tags[place - 1][0] == "div"
        assert page.tags[place - 1][1]["class"] == "scroll"


def test_figures_are_inline_and_do_not_share_ids() -> None:
    page = Page(to_html(document(figures=(figure("one", caption="First."), figure("two", caption="")))))
    svgs = [values for tag, values in page.tags if tag == "svg"]
    assert [values["role"] for values in svgs] == ["img", "img"]
    assert [values["aria-label"] for values in svgs] == ["First.", "Means in a picture"]
    assert "width: 120px; min-width: 81px" in (svgs[0]["style"] or "")  # 90 points; 4/3 and 0.9 pixels each
    ids = [values["id"] for _, values in page.tags if "id" in values]
    assert len(ids) == len(set(ids))
    assert {"one.m", "one.c", "two.m", "two.c"} <= set(ids)
    assert [values["href"] for tag, values in page.tags if tag == "use"] == ["#one.m", "#two.m"]
    clips = [values["clip-path"] for tag, values in page.tags if tag == "g"]
    assert clips == ["url(#one.c)", "url(#two.c)"]
    assert page.all("text") == ["a <b>"] * 2


def test_the_grey_of_a_figure_becomes_that_of_the_page() -> None:
    text = to_html(document(figures=(figure(),)))
    assert INK not in text
    assert "stroke: var(--soft)" in text
    assert text.count("--soft:") == 2  # for a light page and a dark one


@pytest.mark.parametrize("svg", ["<svg><script/></svg>", '<svg><use href="a.svg"/></svg>', "<svg>", "<p/>"])
def test_foreign_figures_are_refused(svg: str) -> None:
    with pytest.raises(ValueError, match="figure"):
        to_html(document(figures=(figure(svg=svg),)))


def test_order_and_head() -> None:
    made = document(
        table(("a", 1), note="A note."),
        figures=(figure(),),
        warnings=("simulator X is unqualified: lift 0",),
        facts=(("seed", "7"),),
    )
    order = ("Comparison", "Warning:", "unqualified", "seed", "7", "Made by", "localexplain compare a b", "Scores")
    order += ("A paragraph.", "Means in a picture", "Two means.", "Means", "name", "a", "A note.")
    for page in (read_markdown(to_markdown(made, "f")), Page(to_html(made))):
        words = "\n".join(text for tag, text in page.texts if tag not in ("style", "title", "text"))
        place = 0
        for word in order:
            place = words.index(word, place) + len(word)


def test_what_is_empty_is_left_out() -> None:
    made = Document(title="Empty", command="", warnings=(), facts=(), sections=(), values={})
    assert to_markdown(made, "f") == "# Empty\n"
    page = Page(to_html(made))
    assert {tag for tag, _ in page.tags}.isdisjoint({"dl", "pre", "section", "h2"})
    untitled = replace(table(("a", 1)), title="")
    assert (
        Page(to_html(document(untitled))).all("h3")
        == read_markdown(to_markdown(document(untitled), "f")).all("h3")
        == []
    )


def test_figure_folders_are_quoted() -> None:
    page = read_markdown(to_markdown(document(figures=(figure(),)), "my (own) figures"))
    (source,) = [values["src"] for tag, values in page.tags if tag == "img"]
    assert source == "my%20%28own%29%20figures/means.svg"


# what cannot be made --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "../up", "a/b", "a b", "a.svg", "-a", "é"])
def test_names_of_figures(name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a figure"):
        figure(name)


def test_figures_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two figures"):
        document(figures=(figure("means"), figure("Means")))


def test_rows_are_as_long_as_the_columns() -> None:
    with pytest.raises(ValueError, match="'Means'"):
        table(("a", 1), ("a",))


# files ----------------------------------------------------------------------------------------------------------------


def test_json_is_the_values() -> None:
    values = {"mean": 0.1, "none": None, "text": "日本 <b>", "rows": [[1, 2.5]]}
    assert json.loads(to_json(document(values=values))) == values
    assert "日本" in to_json(document(values=values))
    with pytest.raises(ValueError, match="JSON compliant"):
        to_json(document(values={"mean": float("nan")}))


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_all_files_are_written(tmp_path: Path) -> None:
    made = document(table(("a", 1)), figures=(figure("one"), figure("two")), values={"half a pair": "\ud800"})
    folder = tmp_path / "new" / "report"
    paths = write_document(made, folder)
    names = ["figures/one.svg", "figures/two.svg", "report.md", "report.html", "report.json"]
    assert paths == [folder / name for name in names]
    files = tree(folder)
    assert sorted(files) == sorted(names)  # and nothing half-written beside them
    assert files["report.md"].decode() == to_markdown(made, "figures")
    assert files["report.html"].decode() == to_html(made)
    assert json.loads(files["report.json"]) == made.values
    assert files["figures/one.svg"].decode() == SMALL_SVG
    for source in re.findall(r"!\[[^]]*\]\((\S+)\)", files["report.md"].decode()):
        assert ET.parse(folder / source).getroot().tag.endswith("svg")
    assert write_document(made, folder) == paths  # over itself
    assert tree(folder) == files


@pytest.mark.parametrize("obstacle", ["report.json", "report.json.part", "report.md", "figures/means.svg"])
def test_an_old_report_stays_whole_where_writing_fails(tmp_path: Path, obstacle: str) -> None:
    write_document(document(table(("old", 1)), figures=(figure(),)), tmp_path)
    old = tree(tmp_path)
    old.pop(obstacle, None)
    (tmp_path / obstacle).unlink(missing_ok=True)
    (tmp_path / obstacle / "in the way").mkdir(parents=True)
    with pytest.raises(UserError, match=r"cannot be written \(.+\); give another folder") as caught:
        write_document(document(table(("new", 2)), values={"mean": 0.6}, figures=(figure(svg="<svg/>"),)), tmp_path)
    assert str(tmp_path / obstacle).removesuffix(".part") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert tree(tmp_path) == old  # not one file of the new report, and none half-written


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "report").write_text("old")
    with pytest.raises(UserError, match="cannot be written"):
        write_document(document(), tmp_path / "report")
    assert (tmp_path / "report").read_text() == "old"


def test_a_document_that_cannot_be_made_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not well-formed"):
        write_document(document(figures=(figure(svg="<svg>"),)), tmp_path / "report")
    assert list(tmp_path.iterdir()) == []
