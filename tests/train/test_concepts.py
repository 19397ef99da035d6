"""Concepts drawn from a small collection of sentences: every kind, what they say, and whether their texts hold them."""

import re

import numpy as np
import pytest

from localexplain.planted.concept import find_levels
from localexplain.train.concepts import EASY, KINDS
from localexplain.train.lists import read_list
from localexplain.train.passages import Passages, words_of
from localexplain.train.shapes import COMMON_TRIGGERS, NEGATORS
from localexplain.train.source import FEWEST_PASSAGES, ConceptSource, draw_from
from localexplain.train.wordnet import Synset

DRAWS = 40  # of each kind
TEXTS = 30  # made for a concept
SLOT = re.compile(r"{\w+}")

PEOPLE = ("Anna", "Peter", "Miller", "Ruth", "Omar", "Lena", "Hugo", "Clara", "Simon", "Edith")
STEMS = words_of("walk jump mend paint count lift follow answer repeat gather")
NOUNS = words_of(
    "kindness darkness happiness weakness illness fitness payment movement statement agreement basement treatment "
    "nation station question action mention position lizard viper gecko cobra turtle tortoise street pocket basket "
    "market bottle candle engine factory valley village"
)
QUALITIES = words_of("famous nervous curious careful useful unhappy unkind unfair unsafe uneven unlike northern slowly")
REPTILES = words_of("lizard viper gecko cobra turtle tortoise")
FEELINGS = words_of("happy glad cheerful merry jolly angry furious annoyed sad gloomy miserable")


def synset(key, *words, above=(), definition="an animal"):
    return Synset(id=key, words=words, definition=definition, hypernyms=above, examples=())


SYNSETS = [
    synset("reptile", "reptile", definition="a cold-blooded animal with scales"),
    *(synset(word, word, above=("reptile",)) for word in REPTILES),
    synset("snake", "viper", "cobra", definition="a limbless one with a forked tongue"),
]


def make_sentence(random):
    """A sentence of words from the lists: "Anna mended the careful valley with salmon and nobody ..."."""

    def any_of(words):
        return words[int(random.integers(len(words)))]

    listed = [word for item in read_list("lexical")["set"][:8] for word in item["words"]]
    verb = any_of(STEMS) + any_of(["", "s", "ed", "ing", "er"])
    parts = [
        any_of(PEOPLE), verb, any_of(COMMON_TRIGGERS), any_of(QUALITIES), any_of(NOUNS), any_of(COMMON_TRIGGERS),
        any_of(listed), any_of(["and", "but", "for"]), any_of([*NEGATORS, "somebody"]), any_of(["was", "saw", "knew"]),
        any_of(FEELINGS), any_of(COMMON_TRIGGERS), any_of(NOUNS), any_of(["in", "of", "like a", "as quiet as a"]),
        any_of([*REPTILES, "1843", "17", "park"]),
    ]  # fmt: skip
    return f"{' '.join(parts).capitalize()}{any_of(['.', '?', ', they said.'])}"


def make_passages(n=400):
    random = np.random.default_rng(0)
    return Passages.of([f"{make_sentence(random)} {make_sentence(random)}" for _ in range(n)])


@pytest.fixture(scope="module")
def source():
    return ConceptSource(make_passages(), SYNSETS, ())


@pytest.fixture(scope="module")
def drafts(source):
    """DRAWS of each kind, by the kind's name."""
    random = np.random.default_rng(1)
    return {kind.__name__: [draw_from(source, random, {kind: 1.0}) for _ in range(DRAWS)] for kind in {**KINDS, **EASY}}


WHOLE_WORDS = (
    "draw_word", "draw_words", "draw_forms", "draw_wordnet", "draw_own_sets", "draw_synonyms", "draw_sentiment",
    "draw_suffix", "draw_prefix", "draw_inside", "draw_sign",
)  # fmt: skip
COMPOSED = ("draw_union", "draw_but_not")
NAMES = [kind.__name__ for kind in {**KINDS, **EASY}]


# what a draw is ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", NAMES)
def test_every_kind_is_drawn_and_says_something(kind, drafts):
    for draft in drafts[kind]:
        concept = draft.concept
        assert concept.name
        assert concept.patterns
        assert len(concept.explanations) >= 2
        for text in concept.explanations:
            assert text.strip() == text != ""
            assert not SLOT.search(text)
        if draft.shown:
            assert "{list}" in draft.shown
            assert not SLOT.search(draft.shown.format(list="a and b"))


@pytest.mark.parametrize("kind", NAMES)
def test_draws_of_a_kind_differ(kind, drafts):
    phrasings = {draft.concept.explanations for draft in drafts[kind]}
    assert len(phrasings) > DRAWS / 4 or kind in ("draw_simile", "draw_synonyms")
    assert len(phrasings) > 1


@pytest.mark.parametrize("kind", NAMES)
def test_words_of_a_concept_are_words_of_the_texts(kind, drafts, source):
    """In three passages at least, so that there is something to look up."""
    for draft in drafts[kind]:
        if kind == "draw_second":
            continue  # its pairs are a list of our own, and its texts are made
        assert {word for word in draft.look_up if source.passages.count(word) < FEWEST_PASSAGES} == set()


def test_levels_are_on_the_scale(drafts):
    levels = {pattern.level for found in drafts.values() for draft in found for pattern in draft.concept.patterns}
    assert levels <= set(range(1, 11))
    assert len({pattern.level for draft in drafts["draw_words"] for pattern in draft.concept.patterns}) > 2


# where it is active --------------------------------------------------------------------------------------------------


def share_active(concept, texts):
    return float(np.mean([find_levels(concept, text).any() for text in texts]))


@pytest.mark.parametrize("kind", NAMES)
def test_edited_texts_hold_the_concept(kind, drafts, source):
    """Of texts that a concept's edit was put to a good share is active, more than of the same texts before: all of them
    where a whole word is put in, else a half on the mean: some edits put in what is nearly right, to be told apart."""
    random = np.random.default_rng(2)
    plain = [source.passages.draw(random) for _ in range(TEXTS)]
    before, after = [], []
    for draft in drafts[kind]:
        if draft.edit is None:
            continue
        edited = [draft.edit(text, random) for text in plain]
        before.append(share_active(draft.concept, plain))
        after.append(share_active(draft.concept, edited))
    if not after:
        assert kind == "draw_position"  # every text has a first word
        return
    assert np.mean(after) >= 0.5
    assert np.mean(after) > np.mean(before)
    if kind in WHOLE_WORDS:
        assert min(after) == 1
    elif kind not in COMPOSED:
        assert min(after) >= 0.2


@pytest.mark.parametrize("kind", NAMES)
def test_texts_that_were_looked_up_hold_the_concept(kind, drafts, source):
    random = np.random.default_rng(3)
    looked_up = [draft for draft in drafts[kind] if draft.look_up]
    shares = []
    for draft in looked_up:
        words = [draft.look_up[int(random.integers(len(draft.look_up)))] for _ in range(TEXTS)]
        shares.append(share_active(draft.concept, [source.passages.draw_with(word, random) for word in words]))
    if looked_up:
        assert np.mean(shares) >= 0.6


def test_a_single_word_s_passages_are_all_active(drafts, source):
    """And passages without it are all silent."""
    for draft in drafts["draw_word"]:
        (word,) = draft.concept.words
        holding = set(source.passages.by_word[word].tolist())
        for place, text in enumerate(source.passages.texts[:100]):
            assert find_levels(draft.concept, text).any() == (place in holding)


def test_a_set_is_active_on_its_words_and_their_plurals(drafts):
    for draft in drafts["draw_wordnet"]:
        assert set(draft.concept.words) == set(REPTILES)
        assert find_levels(draft.concept, "two vipers").tolist() == [0] * 4 + [10] * 6
        assert not find_levels(draft.concept, "a viperous reptile").any()


def test_what_is_left_out_is_silent(drafts):
    """ "but_not": each exception silences what the base is active on."""
    silenced = 0
    for draft in drafts["draw_but_not"]:
        words = [word for word in draft.concept.words if any(re.search(x, word) for x in draft.concept.exceptions)]
        assert not any(find_levels(draft.concept, word).any() for word in words)
        silenced += len(words)
        assert len(words) < len(draft.concept.words) or not draft.concept.words
    assert silenced > DRAWS / 4


def test_the_second_of_a_pair_needs_the_first(drafts):
    for draft in drafts["draw_second"]:
        first, second = draft.concept.words
        if first != second:
            assert find_levels(draft.concept, f"xx {first} xx {second}")[-len(second) :].all()
            assert not find_levels(draft.concept, f"xx xx xx {second}").any()
            assert not find_levels(draft.concept, f"xx {second} xx {first}").any()


# words that may be drawn ---------------------------------------------------------------------------------------------


def test_a_word_of_two_passages_is_never_drawn_and_one_of_three_is():
    source = ConceptSource(Passages.of(["often seldom"] * 2 + ["often x 42"]), [], ())
    assert source.known == {"often": 3}
    assert {source.word(np.random.default_rng(seed)) for seed in range(20)} == {"often"}


def test_frequent_words_are_drawn_oftener_by_the_root_of_their_number():
    """100 passages against 4: sqrt(100) to sqrt(4), 10 to 2, so 5 of 6 draws; 2000 draws, three deviations of 0.8 %."""
    source = ConceptSource(Passages.of(["often"] * 96 + ["often rarely"] * 4), [], ())
    random = np.random.default_rng(0)
    drawn = [source.word(random) for _ in range(2000)]
    assert drawn.count("often") / 2000 == pytest.approx(5 / 6, abs=0.025)


def test_a_kind_that_the_texts_have_no_words_for_is_none():
    source = ConceptSource(Passages.of(["blue cow"] * 3), [], ())
    random = np.random.default_rng(0)
    for kind in KINDS:
        if kind.__name__ in ("draw_after", "draw_suffix", "draw_prefix"):
            assert [kind(source, random) for _ in range(20)].count(None) > 0


# chance --------------------------------------------------------------------------------------------------------------


def many(source, seed):
    random = np.random.default_rng(seed)
    drafts = [draw_from(source, random, KINDS) for _ in range(60)]
    return [
        (draft.concept, draft.look_up, draft.shown, draft.edit and draft.edit("One two three four five six.", random))
        for draft in drafts
    ]


def test_the_same_seed_gives_the_same_concepts(source):
    """From a source made anew, too: nothing hangs on what was drawn before, or on the order of a set."""
    again = ConceptSource(make_passages(), SYNSETS, ())
    assert many(source, 5) == many(again, 5)
    assert many(source, 5) != many(source, 6)


def test_kinds_are_drawn_by_their_weight(source):
    """Three to one: of 400 draws 300, give or take three deviations of 8.7."""
    named = {kind.__name__: kind for kind in KINDS}
    random = np.random.default_rng(0)
    kinds = {named["draw_word"]: 3.0, named["draw_sign"]: 1.0}
    drawn = [draw_from(source, random, kinds).concept.kind for _ in range(400)]
    assert set(drawn) == {"word", "punctuation"}
    assert drawn.count("word") == pytest.approx(300, abs=26)
