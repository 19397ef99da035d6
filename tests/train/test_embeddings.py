"""Embeddings before training: what stands near what, and what is spelled alike."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from localexplain.train.embeddings import (
    EMBEDDING_STD,
    REACH,
    initial_embeddings,
    leading_vectors,
    meaning_vectors,
    near_counts,
    spelling_features,
    spelling_vectors,
    unit_rows,
)

TOPICS = 2
TOPIC_TOKENS = 12  # of each topic: 0..11 and 12..23
FILLERS = 4  # tokens 24..27 stand everywhere
VOCABULARY = TOPICS * TOPIC_TOKENS + FILLERS


def similarities(vectors):
    """Cosines of all pairs, [rows, rows]."""
    rows = vectors / vectors.norm(dim=1, keepdim=True).clamp(min=1e-9)
    return (rows @ rows.T).numpy()


# counting ------------------------------------------------------------------------------------------------------------


def test_counts_by_hand():
    """0 1 2 0: the pairs at distance 1 are 01, 12, 20; at 2 they are 02, 10; at 3 it is 00.

    0 with 1: twice; 0 with 2: twice; 1 with 2: once; 0 with itself: once, counted from both ends.
    """
    found = near_counts(torch.tensor([0, 1, 2, 0]), 3)
    expected = [[2, 2, 2], [2, 0, 1], [2, 1, 0]]
    assert found.tolist() == [pytest.approx(row) for row in expected]


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=REACH + 1, max_size=40))
def test_counts_are_those_of_a_slow_count(tokens):
    expected = np.zeros((5, 5))
    for place, token in enumerate(tokens):
        for other, neighbour in enumerate(tokens):
            if 0 < abs(place - other) <= REACH:
                expected[token, neighbour] += 1
    assert near_counts(torch.tensor(tokens), 5).numpy() == pytest.approx(expected, abs=1e-5)


# meaning -------------------------------------------------------------------------------------------------------------


def topic_stream(n_runs=600, seed=0):
    """Runs of 20 tokens, each about one topic, a third of them fillers that every topic has."""
    random = np.random.default_rng(seed)
    runs = []
    for _ in range(n_runs):
        topic = int(random.integers(TOPICS))
        words = random.integers(topic * TOPIC_TOKENS, (topic + 1) * TOPIC_TOKENS, 20)
        fillers = random.integers(TOPICS * TOPIC_TOKENS, VOCABULARY, 20)
        runs.append(np.where(random.random(20) < 1 / 3, fillers, words))
    return np.concatenate(runs).astype(np.int64)


def topic_margins(vectors):
    """For each topic token: its mean similarity to its own topic less that to the other."""
    found = similarities(vectors)
    np.fill_diagonal(found, np.nan)
    first, second = slice(0, TOPIC_TOKENS), slice(TOPIC_TOKENS, 2 * TOPIC_TOKENS)
    margins = [
        np.nanmean(found[own, own], axis=1) - np.nanmean(found[own, other], axis=1)
        for own, other in ((first, second), (second, first))
    ]
    return np.concatenate(margins)


def test_tokens_of_one_topic_are_nearer():
    stream = topic_stream()
    vectors = meaning_vectors(torch.from_numpy(stream), VOCABULARY, 8, seed=0)
    assert vectors.shape == (VOCABULARY, 8)
    assert topic_margins(vectors).min() > 0.3


def test_shuffled_there_are_no_topics():
    """The same tokens in random order: what is near tells nothing, so the margin above comes from the order."""
    stream = np.random.default_rng(1).permutation(topic_stream())
    vectors = meaning_vectors(torch.from_numpy(stream), VOCABULARY, 8, seed=0)
    assert abs(topic_margins(vectors).mean()) < 0.1


def test_a_token_that_never_occurs_has_no_meaning_and_no_nan():
    vectors = meaning_vectors(torch.from_numpy(topic_stream(50)), VOCABULARY + 1, 8, seed=0)
    assert torch.isfinite(vectors).all()
    assert vectors[VOCABULARY].norm() < 1e-3 * vectors[:VOCABULARY].norm(dim=1).mean()


def test_leading_vectors_are_those_of_the_full_decomposition():
    """Of a matrix of rank 3, in all 3 directions: left @ left.T is U S U.T, whatever the signs."""
    random = np.random.default_rng(2)
    matrix = random.normal(size=(30, 3)) @ random.normal(size=(3, 20))
    left, values, _ = np.linalg.svd(matrix)
    found = leading_vectors(torch.from_numpy(matrix).float(), 3, seed=0).double().numpy()
    assert found @ found.T == pytest.approx(left[:, :3] * values[:3] @ left[:, :3].T, abs=1e-3)


# spelling ------------------------------------------------------------------------------------------------------------


def test_features_by_hand():
    """ " Ab" is <ab>: n-grams of one to four characters, those with a border weigh 1.5, the others 0.7."""
    found = spelling_features(" Ab")
    ngrams = {feature: weight for feature, weight in found.items() if not feature.startswith("shape ")}
    assert ngrams == {
        **dict.fromkeys(("<", ">", "<a", "b>", "<ab", "ab>", "<ab>"), 1.5),
        **dict.fromkeys(("a", "b", "ab"), 0.7),
    }
    assert {feature for feature in found if feature.startswith("shape ")} == {
        "shape space",
        "shape capital",
        "shape letters",
        "shape length 2",
        "shape whole ab",
    }
    assert spelling_features("abab")["ab"] == pytest.approx(1.4)  # twice


SUFFIXED = ("kindness", "darkness", "illness", "sadness", "richness", "weakness")
OTHERS = ("trombone", "carpet", "window", "quiver", "mustard", "gallop")
WORDS = (*SUFFIXED, *OTHERS, *(f" {word}" for word in OTHERS), "3", "42", "1066", ".", ",", "!", "NASA", "The", "the")


def test_words_that_share_a_suffix_are_nearer_than_others():
    found = similarities(unit_rows(spelling_vectors(WORDS, 12, seed=0)))
    n = len(SUFFIXED)
    own = found[:n, :n][~np.eye(n, dtype=bool)]
    other = found[:n, n : n + len(OTHERS)]
    assert own.min() > other.max()


def test_a_word_is_nearest_to_itself_with_a_space_or_a_capital():
    found = similarities(unit_rows(spelling_vectors(WORDS, 16, seed=0)))
    np.fill_diagonal(found, -1)
    for word, other in [(word, f" {word}") for word in OTHERS] + [("The", "the")]:
        assert WORDS[int(found[WORDS.index(word)].argmax())] == other


# both ----------------------------------------------------------------------------------------------------------------


def test_embeddings_are_of_their_width_and_spread():
    stream = topic_stream()
    texts = [f"w{number}" for number in range(VOCABULARY)]
    found = initial_embeddings(stream, texts, 32, seed=3)
    assert found.shape == (VOCABULARY, 32)
    assert found.std().item() == pytest.approx(EMBEDDING_STD, rel=0.1)
    assert torch.equal(found, initial_embeddings(stream, texts, 32, seed=3))
    assert not torch.equal(found, initial_embeddings(stream, texts, 32, seed=4))


def test_meaning_comes_first_and_spelling_last():
    """Of 32 dimensions 12 are spelling (3/8): other texts change these alone, another stream the others alone."""
    stream, other_stream = topic_stream(), topic_stream(seed=5)
    texts = [f"w{number}" for number in range(VOCABULARY)]
    other_texts = [f"{number}x" for number in range(VOCABULARY)]
    found = initial_embeddings(stream, texts, 32, seed=0)
    respelled = initial_embeddings(stream, other_texts, 32, seed=0)
    reread = initial_embeddings(other_stream, texts, 32, seed=0)
    assert torch.equal(found[:, :20], respelled[:, :20])
    assert not torch.isclose(found[:, 20:], respelled[:, 20:]).all(dim=0).any()
    assert torch.equal(found[:, 20:], reread[:, 20:])
    assert not torch.isclose(found[:, :20], reread[:, :20]).all(dim=0).any()
    assert topic_margins(found[:, :20]).min() > 0.2
