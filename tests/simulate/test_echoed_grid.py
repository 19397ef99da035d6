"""Simulation by a grid that writes each token again, with its number behind it: "Stir0\\n the0\\n soup10\\n"."""

import itertools
import re
import shutil
from functools import partial

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from localexplain.engines.base import GenerateReply, GenerateRequest, Sampling
from localexplain.engines.scripted import BOS_ID, ScriptedEngine
from localexplain.engines.transformers import TransformersEngine
from localexplain.errors import ConfigError, EngineError
from localexplain.prompts import load_prompt
from localexplain.resources import resource
from localexplain.simulate.base import SimulateConfig
from localexplain.simulate.grid import GridSimulator, echoed_grid, plain_grid, read_reply
from localexplain.types import SimulateTask, TokenCounts
from tests.recording import RecordingEngine
from tests.simulate.echoes import CELLS, read_by_hand, shown, spell
from tests.tiny_models import write_tiny_engine


def parse(text, tokens):
    found = echoed_grid(tokens).read(text)
    return None if found is None else found.tolist()


# the pattern ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tokens",
    [("a",), ("1",), ("10",), (".",), ("",), ("", ""), ("1", "10"), ("", "1"), ("a", "."), ("10", ""), ("1", "", "")],
)
def test_pattern_matches_exactly_the_grids(tokens):
    # every string of up to 7 of these: digits, the line break, a sign of expressions, the digit 1 of another script
    alphabet = "01\n.a\u0661"
    matches = re.compile(echoed_grid(tokens).pattern).fullmatch
    found = {
        text
        for length in range(8)
        for text in map("".join, itertools.product(alphabet, repeat=length))
        if matches(text)
    }
    grids = {spell(zip(tokens, levels, strict=True)) for levels in itertools.product((0, 1, 10), repeat=len(tokens))}
    assert found == {text for text in grids if len(text) <= 7}
    assert found
    assert all(parse(text, tokens) == read_by_hand(text, tokens) for text in found)


def test_a_token_that_is_a_number_is_told_from_the_number_behind_it():
    assert [parse(f"{text}\n", ["1"]) for text in ("10", "11", "110", "1", "111", "1010")] == [
        [0],
        [1],
        [10],
        None,
        None,
        None,
    ]
    assert [parse(f"{text}\n", ["10"]) for text in ("100", "1010", "10", "1")] == [[0], [10], None, None]
    assert parse("110\n1010\n10\n", ["1", "10", ""]) == [10, 10, 10]
    assert parse("10\n100\n0\n", ["1", "10", ""]) == [0, 0, 0]


@settings(deadline=None)  # the expression of 200 cells takes long to compile
@given(CELLS, st.integers(-3, 3))
@example([("1", 10), ("10", 1), ("", 0), ("a\n1", 10), ("\\", 5), ("\x00\u2028\ud800", 3)], 0)
@example([(" the", 10)] * 200, 0)
def test_a_grid_is_read_back_and_only_over_its_own_tokens(cells, other):
    tokens = [token for token, _ in cells]
    found = echoed_grid(tokens).read(spell(cells))
    assert found.tolist() == [level for _, level in cells]
    assert found.dtype == np.float32
    assert parse(spell(cells), [*tokens, ""]) is None
    assert parse(spell(cells), [*tokens[:-1], f"{tokens[-1]}x"]) is None
    if 0 < len(cells) + other < len(cells):
        assert parse(spell(cells), tokens[:other]) is None


@given(CELLS, st.data())
def test_a_changed_grid_is_read_as_by_hand(cells, data):
    text = spell(cells)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(start + 2, len(text))))
    changed = text[:start] + data.draw(st.text(" 0123456789.,\\\n\u0661", max_size=2)) + text[end:]
    tokens = [token for token, _ in cells]
    assert parse(changed, tokens) == read_by_hand(changed, tokens)


@pytest.mark.parametrize(
    "text",
    [
        "0,10\n",
        "a0\n.10",
        "a0\n.10\n\n",
        "a0\n.10\n ",
        "a0\n.10\n0",
        "a0\n.10\r\n",
        "a0.10\n",
        ".10\na0\n",
        "a0\n.11\n",
        "a0\n.\n",
        "a0\n",
        "\na0\n.10\n",
        "a0\r\n.10\n",
        "a 0\n.10\n",
        "a0\nx10\n",
    ],
)
def test_what_is_no_such_grid_is_none(text):
    assert parse("a0\n.10\n", ["a", "."]) == [0, 10]
    assert parse(text, ["a", "."]) is None


def test_plain_and_echoed_are_two_forms():
    assert plain_grid(["a", "b"]).read("0,10").tolist() == [0, 10]
    assert plain_grid(["a", "b"]).read("0,10\n") is None
    assert echoed_grid(["a", "b"]).read("0,10") is None
    assert plain_grid(["a", "b"]).read("a0\nb10\n") is None
    # of empty tokens nothing is echoed but the lines
    assert parse("0\n10\n3\n", ["", "", ""]) == [0, 10, 3]
    assert parse("0\n10\n3", ["", "", ""]) is None
    assert parse("0,10,3\n", ["", "", ""]) is None


@given(CELLS)
@example([("日本", 10)] * 500)
def test_there_are_tokens_enough_even_one_for_each_byte(cells):
    tokens = [token for token, _ in cells]
    longest = spell((token, 10) for token in tokens)
    assert len(longest.encode("utf-8")) <= echoed_grid(tokens).max_tokens


# answers -------------------------------------------------------------------------------------------------------------


def task(explanation, *tokens):
    return SimulateTask(explanation=explanation, tokens=tokens)


def lengths(*tokens):
    """A script: each token's number of characters as it is shown, 10 at most; that excerpt alone."""
    return spell((token, min(len(shown(token)), 10)) for token in tokens)


def simulate(engine, *tasks, **changed):
    values = {"prompt_version": "inline-v2", "few_shot": 0, "chat": "never"} | changed
    return GridSimulator(engine, SimulateConfig(mode="grid", **values)).simulate(tasks)


@pytest.mark.parametrize("chat", ["always", "never"])
def test_every_token_is_asked_for_and_answered_the_last_one_too(chat):
    tokens = (" movie", "", "\t", "a\nb", "0,10", "2:10", "{{ x }}", "international", "1")
    engine = RecordingEngine(generate=lambda prompt: lengths(*tokens))
    (reply,) = simulate(engine, task("films", *tokens), chat=chat)
    # " movie" 6, "" 0, "\t" as an escape 2, "a\nb" 4, "0,10" 4, "2:10" 4, "{{ x }}" 7, more than ten 10, "1" 1
    assert reply.expected.tolist() == [6, 0, 2, 4, 4, 4, 7, 10, 1]
    assert (reply.error, reply.label_mass, reply.label_set) == (None, None, "")
    (request,) = engine.requests
    number = "(10|[0-9])"
    cells = [" movie", "", r"\\t", r"a\\nb", "0,10", "2:10", r"\{\{ x \}\}", "international", "1"]
    assert request.pattern == "".join(f"{cell}{number}\n" for cell in cells)
    # 44 bytes of tokens, as counted above and 13 for the longest: three more for each of nine, and eight
    assert request.sampling == Sampling(max_tokens=6 + 0 + 2 + 4 + 4 + 4 + 7 + 13 + 1 + 9 * 3 + 8)


@given(CELLS)
def test_the_written_levels_come_back(cells):
    engine = ScriptedEngine(generate=lambda prompt: spell(cells))
    (reply,) = simulate(engine, task("films", *[token for token, _ in cells]))
    assert reply.expected.tolist() == [level for _, level in cells]


def test_replies_are_in_order_and_a_failed_one_leaves_the_others():
    def reply(prompt):
        (excerpt,) = re.findall(r"^neuron: .\n(.*)\nlevels:$", prompt, flags=re.MULTILINE)
        if "bad" in excerpt:
            raise EngineError("out of memory")
        return lengths(*re.findall("a+|b+", excerpt))

    tasks = [task("x", "aa"), task("y", "bad"), task("x"), task("x", "a", "bbb")]
    engine = RecordingEngine(generate=reply)
    replies = simulate(engine, *tasks)
    assert [r.error for r in replies] == [None, "out of memory", "the excerpt has no tokens", None]
    assert [r.expected.tolist() for r in (replies[0], replies[3])] == [[2], [1, 3]]
    # those of one explanation together; each excerpt has its own pattern, whatever its length
    assert [request.pattern.replace("(10|[0-9])", "#") for request in engine.requests] == [
        "aa#\n",
        "a#\nbbb#\n",
        "bad#\n",
    ]


@pytest.mark.parametrize("answer", ["0,1", "a0\n", "a0\nb1", "b0\na1\n", "0\n1\n"])
def test_another_form_than_asked_for_is_refused(answer):
    (reply,) = simulate(ScriptedEngine(generate=lambda prompt: answer), task("x", "a", "b"))
    assert reply.expected is None
    assert "does not match the pattern" in reply.error


def test_cut_off_is_an_error_that_says_so():
    counts = TokenCounts(prompt=3, generated=21)
    grid = echoed_grid(["a", " é", "."])

    def read(text, finish="length"):
        return read_reply(GenerateReply(text=text, finish=finish, counts=counts), grid)

    reply = read("a0\n é10\n")
    assert reply.expected is None
    # 1 + 3 + 1 bytes of tokens, 3 more for each, and 8
    assert reply.error == "cut off by max_tokens = 22 before all 3 numbers were written"
    assert reply.counts == counts
    assert read("a0\n é10\n.7\n").expected.tolist() == [0, 10, 7]
    # nobody knows whether this 1 was to become a 10
    assert read("a0\n é10\n.1").error == reply.error
    assert read("a0\n é10\n", "stop").error == "not a grid of 3 numbers: 'a0\\n é10\\n'"


# the prompt ----------------------------------------------------------------------------------------------------------


def sent(explanation, *tokens, chat="never"):
    engine = RecordingEngine(generate=lambda prompt: lengths(*tokens))
    simulate(engine, task(explanation, *tokens), chat=chat)
    return engine.requests[0].token_ids


def test_the_prompt_by_hand():
    decode = RecordingEngine().tokenizer.decode
    ids = sent('the word "river"\nor a bank', "The", " a\n", "", "\\", "river")
    assert decode(ids) == 'neuron: the word " river" or a bank\nThe a\\n\\\\river\nlevels:\n'
    assert ids[0] == BOS_ID
    assert ids.count(BOS_ID) == 1
    assert decode(sent("", "a")) == "neuron:\na\nlevels:\n"
    assert decode(sent("x", "", "")) == "neuron: x\nlevels:\n"  # of empty tokens alone there is no line


def test_in_a_chat_the_question_is_the_users_turn():
    text = RecordingEngine().tokenizer.decode(sent("films", "a", " b", chat="always"))
    assert text.endswith("<user>\nneuron: films\na b\n<assistant>\n")


@pytest.mark.parametrize("chat", ["always", "never"])
def test_an_excerpt_longer_than_the_context_is_an_error(chat):
    room = len(sent("films", "a", "é", chat=chat)) + 3 + 2 * 3 + 8  # three bytes of tokens
    for context, error in ((room, None), (room - 1, f"the prompt is longer than the model's context of {room - 1}")):
        engine = RecordingEngine(
            generate=lambda prompt: lengths(*(("a", "é") if "\naé\n" in prompt else ("a",))), context_tokens=context
        )
        long, short = simulate(engine, task("films", "a", "é"), task("films", "a"), chat=chat)
        assert long.error == (error and f"{error} tokens")
        assert short.expected.tolist() == [1]


def test_there_are_no_examples():
    with pytest.raises(ConfigError, match="0 to 0 examples"):
        simulate(ScriptedEngine(), task("films", "a"), few_shot=1)


def test_the_setting_alone_decides_the_form_and_an_unknown_one_is_refused(tmp_path, monkeypatch):
    """With a copy of the prompts in which the setting is changed."""
    root = shutil.copytree(resource("prompts"), tmp_path / "prompts")
    monkeypatch.setattr("localexplain.simulate.grid.load_prompt", partial(load_prompt, root=root))
    path = root / "simulate-grid" / "inline-v2" / "settings.toml"
    text = path.read_text(encoding="utf-8")
    assert 'grid = "echoed"' in text
    path.write_text(text.replace('grid = "echoed"', 'grid = "plain"'), encoding="utf-8")
    (reply,) = simulate(ScriptedEngine(generate=lambda prompt: "0,10"), task("films", "a", "b"))
    assert reply.expected.tolist() == [0, 10]
    path.write_text(text.replace('grid = "echoed"', 'grid = "spiral"'), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"simulate-grid/inline-v2: grid = 'spiral'; use plain or echoed"):
        simulate(ScriptedEngine(), task("films", "a"))


# a model of set preferences ------------------------------------------------------------------------------------------


def prefer(folder, *pieces):
    """Writes an engine of a model that after every text likes these pieces best, the first most.

    Of the last norm the scale is 0 and the shift the first unit vector, so that an embedding's first entry is the
    token's logit: 0 but for these pieces.
    """
    write_tiny_engine(folder, family="gpt2")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    path = folder / "model.safetensors"
    weights = load_file(path)
    embeddings = weights["transformer.wte.weight"]
    embeddings[:, 0] = 0
    for logit, piece in enumerate(reversed(pieces), start=1):
        (index,) = tokenizer.encode(piece, add_special_tokens=False).ids
        embeddings[index, 0] = logit
    weights["transformer.ln_f.weight"].zero_()
    weights["transformer.ln_f.bias"].zero_()[0] = 1
    save_file(weights, path, metadata={"format": "pt"})
    return TransformersEngine.load(folder, device="cpu")


@pytest.mark.parametrize(
    ("liked", "level"),
    [
        (("1", "\n", "0"), 1),  # the stop token is liked less than "0": it is the line end that ends the last 1
        (("1", "0", "\n"), 10),
        (("1", "0"), 10),
    ],
    ids=["line end before 0", "0 before line end", "no line end"],
)
def test_behind_a_1_the_model_chooses_between_the_line_end_and_0(liked, level, tmp_path):
    tokens = (" boat", "", "1", ".")
    engine = prefer(tmp_path / "engine", *liked)
    (reply,) = simulate(engine, task("words for boats", *tokens))
    engine.close()
    assert reply.error is None
    assert reply.expected.tolist() == [level] * len(tokens)


# a real model --------------------------------------------------------------------------------------------------------

EXCERPTS = (
    (" boat", "", "\t", "<|im_end|>", " ten", "\n", "10", "\ufffd", "."),
    (" 19", "", "\\", "日本", "[x]", "é\u2028", "\x00"),
    ("1", "10", "0", "", "1"),
    ("",),
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
    tokens = (" boat", " ten", ".")
    grid = echoed_grid(tokens)
    ids = engine.tokenizer.encode("neuron: words for boats\n boat ten.\nlevels:\n")
    sampling = Sampling(max_tokens=grid.max_tokens)
    bound, free = engine.generate(
        [
            GenerateRequest(token_ids=ids, sampling=sampling, pattern=grid.pattern),
            GenerateRequest(token_ids=ids, sampling=sampling),
        ]
    )
    (reply,) = simulate(engine, task("words for boats", *tokens))
    assert reply.expected.tolist() == read_by_hand(bound.text, tokens)
    assert reply.counts.generated == bound.counts.generated
    assert read_by_hand(free.text, tokens) is None
