"""The plain engine: a causal language model run by transformers, on the CPU or on one GPU.

    load ──> check the folder, read the weights, prove that labels read here are the model's own
    label_logprobs: [few-shot | explanation | excerpt]   the prefixes' common part is run once, each prefix once,
                                                         tails in batches behind it, logits at the labels alone
    generate:       the prompts' common part is run once, the rest in batches, then token by token

Results do not depend on how requests are batched, but for rounding: measured on six tiny families, label
log-probabilities move by at most 1.1e-5 nats in float32, and 0.08 in bfloat16, where a greedy reply can then differ.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import transformers
from safetensors import SafetensorError

from localexplain.carry.manifest import model_name
from localexplain.engines.base import GenerateReply, GenerateRequest, LabelReply, LabelRequest
from localexplain.engines.checks import failed_generate, failed_label, generate_fault, label_fault
from localexplain.engines.forward import (
    Head,
    Past,
    Run,
    common_prefix,
    pad_right,
    past_tokens,
    read_head,
    repeat_rows,
    run,
)
from localexplain.engines.generation import Row, Vocabulary, start_row, write_rows
from localexplain.engines.patterns import PatternCompiler
from localexplain.engines.proof import mean_gap, proof_requests
from localexplain.engines.tokenizer import HuggingFaceTokenizer, first_line
from localexplain.errors import EngineError, UserError
from localexplain.modelfiles import check_model_folder, hash_model_folder
from localexplain.types import Identity, TokenCounts

Dtype = Literal["float32", "bfloat16"]

BATCH_TOKENS = 16_384  # places of a batch's past and tokens together: 2 GB of cache for an 8B Llama in bfloat16
BATCH_REQUESTS = 64
# Nats that the proof allows, see proof.mean_gap: in float32 a hundred times what rounding gives a tiny model; in
# bfloat16, whose logits are rounded to 1 part in 256, ten times.
PROOF_TOLERANCE: dict[Dtype, float] = {"float32": 1e-4, "bfloat16": 0.25}
# what transformers raises for a folder that is not what it says: of another kind, cut off, of shapes that do not fit
LOADING_ERRORS = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, ImportError, SafetensorError)


def pick_device(device: str) -> torch.device:
    """ "auto" is the GPU where there is one, else the CPU. Raises UserError for a device that torch has not."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f'device {device!r} cannot be used ({first_line(error)}); use "auto" or "cpu"') from error
    return place


def load_model(path: Path, dtype: Dtype, device: torch.device) -> Any:
    """The causal language model in `path`, in eval mode, on `device`.

    Raises UserError when transformers knows no such architecture, or the weights are not all there; EngineError when
    the device's memory cannot hold them.
    """
    transformers.utils.logging.disable_progress_bar()  # a bar of its own would cut into ours
    try:
        loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(
            path,
            dtype=getattr(torch, dtype),
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    except LOADING_ERRORS as error:
        raise UserError(
            f"engine model: {path} cannot be loaded ({type(error).__name__}: {first_line(error)}); give a causal "
            "language model that transformers supports"
        ) from error
    model, found = loaded
    # transformers fills weights that are missing with random numbers, and only warns
    missing = sorted({*found["missing_keys"], *(str(key) for key in found["mismatched_keys"])})
    if missing:
        raise UserError(f"engine model: {path} lacks {len(missing)} weights ({missing[0]}, ...); copy the files again")
    model.eval()
    try:
        return model.to(device)
    except torch.OutOfMemoryError as error:
        raise EngineError(f"engine model: {path} in {dtype} does not fit the memory of {device}") from error


def read_stop_ids(model: Any, tokenizer: HuggingFaceTokenizer) -> frozenset[int]:
    """The tokens that end a reply: those the model's generation settings name, and the tokenizer's."""
    named = model.generation_config.eos_token_id
    listed = [named] if isinstance(named, int) else list(named or [])
    return frozenset([*listed, *([] if tokenizer.eos_id is None else [tokenizer.eos_id])])


def cut_batches(lengths: Sequence[int], batch_tokens: int, batch_requests: int) -> list[range]:
    """Consecutive rows as batches, each of at most `batch_requests` rows and, unless it is one row alone, at most
    `batch_tokens` places when all rows are as long as the longest.

    >>> cut_batches([3, 3, 5, 9], batch_tokens=10, batch_requests=8)
    [range(0, 2), range(2, 3), range(3, 4)]
    """
    batches: list[range] = []
    start = longest = 0
    for place, length in enumerate(lengths):
        longest = max(longest, length)
        rows = place + 1 - start
        if rows > 1 and (rows > batch_requests or rows * longest > batch_tokens):
            batches.append(range(start, place))
            start, longest = place, length
    return [*batches, range(start, len(lengths))] if lengths else []


class TransformersEngine:
    """An Engine over one model folder; see `load`."""

    def __init__(
        self,
        *,
        model: Any,
        tokenizer: HuggingFaceTokenizer,
        identity: Identity,
        stop_ids: frozenset[int],
        context_tokens: int,
        batch_tokens: int,
        batch_requests: int,
    ) -> None:
        self._model = model
        self._head: Head = read_head(model)
        self._device = self._head.weight.device
        self._tokenizer = tokenizer
        self._identity = identity
        self._stop_ids = stop_ids
        self._context_tokens = context_tokens
        self._batch_tokens = batch_tokens
        self._batch_requests = batch_requests
        self._columns = int(self._head.weight.shape[0])
        self._patterns: PatternCompiler | None = None

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        dtype: Dtype = "float32",
        device: str = "auto",
        context_tokens: int = 0,
        batch_tokens: int = BATCH_TOKENS,
        batch_requests: int = BATCH_REQUESTS,
    ) -> "TransformersEngine":
        """From a folder saved by transformers: safetensors only, no code of the folder's is run, nothing fetched.

        context_tokens  0 is the model's own, which it may not exceed
        batch_tokens    most places, padding and repeated prefixes included, that a batch's cache holds; a request
                        that is longer alone is a batch of one
        batch_requests  most requests in a batch

        Raises UserError for an incomplete folder, an unknown architecture or device; EngineError for a model whose
        labels cannot be proven.
        """
        check_model_folder(path, "engine")
        place = pick_device(device)
        tokenizer = HuggingFaceTokenizer.load(path)
        model = load_model(path, dtype, place)
        longest_tokens = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        if not isinstance(longest_tokens, int):
            raise EngineError(f"{path}: config.json does not say the longest context; use another model")
        if context_tokens > longest_tokens:
            raise UserError(f"engine.context_tokens = {context_tokens}: {path} reads at most {longest_tokens}")
        stop_ids = read_stop_ids(model, tokenizer)
        quantisation = getattr(model.config, "quantization_config", None)
        details = {
            "dtype": dtype,
            "files_sha256": hash_model_folder(path),
            "quantisation": "none" if quantisation is None else str(getattr(quantisation, "quant_method", "unnamed")),
            "stop_ids": ",".join(map(str, sorted(stop_ids))),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }
        engine = cls(
            model=model,
            tokenizer=tokenizer,
            identity=Identity(kind="transformers", name=model_name(path), details=tuple(sorted(details.items()))),
            stop_ids=stop_ids,
            context_tokens=context_tokens or longest_tokens,
            batch_tokens=batch_tokens,
            batch_requests=batch_requests,
        )
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
        self._model = None
        del self._head
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    # label log-probabilities -----------------------------------------------------------------------------------------

    def label_logprobs(self, requests: Sequence[LabelRequest]) -> list[LabelReply]:
        """See Engine. Raises EngineError when memory runs out, or the model computes no numbers."""
        faults = [label_fault(request, self._columns, self._context_tokens) for request in requests]
        replies = {place: failed_label(fault) for place, fault in enumerate(faults) if fault is not None}
        groups: dict[tuple[int, ...], list[int]] = {}
        for place, request in enumerate(requests):
            if place not in replies:
                groups.setdefault(request.prefix, []).append(place)
        with self._working():
            shared = common_prefix(list(groups)) if len(groups) > 1 else 0
            shared_past = self._extend(None, next(iter(groups), ())[:shared])
            unpaid = shared
            for prefix, places in groups.items():
                past = self._extend(shared_past, prefix[shared:])
                unpaid += len(prefix) - shared
                by_length = sorted(places, key=lambda place: requests[place].positions[-1])
                lengths = [len(prefix) + requests[place].positions[-1] + 1 for place in by_length]
                for batch in cut_batches(lengths, self._batch_tokens, self._batch_requests):
                    chosen = by_length[batch.start : batch.stop]
                    read = self._read_labels(past, [requests[place] for place in chosen], unpaid)
                    replies.update(zip(chosen, read, strict=True))
                    unpaid = 0
        return [replies[place] for place in range(len(requests))]

    def _read_labels(self, past: Past | None, requests: Sequence[LabelRequest], unpaid: int) -> list[LabelReply]:
        """Replies to requests that all follow `past`, in one batch; the first is charged what the past cost."""
        tails = [request.tail[: request.positions[-1] + 1] for request in requests]
        tokens = pad_right(tails, self._device)
        hidden = run(self._model.base_model, tokens, repeat_rows(past, len(tails))).hidden
        rows = [row for row, request in enumerate(requests) for _ in request.positions]
        places = [place for request in requests for place in request.positions]
        ids = sorted({label_id for request in requests for label_id in request.label_ids})
        column = {label_id: place for place, label_id in enumerate(ids)}
        read = self._head.label_logprobs(hidden[rows, places], torch.tensor(ids, device=self._device)).cpu().numpy()
        if np.isnan(read).any():
            raise EngineError(f"{self._identity.name} computes NaN; load it in float32, or copy its weights again")
        replies, start = [], 0
        for row, request in enumerate(requests):
            stop = start + len(request.positions)
            counts = TokenCounts(
                prompt=len(request.prefix) + len(request.tail), computed=tokens.shape[1] + (unpaid if row == 0 else 0)
            )
            chosen = [column[label_id] for label_id in request.label_ids]
            replies.append(LabelReply(logprobs=read[start:stop][:, chosen], counts=counts))
            start = stop
        return replies

    # generation ------------------------------------------------------------------------------------------------------

    def generate(self, requests: Sequence[GenerateRequest]) -> list[GenerateReply]:
        """See Engine. Raises EngineError when memory runs out."""
        replies: dict[int, GenerateReply] = {}
        rows: dict[int, Row] = {}
        for place, request in enumerate(requests):
            fault = generate_fault(request, self._columns, self._context_tokens)
            started = fault or self._start_row(request)
            if isinstance(started, str):
                replies[place] = failed_generate(started)
            else:
                rows[place] = started
        going = list(rows)
        with self._working():
            # at least one token of each prompt is run behind the shared part: its hidden state is what comes next from
            heads = [requests[place].token_ids[:-1] for place in going]
            shared = common_prefix(heads) if len(going) > 1 else 0
            past = self._extend(None, heads[0][:shared] if heads else ())
            lengths = [len(requests[place].token_ids) + requests[place].sampling.max_tokens for place in going]
            for batch in cut_batches(lengths, self._batch_tokens, self._batch_requests):
                chosen = going[batch.start : batch.stop]
                prompts = [requests[place].token_ids for place in chosen]
                unpaid = shared if batch.start == 0 else 0
                written = self._write(past, prompts, [rows[place] for place in chosen], unpaid)
                replies.update(zip(chosen, written, strict=True))
        return [replies[place] for place in range(len(requests))]

    def _start_row(self, request: GenerateRequest) -> Row | str:
        """The row of a request that is sound, or why its pattern cannot be obeyed."""
        if request.pattern is None:
            return start_row(request.sampling, None)
        if not self._stop_ids:
            return "the model has no end-of-text token, so that a pattern could not end"
        if self._patterns is None:
            tokenizer = self._tokenizer
            self._patterns = PatternCompiler(tokenizer.backend, tokenizer.added_ids, self._stop_ids, self._columns)
        try:
            return start_row(request.sampling, self._patterns.start(request.pattern))
        except ValueError as error:
            return f"pattern {request.pattern!r}: {first_line(error)}"

    def _write(
        self, past: Past | None, prompts: Sequence[tuple[int, ...]], rows: Sequence[Row], unpaid: int
    ) -> list[GenerateReply]:
        """Replies to prompts that all start with what `past` holds, in one batch; the first is charged its cost."""
        tails = [prompt[past_tokens(past) :] for prompt in prompts]
        tokens = pad_right(tails, self._device)
        ran = run(self._model.base_model, tokens, repeat_rows(past, len(tails)))
        lengths = torch.tensor([len(tail) for tail in tails], device=self._device)
        last = ran.hidden[torch.arange(len(tails), device=self._device), lengths - 1].unsqueeze(1)
        known = min(self._tokenizer.vocabulary_tokens, self._columns)
        vocabulary = Vocabulary(decode=self._tokenizer.decode, known=known, stop_ids=self._stop_ids)
        padding = tokens.shape[1] - lengths
        write_rows(rows, Run(hidden=last, past=ran.past), padding, self._model.base_model, self._head, vocabulary)
        replies = []
        for place, (prompt, row) in enumerate(zip(prompts, rows, strict=True)):
            computed = tokens.shape[1] + (unpaid if place == 0 else 0)
            counts = TokenCounts(prompt=len(prompt), computed=computed, generated=row.sampled)
            text = self._tokenizer.decode(row.written) if row.cut_text is None else row.cut_text
            if row.error is not None:
                text = ""
            replies.append(GenerateReply(text=text, finish=row.finish or "error", counts=counts, error=row.error))
        return replies

    # both ------------------------------------------------------------------------------------------------------------

    @contextmanager
    def _working(self) -> Iterator[None]:
        if self._model is None:
            raise EngineError(f"{self._identity.name} is closed; load it again")
        try:
            with torch.inference_mode():
                yield
        except torch.OutOfMemoryError as error:
            raise EngineError(
                f"{self._identity.name}: out of memory on {self._device}; lower batch_tokens ({self._batch_tokens})"
            ) from error

    def _extend(self, past: Past | None, token_ids: tuple[int, ...]) -> Past | None:
        """The past with `token_ids` run behind it; the same past for none."""
        return past if not token_ids else run(self._model.base_model, pad_right([token_ids], self._device), past).past

    def _prove(self, tolerance: float) -> None:
        """Raises EngineError when labels read here differ from the model's own by more than `tolerance` nats."""
        known = min(self._tokenizer.vocabulary_tokens, self._columns)
        ordinary = [index for index in range(known) if index not in self._tokenizer.added_ids]
        requests = proof_requests(ordinary, self._context_tokens)
        try:
            gap = mean_gap(self._model, requests, self.label_logprobs(requests))
        except (*LOADING_ERRORS, IndexError) as error:
            raise EngineError(
                f"{self._identity.name} ({type(self._model).__name__}) does not run ({first_line(error)}); its "
                "architecture is not supported as an engine"
            ) from error
        if not gap <= tolerance:
            raise EngineError(
                f"{self._identity.name} ({type(self._model).__name__}): label log-probabilities differ from the "
                f"model's own by {gap:.2g} nats where {tolerance} are allowed; its architecture is not supported as an "
                "engine"
            )
