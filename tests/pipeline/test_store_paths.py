"""A name of the model store becomes a path wherever a model may be named, and nothing else does."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from localexplain.arguments import build_parser
from localexplain.carry.model_store import add
from localexplain.cli_eval import bench_config
from localexplain.errors import UserError
from localexplain.evaluate.cells import ModelChoice, parse_choice
from localexplain.evaluate.suites import read_suite, with_paths
from localexplain.pipeline.config import RunConfig
from localexplain.pipeline.store_paths import paths_in, with_store_paths
from localexplain.resources import model_folder
from tests.carry_models import COMMIT, write_cache, write_model

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """`copied` lies in its own folder, `cached` in a snapshot."""
    store = tmp_path / "store"
    add(store, write_model(tmp_path / "m"), "copied", now=NOON)
    write_cache(store, "org/small", seed=1)
    add(store, store / "org" / "small", "cached", now=NOON)
    return store


def paths(store: Path) -> Mapping[str, str]:
    return {
        "copied": str(store / "copied"),
        "cached": str(store / "models--org--small" / "snapshots" / COMMIT),
    }


def named(subject: str, explainer: str, simulator: str) -> RunConfig:
    base = RunConfig()
    mode = replace(base.simulate.prompt, mode="rule" if simulator == "rule" else "expected")
    return replace(
        base,
        subject=subject,
        explain=replace(base.explain, explainer=explainer),
        simulate=replace(base.simulate, simulator=simulator, prompt=mode),
    )


def test_all_three_models_of_a_run_are_paths_afterwards(store: Path) -> None:
    there = paths(store)
    config = named("copied", "cached", "copied")
    assert with_store_paths(config, store) == named(there["copied"], there["cached"], there["copied"])
    assert with_store_paths(with_store_paths(config, store), store) == with_store_paths(config, store)


def test_what_is_no_name_of_the_store_stays(store: Path) -> None:
    config = named("tiny-subject", "lookup", "rule")
    other = named("absent", "./copied", "x/copied")
    for asked in (config, other):
        assert with_store_paths(asked, store) == asked
        assert with_store_paths(asked, None) == asked
        assert with_store_paths(asked, store / "absent") == asked
    assert with_store_paths(named("copied", "lookup", "rule"), None).subject == "copied"


def test_a_folder_where_one_stands_comes_before_the_store(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert with_store_paths(named("copied", "lookup", "rule"), store).subject == str(store / "copied")
    (tmp_path / "copied").mkdir()
    assert with_store_paths(named("copied", "lookup", "rule"), store).subject == "copied"


def test_the_path_does_not_depend_on_where_one_stands(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The processes that a command starts, and a later one, may stand elsewhere."""
    monkeypatch.chdir(tmp_path)
    assert with_store_paths(named("copied", "lookup", "rule"), Path("store")).subject == str(store / "copied")


def test_what_stands_behind_a_name_stays_behind_its_path(store: Path) -> None:
    there = paths(store)
    text = "copied@bfloat16, lookup ,cached@@vllm,tiny-subject@float32"
    assert paths_in(text, store) == f"{there['copied']}@bfloat16,lookup,{there['cached']}@@vllm,tiny-subject@float32"
    assert [parse_choice(part).dtype for part in paths_in("copied@bfloat16,cached", store).split(",")] == [
        "bfloat16",
        "",
    ]
    assert paths_in("copied@bfloat16", None) == "copied@bfloat16"


def test_a_store_whose_path_cannot_be_told_from_a_dtype(tmp_path: Path) -> None:
    store = tmp_path / "mine@work"
    add(store, write_model(tmp_path / "m"), "copied", now=NOON)
    with pytest.raises(UserError, match="neither @ nor a comma") as error:
        paths_in("copied@bfloat16", store)
    assert "\n" not in str(error.value)
    assert paths_in("lookup@x", store) == "lookup@x"
    assert with_store_paths(named("copied", "lookup", "rule"), store).subject == str(store / "copied")


def test_a_model_is_called_by_its_name_and_not_by_its_commit(store: Path) -> None:
    there = paths(store)
    assert parse_choice(f"{there['cached']}@bfloat16").label == "cached (bfloat16)"
    assert ModelChoice(name=there["cached"]).label == "cached"
    assert ModelChoice(name="elsewhere/x").label == "x"


def test_a_suites_models_become_paths_and_its_file_stays_as_it_is(store: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        'title = "x"\nexplainers = ["copied@bfloat16", "lookup"]\nsimulators = ["cached"]\n'
        '[run]\nsubject = "copied"\n[run.simulate]\nsimulator = "cached"\nprompt = { mode = "expected" }\n',
        encoding="utf-8",
    )
    suite, there = read_suite(str(file)), paths(store)
    found = with_paths(suite, store)
    assert [choice.name for choice in found.explainers] == [there["copied"], "lookup"]
    assert [choice.name for choice in found.simulators] == [there["cached"]]
    assert (found.settings.run.subject, found.settings.run.simulate.simulator) == (there["copied"], there["cached"])
    assert suite.settings.run.subject == "copied"
    assert with_paths(suite, None) == suite


def test_a_changed_manifest_stops_a_run_that_might_have_used_it(store: Path) -> None:
    (store / "manifest.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match="changed since it was written"):
        with_store_paths(named("copied", "lookup", "rule"), store)


def test_names_that_ship_cannot_be_hidden(store: Path) -> None:
    assert model_folder("tiny-subject").is_dir()
    assert with_store_paths(named("tiny-subject", "lookup", "rule"), store).subject == "tiny-subject"


def test_models_of_the_planted_units_and_their_simulator(store: Path) -> None:
    there = paths(store)
    arguments = build_parser().parse_args(["eval", "planted", "--models", "copied, cached,x", "--simulator", "cached"])
    arguments.store = store
    config = bench_config(arguments)
    assert config.models == (there["copied"], there["cached"], "x")
    assert config.simulator == there["cached"]
