"""The models of a run are proven against their model store before anything is written, and their files are stored."""

import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from localexplain import modelfiles
from localexplain.carry.manifest import Manifest, ModelEntry, read_entries, read_manifest, write_manifest
from localexplain.errors import RunError, UserError
from localexplain.explain.language_model import ExplainConfig
from localexplain.files import hash_file
from localexplain.pipeline.config import ExplainStage, RunConfig, SimulateStage
from localexplain.pipeline.main import check_inputs, run_stages
from localexplain.pipeline.models import plan_explainer, plan_simulator
from localexplain.pipeline.run import Run
from localexplain.pipeline.used import used_model
from localexplain.resources import resource
from localexplain.simulate.base import SimulateConfig
from localexplain.store.store import open_for_reading, open_for_writing
from localexplain.subject.corpus import CorpusConfig
from tests.cli_process import run_cli, write_texts
from tests.tiny_models import edit_json, write_tiny_engine
from tests.tiny_subjects import write_subject

STAGES = ("capture", "explain", "simulate", "score")
REVISION = "0123abcd" * 5


def record(store: Path, name: str, path: str) -> ModelEntry:
    """Lists a folder that lies in the model store already."""
    known = dict(read_manifest(store).models)
    known[name] = ModelEntry(
        name=name, path=path, files=read_entries(store / path), repository=f"org/{name}", revision=REVISION
    )
    write_manifest(store, Manifest(models=known))
    return known[name]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """texts/ and a model store models/ with a subject and, in the layout of a cache, a language model."""
    root = tmp_path_factory.mktemp("made")
    write_texts(root / "texts")
    write_subject(root / "models" / "small")
    snapshot = f"models--org--speaker/snapshots/{REVISION}"
    write_tiny_engine(root / "models" / snapshot, family="llama")
    edit_json(root / "models" / snapshot / "config.json", max_position_embeddings=4096)
    record(root / "models", "small", "small")
    record(root / "models", "speaker", snapshot)
    return root


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "home")


def speaker(home: Path) -> Path:
    return home / "models" / "models--org--speaker" / "snapshots" / REVISION


def config_of(home: Path) -> RunConfig:
    return RunConfig(
        subject=str(home / "models" / "small"),
        corpus=CorpusConfig(path=str(home / "texts"), length_tokens=16),
        explain=ExplainStage(
            units="mlp.0:3,mlp.1:5",
            explainer=str(speaker(home)),
            prompt=ExplainConfig(max_tokens=8, few_shot=0, temperature=0.0),
        ),
        simulate=SimulateStage(controls=("lookup", "linear")),
    )


def go(home: Path, config: RunConfig, stages: tuple[str, ...] = STAGES) -> None:
    with open_for_writing(home / "run") as store:
        run_stages(Run(folder=home / "run", store=store), config, stages)


def ask(home: Path, query: str) -> list[dict[str, Any]]:
    with open_for_reading(home / "run") as store:
        assert store.check() == []
        rows: list[dict[str, Any]] = store.sql(query).to_pylist()
        return rows


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


# what is stored -------------------------------------------------------------------------------------------------------


def test_a_run_stores_the_files_of_its_models_and_where_they_came_from(home: Path) -> None:
    go(home, config_of(home))
    entries = read_manifest(home / "models").models
    rows = ask(home, "SELECT kind, name, e.* FROM models JOIN model_entries e USING (model_key) ORDER BY kind")
    assert [(row["kind"], row["name"], row["entry"]) for row in rows] == [
        ("subject", "small", "small"),
        ("transformers", "speaker", "speaker"),  # and not the commit that its folder is named by
    ]
    for row in rows:
        entry = entries[row["entry"]]
        named = (row["repository"], row["revision"], row["digest"])
        assert named == (entry.repository, entry.revision, entry.digest)
        files = ask(home, f"SELECT * EXCLUDE model_key FROM model_files WHERE model_key = '{row['model_key']}'")
        assert sorted(files, key=lambda file: file["path"]) == [dataclasses.asdict(file) for file in entry.files]


def test_of_a_model_outside_a_model_store_the_files_that_can_be_read_are_stored(home: Path) -> None:
    """Not what lies in folders below, and no pickled weights, which are never loaded."""
    (home / "models" / "manifest.json").unlink()
    folder = home / "models" / "small"
    (folder / "original").mkdir()
    (folder / "original" / "a.safetensors").write_bytes(b"1")
    (folder / "pytorch_model.bin").write_bytes(b"2")
    go(home, config_of(home), ("capture",))
    entry = ask(home, "SELECT entry, repository, revision FROM model_entries")
    assert entry == [{"entry": None, "repository": None, "revision": None}]
    stored = {row["path"]: row["sha256"] for row in ask(home, "SELECT path, sha256 FROM model_files")}
    assert stored == {
        path.name: hash_file(path) for path in folder.iterdir() if path.is_file() and path.suffix != ".bin"
    }


def test_what_is_no_language_model_has_no_files(home: Path) -> None:
    go(home, dataclasses.replace(config_of(home), explain=ExplainStage(units="mlp.0:3,mlp.1:5")))
    assert [row["kind"] for row in ask(home, "SELECT kind FROM models JOIN model_entries USING (model_key)")] == [
        "subject"
    ]


def test_a_run_from_before_gets_the_files_when_it_goes_on(home: Path) -> None:
    """The two tables emptied are a run that was migrated: its rows stay, and what is used again gets its files."""
    go(home, config_of(home), ("capture", "explain"))
    before = ask(home, "SELECT * FROM models ORDER BY ALL")
    wanted = ask(home, "SELECT * FROM model_files WHERE path = 'config.json' ORDER BY ALL")
    with open_for_writing(home / "run") as store:
        store.connection.execute("DELETE FROM model_files; DELETE FROM model_entries;")
    go(home, config_of(home))
    kinds = [row["kind"] for row in ask(home, "SELECT kind FROM models JOIN model_entries USING (model_key)")]
    assert kinds == ["transformers"]  # the capture is finished, and is not touched again
    assert [row for row in ask(home, "SELECT * FROM models ORDER BY ALL") if row in before] == before
    assert set(map(str, ask(home, "SELECT * FROM model_files WHERE path = 'config.json'"))) < set(map(str, wanted))


# keys -----------------------------------------------------------------------------------------------------------------


def test_names_and_keys_are_those_from_before_for_shipped_models_and_plain_folders(home: Path) -> None:
    stage = ExplainStage(explainer="tiny-explainer-1m")
    assert plan_explainer(stage).identity.name == "tiny-explainer-1m"
    folder = shutil.copytree(speaker(home), home / "plain")
    asked = dataclasses.replace(stage, explainer=str(folder))
    before = plan_explainer(asked)
    (home / "link").symlink_to(folder)
    linked = plan_explainer(dataclasses.replace(stage, explainer=str(home / "link")))
    assert (before.identity.name, linked.identity) == ("plain", before.identity)
    shutil.copytree(folder, home / "models" / "plain")
    record(home / "models", "plain", "plain")
    listed = plan_explainer(dataclasses.replace(stage, explainer=str(home / "models" / "plain")))
    assert listed.identity == before.identity
    in_cache = plan_explainer(dataclasses.replace(stage, explainer=str(speaker(home))))
    assert in_cache.identity.name == "speaker"
    assert in_cache.identity.details == before.identity.details


# refusals -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["subject", "explainer", "simulator"])
@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_one_flipped_byte_is_refused_before_anything_is_written(role: str, name: str, home: Path) -> None:
    """As a new run, and as one that goes on."""
    model = home / "models" / "small" if role == "subject" else speaker(home)
    flags = {"subject": ["--subject", home / "models" / "small"]}.get(role, ["--" + role, speaker(home)])
    flip(model / name)
    ended = run_cli("run", home / "run", "--texts", home / "texts", *flags, scratch=home)
    assert (ended.exit_code, len(ended.stderr.splitlines())) == (2, 1), ended
    why = f"{role} model: {model} is not what its manifest lists: {name}: changed"
    if name == "config.json":  # whose last byte makes it no JSON: said first
        why = "config.json is not JSON"
    assert why in ended.stderr
    assert not (home / "run").exists()


def test_a_run_that_goes_on_refuses_a_changed_model_and_stays_as_it_was(home: Path) -> None:
    config = config_of(home)
    go(home, config)
    before = hash_file(home / "run" / "run.duckdb")
    for file in (home / "models" / "small" / "tokenizer.json", speaker(home) / "model.safetensors"):
        flip(file)
        with pytest.raises(UserError, match=f"is not what its manifest lists: {file.name}: changed"):
            go(home, config)
        flip(file)
    assert hash_file(home / "run" / "run.duckdb") == before
    go(home, config)


@pytest.mark.parametrize(
    ("change", "why"), [("missing", "generation_config.json: missing"), ("extra", "new.py: extra")]
)
def test_a_file_too_few_or_too_many_is_refused(change: str, why: str, home: Path) -> None:
    if change == "missing":
        (speaker(home) / "generation_config.json").unlink()
    else:
        (speaker(home) / "new.py").write_text("print()")
    simulate = SimulateStage(simulator=str(speaker(home)), prompt=SimulateConfig(mode="expected"))
    with pytest.raises(UserError, match=f"simulator model: .* is not what its manifest lists: {why}"):
        plan_simulator(simulate)


def test_the_linear_control_refuses_a_changed_subject(home: Path) -> None:
    config = config_of(home)
    go(home, config, ("capture", "explain"))
    flip(home / "models" / "small" / "generation_config.json")
    with pytest.raises(UserError, match=r"subject model: .* is not what its manifest lists: generation_config\.json"):
        go(home, config, ("simulate",))
    assert ask(home, "SELECT * FROM simulations") == []


def test_a_link_into_a_model_store_is_checked_too(home: Path) -> None:
    (home / "link").symlink_to(home / "models" / "small")
    assert used_model(str(home / "link"), "subject").name == "small"
    flip(home / "models" / "small" / "tokenizer.json")
    with pytest.raises(UserError, match=r"tokenizer\.json: changed"):
        used_model(str(home / "link"), "subject")


def test_another_subject_is_refused_with_the_files_that_differ(home: Path) -> None:
    """Outside a model store nothing says what the files must be; the run itself does."""
    (home / "models" / "manifest.json").unlink()
    config = config_of(home)
    go(home, config, ("capture",))
    flip(home / "models" / "small" / "model.safetensors")
    (home / "models" / "small" / "README.md").write_text("of no matter to what the model is")
    (home / "models" / "small" / "chat_template.jinja").write_text("x")
    why = (
        r"made with another subject \(chat_template\.jinja: extra, model\.safetensors: changed \(sha256 .{,60}\)\); use"
    )
    with pytest.raises(RunError, match=why):
        go(home, config, ("capture",))
    with open_for_writing(home / "run") as store:
        store.connection.execute("DELETE FROM model_files; DELETE FROM model_entries;")
    with pytest.raises(RunError, match="made with another subject; use"):  # a run that does not know
        go(home, config, ("capture",))


# once a process -------------------------------------------------------------------------------------------------------


def test_a_model_is_read_once_however_many_stages_plan_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is explainer and simulator, and all is planned three times; its weights are opened once."""
    name = "tiny-explainer-12m"
    monkeypatch.setattr(modelfiles, "KNOWN_HASHES", {})
    opened: list[str] = []
    watching = [True]  # a hook cannot be taken off again

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if watching and event == "open":
            opened.append(str(arguments[0]))

    sys.addaudithook(note)
    simulate = SimulateStage(simulator=name, prompt=SimulateConfig(mode="expected"))
    config = RunConfig(corpus=CorpusConfig(path="demo"), explain=ExplainStage(explainer=name), simulate=simulate)
    for _ in range(3):
        check_inputs(config)
    watching.clear()
    assert opened.count(str(resource("models", name, "model.safetensors"))) == 1


def test_settings_stay_as_they_were_given(home: Path) -> None:
    """Nothing of the model store gets into the run's settings."""
    go(home, config_of(home))
    stored = json.loads(ask(home, "SELECT config FROM runs ORDER BY run_id DESC LIMIT 1")[0]["config"])
    assert stored["explain"]["explainer"] == str(speaker(home))
