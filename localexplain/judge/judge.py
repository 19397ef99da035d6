"""Does an explanation fit an excerpt? A language model's answer as a probability of yes, read and not generated.

explanation | excerpt | question       one request; p(yes) / (p(yes) + p(no)) behind it
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from localexplain.engines.base import Engine, LabelReply, LabelRequest, Message
from localexplain.judge.prompt import TASK, judge_labels, judge_question
from localexplain.prompts import ChatChoice, begin, load_prompt, show_token, shown_explanation, split_runs, use_chat
from localexplain.types import Identity, TokenCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeConfig:
    """prompt_version is a folder below prompts/judge; chat "auto" uses the model's template where it has one."""

    prompt_version: str = "v1"
    chat: ChatChoice = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeTask:
    """Does `explanation` fit the excerpt of `tokens` [T] anywhere?"""

    explanation: str
    tokens: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeReply:
    """Exactly one of `fits` and `error` is None.

    fits        p(yes) / (p(yes) + p(no)), 0 to 1
    label_mass  the probability that fell on yes and no together
    """

    fits: float | None
    error: str | None = None
    label_mass: float | None = None
    counts: TokenCounts = TokenCounts()


def read_judgement(answer: LabelReply) -> JudgeReply:
    """`answer` has one position and the labels no, yes, in that order."""
    if answer.error is not None or answer.logprobs is None:
        return JudgeReply(fits=None, error=answer.error or "the engine gave no probabilities", counts=answer.counts)
    no, yes = np.exp(answer.logprobs[0].astype(np.float64))
    if not no + yes > 0:
        return JudgeReply(fits=None, error="no probability on yes or no", counts=answer.counts)
    return JudgeReply(fits=float(yes / (no + yes)), label_mass=float(min(no + yes, 1.0)), counts=answer.counts)


class Judge:
    """Judges with the language model behind `engine`, which it closes when it is closed.

    Raises ConfigError: no chat template where one is demanded; EngineError: yes or no is no single token.
    """

    def __init__(self, engine: Engine, config: JudgeConfig) -> None:
        self._engine = engine
        self._prompt = load_prompt(TASK, config.prompt_version)
        self._chat = use_chat(config.chat, has_chat_template=engine.tokenizer.has_chat_template)
        self._label_ids = judge_labels(self._prompt, engine.tokenizer)

    @property
    def identity(self) -> Identity:
        own = {"judge.prompt": self._prompt.identity, "judge.chat": "yes" if self._chat else "no"}
        engine = self._engine.identity
        return Identity(kind=engine.kind, name=engine.name, details=tuple(sorted((*engine.details, *own.items()))))

    def judge(self, tasks: Sequence[JudgeTask]) -> list[JudgeReply]:
        """One reply for each task, in order. A task that fails alone is a reply with `error`."""
        requests = [self._request(task) for task in tasks]
        context = self._engine.context_tokens
        fitting = [r for r in requests if len(r.prefix) + len(r.tail) < context]
        answers = iter(self._engine.label_logprobs(fitting) if fitting else [])
        too_long = JudgeReply(fits=None, error=f"the prompt is longer than the model's context of {context} tokens")
        return [
            read_judgement(next(answers)) if len(request.prefix) + len(request.tail) < context else too_long
            for request in requests
        ]

    def close(self) -> None:
        self._engine.close()

    def _request(self, task: JudgeTask) -> LabelRequest:
        prefix, tail = self._chat_parts(task) if self._chat else self._plain_parts(task)
        return LabelRequest(prefix=prefix, tail=tail, positions=(len(tail) - 1,), label_ids=self._label_ids)

    def _header(self, task: JudgeTask) -> str:
        return self._prompt.render("neuron.j2", explanation=shown_explanation(self._prompt, task.explanation)) + "\n"

    def _excerpt(self, task: JudgeTask) -> str:
        return self._prompt.setting("excerpt_start", default="") + "".join(map(show_token, task.tokens))

    def _plain_parts(self, task: JudgeTask) -> tuple[tuple[int, ...], tuple[int, ...]]:
        tokenizer = self._engine.tokenizer
        instruction = self._prompt.render("instruction.j2")
        before = f"{instruction}\n\n{self._header(task)}" if instruction else self._header(task)
        prefix = begin(tokenizer.bos_id, tokenizer.encode(before))
        first, *others = split_runs([show_token(token) for token in task.tokens]) or [[]]
        runs = [[self._prompt.setting("excerpt_start", default=""), *first], *others]
        excerpt = [index for run in runs for index in tokenizer.encode("".join(run))]
        return prefix, (*excerpt, *tokenizer.encode(judge_question(self._prompt)))

    def _chat_parts(self, task: JudgeTask) -> tuple[tuple[int, ...], tuple[int, ...]]:
        content = f"{self._header(task)}{self._excerpt(task)}\n\n{self._prompt.render('request.j2')}"
        messages = [
            Message(role="system", content=self._prompt.render("instruction.j2")),
            Message(role="user", content=content),
        ]
        ids = self._engine.tokenizer.render_chat(messages)
        return ids[:-1], ids[-1:]
