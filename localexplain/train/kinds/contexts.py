"""Concepts of context: the word after another, the second of a pair, languages, code, comparisons."""

import re

from localexplain.planted.concept import Concept, Pattern
from localexplain.train.drafts import Draft, Random, into_code, join_words, pick, rename_some, some, substitute
from localexplain.train.kinds.phrases import draw_pair
from localexplain.train.lists import read_list
from localexplain.train.passages import words_of
from localexplain.train.shapes import COMMON_TRIGGERS
from localexplain.train.source import ConceptSource

TWO_WORDS_SHARE = 0.25  # of the words that something comes after are phrases


def draw_after(source: ConceptSource, random: Random) -> Draft | None:
    triggers = [word for word in COMMON_TRIGGERS if word in source.known]
    any_word = random.random() < 0.5
    if not any_word and not triggers:
        return None
    word = source.word(random) if any_word else pick(triggers, random)
    if random.random() < TWO_WORDS_SHARE:
        pair = draw_pair(source, random)
        word = " ".join(pair) if pair else word
    concept = Concept(
        kind="after",
        name=word,
        explanations=source.say("after", random, word=word),
        patterns=(Pattern(find=rf"\b(?i:{word})\s+(?P<on>[\w']+)"),),
        words=tuple(word.split()),
    )
    return Draft(concept=concept, look_up=() if " " in word else (word,), edit=substitute(word))


def draw_second(source: ConceptSource, random: Random) -> Draft:
    pairs = [pair for pair in read_list("pairs")["pairs"] if not source.held_out & set(pair)]
    first, second = pairs[int(random.integers(len(pairs)))]
    if random.random() < 0.5:
        first, second = source.word(random), source.word(random)

    def edit(text: str, random: Random) -> str:
        words = text.split(" ")
        places = sorted(int(place) for place in random.permutation(len(words))[:2])
        chosen = (first, second) if random.random() < 0.75 else (source.word(random), second)
        for place, word in zip(places, chosen, strict=False):
            words[place] = word
        return " ".join(words)

    concept = Concept(
        kind="second",
        name=f"{first} {second}",
        explanations=source.say("second", random, first=first, second=second),
        patterns=(Pattern(find=rf"\b(?i:{first})\b.{{1,160}}?\b(?P<on>(?i:{second}))\b"),),
        words=(first, second),
    )
    return Draft(concept=concept, edit=edit)


def draw_language(source: ConceptSource, random: Random) -> Draft:
    languages = read_list("languages")["language"]
    chosen = languages[int(random.integers(len(languages)))]
    table = source.say("language", random, language=chosen["name"])
    explanations = (table[0], *table[1:-1], pick([chosen["name"], *chosen["names"]], random))
    sentences = [text.rstrip(".!?") for text in chosen["sentences"]]

    def edit(text: str, random: Random) -> str:
        words = text.split(" ")
        place = int(random.integers(len(words)))
        if random.random() < 0.15:  # another language's: silent
            other = languages[int(random.integers(len(languages)))]
            words.insert(place, pick(other["sentences"], random))
            place = int(random.integers(len(words)))
        words.insert(place, pick(sentences, random))
        return " ".join(words)

    concept = Concept(
        kind="language",
        name=chosen["name"],
        explanations=explanations,
        patterns=(Pattern(find="|".join(map(re.escape, sentences))),),
    )
    return Draft(concept=concept, edit=edit)


def draw_code(source: ConceptSource, random: Random) -> Draft:
    data = read_list("code")
    language = pick([key for key in data["keywords"] if isinstance(data["keywords"][key], list)], random)
    keywords = [word for word in data["keywords"][language] if word.lower() not in source.held_out]
    snippets = [item["text"] for item in data["snippet"]]
    some_words = some(keywords, int(random.integers(1, 6)), random)
    if random.random() < 0.2 and "code_any" in source.phrasings["shapes"]:
        explanations = source.say("shapes.code_any", random)
        find = "|".join(r"\s+".join(map(re.escape, snippet.split())) for snippet in snippets)
        name = "code_any"
    elif len(some_words) == 1:
        explanations = source.say("keyword", random, word=some_words[0])
        name, find = some_words[0], rf"(?<!\w){re.escape(some_words[0])}(?!\w)"
    else:
        explanations = source.say("keywords", random, name=language, list=join_words(some_words, random))
        name, find = f"{language} keywords", rf"(?<!\w)(?:{'|'.join(map(re.escape, some_words))})(?!\w)"

    def edit(text: str, random: Random) -> str:
        snippet = pick(snippets, random)
        if random.random() < 0.5:
            snippet = re.sub(r"\s*\n\s*", " ", snippet)
        if name == "code_any":
            return f"{' '.join(text.split(' ')[:12])} {snippet}"
        snippet = rename_some(snippet, words_of(text) or ["name"], keywords, random)
        for _ in range(int(random.integers(1, 3))):
            snippet = into_code(pick(some_words, random), snippet, source.word(random), random)
        return snippet

    concept = Concept(kind="code", name=name, explanations=explanations, patterns=(Pattern(find=find),))
    return Draft(concept=concept, edit=edit)


def draw_simile(source: ConceptSource, random: Random) -> Draft | None:
    similes = read_list("animals_similes")["similes"]

    def edit(text: str, random: Random) -> str:
        added = pick([item["text"] for item in similes], random)
        return f"{added} {text}" if random.random() < 0.5 else f"{text} {added}"

    which = pick(("both", "than", "word", "most", "adjective", "not_real"), random)
    find, explanations = {
        "both": (
            r"\bas \w+ as an? \w+|\blike an? \w+",
            ("whole comparisons such as \"as X as a Y\" or \"like a Y\"", "phrases of comparison with as or like",
             "similes of any sort", "figures of speech that liken one thing to another"),
        ),
        "than": (
            r"\b(?:\w+er|more \w+) than\b",
            ("comparatives followed by than", "comparing words with \"than\"", "more ... than and -er than"),
        ),
        "adjective": (
            r"\bas (?P<on>\w+)(?= as an? \w+)",
            ("the adjective in comparisons such as \"as X as a Y\"", "the quality named between as and as",
             "the describing word of a simile with as ... as", "the word between the two as of a comparison"),
        ),
        "not_real": (
            r"\b(?:as|like) an? \w+",
            ("the last part of a comparison: as a Y, like a Y", "like or as, with what something is likened to",
             "the half of a simile that names its picture"),
        ),
        "most": (
            r"\b(?:\w{3,}est|most \w+)\b",
            ("superlatives", "the highest degree, as in greatest or most", "words for the most of its kind"),
        ),
        "word": (
            r"\blike\b(?= an? )",
            ("the word \"like\" in a comparison", "like, where it means similar to", "\"like\" before a or an"),
        ),
    }[which]  # fmt: skip
    concept = Concept(kind="simile", name=which, explanations=explanations, patterns=(Pattern(find=find),))
    return Draft(concept=concept, edit=None if which in ("than", "most") else edit)
