"""What a language model wrote to the explanation in it. Pure."""

import re

ABBREVIATIONS = ("e.g.", "i.e.", "vs.", "cf.", "mr.", "mrs.", "ms.", "dr.", "st.", "prof.", "u.s.")
SENTENCE_END = re.compile(r"""[.!?]["')\]\u201d\u2019]*\s+(?=["'(\u201c\u2018]?[A-Z])""")
CONTROLS = re.compile(r"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f]+")  # all but line ends
THINKING = re.compile(r"<think>.*?</think>", re.DOTALL)
QUOTES = (('"', '"'), ("'", "'"), ("\u201c", "\u201d"), ("\u2018", "\u2019"), ("`", "`"), ("**", "**"))
DANGLING = re.compile(
    r"(?:[\s,;:(\u2013\u2014-]|(?<=\s)(?:and|or|the|a|an|of|in|on|at|by|to|as|from|with|for|about|that|such|like)(?=[\s,;:(]|$))+$",
    re.IGNORECASE,
)


def drop_thinking(text: str) -> str:
    """The text without its thinking: a block that was never closed takes all that follows, one that was never opened
    all before it (the template had opened it).

    >>> drop_thinking("<think>so?</think>words"), drop_thinking("so?</think>words"), drop_thinking("<think>so?")
    ('words', 'words', '')
    """
    closed = THINKING.sub("", text)
    return closed.rpartition("</think>")[2].partition("<think>")[0]


def first_sentence(line: str) -> tuple[str, bool]:
    """The first sentence of a line, and whether its end was seen: a full stop, "!" or "?" before a capital or at the
    end of the line. The stop of an abbreviation or an initial ends nothing.

    >>> first_sentence("titles such as Mr. Smith. It also likes Dr.")
    ('titles such as Mr. Smith.', True)
    """
    for match in SENTENCE_END.finditer(line):
        head = line[: match.end()].rstrip()
        word = line[: match.start() + 1].split()[-1].lstrip("\"'([\u201c\u2018")
        initial = len(word) == 2 and word[0].isupper()
        if word.lower() not in ABBREVIATIONS and not initial:
            return head, True
    return line, line.rstrip("\"')]\u201d\u2019").endswith((".", "!", "?"))


def strip_quotes(text: str) -> str:
    """The text without quotation marks around the whole of it; marks around single words in it stay.

    >>> strip_quotes('"words"'), strip_quotes("'a' and 'b'")
    ('words', "'a' and 'b'")
    """
    for left, right in QUOTES:
        inner = text[len(left) : len(text) - len(right)]
        wrapped = len(text) > len(left) + len(right) and text.startswith(left) and text.endswith(right)
        if wrapped and left not in inner and right not in inner:
            return inner.strip()
    return text


def drop_opening(text: str, opening: str) -> str:
    """The text without the words the answer was begun with, where the model repeated them."""
    return text[len(opening) :].lstrip(" :") if text.lower().startswith(opening.lower()) else text


def drop_cut_word(text: str) -> str:
    """A text that ran out of tokens, without its last word, which may be half, and without what then hangs loose.

    >>> drop_cut_word("words about ships, storms and the harb")
    'words about ships, storms'
    """
    kept = DANGLING.sub("", text.rpartition(" ")[0])
    return kept or text


def drop_full_stop(text: str) -> str:
    """The text without the full stop at its end, unless that is an abbreviation's or part of an ellipsis."""
    ends = text.endswith(".") and not text.endswith("..") and text.split()[-1].lower() not in ABBREVIATIONS
    return text[:-1].rstrip() if ends else text


def cut_explanation(raw: str, opening: str, *, was_cut: bool) -> str:
    """The explanation in `raw`: the first sentence of its first line, without thinking, the opening, quotation marks
    around it and its full stop; "" where there is none. `was_cut`: the model ran out of tokens.

    >>> cut_explanation(' words for "rain". Also snow.\\nNeuron 5', "This neuron responds to", was_cut=False)
    'words for "rain"'
    """
    lines = [line.strip() for line in CONTROLS.sub(" ", drop_thinking(raw)).splitlines() if line.strip()]
    if not lines:
        return ""
    line = drop_opening(strip_quotes(lines[0]), opening)
    sentence, ended = first_sentence(line)
    if was_cut and not ended and len(lines) == 1:
        sentence = drop_cut_word(sentence)
    sentence = drop_full_stop(strip_quotes(drop_full_stop(sentence.strip())))
    return sentence if any(character.isalnum() for character in sentence) else ""
