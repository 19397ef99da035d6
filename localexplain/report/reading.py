"""A run as people are shown it, read from the store alone: what it is of, how well it scored, and where.

Scores are told apart by series: one explainer, one simulator, one mode. No number here is over two of them.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from localexplain.errors import RunError
from localexplain.report.columns import Pairs, flatten, merge_versions
from localexplain.score.summary import Summary, summarise
from localexplain.store.store import Store
from localexplain.types import TokenCounts

SOURCES = ("explanation", "lookup", "linear", "shuffled", "empty")  # the order people are shown
SELECTIONS = ("top_and_random", "random_only")
STAGES = ("capture", "explain", "simulate", "score")
CORRELATION = "correlation"
CALIBRATED_METRICS = ("explained_variance", "absolute_deviation_explained")


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A row of `models`: a subject, an explainer, a simulator or a control."""

    key: str
    kind: str
    name: str
    details: Pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """What one column of scores is of; n_units have a score of an explanation, or a row that says why not."""

    explainer: Model
    simulator: Model
    mode: str
    n_units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRun:
    """One time that a stage did work; `started_at` is UTC, `n_items` the rows it added."""

    stage: str
    started_at: datetime
    seconds: float
    n_items: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """What a run is of.

    layer_sizes       units of each layer of the subject, captured or not
    bos_token         the token id the subject read before each excerpt, or None
    corpus, capture   their settings, as (dotted name, value)
    seconds           of each stage, summed over its runs; 0 for one that did not run
    settings          the whole configuration of the newest stage run, as (dotted name, value)
    versions          (package, version); all versions where stages ran with several
    """

    subject: Model
    models: tuple[Model, ...]
    series: tuple[Series, ...]
    seed: int
    length_tokens: int
    bos_token: int | None
    n_documents: int
    n_excerpts: int
    n_duplicates: int
    layer_sizes: tuple[int, ...]
    corpus: Pairs
    capture: Pairs
    n_units: int
    n_too_few_active: int
    n_records: int
    n_explanations: int
    n_simulations: int
    n_failures: int
    tokens: TokenCounts
    seconds: tuple[tuple[str, float], ...]
    stages: tuple[StageRun, ...]
    settings: Pairs
    versions: Pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceScore:
    """The units' values of one metric, from one source, over one selection of excerpts."""

    source: str
    selection: str
    metric: str
    summary: Summary


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerScore:
    """A layer's correlation over one selection: the explanations', and (control, mean or None) beside them."""

    layer: int
    explanation: Summary
    controls: tuple[tuple[str, float | None], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedUnit:
    """A unit, its value (the mean over its samples), or why it has none, and its first explanation, if any."""

    unit: str
    value: float | None
    reason: str | None
    text: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonCount:
    """How many units lack a value of `source` for one reason, over each selection."""

    source: str
    reason: str
    top_and_random: int
    random_only: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesReport:
    """All that is shown of one series. Layers, units and `values` are of the correlation, top_and_random.

    scores      correlation by source and selection, explanation first; a control that was not run is not there
    calibrated  the explanations' other metrics, by selection
    values      of all units whose explanation has a score
    best        highest first;  worst: lowest first;  random: neither of these, drawn by the seed, unscored ones too
    reasons     why units have no correlation: the most frequent first within each source
    """

    series: Series
    scores: tuple[SourceScore, ...]
    calibrated: tuple[SourceScore, ...]
    layers: tuple[LayerScore, ...]
    values: tuple[float, ...]
    best: tuple[RankedUnit, ...]
    worst: tuple[RankedUnit, ...]
    random: tuple[RankedUnit, ...]
    reasons: tuple[ReasonCount, ...]


# the run --------------------------------------------------------------------------------------------------------------


def read_models(store: Store) -> dict[str, Model]:
    """Key -> model."""
    return {
        row["model_key"]: Model(
            key=row["model_key"], kind=row["kind"], name=row["name"], details=flatten(json.loads(row["details"]))
        )
        for row in store.query("report_models").to_pylist()
    }


def read_series(store: Store) -> tuple[Series, ...]:
    """Every explainer, simulator and mode that there are scores of; empty before the score stage."""
    models = read_models(store)
    return tuple(
        Series(
            explainer=models[row["explainer_key"]],
            simulator=models[row["simulator_key"]],
            mode=row["mode"],
            n_units=row["n_units"],
        )
        for row in store.query("report_series").to_pylist()
    )


def read_overview(store: Store) -> Overview:
    """Raises RunError when the store holds no capture."""
    captures = store.query("report_capture").to_pylist()
    if not captures:
        raise RunError(f"{store.path.parent}: nothing is captured in it yet; run `localexplain run` on it")
    capture = captures[0]
    models = read_models(store)
    counts = store.query("counts").to_pylist()[0]
    statuses = {row["status"]: row["n"] for row in store.query("report_statuses").to_pylist()}
    stages = store.query("report_stages").to_pylist()
    settings = json.loads(capture["capture_config"]).get("capture settings", {})
    return Overview(
        subject=models[capture["model_key"]],
        models=tuple(models.values()),
        series=read_series(store),
        seed=capture["seed"],
        length_tokens=capture["length_tokens"],
        bos_token=capture["bos_token"],
        n_documents=capture["n_documents"],
        n_excerpts=capture["n_excerpts"],
        n_duplicates=capture["n_duplicates"],
        layer_sizes=tuple(capture["layer_sizes"]),
        corpus=flatten(json.loads(capture["corpus"])),
        capture=flatten(settings),
        n_units=counts["units"],
        n_too_few_active=statuses.get("too_few_active", 0),
        n_records=counts["records"],
        n_explanations=counts["explanations"],
        n_simulations=counts["simulations"],
        n_failures=counts["failures"],
        tokens=TokenCounts(
            prompt=counts["prompt_tokens"], computed=counts["computed_tokens"], generated=counts["generated_tokens"]
        ),
        seconds=tuple((stage, sum(row["seconds"] for row in stages if row["stage"] == stage)) for stage in STAGES),
        stages=tuple(
            StageRun(stage=row["stage"], started_at=row["started_at"], seconds=row["seconds"], n_items=row["n_items"])
            for row in stages
        ),
        settings=flatten(json.loads(stages[-1]["config"])) if stages else (),
        versions=merge_versions([flatten(json.loads(row["versions"])) for row in stages]),
    )


# scores of a series ---------------------------------------------------------------------------------------------------


def read_scores(store: Store, series: Series, metric: str) -> pa.Table:
    """unit_id, layer, source, selection, value, reason: one row for each unit, source and selection, in that order.
    `value` is the mean over the unit's samples; exactly one of `value` and `reason` is NULL."""
    return store.query(
        "report_scores",
        metric=metric,
        simulator_key=series.simulator.key,
        mode=series.mode,
        explainer_key=series.explainer.key,
    )


def pick(scores: pa.Table, source: str, selection: str) -> pa.Table:
    """The rows of one source and selection."""
    return scores.filter(
        pc.and_(pc.equal(scores.column("source"), source), pc.equal(scores.column("selection"), selection))
    )


def summarise_sources(scores: pa.Table, metric: str, seed: int) -> tuple[SourceScore, ...]:
    """A summary for each source and selection that `scores` has, in the order of SELECTIONS, then SOURCES."""
    tables = {(source, selection): pick(scores, source, selection) for selection in SELECTIONS for source in SOURCES}
    return tuple(
        SourceScore(
            source=source,
            selection=selection,
            metric=metric,
            summary=summarise(table.column("value").to_pylist(), seed),
        )
        for (source, selection), table in tables.items()
        if table.num_rows
    )


def summarise_layers(scores: pa.Table, selection: str, seed: int) -> tuple[LayerScore, ...]:
    """Each layer that has units in `scores`, in order, with the controls that were run."""
    tables = {source: pick(scores, source, selection) for source in SOURCES}
    controls = [source for source in SOURCES[1:] if tables[source].num_rows]

    def values_in(source: str, layer: int) -> list[float | None]:
        table = tables[source]
        values: list[float | None] = table.filter(pc.equal(table.column("layer"), layer)).column("value").to_pylist()
        return values

    def mean_in(source: str, layer: int) -> float | None:
        present = [value for value in values_in(source, layer) if value is not None]
        return float(np.mean(present)) if present else None

    return tuple(
        LayerScore(
            layer=layer,
            explanation=summarise(values_in("explanation", layer), seed),
            controls=tuple((source, mean_in(source, layer)) for source in controls),
        )
        for layer in sorted(set(tables["explanation"].column("layer").to_pylist()))
    )


def count_reasons(scores: pa.Table) -> tuple[ReasonCount, ...]:
    """Why units have no value; the counts of a source over a selection add up to its unscored units there."""
    missing = scores.filter(pc.is_valid(scores.column("reason"))).select(["source", "reason", "selection"]).to_pylist()
    counted = Counter((row["source"], row["reason"], row["selection"]) for row in missing)
    pairs = {(source, reason) for source, reason, _ in counted}
    reasons = [
        ReasonCount(
            source=source,
            reason=reason,
            top_and_random=counted[source, reason, "top_and_random"],
            random_only=counted[source, reason, "random_only"],
        )
        for source, reason in pairs
    ]

    def order(item: ReasonCount) -> tuple[int, int, str]:
        return SOURCES.index(item.source), -(item.top_and_random + item.random_only), item.reason

    return tuple(sorted(reasons, key=order))


# which units are shown ------------------------------------------------------------------------------------------------


def split_ends(n: int, n_best: int, n_worst: int) -> tuple[int, int]:
    """How many of n ranked units are shown as best and as worst, none as both; too few are shared out evenly.

    >>> split_ends(100, 5, 5), split_ends(7, 5, 5), split_ends(3, 5, 0)
    ((5, 5), (4, 3), (3, 0))
    """
    if n >= n_best + n_worst:
        return n_best, n_worst
    best = min(n_best, max(n - n_worst, -(-n // 2)))
    return best, min(n_worst, n - best)


def random_order(unit_id: int, seed: int) -> str:
    """A key that puts units in an order drawn by the seed."""
    return hashlib.blake2b(f"{seed} {unit_id}".encode(), digest_size=8).hexdigest()


def read_ranked(store: Store, series: Series, rows: Sequence[dict[str, Any]]) -> tuple[RankedUnit, ...]:
    """Rows of `read_scores`, in their order, with the units' names and texts."""
    if not rows:
        return ()
    found = store.query(
        "report_first_texts",
        explainer_key=series.explainer.key,
        unit_ids=[row["unit_id"] for row in rows],
    ).to_pylist()
    by_id = {row["unit_id"]: row for row in found}
    return tuple(
        RankedUnit(
            unit=by_id[row["unit_id"]]["unit"],
            value=row["value"],
            reason=row["reason"],
            text=by_id[row["unit_id"]]["text"],
        )
        for row in rows
    )


def read_series_report(
    store: Store, series: Series, seed: int, *, n_best: int = 5, n_worst: int = 5, n_random: int = 0
) -> SeriesReport:
    """Everything about one series; the same for the same store and seed."""
    scores = read_scores(store, series, CORRELATION)
    calibrated = {metric: read_scores(store, series, metric) for metric in CALIBRATED_METRICS}
    rows = pick(scores, "explanation", "top_and_random").to_pylist()
    ranked = sorted((row for row in rows if row["value"] is not None), key=lambda row: -row["value"])
    best, worst = split_ends(len(ranked), n_best, n_worst)
    ends = {row["unit_id"] for row in (*ranked[:best], *ranked[len(ranked) - worst :])}
    others = sorted(
        (row for row in rows if row["unit_id"] not in ends), key=lambda row: random_order(row["unit_id"], seed)
    )
    return SeriesReport(
        series=series,
        scores=summarise_sources(scores, CORRELATION, seed),
        calibrated=tuple(
            item
            for metric, table in calibrated.items()
            for item in summarise_sources(table, metric, seed)
            if item.source == "explanation"
        ),
        layers=summarise_layers(scores, "top_and_random", seed),
        values=tuple(row["value"] for row in ranked),
        best=read_ranked(store, series, ranked[:best]),
        worst=read_ranked(store, series, ranked[len(ranked) - worst :][::-1]),
        random=read_ranked(store, series, others[:n_random]),
        reasons=count_reasons(scores),
    )
