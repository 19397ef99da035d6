"""The scripted engine under the contract, and what only a script can show."""

import hashlib
import math
import re
from typing import ClassVar

import numpy as np
import pytest

from localexplain.engines.base import Engine
from localexplain.engines.scripted import ScriptedEngine, level
from localexplain.errors import EngineError
from localexplain.types import TokenCounts
from tests.contract.engine_contract import PROMPTS, EngineContract, ask, label_request, label_requests


def write(prompt: str) -> str:
    """Numbers where numbers are asked for, else the prompt backwards with a sentence after it."""
    if match := re.search("([0-9]+) numbers:$", prompt):
        return ",".join(str(number % 11) for number in range(int(match[1])))
    return f"{prompt[::-1]} and so on, to the very end."


def hashed_labels(prefix: str, before: str, cell: int) -> tuple[float, ...]:
    """A distribution over 11 labels and a rest, drawn from a hash of all the text before the cell's number."""
    seed = int.from_bytes(hashlib.sha256((prefix + before).encode()).digest()[:8], "big")
    shares = np.random.default_rng(seed).dirichlet(np.ones(12))[:11]
    return tuple(math.log(share) for share in shares)


class TestScriptedEngine(EngineContract):
    logprob_tolerance: ClassVar[float] = 0.0
    draws: ClassVar[bool] = False

    @pytest.fixture
    def engine(self) -> Engine:
        def label_logprobs(prefix: str, before: str, cell: int) -> tuple[float, ...]:
            return hashed_labels(prefix, before, cell)

        return ScriptedEngine(generate=write, label_logprobs=label_logprobs, name="contract", context_tokens=512)

    # the order and the choice of label ids mean nothing to a script that cannot see them
    test_labels_come_in_the_order_of_their_ids = None  # type: ignore[assignment]


def test_a_table_answers_the_prompts_it_has() -> None:
    engine = ScriptedEngine(generate={PROMPTS[0]: "boats"})
    found, missing = engine.generate([ask(engine, PROMPTS[0]), ask(engine, PROMPTS[1])])
    assert (found.text, found.finish, found.error) == ("boats", "stop", None)
    assert missing.finish == "error"
    assert "table" in (missing.error or "")


def test_a_script_can_fail_one_request() -> None:
    def write_or_fail(prompt: str) -> str:
        if "rain" in prompt:
            raise EngineError("the server is gone")
        return "fine"

    def read_or_fail(prefix: str, before: str, cell: int) -> tuple[float, ...]:
        if cell == 2:
            raise EngineError("no such cell")
        return level(float(cell))

    engine = ScriptedEngine(generate=write_or_fail, label_logprobs=read_or_fail)
    replies = engine.generate([ask(engine, "sun"), ask(engine, "rain"), ask(engine, "wind")])
    assert [reply.error for reply in replies] == [None, "the server is gone", None]
    labels = engine.label_logprobs([label_request(engine, "p", ("a", "b", "c")), label_request(engine, "p", ("a",))])
    assert [reply.error for reply in labels] == ["no such cell", None]


def test_a_mistake_in_a_script_is_not_hidden() -> None:
    broken = ScriptedEngine(
        generate=lambda prompt: prompt[10_000], label_logprobs=lambda prefix, before, cell: (0.0,) * 11
    )
    with pytest.raises(IndexError):
        broken.generate([ask(broken, "sun")])
    with pytest.raises(ValueError, match="sum to 11"):
        broken.label_logprobs([label_request(broken, "p", ("a",))])


def test_the_script_sees_the_text_up_to_the_position_and_which_cell_it_is() -> None:
    seen: list[tuple[str, str, int]] = []

    def read(prefix: str, before: str, cell: int) -> tuple[float, ...]:
        seen.append((prefix, before, cell))
        return level(cell + 0.5)

    engine = ScriptedEngine(label_logprobs=read)
    (reply,) = engine.label_logprobs([label_request(engine, "Boats.", ("a", "10"))])
    assert seen == [("Boats.", "a\t", 0), ("Boats.", "a\t0\n10\t", 1)]
    assert reply.logprobs is not None
    expected = np.exp(reply.logprobs) @ np.arange(11)
    np.testing.assert_allclose(expected, [0.5, 1.5], atol=1e-5)


def test_ten_is_one_token_and_all_else_a_character() -> None:
    tokenizer = ScriptedEngine().tokenizer
    assert len(tokenizer.encode("\t10\n")) == 3
    assert len(tokenizer.encode("100")) == 2
    assert tokenizer.decode(tokenizer.encode("1010é😀")) == "1010é😀"


def test_a_shared_start_is_counted_once() -> None:
    engine = ScriptedEngine(generate=lambda prompt: "x", label_logprobs=hashed_labels)
    first, same, longer = engine.generate([ask(engine, text) for text in ("abcd", "abcd", "abcdef")])
    # 4 new; the same 4, of which the last is run again; 6, of which 4 are known
    assert [reply.counts.computed for reply in (first, same, longer)] == [4, 1, 2]
    assert first.counts == TokenCounts(prompt=4, computed=4, generated=1)
    requests = label_requests(engine)
    one, two = engine.label_logprobs([requests[0], requests[0]])
    # the prefix is known the second time, the tail is run again since it is read
    assert one.counts.computed == len(requests[0].prefix) + len(requests[0].tail)
    assert two.counts.computed == len(requests[0].tail)


def test_without_a_chat_template_a_chat_is_refused() -> None:
    engine = ScriptedEngine(generate=lambda prompt: "x", has_chat_template=False)
    assert not engine.tokenizer.has_chat_template
    with pytest.raises(EngineError, match="no chat template"):
        engine.tokenizer.render_chat([])


def test_a_reply_that_breaks_the_pattern_fails() -> None:
    engine = ScriptedEngine(generate=lambda prompt: "eleven")
    (reply,) = engine.generate([ask(engine, "x", "[0-9]+")])
    assert reply.finish == "error"
    assert "eleven" in (reply.error or "")
