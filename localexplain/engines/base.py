"""The one protocol that every engine keeps: the transport between prompts (token ids) and a language model.

    generate(requests)        -> text, each request with its own sampling settings and optional pattern
    label_logprobs(requests)  -> log-probabilities of a few label tokens at given positions, nothing generated

Replies come in the order of the requests. A request that fails is a reply with `error` set; only an engine that is
broken as a whole raises EngineError. Prompts are built outside, as token ids, so that an engine never adds a
beginning-of-sequence token or a template of its own. Batching, retry and progress wrap an engine from outside.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from localexplain.types import Identity, TokenCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How one request is sampled. temperature 0 is greedy; `seed` makes a sampled request repeatable on one engine,
    whatever it is batched with; generation stops before the first of `stop`."""

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateRequest:
    """`token_ids` is the whole prompt; `pattern`, a regular expression, is obeyed from the first new token to the
    last: the reply matches it in full, or its finish is "length". Alternatives are tried in order and the first that
    matches is taken: where one begins another, write the longer one first, as in (10|[0-9])."""

    token_ids: tuple[int, ...]
    sampling: Sampling
    pattern: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateReply:
    """finish: "stop" (end of text, of the pattern, or a stop string), "length" (cut off by max_tokens) or "error"."""

    text: str
    finish: str
    counts: TokenCounts
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRequest:
    """Read label probabilities along a prompt.

    prefix     token ids that many requests share; requests with one prefix should stand together
    tail       token ids after it, not empty
    positions  ascending indices into `tail`; the distribution read is that of the token AFTER tail[position]
    label_ids  distinct token ids of the labels
    """

    prefix: tuple[int, ...]
    tail: tuple[int, ...]
    positions: tuple[int, ...]
    label_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelReply:
    """logprobs [positions, labels] float32 in nats, normalised over the WHOLE vocabulary (so that exp().sum() over the
    labels is the label mass); None when `error` is set."""

    logprobs: Float32[np.ndarray, "positions labels"] | None
    counts: TokenCounts
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a chat; role is "system", "user" or "assistant"."""

    role: str
    content: str


@runtime_checkable  # so that shape checks can look at arguments of this type
class EngineTokenizer(Protocol):
    """Text to token ids of the engine's model, and what its prompt format can do."""

    @property
    def bos_id(self) -> int | None:
        """The token every prompt starts with, or None where the model has none."""
        ...

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of plain text: no special token is added, and one written out in `text` is not recognised."""
        ...

    def encode_starts(self, text: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """What `encode` gives, and for each token the index of the character it starts in, never descending."""
        ...

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text, special tokens left out."""
        ...

    @property
    def has_chat_template(self) -> bool: ...

    def render_chat(self, messages: Sequence[Message], assistant_start: str = "") -> tuple[int, ...]:
        """Token ids of a chat with the assistant's turn opened and `assistant_start` already in it, exactly one
        beginning-of-sequence token where the model has one. A system message is put at the head of the first user
        message where the template knows no system role; a thinking phase is switched off where the template can.
        Special tokens written out inside a message's content stay text."""
        ...


@runtime_checkable
class Engine(Protocol):
    """A language model that explains or simulates."""

    @property
    def identity(self) -> Identity: ...

    @property
    def tokenizer(self) -> EngineTokenizer: ...

    @property
    def context_tokens(self) -> int:
        """Prompt and new tokens together may not be more than this; a request over it is a reply with `error`."""
        ...

    def generate(self, requests: Sequence[GenerateRequest]) -> list[GenerateReply]: ...

    def label_logprobs(self, requests: Sequence[LabelRequest]) -> list[LabelReply]: ...

    def close(self) -> None:
        """Frees the model's memory; the engine cannot be used afterwards."""
        ...
