"""A viewer's pages without a server: asked for, parsed strictly, and picked apart."""

from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path

import html5lib
from httpx2 import Response
from starlette.testclient import TestClient

from localexplain.viewer.app import make_app
from localexplain.viewer.desk import Desk
from localexplain.viewer.guard import Access

VOID = {"meta", "link", "input", "br"}


class Page(HTMLParser):
    """What a page consists of.

    elements  (tag, attributes) in order
    texts     (tag, its classes and id, the text inside it, entities resolved), of every element, the inner ones first
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str, str]] = []
        self._open: list[tuple[str, str, list[str]]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.elements.append((tag, found))
        if tag not in VOID:
            self._open.append((tag, f"{found.get('class') or ''} {found.get('id') or ''}".strip(), []))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        for _, _, texts in self._open:
            texts.append(data)

    def handle_endtag(self, tag: str) -> None:
        opened, name, texts = self._open.pop()
        assert opened == tag, f"</{tag}> closes <{opened}>"
        self.texts.append((tag, name, "".join(texts)))

    def of(self, tag: str, name: str = "") -> list[str]:
        """Texts of the elements of this tag whose class or id is `name`."""
        return [text for found, names, text in self.texts if found == tag and (not name or name in names.split())]

    def attributes(self, tag: str, name: str) -> list[str]:
        return [found[name] or "" for other, found in self.elements if other == tag and name in found]


def read_page(answer: Response) -> Page:
    """The page, when it is well-formed to the letter and holds no script but the viewer's own."""
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    html5lib.HTMLParser(strict=True).parse(answer.text)
    page = Page(answer.text)
    scripts = [attributes for tag, attributes in page.elements if tag == "script"]
    assert scripts == [{"src": "/static/viewer.js", "defer": None}]
    assert page.of("script") == [""]
    for tag, attributes in page.elements:
        assert tag not in ("iframe", "object", "embed", "base", "style", "img")
        assert not any(name.startswith("on") or name in ("style", "srcdoc", "formaction") for name in attributes)
        for name in ("href", "src", "action"):
            value = attributes.get(name)
            assert value is None or value.startswith(("/", "#")) or (tag, value) == ("link", "data:,")
            assert value is None or not value.startswith(("//", "/\\"))
    assert "Traceback" not in answer.text
    return page


def read_trouble(answer: Response) -> str:
    """What a page that cannot be shown says is wrong: one line; it is not our bug."""
    assert 400 <= answer.status_code < 500, answer.text
    (why,) = read_page(answer).of("p", "why")
    assert len(why.splitlines()) == 1
    return why


@contextmanager
def viewing(folder: Path) -> Iterator[TestClient]:
    desk = Desk(folder)
    app = make_app(desk, Access(port=8000))
    with TestClient(
        app, base_url="http://127.0.0.1:8000", follow_redirects=False, raise_server_exceptions=False
    ) as client:
        yield client
    desk.close()
