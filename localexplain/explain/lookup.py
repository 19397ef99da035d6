"""An explainer without a model: it names the tokens on which the unit was most active, for a rule to simulate."""

import ast
import re
from collections.abc import Sequence

from localexplain.errors import ConfigError
from localexplain.explain.prompt import ShownExcerpt, check_records, show_records
from localexplain.types import ExplainReply, ExplainTask, Identity

# A quoted token as quote_token writes it; the looks around it keep the apostrophe of "isn't" from opening one.
QUOTED = re.compile(
    r"(?<!\w)'(?:[^'\\\n\r]|\\(?:[\\'nrt]|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}))*'(?!\w)",
)


def quote_token(token: str) -> str:
    """The token in single quotes, escaped as Python escapes, so that `quoted_tokens` reads back exactly this token.

    >>> print(quote_token(" movie"), quote_token("it's"), quote_token("\\n"))
    ' movie' 'it\\'s' '\\n'
    """
    return "'" + repr('"' + token)[2:]  # a double quote in it makes repr choose single quotes around


def quoted_tokens(text: str) -> tuple[str, ...]:
    """The tokens quoted in an explanation, in order; () where there are none."""
    return tuple(ast.literal_eval(match[0]) for match in QUOTED.finditer(text))


def rank_tokens(excerpts: Sequence[ShownExcerpt]) -> list[tuple[str, float]]:
    """Every token with its mean level over all its occurrences, in 0..10: highest mean first, of equal ones the more
    frequent first, of those the first in code point order."""
    levels: dict[str, list[int]] = {}
    for excerpt in excerpts:
        for token, level in zip(excerpt.tokens, excerpt.levels, strict=True):
            levels.setdefault(token, []).append(level)
    order = sorted(levels, key=lambda token: (-sum(levels[token]) / len(levels[token]), -len(levels[token]), token))
    return [(token, sum(levels[token]) / len(levels[token])) for token in order]


def choose_tokens(excerpts: Sequence[ShownExcerpt], most_tokens: int, share: float) -> tuple[str, ...]:
    """The first `most_tokens` of the ranking whose mean is above 0 and at least `share` of the highest mean."""
    ranking = rank_tokens(excerpts)[:most_tokens]
    return tuple(token for token, mean in ranking if mean > 0 and mean >= share * ranking[0][1])


def name_tokens(tokens: Sequence[str]) -> str:
    """The explanation that names them.

    >>> print(name_tokens([" movie", " film"]), "|", name_tokens(["a"]), "|", name_tokens(["a", "b", "c"]))
    the tokens ' movie' and ' film' | the token 'a' | the tokens 'a', 'b' and 'c'
    """
    quoted = [quote_token(token) for token in tokens]
    if len(quoted) == 1:
        return f"the token {quoted[0]}"
    return f"the tokens {', '.join(quoted[:-1])} and {quoted[-1]}"


class LookupExplainer:
    """Names the tokens with the highest mean normalised activation in the train records (see `rank_tokens`).

    most_tokens  names at most so many
    share        a token is named if its mean is at least this share, 0 to 1, of the highest token's
    """

    def __init__(self, most_tokens: int = 5, share: float = 0.5) -> None:
        if most_tokens < 1:
            raise ConfigError(f"most_tokens = {most_tokens}: must be at least 1")
        if not 0 <= share <= 1:
            raise ConfigError(f"share = {share}: must be between 0 and 1")
        self._most_tokens = most_tokens
        self._share = share

    @property
    def identity(self) -> Identity:
        details = (("most_tokens", str(self._most_tokens)), ("share", str(self._share)))
        return Identity(kind="lookup", name="lookup", details=details)

    def explain(self, tasks: Sequence[ExplainTask]) -> list[ExplainReply]:
        return [self._explain(task) for task in tasks]

    def _explain(self, task: ExplainTask) -> ExplainReply:
        check_records(task)
        tokens = choose_tokens(show_records(task.records), self._most_tokens, self._share)
        if not tokens:
            return ExplainReply(text=None, error="the unit is silent on all its train records")
        text = name_tokens(tokens)
        return ExplainReply(text=text, raw=text)

    def close(self) -> None:
        """Nothing is held."""
