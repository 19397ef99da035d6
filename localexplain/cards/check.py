"""A card against the files of its model: config.json, the headers of the weights, the tokenizer and its template.

    config.json          ──config_facts──>    shape and context     each fact of the card beside the files' own;
    *.safetensors        ──weight_facts──>    count and dtype       one that the card or the files lack is passed over,
    chat template        ──template_facts──>  thinking              one that differs is a fault
    tokenizer.json       ──tokenizer_facts─>  roles and labels

Of the weights only the headers are read, so that a 70B model takes as long as a small one.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from localexplain.cards.card import ModelCard, Thinking
from localexplain.engines.labels import label_id
from localexplain.errors import EngineError, UserError

HEADER_LENGTH_BYTES = 8
MOST_HEADER_BYTES = 100_000_000  # what the format allows
INDEX = "model.safetensors.index.json"
# Tables that old checkpoints of GPT-2 and GPT-NeoX carry along; no parameters.
BUFFERS = (".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq")
OUTPUT_LAYERS = ("lm_head.weight", "embed_out.weight")
DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
MXFP4_BLOCKS, MXFP4_SCALES = "_blocks", "_scales"  # two parameters a byte, and one scale to 32 of them
ROUNDED_FRACTION = 0.05  # "8B" may be anything that rounds to it
THINKING_ARGUMENTS = ("enable_thinking", "reasoning_effort")
LICENCE_NAMES = ("licen", "copying", "terms", "notice")  # how a licence's file begins, whatever its capitals
LABEL_SEPARATOR = "\t"  # what labels stand behind

Facts = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One tensor as a header names it; dtype in the format's own words, such as BF16."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


def read_json(path: Path) -> dict[str, Any]:
    """Raises UserError for a file that holds no JSON object."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path.name}: cannot be read ({error}); copy the file again") from error
    if not isinstance(found, dict):
        raise UserError(f"{path.name}: not a JSON object; copy the file again")
    return found


def read_tensors(path: Path) -> tuple[Tensor, ...]:
    """What a safetensors file says it holds, from its header alone. Raises UserError for one that is damaged."""
    damaged = UserError(f"{path.name}: not a safetensors file; copy the file again")
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(HEADER_LENGTH_BYTES), "little")
            if length > min(MOST_HEADER_BYTES, path.stat().st_size):
                raise damaged
            header = json.loads(file.read(length))
        return tuple(
            Tensor(name=name, dtype=entry["dtype"], shape=tuple(entry["shape"]))
            for name, entry in header.items()
            if name != "__metadata__"
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged from error


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The files that a model is loaded from: the one, or the shards of the index, or else all of that kind; a
    repository may hold the same weights in another layout beside them. Raises UserError for a shard that is missing."""
    if (folder / "model.safetensors").is_file():
        return (folder / "model.safetensors",)
    if not (folder / INDEX).is_file():
        return tuple(sorted(folder.glob("*.safetensors")))
    names = sorted(set(read_json(folder / INDEX).get("weight_map", {}).values()))
    for name in names:
        if not (folder / name).is_file():
            raise UserError(f"{name}: named in {INDEX}, and not there; copy the file")
    return tuple(folder / name for name in names)


def count_parameters(tensors: Iterable[Tensor], tied: bool) -> int:
    """Parameters in the tensors: tied ones once, tables and scales not, two for each byte of MXFP4."""
    total = 0
    for tensor in tensors:
        if tensor.name.endswith((*BUFFERS, MXFP4_SCALES)) or (tied and tensor.name.endswith(OUTPUT_LAYERS)):
            continue
        total += tensor.elements * (2 if tensor.name.endswith(MXFP4_BLOCKS) else 1)
    return total


def main_dtype(tensors: Iterable[Tensor]) -> str | None:
    """The floating-point type of most elements; None where there is no such tensor."""
    elements: dict[str, int] = {}
    for tensor in tensors:
        if tensor.dtype in DTYPES and not tensor.name.endswith(BUFFERS):
            elements[tensor.dtype] = elements.get(tensor.dtype, 0) + tensor.elements
    return DTYPES[max(elements, key=lambda dtype: elements[dtype])] if elements else None


def load_config(folder: Path) -> Any:
    """config.json as transformers reads it, its defaults filled in. Raises UserError for one it refuses."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # each architecture checks in its own way, and the errors share no base
        lines = str(error).splitlines() or [type(error).__name__]
        raise UserError(f"config.json: transformers refuses it ({lines[0]}); copy the file again") from error


def config_facts(folder: Path) -> Facts:
    """Shape and context under the card's keys, of the text part where there are several. Raises UserError."""
    whole = load_config(folder)
    text = whole.get_text_config()

    def read(*names: str) -> Any:
        return next((value for name in names if (value := getattr(text, name, None)) is not None), None)

    width, heads, context = text.hidden_size, text.num_attention_heads, read("max_position_embeddings")
    window = read("sliding_window") if getattr(text, "use_sliding_window", True) else None
    quantised = read_json(folder / "config.json").get("quantization_config") or {}
    return {
        "context_tokens": context,
        "quantisation.method": quantised.get("quant_method"),
        "architecture.model_type": whole.model_type,
        "architecture.layers": text.num_hidden_layers,
        "architecture.width": width,
        "architecture.heads": heads,
        "architecture.kv_heads": read("num_key_value_heads") or heads,
        "architecture.head_width": read("head_dim") or width // heads,
        # GPT-2's own key comes first: its intermediate_size, where there is one, is read by nobody
        "architecture.mlp": (read("n_inner") or 4 * width) if hasattr(text, "n_inner") else read("intermediate_size"),
        "architecture.vocabulary": text.vocab_size,
        "architecture.tied": bool(text.tie_word_embeddings),
        "architecture.experts": read("num_local_experts", "num_experts"),
        "architecture.experts_per_token": read("num_experts_per_tok"),
        # a window that no prompt can fill is none
        "architecture.sliding_window_tokens": window if window and context and window < context else None,
    }


def weight_facts(folder: Path, tied: bool, method: str | None) -> Facts:
    """Count and dtype; nothing where there are no weights, no count where they are packed in a way that is not known.
    Raises UserError for a file that is damaged or missing."""
    tensors = [tensor for path in weight_files(folder) for tensor in read_tensors(path)]
    if not tensors:
        return {}
    facts: Facts = {"dtype": main_dtype(tensors)}
    if method in (None, "mxfp4"):
        facts["parameters"] = count_parameters(tensors, tied)
    return facts


def read_template(folder: Path) -> str | None:
    """The chat template's text, from its own file or the tokenizer's settings; None where there is none."""
    if (folder / "chat_template.jinja").is_file():
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    if not (folder / "tokenizer_config.json").is_file():
        return None
    found = read_json(folder / "tokenizer_config.json").get("chat_template")
    if isinstance(found, list):  # several, each with a name
        found = next((entry["template"] for entry in found if entry.get("name") == "default"), None)
    return found if isinstance(found, str) else None


def render(template: str, **arguments: Any) -> str:
    """The template filled in with one user's message. Raises jinja2.TemplateError."""
    from transformers.utils.chat_template_utils import render_jinja_template

    chat = [{"role": "user", "content": "probe"}]
    texts, _ = render_jinja_template(
        conversations=[chat], chat_template=template, add_generation_prompt=True, **arguments
    )  # fmt: skip
    return str(texts[0])


def thinking_faults(thinking: Thinking, template: str) -> list[str]:
    """Where the chat template does not do what the card says of thinking, told by rendering it."""
    if thinking.kind == "none":
        found = [name for name in THINKING_ARGUMENTS if name in template]
        return [f'thinking.kind: the card says "none", the chat template has {name}' for name in found]
    if thinking.argument is None:
        return []
    settings = [thinking.off] if thinking.kind == "switch" else list(thinking.levels)
    try:
        rendered = [render(template, **{thinking.argument: value}) for value in settings]
        plain = render(template) if thinking.kind == "switch" else ""
    except jinja2.TemplateError as error:
        return [f"thinking.argument: the chat template refuses it ({error})"]
    if thinking.kind == "switch" and rendered == [plain]:
        return [f"thinking.argument: {thinking.argument} = {json.dumps(thinking.off)} changes nothing in the prompt"]
    if len(set(rendered)) < len(settings):
        return [f"thinking.levels: {thinking.argument} changes nothing in the prompt"]
    return []


def tokenizer_facts(folder: Path) -> Facts:
    """What the tokenizer does with a system message and with "10". Raises UserError, EngineError."""
    from localexplain.engines.base import Message
    from localexplain.engines.tokenizer import PROBE_SYSTEM, PROBE_USER, HuggingFaceTokenizer

    tokenizer = HuggingFaceTokenizer.load(folder)
    facts: Facts = {"chat_template": tokenizer.has_chat_template, "ten_tokens": 2}
    if label_id(tokenizer.encode, tokenizer.decode, LABEL_SEPARATOR, "10") is not None:
        facts["ten_tokens"] = 1
    if not tokenizer.has_chat_template:
        return facts
    if not tokenizer.knows_system_role:
        return facts | {"system_role": "refused"}
    messages = [Message(role="system", content=PROBE_SYSTEM), Message(role="user", content=PROBE_USER)]
    prompt = str(tokenizer.backend.decode(list(tokenizer.render_chat(messages)), skip_special_tokens=False))
    between = prompt.partition(PROBE_SYSTEM)[2].partition(PROBE_USER)[0]
    return facts | {"system_role": "turn" if between.strip() else "folded"}


def said_facts(card: ModelCard) -> Facts:
    """What the card says, under the keys of the files' facts. A None stands only where it is a statement: the model
    has no experts, no window, no packed weights."""
    facts: Facts = {key: getattr(card, key) for key in ("context_tokens", "dtype", "parameters")}
    facts |= {key: getattr(card, key) for key in ("chat_template", "system_role", "ten_tokens")}
    shape = card.architecture
    names = ("model_type", "layers", "width", "heads", "kv_heads", "head_width", "mlp", "vocabulary", "tied")
    facts |= {f"architecture.{name}": getattr(shape, name) for name in names} if shape else {}
    known: Facts = {key: value for key, value in facts.items() if value is not None}
    if shape:
        stated = ("experts", "experts_per_token", "sliding_window_tokens")
        known |= {f"architecture.{name}": getattr(shape, name) for name in stated}
    return known | {"quantisation.method": card.quantisation.method if card.quantisation else None}


def compare(card: ModelCard, found: Mapping[str, Any]) -> list[str]:
    """A line for each fact that card and files both have, and differ in."""
    faults = []
    for key, said in said_facts(card).items():
        if key not in found:
            continue
        close = key == "parameters" and card.parameters_rounded
        same = abs(found[key] - said) <= ROUNDED_FRACTION * said if close else found[key] == said
        if not same:
            words = ["none" if value is None else json.dumps(value) for value in (said, found[key])]
            faults.append(f"{key}: the card says {words[0]}, the files say {words[1]}")
    return faults


def check_card(card: ModelCard, folder: Path) -> tuple[str, ...]:
    """Where the files in a model's folder contradict its card, a line each; empty where they agree.

    Files that are not there are passed over (`missing_files` names them), ones that cannot be read are faults.
    """
    faults: list[str] = []

    def gather(read: Callable[[], Facts]) -> Facts:
        try:
            return read()
        except (UserError, EngineError) as error:
            faults.append(str(error))
            return {}

    found: Facts = {}
    if (folder / "config.json").is_file():
        found |= gather(lambda: config_facts(folder))
    tied = bool(found.get("architecture.tied"))
    found |= gather(lambda: weight_facts(folder, tied, found.get("quantisation.method")))
    if (folder / "tokenizer.json").is_file():
        found |= gather(lambda: tokenizer_facts(folder))
    template = gather(lambda: {"template": read_template(folder)}).get("template")
    faults += compare(card, found)
    if card.thinking and template:
        faults += thinking_faults(card.thinking, template)
    return tuple(faults)


def missing_files(folder: Path) -> tuple[str, ...]:
    """Names of the files whose facts could not be checked, since they are not there."""
    missing = [name for name in ("config.json", "tokenizer.json") if not (folder / name).is_file()]
    return tuple(missing) if any(folder.glob("*.safetensors")) else (*missing, "*.safetensors")


def licence_files(folder: Path) -> tuple[str, ...]:
    """Names of the files in the folder that look like the licence."""
    return tuple(sorted(path.name for path in folder.iterdir() if path.name.lower().startswith(LICENCE_NAMES)))
