"""Tables of the closed kinds: affixes, signs, brackets, shapes of tokens, as regular expressions. None is the bed's."""

import re

# Topics of the held-out bed: a set of words with such a name is never drawn.
HELD_OUT_TOPICS = re.compile(
    r"kitchen|cook(?:ing)? utensil|instrument|\bbirds?\b|weather|\bships?\b|\bboats?\b|disease|illness|ailment|jewel|"
    r"\bgems?\b|\bgames?\b|fabric|\bcloth\b|carpent|\btools?\b|\btrees?\b|\bdanc"
)
SUFFIXES = (
    "ness", "ment", "tion", "ing", "ed", "ly", "ous", "able", "ible", "ful", "ity", "ism", "ist", "ance", "ence",
    "al", "ic", "ive", "er", "est", "ish", "en", "hood", "dom", "age", "ure", "ant", "ent", "ary", "ory", "ate", "ify",
    "ize", "ise", "some", "th", "y", "ry", "cy", "sion", "ting", "ning", "ation", "ical", "ially", "ingly",
)  # fmt: skip
PREFIXES = (
    "un", "re", "dis", "mis", "in", "im", "con", "com", "pre", "pro", "sub", "trans", "super", "under", "out", "ex",
    "de", "en", "be", "for", "fore", "per", "ab", "ad", "mid", "non", "anti", "counter", "after", "through",
)  # fmt: skip
BRACKETS = (
    ("(", ")", "parentheses"), ("[", "]", "square brackets"), ('"', '"', "quotation marks"),
    ("'", "'", "single quotation marks"), ("--", "--", "dashes"), ("|", "|", "vertical bars"),
    ("~", "~", "tildes"), ("+", "+", "plus signs"), ("=", "=", "equals signs"), ("^", "^", "carets"),
    ("<<", ">>", "double angle brackets"), ("((", "))", "double parentheses"), ("`", "`", "backticks"),
    (":", ":", "colons"), ("@", "@", "at signs"),
)  # fmt: skip
SIGNS = (
    (",", "commas"), (";", "semicolons"), (":", "colons"), ("?", "question marks"), (".", "full stops"),
    ("-", "hyphens"), ("--", "dashes"), ("(", "opening parentheses"), (")", "closing parentheses"),
    ("'", "apostrophes"),
    ('"', "quotation marks"), ("*", "asterisks"), ("+", "plus signs"), ("=", "equals signs"), ("/", "slashes"),
    ("@", "at signs"), ("[", "opening square brackets"), ("]", "closing square brackets"), ("|", "vertical bars"),
    ("~", "tildes"), ("^", "carets"), ("<", "less-than signs"), (">", "greater-than signs"), ("_", "underscores"),
    ("...", "ellipses"), ("{", "opening braces"), ("}", "closing braces"),
)  # fmt: skip
NAMED_SIGNS = (
    ("\u00a3", "pound signs"), ("\u20ac", "euro signs"), ("\u00a7", "section signs"), ("\u00b0", "degree signs"),
    ("\u2022", "bullets"), ("\u2192", "arrows to the right"), ("\u2190", "arrows to the left"), ("\\", "backslashes"),
    ("\u00b1", "plus-minus signs"), ("\u00d7", "multiplication signs"), ("\u00ab", "opening guillemets"),
    ("\u00bb", "closing guillemets"), ("\u00a9", "copyright signs"), ("\u2020", "daggers"), ("`", "backticks"),
    ("::", "double colons"), ("->", "arrows"), ("=>", "double arrows"), ("==", "double equals signs"),
)  # fmt: skip
LOOSE_SIGNS = "+-*/=<>|~^:;?.@[]{}()_'"  # of which signs without a name are made
NUMBER_WORDS = {
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
    "twelve": 12,
}  # fmt: skip
ORDINALS = {
    "first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8, "ninth": 9,
    "tenth": 10,
}  # fmt: skip
CENTURIES = {"sixteen": "16", "seventeen": "17", "nineteen": "19"}
# shape -> (kind, regular expression); their explanations are in phrasings.toml, table shapes.NAME
SHAPES = {
    "capitalised": ("casing", r"\b[A-Z][a-z]+\b"),
    "all_caps": ("casing", r"\b[A-Z]{2,}\b"),
    "after_capital": ("casing", r"\b[A-Z][a-z]+ (?P<on>\w+)"),
    "sentence_start": ("position", r"(?:\A\W*|[.!?][\"')]*\s+[\"'(]*)(?P<on>\w+)"),
    "text_start": ("position", r"\A\W*(?P<on>\w+)"),
    "first_three": ("position", r"\A\W*(?P<on>\w+(?:\W+\w+){0,2})"),
    "text_end": ("position", r"(?P<on>\w+)\W*\Z"),
    "after_comma": ("position", r",\s+(?P<on>\w+)"),
    "any_number": ("digits", r"[0-9][0-9,.]*"),
    "year": ("digits", r"\b1[5-9][0-9]{2}\b|\b20[0-9]{2}\b"),
    "single_digit": ("digits", r"(?<![0-9.,])[0-9](?![0-9.,]*[0-9])"),
    "four_digits": ("digits", r"(?<![0-9.,])[0-9]{4}(?![0-9])"),
    "ordinal": ("digits", r"\b[0-9]+(?:st|nd|rd|th)\b"),
    "time_of_day": ("digits", r"\b[0-9]{1,2}:[0-9]{2}\b"),
    "after_number": ("digits", r"\b[0-9]+\s+(?P<on>[a-z]+)"),
    "long_words": ("casing", r"\b[A-Za-z]{10,}\b"),
    "short_words": ("casing", r"\b[A-Za-z]{1,2}\b"),
    "hyphenated": ("punctuation", r"\b[A-Za-z]+-[A-Za-z]+(?:-[A-Za-z]+)*\b"),
    "plural": ("affix", r"\b[a-z]{3,}[^s\W]s\b"),
    "contraction": ("punctuation", r"\b[A-Za-z]+'(?:t|s|ll|re|ve|d|m)\b"),
    "comma": ("punctuation", r","),
    "full_stop": ("punctuation", r"\.(?=\s|\Z)"),
    "question_mark": ("punctuation", r"\?"),
    "semicolon": ("punctuation", r";"),
    "colon": ("punctuation", r":"),
    "dash": ("punctuation", r"--|\u2014| - "),
    "apostrophe": ("punctuation", r"'"),
    "parentheses_sign": ("punctuation", r"[()]"),
    "quotation_mark": ("punctuation", r"[\"\u201c\u201d]"),
    "simile": ("simile", r"\b(?i:like|as)\b(?= an? )|\bas\b(?= \w+ as\b)"),
    "repeated": ("position", r"\b([A-Za-z]{4,})\b(?=.*)(?:.*?)\b(?P<on>\1)\b"),
    "question_sentence": ("position", r"(?:\A|(?<=[.!?] ))(?P<on>[A-Z][^.!?]*\?)"),
    "function_words": ("word", r"\b(?i:the|of|and|to|in|a|is|that|it|was|on|with|as|at|by|be|this|an|which|but|are)\b"),
}
NEGATORS = ("no", "none", "nothing", "nobody", "nowhere", "hardly", "scarcely", "barely", "seldom")
COMMON_TRIGGERS = (
    "the", "a", "an", "of", "to", "in", "and", "with", "for", "from", "by", "on", "at", "his", "her", "their", "my",
    "very", "not", "no", "is", "was", "were", "had", "has", "will", "would", "could", "should", "must", "may", "that",
    "this", "some", "any", "all", "many", "two", "three", "old", "new", "great", "little", "said", "into", "over",
)  # fmt: skip
