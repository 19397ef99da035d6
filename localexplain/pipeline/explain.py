"""Stage 2: train records -> explanations."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from localexplain.explain.base import Explainer
from localexplain.keys import key_of
from localexplain.pipeline.config import RunConfig
from localexplain.pipeline.models import ExplainerPlan
from localexplain.pipeline.reading import (
    CapturedUnit,
    KnownKeys,
    captured_units,
    forget_failures,
    read_records,
    require_capture,
    tried_keys,
)
from localexplain.pipeline.run import Run, chunks, store_model, timed_stage
from localexplain.types import ExplainReply, ExplainTask

UNITS_PER_CHUNK = 64  # explained, then committed: what a killed run loses at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """An explanation to make."""

    key: str
    unit: CapturedUnit
    sample: int
    excerpt_ids: tuple[int, ...]


def wanted_items(run: Run, units: Sequence[CapturedUnit], plan: ExplainerPlan, config: RunConfig) -> list[Item]:
    """All explanations of these units, made or not; a unit with too few active excerpts has none."""
    capture_key = require_capture(run)["capture_key"]
    ids = [unit.unit_id for unit in units if unit.too_few is None]
    if not ids:
        return []
    rows = run.store.query("train_excerpts", unit_ids=ids, low=min(ids), high=max(ids)).to_pylist()
    seen = {row["unit_id"]: tuple(row["excerpt_ids"]) for row in rows}

    def key(unit: CapturedUnit, sample: int) -> str:
        about = (capture_key, str(unit.unit), seen[unit.unit_id], plan.identity, sample, config.seed)
        return key_of("explanation", *about)

    return [
        Item(
            key=key(unit, sample),
            unit=unit,
            sample=sample,
            excerpt_ids=seen[unit.unit_id],
        )
        for unit in units
        if unit.too_few is None
        for sample in range(plan.samples)
    ]


def missing_items(
    run: Run, units: Sequence[CapturedUnit], plan: ExplainerPlan, config: RunConfig, known: KnownKeys
) -> list[Item]:
    """The explanations of these units that the store lacks; what it has is what `known` says."""
    found = known(run, "explain", [unit.unit_id for unit in units if unit.too_few is None])
    return [item for item in wanted_items(run, units, plan, config) if item.key not in found]


def explanation_rows(
    items: Sequence[Item], replies: Sequence[ExplainReply], explainer_key: str
) -> list[dict[str, object]]:
    """Rows of `explanations` for the replies that hold one."""
    return [
        {
            "explanation_key": item.key,
            "unit_id": item.unit.unit_id,
            "explainer_key": explainer_key,
            "sample": item.sample,
            "text": reply.text,
            "prompt": reply.prompt,
            "raw": reply.raw,
            "excerpt_ids": list(item.excerpt_ids),
            "prompt_tokens": reply.counts.prompt,
            "computed_tokens": reply.counts.computed,
            "generated_tokens": reply.counts.generated,
        }
        for item, reply in zip(items, replies, strict=True)
        if reply.text is not None
    ]


def failure_rows(items: Sequence[Item], replies: Sequence[ExplainReply]) -> list[dict[str, object]]:
    """Rows of `failures` for the others."""
    return [
        {
            "failure_key": item.key,
            "stage": "explain",
            "unit_id": item.unit.unit_id,
            "reason": reply.error,
            "prompt_tokens": reply.counts.prompt,
            "computed_tokens": reply.counts.computed,
            "generated_tokens": reply.counts.generated,
        }
        for item, reply in zip(items, replies, strict=True)
        if reply.text is None
    ]


def explain_items(run: Run, items: Sequence[Item], explainer: Explainer, explainer_key: str, seed: int) -> None:
    """Explains and stores some units' items, all in one transaction."""
    records = read_records(run, sorted({item.unit.unit_id for item in items}), ["train"])
    tasks = [
        ExplainTask(unit=item.unit.unit, records=tuple(records[item.unit.unit_id]), sample=item.sample, seed=seed)
        for item in items
    ]
    replies = explainer.explain(tasks)
    with run.store.transaction():
        forget_failures(run, [item.key for item in items])
        if done := explanation_rows(items, replies, explainer_key):
            run.store.insert("explanations", pa.Table.from_pylist(done))
        if failed := failure_rows(items, replies):
            run.store.insert("failures", pa.Table.from_pylist(failed))


def explain(run: Run, plan: ExplainerPlan, config: RunConfig, known: KnownKeys = tried_keys) -> None:
    """Makes the explanations that the store lacks; the explainer is loaded only if there are any.

    known  which items are not to be made: those tried before, or (made_keys) only those that did not fail
    Raises RunError when the capture is not finished, UserError for a wrong choice of units.
    """
    units = captured_units(run, config.explain.units, config)
    parts = [
        part for chunk in chunks(units, UNITS_PER_CHUNK) if (part := missing_items(run, chunk, plan, config, known))
    ]
    if not parts:
        return
    with timed_stage(run, "explain", config) as work:
        explainer = plan.load()
        try:
            with run.store.transaction():
                explainer_key = store_model(run.store, plan.identity, plan.used)
            run.watcher.begin("explain", sum(map(len, parts)), "explanations")
            for part in parts:
                explain_items(run, part, explainer, explainer_key, config.seed)
                work.n_items += len(part)
                run.watcher.advance(len(part))
                run.pause()
            run.watcher.end()
        finally:
            explainer.close()
