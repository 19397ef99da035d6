"""Planted units: which texts they are shown and scored on, cut into the tokens of a subject, with a seeded noise."""

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from localexplain.errors import UserError
from localexplain.evaluate.units import TOKENIZER, as_records, plant_units, subject_cut
from localexplain.explain.lookup import LookupExplainer
from localexplain.planted.bed import BedConcept, read_bed
from localexplain.planted.concept import Concept, Pattern, find_levels, token_levels
from localexplain.resources import resource
from localexplain.types import ExplainTask, Unit

CUT = subject_cut()
BACKEND = Tokenizer.from_file(str(resource("models", TOKENIZER, "tokenizer.json")))
UNIT = Unit(basis="planted", layer=0, index=3)


def words(text):
    return tuple(re.findall(r"\s*\S+|\s+$", text))


def bed_concept(kind, word, count=8):
    concept = Concept(kind=kind, name=word, explanations=(f"the word {word}",), patterns=(Pattern(find=word),))
    return BedConcept(concept=concept, texts=tuple(f"{kind} number {n} is about {word} alone" for n in range(count)))


BED = [bed_concept("pets", "cat"), bed_concept("pets", "dog"), bed_concept("plants", "oak"), bed_concept("sky", "rain")]


def text_of(planted):
    return "".join(planted.tokens)


# cutting -------------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_tokens_joined_are_the_text_and_none_is_empty(text):
    tokens = CUT(text)
    assert "".join(tokens) == text
    assert all(tokens)


@settings(deadline=None)
@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60))
def test_plain_text_is_cut_where_the_subject_cuts_it(text):
    ids = BACKEND.encode(text, add_special_tokens=False).ids
    assert CUT(text) == tuple(BACKEND.decode([index], skip_special_tokens=False) for index in ids)


def test_a_character_of_several_tokens_is_one_token_here():
    # four bytes that no vocabulary of this size holds as one
    assert CUT("\U0001f9ff") == ("\U0001f9ff",)


# units ---------------------------------------------------------------------------------------------------------------


def test_the_first_five_texts_are_shown_and_the_others_are_scored():
    for item, unit in zip(BED, plant_units(BED, words, 0), strict=True):
        assert unit.concept is item.concept
        assert [text_of(planted) for planted in unit.shown] == list(item.texts[:5])
        assert [text_of(planted) for planted in unit.scored[:3]] == list(item.texts[5:])
        assert len(unit.scored) == 3 + 6


def test_silent_texts_are_of_other_kinds_and_hold_nothing_of_the_concept():
    for item, unit in zip(BED, plant_units(BED, words, 0), strict=True):
        silent = [text_of(planted) for planted in unit.scored[3:]]
        others = {text for other in BED if other.concept.kind != item.concept.kind for text in other.texts}
        assert set(silent) <= others
        assert len(set(silent)) == 6
        assert not any(find_levels(item.concept, text).any() for text in silent)


def test_a_text_of_another_kind_that_holds_the_concept_is_not_silent():
    # all of the other kind's eight texts but one speak of the cat too
    loud = BedConcept(
        concept=BED[2].concept, texts=(*(f"{text} and a cat" for text in BED[2].texts[1:]), BED[2].texts[0])
    )
    cat, _ = plant_units([BED[0], loud], words, 0)
    assert [text_of(planted) for planted in cat.scored[3:]] == [BED[2].texts[0]]


def test_activations_are_the_concepts_with_its_noise():
    for unit in plant_units(BED, words, 0):
        for planted in (*unit.shown, *unit.scored):
            levels = token_levels(find_levels(unit.concept, text_of(planted)), planted.tokens)
            assert planted.activations.dtype == np.float32
            assert (planted.activations[levels > 0] >= 7).all()
            assert (planted.activations[levels == 0] <= 5).all()


def test_the_cut_is_the_callers():
    (unit, *_) = plant_units(BED, tuple, 0)
    assert unit.shown[0].tokens == tuple(BED[0].texts[0])


def as_values(units):
    return [[(t.tokens, t.activations.tolist()) for t in (*unit.shown, *unit.scored)] for unit in units]


def test_the_seed_draws_the_noise_and_the_silent_texts():
    first, again, other = (plant_units(BED, words, seed) for seed in (5, 5, 6))
    assert as_values(first) == as_values(again)
    for a, b in zip(first, other, strict=True):
        assert [t.tokens for t in (*a.shown, *a.scored[:3])] == [t.tokens for t in (*b.shown, *b.scored[:3])]
        assert [t.activations.tolist() for t in a.shown] != [t.activations.tolist() for t in b.shown]
    assert [[t.tokens for t in unit.scored[3:]] for unit in first] != [
        [t.tokens for t in unit.scored[3:]] for unit in other
    ]


def test_two_units_of_one_concept_have_noise_of_their_own():
    twin = replace(BED[0], concept=replace(BED[0].concept, name="again"))
    first, second = plant_units([BED[0], twin], words, 0)
    assert [t.activations.tolist() for t in first.shown] != [t.activations.tolist() for t in second.shown]


def test_five_texts_are_too_few_and_six_are_enough():
    with pytest.raises(UserError, match="'few' has 5 texts"):
        plant_units([*BED, bed_concept("short", "few", count=5)], words, 0)
    assert len(plant_units([*BED, bed_concept("short", "few", count=6)], words, 0)[-1].scored) == 1 + 6


def test_the_bed_that_ships_gives_a_unit_for_every_concept():
    bed = read_bed()
    units = plant_units(bed, words, 0)
    assert [unit.concept for unit in units] == [item.concept for item in bed]
    always_active = []
    for item, unit in zip(bed, units, strict=True):
        assert [text_of(planted) for planted in (*unit.shown, *unit.scored[:6])] == list(item.texts)
        own = [find_levels(unit.concept, text_of(planted)).any() for planted in unit.scored]
        assert own[:6] == [True] * 6
        assert not any(own[6:])
        if len(own) < 12:
            always_active.append(unit.concept.name)
            assert len(own) == 6
    # No text is silent for a unit that is active on the words at its beginning.
    assert always_active == ["second word of the text", "first five words"]


# records -------------------------------------------------------------------------------------------------------------


def test_records_are_train_records_of_the_texts_in_their_order():
    shown = plant_units(BED, words, 0)[0].shown
    records = as_records(shown, UNIT)
    assert [(r.unit, r.split, r.kind, r.rank, r.excerpt_id) for r in records] == [
        (UNIT, "train", "top", place, place) for place in range(5)
    ]
    for record, planted in zip(records, shown, strict=True):
        assert record.tokens == planted.tokens
        assert record.activations.tolist() == planted.activations.tolist()
        assert len(record.token_ids) == len(record.tokens)


def test_an_explainer_finds_the_planted_word_in_them():
    # " cat" is active in all five texts, nothing else is in more than one and above half of its level
    records = as_records(plant_units(BED, words, 0)[0].shown, UNIT)
    (reply,) = LookupExplainer().explain([ExplainTask(unit=UNIT, records=records)])
    assert reply.text == "the token ' cat'"
