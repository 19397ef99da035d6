"""A card against files: tiny checkpoints of the same architectures, and each fact altered in turn."""

import json
from dataclasses import replace

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from localexplain.cards import Architecture, ModelCard, Quantisation, Thinking, check_card, show_card
from localexplain.cards.check import Tensor, count_parameters, missing_files, read_tensors, weight_files
from localexplain.errors import UserError
from tests.tiny_models import CHATML, CONTEXT_TOKENS, SLIDING_WINDOW, edit_json, train_tokenizer, write_tiny_engine

SWITCHED = CHATML + "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}"
LEVELLED = "{{ 'Effort: ' + (reasoning_effort | default('medium')) }}" + CHATML
FOLDED = (
    "{% for message in messages %}{% if message.role == 'system' %}{% set ns = message.content + '\\n\\n' %}"
    "{% else %}<|im_start|>{{ message.role }}\\n"
    "{{ messages[0].content + '\\n\\n' if messages[0].role == 'system' else '' }}"
    "{{ message.content }}<|im_end|>\\n{% endif %}{% endfor %}"
)
REFUSING = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + CHATML
SETTINGS = "tokenizer_config.json"
# What tests/tiny_models.py sets in every family; the rest below.
SHAPE = {"layers": 3, "width": 128, "heads": 4, "kv_heads": 2, "head_width": 32, "mlp": 256}
WHOLE = {"kv_heads": 4, "mlp": 256}
FAMILIES = {
    "qwen3": {"tied": False},
    "llama": {"tied": False},
    "gemma3": {"tied": True, "layers": 4, "model_type": "gemma3_text", "sliding_window_tokens": SLIDING_WINDOW},
    "gpt2": {"tied": True, **WHOLE, "mlp": 512},
    "gpt_neox": {"tied": False, **WHOLE},
    "mistral": {"tied": False, "sliding_window_tokens": SLIDING_WINDOW},
}


def tiny_card(folder, family="qwen3"):
    """The card of write_tiny_engine's model; its parameters are counted on the loaded model."""
    tokenizer = train_tokenizer()
    tens = len(tokenizer.encode("\t10").ids) - len(tokenizer.encode("\t").ids)
    shape = {"model_type": family, "vocabulary": tokenizer.get_vocab_size(), **SHAPE, **FAMILIES[family]}
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    return ModelCard(
        name="tiny",
        repository="org/tiny",
        roles=("explainer",),
        source="tests",
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        context_tokens=CONTEXT_TOKENS,
        dtype="float32",
        chat_template=True,
        system_role="turn",
        ten_tokens=tens,
        thinking=Thinking(kind="none"),
        architecture=Architecture(**shape),
    )


def set_template(folder, template):
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    edit_json(folder / SETTINGS, chat_template=template)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    return write_tiny_engine(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture
def folder(tmp_path):
    """A model of one's own, to spoil."""
    return write_tiny_engine(tmp_path / "model")


@pytest.mark.parametrize("family", FAMILIES)
def test_files_of_every_family_agree_with_their_card(tmp_path, family):
    path = write_tiny_engine(tmp_path / family, family)
    card = tiny_card(path, family)
    assert check_card(card, path) == ()
    assert ("files", "agree with the card") in show_card(card, path)


ALTERED = {
    "parameters": 1_000,
    "context_tokens": 4096,
    "dtype": "bfloat16",
    "chat_template": False,
    "system_role": "folded",
    "architecture.model_type": "llama",
    "architecture.layers": 4,
    "architecture.width": 64,
    "architecture.heads": 8,
    "architecture.kv_heads": 4,
    "architecture.head_width": 64,
    "architecture.mlp": 512,
    "architecture.vocabulary": 50_257,
    "architecture.tied": True,
    "architecture.experts": 8,
    "architecture.experts_per_token": 2,
    "architecture.sliding_window_tokens": 16,
    "quantisation.method": Quantisation(method="mxfp4", bits_per_parameter=4.25, parameters=10),
    "ten_tokens": None,
}


@pytest.mark.parametrize("key", ALTERED)
def test_each_altered_fact_is_named_and_no_other(stored, key):
    card = tiny_card(stored)
    value = ALTERED[key]
    if key == "ten_tokens":
        value = 3 - card.ten_tokens
    table, _, inner = key.rpartition(".")
    if table == "architecture":
        altered = replace(card, architecture=replace(card.architecture, **{inner: value}))
    else:
        altered = replace(card, **{table or key: value})
    (fault,) = check_card(altered, stored)
    said = value.method if table == "quantisation" else value
    assert fault.startswith(f"{key}: the card says {json.dumps(said)}, the files say ")
    assert ("contradiction", fault) in show_card(altered, stored)


def test_facts_that_the_card_lacks_are_not_checked(stored):
    card = ModelCard(name="tiny", repository="org/tiny", roles=("subject",), source="tests")
    assert check_card(card, stored) == ()


def test_a_rounded_count_is_held_to_its_rounding(stored):
    card = replace(tiny_card(stored), parameters_rounded=True)
    exact = card.parameters
    assert check_card(replace(card, parameters=int(exact * 1.04)), stored) == ()
    assert len(check_card(replace(card, parameters=int(exact * 1.10)), stored)) == 1
    assert len(check_card(replace(card, parameters=int(exact * 0.90)), stored)) == 1
    assert len(check_card(replace(card, parameters=exact + 1, parameters_rounded=False), stored)) == 1


def test_the_tiny_models_labels_are_told_apart(tmp_path, folder):
    """A vocabulary where "10" is one token, and the same one where a merge was taken out of it."""
    card = replace(tiny_card(folder), thinking=None)
    vocabulary = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    merges = vocabulary["model"]["merges"]
    assert card.ten_tokens == 1
    vocabulary["model"]["merges"] = [merge for merge in merges if list(merge) != ["1", "0"]]
    (folder / "tokenizer.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    assert check_card(card, folder) == ("ten_tokens: the card says 1, the files say 2",)
    assert check_card(replace(card, ten_tokens=2), folder) == ()


# Templates -----------------------------------------------------------------------------------------------------------

TEMPLATES = {"turn": CHATML, "folded": FOLDED, "refused": REFUSING}


@pytest.mark.parametrize("said", TEMPLATES)
@pytest.mark.parametrize("found", TEMPLATES)
def test_what_a_template_does_with_a_system_message(folder, said, found):
    set_template(folder, TEMPLATES[found])
    faults = check_card(replace(tiny_card(folder), system_role=said), folder)
    expected = () if said == found else (f'system_role: the card says "{said}", the files say "{found}"',)
    assert faults == expected


def test_a_missing_template(folder):
    (folder / "chat_template.jinja").unlink()
    faults = check_card(tiny_card(folder), folder)
    assert faults == ("chat_template: the card says true, the files say false",)


def test_a_template_that_leaves_the_user_out(folder):
    set_template(folder, "hello")
    assert any("leaves out what the user says" in fault for fault in check_card(tiny_card(folder), folder))


SWITCH = Thinking(kind="switch", argument="enable_thinking", off=False)
LEVELS = Thinking(kind="levels", argument="reasoning_effort", levels=("low", "high"))


@pytest.mark.parametrize(
    ("thinking", "template", "said"),
    [
        (SWITCH, SWITCHED, None),
        (SWITCH, CHATML, "thinking.argument: enable_thinking = false changes nothing"),
        (replace(SWITCH, off=True), SWITCHED, "thinking.argument: enable_thinking = true changes nothing"),
        (replace(SWITCH, argument="think"), SWITCHED, "thinking.argument: think = false changes nothing"),
        (LEVELS, LEVELLED, None),
        (LEVELS, CHATML, "thinking.levels: reasoning_effort changes nothing"),
        (Thinking(kind="none"), SWITCHED, "the chat template has enable_thinking"),
        (Thinking(kind="none"), LEVELLED, "the chat template has reasoning_effort"),
        (Thinking(kind="always"), CHATML, None),
    ],
)
def test_the_switch_is_tried_in_the_template(folder, thinking, template, said):
    card = replace(tiny_card(folder), thinking=thinking, system_role=None)
    for place in ("settings", "file", "list"):
        set_template(folder, template if place == "settings" else None)
        if place == "file":
            (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
        if place == "list":
            set_template(folder, [{"name": "tool_use", "template": "x"}, {"name": "default", "template": template}])
        faults = check_card(card, folder)
        assert len(faults) == (said is not None), place
        assert said is None or said in faults[0]


# Weights -------------------------------------------------------------------------------------------------------------


def tensor(name, *shape, dtype="F32"):
    return Tensor(name=name, dtype=dtype, shape=shape)


def test_what_counts_as_a_parameter():
    tensors = [
        tensor("transformer.h.0.attn.bias", 1, 1, 64, 64),  # GPT-2's mask
        tensor("h.0.attn.c_attn.bias", 5),
        tensor("gpt_neox.layers.0.attention.masked_bias"),
        tensor("gpt_neox.layers.0.attention.bias", 1, 1, 64, 64, dtype="U8"),
        tensor("gpt_neox.layers.0.attention.dense.bias", 7),
        tensor("model.layers.0.self_attn.rotary_emb.inv_freq", 32),
        tensor("language_model.lm_head.weight", 10, 2),
        tensor("model.layers.0.mlp.experts.down_proj_blocks", 2, 3, 1, 16, dtype="U8"),  # 2 x 3 rows of 32 numbers
        tensor("model.layers.0.mlp.experts.down_proj_scales", 2, 3, 1, dtype="U8"),
        tensor("scalar"),
    ]
    assert count_parameters(tensors, tied=True) == 5 + 7 + 192 + 1
    assert count_parameters(tensors, tied=False) == 5 + 7 + 192 + 1 + 20


def test_a_header_says_what_the_library_wrote(tmp_path):
    save_file({"a": torch.zeros(3, 4), "b": torch.zeros(2, dtype=torch.bfloat16)}, tmp_path / "x.safetensors")
    found = {entry.name: (entry.dtype, entry.shape) for entry in read_tensors(tmp_path / "x.safetensors")}
    assert found == {"a": ("F32", (3, 4)), "b": ("BF16", (2,))}


def shard(folder):
    """The model in two shards with an index, and the same weights once more in a file of another layout."""
    weights = load_file(folder / "model.safetensors")
    names = sorted(weights)
    halves = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, part in halves.items():
        save_file({name: weights[name] for name in part}, folder / file)
    index = {"weight_map": {name: file for file, part in halves.items() for name in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    (folder / "model.safetensors").rename(folder / "consolidated.safetensors")
    return tuple(folder / file for file in halves)


def test_shards_are_summed_and_other_layouts_left_out(folder):
    card = tiny_card(folder)
    shards = shard(folder)
    assert weight_files(folder) == shards
    assert check_card(card, folder) == ()
    shards[1].unlink()
    (fault,) = check_card(card, folder)
    assert fault.startswith(f"{shards[1].name}: named in model.safetensors.index.json, and not there")


def test_a_whole_file_is_read_alone(folder):
    card = tiny_card(folder)
    save_file({"x": torch.zeros(1000)}, folder / "consolidated.safetensors")
    assert weight_files(folder) == (folder / "model.safetensors",)
    assert check_card(card, folder) == ()


@pytest.mark.parametrize("settings", [{"use_sliding_window": False}, {"sliding_window": CONTEXT_TOKENS}])
def test_a_window_that_is_off_or_never_filled_is_none(tmp_path, settings):
    folder = write_tiny_engine(tmp_path / "model", "mistral")
    card = tiny_card(folder, "mistral")
    without = replace(card, architecture=replace(card.architecture, sliding_window_tokens=None))
    assert len(check_card(without, folder)) == 1
    edit_json(folder / "config.json", **settings)
    assert check_card(without, folder) == ()
    assert len(check_card(card, folder)) == 1


def test_a_stored_output_layer_of_tied_weights_counts_once(tmp_path):
    folder = write_tiny_engine(tmp_path / "tied", "gemma3")
    card = tiny_card(folder, "gemma3")
    weights = load_file(folder / "model.safetensors")
    save_file(weights | {"lm_head.weight": weights["model.embed_tokens.weight"].clone()}, folder / "model.safetensors")
    assert check_card(card, folder) == ()


def test_masks_in_an_old_checkpoint_are_no_parameters(tmp_path):
    folder = write_tiny_engine(tmp_path / "old", "gpt2")
    card = tiny_card(folder, "gpt2")
    weights = load_file(folder / "model.safetensors")
    masks = {f"transformer.h.{layer}.attn.bias": torch.ones(1, 1, 512, 512) for layer in range(3)}
    save_file(weights | masks, folder / "model.safetensors")
    assert check_card(card, folder) == ()


def test_packed_weights_are_counted_where_they_can_be(folder):
    card = tiny_card(folder)
    edit_json(folder / "config.json", quantization_config={"quant_method": "awq", "bits": 4})
    weights = load_file(folder / "model.safetensors")
    save_file({name: tensor[:1] for name, tensor in weights.items()}, folder / "model.safetensors")
    (fault,) = check_card(card, folder)  # the count of packed numbers says nothing
    assert fault == 'quantisation.method: the card says none, the files say "awq"'


@pytest.mark.parametrize(
    "content", [b"", b"\x05\x00\x00\x00\x00\x00\x00\x00[1,2]", b"\xff" * 30, b"\x02" + b"\x00" * 7 + b"{"]
)
def test_damaged_weights_are_a_fault(folder, content):
    card = tiny_card(folder)
    (folder / "model.safetensors").write_bytes(content)
    (fault,) = check_card(card, folder)
    assert fault == "model.safetensors: not a safetensors file; copy the file again"
    with pytest.raises(UserError):
        read_tensors(folder / "model.safetensors")


# Other files ---------------------------------------------------------------------------------------------------------


def test_the_text_part_of_a_multimodal_model_is_what_the_card_is_of(folder):
    """Gemma 3 with an eye: its shape is nested in text_config, of which config.json may hold the least."""
    shape = {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "intermediate_size": 96,
        "vocab_size": 600,
        "sliding_window": 32,
    }
    eye = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
    }
    config = transformers.Gemma3Config(
        text_config=shape, vision_config=eye | {"patch_size": 14, "vision_use_head": False}, mm_tokens_per_image=4
    )
    model = transformers.Gemma3ForConditionalGeneration(config).to(torch.bfloat16)
    model.save_pretrained(folder)
    whole = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    edit_json(folder / "config.json", text_config=shape | {"model_type": "gemma3_text"})
    assert "hidden_size" not in whole
    eyes = sum(part.numel() for name, part in model.named_parameters() if "vision" in name or "projector" in name)
    card = replace(
        tiny_card_of_words(folder),
        parameters=sum(part.numel() for part in model.parameters()),
        dtype="bfloat16",
        context_tokens=131_072,
        architecture=Architecture(
            model_type="gemma3", layers=2, width=64, heads=8, kv_heads=4, head_width=256, mlp=96, vocabulary=600,
            tied=True, sliding_window_tokens=32, vision_parameters=eyes,
        ),
    )  # fmt: skip
    assert check_card(card, folder) == ()
    altered = replace(card, architecture=replace(card.architecture, width=32, heads=2))
    assert [fault.partition(":")[0] for fault in check_card(altered, folder)] == [
        "architecture.width",
        "architecture.heads",
    ]


def tiny_card_of_words(folder):
    """What the tiny tokenizer alone makes true."""
    return ModelCard(
        name="tiny", repository="org/tiny", roles=("simulator",), source="tests", chat_template=True, system_role="turn"
    )


def test_files_that_are_not_there_are_passed_over_and_named(folder):
    card = tiny_card(folder)
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (folder / name).unlink()
    assert check_card(card, folder) == ()
    assert missing_files(folder) == ("config.json", "tokenizer.json", "*.safetensors")
    lines = show_card(card, folder)
    assert ("not checked", "no config.json, no tokenizer.json, no *.safetensors in the folder") in lines
    assert "files" not in dict(lines)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("config.json", "{", "config.json: transformers refuses it"),
        ("config.json", "[]", "config.json: transformers refuses it"),
        ("config.json", '{"model_type": "no-such-model"}', "config.json: transformers refuses it"),
        ("tokenizer.json", "{}", "the tokenizer cannot be read"),
        (SETTINGS, "[]", "tokenizer_config.json: not a JSON object"),
    ],
)
def test_files_that_cannot_be_read_are_faults(folder, name, content, said):
    card = tiny_card(folder)
    if name == SETTINGS:
        (folder / "chat_template.jinja").unlink()
    (folder / name).write_text(content, encoding="utf-8")
    faults = check_card(card, folder)
    assert any(said in fault for fault in faults)
    assert not any("\n" in fault for fault in faults)


@pytest.mark.parametrize("name", ["LICENSE", "licence.txt", "COPYING"])
def test_the_licence_file_is_shown(folder, name):
    card = tiny_card(folder)
    assert ("licence file", "none in the folder") in show_card(card, folder)
    (folder / name).write_text("MIT")
    assert ("licence file", name) in show_card(card, folder)
