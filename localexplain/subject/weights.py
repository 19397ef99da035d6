"""What one unit is connected to, by the weights alone: tokens that feed it, units before and after it, tokens it feeds.

A unit reads the residual stream along a column of W_in and writes to it along a row of W_out. With g[l] the gain of
the norm before layer l's MLP, h[l] that of the norm after it, and f that of the final norm:

    unit (l1, n1) to unit (l2, n2), l1 < l2    W_out[l1][n1] diag(h[l1] g[l2]) W_in[l2][:, n2]
    token t to unit (l, n)                     E[t] diag(g[l]) W_in[l][:, n]
    unit (l, n) to token t                     W_out[l][n] diag(h[l] f) U[t]

A gain is 1 where the block has no such norm: only Gemma 2, Gemma 3 and OLMo 2 have one after the MLP, and OLMo 2 has
none before it. E[t] is what the embedding gives out (Gemma scales its rows), U[t] the unembedding's row. For a gated
MLP W_in is the gate's, as in the token-linear control.

This is the direct path. Left out are attention and the MLPs in between; biases; what a norm divides by, one number a
token, so that weights into two layers are not on one scale; the mean that a LayerNorm subtracts; what a model does to
its logits after the unembedding (Gemma 2's cap, Cohere's scale). Source: the definitions are those of OpenAI's neuron
viewer (Bills et al. 2023), there for GPT-2 alone; other architectures, and h, are ours.
"""

import json
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, Float32
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from localexplain.errors import SubjectError, UserError
from localexplain.subject.model import Subject, first_line
from localexplain.subject.sites import MlpSite, input_weight, output_weight
from localexplain.types import Unit

CHUNK_ROWS = 8192  # rows widened to float32 at a time: 128 MiB at a width of 4,096, where Gemma's embedding takes GBs
PROBE_SIZE = 1024.0  # so large that the epsilon in a norm's root (1e-5 at most) is lost beside the probe's square
FINAL_NORMS = ("ln_f", "final_layer_norm", "norm")  # GPT-2's name, GPT-NeoX's, the Llama family's
HEAD_TENSORS = ("lm_head.weight", "embed_out.weight")  # the second is GPT-NeoX's

Sign = Literal[1, -1]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenWeight:
    """A token and the weight between it and the unit. `text` is the token's (see tokens.token_texts)."""

    text: str
    token_id: int
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RelatedUnit:
    """A unit of another layer and the weight between it and the unit asked about."""

    unit: Unit
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Connections:
    """The strongest connections of one unit, as defined above.

    input_tokens   tokens whose embedding the unit reads
    output_tokens  tokens whose logit the unit writes
    upstream       units of earlier layers that write what the unit reads; empty in the first layer
    downstream     units of later layers that read what the unit writes; empty in the last layer

    `_high` has the greatest weights, greatest first, `_low` the least, least first; equal weights go by token id, or by
    layer and index. A list is shorter than asked for where there is no more, and then the two hold the same items.
    """

    unit: Unit
    input_tokens_high: tuple[TokenWeight, ...]
    input_tokens_low: tuple[TokenWeight, ...]
    output_tokens_high: tuple[TokenWeight, ...]
    output_tokens_low: tuple[TokenWeight, ...]
    upstream_high: tuple[RelatedUnit, ...]
    upstream_low: tuple[RelatedUnit, ...]
    downstream_high: tuple[RelatedUnit, ...]
    downstream_low: tuple[RelatedUnit, ...]


# the unembedding -----------------------------------------------------------------------------------------------------


def find_head_files(folder: Path) -> tuple[Path, ...]:
    """The safetensors files that may hold the LM head, found as transformers does: one whole file, else by the index.

    Raises SubjectError when there is neither, or the index cannot be read.
    """
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.is_file():
        return (whole,)
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        return tuple(folder / weight_map[name] for name in HEAD_TENSORS if name in weight_map)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SubjectError(
            f"subject model: {folder} holds no model.safetensors, and {index.name} cannot be read "
            f"({first_line(error)}); copy the folder again"
        ) from error


def read_head(folder: Path) -> Tensor | None:
    """The LM head's tensor, as it is in the files; no other is read. None where they have none.

    Raises SubjectError for a file that is missing or damaged.
    """
    for file in find_head_files(folder):
        try:
            with safe_open(file, framework="pt") as tensors:
                for name in HEAD_TENSORS:
                    if name in tensors.keys():  # noqa: SIM118  # safe_open's handle is no mapping
                        head: Tensor = tensors.get_tensor(name)
                        return head
        except (OSError, SafetensorError) as error:
            raise SubjectError(
                f"subject model: {file} cannot be read ({first_line(error)}); copy the file again"
            ) from error
    return None


def load_unembedding(subject_folder: Path, subject: Subject) -> Float[Tensor, "vocabulary width"]:
    """The unembedding, a row for each token, on the subject's device and in its dtype.

    The LM head from the folder's files; without one there, the embedding itself where the model ties the two. A head in
    the files goes before what the configuration says of tying, as when transformers loads the whole model.

    Raises SubjectError when the files have no LM head and the model does not tie, or it is of another shape or packed.
    """
    embedding: Tensor = subject.base.get_input_embeddings().weight
    head = read_head(subject_folder)
    if head is None:
        if getattr(subject.base.config, "tie_word_embeddings", False):
            return embedding
        raise SubjectError(
            f"subject model: {subject_folder} has neither {' nor '.join(HEAD_TENSORS)} in its files, and its "
            "config.json does not tie the unembedding to the embedding; copy the folder again, from the whole model"
        )
    if head.shape != embedding.shape or not head.is_floating_point():
        raise SubjectError(
            f"subject model: the LM head in {subject_folder} is {tuple(head.shape)} in {head.dtype}, where "
            f"{tuple(embedding.shape)} in floating point is wanted; copy the folder again, from the whole model"
        )
    return head.to(embedding)


# directions in the residual stream -----------------------------------------------------------------------------------


def norm_gain(norm: nn.Module | None, width: int) -> Float32[Tensor, " width"]:
    """What a norm multiplies each entry of the residual by, once that has been divided by its size; 1 without a norm.

    Found by running the norm, for its parameter is not always its gain (Gemma's is the gain less 1), on a vector of
    mean 0, which centring leaves as it is. Run on that vector's negative too, half the difference has no bias in it.
    """
    if norm is None:
        return torch.ones(width)
    widened = deepcopy(norm).double()  # a gain that is rounded with the bias added to it has lost digits
    parameter = next(widened.parameters(), None)
    n_positive = (width + 1) // 2
    probe = torch.ones(width, dtype=torch.float64, device=None if parameter is None else parameter.device)
    probe[n_positive:] = -n_positive / (width - n_positive)  # -1 in an even width
    probe *= PROBE_SIZE
    scaled: Tensor = (widened(probe) - widened(-probe)) / 2
    return (scaled * probe.square().mean().sqrt() / probe).float()


def input_gain(site: MlpSite) -> Float32[Tensor, " width"]:
    """Of the norm between the residual stream and the MLP."""
    weight = input_weight(site.input_projection)
    return norm_gain(site.norm, weight.shape[0]).to(weight.device)


def output_gain(site: MlpSite) -> Float32[Tensor, " width"]:
    """Of the norm between the MLP and the residual stream: 1 but in the sandwich of Gemma 2 and 3, and in OLMo 2."""
    weight = output_weight(site.projection)
    norm = None if site.mlp_write is site.projection else site.mlp_write
    return norm_gain(norm, weight.shape[1]).to(weight.device)


def input_direction(site: MlpSite, index: int) -> Float32[Tensor, " width"]:
    """What the unit reads: the residual's product with it, over the norm's divisor, moves the pre-activation."""
    return input_gain(site) * input_weight(site.input_projection)[:, index].float()


def output_direction(site: MlpSite, index: int) -> Float32[Tensor, " width"]:
    """What the unit writes to the residual stream at an activation of 1; up to a divisor where a norm follows."""
    return output_gain(site) * output_weight(site.projection)[index].float()


def final_gain(subject: Subject) -> Float32[Tensor, " width"]:
    """Of the norm before the unembedding. Raises SubjectError when it is not found."""
    for name in FINAL_NORMS:
        if isinstance(norm := getattr(subject.base, name, None), nn.Module):
            return norm_gain(norm, subject.base.get_input_embeddings().weight.shape[1]).to(subject.device)
    raise SubjectError(
        f"{type(subject.base).__name__}: no final norm where it is known to be ({', '.join(FINAL_NORMS)}); the tokens "
        "that its units feed cannot be computed"
    )


# weights -------------------------------------------------------------------------------------------------------------


def multiply_rows(
    chunks: Iterable[Float[Tensor, "_ width"]], direction: Float32[Tensor, " width"]
) -> Float32[Tensor, " rows"]:
    """Each row's product with `direction`, summed in float32; on the CPU."""
    return torch.cat([(chunk.float() @ direction).cpu() for chunk in chunks])


def input_token_weights(subject: Subject, direction: Float32[Tensor, " width"]) -> Float32[Tensor, " tokens"]:
    """Of every token of the embedding. Unlike `token_linear_weights`, no token's embedding is divided by its size."""
    embedding = subject.base.get_input_embeddings()
    token_ids = torch.arange(subject.vocabulary, device=subject.device)
    return multiply_rows((embedding(ids) for ids in torch.split(token_ids, CHUNK_ROWS)), direction)


def upstream_weights(subject: Subject, layer: int, index: int) -> dict[int, Tensor]:
    """For each layer before the unit's, the weights [units] of its units."""
    direction = input_direction(subject.sites[layer], index)
    return {
        site.layer: multiply_rows(
            torch.split(output_weight(site.projection), CHUNK_ROWS), output_gain(site) * direction
        )
        for site in subject.sites[:layer]
    }


def downstream_weights(subject: Subject, layer: int, index: int) -> dict[int, Tensor]:
    """For each layer after the unit's, the weights [units] of its units."""
    direction = output_direction(subject.sites[layer], index)
    return {
        site.layer: multiply_rows(
            torch.split(input_weight(site.input_projection).T, CHUNK_ROWS), input_gain(site) * direction
        )
        for site in subject.sites[layer + 1 :]
    }


# the strongest -------------------------------------------------------------------------------------------------------


def rank_places(weights: Float32[Tensor, " items"], n: int, sign: Sign) -> list[int]:
    """Places of the n greatest (sign 1) or least (-1) weights, the strongest first; equal ones by place."""
    places: list[int] = torch.sort(sign * weights, descending=True, stable=True).indices[:n].tolist()
    return places


def rank_tokens(subject: Subject, weights: Float32[Tensor, " tokens"], n: int, sign: Sign) -> tuple[TokenWeight, ...]:
    """The n tokens of greatest or least weight. Rows past the tokenizer's last id are padding and no token's."""
    return tuple(
        TokenWeight(text=subject.texts[place], token_id=place, weight=float(weights[place]))
        for place in rank_places(weights[: len(subject.texts)], n, sign)
    )


def rank_units(weights: Mapping[int, Tensor], n: int, sign: Sign) -> tuple[RelatedUnit, ...]:
    """The n units of greatest or least weight over all layers; `weights` as upstream_weights gives them."""
    found = [
        RelatedUnit(unit=Unit(basis="mlp", layer=layer, index=place), weight=float(values[place]))
        for layer, values in weights.items()
        for place in rank_places(values, n, sign)
    ]
    return tuple(sorted(found, key=lambda item: (-sign * item.weight, item.unit))[:n])


def check_unit(subject: Subject, unit: Unit) -> None:
    """Raises UserError when the subject has no such unit."""
    layers = len(subject.sites)
    if unit.basis != "mlp" or not 0 <= unit.layer < layers:
        raise UserError(
            f"{unit}: no such layer in {subject.identity.name}; its units are mlp.LAYER:INDEX, with LAYER from 0 to "
            f"{layers - 1}"
        )
    n_units = subject.sites[unit.layer].n_units
    if not 0 <= unit.index < n_units:
        raise UserError(
            f"{unit}: no such unit in {subject.identity.name}; layer {unit.layer} has the units 0 to {n_units - 1}"
        )


def read_connections(
    subject: Subject, unit: Unit, unembedding: Float[Tensor, "vocabulary width"], n: int = 10
) -> Connections:
    """The unit's n strongest connections of each kind and sign; one layer's weights are widened at a time.

    unembedding  from load_unembedding

    Raises UserError when the subject has no such unit.
    """
    check_unit(subject, unit)
    layer, index = unit.layer, unit.index
    with torch.inference_mode():
        site = subject.sites[layer]
        input_tokens = input_token_weights(subject, input_direction(site, index))
        output_tokens = multiply_rows(
            torch.split(unembedding, CHUNK_ROWS), final_gain(subject) * output_direction(site, index)
        )
        upstream = upstream_weights(subject, layer, index)
        downstream = downstream_weights(subject, layer, index)
    return Connections(
        unit=unit,
        input_tokens_high=rank_tokens(subject, input_tokens, n, 1),
        input_tokens_low=rank_tokens(subject, input_tokens, n, -1),
        output_tokens_high=rank_tokens(subject, output_tokens, n, 1),
        output_tokens_low=rank_tokens(subject, output_tokens, n, -1),
        upstream_high=rank_units(upstream, n, 1),
        upstream_low=rank_units(upstream, n, -1),
        downstream_high=rank_units(downstream, n, 1),
        downstream_low=rank_units(downstream, n, -1),
    )
