"""Cells beside cells: what is found where something was planted, and what is not where nothing was."""

from dataclasses import replace

import numpy as np
import pytest

from localexplain.errors import ConfigError, UserError
from localexplain.evaluate.cells import ModelChoice, cell_config, parse_choice
from localexplain.evaluate.compare import (
    ALPHA,
    ASSUMED_SD,
    LEAST_SD,
    LEAST_WANTED,
    POWER,
    by_layer,
    comparison_values,
    make_pairs,
    parse_choices,
    plan_comparison,
)
from localexplain.evaluate.sizes import count_parameters
from localexplain.evaluate.suites import find_deviations, read_suite
from localexplain.pipeline.config import RunConfig
from localexplain.resources import resource
from localexplain.score.power import clusters_needed
from tests.evaluate.cells import make_cell

N = 60


@pytest.fixture
def base():
    return np.random.default_rng(0).normal(0.3, 0.2, N)


def test_a_planted_difference_is_found_and_a_null_one_is_not(base):
    random = np.random.default_rng(1)
    better = base + 0.1 + random.normal(0, 0.05, N)
    same = base + random.normal(0, 0.05, N)
    cells = [make_cell("better", better), make_cell("base", base), make_cell("same", same)]
    pairs = {(pair.a, pair.b): pair for pair in make_pairs(cells, "top_and_random", 0)}
    found, null = pairs["better by s", "base by s"], pairs["base by s", "same by s"]
    assert found.difference.mean == pytest.approx(float((better - base).mean()))
    assert found.difference.low > 0.05
    assert found.p_holm < 0.01
    assert null.difference.low < 0 < null.difference.high
    assert null.p_holm > 0.05
    # Holm: the smallest of three p-values is multiplied by three
    smallest = min(pair.p for pair in pairs.values())
    assert min(pair.p_holm for pair in pairs.values()) == pytest.approx(3 * smallest)


def test_pairs_share_an_explainer_or_a_simulator():
    cells = [make_cell(explainer, [0.1, 0.2], simulator) for explainer in "ab" for simulator in "st"]
    named = {(pair.a, pair.b, pair.simulator) for pair in make_pairs(cells, "top_and_random", 0)}
    assert named == {
        ("a by s", "b by s", "s"), ("a by t", "b by t", "t"),
        ("a by s", "a by t", "both"), ("b by s", "b by t", "both"),
    }  # fmt: skip


def test_units_that_one_side_lacks_are_counted_and_not_averaged():
    pair = make_pairs([make_cell("a", [0.5, None, 0.9]), make_cell("b", [0.25, 0.5, None])], "top_and_random", 0)[0]
    assert (pair.difference.mean, pair.difference.n, pair.difference.unscored) == (0.25, 1, 2)
    assert pair.sd is None
    assert pair.smallest is None


def test_layers_are_summarised_apart():
    cell = make_cell("a", [0.0, 0.1, 0.2, 0.4, 0.5, None])  # layers 0 1 2 0 1 2
    found = by_layer(cell, "explanation", "top_and_random", 0)
    assert {layer: (summary.mean, summary.n, summary.unscored) for layer, summary in found.items()} == {
        0: (pytest.approx(0.2), 2, 0), 1: (pytest.approx(0.3), 2, 0), 2: (pytest.approx(0.2), 1, 1),
    }  # fmt: skip


def test_lift_is_paired_with_the_shuffled_control():
    cell = make_cell("a", [0.5, 0.7, 0.9], shuffled=[0.25, None, 0.15])
    values = comparison_values([cell], [], plan_comparison(3, 0, []), ("top_and_random",), 0)
    lift = values["selections"]["top_and_random"]["cells"][0]["lift"]
    assert (lift["mean"], lift["n"], lift["unscored"]) == (pytest.approx(0.5), 2, 1)


# beforehand ----------------------------------------------------------------------------------------------------------


def test_what_is_said_beforehand_grows_sharper_with_units():
    few, many = plan_comparison(25, 3, []), plan_comparison(400, 0, [])
    assert (few.sd, few.is_assumed, few.n_too_few) == (ASSUMED_SD, True, 3)
    # by the normal approximation (1.96 + 0.84) sd / sqrt(n), and a little more for few units
    assert many.smallest == pytest.approx(2.80 * ASSUMED_SD / 20, rel=0.01)
    assert few.smallest > 4 * many.smallest
    assert few.needed == many.needed
    assert few.needed["0.1"] < few.needed["0.01"]


def test_scores_that_are_there_replace_the_assumption():
    plan = plan_comparison(100, 0, [0.1, 0.1, 0.2, 0.2])
    assert not plan.is_assumed
    assert plan.sd == pytest.approx(np.std([0.1, 0.1, 0.2, 0.2], ddof=1))
    assert "of the scores that are there" in plan.lines[1]


def test_a_wanted_difference_takes_the_units_that_the_test_itself_says():
    """Half an SD: 34 pairs, as the tables of a paired t test at 80 % and 5 % have it. A tenth needs about 25 times as
    many as a half, a whole one fewer than 34 / 2."""
    wanted = [share * ASSUMED_SD for share in (0.1, 0.5, 1.0)]
    plan = plan_comparison(40, 0, [], wanted)
    assert list(plan.needed) == [str(value) for value in wanted]
    tenth, half, whole = plan.needed.values()
    assert half == 34
    assert tenth == pytest.approx(25 * half, rel=0.1)
    assert 8 < whole < 17
    assert list(plan.needed.values()) == [clusters_needed(value, ASSUMED_SD, POWER, ALPHA) for value in wanted]
    assert plan.lines[2].endswith(f"{wanted[1]} takes 34, {wanted[2]} takes {whole}")


def test_a_wanted_difference_is_judged_by_the_scores_that_are_there():
    """SD of 0, 0.1, 0.2, 0.3: sqrt(0.05 / 3) = 0.1291."""
    plan = plan_comparison(40, 0, [0.0, 0.1, 0.2, 0.3], [0.05])
    assert plan.needed == {"0.05": clusters_needed(0.05, (0.05 / 3) ** 0.5)}
    assert plan.needed != plan_comparison(40, 0, [], [0.05]).needed


def test_what_is_needed_and_what_is_found_are_two_readings_of_one_test():
    """So many units as the smallest difference takes are the units that there are."""
    smallest = plan_comparison(40, 0, []).smallest
    barely_more, barely_less = smallest * (1 + 1e-6), smallest * (1 - 1e-6)
    assert list(plan_comparison(40, 0, [], [barely_more, barely_less]).needed.values()) == [40, 41]


def test_differences_that_are_all_one_need_some_units_all_the_same():
    plan = plan_comparison(40, 0, [0.25, 0.25, 0.25], [0.01, LEAST_WANTED])
    assert (plan.sd, plan.is_assumed) == (LEAST_SD, False)
    assert list(plan.needed.values()) == [2, 2]  # never fewer than two
    assert 0 < plan.smallest < LEAST_SD


@pytest.mark.parametrize("wrong", [0.0, -0.1, 1e-300, 2.5, float("nan"), float("inf")])
def test_a_wanted_difference_that_is_none_is_refused_by_name(wrong):
    with pytest.raises(UserError, match=f"of {wrong}: must be"):
        plan_comparison(40, 0, [], [0.1, wrong])


def test_one_unit_cannot_be_compared():
    with pytest.raises(UserError, match="at least 2"):
        plan_comparison(1, 0, [])


# choices -------------------------------------------------------------------------------------------------------------


def test_a_choice_changes_its_own_engine_alone():
    config = cell_config(RunConfig(), parse_choice("models/x@bfloat16"), parse_choice("y@float32@vllm"))
    assert (config.explain.explainer, config.explain.engine.dtype, config.explain.engine.kind) == (
        "models/x", "bfloat16", "transformers",
    )  # fmt: skip
    assert (config.simulate.simulator, config.simulate.engine.dtype, config.simulate.engine.kind) == (
        "y", "float32", "vllm",
    )  # fmt: skip
    assert config.simulate.prompt.mode == "expected"
    assert cell_config(RunConfig(), ModelChoice(name="lookup"), ModelChoice(name="rule")).simulate.prompt.mode == "rule"


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("models/x", "x"),
        ("models/x@bfloat16", "x (bfloat16)"),
        ("models/x@bfloat16@vllm", "x (bfloat16, vllm)"),
        ("models/x@bfloat16@vllm@fp8", "x (bfloat16, vllm, fp8)"),
        ("models/x@@vllm@fp8", "x (vllm, fp8)"),
        ("models/x@@@fp8", "x (fp8)"),
    ],
)
def test_a_choice_is_written_as_it_was_read(text, label):
    choice = parse_choice(f" {text} ")
    assert "@".join([choice.name, choice.dtype, choice.engine, choice.quantization]).rstrip("@") == text
    assert choice.label == label


def test_quantisation_is_that_of_the_model_it_stands_behind():
    own = RunConfig()
    own = replace(own, simulate=replace(own.simulate, engine=replace(own.simulate.engine, kind="vllm")))
    config = cell_config(own, parse_choice("x@bfloat16@vllm@fp8"), parse_choice("y@@@gptq"))
    assert (config.explain.engine.dtype, config.explain.engine.quantization) == ("bfloat16", "fp8")
    assert config.simulate.engine == replace(own.simulate.engine, quantization="gptq")  # all else stays the run's
    assert cell_config(own, parse_choice("x"), parse_choice("y")).explain.engine == own.explain.engine


def test_two_quantisations_of_one_model_are_two_choices():
    first, second = parse_choices("x@float16@vllm@fp8, x@float16@vllm@gptq", "--explainers")
    assert (first.label, second.label) == ("x (float16, vllm, fp8)", "x (float16, vllm, gptq)")


@pytest.mark.parametrize("text", ["", "@bfloat16", "a@b@c@d@e"])
def test_what_is_no_choice_is_refused(text):
    with pytest.raises(UserError, match="not a model"):
        parse_choice(text)


@pytest.mark.parametrize(("text", "named"), [("", "names no model"), ("a,a", "twice"), ("x/a,y/a", "twice")])
def test_lists_of_choices(text, named):
    with pytest.raises(UserError, match=named):
        parse_choices(text, "--explainers")


def test_an_engine_that_does_not_exist_is_named():
    with pytest.raises(ConfigError, match="dtype"):
        cell_config(RunConfig(), parse_choice("a@int3"), parse_choice("rule"))


# suites --------------------------------------------------------------------------------------------------------------


def report(mean):
    cell = {"explainer": "a", "simulator": "s", "score": {"mean": mean}}
    return {"selections": {"top_and_random": {"cells": [cell]}}}


def test_deviations_are_those_beyond_the_tolerance():
    assert find_deviations(report(0.5), report(0.509), 0.01) == []
    (found,) = find_deviations(report(0.5), report(0.511), 0.01)
    assert (found.cell, found.wanted, found.found) == ("a by s", 0.5, 0.511)
    assert find_deviations(report(None), report(None), 0.01) == []
    assert len(find_deviations(report(None), report(0.5), 0.01)) == 1
    other = replace(found, cell="b by s", wanted=0.5, found=None)
    changed = report(0.5)
    changed["selections"]["top_and_random"]["cells"].append(
        {"explainer": "b", "simulator": "s", "score": {"mean": 0.5}}
    )
    assert find_deviations(changed, report(0.5), 0.01) == [other]


def test_the_suites_that_ship_can_be_read():
    for path in resource("eval", "suites").glob("*.toml"):
        suite = read_suite(path.stem)
        assert suite.explainers
        assert suite.simulators
        assert suite.settings.title


def test_a_suite_that_is_not_there_names_those_that_are():
    with pytest.raises(UserError, match="sizes"):
        read_suite("nothing")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("explainers = []\nsimulators = ['a']\ntitle = 'x'", "explainers"),
        ("title = 'x'", "explainers"),
        ("explainers = ['a']\nsimulators = ['a']\ntitle = 'x'\ntolerance = -1", "tolerance"),
        ("explainers = ['a']\nsimulators = ['a']\ntitle = 'x'\nspeed = 1", "speed"),
        ("not toml", "not a TOML file"),
    ],
)
def test_a_suite_with_a_fault_names_it(tmp_path, text, named):
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=named):
        read_suite(str(path))


# sizes ---------------------------------------------------------------------------------------------------------------


def test_parameters_are_counted_without_loading(tmp_path):
    import torch
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(3, 5), "b": torch.zeros(7)}, tmp_path / "model-1.safetensors")
    save_file({"c": torch.zeros(2, 2, 2, dtype=torch.bfloat16)}, tmp_path / "model-2.safetensors")
    assert count_parameters(tmp_path) == 15 + 7 + 8
    assert count_parameters(tmp_path / "nothing") is None
    (tmp_path / "model-3.safetensors").write_bytes(b"\x00" * 4)
    with pytest.raises(UserError, match="model-3"):
        count_parameters(tmp_path)
