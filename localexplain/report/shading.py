"""How an activation and a token are shown: ten levels, and no character that a reader cannot see. Pure."""

import unicodedata
from collections.abc import Iterable, Sequence

LEVELS = 10  # 0 to 9: what one digit, and one hue, can tell apart
SIMULATED_SCALE = 10.0  # simulations are 0 to 10

WHITE_SPACE = {"\n": "↵", "\r": "␍", "\t": "⇥"}
SPACE_ALONE = "␣"
EMPTY = "∅"


def level(value: float, maximum: float) -> int:
    """floor(10 * value / maximum), at most 9: 0 is below a tenth of the maximum, 9 from nine tenths up. 0 for a value
    that is not above 0 (or is NaN), and everywhere where the maximum is not.

    >>> [level(value, 4.0) for value in (-1.0, 0.3, 0.4, 2.0, 3.9, 4.0)]
    [0, 0, 1, 5, 9, 9]
    """
    if not (value > 0 and maximum > 0):
        return 0
    return int(min(LEVELS - 1.0, LEVELS * value / maximum))  # in this order: infinity over infinity is level 9


def levels(values: Iterable[float], maximum: float) -> tuple[int, ...]:
    """The level of each value."""
    return tuple(level(value, maximum) for value in values)


def find_maximum(rows: Iterable[Sequence[float]]) -> float:
    """The highest value of all rows; 0 where none is above 0."""
    return max((value for row in rows for value in row if value > 0), default=0.0)


def visible(text: str) -> str:
    """The text with white space and characters that act instead of showing made visible: a newline as ↵, a tab as ⇥,
    a text of spaces alone as ␣ for each, no text as ∅,
    control and format characters as escapes. A space before or inside a word
    stays a space.

    >>> visible(" film"), visible("\\n"), visible("  "), visible("\\x1b[31m")
    (' film', '↵', '␣␣', '\\\\x1b[31m')
    """
    if not text:
        return EMPTY
    if not text.strip(" "):
        return SPACE_ALONE * len(text)
    return "".join(visible_character(character) for character in text)


def visible_character(character: str) -> str:
    if character in WHITE_SPACE:
        return WHITE_SPACE[character]
    if character == " " or not is_hidden(character):
        return character
    return character.encode("unicode_escape").decode("ascii")


def is_hidden(character: str) -> bool:
    """Control, format (text direction among them), private and unassigned characters, and rare kinds of space."""
    return unicodedata.category(character)[0] in "CZ"


def visible_lines(text: str) -> str:
    """The text as it is, lines and all, but for the characters that act instead of showing.

    >>> visible_lines("the\\x1b[0m\\n  sea")
    'the\\\\x1b[0m\\n  sea'
    """
    return "\n".join(visible(line) if line.strip(" ") else line for line in text.split("\n"))
