"""Label log-probabilities of the transformers engine against the model's own logits over the whole prompt.

Measured over these six families in float32: at most 9.1e-6 nats from the oracle, and 1.1e-5 between two ways to cut
batches. Allowed: 1e-4.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from localexplain.engines.base import LabelReply, LabelRequest
from localexplain.engines.forward import Head, align_right, common_prefix
from localexplain.engines.proof import mean_gap, own_logprobs, proof_requests
from localexplain.engines.transformers import TransformersEngine, cut_batches
from localexplain.errors import EngineError, UserError
from localexplain.types import TokenCounts, sum_counts
from tests.tiny_models import FAMILIES, SLIDING_WINDOW, edit_json, write_tiny_engine

TOLERANCE = 1e-4  # nats, float32


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


def some_requests(seed: int = 0) -> list[LabelRequest]:
    """Nine requests over three prefixes that share 30 tokens and one empty prefix; tails of 2 to 60 tokens, so that
    prefixes, tails and what they share all reach beyond the sliding window of 16."""
    random = np.random.default_rng(seed)

    def ids(count: int) -> tuple[int, ...]:
        return tuple(random.integers(3, 430, size=count).tolist())

    shared = ids(30)
    prefixes = [shared + ids(9), shared + ids(25), shared, ()]
    requests = []
    for number, length in enumerate((40, 5, 60, 23, 17, 2, 33, 8, 50)):
        positions = np.sort(random.choice(length, size=max(1, length // 3), replace=False))
        requests.append(
            LabelRequest(
                prefix=prefixes[number % 4],
                tail=ids(length),
                positions=tuple(positions.tolist()),
                label_ids=tuple(random.permutation(430)[:11].tolist()),
            )
        )
    return requests


def worst(replies: list[LabelReply], wanted: list[np.ndarray]) -> float:
    """The largest difference in nats."""
    gaps = []
    for reply, truth in zip(replies, wanted, strict=True):
        assert reply.logprobs is not None
        assert reply.logprobs.shape == truth.shape
        gaps.append(float(np.abs(reply.logprobs - truth).max()))
    return max(gaps)


@pytest.mark.parametrize("family", FAMILIES)
def test_labels_are_those_of_the_model_s_own_logits(family: str, folders: Callable[[str], Path]) -> None:
    path, requests = folders(family), some_requests()
    own = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    truth = [own_logprobs(own, request) for request in requests]
    assert min(float(labels.std(axis=1).min()) for labels in truth) > 0.2  # the labels differ by nats, not by noise
    for batch_tokens, batch_requests in ((100_000, 64), (150, 64), (100_000, 1)):
        engine = TransformersEngine.load(path, device="cpu", batch_tokens=batch_tokens, batch_requests=batch_requests)
        assert worst(engine.label_logprobs(requests), truth) < TOLERANCE
        assert worst(engine.label_logprobs(requests[::-1])[::-1], truth) < TOLERANCE
        engine.close()


@pytest.mark.parametrize("family", ["gemma3", "mistral"])
def test_the_sliding_window_is_at_work(family: str, folders: Callable[[str], Path], tmp_path: Path) -> None:
    """Else the families with a window would test nothing: without it the same weights say something else."""
    engine = TransformersEngine.load(folders(family), device="cpu")
    request = replace(some_requests()[2], positions=(59,))
    (narrow,) = engine.label_logprobs([request])
    wide_folder = write_tiny_engine(tmp_path / "wide", family)
    edit_json(wide_folder / "config.json", sliding_window=100 * SLIDING_WINDOW)
    (wide,) = TransformersEngine.load(wide_folder, device="cpu").label_logprobs([request])
    assert narrow.logprobs is not None
    assert wide.logprobs is not None
    assert np.abs(narrow.logprobs - wide.logprobs).max() > 0.01


def test_what_requests_share_is_computed_once(qwen: TransformersEngine) -> None:
    requests = [replace(request, positions=(len(request.tail) - 1,)) for request in some_requests()]
    shared = [request for request in requests if request.prefix]
    # 7 of the 9 have one of the three prefixes, of 39, 55 and 30 tokens, which share 30: 30 + 9 + 25 + 0 are run.
    # Their tails, in batches by prefix, each padded to the longest: 40 and 17 and 50 -> 150; 5 and 2 -> 10; 60 and 33
    # -> 120.
    counts = sum_counts([reply.counts for reply in qwen.label_logprobs(shared)])
    assert counts.computed == 30 + 9 + 25 + 0 + 150 + 10 + 120
    assert counts.prompt == sum(len(request.prefix) + len(request.tail) for request in shared)
    assert counts.generated == 0


def test_tails_of_a_like_length_are_put_together(folders: Callable[[str], Path]) -> None:
    engine = TransformersEngine.load(folders("qwen3"), device="cpu", batch_requests=2)
    requests = [replace(request, positions=(len(request.tail) - 1,)) for request in some_requests()[::4]]
    assert [len(request.tail) for request in requests] == [40, 17, 50]
    # asked for as 50, 17, 40; run as 17 and 40, two rows of 40, and then 50; the shortest pays for the prefix of 39
    counts = [reply.counts.computed for reply in engine.label_logprobs(requests[::-1])]
    assert counts == [50, 39 + 40, 40]


def test_batch_tokens_bounds_what_a_batch_holds(folders: Callable[[str], Path]) -> None:
    engine = TransformersEngine.load(folders("qwen3"), device="cpu", batch_tokens=157)
    requests = [replace(request, positions=(len(request.tail) - 1,)) for request in some_requests()[::4]]
    # two rows of 39 + 40 places would hold 158: each of the tails of 40, 17, 50 is run alone, without padding
    counts = [reply.counts.computed for reply in engine.label_logprobs(requests)]
    assert counts == [40, 39 + 17, 50]


def test_tokens_behind_the_last_position_are_not_run(qwen: TransformersEngine) -> None:
    request = replace(some_requests()[0], positions=(0, 9))
    (reply,) = qwen.label_logprobs([request])
    assert reply.counts.prompt == 39 + 40
    assert reply.counts.computed == 39 + 10


def test_replies_hold_memory_of_their_own(qwen: TransformersEngine) -> None:
    first, second = qwen.label_logprobs(some_requests()[:2])
    assert first.logprobs is not None
    assert second.logprobs is not None
    before = second.logprobs.copy()
    first.logprobs[:] = 0
    np.testing.assert_array_equal(second.logprobs, before)


def test_bfloat16_is_near_float32(folders: Callable[[str], Path]) -> None:
    """Rounded weights move log-probabilities: measured here by 0.02 nats in the median, 0.11 at most."""
    requests = some_requests()
    wide = TransformersEngine.load(folders("qwen3"), dtype="float32", device="cpu")
    narrow = TransformersEngine.load(folders("qwen3"), dtype="bfloat16", device="cpu")
    truth = np.concatenate([np.ravel(reply.logprobs) for reply in wide.label_logprobs(requests)])
    found = np.concatenate([np.ravel(reply.logprobs) for reply in narrow.label_logprobs(requests)])
    assert 0 < np.median(np.abs(found - truth)) < 0.1
    assert wide.identity != narrow.identity


# the head ------------------------------------------------------------------------------------------------------------


def test_a_softcap_and_a_bias_are_heeded() -> None:
    # width 1, hidden 1: raw logits are weight + bias = (0.5 + 0.5, 2, 0); capped at 1: tanh(1), tanh(2), 0
    head = Head(weight=torch.tensor([[0.5], [2.0], [0.0]]), bias=torch.tensor([0.5, 0.0, 0.0]), scale=1.0, softcap=1.0)
    logits = [math.tanh(1), math.tanh(2), 0.0]
    total = math.log(sum(map(math.exp, logits)))
    found = head.label_logprobs(torch.ones(1, 1), torch.tensor([1, 0]))
    np.testing.assert_allclose(found.numpy(), [[logits[1] - total, logits[0] - total]], atol=1e-6)
    np.testing.assert_allclose(head.logits(torch.ones(1, 1)).numpy(), [logits], atol=1e-6)


def test_the_normaliser_is_the_same_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    head = Head(weight=torch.randn(1000, 8), bias=None, scale=3.0, softcap=None)
    hidden = torch.randn(5, 8)
    whole = torch.logsumexp(3 * hidden @ head.weight.T, dim=-1)
    for block in (1, 7, 1000, 5000):
        monkeypatch.setattr("localexplain.engines.forward.VOCABULARY_BLOCK", block)
        torch.testing.assert_close(head.log_normaliser(hidden), whole, rtol=0, atol=1e-5)


def test_no_matrix_of_positions_by_vocabulary_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """200,000 columns by 4,096 positions in float32 would take 3.3 GB; the largest block takes 134 MB."""
    made: list[int] = []

    class Recorder(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = function(*args, **(kwargs or {}))
            made.extend(out.numel() for out in [out] if isinstance(out, torch.Tensor))
            return out

    head = Head(weight=torch.randn(20_000, 2), bias=None, scale=1.0, softcap=None)
    with Recorder():
        head.label_logprobs(torch.randn(100, 2), torch.arange(11))
    assert max(made) <= 100 * 8192


# refusals ------------------------------------------------------------------------------------------------------------


def test_a_head_that_is_misread_is_found_at_load(folders: Callable[[str], Path], tmp_path: Path) -> None:
    """A configuration that names a scale which the model's code does not apply: labels read by it would be wrong."""
    folder = write_tiny_engine(tmp_path / "scaled", "llama")
    edit_json(folder / "config.json", logit_scale=0.5)
    with pytest.raises(EngineError, match="differ from the model's own by"):
        TransformersEngine.load(folder, device="cpu")


def test_the_softcap_of_gemma_is_proven(tmp_path: Path) -> None:
    folder = write_tiny_engine(tmp_path / "capped", "gemma3")
    edit_json(folder / "config.json", final_logit_softcapping=4.0)
    engine = TransformersEngine.load(folder, device="cpu")
    own = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    request = some_requests()[0]
    truth = own_logprobs(own, request)
    assert worst(engine.label_logprobs([request]), [truth]) < TOLERANCE
    own.config.final_logit_softcapping = None
    assert np.abs(own_logprobs(own, request) - truth).max() > 0.1


@pytest.mark.parametrize(("family", "key"), [("cohere", "logit_scale"), ("granite", "logits_scaling")])
def test_logits_that_are_scaled_are_read_so(family: str, key: str, tmp_path: Path) -> None:
    folder = write_tiny_engine(tmp_path / family, family)
    engine = TransformersEngine.load(folder, device="cpu")
    own = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    request = some_requests()[0]
    truth = own_logprobs(own, request)
    assert worst(engine.label_logprobs([request]), [truth]) < TOLERANCE
    edit_json(folder / "config.json", **{key: 1.0})
    unscaled = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    assert np.abs(own_logprobs(unscaled, request) - truth).max() > 0.1


def test_the_proof_s_gap_is_a_mean_over_positions_and_labels(folders: Callable[[str], Path]) -> None:
    own = AutoModelForCausalLM.from_pretrained(folders("llama"), dtype=torch.float32).eval()
    requests = proof_requests(range(3, 430), 512)
    replies = [LabelReply(logprobs=own_logprobs(own, request), counts=TokenCounts()) for request in requests]
    assert mean_gap(own, requests, replies) == 0
    assert replies[1].logprobs is not None
    replies[1].logprobs[5] += 2.0  # one of the 8 positions of the second request, all labels: 2 / 8
    assert mean_gap(own, requests, replies) == pytest.approx(0.25)
    replies[2] = LabelReply(logprobs=None, counts=TokenCounts(), error="no")
    assert mean_gap(own, requests, replies) == math.inf


def test_weights_that_are_missing_are_not_made_up(tmp_path: Path) -> None:
    """transformers fills them with random numbers and warns; a simulator of noise would run to the end."""
    folder = write_tiny_engine(tmp_path / "short", "llama")
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="lacks 1 weights"):
        TransformersEngine.load(folder, device="cpu")


def test_weights_that_are_no_numbers_are_found_at_load(tmp_path: Path) -> None:
    folder = write_tiny_engine(tmp_path / "nan", "llama")
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][0] = torch.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EngineError, match="NaN"):
        TransformersEngine.load(folder, device="cpu")


@pytest.mark.parametrize(
    ("spoil", "wanted"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "no weights"),
        (lambda folder: (folder / "config.json").unlink(), r"no config\.json"),
        (lambda folder: (folder / "tokenizer.json").unlink(), r"no tokenizer\.json"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\x08" * 64), "cannot be loaded"),
        (lambda folder: edit_json(folder / "config.json", model_type="t5"), "cannot be loaded"),
        (lambda folder: edit_json(folder / "config.json", model_type="made-up"), "cannot be loaded"),
        (lambda folder: edit_json(folder / "config.json", hidden_size=96), "lacks|cannot be loaded"),
    ],
)
def test_a_folder_that_is_no_model_is_one_clear_line(
    spoil: Callable[[Path], object], wanted: str, tmp_path: Path
) -> None:
    folder = write_tiny_engine(tmp_path / "spoilt", "llama")
    spoil(folder)
    with pytest.raises(UserError, match=wanted) as raised:
        TransformersEngine.load(folder, device="cpu")
    assert "\n" not in str(raised.value)
    assert str(folder) in str(raised.value)


def test_no_such_folder_or_device(tmp_path: Path, folders: Callable[[str], Path]) -> None:
    with pytest.raises(UserError, match="no such folder"):
        TransformersEngine.load(tmp_path / "nothing")
    with pytest.raises(UserError, match="cannot be used"):
        TransformersEngine.load(folders("qwen3"), device="abacus")


def test_a_closed_engine_says_so(folders: Callable[[str], Path]) -> None:
    engine = TransformersEngine.load(folders("qwen3"), device="cpu")
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.label_logprobs(some_requests())


def test_the_identity_tells_models_and_dtypes_apart(folders: Callable[[str], Path], tmp_path: Path) -> None:
    one = TransformersEngine.load(folders("qwen3"), device="cpu").identity
    assert one == TransformersEngine.load(folders("qwen3"), device="cpu", batch_requests=1).identity
    assert one.name == "qwen3"
    changed = write_tiny_engine(tmp_path / "qwen3", "qwen3")
    weights = load_file(changed / "model.safetensors")
    weights["model.norm.weight"][0] += 1
    save_file(weights, changed / "model.safetensors", metadata={"format": "pt"})
    assert TransformersEngine.load(changed, device="cpu").identity != one
    assert {"dtype", "files_sha256", "torch", "transformers", "stop_ids", "quantisation"} == {
        key for key, _ in one.details
    }


# small parts ---------------------------------------------------------------------------------------------------------


def test_common_prefix() -> None:
    assert common_prefix([]) == 0
    assert common_prefix([(1, 2, 3)]) == 3
    assert common_prefix([(1, 2, 3), (1, 2), (1, 2, 4)]) == 2
    assert common_prefix([(1, 2, 3), (2, 2, 3)]) == 0
    assert common_prefix([(1,), ()]) == 0


def test_align_right_turns_each_row_by_its_own_padding() -> None:
    # two rows of three places, one head, one channel; row 0 has one place of padding, row 1 none
    states = torch.tensor([[1.0, 2.0, 9.0], [4.0, 5.0, 6.0]]).reshape(2, 1, 3, 1)
    ((keys, values),) = align_right(((states, states * 10),), torch.tensor([1, 0]))
    assert keys.reshape(2, 3).tolist() == [[9, 1, 2], [4, 5, 6]]
    assert values.reshape(2, 3).tolist() == [[90, 10, 20], [40, 50, 60]]


def test_batches_keep_to_both_limits() -> None:
    assert cut_batches([], 10, 10) == []
    assert cut_batches([50], 10, 10) == [range(1)]  # too long for any batch: alone
    assert cut_batches([1] * 5, 100, 2) == [range(2), range(2, 4), range(4, 5)]
    assert cut_batches([2, 4, 4, 4], 8, 10) == [range(2), range(2, 4)]
