"""Concepts of form: letters, capitals, digits, brackets, signs, shapes."""

import re

from localexplain.planted.concept import Concept, Pattern
from localexplain.train.drafts import (
    Draft,
    Edit,
    Random,
    append_sign,
    insert_number,
    pick,
    random_digits,
    upper_some,
    wrap,
)
from localexplain.train.shapes import BRACKETS, CENTURIES, LOOSE_SIGNS, NAMED_SIGNS, NUMBER_WORDS, SHAPES, SIGNS
from localexplain.train.source import ConceptSource

HELD_OUT_NUMBER, HELD_OUT_DIGIT = "42", "7"  # the bed's number, and the digit that its numbers begin with
TWO_DIGITS_SHARE = 0.3  # of the beginnings of numbers
NAMELESS_SHARE = 0.3  # of the signs are made of loose ones


def draw_letters(source: ConceptSource, random: Random) -> Draft:
    table = pick(("capital_letter", "first_letter", "capitals_length"), random)
    value = source.parameter(table, random)
    explanations = source.say_parameter(table, value, random)
    edit: Edit | None = None
    if table == "capital_letter":
        find = rf"\b{value}[a-z]+\b"
    elif table == "first_letter":
        find = rf"\b(?i:{value})[a-z]*\b"
        if random.random() < 0.5:
            explanations = source.say("starts_with", random, letter=value)
    else:
        length = NUMBER_WORDS[value]
        find = rf"\b[A-Z]{{{length}}}\b"
        edit = upper_some({length, length, length - 1, length + 1})
    concept = Concept(kind="casing", name=f"{table} {value}", explanations=explanations, patterns=(Pattern(find=find),))
    return Draft(concept=concept, edit=edit)


def draw_digits(source: ConceptSource, random: Random) -> Draft | None:
    table = pick(("digit_start", "digit_end", "digit_inside", "digits_length", "number", "century"), random)
    value = source.parameter(table, random) if table != "number" else random_digits(int(random.integers(1, 5)), random)
    if table == "digit_start" and random.random() < TWO_DIGITS_SHARE:
        value = random_digits(2, random)
    if (table, value) == ("number", HELD_OUT_NUMBER) or (table == "digit_start" and value[0] == HELD_OUT_DIGIT):
        return None
    if table == "digit_start":
        find = rf"(?<![0-9.,]){value}[0-9]*\b"

        def make(random: Random) -> str:
            digits = random_digits(int(random.integers(1, 5)), random)
            return value + digits[1:] if random.random() < 0.5 else digits

    elif table in ("digit_end", "digit_inside"):
        find = rf"(?<![0-9.,])[0-9]*{value}" + (r"(?![0-9]|[.,][0-9])" if table == "digit_end" else r"[0-9]*")

        def make(random: Random) -> str:
            digits = random_digits(int(random.integers(1, 5)), random)
            place = len(digits) if table == "digit_end" else int(random.integers(1, len(digits) + 1))
            return digits[:place] + value + digits[place:] if random.random() < 0.5 else digits

    elif table == "digits_length":
        length = NUMBER_WORDS[value]
        find = rf"(?<![0-9.,])[0-9]{{{length}}}(?![0-9]|[.,][0-9])"

        def make(random: Random) -> str:
            return random_digits(length if random.random() < 0.6 else int(random.integers(1, 6)), random)

    elif table == "number":
        find = rf"(?<![0-9.,]){value}(?![0-9]|[.,][0-9])"

        def make(random: Random) -> str:
            return value if random.random() < 0.6 else random_digits(int(random.integers(1, 4)), random)

    else:
        find = rf"\b{CENTURIES[value]}[0-9]{{2}}\b"

        def make(random: Random) -> str:
            start = CENTURIES[value] if random.random() < 0.6 else pick(("15", "16", "17", "19", "20"), random)
            return start + random_digits(2, random)

    concept = Concept(
        kind="digits",
        name=f"{table} {value}",
        explanations=source.say_parameter(table, value, random),
        patterns=(Pattern(find=find),),
    )
    return Draft(concept=concept, edit=insert_number(make))


def draw_inside(source: ConceptSource, random: Random) -> Draft:
    opening, closing, name = BRACKETS[int(random.integers(len(BRACKETS)))]
    inner = f"[^{re.escape(opening[0])}{re.escape(closing[0])}]{{1,60}}"
    concept = Concept(
        kind="inside",
        name=name,
        explanations=source.say("inside", random, name=name, open=opening, close=closing),
        patterns=(Pattern(find=rf"(?<!\w){re.escape(opening)}(?P<on>{inner}){re.escape(closing)}(?!\w)"),),
    )
    return Draft(concept=concept, edit=wrap(opening, closing))


def draw_sign(source: ConceptSource, random: Random) -> Draft:
    chance = random.random()
    if chance < NAMELESS_SHARE:
        sign = "".join(pick(LOOSE_SIGNS, random) for _ in range(int(random.integers(1, 4))))
        name, explanations = sign, source.say("sign", random, sign=sign)
    else:
        signs = SIGNS if chance < 0.5 + NAMELESS_SHARE / 2 else NAMED_SIGNS
        sign, name = signs[int(random.integers(len(signs)))]
        explanations = source.say("sign", random, sign=sign, name=name)
    concept = Concept(
        kind="punctuation", name=name, explanations=explanations, patterns=(Pattern(find=re.escape(sign)),)
    )
    return Draft(concept=concept, edit=append_sign(sign))


def draw_shapes(source: ConceptSource, random: Random) -> Draft | None:
    name = pick(list(SHAPES), random)
    if name not in source.phrasings["shapes"]:
        return None
    kind, find = SHAPES[name]
    concept = Concept(
        kind=kind,
        name=name,
        explanations=source.say(f"shapes.{name}", random),
        patterns=(Pattern(find=find),),
    )
    edits: dict[str, Edit] = {
        "all_caps": upper_some(range(2, 9)),
        "ordinal": insert_number(lambda r: pick(("1st", "2nd", "3rd", "4th", "12th", "21st", "30th"), r)),
        "time_of_day": insert_number(lambda r: f"{r.integers(1, 24)}:{r.integers(10, 60)}"),
        "any_number": insert_number(lambda r: random_digits(int(r.integers(1, 6)), r)),
        "single_digit": insert_number(lambda r: random_digits(int(r.integers(1, 3)), r)),
        "year": insert_number(lambda r: str(r.integers(1500, 2030))),
        "four_digits": insert_number(lambda r: random_digits(int(r.integers(3, 6)), r)),
        "after_number": insert_number(lambda r: random_digits(int(r.integers(1, 4)), r)),
    }
    return Draft(concept=concept, edit=edits.get(name))
