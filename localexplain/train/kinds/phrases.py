"""Concepts of word order: phrases of two words, and all that comes after a word."""

from localexplain.planted.concept import Concept, Pattern
from localexplain.train.drafts import Draft, Random, join_words, pick, substitute, substitute_one_of
from localexplain.train.passages import words_of
from localexplain.train.source import ConceptSource

TRIES = 20


def draw_pair(source: ConceptSource, random: Random) -> tuple[str, str] | None:
    """Two words that stand side by side somewhere in the texts, neither of them held out."""
    for _ in range(TRIES):
        words = words_of(source.passages.draw(random))
        if len(words) > 1:
            place = int(random.integers(len(words) - 1))
            first, second = words[place : place + 2]
            if first in source.known and second in source.known and f"{first} {second}" not in source.held_out:
                return first, second
    return None


def draw_phrases(source: ConceptSource, random: Random) -> Draft | None:
    pairs = [draw_pair(source, random) for _ in range(int(random.integers(1, 4)))]
    phrases = sorted({" ".join(pair) for pair in pairs if pair})
    if not phrases:
        return None
    concept = Concept(
        kind="word",
        name=", ".join(phrases),
        explanations=source.say("phrases", random, phrases=join_words(phrases, random)),
        patterns=tuple(Pattern(find=rf"\b(?i:{phrase.replace(' ', ' +')})\b") for phrase in phrases),
        words=tuple(word for phrase in phrases for word in phrase.split()),
    )

    def edit(text: str, random: Random) -> str:
        text = substitute_one_of(phrases)(text, random)
        return substitute(pick(concept.words, random))(text, random)  # one of its words alone: silent

    return Draft(concept=concept, edit=edit)


def draw_rest(source: ConceptSource, random: Random) -> Draft:
    """The rest of the sentence, or of the text, after a word."""
    word = source.word(random)
    table = pick(("until", "until", "any_time_after"), random)
    rest = r"[^.!?]{1,400}" if table == "until" else r"(?s:.+)"
    concept = Concept(
        kind="after",
        name=f"{table} {word}",
        explanations=source.say(table, random, word=join_words([word], random)),
        patterns=(Pattern(find=rf"\b(?i:{word})\b(?P<on>{rest})"),),
        words=(word,),
    )
    return Draft(concept=concept, look_up=(word,), edit=substitute(word))
