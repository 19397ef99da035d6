"""Concepts of word sets: hyponyms, synonyms, lists of our own, attitudes."""

from collections.abc import Sequence

from localexplain.planted.concept import Concept, Pattern
from localexplain.train.drafts import Draft, Random, alternatives, join_words, pick, some, substitute_one_of
from localexplain.train.source import PHRASINGS, ConceptSource
from localexplain.train.wordnet import WordSet

MOST_PATTERN_WORDS = 40


def draw_set(
    source: ConceptSource, sets: Sequence[WordSet], random: Random, kind: str = "lexical", named: bool = False
) -> Draft | None:
    """A set of words under its names or definition; `named`: an explainer should say the name too, since it is one of
    few that it can learn."""
    if not sets:
        return None
    found = sets[int(random.integers(len(sets)))]
    words = some(found.words, MOST_PATTERN_WORDS, random)
    explanations: list[str] = []
    for _ in range(PHRASINGS):
        listed = join_words(some(words, int(random.integers(1, 5)), random), random)
        if found.definition and (not found.names or random.random() < 0.35):
            explanations += source.say("definition", random, 2, definition=found.definition)[1:]
        else:
            name = found.names[0] if not explanations else pick(found.names, random)
            explanations += source.say("lexical", random, 2, name=name.lower(), list=listed)[1:]
    shown = f"{found.names[0].lower()}, such as {{list}}" if named else "words such as {list}"
    concept = Concept(
        kind=kind,
        name=found.names[0] if found.names else found.definition,
        explanations=tuple(explanations),
        patterns=(Pattern(find=alternatives(words, "(?:s|es)?")),),
        words=tuple(words),
    )
    return Draft(concept=concept, look_up=tuple(words), edit=substitute_one_of(words), shown=shown)


def draw_wordnet(source: ConceptSource, random: Random) -> Draft | None:
    return draw_set(source, source.wordnet_sets, random)


def draw_own_sets(source: ConceptSource, random: Random) -> Draft | None:
    return draw_set(source, source.own_sets, random, named=True)


def draw_synonyms(source: ConceptSource, random: Random) -> Draft | None:
    return draw_set(source, source.synonyms, random)


def draw_sentiment(source: ConceptSource, random: Random) -> Draft | None:
    return draw_set(source, source.sentiments, random, kind="sentiment", named=True)
