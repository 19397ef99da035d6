"""How the small models' scores grew with what they were trained on: simulator score and lift of every model kept on the
way, on every second planted unit, one phrasing each.

localexplain train explainer --texts TEXTS --out FOLDER --size 12m --set snapshots=7
python eval/figures/token_curve.py FOLDER [FOLDER ...] > curve.json

A model kept on the way had a higher learning rate than the finished one, so its score understates what as many tokens
would have given a run that ended there.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from localexplain.evaluate.bench import BenchConfig, simulate_config, with_engine
from localexplain.evaluate.planted import measure_simulator
from localexplain.evaluate.units import PlantedUnit, plant_units, quick_units, subject_cut
from localexplain.evaluate.weighted import summarise_kinds
from localexplain.planted.bed import read_bed
from localexplain.simulate.load import load_simulator


def find_models(folder: Path) -> list[tuple[int, Path]]:
    """(tokens trained on, model folder) of what was kept on the way and of the end, in this order; those of the models
    that it went on from are counted too."""
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    tokens, steps, before, start = card["training_tokens_seen"], card["steps"], 0, card.get("start")
    while start:
        before, start = before + start["training_tokens_seen"], start.get("start")
    kept = sorted((int(path.name), path) for path in (folder / "snapshots").glob("[0-9]*"))
    return [(before + round(tokens * step / steps), path) for step, path in kept] + [(before + tokens, folder)]


def measure(folder: Path, card: dict[str, Any], units: list[PlantedUnit]) -> dict[str, Any]:
    """The simulator of one folder, prompted as the card of its training says."""
    config = BenchConfig()

    def use(engine: Any, _: Path) -> Any:
        return measure_simulator(
            load_simulator(simulate_config(card["folder"], config.mode), engine), units, config.seed
        )

    found = with_engine(str(folder), config, use)
    kinds = [unit.concept.kind for unit in units]
    return {name: asdict(summarise_kinds(getattr(found, name), kinds, config.seed)) for name in ("true", "lift")}


def main() -> None:
    units = quick_units(plant_units(read_bed(), subject_cut(), 0))
    curves: dict[str, list[dict[str, Any]]] = {}
    for folder in map(Path, sys.argv[1:]):
        for tokens, path in find_models(folder):
            print(f"{folder.name}: {tokens:,} tokens", file=sys.stderr)
            values = measure(path, {"folder": folder}, units)
            curves.setdefault(folder.name, []).append({"tokens": tokens, "units": len(units), **values})
    print(json.dumps(curves, indent=2))


if __name__ == "__main__":
    main()
