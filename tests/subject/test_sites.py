import math

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from localexplain.errors import SubjectError
from localexplain.subject.capture import watch_layers
from localexplain.subject.model import fuse_gelu, run_tokens
from localexplain.subject.sites import find_sites, input_weight, output_weight
from tests.tiny_subjects import LAYERS, UNITS, VOCABULARY, WIDTH, subject_of, tiny_model

SUPPORTED = (
    "gpt2",
    "llama",
    "qwen3",
    "mistral",
    "gemma2",
    "gemma3",
    "olmo2",
    "neox_parallel",
    "neox_sequential",
    "cohere",
    "stablelm_parallel",
)
TOKENS = torch.tensor([[5, 17, 3, 88, 3, 41, 0, 9, 60], [2, 2, 70, 31, 96, 12, 55, 8, 1]], dtype=torch.int32)


# the activation, recomputed by hand ----------------------------------------------------------------------------------


def gelu_tanh(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def gelu_exact(x):
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def silu(x):
    return x / (1 + torch.exp(-x))


def gated(act):
    def activation(mlp, x):
        return act(x @ mlp.gate_proj.weight.T) * (x @ mlp.up_proj.weight.T)

    return activation


def gpt2_activation(mlp, x):
    return gelu_tanh(x @ mlp.c_fc.weight + mlp.c_fc.bias)


def neox_activation(mlp, x):
    return gelu_exact(x @ mlp.dense_h_to_4h.weight.T + mlp.dense_h_to_4h.bias)


# family -> blocks' attribute, the norm whose output goes into the MLP (None: the MLP's input has no norm), formula
BY_HAND = {
    "gpt2": ("h", "ln_2", gpt2_activation),
    "llama": ("layers", "post_attention_layernorm", gated(silu)),
    "qwen3": ("layers", "post_attention_layernorm", gated(silu)),
    "mistral": ("layers", "post_attention_layernorm", gated(silu)),
    "gemma2": ("layers", "pre_feedforward_layernorm", gated(gelu_tanh)),
    "gemma3": ("layers", "pre_feedforward_layernorm", gated(gelu_tanh)),
    "olmo2": ("layers", None, gated(silu)),
    "neox_parallel": ("layers", "post_attention_layernorm", neox_activation),
    "neox_sequential": ("layers", "post_attention_layernorm", neox_activation),
    "cohere": ("layers", "input_layernorm", gated(silu)),
    "stablelm_parallel": ("layers", "input_layernorm", gated(silu)),
}


def mlp_inputs(base, family):
    """Runs the model to its end; each layer's input of the MLP, from the norms' own outputs."""
    blocks, norm, _ = BY_HAND[family]
    seen = {}

    def keep(layer, name):
        def hook(module, args, output):
            seen[layer, name] = output if name != "in" else args[0]

        return hook

    handles = []
    for layer, block in enumerate(getattr(base, blocks)):
        if norm is not None:
            handles.append(getattr(block, norm).register_forward_hook(keep(layer, "normed")))
        else:  # OLMo 2: the residual stream after attention, whose write is the output of a norm
            handles.append(block.register_forward_hook(keep(layer, "in")))
            handles.append(block.post_attention_layernorm.register_forward_hook(keep(layer, "attention")))
    with torch.inference_mode():
        base(input_ids=TOKENS.long(), use_cache=False)
    for handle in handles:
        handle.remove()
    if norm is not None:
        return [seen[layer, "normed"] for layer in range(LAYERS)]
    return [seen[layer, "in"] + seen[layer, "attention"] for layer in range(LAYERS)]


def captured(subject, units):
    """layer -> what the capture's hook is given for these units."""
    found = {}

    def use(layer, activations):
        found[layer] = activations.clone()

    remove = watch_layers(subject, units, 0, use)
    run_tokens(subject, TOKENS, None)
    remove()
    return found


@pytest.mark.parametrize("family", SUPPORTED)
def test_activation_is_the_one_by_hand(family):
    # float64, so that only a wrong formula, a wrong weight or a wrong place can differ by more than 1e-9
    model = tiny_model(family).double()
    subject = subject_of(model, fuse=False)
    units = {layer: torch.arange(UNITS) for layer in range(LAYERS)}
    found = captured(subject, units)
    blocks, _, formula = BY_HAND[family]
    for layer, x in enumerate(mlp_inputs(subject.base, family)):
        wanted = formula(getattr(subject.base, blocks)[layer].mlp, x)
        assert wanted.abs().mean() > 0.01
        torch.testing.assert_close(found[layer], wanted, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("family", SUPPORTED)
@pytest.mark.parametrize("units", [UNITS, WIDTH])  # with as many units as dimensions a transposed weight has its shape
def test_zeroing_a_unit_takes_its_write_away(family, units):
    # An intervention: without unit u the projection's output is less by exactly a_u * w_out[u], at every position.
    size = {"n_inner": units} if family == "gpt2" else {"intermediate_size": units}
    subject = subject_of(tiny_model(family, **size).double(), fuse=False)
    for site in subject.sites:
        assert site.n_units == units
        seen = {}
        handle = site.projection.register_forward_hook(
            lambda module, args, out, seen=seen: seen.update(a=args[0], y=out)
        )
        run_tokens(subject, TOKENS, None)
        handle.remove()
        unit = 7 + site.layer

        def without(module, args, unit=unit):
            edited = args[0].clone()
            edited[..., unit] = 0
            return (edited,)

        handles = [
            site.projection.register_forward_pre_hook(without),
            site.projection.register_forward_hook(lambda module, args, out, seen=seen: seen.update(edited=out)),
        ]
        run_tokens(subject, TOKENS, None)
        for handle in handles:
            handle.remove()
        write = seen["a"][..., unit, None] * output_weight(site.projection)[unit]
        assert write.abs().max() > 1e-3
        torch.testing.assert_close(seen["y"] - seen["edited"], write, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("family", SUPPORTED)
def test_input_weight_leads_into_the_first_projection(family):
    # Moving x along dimension d moves the pre-activations by row d of w_in.
    for site in subject_of(tiny_model(family).double(), fuse=False).sites:
        into = site.input_projection
        x = torch.randn(1, 2, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        moved = x.clone()
        moved[..., 5] += 1
        assert input_weight(into).shape == (WIDTH, UNITS)
        torch.testing.assert_close((into(moved) - into(x))[0, 0], input_weight(into)[5], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("family", SUPPORTED)
def test_the_norm_is_the_one_before_the_mlp(family):
    _, norm, _ = BY_HAND[family]
    for site in subject_of(tiny_model(family)).sites:
        assert site.norm is (None if norm is None else getattr(site.block, norm))


def test_the_gate_is_the_input_of_a_gated_mlp():
    for site in subject_of(tiny_model("llama")).sites:
        assert site.input_projection is site.block.mlp.gate_proj


def test_only_chosen_units_and_layers_are_handed_on_in_their_order():
    subject = subject_of(tiny_model("llama"))
    every = captured(subject, {layer: torch.arange(UNITS) for layer in range(LAYERS)})
    some = captured(subject, {0: torch.tensor([3, 11]), 2: torch.tensor([39])})
    assert sorted(some) == [0, 2]
    assert torch.equal(some[0], every[0][..., [3, 11]])
    assert torch.equal(some[2], every[2][..., [39]])


def test_the_forward_pass_ends_at_the_last_layer_wanted():
    subject = subject_of(tiny_model("gpt2"))
    ran = []
    for layer, block in enumerate(subject.base.h):
        block.register_forward_pre_hook(lambda module, args, layer=layer: ran.append(layer))
    captured(subject, {0: torch.tensor([0]), 1: torch.tensor([0])})
    assert ran == [0, 1]


# refused -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "words"),
    [
        # residual + 0.5 * write: the writes as hooked are twice what arrives
        ("granite", r"GraniteModel refused at layer 0: input \+ attention write \+ MLP write differ"),
        ("mixtral", "MixtralModel refused at layer 0: no MLP output projection"),
        ("qwen3_moe", r"Qwen3MoeModel refused at layer 1: no self_attn.o_proj or mlp.down_proj"),  # layer 0 is dense
        ("phi", "PhiModel refused at layer 0: no MLP output projection"),
    ],
)
def test_unsupported_wiring_is_refused_by_layer(family, words):
    with pytest.raises(SubjectError, match=words) as error:
        subject_of(tiny_model(family))
    assert "\n" not in str(error.value)


def test_granite_without_a_multiplier_is_accepted():
    # so that it is the multiplier that is refused, not the name
    assert len(subject_of(tiny_model("granite", residual_multiplier=1.0)).sites) == LAYERS


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_planted_residual_fault_is_named_by_layer(layer):
    model = tiny_model("gpt2")

    def lose_a_thousandth(module, args, output):
        return (output[0] * 0.999, *output[1:]) if isinstance(output, tuple) else output * 0.999

    model.base_model.h[layer].register_forward_hook(lose_a_thousandth)
    with pytest.raises(SubjectError, match=rf"GPT2Model refused at layer {layer}: input \+ attention write"):
        subject_of(model)


class WithAdapter(Conv1D):
    """A projection that adds what its weight does not say, as a low-rank adapter does."""

    def forward(self, x):
        return super().forward(x) + 0.01 * x[..., :1]


def test_planted_projection_fault_is_named_by_layer():
    model = tiny_model("gpt2")
    model.base_model.h[1].mlp.c_proj.__class__ = WithAdapter
    with pytest.raises(SubjectError, match="refused at layer 1: activation times output weights differs"):
        subject_of(model)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_weight_that_is_no_number_is_refused_by_layer(value):
    # The old fault: a deviation of nan is not above any tolerance, so that the model passed.
    model = tiny_model("gpt2")
    with torch.no_grad():
        model.base_model.h[1].mlp.c_proj.weight[2, 3] = value
    with pytest.raises(SubjectError, match="refused at layer 1: it gives values that are not finite"):
        subject_of(model)


def test_a_block_without_an_mlp_is_refused_by_layer():
    model = tiny_model("llama")
    model.base_model.layers[2].mlp = nn.Identity()
    with pytest.raises(SubjectError, match=r"LlamaModel refused at layer 2: no self_attn.o_proj or mlp.down_proj"):
        subject_of(model)


def test_an_mlp_without_a_known_first_projection_is_refused_by_layer():
    model = tiny_model("llama")
    mlp = model.base_model.layers[1].mlp
    mlp.gate_up_proj = nn.Linear(WIDTH, 2 * UNITS)
    del mlp.gate_proj, mlp.up_proj
    with pytest.raises(SubjectError, match=r"LlamaModel refused at layer 1: no mlp.up_proj or mlp.gate_proj"):
        subject_of(model)


@pytest.mark.parametrize("family", ["gpt2", "granite"])
def test_the_proof_leaves_no_hook_behind(family):
    base = tiny_model(family).base_model
    if family == "granite":
        with pytest.raises(SubjectError):
            find_sites(base, VOCABULARY)
    else:
        find_sites(base, VOCABULARY)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in base.modules())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", SUPPORTED)
def test_half_precision_passes_the_proof(family, dtype):
    assert len(subject_of(tiny_model(family).to(dtype)).sites) == LAYERS


# fused GELU ----------------------------------------------------------------------------------------------------------


def test_fused_gelu_gives_the_same_outputs():
    base = tiny_model("gpt2").base_model  # its activation is "gelu_new", written out in five operations
    with torch.no_grad():
        before = base(input_ids=TOKENS.long()).last_hidden_state
        assert fuse_gelu(base) == LAYERS
        after = base(input_ids=TOKENS.long()).last_hidden_state
    assert [type(block.mlp.act) for block in base.h] == [nn.GELU] * LAYERS
    assert {block.mlp.act.approximate for block in base.h} == {"tanh"}  # "none" would be another formula
    torch.testing.assert_close(after, before, rtol=0, atol=1e-5)
    assert fuse_gelu(base) == 0


def test_other_activations_are_left_alone():
    for family in ("neox_parallel", "llama", "gemma3"):
        assert fuse_gelu(tiny_model(family)) == 0
