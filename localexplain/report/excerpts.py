"""An excerpt in the terminal: its tokens shaded by activation, real above simulated, wrapped together.

Where there are no colours, each token stands once and its levels stand below it as digits.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, chop_cells
from rich.console import Console
from rich.style import Style
from rich.text import Text

from localexplain.report.shading import SIMULATED_SCALE, levels, visible
from localexplain.report.unit import UnitRecord

# One hue that grows stronger, on a dark screen and on a light one: low levels colour the letters, for a faint
# background would be nearly black on one kind of screen and nearly white on the other.
SHADES = (
    Style(),
    Style(color="#8c7f70"),
    Style(color="#a8793f"),
    Style(color="#c4741a"),
    Style(color="#000000", bgcolor="#b98d5e"),
    Style(color="#000000", bgcolor="#c48a48"),
    Style(color="#000000", bgcolor="#d08733"),
    Style(color="#000000", bgcolor="#dc8420"),
    Style(color="#000000", bgcolor="#ee8210"),
    Style(color="#000000", bgcolor="#ff8000", bold=True),
)
MANY_COLOURS = ("256", "truecolor")  # sixteen cannot show ten levels of one hue
REAL = "real"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A token, or a part of one too wide for a line: its text, its width in columns, its level on each line."""

    text: str
    width: int
    levels: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line's name ("real", "sim 1") and the level of each token [T]."""

    name: str
    levels: tuple[int, ...]


def is_shaded(console: Console) -> bool:
    """Whether the console shows enough colours to shade by."""
    return console.is_terminal and not console.no_color and console.color_system in MANY_COLOURS


def excerpt_lines(record: UnitRecord, maximum: float, numbers: dict[str, int]) -> tuple[Line, ...]:
    """The real line and one for each simulation of an explanation in `numbers` (explanation key -> its number).

    maximum  what real activations are shown relative to
    """
    simulated = [(numbers[item.explanation_key], item) for item in record.simulated if item.explanation_key in numbers]
    ordered = sorted(simulated, key=lambda pair: pair[0])
    return (
        Line(name=REAL, levels=levels(record.activations, maximum)),
        *(Line(name=f"sim {number}", levels=levels(item.expected, SIMULATED_SCALE)) for number, item in ordered),
    )


def split_cells(tokens: Sequence[str], lines: Sequence[Line], width: int) -> Iterator[Cell]:
    """The tokens in visible form; one wider than a line comes in parts."""
    for place, token in enumerate(tokens):
        text = visible(token)
        here = tuple(line.levels[place] for line in lines)
        for part in chop_cells(text, width) if cell_len(text) > width else [text]:
            yield Cell(text=part, width=cell_len(part), levels=here)


def wrap_cells(cells: Iterator[Cell], width: int) -> Iterator[list[Cell]]:
    """The cells in rows of at most `width` columns."""
    row: list[Cell] = []
    used = 0
    for cell in cells:
        if row and used + cell.width > width:
            yield row
            row, used = [], 0
        row.append(cell)
        used += cell.width
    if row:
        yield row


def shaded_row(row: Sequence[Cell], line: int) -> Text:
    """The row's tokens, shaded by the levels of one line."""
    text = Text()
    for cell in row:
        text.append(cell.text, SHADES[cell.levels[line]])
    return text


def digit_row(row: Sequence[Cell], line: int) -> Text:
    """Each token's level under its first visible character; none for level 0."""
    text = ""
    for cell in row:
        digit = str(cell.levels[line]) if cell.levels[line] and cell.width else ""
        indent = min(len(cell.text) - len(cell.text.lstrip(" ")), cell.width - 1) if digit else 0
        text += (" " * indent + digit).ljust(cell.width)
    return Text(text.rstrip(" "))


def draw_excerpt(tokens: Sequence[str], lines: Sequence[Line], width: int, shaded: bool) -> list[Text]:
    """The excerpt as screen lines of at most `width` columns: for every row of tokens each of `lines`, named at the
    left; without colours the tokens alone, then the digits of each line."""
    margin = max(len(line.name) for line in lines) + 2
    drawn: list[Text] = []
    for row in wrap_cells(split_cells(tokens, lines, max(1, width - margin)), max(1, width - margin)):
        if not shaded:
            drawn.append(Text(" " * margin).append("".join(cell.text for cell in row)))
        for place, line in enumerate(lines):
            body = shaded_row(row, place) if shaded else digit_row(row, place)
            drawn.append(Text().append(line.name.ljust(margin), "dim").append_text(body))
    return drawn


def legend(maximum: float, shaded: bool) -> Text:
    """What the shades, or digits, mean."""
    text = Text()
    if shaded:
        text.append("shades 0 to 9: ")
        for place, shade in enumerate(SHADES):
            text.append(f" {place} ", shade)
    else:
        text.append("digits 0 to 9 below a token (0 is left out)")
    text.append(
        f"\nreal: tenths of {maximum:.3g}, the highest activation shown; negative ones count as 0"
        "\nsim: the simulation of an explanation, 0 to 10"
        "\n↵ newline  ⇥ tab  ␣ a token of spaces"
    )
    return text
