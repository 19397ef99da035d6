"""A run as people are shown it, read from the store alone: what it is of, how well it scored, and where.

Scores are told apart by series: one explainer, one simulator, one mode. No number here is over two of them.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from localexplain.errors import RunError
from localexplain.report.columns import Pairs, flatten, merge_versions
from localexplain.report.ranking import draw_places, rank_places, split_ends
from localexplain.report.scores import (
    Reasons,
    Scores,
    SeriesKeys,
    find_reason,
    find_values,
    keep_units,
    read_reasons,
    read_scores,
)
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


def keys_of(series: Series) -> SeriesKeys:
    return SeriesKeys(explainer_key=series.explainer.key, simulator_key=series.simulator.key, mode=series.mode)


def read_sources(store: Store, series: Series, metric: str, controls: Sequence[str] = ()) -> tuple[Scores, ...]:
    """The explanations' scores and those of `controls` for the same units, over both selections, in the order of
    SELECTIONS, then as given."""
    keys = keys_of(series)
    own = {selection: read_scores(store, keys, metric, "explanation", selection) for selection in SELECTIONS}
    explained = np.unique(np.concatenate([scores.unit_ids for scores in own.values()]))
    found: list[Scores] = []
    for selection, scores in own.items():
        others = [keep_units(read_scores(store, keys, metric, source, selection), explained) for source in controls]
        found += [scores, *others]
    return tuple(found)


def summarise_sources(scores: Iterable[Scores], seed: int) -> tuple[SourceScore, ...]:
    """A summary of each of `scores` that has units, in their order."""
    return tuple(
        SourceScore(
            source=item.source,
            selection=item.selection,
            metric=item.metric,
            summary=summarise(values, seed, unscored=item.values.size - values.size),
        )
        for item, values in ((item, find_values(item)) for item in scores)
        if item.values.size
    )


def summarise_layers(scores: Iterable[Scores], selection: str, seed: int) -> tuple[LayerScore, ...]:
    """Each layer that has explained units, in order, with the controls that were run; `scores` are of one metric."""
    by_source = {item.source: item for item in scores if item.selection == selection and item.values.size}
    own = by_source.pop("explanation", None)
    if own is None:
        return ()

    def mean_in(source: str, layer: int) -> float | None:
        values = find_values(by_source[source], layer)
        return float(np.mean(values)) if values.size else None

    def summarise_layer(layer: int, n_units: int) -> LayerScore:
        values = find_values(own, layer)
        return LayerScore(
            layer=layer,
            explanation=summarise(values, seed, unscored=n_units - values.size),
            controls=tuple((source, mean_in(source, layer)) for source in by_source),
        )

    layers, sizes = np.unique(own.layers, return_counts=True)
    return tuple(summarise_layer(layer, n) for layer, n in zip(layers.tolist(), sizes.tolist(), strict=True))


def count_reasons(reasons: Iterable[Reasons]) -> tuple[ReasonCount, ...]:
    """Why units have no value; the counts of a source over a selection add up to its unscored units there."""
    counted: Counter[tuple[str, str, str]] = Counter()
    for item in reasons:
        for code, n in zip(*np.unique(item.codes, return_counts=True), strict=True):
            counted[item.source, item.texts[code], item.selection] += int(n)
    counts = [
        ReasonCount(
            source=source,
            reason=reason,
            top_and_random=counted[source, reason, "top_and_random"],
            random_only=counted[source, reason, "random_only"],
        )
        for source, reason in {(source, reason) for source, reason, _ in counted}
    ]

    def order(item: ReasonCount) -> tuple[int, int, str]:
        return SOURCES.index(item.source), -(item.top_and_random + item.random_only), item.reason

    return tuple(sorted(counts, key=order))


# all of it ------------------------------------------------------------------------------------------------------------


def read_ranked(
    store: Store, series: Series, scores: Scores, reasons: Reasons, places: Sequence[int]
) -> tuple[RankedUnit, ...]:
    """The units at `places` of `scores`, in that order, with their names and texts."""
    if not places:
        return ()
    unit_ids = scores.unit_ids[list(places)].tolist()
    found = store.query("report_first_texts", explainer_key=series.explainer.key, unit_ids=unit_ids).to_pylist()
    by_id = {row["unit_id"]: row for row in found}

    def rank(unit_id: int, value: float) -> RankedUnit:
        is_scored = not math.isnan(value)
        reason = None if is_scored else find_reason(reasons, unit_id)
        row = by_id[unit_id]
        return RankedUnit(unit=row["unit"], value=value if is_scored else None, reason=reason, text=row["text"])

    return tuple(map(rank, unit_ids, scores.values[list(places)].tolist()))


def read_series_report(
    store: Store, series: Series, seed: int, *, n_best: int = 5, n_worst: int = 5, n_random: int = 0
) -> SeriesReport:
    """Everything about one series; the same for the same store and seed."""
    scores = read_sources(store, series, CORRELATION, SOURCES[1:])
    calibrated = [item for metric in CALIBRATED_METRICS for item in read_sources(store, series, metric)]
    reasons = [read_reasons(store, keys_of(series), item) for item in scores]
    own = scores[0]
    ranked = rank_places(own.values)
    best, worst = split_ends(len(ranked), n_best, n_worst)
    first, last = ranked[:best], ranked[len(ranked) - worst :][::-1]
    drawn = draw_places(own.unit_ids, [*first, *last], n_random, seed)
    return SeriesReport(
        series=series,
        scores=summarise_sources(scores, seed),
        calibrated=summarise_sources(calibrated, seed),
        layers=summarise_layers(scores, own.selection, seed),
        values=tuple(own.values[ranked].tolist()),
        best=read_ranked(store, series, own, reasons[0], first),
        worst=read_ranked(store, series, own, reasons[0], last),
        random=read_ranked(store, series, own, reasons[0], drawn),
        reasons=count_reasons(reasons),
    )
