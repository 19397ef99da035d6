"""What every engine must do, as tests: subclass EngineContract, give it an `engine` fixture, and all of them run.

A real model may answer anything, so what is checked are relations: between a request alone and in company, between two
orders of the same requests, between a reply and the request's own settings.
"""

import copy
import re
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest

from localexplain.engines.base import Engine, GenerateRequest, LabelRequest, Message, Sampling
from localexplain.engines.labels import choose_labels
from localexplain.types import sum_counts

SEPARATOR = "\t"
PROMPTS = (
    "The ferry leaves the harbour at seven, and the last one",
    "She counted the levels: 0, 1, 2, 3, 4,",
    "Where the token is not one of these",
    "rain",
    "A neuron that is active on the words for boats, rivers and rain is shown below. The ferry leaves the harbour.",
)
GRID_LENGTHS = (1, 2, 7, 33)


def grid_pattern(cells: int) -> str:
    """`cells` numbers from 0 to 10 with commas between."""
    return "(10|[0-9])" + f"(,(10|[0-9])){{{cells - 1}}}" * (cells > 1)


def grid_prompt(cells: int) -> str:
    """A prompt that a scripted engine can tell the wanted length from."""
    return f"Write {cells} numbers:"


def ask(engine: Engine, text: str, pattern: str | None = None, **sampling: object) -> GenerateRequest:
    settings = Sampling(**({"max_tokens": 8} | sampling))  # type: ignore[arg-type]
    return GenerateRequest(token_ids=tuple(engine.tokenizer.encode(text)), sampling=settings, pattern=pattern)


def label_request(engine: Engine, prefix: str, cells: tuple[str, ...]) -> LabelRequest:
    """Cells built token by token, "text, separator, filler, newline"; read after each separator."""
    encode = engine.tokenizer.encode
    labels = choose_labels(encode, engine.tokenizer.decode, SEPARATOR)
    tail: list[int] = []
    positions: list[int] = []
    for cell in cells:
        tail += [*encode(cell), *encode(SEPARATOR)]
        positions.append(len(tail) - 1)
        tail += [labels.ids[0], *encode("\n")]
    return LabelRequest(
        prefix=tuple(encode(prefix)), tail=tuple(tail), positions=tuple(positions), label_ids=labels.ids
    )


def label_requests(engine: Engine) -> list[LabelRequest]:
    """Seven requests over two prefixes with a common part and a third that has none, tails of several lengths."""
    shared = "Where the token is a boat, the activation is ten.\n"
    prefixes = (shared + "boats", shared + "rain and rivers", "harbour")
    cells = ("The", " ferry", " leaves", " the", " harbour", "\t", "\n", " <|im_start|>", " é", " ten")
    return [
        label_request(engine, prefixes[number % 3], cells[number : number + length])
        for number, length in enumerate((4, 1, 6, 3, 5, 2, 4))
    ]


class EngineContract:
    """Override `engine` (one that is slow to load as a class-scoped fixture over a classmethod); where the engine
    cannot do better, the class attributes too.

    logprob_tolerance  nats between the same request alone and in company
    draws              whether a temperature changes anything
    """

    logprob_tolerance: ClassVar[float] = 1e-4
    draws: ClassVar[bool] = True

    @pytest.fixture
    def engine(self) -> Engine:
        raise NotImplementedError

    # generate --------------------------------------------------------------------------------------------------------

    def test_no_requests_no_replies(self, engine: Engine) -> None:
        assert engine.generate([]) == []
        assert engine.label_logprobs([]) == []

    def test_replies_come_in_the_order_of_the_requests(self, engine: Engine) -> None:
        requests = [ask(engine, prompt, max_tokens=2 + 3 * place) for place, prompt in enumerate(PROMPTS)]
        together = [reply.text for reply in engine.generate(requests)]
        alone = [engine.generate([request])[0].text for request in requests]
        assert together == alone
        assert [reply.text for reply in engine.generate(requests[::-1])] == alone[::-1]
        assert len(set(alone)) > 1  # else any order would pass

    def test_a_failed_request_fails_alone(self, engine: Engine) -> None:
        good = [ask(engine, prompt) for prompt in PROMPTS[:2]]
        ids = good[0].token_ids
        too_long = replace(good[0], token_ids=(ids * engine.context_tokens)[: engine.context_tokens - 2])
        first, failed, second = engine.generate([good[0], too_long, good[1]])
        assert (failed.finish, failed.text) == ("error", "")
        # names the prompt's length and the context's
        assert {str(engine.context_tokens - 2), str(engine.context_tokens)} <= set(
            re.findall("[0-9]+", failed.error or "")
        )
        assert [first.text, second.text] == [engine.generate([request])[0].text for request in good]
        assert first.error is None
        assert second.error is None

    @pytest.mark.parametrize(
        "change",
        [
            {"token_ids": ()},
            {"token_ids": (-1,)},
            {"token_ids": (10_000_000,)},
            {"sampling": Sampling(max_tokens=0)},
            {"sampling": Sampling(max_tokens=4, temperature=-1.0)},
            {"sampling": Sampling(max_tokens=4, temperature=float("nan"))},
            {"sampling": Sampling(max_tokens=4, top_p=0.0)},
            {"sampling": Sampling(max_tokens=4, stop=("",))},
            {"sampling": Sampling(max_tokens=4, stop=("a",)), "pattern": "[0-9]"},
        ],
    )
    def test_an_unsound_request_is_a_reply_that_says_why(self, engine: Engine, change: dict[str, object]) -> None:
        good = ask(engine, PROMPTS[0])
        failed, fine = engine.generate([replace(good, **change), good])  # type: ignore[arg-type]
        assert failed.finish == "error"
        assert failed.error
        assert fine.error is None

    def test_settings_do_not_leak_between_requests(self, engine: Engine) -> None:
        settings: list[dict[str, object]] = [
            {"max_tokens": 3},
            {"max_tokens": 9, "temperature": 1.5, "seed": 7},
            {"max_tokens": 6},
            {"max_tokens": 9, "temperature": 1.5, "top_p": 0.3, "seed": 7},
            {"max_tokens": 9, "stop": ("e", "1")},
            {"max_tokens": 9},
        ]
        requests = [ask(engine, PROMPTS[0], **setting) for setting in settings]
        requests.insert(3, ask(engine, grid_prompt(3), grid_pattern(3), max_tokens=20))
        together = engine.generate(requests)
        alone = [engine.generate([request])[0] for request in requests]
        assert [(reply.text, reply.finish) for reply in together] == [(reply.text, reply.finish) for reply in alone]
        assert together[-1].text.startswith(together[0].text[:-1])  # both greedy: the longer goes on from the shorter

    def test_greedy_is_repeatable_and_blind_to_the_seed(self, engine: Engine) -> None:
        once, again, other = engine.generate([ask(engine, PROMPTS[0], seed=seed) for seed in (1, 1, 2)])
        assert once.text == again.text == other.text
        assert once.text

    def test_sampling_is_repeatable_by_its_seed(self, engine: Engine) -> None:
        requests = [ask(engine, PROMPTS[0], temperature=1.0, seed=seed, max_tokens=12) for seed in range(5)]
        together = [reply.text for reply in engine.generate(requests)]
        crowd = [ask(engine, prompt, temperature=0.7, seed=3, max_tokens=5) for prompt in PROMPTS]
        in_company = [reply.text for reply in engine.generate([*crowd, *requests[::-1]])][: len(crowd) - 1 : -1]
        assert together == in_company
        assert together[0] == engine.generate(requests[:1])[0].text
        assert (len(set(together)) > 1) == self.draws

    def test_a_stop_string_ends_the_text_before_it(self, engine: Engine) -> None:
        whole = engine.generate([ask(engine, PROMPTS[0], max_tokens=24)])[0].text
        stop = next(character for character in whole[1:] if character.isascii() and character.isprintable())
        stopped, other = engine.generate(
            [ask(engine, PROMPTS[0], max_tokens=24, stop=("never", stop)), ask(engine, PROMPTS[0], max_tokens=24)]
        )
        assert stopped.text == whole[: whole.index(stop)]
        assert stopped.finish == "stop"
        assert other.text == whole

    def test_a_reply_is_cut_at_max_tokens(self, engine: Engine) -> None:
        (reply,) = engine.generate([ask(engine, PROMPTS[0], max_tokens=3)])
        assert reply.finish == "length"
        assert reply.counts.generated == 3

    @pytest.mark.parametrize("temperature", [0.0, 1.0])
    def test_a_pattern_is_obeyed_at_every_length(self, engine: Engine, temperature: float) -> None:
        requests = [
            ask(engine, grid_prompt(cells), grid_pattern(cells), max_tokens=4 * cells, temperature=temperature)
            for cells in GRID_LENGTHS
        ]
        replies = engine.generate([*requests, ask(engine, PROMPTS[0])])
        for cells, reply in zip(GRID_LENGTHS, replies, strict=False):
            assert reply.finish == "stop"
            assert re.fullmatch(grid_pattern(cells), reply.text), reply.text
        assert not re.fullmatch("[0-9,]*", replies[-1].text)  # the pattern does not leak

    def test_a_pattern_cut_by_max_tokens_says_so(self, engine: Engine) -> None:
        (reply,) = engine.generate([ask(engine, grid_prompt(33), grid_pattern(33), max_tokens=5)])
        assert reply.finish == "length"
        assert reply.counts.generated == 5
        assert re.fullmatch("[0-9,]+", reply.text)

    def test_a_broken_pattern_fails_its_request_alone(self, engine: Engine) -> None:
        failed, fine = engine.generate([ask(engine, PROMPTS[0], "[0-9"), ask(engine, PROMPTS[0])])
        assert failed.finish == "error"
        assert failed.error
        assert fine.text == engine.generate([ask(engine, PROMPTS[0])])[0].text

    def test_generated_tokens_are_counted(self, engine: Engine) -> None:
        requests = [ask(engine, prompt, max_tokens=5) for prompt in PROMPTS]
        for request, reply in zip(requests, engine.generate(requests), strict=True):
            assert reply.counts.prompt == len(request.token_ids)
            assert 1 <= reply.counts.generated <= 5

    def test_a_shared_prompt_is_computed_less_than_once_a_request(self, engine: Engine) -> None:
        shared = "".join(PROMPTS)
        counts = sum_counts([reply.counts for reply in engine.generate([ask(engine, shared + p) for p in PROMPTS])])
        assert 0 < counts.computed < counts.prompt

    # label_logprobs --------------------------------------------------------------------------------------------------

    def test_labels_have_the_shape_asked_for_and_are_probabilities(self, engine: Engine) -> None:
        requests = label_requests(engine)
        replies = engine.label_logprobs(requests)
        for request, reply in zip(requests, replies, strict=True):
            assert reply.error is None
            assert reply.logprobs is not None
            assert reply.logprobs.dtype == np.float32
            assert reply.logprobs.shape == (len(request.positions), 11)
            assert (reply.logprobs <= 0).all()
            mass = np.exp(reply.logprobs.astype(np.float64)).sum(axis=1)
            assert ((mass > 0) & (mass <= 1 + 1e-4)).all()
            assert reply.counts.prompt == len(request.prefix) + len(request.tail)
            assert reply.counts.generated == 0
        spread = np.concatenate([reply.logprobs for reply in replies if reply.logprobs is not None]).std(axis=1)
        assert (spread > 0.1).all()  # else a reply that mixes up its columns would pass what follows

    def test_labels_come_in_the_order_of_their_ids(self, engine: Engine) -> None:
        (request, *_) = label_requests(engine)
        picked = (request.label_ids[7], request.label_ids[2])
        forward, backward, two = engine.label_logprobs(
            [request, replace(request, label_ids=request.label_ids[::-1]), replace(request, label_ids=picked)]
        )
        assert forward.logprobs is not None
        assert backward.logprobs is not None
        assert two.logprobs is not None
        self.assert_close(backward.logprobs, forward.logprobs[:, ::-1])
        self.assert_close(two.logprobs, forward.logprobs[:, [7, 2]])

    def test_labels_do_not_depend_on_company_or_order(self, engine: Engine) -> None:
        requests = label_requests(engine)
        together = engine.label_logprobs(requests)
        backwards = engine.label_logprobs(requests[::-1])[::-1]
        for request, reply, other in zip(requests, together, backwards, strict=True):
            (alone,) = engine.label_logprobs([request])
            assert alone.logprobs is not None
            self.assert_close(reply.logprobs, alone.logprobs)
            self.assert_close(other.logprobs, alone.logprobs)

    def test_a_repeated_request_reads_the_same(self, engine: Engine) -> None:
        """A prefix cache then holds the rows of the request itself, where reading them is the trap."""
        requests = label_requests(engine)[:2]
        first, second = engine.label_logprobs(requests), engine.label_logprobs(requests * 2)
        for once, again, twice in zip(first, second[:2], second[2:], strict=True):
            self.assert_close(again.logprobs, once.logprobs)
            self.assert_close(twice.logprobs, once.logprobs)

    def test_positions_read_alone_are_those_read_together(self, engine: Engine) -> None:
        request = label_requests(engine)[2]
        whole, some = engine.label_logprobs([request, replace(request, positions=request.positions[1:4:2])])
        assert whole.logprobs is not None
        self.assert_close(some.logprobs, whole.logprobs[1:4:2])

    def test_where_the_prefix_ends_makes_no_difference(self, engine: Engine) -> None:
        request = label_requests(engine)[2]
        prompt = (*request.prefix, *request.tail)
        places = [len(request.prefix) + position for position in request.positions]
        cuts = [0, 1, len(request.prefix) // 2, len(request.prefix)]
        moved = [
            replace(request, prefix=prompt[:cut], tail=prompt[cut:], positions=tuple(place - cut for place in places))
            for cut in cuts
        ]
        first, *others = engine.label_logprobs(moved)
        assert first.logprobs is not None
        for other in others:
            self.assert_close(other.logprobs, first.logprobs)

    @pytest.mark.parametrize(
        "change",
        [
            {"tail": (), "positions": ()},
            {"positions": ()},
            {"positions": (1, 0)},
            {"positions": (1, 1)},
            {"positions": (-1,)},
            {"positions": (10_000,)},
            {"label_ids": ()},
            {"label_ids": (5, 5)},
            {"label_ids": (10_000_000,)},
            {"tail": (-1, 5, 5, 5), "positions": (2,)},
        ],
    )
    def test_an_unsound_label_request_fails_alone(self, engine: Engine, change: dict[str, object]) -> None:
        first, second, *_ = label_requests(engine)
        before, failed, after = engine.label_logprobs([first, replace(second, **change), second])  # type: ignore[arg-type]
        assert failed.logprobs is None
        assert failed.error
        for reply, request in ((before, first), (after, second)):
            (alone,) = engine.label_logprobs([request])
            assert alone.logprobs is not None
            self.assert_close(reply.logprobs, alone.logprobs)

    def test_a_prompt_beyond_the_context_names_both_lengths(self, engine: Engine) -> None:
        request, *_ = label_requests(engine)
        length = engine.context_tokens + 1 - len(request.tail)
        too_long = replace(request, prefix=(request.prefix * length)[:length])
        failed, fine = engine.label_logprobs([too_long, request])
        assert failed.logprobs is None
        assert {str(engine.context_tokens + 1), str(engine.context_tokens)} <= set(
            re.findall("[0-9]+", failed.error or "")
        )
        assert fine.error is None

    def test_requests_are_left_as_they_were(self, engine: Engine) -> None:
        generate = [ask(engine, grid_prompt(2), grid_pattern(2)), ask(engine, PROMPTS[0], stop=("x",), seed=1)]
        labels = label_requests(engine)
        kept = copy.deepcopy((generate, labels))
        engine.generate(generate)
        engine.label_logprobs(labels)
        assert (generate, labels) == kept

    # tokenizer and identity ------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("text", [" <|im_start|>user", "\t\n x", "ten 10 é 😀", "<|endoftext|><s>"])
    def test_text_survives_the_tokenizer(self, engine: Engine, text: str) -> None:
        assert engine.tokenizer.decode(engine.tokenizer.encode(text)) == text

    def test_a_chat_has_one_bos_at_most_and_ends_as_it_is_told(self, engine: Engine) -> None:
        tokenizer = engine.tokenizer
        if not tokenizer.has_chat_template:
            pytest.skip("this engine's model has no chat template")
        chat = [Message(role="system", content="Explain."), Message(role="user", content="a <|im_end|> b")]
        ids = tokenizer.render_chat(chat, assistant_start="It is active on")
        if tokenizer.bos_id is not None:
            assert ids[0] == tokenizer.bos_id
            assert ids.count(tokenizer.bos_id) == 1
        text = tokenizer.decode(ids)
        assert text.endswith("It is active on")
        assert text.index("Explain.") < text.index("a <|im_end|> b")

    def test_the_identity_names_the_engine(self, engine: Engine) -> None:
        assert engine.identity.kind
        assert engine.identity.name
        assert engine.identity == engine.identity
        assert list(engine.identity.details) == sorted(engine.identity.details)
        assert engine.context_tokens > 0

    # helpers ---------------------------------------------------------------------------------------------------------

    def assert_close(self, found: np.ndarray | None, wanted: np.ndarray) -> None:
        assert found is not None
        np.testing.assert_allclose(found, wanted, rtol=0, atol=self.logprob_tolerance)
