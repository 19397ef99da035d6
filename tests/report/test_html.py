"""The page of small_store.py: complete, well formed, and nothing in it but what it should hold."""

import html
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from localexplain.errors import UserError
from localexplain.report.html import Choice, write_report
from localexplain.store.store import Store
from tests.report.small_store import TOO_FEW

VOID = {"meta", "br", "wbr"}


class Page(HTMLParser):
    """Tags as a tree is walked: faults in nesting, ids, tokens by class, text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.faults: list[str] = []
        self.spans: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)
        style = dict(attrs).get("class") or ""
        self.spans.append((tag, style))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open[-1] != tag:
            self.faults.append(f"</{tag}> closes {self.open[-1:]}")
        else:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory, small_run: Path) -> str:
    from localexplain.store.store import open_for_reading

    path = tmp_path_factory.mktemp("page") / "report.html"
    with open_for_reading(small_run) as store:
        size = write_report(store, path, Choice(best=2, worst=2, random=2))
    assert size == path.stat().st_size
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]  # no half-written file beside it
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_page_is_well_formed(page: Page) -> None:
    assert page.faults == []
    assert page.open == []
    assert len(page.ids) == len(set(page.ids)) > 5


def test_page_holds_nothing_foreign(text: str, page: Page) -> None:
    assert page.tags.isdisjoint({"script", "link", "img", "iframe", "object", "base", "form"})
    assert page.attributes.isdisjoint({"src", "href", "srcset", "action", "onclick", "onload"})
    for sign in ("http", "src=", "<script", "url(", "@import", "javascript:"):
        assert sign not in text


def test_tokens_stay_text(text: str, page: Page) -> None:
    assert "&lt;script&gt;" in text
    assert "<script>" in page.words
    assert "&amp;amp;" in text  # the token "&amp;" is shown as it is
    assert "\x1b" not in text
    assert "names of <b>days</b> [bold]" in "".join(page.words)


def tokens_of(text: str, title: str) -> list[tuple[str, str]]:
    """(class, text) of the tokens of the excerpt with this title."""
    block = text[text.index(title) :]
    block = block[: block.index("</p>", block.index('<p class="tokens'))]
    found = re.findall(r'<span class="([^"]*)"[^>]*>([^<]*)</span>', block)
    return [(style, html.unescape(token)) for style, token in found]


def test_shades_match_activations(text: str) -> None:
    # -1, 4, 0, 2, 0.39 in tenths of 4; not simulated
    assert tokens_of(text, "top 1 ·") == [
        ("r0", "It"), ("r9", " rain"), ("r0", "↵"), ("r5", "<script>"), ("r0", "␣␣"),
    ]  # fmt: skip
    # 3, 0.4, -2, 1.2, 0 in tenths of 4; the rule's 10, 0, 0, 0, 0
    assert tokens_of(text, "top 2 ·") == [
        ("r7 s9", " rain"), ("r1 s0", " on"), ("r0 s0", "⇥"), ("r3 s0", "日本"), ("r0 s0", "&amp;"),
    ]  # fmt: skip
    # the other series shows its own simulation of the same excerpt: 5.5, 0.9, 1, 0, 9.9
    other = text[text.index('id="series-2"') :]
    assert [style for style, _ in tokens_of(other, "top 2 ·")] == ["r7 s5", "r1 s0", "r0 s1", "r3 s0", "r0 s9"]
    assert 'title="real 3.00, simulated 5.5 of 10"' in other


def test_every_shade_is_defined(text: str) -> None:
    for level in range(1, 10):
        assert f".tokens .r{level}" in text
        assert f".tokens .s{level}" in text
        assert text.count(f"--l{level}:") == 2  # for a light page and a dark one


def test_numbers_and_counts(page: Page) -> None:
    words = re.sub(r"\s+", " ", " ".join(page.words))
    assert "Explained by namer, simulated by rule (mode rule)" in words
    assert "Explained by writer, simulated by model (mode expected)" in words
    assert "Units scored 3 2 unscored" in words
    assert "explanation 0.500 - 0.500 1 4" in words  # random only: mean, no interval, median, n, unscored
    assert re.search(r"lookup 0\.550 0\.\d+ to 0\.\d+ 0\.600 4 1", words)
    assert f"explanation 1 0 {TOO_FEW}" in words
    assert "mean 0.400; 3 units" in words


def test_every_unit_is_shown_once_in_a_series(page: Page) -> None:
    # two best and one worst of three scored ones, two at random of the unscored ones
    shown = [name for name in page.ids if re.match(r"series-1-(best|worst|random)-mlp", name)]
    units = sorted(name.rpartition("-")[2] for name in shown)
    assert units == ["mlp.0:0", "mlp.0:1", "mlp.1:0", "mlp.1:3", "mlp.1:5"]


def test_provenance(page: Page) -> None:
    words = re.sub(r"\s+", " ", " ".join(page.words))
    for part in ("files_sha256 ab12", "torch 1.0, 1.1", "explain.units all", "seed 7", "2026-01-02 03:04:00"):
        assert part in words


def test_the_page_is_the_same_every_time(store: Store, tmp_path: Path) -> None:
    write_report(store, tmp_path / "a.html")
    write_report(store, tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_fewer_units(store: Store, tmp_path: Path) -> None:
    write_report(store, tmp_path / "none.html", Choice(best=0, worst=0, random=0))
    assert '<details class="card" id="series' not in (tmp_path / "none.html").read_text(encoding="utf-8")


def test_a_run_without_scores_has_a_page(captured_only: Store, tmp_path: Path) -> None:
    write_report(captured_only, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert Page(text).faults == []
    assert "Nothing is scored yet" in text


def test_a_path_that_cannot_be_written_leaves_nothing(store: Store, tmp_path: Path) -> None:
    for path in (tmp_path / "missing" / "page.html", tmp_path / "folder"):
        (tmp_path / "folder").mkdir(exist_ok=True)
        with pytest.raises(UserError, match="cannot be written"):
            write_report(store, path)
    assert [file.name for file in tmp_path.iterdir() if file.suffix == ".part"] == []


def test_an_old_page_survives_a_failed_write(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("old")
    (tmp_path / "page.html.part").mkdir()  # in the way of the new one
    with pytest.raises(UserError, match="cannot be written"):
        write_report(store, path)
    assert path.read_text() == "old"
