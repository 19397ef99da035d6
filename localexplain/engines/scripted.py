"""An engine that answers from a function or a table: for tests, and for documentation that runs anywhere.

    engine = ScriptedEngine(generate=lambda prompt: "boats", label_logprobs=lambda prefix, before, cell: level(3))

It has a tokenizer of its own (one id for each character, one for "10"), counts real tokens, and fails a request where
its script raises EngineError. Nothing in it is random.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from localexplain.engines.base import GenerateReply, GenerateRequest, LabelReply, LabelRequest, Message, Sampling
from localexplain.engines.checks import failed_generate, failed_label, generate_fault, label_fault
from localexplain.errors import EngineError
from localexplain.types import Identity, TokenCounts

CHARACTERS = 0x110000  # one id for each code point, its number
TEN_ID, BOS_ID = CHARACTERS, CHARACTERS + 1
VOCABULARY_TOKENS = CHARACTERS + 2
CONTEXT_TOKENS = 32_768

LABELS = 11
MOST_MASS = 1.0 + 1e-6  # the sum of probabilities, with room for rounding
OTHER_LOGPROB = -20.0  # of the labels that `level` leaves out: none of them moves an expected value by 1e-7

GenerateScript = Callable[[str], str] | Mapping[str, str]
LabelScript = Callable[[str, str, int], Sequence[float]]


def level(expected: int | float) -> tuple[float, ...]:
    """Log-probabilities of eleven labels whose expected value is `expected`, in 0..10: on the two levels next to it.

    >>> [round(value, 2) for value in level(2.25)[1:5]]
    [-20.0, -0.29, -1.39, -20.0]
    """
    shares = [max(0.0, 1.0 - abs(expected - place)) for place in range(LABELS)]
    return tuple(math.log(share) if share > 0 else OTHER_LOGPROB for share in shares)


class ScriptedTokenizer:
    """An EngineTokenizer: each character is its code point, "10" is one token, and there is a BOS.

    has_chat_template  whether it offers a chat format, "<user>\\n...\\n<assistant>\\n", whose marks are plain text so
                       that a script sees them
    """

    def __init__(self, has_chat_template: bool = True) -> None:
        self._has_chat_template = has_chat_template

    @property
    def bos_id(self) -> int | None:
        return BOS_ID

    @property
    def has_chat_template(self) -> bool:
        return self._has_chat_template

    def encode(self, text: str) -> tuple[int, ...]:
        return self.encode_starts(text)[0]

    def encode_starts(self, text: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        pieces = list(re.finditer("10|.", text, flags=re.DOTALL))
        ids = (TEN_ID if piece[0] == "10" else ord(piece[0]) for piece in pieces)
        return tuple(ids), tuple(piece.start() for piece in pieces)

    def decode(self, token_ids: Sequence[int]) -> str:
        return "".join("10" if index == TEN_ID else chr(index) for index in token_ids if index != BOS_ID)

    def render_chat(self, messages: Sequence[Message], assistant_start: str = "") -> tuple[int, ...]:
        if not self._has_chat_template:
            raise EngineError("the model's tokenizer has no chat template; use a plain prompt")
        turns = "".join(f"<{message.role}>\n{message.content}\n" for message in messages)
        return (BOS_ID, *self.encode(f"{turns}<assistant>\n{assistant_start}"))


def shared_start(left: Sequence[int], right: Sequence[int]) -> int:
    """How many first ids the two share."""
    pairs = zip(left, right, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(left), len(right)))


def cut_reply(tokenizer: ScriptedTokenizer, text: str, sampling: Sampling) -> tuple[str, str, int]:
    """What is left of a scripted text under the sampling's stop strings and max_tokens; its finish; its tokens."""
    places = [place for place in map(text.find, sampling.stop) if place >= 0]
    stopped = text[: min(places)] if places else text
    ids = tokenizer.encode(stopped)
    if len(ids) > sampling.max_tokens:
        return tokenizer.decode(ids[: sampling.max_tokens]), "length", sampling.max_tokens
    return stopped, "stop", len(ids)


def pattern_fault(pattern: str | None, answer: str) -> str | None:
    """Why a scripted answer does not obey the pattern, or None."""
    try:
        if pattern is None or re.fullmatch(pattern, answer):
            return None
    except re.error as error:
        return f"pattern {pattern!r}: {error}"
    return f"the scripted reply {answer!r} does not match the pattern {pattern!r}"


def check_row(row: Sequence[float], labels: int) -> None:
    """Raises ValueError, for whoever wrote the script, when these are not the log-probabilities of `labels` labels."""
    if len(row) != labels:
        raise ValueError(f"the script gave {len(row)} log-probabilities for {labels} labels")
    if not sum(map(math.exp, row)) <= MOST_MASS:
        raise ValueError(f"the script's probabilities sum to {sum(map(math.exp, row)):.6g}; they must be logarithms")


class ScriptedEngine:
    """An Engine that a script answers.

    generate         prompt text -> reply text, or a table of these; a prompt that the table lacks fails
    label_logprobs   (prefix text, tail text up to and with the position, which of the positions it is) -> the
                     log-probability of each of the request's labels, in their order; see `level`
    name             part of the identity: two scripts that answer differently want two names
    has_chat_template  see ScriptedTokenizer

    A script fails its request by raising EngineError; any other error is a mistake in the script and is not caught.
    Of two requests in a row, what their prompts share at the start counts as computed once.
    """

    def __init__(
        self,
        *,
        generate: GenerateScript | None = None,
        label_logprobs: LabelScript | None = None,
        name: str = "scripted",
        context_tokens: int = CONTEXT_TOKENS,
        has_chat_template: bool = True,
    ) -> None:
        self._generate = generate
        self._label_logprobs = label_logprobs
        self._identity = Identity(kind="scripted", name=name)
        self._context_tokens = context_tokens
        self._tokenizer = ScriptedTokenizer(has_chat_template)
        self._cached: tuple[int, ...] = ()

    @property
    def identity(self) -> Identity:
        return self._identity

    @property
    def tokenizer(self) -> ScriptedTokenizer:
        return self._tokenizer

    @property
    def context_tokens(self) -> int:
        return self._context_tokens

    def generate(self, requests: Sequence[GenerateRequest]) -> list[GenerateReply]:
        return [self._generate_one(request) for request in requests]

    def label_logprobs(self, requests: Sequence[LabelRequest]) -> list[LabelReply]:
        return [self._label_one(request) for request in requests]

    def close(self) -> None:
        self._cached = ()

    def _generate_one(self, request: GenerateRequest) -> GenerateReply:
        if fault := generate_fault(request, VOCABULARY_TOKENS, self._context_tokens):
            return failed_generate(fault)
        try:
            answer = self._answer(self._tokenizer.decode(request.token_ids))
        except EngineError as error:
            return failed_generate(str(error))
        if fault := pattern_fault(request.pattern, answer):
            return failed_generate(fault)
        text, finish, generated = cut_reply(self._tokenizer, answer, request.sampling)
        prompt = len(request.token_ids)
        # the last token of a prompt is always run: what comes next is read from it
        computed = prompt - self._take_cached(request.token_ids, prompt - 1)
        counts = TokenCounts(prompt=prompt, computed=computed, generated=generated)
        return GenerateReply(text=text, finish=finish, counts=counts)

    def _answer(self, prompt: str) -> str:
        """Raises EngineError where the script has no answer."""
        if self._generate is None:
            raise EngineError("this scripted engine was given no script for generate")
        if not isinstance(self._generate, Mapping):
            return self._generate(prompt)
        if prompt not in self._generate:
            raise EngineError(f"the scripted table has no reply to the prompt that ends {prompt[-40:]!r}")
        return self._generate[prompt]

    def _label_one(self, request: LabelRequest) -> LabelReply:
        if fault := label_fault(request, VOCABULARY_TOKENS, self._context_tokens):
            return failed_label(fault)
        script, decode = self._label_logprobs, self._tokenizer.decode
        if script is None:
            return failed_label("this scripted engine was given no script for label_logprobs")
        prefix = decode(request.prefix)
        try:
            rows = [
                script(prefix, decode(request.tail[: position + 1]), cell)
                for cell, position in enumerate(request.positions)
            ]
        except EngineError as error:
            return failed_label(str(error))
        for row in rows:
            check_row(row, len(request.label_ids))
        prompt = (*request.prefix, *request.tail)
        computed = len(prompt) - self._take_cached(prompt, len(request.prefix))
        counts = TokenCounts(prompt=len(prompt), computed=computed)
        return LabelReply(logprobs=np.array(rows, dtype=np.float32), counts=counts)

    def _take_cached(self, prompt: tuple[int, ...], at_most: int) -> int:
        """How many first tokens of the prompt the one before it left behind; remembers this one."""
        found = min(shared_start(self._cached, prompt), at_most)
        self._cached = prompt
        return found
