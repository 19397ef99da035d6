"""Comparisons as a user runs them: cells filled and resumed, reports written, suites checked, releases read."""

import json
import shutil

import pytest

from localexplain.score.power import clusters_needed
from localexplain.store.store import open_for_reading
from tests.cli_process import differing_tables, run_cli, write_texts
from tests.published_fixtures import explanation_path, neuron_path, write_release

SMALLEST = "tiny-explainer-1m"
PLACES = [(layer, index) for layer in (0, 20, 47) for index in (3, 700, 6000)]


@pytest.fixture(scope="module")
def captured(tmp_path_factory):
    """A run on a handful of neurons, captured and no more."""
    folder = tmp_path_factory.mktemp("captured")
    texts = write_texts(folder / "texts")
    done = run_cli(
        "capture", folder / "run", "--texts", texts, "--units", "sample:8", "--set", 'capture.units="sample:16"',
        "--set", 'simulate.calibrate="none"', scratch=folder,
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    return folder / "run"


def stage_runs(folder):
    """A row for every time that a stage did work in the run."""
    with open_for_reading(folder) as store:
        return store.sql("SELECT stage, started_at FROM runs ORDER BY ALL").to_pylist()


@pytest.fixture
def run(captured, tmp_path):
    return shutil.copytree(captured, tmp_path / "run")


# compare -------------------------------------------------------------------------------------------------------------


def test_a_comparison_says_what_it_can_show_then_fills_its_cells_and_repeats(run, tmp_path):
    arguments = ("eval", "compare", run, "--explainers", f"lookup,{SMALLEST}", "--simulators", SMALLEST, "--json")
    done = run_cli(*arguments, scratch=tmp_path)
    assert done.exit_code == 0, done.stderr
    said = done.stderr.splitlines()
    assert "smallest mean difference" in said[1]  # before the first cell is filled
    assert next(place for place, line in enumerate(said) if "explain" in line and " by " in line) > 1
    values = json.loads(done.stdout)
    cells = values["selections"]["top_and_random"]["cells"]
    assert [(cell["explainer"], cell["simulator"]) for cell in cells] == [("lookup", SMALLEST), (SMALLEST, SMALLEST)]
    assert cells[0]["explainer_parameters"] is None
    assert cells[1]["explainer_parameters"] > 800_000
    assert cells[1]["cost"]["explain"]["generated_tokens"] > 0
    assert cells[0]["cost"]["explain"]["generated_tokens"] == 0
    assert cells[1]["cost"]["explain"]["peak_memory_bytes"] > 50e6
    for cell in cells:
        assert cell["score"]["n"] + cell["score"]["unscored"] == len(values["units"]) == 8
        assert cell["cost"]["simulate"]["computed_tokens"] > 0
    (pair,) = values["selections"]["top_and_random"]["pairs"]
    assert pair["difference"]["n"] <= min(cell["score"]["n"] for cell in cells)
    # the card: a simulator that is told nothing wrong about is qualified, and otherwise the report's head says why
    faults = values["simulators"][SMALLEST]["faults"]
    report = run / "comparison" / "report.html"
    assert ("is not qualified" in report.read_text(encoding="utf-8")) == bool(faults)
    assert (run / "comparison" / "report.md").is_file()
    assert sorted(path.suffix for path in (run / "comparison" / "figures").iterdir()) == [".svg"] * len(
        list((run / "comparison" / "figures").iterdir())
    )
    # the same again does no work, and gives the same, whatever difference is asked for
    before = shutil.copytree(run, tmp_path / "before")
    again = run_cli(*arguments, "--difference", 0.04, scratch=tmp_path)
    assert differing_tables(before, run) == []
    assert stage_runs(before) == stage_runs(run)  # no stage was started
    first, second = values, json.loads(again.stdout)
    assert first["selections"] == second["selections"]
    assert not second["plan"]["is_assumed"]  # the scores that were there say how much differences vary
    needed = clusters_needed(0.04, pair["sd"])
    assert second["plan"]["needed"] == {"0.04": needed}
    assert again.stderr.splitlines()[2:] == [f"units for other differences: 0.04 takes {needed:,}"]  # and no cell


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--explainers", "lookup,lookup", "--simulators", "rule"), "twice"),
        (("--explainers", "nowhere/at-all", "--simulators", "rule"), "no such folder"),
        (("--explainers", "lookup", "--simulators", "lookup@bad"), "dtype"),
        (("--explainers", "lookup", "--simulators", "rule", "--units", "mlp.99:1"), "mlp.99:1"),
        (("--explainers", "lookup", "--simulators", "rule", "--difference", "0"), "difference of 0.0"),
        (("--explainers", "lookup", "--simulators", "rule", "--difference", "inf"), "difference of inf"),
        (("--explainers", "lookup@float32@vllm@fp8@more", "--simulators", "rule"), "not a model"),
    ],
)
def test_a_comparison_that_cannot_be_is_refused_in_one_line(run, tmp_path, arguments, says):
    done = run_cli("eval", "compare", run, *arguments, scratch=tmp_path)
    assert done.exit_code == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_folder_that_is_no_run_is_named(tmp_path):
    done = run_cli("eval", "compare", tmp_path, "--explainers", "lookup", "--simulators", "rule", scratch=tmp_path)
    assert done.exit_code == 2
    assert "not a run folder" in done.stderr


def test_scores_are_provisional_until_the_simulator_has_a_card(run, tmp_path):
    done = run_cli("run", run, "--explainer", "lookup", "--simulator", SMALLEST, scratch=tmp_path)
    assert done.exit_code == 0, done.stderr
    assert "Provisional" in done.stdout
    card = run_cli("eval", "qualify", run, "--json", scratch=tmp_path)
    assert card.exit_code == 0, card.stderr
    values = json.loads(card.stdout)
    assert values["n_puzzles"] == 20
    assert values["again"] == 0.0  # the very same call
    shown = run_cli("show", run, scratch=tmp_path)
    assert ("Provisional" in shown.stdout) == bool(values["faults"])
    for fault in values["faults"]:
        assert fault in " ".join(shown.stdout.split())
    (kept,) = (run / "cards").iterdir()
    kept.write_text('{"faults": [', encoding="utf-8")
    for command in (("show",), ("eval", "qualify")):
        refused = run_cli(*command, run, scratch=tmp_path)
        assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
        assert kept.name in refused.stderr


# suites --------------------------------------------------------------------------------------------------------------


def test_a_suite_makes_its_own_run_and_is_checked_against_its_report(tmp_path):
    texts = write_texts(tmp_path / "texts")
    suite = tmp_path / "own.toml"
    suite.write_text(
        'title = "Two ways of listing"\nexplainers = ["lookup"]\nsimulators = ["rule"]\ntolerance = 0.01\n[run]\n'
        f'corpus = {{ path = "{texts}" }}\ncapture = {{ units = "sample:16" }}\nexplain = {{ units = "sample:8" }}\n',
        encoding="utf-8",
    )
    out = tmp_path / "out"
    first = run_cli("eval", "run", suite, "--out", out, "--json", scratch=tmp_path)
    assert first.exit_code == 0, first.stderr
    missing = run_cli("eval", "run", suite, "--out", out, "--check", scratch=tmp_path)
    assert missing.exit_code == 2
    assert "no checked-in report" in missing.stderr
    kept = tmp_path / "own" / "report.json"
    kept.parent.mkdir()
    shutil.copy(out / "report.json", kept)
    same = run_cli("eval", "run", suite, "--out", tmp_path / "anew", "--check", scratch=tmp_path)
    assert same.exit_code == 0, same.stderr
    values = json.loads(kept.read_text(encoding="utf-8"))
    values["selections"]["top_and_random"]["cells"][0]["score"]["mean"] += 0.02
    kept.write_text(json.dumps(values), encoding="utf-8")
    other = run_cli("eval", "run", suite, "--out", tmp_path / "anew", "--check", scratch=tmp_path)
    assert other.exit_code == 2
    assert "1 means differ" in other.stderr


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("speed = 1", "speed"),
        ('controls = ["shuffled", "shuffled"]', "names a control twice"),
        ('calibrate = "often"', "calibrate"),
        ('prompt = { mode = "aloud" }', "mode"),
        ('engine = { kind = "transformers", dtype = "float16" }', "float16"),
    ],
)
def test_a_suite_with_a_wrong_table_of_the_run_is_refused_before_anything_runs(tmp_path, table, says):
    texts = write_texts(tmp_path / "texts")
    suite = tmp_path / "own.toml"
    suite.write_text(
        'title = "Wrong"\nexplainers = ["lookup"]\nsimulators = ["rule"]\n'
        f'[run]\ncorpus = {{ path = "{texts}" }}\n[run.simulate]\n{table}\n',
        encoding="utf-8",
    )
    done = run_cli("eval", "run", suite, "--out", tmp_path / "out", scratch=tmp_path)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert says in done.stderr
    assert not (tmp_path / "out").exists()


# releases ------------------------------------------------------------------------------------------------------------


def test_a_release_is_verified_and_what_is_bad_is_counted(tmp_path):
    data = tmp_path / "release"
    made = write_release(data, PLACES, old_names=True, constant=[PLACES[1]])
    neuron_path(data, *PLACES[0]).write_text('{"neuron_id": ', encoding="utf-8")
    explanation_path(data, *PLACES[2]).unlink()
    arguments = ("eval", "published", "--data", data, "--out", tmp_path / "out", "--json")
    done = run_cli(*arguments, "--explainer", "lookup", "--simulator", "rule", scratch=tmp_path)
    assert done.exit_code == 0, done.stderr
    values = json.loads(done.stdout)
    assert values["release"] == "gpt2-xl"
    verification = values["verification"]
    assert (verification["n"], verification["undefined"], verification["one_sided"]) == (6, 1, 0)
    assert verification["differing"] == 0
    assert verification["largest"] < 1e-6
    assert {item["path"] for item in values["left_out"]} == {
        "collated-activations/0/3.json", "explanations/0/6000.jsonl",
    }  # fmt: skip
    cells = {(cell["explainer"], cell["simulator"]): cell for cell in values["selections"]["top_and_random"]["cells"]}
    assert list(cells) == [("published", "published"), ("published", "rule"), ("lookup", "rule")]
    scores = [neuron.explanation.score for neuron in made[3:]]
    assert cells["published", "published"]["explanation"]["mean"] == pytest.approx(sum(scores) / len(scores), abs=1e-6)
    assert cells["lookup", "rule"]["explanation"]["n"] > 0
    # the lookup explanations are by the stored activations alone: no subject was there to compute any
    with open_for_reading(tmp_path / "out") as store:
        assert store.sql("SELECT kind, name FROM models WHERE kind = 'subject'").to_pylist() == [
            {"kind": "subject", "name": "gpt2-xl"}
        ]
    # again: nothing changes
    before = shutil.copytree(tmp_path / "out", tmp_path / "before")
    again = run_cli(*arguments, "--explainer", "lookup", "--simulator", "rule", scratch=tmp_path)
    assert json.loads(again.stdout) == values
    assert differing_tables(before, tmp_path / "out") == []


def test_a_run_on_gpt2_xl_stands_beside_the_published_curve_and_says_what_differs(tmp_path):
    """A run of one's own has the same tables as an imported one: 48 layers of 6,400."""
    data = tmp_path / "release"
    made = write_release(data, PLACES[:3])
    out = tmp_path / "out"
    done = run_cli("eval", "published", "--data", data, "--release", "gpt2-xl", "--out", out, scratch=tmp_path)
    assert done.exit_code == 0, done.stderr
    done = run_cli("eval", "published", "--run", out, "--json", scratch=tmp_path)
    assert done.exit_code == 0, done.stderr
    values = json.loads(done.stdout)
    (cell,) = values["selections"]["top_and_random"]["cells"]
    (layer,) = cell["by_layer"]
    assert (layer["layer"], layer["published"]) == (0, 0.38)
    scores = [neuron.explanation.score for neuron in made]
    assert layer["own"]["mean"] == pytest.approx(sum(scores) / 3, abs=1e-6)
    for word in ("text", "simulator", "activation function"):
        assert word in values["notes"][0]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "give --data"),
        (("--data", "nowhere"), "nowhere"),
        (("--data", ".", "--explainer", "lookup"), "needs --simulator"),
        (("--data", ".", "--units", "3", "--neurons", "mlp.0:1"), "not both"),
    ],
)
def test_a_release_that_cannot_be_compared_is_refused_in_one_line(tmp_path, arguments, says):
    done = run_cli("eval", "published", *arguments, "--out", tmp_path / "out", scratch=tmp_path)
    assert done.exit_code == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_run_on_another_subject_is_not_compared(captured, tmp_path):
    done = run_cli("eval", "published", "--run", captured, scratch=tmp_path)
    assert done.exit_code == 2
    assert "not GPT-2 XL" in done.stderr
