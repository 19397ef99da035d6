"""Killed at any moment, or stopped by Ctrl-C, a run goes on where it was and ends with the same tables."""

import random
import signal
import time
from pathlib import Path

from tests.cli_process import CliProcess, differing_tables, run_cli, write_texts

SETTINGS = (
    "--set", "capture.units=sample:200", "--set", "capture.stratum_excerpts=2", "--set", "corpus.length_tokens=16",
    "--set", "capture.batch_excerpts=4", "--set", "capture.checkpoint_batches=1",
)  # fmt: skip
ROUNDS, KILLS_A_ROUND = 3, 3


def test_killed_at_random_moments_a_run_ends_as_if_undisturbed(tmp_path: Path) -> None:
    texts = write_texts(tmp_path / "texts")
    run_cli("show", tmp_path, scratch=tmp_path)  # the first process also starts the server that the others come from
    began = time.monotonic()
    undisturbed = run_cli("run", tmp_path / "whole", "--texts", texts, *SETTINGS, "--json", scratch=tmp_path)
    assert undisturbed.exit_code == 0, undisturbed.stderr
    whole_seconds = time.monotonic() - began
    draw = random.Random(11)
    killed = 0
    for number in range(ROUNDS):
        folder = tmp_path / f"killed{number}"
        arguments = ("run", folder, "--texts", texts, *SETTINGS, "--json")
        for _ in range(KILLS_A_ROUND):
            process = CliProcess(arguments, tmp_path)
            end = time.monotonic() + draw.uniform(0.02, 0.7) * whole_seconds
            process.wait_for(lambda end=end: time.monotonic() > end)
            process.send(signal.SIGKILL)
            killed += process.end().exit_code == -signal.SIGKILL
        finished = run_cli(*arguments, scratch=tmp_path)
        assert finished.exit_code == 0, finished.stderr
        assert differing_tables(folder, tmp_path / "whole") == []
    assert killed >= ROUNDS  # a run may be done before its later kills


def test_ctrl_c_finishes_the_chunk_and_says_how_to_go_on(tmp_path: Path) -> None:
    texts = write_texts(tmp_path / "texts")
    arguments = ("run", tmp_path / "run", "--texts", texts, *SETTINGS, "--json")
    process = CliProcess(arguments, tmp_path)
    assert process.wait_for((tmp_path / "run" / "capture-state.pt").exists)  # in the midst of the capture
    process.send(signal.SIGINT)
    ended = process.end()
    assert ended.exit_code == 2
    assert len(ended.stderr.splitlines()) == 1
    assert "run the same command again" in ended.stderr
    assert run_cli(*arguments, scratch=tmp_path).exit_code == 0
    assert run_cli("run", tmp_path / "whole", "--texts", texts, *SETTINGS, scratch=tmp_path).exit_code == 0
    assert differing_tables(tmp_path / "run", tmp_path / "whole") == []
