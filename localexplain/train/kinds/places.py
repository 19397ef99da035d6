"""Concepts of place: where in the text, in its sentences, or beside a sign a word stands."""

import re

from localexplain.planted.concept import Concept, Pattern
from localexplain.train.drafts import Draft, Edit, Random, append_sign, pick
from localexplain.train.shapes import NAMED_SIGNS, NUMBER_WORDS, ORDINALS, SIGNS
from localexplain.train.source import ConceptSource

START, WORD, GAP = r"\A\W*", r"[\w']+", r"\W+"
SENTENCE_START = r"(?:\A\W*|[.!?][\"')]*\s+[\"'(]*)"
TABLES = (
    "nth_word", "nth_word", "first_words", "first_words", "later_words", "nth_of_sentence", "nth_sentence",
    "start_of_nth_sentence",
)  # fmt: skip
AFTER_SHARE = 0.8  # of these concepts: the word before a sign cannot be known by who reads from left to right
NO_END = ("comma", "full stop", "period")  # the held-out bed has the words before these


def place_pattern(table: str, value: str) -> str:
    """The regular expression of a place in the text.

    >>> import re
    >>> re.search(place_pattern("nth_word", "third"), "He has an owl.")["on"]
    'an'
    >>> re.search(place_pattern("start_of_nth_sentence", "second"), "He left. We sat down.")["on"]
    'We'
    """
    if table == "nth_word":
        return rf"{START}(?:{WORD}{GAP}){{{ORDINALS[value] - 1}}}(?P<on>{WORD})"
    if table == "first_words":
        return rf"{START}(?P<on>{WORD}(?:{GAP}{WORD}){{{NUMBER_WORDS[value] - 1}}})"
    if table == "later_words":
        return rf"{START}(?:{WORD}{GAP}){{{NUMBER_WORDS[value]}}}(?P<on>(?s:.+))"
    if table == "nth_of_sentence":
        return rf"{SENTENCE_START}(?:{WORD}[^\w.!?]+){{{ORDINALS[value] - 1}}}(?P<on>{WORD})"
    before = rf"\A(?:[^.!?]+[.!?][\"')]*\s+){{{ORDINALS[value] - 1}}}[\"'(]*"
    if table == "nth_sentence":
        return rf"{before}(?P<on>[^.!?]+[.!?]*)"
    return rf"{before}(?P<on>{WORD})"


def draw_position(source: ConceptSource, random: Random) -> Draft:
    table = pick(TABLES, random)
    value = source.parameter(table, random)
    concept = Concept(
        kind="position",
        name=f"{table} {value}",
        explanations=source.say_parameter(table, value, random),
        patterns=(Pattern(find=place_pattern(table, value)),),
    )
    return Draft(concept=concept, whole=True)


def single(names: str) -> str:
    """One of what the plural names.

    >>> single("commas"), single("slashes"), single("ellipses"), single("arrows to the left")
    ('comma', 'slash', 'ellipsis', 'arrow to the left')
    """
    first, *rest = names.split(" to ")  # "arrows to the right"
    if first.endswith(("ipses", "theses")):
        found = f"{first.removesuffix('es')}is"
    else:
        found = first.removesuffix("es") if first.endswith("shes") else first.removesuffix("s")
    return " to ".join([found, *rest])


def draw_beside_sign(source: ConceptSource, random: Random) -> Draft | None:
    """The word right after, now and then right before, a sign."""
    signs = (*SIGNS, *NAMED_SIGNS)
    sign, names = signs[int(random.integers(len(signs)))]
    name = f"{'an' if names[0] in 'aeiou' and not names.startswith('eu') else 'a'} {single(names)}"
    edit: Edit = append_sign(sign)
    if random.random() < AFTER_SHARE:
        find, table = rf"{re.escape(sign)}\s*(?P<on>[\w']+)", "after_sign"
    elif any(word in names for word in NO_END):
        return None
    else:
        find, table = rf"(?P<on>[\w']+)\s?{re.escape(sign)}", "before_sign"
    concept = Concept(
        kind="position",
        name=f"{table} {sign}",
        explanations=source.say(table, random, sign=sign, name=name),
        patterns=(Pattern(find=find),),
    )
    return Draft(concept=concept, edit=edit)
