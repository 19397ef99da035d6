"""Echoed grids written and read by hand: each token on a line of its own, its number behind it, every line ended."""

from hypothesis import strategies as st

TOKENS = st.sampled_from(
    ("", "1", "10", "0", ",", ".*", "[x]", "(a|b)", "\\", "\n", "\t", "日本", " é", "\ufffd", "^$")
)
CELLS = st.lists(st.tuples(TOKENS | st.text(max_size=4), st.integers(0, 10)), min_size=1, max_size=20)


def shown(token):
    """A token on one line: a backslash doubled, what would break the line as an escape."""
    text = token.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")
    codes = [(character, ord(character)) for character in text]
    return "".join(
        character
        if not (code < 0x20 or 0x7F <= code < 0xA0 or 0xD800 <= code < 0xE000 or code in (0x2028, 0x2029))
        else (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
        for character, code in codes
    )


def spell(cells):
    return "".join(f"{shown(token)}{level}\n" for token, level in cells)


def read_by_hand(text, tokens):
    """The numbers, line by line: each is what one of the eleven numbers makes of the token, or it is no grid."""
    *lines, behind = text.split("\n")
    if len(lines) != len(tokens) or behind:
        return None
    found = [
        {f"{shown(token)}{number}": number for number in range(11)}.get(line)
        for token, line in zip(tokens, lines, strict=True)
    ]
    return None if None in found else found
