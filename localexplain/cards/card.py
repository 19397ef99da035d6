"""The records of a model's card, and reading them from models/*.toml. A fact that nobody confirmed is None."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from localexplain.errors import UserError
from localexplain.resources import resource

STRICT = ConfigDict(extra="forbid", strict=True)
Count = Annotated[int, Field(gt=0)]
Text = Annotated[str, Field(min_length=1)]
Role = Literal["explainer", "simulator", "subject"]
Dtype = Literal["float32", "bfloat16", "float16"]
CACHE_PREFIX = "models--"  # a repository's folder in the Hugging Face cache: models--ORG--NAME


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """The language model's shape; in a multimodal model that of its text part.

    model_type             as config.json names it at its top level
    kv_heads               key and value heads; as many as heads where they are not shared
    mlp                    width inside the MLP, in a mixture of experts of one expert
    vocabulary             rows of the embedding, unused ones included
    tied                   whether the embedding is the output layer too
    experts                of a layer; None in a dense model
    sliding_window_tokens  how far back the layers with a window look; None: no layer has one
    vision_parameters      parameters outside the language model
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    model_type: Text
    layers: Count
    width: Count
    heads: Count
    kv_heads: Count
    head_width: Count
    mlp: Count
    vocabulary: Count | None = None
    tied: bool | None = None
    experts: Count | None = None
    experts_per_token: Count | None = None
    sliding_window_tokens: Count | None = None
    vision_parameters: Count | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinking:
    """Whether the model thinks before it answers, and how that is kept out of the answer.

    kind      "none": it does not; "switch": an argument of the chat template turns it off; "levels": the argument sets
              how much, nothing turns it off; "always"
    argument  of the chat template
    off       its value that turns thinking off
    levels    its values, least first
    opening   text right before the thinking
    closing   text between the thinking and the answer
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    kind: Literal["none", "switch", "levels", "always"]
    argument: Text | None = None
    off: bool | Text | None = None
    levels: tuple[Text, ...] = ()
    opening: Text | None = None
    closing: Text | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantisation:
    """How the released weights are stored, where not all are plain numbers.

    method              as config.json names it
    bits_per_parameter  of those that are quantised, scales included
    parameters          how many those are
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    method: Text
    bits_per_parameter: Annotated[float, Field(gt=0, le=32, allow_inf_nan=False)]
    parameters: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """What is known of one model; None: not known.

    name                the card's short name, that of its file
    repository          on Hugging Face, ORG/NAME
    parameters          all of them, tied ones once; `parameters_rounded`: a published round figure, not a count
    context_tokens      longest prompt and reply together, as config.json has it
    licence             SPDX identifier, or the licence's own name
    gated               whether access must be asked for
    dtype               of the released weights; of those that are not quantised where some are
    chat_template       whether the tokenizer has one
    system_role         what the chat template does with a system message: "turn", one of its own; "folded", the head of
                        the first user turn; "refused"
    ten_tokens          how many tokens write "10" behind a tab: with 1 the labels are digits, with 2 words or letters
    notes               traps, one a line
    source              where the facts were read
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    name: Text
    repository: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]
    roles: Annotated[tuple[Role, ...], Field(min_length=1)]
    source: Text
    parameters: Count | None = None
    parameters_rounded: bool = False
    context_tokens: Count | None = None
    licence: Text | None = None
    gated: bool | None = None
    dtype: Dtype | None = None
    chat_template: bool | None = None
    system_role: Literal["turn", "folded", "refused"] | None = None
    ten_tokens: Literal[1, 2] | None = None
    thinking: Thinking | None = None
    quantisation: Quantisation | None = None
    architecture: Architecture | None = None
    notes: tuple[Text, ...] = ()


def describe_fault(error: ValidationError) -> str:
    """The first fault: the key, and what is wrong with it."""
    fault = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in fault["loc"])
    match fault["type"]:
        case "unexpected_keyword_argument":
            return f"unknown key {key!r}"
        case "missing" | "missing_keyword_only_argument":
            return f"key {key!r} is missing"
        case "dataclass_type":
            return f"key {key!r} must be a table"
    return f"key {key!r}: {fault['msg'][:1].lower()}{fault['msg'][1:]}, not {fault['input']!r}"


def find_contradiction(card: ModelCard) -> str | None:
    """The first thing on the card that cannot be together with another, or None."""
    shape, thinking = card.architecture, card.thinking
    if shape and shape.heads % shape.kv_heads:
        return f"key 'architecture.kv_heads': {shape.kv_heads} does not divide {shape.heads} heads"
    if shape and (shape.experts is None) != (shape.experts_per_token is None):
        return "key 'architecture.experts': goes with experts_per_token"
    if card.system_role and card.chat_template is False:
        return "key 'system_role': there is no chat template"
    if not thinking:
        return None
    wanted = {"switch": {"argument", "off"}, "levels": {"argument", "levels"}}.get(thinking.kind, set())
    switches = {"argument": thinking.argument is not None, "off": thinking.off is not None}
    for key, given in (switches | {"levels": bool(thinking.levels)}).items():
        if given != (key in wanted):
            return f"key 'thinking.{key}': {'does not go' if given else 'must go'} with kind = \"{thinking.kind}\""
    return None


@cache
def card_reader() -> TypeAdapter[ModelCard]:
    """Built once: it takes longer than reading a card."""
    return TypeAdapter(ModelCard)


def parse_card(name: str, values: Mapping[str, Any]) -> ModelCard:
    """Raises UserError naming the key: unknown, missing, of the wrong type, out of range, against another."""
    if "name" in values:
        raise UserError("unknown key 'name': a card is named by its file")
    try:
        card = card_reader().validate_json(json.dumps({"name": name} | dict(values)))
    except ValidationError as error:
        raise UserError(describe_fault(error)) from error
    except TypeError as error:  # a date or a time
        raise UserError("a date or a time; quote it") from error
    if contradiction := find_contradiction(card):
        raise UserError(contradiction)
    return card


def read_card_file(path: Path) -> ModelCard:
    """The card in a TOML file, named by the file. Raises UserError, naming file and key."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give the path of a card") from error
    except ValueError as error:  # not TOML, or not UTF-8
        raise UserError(f"{path}: not a TOML file ({error}); put the card back") from error
    try:
        return parse_card(path.stem, values)
    except UserError as error:
        raise UserError(f"{path}: {error}; see docs/cards.md") from error


def read_cards(folder: Path | None = None) -> dict[str, ModelCard]:
    """The cards in a folder by short name, in its order; None: those that ship. Raises UserError for a bad one."""
    paths = sorted((folder or resource("models")).glob("*.toml"))
    return {path.stem: read_card_file(path) for path in paths}


def find_card(name: str, cards: Mapping[str, ModelCard] | None = None) -> ModelCard | None:
    """The card with this short name or repository, whatever its capitals; None where there is none. `cards`: those to
    look among, None for those that ship."""
    wanted = name.lower()
    for card in (read_cards() if cards is None else cards).values():
        if wanted in (card.name.lower(), card.repository.lower()):
            return card
    return None


def card_of(folder: Path, cards: Mapping[str, ModelCard] | None = None) -> ModelCard | None:
    """The card of the model in a folder, told by the path alone: a snapshot in the Hugging Face cache, a folder
    ORG/NAME, or one named as the card or its repository. None where the path names no model with a card."""
    known = read_cards() if cards is None else cards
    parts = folder.absolute().parts
    cached = [part.removeprefix(CACHE_PREFIX) for part in parts if part.startswith(CACHE_PREFIX)]
    if cached:
        repository = cached[-1].replace("--", "/", 1).lower()
        return next((card for card in known.values() if card.repository.lower() == repository), None)
    last = parts[-1].lower()
    for card in known.values():
        organisation, _, name = card.repository.lower().partition("/")
        if last == name and len(parts) > 1 and parts[-2].lower() == organisation:
            return card
    return next(
        (card for card in known.values() if last in (card.name, card.repository.lower().partition("/")[2])), None
    )


def drop_absent(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values without those that are None or empty, at any depth."""
    inner = {key: drop_absent(value) if isinstance(value, Mapping) else value for key, value in values.items()}
    return {key: list(value) if isinstance(value, tuple) else value
            for key, value in inner.items() if value is not None and value not in ((), {})}  # fmt: skip


def card_values(card: ModelCard) -> dict[str, Any]:
    """The card as JSON values, under the file's keys and `name`; what is not known is left out."""
    return drop_absent(asdict(card))
