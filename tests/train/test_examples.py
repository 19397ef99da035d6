"""Examples to train on are what the engines are asked, token for token, with the answer where it is read."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localexplain.engines.patterns import token_bytes
from localexplain.explain.language_model import ExplainConfig, LanguageModelExplainer
from localexplain.judge.judge import Judge, JudgeConfig, JudgeTask
from localexplain.simulate.base import SimulateConfig
from localexplain.simulate.expected import ExpectedSimulator
from localexplain.simulate.grid import GridSimulator, echoed_grid
from localexplain.train.examples import NO_TOKEN, NOTHING, Example, ExampleWriter, pack, spelling_table
from localexplain.types import ExplainTask, Record, SimulateTask, Unit
from tests.recording import RecordingEngine
from tests.train.tiny_vocabulary import TOKENIZER

VERSION = "inline-v2"
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
    engine = Engine(generate=lambda prompt: "".join(f"{cell}0\n" for cell in echoed_grid(tokens).cells))
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


def spelled(*pieces):
    """Targets to spell: behind the vocabulary and the thirteen labels."""
    return [VOCABULARY + 13 + index for piece in pieces for index in TOKENIZER.encode(piece)]


def test_a_grid_by_hand():
    """Before each token stands what spells it, before each number its level; nothing is asked behind a 0 or a 10."""
    found = WRITER.grid("cats", ("the", " cat"), (0, 10))
    prompt = [TOKENIZER.bos_id, *TOKENIZER.encode("neuron: cats\nthe cat\nlevels:\n")]
    zero, ten = WRITER.label_ids[0], WRITER.label_ids[10]
    assert found.ids == [*prompt, *ids_of("the"), zero, *ids_of("\n", " cat"), ten, *ids_of("\n")]
    before = [NOTHING] * (len(prompt) - 1) + spelled("the")
    # behind "the", "0", the line break, " cat", "10" and the last line break
    assert found.targets == [*before, VOCABULARY, NOTHING, *spelled(" cat"), VOCABULARY + 10, NOTHING, NOTHING]


def test_behind_a_1_the_line_end_is_a_target_and_behind_no_other_level():
    """Else a 1 that has been written could go on to a 10: in the last cell as in the others."""
    levels = (1, *range(11), 1)
    found = WRITER.grid("cats", ["the", " cat", ""] * 4 + [" xqz"], levels)
    prompt = [TOKENIZER.bos_id, *TOKENIZER.encode("neuron: cats\n" + "the cat" * 4 + " xqz\nlevels:\n")]
    assert found.ids[: len(prompt)] == prompt
    (line_end,) = ids_of("\n")
    written = list(zip(found.ids, found.targets, strict=True))[len(prompt) :]
    behind = [pair for pair in written if pair[0] in WRITER.label_ids[:11]]
    assert behind == [(WRITER.label_ids[level], line_end if level == 1 else NOTHING) for level in levels]
    # every other target is a level or a token to be spelled
    assert sum(target < VOCABULARY for target in found.targets) == 3
    assert (found.ids[-1], found.targets[-1]) == (line_end, NOTHING)


def test_a_grid_over_no_piece_many_pieces_an_escape_and_a_number():
    """An empty token has its level asked right behind the line break; a line break is spelled as it is shown."""
    tokens, levels = ("", " xqz", "\n", "10"), (3, 0, 10, 1)
    pieces = TOKENIZER.encode(" xqz")
    assert len(pieces) > 1
    found = WRITER.grid("", tokens, levels)
    prompt = [TOKENIZER.bos_id, *TOKENIZER.encode("neuron:\n xqz\\n10\nlevels:\n")]
    assert tuple(found.ids[: len(prompt)]) == tuple(prompt)
    level = {number: VOCABULARY + number for number in range(11)}
    rows = [
        [level[3], NOTHING],  # behind the prompt, behind "3"
        [*spelled(" xqz"), level[0], NOTHING],  # behind the line break, each piece and "0"
        [*spelled("\\n"), level[10], NOTHING],
        [*spelled("10"), level[1], *ids_of("\n")],  # a 1 could become a 10
        [NOTHING],  # behind the last line break
    ]
    assert found.targets == [NOTHING] * (len(prompt) - 1) + [target for row in rows for target in row]
    assert TOKENIZER.decode(found.ids[len(prompt) :]) == "3\n xqz0\n\\n10\n101\n"


def test_a_grid_of_no_tokens_is_the_prompt_alone():
    found = WRITER.grid("cats", (), ())
    assert found.ids == [TOKENIZER.bos_id, *TOKENIZER.encode("neuron: cats\nlevels:\n")]
    assert set(found.targets) == {NOTHING}


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
    assert len(found.ids) - n <= request.sampling.max_tokens
    assert echoed_grid(tokens).read(answer).tolist() == levels
    # each target names what comes next: the label of a level, in order, a token to be spelled, or the end of a 1's line
    asked = [(found.ids[place + 1], target - VOCABULARY) for place, target in told(found)]
    labels = [(index, target) for index, target in asked if 0 <= target < 13]
    assert labels == [(WRITER.label_ids[level], level) for level in levels]
    assert all(target == 13 + index for index, target in asked if target >= 13)
    (line_end,) = ids_of("\n")
    ends = [(index, target + VOCABULARY) for index, target in asked if target < 0]
    assert ends == [(line_end, line_end)] * levels.count(1)
    # and of the answer only the other line ends have none
    assert len(asked) == len(found.ids) - n - len(tokens) + levels.count(1)


def test_the_spelling_table_is_every_beginning_of_every_token():
    """By the tokens' bytes, read in another way: of " the" they are " ", " t" and " th" where there are such tokens."""
    text_of = {ids[0]: data for data, ids in token_bytes(TOKENIZER.backend, TOKENIZER.added_ids).items()}
    table = spelling_table(TOKENIZER)
    assert table.shape[0] == VOCABULARY
    for index, data in text_of.items():
        wanted = [other for other, text in text_of.items() if data.startswith(text) and text != data]
        wanted.sort(key=lambda other: -len(text_of[other]))
        assert [other for other in table[index].tolist() if other != NO_TOKEN] == wanted[: table.shape[1]]
    (the,) = TOKENIZER.encode(" the")
    assert TOKENIZER.encode(" ")[0] in table[the]
    assert spelling_table(TOKENIZER, most=1)[the].tolist() == table[the, :1].tolist()


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
