"""The README's curves of the small explainers: scores against size, and against what they were trained on.

localexplain eval planted --json > planted.json
python eval/figures/token_curve.py FOLDER [FOLDER ...] > curve.json
python eval/figures/size_curve.py planted.json curve.json docs
"""

import json
import sys
from pathlib import Path
from typing import Any

from localexplain.pipeline.models import model_folder, read_card
from localexplain.report.plots import Curve, CurvePoint, curve_plot

MILLION = 1e6
# name, where it is in the values of `eval planted --json`
SERIES = (
    ("simulator, true explanation", "simulator", "true"),
    ("simulator, lift", "simulator", "lift"),
    ("simulator, another unit's explanation", "simulator", "shuffled"),
    ("explainer, fixed simulator", "explainer", "true"),
)


def point(x: float, values: dict[str, Any]) -> CurvePoint:
    return CurvePoint(x=x, mean=values["mean"], low=values["low"], high=values["high"])


def by_size(values: dict[str, Any]) -> str:
    """Scores against parameters."""
    sizes = {name: read_card(model_folder(name))["parameters"] for name in values["simulator"]}
    curves = [
        Curve(name=title, points=tuple(point(sizes[name], values[group][name][key]) for name in sizes))
        for title, group, key in SERIES
    ]
    return curve_plot(curves, "parameters", "mean score, kinds weighted equally", log_x=True)


def by_tokens(values: dict[str, Any]) -> str:
    """Simulator scores against tokens trained on."""
    curves = [
        Curve(name=f"{name}, {key}", points=tuple(point(row["tokens"] / MILLION, row[key]) for row in rows))
        for name, rows in values.items()
        for key in ("true", "lift")
    ]
    return curve_plot(curves, "million tokens trained on", "mean score, kinds weighted equally")


def main() -> None:
    planted, curve, folder = map(Path, sys.argv[1:4])
    for name, picture in (
        ("size-curve", by_size(json.loads(planted.read_text(encoding="utf-8")))),
        ("token-curve", by_tokens(json.loads(curve.read_text(encoding="utf-8")))),
    ):
        (folder / f"{name}.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
