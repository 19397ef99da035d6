"""The README's curves, from small made-up values: every point is where its numbers say, every curve is named."""

import json
import math
import sys
from pathlib import Path

import pytest

from eval.figures.size_curve import SERIES, by_size, by_tokens, main
from eval.figures.token_curve import find_models
from localexplain.pipeline.models import model_folder
from tests.report.pictures import near, read

SIZES = ("tiny-explainer-1m", "tiny-explainer-12m")


def summary(mean: float) -> dict[str, float]:
    return {"mean": mean, "low": mean - 0.05, "high": mean + 0.1}


PLANTED = {
    "simulator": {
        SIZES[0]: {"true": summary(0.4), "lift": summary(0.35), "shuffled": summary(0.05)},
        SIZES[1]: {"true": summary(0.7), "lift": summary(0.72), "shuffled": summary(-0.02)},
    },
    "explainer": {SIZES[0]: {"true": summary(0.2)}, SIZES[1]: {"true": summary(0.5)}},
}
TOKENS = {
    "12m": [
        {"tokens": 10_000_000, "true": summary(0.1), "lift": summary(0.08)},
        {"tokens": 40_000_000, "true": summary(0.6), "lift": summary(0.55)},
    ],
    "4m": [{"tokens": 20_000_000, "true": summary(0.3), "lift": summary(0.25)}],
}


def flat(places: list[tuple[float, float]]) -> list[float]:
    return [number for place in places for number in place]


def test_scores_stand_above_the_sizes_that_the_models_cards_say() -> None:
    sizes = [json.loads((model_folder(name) / "card.json").read_text(encoding="utf-8"))["parameters"] for name in SIZES]
    assert sizes[1] > 5 * sizes[0]
    picture = read(by_size(PLANTED))
    x, y = picture.ruler("x", math.log10), picture.ruler("y")
    means = ((0.4, 0.7), (0.35, 0.72), (0.05, -0.02), (0.2, 0.5))  # in the order of the curves
    for number, pair in enumerate(means):
        expected = [(x(size), y(mean)) for size, mean in zip(sizes, pair, strict=True)]
        assert flat(picture.markers(f"points-{number}")) == near(*flat(expected))
        ends = [(x(size), y(mean - 0.05), x(size), y(mean + 0.1)) for size, mean in zip(sizes, pair, strict=True)]
        assert [list(bar) for bar in picture.segments(f"intervals-{number}")] == [near(*bar) for bar in ends]
    assert {title for title, _, _ in SERIES} | {"parameters"} <= set(picture.texts)


def test_scores_stand_above_the_millions_of_tokens() -> None:
    picture = read(by_tokens(TOKENS))
    x, y = picture.ruler("x"), picture.ruler("y")
    expected = (
        [(x(10), y(0.1)), (x(40), y(0.6))],
        [(x(10), y(0.08)), (x(40), y(0.55))],
        [(x(20), y(0.3))],
        [(x(20), y(0.25))],
    )
    for number, places in enumerate(expected):
        assert flat(picture.markers(f"points-{number}")) == near(*flat(places))
    assert {"12m, true", "12m, lift", "4m, true", "4m, lift", "million tokens trained on"} <= set(picture.texts)


def test_both_pictures_are_written_from_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, values in (("planted", PLANTED), ("curve", TOKENS)):
        (tmp_path / f"{name}.json").write_text(json.dumps(values), encoding="utf-8")
    given = [str(tmp_path / "planted.json"), str(tmp_path / "curve.json"), str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["size_curve.py", *given])
    main()
    assert (tmp_path / "size-curve.svg").read_text(encoding="utf-8") == by_size(PLANTED)
    assert (tmp_path / "token-curve.svg").read_text(encoding="utf-8") == by_tokens(TOKENS)


def test_models_kept_on_the_way_come_in_the_order_of_their_steps(tmp_path: Path) -> None:
    """600 steps saw 9,000 tokens: 15 a step. By name step 50 would come after 200."""
    (tmp_path / "card.json").write_text(json.dumps({"training_tokens_seen": 9000, "steps": 600}), encoding="utf-8")
    for name in ("200", "50", "notes"):
        (tmp_path / "snapshots" / name).mkdir(parents=True)
    kept = tmp_path / "snapshots"
    assert find_models(tmp_path) == [(750, kept / "50"), (3000, kept / "200"), (9000, tmp_path)]
