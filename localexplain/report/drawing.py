"""What every plot is made of: our style, axes of a size in inches, labels, legends, and clean SVG text.

Text stays text, in the reader's own sans-serif. The background is transparent; text and axes are of a grey that reads
on white and on black alike; series differ in colour and in marker or dash. matplotlib is loaded when a plot is drawn.
"""

import io
import re
import textwrap
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from localexplain.report.shading import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SVG_NAMESPACE = "http://www.w3.org/2000/svg"
INK = "#7d7d7d"  # contrast 4.1 with white and with the dark page's panels (#1b1d1f): the same on both
# The palette of Okabe and Ito (2008), which eyes of every kind tell apart, without its black and its yellow: one is
# lost on a dark page, the other on a white one. Those that read best on both come first.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # no common factor with the colours: 42 pairs before one comes again
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 1.5, 1, 1.5)), (0, (10, 3)))  # likewise: 30
ZERO_LINE: dict[str, Any] = {"color": INK, "linewidth": 0.8, "linestyle": (0, (2, 2))}

POINTS_PER_INCH = 72
LINE_POINTS = 11.0  # from line to line, for letters of 9 points
LEGEND_LETTERS = 56
MOST_LINES = 3  # of a name, before it is cut short

STYLE: Any = {  # of any type: versions of matplotlib differ in how they call that of their settings
    "svg.fonttype": "none",
    "svg.hashsalt": "localexplain",  # ids are hashes: with a salt of its own every drawing would have others
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "font.size": 9.0,
    "legend.fontsize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": INK,
    "grid.alpha": 0.25,
    "lines.markersize": 5.0,
    "lines.linewidth": 1.6,
}


# text and colours -----------------------------------------------------------------------------------------------------


def wrap(name: str, letters: int) -> list[str]:
    """At most MOST_LINES lines of so many letters, what hides made visible; at least one line.

    >>> wrap("tiny-explainer-4m on mlp.3", 14)
    ['tiny-', 'explainer-4m', 'on mlp.3']
    """
    shown = visible(name)
    return textwrap.wrap(shown, letters, max_lines=MOST_LINES, placeholder="…") or [shown]


def short_number(value: float) -> str:
    """A tick's label: as it is below 1,000, else in thousands, millions or billions.

    >>> [short_number(value) for value in (0.25, 48, 1500, 12_000_000, 3e9)]
    ['0.25', '48', '1.5k', '12M', '3B']
    """
    text = f"{round(value, 10) + 0.0:g}"
    for unit, letter in ((1e3, "k"), (1e6, "M"), (1e9, "B")):
        if abs(value) >= unit:
            text = f"{value / unit:.4g}{letter}"
    return text.replace("-", "\N{MINUS SIGN}")


def ink_on(colour: str) -> str:
    """Black or white, whichever reads better on the colour "#rrggbb": a contrast of at least 4.5.
    Source: relative luminance of WCAG 2.

    >>> ink_on("#ffe945"), ink_on("#00224e")
    ('#000000', '#ffffff')
    """
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if (luminance + 0.05) ** 2 > 1.05 * 0.05 else "#ffffff"


# SVG ------------------------------------------------------------------------------------------------------------------


def local_name(name: str) -> str:
    """A tag or attribute without its namespace.

    >>> local_name("{http://www.w3.org/2000/svg}path"), local_name("path")
    ('path', 'path')
    """
    return name.rpartition("}")[2]


def read_svg(text: str) -> ET.Element:
    """The picture as a tree without namespaces, comments, metadata and style sheets.

    Raises: ValueError where the text is not one SVG element, or holds a script, a picture or a link, or names something
    outside of itself.
    """
    try:
        root = ET.fromstring(text)
    except ET.ParseError as error:
        raise ValueError(f"the figure is not well-formed: {error}") from error
    for element in root.iter():
        for child in [child for child in element if local_name(child.tag) in ("metadata", "style")]:
            element.remove(child)
        element.tag = local_name(element.tag)
        if element.tag in ("script", "image", "foreignObject", "a"):
            raise ValueError(f"<{element.tag}> has no place in a figure")
        for name, value in list(element.attrib.items()):
            del element.attrib[name]
            element.set(local_name(name), value)
            is_outside = local_name(name) == "href" and not value.startswith("#")
            if is_outside or name.startswith("on") or re.search(r"url\((?!#)", value):
                raise ValueError(f"{name}={value!r} reaches out of the figure")
    if root.tag != "svg":
        raise ValueError(f"the figure is <{root.tag}>, not <svg>")
    return root


def to_svg(axes: "Axes") -> str:
    """The axes' figure as text that names nothing outside of it but the namespace."""
    buffer = io.StringIO()
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.savefig(
        buffer, format="svg", bbox_inches="tight", pad_inches=0.05, transparent=True, metadata={"Date": None}
    )
    root = read_svg(buffer.getvalue())
    root.set("xmlns", SVG_NAMESPACE)
    root.set("stroke-linejoin", "round")  # what the style sheet said
    root.set("stroke-linecap", "butt")
    for element in root.iter():
        if "font-family" in element.get("style", ""):
            element.set("style", re.sub(r"font-family:[^;]*", "font-family: sans-serif", element.attrib["style"]))
    return ET.tostring(root, encoding="unicode") + "\n"


# parts of plots -------------------------------------------------------------------------------------------------------


@contextmanager
def plot_axes(width_inches: float, height_inches: float) -> Iterator["Axes"]:
    """Axes of that size, in our style whatever the user's settings of matplotlib are. What stands outside of the axes
    widens the picture. Draw, and call `to_svg`, inside."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        # The reader's fonts draw the letters; matplotlib's own, which may lack some, only measures them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield Figure(figsize=(width_inches, height_inches)).add_axes((0, 0, 1, 1))


def write_lines(
    axes: "Axes",
    place: tuple[float, float],
    lines: Sequence[str],
    shift: tuple[float, float] = (0.0, 0.0),
    **style: Any,
) -> None:
    """Lines one below the other, centred on `place` (in data) moved by `shift` (in points, up and to the right). Each
    is a text of its own, so that it is aligned in the font that it is shown in."""
    for number, line in enumerate(lines):
        rise = ((len(lines) - 1) / 2 - number) * LINE_POINTS
        end = (shift[0], shift[1] + rise)
        axes.annotate(line, place, xytext=end, textcoords="offset points", va="center_baseline", **style)


def label_below(axes: "Axes", x_label: str, notes: Sequence[str], depth: float = 20.0) -> None:
    """The label of the x axis, and the notes below it, one a line; `depth`, in points, is that of the ticks' labels."""
    if x_label:
        axes.set_xlabel(visible(x_label))
        depth += 13.0
    for number, note in enumerate(notes):
        style: dict[str, Any] = {"va": "top", "fontsize": 8.0, "style": "italic"}
        end = (0, -depth - number * LINE_POINTS)
        axes.annotate(note, (0, 0), xycoords="axes fraction", xytext=end, textcoords="offset points", **style)


def write_legend(axes: "Axes", keys: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
    """Above the plot, one series a line; `keys` are the properties of the series' lines."""
    from matplotlib.lines import Line2D

    if keys:
        axes.legend(
            handles=[Line2D([], [], **key) for key in keys],
            labels=["\n".join(wrap(name, LEGEND_LETTERS)) for name in names],
            loc="lower left",
            bbox_to_anchor=(0, 1.01),
            borderaxespad=0,
            frameon=False,
            alignment="left",
            handlelength=2.6,
        )


def format_ticks(axes: "Axes") -> None:
    from matplotlib.ticker import FuncFormatter

    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))


def draw_points(axes: "Axes", points: Sequence[tuple[float, float]], **style: Any) -> None:
    """Markers without a line; none for a NaN."""
    axes.plot([x for x, _ in points], [y for _, y in points], linestyle="none", **style)
