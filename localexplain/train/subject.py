"""Train a small subject model from any folder of text: the recipe behind models/tiny-subject.

    texts ──blocks──> train / held out ──> byte-level BPE ──> token streams ──> GPT-2 ──> folder that transformers loads

The same call resumes from its last checkpoint: the batch of a step depends on (seed, step) alone. With a GPU it uses
the GPU; on a CPU it uses bf16 autocast where the processor has it.
"""

import json
import math
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64, UInt16

from localexplain.errors import ConfigError, CorpusError, UserError
from localexplain.files import write_whole
from localexplain.settings import check_lowest
from localexplain.subject.corpus import Document, hash_tokens, read_documents

END_OF_TEXT = "<|endoftext|>"  # id 0: separates blocks, and is the beginning-of-sequence token
SMALLEST_VOCABULARY = 257  # all bytes and END_OF_TEXT
LARGEST_VOCABULARY = 1 << 16  # token streams are held in 16 bits
BLOCK_CHARACTERS = 20_000  # a held-out block is a run of lines about this long, so that it is no neighbour's echo
CARD_FILE = "card.json"
EVALUATE_WINDOWS = 512  # held-out windows the final loss is measured on, at most


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectTraining:
    """The recipe's settings; the defaults are those of models/tiny-subject."""

    texts: str
    out: str
    text_field: str = "text"
    vocabulary: int = 4096
    layers: int = 4
    width: int = 256
    heads: int = 4
    context_tokens: int = 128
    batch_windows: int = 32
    train_tokens: int = 22_000_000
    learning_rate: float = 2e-3
    warmup_steps: int = 200
    weight_decay: float = 0.1
    held_out_fraction: float = 0.02
    checkpoint_steps: int = 250
    seed: int = 1

    def __post_init__(self) -> None:
        counts = ("layers", "width", "heads", "context_tokens", "batch_windows", "train_tokens", "checkpoint_steps")
        check_lowest(self, counts, 1)
        check_lowest(self, ("learning_rate", "warmup_steps", "weight_decay", "seed"), 0)
        if not SMALLEST_VOCABULARY <= self.vocabulary <= LARGEST_VOCABULARY:
            raise ConfigError(
                f"vocabulary = {self.vocabulary}: must be from {SMALLEST_VOCABULARY} to {LARGEST_VOCABULARY}"
            )
        if not 0 < self.held_out_fraction < 1:
            raise ConfigError(f"held_out_fraction = {self.held_out_fraction}: must be above 0 and below 1")
        if self.width % self.heads:
            raise ConfigError(f"width = {self.width}: must be a multiple of heads = {self.heads}")


# data ----------------------------------------------------------------------------------------------------------------


def cut_blocks(document: Document) -> Iterable[str]:
    """The document's text in runs of whole lines of at least BLOCK_CHARACTERS (the last may be shorter)."""
    lines: list[str] = []
    size = 0
    for line in document.text.splitlines(keepends=True):
        lines.append(line)
        size += len(line)
        if size >= BLOCK_CHARACTERS:
            yield "".join(lines)
            lines, size = [], 0
    if lines:
        yield "".join(lines)


def split_blocks(blocks: Iterable[str], held_out_fraction: float, seed: int) -> tuple[list[str], list[str]]:
    """(train, held out), by each block's own hash, so that the split does not depend on the other texts."""
    train: list[str] = []
    held_out: list[str] = []
    for block in blocks:
        share = hash_tokens([ord(character) for character in block], seed) / 2**64
        (held_out if share < held_out_fraction else train).append(block)
    return train, held_out


def train_tokenizer(blocks: Iterable[str], vocabulary: int) -> Any:
    """A byte-level BPE tokenizer with END_OF_TEXT as id 0, as transformers wraps it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(blocks, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        clean_up_tokenization_spaces=False,
    )


def encode_stream(blocks: list[str], tokenizer: Any) -> UInt16[np.ndarray, " tokens"]:
    """All blocks' token ids in one row, END_OF_TEXT before each."""
    parts: list[UInt16[np.ndarray, " some"]] = []
    start = np.array([tokenizer.bos_token_id], dtype=np.uint16)
    for first in range(0, len(blocks), 1000):
        for ids in tokenizer(blocks[first : first + 1000], add_special_tokens=False)["input_ids"]:
            parts += [start, np.asarray(ids, dtype=np.uint16)]
    return np.concatenate(parts)


def sample_batch(
    stream: UInt16[np.ndarray, " tokens"], step: int, settings: SubjectTraining
) -> Int64[np.ndarray, "windows context_plus_1"]:
    """The windows of one step: random places in the stream, drawn from (seed, step)."""
    random = np.random.default_rng((settings.seed, step))
    starts = random.integers(0, len(stream) - settings.context_tokens - 1, settings.batch_windows)
    return np.stack([stream[start : start + settings.context_tokens + 1] for start in starts]).astype(np.int64)


# baselines -----------------------------------------------------------------------------------------------------------


def unigram_probabilities(stream: UInt16[np.ndarray, " tokens"], vocabulary: int) -> Float64[np.ndarray, " vocabulary"]:
    """Add-one unigram probabilities."""
    counts = np.bincount(stream, minlength=vocabulary) + 1.0
    total: Float64[np.ndarray, " vocabulary"] = counts / counts.sum()
    return total


def ngram_losses_nats(
    train: UInt16[np.ndarray, " train_tokens"], held_out: Int64[np.ndarray, "windows context_plus_1"], vocabulary: int
) -> dict[str, float]:
    """Mean held-out loss in nats a token of an add-one unigram model and of a bigram model that interpolates with it
    by Witten-Bell: p(b|a) = (c(a,b) + t(a) p(b)) / (c(a) + t(a)), t(a) = distinct followers of a."""
    unigram = unigram_probabilities(train, vocabulary)
    pair_codes = train[:-1].astype(np.int64) * vocabulary + train[1:]
    codes, pair_counts = np.unique(pair_codes, return_counts=True)
    followers = np.bincount(codes // vocabulary, minlength=vocabulary)
    totals = np.bincount(train[:-1], minlength=vocabulary)
    first, second = held_out[:, :-1].ravel(), held_out[:, 1:].ravel()
    wanted = first * vocabulary + second
    place = np.minimum(np.searchsorted(codes, wanted), len(codes) - 1)
    seen = np.where(codes[place] == wanted, pair_counts[place], 0)
    bigram = (seen + followers[first] * unigram[second]) / np.maximum(totals[first] + followers[first], 1)
    bigram = np.where(totals[first] > 0, bigram, unigram[second])
    return {
        "unigram_loss_nats": float(-np.log(unigram[second]).mean()),
        "bigram_loss_nats": float(-np.log(bigram).mean()),
    }


# training ------------------------------------------------------------------------------------------------------------


def learning_rate_at(step: int, n_steps: int, settings: SubjectTraining) -> float:
    """Linear warm-up, then a cosine down to a tenth."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    progress = (step - settings.warmup_steps) / max(1, n_steps - settings.warmup_steps)
    return settings.learning_rate * (0.55 + 0.45 * math.cos(math.pi * min(1.0, progress)))


def save_atomically(state: dict[str, Any], path: Path) -> None:
    """Writes beside the target and renames, so that a kill leaves the old checkpoint or the new one. Raises OSError."""
    import torch

    scratch = path.with_suffix(".partial")
    try:
        with scratch.open("wb") as file:
            torch.save(state, file)
    except RuntimeError as error:  # torch puts its own over the system's
        if not isinstance(cause := error.__context__, OSError):
            raise
        raise OSError(cause.errno, cause.strerror, str(path)) from error
    os.replace(scratch, path)


def describe_settings(settings: SubjectTraining) -> dict[str, Any]:
    """The settings as the card says them: of the two folders the names alone."""
    return asdict(settings) | {"texts": Path(settings.texts).name, "out": Path(settings.out).name}


def finished_card(settings: SubjectTraining) -> dict[str, Any] | None:
    """The card of the model that OUT holds already, or None. Raises UserError when its settings are others."""
    path = Path(settings.out) / CARD_FILE
    if not path.exists():
        return None
    card: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if card.get("settings") != describe_settings(settings):
        raise UserError(f"{settings.out}: holds a model trained with other settings; use another folder")
    return card


def write_card(card: dict[str, Any], out: Path) -> None:
    """Writes the card whole or not at all: it is what says that the model is finished."""
    write_whole(out / CARD_FILE, json.dumps(card, indent=2) + "\n")


def held_out_windows(
    stream: UInt16[np.ndarray, " tokens"], settings: SubjectTraining
) -> Int64[np.ndarray, "windows context_plus_1"]:
    """Back-to-back windows of the held-out stream, evenly thinned to at most EVALUATE_WINDOWS."""
    size = settings.context_tokens + 1
    windows = stream[: len(stream) // size * size].reshape(-1, size).astype(np.int64)
    if not len(windows):
        raise CorpusError("the held-out share of the texts is shorter than one context; give more text")
    return windows[:: max(1, math.ceil(len(windows) / EVALUATE_WINDOWS))]


def make_model(settings: SubjectTraining) -> Any:
    """A freshly initialised GPT-2 of the settings' shape, float32."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(settings.seed)
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=settings.vocabulary,
            n_positions=settings.context_tokens,
            n_embd=settings.width,
            n_layer=settings.layers,
            n_head=settings.heads,
            activation_function="gelu_pytorch_tanh",
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=0,
            eos_token_id=0,
        )
    )


def autocast_dtype(device: str) -> Any:
    """bfloat16 where the processor or the GPU multiplies it natively, else None."""
    import torch

    native = torch.cuda.is_bf16_supported() if device == "cuda" else torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if native else None


def mean_loss_nats(model: Any, windows: Int64[np.ndarray, "windows context_plus_1"], device: str) -> float:
    """Mean loss in nats a token, float32."""
    import torch

    model.eval()
    losses: list[float] = []
    with torch.no_grad():
        for first in range(0, len(windows), 16):
            batch = torch.from_numpy(windows[first : first + 16]).to(device)
            logits = model(batch[:, :-1]).logits.flatten(0, 1)
            losses += torch.nn.functional.cross_entropy(logits, batch[:, 1:].flatten(), reduction="none").tolist()
    model.train()
    return float(np.mean(losses))


def train_subject(settings: SubjectTraining, report: Callable[[str], None] = print) -> dict[str, Any]:
    """Trains, or goes on training, and writes the model folder; returns what the card says.

    The folder holds config.json, model.safetensors in float16, the tokenizer and card.json. Checkpoints lie in
    `OUT/checkpoint.pt` until the end; a finished folder is left as it is. Raises UserError when OUT was begun or
    finished with other settings, CorpusError for texts that are too short.
    """
    if (found := finished_card(settings)) is not None:
        report(f"{settings.out}: trained already")
        return found
    import torch

    out = Path(settings.out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out}: cannot be made a folder ({error.strerror}); give another path") from error
    checkpoint = out / "checkpoint.pt"
    device = "cuda" if torch.cuda.is_available() else "cpu"
    documents = read_documents(Path(settings.texts), settings.text_field)
    blocks = [block for document in documents for block in cut_blocks(document)]
    train_blocks, held_blocks = split_blocks(blocks, settings.held_out_fraction, settings.seed)
    if not train_blocks or not held_blocks:
        raise CorpusError(f"{settings.texts}: too little text to hold out {settings.held_out_fraction:.0%} of it")
    tokenizer = train_tokenizer(train_blocks, settings.vocabulary)
    stream = encode_stream(train_blocks, tokenizer)
    windows = held_out_windows(encode_stream(held_blocks, tokenizer), settings)
    if len(stream) <= settings.context_tokens + 1:
        raise CorpusError(f"{settings.texts}: {len(stream)} tokens are less than one context; give more text")
    report(f"{len(stream):,} training tokens, {windows.size:,} held out, on {device}")

    model = make_model(settings).to(device)
    decayed = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    plain = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.95), fused=True)
    n_steps = math.ceil(settings.train_tokens / (settings.batch_windows * settings.context_tokens))
    step, seconds = 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        if state["settings"] != asdict(settings):
            raise UserError(f"{out}: begun with other settings; use the same ones, or another folder")
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, seconds = state["step"], state["seconds"]
        report(f"resumed at step {step:,} of {n_steps:,}")

    dtype = autocast_dtype(device)
    began = time.monotonic() - seconds
    while step < n_steps:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step, n_steps, settings)
        batch = torch.from_numpy(sample_batch(stream, step, settings)).to(device)
        with torch.autocast(device, dtype=dtype, enabled=dtype is not None):
            logits = model(batch[:, :-1]).logits
            loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), batch[:, 1:].flatten())
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        if step % 50 == 0:
            rate = step * settings.batch_windows * settings.context_tokens / (time.monotonic() - began)
            report(f"step {step:,}/{n_steps:,}  loss {loss.item():.3f} nats  {rate:,.0f} tokens/s")
        if step % settings.checkpoint_steps == 0 and step < n_steps:
            seconds = time.monotonic() - began
            parts = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            save_atomically(parts | {"step": step, "seconds": seconds, "settings": asdict(settings)}, checkpoint)
    seconds = time.monotonic() - began

    half = model.half()  # what ships is what is measured
    half.save_pretrained(out)
    tokenizer.save_pretrained(out)
    card = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "training_tokens_seen": n_steps * settings.batch_windows * settings.context_tokens,
        "training_tokens_distinct": len(stream),
        "held_out_tokens": int(windows[:, 1:].size),
        "held_out_loss_nats": mean_loss_nats(half.float(), windows, device),
        **ngram_losses_nats(stream, windows, settings.vocabulary),
        "settings": describe_settings(settings),
    }
    write_card(card, out)
    checkpoint.unlink(missing_ok=True)
    return card
