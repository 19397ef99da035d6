"""A card as lines for the terminal. A fact that is not known has no line."""

import json
from pathlib import Path
from typing import Literal

from localexplain.cards.card import Architecture, ModelCard, Thinking
from localexplain.cards.check import check_card, licence_files, missing_files
from localexplain.cards.memory import Stored, cache_bytes_per_token, tensor_parallel_advice, weight_bytes

STORED: tuple[Stored, ...] = ("float32", "bfloat16", "float16", "int8", "int4", "released")
GPU_GIB = (24, 48, 80)  # sizes of which many machines have some
ADVICE_CONTEXT_TOKENS = 8192  # room for the prompts of this program, as in the configuration's example
SYSTEM_ROLES = {
    "turn": "a turn of its own",
    "folded": "no turn of its own: the template puts it at the head of the user's",
    "refused": "refused by the template: it is put at the head of the user's turn",
}
TEN_TOKENS = {
    1: '"10" is one token: digits',
    2: '"10" is two tokens: words or letters in place of digits',
}

Line = tuple[str, str]


def say_size(size_bytes: int) -> str:
    """
    >>> say_size(16_381_470_720), say_size(147_456)
    ('15.3 GiB', '144 KiB')
    """
    unit, power = ("GiB", 30) if size_bytes >= 1 << 30 else ("MiB", 20) if size_bytes >= 1 << 20 else ("KiB", 10)
    return f"{size_bytes / (1 << power):.{0 if unit == 'KiB' else 1}f} {unit}"


def say_shape(shape: Architecture) -> str:
    shared = f" on {shape.kv_heads} of keys and values" if shape.kv_heads != shape.heads else ""
    parts = [
        f"{shape.model_type}: {shape.layers} layers, width {shape.width:,}",
        f"{shape.heads} heads of {shape.head_width}{shared}",
        f"MLP {shape.mlp:,}",
        f"{shape.experts} experts, {shape.experts_per_token} at a token" if shape.experts else "",
        f"a window of {shape.sliding_window_tokens:,} tokens in some layers" if shape.sliding_window_tokens else "",
        f"vocabulary {shape.vocabulary:,}" if shape.vocabulary else "",
        "" if shape.tied is None else f"embeddings {'tied' if shape.tied else 'not tied'}",
    ]
    return ", ".join(part for part in parts if part)


def say_thinking(thinking: Thinking) -> str:
    match thinking.kind:
        case "none":
            said = "none"
        case "switch":
            said = f"off with {thinking.argument} = {json.dumps(thinking.off)} in the chat template"
        case "levels":
            said = f"always; how much: {thinking.argument} = {', '.join(thinking.levels)}"
        case "always":
            said = "always"
    if thinking.closing:
        said += f"; the answer is what follows {thinking.closing}"
    return said


def memory_lines(card: ModelCard) -> list[Line]:
    """Weights in every form, cache, and GPUs."""
    lines = []
    for stored in STORED if card.quantisation else STORED[:-1]:
        if (size := weight_bytes(card, stored)) is not None:
            bound = "at least " if stored in ("int8", "int4") else ""
            lines.append((f"weights, {stored}", bound + say_size(size)))
    if (token_bytes := cache_bytes_per_token(card, "bfloat16")) is not None:
        bound = "at most " if card.architecture and card.architecture.sliding_window_tokens else ""
        lines.append(("cache", f"{bound}{say_size(token_bytes)} a token in 16 bits"))
    form: Literal["released", "bfloat16"] = "released" if card.quantisation else "bfloat16"
    context_tokens = min(ADVICE_CONTEXT_TOKENS, card.context_tokens or ADVICE_CONTEXT_TOKENS)
    for gib in GPU_GIB:
        advice = tensor_parallel_advice(card, gib << 30, form, context_tokens)
        if advice:
            count = f"{advice.gpus}; {advice.reason}" if advice.gpus else f"too small: {advice.reason}"
            lines.append((f"GPUs of {gib} GiB", f"{count}; {form}, {context_tokens:,} tokens"))
    return lines


def file_lines(card: ModelCard, folder: Path) -> list[Line]:
    """What the files in the folder say to the card."""
    licence = ", ".join(licence_files(folder)) or "none in the folder"
    lines = [("folder", str(folder)), ("licence file", licence)]
    faults = check_card(card, folder)
    lines += [("contradiction", fault) for fault in faults]
    if missing := missing_files(folder):
        lines.append(("not checked", f"no {', no '.join(missing)} in the folder"))
    return lines if faults or missing else [*lines, ("files", "agree with the card")]


def show_card(card: ModelCard, folder: Path | None = None) -> list[Line]:
    """The card as labels and values, in reading order; a label may stand several times. With a folder, what its files
    say to the card as well."""
    access = "; access must be asked for" if card.gated else ""
    rounded = "about " if card.parameters_rounded else ""
    packed = f", {card.quantisation.method} for {card.quantisation.parameters:,} of them" if card.quantisation else ""
    templates = {True: "yes", False: "none: a base model"}
    maybe = {
        "licence": f"{card.licence}{access}" if card.licence else access.removeprefix("; "),
        "roles": ", ".join(card.roles),
        "parameters": f"{rounded}{card.parameters:,}" if card.parameters else "",
        "released in": f"{card.dtype}{packed}" if card.dtype else "",
        "context": f"{card.context_tokens:,} tokens" if card.context_tokens else "",
        "chat template": "" if card.chat_template is None else templates[card.chat_template],
        "system message": SYSTEM_ROLES[card.system_role] if card.system_role else "",
        "thinking": say_thinking(card.thinking) if card.thinking else "",
        "labels": TEN_TOKENS[card.ten_tokens] if card.ten_tokens else "",
        "architecture": say_shape(card.architecture) if card.architecture else "",
    }
    lines = [("model", card.name), ("repository", card.repository)]
    lines += [(label, value) for label, value in maybe.items() if value]
    lines += memory_lines(card)
    lines += [("note", note) for note in card.notes]
    lines.append(("source", card.source))
    return lines + (file_lines(card, folder) if folder else [])
