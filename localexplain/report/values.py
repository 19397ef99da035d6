"""A run, and a unit, as JSON-like values: what `--json` prints. Names are those of the records in reading and unit."""

from dataclasses import asdict, is_dataclass
from datetime import datetime
from typing import Any

from localexplain.report.columns import Pairs
from localexplain.report.reading import Model, Series, SourceScore, read_overview, read_series_report
from localexplain.report.unit import read_unit
from localexplain.store.store import Store


def plain(value: Any) -> Any:
    """Dataclasses as dictionaries, tuples as lists, models with their details as one dictionary, times as ISO text."""
    if isinstance(value, Model):
        return {"key": value.key, "kind": value.kind, "name": value.name, "details": dict(value.details)}
    if is_dataclass(value) and not isinstance(value, type):
        return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value.isoformat() if isinstance(value, datetime) else value


def nest(scores: tuple[SourceScore, ...]) -> dict[str, dict[str, Any]]:
    """source -> selection -> summary."""
    nested: dict[str, dict[str, Any]] = {}
    for score in scores:
        nested.setdefault(score.source, {})[score.selection] = asdict(score.summary)
    return nested


def series_values(store: Store, series: Series, seed: int) -> dict[str, Any]:
    """One series; `scores` and `controls` have the shape that `demo --json` prints."""
    report = read_series_report(store, series, seed)
    scores = nest(report.scores)
    return {
        **plain(series),
        "scores": scores.pop("explanation", {}),
        "controls": scores,
        "calibrated": {
            metric: nest(tuple(score for score in report.calibrated if score.metric == metric)).get("explanation", {})
            for metric in sorted({score.metric for score in report.calibrated})
        },
        "layers": [
            {"layer": layer.layer, "explanation": asdict(layer.explanation), "controls": dict(layer.controls)}
            for layer in report.layers
        ],
        "best": plain(report.best),
        "worst": plain(report.worst),
        "unscored": plain(report.reasons),
    }


def run_values(store: Store) -> dict[str, Any]:
    """The run's overview and every series of scores. Raises RunError when the store holds no capture."""
    overview = read_overview(store)
    pairs: dict[str, Pairs] = {
        name: getattr(overview, name) for name in ("corpus", "capture", "seconds", "settings", "versions")
    }
    return {
        "run_dir": str(store.path.parent),
        **plain(overview),
        **{name: dict(value) for name, value in pairs.items()},
        "series": [series_values(store, series, overview.seed) for series in overview.series],
    }


def unit_values(store: Store, unit: str) -> dict[str, Any]:
    """Everything the store has about a unit. Raises UserError, naming the range, when the run does not hold it."""
    values: dict[str, Any] = plain(read_unit(store, unit))
    return values
