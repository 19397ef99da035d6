"""A store as large as GPT-2 XL's: every unit's 20 top records of 64 tokens, written the way capture writes them, then
read as `show` and the report read it.

The activations are made up: a log-normal level for each unit, mostly near zero, a few tokens high, kept to the 11 bits
of float16 as captured ones are. What is made up is made in the same process, so it counts towards the peak.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from common import peak_bytes, run_part, say

LAYERS, UNITS_A_LAYER = 48, 6400
TOP_K, LENGTH_TOKENS, EXCERPTS = 20, 64, 50_000
UNITS_A_CHUNK = 4000  # 80,000 records, as capture's commits of at most 200,000
READS = 50


def made_up_activations(random: np.random.Generator, n_units: int) -> np.ndarray:
    """[units * TOP_K, LENGTH_TOKENS] float32."""
    level = np.exp(random.normal(0, 0.5, (n_units * TOP_K, 1)))
    quiet = random.normal(-0.08, 0.06, (n_units * TOP_K, LENGTH_TOKENS))
    fires = random.random(quiet.shape) < 0.06
    loud = np.where(fires, random.gamma(2.0, 1.0, quiet.shape) * level, quiet)
    return loud.astype(np.float16).astype(np.float32)


def unit_rows(layer: int, first: int, n_units: int, random: np.random.Generator) -> pa.Table:
    """Rows of `units`."""
    indices = np.arange(first, first + n_units)
    ids = layer * UNITS_A_LAYER + indices
    return pa.table(
        {
            "unit_id": pa.array(ids.astype(np.int32)),
            "unit": [f"mlp.{layer}:{index}" for index in indices],
            "basis": ["mlp"] * n_units,
            "layer": pa.array([layer] * n_units, pa.int32()),
            "unit_index": pa.array(indices.astype(np.int32)),
            "status": ["ok"] * n_units,
            "n_tokens": pa.array([EXCERPTS * LENGTH_TOKENS] * n_units, pa.int64()),
            "n_excerpts": pa.array([EXCERPTS] * n_units, pa.int32()),
            "n_active_excerpts": pa.array([EXCERPTS] * n_units, pa.int32()),
            "active_token_fraction": random.random(n_units),
            "mean": random.normal(0, 0.1, n_units),
            "variance": random.random(n_units),
            "lowest": np.full(n_units, -0.17),
            "highest": random.gamma(3.0, 2.0, n_units),
        }
    )


def score_rows(units: pa.Table, random: np.random.Generator) -> pa.Table:
    """Rows of `scores`: the correlation of the lookup control in both selections; a tenth has none."""
    n = units.num_rows * 2
    values = random.normal(0.15, 0.18, n).clip(-1, 1)
    missing = random.random(n) < 0.1
    unit_ids = np.repeat(units.column("unit_id").to_numpy(), 2)
    return pa.table(
        {
            "score_key": [f"{unit_id}.{place % 2}" for place, unit_id in enumerate(unit_ids)],
            "unit_id": pa.array(unit_ids),
            "source": ["lookup"] * n,
            "simulator_key": ["control"] * n,
            "mode": ["control"] * n,
            "selection": ["top_and_random", "random_only"] * units.num_rows,
            "metric": ["correlation"] * n,
            "value": pa.array(values, mask=missing),
            "reason": pa.array(["constant simulation" if gone else None for gone in missing], pa.string()),
            "n_tokens": pa.array([640, 320] * units.num_rows, pa.int32()),
            "n_excerpts": pa.array([10, 5] * units.num_rows, pa.int32()),
        }
    )


def chunks(n_layers: int) -> Iterator[tuple[int, int, int]]:
    """(layer, first unit, units)."""
    for layer in range(n_layers):
        for first in range(0, UNITS_A_LAYER, UNITS_A_CHUNK):
            yield layer, first, min(UNITS_A_CHUNK, UNITS_A_LAYER - first)


def write(folder: Path, n_layers: int) -> float:
    """Writes the store; returns the seconds it took, without those it took to make the numbers up."""
    from localexplain.pipeline.capture_rows import in_unit_order, kind_rows
    from localexplain.store.store import open_for_writing
    from localexplain.subject.select import TOP_SPLITS

    random = np.random.default_rng(0)
    seconds = 0.0
    with open_for_writing(folder) as store:
        tokens = [f"t{index}" for index in range(LENGTH_TOKENS)]
        excerpts = {
            "excerpt_id": pa.array(np.arange(EXCERPTS, dtype=np.int32)),
            "document_id": pa.array(["text"] * EXCERPTS),
            "offset_tokens": pa.array(np.arange(EXCERPTS, dtype=np.int64) * LENGTH_TOKENS),
            "hash": pa.array(np.arange(EXCERPTS, dtype=np.uint64)),
            "token_ids": pa.array([list(range(LENGTH_TOKENS))] * EXCERPTS, pa.list_(pa.int32())),
            "tokens": pa.array([tokens] * EXCERPTS),
        }
        store.insert("excerpts", pa.table(excerpts))
        model = {"model_key": "control", "kind": "control", "name": "lookup", "details": "{}"}
        store.insert("models", pa.Table.from_pylist([model]))
        for layer, first, n_units in chunks(n_layers):
            ids = random.integers(0, EXCERPTS - TOP_K, (n_units, 1)) + np.arange(TOP_K)
            activations = made_up_activations(random, n_units).reshape(n_units, TOP_K, LENGTH_TOKENS)
            units = unit_rows(layer, first, n_units, random)
            scores = score_rows(units, random)
            began = time.perf_counter()
            rows = kind_rows("top", ids, activations, layer * UNITS_A_LAYER + first, TOP_SPLITS)
            with store.transaction():
                store.insert("units", units)
                store.insert("records", in_unit_order([rows]))
                store.insert("scores", scores)
            seconds += time.perf_counter() - began
            if first == 0:
                say(f"store: layer {layer + 1} of {n_layers}, {seconds:.0f} s")
        began = time.perf_counter()
    return seconds + time.perf_counter() - began  # closing writes what is still in the log


def read_times(folder: Path, n_units: int) -> dict[str, Any]:
    """Median seconds of reading one unit's records, and of all scores by layer."""
    from localexplain.pipeline.reading import read_records
    from localexplain.pipeline.run import Run
    from localexplain.store.store import open_for_reading

    random = np.random.default_rng(1)
    with open_for_reading(folder) as store:
        run = Run(folder=folder, store=store)
        unit_seconds: list[float] = []
        for unit_id in random.integers(0, n_units, READS):
            began = time.perf_counter()
            records = read_records(run, [int(unit_id)], ["train", "calibration", "valid", "test"])
            unit_seconds.append(time.perf_counter() - began)
            assert len(records[int(unit_id)]) == TOP_K
        layer_seconds: list[float] = []
        for _ in range(READS // 5):
            began = time.perf_counter()
            rows = store.query("score_by_layer", metric="correlation", selection="top_and_random")
            layer_seconds.append(time.perf_counter() - began)
        assert rows.num_rows == n_units // UNITS_A_LAYER
    return {
        "unit_read_seconds": round(statistics.median(unit_seconds), 5),
        "unit_read_seconds_highest": round(max(unit_seconds), 5),
        "unit_reads": READS,
        "layer_scores_seconds": round(statistics.median(layer_seconds), 5),
        "layer_scores_reads": len(layer_seconds),
    }


def measure(quick: bool) -> dict[str, Any]:
    n_layers = 1 if quick else LAYERS
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "run"
        seconds = write(folder, n_layers)
        written = {
            "units": n_layers * UNITS_A_LAYER,
            "records": n_layers * UNITS_A_LAYER * TOP_K,
            "write_seconds": round(seconds, 1),
            "peak_bytes": peak_bytes(),
            "file_bytes": sum(file.stat().st_size for file in folder.iterdir()),
        }
        return {"store": written | read_times(folder, n_layers * UNITS_A_LAYER)}


if __name__ == "__main__":
    run_part(measure)
