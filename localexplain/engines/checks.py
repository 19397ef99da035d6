"""What a request must be for an engine to take it. Pure; every engine asks here, so that all refuse alike."""

from collections.abc import Sequence

from localexplain.engines.base import GenerateReply, GenerateRequest, LabelReply, LabelRequest
from localexplain.types import TokenCounts


def ids_fault(token_ids: Sequence[int], vocabulary_tokens: int) -> str | None:
    """Why these, at least one, are not token ids of the model, or None."""
    wrong = next((index for index in (min(token_ids), max(token_ids)) if not 0 <= index < vocabulary_tokens), None)
    return None if wrong is None else f"token id {wrong} is not in the vocabulary of {vocabulary_tokens} tokens"


def generate_fault(request: GenerateRequest, vocabulary_tokens: int, context_tokens: int) -> str | None:
    """Why the request cannot be run, or None."""
    sampling = request.sampling
    if not request.token_ids:
        return "the prompt is empty"
    if sampling.max_tokens < 1:
        return f"max_tokens is {sampling.max_tokens}; it must be at least 1"
    if not sampling.temperature >= 0.0:
        return f"temperature is {sampling.temperature}; it must be at least 0"
    if not 0.0 < sampling.top_p <= 1.0:
        return f"top_p is {sampling.top_p}; it must be in (0, 1]"
    if "" in sampling.stop:
        return "a stop string is empty"
    if sampling.stop and request.pattern is not None:
        return "a request has a pattern or stop strings, not both: a stop string would cut the pattern short"
    prompt = len(request.token_ids)
    if prompt + sampling.max_tokens > context_tokens:
        return (
            f"prompt of {prompt} tokens and {sampling.max_tokens} new ones do not fit the model's context of "
            f"{context_tokens} tokens"
        )
    return ids_fault(request.token_ids, vocabulary_tokens)


def label_fault(request: LabelRequest, vocabulary_tokens: int, context_tokens: int) -> str | None:
    """Why the request cannot be run, or None."""
    if not request.tail:
        return "the tail is empty"
    if not request.label_ids or len(set(request.label_ids)) != len(request.label_ids):
        return "label ids must be distinct, and at least one"
    if not request.positions:
        return "there are no positions to read"
    if any(later <= earlier for earlier, later in zip(request.positions, request.positions[1:], strict=False)):
        return "positions must ascend"
    if request.positions[0] < 0 or request.positions[-1] >= len(request.tail):
        return f"positions must be indices into the tail of {len(request.tail)} tokens"
    prompt = len(request.prefix) + len(request.tail)
    if prompt > context_tokens:
        return f"prompt of {prompt} tokens does not fit the model's context of {context_tokens} tokens"
    return ids_fault((*request.prefix, *request.tail, *request.label_ids), vocabulary_tokens)


def failed_generate(error: str) -> GenerateReply:
    """The reply to a request that was not run."""
    return GenerateReply(text="", finish="error", counts=TokenCounts(), error=error)


def failed_label(error: str) -> LabelReply:
    """The reply to a request that was not run."""
    return LabelReply(logprobs=None, counts=TokenCounts(), error=error)
