"""The vLLM engine under the contract, on a tiny random Qwen3 and vLLM's CPU build, and what it alone must show."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from localexplain.engines.base import Engine, LabelRequest
from localexplain.engines.vllm import PROOF_TOLERANCE, VllmEngine
from localexplain.engines.vllm_calls import MAX_LABELS, single_params
from localexplain.types import TokenCounts, sum_counts
from tests.contract.engine_contract import PROMPTS, EngineContract, ask, label_requests

pytestmark = pytest.mark.vllm

STAND_IN_BLOCK = 16  # tokens, vLLM's own on a GPU


@pytest.fixture(scope="module")
def vllm_engine(tiny_engine_folder: Path) -> Iterator[VllmEngine]:
    engine = VllmEngine.load(tiny_engine_folder)
    yield engine
    engine.close()


class TestVllmEngine(EngineContract):
    @pytest.fixture
    def engine(self, vllm_engine: VllmEngine) -> Engine:
        return vllm_engine


def test_singles_share_one_prefix_and_pay_for_the_rest(vllm_engine: VllmEngine) -> None:
    if vllm_engine.reading != "singles":
        pytest.skip("this vLLM reads labels by rows")
    # Prefix of 96 tokens, 3 blocks of 32; read after places 98, 101, 104 and 107: prompts of 99, 102, 105 and 108.
    # Cold: the first computes its 99; the others find the 3 full blocks: 6 + 9 + 12. Warm: 3 + 6 + 9 + 12.
    ids = tuple(range(100, 208))
    request = LabelRequest(prefix=ids[:96], tail=ids[96:], positions=(2, 5, 8, 11), label_ids=(5, 6))
    vllm_engine._llm.reset_prefix_cache()
    (cold,) = vllm_engine.label_logprobs([request])
    (warm,) = vllm_engine.label_logprobs([request])
    assert cold.counts == TokenCounts(prompt=108, computed=99 + 6 + 9 + 12, generated=0)
    assert warm.counts == TokenCounts(prompt=108, computed=3 + 6 + 9 + 12, generated=0)
    np.testing.assert_allclose(warm.logprobs, cold.logprobs, rtol=0, atol=1e-4)


def test_too_many_labels_fail_alone(vllm_engine: VllmEngine) -> None:
    request, *_ = label_requests(vllm_engine)
    most, too_many = (replace(request, label_ids=tuple(range(number))) for number in (MAX_LABELS, MAX_LABELS + 1))
    fine, failed = vllm_engine.label_logprobs([most, too_many])
    assert fine.logprobs is not None
    assert fine.logprobs.shape == (len(request.positions), MAX_LABELS)
    assert failed.error == "129 label ids; vLLM reads at most 128"


@pytest.mark.parametrize("tokens", [1, 150])
def test_many_requests_go_in_several_calls(
    vllm_engine: VllmEngine, monkeypatch: pytest.MonkeyPatch, tokens: int
) -> None:
    requests = label_requests(vllm_engine)
    at_once = vllm_engine.label_logprobs(requests)
    monkeypatch.setattr("localexplain.engines.vllm.CALL_TOKENS", tokens)
    for cut, whole in zip(vllm_engine.label_logprobs(requests), at_once, strict=True):
        assert whole.logprobs is not None
        np.testing.assert_allclose(cut.logprobs, whole.logprobs, rtol=0, atol=1e-4)


def test_a_full_context_can_be_read_but_for_its_end(vllm_engine: VllmEngine) -> None:
    tokens = vllm_engine.context_tokens
    ids = tuple(100 + place % 300 for place in range(tokens))
    full = LabelRequest(prefix=ids[:500], tail=ids[500:], positions=(tokens - 503,), label_ids=(5, 6))
    assert full.positions[0] + 500 == tokens - 3
    fine, failed = vllm_engine.label_logprobs([full, replace(full, positions=(tokens - 501,))])
    assert fine.error is None
    assert f"{tokens} tokens" in (failed.error or "")


@pytest.mark.parametrize(
    ("pattern", "setting"),
    [
        ("a\\Z", {}),  # a regular expression to Python, none to Outlines
        ("\\p{Lu}", {}),  # the other way round; vLLM asks both
        (None, {"temperature": 3.0}),  # vLLM takes 2 at most
    ],
)
def test_what_only_vllm_refuses_fails_alone(
    vllm_engine: VllmEngine, pattern: str | None, setting: dict[str, object]
) -> None:
    good = ask(vllm_engine, PROMPTS[0])
    first, failed, second = vllm_engine.generate([good, ask(vllm_engine, PROMPTS[1], pattern, **setting), good])
    assert failed.finish == "error"
    assert (repr(pattern) if pattern else "temperature") in (failed.error or "")
    assert first.text == second.text
    assert first.finish == second.finish == "length"


def test_a_call_that_vllm_refuses_as_a_whole_is_answered_request_by_request(vllm_engine: VllmEngine) -> None:
    prompts = [(5, 6, 7), (10_000_000,), (8, 9), (), (10, 11, 12, 13)]  # out of the vocabulary; empty
    outputs = vllm_engine._run(prompts, [single_params((1, 2)) for _ in prompts])
    assert [isinstance(output, str) for output in outputs] == [False, True, False, True, False]
    assert [output.prompt_token_ids for output in outputs if not isinstance(output, str)] == [
        [5, 6, 7],
        [8, 9],
        [10, 11, 12, 13],
    ]


def test_a_pattern_needs_its_end_token_to_be_counted(vllm_engine: VllmEngine) -> None:
    # "7" and the token that ends the reply: two tokens, the second not in the text
    (reply,) = vllm_engine.generate([ask(vllm_engine, PROMPTS[0], "7")])
    assert (reply.text, reply.finish, reply.counts.generated) == ("7", "stop", 2)


# the rows of runner V2 -----------------------------------------------------------------------------------------------


def shared_start(left: Sequence[int], right: Sequence[int]) -> int:
    pairs = zip(left, right, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(left), len(right)))


class RowsRunner:
    """Stands in for a vLLM with model runner V2, which needs a GPU: what vLLM 0.32 documents of it, answered by the
    real engine's runner V1 one row at a time.

    shift  rows by which its answers are wrong
    """

    def __init__(self, llm: Any, shift: int = 0) -> None:
        config = SimpleNamespace(use_v2_model_runner=True)
        self.llm_engine = SimpleNamespace(model_config=llm.llm_engine.model_config, vllm_config=config)
        self.reset_prefix_cache = llm.reset_prefix_cache
        self._llm, self._shift = llm, shift
        self._seen: list[list[int]] = []

    def generate(self, prompts: Sequence[Any], params: Sequence[Any], use_tqdm: bool) -> list[Any]:
        if not params or params[0].prompt_logprob_token_ids is None:
            return list(self._llm.generate(prompts, params, use_tqdm=use_tqdm))
        return [
            self._answer(list(prompt["prompt_token_ids"]), one) for prompt, one in zip(prompts, params, strict=True)
        ]

    def _answer(self, ids: list[int], params: Any) -> Any:
        start, wanted = params.prompt_logprob_start, params.prompt_logprob_token_ids
        assert len(wanted) == len(ids) - 1 - start  # else vLLM refuses the request
        assert len(ids) + params.max_tokens <= self.llm_engine.model_config.max_model_len
        skip = params.skip_reading_prefix_cache in (None, True)  # None becomes True where rows are asked for
        shared = max((shared_start(ids, seen) for seen in self._seen), default=0)
        cached = 0 if skip else min(shared, len(ids) - 1) // STAND_IN_BLOCK * STAND_IN_BLOCK
        self._seen.append(ids)
        rows = None if cached > start else self._rows(ids, start, wanted)
        return SimpleNamespace(prompt_token_ids=ids, num_cached_tokens=cached, prompt_token_id_logprobs=rows)

    def _rows(self, ids: list[int], start: int, wanted: np.ndarray) -> np.ndarray:
        """Row r: its own ids as predictions of prompt token start + r + 1."""
        heads = [ids[: max(1, start + row + 1 + self._shift)] for row in range(len(wanted))]
        outputs = self._llm.generate(
            [{"prompt_token_ids": head} for head in heads],
            [single_params(row.tolist()) for row in wanted],
            use_tqdm=False,
        )
        entries = [output.outputs[0].logprobs[0] for output in outputs]
        table = [[entry[label].logprob for label in row.tolist()] for entry, row in zip(entries, wanted, strict=True)]
        return np.array(table, dtype=np.float32)


def rows_engine(engine: VllmEngine, shift: int = 0) -> VllmEngine:
    """The engine over a stand-in; not to be closed."""
    return VllmEngine(
        llm=RowsRunner(engine._llm, shift), tokenizer=engine.tokenizer, identity=engine.identity, reading="rows"
    )


class TestRowsReading(EngineContract):
    @pytest.fixture
    def engine(self, vllm_engine: VllmEngine) -> Engine:
        return rows_engine(vllm_engine)


def test_rows_and_singles_read_the_same(vllm_engine: VllmEngine) -> None:
    requests = label_requests(vllm_engine)
    for rows, singles in zip(
        rows_engine(vllm_engine).label_logprobs(requests), vllm_engine.label_logprobs(requests), strict=True
    ):
        assert singles.logprobs is not None
        assert rows.logprobs is not None
        np.testing.assert_allclose(rows.logprobs, singles.logprobs, rtol=0, atol=1e-5)


def test_rows_inside_the_cache_are_computed_again(vllm_engine: VllmEngine) -> None:
    # 40 tokens, read after places 20 and 38, so that the prompt is those 40. The second time 2 blocks of 16 are cached,
    # past place 20: 40 - 32 computed for nothing, then all 40. Read after places 35 and 38 alone, the cached 32 do not
    # reach the first row, and 8 tokens are enough.
    ids = tuple(range(200, 240))
    request = LabelRequest(prefix=ids[:20], tail=ids[20:], positions=(0, 18), label_ids=(5, 6))
    late = replace(request, positions=(15, 18))
    engine = rows_engine(vllm_engine)
    first, second, third = (engine.label_logprobs([one])[0] for one in (request, request, late))
    assert [reply.counts.computed for reply in (first, second, third)] == [40, 8 + 40, 8]
    assert [reply.counts.prompt for reply in (first, second, third)] == [40, 40, 40]
    assert first.logprobs is not None
    assert third.logprobs is not None
    np.testing.assert_allclose(second.logprobs, first.logprobs, rtol=0, atol=1e-5)
    np.testing.assert_allclose(third.logprobs[1], first.logprobs[1], rtol=0, atol=1e-5)


def test_excerpts_of_one_prefix_compute_it_once(vllm_engine: VllmEngine) -> None:
    prefix = tuple(range(100, 196))  # 6 blocks of 16
    tails = [tuple(range(start, start + 10)) for start in (200, 220, 240)]
    requests = [LabelRequest(prefix=prefix, tail=tail, positions=(3, 8), label_ids=(5, 6)) for tail in tails]
    counts = sum_counts([reply.counts for reply in rows_engine(vllm_engine).label_logprobs(requests)])
    assert counts == TokenCounts(prompt=3 * 106, computed=106 + 10 + 10, generated=0)


@pytest.mark.parametrize(("shift", "reading"), [(0, "rows"), (1, "singles"), (-1, "singles")])
def test_rows_are_read_only_where_they_are_proven(vllm_engine: VllmEngine, shift: int, reading: str) -> None:
    engine = rows_engine(vllm_engine, shift)
    engine.reading = "singles"  # as load makes it
    engine._prove(PROOF_TOLERANCE["float32"])
    assert engine.reading == reading
