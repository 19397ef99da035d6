"""The main job on what ships: once for real, with sockets forbidden, and everything that reads its result."""

import json
import math
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NO_SOCKETS = [sys.executable, str(ROOT / "tests" / "no_sockets.py")]
CLI = [sys.executable, "-m", "localexplain.cli"]


def run(*arguments: str, code: int = 0, silent: bool = False) -> subprocess.CompletedProcess[str]:
    command = [*(NO_SOCKETS if silent else []), *CLI, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)
    assert done.returncode == code, done.stderr
    return done


EXPLAINED = {"tiny-explainer-12m": 100, "lookup": 400}  # units
DEFAULT = "tiny-explainer-12m"


@pytest.fixture(scope="module", params=list(EXPLAINED))
def explainer(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def demo(explainer: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder of a demo run and the JSON object that the run ended with; the default is called without a flag."""
    folder = tmp_path_factory.mktemp("demo") / "run"
    flags = [] if explainer == DEFAULT else ["--explainer", explainer]
    out = run("demo", "--out", str(folder), "--json", *flags, silent=True).stdout
    return folder, json.loads(out.splitlines()[-1])


def test_the_filter_kills_whoever_makes_a_socket() -> None:
    code = (
        "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import socket; socket.socket()'], check=True)"
    )
    alone = subprocess.run([*NO_SOCKETS, sys.executable, "-c", "import socket; socket.socket()"], check=False)
    child = subprocess.run([*NO_SOCKETS, sys.executable, "-c", code], capture_output=True, text=True, check=False)
    harmless = subprocess.run([*NO_SOCKETS, sys.executable, "-c", "print(1)"], capture_output=True, check=False)
    assert alone.returncode == -signal.SIGSYS
    assert "SIGSYS" in child.stderr
    assert harmless.returncode == 0


def test_demo_makes_no_socket_and_prints_the_promised_object(demo: tuple[Path, dict[str, Any]], explainer: str) -> None:
    folder, summary = demo
    n_units = EXPLAINED[explainer]
    assert summary["run_dir"] == str(folder)
    assert summary["explanations"] == n_units
    # 4 layers of 1,024 neurons; a unit has at most 20 top, 15 random and 25 stratum records.
    assert summary["units"] == 4096
    assert 4096 * 35 <= summary["records"] <= 4096 * 60
    # 20 simulations of the explanation (valid and calibration), 10 each of four controls.
    assert summary["simulations"] == n_units * 60
    assert set(summary["controls"]) == {"lookup", "linear", "shuffled", "empty"}
    for source in (summary["scores"], *summary["controls"].values()):
        for selection in ("top_and_random", "random_only"):
            assert source[selection]["n"] + source[selection]["unscored"] == n_units
    assert set(summary["tokens"]) == {"prompt", "computed", "generated"}
    assert set(summary["seconds"]) == {"capture", "explain", "simulate", "score"}
    assert all(seconds > 0 for seconds in summary["seconds"].values())
    assert (summary["tokens"]["generated"] > 0) == (explainer != "lookup")  # a language model wrote, or none did


def test_explanations_beat_their_controls(demo: tuple[Path, dict[str, Any]], explainer: str) -> None:
    """An explanation is about its own unit, so another unit's is worth less through the same simulator. The table of
    every token's mean knows more than any sentence says. Without a model the empty explanation is constant."""
    _, summary = demo
    explained, controls = summary["scores"]["top_and_random"], summary["controls"]
    assert explained["low"] > controls["shuffled"]["top_and_random"]["high"]
    assert controls["lookup"]["top_and_random"]["low"] > explained["high"]
    if explainer == "lookup":
        assert explained["low"] > controls["shuffled"]["top_and_random"]["high"] + 0.2
        assert controls["empty"]["top_and_random"] == {
            "mean": None, "median": None, "n": 0, "unscored": 400, "low": None, "high": None
        }  # fmt: skip


def test_second_call_does_no_model_work_and_gives_the_same_numbers(
    demo: tuple[Path, dict[str, Any]], explainer: str
) -> None:
    folder, summary = demo
    code = (
        "import sys; from localexplain.cli import main; "
        f"assert main(['demo', '--out', {str(folder)!r}, '--explainer', {explainer!r}, '--json']) == 0; "
        "assert 'torch' not in sys.modules, 'a model library was loaded'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == summary


def test_store_is_consistent(demo: tuple[Path, dict[str, Any]]) -> None:
    from localexplain.store.store import open_for_reading

    with open_for_reading(demo[0]) as store:
        assert store.check() == []


def test_stored_scores_are_those_of_the_stored_simulations(demo: tuple[Path, dict[str, Any]]) -> None:
    """Recomputed with another library from nothing but the tables."""
    from scipy.stats import pearsonr

    from localexplain.api import open_run

    with open_run(demo[0]) as opened:
        rows = opened.sql(
            """
            SELECT scores.unit_id, any_value(scores.value) AS value,
                   flatten(list(records.activations ORDER BY excerpt_id)) AS activations,
                   flatten(list(simulations.expected ORDER BY excerpt_id)) AS expected
            FROM scores
            JOIN simulations USING (unit_id, source, explanation_key, simulator_key)
            JOIN records USING (unit_id, excerpt_id)
            WHERE scores.source = 'explanation' AND metric = 'correlation' AND selection = 'top_and_random'
                AND split = 'valid' AND value IS NOT NULL
            GROUP BY scores.unit_id ORDER BY scores.unit_id LIMIT 60
            """
        ).to_pylist()
    assert len(rows) == 60
    for row in rows:
        assert len(row["activations"]) == 640
        assert math.isclose(row["value"], pearsonr(row["activations"], row["expected"]).statistic, abs_tol=1e-6)


def test_explainer_saw_only_train_records(demo: tuple[Path, dict[str, Any]]) -> None:
    from localexplain.api import open_run

    with open_run(demo[0]) as opened:
        leaked = opened.sql(
            """
            SELECT count(*) AS n FROM (SELECT unit_id, unnest(excerpt_ids) AS excerpt_id FROM explanations)
            JOIN records USING (unit_id, excerpt_id) WHERE split IS DISTINCT FROM 'train'
            """
        ).to_pylist()
        seen = opened.sql("SELECT DISTINCT len(excerpt_ids) AS n FROM explanations").to_pylist()
    assert leaked == [{"n": 0}]
    assert seen == [{"n": 5}]


def test_show_sql_and_report_read_it(demo: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder = demo[0]
    best = json.loads(
        run("sql", str(folder), "SELECT * FROM explained ORDER BY score DESC NULLS LAST LIMIT 1", "--json").stdout
    )
    unit, explanation = best[0]["unit"], best[0]["explanation"]
    shown = run("show", str(folder), unit).stdout
    assert unit in shown
    assert " ".join(explanation.split()[:2]) in shown
    assert json.loads(run("show", str(folder), unit, "--json").stdout)
    assert json.loads(run("show", str(folder), "--json").stdout)
    page = tmp_path / "report.html"
    size = json.loads(run("report", str(folder), "--out", str(page), "--json").stdout)["bytes"]
    assert page.stat().st_size == size
    assert f"{demo[1]['scores']['top_and_random']['mean']:.2f}" in page.read_text(encoding="utf-8")


def readme_blocks(language: str) -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_readme_queries_work(demo: tuple[Path, dict[str, Any]]) -> None:
    """Every SQL example of the README returns rows."""
    from localexplain.api import open_run

    queries = readme_blocks("sql")
    assert len(queries) >= 3
    with open_run(demo[0]) as opened:
        for query in queries:
            assert opened.sql(query).num_rows > 0, query


def test_readme_notebook_example_works(demo: tuple[Path, dict[str, Any]]) -> None:
    (example,) = readme_blocks("python")
    assert '"demo-run"' in example
    code = example.replace('"demo-run"', repr(str(demo[0])))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "correlation" in done.stdout
