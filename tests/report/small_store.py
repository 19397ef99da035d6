"""A run written by hand, with numbers small enough to work out.

Five of twelve units are captured. "namer" explains all of them but mlp.1:3, mlp.0:1 twice; a rule simulates. "writer"
explains two of them, simulated in another mode by another simulator. Correlations, top and random excerpts:

             namer by rule                   writer by model    lookup   linear   shuffled   empty
    mlp.0:0  0.8                             -0.1               0.9      0.3      0.01       none
    mlp.0:1  0.2 and 0.6, so 0.4             0.3                0.7      0.1      none       none
    mlp.1:0  none (constant simulation)                         0.1      none     -0.03      none
    mlp.1:3  none (too few active)                              none     none     none       none
    mlp.1:5  0.0                                                0.5      0.2      0.02       none

Random excerpts only: namer scores mlp.0:0 alone, 0.5; all else has no value.
"""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from localexplain.store.store import Store, open_for_writing

SEED = 7
CONSTANT = "constant simulation"
TOO_FEW = "active in 3 excerpts, fewer than 20"
NOT_CALIBRATED = "no calibration simulations"
UNITS = ("mlp.0:0", "mlp.0:1", "mlp.1:0", "mlp.1:3", "mlp.1:5")
TEXTS = {
    "n0": (0, "namer", 0, "the token ' rain'"),
    "n1a": (1, "namer", 0, "days of the week"),
    "n1b": (1, "namer", 1, "names of <b>days</b> [bold]"),
    "n2": (2, "namer", 0, "nothing in particular"),
    "n4": (4, "namer", 0, "numbers"),
    "w0": (0, "writer", 0, "weather & storms"),
    "w1": (1, "writer", 0, "a week's days"),
}
MODELS = {
    "subject": ("subject", "toy-subject", {"files_sha256": "ab12", "dtype": "float32"}),
    "namer": ("lookup", "namer", {"most_tokens": "5"}),
    "writer": ("transformers", "writer", {}),
    "rule": ("rule", "rule", {}),
    "model": ("transformers", "model", {"simulate.mode": "expected"}),
    "lookup": ("control", "lookup", {}),
    "linear": ("control", "linear", {}),
}
# unit, source, explanation, simulator, mode, value or reason
TOP_AND_RANDOM: list[tuple[int, str, str | None, str, str, float | str]] = [
    (0, "explanation", "n0", "rule", "rule", 0.8),
    (1, "explanation", "n1a", "rule", "rule", 0.2),
    (1, "explanation", "n1b", "rule", "rule", 0.6),
    (2, "explanation", "n2", "rule", "rule", CONSTANT),
    (3, "explanation", None, "rule", "rule", TOO_FEW),
    (4, "explanation", "n4", "rule", "rule", 0.0),
    (0, "explanation", "w0", "model", "expected", -0.1),
    (1, "explanation", "w1", "model", "expected", 0.3),
    (0, "lookup", None, "lookup", "control", 0.9),
    (1, "lookup", None, "lookup", "control", 0.7),
    (2, "lookup", None, "lookup", "control", 0.1),
    (3, "lookup", None, "lookup", "control", TOO_FEW),
    (4, "lookup", None, "lookup", "control", 0.5),
    (0, "linear", None, "linear", "control", 0.3),
    (1, "linear", None, "linear", "control", 0.1),
    (2, "linear", None, "linear", "control", "constant activations"),
    (3, "linear", None, "linear", "control", TOO_FEW),
    (4, "linear", None, "linear", "control", 0.2),
    (0, "shuffled", "n1a", "rule", "rule", 0.01),
    (1, "shuffled", "n0", "rule", "rule", CONSTANT),
    (2, "shuffled", "n4", "rule", "rule", -0.03),
    (3, "shuffled", None, "rule", "rule", TOO_FEW),
    (4, "shuffled", "n2", "rule", "rule", 0.02),
    (0, "empty", None, "rule", "rule", CONSTANT),
    (1, "empty", None, "rule", "rule", CONSTANT),
    (2, "empty", None, "rule", "rule", CONSTANT),
    (3, "empty", None, "rule", "rule", TOO_FEW),
    (4, "empty", None, "rule", "rule", CONSTANT),
    (0, "empty", None, "model", "expected", 0.04),
]
TOKENS = {
    0: ["It", " rain", "\n", "<script>", "  "],
    1: [" rain", " on", "\t", "日本", "&amp;"],
    2: ["\x1b[31m", "a", " b", "c", "d"],
    3: ["e", "f", "g", "h", "i"],
}
# excerpt, kind, rank, stratum, split, activations of mlp.0:0; the highest of all is 4
RECORDS: list[tuple[int, str, int, int | None, str | None, list[float]]] = [
    (0, "top", 0, None, "train", [-1.0, 4.0, 0.0, 2.0, 0.39]),
    (1, "top", 1, None, "valid", [3.0, 0.4, -2.0, 1.2, 0.0]),
    (2, "random", 0, None, "valid", [0.0, 0.0, 1.6, 0.0, 0.0]),
    (3, "stratum", 0, 2, None, [0.0, 0.1, 0.0, 0.0, 0.0]),
]
# excerpt, explanation, simulator, mode, expected
SIMULATIONS: list[tuple[int, str, str, str, list[float]]] = [
    (1, "n0", "rule", "rule", [10.0, 0.0, 0.0, 0.0, 0.0]),
    (2, "n0", "rule", "rule", [0.0, 0.0, 0.0, 0.0, 0.0]),
    (1, "w0", "model", "expected", [5.5, 0.9, 1.0, 0.0, 9.9]),
]


def insert(store: Store, table: str, rows: list[dict[str, Any]]) -> None:
    store.insert(table, pa.Table.from_pylist(rows))


def score_rows() -> list[dict[str, Any]]:
    """Every score of TOP_AND_RANDOM over both selections and all metrics."""
    rows: list[dict[str, Any]] = []
    for number, (unit, source, explanation, simulator, mode, outcome) in enumerate(TOP_AND_RANDOM):
        explainer = "namer" if simulator == "rule" else "writer"
        for selection in ("top_and_random", "random_only"):
            for metric in ("correlation", "explained_variance", "absolute_deviation_explained"):
                value = outcome if (selection, metric) == ("top_and_random", "correlation") else NOT_CALIBRATED
                if (selection, metric) == ("random_only", "correlation"):
                    value = 0.5 if explanation == "n0" and source == "explanation" else CONSTANT
                if explanation == "n0" and source == "explanation" and metric == "explained_variance":
                    value = 0.25
                is_number = isinstance(value, float)
                row = {
                    "score_key": f"{number} {selection} {metric}",
                    "unit_id": unit,
                    "source": source,
                    "explainer_key": explainer if source in ("explanation", "shuffled") else None,
                    "explanation_key": explanation,
                    "simulator_key": simulator,
                    "mode": mode,
                    "selection": selection,
                    "metric": metric,
                    "value": value if is_number else None,
                    "reason": None if is_number else value,
                    "n_tokens": 10,
                    "n_excerpts": 2,
                }
                rows.append(row)
    return rows


def write_capture(store: Store) -> None:
    """Models, capture, excerpts, units and records."""
    insert(
        store,
        "models",
        [
            {"model_key": key, "kind": kind, "name": name, "details": json.dumps(details)}
            for key, (kind, name, details) in MODELS.items()
        ],
    )
    capture = {
        "capture_key": "c",
        "model_key": "subject",
        "corpus": json.dumps({"path": "texts", "bos": "auto", "length_tokens": 5}),
        "config": json.dumps({"capture settings": {"top_k": 20}, "seed": SEED}),
        "seed": SEED,
        "length_tokens": 5,
        "bos_token": 1,
        "n_documents": 2,
        "n_excerpts": 4,
        "n_duplicates": 0,
        "layer_sizes": [4, 8],
    }
    insert(store, "captures", [capture])
    excerpts = [
        {
            "excerpt_id": excerpt,
            "document_id": "a <b> file.txt",
            "offset_tokens": 5 * excerpt,
            "hash": excerpt,
            "token_ids": list(range(5)),
            "tokens": tokens,
        }
        for excerpt, tokens in TOKENS.items()
    ]
    insert(store, "excerpts", excerpts)
    units = [
        {
            "unit_id": number,
            "unit": unit,
            "basis": "mlp",
            "layer": int(unit[4]),
            "unit_index": int(unit[6:]),
            "status": "too_few_active" if number == 3 else "ok",
            "n_tokens": 20,
            "n_excerpts": 4,
            "n_active_excerpts": 3,
            "active_token_fraction": 0.35,
            "mean": 0.5,
            "variance": 2.25,
            "lowest": -2.0,
            "highest": 4.0,
        }
        for number, unit in enumerate(UNITS)
    ]
    insert(store, "units", units)
    records = [
        {
            "unit_id": 0,
            "excerpt_id": excerpt,
            "kind": kind,
            "rank": rank,
            "stratum": stratum,
            "split": split,
            "maximum": max(activations),
            "activations": activations,
        }
        for excerpt, kind, rank, stratum, split, activations in RECORDS
    ]
    insert(store, "records", records)


def write_results(store: Store) -> None:
    """Explanations, simulations, scores, a failure, and the stages that made them."""
    costs = {"prompt_tokens": 100, "computed_tokens": 10, "generated_tokens": 1}
    explanations = [
        {
            "explanation_key": key,
            "unit_id": unit,
            "explainer_key": explainer,
            "sample": sample,
            "text": text,
            "prompt": "",
            "raw": text,
            "excerpt_ids": [0],
            **costs,
        }
        for key, (unit, explainer, sample, text) in TEXTS.items()
    ]
    insert(store, "explanations", explanations)
    simulations = [
        {
            "simulation_key": f"s{number}",
            "unit_id": 0,
            "excerpt_id": excerpt,
            "source": "explanation",
            "explanation_key": explanation,
            "simulator_key": simulator,
            "mode": mode,
            "label_set": "",
            "expected": expected,
            "label_mass": None,
            **costs,
        }
        for number, (excerpt, explanation, simulator, mode, expected) in enumerate(SIMULATIONS)
    ]
    insert(store, "simulations", simulations)
    insert(store, "scores", score_rows())
    failure = {"failure_key": "f", "stage": "explain", "unit_id": 3, "excerpt_id": None, "reason": "no [b] answer"}
    insert(store, "failures", [{**failure, **costs}])
    stages = [("capture", 60.0, "1.0"), ("score", 1.5, "1.0"), ("score", 0.5, "1.1")]
    runs = [
        {
            "run_id": number,
            "stage": stage,
            "started_at": datetime(2026, 1, 2, 3, 4, number),
            "seconds": seconds,
            "config": json.dumps({"seed": SEED, "explain": {"units": "all"}}),
            "versions": json.dumps({"torch": torch, "duckdb": "2.0"}),
            "n_items": 9,
        }
        for number, (stage, seconds, torch) in enumerate(stages)
    ]
    insert(store, "runs", runs)


def write_small_store(folder: Path, with_results: bool = True) -> Path:
    """The run folder; `with_results` False leaves it as it is after the capture stage."""
    with open_for_writing(folder) as store:
        write_capture(store)
        if with_results:
            write_results(store)
    return folder
