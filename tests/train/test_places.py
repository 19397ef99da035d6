"""Places in a text, phrases of two words, and words in program text: patterns by hand."""

import re

import numpy as np
import pytest

from localexplain.planted.concept import Concept, Pattern, find_levels
from localexplain.train.drafts import into_code, rename_some
from localexplain.train.kinds.composed import draw_but_not, draw_overlapping
from localexplain.train.kinds.phrases import draw_pair, draw_phrases, draw_rest
from localexplain.train.kinds.places import draw_beside_sign, place_pattern, single
from localexplain.train.passages import Passages
from localexplain.train.shapes import NAMED_SIGNS, SIGNS
from localexplain.train.source import ConceptSource
from localexplain.train.wordnet import Synset

TEXT = 'The goat, it seems, ate. "Did it?" asked Tom. We ran off then.'


def active(find, text):
    """The words that are wholly active."""
    concept = Concept(kind="position", name="x", explanations=("x",), patterns=(Pattern(find=find),))
    levels = find_levels(concept, text)
    return [match[0] for match in re.finditer(r"\w+", text) if levels[match.start() : match.end()].all()]


@pytest.mark.parametrize(
    ("table", "value", "words"),
    [
        ("nth_word", "first", ["The"]),
        ("nth_word", "fourth", ["seems"]),
        ("first_words", "three", ["The", "goat", "it"]),
        ("later_words", "ten", ["ran", "off", "then"]),
        ("nth_of_sentence", "first", ["The", "Did", "asked", "We"]),  # a question that was quoted ends a sentence
        ("nth_of_sentence", "third", ["it", "off"]),
        ("nth_sentence", "first", ["The", "goat", "it", "seems", "ate"]),
        ("nth_sentence", "second", ["Did", "it"]),
        ("start_of_nth_sentence", "second", ["Did"]),
        ("start_of_nth_sentence", "third", ["asked"]),
    ],
)
def test_places_by_hand(table, value, words):
    assert active(place_pattern(table, value), TEXT) == words


WORDS = ("lorry", "wagon", "sledge", "tram", "cart", "barge", "canoe")


@pytest.fixture(scope="module")
def source():
    text = "He saw the lorry near the old wagon and pulled a sledge, no tram but a cart. The barge he saw! A canoe."
    synsets = [
        Synset(id="vehicle", words=("vehicle",), definition="what carries goods", hypernyms=(), examples=()),
        Synset(id="wheels", words=("wheels",), definition="what rolls", hypernyms=("vehicle",), examples=()),
        *(
            Synset(id=word, words=(word,), definition=word, hypernyms=("wheels" if word in WORDS[:4] else "vehicle",),
                   examples=())
            for word in WORDS
        ),
    ]  # fmt: skip
    passages = Passages.of([text] * 5)
    return ConceptSource(passages, synsets, {"he saw", "the barge"})


def test_a_pair_stands_side_by_side_and_is_not_held_out(source):
    random = np.random.default_rng(0)
    pairs = {draw_pair(source, random) for _ in range(300)}
    text = source.passages.texts[0].lower()
    assert all(re.search(rf"{first}\W+{second}", text) for first, second in pairs)
    assert ("the", "lorry") in pairs
    assert not pairs & {("he", "saw"), ("the", "barge")}
    # were they not held out, they would be drawn
    free = ConceptSource(source.passages, (), ())
    assert ("the", "barge") in {draw_pair(free, random) for _ in range(300)}


def test_a_phrase_is_active_on_both_words_and_on_neither_alone(source):
    random = np.random.default_rng(1)
    for _ in range(20):
        concept = draw_phrases(source, random).concept
        first, second = concept.name.split(", ")[0].split(" ")
        levels = find_levels(concept, f"{second} x {first} y {first} {second}")
        start = len(f"{second} x {first} y ")
        assert levels[start:].all()
        if len(concept.patterns) == 1:
            assert not levels[:start].any()


def test_the_rest_of_a_sentence_ends_with_it_and_that_of_a_text_does_not(source):
    random = np.random.default_rng(2)
    found = set()
    for _ in range(20):
        concept = draw_rest(source, random).concept
        (word,) = concept.words
        text = f"aa {word} bb cc. dd"
        levels = find_levels(concept, text)
        rest = concept.name.startswith("any_time_after")
        found.add(rest)
        assert not levels[: len(f"aa {word}")].any()
        assert levels[text.index("bb") : text.index(".")].all()
        assert bool(levels[-1]) == rest
    assert found == {True, False}


def test_the_words_before_full_stops_and_commas_are_never_drawn(source):
    random = np.random.default_rng(3)
    drawn = {draft.concept.name for _ in range(600) if (draft := draw_beside_sign(source, random)) is not None}
    before = {name.removeprefix("before_sign ") for name in drawn if name.startswith("before_sign")}
    assert {";", ":", "?"} <= before
    assert not before & {",", "."}
    assert {"after_sign ,", "after_sign ."} <= drawn


ODD_SINGULARS = {
    "slashes": "slash",
    "dashes": "dash",
    "backslashes": "backslash",
    "ellipses": "ellipsis",
    "opening parentheses": "opening parenthesis",
    "closing parentheses": "closing parenthesis",
    "arrows to the right": "arrow to the right",
    "arrows to the left": "arrow to the left",
}


def test_one_of_each_sign_is_named_as_one():
    """A plain plural has an s behind it; those whose plural is another are written out here."""
    names = {names for _, names in (*SIGNS, *NAMED_SIGNS)}
    assert ODD_SINGULARS.keys() <= names
    for plural in names:
        assert single(plural) == ODD_SINGULARS.get(plural, plural[:-1])


def test_the_words_beside_a_sign_are_explained_by_one_sign(source):
    """Of every sign, with "an" before a vowel that is heard: the first phrasing is "the word right after a comma"."""
    random = np.random.default_rng(8)
    said = {}
    for _ in range(1500):
        if (draft := draw_beside_sign(source, random)) is not None and draft.concept.name.startswith("after_sign "):
            said[draft.concept.name.removeprefix("after_sign ")] = draft.concept.explanations[0]
    assert said.keys() == {sign for sign, _ in (*SIGNS, *NAMED_SIGNS)}
    for sign, phrase in {
        ",": "a comma",
        "...": "an ellipsis",
        "(": "an opening parenthesis",
        "\u20ac": "a euro sign",
        "@": "an at sign",
        "=": "an equals sign",
        "\u2192": "an arrow to the right",
    }.items():
        assert said[sign].endswith(f" {phrase}"), said[sign]


def test_a_set_within_a_set_is_left_out(source):
    """The vehicles are seven words, those with wheels four of them: three are left. The other way round none is."""
    random = np.random.default_rng(4)
    found = [pair for _ in range(200) if (pair := draw_overlapping(source, random)) is not None]
    names = {(base.concept.name, part.concept.name) for base, part in found}
    assert ("vehicle", "wheels") in names
    assert "wheels" not in {base for base, _ in names}


def test_but_not_is_silent_on_what_is_left_out():
    groups = {
        "vehicle": WORDS,
        "boats": ("barge", "canoe", "raft", "ferry"),
        "toys": ("sledge", "cart", "kite", "ball"),
    }
    synsets = [
        Synset(id="all", words=("craft",), definition="a craft", hypernyms=(), examples=()),
        *(Synset(id=name, words=(name,), definition=name, hypernyms=("all",), examples=()) for name in groups),
    ]
    for word in sorted({word for words in groups.values() for word in words}):
        above = tuple(name for name, words in groups.items() if word in words)
        synsets.append(Synset(id=word, words=(word,), definition=word, hypernyms=above, examples=()))
    texts = [" ".join(sorted({word for words in groups.values() for word in words}))] * 4
    source = ConceptSource(Passages.of(texts), synsets, ())
    random = np.random.default_rng(5)
    seen = 0
    for _ in range(100):
        draft = draw_but_not(source, random)
        if draft is None:
            continue
        for word in draft.concept.words:
            silenced = any(re.search(find, word) for find in draft.concept.exceptions)
            seen += silenced
            assert find_levels(draft.concept, word).any() != silenced
    assert seen > 0


# program text --------------------------------------------------------------------------------------------------------

CODE = "def total(items):\n    return sum(items)"


def test_a_word_stands_in_program_text_as_a_whole_word():
    random = np.random.default_rng(6)
    texts = {into_code("kettle", CODE, "spoon", random) for _ in range(200)}
    assert len(texts) > 20
    assert all(re.search(r"\bkettle\b", text) for text in texts)
    assert any("\nkettle" in text for text in texts)
    assert any("kettle;" in text for text in texts)


def test_names_are_changed_everywhere_alike_and_kept_words_stay():
    random = np.random.default_rng(7)
    seen = set()
    for _ in range(100):
        text = rename_some(CODE, ["kettle"], ["def", "return"], random)
        seen.add(text)
        assert text.count("items") in (0, 2)
        assert text.startswith("def ")
        assert "    return " in text
    assert len(seen) == 8  # each of total, items and sum is changed or not
