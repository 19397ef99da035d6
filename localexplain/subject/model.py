"""The subject model: loaded from a folder, its sites proven, ready to be run over excerpts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float32, Int32
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.activations import NewGELUActivation
from transformers.utils import logging

from localexplain.errors import SubjectError, UserError
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
    """"auto" is the first GPU where there is one, else the CPU."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)


def fuse_gelu(model: nn.Module) -> int:
    """Replaces the unfused tanh GELU by torch's fused one, the same formula; returns how many were replaced."""
    replaced = 0
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, NewGELUActivation):
                setattr(module, name, nn.GELU(approximate="tanh"))
                replaced += 1
    return replaced


def load_subject(path: Path, dtype: Dtype = "float32", device: str = "auto") -> Subject:
    """Loads and proves the model in `path`, from its files alone.

    Raises UserError for an incomplete folder, SubjectError for an architecture that fails the proof.
    """
    config = check_model_folder(path, "subject")
    logging.disable_progress_bar()  # a bar of its own would cut into ours
    place = pick_device(device)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            path, dtype=getattr(torch, dtype), local_files_only=True, attn_implementation="sdpa", use_safetensors=True
        )
    except (ValueError, KeyError, OSError) as error:
        kind = config.get("model_type", "of no stated type")
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SubjectError(f"subject model: {path} ({kind}) cannot be loaded: {first_line}") from error
    tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    if not tokenizer.is_fast:
        raise UserError(f"subject model: {path} has no fast tokenizer; save one as tokenizer.json")
    base = model.base_model.eval().to(place).requires_grad_(False)
    fuse_gelu(base)
    details = (
        ("architecture", type(model).__name__),
        ("dtype", dtype),
        ("files_sha256", hash_model_folder(path)),
    )
    vocabulary = int(base.get_input_embeddings().weight.shape[0])
    return Subject(
        identity=Identity(kind="subject", name=path.resolve().name, details=details),
        base=base,
        tokenizer=tokenizer,
        sites=find_sites(base, vocabulary),
        texts=token_texts(tokenizer),
        context_tokens=int(getattr(model.config, "max_position_embeddings", 0)) or 1 << 30,
        device=place,
    )


def encode_text(subject: Subject, text: str) -> list[int]:
    """Token ids of plain text: no special token added, none recognised inside the text."""
    ids: list[int] = subject.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return ids


def bos_token(subject: Subject, policy: BosPolicy) -> int | None:
    """The id that goes before every excerpt, or None. Raises UserError for "always" where the model has none."""
    bos: int | None = subject.tokenizer.bos_token_id
    if policy == "always":
        if bos is None:
            raise UserError('corpus.bos is "always", but the subject\'s tokenizer has no such token; use "never"')
        return bos
    if policy == "never" or bos is None:
        return None
    starts: list[int] = subject.tokenizer("a")["input_ids"]
    return bos if starts[0] == bos else None


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
    subject: Subject, layer: int, units: Int32[Tensor, " units"], token_ids: Int32[Tensor, " tokens"]
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
        return (normed[0].float() @ weight.float()).T.cpu()
