"""The proof, made whenever a model is loaded, that label log-probabilities read in pieces are the model's own.

The pieces (a base model without its head, a cached past, a head rebuilt from the configuration) are right for the
architectures we know; for one that scales or bends its logits in a way of its own they would be wrong without a word.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32

from localexplain.engines.base import LabelReply, LabelRequest

PROOF_TOKENS = 32
PROOF_LABELS = 11


def proof_requests(ordinary_ids: Sequence[int], context_tokens: int) -> list[LabelRequest]:
    """Random prompts: two prefixes with a common part, tails of three lengths, one of them padded in a batch."""
    random = np.random.Generator(np.random.PCG64(0))
    tokens = min(PROOF_TOKENS, context_tokens)
    first = tuple(random.choice(ordinary_ids, size=tokens).tolist())
    other = (*first[: tokens // 8], *random.choice(ordinary_ids, size=tokens - tokens // 8).tolist())
    labels = tuple(random.choice(np.unique(ordinary_ids), size=PROOF_LABELS, replace=False).tolist())
    cut, short = tokens // 4, tokens // 2
    spans = ((first, tokens), (first, short), (other, tokens - 3))
    return [
        LabelRequest(prefix=ids[:cut], tail=ids[cut:end], positions=tuple(range(end - cut)), label_ids=labels)
        for ids, end in spans
    ]


def own_logprobs(model: Any, request: LabelRequest) -> Float32[np.ndarray, "positions labels"]:
    """What the model's own forward pass over the whole prompt says, without a cache or a batch."""
    ids = torch.tensor([[*request.prefix, *request.tail]], device=model.device)
    with torch.inference_mode():
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[0].float()
    rows = [len(request.prefix) + position for position in request.positions]
    found: np.ndarray = logits.log_softmax(dim=-1)[rows][:, list(request.label_ids)].cpu().numpy()
    return found


def mean_gap(model: Any, requests: Sequence[LabelRequest], replies: Sequence[LabelReply]) -> float:
    """The difference, in nats, between a reply and the model's own numbers, a mean over its positions and labels;
    that of the worst reply, infinite where one failed.

    A mean, not a maximum: in bfloat16 single numbers stray far, while a misread head or past moves all of them.
    """
    gaps = [
        np.inf if reply.logprobs is None else float(np.abs(reply.logprobs - own_logprobs(model, request)).mean())
        for request, reply in zip(requests, replies, strict=True)
    ]
    return max(gaps)
