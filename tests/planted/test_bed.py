"""The held-out bed that ships holds what it promises, and a file that is malformed gives one clear error."""

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from localexplain.errors import UserError
from localexplain.planted.bed import BED, parse_concept, read_bed
from localexplain.planted.concept import active_spans, find_levels
from localexplain.resources import resource

SHIPPED = read_bed()

GOOD = {
    "name": "cats",
    "explanations": ["cats", "the word for a cat"],
    "patterns": [{"find": r"\bcats?\b", "level": 8}, {"find": "kitten", "level": 3}],
    "except": ["cat flap"],
    "words": ["cat", "kitten"],
    "texts": ["a cat sat", "the kitten and the cat flap"],
}

CATS = r"""
[[concept]]
name = "cats"
explanations = ["cats"]
patterns = [{ find = '''\bcat\b''', level = 8 }]
words = ["cat"]
texts = ["a cat sat"]
"""


def label(item):
    return f"{item.concept.kind}: {item.concept.name}"


def message(error):
    """The one line of a UserError."""
    text = str(error.value)
    assert "\n" not in text
    return text


# what ships ----------------------------------------------------------------------------------------------------------


def test_every_kind_has_its_file_and_at_least_five_concepts():
    counts = Counter(item.concept.kind for item in SHIPPED)
    assert set(counts) == {path.stem for path in resource(*BED).glob("*.toml")}
    assert len(counts) == 18
    assert min(counts.values()) >= 5


@pytest.mark.parametrize("item", SHIPPED, ids=label)
def test_a_concept_has_three_explanations_and_eleven_texts(item):
    explanations = item.concept.explanations
    assert len(set(explanations)) == 3
    assert all(text == text.strip() and len(text.splitlines()) == 1 and len(text) > 5 for text in explanations)
    assert len(set(item.texts)) == 11


@pytest.mark.parametrize("item", SHIPPED, ids=label)
def test_every_text_is_active_somewhere_and_silent_somewhere(item):
    for text in item.texts:
        levels = find_levels(item.concept, text)
        assert levels.max() >= 5, text
        assert (levels[[not character.isspace() for character in text]] == 0).any(), text


@pytest.mark.parametrize("item", SHIPPED, ids=label)
def test_every_pattern_and_every_exception_does_something(item):
    concept = item.concept
    for pattern in concept.patterns:
        assert any(active_spans(pattern.find, text) for text in item.texts), pattern
    for exception in concept.exceptions:
        without = replace(concept, exceptions=tuple(find for find in concept.exceptions if find != exception))
        changed = [not np.array_equal(find_levels(concept, t), find_levels(without, t)) for t in item.texts]
        assert any(changed), exception


def test_no_two_concepts_share_a_name_an_explanation_or_a_text():
    # A shuffled explanation must not be true by accident, and a silent text must not be one that was explained from.
    for values in (
        [(item.concept.kind, item.concept.name) for item in SHIPPED],
        [text.lower() for item in SHIPPED for text in item.concept.explanations],
        [text for item in SHIPPED for text in item.texts],
    ):
        assert [value for value, count in Counter(values).items() if count > 1] == []


def test_words_are_lower_case_and_turn_a_lexical_unit_on():
    for item in SHIPPED:
        assert all(word == word.lower() == word.strip() and word for word in item.concept.words)
        if item.concept.kind == "lexical":
            assert item.concept.words
            assert all(find_levels(item.concept, word).any() for word in item.concept.words)


# reading -------------------------------------------------------------------------------------------------------------


def test_a_table_is_read_field_by_field():
    item = parse_concept("animals", GOOD, "here")
    assert (item.concept.kind, item.concept.name) == ("animals", "cats")
    assert item.concept.explanations == ("cats", "the word for a cat")
    assert [(p.find, p.level) for p in item.concept.patterns] == [(r"\bcats?\b", 8), ("kitten", 3)]
    assert item.concept.exceptions == ("cat flap",)
    assert item.concept.words == ("cat", "kitten")
    assert item.texts == ("a cat sat", "the kitten and the cat flap")


def test_files_are_read_in_the_order_of_their_kinds_and_each_from_above(tmp_path):
    (tmp_path / "zoo.toml").write_text(CATS + CATS.replace("cats", "more cats"), encoding="utf-8")
    (tmp_path / "air.toml").write_text(CATS.replace("a cat", "Ein Kätzchen, a cat"), encoding="utf-8")
    (tmp_path / "README.md").write_text("no concept", encoding="utf-8")
    found = read_bed(tmp_path)
    assert [label(item) for item in found] == ["air: cats", "zoo: cats", "zoo: more cats"]
    assert found[0].texts == ("Ein Kätzchen, a cat sat",)


# malformed -----------------------------------------------------------------------------------------------------------

BROKEN = {
    **{f"no {key}": {k: v for k, v in GOOD.items() if k != key} for key in GOOD if key != "except"},
    "a pattern without find": GOOD | {"patterns": [{"level": 3}]},
    "a pattern without level": GOOD | {"patterns": [{"find": "cat"}]},
    "a pattern that is a text": GOOD | {"patterns": ["cat"]},
    "a level that is a word": GOOD | {"patterns": [{"find": "cat", "level": "high"}]},
    "a level of 0": GOOD | {"patterns": [{"find": "cat", "level": 0}]},
    "a level of 11": GOOD | {"patterns": [{"find": "cat", "level": 11}]},
    "no regular expression": GOOD | {"patterns": [{"find": "(cat", "level": 3}]},
    "an exception that is none": GOOD | {"except": ["*"]},
    "a text that is silent": GOOD | {"texts": ["a cat sat", "a dog"]},
    "a text that an exception silences": GOOD | {"texts": ["a cat flap"]},
    "no explanation": GOOD | {"explanations": []},
    "no text": GOOD | {"texts": []},
    "explanations that are a number": GOOD | {"explanations": 3},
    "texts that are a number": GOOD | {"texts": 3},
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_a_table_that_is_no_concept_is_one_error_that_says_where(data):
    with pytest.raises(UserError) as error:
        parse_concept("animals", data, "bed/animals.toml")
    assert message(error).startswith("bed/animals.toml")


def test_what_is_wrong_is_named():
    with pytest.raises(UserError, match="'cats': level 11 is not from 1 to 10"):
        parse_concept("animals", BROKEN["a level of 11"], "x")
    with pytest.raises(UserError, match="'cats': not a regular expression"):
        parse_concept("animals", BROKEN["no regular expression"], "x")
    with pytest.raises(UserError, match="'cats': not active anywhere in 'a dog'"):
        parse_concept("animals", BROKEN["a text that is silent"], "x")
    with pytest.raises(UserError, match="KeyError: 'words'"):
        parse_concept("animals", BROKEN["no words"], "x")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(GOOD | {"patterns": [{"find": 5, "level": 3}]}, id="a find that is a number"),
        pytest.param(GOOD | {"patterns": [{"find": ["cat"], "level": 3}]}, id="a find that is a list"),
        pytest.param(GOOD | {"except": [5]}, id="an exception that is a number"),
        pytest.param(GOOD | {"texts": [5]}, id="a text that is a number"),
        pytest.param(GOOD | {"explanations": [5]}, id="an explanation that is a number"),
        pytest.param(GOOD | {"explanations": "cats"}, id="explanations that are one text"),
        pytest.param(GOOD | {"except": "flap"}, id="exceptions that are one text"),
        pytest.param(GOOD | {"words": "cat"}, id="words that are one text"),
    ],
)
def test_a_value_of_the_wrong_type_is_one_error_too(data):
    with pytest.raises(UserError, match=r"bed/animals\.toml"):
        parse_concept("animals", data, "bed/animals.toml")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"[[concept]\n", "not TOML"),
        (b"name = '\xff'\n", "not TOML"),
        (b"[concept]\nname = 'cats'\n", "no concept"),
        (CATS.replace("level = 8", "level = 80").encode(), "level 80"),
    ],
)
def test_a_file_that_is_malformed_is_named(tmp_path, content, told):
    (tmp_path / "good.toml").write_text(CATS, encoding="utf-8")
    (tmp_path / "worse.toml").write_bytes(content)
    with pytest.raises(UserError, match=re.escape(told)) as error:
        read_bed(tmp_path)
    assert str(tmp_path / "worse.toml") in message(error)


def test_a_concept_that_is_a_number_is_one_error_too(tmp_path):
    (tmp_path / "worse.toml").write_text("concept = 3\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"worse\.toml"):
        read_bed(tmp_path)


@pytest.mark.parametrize("files", [{}, {"readme.txt": CATS}, {"empty.toml": ""}, {"other.toml": "[[unit]]\n"}])
def test_a_folder_without_concepts_is_an_error(tmp_path, files):
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="holds no concepts") as error:
        read_bed(tmp_path)
    assert str(tmp_path) in message(error)


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(UserError, match="holds no concepts"):
        read_bed(tmp_path / "none")
