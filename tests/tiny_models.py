"""Tiny causal language models with random weights and a trained tokenizer, written as folders that engines load.

Weights are drawn wide (a standard deviation of 0.15 where transformers takes 0.02), so that the distribution differs
from token to token by several nats: with the usual width all labels would be as likely as each other, and any mistake
within tolerance.
"""

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

VOCABULARY = 600
CONTEXT_TOKENS = 512
SLIDING_WINDOW = 16
WIDTH = 0.15
BLOCK = {"hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 256}
GROUPED = BLOCK | {"num_key_value_heads": 2, "head_dim": 32}
FAMILIES = ("qwen3", "llama", "gemma3", "gpt2", "gpt_neox", "mistral")

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

SENTENCES = (
    "The ferry leaves the harbour at seven, and the last one comes back at ten.",
    "She counted the levels: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and then again 0, 1, 2.",
    "A neuron that is active on the words for boats, rivers and rain is shown below.",
    "def add(left, right):\n    return left + right\n",
    "Score\t10\nScore\t9\nScore\t8\nScore\t10\nScore\t0\n",
    "Where the token is not one of these, the activation is zero; otherwise it is ten.",
    "1910, 2010, 10:10 and 10.10 are four ways in which a ten is written by people.",
)


def train_tokenizer(sentences: tuple[str, ...] = SENTENCES, vocabulary: int = VOCABULARY) -> Tokenizer:
    """A byte-level BPE; the first ids are <|endoftext|>, <|im_start|> and <|im_end|>."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sentences, trainer)
    return tokenizer


def tiny_config(family: str, vocabulary: int) -> Any:
    """The configuration of a model of about 0.5 M parameters; for gemma3 and mistral with a sliding window.

    family  one of FAMILIES, or "cohere" or "granite"
    """
    common = {"vocab_size": vocabulary, "max_position_embeddings": CONTEXT_TOKENS, "initializer_range": WIDTH}
    ends = {"bos_token_id": None, "eos_token_id": 2, "pad_token_id": 0}
    gemma = {"sliding_window": SLIDING_WINDOW, "layer_types": ["sliding_attention", "full_attention"] * 2}
    kinds: dict[str, tuple[str, dict[str, Any]]] = {
        "qwen3": ("Qwen3Config", GROUPED),
        "llama": ("LlamaConfig", GROUPED),
        "gemma3": ("Gemma3TextConfig", GROUPED | gemma | {"num_hidden_layers": 4, "query_pre_attn_scalar": 32}),
        "gpt2": ("GPT2Config", BLOCK),
        "gpt_neox": ("GPTNeoXConfig", BLOCK),
        "mistral": ("MistralConfig", GROUPED | {"sliding_window": SLIDING_WINDOW}),
        # these two multiply and divide their logits by a number of their own
        "cohere": ("CohereConfig", BLOCK | {"num_key_value_heads": 2, "logit_scale": 0.25}),
        "granite": ("GraniteConfig", BLOCK | {"num_key_value_heads": 2, "logits_scaling": 4.0}),
    }
    name, settings = kinds[family]
    return getattr(transformers, name)(**(settings | common | ends))


def write_tiny_engine(path: Path, family: str = "qwen3", padded_vocabulary: int | None = None) -> Path:
    """Writes a model folder (safetensors in float32, ChatML tokenizer, no BOS) to `path` and returns it.

    padded_vocabulary  columns of the logits; None: as many as the tokenizer has tokens
    """
    tokenizer = train_tokenizer()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=CHATML,
        model_max_length=CONTEXT_TOKENS,
    ).save_pretrained(path)
    torch.manual_seed(0)
    config = tiny_config(family, padded_vocabulary or tokenizer.get_vocab_size())
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.save_pretrained(path, safe_serialization=True)
    return path


def edit_json(file: Path, **changes: Any) -> None:
    """Sets top-level keys of a JSON file."""
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | changes), encoding="utf-8")
