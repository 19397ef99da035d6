"""What --json prints and people read: the structure, means worked out by hand, and that all of it is JSON."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

from localexplain.evaluate.bench import BenchConfig, PlantedResults, judge_version, planted_values, puzzle_values
from localexplain.evaluate.planted import ExplainerResult, SimulatorResult, measure_explanations, measure_simulator
from localexplain.evaluate.puzzles import PuzzleResult, measure_puzzles
from localexplain.evaluate.tables import print_planted, print_puzzles, short, show
from localexplain.evaluate.units import PlantedUnit
from localexplain.planted.concept import Concept, PlantedText
from localexplain.planted.puzzles import read_puzzles
from localexplain.simulate.rule import RuleSimulator

SUMMARY = {"mean", "median", "n", "unscored", "low", "high"}
CONFIG = BenchConfig(models=("small", "large"), simulator="large", seed=4)
KINDS = ("affix", "affix", "affix", "word")  # three units of one kind, one of the other


def unit(kind, number):
    made = Concept(kind=kind, name=f"{kind} {number}", explanations=("made",), patterns=())
    return PlantedUnit(concept=made, shown=(), scored=())


def word_unit(word):
    """A unit that is active on one word, explained as a rule reads it."""
    made = Concept(kind=word, name=word, explanations=(f"the token ' {word}'",), patterns=())
    text = PlantedText(tokens=("A", f" {word}", " here"), activations=np.array([0, 9, 0], dtype=np.float32))
    return PlantedUnit(concept=made, shown=(), scored=(text,))


def results(**changes):
    found = {
        "units": [unit(kind, number) for number, kind in enumerate(KINDS)],
        "simulators": {
            # true: affix (0.25 + 0.75) / 2 = 0.5, word 1: 0.75
            # shuffled: affix (0.25 + 0.25 - 0.5) / 3 = 0, word 0.5: 0.25
            # lift: affix (0 + 0.5) / 2 = 0.25, word 0.5: 0.375; the unit that has no true score has no lift
            "small": SimulatorResult(
                true=[0.25, 0.75, None, 1.0],
                shuffled=[0.25, 0.25, -0.5, 0.5],
                empty=[None, None, None, None],
                label_mass=0.75,
                failed=3,
            ),
            # larger - smaller, by unit: 0.25, 0.25, none, 0; affix 0.25, word 0: 0.125
            "large": SimulatorResult(
                true=[0.5, 1.0, 0.5, 1.0],
                shuffled=[0.0, 0.0, 0.0, 0.0],
                empty=[0.25, 0.0, 0.5, 0.25],
            ),
        },
        "explainers": {
            "lookup": ExplainerResult(
                explanations=["l0", "l1", "l2", None], true=[0.5, 0.25, 0.0, None], shuffled=[0.0, 0.25, None, None]
            ),
            # above lookup, by unit: 0.25, 0.25, 0.25, none: affix 0.25, word none: 0.25
            "large": ExplainerResult(
                explanations=["e0", "e1", "e2", "e3"], true=[0.75, 0.5, 0.25, 1.0], shuffled=[0.25, 0.0, 0.25, 0.0]
            ),
        },
        # affix (1 + 0.5) / 2 = 0.75, word 0.5: 0.625
        "judges": {"small": [1.0, 0.5, None, 0.5]},
    }
    return PlantedResults(**(found | changes))


def values(**changes):
    return planted_values(results(**changes), CONFIG)


def round_trip(data):
    """As a reader of the JSON has it; NaN is refused."""
    return json.loads(json.dumps(data, allow_nan=False))


# planted -------------------------------------------------------------------------------------------------------------


def test_it_is_json_and_nothing_is_lost_on_the_way():
    found = values()
    assert round_trip(found) == found


def test_measured_results_are_json_too():
    # NumPy's numbers, which come out of the measuring, are none: what is handed on is plain
    units = [word_unit(word) for word in ("cat", "oak", "rain")]
    explanations: list[str | None] = ["the token ' cat'", "the token ' oak'", None]
    found = results(
        units=units,
        simulators={"rule": measure_simulator(RuleSimulator(), units, seed=0)},
        explainers={"lookup": measure_explanations(RuleSimulator(), units, explanations, seed=0)},
        judges={},
    )
    read = round_trip(planted_values(found, CONFIG))
    assert read["simulator"]["rule"]["true"]["mean"] == pytest.approx(1)
    assert (read["explainer"]["lookup"]["true"]["n"], read["explainer"]["lookup"]["true"]["unscored"]) == (2, 1)
    puzzles = read_puzzles()
    read = round_trip(puzzle_values({"rule": measure_puzzles(RuleSimulator(), puzzles)}, seed=0))
    assert read["rule"]["n"] == len(puzzles)


def test_the_parts():
    found = values()
    assert set(found) == {
        "seed", "mode", "units", "fixed_simulator", "simulator", "explainer", "judge", "larger_minus_smaller",
        "explanations",
    }  # fmt: skip
    assert (found["seed"], found["mode"], found["units"], found["fixed_simulator"]) == (4, "expected", 4, "large")
    assert list(found["simulator"]) == ["small", "large"]
    assert list(found["explainer"]) == ["lookup", "large"]
    assert list(found["judge"]) == ["small"]
    for model in found["simulator"].values():
        assert all(set(model[key]) == SUMMARY for key in ("true", "shuffled", "empty", "lift"))
    for model in found["explainer"].values():
        assert all(set(model[key]) == SUMMARY for key in ("true", "shuffled", "lift", "above_lookup"))
    assert set(found["judge"]["small"]["accuracy"]) == SUMMARY


def test_means_of_simulators_weigh_kinds_alike():
    small, large = values()["simulator"]["small"], values()["simulator"]["large"]
    assert [small[key]["mean"] for key in ("true", "shuffled", "lift")] == [0.75, 0.25, 0.375]
    assert [(small[key]["n"], small[key]["unscored"]) for key in ("true", "shuffled", "lift")] == [
        (3, 1), (4, 0), (3, 1)
    ]  # fmt: skip
    # affix 2/3, word 1; empty: affix 0.25, word 0.25
    assert large["true"]["mean"] == pytest.approx(5 / 6)
    assert large["lift"] == large["true"]
    assert large["empty"]["mean"] == 0.25


def test_what_no_unit_has_is_none_and_counted():
    assert values()["simulator"]["small"]["empty"] == {
        "mean": None, "median": None, "n": 0, "unscored": 4, "low": None, "high": None
    }  # fmt: skip


def test_mass_and_failures_are_handed_on():
    found = values()["simulator"]
    assert (found["small"]["label_mass"], found["small"]["failed"]) == (0.75, 3)
    assert (found["large"]["label_mass"], found["large"]["failed"]) == (None, 0)


def test_each_kind_alone():
    kinds = values()["simulator"]["small"]["kinds"]
    assert list(kinds["true"]) == list(kinds["lift"]) == ["affix", "word"]
    assert {kind: summary["mean"] for kind, summary in kinds["true"].items()} == {"affix": 0.5, "word": 1.0}
    assert {kind: summary["mean"] for kind, summary in kinds["lift"].items()} == {"affix": 0.25, "word": 0.5}
    assert (kinds["true"]["affix"]["n"], kinds["true"]["affix"]["unscored"]) == (2, 1)
    assert kinds["true"]["word"]["low"] is None
    explainer = values()["explainer"]["large"]["kinds"]
    assert {kind: summary["mean"] for kind, summary in explainer["true"].items()} == {"affix": 0.5, "word": 1.0}
    judge = values()["judge"]["small"]["kinds"]
    assert {kind: summary["mean"] for kind, summary in judge.items()} == {"affix": 0.75, "word": 0.5}


def test_explainers_beside_lookup():
    found = values()["explainer"]
    assert found["large"]["above_lookup"]["mean"] == 0.25
    assert (found["large"]["above_lookup"]["n"], found["large"]["above_lookup"]["unscored"]) == (3, 1)
    assert found["lookup"]["above_lookup"]["mean"] == 0
    # lookup: true affix 0.25; lift affix (0.5 + 0) / 2 = 0.25. large: affix 0.5, word 1; lift affix 1/3, word 1
    assert [found["lookup"][key]["mean"] for key in ("true", "lift")] == [0.25, 0.25]
    assert found["large"]["true"]["mean"] == 0.75
    assert found["large"]["lift"]["mean"] == pytest.approx(2 / 3)


def test_judges():
    assert values()["judge"]["small"]["accuracy"]["mean"] == 0.625
    assert values()["judge"]["small"]["accuracy"]["unscored"] == 1


def test_larger_minus_smaller_is_paired_and_by_neighbours():
    found = values()["larger_minus_smaller"]
    assert list(found) == ["large - small"]
    assert (found["large - small"]["mean"], found["large - small"]["n"]) == (0.125, 3)
    three = results().simulators | {"huge": results().simulators["small"]}
    found = values(simulators=three)["larger_minus_smaller"]
    assert list(found) == ["large - small", "huge - large"]
    assert found["huge - large"]["mean"] == -0.125
    alone = {"small": results().simulators["small"]}
    assert values(simulators=alone)["larger_minus_smaller"] == {}


def test_every_explanation_stands_beside_its_concept_and_score():
    found = values()["explanations"]
    assert list(found) == ["lookup", "large"]
    assert found["lookup"][3] == {"kind": "word", "concept": "word 3", "explanation": None, "score": None}
    assert [row["score"] for row in found["large"]] == [0.75, 0.5, 0.25, 1.0]
    assert [row["explanation"] for row in found["large"]] == ["e0", "e1", "e2", "e3"]


def test_the_seed_draws_the_intervals():
    found = results()
    one, other = (planted_values(found, BenchConfig(simulator="large", seed=seed)) for seed in (0, 1))
    wide = [item["simulator"]["large"]["true"] for item in (one, other)]
    assert wide[0]["mean"] == wide[1]["mean"]
    assert all(summary["low"] <= summary["mean"] <= summary["high"] for summary in wide)
    assert (one["seed"], other["seed"]) == (0, 1)


def test_one_changed_score_changes_what_is_made_from_it_and_nothing_else():
    changed = results()
    changed.judges["small"][3] = 0.0
    before, after = values(), planted_values(changed, CONFIG)
    assert {key for key in before if before[key] != after[key]} == {"judge"}
    assert after["judge"]["small"]["accuracy"]["mean"] == 0.375
    assert after["judge"]["small"]["kinds"]["affix"] == before["judge"]["small"]["kinds"]["affix"]


def test_a_judge_asks_as_its_model_was_trained_to(tmp_path):
    assert judge_version(tmp_path) == "v1"
    (tmp_path / "card.json").write_text('{"prompt_version": "inline-v2"}', encoding="utf-8")
    assert judge_version(tmp_path) == "inline-v2"


# puzzles -------------------------------------------------------------------------------------------------------------


def ranked(name, *scores):
    return PuzzleResult(name=name, scores=scores)


PUZZLES = {
    "small": [
        ranked("a", 0.5, 0.25, 0.0),  # first; beats 2 of 2
        ranked("b", 0.5, 0.75, 0.5),  # third; 0 and a tie, 0.5 of 2
        ranked("c", 0.25, 0.5, None),  # second; 1 of 2
        ranked("d", None, 0.5),  # second; 0 of 1
    ],
    "large": [ranked("a", 1.0, 0.0, 0.0)],
}


def test_puzzles_by_hand():
    found = puzzle_values(PUZZLES, seed=0)
    small = found["small"]
    assert list(found) == ["small", "large"]
    assert (small["n"], small["truth_first"], small["truth_in_first_two"]) == (4, 1, 3)
    # pairs: (2 + 0.5 + 1 + 0) of 7
    assert small["pairwise"] == 0.5
    # puzzles: 1, 0.25, 0.5, 0: the interval is around 0.4375
    low, high = small["pairwise_interval"]
    assert 0 <= low < 0.4375 < high <= 1
    # three explanations in three of the puzzles, two in one
    assert small["chance"] == {"truth_first": pytest.approx(3 / 3 + 1 / 2), "pairwise": 0.5}
    assert [(item["name"], item["rank"]) for item in small["puzzles"]] == [("a", 1), ("b", 3), ("c", 2), ("d", 2)]
    assert small["puzzles"][2]["scores"] == [0.25, 0.5, None]


def test_one_puzzle_has_no_interval():
    large = puzzle_values(PUZZLES, seed=0)["large"]
    assert (large["n"], large["truth_first"], large["pairwise"]) == (1, 1, 1.0)
    assert large["pairwise_interval"] == [None, None]


def test_puzzles_are_json():
    found = puzzle_values(PUZZLES, seed=0)
    assert round_trip(found) == found
    assert puzzle_values({}, seed=0) == {}


# tables --------------------------------------------------------------------------------------------------------------


def printed(write, data):
    """The lines that people see, each run of spaces as one."""
    console = Console(file=io.StringIO(), width=240, color_system=None)
    write(data, console)
    return [" ".join(line.split()) for line in console.file.getvalue().splitlines()]


def test_a_summary_in_words():
    full = {"mean": 0.5, "median": 0.5, "n": 12, "unscored": 0, "low": 0.25, "high": 0.75}
    assert show(full) == "0.500 (0.250 to 0.750), n 12"
    assert show(full | {"unscored": 3}) == "0.500 (0.250 to 0.750), n 12, 3 unscored"
    assert show(full | {"low": None, "high": None, "n": 1}) == "0.500, n 1"
    nothing = {"mean": None, "median": None, "n": 0, "unscored": 4, "low": None, "high": None}
    assert show(nothing) == "none of 4 scored"
    assert (short(full), short(nothing)) == ("0.50", "-")


def test_the_planted_tables_show_every_model_and_kind():
    found = values()
    lines = printed(print_planted, found)
    small = found["simulator"]["small"]
    row = " ".join(show(small[key]) for key in ("true", "shuffled", "empty", "lift"))
    assert f"small {row}" in lines
    assert "none of 4 scored" in row
    large, lookup = found["explainer"]["large"], found["explainer"]["lookup"]
    assert f"large {show(large['true'])} {show(large['lift'])} {show(large['above_lookup'])}" in lines
    assert f"lookup {show(lookup['true'])} {show(lookup['lift'])}" in lines  # above itself it is nothing
    assert f"small {show(found['judge']['small']['accuracy'])}" in lines
    # affix: small 0.5 and 0.25, large 2/3 and 2/3; word: small 1 and 0.5, large 1 and 1
    assert "affix 0.50 / 0.25 0.67 / 0.67" in lines
    assert "word 1.00 / 0.50 1.00 / 1.00" in lines


def test_the_puzzle_table():
    found = puzzle_values(PUZZLES, seed=0)
    lines = printed(print_puzzles, found)
    low, high = found["small"]["pairwise_interval"]
    assert f"small 4 1 (chance 2) 3 0.50 ({low:.2f} to {high:.2f})" in lines  # 1.5 rounds to even
    assert "large 1 1 (chance 0) 1 1.00" in lines


def test_a_model_whose_name_has_brackets_keeps_it():
    lines = printed(print_puzzles, {"small[int8]": puzzle_values(PUZZLES, seed=0)["small"]})
    assert any("small[int8]" in line for line in lines)
