"""Simulation by a written grid: the pattern, and what is made of the answers."""

import itertools
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from localexplain.engines.base import GenerateReply
from localexplain.engines.scripted import BOS_ID, ScriptedEngine
from localexplain.errors import ConfigError, EngineError
from localexplain.simulate.base import SimulateConfig
from localexplain.simulate.grid import GridSimulator, plain_grid, read_reply
from localexplain.types import SimulateTask, TokenCounts
from tests.recording import RecordingEngine


def asked_tokens(prompt):
    """The tokens of the last excerpt in a prompt."""
    last = prompt.rpartition("Excerpt of ")[2]
    return re.findall(r"^[0-9]+\t(.*)$", last, flags=re.MULTILINE)


def answer(prompt, active):
    return ",".join("10" if active in token else "0" for token in asked_tokens(prompt))


def film_engine(**settings):
    """It finds all tokens that say "movie"."""
    return RecordingEngine(generate=lambda prompt: answer(prompt, "movie"), **settings)


def task(explanation, *tokens):
    return SimulateTask(explanation=explanation, tokens=tokens)


def grid_of(n_tokens):
    return plain_grid(["a"] * n_tokens)


def parse(text, n_tokens):
    found = grid_of(n_tokens).read(text)
    return None if found is None else found.tolist()


def simulate(engine, *tasks, **settings):
    return GridSimulator(engine, SimulateConfig(mode="grid", **settings)).simulate(tasks)


def sent(chat, few_shot, *tokens, explanation="films"):
    engine = film_engine()
    simulate(engine, task(explanation, *tokens), chat=chat, few_shot=few_shot)
    return engine.requests[0]


# the pattern ---------------------------------------------------------------------------------------------------------

NUMBERS = {str(number) for number in range(11)}


@pytest.mark.parametrize("n_tokens", [1, 2, 3])
def test_pattern_matches_exactly_the_grids(n_tokens):
    # every string of up to 5 of these characters: digits, the comma, a space, the digit 1 of another script
    for length in range(6):
        for characters in itertools.product("01,7 \u0661", repeat=length):
            text = "".join(characters)
            cells = text.split(",")
            right = len(cells) == n_tokens and all(cell in NUMBERS for cell in cells)
            assert bool(re.fullmatch(grid_of(n_tokens).pattern, text)) == right, text
            assert parse(text, n_tokens) == ([int(cell) for cell in cells] if right else None), text


@given(st.lists(st.integers(0, 10), min_size=1, max_size=80), st.integers(-3, 3))
def test_a_grid_is_read_back_and_only_at_its_own_length(numbers, other):
    text = ",".join(map(str, numbers))
    found = grid_of(len(numbers)).read(text)
    assert found.tolist() == numbers
    assert found.dtype == np.float32
    if other and len(numbers) + other >= 1:
        assert parse(text, len(numbers) + other) is None


@given(st.lists(st.integers(0, 10), min_size=1, max_size=80))
def test_there_are_tokens_enough_even_one_for_each_character(numbers):
    assert len(",".join(map(str, numbers))) <= grid_of(len(numbers)).max_tokens


def test_pattern_depends_on_the_length_alone():
    one = sent("never", 3, "a", "b")
    other = sent("always", 0, "\n", "10,", explanation="")
    assert one.pattern == other.pattern == grid_of(2).pattern
    assert sent("never", 3, "a").pattern != one.pattern
    assert "\\d" not in one.pattern


# answers -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chat", ["always", "never"])
def test_every_token_is_asked_for_and_answered_the_last_one_too(chat):
    tokens = (" movie", "", "\t", "a\nb", "0,10", "</s>", "movies", "\ufffd", " movie")
    engine = film_engine()
    (reply,) = simulate(engine, task("films", *tokens), chat=chat)
    assert reply.expected.tolist() == [10, 0, 0, 0, 0, 0, 10, 0, 10]
    assert (reply.label_mass, reply.label_set) == (None, "")
    assert asked_tokens(engine.tokenizer.decode(engine.requests[0].token_ids)) == [
        " movie", "", "\\t", "a\\nb", "0,10", "</s>", "movies", "\ufffd", " movie"
    ]  # fmt: skip
    assert reply.counts.generated == len("10,0,0,0,0,0,10,0,10") - 3  # "10" is one token of this engine


def test_replies_are_in_order_and_a_failed_one_leaves_the_others():
    def reply(prompt):
        if "bad" in asked_tokens(prompt):
            raise EngineError("out of memory")
        return answer(prompt, "movie")

    tasks = [task("x", "movie"), task("x", "bad"), task("x"), task("x", "a", "movie")]
    replies = simulate(ScriptedEngine(generate=reply), *tasks)
    assert [r.error for r in replies] == [None, "out of memory", "the excerpt has no tokens", None]
    assert [r.expected.tolist() for r in (replies[0], replies[3])] == [[10], [0, 10]]
    assert replies[1].expected is None
    assert replies[2].expected is None


def test_excerpts_of_one_explanation_stand_together():
    engine = film_engine()
    replies = simulate(engine, task("x", "movie"), task("y", "b", "movie"), task("x", "c"))
    assert [len(asked_tokens(engine.tokenizer.decode(request.token_ids))) for request in engine.requests] == [1, 1, 2]
    assert [reply.expected.tolist() for reply in replies] == [[10], [0, 10], [0]]


def test_cut_off_is_an_error_that_says_so():
    counts = TokenCounts(prompt=3, generated=17)
    reply = read_reply(GenerateReply(text="0,10,", finish="length", counts=counts), grid_of(3))
    assert reply.expected is None
    assert reply.error == "cut off by max_tokens = 17 before all 3 numbers were written"
    assert reply.counts == counts


def test_cut_off_behind_the_last_number_is_whole():
    reply = read_reply(GenerateReply(text="0,10,3", finish="length", counts=TokenCounts()), grid_of(3))
    assert reply.expected.tolist() == [0, 10, 3]


@pytest.mark.parametrize("text", ["0,1", "0,1,2,3", "0,1,11", "0, 1, 2", "", "075"])
def test_an_engine_that_breaks_the_pattern_is_no_number(text):
    reply = read_reply(GenerateReply(text=text, finish="stop", counts=TokenCounts()), grid_of(3))
    assert reply.expected is None
    assert reply.error.startswith("not a grid of 3 numbers: ")


# the prompt ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("chat", "end"), [("always", "2\tb\n<assistant>\n"), ("never", "2\tb\nActivations:\n")])
def test_prompt_has_one_bos_and_ends_where_the_grid_begins(chat, end):
    request = sent(chat, 3, "a", "b")
    text = film_engine().tokenizer.decode(request.token_ids)
    assert request.token_ids[0] == BOS_ID
    assert request.token_ids.count(BOS_ID) == 1
    assert text.endswith(end)
    assert "Neuron 4 responds to: films\n" in text
    assert "0,0,0,1,0,0,0,0,9,3,0,0,0,1,0,10,0,0,0,0,0,0,0,0\n" in text


@pytest.mark.parametrize("chat", ["always", "never"])
def test_the_examples_obey_the_pattern_they_are_to_teach(chat):
    text = film_engine().tokenizer.decode(sent(chat, 3, "a").token_ids)
    grids = re.findall(r"^[0-9]+(?:,[0-9]+)+$", text, flags=re.MULTILINE)
    sizes = [int(size) for size in re.findall(r"Excerpt of ([0-9]+) tokens", text)]
    assert len(grids) == 6
    for grid, size in zip(grids, sizes, strict=False):
        assert parse(grid, size) is not None


def test_greedy_with_tokens_for_every_number():
    sampling = sent("never", 0, "a", "b", "c").sampling
    assert (sampling.temperature, sampling.max_tokens, sampling.stop) == (0.0, 17, ())


def test_excerpts_of_one_explanation_share_all_before_the_excerpt():
    engine = film_engine()
    first, second = simulate(engine, task("films", "a", "b"), task("films", "c", "d"), chat="never")
    text = engine.tokenizer.decode(engine.requests[1].token_ids)
    assert second.counts.prompt - second.counts.computed == 1 + len(text[: text.rindex("1\tc")].replace("10", "!")) + 2
    assert first.counts.computed == first.counts.prompt


@pytest.mark.parametrize("chat", ["always", "never"])
@pytest.mark.parametrize("room", [0, 1, 2])
def test_examples_are_left_out_until_the_context_has_room(chat, room):
    request = sent(chat, room, "a", "b")
    engine = film_engine(context_tokens=len(request.token_ids) + grid_of(2).max_tokens)
    long = task("films", *["a"] * 2000)
    replies = simulate(engine, long, task("films", "a", "b"), chat=chat)
    assert [reply.error is None for reply in replies] == [False, True]
    assert "longer than the model's context of" in replies[0].error
    assert engine.requests == [request]


# configuration -------------------------------------------------------------------------------------------------------


def test_settings_are_in_the_identity():
    def details(**settings):
        return dict(GridSimulator(ScriptedEngine(), SimulateConfig(mode="grid", **settings)).identity.details)

    assert details()["simulate.mode"] == "grid"
    assert details()["simulate.prompt"].startswith("simulate-grid/v1@")
    assert details(few_shot=1) != details() != details(chat="never")


def test_chat_needs_a_template_and_examples_must_be_there():
    with pytest.raises(ConfigError, match="no chat template"):
        GridSimulator(ScriptedEngine(has_chat_template=False), SimulateConfig(mode="grid", chat="always"))
    with pytest.raises(ConfigError, match="0 to 3 examples"):
        GridSimulator(ScriptedEngine(), SimulateConfig(mode="grid", few_shot=4))
