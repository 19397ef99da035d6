"""The same from Python, for notebooks: open a run and get its tables; explain, simulate and score as functions.

from localexplain import api as lx

with lx.open_run("demo-run") as run:
    best = run.sql("SELECT unit, score FROM explained ORDER BY score DESC NULLS LAST LIMIT 5").to_pandas()
    train, valid = run.records("mlp.3:127", "train"), run.records("mlp.3:127", "valid")
text = lx.explain(train, lx.load_explainer("lookup")).text
replies = lx.simulate(text, valid, lx.load_simulator("rule"))
for result in lx.score(valid, replies):
    print(result.selection, result.score.metric, result.score.value)

What loads a model settles first that its libraries stay off the network (see localexplain.offline). A library that is
imported before has read its switches by then: call `localexplain.offline.settle_offline(os.environ)` ahead of it.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from localexplain.errors import RunError, UserError
from localexplain.explain.base import Explainer
from localexplain.explain.language_model import ExplainConfig
from localexplain.offline import settle_offline
from localexplain.pipeline.config import EngineConfig, ExplainStage, RunConfig, SimulateStage
from localexplain.pipeline.main import run_stages
from localexplain.pipeline.models import plan_explainer, plan_simulator
from localexplain.pipeline.reading import read_records
from localexplain.pipeline.run import Run
from localexplain.score.unit import ScoredExcerpt, UnitScore, score_unit
from localexplain.simulate.base import SimulateConfig, Simulator
from localexplain.store.store import Store, open_for_reading, open_for_writing, query_rows
from localexplain.types import ExplainReply, ExplainTask, Record, SimulateReply, SimulateTask, Split, parse_unit

TABLES = (
    "models",
    "captures",
    "runs",
    "excerpts",
    "units",
    "records",
    "explanations",
    "stand_ins",
    "simulations",
    "scores",
    "failures",
)


class OpenRun:
    """A run, read-only. Close it, or use it in a `with` statement: while it is open no other process can write."""

    def __init__(self, store: Store, folder: Path) -> None:
        self._store = store
        self.folder = folder

    def __enter__(self) -> "OpenRun":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        self._store.close()

    def table(self, name: str) -> pa.Table:
        """A whole table of the run, or its view "explained". Raises RunError for another name."""
        if name not in (*TABLES, "explained"):
            raise RunError(f"no table {name!r}; there are: {', '.join(TABLES)} and the view explained")
        return query_rows(self._store, f"SELECT * FROM {name}")

    def sql(self, query: str) -> pa.Table:
        """The rows of a query; `.to_pandas()` makes a data frame of them. Raises RunError when it is not valid."""
        return query_rows(self._store, query)

    def records(self, unit: str, split: Split | None = None) -> tuple[Record, ...]:
        """A unit's records, of one split or (None) all, strata among them. Raises UserError for an unknown unit."""
        if parse_unit(unit) is None:
            raise UserError(f"{unit!r} is no unit; write it as mlp.3:127")
        found = self._store.sql("SELECT unit_id FROM units WHERE unit = $unit", {"unit": unit}).to_pylist()
        if not found:
            raise UserError(f"{unit} is not in this run; `SELECT unit FROM units` lists those that are")
        splits = ["none", "train", "calibration", "valid", "test"] if split is None else [split]
        unit_id = found[0]["unit_id"]
        return tuple(read_records(Run(folder=self.folder, store=self._store), [unit_id], splits)[unit_id])


def open_run(folder: str | Path) -> OpenRun:
    """Opens a run folder. Raises RunError when it is none, StoreLocked while another process writes to it."""
    path = Path(folder)
    return OpenRun(open_for_reading(path), path)


def run(folder: str | Path, config: RunConfig | None = None) -> dict[str, object]:
    """Does what is missing of all four stages and returns the summary that `localexplain run --json` prints."""
    settle_offline(os.environ)
    opened = Run(folder=Path(folder), store=open_for_writing(Path(folder)))
    with opened.store:
        return run_stages(opened, config or RunConfig(), ("capture", "explain", "simulate", "score"))


def load_explainer(model: str, engine: EngineConfig | None = None, prompt: ExplainConfig | None = None) -> Explainer:
    """ "lookup", or a language model from its folder. Close it when done: it holds the model's memory."""
    settle_offline(os.environ)
    stage = ExplainStage(explainer=model, engine=engine or EngineConfig(), prompt=prompt or ExplainConfig())
    return plan_explainer(stage).load()


def load_simulator(model: str, engine: EngineConfig | None = None, prompt: SimulateConfig | None = None) -> Simulator:
    """ "rule", or a language model from its folder (mode "expected" unless `prompt` says otherwise)."""
    settle_offline(os.environ)
    mode = SimulateConfig(mode="rule") if model == "rule" else SimulateConfig()
    stage = SimulateStage(simulator=model, engine=engine or EngineConfig(), prompt=prompt or mode)
    return plan_simulator(stage).load()


def explain(records: Sequence[Record], explainer: Explainer, *, sample: int = 0, seed: int = 0) -> ExplainReply:
    """One explanation of the unit whose train records these are.

    Raises ValueError for no records, and for a record of another split: explaining from what is scored on is cheating.
    """
    if not records:
        raise ValueError("no records to explain from")
    task = ExplainTask(unit=records[0].unit, records=tuple(records), sample=sample, seed=seed)
    return explainer.explain([task])[0]


def simulate(explanation: str | None, records: Sequence[Record], simulator: Simulator) -> list[SimulateReply]:
    """The explanation's predictions on the records' tokens, one reply for each record; their activations are not
    looked at. None (no explanation was made) is refused with ValueError; "" is the empty control."""
    if explanation is None:
        raise ValueError("there is no explanation to simulate; see the reply's error")
    return simulator.simulate([SimulateTask(explanation=explanation, tokens=record.tokens) for record in records])


def as_scored(records: Sequence[Record], replies: Sequence[SimulateReply]) -> list[ScoredExcerpt]:
    return [
        ScoredExcerpt(
            kind="top" if record.kind == "top" else "random",
            true=record.activations,
            predicted=reply.expected,
            error=reply.error,
        )
        for record, reply in zip(records, replies, strict=True)
    ]


def score(
    records: Sequence[Record],
    replies: Sequence[SimulateReply],
    calibration: tuple[Sequence[Record], Sequence[SimulateReply]] | None = None,
) -> tuple[UnitScore, ...]:
    """Every metric over both selections of the records, with a value or a reason.

    calibration  records of the calibration split with their replies; without it the calibrated metrics are None
    """
    fitted = as_scored(*calibration) if calibration else []
    return score_unit(as_scored(records, replies), fitted)
