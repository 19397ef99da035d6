"""A store as large as one likes without any model: for measuring, and trying, what reads a run.

    python -m eval.bench.synthetic_store --out RUN --layers 48 --units-per-layer 6400 --records-per-unit 12

    begin_run ──> models, captures, excerpts
    capture ──> units, records
    explain ──> explanations, stand_ins
    simulate ──> simulations           of the valid records, the activations blurred as badly as the unit is explained
    score ──> scores                   the explanations' correlation is that of these simulations; all else is made up

A second explainer has every SECOND_EVERYth unit, so that there are two series. The same arguments give the same store,
but for what `runs` says of time and memory.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from eval.bench.synthetic_world import (
    FEWEST_RECORDS,
    LENGTH_TOKENS,
    N_DOCUMENTS,
    N_EXCERPTS,
    SECOND_EVERY,
    Drawn,
    World,
    correlate,
    draw_records,
    expected_activations,
    hex_keys,
    lay_out,
    make_world,
    repeated,
    sentences,
    vocabulary,
)
from localexplain.keys import canonical_json, key_of
from localexplain.pipeline.capture import describe_settings
from localexplain.pipeline.capture_rows import excerpt_rows, in_unit_order, kind_rows
from localexplain.pipeline.config import ExplainStage, RunConfig, SimulateStage
from localexplain.pipeline.run import Run, model_key, store_model, timed_stage
from localexplain.pipeline.simulate import LINEAR, LOOKUP
from localexplain.score.correlation import CONSTANT_SIMULATION
from localexplain.simulate.base import SimulateConfig
from localexplain.store.rows import float_lists, int_lists
from localexplain.store.store import open_for_writing
from localexplain.subject.capture_config import CaptureConfig
from localexplain.subject.corpus import CorpusConfig, ExcerptPool
from localexplain.subject.select import NO_EXCERPT, RANDOM_SPLITS, TOP_SPLITS
from localexplain.types import Identity

SUBJECT = Identity(kind="subject", name="synthetic-subject", details=(("made", "up"),))
SIMULATOR = Identity(kind="transformers", name="synthetic-simulator", details=(("simulate.mode", "expected"),))
EXPLAINERS = (
    Identity(kind="transformers", name="synthetic-explainer", details=(("prompt_version", "v1"),)),
    Identity(kind="transformers", name="second-explainer", details=(("prompt_version", "v1"),)),
)
MODE = "expected"
SELECTIONS = ("top_and_random", "random_only")

# rows ----------------------------------------------------------------------------------------------------------------


def unit_rows(world: World, ids: np.ndarray, drawn: Drawn) -> pa.Table:
    layer, index = ids // world.units_per_layer, ids % world.units_per_layer
    n, mean = len(ids), drawn.activations.mean(axis=(1, 2), dtype=np.float64)
    return pa.table(
        {
            "unit_id": pa.array(ids.astype(np.int32)),
            "unit": [f"mlp.{a}:{b}" for a, b in zip(layer, index, strict=True)],
            "basis": repeated("mlp", n),
            "layer": pa.array(layer.astype(np.int32)),
            "unit_index": pa.array(index.astype(np.int32)),
            "status": pa.array(["too_few_active", "ok"]).take(pa.array(world.is_ok(ids).astype(np.int32))),
            "n_tokens": pa.array(np.full(n, N_EXCERPTS * LENGTH_TOKENS, dtype=np.int64)),
            "n_excerpts": pa.array(np.full(n, N_EXCERPTS, dtype=np.int32)),
            "n_active_excerpts": pa.array(world.active[ids].astype(np.int32)),
            "active_token_fraction": world.active[ids] / N_EXCERPTS * 0.05,
            "mean": mean,
            "variance": drawn.activations.var(axis=(1, 2), dtype=np.float64),
            "lowest": drawn.activations.min(axis=(1, 2)).astype(np.float64),
            "highest": drawn.activations.max(axis=(1, 2)).astype(np.float64),
        }
    )


def record_rows(world: World, ids: np.ndarray, drawn: Drawn) -> pa.Table:
    """A unit that is active in too few excerpts has as many top records as it is active in."""
    layout, first = world.layout, int(ids[0])
    top, random, strata = np.split(np.arange(drawn.excerpts.shape[1]), [layout.top, layout.top + layout.random])
    is_there = np.arange(layout.top) < world.active[ids][:, None]
    top_ids = np.where(is_there, drawn.excerpts[:, top], NO_EXCERPT)
    parts = [
        kind_rows("top", top_ids, drawn.activations[:, top], first, TOP_SPLITS),
        kind_rows("random", drawn.excerpts[:, random], drawn.activations[:, random], first, RANDOM_SPLITS),
    ]
    if layout.per_stratum:
        shown = drawn.excerpts[:, strata], drawn.activations[:, strata]
        parts.append(kind_rows("stratum", *shown, first, (None,), layout.per_stratum))
    return in_unit_order(parts)


# stages ---------------------------------------------------------------------------------------------------------------


def begin_run(run: Run, world: World, config: RunConfig) -> None:
    """Models, the capture's row, excerpts."""
    random = np.random.default_rng(world.seed)
    document = np.sort(random.integers(0, N_DOCUMENTS, N_EXCERPTS)).astype(np.int32)
    pool = ExcerptPool(
        token_ids=world.token_ids,
        document=document,
        offset=(np.arange(N_EXCERPTS) - np.searchsorted(document, document)) * LENGTH_TOKENS,
        hashes=random.integers(0, 1 << 63, N_EXCERPTS).astype(np.uint64),
        document_ids=tuple(f"made-up/{place:03}.txt" for place in range(N_DOCUMENTS)),
        n_duplicates=0,
    )
    for identity in (*EXPLAINERS, SIMULATOR, LOOKUP, LINEAR):
        store_model(run.store, identity)
    described = describe_settings(config)
    row = {
        "capture_key": key_of(described, world.n_layers, world.units_per_layer),
        "model_key": store_model(run.store, SUBJECT),
        "corpus": canonical_json(config.corpus),
        "config": canonical_json(described),
        "seed": config.seed,
        "length_tokens": LENGTH_TOKENS,
        "bos_token": None,
        "n_documents": N_DOCUMENTS,
        "n_excerpts": N_EXCERPTS,
        "n_duplicates": 0,
        "layer_sizes": [world.units_per_layer] * world.n_layers,
    }
    run.store.insert("captures", pa.Table.from_pylist([row]))
    run.store.insert("excerpts", excerpt_rows(pool, vocabulary()))


def costs(n: int, prompt: int, generated: int) -> dict[str, pa.Array]:
    numbers = {"prompt_tokens": prompt, "computed_tokens": prompt // 3, "generated_tokens": generated}
    return {name: pa.array(np.full(n, value, dtype=np.int64)) for name, value in numbers.items()}


def capture(run: Run, world: World) -> int:
    """Units and records; returns how many units."""
    for ids in world.chunks():
        drawn = draw_records(world, ids)
        with run.store.transaction():
            run.store.insert("units", unit_rows(world, ids, drawn))
            run.store.insert("records", record_rows(world, ids, drawn))
    return world.n_layers * world.units_per_layer


def explanation_keys(ids: np.ndarray, explainer: int) -> pa.Array:
    return hex_keys("explanation", ids * len(EXPLAINERS) + explainer)


def stand_ins(world: World, explainer: int) -> np.ndarray:
    """[units] the unit whose explanation stands in for each unit's, -1 where there is none."""
    units = np.arange(world.active.size)
    units = units[world.is_ok(units) & world.is_given(units, explainer)]
    others = np.full(world.active.size, -1, dtype=np.int64)
    if units.size > 1:
        others[units] = np.roll(units, units.size // 2)
    return others


def explain(run: Run, world: World, explainer: int) -> int:
    """One explanation of each ok unit, and the stand-ins; returns how many."""
    total = 0
    train = np.flatnonzero(np.arange(world.layout.top) % len(TOP_SPLITS) == TOP_SPLITS.index("train"))
    for chunk in world.chunks():
        places = np.flatnonzero(world.is_ok(chunk) & world.is_given(chunk, explainer))
        ids, n = chunk[places], len(places)
        text = sentences(world.random("explanations", explainer, int(chunk[0])), n)
        shown = draw_records(world, chunk).excerpts[places][:, train]
        rows = {
            "explanation_key": explanation_keys(ids, explainer),
            "unit_id": pa.array(ids.astype(np.int32)),
            "explainer_key": repeated(model_key(EXPLAINERS[explainer]), n),
            "sample": pa.array(np.zeros(n, dtype=np.int32)),
            "text": text,
            "prompt": repeated("made up", n),
            "raw": text,
            "excerpt_ids": int_lists(shown.astype(np.int32)),
            **costs(n, 900, 12),
        }
        run.store.insert("explanations", pa.table(rows))
        total += n
    others = stand_ins(world, explainer)
    own = np.flatnonzero(others >= 0)
    pairs = {"explanation_key": explanation_keys(own, explainer), "other_key": explanation_keys(others[own], explainer)}
    run.store.insert("stand_ins", pa.table(pairs))
    return total


def simulate(run: Run, world: World, explainer: int) -> np.ndarray:
    """Simulations of the valid records of explained units; returns the correlations [units, selections], NaN where
    there is none."""
    valid = world.layout.valid
    is_random = valid >= world.layout.top
    found = np.full((world.active.size, len(SELECTIONS)), np.nan)
    for chunk in world.chunks():
        places = np.flatnonzero(world.is_ok(chunk) & world.is_given(chunk, explainer))
        ids, n = chunk[places], len(places) * len(valid)
        drawn = draw_records(world, chunk)
        true = drawn.activations[places][:, valid]
        expected = expected_activations(world, ids, true, explainer)
        found[ids, 0] = correlate(true, expected)
        found[ids, 1] = correlate(true[:, is_random], expected[:, is_random])
        numbers = (ids[:, None] * len(EXPLAINERS) + explainer) * len(valid) + np.arange(len(valid))
        rows = {
            "simulation_key": hex_keys("simulation", numbers.ravel()),
            "unit_id": pa.array(np.repeat(ids, len(valid)).astype(np.int32)),
            "excerpt_id": pa.array(drawn.excerpts[places][:, valid].ravel().astype(np.int32)),
            "source": repeated("explanation", n),
            "explanation_key": explanation_keys(np.repeat(ids, len(valid)), explainer),
            "simulator_key": repeated(model_key(SIMULATOR), n),
            "mode": repeated(MODE, n),
            "label_set": repeated("digits", n),
            "expected": float_lists(expected.reshape(n, LENGTH_TOKENS)),
            "label_mass": pa.array(np.full(n, 0.98, dtype=np.float32)),
            **costs(n, 700, 0),
        }
        run.store.insert("simulations", pa.table(rows))
    return found


def score_block(
    world: World,
    ids: np.ndarray,
    about: tuple[str, str, str],
    values: np.ndarray,
    explainer: int | None,
    explained: np.ndarray,
) -> pa.Table:
    """Rows of one source, selection and metric, with NaN among the values where there is none; `explained` [units] are
    the units whose explanations were simulated, -1 for none."""
    source, selection, metric = about
    is_ok, n, n_valid = world.is_ok(ids), len(ids), len(world.layout.valid)
    n_scored = n_valid if selection == "top_and_random" else int((world.layout.valid >= world.layout.top).sum())
    too_few = [f"active in {n_active} excerpts, fewer than {world.layout.top}" for n_active in range(world.layout.top)]
    reason = np.where(is_ok, 0, 1 + world.active[ids])
    values = np.where(is_ok, values, np.nan)
    keys = repeated(None, n)
    if explainer is not None:
        keys = pc.if_else(pa.array(explained >= 0), explanation_keys(explained, explainer), None)
    simulator = {"lookup": LOOKUP, "linear": LINEAR}.get(source, SIMULATOR)
    block = key_of(about, explainer)
    rows = {
        "score_key": hex_keys(f"score {block}", ids + (int(block[:7], 16) << 32)),
        "unit_id": pa.array(ids.astype(np.int32)),
        "source": repeated(source, n),
        "explainer_key": repeated(None if explainer is None else model_key(EXPLAINERS[explainer]), n),
        "explanation_key": keys,
        "simulator_key": repeated(model_key(simulator), n),
        "mode": repeated("control" if source in ("lookup", "linear") else MODE, n),
        "selection": repeated(selection, n),
        "metric": repeated(metric, n),
        "value": pa.array(values, mask=np.isnan(values)),
        "reason": pa.array([CONSTANT_SIMULATION, *too_few]).take(pa.array(reason, mask=~np.isnan(values))),
        "n_tokens": pa.array(np.where(is_ok, n_scored * LENGTH_TOKENS, 0).astype(np.int32)),
        "n_excerpts": pa.array(np.where(is_ok, n_scored, 0).astype(np.int32)),
    }
    return pa.table(rows)


def score(run: Run, world: World, correlations: np.ndarray, explainer: int) -> int:
    """The scores of one explainer, with the first one's those of the controls that need none; returns how many."""
    total, others = 0, stand_ins(world, explainer)
    for chunk in world.chunks():
        ids = chunk[world.is_given(chunk, explainer)]
        explained = {"explanation": np.where(world.is_ok(ids), ids, -1), "shuffled": others[ids]}
        random = world.random("scores", explainer, int(chunk[0]))
        blocks = []
        for place, selection in enumerate(SELECTIONS):
            own = correlations[ids, place]
            made_up = {
                ("explanation", "correlation"): own,
                ("explanation", "explained_variance"): own * own - 0.02,
                ("explanation", "absolute_deviation_explained"): 0.99 - np.sqrt(1 - own * own),
                ("shuffled", "correlation"): random.normal(0.01, 0.05, len(ids)).clip(-1, 1),
            }
            if explainer == 0:
                made_up |= {
                    ("empty", "correlation"): np.where(random.random(len(ids)) < 0.6, np.nan, 0.02 * own),
                    ("lookup", "correlation"): random.normal(0.2, 0.15, len(ids)).clip(-1, 1),
                    ("linear", "correlation"): random.normal(0.1, 0.1, len(ids)).clip(-1, 1),
                }
            for (source, metric), values in made_up.items():
                about, whose = (source, selection, metric), explainer if source in explained else None
                blocks.append(score_block(world, ids, about, values, whose, explained.get(source, ids)))
        rows = in_unit_order(blocks)
        run.store.insert("scores", rows)
        total += rows.num_rows
    return total


def make_store(folder: Path, n_layers: int, units_per_layer: int, *, records_per_unit: int, seed: int) -> None:
    """Writes a run folder with the store of n_layers x units_per_layer units. Raises ValueError for fewer records than
    FEWEST_RECORDS."""
    world = make_world(n_layers, units_per_layer, lay_out(records_per_unit), seed)
    layout = world.layout
    config = RunConfig(
        subject=SUBJECT.name,
        seed=seed,
        corpus=CorpusConfig(path="made-up", length_tokens=LENGTH_TOKENS),
        capture=CaptureConfig(
            top_k=layout.top, random_excerpts=layout.random, stratum_excerpts=layout.per_stratum, batch_excerpts=32
        ),
        simulate=SimulateStage(simulator=SIMULATOR.name, prompt=SimulateConfig(mode=MODE)),
    )
    with open_for_writing(folder) as store:
        store.connection.execute("SET checkpoint_threshold = '512MB'")  # each one writes indices of millions of keys
        run = Run(folder=folder, store=store)
        begin_run(run, world, config)
        with timed_stage(run, "capture", config) as work:
            work.n_items = capture(run, world)
        for explainer, identity in enumerate(EXPLAINERS):
            units = "all" if explainer == 0 else f"sample:{world.active.size // SECOND_EVERY}"
            asked = replace(config, explain=ExplainStage(explainer=identity.name, units=units))
            with timed_stage(run, "explain", asked) as work:
                work.n_items = explain(run, world, explainer)
            with timed_stage(run, "simulate", asked) as work:
                correlations = simulate(run, world, explainer)
                work.n_items = int(np.isfinite(correlations[:, 0]).sum()) * len(layout.valid)
            with timed_stage(run, "score", asked) as work:
                work.n_items = score(run, world, correlations, explainer)


def main() -> None:
    parser = argparse.ArgumentParser(description="writes a run folder with a made-up store")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--layers", type=int, default=48)
    parser.add_argument("--units-per-layer", type=int, default=6400)
    parser.add_argument("--records-per-unit", type=int, default=FEWEST_RECORDS)
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args()
    make_store(
        wanted.out,
        wanted.layers,
        wanted.units_per_layer,
        records_per_unit=wanted.records_per_unit,
        seed=wanted.seed,
    )


if __name__ == "__main__":
    main()
