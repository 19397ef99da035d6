"""What comparisons are written as: one document, as Markdown, as one HTML file that needs nothing else, and as JSON.

Texts are shown as they are, whatever they hold: none can break a table or become markup, and white space and
characters that act instead of showing are made visible.
"""

import json
import math
import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment
from markupsafe import Markup

from localexplain.errors import UserError
from localexplain.report import words
from localexplain.report.drawing import INK, read_svg
from localexplain.report.pages import page_environment
from localexplain.report.shading import visible

Cell = str | float | int | None

TEMPLATE = "document.html"
FIGURE_FOLDER = "figures"
FIGURE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")  # becomes a file's name and part of an id
LONG_TEXT = 40  # letters from which a cell is given room for a sentence
# SVG widths are in points; 4/3 makes pixels of them. Below 0.9 pixels a point letters of 9 points are hard to read: a
# wider figure is then moved in its box.
PIXELS_PER_POINT, LEAST_PIXELS_PER_POINT = 4 / 3, 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A picture.

    name     its file's name without ending, of letters, digits, "-" and "_"
    caption  says in words what is to be seen; it is also what a screen reader says
    svg      one SVG element as text, that names nothing outside of itself

    Raises: ValueError for another name.
    """

    name: str
    title: str
    caption: str
    svg: str

    def __post_init__(self) -> None:
        if not FIGURE_NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} cannot name a figure: letters, digits, - and _ only")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of texts, numbers and None (no value); `note` stands below, if it is not empty.

    Raises: ValueError where a row is not as long as there are columns.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"table {self.title!r}: a row is not as long as there are columns")


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Paragraphs, then figures, then tables."""

    title: str
    text: tuple[str, ...]
    tables: tuple[Table, ...]
    figures: tuple[Figure, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A comparison.

    command   the command line that made it
    warnings  what must be known before any number is read
    facts     names and values for the head
    values    what the JSON file holds: the numbers behind it all

    Raises: ValueError where two figures have one name, upper and lower case being the same.
    """

    title: str
    command: str
    warnings: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
    values: dict[str, Any]

    def __post_init__(self) -> None:
        names = [figure.name.lower() for figure in self.figures]
        if len(set(names)) < len(names):
            raise ValueError(f"two figures have one name: {', '.join(sorted(names))}")

    @property
    def figures(self) -> tuple[Figure, ...]:
        return tuple(figure for section in self.sections for figure in section.figures)


# cells ----------------------------------------------------------------------------------------------------------------


def plain(text: str) -> str:
    """The text on one line, with what hides made visible; an empty one stays empty."""
    return visible(text.strip(" ")) if text.strip(" ") else ""


def command_lines(command: str) -> list[str]:
    """The lines of a command as they are, with what hides made visible."""
    return [visible(line) if line else "" for line in command.strip().split("\n")]


def show_cell(value: Cell) -> str:
    """A cell's text: three decimals, whole numbers with separators, a dash for no value (None, NaN).

    >>> [show_cell(value) for value in (0.5, 24000, None, float("nan"), " film", "", True)]
    ['0.500', '24,000', '-', '-', 'film', '', 'yes']
    """
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return words.count(value)
    return words.number(None if value is None or math.isnan(value) else value)


def is_numeric(rows: Sequence[Sequence[Cell]], column: int) -> bool:
    """Whether the column holds numbers and None alone, and at least one number."""
    cells = [row[column] for row in rows]
    return any(cell is not None for cell in cells) and not any(isinstance(cell, str) for cell in cells)


# Markdown -------------------------------------------------------------------------------------------------------------

MARKUP = re.compile(r"([\\`*_\[\]<>|~$&#])")
AUTOLINK = re.compile(r"(?i)(?<=http):|(?<=https):|(?<=ftp):|(?<=www)\.")  # GitHub makes links of bare addresses
BLOCK_START = re.compile(r"^([-+=]|\d{1,9}(?=[.)]))")


def escape(text: str) -> str:
    r"""The text for Markdown: every sign that could be markup has a backslash before it, at the start of a line and
    inside of it, in a table and out of it.

    >>> print(escape("a|b <i> *c* d_e"), escape("2. x"), escape("- x"), escape("www.a.b"))
    a\|b \<i\> \*c\* d\_e 2\. x \- x www\.a.b
    """
    text = MARKUP.sub(r"\\\1", plain(text))
    text = AUTOLINK.sub(lambda match: f"\\{match.group()}", text)
    return BLOCK_START.sub(lambda match: f"{match[1]}\\" if match[1].isdigit() else f"\\{match[1]}", text)


def heading(level: int, text: str) -> str:
    """Nothing where there is no text."""
    return f"{'#' * level} {escape(text)}" if plain(text) else ""


def markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def markdown_table(table: Table) -> list[str]:
    """Blocks: the title, the table, the note."""
    dashes = ["---:" if is_numeric(table.rows, column) else "---" for column in range(len(table.columns))]
    lines = [markdown_row([escape(column) for column in table.columns]), markdown_row(dashes)]
    for row in table.rows:
        texts = [escape(cell) if isinstance(cell, str) else show_cell(cell) for cell in row]
        lines.append(markdown_row(texts))
    return [heading(3, table.title), "\n".join(lines), escape(table.note)]


def markdown_figure(figure: Figure, figure_folder: str) -> list[str]:
    """Blocks: the title, the picture, the caption."""
    path = f"{quote(figure_folder)}/{figure.name}.svg"
    return [heading(3, figure.title), f"![{escape(figure.title)}]({path})", escape(figure.caption)]


def to_markdown(document: Document, figure_folder: str) -> str:
    """The document in GitHub's Markdown; figures are shown from `figure_folder`, relative to the file."""
    blocks = [heading(1, document.title)]
    blocks += [f"> **Warning:** {escape(warning)}" for warning in document.warnings]
    blocks.append("\n".join(f"- **{escape(name)}**: {escape(value)}" for name, value in document.facts))
    if document.command:
        blocks.append("Made by:")
        blocks.append("\n".join(f"    {line}" for line in command_lines(document.command)))
    for section in document.sections:
        blocks.append(heading(2, section.title))
        blocks += [escape(paragraph) for paragraph in section.text]
        for figure in section.figures:
            blocks += markdown_figure(figure, figure_folder)
        for table in section.tables:
            blocks += markdown_table(table)
    return "\n\n".join(block for block in blocks if block) + "\n"


# HTML -----------------------------------------------------------------------------------------------------------------


def fit_to_page(root: ET.Element, prefix: str) -> None:
    """Gives every id, and what refers to it, a prefix: ids of two figures on one page must differ. The grey that reads
    on any page becomes the page's own, which reads better."""
    for element in root.iter():
        for name, value in element.attrib.items():
            if name == "id":
                element.set(name, prefix + value)
            elif name == "href":
                element.set(name, f"#{prefix}{value.removeprefix('#')}")
            else:
                element.set(name, value.replace("url(#", f"url(#{prefix}").replace(INK, "var(--soft)"))


def inline_svg(figure: Figure) -> Markup:
    """The figure's picture for a page, with its caption for those who do not see it.

    Raises: ValueError where it is not an SVG that stands for itself.
    """
    root = read_svg(figure.svg)
    fit_to_page(root, f"{figure.name}.")
    for name in ("xmlns", "width", "height"):  # inside of HTML there is no namespace to name
        root.attrib.pop(name, None)
    width = float(root.get("viewBox", "0 0 360 0").split()[2])
    root.set("style", f"width: {width * PIXELS_PER_POINT:.0f}px; min-width: {width * LEAST_PIXELS_PER_POINT:.0f}px")
    root.set("role", "img")
    root.set("aria-label", plain(figure.caption or figure.title))
    return Markup(ET.tostring(root, encoding="unicode", short_empty_elements=False))


def template_environment() -> Environment:
    environment = page_environment()
    environment.filters |= {"cell": show_cell, "inline": inline_svg, "plain": plain, "lines": command_lines}
    environment.tests |= {"long": lambda cell: isinstance(cell, str) and len(cell) > LONG_TEXT}
    return environment


def to_html(document: Document) -> str:
    """The document as one page, complete in itself.

    Raises: ValueError where a figure is not an SVG that stands for itself.
    """
    return template_environment().get_template(TEMPLATE).render(document=document, is_numeric=is_numeric)


# files ----------------------------------------------------------------------------------------------------------------


def to_json(document: Document) -> str:
    """The document's values. Raises: ValueError for a NaN or an infinity: what does not exist is None."""
    return json.dumps(document.values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def encode_files(document: Document) -> dict[str, bytes]:
    """Every file's content by its path in the document's folder, figures first: a page is never newer than they."""
    texts = {f"{FIGURE_FOLDER}/{figure.name}.svg": figure.svg for figure in document.figures}
    texts["report.md"] = to_markdown(document, FIGURE_FOLDER)
    texts["report.html"] = to_html(document)
    texts["report.json"] = to_json(document)
    # Half a surrogate pair, which UTF-8 has no code for, is left in the JSON alone, where \ud800 is its escape.
    return {path: text.encode("utf-8", "backslashreplace") for path, text in texts.items()}


def write_document(document: Document, folder: Path) -> list[Path]:
    """Writes report.md, report.html, report.json and the figures into the folder, which is made where it is missing;
    returns their paths. Each file is written whole or not at all, and none is replaced before all are on the disk.

    Raises: UserError when something cannot be written.
    """
    files = {folder / path: data for path, data in encode_files(document).items()}
    parts = {path: path.parent / f"{path.name}.part" for path in files}
    path = folder
    try:
        for path, data in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                raise IsADirectoryError(None, "there is a folder of this name")
            parts[path].write_bytes(data)
        for path, part in parts.items():
            os.replace(part, path)
    except OSError as error:
        for part in parts.values():
            with suppress(OSError):
                part.unlink()
        raise UserError(f"{path}: cannot be written ({error.strerror}); give another folder") from error
    return list(files)
