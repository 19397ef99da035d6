import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from localexplain.explain.lookup import name_tokens
from localexplain.simulate.rule import RuleSimulator
from localexplain.types import SimulateTask

TOKENS = st.lists(st.text(st.characters(), max_size=4), min_size=1, max_size=10)


def simulate(explanation, tokens):
    (reply,) = RuleSimulator().simulate([SimulateTask(explanation=explanation, tokens=tuple(tokens))])
    assert reply.error is None
    assert reply.expected.dtype == np.float32
    return reply.expected.tolist()


def test_by_hand():
    tokens = [" a", " movie", "movie", " Movie", " film", "\n", ""]
    assert simulate("the tokens ' movie' and ' film'", tokens) == [0, 10, 0, 0, 10, 0, 0]
    assert simulate("the token '\\n'", tokens) == [0, 0, 0, 0, 0, 10, 0]


@given(TOKENS, st.data())
def test_active_exactly_where_the_token_is_named(tokens, data):
    named = data.draw(st.lists(st.sampled_from(tokens), min_size=1, unique=True))
    assert simulate(name_tokens(named), tokens) == [10 if token in named else 0 for token in tokens]


@pytest.mark.parametrize("explanation", ["", "words about films", "words that aren't films, or the film's makers"])
def test_an_explanation_that_quotes_nothing_is_silent_everywhere(explanation):
    assert simulate(explanation, ["words", " film", "t films, or the film", "s"]) == [0, 0, 0, 0]


def test_replies_are_in_the_order_of_the_tasks_and_carry_no_mass():
    tasks = [SimulateTask(explanation=f"the token '{letter}'", tokens=("a", "b")) for letter in "bab"]
    replies = RuleSimulator().simulate(tasks)
    assert [reply.expected.tolist() for reply in replies] == [[0, 10], [10, 0], [0, 10]]
    assert [(reply.label_mass, reply.label_set) for reply in replies] == [(None, "")] * 3
    assert RuleSimulator().mode == "rule"
