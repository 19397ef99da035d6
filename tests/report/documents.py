"""Documents to write, and their pages read back: Markdown by markdown-it-py, HTML by Python's own parser."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

from markdown_it import MarkdownIt

from localexplain.report.document import (
    Document,
    Figure,
    Section,
    Table,
)
from localexplain.report.drawing import INK

NASTY = (
    "a|b",
    "<script>alert(1)</script>",
    "one\ntwo\r\n\n| three |",
    "**bold** __bold__ *it* _it_ ~~no~~",
    "`code` ``",
    "[x](y) ![p](q) [r]: s <u@v.w>",
    "&amp; &#42; &",
    "\\| \\\\| \\",
    "ends in \\",
    "$x$",
    "--- | ---",
    "---",
    "===",
    "# head #",
    "- item",
    "+ item",
    "1. item",
    "23) item",
    "> quote",
    "    code",
    "```\ncode",
    "<!-- gone -->",
    '"quoted" \'quoted\' onclick="1"',
    "{{ 1 + 1 }} {% raw %}",
    "\x00\x1b[31m\u202e\ufffe",
    "日本 é 😀",
    " film",
)
SMALL_SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="90" height="9" '
    'viewBox="0 0 90 9"><style>*{color: red}</style><defs><path id="m" d="M0 0h1"/>'
    f'<clipPath id="c"><path d="M0 0h1"/></clipPath></defs><use xlink:href="#m" style="stroke: {INK}"/>'
    '<g clip-path="url(#c)"><text>a &lt;b&gt;</text></g></svg>'
)


@dataclass
class Page(HTMLParser):
    """Texts by element, attributes, and faults of nesting."""

    source: str
    open: list[str] = field(default_factory=list)
    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br", "hr"):
            self.open.append(tag)
            self.texts.append((tag, ""))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)

    def handle_data(self, data: str) -> None:
        if self.open and self.texts[-1][0] == self.open[-1]:
            self.texts[-1] = (self.open[-1], self.texts[-1][1] + data)
        elif self.open:
            self.texts.append((self.open[-1], data))

    def all(self, *tags: str) -> list[str]:
        return [text for tag, text in self.texts if tag in tags]


def read_markdown(text: str) -> Page:
    return Page(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text))


def table(*rows: tuple[Any, ...], columns: tuple[str, ...] = ("name", "value"), note: str = "") -> Table:
    return Table(title="Means", columns=columns, rows=rows, note=note)


def figure(name: str = "means", svg: str = SMALL_SVG, caption: str = "Two means.") -> Figure:
    return Figure(name=name, title="Means in a picture", caption=caption, svg=svg)


def document(*tables: Table, figures: tuple[Figure, ...] = (), **parts: Any) -> Document:
    made: dict[str, Any] = {
        "title": "Comparison",
        "command": "localexplain compare a b",
        "warnings": (),
        "facts": (),
        "sections": (Section(title="Scores", text=("A paragraph.",), tables=tables, figures=figures),),
        "values": {"mean": 0.5},
    }
    return Document(**(made | parts))


def everywhere(text: str) -> Document:
    """The text in every place that takes one."""
    return Document(
        title=text,
        command=text,
        warnings=(text, text),
        facts=((text, text), ("seed", text)),
        sections=(
            Section(
                title=text,
                text=(text, text),
                tables=(Table(title=text, columns=(text, "n"), rows=((text, 1), (text, None)), note=text),),
                figures=(Figure(name="a", title=text, caption=text, svg=SMALL_SVG),),
            ),
        ),
        values={"text": text},
    )
