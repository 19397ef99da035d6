"""The fast engine: a causal language model run by vLLM, on GPUs, or on the CPU by its CPU build.

    load ──> settle the process, start vLLM, prove that labels can be read
    generate:        one vLLM request each, with its own sampling settings; Outlines makes patterns obeyed
    label_logprobs:  "rows" (model runner V2): one request each, labels out of its own prefill
                     "singles" (any runner): one request for each position, asked for its next token

vLLM keeps what requests have in common at the start in its prefix cache, across calls too, so that requests of one
prefix, standing together, compute it once.

Why not `prompt_logprobs` on runner V1: its rows inside the cached prefix are uninitialised memory, and a repeated
request finds all of its rows there, without an error. "singles" reads no prompt row at all: each request's answer is
the one distribution that is computed for the token it is about to write, and at least one token of a prompt is always
computed. `logprob_token_ids` has a trap of its own on V1 (beside a request with `logprobs=k` in one batch it answers
minus infinity); label requests are therefore never in one call with others, and nothing here asks for `logprobs=k`.
"""

import gc
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float32

from localexplain.carry.manifest import model_name
from localexplain.engines.base import GenerateReply, GenerateRequest, LabelReply, LabelRequest
from localexplain.engines.checks import failed_generate, failed_label, generate_fault, label_fault
from localexplain.engines.generation import cut_at_stop
from localexplain.engines.proof import proof_requests
from localexplain.engines.tokenizer import HuggingFaceTokenizer, first_line
from localexplain.engines.vllm_calls import (
    MAX_LABELS,
    VLLM_ERRORS,
    Dtype,
    computed_tokens,
    pattern_fault,
    refusals,
    rows_params,
    sampling_params,
    single_params,
    start_vllm,
)
from localexplain.engines.vllm_host import CPU_THREADS, require_free_process, unchanged_process, vllm_status
from localexplain.engines.vllm_plan import cut_calls, pick_rows, plan_rows, plan_singles, rows_fault, spare_fault
from localexplain.errors import EngineError, EngineMissing
from localexplain.modelfiles import check_model_folder, hash_model_folder
from localexplain.types import Identity, TokenCounts

Reading = Literal["rows", "singles"]

# Tokens that a reading needs behind the last position: "singles" writes one; "rows" needs one to be predicted as well.
SPARE_TOKENS: dict[Reading, int] = {"rows": 2, "singles": 1}
# Of a call's prompts together: as Python lists 8 bytes each, and vLLM keeps them all. A thousand excerpts read by
# "singles" would be 80 million.
CALL_TOKENS = 8_000_000
# Nats between the two readings of one prompt. Float32: a hundred times what was measured between engines.
PROOF_TOLERANCE: dict[Dtype, float] = {"float32": 1e-3, "bfloat16": 0.25, "float16": 0.05}


def read_stop_ids(llm: Any, tokenizer: HuggingFaceTokenizer) -> frozenset[int]:
    """The tokens that end a reply: those the model's generation settings name, and the tokenizer's."""
    named = llm.llm_engine.model_config.try_get_generation_config().get("eos_token_id")
    listed = [named] if isinstance(named, int) else list(named or [])
    return frozenset([*listed, *([] if tokenizer.eos_id is None else [tokenizer.eos_id])])


class VllmEngine:
    """An Engine over one model folder; see `load`.

    reading  how labels are read, see the top of this file
    """

    def __init__(self, *, llm: Any, tokenizer: HuggingFaceTokenizer, identity: Identity, reading: Reading) -> None:
        config = llm.llm_engine.model_config
        self._llm = llm
        self._tokenizer = tokenizer
        self._identity = identity
        self._context_tokens = int(config.max_model_len)
        self._columns = int(config.get_vocab_size())
        added = {index for index in tokenizer.added_ids if index < self._columns}
        self._unspelled = frozenset(added - read_stop_ids(llm, tokenizer))
        self._threads_before: int | None = None
        self.reading: Reading = reading

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        dtype: Dtype = "float32",
        context_tokens: int = 0,
        tensor_parallel: int = 1,
        memory_fraction: float = 0.9,
        quantization: str = "",
    ) -> "VllmEngine":
        """From a folder saved by transformers: no code of the folder's is run, nothing fetched.

        context_tokens   0 is the model's own; its cache must fit the memory, so a long one may have to be cut
        tensor_parallel  GPUs that share the model
        memory_fraction  share of a GPU's memory that vLLM may take. The CPU build takes VLLM_CPU_KVCACHE_SPACE (1)
                         GiB for its cache beside the weights, and all cores but one unless OMP_NUM_THREADS says
                         otherwise
        quantization     "" reads it from the checkpoint; else vLLM's name of it

        Starts vLLM in this process, where one engine can live at a time, unless VLLM_ENABLE_V1_MULTIPROCESSING=1 is
        set. The process's random generators go on as if nothing had been loaded. One trace stays: an architecture that
        vLLM has not itself and borrows from transformers (GPT-NeoX) can afterwards not be loaded by transformers here.

        Raises EngineMissing: vLLM is not installed or cannot be imported; UserError: an incomplete folder;
        EngineError: the model cannot be loaded, or does not run, or another engine is in the process.
        """
        usable, why = vllm_status()
        if not usable:
            raise EngineMissing(f"vLLM cannot be used here: {why}")
        check_model_folder(folder, "engine")
        require_free_process()
        tokenizer = HuggingFaceTokenizer.load(folder)
        threads_before = torch.get_num_threads()
        with unchanged_process():
            import vllm
            from vllm.platforms import current_platform

            if current_platform.is_cpu():  # the variable itself is read only when torch is imported
                torch.set_num_threads(int(os.environ[CPU_THREADS].partition(",")[0]))
            llm = start_vllm(folder, dtype, context_tokens, tensor_parallel, memory_fraction, quantization)
        details = {
            "dtype": dtype,
            "files_sha256": hash_model_folder(folder),
            "quantisation": str(llm.llm_engine.model_config.quantization or "none"),
            "runner": "V2" if llm.llm_engine.vllm_config.use_v2_model_runner else "V1",
            "stop_ids": ",".join(map(str, sorted(read_stop_ids(llm, tokenizer)))),
            "torch": torch.__version__,
            "vllm": vllm.__version__,
        }
        identity = Identity(kind="vllm", name=model_name(folder), details=tuple(sorted(details.items())))
        engine = cls(llm=llm, tokenizer=tokenizer, identity=identity, reading="singles")
        engine._threads_before = threads_before
        engine._prove(PROOF_TOLERANCE[dtype])
        return engine

    @property
    def identity(self) -> Identity:
        return self._identity

    @property
    def tokenizer(self) -> HuggingFaceTokenizer:
        return self._tokenizer

    @property
    def context_tokens(self) -> int:
        return self._context_tokens

    def close(self) -> None:
        if self._llm is None:
            return
        self._llm.llm_engine.engine_core.shutdown()
        self._llm = None
        gc.collect()  # the engine is full of cycles; its memory goes back only here
        if self._threads_before is not None:
            torch.set_num_threads(self._threads_before)

    # generation ------------------------------------------------------------------------------------------------------

    def generate(self, requests: Sequence[GenerateRequest]) -> list[GenerateReply]:
        """See Engine; a reply's generated tokens include the one that ended it. Raises EngineError when vLLM fails."""
        from vllm.exceptions import VLLMClientError

        replies: dict[int, GenerateReply] = {}
        params: dict[int, Any] = {}
        for place, request in enumerate(requests):
            fault = generate_fault(request, self._columns, self._context_tokens) or self._pattern_fault(request)
            try:
                if fault is None:
                    params[place] = sampling_params(request, self._unspelled)
            except VLLMClientError as error:
                fault = first_line(error)
            if fault is not None:
                replies[place] = failed_generate(fault)
        outputs = self._run([requests[place].token_ids for place in params], list(params.values()))
        for place, output in zip(params, outputs, strict=True):
            replies[place] = self._read_reply(requests[place], output)
        return [replies[place] for place in range(len(requests))]

    def _pattern_fault(self, request: GenerateRequest) -> str | None:
        if request.pattern is None:
            return None
        if self._tokenizer.eos_id is None:
            return "the model has no end-of-text token, so that a pattern could not end"
        return pattern_fault(request.pattern)

    def _read_reply(self, request: GenerateRequest, output: Any) -> GenerateReply:
        if isinstance(output, str):
            return failed_generate(output)
        (written,) = output.outputs
        ids = list(written.token_ids)
        counts = TokenCounts(prompt=len(request.token_ids), computed=computed_tokens(output), generated=len(ids))
        if written.finish_reason not in ("stop", "length"):
            error = f"vLLM ended the request with {written.finish_reason!r}"
            return GenerateReply(text="", finish="error", counts=counts, error=error)
        at_stop_string = isinstance(written.stop_reason, str)
        if written.finish_reason == "stop" and not at_stop_string:
            ids = ids[:-1]  # the token that ended it, special to the tokenizer or not
        text = self._tokenizer.decode(ids)
        if at_stop_string:
            cut = cut_at_stop(text, request.sampling.stop)
            text = written.text if cut is None else cut
        return GenerateReply(text=text, finish=written.finish_reason, counts=counts)

    # label log-probabilities -----------------------------------------------------------------------------------------

    def label_logprobs(self, requests: Sequence[LabelRequest]) -> list[LabelReply]:
        """See Engine. vLLM cannot write nothing: the one token it writes for each of its requests is thrown away, and
        counted as neither computed nor generated. With "singles", `computed` is the sum over a request's positions.

        Raises EngineError when vLLM fails, or the model computes no numbers.
        """
        faults = [self._label_fault(request) for request in requests]
        replies = {place: failed_label(fault) for place, fault in enumerate(faults) if fault is not None}
        going = [place for place in range(len(requests)) if place not in replies]
        by_rows = self.reading == "rows"
        prompts = [requests[place] for place in going]
        costs = [sum(map(len, [plan_rows(one).token_ids] if by_rows else plan_singles(one))) for one in prompts]
        for call in cut_calls(costs, CALL_TOKENS):
            chosen = prompts[call.start : call.stop]
            read = self._read_rows(chosen) if by_rows else self._read_singles(chosen)
            replies.update(zip(going[call.start : call.stop], read, strict=True))
        return [replies[place] for place in range(len(requests))]

    def _label_fault(self, request: LabelRequest) -> str | None:
        fault = label_fault(request, self._columns, self._context_tokens)
        if fault is None and len(request.label_ids) > MAX_LABELS:
            return f"{len(request.label_ids)} label ids; vLLM reads at most {MAX_LABELS}"
        return fault or spare_fault(request, SPARE_TOKENS[self.reading], self._context_tokens)

    def _read_singles(self, requests: Sequence[LabelRequest]) -> list[LabelReply]:
        prompts = [plan_singles(request) for request in requests]
        params = [single_params(request.label_ids) for request in requests for _ in request.positions]
        outputs = iter(self._run([ids for group in prompts for ids in group], params))
        replies = []
        for request in requests:
            answers = [next(outputs) for _ in request.positions]
            if why := refusals(answers):
                replies.append(failed_label(why[0]))
                continue
            # beside the labels the entry holds the token that was written; `rank` in it is no rank, and is not used
            entries = [answer.outputs[0].logprobs[0] for answer in answers]
            table = [[entry[label].logprob for label in request.label_ids] for entry in entries]
            computed = sum(map(computed_tokens, answers))
            replies.append(self._label_reply(request, np.array(table, dtype=np.float32), computed))
        return replies

    def _read_rows(self, requests: Sequence[LabelRequest]) -> list[LabelReply]:
        plans = [plan_rows(request) for request in requests]

        def ask(places: Sequence[int], skip_cache: bool) -> list[Any]:
            params = [
                rows_params(requests[place].label_ids, plans[place].start, plans[place].rows, skip_cache=skip_cache)
                for place in places
            ]
            return self._run([plans[place].token_ids for place in places], params)

        first = ask(range(len(requests)), False)
        computed = [0 if isinstance(output, str) else computed_tokens(output) for output in first]
        # rows inside the cached prefix are never computed, and vLLM then gives none at all: those are run in full
        missed = [
            place
            for place, output in enumerate(first)
            if not isinstance(output, str) and output.prompt_token_id_logprobs is None
        ]
        for place, output in zip(missed, ask(missed, True), strict=True):
            first[place] = output
            computed[place] += 0 if isinstance(output, str) else computed_tokens(output)
        replies = []
        for request, plan, output, cost in zip(requests, plans, first, computed, strict=True):
            table: Any = None if isinstance(output, str) else output.prompt_token_id_logprobs
            fault = output if isinstance(output, str) else rows_fault(table, plan, len(request.label_ids))
            if fault is not None:
                replies.append(failed_label(fault))
            else:
                replies.append(self._label_reply(request, pick_rows(table, plan), cost))
        return replies

    def _label_reply(
        self, request: LabelRequest, table: Float32[np.ndarray, "positions labels"], computed: int
    ) -> LabelReply:
        """Raises EngineError for NaN."""
        if np.isnan(table).any():
            raise EngineError(f"{self._identity.name} computes NaN; load it in float32, or copy its weights again")
        counts = TokenCounts(prompt=len(request.prefix) + len(request.tail), computed=computed)
        return LabelReply(logprobs=np.minimum(table, 0.0), counts=counts)

    # both ------------------------------------------------------------------------------------------------------------

    def _run(self, prompts: Sequence[tuple[int, ...]], params: Sequence[Any]) -> list[Any]:
        """vLLM's output for each prompt, or, as a string, why it refuses it.

        vLLM refuses a whole call for one bad request and keeps nothing of it, so the call is cut in halves then.
        """
        from vllm import TokensPrompt
        from vllm.exceptions import VLLMClientError

        if not prompts:
            return []
        try:
            with self._working():
                asked = [TokensPrompt(prompt_token_ids=list(ids)) for ids in prompts]
                outputs: list[Any] = self._llm.generate(asked, list(params), use_tqdm=False)
                return outputs
        except VLLMClientError as error:
            if len(prompts) == 1:
                return [first_line(error)]
        half = len(prompts) // 2
        return [*self._run(prompts[:half], params[:half]), *self._run(prompts[half:], params[half:])]

    @contextmanager
    def _working(self) -> Iterator[None]:
        """Raises EngineError when vLLM breaks as a whole; it is shut down then, since requests may be stuck in it."""
        from vllm.exceptions import VLLMServerError

        if self._llm is None:
            raise EngineError(f"{self._identity.name} is closed; load it again")
        try:
            yield
        except (*VLLM_ERRORS, VLLMServerError) as error:
            self.close()
            raise EngineError(f"{self._identity.name}: vLLM stopped working ({first_line(error)})") from error

    def _prove(self, tolerance: float) -> None:
        """Runs the model, and reads labels by rows from now on if the runner can and they are those of "singles" within
        `tolerance` nats, found in the cache or not. Raises EngineError when it does not run, or computes NaN."""
        known = min(self._tokenizer.vocabulary_tokens, self._columns)
        ordinary = [index for index in range(known) if index not in self._tokenizer.added_ids]
        requests = proof_requests(ordinary, self._context_tokens - SPARE_TOKENS["rows"])
        singles = self.label_logprobs(requests)
        if failed := [reply.error for reply in singles if reply.error is not None]:
            self.close()
            raise EngineError(f"{self._identity.name}: vLLM reads no labels from it ({failed[0]})")
        if self._llm.llm_engine.vllm_config.use_v2_model_runner:
            self.reading = "rows"
            if not all(reading_gap(self.label_logprobs(requests), singles) <= tolerance for _ in range(2)):
                self.reading = "singles"
        self._llm.reset_prefix_cache()


def reading_gap(found: Sequence[LabelReply], wanted: Sequence[LabelReply]) -> float:
    """The largest difference, in nats, between two readings of the same requests; infinite where one failed."""
    return max(
        np.inf if one.logprobs is None or other.logprobs is None else float(np.abs(one.logprobs - other.logprobs).max())
        for one, other in zip(found, wanted, strict=True)
    )
