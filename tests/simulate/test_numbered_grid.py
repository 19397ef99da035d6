"""Simulation by a grid that repeats each token's number: " 1:0 2:10"."""

import itertools
import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from localexplain.engines.base import GenerateReply, GenerateRequest, Sampling
from localexplain.engines.scripted import BOS_ID, ScriptedEngine
from localexplain.engines.transformers import TransformersEngine
from localexplain.errors import ConfigError, EngineError
from localexplain.simulate.base import SimulateConfig
from localexplain.simulate.grid import GridSimulator, grid_max_tokens, grid_pattern, parse_grid, read_reply
from localexplain.types import SimulateTask, TokenCounts
from tests.recording import RecordingEngine
from tests.tiny_models import write_tiny_engine

NUMBERS = {str(number) for number in range(11)}
LEVELS = st.lists(st.integers(0, 10), min_size=1, max_size=40)


def spell(levels):
    return "".join(f" {place}:{number}" for place, number in enumerate(levels, start=1))


def read_by_hand(text, n_tokens):
    """The numbers, by splitting at each space and colon; None for what is not such a grid."""
    before, *cells = text.split(" ")
    pairs = [cell.split(":") for cell in cells]
    if before or len(pairs) != n_tokens or any(len(pair) != 2 for pair in pairs):
        return None
    right = all(pair[0] == str(place) and pair[1] in NUMBERS for place, pair in enumerate(pairs, start=1))
    return [int(pair[1]) for pair in pairs] if right else None


def parsed(text, n_tokens):
    found = parse_grid(text, n_tokens, numbered=True)
    return None if found is None else found.tolist()


# the pattern ---------------------------------------------------------------------------------------------------------


def test_pattern_of_one_token_matches_exactly_its_grids():
    # every string of up to 6 of these characters
    pattern = grid_pattern(1, numbered=True)
    found = {
        text
        for length in range(7)
        for text in map("".join, itertools.product(" 1:0\u0661", repeat=length))
        if re.fullmatch(pattern, text)
    }
    assert found == {" 1:0", " 1:1", " 1:10"}
    assert all(re.fullmatch(pattern, f" 1:{number}") for number in NUMBERS)


@given(LEVELS, st.integers(-3, 3))
@example([10] * 12, 0)
def test_a_grid_is_read_back_and_only_at_its_own_length(levels, other):
    found = parse_grid(spell(levels), len(levels), numbered=True)
    assert found.tolist() == levels
    assert found.dtype == np.float32
    assert re.fullmatch(grid_pattern(len(levels), numbered=True), spell(levels))
    if other and len(levels) + other >= 1:
        assert parsed(spell(levels), len(levels) + other) is None


@given(LEVELS, st.data())
def test_a_changed_grid_is_read_as_by_hand(levels, data):
    text = spell(levels)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(start + 2, len(text))))
    changed = text[:start] + data.draw(st.text(" 0123456789:,\n\u0661", max_size=2)) + text[end:]
    assert parsed(changed, len(levels)) == read_by_hand(changed, len(levels))


@pytest.mark.parametrize(
    "text",
    ["1:0 2:10", " 1:0  2:10", " 1:0 2:10 ", " 1:0,2:10", " 2:0 1:10", " 1:0 2:11", " 1:0 2:", " 1:0", "0,10", ""],
)
def test_what_is_no_numbered_grid_is_none(text):
    assert parsed(" 1:0 2:10", 2) == [0, 10]
    assert parsed(text, 2) is None


def test_plain_and_numbered_are_two_forms():
    assert parse_grid("0,10", 2).tolist() == [0, 10]
    assert parse_grid(" 1:0 2:10", 2) is None


@given(LEVELS)
@example([10] * 10_000)
def test_there_are_tokens_enough_even_one_for_each_character(levels):
    assert len(spell(levels)) <= grid_max_tokens(len(levels), numbered=True)


# answers -------------------------------------------------------------------------------------------------------------


def asked_tokens(prompt):
    """The shown tokens of a prompt, each before its number."""
    lines = re.findall(r"^(.*) ([0-9]+)$", prompt.partition("neuron:")[2], flags=re.MULTILINE)
    assert [int(number) for _, number in lines] == list(range(1, len(lines) + 1))
    return [token for token, _ in lines]


def answer(prompt):
    """Each token's number of characters, 10 at most."""
    return spell([min(len(token), 10) for token in asked_tokens(prompt)])


def task(explanation, *tokens):
    return SimulateTask(explanation=explanation, tokens=tokens)


def simulate(engine, *tasks, **changed):
    values = {"prompt_version": "inline-v1", "few_shot": 0, "chat": "never"} | changed
    return GridSimulator(engine, SimulateConfig(mode="grid", **values)).simulate(tasks)


@pytest.mark.parametrize("chat", ["always", "never"])
def test_every_token_is_asked_for_and_answered_the_last_one_too(chat):
    engine = RecordingEngine(generate=answer)
    tokens = (" movie", "", "\t", "a\nb", "0,10", "2:10", "{{ x }}", "international", "1")
    (reply,) = simulate(engine, task("films", *tokens), chat=chat)
    # " movie" 6, "" 0, "\t" as an escape 2, "a\nb" 4, "0,10" 4, "2:10" 4, "{{ x }}" 7, more than ten 10, "1" 1
    assert reply.expected.tolist() == [6, 0, 2, 4, 4, 4, 7, 10, 1]
    assert (reply.error, reply.label_mass, reply.label_set) == (None, None, "")
    (request,) = engine.requests
    assert request.pattern == grid_pattern(9, numbered=True)
    assert request.sampling == Sampling(max_tokens=grid_max_tokens(9, numbered=True))


@given(LEVELS)
def test_the_written_levels_come_back(levels):
    engine = ScriptedEngine(generate=lambda prompt: spell(levels))
    (reply,) = simulate(engine, task("films", *["a"] * len(levels)))
    assert reply.expected.tolist() == levels


def test_replies_are_in_order_and_a_failed_one_leaves_the_others():
    def reply(prompt):
        if "bad" in asked_tokens(prompt):
            raise EngineError("out of memory")
        return answer(prompt)

    tasks = [task("x", "aa"), task("y", "bad"), task("x"), task("x", "a", "aaa")]
    replies = simulate(ScriptedEngine(generate=reply), *tasks)
    assert [r.error for r in replies] == [None, "out of memory", "the excerpt has no tokens", None]
    assert [r.expected.tolist() for r in (replies[0], replies[3])] == [[2], [1, 3]]


def test_a_plain_grid_is_refused_where_numbers_are_asked_for():
    (reply,) = simulate(ScriptedEngine(generate=lambda prompt: "0,1"), task("x", "a", "b"))
    assert reply.expected is None
    assert "does not match the pattern" in reply.error


def test_cut_off_is_an_error_that_says_so():
    counts = TokenCounts(prompt=3, generated=35)
    reply = read_reply(GenerateReply(text=" 1:0 2:10 3", finish="length", counts=counts), 3, numbered=True)
    assert reply.expected is None
    assert reply.error == "cut off by max_tokens = 35 before all 3 numbers were written"  # 9 for each and 8
    assert reply.counts == counts
    whole = read_reply(GenerateReply(text=" 1:0 2:10 3:7", finish="length", counts=counts), 3, numbered=True)
    assert whole.expected.tolist() == [0, 10, 7]


# the prompt ----------------------------------------------------------------------------------------------------------


def sent(explanation, *tokens, chat="never"):
    engine = RecordingEngine(generate=answer)
    simulate(engine, task(explanation, *tokens), chat=chat)
    return engine.requests[0].token_ids


def test_the_prompt_by_hand():
    ids = sent('the word "river"\nor a bank', " a\n", "", "river")
    text = RecordingEngine().tokenizer.decode(ids)
    assert text == 'neuron: the word " river" or a bank\n a\\n 1\n 2\nriver 3\nlevels:'
    assert ids[0] == BOS_ID
    assert ids.count(BOS_ID) == 1
    assert RecordingEngine().tokenizer.decode(sent("", "a")) == "neuron:\na 1\nlevels:"


@pytest.mark.parametrize("chat", ["always", "never"])
def test_an_excerpt_longer_than_the_context_is_an_error(chat):
    room = len(sent("films", "a", "b", chat=chat)) + grid_max_tokens(2, numbered=True)
    for context, error in ((room, None), (room - 1, f"the prompt is longer than the model's context of {room - 1}")):
        engine = RecordingEngine(generate=answer, context_tokens=context)
        long, short = simulate(engine, task("films", "a", "b"), task("films", "a"), chat=chat)
        assert long.error == (error and f"{error} tokens")
        assert short.expected.tolist() == [1]


def test_there_are_no_examples():
    with pytest.raises(ConfigError, match="0 to 0 examples"):
        simulate(ScriptedEngine(), task("films", "a"), few_shot=1)


# a real model --------------------------------------------------------------------------------------------------------

EXCERPTS = (
    (" boat", "", "\t", "<|im_end|>", " ten", "\n", "10", "\ufffd", "."),
    (" 1:", "5"),
    ("a",),
    (" the", " ferry", " leaves") * 5,
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    folder = write_tiny_engine(tmp_path_factory.mktemp("models") / "tiny-qwen3", family="qwen3")
    engine = TransformersEngine.load(folder, device="cpu")
    yield engine
    engine.close()


@pytest.mark.parametrize("chat", ["always", "never"])
def test_a_random_model_writes_a_grid_every_time(engine, chat):
    tasks = [task(explanation, *tokens) for explanation in ("words for boats", "") for tokens in EXCERPTS]
    replies = simulate(engine, *tasks, chat=chat)
    assert [reply.error for reply in replies] == [None] * len(tasks)
    for asked, reply in zip(tasks, replies, strict=True):
        assert len(reply.expected) == len(asked.tokens)
        assert set(reply.expected.tolist()) <= set(range(11))


def test_it_is_the_pattern_that_makes_it_one(engine):
    """The same prompt, once with the pattern and once without."""
    text = "neuron: words for boats\n boat 1\n ten 2\n. 3\nlevels:"
    sampling = Sampling(max_tokens=grid_max_tokens(3, numbered=True))
    ids = engine.tokenizer.encode(text)
    bound, free = engine.generate(
        [
            GenerateRequest(token_ids=ids, sampling=sampling, pattern=grid_pattern(3, numbered=True)),
            GenerateRequest(token_ids=ids, sampling=sampling),
        ]
    )
    (reply,) = simulate(engine, task("words for boats", " boat", " ten", "."))
    assert reply.expected.tolist() == read_by_hand(bound.text, 3)
    assert reply.counts.generated == bound.counts.generated
    assert read_by_hand(free.text, 3) is None
