"""A run in numbers: what `demo --json` prints and the report is built on. Reads the store alone."""

from dataclasses import asdict
from typing import Any

from localexplain.pipeline.config import RunConfig
from localexplain.pipeline.models import ExplainerPlan, SimulatorPlan
from localexplain.pipeline.run import Run, model_key
from localexplain.pipeline.simulate import LINEAR, LOOKUP
from localexplain.score.summary import summarise

SELECTIONS = ("top_and_random", "random_only")
STAGES = ("capture", "explain", "simulate", "score")


def summarise_scores(run: Run, explainer: ExplainerPlan, simulator: SimulatorPlan, config: RunConfig) -> dict[str, Any]:
    """source -> selection -> mean, median, n, unscored, low, high of the correlation; a unit counts once, with the
    mean of its samples' scores."""
    keys = [model_key(identity) for identity in (simulator.identity, LOOKUP, LINEAR)]
    rows = run.store.query(
        "unit_correlations", simulator_keys=keys, explainer_key=model_key(explainer.identity)
    ).to_pylist()
    values: dict[tuple[str, str], list[float | None]] = {}
    for row in rows:
        values.setdefault((row["source"], row["selection"]), []).append(row["value"])
    sources = ("explanation", *config.simulate.controls)
    return {
        source: {
            selection: asdict(summarise(values.get((source, selection), []), config.seed)) for selection in SELECTIONS
        }
        for source in sources
    }


def summarise_run(run: Run, explainer: ExplainerPlan, simulator: SimulatorPlan, config: RunConfig) -> dict[str, Any]:
    """The whole summary, JSON-like; the same numbers whenever it is asked for."""
    scores = summarise_scores(run, explainer, simulator, config)
    counts = run.store.query("counts").to_pylist()[0]
    tokens = {name: counts.pop(f"{name}_tokens") for name in ("prompt", "computed", "generated")}
    seconds = {row["stage"]: row["seconds"] for row in run.store.query("stage_seconds").to_pylist()}
    return {
        "run_dir": str(run.folder),
        **counts,
        "scores": scores.pop("explanation"),
        "controls": scores,
        "tokens": tokens,
        "seconds": {stage: seconds.get(stage, 0.0) for stage in STAGES},
    }
