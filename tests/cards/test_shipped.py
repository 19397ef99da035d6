"""The cards that ship: each reads, arithmetic agrees, and so do the library's own models."""

import re
from dataclasses import asdict

import pytest
import torch
import transformers

from localexplain.cards import ModelCard, find_card, read_cards, show_card, weight_bytes

CARDS = read_cards()
EXACT = [name for name, card in CARDS.items() if not card.parameters_rounded]
WANTED = (
    *(f"qwen3-{size}" for size in ("0.6b", "1.7b", "4b", "8b", "14b", "32b")),
    *(f"llama-{size}-instruct" for size in ("3.1-8b", "3.1-70b", "3.2-1b", "3.2-3b", "3.3-70b")),
    *(f"gemma-3-{size}-it" for size in ("270m", "1b", "4b", "12b", "27b")),
    *("gpt-oss-20b", "gpt-oss-120b", "mistral-small-3.1", "mistral-small-3.2"),
    *(f"olmo-2-{size}-instruct" for size in ("1b", "7b", "13b", "32b")),
    *("phi-4", "phi-4-mini-instruct", "smollm3-3b", "transluce-llama-8b-explainer", "transluce-llama-8b-simulator"),
    *("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "gemma-2-2b", "llama-3.1-8b"),
    *(f"pythia-{size}" for size in ("70m", "160m", "410m", "1b", "1.4b", "2.8b", "6.9b", "12b")),
)


def test_the_models_that_people_use_have_cards():
    assert sorted(CARDS) == sorted(WANTED)


def test_no_two_cards_are_of_one_repository():
    repositories = [card.repository.lower() for card in CARDS.values()]
    assert len(set(repositories)) == len(repositories)


@pytest.mark.parametrize("name", CARDS)
def test_a_card_is_found_by_either_name(name):
    assert find_card(name) == find_card(CARDS[name].repository.upper()) == CARDS[name]


# Parameters, by formulae written here from the architectures' papers -------------------------------------------------


def gated(shape, *, qk_norm=0, norms=2):
    """Llama's block: four projections, three matrices of the MLP, norms of the layer's width."""
    inner, shared = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
    attention = shape.width * (2 * inner + 2 * shared) + qk_norm
    layer = attention + 3 * shape.width * shape.mlp + norms * shape.width
    return shape.vocabulary * shape.width * (1 if shape.tied else 2) + shape.layers * layer + shape.width


def experts(shape):
    """GPT-OSS: projections with a bias each, a number for each head (the sink), a router, biased experts, two norms."""
    inner, shared = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
    attention = shape.width * (2 * inner + 2 * shared) + inner + 2 * shared + shape.width + shape.heads
    expert = shape.width * 2 * shape.mlp + 2 * shape.mlp + shape.mlp * shape.width + shape.width
    layer = attention + shape.experts * (expert + shape.width + 1) + 2 * shape.width
    return 2 * shape.vocabulary * shape.width + shape.layers * layer + shape.width


def gpt2(shape, context_tokens):
    """Tokens and positions; a layer of 12 w^2 + 13 w (projections 4 w^2 + 4 w, MLP 8 w^2 + 5 w, two norms 4 w)."""
    width = shape.width
    return (shape.vocabulary + context_tokens) * width + shape.layers * (12 * width**2 + 13 * width) + 2 * width


def neox(shape):
    """GPT-2's layer with rotated positions, which have no parameters, and an output layer of its own."""
    width = shape.width
    return 2 * shape.vocabulary * width + shape.layers * (12 * width**2 + 13 * width) + 2 * width


def expected_parameters(card: ModelCard) -> int:
    shape = card.architecture
    inner, shared = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
    match shape.model_type:
        case "llama" | "phi3" | "smollm3" | "mistral3":
            count = gated(shape)
        case "qwen3":
            count = gated(shape, qk_norm=2 * shape.head_width)
        case "olmo2":  # its norms of queries and keys are over all heads at once
            count = gated(shape, qk_norm=inner + shared)
        case "gemma2":
            count = gated(shape, norms=4)
        case "gemma3" | "gemma3_text":
            count = gated(shape, qk_norm=2 * shape.head_width, norms=4)
        case "gpt_oss":
            count = experts(shape)
        case "gpt2":
            count = gpt2(shape, card.context_tokens)
        case "gpt_neox":
            count = neox(shape)
        case _:
            raise AssertionError(f"no formula for {shape.model_type}")
    return count + (shape.vision_parameters or 0)


@pytest.mark.parametrize("name", EXACT)
def test_parameters_follow_from_the_architecture(name):
    assert CARDS[name].parameters == expected_parameters(CARDS[name])


# As the makers publish them: the model pages' figures, in billions, of Pythia's the exact counts without embeddings.
PUBLISHED = {
    "qwen3-8b": 8.2, "qwen3-14b": 14.8, "qwen3-32b": 32.8, "qwen3-0.6b": 0.6, "gpt-oss-20b": 20.9,
    "gpt-oss-120b": 116.8, "llama-3.1-8b": 8.03, "llama-3.3-70b-instruct": 70.6, "phi-4": 14.7,
    "phi-4-mini-instruct": 3.8, "gpt2-xl": 1.56, "transluce-llama-8b-explainer": 8.03,
}  # fmt: skip
WITHOUT_EMBEDDINGS = {"70m": 18_915_328, "160m": 85_056_000, "410m": 302_311_424, "1b": 805_736_448,
                      "1.4b": 1_208_602_624, "2.8b": 2_517_652_480}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_those_that_are_published(name):
    assert CARDS[name].parameters == pytest.approx(PUBLISHED[name] * 1e9, rel=0.01)


@pytest.mark.parametrize("size", WITHOUT_EMBEDDINGS)
def test_pythias_published_counts_come_out_without_embeddings(size):
    card = CARDS[f"pythia-{size}"]
    embeddings = 2 * card.architecture.vocabulary * card.architecture.width
    assert card.parameters - embeddings == WITHOUT_EMBEDDINGS[size]


@pytest.mark.parametrize("name", ["gemma-3-4b-it", "gemma-3-12b-it", "gemma-3-27b-it"])
def test_gemmas_eye_is_siglip_and_a_projector(name):
    """SigLIP So400m at 896 pixels: 27 layers, width 1152, MLP 4304, patches of 14 x 14 x 3, 64 x 64 positions."""
    width, mlp = 1152, 4304
    layer = 4 * (width**2 + width) + 2 * width * mlp + mlp + width + 4 * width
    tower = 3 * 14**2 * width + width + 64**2 * width + 27 * layer + 2 * width
    projector = width * CARDS[name].architecture.width + width
    assert CARDS[name].architecture.vision_parameters == tower + projector


def test_mistrals_eye_is_pixtral_and_a_projector():
    """24 layers, width 1024, MLP 4096, patches of 14 x 14 x 3 without a bias; four patches merged, two projections."""
    layer = 4 * 1024**2 + 3 * 1024 * 4096 + 2 * 1024
    tower = 3 * 14**2 * 1024 + 1024 + 24 * layer
    projector = 1024 + 4 * 1024**2 + 1024 * 5120 + 5120**2
    assert CARDS["mistral-small-3.2"].architecture.vision_parameters == tower + projector


# The library's own models, built without memory ----------------------------------------------------------------------

CONFIGS = {"qwen3": "Qwen3Config", "llama": "LlamaConfig", "gemma3_text": "Gemma3TextConfig", "gpt_oss": "GptOssConfig",
           "olmo2": "Olmo2Config", "phi3": "Phi3Config", "smollm3": "SmolLM3Config", "gpt2": "GPT2Config",
           "gpt_neox": "GPTNeoXConfig", "gemma2": "Gemma2Config"}  # fmt: skip
BUILT = (  # each kind at least once, tied and not, shared heads and not, and no deep one: building takes its time
    *("qwen3-0.6b", "qwen3-8b", "llama-3.2-1b-instruct", "llama-3.1-8b", "gemma-3-270m-it", "gemma-3-1b-it"),
    *("gpt-oss-20b", "olmo-2-1b-instruct", "phi-4", "phi-4-mini-instruct", "smollm3-3b", "gpt2", "gpt2-xl"),
    *("pythia-70m", "pythia-1b", "pythia-12b", "gemma-2-2b"),
)


def test_every_kind_of_text_model_is_built():
    kinds = {CARDS[name].architecture.model_type for name in EXACT if not CARDS[name].architecture.vision_parameters}
    assert {CARDS[name].architecture.model_type for name in BUILT} == kinds == set(CONFIGS)


@pytest.mark.parametrize("name", BUILT)
def test_the_librarys_model_of_this_shape_has_as_many_parameters(name):
    card, shape = CARDS[name], CARDS[name].architecture
    settings = {
        "num_hidden_layers": shape.layers,
        "hidden_size": shape.width,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_width,
        "intermediate_size": shape.mlp,
        "vocab_size": shape.vocabulary,
        "tie_word_embeddings": shape.tied,
        "max_position_embeddings": card.context_tokens,
        "pad_token_id": 0,
    }
    if shape.experts:
        settings |= {"num_local_experts": shape.experts, "num_experts_per_tok": shape.experts_per_token}
    if shape.model_type in ("gpt2", "gpt_neox"):
        for key in ("num_key_value_heads", "head_dim"):
            del settings[key]
    if shape.model_type == "gpt2":
        del settings["intermediate_size"]
    config = getattr(transformers, CONFIGS[shape.model_type])(**settings)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == card.parameters


# Other facts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "gib"), [("gpt-oss-20b", 12.8), ("gpt-oss-120b", 60.8)])
def test_released_weights_are_as_large_as_openai_says(name, gib):
    assert weight_bytes(CARDS[name], "released") / 2**30 == pytest.approx(gib, abs=0.05)


@pytest.mark.parametrize("name", CARDS)
def test_quantised_parameters_are_the_experts(name):
    card, shape = CARDS[name], CARDS[name].architecture
    assert (card.quantisation is None) == (shape.experts is None)
    if card.quantisation:
        assert card.quantisation.parameters == shape.layers * shape.experts * 3 * shape.width * shape.mlp


@pytest.mark.parametrize("name", CARDS)
def test_models_that_answer_have_what_answering_needs(name):
    card = CARDS[name]
    if set(card.roles) == {"subject"}:
        assert card.chat_template is False
    elif not name.startswith("transluce"):
        assert card.system_role is not None
        assert card.thinking is not None


@pytest.mark.parametrize("name", CARDS)
def test_what_is_not_known_has_no_line(name):
    lines = show_card(CARDS[name])
    assert all(value and "None" not in value and "\n" not in value for _, value in lines)
    labels = [label for label, _ in lines]
    known = asdict(CARDS[name])
    for key, label in {"licence": "licence", "dtype": "released in", "ten_tokens": "labels"}.items():
        assert (label in labels) == (known[key] is not None)


@pytest.mark.parametrize("name", CARDS)
def test_a_card_says_when_its_facts_were_read_and_names_no_host(name):
    assert re.search(r"read \d{4}-\d{2}", CARDS[name].source)
    assert "://" not in str(asdict(CARDS[name]))
