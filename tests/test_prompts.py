import re
import shutil

import jinja2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from localexplain.errors import ConfigError, UserError
from localexplain.prompts import (
    begin,
    example_neurons,
    first_examples,
    load_prompt,
    one_line,
    show_token,
    use_chat,
)
from localexplain.resources import resource

TASKS = ("explain", "simulate-expected", "simulate-grid")


@pytest.fixture
def root(tmp_path):
    """A copy of the shipped prompts, to be edited."""
    return shutil.copytree(resource("prompts"), tmp_path / "prompts")


# versions ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_identity_changes_with_every_file(root, task):
    before = load_prompt(task, "v1", root)
    assert before == load_prompt(task, "v1")
    assert re.fullmatch(rf"{task}/v1@[0-9a-f]{{8}}", before.identity)
    seen = {before.identity}
    for name in before.files:
        path = root / task / "v1" / name
        text = path.read_text(encoding="utf-8")
        path.write_text(text + "\n", encoding="utf-8")
        seen.add(load_prompt(task, "v1", root).identity)
        path.write_text(text, encoding="utf-8")
    assert len(seen) == 1 + len(before.files)


def test_identity_ignores_line_ends_and_hidden_files(root):
    before = load_prompt("explain", "v1", root).identity
    path = root / "explain" / "v1" / "neuron.j2"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))  # what a checkout on Windows does
    (root / "explain" / "v1" / ".swp").write_bytes(b"\xff")
    assert load_prompt("explain", "v1", root).identity == before


def test_identity_tells_a_moved_boundary(root):
    # the same characters, cut differently into name and text
    folder = root / "explain" / "v1"
    (folder / "ab").write_text("c", encoding="utf-8")
    one = load_prompt("explain", "v1", root).identity
    (folder / "ab").rename(folder / "a")
    (folder / "a").write_text("bc", encoding="utf-8")
    assert load_prompt("explain", "v1", root).identity != one


def test_unknown_version_names_those_there_are(root):
    versions = [path.name for path in (root / "explain").iterdir()]
    shutil.copytree(root / "explain" / "v1", root / "explain" / "v2")
    assert {"inline-v2", "v1"} <= set(versions)
    with pytest.raises(UserError, match=rf"there is: {', '.join(sorted([*versions, 'v2']))}$"):
        load_prompt("explain", "v9", root)
    with pytest.raises(UserError, match="no version "):
        load_prompt("simulate-grid", "../explain/v1", root)


def test_not_utf8_names_the_file_and_byte(root):
    (root / "explain" / "v1" / "neuron.j2").write_bytes(b"ab\xff")
    with pytest.raises(UserError, match=r"neuron\.j2: not UTF-8 at byte 2"):
        load_prompt("explain", "v1", root)


# templates -----------------------------------------------------------------------------------------------------------


def test_a_value_left_out_is_an_error():
    with pytest.raises(jinja2.UndefinedError):
        load_prompt("explain", "v1").render("neuron.j2", number=1, excerpts=[])


def test_values_are_not_templates():
    prompt = load_prompt("simulate-grid", "v1")
    text = prompt.render("neuron.j2", number=1, explanation="{{ 7 * 7 }}", tokens=["{% if", " <b>&amp;"])
    assert "{{ 7 * 7 }}" in text
    assert "1\t{% if\n2\t <b>&amp;" in text


def test_setting_missing_or_not_toml(root):
    with pytest.raises(UserError, match="no text named 'filler'"):
        load_prompt("explain", "v1", root).setting("filler")
    (root / "explain" / "v1" / "settings.toml").write_text("opening =", encoding="utf-8")
    with pytest.raises(UserError, match="not TOML"):
        load_prompt("explain", "v1", root).setting("opening")


# examples ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_examples_are_as_the_method_has_them(task):
    neurons = example_neurons(load_prompt(task, "v1"))
    assert len(neurons) == 3
    for neuron in neurons:
        assert len(neuron.excerpts) == 2
        levels = [level for excerpt in neuron.excerpts for level in excerpt.activations]
        assert max(levels) == 10
        assert all(20 <= len(excerpt.tokens) <= 40 for excerpt in neuron.excerpts)


def test_only_expected_keeps_activations_back():
    told = {task: [e.told_from for n in example_neurons(load_prompt(task, "v1")) for e in n.excerpts] for task in TASKS}
    assert set(told["explain"] + told["simulate-grid"]) == {0}
    assert 0 in told["simulate-expected"]
    assert len(set(told["simulate-expected"])) > 2


@pytest.mark.parametrize(
    "text",
    ["", "{}", '[{"excerpts": []}]', '[{"explanation": "x", "excerpts": [{"tokens": []}]}]']
    + [f'[{{"explanation": "x", "excerpts": [{{"tokens": ["a", {item}]}}]}}]' for item in ('["b", 11]', "7", '["b"]')]
    + ['[{"explanation": "x", "excerpts": [{"tokens": ["a"], "told_from": 2}]}]'],
)
def test_malformed_examples_are_the_users_to_mend(root, text):
    (root / "explain" / "v1" / "examples.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"prompt explain/v1, examples\.json"):
        example_neurons(load_prompt("explain", "v1", root))


def test_few_shot_takes_the_first_and_no_more_than_there_are():
    prompt = load_prompt("explain", "v1")
    assert first_examples(prompt, 2) == example_neurons(prompt)[:2]
    assert first_examples(prompt, 0) == ()
    for few_shot in (4, -1):
        with pytest.raises(ConfigError, match="0 to 3 examples"):
            first_examples(prompt, few_shot)


# tokens and lines ----------------------------------------------------------------------------------------------------


@given(st.text(st.characters(), max_size=8))
@example("\ud800")
@example("a\u2028b\x85\x0b\x1c")
def test_a_shown_token_is_one_line_that_can_be_encoded(token):
    shown = show_token(token)
    assert len(f"a{shown}b".splitlines()) == 1
    assert "\t" not in shown
    assert shown.encode("utf-8").decode("utf-8") == shown


@given(st.text(st.characters(), max_size=6), st.text(st.characters(), max_size=6))
def test_different_tokens_are_shown_differently(one, other):
    assert (show_token(one) == show_token(other)) == (one == other)


def test_an_explanation_is_put_on_one_line_and_its_spaces_kept():
    assert one_line(" words\r\n\n  about '  '\x85rain ") == "words about '  ' rain"
    assert one_line("") == ""


# chat or plain -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choice", "has_template", "chat"),
    [("auto", True, True), ("auto", False, False), ("always", True, True), ("never", True, False)],
)
def test_chat(choice, has_template, chat):
    assert use_chat(choice, has_chat_template=has_template) is chat


def test_chat_always_needs_a_template():
    with pytest.raises(ConfigError, match="no chat template"):
        use_chat("always", has_chat_template=False)


def test_begin():
    assert begin(7, [1, 2]) == (7, 1, 2)
    assert begin(None, [1, 2]) == (1, 2)
    assert begin(0, [1]) == (0, 1)  # id 0 is a token, not "none"
