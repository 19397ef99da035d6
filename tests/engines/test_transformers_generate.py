"""Generation of the transformers engine against transformers' own, and under patterns."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from localexplain.engines.base import GenerateRequest, Sampling
from localexplain.engines.transformers import TransformersEngine
from tests.tiny_models import FAMILIES, edit_json, write_tiny_engine

NEW_TOKENS = 30  # with the prompts below, far beyond the sliding window of 16
STOP_ID = 2


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """family -> its model folder, written once."""
    root = tmp_path_factory.mktemp("families")

    def folder(family: str) -> Path:
        return root / family if (root / family).exists() else write_tiny_engine(root / family, family)

    return folder


@pytest.fixture(scope="module")
def qwen(folders: Callable[[str], Path]) -> Iterator[TransformersEngine]:
    engine = TransformersEngine.load(folders("qwen3"), device="cpu")
    yield engine
    engine.close()


def some_prompts() -> list[tuple[int, ...]]:
    """Five prompts that share 20 tokens and go on for 1 to 45."""
    random = np.random.default_rng(1)
    shared = random.integers(3, 430, size=20).tolist()
    return [(*shared, *random.integers(3, 430, size=length).tolist()) for length in (7, 1, 45, 3, 22)]


def greedy(prompt: tuple[int, ...], max_tokens: int = NEW_TOKENS, pattern: str | None = None) -> GenerateRequest:
    return GenerateRequest(token_ids=prompt, sampling=Sampling(max_tokens=max_tokens), pattern=pattern)


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_replies_are_transformers_own(family: str, folders: Callable[[str], Path]) -> None:
    path, prompts = folders(family), some_prompts()
    own = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    engine = TransformersEngine.load(path, device="cpu")
    wanted = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        with torch.inference_mode():
            out = own.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW_TOKENS, do_sample=False)
        wanted.append(engine.tokenizer.decode(out[0, len(prompt) :].tolist()))
    replies = engine.generate([greedy(prompt) for prompt in prompts])
    assert [reply.text for reply in replies] == wanted
    assert len(set(wanted)) > 1


def test_prompts_share_their_start_and_padding_is_counted(qwen: TransformersEngine) -> None:
    replies = qwen.generate([greedy(prompt, max_tokens=2) for prompt in some_prompts()])
    # 20 shared tokens, charged to the first; then 7, 1, 45, 3 and 22 more, each padded to 45
    assert [reply.counts.computed for reply in replies] == [20 + 45, 45, 45, 45, 45]
    assert [reply.counts.prompt for reply in replies] == [27, 21, 65, 23, 42]


def test_batch_tokens_bounds_what_a_batch_holds(folders: Callable[[str], Path]) -> None:
    engine = TransformersEngine.load(folders("qwen3"), device="cpu", batch_tokens=60)
    replies = engine.generate([greedy(prompt, max_tokens=2) for prompt in some_prompts()])
    # prompts of 27, 21, 65, 23, 42 and two new tokens each: two rows of 29 fit, two of 67 or of 44 do not
    assert [reply.counts.computed for reply in replies] == [20 + 7, 7, 45, 3, 22]


def test_equal_prompts_leave_a_token_to_run(qwen: TransformersEngine) -> None:
    prompt = some_prompts()[0]
    one, two = qwen.generate([greedy(prompt), greedy(prompt)])
    assert one.text == two.text
    assert (one.counts.computed, two.counts.computed) == (27, 1)


def test_a_stop_token_ends_the_reply_and_is_not_in_it(folders: Callable[[str], Path], tmp_path: Path) -> None:
    """The first greedy token is made a stop token in the generation settings, where chat models name theirs."""
    prompt = some_prompts()[0]
    own = AutoModelForCausalLM.from_pretrained(folders("llama"), dtype=torch.float32).eval()
    with torch.inference_mode():
        first = int(own(torch.tensor([prompt])).logits[0, -1].argmax())
    folder = write_tiny_engine(tmp_path / "llama", "llama")
    edit_json(folder / "generation_config.json", eos_token_id=[first, STOP_ID])
    engine = TransformersEngine.load(folder, device="cpu")
    (reply,) = engine.generate([greedy(prompt)])
    assert (reply.text, reply.finish, reply.counts.generated) == ("", "stop", 1)
    assert dict(engine.identity.details)["stop_ids"] == ",".join(map(str, sorted({first, STOP_ID})))


def test_samples_follow_the_model_s_distribution(qwen: TransformersEngine, folders: Callable[[str], Path]) -> None:
    """600 draws of one token against the model's own probabilities at temperature 0.7: by a chi-squared bound."""
    prompt, draws, temperature = some_prompts()[1], 600, 0.7
    own = AutoModelForCausalLM.from_pretrained(folders("qwen3"), dtype=torch.float32).eval()
    with torch.inference_mode():
        shares = torch.softmax(own(torch.tensor([prompt])).logits[0, -1].double() / temperature, dim=-1).numpy()
    requests = [
        GenerateRequest(token_ids=prompt, sampling=Sampling(max_tokens=1, temperature=temperature, seed=seed))
        for seed in range(draws)
    ]
    texts = [reply.text for reply in qwen.generate(requests)]
    likely = [int(index) for index in np.argsort(-shares)[:5]]
    counts = np.array([texts.count(qwen.tokenizer.decode([index])) for index in likely])
    deviations = (counts - draws * shares[likely]) / np.sqrt(draws * shares[likely] * (1 - shares[likely]))
    assert np.abs(deviations).max() < 4


def test_a_pattern_of_letters_with_several_bytes_is_obeyed(qwen: TransformersEngine) -> None:
    """The tiny vocabulary has these letters only as single bytes: half a letter must never end the reply."""
    pattern = "[à-ü]{4}😀"
    for seed in range(5):
        sampling = Sampling(max_tokens=30, temperature=1.0, seed=seed)
        (reply,) = qwen.generate([GenerateRequest(token_ids=(5, 6), sampling=sampling, pattern=pattern)])
        assert reply.finish == "stop"
        assert re.fullmatch(pattern, reply.text), reply.text


def test_a_pattern_is_never_met_by_a_special_token(qwen: TransformersEngine) -> None:
    """Such a token would be left out of the text."""
    (reply,) = qwen.generate([greedy((5, 6), pattern=r"<\|im_start\|>[0-9]")])
    assert re.fullmatch(r"<\|im_start\|>[0-9]", reply.text)


def test_a_pattern_may_end_where_more_could_follow(qwen: TransformersEngine) -> None:
    """Where "1" has come the reply matches, and "100" still can: the model chooses, by its stop token."""
    draws = [
        GenerateRequest(
            token_ids=(5, 6), sampling=Sampling(max_tokens=9, temperature=50.0, seed=seed), pattern="100|10|1"
        )
        for seed in range(60)
    ]
    texts = [reply.text for reply in qwen.generate(draws)]
    assert set(texts) == {"1", "10", "100"}


def test_a_pattern_beyond_the_vocabulary_fails_alone(tmp_path: Path) -> None:
    """A vocabulary in which no token writes a "z"."""
    folder = write_tiny_engine(tmp_path / "m", "llama")
    data = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    edit_json(folder / "tokenizer.json", model=json.loads(json.dumps(data["model"]).replace("z", "Ω")))
    engine = TransformersEngine.load(folder, device="cpu")
    failed, fine = engine.generate([greedy((5, 6), pattern="zzz"), greedy((5, 6), pattern="abc")])
    assert failed.finish == "error"
    assert "zzz" in (failed.error or "")
    assert fine.text == "abc"


def test_ids_that_the_tokenizer_lacks_are_never_written(tmp_path: Path) -> None:
    """Many models pad their vocabulary; a random one gives those ids as much as the others."""
    folder = write_tiny_engine(tmp_path / "m", "llama", padded_vocabulary=4000)
    engine = TransformersEngine.load(folder, device="cpu")
    assert engine.tokenizer.vocabulary_tokens < 600
    requests = [
        GenerateRequest(token_ids=(5, 6), sampling=Sampling(max_tokens=8, temperature=1.0, seed=seed))
        for seed in range(10)
    ]
    for reply in engine.generate(requests):
        assert reply.text
