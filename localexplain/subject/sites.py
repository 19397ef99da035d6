"""Where the tensors live: the MLP activation of every block of a Hugging Face causal language model, proven at load.

The activation is the INPUT of the MLP's output projection, so that one forward pre-hook reads it in plain MLPs
(act(W_in x)) and in gated ones (act(gate) * up) alike. The proof runs a few random tokens and checks in every block

    input + attention write + MLP write = output        (the residual identity)
    activation @ w_out + bias           = output of the projection

so a model that is wired differently (a scaled residual, experts, a second stream) is refused with the layer named.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from localexplain.errors import SubjectError

PROOF_TOKENS = 12
PROOF_SEED = 0
# Largest deviation allowed, as a share of the largest entry of the block's output: float32 sums of a few thousand
# terms stay within 1e-5; bfloat16 keeps 8 bits and float16 11, and a block rounds a handful of times.
PROOF_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 4e-2, torch.float16: 5e-3, torch.float64: 1e-9}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Attribute names in one family of architectures; `mlp_in` ends with the projection that token-linear follows."""

    family: str
    blocks: str
    attention: str
    attention_out: str
    mlp_in: tuple[str, ...]
    mlp_out: str
    mlp_norm: str


LAYOUTS = (
    Layout(
        family="gpt2",
        blocks="h",
        attention="attn",
        attention_out="c_proj",
        mlp_in=("c_fc",),
        mlp_out="c_proj",
        mlp_norm="ln_2",
    ),
    Layout(
        family="neox",
        blocks="layers",
        attention="attention",
        attention_out="dense",
        mlp_in=("dense_h_to_4h",),
        mlp_out="dense_4h_to_h",
        mlp_norm="post_attention_layernorm",
    ),
    Layout(
        family="llama",
        blocks="layers",
        attention="self_attn",
        attention_out="o_proj",
        mlp_in=("up_proj", "gate_proj"),
        mlp_out="down_proj",
        mlp_norm="post_attention_layernorm",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MlpSite:
    """The MLP activation of one block.

    projection        its input is the activation [batch, tokens, units]
    input_projection  the linear map into the MLP (the gate's, where the MLP is gated)
    norm              the norm before the MLP, or None where the block has none (OLMo 2)
    """

    layer: int
    block: nn.Module
    projection: nn.Module
    input_projection: nn.Module
    norm: nn.Module | None
    attention_write: nn.Module
    mlp_write: nn.Module

    @property
    def n_units(self) -> int:
        return int(output_weight(self.projection).shape[0])


def output_weight(projection: nn.Module) -> Float[Tensor, "units width"]:
    """w_out with units as rows: `activation @ output_weight` is what the projection writes, less its bias.

    nn.Linear stores [out, in] and is transposed; GPT-2's Conv1D stores [in, out] and is not.
    """
    weight: Tensor = projection.weight  # type: ignore[assignment]  # nn.Module's attributes are typed Tensor | Module
    return weight.T if isinstance(projection, nn.Linear) else weight


def input_weight(projection: nn.Module) -> Float[Tensor, "width units"]:
    """w_in with units as columns: `residual @ input_weight` is the pre-activation, less its bias."""
    return output_weight(projection)


def find_layout(base: nn.Module) -> Layout | None:
    """The layout whose names the base model's first block has, or None."""
    for layout in LAYOUTS:
        blocks = getattr(base, layout.blocks, None)
        if not isinstance(blocks, nn.ModuleList) or not len(blocks):
            continue
        attention = getattr(blocks[0], layout.attention, None)
        mlp = getattr(blocks[0], "mlp", None)
        if hasattr(attention, layout.attention_out) and hasattr(mlp, layout.mlp_out):
            return layout
    return None


def block_site(layout: Layout, layer: int, block: nn.Module, name: str) -> MlpSite:
    """The site of one block of the model `name`. Raises SubjectError when the block lacks a part of the layout."""
    attention, mlp = getattr(block, layout.attention, None), getattr(block, "mlp", None)
    projection = getattr(mlp, layout.mlp_out, None)
    if not hasattr(attention, layout.attention_out) or projection is None:
        raise SubjectError(
            f"{name} refused at layer {layer}: no {layout.attention}.{layout.attention_out} or mlp.{layout.mlp_out} in "
            "it; its blocks are wired in a way not supported"
        )
    sandwich = hasattr(block, "post_feedforward_layernorm")  # Gemma 2 and 3, OLMo 2: norms after the projections
    norm = getattr(block, "pre_feedforward_layernorm" if sandwich else layout.mlp_norm, None)
    if norm is None and not sandwich:  # Cohere, and StableLM in parallel: the MLP reads what attention reads
        norm = getattr(block, "input_layernorm", None)
    inputs = [getattr(mlp, name) for name in layout.mlp_in if hasattr(mlp, name)]
    if not inputs:
        raise SubjectError(
            f"{name} refused at layer {layer}: no mlp.{' or mlp.'.join(layout.mlp_in)} in it; its MLP is wired in a "
            "way not supported"
        )
    return MlpSite(
        layer=layer,
        block=block,
        projection=projection,
        input_projection=inputs[-1],
        norm=norm,
        attention_write=block.post_attention_layernorm if sandwich else getattr(attention, layout.attention_out),  # type: ignore[arg-type]  # see output_weight
        mlp_write=block.post_feedforward_layernorm if sandwich else projection,  # type: ignore[arg-type]  # see output_weight
    )


def first_tensor(value: Any) -> Tensor:
    """A module's output tensor, whether it returns it alone or first in a tuple."""
    tensor = value[0] if isinstance(value, tuple) else value
    assert isinstance(tensor, Tensor)
    return tensor


def watch(site: MlpSite, seen: dict[str, Tensor]) -> list[Any]:
    """Hooks that put the tensors of the proof into `seen`; the caller removes them."""

    def keep_output(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            seen[name] = first_tensor(output)

        return hook

    def keep_input(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            seen[name] = first_tensor(args) if args else kwargs["hidden_states"]

        return hook

    return [
        site.block.register_forward_pre_hook(keep_input("in"), with_kwargs=True),
        site.block.register_forward_hook(keep_output("out")),
        site.attention_write.register_forward_hook(keep_output("attention")),
        site.mlp_write.register_forward_hook(keep_output("mlp")),
        site.projection.register_forward_pre_hook(keep_input("activation"), with_kwargs=True),
        site.projection.register_forward_hook(keep_output("projected")),
    ]


def deviation_fraction(found: Tensor, wanted: Tensor) -> float:
    """Largest absolute difference over the largest absolute entry of `wanted`."""
    scale = wanted.double().abs().max().clamp_min(1e-30)
    return float((found.double() - wanted.double()).abs().max() / scale)


def check_block(site: MlpSite, seen: dict[str, Tensor], name: str) -> None:
    """Raises SubjectError, naming the layer, when one of the two identities fails in this block.

    A deviation that is not a number passes no comparison, so what is not finite is refused before.
    """
    if not (seen["out"].isfinite().all() and seen["projected"].isfinite().all()):
        raise SubjectError(
            f"{name} refused at layer {site.layer}: it gives values that are not finite; its weights are damaged, or "
            "capture.dtype is too narrow for them (use float32 or bfloat16)"
        )
    tolerance = PROOF_TOLERANCE[seen["out"].dtype]
    total = seen["in"].double() + seen["attention"].double() + seen["mlp"].double()
    if (worst := deviation_fraction(total, seen["out"])) > tolerance:
        raise SubjectError(
            f"{name} refused at layer {site.layer}: input + attention write + MLP write differ from the block's "
            f"output by {worst:.1e} of its size (allowed {tolerance:.0e}); its blocks are wired in a way not supported"
        )
    bias = getattr(site.projection, "bias", None)
    written = seen["activation"].double() @ output_weight(site.projection).double()
    written = written if bias is None else written + bias.double()
    if (worst := deviation_fraction(written, seen["projected"])) > tolerance:
        raise SubjectError(
            f"{name} refused at layer {site.layer}: activation times output weights differs from the MLP's projection "
            f"by {worst:.1e} of its size (allowed {tolerance:.0e}); its MLP is wired in a way not supported"
        )


def find_sites(base: nn.Module, vocabulary: int) -> tuple[MlpSite, ...]:
    """The MLP sites of all blocks, proven. `base` is the model without its LM head.

    Raises SubjectError: an architecture with no known layout, or the first layer where an identity fails.
    """
    name = type(base).__name__
    layout = find_layout(base)
    if layout is None:
        known = ", ".join(f"{item.blocks}[i].mlp.{item.mlp_out}" for item in LAYOUTS)
        raise SubjectError(f"{name} refused at layer 0: no MLP output projection where it is known to be ({known})")
    blocks = getattr(base, layout.blocks)
    sites = tuple(block_site(layout, layer, block, name) for layer, block in enumerate(blocks))
    generator = torch.Generator().manual_seed(PROOF_SEED)
    tokens = torch.randint(0, vocabulary, (1, PROOF_TOKENS), generator=generator)
    seen: list[dict[str, Tensor]] = [{} for _ in sites]
    hooks = [hook for site, values in zip(sites, seen, strict=True) for hook in watch(site, values)]
    try:
        with torch.no_grad():
            base(input_ids=tokens.to(next(base.parameters()).device), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    with torch.no_grad():
        for site, values in zip(sites, seen, strict=True):
            check_block(site, values, name)
    return sites
