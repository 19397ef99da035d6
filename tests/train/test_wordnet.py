"""A file of synsets to sets of words, on a small one made by hand."""

import json

import pytest

from localexplain.errors import CorpusError
from localexplain.train.wordnet import FEWEST, MOST, Synset, make_sets, read_synsets, synonym_sets


def row(key, *words, above=(), definition="", examples=()):
    return {
        "id": key,
        "category": "n",
        "words": list(words),
        "definition": definition or f"what {words[0]} is",
        "hypernyms": list(above),
        "examples": list(examples),
    }


# below "thing" is "vehicle"; below that "wheeled" and "sledge"; below "wheeled" the others, "juggernaut" below "lorry"
ROWS = [
    row("thing", "thing"),
    row("vehicle", "vehicle", "conveyance", above=["thing"], definition="carries people or goods"),
    row("wheeled", "wheeled vehicle", above=["vehicle"]),
    row("cart", "cart", above=["wheeled"]),
    row("bus", "bus", "omnibus", "coach", above=["wheeled"], examples=["the bus was late"]),
    row("lorry", "lorry", "HGV", "motor lorry", above=["wheeled"]),
    row("juggernaut", "juggernaut", above=["lorry"]),
    row("sledge", "sledge", "bob-sleigh", above=["vehicle"]),
]
KNOWN = {"thing", "vehicle", "conveyance", "cart", "bus", "omnibus", "coach", "lorry", "juggernaut", "sledge", "HGV"}


@pytest.fixture
def synsets(tmp_path):
    path = tmp_path / "wordnet.jsonl"
    path.write_text("".join(json.dumps(item) + "\n" for item in ROWS), encoding="utf-8")
    return read_synsets(path)


def by_name(sets):
    return {found.names[0]: found for found in sets}


def test_a_line_is_a_synset(synsets):
    assert [synset.id for synset in synsets] == [item["id"] for item in ROWS]
    assert synsets[4] == Synset(
        id="bus",
        words=("bus", "omnibus", "coach"),
        definition="what bus is",
        hypernyms=("wheeled",),
        examples=("the bus was late",),
    )


def test_hypernyms_and_examples_may_be_missing(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": "a", "words": ["a"], "definition": "b"}\n')
    (found,) = read_synsets(path)
    assert (found.hypernyms, found.examples) == ((), ())


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "Expecting property name"),
        ('{"id": "a", "definition": "b"}', "'words'"),
        ('{"id": "a", "words": ["a"]}', "'definition'"),
        ('{"words": ["a"], "definition": "b"}', "'id'"),
        ('["a"]', "list indices"),
        ("", "Expecting value"),
    ],
)
def test_a_line_that_is_no_synset_is_named(line, why, tmp_path):
    path = tmp_path / "wordnet.jsonl"
    path.write_text(f"{json.dumps(ROWS[0])}\n{json.dumps(ROWS[1])}\n{line}\n")
    with pytest.raises(CorpusError, match=rf"wordnet.jsonl, line 3: no synset \(.*{why}.*give id, words, definition"):
        read_synsets(path)


def test_a_set_is_the_hyponyms_and_theirs_and_no_deeper(synsets):
    """thing: vehicle and its children. vehicle: its children and theirs, without juggernaut, three below it. wheeled:
    three children and one below. No set holds its own name, a word of two words, in capitals or with a hyphen."""
    found = by_name(make_sets(synsets, KNOWN))
    assert {name: item.words for name, item in found.items()} == {
        "vehicle": ("bus", "cart", "coach", "lorry", "omnibus", "sledge"),
        "wheeled vehicle": ("bus", "cart", "coach", "juggernaut", "lorry", "omnibus"),
    }
    # thing has vehicle, conveyance and sledge: three, and wheeled's only word has a space
    assert FEWEST == 4
    assert found["vehicle"].names == ("vehicle", "conveyance")
    assert found["vehicle"].definition == "carries people or goods"


def test_words_that_no_text_has_are_left_out(synsets):
    known = KNOWN - {"bus", "coach"}
    assert by_name(make_sets(synsets, known))["vehicle"].words == ("cart", "lorry", "omnibus", "sledge")
    # one word fewer and the set is too small
    assert "vehicle" not in by_name(make_sets(synsets, known - {"cart"}))


def test_the_largest_set():
    def flat(n):
        words = ["word" + "a" * number for number in range(n)]
        synsets = [Synset(id=word, words=(word,), definition="", hypernyms=("top",), examples=()) for word in words]
        top = Synset(id="top", words=("top",), definition="", hypernyms=(), examples=())
        return make_sets([top, *synsets], set(words))

    assert [len(found.words) for found in flat(MOST)] == [MOST]
    assert flat(MOST + 1) == []


def test_a_hypernym_that_the_file_lacks_makes_no_set(synsets):
    orphans = [synset for synset in synsets if synset.id not in ("vehicle", "thing")]
    assert list(by_name(make_sets(orphans, KNOWN))) == ["wheeled vehicle"]


def test_two_ways_to_one_hyponym_count_it_once():
    """d lies below b and c, both below a: a has b, c, d and e."""
    above = {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c"), "e": ("c",)}
    synsets = [
        Synset(id=key, words=(f"{key}word",), definition="", hypernyms=up, examples=()) for key, up in above.items()
    ]
    (found,) = make_sets(synsets, {f"{key}word" for key in above})
    assert found.words == ("bword", "cword", "dword", "eword")


def test_synonyms_are_the_words_of_one_synset_under_its_definition(synsets):
    found = synonym_sets(synsets, KNOWN)
    assert [(item.names, item.definition, item.words) for item in found] == [
        ((), "carries people or goods", ("vehicle", "conveyance")),
        ((), "what bus is", ("bus", "omnibus", "coach")),
    ]
