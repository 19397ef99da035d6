"""Excerpts as running text: where each subject token is read, whatever it is cut into."""

import math

import numpy as np
import pytest
import torch
import transformers
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, processors

from localexplain.engines.scripted import BOS_ID, TEN_ID, ScriptedEngine, ScriptedTokenizer, level
from localexplain.engines.transformers import TransformersEngine
from localexplain.errors import ConfigError, EngineError
from localexplain.prompts import load_prompt, show_token
from localexplain.simulate.base import SimulateConfig
from localexplain.simulate.expected import ExpectedSimulator, for_tokens
from localexplain.types import SimulateReply, SimulateTask, TokenCounts
from tests.recording import RecordingEngine
from tests.simulate.vocabularies import (
    AWKWARD,
    HALVES,
    SPELT,
    TOKENS,
    VOCABULARIES,
    ByteLevel,
    encoded,
    oracle,
    parts_before_signs,
    write,
)
from tests.tiny_models import train_tokenizer, write_tiny_engine

# positions -----------------------------------------------------------------------------------------------------------


def test_the_vocabularies_are_as_bad_as_they_should_be():
    # a piece over two characters, one over two words, one over two escapes: each is cut by some subject's tokens
    pieces = VOCABULARIES["crossing"].piece_bytes(VOCABULARIES["crossing"].tokenizer.encode("ééthe \\n\\n"))
    assert pieces == [b"\xc3", b"\xa9\xc3", b"\xa9", b"the ", b"\\n\\n"]
    words = VOCABULARIES["words"]
    assert words.piece_bytes(words.tokenizer.encode(" ferry")) == [b" ferry"]


@pytest.mark.parametrize("kind", VOCABULARIES)
@given(tokens=TOKENS)
@example(tokens=SPELT)
@example(tokens=[*AWKWARD, *HALVES])
@settings(deadline=None)
def test_each_token_is_read_at_the_piece_that_holds_its_last_character(kind, tokens):
    vocabulary = VOCABULARIES[kind]
    cells = write(vocabulary, tokens)
    text = "".join(map(show_token, tokens))
    assert b"".join(vocabulary.piece_bytes(cells.token_ids)) == encoded(text)
    if not parts_before_signs(tokens):
        assert cells.token_ids == vocabulary.tokenizer.encode(text)
    assert len(cells.positions) == len(tokens)
    assert list(cells.positions) == sorted(cells.positions)
    if text:  # of nothing but empty tokens there is no piece to read at; see the replies below
        assert all(0 <= position < len(cells.token_ids) for position in cells.positions)
    assert list(cells.positions) == oracle(vocabulary, tokens, cells.token_ids)


@pytest.mark.parametrize("kind", VOCABULARIES)
@given(tokens=TOKENS, data=st.data())
@settings(deadline=None)
def test_cutting_a_token_adds_one_position_and_moves_none(kind, tokens, data):
    whole = write(VOCABULARIES[kind], ["a", *tokens])
    place = data.draw(st.integers(0, len(tokens)))
    token = ["a", *tokens][place]
    cut = data.draw(st.integers(0, len(token)))
    parts = ["a", *tokens]
    parts[place : place + 1] = [token[:cut], token[cut:]]
    assume(len(parts_before_signs(parts)) == len(parts_before_signs(["a", *tokens])))  # else white space is cut off
    both = write(VOCABULARIES[kind], parts)
    assert both.token_ids == whole.token_ids
    assert (*both.positions[:place], *both.positions[place + 1 :]) == whole.positions


@pytest.mark.parametrize("kind", VOCABULARIES)
@given(tokens=TOKENS, data=st.data())
@settings(deadline=None)
def test_levels_are_not_shown(kind, tokens, data):
    size = len(tokens)
    levels = data.draw(st.lists(st.none() | st.integers(0, 10), min_size=size, max_size=size))
    assert write(VOCABULARIES[kind], tokens, levels) == write(VOCABULARIES[kind], tokens)


def test_positions_by_hand():
    # pieces: a | 10 | b | \ | n; "1" and "0" are both read at the "10", the line break at the end of its escape
    cells = write(VOCABULARIES["scripted"], ["", "a", "1", "0b", "", "\n"])
    assert cells.token_ids == (97, TEN_ID, 98, 92, 110)
    assert cells.positions == (0, 0, 1, 2, 2, 4)
    # pieces: C3 | A9 C3 | A9 | the+space
    cells = write(VOCABULARIES["crossing"], ["é", "é", "t", "he", " "])
    assert cells.positions == (1, 2, 3, 3, 3)


def test_white_space_that_is_a_token_shares_no_piece_with_a_sign():
    # pieces of " &": one, " &"; cut after the space: two. Before a word the space stays with the word.
    vocabulary = ByteLevel(train_tokenizer(["salt & oil & vinegar & salt"] * 50))
    tokenizer = vocabulary.tokenizer
    assert len(tokenizer.encode(" &")) == 1
    cells = write(vocabulary, ["salt", " ", "&", " ", "oil"])
    assert cells.token_ids == (*tokenizer.encode("salt "), *tokenizer.encode("& oil"))
    assert [cells.positions[place] for place in (1, 2)] == [
        len(tokenizer.encode("salt ")) - 1,
        len(tokenizer.encode("salt ")),
    ]
    assert cells.positions[3] == cells.positions[4]
    assert write(vocabulary, ["salt", " &", " oil"]).token_ids == tokenizer.encode("salt & oil")


def test_an_excerpt_without_tokens_has_no_positions():
    cells = write(VOCABULARIES["words"], [])
    assert (cells.token_ids, cells.positions) == ((), ())


def test_positions_do_not_hang_on_how_offsets_are_trimmed():
    """As the tokenizers of RoBERTa and Llama 3 are saved."""
    backend = train_tokenizer()
    backend.post_processor = processors.ByteLevel(trim_offsets=True)
    tokens = ["The", " ", "ferry"]
    assert write(VOCABULARIES["words"], tokens).positions == (0, 1, 1)  # The | ferry
    assert write(ByteLevel(backend), tokens).positions == (0, 1, 1)


# replies about positions ---------------------------------------------------------------------------------------------


def test_values_go_to_the_tokens_of_their_positions():
    counts = TokenCounts(prompt=5, computed=4)
    expected = np.array([0.5, 9.0, 3.0], dtype=np.float32)
    reply = SimulateReply(expected=expected, label_mass=0.25, label_set="digits", counts=counts)
    found = for_tokens(reply, np.array([0, 1, 1, 2, 2], dtype=np.int64))
    assert found.expected.tolist() == [0.5, 9.0, 9.0, 3.0, 3.0]
    assert found.expected.dtype == np.float32
    assert (found.label_mass, found.label_set, found.counts, found.error) == (0.25, "digits", counts, None)


def test_a_failed_reply_stays_as_it_is():
    reply = SimulateReply(expected=None, error="out of memory", label_set="digits")
    assert for_tokens(reply, np.array([0, 0], dtype=np.int64)) == reply


# the simulator -------------------------------------------------------------------------------------------------------


def task(explanation, *tokens):
    return SimulateTask(explanation=explanation, tokens=tokens)


def simulate(engine, *tasks, **changed):
    values = {"prompt_version": "inline-v2", "few_shot": 0, "chat": "never"} | changed
    return ExpectedSimulator(engine, SimulateConfig(mode="expected", **values)).simulate(tasks)


def scripted_level(before):
    """Another level for every length of text, in quarters."""
    return (7 * len(before) % 41) / 4


@pytest.mark.parametrize("chat", ["always", "never"])
@given(tokens=TOKENS.filter(any))
@example(tokens=SPELT)
@settings(max_examples=40, deadline=None)
def test_the_scripted_levels_come_back(chat, tokens):
    engine = RecordingEngine(label_logprobs=lambda prefix, before, cell: level(scripted_level(before)))
    (reply,) = simulate(engine, task("films", *tokens), chat=chat)
    vocabulary = VOCABULARIES["scripted"]
    (request,) = engine.requests
    assert vocabulary.tokenizer.decode(request.tail) == "".join(map(show_token, tokens))
    places = oracle(vocabulary, tokens, request.tail)
    wanted = [scripted_level(vocabulary.tokenizer.decode(request.tail[: place + 1])) for place in places]
    assert reply.error is None
    assert reply.expected == pytest.approx(wanted, abs=1e-5)
    assert request.positions == tuple(sorted(set(places)))  # each position is asked for once


def test_tokens_of_one_piece_get_one_value_and_all_others_their_own():
    seen = []

    def belief(prefix, before, cell):
        seen.append((cell, before))
        return level({"a": 1, "a10": 6, "a10b": 9}[before])

    (reply,) = simulate(ScriptedEngine(label_logprobs=belief), task("films", "a", "1", "0", "", "b"))
    assert reply.expected == pytest.approx([1, 6, 6, 6, 9], abs=1e-5)
    assert seen == [(0, "a"), (1, "a10"), (2, "a10b")]


def test_the_lowest_label_mass_is_told():
    def belief(prefix, before, cell):
        shares = [0.0] * 11
        # (10 * .1 + 2 * .3) / .4 = 4, mass .4; 10, mass .5
        shares[10], shares[2] = (0.1, 0.3) if before == "a" else (0.5, 0.0)
        return [math.log(share) if share else -math.inf for share in shares]

    (reply,) = simulate(ScriptedEngine(label_logprobs=belief), task("films", "a", "b"))
    assert reply.expected == pytest.approx([4, 10], abs=1e-5)
    assert reply.label_mass == pytest.approx(0.4, rel=1e-5)


# the prompt ----------------------------------------------------------------------------------------------------------


def sent(explanation, *tokens, **settings):
    engine = RecordingEngine(**settings)
    simulate(engine, task(explanation, *tokens))
    return engine.requests[0]


def test_the_prompt_is_a_header_and_the_text():
    request = sent("the word \"river\"\n or 'bank'", " a\n", "river")
    decode = ScriptedTokenizer().decode
    assert request.prefix[0] == BOS_ID
    assert (request.prefix + request.tail).count(BOS_ID) == 1
    assert decode(request.prefix) == "neuron: the word \" river\" or ' bank'\n"
    assert decode(request.tail) == " a\\nriver"
    assert decode(sent("", "a").prefix) == "neuron:\n"


def test_in_a_chat_the_explanation_is_the_users():
    engine = RecordingEngine()
    simulate(engine, task("films", "a"), chat="always")
    system, _, user = engine.tokenizer.decode(engine.requests[0].prefix).partition("<user>\n")
    assert "films" in user
    assert "films" not in system


def test_there_are_no_examples():
    with pytest.raises(ConfigError, match="0 to 0 examples"):
        simulate(ScriptedEngine(), task("films", "a"), few_shot=1)


def test_identity_names_the_version():
    def details(version):
        config = SimulateConfig(prompt_version=version, few_shot=0)
        return dict(ExpectedSimulator(ScriptedEngine(), config).identity.details)

    assert details("inline-v2")["simulate.prompt"] == load_prompt("simulate-expected", "inline-v2").identity
    assert details("inline-v2") != details("v1")


# batches -------------------------------------------------------------------------------------------------------------


def test_replies_are_in_order_and_a_failed_one_leaves_the_others():
    def belief(prefix, before, cell):
        if "bad" in before:
            raise EngineError("out of memory")
        return level(len(before))

    tasks = [task("x", "ab", "c"), task("y", "bad"), task("x"), task("x", "", ""), task("x", "1", "0", "c")]
    replies = simulate(ScriptedEngine(label_logprobs=belief), *tasks)
    assert replies[0].expected == pytest.approx([2, 3], abs=1e-5)
    assert (replies[1].error, replies[2].error) == ("out of memory", "the excerpt has no tokens")
    assert replies[3].error is not None  # only empty tokens: nothing to read at, and no value made up
    assert [replies[place].expected for place in (1, 2, 3)] == [None] * 3
    assert replies[4].expected == pytest.approx([2, 2, 3], abs=1e-5)


@pytest.mark.parametrize(("spare", "fits"), [(1, True), (0, False)])
def test_an_excerpt_longer_than_the_context_is_an_error(spare, fits):
    # BOS, the 14 characters of "neuron: films\\n" and the pieces a, 10, b, c; engines may write one token more
    needed = 1 + 14 + 4
    engine = RecordingEngine(context_tokens=needed + spare)
    long, short = simulate(engine, task("films", "a", "1", "0", "bc"), task("films", "a"))
    assert (long.error is None) == fits
    assert short.error is None
    if not fits:
        assert "longer than the model's context of" in long.error


# a real model --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_engine(tmp_path_factory.mktemp("models") / "tiny-llama", family="llama")


def test_values_are_those_of_the_whole_prompt_run_plainly(folder):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    engine = TransformersEngine.load(folder, device="cpu")
    vocabulary = ByteLevel(Tokenizer.from_file(str(folder / "tokenizer.json")))
    labels = [vocabulary.tokenizer.encode(str(number))[0] for number in range(11)]
    tasks = [task("words for boats", "The", " fer", "ry", "", "\n", "é", "日", " 1", "0"), task("", " ", "harbour")]
    replies = simulate(engine, *tasks)
    engine.close()
    for asked, reply in zip(tasks, replies, strict=True):
        head = vocabulary.tokenizer.encode(f"neuron: {asked.explanation}".rstrip() + "\n")
        tail = vocabulary.tokenizer.encode("".join(map(show_token, asked.tokens)))
        with torch.no_grad():
            logprobs = torch.log_softmax(model(torch.tensor([[*head, *tail]])).logits[0].double(), dim=-1)
        rows = [len(head) + place for place in oracle(vocabulary, asked.tokens, tail)]
        shares = logprobs[rows][:, labels].exp().numpy()
        wanted = shares @ np.arange(11) / shares.sum(axis=1)
        assert reply.expected == pytest.approx(wanted, abs=1e-3)
        assert reply.label_mass == pytest.approx(shares.sum(axis=1).min(), rel=1e-3)
    first = replies[0].expected
    assert first[1] == first[2] == first[3]  # " fer", "ry" and the empty token share " ferry"
    assert np.ptp(first) > 0.1  # the model does tell the tokens apart
