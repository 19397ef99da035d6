"""What is there is never made again, and what is added leaves it as it was."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from localexplain.errors import RunError, UserError
from localexplain.explain.language_model import ExplainConfig
from localexplain.pipeline.config import EngineConfig, ExplainStage, RunConfig, SimulateStage
from localexplain.pipeline.main import run_stages
from localexplain.pipeline.reading import CAPTURE_STATE_FILE
from localexplain.pipeline.run import Run
from localexplain.pipeline.simulate import Stored, choose_stand_ins
from localexplain.simulate.base import SimulateConfig
from localexplain.store.store import open_for_reading, open_for_writing, query_rows
from localexplain.subject.corpus import CorpusConfig
from tests.cli_process import differing_tables, read_tables, write_texts
from tests.tiny_models import edit_json, write_tiny_engine
from tests.tiny_subjects import write_subject

STAGES = ("capture", "explain", "simulate", "score")
FEW = "mlp.0:3,mlp.1:5,mlp.2:7"
MORE = "mlp.0:3,mlp.0:8,mlp.1:5,mlp.1:9,mlp.2:7,mlp.2:11,mlp.2:30"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """A tiny subject and little text; the lookup explainer and the rule."""
    root = tmp_path_factory.mktemp("inputs")
    return RunConfig(
        subject=str(write_subject(root / "subject")),
        corpus=CorpusConfig(path=str(write_texts(root / "texts")), length_tokens=16),
        explain=ExplainStage(units=FEW),
    )


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_tiny_engine(tmp_path_factory.mktemp("engine") / "tiny-llama", family="llama")
    edit_json(folder / "config.json", max_position_embeddings=4096)
    return folder


def with_units(config: RunConfig, units: str) -> RunConfig:
    return dataclasses.replace(config, explain=dataclasses.replace(config.explain, units=units))


def go(
    folder: Path, config: RunConfig, stages: Sequence[str] = STAGES, *, retry_failed: bool = False
) -> dict[str, Any]:
    with open_for_writing(folder) as store:
        return run_stages(Run(folder=folder, store=store), config, stages, retry_failed=retry_failed)


def ask(folder: Path, query: str) -> list[dict[str, Any]]:
    with open_for_reading(folder) as store:
        rows: list[dict[str, Any]] = query_rows(store, query).to_pylist()
        return rows


def stages_done(folder: Path) -> list[tuple[str, int]]:
    return [(row["stage"], row["n_items"]) for row in ask(folder, "SELECT stage, n_items FROM runs ORDER BY run_id")]


# nothing is made twice ------------------------------------------------------------------------------------------------


def test_a_second_call_loads_no_model_and_says_the_same(base: RunConfig, tmp_path: Path) -> None:
    first = go(tmp_path / "run", base)
    (tmp_path / "config.json").write_text(json.dumps(dataclasses.asdict(base)))
    before = stages_done(tmp_path / "run")
    code = (
        "import json, sys; from pathlib import Path; from localexplain import api; "
        "from localexplain.pipeline.config import RunConfig; from localexplain.settings import parse_values; "
        "config = parse_values(json.loads(Path(sys.argv[1]).read_text()), RunConfig); "
        "print(json.dumps(api.run(sys.argv[2], config))); "
        "assert not {'torch', 'transformers'} & sys.modules.keys(), 'a model library was loaded'"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "config.json"), str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == json.loads(json.dumps(first))
    assert stages_done(tmp_path / "run") == before
    assert [stage for stage, _ in before] == list(STAGES)


def test_stage_by_stage_is_all_at_once(base: RunConfig, tmp_path: Path) -> None:
    go(tmp_path / "whole", base)
    for stage in STAGES:
        go(tmp_path / "run", base, [stage])
    assert differing_tables(tmp_path / "run", tmp_path / "whole") == []


# units are added ------------------------------------------------------------------------------------------------------


def rows_kept(before: dict[str, pa.Table], after: dict[str, pa.Table], table: str) -> bool:
    """Whether every row of the table is still there as it was."""
    old, new = before[table].to_pylist(), after[table].to_pylist()
    return all(row in new for row in old) and bool(old)


def test_added_units_leave_the_old_rows_as_they_were(base: RunConfig, tmp_path: Path) -> None:
    go(tmp_path, base)
    before = read_tables(tmp_path)
    summary = go(tmp_path, with_units(base, MORE))
    after = read_tables(tmp_path)
    for table in ("captures", "excerpts", "units", "records", "models"):
        assert after[table] == before[table]
    for table in ("explanations", "stand_ins", "simulations", "scores"):
        assert rows_kept(before, after, table)
        # the three units' rows and as many for each of the four others
        assert after[table].num_rows == before[table].num_rows / 3 * 7
    assert summary["explanations"] == 7


def test_stand_ins_stay_when_units_are_added_or_left_out(base: RunConfig, tmp_path: Path) -> None:
    """The fault this tells of: asked for two of three units, the third's explanation could not be found, the pairs were
    drawn anew, and both units had two shuffled controls."""
    pairs = "SELECT DISTINCT unit_id, explanation_key FROM simulations WHERE source = 'shuffled' ORDER BY ALL"
    go(tmp_path, base)
    before = ask(tmp_path, pairs)
    assert len(before) == 3
    few = go(tmp_path, with_units(base, "mlp.0:3,mlp.1:5"))
    assert ask(tmp_path, pairs) == before
    assert few["simulations"] == 3 * 60
    go(tmp_path, with_units(base, MORE))
    after = ask(tmp_path, pairs)
    assert [row for row in after if row in before] == before
    assert len(after) == 7


def test_a_unit_alone_has_no_stand_in_until_another_comes(base: RunConfig, tmp_path: Path) -> None:
    reasons = "SELECT DISTINCT reason FROM scores WHERE source = 'shuffled' AND metric = 'correlation'"
    go(tmp_path, with_units(base, "mlp.0:3"))
    assert ask(tmp_path, reasons) == [{"reason": "no other explanation to put in its place"}]
    go(tmp_path, with_units(base, "mlp.0:3,mlp.1:5"))
    assert ask(tmp_path, reasons) == [{"reason": None}]
    assert len(ask(tmp_path, "SELECT * FROM stand_ins")) == 2


def stored(texts: Sequence[str], sample: int = 0) -> list[Stored]:
    return [Stored(key=f"{sample}{place}", unit_id=place, sample=sample, text=text) for place, text in enumerate(texts)]


def test_stand_ins_are_other_units_explanations_of_the_same_sample() -> None:
    items = [*stored("abcd"), *stored("efgh", sample=1)]
    chosen = choose_stand_ins(items, {}, seed=0)
    assert chosen.keys() == {item.key for item in items}
    for item in items:
        other = chosen[item.key]
        assert other.unit_id != item.unit_id
        assert other.sample == item.sample
    assert len({other.key for other in chosen.values()}) == len(items)  # each stands in once
    assert choose_stand_ins(items, {}, seed=0) == chosen
    assert choose_stand_ins(items, chosen, seed=1) == {}


def test_the_last_one_without_a_stand_in_takes_any_other() -> None:
    items = stored("abc")
    paired = {items[0].key: items[1], items[1].key: items[0]}
    chosen = choose_stand_ins(items, paired, seed=0)
    assert chosen.keys() == {items[2].key}
    assert chosen[items[2].key] in items[:2]
    assert choose_stand_ins(items[:1], {}, seed=0) == {}


# several explainers, one capture --------------------------------------------------------------------------------------


def test_two_explainers_share_a_capture_and_keep_their_scores(base: RunConfig, engine: Path, tmp_path: Path) -> None:
    by_model = dataclasses.replace(
        base,
        explain=ExplainStage(
            units=FEW, explainer=str(engine), prompt=ExplainConfig(max_tokens=12, few_shot=0, temperature=0.0)
        ),
    )
    first = go(tmp_path, base)
    before = read_tables(tmp_path)
    second = go(tmp_path, by_model)
    after = read_tables(tmp_path)
    for table in ("captures", "excerpts", "units", "records"):
        assert after[table] == before[table]
    assert [stage for stage, _ in stages_done(tmp_path)].count("capture") == 1
    assert rows_kept(before, after, "scores")
    assert second["explanations"] == 6
    assert second["controls"]["lookup"] == first["controls"]["lookup"]
    # the rule finds no quoted token in a random sentence: nothing of it is scored, and it must not hide the other's
    assert go(tmp_path, base)["scores"] == first["scores"]
    assert go(tmp_path, by_model)["scores"] == second["scores"] != first["scores"]


def test_why_there_is_no_explanation_is_told_of_the_explainer_that_is_asked(
    base: RunConfig, engine: Path, tmp_path: Path
) -> None:
    """Both fail for every unit, each for its own reason; the fault this tells of gave one's reason to the other."""
    configs = [
        dataclasses.replace(
            base,
            explain=ExplainStage(units=FEW, explainer=str(engine), engine=EngineConfig(context_tokens=tokens)),
        )
        for tokens in (50, 70)
    ]
    for config in (*configs, configs[0]):
        go(tmp_path, config)
        tokens = config.explain.engine.context_tokens
        reasons = ask(
            tmp_path,
            "SELECT DISTINCT reason FROM scores JOIN models ON model_key = explainer_key "
            f"WHERE source = 'explanation' AND details->>'context_tokens' = '{tokens}'",
        )
        why = f"no explanation: the prompt is longer than the model's context of {tokens} tokens"
        assert reasons == [{"reason": why}]


# failed items ---------------------------------------------------------------------------------------------------------


def plant_failure(folder: Path) -> str:
    """Makes one unit's explanation one that failed; returns its key."""
    with open_for_writing(folder) as store:
        row = store.sql("SELECT explanation_key, unit_id FROM explanations ORDER BY unit_id LIMIT 1").to_pylist()[0]
        key: str = row["explanation_key"]
        store.connection.execute("DELETE FROM explanations WHERE explanation_key = $key", {"key": key})
        costs = {"prompt_tokens": 0, "computed_tokens": 0, "generated_tokens": 0}
        failure = {"failure_key": key, "stage": "explain", "unit_id": row["unit_id"], "reason": "planted", **costs}
        store.insert("failures", pa.Table.from_pylist([failure]))
    return key


def test_a_failed_item_is_tried_again_only_when_asked(base: RunConfig, tmp_path: Path) -> None:
    go(tmp_path / "whole", base)
    go(tmp_path / "run", base, ["capture", "explain"])
    key = plant_failure(tmp_path / "run")
    summary = go(tmp_path / "run", base)
    assert (summary["failures"], summary["explanations"]) == (1, 2)
    assert summary["scores"]["top_and_random"]["unscored"] >= 1
    reasons = ask(tmp_path / "run", "SELECT DISTINCT reason FROM scores WHERE explanation_key IS NULL AND unit_id = 3")
    assert {"reason": "no explanation: planted"} in reasons
    go(tmp_path / "run", base, ["simulate", "score"], retry_failed=True)  # of the stages that are named
    assert ask(tmp_path / "run", "SELECT failure_key FROM failures") == [{"failure_key": key}]
    go(tmp_path / "run", base, ["explain"], retry_failed=True)
    assert ask(tmp_path / "run", "SELECT * FROM failures") == []
    go(tmp_path / "run", base)
    # not the stand-ins, and what hangs on them: they were drawn among two units
    assert set(differing_tables(tmp_path / "run", tmp_path / "whole")) <= {"stand_ins", "simulations", "scores"}
    rest = "SELECT * FROM scores WHERE source <> 'shuffled' ORDER BY ALL"
    assert ask(tmp_path / "run", rest) == ask(tmp_path / "whole", rest)


def test_a_retry_leaves_another_explainer_s_failures_alone(base: RunConfig, engine: Path, tmp_path: Path) -> None:
    """The fault this tells of: all failures of the stage were forgotten, those that nobody tried again too."""
    short = dataclasses.replace(
        base, explain=ExplainStage(units=FEW, explainer=str(engine), engine=EngineConfig(context_tokens=50))
    )
    go(tmp_path, short, ["capture", "explain"])
    before = ask(tmp_path, "SELECT * FROM failures ORDER BY ALL")
    assert len(before) == 3
    go(tmp_path, base, ["explain", "simulate", "score"], retry_failed=True)
    assert ask(tmp_path, "SELECT * FROM failures ORDER BY ALL") == before


def test_prompts_too_long_are_a_row_each_and_are_counted(base: RunConfig, engine: Path, tmp_path: Path) -> None:
    """Whatever the simulator is shown is too long for it: every simulation is a failure, every score says why."""
    config = dataclasses.replace(
        base,
        simulate=SimulateStage(
            simulator=str(engine),
            prompt=SimulateConfig(mode="expected"),
            engine=EngineConfig(context_tokens=40),
        ),
    )
    summary = go(tmp_path, config)
    # for each of 3 units: its explanation on 10 valid and 10 calibration records, another's and none on 10
    assert (summary["failures"], summary["simulations"]) == (3 * 40, 3 * 20)
    for source in (summary["scores"], summary["controls"]["shuffled"], summary["controls"]["empty"]):
        assert {source[part]["unscored"] for part in source} == {3}
        assert {source[part]["mean"] for part in source} == {None}
    assert summary["controls"]["lookup"]["top_and_random"]["n"] == 3
    why = "the prompt is longer than the model's context of 40 tokens"
    assert ask(tmp_path, "SELECT DISTINCT stage, reason FROM failures") == [{"stage": "simulate", "reason": why}]
    reasons = ask(
        tmp_path,
        "SELECT DISTINCT reason FROM scores WHERE source = 'explanation' AND metric = 'correlation' ORDER BY reason",
    )
    assert [row["reason"] for row in reasons] == [
        f"10 of 10 simulations failed: {why}",
        f"5 of 5 simulations failed: {why}",
    ]
    before = stages_done(tmp_path)
    assert go(tmp_path, config) == summary
    assert stages_done(tmp_path) == before
    go(tmp_path, config, ["simulate"], retry_failed=True)
    assert stages_done(tmp_path) == [*before, ("simulate", 3 * 40)]
    assert len(ask(tmp_path, "SELECT * FROM failures")) == 3 * 40


# a run that does not fit ----------------------------------------------------------------------------------------------


def test_later_stages_want_a_finished_capture(base: RunConfig, tmp_path: Path) -> None:
    for stage in ("explain", "simulate", "score"):
        with pytest.raises(RunError, match="its capture is not finished; run `localexplain capture"):
            go(tmp_path, base, [stage])
    go(tmp_path, base)
    (tmp_path / CAPTURE_STATE_FILE).touch()  # as a kill leaves it, when all is stored but the state still lies there
    with pytest.raises(RunError, match="its capture is not finished"):
        go(tmp_path, base, ["explain"])
    go(tmp_path, base)
    assert not (tmp_path / CAPTURE_STATE_FILE).exists()
    go(tmp_path, base, ["explain"])


def test_a_capture_killed_before_its_first_checkpoint_is_not_finished(base: RunConfig, tmp_path: Path) -> None:
    """The excerpts and the capture's row are there, no state and no unit: the fault this tells of took it for done."""
    go(tmp_path / "whole", base, ["capture"])
    go(tmp_path / "run", base, ["capture"])
    with open_for_writing(tmp_path / "run") as store:
        store.connection.execute("DELETE FROM records; DELETE FROM units;")
    with pytest.raises(RunError, match="its capture is not finished"):
        go(tmp_path / "run", base, ["explain", "simulate", "score"])
    go(tmp_path / "run", base, ["capture"])
    assert differing_tables(tmp_path / "run", tmp_path / "whole") == []


@pytest.mark.parametrize("stages", [STAGES, ["explain"], ["simulate"], ["score"]])
def test_every_stage_refuses_other_settings_of_the_capture(
    stages: Sequence[str], base: RunConfig, tmp_path: Path
) -> None:
    go(tmp_path, base, ["capture"])
    others = {
        "another seed": dataclasses.replace(base, seed=1),
        "another capture settings": dataclasses.replace(base, capture=dataclasses.replace(base.capture, top_k=10)),
        "another corpus settings": dataclasses.replace(base, corpus=dataclasses.replace(base.corpus, length_tokens=8)),
    }
    before = read_tables(tmp_path)
    for words, config in others.items():
        with pytest.raises(RunError, match=f"made with {words}; use a new run folder"):
            go(tmp_path, config, stages)
    assert read_tables(tmp_path) == before


def test_the_linear_control_is_of_the_subject_that_was_captured(base: RunConfig, tmp_path: Path) -> None:
    """`simulate --subject OTHER` would have put another model's weights beside this one's activations."""
    go(tmp_path / "run", base, ["capture", "explain"])
    other = dataclasses.replace(base, subject=str(write_subject(tmp_path / "other", seed=1)))
    with pytest.raises(RunError, match="other is not the subject that was captured"):
        go(tmp_path / "run", other, ["simulate"])
    assert ask(tmp_path / "run", "SELECT * FROM simulations") == []
    moved = Path(base.subject).rename(tmp_path / "moved")
    go(tmp_path / "run", dataclasses.replace(base, subject=str(moved)), ["simulate", "score"])
    moved.rename(base.subject)
    assert len(ask(tmp_path / "run", "SELECT * FROM simulations WHERE source = 'linear'")) == 30


def test_a_control_that_is_not_asked_for_now_keeps_its_scores(base: RunConfig, tmp_path: Path) -> None:
    go(tmp_path, base)
    before = read_tables(tmp_path)["scores"]
    fewer = dataclasses.replace(base, simulate=SimulateStage(controls=("lookup",)))
    summary = go(tmp_path, fewer)
    assert summary["controls"].keys() == {"lookup"}
    assert read_tables(tmp_path)["scores"] == before


def test_units_that_were_not_captured_are_refused(base: RunConfig, tmp_path: Path) -> None:
    some = dataclasses.replace(
        base, capture=dataclasses.replace(base.capture, units="mlp.0,mlp.1:5"), explain=ExplainStage(units="mlp.2:7")
    )
    with pytest.raises(UserError, match=r"mlp\.2:7 was not captured"):
        go(tmp_path, some)
