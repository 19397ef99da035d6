"""Every command that takes a model takes a name of the model store, too."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from localexplain.carry.model_store import add
from localexplain.cli import main
from localexplain.store.store import open_for_reading, query_rows
from tests.carry_models import COMMIT, write_files, write_model, write_snapshot
from tests.cli_process import write_texts
from tests.published_fixtures import write_release
from tests.tiny_subjects import write_subject

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
SETTINGS = (
    "--set", "capture.stratum_excerpts=2", "--set", "corpus.length_tokens=16", "--set", "capture.batch_excerpts=16",
)  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """store/ with `my-subject`, a snapshot recorded where it lies, and `gone`, whose folder was taken away; texts/; and
    run/, captured by the subject's name in a process of its own."""
    root = tmp_path_factory.mktemp("names")
    store = root / "store"
    files = write_subject(root / "plain")
    contents = {path.name: path.read_bytes() for path in files.iterdir()}
    snapshot = write_snapshot(store, "org/subject", contents)
    add(store, snapshot, "my-subject", now=NOON)
    add(store, write_model(root / "other"), "gone", now=NOON)
    (store / "gone").rename(root / "moved")
    texts = write_texts(root / "texts", lines=20)
    command = ("capture", root / "run", "--subject", "my-subject", "--texts", texts, *SETTINGS, "--json")
    ended = subprocess.run(
        [sys.executable, "-m", "localexplain.cli", *map(str, command)],
        env={**os.environ, "LOCALEXPLAIN_MODELS": str(store)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return root


@pytest.fixture
def call(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """(exit code, standard output, standard error) of a command, the environment naming the store."""
    monkeypatch.setenv("LOCALEXPLAIN_MODELS", str(root / "store"))

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_a_run_by_name_knows_the_path_and_is_called_by_the_name(root: Path) -> None:
    snapshot = root / "store" / "models--org--subject" / "snapshots" / COMMIT
    with open_for_reading(root / "run") as store:
        names = query_rows(store, "SELECT name FROM models WHERE kind = 'subject'").column(0).to_pylist()
        config = json.loads(query_rows(store, "SELECT config FROM runs").column(0)[0].as_py())
    assert names == ["my-subject"]
    assert config["subject"] == str(snapshot)


def test_by_flag_by_setting_and_by_file_it_is_the_same_run(root: Path, call, tmp_path: Path) -> None:
    """A capture that is there already does nothing where subject and settings are the same, and refuses another one."""
    texts = ("--texts", root / "texts", *SETTINGS, "--json")
    file = tmp_path / "settings.toml"
    file.write_text('subject = "my-subject"\n', encoding="utf-8")
    for how in (("--subject", "my-subject"), ("--set", "subject=my-subject"), ("--config", file), ()):
        code, _, err = call("capture", root / "run", *how, *texts)
        assert code == 0, err
    code, _, err = call("capture", root / "run", "--subject", "tiny-subject", *texts)
    assert (code, "another subject" in err) == (2, True)


def test_without_the_store_the_name_means_nothing(root: Path, call, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LOCALEXPLAIN_MODELS")
    code, _, err = call("capture", tmp_path / "run", "--subject", "my-subject", "--texts", root / "texts")
    assert (code, "subject model: no such folder my-subject" in err) == (2, True)


SUITE = """
title = "x"
explainers = ["lookup"]
simulators = ["rule"]
[run]
subject = "{subject}"
[run.corpus]
path = "{texts}"
length_tokens = 16
[run.capture]
units = "sample:20"
stratum_excerpts = 2
"""


@pytest.mark.parametrize(
    "command",
    [
        ("capture", "NEW", "--subject", "gone", "--texts", "TEXTS"),
        ("explain", "RUN", "--explainer", "gone"),
        ("simulate", "RUN", "--simulator", "gone"),
        ("eval", "planted", "--models", "gone", "--quick"),
        ("eval", "puzzles", "--models", "gone"),
        ("eval", "compare", "RUN", "--explainers", "gone@bfloat16", "--simulators", "rule"),
        ("eval", "compare", "RUN", "--explainers", "lookup", "--simulators", "gone"),
        ("eval", "published", "--data", "RELEASE", "--release", "gpt2-xl", "--simulator", "gone"),
        (
            "eval",
            "published",
            "--data",
            "RELEASE",
            "--release",
            "gpt2-xl",
            "--explainer",
            "gone",
            "--simulator",
            "rule",
        ),
        ("eval", "run", "SUITE"),
    ],
    ids=lambda command: " ".join(command[:3]),
)
def test_a_name_leads_to_the_stores_folder(root: Path, call, tmp_path: Path, command: tuple[str, ...]) -> None:
    """`gone` is listed and its folder is not there: the message that names the folder says where the command looked."""
    text = SUITE.format(subject="gone", texts=root / "texts")
    write_files(tmp_path, {"suite.toml": text.encode()})
    if "RELEASE" in command:
        write_release(tmp_path / "release", [(layer, 0) for layer in (0, 20, 47)])
    places = {
        "NEW": tmp_path / "new",
        "RELEASE": tmp_path / "release",
        "RUN": root / "run",
        "SUITE": tmp_path / "suite.toml",
        "TEXTS": root / "texts",
    }
    out = ("--out", tmp_path / "out") if command[1] in ("run", "published") else ()
    code, _, err = call(*(places.get(part, part) for part in command), *out)
    assert code == 2
    last = err.splitlines()[-1]
    assert "model: no such folder" in last
    assert str(root / "store" / "gone") in last
