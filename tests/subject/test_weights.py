import dataclasses
import json
from contextlib import ExitStack
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForCausalLM
from transformers.models.gemma2.modeling_gemma2 import Gemma2RMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from localexplain.errors import SubjectError, UserError
from localexplain.subject.model import load_subject
from localexplain.subject.sites import input_weight, output_weight
from localexplain.subject.weights import CHUNK_ROWS, load_unembedding, norm_gain, read_connections
from localexplain.types import Unit
from tests.tiny_models import edit_json
from tests.tiny_subjects import LAYERS, UNITS, VOCABULARY, WIDTH, subject_of, tiny_model, tiny_subject, write_subject

EVERYTHING = LAYERS * UNITS + VOCABULARY  # more than any list can hold
FAMILIES = ("gpt2", "llama", "qwen3", "mistral", "gemma2", "gemma3", "olmo2", "neox_parallel", "neox_sequential")
FAMILIES += ("cohere", "stablelm_parallel")


def mlp(layer, index):
    return Unit(basis="mlp", layer=layer, index=index)


def connections_of(model, unit, n=EVERYTHING):
    return read_connections(subject_of(model), unit, model.get_output_embeddings().weight.detach(), n)


# gains ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [2, 24, 25])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_norms_gain_by_running_it(width, dtype):
    generator = torch.Generator().manual_seed(width)
    drawn = torch.randn(width, generator=generator).to(dtype)
    drawn[0] = -3
    layer_norm = nn.LayerNorm(width).to(dtype)
    rms, gemma = LlamaRMSNorm(width).to(dtype), Gemma2RMSNorm(width).to(dtype)
    with torch.no_grad():
        layer_norm.bias.copy_(torch.randn(width, generator=generator) * 5)
        for norm in (layer_norm, rms, gemma):
            norm.weight.copy_(drawn)
        for norm, wanted in ((layer_norm, drawn.float()), (rms, drawn.float()), (gemma, 1 + drawn.float())):
            torch.testing.assert_close(norm_gain(norm, width), wanted, rtol=1e-5, atol=2e-6)
            assert norm.weight.dtype == dtype  # the model's own norm is left as it was
        bare = nn.LayerNorm(width, elementwise_affine=False)  # as OLMo's first version has
        torch.testing.assert_close(norm_gain(bare, width), torch.ones(width))
    assert norm_gain(None, width).tolist() == [1.0] * width


# brute force, from the named tensors ---------------------------------------------------------------------------------
# Each oracle gives what tokens write [tokens, width], what the units of a layer read [width, units] and write
# [units, width], and what the logits read [width, tokens], all gains taken in.


def oracle_gpt2(w):
    blocks = [f"transformer.h.{layer}" for layer in range(LAYERS)]
    reads = [np.diag(w[f"{block}.ln_2.weight"]) @ w[f"{block}.mlp.c_fc.weight"] for block in blocks]
    writes = [w[f"{block}.mlp.c_proj.weight"] for block in blocks]  # Conv1D stores [in, out]
    return w["transformer.wte.weight"], reads, writes, np.diag(w["transformer.ln_f.weight"]) @ w["lm_head.weight"].T


def oracle_llama(w):
    blocks = [f"model.layers.{layer}" for layer in range(LAYERS)]
    reads = [(w[f"{at}.mlp.gate_proj.weight"] * w[f"{at}.post_attention_layernorm.weight"]).T for at in blocks]
    writes = [w[f"{at}.mlp.down_proj.weight"].T for at in blocks]  # Linear stores [out, in]
    return w["model.embed_tokens.weight"], reads, writes, (w["lm_head.weight"] * w["model.norm.weight"]).T


def oracle_gemma2(w):
    tied, reads, writes = w["model.embed_tokens.weight"], [], []
    for layer in range(LAYERS):
        before, after = (w[f"model.layers.{layer}.{side}_feedforward_layernorm.weight"] for side in ("pre", "post"))
        reads.append(np.einsum("d,ud->du", 1 + before, w[f"model.layers.{layer}.mlp.gate_proj.weight"]))
        writes.append(np.einsum("d,du->ud", 1 + after, w[f"model.layers.{layer}.mlp.down_proj.weight"]))
    return tied * np.sqrt(WIDTH), reads, writes, np.einsum("d,td->dt", 1 + w["model.norm.weight"], tied)


def oracle_olmo2(w):
    reads, writes = [], []
    for layer in range(LAYERS):
        reads.append(w[f"model.layers.{layer}.mlp.gate_proj.weight"].T)  # no norm before its MLP
        after = np.diag(w[f"model.layers.{layer}.post_feedforward_layernorm.weight"])
        writes.append(w[f"model.layers.{layer}.mlp.down_proj.weight"].T @ after)
    return w["model.embed_tokens.weight"], reads, writes, np.diag(w["model.norm.weight"]) @ w["lm_head.weight"].T


def oracle_neox(w):
    layers = [f"gpt_neox.layers.{layer}" for layer in range(LAYERS)]
    gains = [w[f"{at}.post_attention_layernorm.weight"][:, None] for at in layers]
    reads = [gain * w[f"{at}.mlp.dense_h_to_4h.weight"].T for gain, at in zip(gains, layers, strict=True)]
    writes = [w[f"{at}.mlp.dense_4h_to_h.weight"].T for at in layers]
    head = w["gpt_neox.final_layer_norm.weight"][:, None] * w["lm_head.weight"].T
    return w["gpt_neox.embed_in.weight"], reads, writes, head


ORACLES = {
    "gpt2": oracle_gpt2,
    "llama": oracle_llama,
    "gemma2": oracle_gemma2,
    "olmo2": oracle_olmo2,
    "neox_parallel": oracle_neox,
}


def numpy_weights(model):
    return {name: tensor.double().numpy() for name, tensor in model.state_dict().items()}


def check_ends(high, low, wanted, n):
    """`wanted` is the list of (weight, key) of all items; high and low are lists of the same, as found."""
    by_weight = sorted(wanted, key=lambda pair: (-pair[0], pair[1]))
    for found, expected in ((high, by_weight[:n]), (low, by_weight[::-1][:n])):
        assert [key for _, key in found] == [key for _, key in expected]
        np.testing.assert_allclose([w for w, _ in found], [w for w, _ in expected], rtol=2e-5, atol=2e-6)


def pairs(items):
    return [(item.weight, item.token_id if hasattr(item, "token_id") else item.unit) for item in items]


def by_place(items, n_places):
    weights = torch.full((n_places,), torch.nan)
    for item in items:
        weights[item.token_id if hasattr(item, "token_id") else item.unit.index] = item.weight
    assert weights.isfinite().all()
    return weights


def check_against(oracle, model, unit, n):
    found = connections_of(model, unit, n)
    embedded, reads, writes, head = oracle(numpy_weights(model))
    layer, index = unit.layer, unit.index
    wanted = {
        "input_tokens": [(weight, token) for token, weight in enumerate(embedded @ reads[layer][:, index])],
        "output_tokens": [(weight, token) for token, weight in enumerate(writes[layer][index] @ head)],
        "upstream": [
            (weight, mlp(at, place))
            for at in range(layer)
            for place, weight in enumerate(writes[at] @ reads[layer][:, index])
        ],
        "downstream": [
            (weight, mlp(at, place))
            for at in range(layer + 1, LAYERS)
            for place, weight in enumerate(writes[layer][index] @ reads[at])
        ],
    }
    assert found.unit == unit
    for kind, items in wanted.items():
        check_ends(pairs(getattr(found, f"{kind}_high")), pairs(getattr(found, f"{kind}_low")), items, n)
    return found


@pytest.mark.parametrize("family", ORACLES)
@pytest.mark.parametrize("unit", [mlp(0, 39), mlp(1, 7), mlp(2, 0)])
@pytest.mark.parametrize("n", [10, EVERYTHING])
def test_connections_by_brute_force(family, unit, n):
    found = check_against(ORACLES[family], tiny_model(family), unit, n)
    assert len(found.upstream_high) == min(n, unit.layer * UNITS)
    assert len(found.downstream_low) == min(n, (LAYERS - 1 - unit.layer) * UNITS)
    assert len(found.input_tokens_low) == len(found.output_tokens_high) == min(n, VOCABULARY)
    assert all(item.text == f"t{item.token_id} " for item in found.input_tokens_high + found.output_tokens_low)


@pytest.mark.parametrize("family", ["gpt2", "llama", "olmo2"])
def test_sums_are_in_float32_whatever_the_models_dtype(family):
    # In bfloat16 a product or gain would be off by 1 in 256, where 1 in 50,000 is allowed here.
    model = tiny_model(family).to(torch.bfloat16)
    assert model.base_model.dtype == torch.bfloat16
    check_against(ORACLES[family], model, mlp(1, 3), EVERYTHING)


def test_a_vocabulary_of_more_than_one_chunk():
    n_tokens = CHUNK_ROWS + 5
    model = tiny_model("gpt2", vocabulary=n_tokens)
    found = connections_of(model, mlp(1, 3), n_tokens)
    embedded, reads, writes, head = oracle_gpt2(numpy_weights(model))
    into, out = embedded @ reads[1][:, 3], writes[1][3] @ head
    np.testing.assert_allclose(by_place(found.input_tokens_high, n_tokens), into, rtol=2e-5, atol=2e-6)
    np.testing.assert_allclose(by_place(found.output_tokens_low, n_tokens), out, rtol=2e-5, atol=2e-6)


# interventions -------------------------------------------------------------------------------------------------------


def centres(norm):
    return isinstance(norm, nn.LayerNorm) or type(norm).__name__ == "CohereLayerNorm"


def norm_divisor(norm, x):
    """What the norm divides by, [.., 1]."""
    x = x - x.mean(-1, keepdim=True) if centres(norm) else x
    epsilon = next(getattr(norm, name) for name in ("eps", "variance_epsilon") if hasattr(norm, name))
    return (x.square().mean(-1, keepdim=True) + epsilon).sqrt()


def keep_output(found, layer, module, args, output):
    """A forward hook: the module's output, under its layer."""
    found[layer] = output


class DirectPath:
    """Runs a model as it is, and then with an edit that reaches later layers through the residual stream alone.

    In the second run attention and all other MLPs write what they wrote in the first, and every norm divides by what it
    divided by then. What is left is linear in the edit, so the edit may be large.
    """

    def __init__(self, model, tokens):
        self.subject, self.head, self.tokens = subject_of(model), model.get_output_embeddings().weight, tokens
        self.final = next(
            module
            for name, module in self.subject.base.named_children()
            if name in ("ln_f", "final_layer_norm", "norm")
        )
        self.norms = {site.norm for site in self.subject.sites if site.norm is not None} | {self.final}
        self.norms |= {site.mlp_write for site in self.subject.sites if site.mlp_write is not site.projection}
        self.divisors, self.writes = {}, {}
        self.clean_before, self.clean_logits = self.run(tokens, self.record_hooks())

    def run(self, tokens, hooks):
        before = {}
        with ExitStack() as stack, torch.no_grad():
            for site in self.subject.sites:
                hook = site.input_projection.register_forward_hook(partial(keep_output, before, site.layer))
                stack.callback(hook.remove)
            for hook in hooks:
                stack.callback(hook.remove)
            last = self.subject.base(input_ids=tokens, use_cache=False).last_hidden_state
        return before, last @ self.head.T

    def record_hooks(self):
        def divisor(module, args, output):
            self.divisors[module] = norm_divisor(module, args[0])

        def write(module, args, output):
            self.writes[module] = output

        writers = [writer for site in self.subject.sites for writer in (site.attention_write, site.mlp_write)]
        return [norm.register_forward_hook(divisor) for norm in self.norms] + [
            writer.register_forward_hook(write) for writer in writers
        ]

    def run_edited(self, tokens, hooks=(), open_layer=None):
        """Changes of the pre-activations {layer: [batch, tokens, units]} and of the logits [batch, tokens, vocabulary].

        open_layer  the layer whose MLP writes what the edit makes it write
        """

        def hold_divisor(module, args, output):
            plus, minus = module.forward(args[0]), module.forward(-args[0])
            ratio = norm_divisor(module, args[0]) / self.divisors[module]
            return (plus + minus) / 2 + (plus - minus) / 2 * ratio  # the bias is not divided

        def hold_write(module, args, output):
            return self.writes[module]

        held = [
            writer
            for site in self.subject.sites
            for writer in (site.attention_write, site.mlp_write)
            if not (site.layer == open_layer and writer is site.mlp_write)
        ]
        hooks = [
            *hooks,
            *(norm.register_forward_hook(hold_divisor) for norm in self.norms),
            *(writer.register_forward_hook(hold_write) for writer in held),
        ]
        before, logits = self.run(tokens, hooks)
        return {layer: before[layer] - self.clean_before[layer] for layer in before}, logits - self.clean_logits

    def divisor(self, norm):
        return 1.0 if norm is None else self.divisors[norm]

    def after_mlp(self, layer):
        site = self.subject.sites[layer]
        return 1.0 if site.mlp_write is site.projection else self.divisors[site.mlp_write]


def centring(norm, moved, reads):
    """What a LayerNorm's centring takes off: the mean of what was added, read by each column of `reads` after gain."""
    if norm is None or not centres(norm):
        return torch.zeros(reads.shape[1])
    return moved.mean() * (norm.weight[:, None] * reads).sum(0)


@pytest.mark.parametrize("family", FAMILIES)
def test_more_of_a_units_activation_moves_what_it_is_connected_to(family):
    model = tiny_model(family)
    tokens = torch.tensor([[5, 17, 3, 96, 40]])
    direct = DirectPath(model, tokens)
    subject, unit, more = direct.subject, mlp(0, 11), 2.0
    site = subject.sites[0]

    def add(module, args):
        edited = args[0].clone()
        edited[..., unit.index] += more
        return (edited,)

    hook = site.projection.register_forward_pre_hook(add)
    changes, logits = direct.run_edited(tokens, [hook], open_layer=0)
    found = connections_of(model, unit)
    row = output_weight(site.projection)[unit.index]
    with torch.no_grad():
        for layer in (1, 2):
            reader = subject.sites[layer]
            reads = input_weight(reader.input_projection)
            weights = by_place([item for item in found.downstream_high if item.unit.layer == layer], UNITS)
            wanted = more * (weights - centring(reader.norm, row, reads))
            wanted = wanted / direct.after_mlp(0) / direct.divisor(reader.norm)
            assert changes[layer].abs().mean() > 0.01
            torch.testing.assert_close(changes[layer], wanted.expand_as(changes[layer]), rtol=1e-3, atol=1e-4)
        weights = by_place(found.output_tokens_high, VOCABULARY)
        wanted = more * (weights - centring(direct.final, row, direct.head.T))
        wanted = wanted / direct.after_mlp(0) / direct.divisor(direct.final)
        assert logits.abs().mean() > 0.01
        torch.testing.assert_close(logits, wanted.expand_as(logits), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_another_token_moves_a_unit_by_the_difference_of_their_weights(family):
    model = tiny_model(family)
    tokens, place, other = torch.tensor([[5, 17, 3, 96, 40]]), 2, 71
    direct = DirectPath(model, tokens)
    subject = direct.subject
    swapped = tokens.clone()
    swapped[0, place] = other
    changes, _ = direct.run_edited(swapped)
    embedded = subject.base.get_input_embeddings()(torch.tensor([other, 3]))
    for unit in (mlp(0, 4), mlp(2, 33)):
        reader = subject.sites[unit.layer]
        reads = input_weight(reader.input_projection)
        weights = by_place(connections_of(model, unit).input_tokens_low, VOCABULARY)
        taken = centring(reader.norm, embedded[0] - embedded[1], reads)[unit.index]
        wanted = (weights[other] - weights[3] - taken) / torch.as_tensor(direct.divisor(reader.norm))
        wanted = wanted.expand(1, 5, 1)[0, place, 0]
        assert wanted.abs() > 0.01
        torch.testing.assert_close(changes[unit.layer][0, place, unit.index], wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_upstream_and_downstream_are_one_weight_seen_from_both_ends(family):
    model = tiny_model(family)
    forth = {item.unit: item.weight for item in connections_of(model, mlp(0, 11)).downstream_high}
    back = {item.unit: item.weight for item in connections_of(model, mlp(2, 8)).upstream_low}
    assert forth[mlp(2, 8)] == pytest.approx(back[mlp(0, 11)], rel=1e-4)
    assert {unit.layer for unit in forth} == {1, 2}
    assert {unit.layer for unit in back} == {0, 1}


# order ---------------------------------------------------------------------------------------------------------------


def test_equal_weights_go_by_layer_and_index():
    # Unit mlp.0:0 writes 2 on the first dimension alone, and all gains are 1, so its weight to a unit is twice the
    # first entry of that unit's column: 6 for three of them, -4 for two, else 0. Every sum is exact.
    model = tiny_model("gpt2")
    blocks = model.transformer.h
    with torch.no_grad():
        for block in blocks:
            block.ln_2.weight.fill_(1)
            block.mlp.c_fc.weight[0] = 0
        blocks[0].mlp.c_proj.weight[0] = 0
        blocks[0].mlp.c_proj.weight[0, 0] = 2
        for layer, index, entry in ((2, 3, 3), (1, 30, 3), (2, 17, 3), (2, 1, -2), (1, 39, -2)):
            blocks[layer].mlp.c_fc.weight[0, index] = entry
    found = connections_of(model, mlp(0, 0), n=5)
    high, low = pairs(found.downstream_high), pairs(found.downstream_low)
    assert high == [(6, mlp(1, 30)), (6, mlp(2, 3)), (6, mlp(2, 17)), (0, mlp(1, 0)), (0, mlp(1, 1))]
    assert low == [(-4, mlp(1, 39)), (-4, mlp(2, 1)), (0, mlp(1, 0)), (0, mlp(1, 1)), (0, mlp(1, 2))]


def test_equal_weights_go_by_token_id():
    # The unit reads the first dimension alone, with weight 1: a token's weight is its embedding's first entry.
    model = tiny_model("gpt2")
    with torch.no_grad():
        model.transformer.h[1].ln_2.weight.fill_(1)
        model.transformer.h[1].mlp.c_fc.weight[:, 4] = 0
        model.transformer.h[1].mlp.c_fc.weight[0, 4] = 1
        model.transformer.wte.weight[:, 0] = 0
        model.transformer.wte.weight[[80, 9, 33], 0] = 5
    found = connections_of(model, mlp(1, 4), n=4)
    assert pairs(found.input_tokens_high) == [(5, 9), (5, 33), (5, 80), (0, 0)]
    assert pairs(found.input_tokens_low) == [(0, 0), (0, 1), (0, 2), (0, 3)]


def test_the_rows_that_pad_a_vocabulary_are_no_tokens():
    model = tiny_model("llama")
    with torch.no_grad():
        model.model.embed_tokens.weight[90:] *= 100
        model.lm_head.weight[90:] *= 100
    whole = subject_of(model)
    fewer = dataclasses.replace(whole, texts=whole.texts[:90])
    for subject, n_tokens in ((whole, 97), (fewer, 90)):
        found = read_connections(subject, mlp(1, 4), model.lm_head.weight.detach(), EVERYTHING)
        assert {item.token_id for item in found.input_tokens_high} == set(range(n_tokens))
        assert {item.token_id for item in found.output_tokens_low} == set(range(n_tokens))


def test_a_tokenizer_of_more_tokens_than_the_model():
    subject = tiny_subject("gpt2")
    more = dataclasses.replace(subject, texts=(*subject.texts, "no row", "of its own"))
    unembedding = subject.base.wte.weight
    assert read_connections(more, mlp(1, 4), unembedding) == read_connections(subject, mlp(1, 4), unembedding)


def test_ten_of_each_unless_told():
    subject = tiny_subject("gpt2")
    found = read_connections(subject, mlp(1, 4), subject.base.wte.weight)
    lists = dataclasses.asdict(found)
    assert lists.pop("unit") == {"basis": "mlp", "layer": 1, "index": 4}
    assert {name: len(items) for name, items in lists.items()} == dict.fromkeys(lists, 10)


# refused -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "words"),
    [
        (mlp(3, 0), "mlp.3:0: no such layer in tiny; .* LAYER from 0 to 2"),
        (mlp(1, 40), "mlp.1:40: no such unit in tiny; layer 1 has the units 0 to 39"),
        (mlp(-1, 0), "no such layer"),
        (mlp(1, -1), "no such unit"),
        (Unit(basis="attention", layer=1, index=0), "attention.1:0: no such layer in tiny; its units are mlp.LAYER"),
    ],
)
def test_a_unit_that_the_subject_has_not(unit, words):
    subject = tiny_subject("gpt2")
    with pytest.raises(UserError, match=words):
        read_connections(subject, unit, subject.base.wte.weight)


# the unembedding -----------------------------------------------------------------------------------------------------


def change_weights(folder, change):
    file = folder / "model.safetensors"
    weights = load_file(file)
    change(weights)
    save_file(weights, file, metadata={"format": "pt"})


def cut_in_two(folder):
    """The weights in two files with an index, the LM head in the second."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    files = {
        name: f"model-0000{1 + ('lm_head' in name or place % 2)}-of-00002.safetensors"
        for place, name in enumerate(sorted(weights))
    }
    for file in sorted(set(files.values())):
        part = {name: weights[name] for name in weights if files[name] == file}
        save_file(part, folder / file, metadata={"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))
    return files


def as_transformers_loads_it(folder, dtype=torch.float32):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).get_output_embeddings().weight.detach()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", ORACLES)
def test_the_unembedding_is_the_one_that_transformers_loads(tmp_path, family, dtype):
    folder = write_subject(tmp_path / family, family)
    subject = load_subject(folder, dtype, "cpu")
    found, embedding = load_unembedding(folder, subject), subject.base.get_input_embeddings().weight
    assert found.dtype == getattr(torch, dtype)
    assert torch.equal(found, as_transformers_loads_it(folder, getattr(torch, dtype)))
    assert torch.equal(found, embedding) == (family in ("gpt2", "gemma2"))  # those two tie


def test_a_tied_unembedding_takes_no_memory_of_its_own(tmp_path):
    folder = write_subject(tmp_path / "gpt2", "gpt2")
    subject = load_subject(folder, device="cpu")
    assert load_unembedding(folder, subject).data_ptr() == subject.base.wte.weight.data_ptr()


def test_the_name_in_gpt_neox_folders(tmp_path):
    folder = write_subject(tmp_path / "neox", "neox_parallel")
    subject = load_subject(folder, device="cpu")
    wanted = as_transformers_loads_it(folder)

    def rename(weights):
        head = next(weights.pop(name) for name in ("lm_head.weight", "embed_out.weight") if name in weights)
        weights["embed_out.weight"] = head

    change_weights(folder, rename)
    assert torch.equal(load_unembedding(folder, subject), wanted)


def test_an_unembedding_in_one_of_several_files(tmp_path):
    folder = write_subject(tmp_path / "llama", "llama")
    wanted = load_file(folder / "model.safetensors")["lm_head.weight"].float()
    files = cut_in_two(folder)
    assert files["lm_head.weight"].startswith("model-00002")
    subject = load_subject(folder, device="cpu")
    (folder / "model-00001-of-00002.safetensors").unlink()  # the other file is not read for it
    assert torch.equal(load_unembedding(folder, subject), wanted)


def test_a_head_in_the_files_goes_before_tying(tmp_path):
    # transformers leaves the two apart where the files hold both and they differ, whatever config.json says.
    folder = write_subject(tmp_path / "llama", "llama")
    edit_json(folder / "config.json", tie_word_embeddings=True)
    subject = load_subject(folder, device="cpu")
    found = load_unembedding(folder, subject)
    assert torch.equal(found, as_transformers_loads_it(folder))
    assert not torch.equal(found, subject.base.embed_tokens.weight)


def no_head(folder):
    change_weights(folder, lambda weights: weights.pop("lm_head.weight"))


def no_head_in_the_index(folder):
    no_head(folder)
    cut_in_two(folder)


def head_file_lost(folder):
    files = cut_in_two(folder)
    (folder / files["lm_head.weight"]).unlink()


def index_garbage(folder):
    cut_in_two(folder)
    (folder / "model.safetensors.index.json").write_text("[")


def no_index(folder):
    cut_in_two(folder)
    (folder / "model.safetensors.index.json").unlink()


FAULTS = {
    "no head": (no_head, "has neither lm_head.weight nor embed_out.weight"),
    "no head in the index": (no_head_in_the_index, "has neither lm_head.weight nor embed_out.weight"),
    "its file lost": (head_file_lost, "model-00002-of-00002.safetensors cannot be read"),
    "index garbage": (index_garbage, "model.safetensors.index.json cannot be read"),
    "no index": (no_index, "holds no model.safetensors"),
    "file damaged": (lambda folder: (folder / "model.safetensors").write_bytes(b"no weights" * 9), "cannot be read"),
    "fewer rows": (
        lambda folder: change_weights(folder, lambda w: w.update({"lm_head.weight": w["lm_head.weight"][:9].clone()})),
        r"is \(9, 24\) in torch.float16, where \(\d+, 24\) in floating point",
    ),
    "packed": (
        lambda folder: change_weights(folder, lambda w: w.update({"lm_head.weight": w["lm_head.weight"].char()})),
        "in torch.int8, where",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_folder_without_a_whole_unembedding_is_refused_in_one_line(tmp_path, fault):
    folder = write_subject(tmp_path / "llama", "llama")
    subject = load_subject(folder, device="cpu")
    damage, words = FAULTS[fault]
    damage(folder)
    with pytest.raises(SubjectError, match=words) as error:
        load_unembedding(folder, subject)
    assert "\n" not in str(error.value)
    assert str(folder) in str(error.value)
    assert str(error.value).endswith(("copy the folder again", "copy the file again", "from the whole model"))


def test_an_unknown_final_norm_is_refused():
    subject = tiny_subject("llama")
    subject.base.last_norm = subject.base.norm
    del subject.base.norm
    with pytest.raises(SubjectError, match="LlamaModel: no final norm where it is known to be"):
        read_connections(subject, mlp(0, 0), subject.base.embed_tokens.weight)
