"""The size curve of the README as an SVG: scores of the small models on the planted bed, with 95 % intervals.

localexplain eval planted --json > planted.json
python eval/figures/size_curve.py planted.json docs/size-curve.svg
"""

import json
import sys
from pathlib import Path
from typing import Any

from localexplain.pipeline.models import model_folder, read_card

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 60, 150, 24, 46
HIGHEST = 1.0
# name, where it is in the values, colour (safe for colour-blind readers), dash
SERIES = (
    ("simulator, true explanation", "simulator", "true", "#0072b2", ""),
    ("simulator, lift", "simulator", "lift", "#d55e00", ""),
    ("simulator, shuffled", "simulator", "shuffled", "#767676", "4 3"),
    ("explainer, fixed simulator", "explainer", "true", "#117755", ""),
)


def place_x(number: int, count: int) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * (number + 0.5) / count


def place_y(value: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - max(0.0, value) / HIGHEST)


def draw_series(values: dict[str, Any], names: list[str], series: tuple[str, str, str, str, str]) -> list[str]:
    title, group, key, colour, dash = series
    points = [(place_x(n, len(names)), values[group][name][key]) for n, name in enumerate(names)]
    path = "M" + "L".join(f"{x:.1f} {place_y(item['mean']):.1f}" for x, item in points)
    parts = [f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>']
    for x, item in points:
        low, high, mean = (place_y(item[end]) for end in ("low", "high", "mean"))
        parts.append(f'<path d="M{x:.1f} {low:.1f}L{x:.1f} {high:.1f}" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<circle cx="{x:.1f}" cy="{mean:.1f}" r="4" fill="{colour}"/>')
    x, item = points[-1]
    parts.append(f'<text x="{x + 12:.1f}" y="{place_y(item["mean"]) + 4:.1f}" fill="{colour}">{title}</text>')
    return parts


def draw(values: dict[str, Any]) -> str:
    names = list(values["simulator"])
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH + 40} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH + 40}" height="{HEIGHT}" fill="#ffffff"/>',
    ]
    for tick in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        y = place_y(tick)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#dddddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" fill="#333333">{tick:.1f}</text>')
    for number, name in enumerate(names):
        millions = read_card(model_folder(name)).get("parameters", 0) / 1e6
        x = place_x(number, len(names))
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 24}" text-anchor="middle" fill="#333333">{name}</text>')
        parts.append(
            f'<text x="{x:.1f}" y="{HEIGHT - 8}" text-anchor="middle" fill="#333333">{millions:.1f} million</text>'
        )
    for series in SERIES:
        parts += draw_series(values, names, series)
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> None:
    source, target = (Path(argument) for argument in sys.argv[1:3])
    target.write_text(draw(json.loads(source.read_text(encoding="utf-8"))), encoding="utf-8")


if __name__ == "__main__":
    main()
