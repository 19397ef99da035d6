"""The explainer without a model: which tokens it names, and that what it writes can be read back."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from localexplain.errors import ConfigError
from localexplain.explain.lookup import LookupExplainer, choose_tokens, name_tokens, quote_token, quoted_tokens
from localexplain.explain.prompt import ShownExcerpt
from localexplain.types import ExplainTask, Record, Unit

UNIT = Unit(basis="mlp", layer=0, index=1)
ANY_TOKENS = st.lists(st.text(st.characters(), max_size=6), min_size=1, max_size=6)


def task(*excerpts, split="train"):
    """`excerpts`: lists of (token, activation)."""
    records = tuple(
        Record(
            unit=UNIT,
            excerpt_id=place,
            kind="top",
            rank=place,
            stratum=None,
            split=split,
            tokens=tuple(token for token, _ in excerpt),
            token_ids=tuple(range(len(excerpt))),
            activations=np.array([value for _, value in excerpt], dtype=np.float32),
        )
        for place, excerpt in enumerate(excerpts)
    )
    return ExplainTask(unit=UNIT, records=records)


def explain(*excerpts, **settings):
    (reply,) = LookupExplainer(**settings).explain([task(*excerpts)])
    return reply


# which tokens --------------------------------------------------------------------------------------------------------


def test_ranks_by_the_mean_over_all_occurrences():
    # the maximum is 4; " film": 10; " movie": (7 + 5) / 2 = 6; " the": (10 + 0 + 0) / 3 = 3.3, less than half of 10
    reply = explain([(" film", 4), (" movie", 3), (" the", 4), (" the", 0)], [(" movie", 2), (" the", -1)])
    assert reply.text == "the tokens ' film' and ' movie'"
    assert reply.error is None


def test_share_and_most_tokens_are_obeyed():
    excerpt = [("a", 10), ("b", 8), ("c", 4), ("d", 0)]
    assert explain(excerpt).text == "the tokens 'a' and 'b'"
    assert explain(excerpt, share=0.8).text == "the tokens 'a' and 'b'"  # "at least": 8 is 0.8 of 10
    assert explain(excerpt, share=0.9).text == "the token 'a'"
    assert explain(excerpt, share=0.0).text == "the tokens 'a', 'b' and 'c'"  # never a silent one
    assert explain(excerpt, most_tokens=1).text == "the token 'a'"


def test_ties_go_to_the_more_frequent_then_to_the_first_in_order():
    assert explain([("z", 1), ("b", 1), ("a", 1), ("z", 1)], most_tokens=2).text == "the tokens 'z' and 'a'"
    assert explain([("a", 1), ("z", 1), ("b", 1), ("z", 1)], most_tokens=2).text == "the tokens 'z' and 'a'"


def test_a_silent_unit_has_no_explanation():
    reply = explain([("a", 0), ("b", -2)])
    assert reply.text is None
    assert reply.error == "the unit is silent on all its train records"


def test_records_that_are_scored_on_are_refused():
    with pytest.raises(ValueError, match="of the split valid"):
        LookupExplainer().explain([task([("a", 1)], split="valid")])


def test_settings_are_checked_and_part_of_the_identity():
    for settings in ({"most_tokens": 0}, {"share": 1.5}, {"share": -0.1}):
        with pytest.raises(ConfigError):
            LookupExplainer(**settings)
    made = [LookupExplainer(), LookupExplainer(most_tokens=4), LookupExplainer(share=0.4)]
    assert len({explainer.identity for explainer in made}) == 3


# quoting -------------------------------------------------------------------------------------------------------------


@given(ANY_TOKENS)
@example(
    ["'", '"', "\\", "\\'", "\n", "\r", "\t", "", " ", "', '", "' and '", "\ud800", "\u2028", "\x85", "\U0001f600"]
)
@example(["\\x41", "\\n", "'a'", "isn't"])
def test_any_tokens_are_read_back_exactly(tokens):
    text = name_tokens(tokens)
    assert quoted_tokens(text) == tuple(tokens)
    assert len(text.splitlines()) == 1


@given(st.lists(st.tuples(st.text(max_size=3), st.integers(0, 10)), min_size=1, max_size=12))
def test_what_is_named_is_what_was_chosen(pairs):
    excerpt = ShownExcerpt(tokens=tuple(token for token, _ in pairs), levels=tuple(level for _, level in pairs))
    chosen = choose_tokens([excerpt], most_tokens=5, share=0.5)
    assert len(chosen) <= 5
    # brute force: the mean of each token, and the highest of them all
    means = {token: np.mean([level for other, level in pairs if other == token]) for token, _ in pairs}
    highest = max(means.values())
    assert all(means[token] >= 0.5 * highest and means[token] > 0 for token in chosen)
    enough = [token for token, mean in means.items() if mean > 0 and mean >= 0.5 * highest]
    assert len(chosen) == min(5, len(enough))
    if chosen:
        assert min(means[token] for token in chosen) >= max(
            (means[token] for token in enough if token not in chosen), default=0
        )


def test_apostrophes_in_prose_quote_nothing():
    assert quoted_tokens("words that aren't names, the speaker's own, or rock 'n roll") == ()
    assert quoted_tokens("words that aren't ' not' or 'no'") == (" not", "no")
    assert quoted_tokens("") == ()
    assert quote_token("a") == "'a'"
