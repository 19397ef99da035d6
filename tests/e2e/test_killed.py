"""Killed at any moment, or stopped by Ctrl-C, a run goes on where it was and ends with the same tables."""

import random
import signal
import time
from pathlib import Path

import pytest

from localexplain.store.store import open_for_reading
from tests.cli_process import CliProcess, differing_tables, run_cli, write_texts
from tests.tiny_models import edit_json, write_tiny_engine
from tests.tiny_subjects import write_subject

# 120 units, so that every stage has several chunks; 95 batches of texts, each a checkpoint
SETTINGS = (
    "--set", "capture.stratum_excerpts=2", "--set", "corpus.length_tokens=16",
    "--set", "capture.batch_excerpts=4", "--set", "capture.checkpoint_batches=1",
)  # fmt: skip
# Where a kill falls: a random moment after this stage's bar is drawn. A run that goes on draws no bar of a stage that
# has nothing to do, so the stages stand in their order.
KILLED_IN = ("texts", "capture", "capture", "capture", "records", "explain", "simulate", "simulate", "score")
LATEST_SECONDS = 0.08
SHOW_CURSOR, HIDE_CURSOR = "\x1b[?25h", "\x1b[?25l"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    root = tmp_path_factory.mktemp("inputs")
    subject, texts = write_subject(root / "subject"), write_texts(root / "texts")
    return ("--subject", subject, "--texts", texts, *SETTINGS, "--json")


@pytest.fixture(scope="module")
def whole(inputs: tuple[object, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing disturbed."""
    root = tmp_path_factory.mktemp("whole")
    ended = run_cli("run", root / "run", *inputs, scratch=root)
    assert ended.exit_code == 0, ended.stderr
    return root / "run"


def has_drawn(process: CliProcess, stage: str) -> bool:
    return f"{stage:<9} " in process.seen


def test_killed_in_every_stage_a_run_ends_as_if_undisturbed(
    inputs: tuple[object, ...], whole: Path, tmp_path: Path
) -> None:
    draw = random.Random(11)
    killed: list[str] = []
    for stage in KILLED_IN:
        process = CliProcess(("run", tmp_path / "run", *inputs), tmp_path, on_terminal=True)
        process.wait_for(lambda process=process, stage=stage: has_drawn(process, stage))
        time.sleep(draw.uniform(0, LATEST_SECONDS))
        process.send(signal.SIGKILL)
        if process.end().exit_code == -signal.SIGKILL:
            killed.append(stage)
    assert len(killed) >= 6, killed  # on a machine that stalls, a kill may come when all is done
    assert {"texts", "capture", "simulate"} <= set(killed)
    ended = run_cli("run", tmp_path / "run", *inputs, scratch=tmp_path)
    assert ended.exit_code == 0, ended.stderr
    assert differing_tables(tmp_path / "run", whole) == []


def count(folder: Path, table: str) -> int:
    with open_for_reading(folder) as store:
        assert store.check() == []
        found: int = store.sql(f"SELECT count(*) FROM {table}").column(0)[0].as_py()
        return found


@pytest.mark.parametrize("stage", ["capture", "simulate"])
def test_ctrl_c_finishes_the_chunk_and_says_how_to_go_on(
    stage: str, inputs: tuple[object, ...], whole: Path, tmp_path: Path
) -> None:
    process = CliProcess(("run", tmp_path / "run", *inputs), tmp_path, on_terminal=True)
    assert process.wait_for(lambda: has_drawn(process, stage))
    process.send(signal.SIGINT)
    ended = process.end()
    assert ended.exit_code == 2
    assert ended.stdout == ""
    last_bar, message = ended.stderr.rsplit(SHOW_CURSOR, 1)
    assert HIDE_CURSOR in last_bar
    assert HIDE_CURSOR not in message  # the bar is gone before the message comes, and the cursor is back
    assert "localexplain: stopped; all finished chunks are stored: run the same command again" in message
    assert "Traceback" not in ended.stderr
    if stage == "capture":
        assert (tmp_path / "run" / "capture-state.pt").exists()
        assert count(tmp_path / "run", "units") == 0
    else:
        assert 0 < count(tmp_path / "run", "simulations") < count(whole, "simulations")
    assert run_cli("run", tmp_path / "run", *inputs, scratch=tmp_path).exit_code == 0
    assert differing_tables(tmp_path / "run", whole) == []


def test_a_second_ctrl_c_stops_at_once(inputs: tuple[object, ...], tmp_path: Path) -> None:
    """A language model simulates a chunk for many seconds; nothing of the chunk is stored, all before it is."""
    engine = write_tiny_engine(tmp_path / "engine", family="llama")
    edit_json(engine / "config.json", max_position_embeddings=4096)
    arguments = ("run", tmp_path / "run", *inputs, "--simulator", engine)
    process = CliProcess(arguments, tmp_path, on_terminal=True)
    assert process.wait_for(lambda: has_drawn(process, "simulate"))
    time.sleep(1)
    process.send(signal.SIGINT)
    time.sleep(0.5)
    assert process.is_running()
    process.send(signal.SIGINT)
    began = time.monotonic()
    ended = process.end()
    assert time.monotonic() - began < 20
    assert ended.exit_code == 2
    assert "localexplain: stopped at once" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert count(tmp_path / "run", "simulations") == 0
    assert count(tmp_path / "run", "explanations") > 100


def test_ctrl_c_ends_a_long_query(whole: Path, tmp_path: Path) -> None:
    process = CliProcess(("sql", whole, "SELECT sum(range) FROM range(10000000000000)"), tmp_path)
    assert process.wait_for(lambda: process.has_begun)
    time.sleep(1)
    process.send(signal.SIGINT)
    ended = process.end()
    assert ended.exit_code == 2
    assert len(ended.stderr.splitlines()) == 1
    assert ended.stderr.startswith("localexplain: stopped at once")
