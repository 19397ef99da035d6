"""Tiny subject models with random weights, in memory or as folders, and pools of random excerpts.

All parameters are drawn, norms' gains and biases too: transformers starts those at 1 and 0, where leaving one out of a
formula would go unseen.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from localexplain.subject.corpus import ExcerptPool, hash_tokens
from localexplain.subject.model import Subject, fuse_gelu
from localexplain.subject.sites import find_sites
from localexplain.types import Identity
from tests.tiny_models import train_tokenizer

VOCABULARY = 97
WIDTH = 24
UNITS = 40
LAYERS = 3
CONTEXT_TOKENS = 128
END_OF_TEXT = "<|endoftext|>"  # id 0 of the tokenizer

BLOCK = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": 2, "intermediate_size": UNITS}
GROUPED = BLOCK | {"num_key_value_heads": 1, "head_dim": 12}
GPT2 = {"n_embd": WIDTH, "n_layer": LAYERS, "n_head": 2, "n_inner": UNITS}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2Config", GPT2),
    "llama": ("LlamaConfig", GROUPED),
    "qwen3": ("Qwen3Config", GROUPED),
    "mistral": ("MistralConfig", GROUPED | {"sliding_window": 8}),
    "gemma2": ("Gemma2Config", GROUPED | {"sliding_window": 8, "query_pre_attn_scalar": 12}),
    "gemma3": ("Gemma3TextConfig", GROUPED | {"sliding_window": 8, "query_pre_attn_scalar": 12}),
    "olmo2": ("Olmo2Config", BLOCK | {"num_key_value_heads": 1}),
    "neox_parallel": ("GPTNeoXConfig", BLOCK | {"use_parallel_residual": True}),
    "neox_sequential": ("GPTNeoXConfig", BLOCK | {"use_parallel_residual": False}),
    # attention and MLP read the same norm's output, in parallel
    "cohere": ("CohereConfig", GROUPED),
    "stablelm_parallel": ("StableLmConfig", GROUPED | {"use_parallel_residual": True, "partial_rotary_factor": 0.5}),
    # refused: what is added to the residual stream is scaled first; no dense MLP; one in layer 0 alone; other names
    "granite": ("GraniteConfig", GROUPED | {"residual_multiplier": 0.5}),
    "mixtral": ("MixtralConfig", GROUPED | {"num_local_experts": 4}),
    "qwen3_moe": ("Qwen3MoeConfig", GROUPED | EXPERTS | {"mlp_only_layers": [0]}),
    "phi": ("PhiConfig", BLOCK),
}


def tiny_model(family: str, seed: int = 0, vocabulary: int = VOCABULARY, **changes: Any) -> Any:
    """A causal language model in eval mode, float32; `changes` go over the family's configuration."""
    name, settings = FAMILIES[family]
    common = {"vocab_size": vocabulary, "max_position_embeddings": CONTEXT_TOKENS}
    if family == "gpt2":
        common = {"vocab_size": vocabulary, "n_positions": CONTEXT_TOKENS}
    ends = {"bos_token_id": None, "eos_token_id": 0, "pad_token_id": 0}
    config = getattr(transformers, name)(**(common | settings | ends | changes))
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:  # a norm's gain or a bias: moved away from where it starts
                parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
            else:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def subject_of(model: Any, tokenizer: Any = None, fuse: bool = True) -> Subject:
    """The model as `load_subject` would hold it, without a folder."""
    base = model.base_model.requires_grad_(False)
    if fuse:
        fuse_gelu(base)
    vocabulary = base.get_input_embeddings().weight.shape[0]
    return Subject(
        identity=Identity(kind="subject", name="tiny"),
        base=base,
        tokenizer=tokenizer,
        sites=find_sites(base, vocabulary),
        texts=tuple(f"t{index} " for index in range(vocabulary)),
        context_tokens=CONTEXT_TOKENS,
        device=torch.device("cpu"),
    )


def tiny_subject(family: str = "gpt2", seed: int = 0, **changes: Any) -> Subject:
    return subject_of(tiny_model(family, seed, **changes))


def random_pool(n_excerpts: int, length_tokens: int = 8, seed: int = 0, vocabulary: int = VOCABULARY) -> ExcerptPool:
    """Random excerpts, one a document."""
    token_ids = np.random.default_rng(seed).integers(0, vocabulary, (n_excerpts, length_tokens)).astype(np.int32)
    return ExcerptPool(
        token_ids=token_ids,
        document=np.arange(n_excerpts, dtype=np.int32),
        offset=np.zeros(n_excerpts, dtype=np.int64),
        hashes=np.array([hash_tokens(row) for row in token_ids], dtype=np.uint64),
        document_ids=tuple(f"{index}.txt" for index in range(n_excerpts)),
        n_duplicates=0,
    )


def write_subject(
    path: Path, family: str = "gpt2", *, dtype: torch.dtype = torch.float16, prepends_bos: bool = False, **changes: Any
) -> Path:
    """Writes the folder that `save_pretrained` makes, with a byte-level BPE whose BOS is <|endoftext|>."""
    tokenizer = train_tokenizer()
    if prepends_bos:
        tokenizer.post_processor = TemplateProcessing(single=f"{END_OF_TEXT} $A", special_tokens=[(END_OF_TEXT, 0)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=END_OF_TEXT, eos_token=END_OF_TEXT, model_max_length=CONTEXT_TOKENS
    ).save_pretrained(path)
    model = tiny_model(family, vocabulary=tokenizer.get_vocab_size(), **changes)
    model.to(dtype).save_pretrained(path)
    return path
