"""Two comparisons of one simulator with itself on planted units, as JSON: its modes, and its engines.

    python eval/bench/agreement.py modes   [--model tiny-explainer-12m] [--units 48]
    python eval/bench/agreement.py engines [--model tiny-explainer-12m] [--units 50]

modes: how the scores in `grid` go with those in `expected`, and how many grids are valid. engines: how far the scores
of vLLM are from those of transformers.
"""

import argparse
import json
from typing import Any

import numpy as np

from localexplain.evaluate.bench import BenchConfig, simulate_config, with_engine
from localexplain.evaluate.planted import Simulated, score_explanations
from localexplain.evaluate.units import PlantedUnit, plant_units, subject_cut
from localexplain.pipeline.config import EngineConfig
from localexplain.planted.bed import read_bed
from localexplain.simulate.load import load_simulator


def choose(count: int) -> list[PlantedUnit]:
    """Units of the bed, spread evenly over it and so over its kinds."""
    units = plant_units(read_bed(), subject_cut(), seed=0)
    return [units[place * len(units) // count] for place in range(min(count, len(units)))]


def simulate(model: str, units: list[PlantedUnit], mode: str, engine: str) -> Simulated:
    explanations: list[str | None] = [unit.concept.explanations[0] for unit in units]
    config = BenchConfig(engine=EngineConfig(kind="vllm" if engine == "vllm" else "transformers"))
    return with_engine(
        model,
        config,
        lambda loaded, folder: score_explanations(
            load_simulator(simulate_config(folder, mode), loaded), units, explanations
        ),
    )


def compare(first: Simulated, second: Simulated) -> dict[str, Any]:
    pairs = [(a, b) for a, b in zip(first.scores, second.scores, strict=True) if a is not None and b is not None]
    left, right = (np.array(side) for side in zip(*pairs, strict=True))
    return {
        "n": len(pairs),
        "unscored": len(first.scores) - len(pairs),
        "failed": [first.failed, second.failed],
        "means": [float(left.mean()), float(right.mean())],
        "correlation": float(np.corrcoef(left, right)[0, 1]),
        "largest_difference": float(np.abs(left - right).max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["modes", "engines"])
    parser.add_argument("--model", default="tiny-explainer-12m")
    parser.add_argument("--units", type=int, default=50)
    arguments = parser.parse_args()
    units = choose(arguments.units)
    first = simulate(arguments.model, units, "expected", "transformers")
    if arguments.what == "modes":
        second = simulate(arguments.model, units, "grid", "transformers")
    else:
        second = simulate(arguments.model, units, "expected", "vllm")
    grids = sum(len(unit.scored) for unit in units)
    print(json.dumps({"what": arguments.what, "model": arguments.model, "excerpts": grids} | compare(first, second)))


if __name__ == "__main__":
    main()
