"""From what a capture found to rows of the store's tables. Pure.

    ExcerptPool ──excerpt_rows──> excerpts
    LayerState ──unit_rows──> units
    CaptureState ──pick_excerpts──> each unit's excerpts ──kind_rows──> rows of a kind ──in_unit_order──> records

Excerpt ids are [units, examples], NO_EXCERPT where a unit has fewer; those places have no row.
"""

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from jaxtyping import Float32, Int64

from localexplain.store.rows import float_lists, int_lists
from localexplain.subject.corpus import ExcerptPool
from localexplain.subject.select import UnitExcerpts, select_top_and_random
from localexplain.types import Unit

if TYPE_CHECKING:
    from localexplain.subject.capture import CaptureState, LayerState


def excerpt_rows(pool: ExcerptPool, texts: tuple[str, ...]) -> pa.Table:
    """Rows of `excerpts`."""
    vocabulary = pa.array(texts)
    flat = vocabulary.take(pa.array(pool.token_ids.ravel()))
    offsets = np.arange(len(pool) + 1, dtype=np.int32) * pool.token_ids.shape[1]
    return pa.table(
        {
            "excerpt_id": pa.array(np.arange(len(pool), dtype=np.int32)),
            "document_id": pa.array(pool.document_ids).take(pa.array(pool.document)),
            "offset_tokens": pa.array(pool.offset),
            "hash": pa.array(pool.hashes),
            "token_ids": int_lists(pool.token_ids),
            "tokens": pa.ListArray.from_arrays(pa.array(offsets), flat),
        }
    )


def unit_rows(layer: "LayerState", first_id: int, n_excerpts: int, length: int, top_k: int) -> pa.Table:
    """Rows of `units` for one layer. Variance is that of the population, from the sums of values and of squares."""
    n_tokens = n_excerpts * length
    sums, squares = np.split(layer.moments.total(), 2)
    mean = sums / n_tokens
    active = layer.active.cpu().numpy()
    indices = layer.units.cpu().numpy()
    n = len(indices)
    return pa.table(
        {
            "unit_id": pa.array(np.arange(first_id, first_id + n, dtype=np.int32)),
            "unit": [str(Unit(basis="mlp", layer=layer.layer, index=int(index))) for index in indices],
            "basis": ["mlp"] * n,
            "layer": pa.array([layer.layer] * n, pa.int32()),
            "unit_index": pa.array(indices.astype(np.int32)),
            "status": ["ok" if count >= top_k else "too_few_active" for count in active],
            "n_tokens": pa.array([n_tokens] * n, pa.int64()),
            "n_excerpts": pa.array([n_excerpts] * n, pa.int32()),
            "n_active_excerpts": pa.array(active.astype(np.int32)),
            "active_token_fraction": layer.positive.cpu().numpy() / n_tokens,
            "mean": mean,
            "variance": np.maximum(0.0, squares / n_tokens - mean**2),
            "lowest": layer.lowest.cpu().numpy().astype(np.float64),
            "highest": layer.highest.cpu().numpy().astype(np.float64),
        }
    )


def pick_excerpts(state: "CaptureState", sample: Int64[np.ndarray, " pool"], n_random: int) -> dict[int, UnitExcerpts]:
    """layer -> its units' top excerpts and `n_random` of `sample` each, which is the shared random sample's ids."""
    return {
        layer.layer: select_top_and_random(
            layer.top.excerpts.cpu().numpy(), layer.top.values.cpu().numpy(), sample, n_random
        )
        for layer in state.layers
    }


def kind_rows(
    kind: str,
    ids: Int64[np.ndarray, "units examples"],
    activations: Float32[np.ndarray, "units examples T"],
    first_id: int,
    splits: tuple[str | None, ...],
    per_stratum: int = 0,
) -> pa.Table:
    """Rows of `records` of one kind; `splits` are dealt in turn by rank, and `per_stratum` above 0 numbers strata."""
    unit, column = np.nonzero(ids >= 0)
    values = activations[unit, column]
    stratum = column // per_stratum if per_stratum else column
    rank = column % per_stratum if per_stratum else column
    dealt = pa.array(splits, pa.string()).take(pa.array(rank % len(splits)))
    return pa.table(
        {
            "unit_id": pa.array((unit + first_id).astype(np.int32)),
            "excerpt_id": pa.array(ids[unit, column].astype(np.int32)),
            "kind": pa.array([kind]).take(pa.array(np.zeros(len(unit), dtype=np.int32))),
            "rank": pa.array(rank.astype(np.int32)),
            "stratum": pa.array(stratum.astype(np.int32)) if per_stratum else pa.nulls(len(unit), pa.int32()),
            "split": dealt,
            "maximum": pa.array(values.max(axis=1) if len(values) else values[:, 0]),
            "activations": float_lists(values),
        }
    )


def in_unit_order(parts: list[pa.Table]) -> pa.Table:
    """The parts' rows with each unit's together: what makes reading one unit fast."""
    rows = pa.concat_tables(parts)
    order = np.argsort(rows.column("unit_id").to_numpy(), kind="stable")
    return rows.take(pa.array(order))
