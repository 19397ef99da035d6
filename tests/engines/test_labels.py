"""Labels against real vocabularies: trained ones in which "10" is one token or two, and one that ships with a model."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from localexplain.engines.labels import CANDIDATES, WORDS, choose_labels
from localexplain.errors import EngineError

Encode = Callable[[str], Sequence[int]]
Decode = Callable[[Sequence[int]], str]

NUMBERS = "score 0 1 2 3 4 5 6 7 8 9 10 10 10\t10\n\t0\n" * 20
WORD_TEXT = "".join(f" {word}" for word in WORDS) * 20
LETTERS = " A B C D E F G H I J K" * 20


def train(text: str, *, split_digits: bool, vocabulary: int = 400) -> Tokenizer:
    """A byte-level BPE, with every digit a token of its own or with numbers merged."""
    tokenizer = Tokenizer(models.BPE())
    steps: list[pre_tokenizers.PreTokenizer] = [pre_tokenizers.ByteLevel(add_prefix_space=False)]
    if split_digits:
        steps.insert(0, pre_tokenizers.Digits(individual_digits=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator([text], trainer)
    return tokenizer


def doors(tokenizer: Tokenizer) -> tuple[Encode, Decode]:
    return lambda text: tokenizer.encode(text, add_special_tokens=False).ids, tokenizer.decode


def assert_written_by_the_model(encode: Encode, texts: Sequence[str], ids: Sequence[int], separator: str) -> None:
    """Each label behind the separator is the separator's tokens and its one token: by the tokenizer, not by us."""
    assert len(set(ids)) == 11
    for text, index in zip(texts, ids, strict=True):
        assert list(encode(separator + text)) == [*encode(separator), index]


def test_digits_where_ten_is_one_token() -> None:
    encode, decode = doors(train(NUMBERS + WORD_TEXT, split_digits=False))
    labels = choose_labels(encode, decode, "\t")
    assert labels.name == "digits"
    assert labels.texts == ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10")
    assert_written_by_the_model(encode, labels.texts, labels.ids, "\t")


def test_words_where_ten_is_two_tokens() -> None:
    """The old fault: "10" read by its first token, so that every 10 counted as a 1."""
    tokenizer = train(NUMBERS + WORD_TEXT, split_digits=True)
    encode, decode = doors(tokenizer)
    assert len(encode("\t10")) == 3  # the trap is there
    labels = choose_labels(encode, decode, "\t")
    assert labels.name == "words"
    assert labels.texts == tuple(f" {word}" for word in WORDS)
    assert tokenizer.token_to_id("1") not in labels.ids
    assert_written_by_the_model(encode, labels.texts, labels.ids, "\t")


def test_letters_where_words_are_cut_too() -> None:
    encode, decode = doors(train(NUMBERS + LETTERS, split_digits=True))
    labels = choose_labels(encode, decode, "\t")
    assert (labels.name, labels.texts) == (
        "letters",
        (" A", " B", " C", " D", " E", " F", " G", " H", " I", " J", " K"),
    )
    assert_written_by_the_model(encode, labels.texts, labels.ids, "\t")


def test_bare_letters_are_the_last_resort_and_bytes_always_have_them() -> None:
    encode, decode = doors(train(NUMBERS, split_digits=True))
    labels = choose_labels(encode, decode, "\t")
    assert (labels.name, labels.texts) == ("letters", tuple("ABCDEFGHIJK"))


def test_a_vocabulary_without_labels_is_refused_in_one_line() -> None:
    def encode(text: str) -> list[int]:
        return [int(digit) for character in text for digit in f"{ord(character):03d}"]

    with pytest.raises(EngineError, match="no eleven single-token labels after '\\\\t'") as raised:
        choose_labels(encode, lambda ids: "".join(map(str, ids)), "\t")
    assert "\n" not in str(raised.value)


def test_two_labels_on_one_token_are_refused() -> None:
    """A vocabulary that writes all digits alike ("#") must not give a set in which they are the same id."""
    pieces = {"\t": 0, "#": 1} | {text: 2 + place for place, text in enumerate(CANDIDATES[1][1])}

    def encode(text: str) -> list[int]:
        head, tail = (["\t"], text[1:]) if text.startswith("\t") else ([], text)
        middle = [tail] if tail in pieces else ["#"] * bool(tail)
        return [pieces[piece] for piece in head + middle]

    def decode(ids: Sequence[int]) -> str:
        names = {index: piece for piece, index in pieces.items()}
        return "".join(names[index] for index in ids)

    assert choose_labels(encode, decode, "\t").name == "words"


def test_a_space_put_before_every_text_does_not_hide_the_labels() -> None:
    """As sentencepiece does: "5" alone becomes "▁5", but behind the separator "5"."""
    pieces = ["▁", "\t", *map(str, range(10)), "10", *(f"▁{digit}" for digit in range(10))]
    merges = [("1", "0"), *(("▁", str(digit)) for digit in range(10))]
    tokenizer = Tokenizer(models.BPE({piece: place for place, piece in enumerate(pieces)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always", split=False)
    encode, decode = doors(tokenizer)
    assert tokenizer.encode("5").tokens == ["▁5"]
    assert tokenizer.encode("\t5").tokens == ["▁", "\t", "5"]
    labels = choose_labels(encode, decode, "\t")
    assert labels.name == "digits"
    assert labels.ids[5] == tokenizer.token_to_id("5")
    assert labels.ids[10] == tokenizer.token_to_id("10")


def test_a_separator_that_merges_with_the_label_falls_back_on_the_label_alone() -> None:
    """ "\t5" is one token here; a prompt built token by token still writes the tab and the label's own token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "isolated")
    merged = "".join(f" {digit}" * 30 + f" \t{digit}" * 20 for digit in range(10)) + " 10" * 50 + " \t10" * 40
    tokenizer.train_from_iterator([merged], trainers.BpeTrainer(vocab_size=80, show_progress=False))
    tokenizer.decoder = decoders.Fuse()
    encode, decode = doors(tokenizer)
    assert tokenizer.encode("\t5").tokens == ["\t5"]
    labels = choose_labels(encode, decode, "\t")
    assert labels.name == "digits"
    assert [tokenizer.id_to_token(index) for index in labels.ids] == [str(level) for level in range(11)]


def test_a_real_vocabulary_in_which_ten_is_two_tokens() -> None:
    """Mistral's tekken, which ships in mistral_common."""
    try:
        import mistral_common
        from mistral_common.tokens.tokenizers.base import SpecialTokenPolicy
        from mistral_common.tokens.tokenizers.tekken import Tekkenizer
    except ImportError:
        if os.environ.get("CI"):
            raise
        pytest.skip("mistral_common is not installed")
    tekken = Tekkenizer.from_file(Path(mistral_common.__file__).parent / "data" / "tekken_240911.json")

    def encode(text: str) -> list[int]:
        return tekken.encode(text, bos=False, eos=False)

    def decode(ids: Sequence[int]) -> str:
        return tekken.decode(list(ids), special_token_policy=SpecialTokenPolicy.IGNORE)

    assert len(encode("10")) == 2
    labels = choose_labels(encode, decode, "\t")
    assert labels.name == "words"
    assert_written_by_the_model(encode, labels.texts, labels.ids, "\t")
    # "\tA" is one token in it: letters right behind a tab would never be written so
    assert len(encode("\tA")) == 1
