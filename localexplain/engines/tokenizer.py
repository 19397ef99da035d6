"""Text and chats to token ids, over any fast tokenizer saved by transformers.

    tokenizer.json ──plain_backend──> encode    every string is text, no space put before it, decode() gives it back
    chat template  ──render_chat────> the template's own special tokens are recognised, those in a message are not

The encoder is the model's own with three changes, made in its JSON: added tokens that are not whitespace are special,
so that `encode_special_tokens` splits them (alone it leaves those saved as not special, like "<think>", recognised);
nothing is put before a text; nothing is stripped from one when it is decoded. So pieces can be encoded one by one and
their ids joined.
"""

import datetime
import json
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import jinja2
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from localexplain.engines.base import Message
from localexplain.errors import EngineError, UserError

# Stand-ins for what a message may not say to the template or the tokenizer, two private-use characters around a number.
MARKER_START, MARKER_END = "\ue000", "\ue001"
MARKER = re.compile(f"{MARKER_START}([0-9]+){MARKER_END}")

# Some templates print today's date, which would make another prompt, and another key, each day.
TEMPLATE_DATE = datetime.date(2024, 7, 26)  # the date that Llama 3's own template falls back to
THINKING_OFF: dict[str, Any] = {"enable_thinking": False, "thinking": False}  # Qwen's name; DeepSeek's, Granite's
PROBE_SYSTEM, PROBE_USER = "probe-of-the-system-role", "probe-of-the-user-role"


def without_dummy_space(node: Any) -> Any:
    """A tokenizer's JSON (any node of it) that neither puts a space before a text nor strips one when decoding."""
    if isinstance(node, list):
        kept = [item for item in node if not (isinstance(item, dict) and item.get("type") == "Prepend")]
        return [without_dummy_space(item) for item in kept]
    if not isinstance(node, dict):
        return node
    changed = {key: without_dummy_space(value) for key, value in node.items()}
    match node.get("type"):
        case "Metaspace":
            changed["prepend_scheme"] = "never"
        case "ByteLevel":
            changed["add_prefix_space"] = False
            changed["trim_offsets"] = False  # a piece starts at its space
        case "Strip" if "content" in node:  # the decoder of that name; the normalizer has other fields
            changed["start"] = 0
    return changed


def plain_backend(backend: Tokenizer) -> Tokenizer:
    """A copy whose pieces can be joined, and whose `encode_special_tokens` splits all added tokens but whitespace."""
    data = json.loads(backend.to_str())
    for key in ("normalizer", "pre_tokenizer", "decoder", "post_processor"):
        lone_prepend = isinstance(data[key], dict) and data[key].get("type") == "Prepend"
        data[key] = None if lone_prepend else without_dummy_space(data[key])
    data["truncation"] = data["padding"] = None
    for token in data["added_tokens"]:
        token["special"] = not token["content"].isspace()
    return Tokenizer.from_str(json.dumps(data))


def fold_system(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The messages with what the system says at the head of the first user message, an empty line between."""
    system = [message.content for message in messages if message.role == "system"]
    rest = [message for message in messages if message.role != "system"]
    if not system:
        return tuple(rest)
    place = next((index for index, message in enumerate(rest) if message.role == "user"), None)
    if place is None:
        return (Message(role="user", content="\n\n".join(system)), *rest)
    content = "\n\n".join([*system, rest[place].content])
    return (*rest[:place], Message(role="user", content=content), *rest[place + 1 :])


def first_line(error: Exception) -> str:
    """The error's first line, or its name where it says nothing."""
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


class HuggingFaceTokenizer:
    """An EngineTokenizer over a fast tokenizer of transformers; the given one is not changed.

    vocabulary_tokens is one more than the highest token id; added_ids are those of the added tokens, special or not.
    bos_id is None unless the tokenizer itself puts its BOS before a text, or uses one token as both BOS and EOS (GPT-2:
    a document's border); a BOS that is only named (Phi-3, Qwen's relatives) was never seen there in training.
    Raises EngineError when the chat template cannot render a user's message.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer
        self.backend = plain_backend(tokenizer.backend_tokenizer)
        self.vocabulary_tokens = max(self.backend.get_vocab(with_added_tokens=True).values()) + 1
        added = tokenizer.backend_tokenizer.get_added_tokens_decoder()
        self.added_ids = frozenset(added)
        self._special_ids = frozenset(index for index, token in added.items() if token.special)
        written = [token.content for token in added.values() if token.content and not token.content.isspace()]
        longest_first = sorted({*written, MARKER_START, MARKER_END}, key=len, reverse=True)
        self._hidden_strings = re.compile("|".join(map(re.escape, longest_first)))
        self._named_bos_id: int | None = tokenizer.bos_token_id
        self._bos_id = self._find_bos_id()
        self._knows_system = self.has_chat_template and self._probe_template()

    @classmethod
    def load(cls, path: Path) -> "HuggingFaceTokenizer":
        """From a folder's tokenizer.json and what lies beside it. Raises UserError when it cannot be read.

        Not AutoTokenizer: for some models that one puts a class of another library, or rebuilds the vocabulary.
        """
        try:
            tokenizer = PreTrainedTokenizerFast.from_pretrained(path, local_files_only=True)
        except Exception as error:  # tokenizers raises nothing narrower for a file it cannot read
            raise UserError(
                f"{path}: the tokenizer cannot be read ({first_line(error)}); copy its files again"
            ) from error
        return cls(tokenizer)

    @property
    def bos_id(self) -> int | None:
        return self._bos_id

    @property
    def eos_id(self) -> int | None:
        """The token that ends a text or a turn, or None."""
        found: int | None = self._tokenizer.eos_token_id
        return found

    @property
    def has_chat_template(self) -> bool:
        return self._tokenizer.chat_template is not None

    @property
    def knows_system_role(self) -> bool:
        """Whether the chat template writes a system message; it may refuse one, or leave it out without a word."""
        return self._knows_system

    def encode(self, text: str) -> tuple[int, ...]:
        return self._encode(text, as_text=True)

    def encode_starts(self, text: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        self.backend.encode_special_tokens = True
        encoding = self.backend.encode(text, add_special_tokens=False)
        return tuple(encoding.ids), tuple(start for start, _ in encoding.offsets)

    def cut(self, text: str) -> tuple[str, ...]:
        """The text in pieces, one a token, that join to it; tokens that share a character are one piece."""
        borders = sorted({*self.encode_starts(text)[1], 0, len(text)})
        return tuple(text[start:end] for start, end in pairwise(borders))

    def decode(self, token_ids: Sequence[int]) -> str:
        kept = [index for index in token_ids if index not in self._special_ids]
        return str(self.backend.decode(kept, skip_special_tokens=False))

    def render_chat(self, messages: Sequence[Message], assistant_start: str = "") -> tuple[int, ...]:
        """See EngineTokenizer. Raises EngineError when the template refuses the messages, or there is none."""
        if not self.has_chat_template:
            raise EngineError("the model's tokenizer has no chat template; use a plain prompt")
        chat = messages if self._knows_system else fold_system(messages)
        hidden: list[str] = []
        shown = [Message(role=message.role, content=self._hide(message.content, hidden)) for message in chat]
        try:
            text = self._render(shown) + self._hide(assistant_start, hidden)
        except jinja2.TemplateError as error:
            raise EngineError(f"the model's chat template refuses the messages: {first_line(error)}") from error
        ids: list[int] = []
        for place, part in enumerate(MARKER.split(text)):  # odd places: the numbers of what was hidden
            ids += self.encode(hidden[int(part)]) if place % 2 else self._encode(part, as_text=False)
        return self._with_one_bos(ids)

    def _encode(self, text: str, as_text: bool) -> tuple[int, ...]:
        self.backend.encode_special_tokens = as_text
        return tuple(self.backend.encode(text, add_special_tokens=False).ids)

    def _hide(self, content: str, hidden: list[str]) -> str:
        """`content` with each added token's text replaced by a marker; the texts are appended to `hidden`."""

        def mark(match: re.Match[str]) -> str:
            hidden.append(match[0])
            return f"{MARKER_START}{len(hidden) - 1}{MARKER_END}"

        return self._hidden_strings.sub(mark, content)

    def _render(self, messages: Iterable[Message]) -> str:
        """The template filled in, with the assistant's turn opened. Raises jinja2.TemplateError."""
        chat = [{"role": message.role, "content": message.content} for message in messages]
        text = self._tokenizer.apply_chat_template(
            chat,
            tokenize=False,
            add_generation_prompt=True,
            date_string=TEMPLATE_DATE.strftime("%d %b %Y"),
            strftime_now=TEMPLATE_DATE.strftime,
            **THINKING_OFF,
        )
        return str(text)

    def _find_bos_id(self) -> int | None:
        bos_id, eos_id = self._named_bos_id, self.eos_id
        if bos_id is None or bos_id == eos_id:
            return bos_id
        return bos_id if list(self._tokenizer("a")["input_ids"])[:1] == [bos_id] else None

    def _probe_template(self) -> bool:
        """Whether a system message reaches the prompt. Raises EngineError when a user's does not."""
        user, system = Message(role="user", content=PROBE_USER), Message(role="system", content=PROBE_SYSTEM)
        try:
            alone = self._render([user])
        except (jinja2.TemplateError, ValueError) as error:
            raise EngineError(f"the model's chat template cannot be rendered: {first_line(error)}") from error
        if PROBE_USER not in alone:
            raise EngineError("the model's chat template leaves out what the user says; use another model")
        try:
            both = self._render([system, user])
        except jinja2.TemplateError:
            return False
        return PROBE_SYSTEM in both and PROBE_USER in both

    def _with_one_bos(self, ids: list[int]) -> tuple[int, ...]:
        """`ids` with the run of BOS tokens at their head, be it empty, made one (none for a model without BOS)."""
        bos_id = self._named_bos_id
        start = next((place for place, index in enumerate(ids) if index != bos_id), len(ids))
        head = [bos_id] if bos_id is not None and (start > 0 or self._bos_id is not None) else []
        return (*head, *ids[start:])
