"""The prompt that a language model explains from: what it may show, and how."""

import re
from dataclasses import replace

import numpy as np
import pytest

from localexplain.explain.prompt import (
    ShownExcerpt,
    as_messages,
    as_text,
    check_records,
    explain_prompt,
    repeated_pairs,
    show_records,
)
from localexplain.prompts import first_examples, load_prompt
from localexplain.types import ExplainTask, Record, Unit

UNIT = Unit(basis="mlp", layer=3, index=127)
PROMPT = load_prompt("explain", "v1")


def record(tokens, activations, *, split="train", unit=UNIT, excerpt_id=0):
    return Record(
        unit=unit,
        excerpt_id=excerpt_id,
        kind="top",
        rank=0,
        stratum=None,
        split=split,
        tokens=tuple(tokens),
        token_ids=tuple(range(len(tokens))),
        activations=np.array(activations, dtype=np.float32),
    )


def shown(*levels):
    return ShownExcerpt(tokens=tuple(f"t{place}" for place in range(len(levels))), levels=levels)


def question(*excerpts, few_shot=0):
    return explain_prompt(PROMPT, first_examples(PROMPT, few_shot), excerpts).question


# what may be shown ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["valid", "test", "calibration", None])
def test_records_that_are_scored_on_are_refused(split):
    train = record(["a"], [1])
    task = ExplainTask(unit=UNIT, records=(train, replace(train, split=split, excerpt_id=9)))
    with pytest.raises(ValueError, match=f"excerpt 9 is of the split {split}, not train"):
        check_records(task)


def test_another_units_records_and_none_at_all_are_refused():
    other = record(["a"], [1], unit=Unit(basis="mlp", layer=3, index=128))
    with pytest.raises(ValueError, match=r"record of mlp\.3:128"):
        check_records(ExplainTask(unit=UNIT, records=(other,)))
    with pytest.raises(ValueError, match=r"mlp\.3:127: nothing to explain"):
        check_records(ExplainTask(unit=UNIT, records=()))
    check_records(ExplainTask(unit=UNIT, records=(record(["a"], [1]),)))


def test_the_maximum_is_taken_over_all_that_is_shown():
    # 3 / 6 is 5 of 10; alone, the first record would show 10
    one, other = show_records([record(["a", "b"], [3, -1]), record(["c"], [6])])
    assert (one.levels, other.levels) == ((5, 0), (10,))
    assert one.tokens == ("a", "b")


# the sparse case -----------------------------------------------------------------------------------------------------


def test_pairs_are_repeated_below_a_fifth_only():
    # 2 of 10 are a fifth, 2 of 11 less; counted over both excerpts
    assert repeated_pairs([shown(0, 0, 3, 0, 0), shown(0, 9, 0, 0, 0)]) == ()
    assert repeated_pairs([shown(0, 0, 3, 0, 0), shown(0, 9, 0, 0, 0, 0)]) == (("t2", 3), ("t1", 9))
    assert repeated_pairs([shown(0, 0)]) == ()


def test_repeated_pairs_stand_after_the_excerpts():
    dense = question(shown(5, 0))
    sparse = question(shown(5, 0, 0, 0, 0, 0))
    assert dense.endswith("t1\t0\n</excerpt>")
    assert re.search(r"t5\t0\n</excerpt>\nMost of these tokens are silent.*:\nt0\t5$", sparse)


# format --------------------------------------------------------------------------------------------------------------


def test_one_line_for_each_token_between_markers():
    text = question(
        ShownExcerpt(tokens=(" a\n", "\t", "<excerpt>"), levels=(10, 0, 2)), ShownExcerpt(tokens=("",), levels=(1,))
    )
    assert text.splitlines() == [
        "Neuron 1",
        "<excerpt>",
        " a\\n\t10",
        "\\t\t0",
        "<excerpt>\t2",
        "</excerpt>",
        "<excerpt>",
        "\t1",
        "</excerpt>",
    ]


@pytest.mark.parametrize("few_shot", [0, 1, 3])
def test_few_shot_neurons_come_first_and_are_answered(few_shot):
    prompt = explain_prompt(PROMPT, first_examples(PROMPT, few_shot), [shown(10)])
    messages = as_messages(prompt)
    assert [m.role for m in messages] == ["system", *["user", "assistant"] * few_shot, "user"]
    assert all(m.content.startswith(prompt.opening + " ") for m in messages if m.role == "assistant")
    assert messages[-1].content.startswith(f"Neuron {few_shot + 1}\n")
    text = as_text(prompt)
    assert text.endswith(f"t0\t10\n</excerpt>\n{prompt.opening}")
    assert text.count(prompt.opening) == few_shot + 1
    for message in messages:
        assert message.content in text


def test_examples_show_a_dense_and_a_sparse_neuron():
    prompt = explain_prompt(PROMPT, first_examples(PROMPT, 3), [shown(10)])
    repeats = ["Most of these tokens are silent" in asked for asked, _ in prompt.turns]
    assert True in repeats
    assert False in repeats
