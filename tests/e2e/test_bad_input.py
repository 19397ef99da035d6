"""Bad input: exit code 2, one line that names the thing and the next step, and nothing that was stored is lost."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from transformers import MixtralConfig, MixtralForCausalLM

from localexplain.resources import resource
from tests.cli_process import differing_tables, run_cli, write_texts

SUBJECT = resource("models", "tiny-subject")
SMALL = ("--set", "capture.units=sample:6", "--set", "capture.stratum_excerpts=1", "--set", "corpus.length_tokens=16")


def complaint(*arguments: object, scratch: Path) -> str:
    """The one line of a call that must be refused."""
    ended = run_cli(*arguments, scratch=scratch)
    lines = ended.stderr.splitlines()
    assert (ended.exit_code, len(lines)) == (2, 1), ended
    assert lines[0].startswith("localexplain: ")
    return lines[0]


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_texts(tmp_path_factory.mktemp("texts") / "texts")


@pytest.fixture(scope="module")
def run_folder(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    ended = run_cli("run", folder, "--texts", texts, *SMALL, "--json", scratch=folder.parent)
    assert ended.exit_code == 0, ended.stderr
    return folder


def model_without(pattern: str) -> Callable[[Path], Path]:
    """Makes a copy of the subject's folder that lacks the files that match."""

    def copy(folder: Path) -> Path:
        shutil.copytree(SUBJECT, folder / "model", ignore=shutil.ignore_patterns(pattern))
        return folder / "model"

    return copy


def mixture_of_experts(folder: Path) -> Path:
    """A real architecture whose MLPs are experts: there is no single activation to capture."""
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = MixtralConfig(**sizes, num_key_value_heads=2, num_local_experts=2, vocab_size=4096)
    shutil.copytree(SUBJECT, folder / "model", ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    MixtralForCausalLM(config).save_pretrained(folder / "model")
    return folder / "model"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: folder / "nowhere", ("no such folder", "nowhere")),
        (model_without("config.json"), ("config.json",)),
        (model_without("*.safetensors"), ("no weights", ".safetensors")),
        (model_without("tokenizer.json"), ("tokenizer.json",)),
        (mixture_of_experts, ("refused at layer 0", "Mixtral")),
    ],
    ids=["no folder", "no config", "no weights", "no tokenizer", "experts"],
)
def test_subjects_that_cannot_be_used(
    make: Callable[[Path], Path], words: tuple[str, ...], texts: Path, tmp_path: Path
) -> None:
    line = complaint("run", tmp_path / "run", "--subject", make(tmp_path), "--texts", texts, *SMALL, scratch=tmp_path)
    assert all(word in line for word in words), line


def write_parquet(path: Path) -> None:
    pq.write_table(pa.table({"body": ["some text"]}), path)


@pytest.mark.parametrize(
    ("name", "write", "words"),
    [
        ("a.txt", lambda path: path.write_text(""), ("empty",)),
        ("a.txt", lambda path: path.write_text("three short words"), ("16 tokens", "longer texts")),
        ("a.txt", lambda path: path.write_bytes(b"good \xff bad"), ("a.txt", "UTF-8", "byte 5")),
        ("a.jsonl", lambda path: path.write_text('{"text": "x"}\n{"body": "y"}\n'), ("line 2", "'text'", "body")),
        ("a.jsonl", lambda path: path.write_text('{"text": "x"\n'), ("line 1", "JSON")),
        ("a.parquet", write_parquet, ("a.parquet", "'text'", "body")),
        ("a.parquet", lambda path: path.write_bytes(b"PAR1 no parquet"), ("a.parquet", "Parquet")),
        ("a.md", lambda path: path.write_text("text"), ("holds no", ".txt")),
    ],
    ids=["empty", "short", "not UTF-8", "no field", "bad JSON", "no column", "bad parquet", "other files"],
)
def test_texts_that_cannot_be_used(
    name: str, write: Callable[[Path], object], words: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "texts").mkdir()
    write(tmp_path / "texts" / name)
    line = complaint("run", tmp_path / "run", "--texts", tmp_path / "texts", *SMALL, scratch=tmp_path)
    assert all(word in line for word in words), line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--units", "mlp.99:0"), ("mlp.99:0", "out of range", "0 to 3")),
        (("--units", "mlp.0:99999"), ("out of range", "0 to 1023")),
        (("--units", "neuron7"), ("neuron7", "mlp.3:127")),
        (("--set", "nonsense=1"), ("unknown", "nonsense", "corpus")),
        (("--set", "explain.prompt.nonsense=1"), ("unknown", "explain.prompt.nonsense", "temperature")),
        (("--set", "corpus.length_tokens=many"), ("corpus.length_tokens", "many")),
        (("--set", "explain.units=7"), ("explain.units", "7")),
        (("--set", "simulate.calibrate=cubic"), ("simulate.calibrate", "linear")),
        (("--set", "corpus"), ("KEY=VALUE",)),
        (("--config", "nowhere.toml"), ("nowhere.toml", "no such")),
        (("--explainer", "nowhere"), ("explainer", "nowhere")),
        (("--simulator", "nowhere"), ("simulator", "nowhere")),
        (("--mode", "grid"), ("rule", "grid")),
        (("--seed", "5"), ("another seed", "new run folder")),
        (("--subject", "SUBJECT2"), ("another subject", "new run folder")),
        (("--texts", "TEXTS2"), ("another texts", "new run folder")),
        (("--set", "capture.top_k=8"), ("another capture settings", "new run folder")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_settings_that_a_run_refuses(
    arguments: tuple[str, ...], words: tuple[str, ...], run_folder: Path, tmp_path: Path
) -> None:
    """All of these are asked of a finished run, whose tables stay as they were."""
    other = shutil.copytree(SUBJECT, tmp_path / "subject2")
    (other / "generation_config.json").write_text('{"transformers_version": "0"}')
    stand_ins = {"SUBJECT2": other, "TEXTS2": write_texts(tmp_path / "texts2", n_files=1)}
    before = hash_of(run_folder / "run.duckdb")
    line = complaint("run", run_folder, *(stand_ins.get(word, word) for word in arguments), scratch=tmp_path)
    assert all(word in line for word in words), line
    assert hash_of(run_folder / "run.duckdb") == before


def hash_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_folders_that_are_no_runs(tmp_path: Path) -> None:
    for command in (["show"], ["report"], ["explain"], ["sql"]):
        rest = ["SELECT 1"] if command == ["sql"] else []
        assert "not a run folder" in complaint(*command, tmp_path / "nowhere", *rest, scratch=tmp_path)
    assert not (tmp_path / "nowhere").exists()


def test_what_a_report_or_viewer_cannot_be_of(run_folder: Path, tmp_path: Path) -> None:
    """One line, and what lies there stays: no page begun, no size promised."""
    page = tmp_path / "page.html"
    page.write_text("an earlier one")
    for unit, said in (("mlp.0:9999", "mlp.0:9999"), ("seven", "no unit of this run")):
        assert said in complaint("report", run_folder, "--list", unit, "--out", page, scratch=tmp_path)
    assert page.read_text() == "an earlier one"
    assert "no folder" in complaint("report", run_folder, "--out", tmp_path / "none" / "a.html", scratch=tmp_path)
    assert not (tmp_path / "none").exists()
    assert "not a run folder" in complaint("view", tmp_path / "nowhere", scratch=tmp_path)
    assert "--token new" in complaint("view", run_folder, "--host", "0.0.0.0", "--port", 0, scratch=tmp_path)


def test_unknown_unit_and_malformed_query(run_folder: Path, tmp_path: Path) -> None:
    assert "mlp.0:9999" in complaint("show", run_folder, "mlp.0:9999", scratch=tmp_path)
    assert "syntax error" in complaint("sql", run_folder, "SELEC 1", scratch=tmp_path)


def test_second_process_is_told_who_writes(run_folder: Path, tmp_path: Path) -> None:
    """A real second process holds the store."""
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(run_folder / "run.duckdb")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        writer = complaint("run", run_folder, scratch=tmp_path)
        reader = complaint("show", run_folder, scratch=tmp_path)
        holder.communicate("")
    for line in (writer, reader):
        assert f"PID {holder.pid}" in line
        assert "wait" in line


def test_full_disk_is_said_and_survived(texts: Path, run_folder: Path, tmp_path: Path) -> None:
    """No file may grow beyond 200 kB: the run stops with one line; with room again it ends as if nothing had been."""
    arguments = ("run", tmp_path / "run", "--texts", texts, *SMALL, "--json")
    ended = run_cli(*arguments, scratch=tmp_path, file_bytes=200_000)
    assert ended.exit_code == 2, ended
    assert len(ended.stderr.splitlines()) == 1
    assert "no room left" in ended.stderr
    assert run_cli(*arguments, scratch=tmp_path).exit_code == 0
    assert differing_tables(tmp_path / "run", run_folder) == []


def test_vllm_asked_for_and_not_installed(run_folder: Path, tmp_path: Path) -> None:
    """In a process that cannot see vLLM: an import path with everything installed but it."""
    site = Path(duckdb.__file__).parents[1]
    bare = tmp_path / "site"
    bare.mkdir()
    for entry in site.iterdir():
        if not entry.name.startswith(("vllm", "_editable_impl", "localexplain")):
            os.symlink(entry, bare / entry.name)
    os.symlink(Path(__file__).parents[2] / "localexplain", bare / "localexplain")
    code = "import sys; sys.path[:] = [p for p in sys.path if not p.endswith('site-packages')] + sys.argv[1:2]; "
    code += "from localexplain.cli import main; sys.exit(main(sys.argv[2:]))"
    asked = ["run", run_folder, "--explainer", SUBJECT, "--engine", "vllm"]
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, str(bare), *map(str, asked)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "vLLM is not installed" in done.stderr


def test_json_of_a_refused_call_is_empty(run_folder: Path, tmp_path: Path) -> None:
    """What reads standard output must not take a complaint for a result."""
    ended = run_cli("run", run_folder, "--seed", "9", "--json", scratch=tmp_path)
    assert (ended.exit_code, ended.stdout) == (2, "")
    good = run_cli("run", run_folder, "--json", scratch=tmp_path)
    assert json.loads(good.stdout)["units"] == 6
