"""Stage 3: explanations -> simulations, and the controls' predictions beside them.

For every explained unit: its explanation on the valid records (and the calibration ones), another unit's explanation,
the empty one, a token lookup table built on records that are not scored, and the token-linear prediction.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float32

from localexplain.errors import RunError
from localexplain.keys import canonical_json, key_of
from localexplain.pipeline.config import RunConfig
from localexplain.pipeline.models import ExplainerPlan, SimulatorPlan
from localexplain.pipeline.reading import (
    CapturedUnit,
    KnownKeys,
    captured_units,
    forget_failures,
    read_records,
    require_capture,
    tried_keys,
)
from localexplain.pipeline.run import Run, chunks, model_key, store_model, timed_stage
from localexplain.pipeline.used import used_model
from localexplain.score.controls import LookupTable, select_unscored, shuffle_explanations
from localexplain.simulate.base import Simulator
from localexplain.store.rows import float_lists
from localexplain.types import Identity, Mode, Record, SimulateReply, SimulateTask, Source, TokenCounts, Unit

if TYPE_CHECKING:
    from localexplain.subject.model import Subject

UNITS_PER_CHUNK = 32  # simulated, then committed: what a killed run loses at most
LOOKUP = Identity(kind="control", name="lookup", details=(("version", "1"),))
LINEAR = Identity(kind="control", name="linear", details=(("version", "1"),))
ALL_SPLITS = ("none", "train", "calibration", "valid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An explanation as the store has it."""

    key: str
    unit_id: int
    sample: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Item:
    """A simulation to make: of one of the unit's records, from `explanation` or by a control."""

    key: str
    unit_id: int
    source: Source
    excerpt_id: int
    explanation: Stored | None
    simulator: Identity


def simulation_key(
    capture_key: str, unit: Unit, excerpt_id: int, source: Source, explanation_key: str | None, simulator_key: str
) -> str:
    """The key of a row of `simulations`."""
    return key_of("simulation", capture_key, str(unit), excerpt_id, source, explanation_key, simulator_key)


def as_stored(row: dict[str, Any]) -> Stored:
    return Stored(key=row["explanation_key"], unit_id=row["unit_id"], sample=row["sample"], text=row["text"])


def choose_stand_ins(stored: Sequence[Stored], paired: Mapping[str, Stored], seed: int) -> dict[str, Stored]:
    """explanation key -> another unit's explanation, of the same sample, for those that are not among `paired`; none
    where there is no other explanation."""
    chosen: dict[str, Stored] = {}
    for sample in sorted({item.sample for item in stored}):
        group = [item for item in stored if item.sample == sample]
        fresh = [item for item in group if item.key not in paired]
        if len(fresh) > 1:
            order = shuffle_explanations([item.text for item in fresh], seed)
            chosen |= {item.key: fresh[place] for item, place in zip(fresh, order, strict=True)}
        elif fresh and len(group) > 1:  # nobody else is without a stand-in: take one from all
            others = [item for item in group if item.key != fresh[0].key]
            chosen[fresh[0].key] = others[int(fresh[0].key, 16) % len(others)]
    return chosen


class Plan:
    """What the simulate stage will do, without any model loaded."""

    def __init__(self, run: Run, explainer: ExplainerPlan, simulator: SimulatorPlan, config: RunConfig) -> None:
        self.run, self.config, self.simulator = run, config, simulator
        self.explainer_key = model_key(explainer.identity)
        self.capture_key = require_capture(run)["capture_key"]
        self.units = captured_units(run, config.explain.units, config)
        ids = [unit.unit_id for unit in self.units]
        rows = run.store.query("explanations_of", explainer_key=self.explainer_key, unit_ids=ids).to_pylist()
        self.stored = [as_stored(row) for row in rows if row["sample"] < explainer.samples]
        self.explanations: dict[int, list[Stored]] = {}
        for item in self.stored:
            self.explanations.setdefault(item.unit_id, []).append(item)
        self.shuffled = self._read_stand_ins() if "shuffled" in config.simulate.controls else {}

    def _read_stand_ins(self) -> dict[str, Stored]:
        """explanation key -> the other unit's explanation that stands in for it."""
        rows = self.run.store.query("stand_ins", explainer_key=self.explainer_key).to_pylist()
        return {row["stands_in_for"]: as_stored(row) for row in rows}

    def add_stand_ins(self) -> None:
        """Gives every explanation that has none its stand-in, all stored together before any is simulated: a run that
        goes on after a kill, or with more units, or with another simulator, keeps them."""
        if "shuffled" not in self.config.simulate.controls:
            return
        chosen = choose_stand_ins(self.stored, self.shuffled, self.config.seed)
        if chosen:
            rows = [{"explanation_key": key, "other_key": other.key} for key, other in chosen.items()]
            with self.run.store.transaction():
                self.run.store.insert("stand_ins", pa.Table.from_pylist(rows))
            self.shuffled |= chosen

    def missing(self, units: Sequence[CapturedUnit], known: KnownKeys) -> list[Item]:
        """The simulations of these units that the store lacks; what it has is what `known` says."""
        found = known(self.run, "simulate", [unit.unit_id for unit in units if unit.too_few is None])
        return [item for item in self.wanted(units) if item.key not in found]

    def wanted(self, units: Sequence[CapturedUnit]) -> list[Item]:
        """All simulations of these units, made or not; a unit with too few active excerpts has none."""
        ids = [unit.unit_id for unit in units if unit.too_few is None]
        bounds = {"unit_ids": ids, "low": min(ids, default=0), "high": max(ids, default=-1)}
        rows = self.run.store.query("scored_excerpts", **bounds).to_pylist()
        excerpts = {row["unit_id"]: row for row in rows}
        return [
            item
            for unit in units
            if unit.unit_id in excerpts
            for item in self._unit_items(unit, excerpts[unit.unit_id]["valid"], excerpts[unit.unit_id]["calibration"])
        ]

    def _unit_items(self, unit: CapturedUnit, valid: Sequence[int], calibration: Sequence[int]) -> list[Item]:
        simulate = self.config.simulate
        shown = [*valid, *(calibration if simulate.calibrate == "linear" else [])]
        model = self.simulator.identity
        items: list[Item] = []
        for explanation in self.explanations.get(unit.unit_id, []):
            items += [self._item(unit, "explanation", excerpt, explanation, model) for excerpt in shown]
            if (other := self.shuffled.get(explanation.key)) is not None:
                items += [self._item(unit, "shuffled", excerpt, other, model) for excerpt in valid]
        controls: tuple[tuple[Source, Identity], ...] = (("empty", model), ("lookup", LOOKUP), ("linear", LINEAR))
        for source, identity in controls:
            if source in simulate.controls:
                items += [self._item(unit, source, excerpt, None, identity) for excerpt in valid]
        return items

    def _item(
        self, unit: CapturedUnit, source: Source, excerpt_id: int, explanation: Stored | None, simulator: Identity
    ) -> Item:
        about = explanation.key if explanation else None
        key = simulation_key(self.capture_key, unit.unit, excerpt_id, source, about, model_key(simulator))
        return Item(
            key=key,
            unit_id=unit.unit_id,
            source=source,
            excerpt_id=excerpt_id,
            explanation=explanation,
            simulator=simulator,
        )


# controls without a language model -----------------------------------------------------------------------------------


def answer(predicted: Float32[np.ndarray, " T"]) -> SimulateReply:
    return SimulateReply(expected=predicted.astype(np.float32))


class Records:
    """The records of a chunk's units, for looking up."""

    def __init__(self, run: Run, unit_ids: Sequence[int]) -> None:
        self.by_unit = read_records(run, unit_ids, ALL_SPLITS)
        self._scored = {
            (unit_id, record.excerpt_id): record
            for unit_id, records in self.by_unit.items()
            for record in records
            if record.split in ("valid", "calibration")
        }

    def of(self, item: Item) -> Record:
        """The record that the item simulates."""
        return self._scored[item.unit_id, item.excerpt_id]


def predict_lookup(records: Records, items: Sequence[Item]) -> list[SimulateReply]:
    """The table of each unit, from its records that are not scored."""
    tables = {
        unit_id: LookupTable.fit(select_unscored(records.by_unit[unit_id])) for unit_id in {i.unit_id for i in items}
    }
    return [answer(tables[item.unit_id].predict(records.of(item).token_ids)) for item in items]


def check_subject(run: Run, subject: "Subject") -> None:
    """Raises RunError when the run's records are from another model; its folder's name may be another."""
    captured = run.store.sql("SELECT details FROM captures JOIN models USING (model_key)").column(0)[0].as_py()
    if captured != canonical_json(dict(subject.identity.details)):
        name = subject.identity.name
        raise RunError(f"{run.folder}: {name} is not the subject that was captured; give that one with --subject")


def predict_linear(subject: "Subject", records: Records, items: Sequence[Item]) -> list[SimulateReply]:
    """Each token's embedding through the norm and into the unit; the context plays no part."""
    import torch

    from localexplain.subject.model import token_linear_weights

    replies: list[SimulateReply | None] = [None] * len(items)
    places: dict[int, list[int]] = {}
    for place, item in enumerate(items):
        places.setdefault(records.of(item).unit.layer, []).append(place)
    for layer, here in places.items():
        shown = {place: records.of(items[place]) for place in here}
        units = sorted({record.unit.index for record in shown.values()})
        tokens = sorted({token for record in shown.values() for token in record.token_ids})
        weights = token_linear_weights(subject, layer, torch.tensor(units), torch.tensor(tokens)).numpy()
        row = {unit: number for number, unit in enumerate(units)}
        for place, record in shown.items():
            replies[place] = answer(weights[row[record.unit.index], np.searchsorted(tokens, record.token_ids)])
    return [reply for reply in replies if reply is not None]


# storing -------------------------------------------------------------------------------------------------------------


def simulation_rows(items: Sequence[Item], replies: Sequence[SimulateReply], mode: Mode) -> pa.Table | None:
    """Rows of `simulations` for the replies that hold a prediction; None when there is none."""
    pairs = [(item, reply) for item, reply in zip(items, replies, strict=True) if reply.expected is not None]
    if not pairs:
        return None
    counts: list[TokenCounts] = [reply.counts for _, reply in pairs]
    return pa.table(
        {
            "simulation_key": [item.key for item, _ in pairs],
            "unit_id": pa.array([item.unit_id for item, _ in pairs], pa.int32()),
            "excerpt_id": pa.array([item.excerpt_id for item, _ in pairs], pa.int32()),
            "source": [item.source for item, _ in pairs],
            "explanation_key": pa.array(
                [item.explanation.key if item.explanation else None for item, _ in pairs], pa.string()
            ),
            "simulator_key": [model_key(item.simulator) for item, _ in pairs],
            "mode": [mode] * len(pairs),
            "label_set": [reply.label_set for _, reply in pairs],
            "expected": float_lists(np.stack([reply.expected for _, reply in pairs if reply.expected is not None])),
            "label_mass": pa.array([reply.label_mass for _, reply in pairs], pa.float32()),
            "prompt_tokens": [count.prompt for count in counts],
            "computed_tokens": [count.computed for count in counts],
            "generated_tokens": [count.generated for count in counts],
        }
    )


def failure_rows(items: Sequence[Item], replies: Sequence[SimulateReply]) -> list[dict[str, object]]:
    """Rows of `failures` for the others."""
    return [
        {
            "failure_key": item.key,
            "stage": "simulate",
            "unit_id": item.unit_id,
            "excerpt_id": item.excerpt_id,
            "reason": reply.error,
            "prompt_tokens": reply.counts.prompt,
            "computed_tokens": reply.counts.computed,
            "generated_tokens": reply.counts.generated,
        }
        for item, reply in zip(items, replies, strict=True)
        if reply.expected is None
    ]


def store_replies(run: Run, items: Sequence[Item], replies: Sequence[SimulateReply], mode: Mode) -> None:
    rows = simulation_rows(items, replies, mode)
    if rows is not None:
        run.store.insert("simulations", rows)
    if failed := failure_rows(items, replies):
        run.store.insert("failures", pa.Table.from_pylist(failed))


def simulate_items(
    run: Run,
    items: Sequence[Item],
    model: SimulatorPlan,
    simulator: Callable[[], Simulator],
    subject: "Callable[[], Subject]",
) -> None:
    """Makes and stores some units' simulations, all in one transaction. `simulator`, which is that of the plan `model`,
    and `subject` are loaded when first needed."""
    by_model = [item for item in items if item.source in ("explanation", "shuffled", "empty")]
    by_lookup = [item for item in items if item.source == "lookup"]
    by_linear = [item for item in items if item.source == "linear"]
    records = Records(run, sorted({item.unit_id for item in items}))
    tasks = [
        SimulateTask(explanation=item.explanation.text if item.explanation else "", tokens=records.of(item).tokens)
        for item in by_model
    ]
    replies = simulator().simulate(tasks) if tasks else []
    lookups = predict_lookup(records, by_lookup) if by_lookup else []
    linears = predict_linear(subject(), records, by_linear) if by_linear else []
    with run.store.transaction():
        forget_failures(run, [item.key for item in items])
        for identity in {item.simulator for item in items}:
            store_model(run.store, identity, model.used if identity == model.identity else None)
        if tasks:
            store_replies(run, by_model, replies, simulator().mode)
        store_replies(run, by_lookup, lookups, "control")
        store_replies(run, by_linear, linears, "control")


def simulate(
    run: Run,
    explainer: ExplainerPlan,
    simulator: SimulatorPlan,
    config: RunConfig,
    known: KnownKeys = tried_keys,
) -> None:
    """Makes the simulations that the store lacks; models are loaded only if there are any.

    known  which items are not to be made: those tried before, or (made_keys) only those that did not fail
    Raises RunError when the capture is not finished, or the subject is not the captured one.
    """
    plan = Plan(run, explainer, simulator, config)
    plan.add_stand_ins()

    @lru_cache(maxsize=1)
    def loaded_simulator() -> Simulator:
        return simulator.load()

    @lru_cache(maxsize=1)
    def loaded_subject() -> "Subject":
        from localexplain.subject.model import load_subject

        folder = used_model(config.subject, "subject").folder
        subject = load_subject(folder, config.capture.dtype, config.capture.device)
        check_subject(run, subject)
        return subject

    with timed_stage(run, "simulate", config) as work:
        run.watcher.begin("simulate", len(plan.units), "units")
        try:
            for units in chunks(plan.units, UNITS_PER_CHUNK):
                if items := plan.missing(units, known):
                    simulate_items(run, items, simulator, loaded_simulator, loaded_subject)
                    work.n_items += len(items)
                run.watcher.advance(len(units))
                run.pause()
            run.watcher.end()
        finally:
            if loaded_simulator.cache_info().currsize:
                loaded_simulator().close()
