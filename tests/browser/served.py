"""Runs to look at, and `localexplain view` serving one of them."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from localexplain import api
from localexplain.pipeline.config import ExplainStage, RunConfig, SimulateStage
from localexplain.resources import resource
from localexplain.simulate.base import SimulateConfig
from localexplain.store.store import open_for_reading
from localexplain.subject.capture_config import CaptureConfig
from localexplain.subject.corpus import CorpusConfig
from tests.report import small_store

MODEL = "tiny-explainer-1m"
N_CAPTURED, N_EXPLAINED = 60, 6  # more than a page of the list has, and few enough to simulate
HOSTILE = '<script>window.__hit=1</script><img src=x onerror="window.__hit=1">'
LONGEST_SECONDS = 30  # for a server to stop


def write_texts(folder: Path, n_files: int = 6, characters: int = 3000) -> Path:
    """The beginnings of the first demo texts."""
    folder.mkdir(parents=True)
    files = sorted(resource("eval", "demo-texts").glob("*.txt"))[:n_files]
    for file in files:
        (folder / file.name).write_text(file.read_text(encoding="utf-8")[:characters], encoding="utf-8")
    return folder


def make_run(root: Path) -> Path:
    """A run of the models that ship: six units explained twice, by a model and by lookup, and simulated by a model."""
    texts, folder = write_texts(root / "texts"), root / "run"
    for explainer in (MODEL, "lookup"):
        config = RunConfig(
            corpus=CorpusConfig(path=str(texts), length_tokens=32),
            capture=CaptureConfig(units=f"sample:{N_CAPTURED}", top_k=9, random_excerpts=6, stratum_excerpts=1),
            explain=ExplainStage(explainer=explainer, units=f"sample:{N_EXPLAINED}"),
            simulate=SimulateStage(
                simulator=MODEL,
                prompt=SimulateConfig(mode="expected"),
                calibrate="none",
                controls=("lookup",),
            ),
        )
        api.run(folder, config)
    return folder


def make_hostile_run(root: Path) -> Path:
    """The small run written by hand, with markup that would act in its tokens, an explanation and its models' names."""
    texts, tokens, models = small_store.TEXTS, small_store.TOKENS, small_store.MODELS
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(texts, "n0", (*texts["n0"][:3], HOSTILE))
        patch.setitem(texts, "w0", (*texts["w0"][:3], HOSTILE))
        patch.setitem(tokens, 1, [HOSTILE, *tokens[1][1:]])
        for key in ("subject", "namer", "rule"):
            patch.setitem(models, key, (models[key][0], HOSTILE, {"about": HOSTILE}))
        return small_store.write_small_store(root / "run")


def explained_units(folder: Path) -> list[str]:
    with open_for_reading(folder) as store:
        rows = store.sql("SELECT DISTINCT unit FROM units JOIN explanations USING (unit_id) ORDER BY unit").to_pylist()
    return [row["unit"] for row in rows]


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """The address, without a slash at its end, of the run as `localexplain view` serves it in a process of its own."""
    command = [sys.executable, "-m", "localexplain.cli", "view", str(folder), "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert process.stderr is not None
    line = process.stderr.readline()
    found = re.search(r"http://127\.0\.0\.1:\d+", line)
    try:
        assert found is not None, line + process.stderr.read()
        yield found[0]
    finally:
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=LONGEST_SECONDS)
    assert process.returncode == 0, rest
    assert rest == ""  # nothing was printed: what fails inside a page prints a traceback here
