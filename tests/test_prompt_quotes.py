"""How an explanation's quotation marks are written, and which prompt version a model's card names."""

import json
import re
import shutil

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from localexplain.errors import ConfigError, UserError
from localexplain.explain.language_model import ExplainConfig
from localexplain.pipeline.config import ExplainStage, SimulateStage
from localexplain.pipeline.models import plan_explainer, plan_simulator, read_card, with_card
from localexplain.prompts import load_prompt, one_line, shown_explanation, space_quoted
from localexplain.resources import resource
from localexplain.simulate.base import SimulateConfig
from tests.tiny_models import train_tokenizer, write_tiny_engine

TASKS = ("explain", "simulate-expected", "simulate-grid", "judge")
QUOTES = "\"'\u201c\u2018"


# quotation marks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "spaced"),
    [
        ('the word "river"', 'the word " river"'),
        ('"river" and "bank"', '" river" and " bank"'),
        ("'river', 'bank'", "' river', ' bank'"),
        ("\u201criver\u201d, \u2018bank\u2019", "\u201c river\u201d, \u2018 bank\u2019"),
        ('("river") ["bank"] "sea"/"lake"', '(" river") [" bank"] " sea"/" lake"'),
        ('"été" "日本" "10" "_x"', '" été" " 日本" " 10" " _x"'),
        # apostrophes, closing marks, marks before a space or a sign: none of them opens a word
        ("the bank's, don't, O'Hara, rivers'", "the bank's, don't, O'Hara, rivers'"),
        ('5" wide and 6"x7"', '5" wide and 6"x7"'),
        ('the word " river"', 'the word " river"'),
        ('"-ing", "$5", "", "\\n"', '"-ing", "$5", "", "\\n"'),
        ("", ""),
    ],
)
def test_a_space_behind_each_opening_mark(text, spaced):
    assert space_quoted(text) == spaced


def opens(text, place):
    """Whether the character at `place` is a mark with a word behind it and nothing, a space, a bracket or a slash
    before it."""
    before, after = text[:place][-1:], text[place + 1 : place + 2]
    word = after == "_" or after.isalnum()
    return text[place] in QUOTES and word and (not before or before.isspace() or before in "([/")


@given(st.text(st.sampled_from("\"'\u201c\u2018\u201d ab_1-([/\né日")))
@example("'\"a\" 'b")
def test_marks_one_by_one(text):
    wanted = "".join(character + " " * opens(text, place) for place, character in enumerate(text))
    assert space_quoted(text) == wanted
    assert space_quoted(wanted) == wanted  # twice is once


def test_a_quoted_word_is_then_written_as_in_running_text():
    """What it is for: with a real tokenizer, the piece of " ferry"."""
    tokenizer = train_tokenizer()
    (running,) = tokenizer.encode(" ferry", add_special_tokens=False).ids
    assert running not in tokenizer.encode('the word "ferry"', add_special_tokens=False).ids
    assert running in tokenizer.encode(space_quoted('the word "ferry"'), add_special_tokens=False).ids


@pytest.mark.parametrize("task", ["simulate-expected", "simulate-grid", "judge"])
@given(text=st.text(st.sampled_from("\"' ab\n\r")))
@example(text=" the\n\"river\"  or\r\n\n 'bank' ")
def test_explanations_are_on_one_line_and_spaced_where_the_version_says_so(task, text):
    assert shown_explanation(load_prompt(task, "v1"), text) == one_line(text)
    assert shown_explanation(load_prompt(task, "inline-v2"), text) == space_quoted(one_line(text))


def test_the_setting_alone_decides(tmp_path):
    root = shutil.copytree(resource("prompts"), tmp_path / "prompts")
    path = root / "judge" / "v1" / "settings.toml"
    path.write_text(path.read_text(encoding="utf-8") + 'quotes = "spaced"\n', encoding="utf-8")
    assert shown_explanation(load_prompt("judge", "v1", root), 'a\n"b"') == 'a " b"'
    assert shown_explanation(load_prompt("judge", "v1"), 'a\n"b"') == 'a "b"'


# versions ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_auto_is_the_general_version(task):
    assert load_prompt(task, "auto") == load_prompt(task, "v1")
    assert load_prompt(task, "auto").identity.startswith(f"{task}/v1@")
    assert load_prompt(task, "inline-v2").version == "inline-v2"


def test_auto_is_no_folder(tmp_path):
    (tmp_path / "explain" / "inline-v2").mkdir(parents=True)
    with pytest.raises(UserError, match=r"no version 'v1' of the prompt 'explain'.* there is: inline-v2"):
        load_prompt("explain", "auto", tmp_path)


def test_a_setting_that_is_missing_is_its_default_or_an_error():
    prompt = load_prompt("explain", "v1")
    assert prompt.setting("windows", default="0") == "0"
    assert load_prompt("explain", "inline-v2").setting("windows", default="0") == "2"
    with pytest.raises(UserError, match="no text named 'windows'"):
        prompt.setting("windows")


# cards ---------------------------------------------------------------------------------------------------------------


def write_card(folder, text):
    (folder / "card.json").write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
    return folder


@pytest.mark.parametrize("config", [ExplainConfig, SimulateConfig])
def test_the_card_names_version_and_examples(tmp_path, config):
    write_card(tmp_path, {"prompt_version": "inline-v2", "few_shot": 0, "parameters": 5})
    found = with_card(config(chat="never"), tmp_path)
    assert found == config(prompt_version="inline-v2", few_shot=0, chat="never")


@pytest.mark.parametrize(
    ("card", "version", "few_shot"),
    [
        ({"prompt_version": "inline-v2"}, "inline-v2", 2),
        ({"few_shot": 1}, "v1", 1),
        ({"few_shot": 3}, "v1", 2),  # the card says how many there is room for, the settings how many are wanted
        ({}, "v1", 2),
        ([], "v1", 2),
        ("null", "v1", 2),
    ],
)
def test_what_the_card_does_not_name_is_v1_and_the_settings_own(tmp_path, card, version, few_shot):
    found = with_card(SimulateConfig(few_shot=2), write_card(tmp_path, card))
    assert found == SimulateConfig(prompt_version=version, few_shot=few_shot)


def test_no_card_is_v1(tmp_path):
    assert read_card(tmp_path) == {}
    assert with_card(SimulateConfig(), tmp_path) == SimulateConfig(prompt_version="v1")
    assert with_card(ExplainConfig(few_shot=1), tmp_path) == ExplainConfig(prompt_version="v1", few_shot=1)


def test_a_version_that_is_asked_for_wins_and_the_card_is_not_even_read(tmp_path):
    write_card(tmp_path, "{not JSON")
    asked = SimulateConfig(prompt_version="inline-v2", few_shot=0)
    assert with_card(asked, tmp_path) == asked
    write_card(tmp_path, {"prompt_version": "inline-v2", "few_shot": 0})
    assert with_card(SimulateConfig(prompt_version="v1"), tmp_path) == SimulateConfig(prompt_version="v1", few_shot=3)


@pytest.mark.parametrize("data", [b"{not JSON", b"", b'{"prompt_version": "\xff"}'])
def test_a_card_that_is_not_json_is_the_users_to_mend(tmp_path, data):
    (tmp_path / "card.json").write_bytes(data)
    with pytest.raises(UserError, match=re.escape(f"{tmp_path / 'card.json'}: not JSON")):
        with_card(ExplainConfig(), tmp_path)


@pytest.mark.parametrize("few_shot", ["many", None, [1]])
def test_a_card_whose_number_is_none_is_the_users_to_mend(tmp_path, few_shot):
    write_card(tmp_path, {"prompt_version": "v1", "few_shot": few_shot})
    with pytest.raises(UserError):
        with_card(ExplainConfig(), tmp_path)


def test_a_card_with_a_negative_number_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="must not be negative"):
        with_card(ExplainConfig(), write_card(tmp_path, {"few_shot": -1}))


# plans ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_engine(tmp_path_factory.mktemp("models") / "tiny", family="qwen3")


def test_plans_follow_the_card(model, tmp_path):
    """Nothing is loaded: the identity alone tells what would be asked."""
    folder = shutil.copytree(model, tmp_path / "tiny")

    def details():
        explain = plan_explainer(ExplainStage(explainer=str(folder)))
        simulate = plan_simulator(SimulateStage(simulator=str(folder), prompt=SimulateConfig()))
        return dict(explain.identity.details) | dict(simulate.identity.details)

    before = details()
    write_card(folder, {"prompt_version": "inline-v2", "few_shot": 0})
    after = details()
    for kind, task in (("explain", "explain"), ("simulate", "simulate-expected")):
        assert before[f"{kind}.prompt"] == load_prompt(task, "v1").identity
        assert after[f"{kind}.prompt"] == load_prompt(task, "inline-v2").identity
        assert (before[f"{kind}.prompt_version"], after[f"{kind}.prompt_version"]) == ("v1", "inline-v2")
        assert (before[f"{kind}.few_shot"], after[f"{kind}.few_shot"]) == ("3", "0")


def test_a_card_that_names_no_version_there_is_is_refused(model, tmp_path):
    folder = write_card(shutil.copytree(model, tmp_path / "tiny"), {"prompt_version": "v9"})
    with pytest.raises(UserError, match="no version 'v9' of the prompt 'explain'"):
        plan_explainer(ExplainStage(explainer=str(folder)))
