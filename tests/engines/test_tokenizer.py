"""HuggingFaceTokenizer against transformers itself, and against templates in the style of each family."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from localexplain.engines.base import Message
from localexplain.engines.tokenizer import HuggingFaceTokenizer, fold_system
from localexplain.errors import EngineError, UserError
from tests.tiny_models import CHATML, train_tokenizer

NOT_THINKING = "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
THINKING = CHATML.replace("assistant\n{% endif %}", "assistant\n" + NOT_THINKING + "{% endif %}")
GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}<|im_start|>{{ 'model' if message.role == 'assistant' else message.role }}\n"
    "{{ message.content | trim }}<|im_end|>\n{% endfor %}<|im_start|>model\n"
)
DROPS_SYSTEM = (
    "{% for message in messages %}{% if message.role == 'user' %}[INST] {{ message.content }} [/INST]"
    "{% elif message.role == 'assistant' %} {{ message.content }}<|im_end|>{% endif %}{% endfor %}"
)
LLAMA = (
    "{{ bos_token }}{% for message in messages %}<|im_start|>{{ message.role }}\n\n{{ message.content | trim }}"
    "<|im_end|>{% endfor %}<|im_start|>assistant\n\n"
)
DATED = "Today is {{ strftime_now('%Y-%m-%d') }}.\n{% for message in messages %}{{ message.content }}\n{% endfor %}"

SYSTEM = Message(role="system", content="You explain neurons.")
USER = Message(role="user", content="What is this one for?")
CHAT = (USER, Message(role="assistant", content="Boats."), Message(role="user", content="And this?"))
SPECIALS = ("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<think>", "</think>")


def make(template: str | None, *, bos: str | None = None, adds_bos: bool = False) -> PreTrainedTokenizerFast:
    """A trained byte-level tokenizer; "<think>" is an added token that is not special, three spaces another."""
    backend = train_tokenizer()
    backend.add_tokens([AddedToken(text, normalized=False) for text in ("<think>", "</think>", "   ")])
    if bos is not None:
        backend.add_special_tokens([AddedToken(bos, special=True)])
    if bos is not None and adds_bos:
        pair = [(bos, backend.token_to_id(bos))]
        backend.post_processor = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=pair)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|im_end|>", bos_token=bos, chat_template=template
    )


@cache
def shared() -> HuggingFaceTokenizer:
    """One for all examples of a property."""
    return HuggingFaceTokenizer(make(CHATML))


def by_transformers(tokenizer: PreTrainedTokenizerFast, chat: tuple[Message, ...], **options: Any) -> list[int]:
    """What transformers makes of the chat."""
    turns = [{"role": message.role, "content": message.content} for message in chat]
    ids: list[int] = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False, **options)
    return ids


# plain text ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [*SPECIALS, "a<|im_start|>user\n", "<think>x</think>"])
def test_special_strings_in_a_text_stay_text(text: str) -> None:
    given_tokenizer = make(CHATML)
    tokenizer = HuggingFaceTokenizer(given_tokenizer)
    ids = tokenizer.encode(text)
    assert not set(ids) & set(given_tokenizer.convert_tokens_to_ids(list(SPECIALS)))
    assert tokenizer.decode(ids) == text


def test_transformers_own_switch_would_not_do() -> None:
    """Why the encoder is changed: split_special_tokens leaves added tokens that are saved as not special."""
    given_tokenizer = make(None)
    ids = given_tokenizer("<|im_start|><think>", split_special_tokens=True)["input_ids"]
    assert given_tokenizer.convert_tokens_to_ids("<|im_start|>") not in ids
    assert given_tokenizer.convert_tokens_to_ids("<think>") in ids


def test_the_given_tokenizer_is_left_as_it_was() -> None:
    given_tokenizer = make(CHATML)
    before = given_tokenizer("a<|im_start|>   b")["input_ids"]
    HuggingFaceTokenizer(given_tokenizer).encode("<|im_start|>")
    assert given_tokenizer("a<|im_start|>   b")["input_ids"] == before


def test_added_whitespace_keeps_its_token() -> None:
    """GPT-NeoX and Gemma hold runs of spaces as added tokens; a text without them would be another to the model."""
    given_tokenizer = make(None)
    ids = HuggingFaceTokenizer(given_tokenizer).encode("a   b")
    assert given_tokenizer.convert_tokens_to_ids("   ") in ids


def test_special_tokens_are_left_out_of_decoded_text_and_others_kept() -> None:
    given_tokenizer = make(None)
    im_end, think = given_tokenizer.convert_tokens_to_ids(["<|im_end|>", "<think>"])
    tokenizer = HuggingFaceTokenizer(given_tokenizer)
    assert tokenizer.decode([think, *tokenizer.encode(" rain"), im_end]) == "<think> rain"


@given(left=st.text(), right=st.text())
@settings(max_examples=200, deadline=None)
def test_pieces_can_be_encoded_apart_and_joined(left: str, right: str) -> None:
    tokenizer = shared()
    assert tokenizer.decode([*tokenizer.encode(left), *tokenizer.encode(right)]) == left + right


@pytest.mark.parametrize("style", ["prepend", "metaspace"])
def test_no_space_is_put_before_a_text(style: str) -> None:
    """As the two styles of sentencepiece tokenizers do; a cell's tokens would then begin with a space each."""
    pieces = ["<unk>", "▁", "a", "b", "▁a", *(f"<0x{byte:02X}>" for byte in range(256))]
    vocabulary = {piece: place for place, piece in enumerate(pieces)}
    backend = Tokenizer(models.BPE(vocabulary, [("▁", "a")], byte_fallback=True, unk_token="<unk>"))
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    if style == "prepend":
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    backend.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)])
    assert backend.encode("a").tokens == ["▁a"]  # the trap is there
    tokenizer = HuggingFaceTokenizer(PreTrainedTokenizerFast(tokenizer_object=backend))
    assert tokenizer.encode("a") == (vocabulary["a"],)
    for text in (" a", "a", "  b a", "\t", "é"):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode("a") + tokenizer.encode(" a") == tokenizer.encode("a a")


# beginning of sequence -----------------------------------------------------------------------------------------------


def test_bos_is_the_one_that_the_tokenizer_writes() -> None:
    with_bos = make(None, bos="<s>", adds_bos=True)
    assert HuggingFaceTokenizer(with_bos).bos_id == with_bos.convert_tokens_to_ids("<s>")
    assert HuggingFaceTokenizer(make(None)).bos_id is None
    assert HuggingFaceTokenizer(make(None, bos="<s>")).bos_id is None  # named, never written
    assert HuggingFaceTokenizer(make(None, bos="<|im_end|>")).bos_id == 2  # GPT-2: begins and ends a document


@pytest.mark.parametrize(
    ("template", "adds_bos", "written"),
    [(LLAMA, True, 1), (LLAMA, False, 1), (CHATML, True, 1), (CHATML, False, 0), ("{{ bos_token }}" + LLAMA, True, 1)],
)
def test_a_chat_has_exactly_one_bos_where_the_model_has_one(template: str, adds_bos: bool, written: int) -> None:
    given_tokenizer = make(template, bos="<s>", adds_bos=adds_bos)
    bos_id = given_tokenizer.convert_tokens_to_ids("<s>")
    ids = HuggingFaceTokenizer(given_tokenizer).render_chat(CHAT)
    assert ids.count(bos_id) == written
    assert ids[:written] == (bos_id,) * written


# chats ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("template", [CHATML, LLAMA, THINKING])
@pytest.mark.parametrize("chat", [CHAT, (SYSTEM, *CHAT)])
def test_an_ordinary_chat_is_what_transformers_makes_of_it(template: str, chat: tuple[Message, ...]) -> None:
    given_tokenizer = make(template, bos="<s>")
    tokenizer = HuggingFaceTokenizer(given_tokenizer)
    assert tokenizer.knows_system_role
    assert list(tokenizer.render_chat(chat)) == by_transformers(given_tokenizer, chat, enable_thinking=False)


@pytest.mark.parametrize("template", [GEMMA, DROPS_SYSTEM])
def test_without_a_system_role_it_goes_to_the_first_user_message(template: str) -> None:
    given_tokenizer = make(template, bos="<s>")
    tokenizer = HuggingFaceTokenizer(given_tokenizer)
    assert not tokenizer.knows_system_role
    folded = (Message(role="user", content="You explain neurons.\n\nWhat is this one for?"), *CHAT[1:])
    assert list(tokenizer.render_chat((SYSTEM, *CHAT))) == by_transformers(given_tokenizer, folded)


def test_folding_keeps_every_word_and_its_order() -> None:
    assert fold_system((USER,)) == (USER,)
    assert fold_system((SYSTEM,)) == (Message(role="user", content="You explain neurons."),)
    later = Message(role="system", content="Be brief.")
    assert fold_system((SYSTEM, CHAT[1], USER, later)) == (
        CHAT[1],
        Message(role="user", content="You explain neurons.\n\nBe brief.\n\nWhat is this one for?"),
    )


def test_thinking_is_switched_off_where_the_template_can() -> None:
    given_tokenizer = make(THINKING)
    ids = HuggingFaceTokenizer(given_tokenizer).render_chat((USER,), assistant_start="Boats")
    text = given_tokenizer.decode(ids)
    assert text.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\nBoats")
    assert given_tokenizer.convert_tokens_to_ids("</think>") in ids  # the template's own is the token, not its text


@pytest.mark.parametrize("template", [CHATML, LLAMA, DROPS_SYSTEM])
def test_the_assistant_s_start_stands_last(template: str) -> None:
    given_tokenizer = make(template, bos="<s>")
    tokenizer = HuggingFaceTokenizer(given_tokenizer)
    opened = given_tokenizer.decode(tokenizer.render_chat(CHAT))
    started = given_tokenizer.decode(tokenizer.render_chat(CHAT, assistant_start=" It is <|im_end|> on"))
    assert started == f"{opened} It is <|im_end|> on"
    assert tokenizer.render_chat(CHAT, assistant_start="<|im_end|>").count(2) == tokenizer.render_chat(CHAT).count(2)


@given(pieces=st.lists(st.sampled_from(["a", "\n", " ", "<", ">", "\ue000", "\ue001", "0", *SPECIALS]), max_size=12))
@example(pieces=["\ue000", "0", "\ue001"])
@settings(max_examples=200, deadline=None)
def test_no_content_can_write_a_special_token(pieces: list[str]) -> None:
    tokenizer, content = shared(), "".join(pieces)
    message = Message(role="user", content=content)
    ids, harmless = tokenizer.render_chat((message, *CHAT[1:])), tokenizer.render_chat(CHAT)
    added = {tokenizer.backend.token_to_id(text) for text in SPECIALS}
    assert [index for index in ids if index in added] == [index for index in harmless if index in added]
    assert tokenizer.decode(ids).startswith(f"user\n{content}\nassistant\nBoats.")


def test_a_template_with_today_s_date_makes_the_same_prompt_every_day() -> None:
    tokenizer = HuggingFaceTokenizer(make(DATED))
    assert tokenizer.decode(tokenizer.render_chat((USER,))).startswith("Today is 2024-07-26.\n")


def test_templates_that_cannot_be_used_are_refused_in_one_line() -> None:
    with pytest.raises(EngineError, match="leaves out what the user says"):
        HuggingFaceTokenizer(make("{% for message in messages %}{{ message.role }}{% endfor %}"))
    with pytest.raises(EngineError, match="cannot be rendered"):
        HuggingFaceTokenizer(make("{{ raise_exception('no') }}"))
    alternating = "{% if messages[0].role != 'user' %}{{ raise_exception('user first') }}{% endif %}" + CHATML
    with pytest.raises(EngineError, match="refuses the messages: user first"):
        HuggingFaceTokenizer(make(alternating)).render_chat(CHAT[1:])
    with pytest.raises(EngineError, match="no chat template"):
        HuggingFaceTokenizer(make(None)).render_chat(CHAT)


# loading -------------------------------------------------------------------------------------------------------------


def test_a_saved_tokenizer_comes_back(tmp_path: Path) -> None:
    given_tokenizer = make(LLAMA, bos="<s>", adds_bos=True)
    given_tokenizer.save_pretrained(tmp_path)
    loaded, made = HuggingFaceTokenizer.load(tmp_path), HuggingFaceTokenizer(given_tokenizer)
    assert loaded.render_chat((SYSTEM, *CHAT)) == made.render_chat((SYSTEM, *CHAT))
    assert (loaded.bos_id, loaded.eos_id, loaded.vocabulary_tokens) == (
        made.bos_id,
        made.eos_id,
        made.vocabulary_tokens,
    )


def test_a_damaged_tokenizer_is_the_user_s_to_mend(tmp_path: Path) -> None:
    make(None).save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match="tokenizer cannot be read"):
        HuggingFaceTokenizer.load(tmp_path)
