"""Plots read back from their SVG: marks, lines and labels, in the numbers of their axes."""

import functools
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from localexplain.report.plots import (
    CrossCell,
    Curve,
    CurvePoint,
    Distribution,
    IntervalRow,
    cross_table_plot,
    curve_plot,
    difference_plot,
    distribution_plot,
    interval_plot,
)

SVG = "{http://www.w3.org/2000/svg}"
NASTY = "_a $x$ <b>|&amp; \x1b\n日本"
NASTY_SHOWN = "_a $x$ <b>|&amp; \\x1b↵日本"


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An SVG, parsed strictly."""

    source: str
    root: ET.Element

    @property
    def texts(self) -> list[str]:
        return [element.text or "" for element in self.root.iter(f"{SVG}text")]

    def group(self, name: str) -> ET.Element | None:
        return next((element for element in self.root.iter(f"{SVG}g") if element.get("id") == name), None)

    def markers(self, name: str) -> list[tuple[float, float]]:
        group = self.group(name)
        assert group is not None, name
        return [(float(use.attrib["x"]), float(use.attrib["y"])) for use in group.iter(f"{SVG}use")]

    def path(self, name: str) -> list[tuple[str, float, float]]:
        """Commands of the first path of the group: M and L with their places, moved to where the path is used."""
        group = self.group(name)
        assert group is not None, name
        path = next(group.iter(f"{SVG}path"))
        found = re.findall(r"([ML]) (\S+) (\S+)", path.attrib["d"])
        use = next(group.iter(f"{SVG}use"), ET.Element("use"))
        left, top = float(use.get("x", "0")), float(use.get("y", "0"))
        return [(command, left + float(x), top + float(y)) for command, x, y in found]

    def segments(self, name: str) -> list[tuple[float, float, float, float]]:
        """The straight lines of a group, sorted: x and y of the one end, of the other."""
        group = self.group(name)
        assert group is not None, name
        found = []
        for path in group.iter(f"{SVG}path"):
            ends = [float(number) for number in re.findall(r"-?[\d.]+", path.attrib["d"])]
            found.append((ends[0], ends[1], ends[2], ends[3]))
        return sorted(found)

    def ruler(self, axis: str, scale: Callable[[float], float] = float) -> Callable[[float], float]:
        """From a value to its place, by the labels of the ticks of "x" or "y" that lie furthest apart."""
        places = []
        for group in self.root.iter(f"{SVG}g"):
            if re.fullmatch(rf"{axis}tick_\d+", group.get("id", "")):
                label = next(group.iter(f"{SVG}text")).text or ""
                use = next(group.iter(f"{SVG}use"))
                places.append((scale(read_label(label)), float(use.attrib[axis])))
        (low, start), (high, end) = min(places), max(places)
        assert high > low
        return lambda value: start + (scale(value) - low) / (high - low) * (end - start)


def read_label(label: str) -> float:
    factor = {"k": 1e3, "M": 1e6, "B": 1e9}.get(label[-1:], 1.0)
    return float(label.rstrip("kMB").replace("\N{MINUS SIGN}", "-")) * factor


def read(source: str) -> Picture:
    return Picture(source=source, root=ET.fromstring(source))


def near(*values: float) -> list[object]:
    return [pytest.approx(value, abs=0.01) for value in values]


def curve(name: str, *points: tuple[float, float | None], is_reference: bool = False, half: float = 0.05) -> Curve:
    return Curve(
        name=name,
        is_reference=is_reference,
        points=tuple(
            CurvePoint(
                x=x, mean=mean, low=None if mean is None else mean - half, high=None if mean is None else mean + half
            )
            for x, mean in points
        ),
    )


def cell(explainer: str, simulator: str, mean: float | None) -> CrossCell:
    ends = (None, None) if mean is None else (mean - 0.01, mean + 0.02)
    return CrossCell(explainer=explainer, simulator=simulator, mean=mean, low=ends[0], high=ends[1])


ROWS = (
    IntervalRow(name="own", mean=0.3, low=0.2, high=0.45),
    IntervalRow(name="gone", mean=None),
    IntervalRow(name="lookup", mean=-0.1, low=-0.2, high=0.1),
    IntervalRow(name="alone", mean=0.5),
)
EVERY_PLOT: dict[str, Callable[[str], str]] = {
    "interval": lambda name: interval_plot([IntervalRow(name=name, mean=0.1), *ROWS], name),
    "difference": lambda name: difference_plot([IntervalRow(name=name, mean=0.1), *ROWS], name),
    "curve": lambda name: curve_plot([curve(name, (1, 0.2), (2, 0.3))], name, name, log_x=False),
    "log curve": lambda name: curve_plot([curve(name, (1e6, 0.2), (2e7, 0.3))], name, name, log_x=True),
    "distribution": lambda name: distribution_plot([Distribution(name=name, values=(0.1, 0.2, None))], name),
    "cross": lambda name: cross_table_plot([cell(name, "s", 0.1), cell("e", name, 0.4)]),
}


@functools.cache
def drawn(kind: str, name: str = "name") -> str:
    """Drawn once for all tests: a plot takes some tenths of a second."""
    return EVERY_PLOT[kind](name)


def contrast(a: str, b: str) -> float:
    """WCAG 2, by numpy."""
    values = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in (a, b)]) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    dark, light = sorted(linear @ np.array([0.2126, 0.7152, 0.0722]))
    return float((light + 0.05) / (dark + 0.05))
