"""One explainer under one simulator on a run's units: how to fill such a cell, and what the store says of it.

    run ──explain──> explanations ──simulate, score──> a row of scores a unit ──read_cell──> Cell

Each stage runs in a process of its own, so that a model's memory is its own figure and is given back; a cell that is
filled already starts none. What was done stays: the same call goes on.
"""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from localexplain.carry.manifest import find_entry
from localexplain.errors import EngineError, LocalexplainError, UserError
from localexplain.evaluate.sizes import count_parameters
from localexplain.keys import canonical_json
from localexplain.pipeline.config import EngineConfig, RunConfig
from localexplain.pipeline.explain import missing_items
from localexplain.pipeline.main import run_stages
from localexplain.pipeline.models import ExplainerPlan, SimulatorPlan, model_folder, plan_explainer, plan_simulator
from localexplain.pipeline.reading import captured_units, tried_keys
from localexplain.pipeline.run import Run, model_key
from localexplain.pipeline.simulate import LINEAR, LOOKUP, Plan
from localexplain.score.unit import SELECTIONS, Selection
from localexplain.settings import build_settings
from localexplain.simulate.base import SimulateMode
from localexplain.store.store import Store, open_for_writing

Values = dict[Selection, list[float | None]]
HOW = ("dtype", "engine", "quantization")  # what a model's name may be followed by, each after an @
CELL_SOURCES = ("explanation", "shuffled", "empty", "lookup", "linear")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChoice:
    """A language model and how it runs, written NAME, NAME@DTYPE, NAME@DTYPE@ENGINE or NAME@DTYPE@ENGINE@QUANTIZATION:
    dtype and quantisation are factors like size. "" is the run's own. "lookup" is an explainer, "rule" a simulator,
    without any model."""

    name: str
    dtype: str = ""
    engine: str = ""
    quantization: str = ""

    @property
    def label(self) -> str:
        parts = [part for part in (self.dtype, self.engine, self.quantization) if part]
        entry = find_entry(Path(self.name))
        name = Path(self.name).name if entry is None else entry.name
        return f"{name} ({', '.join(parts)})" if parts else name


def parse_choice(text: str) -> ModelChoice:
    """Raises UserError for what is not of the form.

    >>> parse_choice("tiny-explainer-4m@bfloat16").label
    'tiny-explainer-4m (bfloat16)'
    """
    name, *rest = text.strip().split("@")
    if not name or len(rest) > len(HOW):
        raise UserError(f"{text!r}: not a model; write NAME, NAME@DTYPE, NAME@DTYPE@ENGINE or ...@QUANTIZATION")
    return ModelChoice(name=name, **dict(zip(HOW, rest, strict=False)))


def choose_engine(base: EngineConfig, choice: ModelChoice) -> EngineConfig:
    """Raises ConfigError for a dtype or an engine that does not exist."""
    given = {"dtype": choice.dtype, "kind": choice.engine, "quantization": choice.quantization}
    changed = [f"{key}={json.dumps(value)}" for key, value in given.items() if value]
    if not changed:
        return base
    values = {name: getattr(base, name) for name in base.__dataclass_fields__}
    return build_settings(values, changed, EngineConfig)


def cell_config(base: RunConfig, explainer: ModelChoice, simulator: ModelChoice) -> RunConfig:
    """The run's settings with this explainer and this simulator."""
    explain = replace(base.explain, explainer=explainer.name, engine=choose_engine(base.explain.engine, explainer))
    own = base.simulate.prompt.mode
    mode: SimulateMode = "rule" if simulator.name == "rule" else "expected" if own == "rule" else own
    simulate = replace(
        base.simulate,
        simulator=simulator.name,
        engine=choose_engine(base.simulate.engine, simulator),
        prompt=replace(base.simulate.prompt, mode=mode),
    )
    return replace(base, explain=explain, simulate=simulate)


# filling -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What went wrong in another process, as its line, and whether the user can mend it."""

    line: str
    is_users: bool


def do_stages(folder: Path, config: RunConfig, stages: tuple[str, ...]) -> Fault | None:
    """Runs in a process of its own, where an error would lose its kind on the way back."""
    try:
        with open_for_writing(folder) as store:
            run_stages(Run(folder=folder, store=store), config, stages)
    except LocalexplainError as error:
        return Fault(line=str(error), is_users=isinstance(error, UserError))
    return None


def run_apart(folder: Path, config: RunConfig, stages: tuple[str, ...]) -> None:
    """The stages in a process of their own. Raises UserError or EngineError with the line of what went wrong there;
    what was done stays."""
    try:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            fault = pool.submit(do_stages, folder, config, stages).result()
    except BrokenProcessPool as error:
        raise EngineError(
            f"{folder}: the process of {' and '.join(stages)} was killed, perhaps for memory; call it again to go on"
        ) from error
    if fault is not None:
        raise UserError(fault.line) if fault.is_users else EngineError(fault.line)


def is_missing(folder: Path, config: RunConfig, stage: str) -> bool:
    """Whether the stage has anything left to do for the cell."""
    explain, simulate = plan_explainer(config.explain), plan_simulator(config.simulate)
    with open_for_writing(folder) as store:
        run = Run(folder=folder, store=store)
        if stage == "explain":
            units = captured_units(run, config.explain.units, config)
            return bool(missing_items(run, units, explain, config, tried_keys))
        plan = Plan(run, explain, simulate, config)
        unscored = {unit.unit_id for unit in plan.units} - scored_units(store, explain, simulate)
        return bool(unscored) or bool(plan.missing(plan.units, tried_keys))


def scored_units(store: Store, explainer: ExplainerPlan, simulator: SimulatorPlan) -> set[int]:
    """The units that have a row of scores in the cell, with or without a value."""
    keys = {"explainer_key": model_key(explainer.identity), "simulator_key": model_key(simulator.identity)}
    return set(store.query("cell_scored_units", **keys).column(0).to_pylist())


def fill_cell(folder: Path, config: RunConfig, report: Callable[[str], None], label: str) -> None:
    """Explains, simulates and scores what the cell lacks. Raises as `run_apart`."""
    for stages in (("explain",), ("simulate", "score")):
        if not is_missing(folder, config, stages[0]):
            continue
        report(f"{label}: {' and '.join(stages)}")
        run_apart(folder, config, stages)


# reading -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a stage took for a cell: tokens as TokenCounts counts them; seconds and memory (bytes, highest resident) of
    the calls that did it, None where the run does not know."""

    n: int
    prompt_tokens: int
    computed_tokens: int
    generated_tokens: int
    seconds: float | None
    peak_memory_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """The scores of one explainer's explanations under one simulator.

    explainer_parameters  None for an explainer that is no language model, or not at hand
    units, layers  of every value, in one order that all cells of a run share
    values         source -> selection -> a value a unit, None where there is none
    """

    explainer: str
    simulator: str
    units: tuple[str, ...]
    layers: tuple[int, ...]
    values: dict[str, Values]
    explain: Cost
    simulate: Cost
    explainer_parameters: int | None = None

    @property
    def label(self) -> str:
        return f"{self.explainer} by {self.simulator}"


def read_values(
    store: Store, unit_ids: Sequence[int], explainer: ExplainerPlan, simulator: SimulatorPlan
) -> dict[str, Values]:
    """source -> selection -> values in the order of `unit_ids`."""
    rows = store.query(
        "cell_scores",
        unit_ids=list(unit_ids),
        explainer_key=model_key(explainer.identity),
        simulator_keys=[model_key(identity) for identity in (simulator.identity, LOOKUP, LINEAR)],
    ).to_pylist()
    found = {(row["unit_id"], row["source"], row["selection"]): row["value"] for row in rows}
    return {
        source: {name: [found.get((unit_id, source, name)) for unit_id in unit_ids] for name in SELECTIONS}
        for source in CELL_SOURCES
    }


def read_cost(
    store: Store, unit_ids: Sequence[int], explainer: ExplainerPlan, simulator: SimulatorPlan, config: RunConfig
) -> dict[str, Cost]:
    """Stage -> what it took. Seconds are those of all calls with these very settings, on whatever units."""
    keys = {"explainer_key": model_key(explainer.identity), "simulator_key": model_key(simulator.identity)}
    calls = store.sql("SELECT stage, config, seconds, peak_memory_bytes FROM runs").to_pylist()
    wanted: dict[str, Callable[[dict[str, Any]], bool]] = {
        "explain": lambda made: is_same(made["explain"], config.explain),
        "simulate": lambda made: (
            is_same(made["explain"], config.explain) and is_same(made["simulate"], config.simulate)
        ),
    }
    costs: dict[str, Cost] = {}
    for row in store.query("cell_costs", unit_ids=list(unit_ids), **keys).to_pylist():
        stage = row.pop("stage")
        own = [call for call in calls if call["stage"] == stage and wanted[stage](json.loads(call["config"]))]
        peaks = [call["peak_memory_bytes"] for call in own if call["peak_memory_bytes"] is not None]
        costs[stage] = Cost(
            **row,
            seconds=sum(call["seconds"] for call in own) if own else None,
            peak_memory_bytes=max(peaks) if peaks else None,
        )
    return costs


def is_same(stored: Any, stage: Any) -> bool:
    """Whether a stage's settings, as the store has them, are these."""
    return canonical_json(stored) == canonical_json(stage)


def read_cell(run: Run, config: RunConfig, explainer: ModelChoice, simulator: ModelChoice) -> Cell:
    """What the store has of the cell; units without a score have None."""
    explain, simulate = plan_explainer(config.explain), plan_simulator(config.simulate)
    cell = read_planned(run, config, explain, simulate, explainer.label, simulator.label)
    return replace(cell, explainer_parameters=count_parameters(model_folder(explainer.name)))


def read_planned(
    run: Run, config: RunConfig, explain: ExplainerPlan, simulate: SimulatorPlan, explainer: str, simulator: str
) -> Cell:
    """The cell of these plans, under these names."""
    units = captured_units(run, config.explain.units, config)
    ids = [unit.unit_id for unit in units]
    costs = read_cost(run.store, ids, explain, simulate, config)
    return Cell(
        explainer=explainer,
        simulator=simulator,
        units=tuple(str(unit.unit) for unit in units),
        layers=tuple(unit.unit.layer for unit in units),
        values=read_values(run.store, ids, explain, simulate),
        explain=costs["explain"],
        simulate=costs["simulate"],
    )
