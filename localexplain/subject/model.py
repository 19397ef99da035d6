"""The subject model: loaded from a folder, its sites proven, ready to be run over excerpts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from jaxtyping import Float32, Int, Int32
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.activations import NewGELUActivation
from transformers.utils import logging

from localexplain.carry.manifest import model_name
from localexplain.errors import ConfigError, SubjectError, UserError
from localexplain.modelfiles import check_model_folder, hash_model_folder
from localexplain.subject.capture_config import Dtype
from localexplain.subject.corpus import BosPolicy
from localexplain.subject.sites import MlpSite, find_sites, input_weight
from localexplain.subject.tokens import token_texts
from localexplain.types import Identity


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Subject:
    """A causal language model whose units are explained.

    base    the model without its LM head, in eval mode
    texts   the text of each token id (see tokens.token_text)
    """

    identity: Identity
    base: Any
    tokenizer: Any
    sites: tuple[MlpSite, ...]
    texts: tuple[str, ...]
    context_tokens: int
    device: torch.device

    @property
    def vocabulary(self) -> int:
        return int(self.base.get_input_embeddings().weight.shape[0])


class ForwardStopped(Exception):
    """Raised by the last hook, once all that is wanted has been seen, and caught by `run_tokens`."""


def pick_device(device: str) -> torch.device:
    """The device so named; "auto" is the first GPU where there is one, else the CPU.

    Raises ConfigError when there is no such device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:  # a torch built without CUDA fails an assertion
        raise ConfigError(f'capture.device = "{device}": no such device here; use "auto" or "cpu"') from error
    return place


def fuse_gelu(model: nn.Module) -> int:
    """Replaces the unfused tanh GELU by torch's fused one, the same formula; returns how many were replaced."""
    replaced = 0
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, NewGELUActivation):
                setattr(module, name, nn.GELU(approximate="tanh"))
                replaced += 1
    return replaced


def first_line(error: Exception) -> str:
    """The error's first line, or its name where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def load_weights(path: Path, config: dict[str, Any], dtype: Dtype) -> Any:
    """The model with its LM head, all its weights from the files.

    Raises SubjectError when the files do not make up one whole model that transformers knows: what transformers itself
    does about a weight that is missing, or of another shape, is to draw it at random and go on.
    """
    whole = f"subject model: {path} ({config.get('model_type', 'of no stated type')})"
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            path,
            dtype=getattr(torch, dtype),
            local_files_only=True,
            trust_remote_code=False,  # unset, it asks on the terminal and waits
            attn_implementation="sdpa",
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except (ValueError, KeyError, TypeError, OSError, RuntimeError, SafetensorError, StrictDataclassError) as error:
        raise SubjectError(f"{whole} cannot be loaded: {first_line(error)}") from error
    needed = f"{model.base_model_prefix}."  # the LM head is not
    for why, names in (
        ("missing in its files", sorted(report["missing_keys"])),
        ("not of the shape that config.json says", sorted(name for name, *_ in report["mismatched_keys"])),
    ):
        if wrong := [name for name in names if name.startswith(needed)]:
            raise SubjectError(
                f"{whole}: {len(wrong)} of its weights are {why}, first {wrong[0]}; copy the folder again"
            )
    return model


def load_tokenizer(path: Path) -> PreTrainedTokenizerFast:
    """The tokenizer as its tokenizer.json says. Raises SubjectError when that cannot be read.

    Not AutoTokenizer: for a class that tokenizer_config.json or the architecture names (LlamaTokenizer, Qwen2Tokenizer)
    it takes the vocabulary alone and puts a pre-tokenizer of its own before it, which may cut texts in another way.
    """
    try:
        return PreTrainedTokenizerFast.from_pretrained(path, local_files_only=True)
    except Exception as error:  # the tokenizers library raises bare Exceptions
        raise SubjectError(
            f"subject model: {path}/tokenizer.json cannot be read ({first_line(error)}); copy the file again"
        ) from error


def load_subject(path: Path, dtype: Dtype = "float32", device: str = "auto") -> Subject:
    """Loads and proves the model in `path`, from its files alone.

    Raises UserError for an incomplete folder, SubjectError for one that is damaged and for an architecture that fails
    the proof, ConfigError for a device that is not there.
    """
    config = check_model_folder(path, "subject")
    logging.disable_progress_bar()  # a bar of its own would cut into ours
    logging.set_verbosity_error()  # likewise its table of weights; what matters of it is raised
    place = pick_device(device)
    model = load_weights(path, config, dtype)
    tokenizer = load_tokenizer(path)
    base = model.base_model.eval().to(place).requires_grad_(False)
    fuse_gelu(base)
    details = (
        ("architecture", type(model).__name__),
        ("dtype", dtype),
        ("files_sha256", hash_model_folder(path)),
    )
    vocabulary = int(base.get_input_embeddings().weight.shape[0])
    return Subject(
        identity=Identity(kind="subject", name=model_name(path), details=details),
        base=base,
        tokenizer=tokenizer,
        sites=find_sites(base, vocabulary),
        texts=token_texts(tokenizer),
        context_tokens=int(getattr(model.config, "max_position_embeddings", 0)) or 1 << 30,
        device=place,
    )


def encode_text(subject: Subject, text: str) -> list[int]:
    """Token ids of plain text: no special token added, none recognised inside the text.

    Raises SubjectError when the tokenizer gives an id that the model has no embedding for.
    """
    ids: list[int] = subject.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    if ids and max(ids) >= subject.vocabulary:
        raise SubjectError(
            f"subject model: its tokenizer gives token {max(ids)}, but the model has only {subject.vocabulary}; copy "
            "this model's own tokenizer.json into its folder"
        )
    return ids


def bos_token(subject: Subject, policy: BosPolicy) -> int | None:
    """The id that goes before every excerpt, or None. Raises UserError for "always" where the model has none.

    Where the tokenizer's files do not name it (GPT-2's do not), config.json does.
    """
    bos: int | None = subject.tokenizer.bos_token_id
    if bos is None:
        bos = getattr(subject.base.config, "bos_token_id", None)
    if policy == "always":
        if bos is None:
            raise UserError('corpus.bos is "always", but the subject\'s tokenizer has no such token; use "never"')
        return bos
    if policy == "never" or bos is None:
        return None
    whole: list[int] = subject.tokenizer("a")["input_ids"]
    plain: list[int] = subject.tokenizer("a", add_special_tokens=False)["input_ids"]
    return bos if len(whole) > len(plain) and whole[0] == bos else None


def run_tokens(subject: Subject, token_ids: Int32[Tensor, "batch length"], bos: int | None) -> None:
    """One forward pass over excerpts of equal length, for its hooks; the LM head and the cache are left out.

    A hook may raise ForwardStopped once it has seen enough.
    """
    tokens = token_ids.long()
    if bos is not None:
        tokens = torch.cat([torch.full((len(tokens), 1), bos, dtype=torch.long), tokens], dim=1)
    try:
        with torch.inference_mode():
            subject.base(input_ids=tokens.to(subject.device), use_cache=False)
    except ForwardStopped:
        pass


def token_linear_weights(
    subject: Subject, layer: int, units: Int[Tensor, " units"], token_ids: Int[Tensor, " tokens"]
) -> Float32[Tensor, "units tokens"]:
    """The token-linear control: each token's embedding through the MLP's norm and into each unit, nothing between.

    GPT-2's gain (and Gemma's 1 + gain) comes from running the norm itself on the embedding. For a gated MLP the map is
    the gate's. Source: Bills et al. 2023, "token-based prediction using weights"; there for GPT-2 only.
    """
    site = subject.sites[layer]
    with torch.inference_mode():
        embedded = subject.base.get_input_embeddings()(token_ids.long().to(subject.device))[None]
        normed = embedded if site.norm is None else site.norm(embedded)
        weight = input_weight(site.input_projection)[:, units.long().to(subject.device)]
        strengths: Tensor = (normed[0].float() @ weight.float()).T
        return strengths.cpu()
