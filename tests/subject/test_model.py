import json
import logging
import socket

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import nn

from localexplain.errors import ConfigError, SubjectError, UserError
from localexplain.subject.model import (
    ForwardStopped,
    bos_token,
    encode_text,
    load_subject,
    pick_device,
    run_tokens,
    token_linear_weights,
)
from tests.tiny_models import edit_json
from tests.tiny_subjects import (
    CONTEXT_TOKENS,
    END_OF_TEXT,
    LAYERS,
    UNITS,
    VOCABULARY,
    tiny_subject,
    write_subject,
)

TEXT = "The ferry leaves  at 7:10,\n\tand — naïve — 日本 comes back. <|im_start|>"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("subjects")
    return {family: write_subject(root / family, family) for family in ("gpt2", "llama")}


def copy_of(folder, path):
    path.mkdir()
    for file in folder.iterdir():
        (path / file.name).write_bytes(file.read_bytes())
    return path


def change_weights(folder, change):
    file = folder / "model.safetensors"
    weights = load_file(file)
    change(weights)
    save_file(weights, file, metadata={"format": "pt"})


# loading -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_saved_folder_is_loaded_whole(folders, family):
    subject = load_subject(folders[family])
    tokenizer = Tokenizer.from_file(str(folders[family] / "tokenizer.json"))
    on_disk = load_file(folders[family] / "model.safetensors")
    assert next(iter(on_disk.values())).dtype == torch.float16
    mlp_out = {"gpt2": "transformer.h.2.mlp.c_proj.weight", "llama": "model.layers.2.mlp.down_proj.weight"}[family]
    assert torch.equal(subject.sites[2].projection.weight, on_disk[mlp_out].float())
    assert [site.layer for site in subject.sites] == list(range(LAYERS))
    assert [site.n_units for site in subject.sites] == [UNITS] * LAYERS
    assert subject.vocabulary == len(subject.texts) == tokenizer.get_vocab_size()
    assert subject.context_tokens == CONTEXT_TOKENS
    assert subject.base.config._attn_implementation == "sdpa"
    assert not subject.base.training
    assert not any(parameter.requires_grad for parameter in subject.base.parameters())
    assert subject.identity.kind == "subject"
    assert subject.identity.name == family
    details = dict(subject.identity.details)
    assert details["dtype"] == "float32"
    assert details["architecture"] == {"gpt2": "GPT2LMHeadModel", "llama": "LlamaForCausalLM"}[family]


def test_gpt2_runs_with_the_fused_activation(folders):
    assert {type(block.mlp.act) for block in load_subject(folders["gpt2"]).base.h} == {nn.GELU}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_dtype_is_that_of_the_weights_and_part_of_the_identity(folders, dtype):
    subject = load_subject(folders["llama"], dtype)
    assert {parameter.dtype for parameter in subject.base.parameters()} == {getattr(torch, dtype)}
    assert dict(subject.identity.details)["dtype"] == dtype


def test_identity_follows_the_files(folders, tmp_path):
    twin = copy_of(folders["gpt2"], tmp_path / "gpt2")
    assert load_subject(twin).identity == load_subject(folders["gpt2"]).identity
    change_weights(twin, lambda weights: weights["transformer.h.0.mlp.c_fc.bias"].add_(1))
    assert load_subject(twin).identity != load_subject(folders["gpt2"]).identity


def test_loading_is_quiet_and_opens_no_socket(folders, tmp_path, capsys, monkeypatch):
    # The old fault: transformers' table of weights, and a warning for every text longer than the context.
    def refuse(*args, **kwargs):
        raise AssertionError("a socket was opened")

    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logger = logging.getLogger("transformers")
    logger.addHandler(handler)
    monkeypatch.setattr(socket, "socket", refuse)
    folder = copy_of(folders["llama"], tmp_path / "with-more")
    change_weights(folder, lambda weights: weights.update({"model.layers.0.other": torch.zeros(1)}))
    try:
        encode_text(load_subject(folder), "ferry " * 10 * CONTEXT_TOKENS)
    finally:
        logger.removeHandler(handler)
    assert records == []
    assert capsys.readouterr() == ("", "")


def test_a_checkpoint_without_an_lm_head_is_enough(folders, tmp_path):
    folder = copy_of(folders["llama"], tmp_path / "headless")
    change_weights(folder, lambda weights: weights.pop("lm_head.weight"))
    assert len(load_subject(folder).sites) == LAYERS


# damaged or refused folders ------------------------------------------------------------------------------------------


def cut_short(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def lose_a_shard(folder):
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = {name: f"model-0000{1 + place % 2}-of-00002.safetensors" for place, name in enumerate(sorted(weights))}
    first = {name: weights[name] for name in weights if "00001-of" in names[name]}
    save_file(first, folder / "model-00001-of-00002.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))


DAMAGE = {
    "weights cut short": (cut_short, r"\(llama\) cannot be loaded: Error while deserializing"),
    "weights garbage": (
        lambda folder: (folder / "model.safetensors").write_bytes(b"no weights" * 99),
        "cannot be loaded",
    ),
    "a shard missing": (lose_a_shard, "model-00002-of-00002.safetensors"),
    # The old fault: transformers draws such a weight at random, and the run would go on with it.
    "a weight missing": (
        lambda folder: change_weights(folder, lambda weights: weights.pop("model.layers.1.mlp.up_proj.weight")),
        "1 of its weights are missing in its files, first model.layers.1.mlp.up_proj.weight",
    ),
    "weights of another shape": (
        lambda folder: edit_json(folder / "config.json", intermediate_size=UNITS + 8),
        "9 of its weights are not of the shape that config.json says, first model.layers.0.mlp.down_proj.weight",
    ),
    "unknown architecture": (lambda folder: edit_json(folder / "config.json", model_type="nonesuch"), r"\(nonesuch\)"),
    "own code": (
        # The old fault: transformers asked on the terminal whether to run it.
        lambda folder: edit_json(folder / "config.json", model_type="own", auto_map={"AutoConfig": "own.Own"}),
        r"\(own\) cannot be loaded: .* custom code",
    ),
    "no architecture": (lambda folder: (folder / "config.json").write_text("{}"), "of no stated type"),
    "an encoder and decoder": (lambda folder: edit_json(folder / "config.json", model_type="t5"), r"\(t5\)"),
    "a setting of the wrong type": (
        lambda folder: edit_json(folder / "config.json", hidden_size="wide"),
        "hidden_size",
    ),
    "tokenizer not JSON": (lambda folder: (folder / "tokenizer.json").write_text("{"), "tokenizer.json cannot be read"),
    "tokenizer empty": (lambda folder: (folder / "tokenizer.json").write_text("{}"), "tokenizer.json cannot be read"),
    # tokenizers raises a bare Exception for this one
    "tokenizer without a model": (
        lambda folder: (folder / "tokenizer.json").write_text('{"added_tokens": []}'),
        "tokenizer.json cannot be read",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_folder_is_refused_in_one_line(folders, tmp_path, damage, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *prompt: pytest.fail("asked on the terminal"))
    folder = copy_of(folders["llama"], tmp_path / "damaged")
    change, words = DAMAGE[damage]
    change(folder)
    with pytest.raises(SubjectError, match=words) as error:
        load_subject(folder)
    assert "\n" not in str(error.value)
    assert str(folder) in str(error.value)


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
def test_an_incomplete_folder_is_refused(folders, tmp_path, missing):
    folder = copy_of(folders["gpt2"], tmp_path / "incomplete")
    (folder / missing).unlink()
    with pytest.raises(UserError, match=missing if missing.endswith("json") else "no weights") as error:
        load_subject(folder)
    assert str(folder) in str(error.value)


def test_a_refused_architecture_is_named_when_loaded_from_a_folder(tmp_path):
    with pytest.raises(SubjectError, match="GraniteModel refused at layer 0"):
        load_subject(write_subject(tmp_path / "granite", "granite"))


def test_a_float16_overflow_is_refused(tmp_path):
    folder = write_subject(tmp_path / "loud", "llama", dtype=torch.float32)
    change_weights(folder, lambda weights: weights["model.layers.2.mlp.up_proj.weight"].mul_(1e6))
    assert len(load_subject(folder, "float32").sites) == LAYERS
    with pytest.raises(SubjectError, match=r"refused at layer 2: .* not finite; .* capture.dtype is too narrow"):
        load_subject(folder, "float16")


# device --------------------------------------------------------------------------------------------------------------


def test_devices():
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ConfigError, match=r'capture.device = "abacus": no such device'):
        pick_device("abacus")
    with pytest.raises(ConfigError, match=r'capture.device = "cuda:99": no such device'):
        pick_device("cuda:99")


# text to tokens ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_special_tokens_in_a_text_are_text(folders, family):
    subject = load_subject(folders[family])
    ids = encode_text(subject, f"a{END_OF_TEXT}b")
    assert 0 not in ids
    assert subject.tokenizer.decode(ids) == f"a{END_OF_TEXT}b"


@pytest.mark.parametrize("prepends_bos", [False, True])
def test_no_special_token_is_added_to_a_text(tmp_path, prepends_bos):
    subject = load_subject(write_subject(tmp_path / "bos", prepends_bos=prepends_bos))
    assert subject.tokenizer.decode(encode_text(subject, TEXT)) == TEXT
    assert encode_text(subject, "") == []


@pytest.mark.parametrize("named", ["LlamaTokenizer", "Qwen2Tokenizer", "GPT2Tokenizer", None])
def test_the_tokenizer_is_the_one_in_tokenizer_json(folders, tmp_path, named):
    # The old fault: AutoTokenizer takes the vocabulary and cuts the text by the rules of the class that is named.
    folder = copy_of(folders["llama"], tmp_path / "named")
    (folder / "tokenizer_config.json").unlink()
    if named:
        (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": named}))
    wanted = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(
        "Score\t10 and  2010\n\n日本", add_special_tokens=False
    )
    assert encode_text(load_subject(folder), "Score\t10 and  2010\n\n日本") == wanted.ids


def test_a_tokenizer_larger_than_the_model_is_refused(folders, tmp_path):
    # The old fault: an IndexError out of the embedding.
    folder = copy_of(folders["gpt2"], tmp_path / "mixed")
    change_weights(folder, lambda w: w.update({"transformer.wte.weight": w["transformer.wte.weight"][:20].clone()}))
    edit_json(folder / "config.json", vocab_size=20)
    subject = load_subject(folder)
    with pytest.raises(SubjectError, match="the model has only 20"):
        encode_text(subject, "ferry")


# beginning of sequence -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prepends_bos", "policy", "wanted"),
    [
        (False, "auto", None),
        (True, "auto", 0),
        (False, "always", 0),
        (True, "always", 0),
        (False, "never", None),
        (True, "never", None),
    ],
)
def test_bos_policies(tmp_path, prepends_bos, policy, wanted):
    subject = load_subject(write_subject(tmp_path / "bos", prepends_bos=prepends_bos))
    assert bos_token(subject, policy) == wanted


def without_a_named_bos(folder, path, **config):
    folder = copy_of(folder, path)
    (folder / "tokenizer_config.json").write_text("{}")  # as in the folder that GPT-2 was published in
    edit_json(folder / "config.json", **config)
    return load_subject(folder)


def test_a_bos_that_only_the_model_names(folders, tmp_path):
    subject = without_a_named_bos(folders["gpt2"], tmp_path / "gpt2", bos_token_id=7)
    assert [bos_token(subject, policy) for policy in ("auto", "always", "never")] == [None, 7, None]


def test_a_bos_that_an_older_folder_names_is_part_of_the_identity(folders, tmp_path):
    plain = without_a_named_bos(folders["gpt2"], tmp_path / "plain", bos_token_id=None)
    (tmp_path / "plain" / "special_tokens_map.json").write_text(json.dumps({"bos_token": END_OF_TEXT}))
    named = load_subject(tmp_path / "plain")
    assert bos_token(named, "always") == 0
    assert named.identity != plain.identity


def test_always_needs_a_bos(folders, tmp_path):
    subject = without_a_named_bos(folders["gpt2"], tmp_path / "gpt2", bos_token_id=None)
    assert bos_token(subject, "auto") is None
    assert bos_token(subject, "never") is None
    with pytest.raises(UserError, match=r'corpus.bos is "always"'):
        bos_token(subject, "always")


# a forward pass ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bos", [None, 5])
def test_what_the_model_is_run_on(bos):
    subject = tiny_subject()
    seen = []
    subject.base.wte.register_forward_pre_hook(lambda module, args: seen.append(args[0].clone()))
    tokens = torch.tensor([[1, 2, 3], [4, 0, 6]], dtype=torch.int32)
    run_tokens(subject, tokens, bos)
    assert seen[0].tolist() == ([[1, 2, 3], [4, 0, 6]] if bos is None else [[5, 1, 2, 3], [5, 4, 0, 6]])


def test_a_hook_may_stop_the_pass_but_not_swallow_a_fault():
    subject = tiny_subject()

    def stop(module, args):
        raise ForwardStopped

    handle = subject.base.h[1].register_forward_pre_hook(stop)
    late = []
    subject.base.h[2].register_forward_pre_hook(lambda module, args: late.append(1))
    run_tokens(subject, torch.zeros(1, 4, dtype=torch.int32), None)
    assert late == []
    handle.remove()

    def fail(module, args):
        raise RuntimeError("a fault of ours")

    subject.base.h[1].register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="a fault of ours"):
        run_tokens(subject, torch.zeros(1, 4, dtype=torch.int32), None)


# token-linear weights, written out -----------------------------------------------------------------------------------


def rms(x, eps):
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps)


def linear_gpt2(base, layer):
    x, norm = base.wte.weight, base.h[layer].ln_2
    normed = (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, unbiased=False, keepdim=True) + norm.eps)
    return (normed * norm.weight + norm.bias) @ base.h[layer].mlp.c_fc.weight  # without the bias: it is no token's


def linear_llama(base, layer):
    block = base.layers[layer]
    normed = rms(base.embed_tokens.weight, 1e-6) * block.post_attention_layernorm.weight
    return normed @ block.mlp.gate_proj.weight.T


def linear_gemma3(base, layer):
    block = base.layers[layer]
    embedded = base.embed_tokens.weight * 24**0.5  # Gemma scales by the square root of the width
    normed = rms(embedded, 1e-6) * (1 + block.pre_feedforward_layernorm.weight)
    return normed @ block.mlp.gate_proj.weight.T


def linear_olmo2(base, layer):
    return base.embed_tokens.weight @ base.layers[layer].mlp.gate_proj.weight.T  # no norm before its MLP


@pytest.mark.parametrize(
    ("family", "by_hand"),
    [("gpt2", linear_gpt2), ("llama", linear_llama), ("gemma3", linear_gemma3), ("olmo2", linear_olmo2)],
)
def test_token_linear_weights_by_hand(family, by_hand):
    subject = tiny_subject(family)
    units, tokens = torch.tensor([3, 39, 0], dtype=torch.int32), torch.arange(VOCABULARY, dtype=torch.int32).flip(0)
    for layer in (0, 2):
        found = token_linear_weights(subject, layer, units, tokens)
        wanted = by_hand(subject.base, layer).flip(0)[:, [3, 39, 0]].T
        assert found.dtype == torch.float32
        assert wanted.std() > 0.1
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
