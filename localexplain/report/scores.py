"""The scores of a series as arrays, for there may be half a million of each kind: one source and one selection is read
at a time, and nothing becomes a Python object for each unit."""

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from jaxtyping import Float64, Int32

from localexplain.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesKeys:
    """Which scores are a series': keys of its models, and the mode."""

    explainer_key: str
    simulator_key: str
    mode: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scores:
    """A series' values of one metric, from one source, over one selection.

    unit_ids  [n] in ascending order: the units that have a value, or a row that says why not
    layers    [n] of these units
    values    [n] means over a unit's samples; NaN where there is none
    """

    source: str
    selection: str
    metric: str
    unit_ids: Int32[np.ndarray, " n"]
    layers: Int32[np.ndarray, " n"]
    values: Float64[np.ndarray, " n"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reasons:
    """Why units have no value from one source over one selection.

    unit_ids  [n] in ascending order: the units without a value
    codes     [n] index into `texts`: few reasons are many units'
    """

    source: str
    selection: str
    unit_ids: Int32[np.ndarray, " n"]
    codes: Int32[np.ndarray, " n"]
    texts: tuple[str, ...]


def as_array(column: pa.ChunkedArray) -> np.ndarray:
    """[rows] of a column without NULL. Not by its to_numpy, which takes half a second to import pandas where it can."""
    found: np.ndarray = np.from_dlpack(column.combine_chunks())
    return found


def query_scores(store: Store, query: str, keys: SeriesKeys, metric: str, source: str, selection: str) -> pa.Table:
    return store.query(
        query,
        metric=metric,
        source=source,
        selection=selection,
        simulator_key=keys.simulator_key,
        mode=keys.mode,
        explainer_key=keys.explainer_key,
    )


def read_scores(store: Store, keys: SeriesKeys, metric: str, source: str, selection: str) -> Scores:
    """Of every unit that has a row; of none where the source was not run."""
    rows = query_scores(store, "report_values", keys, metric, source, selection)
    return Scores(
        source=source,
        selection=selection,
        metric=metric,
        unit_ids=as_array(rows.column("unit_id")),
        layers=as_array(rows.column("layer")),
        values=as_array(rows.column("value")),
    )


def keep_units(scores: Scores, unit_ids: Int32[np.ndarray, " units"]) -> Scores:
    """The scores of those units alone."""
    kept = np.isin(scores.unit_ids, unit_ids)
    if kept.all():
        return scores
    return replace(scores, unit_ids=scores.unit_ids[kept], layers=scores.layers[kept], values=scores.values[kept])


def read_reasons(store: Store, keys: SeriesKeys, scores: Scores) -> Reasons:
    """Why the units of `scores` that have no value have none."""
    rows = query_scores(store, "report_unscored", keys, scores.metric, scores.source, scores.selection)
    unit_ids = as_array(rows.column("unit_id"))
    reasons = rows.column("reason").combine_chunks().dictionary_encode()
    kept = np.isin(unit_ids, scores.unit_ids[np.isnan(scores.values)])
    return Reasons(
        source=scores.source,
        selection=scores.selection,
        unit_ids=unit_ids[kept],
        codes=np.from_dlpack(reasons.indices)[kept],
        texts=tuple(reasons.dictionary.to_pylist()),
    )


def find_reason(reasons: Reasons, unit_id: int) -> str:
    """Why a unit, which must be one of those without a value, has none."""
    text: str = reasons.texts[reasons.codes[np.searchsorted(reasons.unit_ids, unit_id)]]
    return text


def find_values(scores: Scores, layer: int | None = None) -> Float64[np.ndarray, " found"]:
    """The values that there are, of all units or of a layer's."""
    chosen = ~np.isnan(scores.values)
    found: Float64[np.ndarray, " found"] = scores.values[chosen if layer is None else chosen & (scores.layers == layer)]
    return found
