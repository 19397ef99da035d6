"""Examples to train on are what the engines are asked, token for token, with the answer where it is read."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localexplain.engines.tokenizer import HuggingFaceTokenizer
from localexplain.explain.language_model import ExplainConfig, LanguageModelExplainer
from localexplain.judge.judge import Judge, JudgeConfig, JudgeTask
from localexplain.simulate.base import SimulateConfig
from localexplain.simulate.expected import ExpectedSimulator
from localexplain.simulate.grid import GridSimulator, parse_grid
from localexplain.train.examples import NOTHING, Example, ExampleWriter, pack
from localexplain.train.explainer_settings import ExplainerTraining
from localexplain.train.training_set import make_tokenizer
from localexplain.types import ExplainTask, Record, SimulateTask, Unit
from tests.recording import RecordingEngine

VERSION = "inline-v1"
SENTENCES = (
    "the cat sat on the mat and the dog lay by the door.",
    "neuron: words about cats and dogs, such as cat, dog and kitten",
    "a river runs by the house, and the house has a red door.",
)
TOKENIZER = HuggingFaceTokenizer(
    make_tokenizer(ExplainerTraining(texts="", out="", vocabulary=800), SENTENCES * 50, [])
)
WRITER = ExampleWriter(TOKENIZER)
VOCABULARY = TOKENIZER.vocabulary_tokens
NO, YES = VOCABULARY + 11, VOCABULARY + 12

TOKENS = st.lists(
    st.sampled_from(("the", " cat", " c", "at", " door", ".", " ", "\n", "\\", "", "é", "<|endoftext|>", " kitt", "10"))
    | st.text(st.characters(codec="utf-8"), max_size=4),
    min_size=1,
    max_size=8,
).filter(any)
EXPLANATIONS = st.sampled_from(("", "cats", 'the word "cat"', "two\nlines", " 'dog' or \"door\" ", "<|endoftext|>"))


class Engine(RecordingEngine):
    """A recording engine that has the trained tokenizer in the place of its own."""

    @property
    def tokenizer(self):
        return TOKENIZER


def simulate_request(explanation, tokens):
    engine = Engine()
    simulator = ExpectedSimulator(engine, SimulateConfig(prompt_version=VERSION, few_shot=0))
    (reply,) = simulator.simulate([SimulateTask(explanation=explanation, tokens=tuple(tokens))])
    assert reply.error is None
    (request,) = engine.requests
    return request


def grid_request(explanation, tokens):
    engine = Engine(generate=lambda prompt: "".join(f" {place}:0" for place in range(1, len(tokens) + 1)))
    simulator = GridSimulator(engine, SimulateConfig(mode="grid", prompt_version=VERSION, few_shot=0))
    (reply,) = simulator.simulate([SimulateTask(explanation=explanation, tokens=tuple(tokens))])
    assert reply.error is None
    (request,) = engine.requests
    return request


def judge_request(explanation, tokens):
    engine = Engine(label_logprobs=lambda *cell: (-1.0, -2.0))
    judge = Judge(engine, JudgeConfig(prompt_version=VERSION))
    (reply,) = judge.judge([JudgeTask(explanation=explanation, tokens=tuple(tokens))])
    assert reply.error is None
    (request,) = engine.requests
    return request


def explain_request(excerpts):
    """`excerpts`: (tokens, levels); the activations are the levels, a 10 among them, so normalising changes nothing."""
    unit = Unit(basis="mlp", layer=0, index=0)
    records = tuple(
        Record(
            unit=unit,
            excerpt_id=number,
            kind="top",
            rank=number,
            stratum=None,
            split="train",
            tokens=tuple(tokens),
            token_ids=tuple(range(len(tokens))),
            activations=np.array(levels, dtype=np.float32),
        )
        for number, (tokens, levels) in enumerate(excerpts)
    )
    engine = Engine(generate=lambda prompt: " numbers\n")  # an answer that may be given to anything
    explainer = LanguageModelExplainer(engine, ExplainConfig(prompt_version=VERSION, few_shot=0))
    (reply,) = explainer.explain([ExplainTask(unit=unit, records=records, sample=0, seed=0)])
    assert reply.error is None
    (request,) = engine.requests
    return request


def told(example):
    """(place, target) where something is to be predicted."""
    return [(place, target) for place, target in enumerate(example.targets) if target != NOTHING]


def ids_of(*pieces):
    """The one id of each piece; fails where a piece is more than one token."""
    found = []
    for piece in pieces:
        (index,) = TOKENIZER.encode(piece)
        found.append(index)
    return found


# simulating ----------------------------------------------------------------------------------------------------------


def test_a_simulation_by_hand():
    """The header, one piece for each word, its level at the piece; nothing is asked before."""
    header = [TOKENIZER.bos_id, *TOKENIZER.encode("neuron: cats\n")]
    found = WRITER.simulate("cats", ("the", " cat", " sat"), (0, 10, 3))
    assert found.ids == [*header, *ids_of("the", " cat", " sat")]
    assert found.targets == [NOTHING] * len(header) + [VOCABULARY, VOCABULARY + 10, VOCABULARY + 3]


def test_of_tokens_within_one_piece_the_last_level_counts():
    """ " c" and "at" are the piece " cat": it is read once, and says what "at" is."""
    found = WRITER.simulate("cats", ("the", " c", "at"), (1, 2, 9))
    assert found.ids[-2:] == ids_of("the", " cat")
    assert [target for _, target in told(found)] == [VOCABULARY + 1, VOCABULARY + 9]


def test_a_token_of_many_pieces_is_read_at_its_last():
    pieces = TOKENIZER.encode(" xqz")
    assert len(pieces) > 1
    found = WRITER.simulate("cats", ("the", " xqz"), (0, 7))
    assert found.ids[-len(pieces) :] == list(pieces)
    assert found.targets[-len(pieces) :] == [NOTHING] * (len(pieces) - 1) + [VOCABULARY + 7]


@pytest.mark.parametrize("tokens", [("",), ("", "", "")], ids=["one", "three"])
def test_of_empty_tokens_alone_no_level_is_asked(tokens):
    """It was an IndexError: there is no piece behind the header that a level could be read at."""
    header = [TOKENIZER.bos_id, *TOKENIZER.encode("neuron: cats\n")]
    levels = [10] * len(tokens)
    alone = WRITER.simulate("cats", tokens, levels)
    assert (alone.ids, alone.targets) == (header, [NOTHING] * len(header))
    judged = WRITER.simulate("cats", tokens, levels, False)
    question = TOKENIZER.encode("\nfits:")
    assert judged.ids == [*header, *question]
    assert judged.targets == [NOTHING] * (len(header) + len(question) - 1) + [NO]
    request = judge_request("cats", tokens)
    assert tuple(judged.ids) == (*request.prefix, *request.tail)


@settings(max_examples=20, deadline=None)
@given(explanation=EXPLANATIONS, tokens=TOKENS, data=st.data())
def test_a_simulation_is_what_the_simulator_asks(explanation, tokens, data):
    levels = data.draw(st.lists(st.integers(0, 10), min_size=len(tokens), max_size=len(tokens)))
    request = simulate_request(explanation, tokens)
    found = WRITER.simulate(explanation, tokens, levels)
    assert tuple(found.ids) == (*request.prefix, *request.tail)
    assert [place - len(request.prefix) for place, _ in told(found)] == list(request.positions)
    assert all(VOCABULARY <= target <= VOCABULARY + 10 for _, target in told(found))
    assert found.targets[len(request.prefix) + request.positions[-1]] == VOCABULARY + levels[-1]


def test_the_classes_are_the_engine_s_own_labels():
    assert WRITER.label_ids[:11] == simulate_request("cats", ["the"]).label_ids
    assert WRITER.label_ids[11:] == judge_request("cats", ["the"]).label_ids
    assert [TOKENIZER.decode([index]) for index in WRITER.label_ids] == [*map(str, range(11)), " no", " yes"]


# judging -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fits", "answer"), [(False, NO), (True, YES)])
def test_the_judge_s_question_comes_behind_the_simulation(fits, answer):
    alone = WRITER.simulate("cats", ("the", " cat"), (0, 10))
    found = WRITER.simulate("cats", ("the", " cat"), (0, 10), fits)
    question = TOKENIZER.encode("\nfits:")
    assert found.ids == [*alone.ids, *question]
    assert found.targets == [*alone.targets, *[NOTHING] * (len(question) - 1), answer]


@settings(max_examples=20, deadline=None)
@given(explanation=EXPLANATIONS, tokens=TOKENS)
def test_judging_is_what_the_judge_asks(explanation, tokens):
    request = judge_request(explanation, tokens)
    found = WRITER.simulate(explanation, tokens, [0] * len(tokens), True)
    assert tuple(found.ids) == (*request.prefix, *request.tail)
    assert request.positions == (len(request.tail) - 1,)  # behind the last id, which is where the target is
    assert found.targets[-1] == YES


# grids ---------------------------------------------------------------------------------------------------------------


def test_a_grid_by_hand():
    """ " 1", ":", "0" and so on: what is asked is what stands behind each colon."""
    found = WRITER.grid("cats", ("the", " cat"), (0, 10))
    cells = [ids_of(" 1", ":"), ids_of(" 2", ":")]
    grid = [*cells[0], WRITER.label_ids[0], *cells[1], WRITER.label_ids[10]]
    assert found.ids[-6:] == grid
    assert found.targets[-6:] == [NOTHING, VOCABULARY, NOTHING, NOTHING, VOCABULARY + 10, NOTHING]
    assert set(found.targets[:-6]) == {NOTHING}


@settings(max_examples=20, deadline=None)
@given(explanation=EXPLANATIONS, tokens=TOKENS, data=st.data())
def test_a_grid_is_the_simulator_s_prompt_and_an_answer_that_it_takes(explanation, tokens, data):
    levels = data.draw(st.lists(st.integers(0, 10), min_size=len(tokens), max_size=len(tokens)))
    request = grid_request(explanation, tokens)
    found = WRITER.grid(explanation, tokens, levels)
    n = len(request.token_ids)
    assert tuple(found.ids[:n]) == request.token_ids
    answer = TOKENIZER.decode(found.ids[n:])
    assert re.fullmatch(request.pattern, answer)
    assert parse_grid(answer, len(tokens), numbered=True).tolist() == levels
    # each target stands right before the label it names, and every label has one
    labels = [WRITER.label_ids[level] for level in levels]
    assert [found.ids[place + 1] for place, _ in told(found)] == labels
    assert [target - VOCABULARY for _, target in told(found)] == levels


# explaining ----------------------------------------------------------------------------------------------------------

EXCERPTS = (
    (("the", " cat", " sat", " on", " the", " mat"), (0, 10, 0, 0, 0, 4)),
    (("a", " red", " door", "\n", " and", " c", "at"), (0, 0, 0, 0, 0, 8, 8)),
)


def test_explaining_is_the_explainer_s_prompt_and_then_an_answer_that_it_takes():
    """cat and mat are active, so they may be named: with the line break at the end, which is taught too."""
    request = explain_request(EXCERPTS)
    found = WRITER.explain(EXCERPTS, "words such as cat and mat")
    answer = [*TOKENIZER.encode(" words such as cat and mat"), *TOKENIZER.encode("\n")]
    assert tuple(found.ids) == (*request.token_ids, *answer)
    # each id of the answer is predicted from the one before it
    assert found.targets == [NOTHING] * (len(request.token_ids) - 1) + answer + [NOTHING]
    assert re.fullmatch(request.pattern, TOKENIZER.decode(answer))
    assert not re.fullmatch(request.pattern, " words such as cat and door\n")


@settings(max_examples=20, deadline=None)
@given(st.lists(TOKENS, min_size=1, max_size=4), st.data())
def test_explaining_is_what_the_explainer_asks(texts, data):
    levels = [data.draw(st.lists(st.integers(0, 10), min_size=len(text), max_size=len(text))) for text in texts]
    levels[0][0] = 10
    excerpts = list(zip(texts, levels, strict=True))
    request = explain_request(excerpts)
    found = WRITER.explain(excerpts, "cats")
    assert tuple(found.ids[: len(request.token_ids)]) == request.token_ids
    assert TOKENIZER.decode(found.ids[len(request.token_ids) :]) == " cats\n"


# text and packing ----------------------------------------------------------------------------------------------------


def test_of_text_every_token_is_predicted_from_those_before():
    found = WRITER.text("the cat sat")
    pieces = ids_of("the", " cat", " sat")
    assert found.ids == [TOKENIZER.bos_id, *pieces]
    assert found.targets == [*pieces, NOTHING]


def test_packed_examples_can_be_cut_apart_again():
    examples = [WRITER.text("the cat"), WRITER.simulate("cats", ("the",), (4,), True), Example([5], [NOTHING])]
    packed = pack(examples)
    assert (packed["ids"].dtype, packed["targets"].dtype, packed["ends"].dtype) == (np.uint16, np.uint16, np.int64)
    starts = [0, *packed["ends"][:-1]]
    for example, start, end in zip(examples, starts, packed["ends"], strict=True):
        assert packed["ids"][start:end].tolist() == example.ids
        assert packed["targets"][start:end].tolist() == example.targets
    assert packed["ends"][-1] == len(packed["ids"]) == len(packed["targets"])
