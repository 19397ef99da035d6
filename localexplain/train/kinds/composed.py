"""Concepts made of two: unions, and one but not the other."""

from localexplain.planted.concept import Concept
from localexplain.train.drafts import Draft, Random, alternatives, join_words, pick, some
from localexplain.train.kinds import contexts, forms, sets, words
from localexplain.train.source import PHRASINGS, ConceptSource, Draw, draw_from

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


def draw_but_not(source: ConceptSource, random: Random) -> Draft | None:
    if random.random() < 0.6:
        base = sets.draw_set(source, source.own_sets if random.random() < 0.6 else source.wordnet_sets, random)
        if base is None or len(base.concept.words) < 5:
            return None
        left_out = some(base.concept.words, int(random.integers(1, 4)), random)
        b = join_words(left_out, random)
        exceptions: tuple[str, ...] = (alternatives(left_out, "(?:s|es)?"),)
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
