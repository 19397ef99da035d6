"""The proof on the pipeline itself: silent as it is, and not with a library planted that calls out."""

import json
import sys
from pathlib import Path

import pytest

from localexplain.doctor import Check
from localexplain.errors import NotSilent, UserError
from localexplain.silence.counters import Attempts
from localexplain.silence.guard import Outcome, find_attempts, run_guarded
from localexplain.silence.proof import (
    CLI,
    CONTROLS,
    MODEL,
    is_seen,
    judge_own_name,
    judge_step,
    judge_watch,
    plan_steps,
    require_silence,
    run_step,
)
from localexplain.silence.watch import Event

NOTHING = Attempts(beyond=0, unanswered=0)
EVENT = Event(event="socket.connect", target="t", beyond=True, libraries=("lib",), stack=(), pid=1, command=())


def outcome(
    *, exit_code: int = 0, stderr: str = "", tried: Attempts | None = NOTHING, n_killed: int = 0, events: int = 0
) -> Outcome:
    return Outcome(
        exit_code=exit_code, stdout="", stderr=stderr, tried=tried, n_killed=n_killed, events=(EVENT,) * events
    )


# judging --------------------------------------------------------------------------------------------------------------


def test_a_step_is_silent_only_if_it_did_its_work_and_nothing_was_seen() -> None:
    assert judge_step("s", outcome(), 3.2) == Check(name="s", value="silent, 3 s", ok=True)
    assert judge_step("s", outcome(exit_code=1, stderr="a\nwhy\n"), 0).value == "exit code 1: why"
    for bad in (
        outcome(exit_code=1),
        outcome(events=1),
        outcome(tried=Attempts(beyond=1, unanswered=0)),
        outcome(tried=Attempts(beyond=0, unanswered=1)),
        outcome(n_killed=1),
        outcome(tried=None, events=1),
    ):
        found = judge_step("s", bad, 0)
        assert (found.ok, bool(found.advice)) == (False, True)


def test_what_nobody_counted_is_not_called_proven() -> None:
    assert judge_step("s", outcome(tried=None), 0).ok is None
    missing = outcome(exit_code=2, stderr="localexplain: vLLM cannot be used here: no AVX2\n")
    assert judge_step("s", missing, 0) == Check(name="s", value=f"not run: {missing.stderr.strip()}", ok=None)


def test_a_watch_that_sees_nothing_is_no_watch() -> None:
    assert not any(is_seen(control, outcome()) for control in CONTROLS)
    assert not is_seen(CONTROLS[0], outcome(events=1))  # Python saw it and the kernel did not
    assert not is_seen(CONTROLS[0], outcome(tried=Attempts(beyond=1, unanswered=0)))  # and the other way
    assert judge_watch(CONTROLS, ["TCP"], "").ok is False
    assert judge_watch(CONTROLS, ["TCP"], "refused").ok is False
    assert judge_watch(CONTROLS, [], "refused").ok is None
    assert judge_watch(CONTROLS, [], "").ok is True


def test_a_machine_that_does_not_know_its_name_is_told_what_to_add() -> None:
    assert judge_own_name("vm7", outcome()).ok is True
    asked = judge_own_name("vm7", outcome(tried=Attempts(beyond=2, unanswered=0)))
    assert asked.ok is None
    assert "127.0.1.1 vm7" in asked.advice


def test_exit_says_whether_silence_is_proven() -> None:
    good, bad, unknown = (Check(name="n", value="", ok=ok, advice="because") for ok in (True, False, None))
    require_silence([good, good])
    require_silence([good, unknown])  # vLLM that cannot run here makes no noise either
    with pytest.raises(NotSilent, match="not proven silent: n"):
        require_silence([good, bad])
    with pytest.raises(UserError, match="because"):
        require_silence([unknown, unknown])


# the pipeline ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("proof") / "run"


STEPS = [step.name for step in plan_steps(Path("run"), with_vllm=False)]


@pytest.mark.usefixtures("namespace")
@pytest.mark.parametrize("name", STEPS)
def test_every_command_is_silent(name: str, run_folder: Path, environment: dict[str, str]) -> None:
    """In the order of the proof, each after the one before: they share the run folder."""
    (step,) = [step for step in plan_steps(run_folder, with_vllm=False) if step.name == name]
    check = run_step(step, environment, isolated=True)
    assert check.ok is True, check


@pytest.mark.usefixtures("namespace")
def test_the_demo_is_silent(tmp_path: Path, environment: dict[str, str]) -> None:
    command = [*CLI, "demo", "--explainer", "lookup", "--out", str(tmp_path / "demo"), "--json"]
    done = run_guarded(command, environment)
    assert done.exit_code == 0, done.stderr
    assert find_attempts(done) == []
    assert json.loads(done.stdout.splitlines()[-1])["explanations"] == 400


@pytest.mark.vllm
@pytest.mark.usefixtures("namespace")
@pytest.mark.parametrize("processes", ["1", "0"])
def test_vllm_is_silent_with_and_without_processes_of_its_own(
    processes: str, tmp_path: Path, environment: dict[str, str]
) -> None:
    steps = {step.name: step for step in plan_steps(tmp_path / "run", with_vllm=True)}
    first = run_guarded(steps["run, no model"].command, environment)
    assert first.exit_code == 0, first.stderr
    step = steps["run, vLLM"]
    assert step.variables == {"VLLM_ENABLE_V1_MULTIPROCESSING": "1"}
    done = run_guarded(step.command, environment | {"VLLM_ENABLE_V1_MULTIPROCESSING": processes})
    assert done.exit_code == 0, done.stderr
    assert find_attempts(done) == []
    (summary,) = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert summary["tokens"]["generated"] > 0


CHATTY = """
import urllib.request
try:
    urllib.request.urlopen("https://telemetry.example.invalid/ping", timeout=1)
except OSError:
    pass  # as a library would that must not disturb
"""


@pytest.mark.usefixtures("namespace")
def test_a_planted_library_is_named_though_the_run_goes_well(
    tmp_path: Path, run_folder: Path, environment: dict[str, str]
) -> None:
    """It is loaded with `jinja2`, which writes the prompts, and swallows its own failure."""
    (tmp_path / "chatty").mkdir()
    (tmp_path / "chatty" / "__init__.py").write_text(CHATTY)
    (tmp_path / "jinja2.py").write_text(
        f"import sys\nimport chatty\nsys.path.remove({str(tmp_path)!r})\ndel sys.modules['jinja2']\nimport jinja2\n"
    )
    step = plan_steps(tmp_path / "run", with_vllm=False)[0]
    check = run_step(step, environment | {"PYTHONPATH": str(tmp_path)}, isolated=True)
    assert check.ok is False
    assert "chatty, called by " in check.value
    assert "telemetry.example.invalid" in check.value
    assert MODEL not in check.value
    assert (tmp_path / "run" / "run.duckdb").exists()


def test_steps_are_the_programs_own_commands() -> None:
    steps = plan_steps(Path("run"), with_vllm=True)
    assert steps[-1].name == "run, vLLM"
    assert all(step.command[0] == sys.executable for step in steps)
