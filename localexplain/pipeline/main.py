"""The four stages in order, for the command line, notebooks and the eval harness alike."""

import json
from collections.abc import Sequence
from typing import Any

from localexplain.pipeline.capture import capture, check_settings, corpus_path
from localexplain.pipeline.config import RunConfig
from localexplain.pipeline.explain import explain
from localexplain.pipeline.models import plan_explainer, plan_simulator
from localexplain.pipeline.reading import made_keys, tried_keys
from localexplain.pipeline.run import Run
from localexplain.pipeline.score import score
from localexplain.pipeline.simulate import simulate
from localexplain.pipeline.summary import summarise_run
from localexplain.pipeline.used import used_model
from localexplain.subject.corpus import corpus_files


def check_inputs(config: RunConfig) -> None:
    """Raises UserError when the models or the texts cannot be what is meant. A model is read whole, but only once: the
    stages know its hashes then."""
    used_model(config.subject, "subject")
    plan_explainer(config.explain)
    plan_simulator(config.simulate)
    corpus_files(corpus_path(config.corpus))


def stored_config(run: Run) -> dict[str, Any]:
    """The settings that the run's last stage was called with; empty where none has ended yet."""
    rows = run.store.query("last_config").column("config").to_pylist()
    values: dict[str, Any] = json.loads(rows[0]) if rows else {}
    return values


def run_stages(run: Run, config: RunConfig, stages: Sequence[str], *, retry_failed: bool = False) -> dict[str, Any]:
    """Does what is missing of the named stages, in the pipeline's order, and returns the summary.

    retry_failed  tries again the items of the named stages that failed before
    Raises UserError, EngineError, StoreError as the stages do; what was stored before stays.
    """
    explainer, simulator = plan_explainer(config.explain), plan_simulator(config.simulate)
    known = made_keys if retry_failed else tried_keys
    if "capture" in stages:
        capture(run, config)
    else:
        check_settings(run, config)
    if "explain" in stages:
        explain(run, explainer, config, known)
    if "simulate" in stages:
        simulate(run, explainer, simulator, config, known)
    if "score" in stages:
        score(run, explainer, simulator, config)
    return summarise_run(run, explainer, simulator, config)
