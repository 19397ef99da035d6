"""One model's forward pass in the pieces that an engine joins: the base model over a cached past, and its LM head.

    run(tokens, past) -> hidden states, past + tokens        head.columns(hidden, ids), head.log_normaliser(hidden)

A past is plain tensors, never changed once made, so that many requests can start from the same one. Sliding-window
layers keep their whole past too: what they may see is the mask's business, and then rows can be cut and moved.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor
from transformers import DynamicCache

from localexplain.errors import EngineError

VOCABULARY_BLOCK = 8192  # columns of logits alive at once: 32 MB for 1,024 positions

Past = tuple[tuple[Tensor, Tensor], ...]  # keys and values of each layer, each [rows, heads, tokens, head_size]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Run:
    """hidden: of the tokens just run, after the last norm; past: of all tokens so far."""

    hidden: Float[Tensor, "rows tokens width"]
    past: Past


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Head:
    """The LM head as a formula: logits = bend((hidden @ weight.T + bias) * scale).

    bend is x -> softcap * tanh(x / softcap) where there is a softcap, as in Gemma 2, else nothing.
    """

    weight: Float[Tensor, "vocabulary width"]
    bias: Float[Tensor, " vocabulary"] | None
    scale: float
    softcap: float | None

    def bend(self, raw: Float32[Tensor, "rows columns"]) -> Float32[Tensor, "rows columns"]:
        raw = raw * self.scale
        return raw if self.softcap is None else torch.tanh(raw / self.softcap) * self.softcap

    def logits(self, hidden: Float[Tensor, "rows width"]) -> Float32[Tensor, "rows vocabulary"]:
        """Of few rows, to sample from; multiplied in the model's own dtype."""
        return self.bend(torch.nn.functional.linear(hidden, self.weight, self.bias).float())

    def columns(
        self, hidden: Float[Tensor, "rows width"], picked: slice | Int64[Tensor, " columns"]
    ) -> Float32[Tensor, "rows columns"]:
        """Only these columns of the logits are made, multiplied in float32: a logit of 20 in bfloat16 is off by 0.06,
        which an expected value would show."""
        raw = hidden.float() @ self.weight[picked].float().T
        return self.bend(raw if self.bias is None else raw + self.bias[picked].float())

    def log_normaliser(self, hidden: Float[Tensor, "rows width"]) -> Float32[Tensor, " rows"]:
        """The logsumexp over the whole vocabulary, made block by block."""
        total = torch.full((hidden.shape[0],), -torch.inf, dtype=torch.float64, device=hidden.device)
        for start in range(0, self.weight.shape[0], VOCABULARY_BLOCK):
            block = self.columns(hidden, slice(start, start + VOCABULARY_BLOCK))
            total = torch.logaddexp(total, torch.logsumexp(block, dim=-1).double())
        return total.float()

    def label_logprobs(
        self, hidden: Float[Tensor, "rows width"], label_ids: Int64[Tensor, " labels"]
    ) -> Float32[Tensor, "rows labels"]:
        """log softmax over the whole vocabulary, at the labels; at most 0, which rounding might overstep by 1e-7."""
        return (self.columns(hidden, label_ids) - self.log_normaliser(hidden).unsqueeze(-1)).clamp(max=0.0)


def read_head(model: Any) -> Head:
    """The head of a causal language model of transformers, by what its configuration says of it.

    What it does not say of it the proof at load finds: see TransformersEngine. Raises EngineError: no head.
    """
    config = model.config.get_text_config()
    layer = model.get_output_embeddings()
    if layer is None:
        raise EngineError(f"{type(model).__name__} has no LM head; give a causal language model")
    multiplier = getattr(config, "logit_scale", None) or 1.0  # Cohere
    divisor = getattr(config, "logits_scaling", None) or 1.0  # Granite
    return Head(
        weight=layer.weight,
        bias=getattr(layer, "bias", None),
        scale=multiplier / divisor,
        softcap=getattr(config, "final_logit_softcapping", None),
    )


def run_on(
    base: Any,
    tokens: Int64[Tensor, "rows tokens"],
    cache: DynamicCache,
    mask: Bool[Tensor, "rows past_and_tokens"] | None = None,
    positions: Int64[Tensor, "rows tokens"] | None = None,
) -> Float[Tensor, "rows tokens width"]:
    """Hidden states, after the last norm, of `tokens` that follow what the cache holds; the cache then holds them too.

    mask       False where a place of the past or of `tokens` is padding; None where none stands before a token
    positions  of `tokens`; None: they count on from the length of the past
    """
    out = base(input_ids=tokens, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True)
    hidden: Tensor = out.last_hidden_state
    return hidden


def run(base: Any, tokens: Int64[Tensor, "rows tokens"], past: Past | None) -> Run:
    """The base model over `tokens` that follow `past`, which stays as it is."""
    cache = DynamicCache() if past is None else DynamicCache(past)
    hidden = run_on(base, tokens, cache)
    layers: list[Any] = cache.layers
    return Run(hidden=hidden, past=tuple((layer.keys, layer.values) for layer in layers))


def past_tokens(past: Past | None) -> int:
    """How many tokens each row of the past holds."""
    return 0 if past is None else int(past[0][0].shape[-2])


def repeat_rows(past: Past | None, rows: int) -> Past | None:
    """A past of one row as a past of `rows` rows; no memory is taken until it is run on."""
    if past is None:
        return None
    return tuple((keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1)) for keys, values in past)


def align_right(past: Past, padding: Int64[Tensor, " rows"]) -> Past:
    """Each row turned round so that its last `padding` places, which hold nothing, come first.

    New tokens can then follow each row at the same place, and the distance between two tokens stays what it was, which
    a sliding window counts in places.
    """
    places = torch.arange(past_tokens(past), device=padding.device)
    source = (places.unsqueeze(0) - padding.unsqueeze(1)) % len(places)  # [rows, places]

    def turn(states: Tensor) -> Tensor:
        return states.gather(2, source[:, None, :, None].expand_as(states))

    return tuple((turn(keys), turn(values)) for keys, values in past)


def pad_right(rows: Sequence[tuple[int, ...]], device: torch.device) -> Int64[Tensor, "rows tokens"]:
    """The rows, each with its last id repeated until it is as long as the longest; causality keeps that unseen."""
    longest = max(map(len, rows))
    padded = [row + row[-1:] * (longest - len(row)) for row in rows]
    return torch.tensor(padded, dtype=torch.long, device=device)


def common_prefix(rows: Sequence[tuple[int, ...]]) -> int:
    """How many first ids all rows share; of no rows, 0."""
    if not rows:
        return 0
    low, high = min(rows), max(rows)  # what the two extremes of the order share, all share
    return next((place for place, pair in enumerate(zip(low, high, strict=False)) if pair[0] != pair[1]), len(low))
