"""A release of published neurons -> a run's store, so that every later stage works on the released activations.

    PublishedNeuron ──Import.add──> excerpts, unit, records, explanation, simulations ──a transaction a chunk──> store

The activations are stored as released and never computed again: the release's come from a slightly different activation
function. What a simulation was scored on is the unit's valid split. The token ids are numbers of our own, one for each
token text, since the release has texts alone.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from localexplain.errors import RunError
from localexplain.keys import canonical_json, key_of
from localexplain.pipeline.capture import describe_settings
from localexplain.pipeline.config import RunConfig
from localexplain.pipeline.models import ExplainerPlan, SimulatorPlan
from localexplain.pipeline.reading import find_capture
from localexplain.pipeline.run import Run, store_model, timed_stage
from localexplain.pipeline.simulate import simulation_key
from localexplain.published.records import (
    LAYERS,
    NEURONS,
    LeftOut,
    PublishedExcerpt,
    PublishedNeuron,
    PublishedSimulation,
    Release,
)
from localexplain.score.correlation import Undefined, correlation
from localexplain.store.rows import float_lists, int_lists
from localexplain.types import Identity, Split, Unit

NEURONS_PER_CHUNK = 200  # stored, then committed: what a killed import loses at most
TOP_SPLITS: tuple[Split, ...] = (
    "train",
    "calibration",
    "test",
    "test",
)  # by rank; the valid split is what was simulated
RANDOM_SPLITS: tuple[Split, ...] = ("calibration", "test", "test")
MOST_STRATA = 5
AUTHOR = "gpt-4"


def published_identity(role: str, release: Release) -> Identity:
    """The release's explainer or simulator, as `models` has it."""
    return Identity(kind="published", name=AUTHOR, details=(("release", release), ("role", role)))


def never_loaded() -> Any:
    raise RunError("the published explainer and simulator are not at hand; only what they released is")


def published_explainer(release: Release) -> ExplainerPlan:
    return ExplainerPlan(identity=published_identity("explainer", release), samples=1, load=never_loaded)


def published_simulator(release: Release) -> SimulatorPlan:
    return SimulatorPlan(identity=published_identity("simulator", release), load=never_loaded)


@dataclass(slots=True, eq=False)
class Rows:
    """Rows to be added, by table."""

    excerpts: list[dict[str, Any]] = field(default_factory=list)
    excerpt_ids: list[list[int]] = field(default_factory=list)
    units: list[dict[str, Any]] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)
    activations: list[Any] = field(default_factory=list)
    explanations: list[dict[str, Any]] = field(default_factory=list)
    simulations: list[dict[str, Any]] = field(default_factory=list)
    expected: list[Any] = field(default_factory=list)
    published: list[dict[str, Any]] = field(default_factory=list)


# what the store knows already ----------------------------------------------------------------------------------------


def hash_tokens(tokens: Sequence[str]) -> int:
    """64 bits of the texts, borders included."""
    text = "\x00".join(tokens).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


class Numbers:
    """Excerpts, tokens and units by number: those the store has, and new ones as they come."""

    def __init__(self, run: Run) -> None:
        rows = run.store.sql("SELECT excerpt_id, hash FROM excerpts")
        self.excerpts: dict[int, int] = dict(
            zip(rows.column("hash").to_pylist(), rows.column("excerpt_id").to_pylist(), strict=True)
        )
        rows = run.store.sql("SELECT DISTINCT unnest(tokens) AS token, unnest(token_ids) AS token_id FROM excerpts")
        self.tokens = dict(zip(rows.column("token").to_pylist(), rows.column("token_id").to_pylist(), strict=True))
        self.units = set(run.store.sql("SELECT unit FROM units").column(0).to_pylist())

    def excerpt(self, tokens: tuple[str, ...], release: Release, rows: Rows) -> int:
        """The excerpt's number; a new one gets a row."""
        code = hash_tokens(tokens)
        if code not in self.excerpts:
            self.excerpts[code] = len(self.excerpts)
            rows.excerpts.append(
                {
                    "excerpt_id": self.excerpts[code],
                    "document_id": release,
                    "offset_tokens": 0,
                    "hash": code,
                    "tokens": list(tokens),
                }
            )
            rows.excerpt_ids.append([self.tokens.setdefault(token, len(self.tokens)) for token in tokens])
        return self.excerpts[code]


# one neuron's rows ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Placed:
    """An excerpt of a neuron with what it is for; see Record."""

    excerpt: PublishedExcerpt
    kind: str
    rank: int
    stratum: int | None
    split: Split | None


def place_excerpts(neuron: PublishedNeuron) -> tuple[list[Placed], int]:
    """Every excerpt of the neuron once among top and random, simulated ones in the valid split; and how many stood
    there twice and were dropped."""
    simulated = {sim.tokens for sim in neuron.explanation.simulations} if neuron.explanation else set()
    placed: list[Placed] = []
    seen: set[tuple[str, ...]] = set()
    for kind, excerpts, splits in (("top", neuron.top, TOP_SPLITS), ("random", neuron.random, RANDOM_SPLITS)):
        for rank, excerpt in enumerate(excerpts):
            if excerpt.tokens not in seen:
                split = "valid" if excerpt.tokens in simulated else splits[rank % len(splits)]
                placed.append(Placed(excerpt=excerpt, kind=kind, rank=rank, stratum=None, split=split))
            seen.add(excerpt.tokens)
    n_dropped = len(neuron.top) + len(neuron.random) - len(placed)
    for stratum, excerpts in enumerate(neuron.strata):
        placed += [
            Placed(excerpt=excerpt, kind="stratum", rank=rank, stratum=stratum, split=None)
            for rank, excerpt in enumerate(excerpts)
        ]
    return placed, n_dropped


def find_problem(neuron: PublishedNeuron, length_tokens: int) -> str | None:
    """Why the neuron cannot be stored; None where it can."""
    excerpts = [*neuron.top, *neuron.random, *(excerpt for some in neuron.strata for excerpt in some)]
    if not neuron.top:
        return "has no top excerpts"
    if len(neuron.strata) > MOST_STRATA:
        return f"has {len(neuron.strata)} quantile samples, more than {MOST_STRATA}"
    lengths = {len(excerpt.tokens) for excerpt in excerpts}
    if lengths - {length_tokens}:
        return f"has an excerpt of {min(lengths - {length_tokens})} tokens; those of the run have {length_tokens}"
    assert neuron.explanation is not None
    known = {excerpt.tokens: excerpt.activations for excerpt in (*neuron.random, *neuron.top)}
    for place, simulation in enumerate(neuron.explanation.simulations):
        if simulation.tokens not in known:
            return f"simulation {place} is of an excerpt that the neuron's file does not hold"
        if not np.allclose(known[simulation.tokens], simulation.true, rtol=1e-3, atol=1e-4):
            return f"simulation {place} has other true activations than the neuron's file"
    return None


def recompute(simulations: Sequence[PublishedSimulation]) -> float | Undefined:
    """The score of all tokens of all simulations, concatenated."""
    if not simulations:
        return Undefined(reason="no simulations")
    true = np.concatenate([simulation.true for simulation in simulations])
    return correlation(true, np.concatenate([simulation.expected for simulation in simulations]))


def unit_row(unit: Unit, unit_id: int, neuron: PublishedNeuron, placed: Sequence[Placed]) -> dict[str, Any]:
    """Mean and variance are the release's, where it has them; the rest is over the released excerpts, for nothing else
    is known: the share of active tokens over the random ones."""
    own = np.stack([item.excerpt.activations for item in placed])
    random = own[[item.kind == "random" for item in placed]].astype(np.float64)
    plain = random if random.size else own.astype(np.float64)
    return {
        "unit_id": unit_id,
        "unit": str(unit),
        "basis": unit.basis,
        "layer": unit.layer,
        "unit_index": unit.index,
        "status": "ok",
        "n_tokens": own.size,
        "n_excerpts": len(own),
        "n_active_excerpts": int((own.max(axis=1) > 0).sum()),
        "active_token_fraction": float((plain > 0).mean()),
        "mean": neuron.mean if math.isfinite(neuron.mean) else float(plain.mean()),
        "variance": max(0.0, neuron.variance) if math.isfinite(neuron.variance) else float(plain.var()),
        "lowest": float(own.min()),
        "highest": float(own.max()),
    }


class Import:
    """One call's work: what is known, and the keys that all rows share."""

    def __init__(self, run: Run, release: Release, capture_key: str) -> None:
        self.run, self.release, self.capture_key = run, release, capture_key
        self.numbers = Numbers(run)
        self.explainer_key = store_model(run.store, published_explainer(release).identity)
        self.simulator_key = store_model(run.store, published_simulator(release).identity)

    def add(self, neuron: PublishedNeuron, rows: Rows) -> None:
        """Adds the rows of a neuron that has no problem."""
        assert neuron.explanation is not None
        unit = Unit(basis="mlp", layer=neuron.layer, index=neuron.index)
        unit_id = len(self.numbers.units)
        self.numbers.units.add(str(unit))
        placed, n_dropped = place_excerpts(neuron)
        rows.units.append(unit_row(unit, unit_id, neuron, placed))
        ids: dict[tuple[str, ...], int] = {}
        for item in placed:
            excerpt_id = self.numbers.excerpt(item.excerpt.tokens, self.release, rows)
            ids[item.excerpt.tokens] = excerpt_id
            rows.records.append(
                {
                    "unit_id": unit_id,
                    "excerpt_id": excerpt_id,
                    "kind": item.kind,
                    "rank": item.rank,
                    "stratum": item.stratum,
                    "split": item.split,
                    "maximum": float(item.excerpt.activations.max()),
                }
            )
            rows.activations.append(item.excerpt.activations)
        train = [ids[item.excerpt.tokens] for item in placed if item.split == "train"]
        key = key_of("explanation", self.capture_key, str(unit), self.explainer_key)
        text = neuron.explanation.text
        rows.explanations.append(
            {"explanation_key": key, "unit_id": unit_id, "explainer_key": self.explainer_key, "sample": 0, "text": text,
             "prompt": "", "raw": text, "excerpt_ids": train, **NO_TOKENS}
        )  # fmt: skip
        simulated = {simulation.tokens: simulation for simulation in neuron.explanation.simulations}
        for tokens, simulation in simulated.items():
            rows.simulations.append(
                {
                    "simulation_key": simulation_key(
                        self.capture_key, unit, ids[tokens], "explanation", key, self.simulator_key
                    ),
                    "unit_id": unit_id,
                    "excerpt_id": ids[tokens],
                    "source": "explanation",
                    "explanation_key": key,
                    "simulator_key": self.simulator_key,
                    "mode": "expected",
                    "label_set": "",
                    "label_mass": None,
                    **NO_TOKENS,
                }
            )
            rows.expected.append(simulation.expected)
        found = recompute(neuron.explanation.simulations)
        rows.published.append(
            {
                "unit_id": unit_id,
                "release": self.release,
                "stored_score": neuron.explanation.score,
                "recomputed_score": None if isinstance(found, Undefined) else found,
                "reason": found.reason if isinstance(found, Undefined) else None,
                "n_dropped": n_dropped,
            }
        )


NO_TOKENS = {"prompt_tokens": 0, "computed_tokens": 0, "generated_tokens": 0}  # the release does not say them
COLUMN_TYPES = {
    "excerpt_id": pa.int32(),
    "unit_id": pa.int32(),
    "hash": pa.uint64(),
    "stratum": pa.int32(),
    "label_mass": pa.float32(),
    "stored_score": pa.float64(),
    "recomputed_score": pa.float64(),
    "reason": pa.string(),
}


def as_table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """The rows, columns that may be all empty with their type."""
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    return pa.table({name: pa.array(values, COLUMN_TYPES.get(name)) for name, values in columns.items()})


def store_rows(run: Run, rows: Rows) -> None:
    """All of a chunk together."""
    if not rows.units:
        return
    with run.store.transaction():
        if rows.excerpts:
            ids = int_lists(np.asarray(rows.excerpt_ids, dtype=np.int32))
            run.store.insert("excerpts", as_table(rows.excerpts).append_column("token_ids", ids))
        run.store.insert("units", as_table(rows.units))
        activations = float_lists(np.stack(rows.activations))
        run.store.insert("records", as_table(rows.records).append_column("activations", activations))
        run.store.insert("explanations", as_table(rows.explanations))
        if rows.simulations:
            expected = float_lists(np.stack(rows.expected))
            run.store.insert("simulations", as_table(rows.simulations).append_column("expected", expected))
        run.store.insert("published", as_table(rows.published))


def begin_import(run: Run, release: Release, config: RunConfig) -> str:
    """The key of the run's capture, which is made if there is none. Raises RunError for a run of anything else."""
    described = describe_settings(config) | {"published": release}
    key = key_of(described)
    found = find_capture(run)
    if found is None:
        subject = Identity(kind="subject", name=release, details=(("from", "published"),))
        row = {
            "capture_key": key,
            "model_key": store_model(run.store, subject),
            "corpus": canonical_json(config.corpus),
            "config": canonical_json(described),
            "seed": config.seed,
            "length_tokens": config.corpus.length_tokens,
            "bos_token": None,
            "n_documents": 0,
            "n_excerpts": 0,
            "n_duplicates": 0,
            "layer_sizes": [NEURONS[release]] * LAYERS[release],
        }
        run.store.insert("captures", pa.Table.from_pylist([row]))
    elif found["capture_key"] != key:
        raise RunError(f"{run.folder}: holds another capture or another release; give a new run folder")
    return key


def import_neurons(
    run: Run, release: Release, config: RunConfig, neurons: Iterable[PublishedNeuron | LeftOut]
) -> list[LeftOut]:
    """Stores the neurons that the run does not have yet; returns what was left out, which is stored too.

    Raises RunError when the run holds something else than this release. Doing it again changes nothing.
    """
    capture_key = begin_import(run, release, config)
    work = Import(run, release, capture_key)
    left_out: list[LeftOut] = []

    def usable(items: Iterable[PublishedNeuron | LeftOut]) -> Iterator[PublishedNeuron]:
        for item in items:
            run.watcher.advance(1)
            if isinstance(item, LeftOut):
                left_out.append(item)
                continue
            if item.explanation is None:  # the file that was at fault came before it
                continue
            problem = find_problem(item, config.corpus.length_tokens)
            if problem is not None:
                left_out.append(LeftOut(path=f"{item.layer}/{item.index}", reason=problem))
            elif f"mlp.{item.layer}:{item.index}" not in work.numbers.units:
                yield item

    with timed_stage(run, "capture", config) as done:
        run.watcher.begin("import", None, "neurons")
        stream = usable(neurons)
        while chunk := list(islice(stream, NEURONS_PER_CHUNK)):
            rows = Rows()
            for neuron in chunk:
                work.add(neuron, rows)
            store_rows(run, rows)
            done.n_items += len(chunk)
            run.pause()
        run.watcher.end()
    run.store.execute("count_imported")
    if left_out:
        known = set(run.store.sql("SELECT path FROM left_out").column(0).to_pylist())
        new = {item.path: item for item in left_out if item.path not in known}
        if new:
            run.store.insert(
                "left_out", as_table([{"path": item.path, "reason": item.reason} for item in new.values()])
            )
    return left_out
