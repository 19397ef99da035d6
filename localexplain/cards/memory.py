"""What a model asks of memory, from its card alone. Pure."""

import math
from dataclasses import dataclass
from typing import Literal

from localexplain.cards.card import ModelCard

# Released: as the weights lie in the repository.
Stored = Literal["float32", "bfloat16", "float16", "int8", "int4", "released"]
BITS: dict[str, int] = {"float32": 32, "bfloat16": 16, "float16": 16, "int8": 8, "int4": 4}
MEMORY_FRACTION = 0.9  # of a GPU, as vLLM takes it and engine.memory_fraction has it
# For the CUDA context, its graphs and the activations of one batch: an allowance, not a measurement.
OVERHEAD_BYTES = 2 << 30
MOST_GPUS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorParallel:
    """How many GPUs of one size hold a model.

    gpus                  the smallest power of two that does, or None
    needed_bytes_per_gpu  weights, cache and overhead; where `gpus` is None, with as many as can share the model
    usable_bytes_per_gpu  the share of a GPU that may be taken
    reason                in words
    """

    gpus: int | None
    needed_bytes_per_gpu: int
    usable_bytes_per_gpu: int
    reason: str


def weight_bytes(card: ModelCard, stored: Stored) -> int | None:
    """Bytes of all weights, None where the card does not tell.

    int8 and int4 count every parameter at 8 or 4 bits: a lower bound, since scales come on top and most methods leave
    the embeddings alone.
    """
    if card.parameters is None:
        return None
    if stored != "released":
        return math.ceil(card.parameters * BITS[stored] / 8)
    if card.dtype is None:
        return None
    packed = card.quantisation
    plain = card.parameters - (packed.parameters if packed else 0)
    packed_bits = packed.parameters * packed.bits_per_parameter if packed else 0.0
    return math.ceil((plain * BITS[card.dtype] + packed_bits) / 8)


def cache_bytes_per_token(card: ModelCard, dtype: Literal["float32", "bfloat16", "float16"]) -> int | None:
    """Bytes of keys and values that one token takes in all layers; None without an architecture on the card.

    Where layers have a sliding window it is more than an engine needs: those forget what lies outside it.
    """
    shape = card.architecture
    if shape is None:
        return None
    return 2 * shape.layers * shape.kv_heads * shape.head_width * BITS[dtype] // 8


def shares_heads(heads: int, kv_heads: int, gpus: int) -> bool:
    """Whether vLLM can deal a model's heads to so many GPUs: query heads evenly; key-value heads evenly, or each copied
    to equally many.

    >>> [gpus for gpus in (1, 2, 4, 8, 16) if shares_heads(40, 10, gpus)]
    [1, 2]
    """
    return heads % gpus == 0 and (kv_heads % gpus == 0 or gpus % kv_heads == 0)


def tensor_parallel_advice(
    card: ModelCard, gpu_bytes: int, stored: Stored, context_tokens: int
) -> TensorParallel | None:
    """How many GPUs with `gpu_bytes` each hold the weights, the cache of one sequence of `context_tokens`, and the
    overhead; None where the card does not tell. The cache is in 32 bits for float32, else in 16."""
    weights = weight_bytes(card, stored)
    token_bytes = cache_bytes_per_token(card, "float32" if stored == "float32" else "bfloat16")
    shape = card.architecture
    if weights is None or token_bytes is None or shape is None:
        return None
    usable = math.floor(gpu_bytes * MEMORY_FRACTION)
    powers = [1 << power for power in range(MOST_GPUS.bit_length())]
    possible = [gpus for gpus in powers if shares_heads(shape.heads, shape.kv_heads, gpus)]
    needed = 0
    for gpus in possible:
        cache = token_bytes * context_tokens * max(1, shape.kv_heads // gpus) // shape.kv_heads
        needed = math.ceil(weights / gpus) + cache + OVERHEAD_BYTES
        if needed <= usable:
            reason = f"{needed / 2**30:.1f} GiB of {usable / 2**30:.1f} on each"
            return TensorParallel(
                gpus=gpus, needed_bytes_per_gpu=needed, usable_bytes_per_gpu=usable, reason=reason
            )  # fmt: skip
    reason = (
        f"{possible[-1]} can share {shape.heads} heads ({shape.kv_heads} key-value), and each would need "
        f"{needed / 2**30:.1f} GiB of {usable / 2**30:.1f}"
    )
    return TensorParallel(gpus=None, needed_bytes_per_gpu=needed, usable_bytes_per_gpu=usable, reason=reason)
