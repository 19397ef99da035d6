"""Simulation by expected value, with a scripted engine whose beliefs are known."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from localexplain.engines.base import LabelReply
from localexplain.engines.labels import LabelSet
from localexplain.engines.scripted import BOS_ID, TEN_ID, ScriptedEngine, ScriptedTokenizer, level
from localexplain.errors import ConfigError, EngineError
from localexplain.simulate.base import SimulateConfig
from localexplain.simulate.expected import ExpectedSimulator, expected_values, label_mass, legend, read_reply
from localexplain.types import SimulateTask, TokenCounts
from tests.recording import RecordingEngine

DIGITS = LabelSet(name="digits", texts=tuple(map(str, range(11))), ids=(*map(ord, "0123456789"), TEN_ID))


def token_of(before):
    """The subject token of the cell that ends `before`, as the prompt shows it."""
    return before.split("\n")[-1].removesuffix("\t")


def task(explanation, *tokens):
    return SimulateTask(explanation=explanation, tokens=tokens)


def simulate(engine, *tasks, **settings):
    return ExpectedSimulator(engine, SimulateConfig(mode="expected", **settings)).simulate(tasks)


def sent(chat, few_shot, *tokens, explanation="films"):
    """The request for one excerpt where there is room for everything."""
    engine = RecordingEngine()
    simulate(engine, task(explanation, *tokens), chat=chat, few_shot=few_shot)
    return engine.requests[0]


def prefix_text(**settings):
    engine = RecordingEngine()
    simulate(engine, task(settings.pop("explanation", "films"), "a"), **settings)
    return engine.tokenizer.decode(engine.requests[0].prefix)


# the expected value --------------------------------------------------------------------------------------------------


def logs(*rows):
    with np.errstate(divide="ignore"):
        return np.log(np.array(rows, dtype=np.float64)).astype(np.float32)


def test_expected_value_by_hand():
    rows = logs(
        [0.1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.3],  # (0 * .1 + 10 * .3) / .4 = 7.5
        [0.05] * 11,  # 55 / 11 = 5
        [0, 1e-12, 3e-12, 0, 0, 0, 0, 0, 0, 0, 0],  # (1 + 6) / 4 = 1.75, however little mass
        [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    )
    assert expected_values(rows) == pytest.approx([7.5, 5.0, 1.75, 0.0], abs=1e-6)
    # masses .4, .55, 4e-12, 1
    assert label_mass(rows) == pytest.approx(4e-12, rel=1e-5)
    assert label_mass(rows[[0, 1]]) == pytest.approx(0.4)


@given(st.lists(st.lists(st.floats(-80, 0), min_size=11, max_size=11), min_size=1, max_size=5))
def test_expected_value_against_brute_force(rows):
    found = expected_values(np.array(rows, dtype=np.float32))
    for row, value in zip(np.array(rows, dtype=np.float32).tolist(), found, strict=True):
        weights = [math.exp(logprob) for logprob in row]
        assert value == pytest.approx(sum(k * w for k, w in enumerate(weights)) / sum(weights), abs=1e-9)
        assert 0 <= value <= 10


def test_tiny_probabilities_do_not_vanish():
    # e^-800 is 0 in float64: dividing before scaling would give 0 / 0
    rows = np.full((1, 11), -800.0, dtype=np.float32)
    assert expected_values(rows)[0] == pytest.approx(5.0)


def test_no_probability_on_any_label_is_an_error_and_no_zero():
    rows = logs([0.5, 0.5, *[0] * 9], [0] * 11, [0] * 11)
    reply = read_reply(LabelReply(logprobs=rows, counts=TokenCounts(prompt=5)), DIGITS)
    assert reply.expected is None
    assert reply.error == "no probability on any label at 2 of 3 tokens"
    assert reply.counts.prompt == 5


def test_simulation_by_hand_through_the_engine():
    def belief(prefix, before, cell):
        shares = [0.0] * 11
        if token_of(before) == " movie":
            shares[10], shares[5] = 0.15, 0.05  # (10 * .15 + 5 * .05) / .2 = 8.75, mass .2
        else:
            shares[0], shares[1] = 0.3, 0.1  # .1 / .4 = 0.25, mass .4
        return [math.log(share) if share else -math.inf for share in shares]

    (reply,) = simulate(ScriptedEngine(label_logprobs=belief), task("films", "a", " movie", "b"))
    assert reply.expected.tolist() == pytest.approx([0.25, 8.75, 0.25], abs=1e-5)
    assert reply.expected.dtype == np.float32
    assert reply.label_mass == pytest.approx(0.2, rel=1e-5)
    assert reply.label_set == "digits"


# cells ---------------------------------------------------------------------------------------------------------------

AWKWARD = (" movie", "", "\t", "\n", " movie", "?", "0", "10", "<|im_start|>", "</excerpt>", "\ufffd", " ", " movie")


@pytest.mark.parametrize("chat", ["always", "never"])
def test_every_token_is_read_in_its_own_cell_the_last_one_too(chat):
    seen = []

    def belief(prefix, before, cell):
        seen.append((cell, token_of(before)))
        return level(7 if token_of(before) == " movie" else 0)

    (reply,) = simulate(ScriptedEngine(label_logprobs=belief), task("films", *AWKWARD), chat=chat)
    shown = [token.replace("\t", "\\t").replace("\n", "\\n") for token in AWKWARD]
    assert seen == list(enumerate(shown))
    assert reply.expected == pytest.approx([7.0 if token == " movie" else 0.0 for token in AWKWARD], abs=1e-6)


@pytest.mark.parametrize("chat", ["always", "never"])
def test_the_excerpt_is_untold_and_the_examples_are_partly_told(chat):
    request = sent(chat, 3, " a", " b")
    decode = ScriptedTokenizer().decode
    assert decode(request.tail) == " a\t?\n b\t?\n"
    prefix = decode(request.prefix)
    assert prefix.endswith("<excerpt>\n")
    assert "\n frozen\t9\n" in prefix
    assert "\nShe\t?\n chi\t?\npped\t2\n" in prefix  # told from index 2


@pytest.mark.parametrize("chat", ["always", "never"])
def test_one_bos_at_the_very_start(chat):
    request = sent(chat, 3, "a", "<s>")
    assert request.prefix[0] == BOS_ID
    assert (request.prefix + request.tail).count(BOS_ID) == 1


def test_label_ids_are_those_of_the_numbers():
    assert sent("never", 0, "a").label_ids == (*map(ord, "0123456789"), TEN_ID)


# labels that are no digits -------------------------------------------------------------------------------------------


class SplitTenTokenizer(ScriptedTokenizer):
    """One token for each character: "10" is two."""

    def encode(self, text):
        return tuple(map(ord, text))


class SplitTenEngine(RecordingEngine):
    @property
    def tokenizer(self):
        return SplitTenTokenizer()


@pytest.mark.parametrize("chat", ["always", "never"])
def test_letters_where_ten_is_two_tokens(chat):
    engine = SplitTenEngine(label_logprobs=lambda prefix, before, cell: level(10))
    (reply,) = simulate(engine, task("films", "a"), chat=chat)
    assert (reply.label_set, reply.expected.tolist()) == ("letters", [pytest.approx(10, abs=1e-6)])
    (request,) = engine.requests
    assert request.label_ids == tuple(map(ord, "ABCDEFGHIJK"))
    prefix = engine.tokenizer.decode(request.prefix)
    assert "A = 0, B = 1, C = 2, D = 3, E = 4, F = 5, G = 6, H = 7, I = 8, J = 9, K = 10" in prefix
    assert "\n frozen\tJ\n" in prefix
    assert "\t9\n" not in prefix


def test_digits_have_no_legend_and_spaces_are_left_out_of_one():
    assert legend(DIGITS) == ""
    assert "= 0" not in prefix_text()
    words = LabelSet(name="words", texts=(" zero", " one"), ids=(1, 2))
    assert legend(words) == "zero = 0, one = 1"


def test_a_vocabulary_without_labels_is_refused():
    class NoLabels(SplitTenEngine):
        @property
        def tokenizer(self):
            return SimpleNamespace(
                bos_id=None,
                has_chat_template=False,
                encode=lambda text: [ord(c) // 4 for c in text],
                decode=lambda ids: "".join(map(chr, ids)),
            )

    with pytest.raises(EngineError, match="no eleven single-token labels"):
        ExpectedSimulator(NoLabels(), SimulateConfig())


# batches -------------------------------------------------------------------------------------------------------------


def test_excerpts_of_one_explanation_stand_together_and_share_their_prefix():
    def belief(prefix, before, cell):
        active = "rain" if "responds to: rain\n" in prefix else "snow"
        return level(10 if token_of(before) == active else 0)

    engine = RecordingEngine(label_logprobs=belief)
    tasks = [task("rain", "a", "rain"), task("snow", "snow", "b"), task("rain", "rain", "c"), task("", "d", "e")]
    replies = simulate(engine, *tasks)
    found = [[round(float(value)) for value in reply.expected] for reply in replies]
    assert found == [[0, 10], [10, 0], [10, 0], [0, 0]]  # the order of the tasks, whatever the engine's
    decode = engine.tokenizer.decode
    assert [decode(request.tail)[0] for request in engine.requests] == ["a", "r", "s", "d"]
    prefixes = [request.prefix for request in engine.requests]
    assert prefixes[0] == prefixes[1]
    assert len(set(prefixes)) == 3
    # what two explanations share comes first: the examples are computed once for all of them
    first, _, second, _ = (decode(prefix) for prefix in prefixes)
    assert first.index("responds to: rain") == second.index("responds to: snow")
    costs = [reply.counts for reply in replies]
    assert costs[2].computed == len(engine.requests[1].tail)
    assert costs[1].computed < 0.1 * costs[1].prompt


def test_a_failed_request_leaves_the_others():
    def belief(prefix, before, cell):
        if token_of(before) == "bad":
            raise EngineError("out of memory")
        return level(3)

    replies = simulate(ScriptedEngine(label_logprobs=belief), task("x", "a"), task("x", "a", "bad"), task("x", "b"))
    assert [reply.error for reply in replies] == [None, "out of memory", None]
    assert replies[1].expected is None
    assert replies[2].expected == pytest.approx([3], abs=1e-6)


def test_an_excerpt_without_tokens_is_an_error_and_asks_nothing():
    engine = RecordingEngine()
    empty, full = simulate(engine, task("x"), task("x", "a"))
    assert (empty.expected, empty.error) == (None, "the excerpt has no tokens")
    assert full.error is None
    assert len(engine.requests) == 1
    assert simulate(engine) == []


@pytest.mark.parametrize("chat", ["always", "never"])
@pytest.mark.parametrize("room", [0, 1, 2])
def test_examples_are_left_out_until_the_context_has_room(chat, room):
    request = sent(chat, room, "a", "b")
    engine = RecordingEngine(context_tokens=len(request.prefix) + len(request.tail) + 1)
    long = task("films", *["a"] * 2000)
    replies = simulate(engine, long, task("films", "a", "b"), long, chat=chat)
    assert [reply.error is None for reply in replies] == [False, True, False]
    assert "longer than the model's context of" in replies[0].error
    # as many examples as alone: its company changes nothing
    assert engine.requests == [request]


# the explanation in the prompt ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("chat", ["always", "never"])
def test_the_explanation_stands_after_the_examples_on_one_line(chat):
    text = prefix_text(explanation=" words\nabout '  ' {{ rain }}", chat=chat)
    examples, found, after = text.rpartition("Neuron 4 responds to: words about '  ' {{ rain }}\n")
    assert found
    assert "Neuron 3 responds to: " in examples
    assert "\t" not in after


def test_an_empty_explanation_says_nothing():
    assert "Neuron 4 responds to:\n" in prefix_text(explanation="")


# configuration -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{"few_shot": 2}, {"chat": "never"}])
def test_every_setting_is_in_the_prompt_and_the_identity(settings):
    def identity(**changed):
        return ExpectedSimulator(ScriptedEngine(), SimulateConfig(**changed)).identity

    assert identity(**settings) != identity()
    assert prefix_text(**settings) != prefix_text()
    assert identity(chat="always") == identity()


def test_identity_names_engine_mode_prompt_and_labels():
    details = dict(ExpectedSimulator(ScriptedEngine(name="x"), SimulateConfig()).identity.details)
    assert (details["simulate.mode"], details["simulate.labels"]) == ("expected", "digits")
    assert details["simulate.prompt"].startswith("simulate-expected/v1@")
    letters = ExpectedSimulator(SplitTenEngine(), SimulateConfig()).identity
    assert dict(letters.details)["simulate.labels"] == "letters"
    assert ExpectedSimulator(ScriptedEngine(name="y"), SimulateConfig()).identity.name == "y"


def test_chat_needs_a_template_and_examples_must_be_there():
    with pytest.raises(ConfigError, match="no chat template"):
        ExpectedSimulator(ScriptedEngine(has_chat_template=False), SimulateConfig(chat="always"))
    with pytest.raises(ConfigError, match="0 to 3 examples"):
        ExpectedSimulator(ScriptedEngine(), SimulateConfig(few_shot=4))
    assert prefix_text(chat="never").startswith("A neuron")
    assert prefix_text(chat="auto").startswith("<system>\nA neuron")
