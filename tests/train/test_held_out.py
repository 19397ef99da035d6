"""Training and the held-out bed have nothing in common: no concept, no word, no phrasing, no run of eight words.

The passages of these tests hold every word of the bed and of the puzzles, so that a word that is never drawn was kept
out; without the rule, they are drawn in plenty.
"""

import re
from collections import Counter
from functools import cache

import numpy as np
import pytest

from localexplain.planted.bed import read_bed
from localexplain.planted.concept import find_levels
from localexplain.planted.puzzles import read_puzzles
from localexplain.train.concepts import KINDS
from localexplain.train.kinds.forms import draw_inside
from localexplain.train.kinds.sets import draw_set
from localexplain.train.kinds.words import draw_word
from localexplain.train.lists import LISTS, read_list
from localexplain.train.passages import Passages, without_shared
from localexplain.train.shapes import BRACKETS, PREFIXES, SHAPES, SIGNS, SUFFIXES
from localexplain.train.source import ConceptSource, draw_from
from localexplain.train.training_set import held_out_texts, held_out_words
from localexplain.train.wordnet import Synset

DRAWS = 90  # of each kind
RUN = 8
FEWEST_LETTERS = 3
ORDINARY = ("lizard", "tortoise", "viper", "gecko", "cobra", "turtle")  # nothing of the bed's
FORMS = [f"{stem}{end}" for stem in ("walk", "jump", "mend", "count", "lift") for end in ("", "s", "ed", "ing", "er")]


def strings(node):
    """Every text in a table."""
    if isinstance(node, str):
        return [node]
    if isinstance(node, dict):
        node = list(node.values())
    return [text for item in node for text in strings(item)] if isinstance(node, list) else []


@cache
def listed_words():
    sets = [item["words"] for name in ("lexical", "sentiment") for item in read_list(name)["set"]]
    return {word for found in (*sets, *read_list("pairs")["pairs"]) for word in found}


def bed_words():
    """Read anew from the bed and the puzzles, not by the recipe: words of letters alone, of three or more."""
    words = {word.lower() for item in read_bed() for word in item.concept.words}
    for puzzle in read_puzzles():
        for sentence in puzzle.sentences:
            for token, activation in zip(sentence.tokens, sentence.activations, strict=True):
                if activation > 0:
                    words.add(token.strip().lower())
    return {word for word in words if len(word) >= FEWEST_LETTERS and word.isalpha()}


def synset(key, *words, above=(), definition="a definition"):
    return Synset(id=key, words=words, definition=definition, hypernyms=above, examples=())


def family(name, *words):
    """A synset of that name and one below it for each word."""
    return [synset(name, name), *(synset(f"{name} > {word}", word, above=(name,)) for word in words)]


SYNSETS = [
    *family("reptile", *ORDINARY),
    *family("animal of the zoo", *ORDINARY, "owl"),
    *family("animal of the wood", *ORDINARY, "owl", "robin"),
    *family("wading bird", *ORDINARY),
    synset("snake", "viper", "cobra", definition="a snake"),
    synset("one of the bed", "gecko", "turtle", "owl", definition="a friend"),
    synset("two of the bed", "gecko", "turtle", "owl", "robin", definition="a guest"),
]


def passages():
    """Each word in three passages of twenty words; those of many forms in a hundred more, so that forms are drawn."""
    words = sorted(
        {*bed_words(), *listed_words(), *ORDINARY, *FORMS, *(word for item in SYNSETS for word in item.words)}
    )
    random = np.random.default_rng(0)
    texts = []
    for _ in range(3):
        order = [words[int(place)] for place in random.permutation(len(words))]
        texts += [" ".join(order[start : start + 20]) for start in range(0, len(order), 20)]
    return Passages.of([*texts, *[" ".join(FORMS)] * 100])


def make_source(held_out):
    return ConceptSource(passages(), SYNSETS, held_out)


def draw_many(source):
    random = np.random.default_rng(1)
    return [draw_from(source, random, {kind: 1.0}) for kind in KINDS for _ in range(DRAWS)]


@pytest.fixture(scope="module")
def source():
    return make_source(held_out_words())


@pytest.fixture(scope="module")
def drafts(source):
    return draw_many(source)


@pytest.fixture(scope="module")
def unguarded():
    """Drawn from the same, without the rule."""
    return draw_many(make_source(()))


# words ---------------------------------------------------------------------------------------------------------------


def quoted_words(text):
    """Single words in quotation marks of one sort, as the templates write them; affixes are no words."""
    found = {match[2].lower() for match in re.finditer(r"([\"'])\s?([^\W\d_]+)\1", text)}
    return found - {*SUFFIXES, *PREFIXES}


def held_out_in(drafts, held):
    """How often a held-out word is a concept's word, is looked up, or stands in quotation marks in an explanation."""
    found = Counter()
    for draft in drafts:
        concept = draft.concept
        named = {*map(str.lower, concept.words), *map(str.lower, draft.look_up)}
        for text in concept.explanations:
            named |= quoted_words(text)
        found.update(named & held)
    return found


def test_quoted_words_by_hand():
    text = """the tokens ' river', "Bank" and 'it', the ending "-ly", words like "can't", "two words", "ness" """
    assert quoted_words(text) == {"river", "bank", "it"}


def test_the_held_out_words_are_those_of_the_bed_and_the_puzzles():
    assert held_out_words() == bed_words() | {"as if", "as though", "no longer", "no more"}
    # from the bed: a lexical concept, one of forms, a word; from the puzzles: an active token, and none that is silent
    assert {"ladle", "carrying", "window", "shore"} <= held_out_words()
    assert all(word == word.lower() for word in held_out_words())


def test_every_held_out_word_could_be_drawn():
    """But those of other letters than English ones, which are no words of a passage."""
    counts = passages()
    assert min(counts.count(word) for word in bed_words() if word.isascii()) >= 3
    assert sum(not word.isascii() for word in bed_words()) < 0.05 * len(bed_words())


def test_no_held_out_word_is_drawn(drafts):
    assert held_out_in(drafts, bed_words()) == Counter()


def test_without_the_rule_they_are_drawn(unguarded):
    """Every fourth word of the passages is the bed's: they are drawn in hundreds, inside quotation marks too."""
    held = bed_words()
    assert len(held_out_in(unguarded, held)) > 200
    quoted = {word for draft in unguarded for text in draft.concept.explanations for word in quoted_words(text)}
    assert len(quoted & held) > 100


def test_every_kind_was_among_those_drawn(drafts):
    """Else the tests above say nothing about a kind."""
    bed_kinds = {item.concept.kind for item in read_bed()}
    assert bed_kinds <= {draft.concept.kind for draft in drafts}


def test_keywords_of_code_are_kept_out_in_either_case(drafts, unguarded):
    """ "KEY" is the bed's "key"; a keyword's concept has no words, so its pattern is asked."""
    held = {word for word in bed_words() if word.isascii()}
    text = "\n".join(sorted(held) + sorted(map(str.upper, held)))

    def active(drafts):
        code = [draft.concept for draft in drafts if draft.concept.kind == "code"]
        return {word for concept in code for word in active_words(concept, text)}

    assert active(drafts) == set()
    assert {"KEY", "import"} <= active(unguarded)


def active_words(concept, text):
    """The lines of the text in which the concept is active."""
    levels = find_levels(concept, text)
    return {match[0] for match in re.finditer(".+", text) if levels[match.start() : match.end()].any()}


def test_a_set_is_silent_on_every_held_out_word(source):
    text = "\n".join(sorted(bed_words()))
    random = np.random.default_rng(2)
    found = {}
    for sets in (source.own_sets, source.sentiments, source.wordnet_sets, source.synonyms):
        for one in sets:
            concept = draw_set(source, [one], random).concept
            if active := active_words(concept, text):
                found[concept.name] = active
    assert found == {}


# concepts and phrasings ----------------------------------------------------------------------------------------------


def plain(text):
    """Lower case, quotation marks and commas left out, single spaces: what makes two phrasings the same."""
    return " ".join(re.sub(r"[\"',.]", " ", text.lower()).split())


def same_phrasings(drafts):
    """Names and explanations that are also the bed's, or a puzzle's true explanation."""
    bed = {plain(text) for item in read_bed() for text in (item.concept.name, *item.concept.explanations)}
    bed |= {plain(puzzle.explanation) for puzzle in read_puzzles()}
    drawn = {plain(text) for draft in drafts for text in (draft.concept.name, *draft.concept.explanations)}
    return bed & drawn


def test_no_concept_is_named_or_explained_as_one_of_the_bed(drafts):
    assert same_phrasings(drafts) == set()


def test_one_of_the_bed_would_be_seen():
    """Passages of one word, which is the bed's, drawn without the rule: 'the word "window"' is the bed's phrasing."""
    window = ConceptSource(Passages.of(["window"] * 3), [], ())
    assert "the word window" in same_phrasings([draw_word(window, np.random.default_rng(0))])
    assert ConceptSource(Passages.of(["window"] * 3), [], held_out_words()).known == {}


def bed_items(kind):
    return [item for item in read_bed() if item.concept.kind == kind]


@pytest.mark.parametrize(
    ("kind", "own"),
    [
        ("punctuation", [f"a word {sign} another" for sign, _ in SIGNS]),
        ("affix", [f"abcde{affix}" for affix in SUFFIXES] + [f"{affix}abcde" for affix in PREFIXES]),
    ],
)
def test_no_sign_or_affix_is_one_of_the_bed(kind, own):
    """The bed's own patterns are asked: each is active on its own texts and silent on all of ours."""
    concepts = [item.concept for item in bed_items(kind)]
    assert all(find_levels(item.concept, item.texts[0]).any() for item in bed_items(kind))
    assert {(concept.name, text) for concept in concepts for text in own if find_levels(concept, text).any()} == set()


def test_no_bracket_is_one_of_the_bed(source):
    """None of ours marks, in any text of the bed, what the bed's concept marks there."""
    random = np.random.default_rng(3)
    ours = {draft.concept.name: draft.concept for draft in (draw_inside(source, random) for _ in range(200))}
    assert len(ours) == len(BRACKETS)
    same = {
        (item.concept.name, name)
        for item in bed_items("inside")
        for name, concept in ours.items()
        for text in item.texts
        if (find_levels(item.concept, text) == find_levels(concept, text)).all()
    }
    assert same == set()


def test_no_parameter_is_one_of_the_bed():
    """Capital W, three capitals, 7, three digits, the eighteen hundreds, 42, the second word and the first five are the
    bed's."""
    values = {name: set(table["values"]) for name, table in read_list("parameters").items()}
    held = {
        "capital_letter": "W",
        "first_letter": "w",
        "capitals_length": "three",
        "digit_start": "7",
        "digits_length": "three",
        "number": "42",
        "digit_end": None,  # the bed has none of these
        "digit_inside": None,
        "later_words": None,
        "nth_of_sentence": None,
        "nth_sentence": None,
        "start_of_nth_sentence": None,
        "century": "eighteen",
        "nth_word": "second",
        "first_words": "five",
    }
    assert values.keys() == held.keys()
    assert [name for name, value in held.items() if value in values[name]] == []


def test_no_language_and_no_shape_is_one_of_the_bed():
    names = " ".join(item.concept.name for item in bed_items("language"))
    languages = {item["name"].lower() for item in read_list("languages")["language"]}
    assert len(languages) >= 5
    assert [name for name in languages if name in names] == []
    bed = {pattern.find for item in read_bed() for pattern in item.concept.patterns}
    assert bed & {find for _, find in SHAPES.values()} == set()


# sets of words -------------------------------------------------------------------------------------------------------


def named(sets):
    return {found.names[0]: set(found.words) for found in sets}


def test_a_synset_with_two_held_out_words_or_a_held_out_name_is_dropped(source):
    """A single held-out word is taken out and the rest stays."""
    assert named(source.wordnet_sets) == {"reptile": set(ORDINARY), "animal of the zoo": set(ORDINARY)}
    assert {found.definition: set(found.words) for found in source.synonyms} == {
        "a snake": {"viper", "cobra"},
        "a friend": {"gecko", "turtle"},
    }


def test_without_the_rule_only_the_name_is_left():
    source = make_source(())
    assert named(source.wordnet_sets) == {
        "reptile": set(ORDINARY),
        "animal of the zoo": {*ORDINARY, "owl"},
        "animal of the wood": {*ORDINARY, "owl", "robin"},
    }
    assert len(source.synonyms) == 3


@pytest.mark.parametrize("topic", [item.concept.name for item in read_bed() if item.concept.kind == "lexical"])
def test_no_set_is_named_like_a_lexical_concept_of_the_bed(topic):
    """However harmless its words are."""
    made = ConceptSource(passages(), [*family(topic, *ORDINARY), *family("reptile", *ORDINARY)], held_out_words())
    assert list(named(made.wordnet_sets)) == ["reptile"]


def test_own_sets_with_two_held_out_words_are_dropped(source):
    """Against the lists themselves."""
    held = bed_words()
    for name, kept in (("lexical", source.own_sets), ("sentiment", source.sentiments)):
        shared = {item["name"]: len(held & set(item["words"])) for item in read_list(name)["set"]}
        assert {item for item in named(kept) if shared[item] >= 2} == set()
        assert len(kept) >= 10
    assert any(len(held & set(item["words"])) >= 2 for item in read_list("lexical")["set"])


# texts ---------------------------------------------------------------------------------------------------------------


def runs(text):
    """Runs of eight words, by another reading of words than the recipe's: letters of any script, and digits."""
    words = re.findall(r"[^\W_]+", text.lower())
    return {tuple(words[start : start + RUN]) for start in range(len(words) - RUN + 1)}


@cache
def bed_runs():
    texts = [text for item in read_bed() for text in item.texts]
    texts += ["".join(sentence.tokens) for puzzle in read_puzzles() for sentence in puzzle.sentences]
    return {run for text in texts for run in runs(text)}


@pytest.mark.parametrize(
    "name",
    [path.stem for path in sorted(LISTS.glob("*.toml"))],
)
def test_no_text_of_the_lists_shares_eight_words_with_the_bed(name):
    texts = strings(read_list(name))
    assert len(texts) > 20
    assert [text for text in texts if not bed_runs().isdisjoint(runs(text))] == []


def test_a_shared_run_would_be_seen():
    first = read_bed()[0].texts[0]
    assert not bed_runs().isdisjoint(runs(f"One more sentence. {first.upper()}"))


def test_a_passage_that_holds_a_held_out_sentence_is_dropped():
    """Each of the bed's texts and the puzzles' sentences, with other words around it."""
    sentences = [text for item in read_bed() for text in item.texts]
    sentences += ["".join(sentence.tokens) for puzzle in read_puzzles() for sentence in puzzle.sentences]
    assert set(held_out_texts()) == set(sentences)
    long = [text for text in sentences if len(re.findall(r"[A-Za-z]+(?:'[a-z]+)?", text)) >= RUN]
    assert len(long) > 0.9 * len(sentences)
    holding = [f"Somebody wrote: {text} That was all." for text in long]
    own = [f"The {word} lay in the sun beside a pile of bricks and a coil of rope." for word in ORDINARY]
    assert without_shared([*own, *holding], held_out_texts()) == own
    assert without_shared([*own, *holding], []) == [*own, *holding]
