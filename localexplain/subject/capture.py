"""One streaming pass over the excerpts for all chosen units.

    pool ──batches──> subject, hooks ──> per unit: top excerpts with activations, sums     (state, merges)
                                    └──> the shared random sample's activations            (state, merges)
                                    └──> every excerpt's maximum, 16 bit                   (file, for the strata)
    maxima ──> strata ──replay pass over few excerpts──> their activations

What is held is [units, K, T] and one batch; never [tokens, units]. The state is written every few batches and at the
end, atomically, so that a run that was killed goes on from there and gives the same bits.
"""

import os
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Float16, Float32, Int64
from torch import Tensor

from localexplain.errors import RunError, SubjectError
from localexplain.subject.capture_config import CaptureConfig
from localexplain.subject.corpus import ExcerptPool
from localexplain.subject.model import ForwardStopped, Subject, run_tokens
from localexplain.subject.reduce import Reduced, reduce_batch
from localexplain.subject.topk import MomentTree, TopExcerpts

STATE_TENSORS = ("random", "random_seen", "positive", "active", "highest", "lowest")
TOP_TENSORS = ("values", "excerpts", "slots", "payload")
FLOAT16_LARGEST = 65504.0  # maxima are clipped to it: they are only ranked
# What reading a damaged file of torch ends in: a zip cut short (OSError), no zip, a zip of something else (the others).
DAMAGE_ERRORS = (RuntimeError, OSError, EOFError, ValueError, LookupError, TypeError, pickle.UnpicklingError)


@dataclass(slots=True, eq=False)
class LayerState:
    """What is held for the chosen units of one layer. U units, T tokens, R excerpts in the random sample.

    units          [U] indices into the layer's activation
    random         [U, R, T] activations on the random sample, zero where not yet seen
    random_seen    [R]
    positive       [U] tokens with an activation above 0
    active         [U] excerpts with a maximum above 0
    highest, lowest  [U] extremes over all tokens
    """

    layer: int
    units: Int64[Tensor, " U"]
    top: TopExcerpts
    moments: MomentTree
    random: Float[Tensor, "U R T"]
    random_seen: Bool[Tensor, " R"]
    positive: Int64[Tensor, " U"]
    active: Int64[Tensor, " U"]
    highest: Float32[Tensor, " U"]
    lowest: Float32[Tensor, " U"]

    @classmethod
    def empty(cls, layer: int, units: Int64[Tensor, " U"], length_tokens: int, config: CaptureConfig) -> "LayerState":
        n_units, dtype = len(units), getattr(torch, config.dtype)
        return cls(
            layer=layer,
            units=units,
            top=TopExcerpts.empty(n_units, config.top_k, length_tokens, dtype),
            moments=MomentTree({}),
            random=torch.zeros(n_units, config.random_pool_excerpts, length_tokens, dtype=dtype),
            random_seen=torch.zeros(config.random_pool_excerpts, dtype=torch.bool),
            positive=torch.zeros(n_units, dtype=torch.long),
            active=torch.zeros(n_units, dtype=torch.long),
            highest=torch.full((n_units,), -torch.inf),
            lowest=torch.full((n_units,), torch.inf),
        )

    def merge(self, other: "LayerState") -> "LayerState":
        """The state after both runs; their excerpts must be disjoint."""
        return LayerState(
            layer=self.layer,
            units=self.units,
            top=self.top.merge(other.top),
            moments=self.moments.merge(other.moments),
            random=torch.where(other.random_seen[:, None], other.random, self.random),
            random_seen=self.random_seen | other.random_seen,
            positive=self.positive + other.positive,
            active=self.active + other.active,
            highest=torch.maximum(self.highest, other.highest),
            lowest=torch.minimum(self.lowest, other.lowest),
        )


@dataclass(slots=True, eq=False)
class CaptureState:
    """All layers' states, and which batches they have seen: a set of half-open ranges, in order."""

    layers: list[LayerState]
    seen: list[tuple[int, int]]

    def merge(self, other: "CaptureState") -> "CaptureState":
        """The state of one run over both runs' batches. Raises ValueError when they share a batch."""
        ranges = sorted(self.seen + other.seen)
        joined: list[tuple[int, int]] = []
        for first, end in ranges:
            if joined and first < joined[-1][1]:
                raise ValueError(f"both runs saw batch {first}")
            if joined and first == joined[-1][1]:
                joined[-1] = (joined[-1][0], end)
            else:
                joined.append((first, end))
        layers = [mine.merge(theirs) for mine, theirs in zip(self.layers, other.layers, strict=True)]
        return CaptureState(layers, joined)


# one batch -----------------------------------------------------------------------------------------------------------


def check_finite(found: Reduced, layer: int, first: int) -> None:
    """Raises SubjectError when an activation is not a finite number: it would be no maximum and spoil every sum."""
    extremes = torch.stack([found.maxima.amax(0), found.lowest])  # both are nan where there is one
    if not extremes.isfinite().all():
        raise SubjectError(
            f"layer {layer} has activations that are not finite, excerpts {first} to {first + len(found.maxima) - 1}: "
            'the weights are damaged, or capture.dtype is too narrow for them (use "float32" or "bfloat16")'
        )


def absorb(
    state: LayerState,
    activations: Float[Tensor, "batch T U"],
    batch: int,
    first_excerpt: int,
    sampled: Sequence[tuple[int, int]],
) -> Float32[Tensor, "batch U"]:
    """Takes a batch's activations into the state and returns the excerpts' maxima.

    sampled   (row in the batch, place in the random sample) of the sample's excerpts that are in this batch
    Raises SubjectError when an activation is not finite.
    """
    found = reduce_batch(activations)
    maxima = found.maxima
    check_finite(found, state.layer, first_excerpt)
    state.top.update(maxima, first_excerpt, activations)
    state.moments.add(batch, torch.cat([found.sums, found.squares]).cpu().numpy())
    state.positive += found.positive
    state.active += (maxima > 0).sum(0)
    state.highest = torch.maximum(state.highest, maxima.amax(0))
    state.lowest = torch.minimum(state.lowest, found.lowest)
    for row, place in sampled:
        state.random[:, place] = activations[row].T
        state.random_seen[place] = True
    return maxima


def watch_layers(
    subject: Subject,
    units: dict[int, Int64[Tensor, " U"]],
    skip_tokens: int,
    use: Callable[[int, Float[Tensor, "batch T U"]], None],
) -> Callable[[], None]:
    """Hooks that hand each layer's activations of the chosen units to `use`; the last one stops the forward pass.

    skip_tokens  positions at the front that are not recorded (1 with a beginning-of-sequence token)
    Returns the function that removes the hooks.
    """
    last = max(units)

    def hook_for(layer: int) -> Callable[..., None]:
        chosen = units[layer].to(subject.device)
        every = len(chosen) == subject.sites[layer].n_units

        def hook(module: object, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
            activation = args[0] if args else kwargs["input"]
            activation = activation[:, skip_tokens:]
            use(layer, activation if every else activation.index_select(2, chosen))
            if layer == last:
                raise ForwardStopped

        return hook

    hooks = [subject.sites[i].projection.register_forward_pre_hook(hook_for(i), with_kwargs=True) for i in units]

    def remove() -> None:
        for hook in hooks:
            hook.remove()

    return remove


def n_batches(n_excerpts: int, config: CaptureConfig) -> int:
    return -(-n_excerpts // config.batch_excerpts)


def choose_random(pool: ExcerptPool, config: CaptureConfig) -> Int64[np.ndarray, " R"]:
    """The shared random sample: the excerpts with the lowest hashes, in that order; fewer in a small pool."""
    order = np.argsort(pool.hashes, kind="stable")
    return order[: config.random_pool_excerpts].astype(np.int64)


def capture_batches(
    subject: Subject,
    pool: ExcerptPool,
    units: dict[int, Int64[Tensor, " U"]],
    bos: int | None,
    config: CaptureConfig,
    *,
    batches: range,
    state: CaptureState | None = None,
    write_maxima: Callable[[int, Float16[np.ndarray, "batch all_units"]], None] | None = None,
    after_batch: Callable[[CaptureState, int], None] | None = None,
) -> CaptureState:
    """Streams the given batches (contiguous batch numbers) through the subject.

    units        layer -> the indices of its chosen units
    write_maxima called with a batch's first excerpt and its maxima; columns are the units, layer after layer
    after_batch  called with the state and the number of batches seen, after each
    """
    if state is None:
        layers = [LayerState.empty(layer, units[layer], pool.token_ids.shape[1], config) for layer in sorted(units)]
        move_state(layers, subject.device)
        state = CaptureState(layers, [(batches.start, batches.start)])
    by_layer = {layer.layer: layer for layer in state.layers}
    columns = column_ranges(units)
    place_of = {int(excerpt): place for place, excerpt in enumerate(choose_random(pool, config))}
    rows_of_maxima = np.zeros((config.batch_excerpts, sum(map(len, units.values()))), dtype=np.float16)
    now = {"batch": 0, "first": 0}
    sampled: list[tuple[int, int]] = []

    def use(layer: int, activations: Float[Tensor, "batch T U"]) -> None:
        found = absorb(by_layer[layer], activations, now["batch"], now["first"], sampled)
        if write_maxima is not None:
            found = found.clamp(-FLOAT16_LARGEST, FLOAT16_LARGEST)
            rows_of_maxima[: len(found), columns[layer]] = found.half().cpu().numpy()

    remove = watch_layers(subject, units, 0 if bos is None else 1, use)
    try:
        for batch in batches:
            first = batch * config.batch_excerpts
            rows = pool.token_ids[first : first + config.batch_excerpts]
            now.update(batch=batch, first=first)
            sampled[:] = [(row, place_of[first + row]) for row in range(len(rows)) if first + row in place_of]
            run_tokens(subject, torch.tensor(rows), bos)
            if write_maxima is not None:
                write_maxima(first, rows_of_maxima[: len(rows)])
            state.seen[-1] = (state.seen[-1][0], batch + 1)
            if after_batch is not None:
                after_batch(state, batch + 1)
    finally:
        remove()
    return state


def column_ranges(units: dict[int, Int64[Tensor, " U"]]) -> dict[int, slice]:
    """Each layer's columns in the matrix of maxima."""
    ranges: dict[int, slice] = {}
    start = 0
    for layer in sorted(units):
        ranges[layer] = slice(start, start + len(units[layer]))
        start += len(units[layer])
    return ranges


def move_state(layers: list[LayerState], device: torch.device) -> None:
    """Moves the tensors of the states to where the activations are made."""
    for state in layers:
        for name in STATE_TENSORS:
            setattr(state, name, getattr(state, name).to(device))
        for name in TOP_TENSORS:
            setattr(state.top, name, getattr(state.top, name).to(device))


# saved state ---------------------------------------------------------------------------------------------------------


def save_state(state: CaptureState, path: Path) -> None:
    """Writes beside the target, flushes to the disk and renames: a kill leaves the old state or the new one."""
    plain = {
        "seen": state.seen,
        "layers": [
            {
                "layer": layer.layer,
                "units": layer.units.cpu(),
                "top": {name: getattr(layer.top, name).cpu() for name in TOP_TENSORS},
                "moments": {key: torch.from_numpy(sums) for key, sums in layer.moments.nodes.items()},
                **{name: getattr(layer, name).cpu() for name in STATE_TENSORS},
            }
            for layer in state.layers
        ],
    }
    scratch = path.with_suffix(".partial")
    with scratch.open("wb") as file:
        torch.save(plain, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(scratch, path)


def load_state(path: Path, device: torch.device) -> CaptureState:
    """Reads what `save_state` wrote. Raises RunError when it is damaged."""
    try:
        plain = torch.load(path, weights_only=True, map_location="cpu")
        layers: list[LayerState] = []
        for item in plain["layers"]:
            nodes = {key: sums.numpy() for key, sums in item.pop("moments").items()}
            layers.append(LayerState(**(item | {"top": TopExcerpts(**item["top"]), "moments": MomentTree(nodes)})))
        state = CaptureState(layers, [tuple(pair) for pair in plain["seen"]])
    except DAMAGE_ERRORS as error:
        raise RunError(f"{path}: the saved state of the capture is damaged; delete it to capture again") from error
    move_state(layers, device)
    return state


# replay --------------------------------------------------------------------------------------------------------------


def replay(
    subject: Subject,
    pool: ExcerptPool,
    units: dict[int, Int64[Tensor, " U"]],
    bos: int | None,
    wanted: dict[int, Int64[np.ndarray, "U examples"]],
    config: CaptureConfig,
    after_batch: Callable[[int], None] | None = None,
) -> dict[int, Float32[np.ndarray, "U examples T"]]:
    """Activations on chosen excerpts, a second pass over the union of them alone.

    wanted  layer -> excerpt ids by unit (EMPTY_EXCERPT where a unit has fewer); the result's rows there are zeros
    """
    length = pool.token_ids.shape[1]
    found = {layer: np.zeros((*ids.shape, length), dtype=np.float32) for layer, ids in wanted.items()}
    union = np.unique(np.concatenate([ids.ravel() for ids in wanted.values()]))
    union = union[union >= 0]
    now: list[Int64[np.ndarray, " rows"]] = [union[:0]]

    def use(layer: int, activations: Float[Tensor, "batch T U"]) -> None:
        rows = now[0]
        unit, example = np.nonzero(np.isin(wanted[layer], rows))
        row = np.searchsorted(rows, wanted[layer][unit, example])
        picked = activations[torch.from_numpy(row), :, torch.from_numpy(unit)]
        found[layer][unit, example] = picked.float().cpu().numpy()

    remove = watch_layers(subject, units, 0 if bos is None else 1, use)
    try:
        for first in range(0, len(union), config.batch_excerpts):
            now[0] = union[first : first + config.batch_excerpts]
            run_tokens(subject, torch.tensor(pool.token_ids[now[0]]), bos)
            if after_batch is not None:
                after_batch(len(now[0]))
    finally:
        remove()
    return found
