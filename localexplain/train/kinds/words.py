"""Concepts of single words: a word, several words, the forms of a word, affixes, negatives."""

from collections.abc import Sequence

from localexplain.explain.lookup import name_tokens
from localexplain.planted.concept import Concept, Pattern
from localexplain.train.drafts import (
    Draft,
    Random,
    alternatives,
    into_code,
    join_words,
    pick,
    some,
    substitute,
    substitute_one_of,
)
from localexplain.train.lists import read_list
from localexplain.train.shapes import NEGATORS
from localexplain.train.source import PHRASINGS, ConceptSource

CODE_SHARE = 0.15  # of the texts that a word is put into are program text


def draw_word(source: ConceptSource, random: Random) -> Draft:
    word = source.word(random)
    concept = Concept(
        kind="word",
        name=word,
        explanations=source.say("word", random, word=word),
        patterns=(Pattern(find=alternatives([word])),),
        words=(word,),
    )
    in_prose, snippets = substitute(word), [item["text"] for item in read_list("code")["snippet"]]

    def edit(text: str, random: Random) -> str:
        if random.random() < CODE_SHARE:
            return into_code(word, pick(snippets, random), source.word(random), random)
        return in_prose(text, random)

    return Draft(concept=concept, look_up=(word,), edit=edit)


def draw_words(source: ConceptSource, random: Random) -> Draft:
    words = sorted({source.word(random) for _ in range(int(random.integers(2, 6)))})
    explanations = [source.say("words", random, 1, list=join_words(words, random))[0]]
    for _ in range(PHRASINGS - 2):
        explanations += source.say("words", random, 2, list=join_words(some(words, 9, random), random))[1:]
    spaced = [pick((" ", " ", ""), random) + word for word in words]
    concept = Concept(
        kind="union",
        name=" ".join(words),
        explanations=(*explanations, name_tokens(spaced)),
        patterns=tuple(Pattern(find=alternatives([word]), level=int(random.integers(6, 11))) for word in words),
        words=tuple(words),
    )
    return Draft(concept=concept, look_up=tuple(words), edit=substitute_one_of(words))


def word_forms(source: ConceptSource, word: str) -> list[str]:
    stem = word.removesuffix("e")
    doubled = word + word[-1]
    made = {f"{word}s", f"{word}es", f"{stem}ed", f"{stem}ing", f"{word}ed", f"{word}ing", f"{doubled}ed",
            f"{doubled}ing", f"{stem}er", f"{stem}ers"}  # fmt: skip
    if word.endswith("y"):
        made |= {f"{word[:-1]}ies", f"{word[:-1]}ied"}
    return [word, *sorted(form for form in made if form in source.known)]


def draw_forms(source: ConceptSource, random: Random) -> Draft | None:
    forms = word_forms(source, source.word(random))
    if len(forms) < 3:
        return None
    explanations = source.say("forms", random, word=forms[0], list=join_words(forms, random))
    concept = Concept(
        kind="forms",
        name=forms[0],
        explanations=explanations,
        patterns=(Pattern(find=alternatives(forms)),),
        words=tuple(forms),
    )
    return Draft(concept=concept, look_up=tuple(forms), edit=substitute_one_of(forms))


def draw_affix(source: ConceptSource, affix: str, words: Sequence[str], table: str, find: str, random: Random) -> Draft:
    concept = Concept(
        kind="affix",
        name=f"-{affix}" if table == "suffix" else f"{affix}-",
        explanations=source.say(table, random, affix=affix),
        patterns=(Pattern(find=find),),
        words=(),
    )
    chosen = tuple(some(words, 60, random))
    return Draft(concept=concept, look_up=chosen, edit=substitute_one_of(chosen))


def draw_suffix(source: ConceptSource, random: Random) -> Draft | None:
    if not source.suffixes:
        return None
    affix = pick(list(source.suffixes), random)
    return draw_affix(source, affix, source.suffixes[affix], "suffix", rf"\b(?i:[a-z]{{3,}}{affix})\b", random)


def draw_prefix(source: ConceptSource, random: Random) -> Draft | None:
    if not source.prefixes:
        return None
    affix = pick(list(source.prefixes), random)
    return draw_affix(source, affix, source.prefixes[affix], "prefix", rf"\b(?i:{affix}[a-z]{{3,}})\b", random)


def draw_negation(source: ConceptSource, random: Random) -> Draft:
    negators = [word for word in NEGATORS if word in source.known]
    words = some(negators, int(random.integers(1, 3)), random)
    listed = join_words(words, random)
    if random.random() < 0.2:
        words, listed = negators, "no or nothing"
    if random.random() < 0.5:
        find = alternatives(words)
        explanations = (
            f"words of denial: {listed}", f"negative words like {listed}", f"{listed}, words that deny",
            f"denials with {listed}", "negative words of any sort",
        )[: 5 if len(words) > 2 else 4]  # fmt: skip
    else:
        find = rf"{alternatives(words)}\s+(?P<on>[\w']+)"
        explanations = (
            f"the word negated by {listed}", f"what comes after a negative such as {listed}",
            f"the word that {listed} denies, right after it", f"the thing that {listed} negates",
        )  # fmt: skip
    concept = Concept(
        kind="negation", name=find, explanations=explanations, patterns=(Pattern(find=find),), words=tuple(words)
    )
    return Draft(concept=concept, look_up=tuple(words), edit=substitute_one_of(words))
