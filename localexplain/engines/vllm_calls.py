"""What is said to vLLM, in its words: how it is started, and the settings of each request.

Nothing here imports vLLM before it is called.
"""

from collections.abc import Collection, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pydantic
from outlines_core import Index, Vocabulary

from localexplain.engines.base import GenerateRequest
from localexplain.engines.tokenizer import first_line
from localexplain.errors import EngineError

Dtype = Literal["float32", "bfloat16", "float16"]

MAX_LABELS = 128  # vLLM's own limit for logprob_token_ids; for rows it is what max_logprobs says
CPU_BLOCK_TOKENS = 32  # the CPU build's default is 128: over a prefix of 800 tokens 590 requests/s instead of 1,200
SEEDS = 1 << 63
NEVER = -100.0  # the lowest bias that vLLM takes
# what vLLM raises where it cannot load or run a model, its own errors aside: those are no ValueErrors
VLLM_ERRORS = (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, ImportError, AssertionError)


# starting -----------------------------------------------------------------------------------------------------------


def cause(error: Exception) -> str:
    """The error's first line; of pydantic's, which only counts the faults there, the first fault's."""
    if isinstance(error, pydantic.ValidationError):
        return str(error.errors(include_url=False)[0]["msg"]).partition("\n")[0].removeprefix("Value error, ")
    return first_line(error)


def start_vllm(
    folder: Path, dtype: Dtype, context_tokens: int, tensor_parallel: int, memory_fraction: float, quantization: str
) -> Any:
    """The LLM. Raises EngineError with the first line of the cause when vLLM cannot load the model."""
    from vllm import LLM
    from vllm.distributed import cleanup_dist_env_and_memory
    from vllm.exceptions import VLLMError
    from vllm.platforms import current_platform

    # eager: torch.compile on a CPU needs a compiler, and minutes
    cpu = {"enforce_eager": True, "block_size": CPU_BLOCK_TOKENS} if current_platform.is_cpu() else {}
    try:
        return LLM(
            model=str(folder.resolve()),
            dtype=dtype,
            max_model_len=context_tokens or None,
            tensor_parallel_size=tensor_parallel,
            gpu_memory_utilization=memory_fraction,
            quantization=quantization or None,
            seed=0,
            max_logprobs=MAX_LABELS,
            logprobs_mode="raw_logprobs",  # before temperature, top_p and patterns
            structured_outputs_config={"backend": "outlines"},
            use_tqdm_on_load=False,
            disable_log_stats=True,
            **cpu,
        )
    except (*VLLM_ERRORS, VLLMError) as error:
        cleanup_dist_env_and_memory()
        raise EngineError(f"{folder}: vLLM cannot load it ({cause(error)})") from error


# requests -----------------------------------------------------------------------------------------------------------


@cache
def byte_vocabulary() -> Vocabulary:
    """One token for each byte: whatever cannot be written in it is no pattern."""
    return Vocabulary(256, {bytes([byte]): [byte] for byte in range(256)})


@lru_cache(maxsize=64)
def pattern_fault(pattern: str) -> str | None:
    """Why the pattern is none that Outlines and vLLM take, or None. Asked beforehand: vLLM refuses the whole call."""
    from vllm.exceptions import VLLMClientError
    from vllm.v1.structured_output.backend_outlines import validate_regex_is_buildable

    try:
        Index(pattern, byte_vocabulary())
        validate_regex_is_buildable(pattern)
    except (ValueError, VLLMClientError) as error:
        return f"pattern {pattern!r}: {first_line(error)}"
    return None


def sampling_params(request: GenerateRequest, unspelled: Collection[int] = ()) -> Any:
    """A SamplingParams for this request alone: vLLM writes into the one it is given.

    unspelled  added tokens, those that end a reply left out. A pattern may spell the name of one ("<|im_start|>" is a
               token of many a subject): it is to be written in letters then, as the other engine does, for as a token
               it would be lost from the reply's text.

    Raises VLLMClientError for a setting that vLLM does not take, such as a temperature above 2.
    """
    from vllm import SamplingParams
    from vllm.sampling_params import StructuredOutputsParams

    sampling = request.sampling
    return SamplingParams(
        max_tokens=sampling.max_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        seed=sampling.seed % SEEDS,
        stop=list(sampling.stop),
        detokenize=bool(sampling.stop),
        structured_outputs=None if request.pattern is None else StructuredOutputsParams(regex=request.pattern),
        logit_bias=None if request.pattern is None else dict.fromkeys(unspelled, NEVER) or None,
    )


def single_params(label_ids: Sequence[int]) -> Any:
    """Asks for these labels' log-probabilities as the next token, over the whole vocabulary."""
    from vllm import SamplingParams

    return SamplingParams(max_tokens=1, temperature=0.0, logprob_token_ids=list(label_ids), detokenize=False)


def rows_params(label_ids: Sequence[int], start: int, rows: int, *, skip_cache: bool) -> Any:
    """Asks for these labels' log-probabilities at each of `rows` places of the prompt from `start` on."""
    from vllm import SamplingParams

    return SamplingParams(
        max_tokens=1,
        temperature=0.0,
        detokenize=False,
        prompt_logprob_start=start,
        prompt_logprob_token_ids=np.tile(np.asarray(label_ids, dtype=np.int32), (rows, 1)),
        skip_reading_prefix_cache=skip_cache,
    )


def computed_tokens(output: Any) -> int:
    """Prompt tokens that were not in the prefix cache."""
    return len(output.prompt_token_ids) - (output.num_cached_tokens or 0)


def refusals(outputs: Sequence[Any]) -> list[str]:
    return [output for output in outputs if isinstance(output, str)]
