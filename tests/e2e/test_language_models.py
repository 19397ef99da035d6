"""A language model explains and simulates, through the same stages and tables. Its weights are random, so its
sentences are noise; that it is asked, answered, constrained, stored, counted and scored is not."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from localexplain import api
from localexplain.pipeline.config import ExplainStage, RunConfig, SimulateStage
from localexplain.simulate.base import SimulateConfig, SimulateMode
from localexplain.subject.capture_config import CaptureConfig
from localexplain.subject.corpus import CorpusConfig
from tests.tiny_models import edit_json, write_tiny_engine

UNITS = 6


@pytest.fixture(scope="module")
def engine_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Qwen3-type checkpoint with a context long enough for the prompts."""
    folder = write_tiny_engine(tmp_path_factory.mktemp("engine") / "tiny-qwen3")
    edit_json(folder / "config.json", max_position_embeddings=8192)
    return folder


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run") / "run"


def config(engine: Path, mode: SimulateMode) -> RunConfig:
    return RunConfig(
        corpus=CorpusConfig(length_tokens=32, max_excerpts=200),
        capture=CaptureConfig(units=f"sample:{UNITS}", stratum_excerpts=0),
        explain=ExplainStage(explainer=str(engine)),
        simulate=SimulateStage(simulator=str(engine), calibrate="none", prompt=SimulateConfig(mode=mode)),
    )


@pytest.fixture(scope="module")
def expected(engine_folder: Path, run_folder: Path) -> dict[str, Any]:
    return api.run(run_folder, config(engine_folder, "expected"))


@pytest.fixture(scope="module")
def grid(engine_folder: Path, run_folder: Path, expected: dict[str, Any]) -> dict[str, Any]:
    """In the same folder, after `expected`: the explanations are shared, the simulations are not."""
    return api.run(run_folder, config(engine_folder, "grid"))


def test_expected_values_lie_on_the_scale_and_vary(expected: dict[str, Any], run_folder: Path) -> None:
    with api.open_run(run_folder) as run:
        rows = run.sql("SELECT * FROM simulations WHERE mode = 'expected'").to_pylist()
        texts = run.sql("SELECT text, prompt, generated_tokens FROM explanations").to_pylist()
    # the explanation, another one and the empty one on 10 valid records
    assert len(rows) == len(texts) * 30
    assert all(0 <= value <= 10 for row in rows for value in row["expected"])
    assert all(len(set(row["expected"])) > 10 for row in rows)
    assert all(0 < row["label_mass"] <= 1 for row in rows)
    assert all(row["generated_tokens"] == 0 for row in rows)
    assert all(0 < text["generated_tokens"] <= 60 and text["prompt"] for text in texts)


def test_prefix_is_computed_once_for_a_chunk(expected: dict[str, Any], run_folder: Path) -> None:
    """Ten excerpts share instructions, examples and explanation: of all prompt tokens less than a third is computed."""
    with api.open_run(run_folder) as run:
        (cost,) = run.sql(
            "SELECT sum(computed_tokens)::BIGINT AS computed, sum(prompt_tokens)::BIGINT AS prompt "
            "FROM simulations WHERE mode = 'expected'"
        ).to_pylist()
    assert cost["computed"] * 3 < cost["prompt"]


def test_grid_writes_one_integer_a_token(grid: dict[str, Any], run_folder: Path) -> None:
    with api.open_run(run_folder) as run:
        rows = run.sql("SELECT * FROM simulations WHERE mode = 'grid'").to_pylist()
        failed = run.sql("SELECT * FROM failures WHERE stage = 'simulate'").to_pylist()
    assert len(rows) + len(failed) == grid["explanations"] * 30
    assert len(rows) > len(failed)  # a random model is cut off by the token limit now and then
    for row in rows:
        assert len(row["expected"]) == 32
        assert all(value in range(11) for value in row["expected"])
        assert row["label_mass"] is None
    assert all("tokens" in failure["reason"] for failure in failed)


def test_modes_share_explanations_and_never_a_score(
    grid: dict[str, Any], expected: dict[str, Any], run_folder: Path
) -> None:
    with api.open_run(run_folder) as run:
        mixed = run.sql(
            "SELECT simulator_key FROM scores WHERE source IN ('explanation', 'shuffled', 'empty') "
            "GROUP BY simulator_key HAVING count(DISTINCT mode) > 1"
        ).to_pylist()
        keys = run.sql("SELECT mode, count(DISTINCT simulator_key) AS n FROM scores GROUP BY mode").to_pylist()
    assert mixed == []
    assert {row["mode"]: row["n"] for row in keys} == {"expected": 1, "grid": 1, "control": 2}
    assert grid["explanations"] == expected["explanations"] > 0


def test_every_unit_is_in_the_summary(grid: dict[str, Any], expected: dict[str, Any]) -> None:
    for summary in (expected, grid):
        for source in (summary["scores"], *summary["controls"].values()):
            for selection in source.values():
                assert selection["n"] + selection["unscored"] == UNITS


def test_repeating_loads_no_model_and_changes_nothing(
    grid: dict[str, Any], engine_folder: Path, run_folder: Path, tmp_path: Path
) -> None:
    settings = tmp_path / "run.toml"
    values = dataclasses.asdict(config(engine_folder, "grid"))
    code = (
        "import json, sys; from localexplain import api; from localexplain.settings import parse_values; "
        "from localexplain.pipeline.config import RunConfig; "
        f"values = json.load(open({str(settings)!r})); "
        f"print(json.dumps(api.run({str(run_folder)!r}, parse_values(values, RunConfig)))); "
        "assert 'torch' not in sys.modules"
    )
    settings.write_text(json.dumps(values))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == json.loads(json.dumps(grid))


def test_too_short_a_context_is_a_row_for_each_item(engine_folder: Path, tmp_path: Path) -> None:
    """Explaining fails for every unit, and so do the ten simulations of the empty explanation of each; the run ends
    well, with the reason in the rows and the units counted."""
    short = write_tiny_engine(tmp_path / "short")
    edit_json(short / "config.json", max_position_embeddings=64)
    summary = api.run(tmp_path / "run", config(short, "expected"))
    assert summary["failures"] == UNITS + UNITS * 10
    assert summary["scores"]["top_and_random"]["unscored"] == UNITS
    with api.open_run(tmp_path / "run") as run:
        reasons = run.sql("SELECT DISTINCT reason FROM failures WHERE stage = 'explain'").to_pylist()
        scores = run.sql("SELECT DISTINCT reason FROM scores WHERE source = 'explanation'").to_pylist()
    assert len(reasons) == len(scores) == 1
    assert "64 tokens" in reasons[0]["reason"]
    assert reasons[0]["reason"] in scores[0]["reason"]
