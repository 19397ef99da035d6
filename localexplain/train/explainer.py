"""Train a small language model that explains, simulates and judges: the recipe behind models/tiny-explainer-*.

    texts ──> passages, tokenizer, shards of examples (data folder, shared by all sizes)          prepare_data
    data folder ──> Qwen3 of a size, embeddings with meaning and spelling ──steps──> model folder   train_explainer

The same call resumes: shards are made each from its own number, and the batches of a step from (seed, step) alone. With
a GPU it uses the GPU; on a CPU it uses bf16 autocast where the processor has it.
"""

import json
import math
import shutil
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from localexplain.errors import UserError
from localexplain.train.batches import ExampleSet, plan_steps
from localexplain.train.dataset import STAGES
from localexplain.train.explainer_settings import SIZES, ExplainerTraining
from localexplain.train.subject import CARD_FILE, autocast_dtype, save_atomically, write_card
from localexplain.train.training_set import describe_data, prepare_data, shard_numbers

NEGATIVES = 1011  # tokens drawn each step that a label has to be likelier than, beside the other labels
TEXT_WEIGHT = 1.0  # of a written token's loss, against a label's
MINIMUM_SHARE = 0.05  # of the learning rate, at the end
FLAT_SHARE = 0.4  # of the steps are over before the learning rate falls
REPORT_STEPS = 100
CURVE_POINTS = 40  # of the loss, in the card
MATCHING_SHARE = 0.5  # of the heads begin with keys like their queries: attention to like tokens
ROPE_THETA = 1_000_000.0
FAST_SCALE = 0.05  # of the matching heads' weights in dimensions that turn much within an excerpt
SLOW_TURN = 0.02  # radians a token, at most, of the other dimensions
SHARPNESS = 1.4  # of attention, to begin with


def slow_dimensions(head_width: int) -> Any:
    """[head_width] whether the rotary embedding turns a dimension by at most SLOW_TURN radians a token: a match of
    content is then the same at any distance within a prompt. A pair is a dimension and the one half a head on."""
    import torch

    turns = ROPE_THETA ** (-torch.arange(head_width // 2) / (head_width // 2))
    return (turns <= SLOW_TURN).repeat(2)


def make_model(settings: ExplainerTraining, stream: np.ndarray, texts: Sequence[str]) -> Any:
    """A Qwen3 of the size, float32: embeddings from the texts, half the heads' keys like their queries.

    Source of the second: Trockman & Kolter 2023, mimetic initialisation of self-attention.
    """
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from localexplain.train.embeddings import initial_embeddings

    size = SIZES[settings.size]
    torch.manual_seed(settings.seed)
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(texts),
            hidden_size=size.width,
            intermediate_size=size.mlp,
            num_hidden_layers=size.layers,
            num_attention_heads=size.heads,
            num_key_value_heads=size.heads,
            head_dim=size.head_width,
            max_position_embeddings=settings.context_tokens,
            rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
            tie_word_embeddings=True,
            use_cache=True,
            bos_token_id=0,
            eos_token_id=0,
        )
    )
    model.set_attn_implementation("eager")  # with prompts this short faster on a CPU than the fused kernel's backward
    with torch.no_grad():
        model.model.embed_tokens.weight.copy_(initial_embeddings(stream, texts, size.width, settings.seed))
        matching = math.ceil(size.heads * MATCHING_SHARE)
        slow = slow_dimensions(size.head_width)
        for block in model.model.layers:
            attention = block.self_attn
            torch.nn.init.normal_(attention.q_proj.weight, std=size.width**-0.5)
            torch.nn.init.normal_(attention.k_proj.weight, std=size.width**-0.5)
            queries = attention.q_proj.weight.view(size.heads, size.head_width, size.width)
            keys = attention.k_proj.weight.view(size.heads, size.head_width, size.width)
            queries[:matching] *= torch.where(slow, 1.0, FAST_SCALE)[:, None]
            keys[:matching] = queries[:matching]
            attention.q_norm.weight.fill_(SHARPNESS)
            for projection in (attention.o_proj, block.mlp.down_proj):
                projection.weight.mul_((2 * size.layers) ** -0.5)
    return model


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Classes:
    """What targets are told apart from, on the model's device.

    vocabulary  number of tokens
    labels      [13] tokens of the levels, no and yes
    beginnings  [vocabulary, most] tokens that each token's text begins with, NO_TOKEN behind the last
    """

    vocabulary: int
    labels: Any
    beginnings: Any


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BatchLoss:
    """total to minimise; the mean in nats of the labels and of the written tokens, nan where there is none."""

    total: Any
    labels: float
    text: float


def spelling_loss(hidden: Any, tokens: Any, weights: Any, beginnings: Any) -> Any:
    """The summed loss of each of `tokens` [n] among the tokens that its text begins with, from `hidden` [n, width]."""
    import torch
    from torch.nn.functional import cross_entropy

    candidates = torch.cat([tokens[:, None], beginnings[tokens]], dim=1)
    logits = torch.einsum("nd,nkd->nk", hidden, weights[candidates.clamp_min(0)]).float()
    logits = logits.masked_fill(candidates < 0, -torch.inf)
    return cross_entropy(logits, torch.zeros_like(tokens), reduction="sum")


def batch_loss(model: Any, ids: Any, targets: Any, classes: Classes, negatives: Any) -> BatchLoss:
    """ids, targets  [examples, longest] int64, targets as in Example
    negatives        [NEGATIVES] tokens that a label has to be likelier than
    """
    import torch
    from torch.nn.functional import cross_entropy, linear

    from localexplain.train.examples import NOTHING, SPELLED

    hidden = model.model(input_ids=ids).last_hidden_state
    weights = model.get_input_embeddings().weight
    first_spelled = classes.vocabulary + SPELLED
    is_text = targets < classes.vocabulary
    is_spelled = (targets >= first_spelled) & (targets != NOTHING)
    is_label = (targets >= classes.vocabulary) & (targets < first_spelled)
    label_sum = text_sum = spelled_sum = torch.zeros(())
    n_text, n_label, n_spelled = int(is_text.sum()), int(is_label.sum()), int(is_spelled.sum())
    if n_label:
        candidates = torch.cat([classes.labels, negatives])
        logits = linear(hidden[is_label], weights[candidates]).float()
        label_sum = cross_entropy(logits, targets[is_label] - classes.vocabulary, reduction="sum")
    if n_text:
        text_sum = cross_entropy(linear(hidden[is_text], weights).float(), targets[is_text], reduction="sum")
    if n_spelled:
        spelled_sum = spelling_loss(
            hidden[is_spelled], targets[is_spelled] - first_spelled, weights, classes.beginnings
        )
    return BatchLoss(
        total=(label_sum + TEXT_WEIGHT * text_sum + spelled_sum) / max(1, n_label + n_text + n_spelled),
        labels=float(label_sum.detach()) / n_label if n_label else math.nan,
        text=float(text_sum.detach()) / n_text if n_text else math.nan,
    )


def learning_rate_share(step: int, n_steps: int, warmup_steps: int) -> float:
    """Linear warm-up, then flat up to FLAT_SHARE of the steps, then a cosine down to MINIMUM_SHARE."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = max(0.0, (step / n_steps - FLAT_SHARE) / (1 - FLAT_SHARE))
    return MINIMUM_SHARE + (1 - MINIMUM_SHARE) * (0.5 + 0.5 * math.cos(math.pi * progress))


def describe_settings(settings: ExplainerTraining) -> dict[str, Any]:
    """The settings as the card says them: of folders the names alone, and nothing that does not change the model."""
    own = {key: value for key, value in asdict(settings).items() if key not in ("data", "processes", "snapshots")}
    return own | {
        "texts": Path(settings.texts).name,
        "out": Path(settings.out).name,
        "start": Path(settings.start).name,
    }


def load_start(folder: Path, settings: ExplainerTraining) -> Any:
    """The model to go on from, float32. Raises UserError where its shape is not the size's."""
    import torch
    from transformers import Qwen3ForCausalLM

    model = Qwen3ForCausalLM.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    size, config = SIZES[settings.size], model.config
    shape = (config.num_hidden_layers, config.hidden_size, config.num_attention_heads, config.intermediate_size)
    if shape != (size.layers, size.width, size.heads, size.mlp):
        raise UserError(f"{folder}: not a model of size {settings.size}; name its size with --size")
    model.set_attn_implementation("eager")
    return model


def earlier_training(start: str) -> dict[str, Any] | None:
    """What the card of the model to start from says of its own training; None without such a model."""
    from localexplain.resources import model_folder

    path = model_folder(start) / CARD_FILE
    if not start or not path.is_file():
        return None
    card = json.loads(path.read_text(encoding="utf-8"))
    kept = ("start", "training_tokens_seen", "steps", "training_seconds", "final_loss_nats", "data", "settings")
    return {key: card[key] for key in kept if key in card}


def train_explainer(settings: ExplainerTraining, report: Callable[[str], None] = print) -> dict[str, Any]:
    """Trains, or goes on training, and writes the model folder; returns what the card says.

    The folder holds config.json, model.safetensors in float16, the tokenizer and card.json; what is only needed on the
    way lies in OUT/checkpoint.pt and the data folder. Raises UserError when OUT was begun with other settings.
    """
    import torch

    from localexplain.engines.tokenizer import HuggingFaceTokenizer
    from localexplain.resources import model_folder
    from localexplain.train.examples import NOTHING, PROMPT_VERSION, ExampleWriter, spelling_table

    out = Path(settings.out)
    described = describe_settings(settings)
    if (out / CARD_FILE).exists():
        card: dict[str, Any] = json.loads((out / CARD_FILE).read_text(encoding="utf-8"))
        if card.get("settings") != described:
            raise UserError(f"{out}: holds a model trained with other settings; use another folder")
        report(f"{out}: trained already")
        return card
    out.mkdir(parents=True, exist_ok=True)
    folder = prepare_data(settings, report)
    tokenizer = HuggingFaceTokenizer.load(folder / "tokenizer")
    writer = ExampleWriter(tokenizer)
    vocabulary = tokenizer.vocabulary_tokens
    texts = [tokenizer.backend.decode([index], skip_special_tokens=False) for index in range(vocabulary)]
    sets = {stage: ExampleSet.load(settings, stage) for stage in STAGES if len(shard_numbers(settings, stage))}
    steps = plan_steps(settings, sets)

    device = "cuda" if torch.cuda.is_available() else "cpu"
    if settings.start:
        model = load_start(model_folder(settings.start), settings).to(device)
    else:
        model = make_model(settings, np.load(folder / "stream.npy").astype(np.int64), texts).to(device)
    rate = settings.learning_rate or SIZES[settings.size].learning_rate
    decayed = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    plain = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), fused=True)
    checkpoint = out / "checkpoint.pt"
    step, seconds, curve = 0, 0.0, []
    held: dict[str, list[float]] = {"labels": [], "text": []}  # losses since the last report
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        if state["settings"] != described:
            raise UserError(f"{out}: begun with other settings; use the same ones, or another folder")
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, seconds, curve, held = state["step"], state["seconds"], state["curve"], state["held"]
        report(f"resumed at step {step:,} of {len(steps):,}")

    classes = Classes(
        vocabulary=vocabulary,
        labels=torch.tensor(writer.label_ids, device=device),
        beginnings=torch.from_numpy(spelling_table(tokenizer)).to(device),
    )
    others = torch.tensor(sorted(set(range(vocabulary)) - set(writer.label_ids)))
    dtype = autocast_dtype(device)
    began = time.monotonic() - seconds
    n_tokens = 0
    kept_steps = {round(len(steps) * part / (settings.snapshots + 1)) for part in range(1, settings.snapshots + 1)}
    model.train()
    while step < len(steps):
        stage, chosen = steps[step]
        for group in optimizer.param_groups:
            group["lr"] = rate * learning_rate_share(step, len(steps), settings.warmup_steps)
        ids, targets = (torch.from_numpy(part).to(device) for part in sets[stage].read(chosen, NOTHING))
        drawn = np.random.default_rng((settings.seed, 7, step)).integers(0, len(others), NEGATIVES)
        with torch.autocast(device, dtype=dtype, enabled=dtype is not None):
            negatives = others[torch.from_numpy(drawn)].to(device)
            loss = batch_loss(model, ids, targets, classes, negatives)
        loss.total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        n_tokens += ids.numel()
        for name, value in (("labels", loss.labels), ("text", loss.text)):
            if not math.isnan(value):
                held[name].append(value)
        if step % REPORT_STEPS == 0 or step == len(steps):
            means = {name: float(np.mean(values)) if values else None for name, values in held.items()}
            curve.append({"step": step, "stage": stage, **means})
            shown = "  ".join(f"{name} {mean:.3f}" for name, mean in means.items() if mean is not None)
            speed = n_tokens / max(1e-9, time.monotonic() - began - seconds)
            report(f"step {step:,}/{len(steps):,} {stage}  {shown} nats  {speed:,.0f} tokens/s")
            held = {"labels": [], "text": []}
        if step % settings.checkpoint_steps == 0 and step < len(steps):
            parts = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "curve": curve, "held": held}
            now = time.monotonic() - began
            save_atomically(parts | {"step": step, "seconds": now, "settings": described}, checkpoint)
        if step in kept_steps:
            save_model(deepcopy(model), folder / "tokenizer", out / "snapshots" / str(step))

    card = {
        "start": earlier_training(settings.start),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "prompt_version": PROMPT_VERSION,
        "few_shot": 0,
        "training_tokens_seen": int(
            sum((sets[stage].ends - sets[stage].starts)[batch].sum() for stage, batch in steps)
        ),
        "steps": len(steps),
        "training_seconds": round(time.monotonic() - began),
        "final_loss_nats": curve[-1],
        "curve": curve[:: max(1, len(curve) // CURVE_POINTS)],
        "data": describe_data(settings),
        "settings": described,
    }
    save_model(model, folder / "tokenizer", out)
    write_card(card, out)
    checkpoint.unlink(missing_ok=True)
    return card


def save_model(model: Any, tokenizer: Path, out: Path) -> None:
    """Writes config, weights in float16 and the tokenizer's files."""
    import torch

    model.to(torch.float16).save_pretrained(out)
    for path in sorted(tokenizer.iterdir()):
        shutil.copyfile(path, out / path.name)
