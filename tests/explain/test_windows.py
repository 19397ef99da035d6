"""Runs around the most active tokens, and the short prompt that shows them."""

import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from localexplain.engines.scripted import BOS_ID
from localexplain.errors import ConfigError
from localexplain.explain.language_model import ExplainConfig, LanguageModelExplainer
from localexplain.explain.prompt import ShownExcerpt, as_text, explain_prompt, prompt_windows, prompt_words, show_neuron
from localexplain.explain.windows import Window, active_words, cut_windows
from localexplain.prompts import load_prompt
from localexplain.types import ExplainTask, Record, Unit
from tests.recording import RecordingEngine

SHIPPED = load_prompt("explain", "inline-v2")
UNIT = Unit(basis="mlp", layer=3, index=127)


def name(place):
    return f"t{place}"


def cut(levels, *, before=0, after=0, lowest=1, most=99):
    """The windows of tokens that say their own place."""
    return cut_windows([name(place) for place in range(len(levels))], levels, before, after, lowest, most)


def run(start, levels):
    """The window that begins at `start` and tells these levels."""
    pairs = tuple((name(start + offset), level) for offset, level in enumerate(levels))
    return Window(opens_text=start == 0, pairs=pairs)


# runs ----------------------------------------------------------------------------------------------------------------


def test_before_and_after_are_tokens_on_each_side():
    levels = [0, 0, 0, 0, 9, 0, 0, 0, 0]
    assert cut(levels) == [run(4, [9])]
    assert cut(levels, before=2) == [run(2, [0, 0, 9])]
    assert cut(levels, after=3) == [run(4, [9, 0, 0, 0])]
    assert cut(levels, before=1, after=1) == [run(3, [0, 9, 0])]


def test_a_run_ends_where_the_excerpt_does():
    assert cut([9, 0, 0], before=5) == [Window(opens_text=True, pairs=(("t0", 9),))]
    assert cut([0, 0, 9], after=5) == [Window(opens_text=False, pairs=(("t2", 9),))]
    assert cut([0, 9, 0], before=5, after=5) == [run(0, [0, 9, 0])]


@pytest.mark.parametrize(("before", "opens"), [(2, False), (3, True), (4, True)])
def test_the_first_token_opens_the_text(before, opens):
    (window,) = cut([0, 0, 0, 9], before=before)
    assert window.opens_text is opens


def test_runs_that_touch_are_one():
    levels = [0, 9, 0, 0, 8, 0, 0]
    # [1, 2) and [4, 5) are two, with one token after each [1, 3) and [4, 6) too
    assert cut(levels) == [run(1, [9]), run(4, [8])]
    assert cut(levels, after=1) == [run(1, [9, 0]), run(4, [8, 0])]
    # [1, 4) and [4, 7) touch; [0, 3) and [3, 6) too; [0, 4) and [3, 7) share a token
    assert cut(levels, after=2) == [run(1, [9, 0, 0, 8, 0, 0])]
    assert cut(levels, before=1, after=1) == [run(0, [0, 9, 0, 0, 8, 0])]
    assert cut(levels, before=1, after=2) == [run(0, [0, 9, 0, 0, 8, 0, 0])]


def test_levels_below_the_lowest_are_neither_told_nor_shown_around():
    levels = [2, 0, 2, 7, 3, 0, 0, 2]
    assert cut(levels, before=1, after=1, lowest=3) == [run(2, [0, 7, 3, 0])]
    assert cut(levels, before=1, after=1, lowest=8) == []
    assert cut(levels, before=1, after=1, lowest=2) == [run(0, [2, 0, 2, 7, 3, 0, 0, 2])]


def test_only_the_most_active_are_shown_around_the_earlier_of_equals_first():
    levels = [5, 0, 9, 0, 5, 0, 7]
    assert cut(levels, most=1) == [run(2, [9])]
    assert cut(levels, most=2) == [run(2, [9]), run(6, [7])]  # in the order of the text
    assert cut(levels, most=3) == [run(0, [5]), run(2, [9]), run(6, [7])]
    assert cut(levels, most=0) == []


def test_what_lies_in_a_run_is_told_though_no_run_is_made_for_it():
    assert cut([0, 9, 8, 7, 0, 7], most=1, after=2) == [run(1, [9, 8, 7])]


def test_of_nothing_there_is_nothing():
    assert cut([]) == []
    assert cut([0, 0]) == []


SIZES = st.integers(0, 4)


@given(st.lists(st.integers(0, 10), max_size=25), SIZES, SIZES, st.integers(1, 10), st.integers(0, 5))
@example([9, 0, 0, 9], 1, 1, 3, 2)
def test_runs_against_a_mark_on_each_token(levels, before, after, lowest, most):
    # the most active, one by one
    left = {place: level for place, level in enumerate(levels) if level >= lowest}
    centres = []
    while left and len(centres) < most:
        highest = max(left.values())
        centres.append(min(place for place, level in left.items() if level == highest))
        del left[centres[-1]]
    marks = "".join(
        "x" if any(centre - before <= place <= centre + after for centre in centres) else "."
        for place in range(len(levels))
    )
    told = [level if level >= lowest else 0 for level in levels]
    wanted = [run(found.start(), told[found.start() : found.end()]) for found in re.finditer("x+", marks)]
    assert cut(levels, before=before, after=after, lowest=lowest, most=most) == wanted


# words ---------------------------------------------------------------------------------------------------------------


def test_words_are_runs_of_active_tokens_the_highest_first():
    pairs = [((" tro", "mbone", " and", " flute", "s", ","), (7, 8, 0, 9, 3, 2))]
    assert active_words(pairs, lowest=3, most=5) == ["flutes", "trombone"]
    assert active_words(pairs, lowest=4, most=5) == ["flute", "trombone"]
    assert active_words(pairs, lowest=8, most=5) == ["flute", "mbone"]
    assert active_words(pairs, lowest=3, most=1) == ["flutes"]
    assert active_words(pairs, lowest=10, most=5) == []


def test_a_token_with_a_space_before_it_begins_a_word():
    assert active_words([((" New", " York"), (9, 9))], lowest=3, most=5) == ["New", "York"]
    assert active_words([(("New", "York"), (9, 9))], lowest=3, most=5) == ["NewYork"]


def test_a_word_is_named_once_by_its_highest_level_and_of_equals_the_first():
    one, two = ((" oboe", " flute", " drum"), (4, 6, 6)), (("oboe", " drum"), (9, 3))
    assert active_words([one, two], lowest=3, most=5) == ["oboe", "flute", "drum"]
    assert active_words([one], lowest=3, most=5) == ["flute", "drum", "oboe"]


def test_no_word_goes_on_in_the_next_excerpt():
    assert active_words([(("tro",), (9,)), (("mbone",), (9,))], lowest=3, most=5) == ["tro", "mbone"]


EXCERPT = st.lists(st.tuples(st.sampled_from(["a", " a", "b", " b", "\n", " ", ","]), st.integers(0, 10)), max_size=12)


@given(st.lists(EXCERPT, max_size=3), st.integers(1, 10), st.integers(0, 5))
def test_words_against_cutting_at_each_space(excerpts, lowest, most):
    found = []  # (word, level) in the order of the text
    for pairs in excerpts:
        for active in re.finditer("x+", "".join("x" if level >= lowest else "." for _, level in pairs)):
            places = range(active.start(), active.end())
            cuts = [place for place in places if place == active.start() or pairs[place][0].startswith(" ")]
            for start, end in pairwise([*cuts, active.end()]):
                word = "".join(token for token, _ in pairs[start:end]).strip()
                found.append((word, max(level for _, level in pairs[start:end])))
    levels = {word: max(level for other, level in found if other == word) for word, _ in found if word}
    wanted = sorted(levels, key=lambda word: (-levels[word], [other for other, _ in found].index(word)))
    split = [(tuple(token for token, _ in pairs), tuple(level for _, level in pairs)) for pairs in excerpts]
    assert active_words(split, lowest, most) == wanted[:most]


# the prompt ----------------------------------------------------------------------------------------------------------


def inline(**changed):
    """The shipped version with settings of its own, so that what is expected here can be worked out by hand."""
    values = {"before": 6, "after": 2, "lowest": 3, "windows": 2, "words": 8} | changed
    names = {key: f"window_{key}" if key in ("before", "after", "lowest") else key for key in values}
    lines = [f'{names[key]} = "{value}"' for key, value in values.items()]
    text = "\n".join(['opening = "neuron:"', *lines])
    return replace(SHIPPED, files={**SHIPPED.files, "settings.toml": text})


def show(*excerpts, **changed):
    return show_neuron(inline(**changed), 1, excerpts).splitlines()


def excerpt(text, **levels):
    """An excerpt of the words of `text`, each with the space before it; a word's level by its name."""
    tokens = tuple(re.findall(r" ?\S+", text))
    return ShownExcerpt(tokens=tokens, levels=tuple(levels.get(token.strip(), 0) for token in tokens))


MAT = "I saw that the cat sat on the mat and slept there all day"


def test_the_neuron_by_hand():
    # mat is token 8: six before it from 2, two after it up to 10
    assert show(excerpt(MAT, mat=9)) == ["... that the cat sat on the mat=9 and slept", "active: mat"]
    # saw is token 1: from the first one
    assert show(excerpt(MAT, saw=10)) == ["^I saw=10 that the", "active: saw"]


def test_runs_of_all_excerpts_have_a_line_each_and_words_one():
    far = excerpt("a b c d e f g h i j k l m n", b=10, m=4, n=3)
    # of the first the two highest, b and m: tokens 0 to 3, 6 to 13, in which n is told too; of the other 7 to 13
    assert show(far, excerpt(MAT, day=7)) == [
        "^a b=10 c d",
        "... g h i j k l m=4 n=3",
        "... the mat and slept there all day=7",
        "active: b, day, m, n",
    ]


def test_every_setting_shows():
    example = excerpt(MAT, cat=5, mat=9, day=7, I=2)
    usual = ["... that the cat=5 sat on the mat=9 and slept there all day=7", "active: mat, day, cat"]
    assert show(example) == usual
    assert show(example, before=2) == ["... on the mat=9 and slept there all day=7", usual[1]]  # 6 to 10, 11 to 13
    assert show(example, before=1) == ["... the mat=9 and slept", "... all day=7", usual[1]]
    assert show(example, before=1, after=0) == ["... the mat=9", "... all day=7", usual[1]]
    assert show(example, windows=1) == ["... that the cat=5 sat on the mat=9 and slept", usual[1]]
    assert show(example, words=1) == [usual[0], "active: mat"]
    assert show(example, lowest=6) == [usual[0].replace("=5", ""), "active: mat, day"]
    assert show(example, lowest=2, windows=4) == ["^I=2 saw" + usual[0].removeprefix("..."), f"{usual[1]}, I"]


def test_a_change_below_the_lowest_level_changes_nothing():
    before = show(excerpt(MAT, mat=9))
    assert show(excerpt(MAT, mat=9, cat=2, saw=2)) == before
    assert show(excerpt(MAT, mat=9, cat=3)) == ["^I saw that the cat=3 sat on the mat=9 and slept", "active: mat, cat"]


def test_tokens_are_shown_on_one_line_and_as_they_are():
    tokens = ("a\n", "\t", "b\n", "c", "\\", "{{ x }}", "=5")
    shown = show(ShownExcerpt(tokens=tokens, levels=(0, 0, 4, 5, 0, 0, 0)), after=3)
    assert shown == ["^a\\n\\tb\\n=4c=5\\\\{{ x }}=5", "active: b\\nc"]


def test_the_general_version_has_neither():
    general = load_prompt("explain", "v1")
    assert prompt_windows(general, [excerpt(MAT, mat=9)]) == []
    assert prompt_words(general, [excerpt(MAT, mat=9)]) == []
    assert " mat\t9\n" in show_neuron(general, 1, [excerpt(MAT, mat=9)])


def test_there_is_no_instruction():
    prompt = explain_prompt(inline(), (), [excerpt(MAT, mat=9), excerpt(MAT, saw=3)])
    assert (prompt.instruction, prompt.turns, prompt.opening) == ("", (), "neuron:")
    lines = ["... that the cat sat on the mat=9 and slept", "^I saw=3 that the", "active: mat, saw", "neuron:"]
    assert as_text(prompt) == "\n".join(lines)


# through the explainer -----------------------------------------------------------------------------------------------


def record(text, excerpt_id, **activations):
    tokens = tuple(re.findall(r" ?\S+", text))
    values = [activations.get(token.strip(), 0.0) for token in tokens]
    return Record(
        unit=UNIT,
        excerpt_id=excerpt_id,
        kind="top",
        rank=excerpt_id,
        stratum=None,
        split="train",
        tokens=tokens,
        token_ids=tuple(range(len(tokens))),
        activations=np.array(values, dtype=np.float32),
    )


def test_an_explainer_sends_the_windows_and_reads_the_explanation():
    engine = RecordingEngine(generate=lambda prompt: " words such as mat and saw\n")
    explainer = LanguageModelExplainer(engine, ExplainConfig(prompt_version="inline-v2", few_shot=0, chat="never"))
    # levels by the highest, 4: 4 is 10, 1.3 is floor(3.25) = 3, 1.1 is floor(2.75) = 2 and too low
    one = record(MAT, 0, mat=4.0, sat=1.1)
    two = replace(record(MAT, 1, saw=1.3), rank=4)
    (reply,) = explainer.explain([ExplainTask(unit=UNIT, records=(one, two))])
    assert reply.text == "words such as mat and saw"
    (request,) = engine.requests
    # four before and one after each
    text = "... cat sat on the mat=10 and\n^I saw=3 that\nactive: mat, saw\nneuron:"
    assert engine.tokenizer.decode(request.token_ids) == reply.prompt == text
    assert request.token_ids[0] == BOS_ID
    assert dict(explainer.identity.details)["explain.prompt"] == SHIPPED.identity


def test_there_are_no_examples():
    with pytest.raises(ConfigError, match="0 to 0 examples"):
        LanguageModelExplainer(RecordingEngine(), ExplainConfig(prompt_version="inline-v2", few_shot=1))
