"""Concepts made of two: unions, and one but not the other."""

from localexplain.planted.concept import Concept
from localexplain.train.drafts import Draft, Random, alternatives, join_words, pick, some
from localexplain.train.kinds import contexts, forms, sets, words
from localexplain.train.source import PHRASINGS, ConceptSource, Draw, draw_from
from localexplain.train.wordnet import WordSet

SIMPLE: dict[Draw, float] = {
    words.draw_word: 2.0,
    sets.draw_own_sets: 2.0,
    sets.draw_wordnet: 2.0,
    words.draw_suffix: 1.0,
    forms.draw_sign: 1.0,
    forms.draw_shapes: 2.0,
    contexts.draw_after: 1.0,
}
BASES: dict[Draw, float] = {
    words.draw_suffix: 1.0,
    forms.draw_shapes: 2.0,
    forms.draw_letters: 1.0,
    forms.draw_sign: 1.0,
}
LEFT_OUT: dict[Draw, float] = {
    words.draw_suffix: 1.0,
    forms.draw_shapes: 2.0,
    words.draw_word: 1.0,
    forms.draw_letters: 1.0,
}

SUBSET_SHARE, WORDS_SHARE = 0.4, 0.35  # of what is left out: a set within the set, words of it
FEWEST_LISTED = 5  # words of a set of which some are left out by name
FEWEST_LEFT = 3  # words of a set when another is left out


def draw_union(source: ConceptSource, random: Random) -> Draft | None:
    first, second = draw_from(source, random, SIMPLE), draw_from(source, random, SIMPLE)
    if first.concept.name == second.concept.name:
        return None
    explanations: list[str] = []
    for number in range(PHRASINGS):
        a, b = (pick(draft.concept.explanations, random) for draft in (first, second))
        explanations.append(source.say("union", random, 2, a=a, b=b)[min(number, 1)])

    def edit(text: str, random: Random) -> str:
        chosen = [draft for draft in (first, second) if random.random() < 0.7 and draft.edit is not None]
        for draft in chosen:
            assert draft.edit is not None
            text = draft.edit(text, random)
        return text

    concept = Concept(
        kind="union",
        name=f"{first.concept.name} + {second.concept.name}",
        explanations=tuple(explanations),
        patterns=(*first.concept.patterns, *second.concept.patterns),
        words=(*first.concept.words, *second.concept.words),
    )
    return Draft(concept=concept, look_up=(*first.look_up[:8], *second.look_up[:8]), edit=edit)


def draw_overlapping(source: ConceptSource, random: Random) -> tuple[Draft, Draft] | None:
    """A set of words, and another that holds some of them but leaves enough."""
    known = source.all_sets
    whole = known[int(random.integers(len(known)))] if known else None
    if whole is None:
        return None
    word = pick(whole.words, random)
    parts = [
        known[place]
        for place in source.sets_with[word]
        if 0 < len(set(known[place].words) & set(whole.words)) <= len(whole.words) - FEWEST_LEFT
    ]
    if not parts:
        return None
    part = parts[int(random.integers(len(parts)))]
    base, other = sets_of_one(source, whole, random), sets_of_one(source, part, random)
    return None if base is None or other is None else (base, other)


def sets_of_one(source: ConceptSource, found: WordSet, random: Random) -> Draft | None:
    return sets.draw_set(source, [found], random)


def draw_but_not(source: ConceptSource, random: Random) -> Draft | None:
    chance = random.random()
    if chance < SUBSET_SHARE:
        overlapping = draw_overlapping(source, random)
        if overlapping is None:
            return None
        base, part = overlapping
        b = pick(part.concept.explanations, random)
        exceptions: tuple[str, ...] = tuple(pattern.find for pattern in part.concept.patterns)
    elif chance < SUBSET_SHARE + WORDS_SHARE:
        found = sets.draw_set(source, source.own_sets if random.random() < 0.6 else source.wordnet_sets, random)
        if found is None or len(found.concept.words) < FEWEST_LISTED:
            return None
        base = found
        left_out = some(base.concept.words, int(random.integers(1, 4)), random)
        b = join_words(left_out, random)
        exceptions = (alternatives(left_out, "(?:s|es)?"),)
    else:
        base = draw_from(source, random, BASES)
        other = draw_from(source, random, LEFT_OUT)
        if base.concept.name == other.concept.name:
            return None
        b = pick(other.concept.explanations, random)
        exceptions = tuple(pattern.find for pattern in other.concept.patterns)
    explanations = tuple(
        source.say("but_not", random, 2, a=pick(base.concept.explanations, random), b=b)[min(number, 1)]
        for number in range(PHRASINGS)
    )
    concept = Concept(
        kind="but_not",
        name=f"{base.concept.name} but not {b}",
        explanations=explanations,
        patterns=base.concept.patterns,
        exceptions=exceptions,
        words=base.concept.words,
    )
    return Draft(concept=concept, look_up=base.look_up, edit=base.edit)
