"""Memory from a card, worked by hand."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localexplain.cards import Quantisation, cache_bytes_per_token, read_cards, tensor_parallel_advice, weight_bytes
from localexplain.cards.memory import OVERHEAD_BYTES, shares_heads

CARDS = read_cards()
LLAMA_70B = CARDS["llama-3.3-70b-instruct"]  # 70,553,706,496 parameters, 80 layers, 64 heads, 8 of keys, 128 wide
GIB = 1 << 30


@pytest.mark.parametrize(
    ("stored", "size"),
    [
        ("float32", 282_214_825_984),
        ("bfloat16", 141_107_412_992),
        ("float16", 141_107_412_992),
        ("int8", 70_553_706_496),
        ("int4", 35_276_853_248),
        ("released", 141_107_412_992),  # it is released in bfloat16
    ],
)
def test_weights_of_a_plain_model(stored, size):
    assert weight_bytes(LLAMA_70B, stored) == size


def test_half_a_byte_is_a_byte():
    assert weight_bytes(replace(LLAMA_70B, parameters=3), "int4") == 2


def test_released_weights_of_which_some_are_packed():
    """10 plain parameters of 2 bytes and 32 of 4.25 bits: 20 + 17."""
    packed = Quantisation(method="mxfp4", bits_per_parameter=4.25, parameters=32)
    assert weight_bytes(replace(LLAMA_70B, parameters=42, quantisation=packed), "released") == 37


def test_what_the_card_does_not_tell_is_not_guessed():
    assert weight_bytes(replace(LLAMA_70B, parameters=None), "bfloat16") is None
    assert weight_bytes(replace(LLAMA_70B, dtype=None), "released") is None
    assert cache_bytes_per_token(replace(LLAMA_70B, architecture=None), "bfloat16") is None
    for unknown in ({"parameters": None}, {"architecture": None}):
        assert tensor_parallel_advice(replace(LLAMA_70B, **unknown), 80 * GIB, "bfloat16", 8192) is None


def test_cache_of_a_token():
    """Keys and values, 80 layers, 8 heads of 128: 2 x 80 x 8 x 128 = 163,840 numbers."""
    assert cache_bytes_per_token(LLAMA_70B, "bfloat16") == 327_680
    assert cache_bytes_per_token(LLAMA_70B, "float32") == 655_360
    # Qwen3 8B, 36 layers, 8 heads of 128: 2 x 36 x 8 x 128 x 2 bytes = 144 KiB.
    assert cache_bytes_per_token(CARDS["qwen3-8b"], "float16") == 144 * 1024


def test_a_70b_model_on_gpus_of_80_gib():
    """Usable 0.9 x 85,899,345,920 = 77,309,411,328. One GPU would need the whole 141,107,412,992 for weights. Two:
    70,553,706,496 of weights, 327,680 x 8,192 / 2 = 1,342,177,280 of cache, 2,147,483,648 of overhead."""
    advice = tensor_parallel_advice(LLAMA_70B, 80 * GIB, "bfloat16", 8192)
    assert advice.gpus == 2
    assert advice.needed_bytes_per_gpu == 70_553_706_496 + 1_342_177_280 + 2_147_483_648
    assert advice.usable_bytes_per_gpu == 77_309_411_328


def test_a_long_context_wants_more_gpus():
    """131,072 tokens: 42,949,672,960 of cache. On two 70,553,706,496 + 21,474,836,480 does not fit, on four it does."""
    advice = tensor_parallel_advice(LLAMA_70B, 80 * GIB, "bfloat16", 131_072)
    assert advice.gpus == 4
    assert advice.needed_bytes_per_gpu == 35_276_853_248 + 10_737_418_240 + OVERHEAD_BYTES


def test_keys_are_copied_where_they_are_fewer_than_the_gpus():
    """Gemma 3 1B: four heads on one of keys. On four GPUs each holds all of the cache, a quarter of the weights."""
    card = CARDS["gemma-3-1b-it"]
    cache = cache_bytes_per_token(card, "bfloat16") * 32_768
    size = OVERHEAD_BYTES + cache + weight_bytes(card, "bfloat16") // 4
    advice = tensor_parallel_advice(card, int((size + 1_000_000) / 0.9), "bfloat16", 32_768)
    assert (advice.gpus, advice.needed_bytes_per_gpu) == (4, size)


def test_heads_that_cannot_be_shared_leave_one_gpu():
    """GPT-2 XL has 25 heads: no power of two but 1 divides them, and 6.2 GB do not fit into 0.9 x 4 GiB."""
    advice = tensor_parallel_advice(CARDS["gpt2-xl"], 4 * GIB, "float32", 1024)
    assert advice.gpus is None
    assert advice.reason.startswith("1 can share 25 heads")


def test_ten_heads_of_keys_can_be_dealt_to_two_not_to_four():
    """Phi-4, 29.3 GB in bfloat16: on two GPUs of 16 GiB (15.5 GB usable) not, and more cannot share it."""
    advice = tensor_parallel_advice(CARDS["phi-4"], 16 * GIB, "bfloat16", 4096)
    assert advice.gpus is None
    assert "2 can share 40 heads (10 key-value)" in advice.reason
    assert tensor_parallel_advice(CARDS["phi-4"], 24 * GIB, "bfloat16", 4096).gpus == 2


@pytest.mark.parametrize(
    ("stored", "gib", "gpus"),
    [
        ("float32", 80, 4),  # 70.6 + 1.3 + 2.1 = 74.0 of 77.3 GB: the cache is in 32 bits too
        ("int8", 80, 1),  # 70.6 + 2.7 + 2.1 = 75.4 of 77.3 GB
        ("int4", 40, 2),  # 35.3 + 2.7 + 2.1 = 40.1 GB are more than 38.7
        ("int4", 48, 1),  # and less than 46.4
    ],
)
def test_fewer_bits_fit_fewer_and_smaller_gpus(stored, gib, gpus):
    assert tensor_parallel_advice(LLAMA_70B, gib * GIB, stored, 8192).gpus == gpus


@given(
    name=st.sampled_from(sorted(CARDS)),
    gib=st.integers(1, 200),
    stored=st.sampled_from(["float32", "bfloat16", "int8", "int4"]),
    context_tokens=st.integers(1, 200_000),
)
def test_advice_is_the_smallest_that_fits(name, gib, stored, context_tokens):
    """By trying every number of GPUs, with the heads dealt out one by one."""
    card, shape = CARDS[name], CARDS[name].architecture
    advice = tensor_parallel_advice(card, gib * GIB, stored, context_tokens)
    number_bytes = 4 if stored == "float32" else 2
    fits = []
    for gpus in (1, 2, 4, 8, 16, 32, 64):
        holders: list[set[int]] = [set() for _ in range(gpus)]  # which heads of keys each GPU needs
        for head in range(shape.heads):
            holders[head * gpus // shape.heads].add(head * shape.kv_heads // shape.heads)
        even = shape.heads % gpus == 0 and (shape.kv_heads % gpus == 0 or gpus % shape.kv_heads == 0)
        most = max(map(len, holders))
        cache = 2 * shape.layers * shape.head_width * number_bytes * most * context_tokens
        needed = weight_bytes(card, stored) / gpus + cache + OVERHEAD_BYTES
        if even and needed <= 0.9 * gib * GIB - 64:  # 64: the last bytes are rounding
            fits.append(gpus)
    if fits:
        assert advice.gpus == fits[0]
    elif advice.gpus is not None:
        assert advice.needed_bytes_per_gpu >= 0.9 * gib * GIB - 128


def test_a_rule_of_vllm():
    """Read in vLLM: query heads % GPUs == 0, and key-value heads % GPUs == 0, or GPUs % key-value heads == 0."""
    assert [gpus for gpus in range(1, 65) if shares_heads(64, 8, gpus)] == [1, 2, 4, 8, 16, 32, 64]
    assert [gpus for gpus in range(1, 65) if shares_heads(24, 8, gpus)] == [1, 2, 4, 8, 24]
