"""`eval planted` and `eval puzzles`: the models loaded one at a time, their results as values for JSON and tables.

models ──one engine each──> simulator, judge on the planted units; explanations
fixed simulator ──────────> scores of every model's explanations, beside lookup's
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from localexplain.carry.manifest import model_name
from localexplain.engines.base import Engine
from localexplain.evaluate.planted import (
    ExplainerResult,
    SimulatorResult,
    Values,
    explain_units,
    measure_explanations,
    measure_judge,
    measure_simulator,
)
from localexplain.evaluate.puzzles import PuzzleResult, answer_puzzles, measure_puzzles
from localexplain.evaluate.units import PlantedUnit, plant_units, quick_units, subject_cut
from localexplain.evaluate.weighted import by_kind, summarise_kinds
from localexplain.explain.language_model import ExplainConfig, LanguageModelExplainer
from localexplain.explain.lookup import LookupExplainer
from localexplain.judge.judge import Judge, JudgeConfig
from localexplain.pipeline.config import EngineConfig
from localexplain.pipeline.models import load_engine, model_folder, read_card, with_card
from localexplain.pipeline.used import used_model
from localexplain.planted.bed import read_bed
from localexplain.planted.puzzles import read_puzzles
from localexplain.prompts import AUTO, GENERAL_VERSION
from localexplain.score.summary import Summary, subtract, summarise
from localexplain.simulate.base import SimulateConfig
from localexplain.simulate.load import load_simulator

OWN_MODELS = ("tiny-explainer-1m", "tiny-explainer-4m", "tiny-explainer-12m")
LARGEST = OWN_MODELS[-1]

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchConfig:
    """models    names of models that ship, or folders
    simulator  the fixed one that scores explanations
    mode       how simulators are read, "expected" or "grid"
    quick      every second unit and its first phrasing alone: a sixth of the work, wider intervals
    """

    models: tuple[str, ...] = OWN_MODELS
    simulator: str = LARGEST
    mode: str = "expected"
    engine: EngineConfig = EngineConfig()
    seed: int = 0
    quick: bool = False


def simulate_config(folder: Path, mode: str) -> SimulateConfig:
    return with_card(SimulateConfig(mode="grid" if mode == "grid" else "expected", prompt_version=AUTO), folder)


def judge_version(folder: Path) -> str:
    return str(read_card(folder).get("prompt_version", GENERAL_VERSION))


def with_engine(name: str, config: BenchConfig, use: Callable[[Engine, Path], Any]) -> Any:
    """What `use` makes of the model's engine, which is closed afterwards."""
    folder = used_model(name, "evaluated").folder
    engine = load_engine(folder, config.engine)
    try:
        return use(engine, folder)
    finally:
        engine.close()


@dataclass(slots=True, kw_only=True)
class PlantedResults:
    """Everything measured: by model, in the order given; lookup's explanations under the fixed simulator."""

    units: list[PlantedUnit]
    simulators: dict[str, SimulatorResult]
    explainers: dict[str, ExplainerResult]
    judges: dict[str, Values]

    @property
    def kinds(self) -> list[str]:
        return [unit.concept.kind for unit in self.units]


def measure_planted(config: BenchConfig, report: Report) -> PlantedResults:
    """Raises UserError for a model that cannot be read, EngineError for one that cannot simulate."""
    units = plant_units(read_bed(), subject_cut(), config.seed)
    if config.quick:
        units = quick_units(units)
    found = PlantedResults(units=units, simulators={}, explainers={}, judges={})
    explanations: dict[str, list[str | None]] = {
        "lookup": explain_units(LookupExplainer(), units, config.seed),
    }

    def use(engine: Engine, folder: Path) -> None:
        name = model_name(folder)
        report(f"{name}: simulates, judges and explains {len(units)} planted units")
        simulator = load_simulator(simulate_config(folder, config.mode), engine)
        found.simulators[name] = measure_simulator(simulator, units, config.seed)
        found.judges[name] = measure_judge(Judge(engine, JudgeConfig(prompt_version=judge_version(folder))), units)
        explainer = LanguageModelExplainer(engine, with_card(ExplainConfig(temperature=0.0), folder))
        explanations[name] = explain_units(explainer, units, config.seed)

    def score(engine: Engine, folder: Path) -> None:
        simulator = load_simulator(simulate_config(folder, config.mode), engine)
        for name, texts in explanations.items():
            report(f"{model_name(folder)}: scores the explanations of {name}")
            found.explainers[name] = measure_explanations(simulator, units, texts, config.seed)

    for model in config.models:
        with_engine(model, config, use)
    with_engine(config.simulator, config, score)
    return found


# values --------------------------------------------------------------------------------------------------------------


def kinds_of(values: Values, kinds: Sequence[str], seed: int) -> dict[str, dict[str, Any]]:
    """The summary of each kind alone."""
    return {kind: asdict(summarise(group, seed)) for kind, group in by_kind(values, kinds).items()}


def planted_values(found: PlantedResults, config: BenchConfig) -> dict[str, Any]:
    """What --json prints: kinds weigh the same in every mean; each is {mean, median, n, unscored, low, high}."""
    kinds, seed = found.kinds, config.seed

    def whole(values: Values) -> dict[str, Any]:
        return asdict(summarise_kinds(values, kinds, seed))

    simulators = {
        name: {
            "true": whole(result.true),
            "shuffled": whole(result.shuffled),
            "empty": whole(result.empty),
            "lift": whole(result.lift),
            "kinds": {
                "true": kinds_of(result.true, kinds, seed),
                "lift": kinds_of(result.lift, kinds, seed),
            },
            "label_mass": result.label_mass,
            "failed": result.failed,
        }
        for name, result in found.simulators.items()
    }
    lookup = found.explainers["lookup"]
    explainers = {
        name: {
            "true": whole(result.true),
            "shuffled": whole(result.shuffled),
            "lift": whole(result.lift),
            "above_lookup": whole(subtract(result.true, lookup.true)),
            "kinds": {"true": kinds_of(result.true, kinds, seed), "lift": kinds_of(result.lift, kinds, seed)},
        }
        for name, result in found.explainers.items()
    }
    judges = {
        name: {"accuracy": whole(values), "kinds": kinds_of(values, kinds, seed)}
        for name, values in found.judges.items()
    }
    names = list(found.simulators)
    larger = {
        f"{b} - {a}": whole(subtract(found.simulators[b].true, found.simulators[a].true)) for a, b in pairwise(names)
    }
    return {
        "seed": seed,
        "mode": config.mode,
        "units": len(found.units),
        "fixed_simulator": model_name(model_folder(config.simulator)),
        "simulator": simulators,
        "explainer": explainers,
        "judge": judges,
        "larger_minus_smaller": larger,
        "explanations": {
            name: [
                {"kind": unit.concept.kind, "concept": unit.concept.name, "explanation": text, "score": score}
                for unit, text, score in zip(found.units, result.explanations, result.true, strict=True)
            ]
            for name, result in found.explainers.items()
        },
    }


def measure_all_puzzles(config: BenchConfig, file: Path | None, report: Report) -> dict[str, list[PuzzleResult]]:
    """Every model on every puzzle. Raises UserError for a file that holds no puzzles."""
    puzzles = read_puzzles(file)
    found: dict[str, list[PuzzleResult]] = {}

    def use(engine: Engine, folder: Path) -> None:
        report(f"{model_name(folder)}: simulates and explains {len(puzzles)} puzzles")
        simulator = load_simulator(simulate_config(folder, config.mode), engine)
        explainer = LanguageModelExplainer(engine, with_card(ExplainConfig(temperature=0.0), folder))
        answers = answer_puzzles(explainer, puzzles, config.seed)
        results = measure_puzzles(simulator, puzzles)
        found[model_name(folder)] = [
            replace(result, answer=answer) for result, answer in zip(results, answers, strict=True)
        ]

    for model in config.models:
        with_engine(model, config, use)
    return found


def puzzle_values(found: dict[str, list[PuzzleResult]], seed: int) -> dict[str, Any]:
    """{MODEL: {n, truth_first, truth_in_first_two, pairwise, ...}}: the first two are counts, pairwise is
    P(truth above a false explanation) over all pairs with its interval over puzzles; chance is that of equal scores."""
    return {
        name: {
            "n": len(results),
            "truth_first": sum(result.rank == 1 for result in results),
            "truth_in_first_two": sum(result.rank <= 2 for result in results),
            "pairwise": pairs_won(results),
            "pairwise_interval": interval(summarise([sum(r.beaten) / len(r.beaten) for r in results], seed)),
            "chance": {"truth_first": sum(1 / len(result.scores) for result in results), "pairwise": 0.5},
            "truth_first_interval": share_interval([result.rank == 1 for result in results], seed),
            "puzzles": [
                {"name": r.name, "rank": r.rank, "scores": list(r.scores), "truth": r.truth, "answer": r.answer}
                for r in results
            ],
        }
        for name, results in found.items()
    }


def pairs_won(results: Sequence[PuzzleResult]) -> float:
    pairs = [value for result in results for value in result.beaten]
    return sum(pairs) / len(pairs)


def share_interval(solved: Sequence[bool], seed: int) -> list[float | None]:
    """95 % interval of the share, by bootstrap over puzzles."""
    return interval(summarise([float(value) for value in solved], seed))


def interval(summary: Summary) -> list[float | None]:
    return [summary.low, summary.high]
