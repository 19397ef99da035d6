"""A capture that is killed again and again, each time gone on with, ends as one that nobody disturbed."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import chain, repeat
from pathlib import Path

import duckdb
import pytest

from localexplain.pipeline.reading import CAPTURE_STATE_FILE
from localexplain.store.store import open_for_reading
from tests.tiny_subjects import write_subject

# Loading torch takes seconds, so one process loads it and forks another for each attempt. An attempt's fuse is the
# number of calls of the watcher and of the stop request after which it kills itself, its patience the seconds after
# which it is killed from outside; 0 is none.
DRIVER = """
import os, signal, sys, time
from pathlib import Path

from localexplain.pipeline.capture import capture
from localexplain.pipeline.config import RunConfig
from localexplain.pipeline.run import Run, installed_versions
from localexplain.progress import StopRequest
from localexplain.store.store import open_for_writing
from localexplain.subject.capture_config import CaptureConfig
from localexplain.subject.capture import capture_batches
from localexplain.subject.corpus import CorpusConfig
from localexplain.subject.model import load_subject

CONFIG = RunConfig(
    subject=sys.argv[1],
    corpus=CorpusConfig(path=sys.argv[2], length_tokens=16),
    capture=CaptureConfig(
        top_k=8, random_excerpts=6, stratum_excerpts=2, device="cpu", batch_excerpts=4, checkpoint_batches=1
    ),
)

class Fuse:
    def __init__(self, calls):
        self.calls = calls

    def burn(self, *call):
        self.calls -= 1
        if self.calls == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    begin = advance = end = burn

class FusedStop(StopRequest):
    def __init__(self, fuse):
        super().__init__()
        self.check = fuse.burn

load_subject(Path(sys.argv[1])), installed_versions()  # so that all modules are there before the first fork
print("ready", flush=True)
for line in sys.stdin:
    folder, calls, patience = line.rsplit(maxsplit=2)
    child = os.fork()
    if child == 0:
        try:
            fuse = Fuse(int(calls))
            with open_for_writing(Path(folder)) as store:
                capture(Run(folder=Path(folder), store=store, watcher=fuse, stop=FusedStop(fuse)), CONFIG)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if float(patience):
        time.sleep(float(patience))
        os.kill(child, signal.SIGKILL)  # not waited for yet, so the number is still its own
    print(os.waitpid(child, 0)[1], flush=True)
"""
KILLED, DONE = signal.SIGKILL, 0  # as waitpid gives them
TABLES = ("captures", "excerpts", "models", "units", "records")


class Attempts:
    """Starts attempts at a capture, one after another."""

    def __init__(self, subject: Path, texts: Path) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        command = [sys.executable, "-c", DRIVER, str(subject), str(texts)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        assert self.line() == "ready"

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def run(self, folder: Path, *, fuse_calls: int = 0, patience_seconds: float = 0.0) -> int:
        """How the attempt ended: DONE, KILLED or a failure."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{folder} {fuse_calls} {patience_seconds}\n")
        self.process.stdin.flush()
        return int(self.line())


@pytest.fixture(scope="module")
def attempts(tmp_path_factory):
    root = tmp_path_factory.mktemp("killed")
    texts = root / "texts"
    texts.mkdir()
    for name in range(3):
        text = "".join(
            f"{name}: ferry {n} leaves at {n * 7 % 60}, and {n + name} people are on it.\n" for n in range(20)
        )
        (texts / f"{name}.txt").write_text(text)
    attempts = Attempts(write_subject(root / "subject", "gpt2"), texts)
    yield attempts
    attempts.process.stdin.close()
    attempts.process.stdout.close()
    assert attempts.process.wait() == 0


@pytest.fixture(scope="module")
def undisturbed(attempts, tmp_path_factory):
    """(folder, seconds)"""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    began = time.monotonic()
    assert attempts.run(folder) == DONE
    return folder, time.monotonic() - began


def check_same(folder, other):
    """That both folders hold the same rows, the same maxima, and no trace of anything unfinished."""
    with open_for_reading(folder) as store:
        assert store.check() == []
    connection = duckdb.connect()
    for name, path in (("a", folder), ("b", other)):
        connection.execute(f"ATTACH '{path / 'run.duckdb'}' AS {name} (READ_ONLY)")
    for table in TABLES:
        n_rows = connection.sql(f"SELECT count(*) FROM a.{table}").fetchall()[0][0]
        assert n_rows > 0
        assert connection.sql(f"SELECT count(*) FROM b.{table}").fetchall()[0][0] == n_rows
        for left, right in ("ab", "ba"):
            rows = connection.sql(f"FROM {left}.{table} EXCEPT ALL FROM {right}.{table}").fetchall()
            assert rows == [], f"{table}: in {left} alone"
    connection.close()
    assert (folder / "maxima.f16").read_bytes() == (other / "maxima.f16").read_bytes()
    assert not (folder / CAPTURE_STATE_FILE).exists()


def test_the_undisturbed_run_holds_what_was_asked_for(undisturbed):
    folder, _ = undisturbed
    with open_for_reading(folder) as store:
        excerpts, batches = store.sql("SELECT count(*), ceil(count(*) / 4) FROM excerpts").to_pandas().iloc[0]
        assert batches > 12  # checkpoints to be killed at
        kinds = dict(store.connection.sql("SELECT kind, count(*) FROM records GROUP BY kind").fetchall())
        units = store.connection.sql("SELECT count(*), sum(least(n_active_excerpts, 8)) FROM units").fetchall()[0]
    assert units[0] == 3 * 40
    assert kinds["top"] == units[1]
    assert kinds["random"] == 6 * units[0]
    assert excerpts > 50
    assert kinds["stratum"] > 2 * units[0]


def test_killed_at_every_step_in_turn(attempts, undisturbed, tmp_path):
    # Calls 1 to 5 are the texts; then two before the pass, two a batch (before and after it is saved), two between the
    # pass and the records, two a layer of records. So fuses of 1 to 10 die at each step of the texts and on both sides
    # of the next checkpoints, and those of 6 after every second batch of the rest and after every layer of records.
    folder = tmp_path / "run"
    found = Counter()  # (the state was saved, units stored) -> attempts that ended so
    for fuse_calls in chain(range(1, 11), repeat(6, 20)):
        ended = attempts.run(folder, fuse_calls=fuse_calls)
        assert ended in (KILLED, DONE)
        if ended == DONE:
            break
        with open_for_reading(folder) as store:
            assert store.check() == []
            n_units = store.sql("SELECT count(*) FROM units").column(0)[0].as_py()
        found[(folder / CAPTURE_STATE_FILE).exists(), n_units] += 1
    assert ended == DONE
    assert found[False, 0] > 4  # before the first checkpoint
    assert found[True, 0] > 4
    assert found[True, 40]  # between two commits of records
    assert found[True, 80]
    assert found[True, 120]  # all stored, the saved state still there
    check_same(folder, undisturbed[0])


def test_killed_at_random_moments(attempts, undisturbed, tmp_path):
    folder, seconds = undisturbed
    moments = random.Random(0)
    killed = 0
    number = 0
    while killed < 12:
        run = tmp_path / f"run-{number}"
        ended = attempts.run(run, patience_seconds=moments.uniform(0.01, 0.6) * seconds)
        if ended == DONE:  # in time; the next attempts are at a new run, in less
            check_same(run, folder)
            number += 1
            seconds *= 0.8
        else:
            assert ended == KILLED
            killed += 1
    assert attempts.run(run) == DONE
    check_same(run, folder)


def test_a_finished_capture_is_not_done_again(attempts, undisturbed, tmp_path):
    folder, _ = undisturbed
    before = {file.name: file.stat().st_mtime_ns for file in folder.iterdir() if file.name != "run.duckdb"}
    assert attempts.run(folder, fuse_calls=1) == DONE  # it would die at the first call of the watcher
    assert before == {file.name: file.stat().st_mtime_ns for file in folder.iterdir() if file.name != "run.duckdb"}
