"""A language model explains: records -> prompt -> engine -> explanation."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from localexplain.engines.base import Engine, GenerateReply, GenerateRequest, Sampling
from localexplain.errors import ConfigError
from localexplain.explain.cut import cut_explanation
from localexplain.explain.prompt import (
    ShownExcerpt,
    answer_pattern,
    as_audit_text,
    as_messages,
    as_text,
    check_records,
    explain_prompt,
    show_records,
)
from localexplain.prompts import AUTO, ChatChoice, begin, first_examples, load_prompt, use_chat
from localexplain.types import ExplainReply, ExplainTask, Identity

TASK = "explain"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainConfig:
    """How a language model explains.

    prompt_version  folder below prompts/explain; "auto" is the one that the model's card names, with its number of
                    examples, and v1 where it names none
    samples         explanations for each unit; each is a task of its own
    temperature     Source: Bills et al. 2023 sample one explanation at temperature 1, of at most 60 tokens
    max_tokens      tokens the explanation may have
    few_shot        example neurons shown before the one to explain; fewer where the context is short
    chat            "auto": through the model's chat template where it has one; "always", "never"
    """

    prompt_version: str = AUTO
    samples: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 60
    few_shot: int = 3
    chat: ChatChoice = "auto"

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ConfigError(f"explain.prompt.samples = {self.samples}: must be at least 1")
        if self.temperature < 0:
            raise ConfigError(f"explain.prompt.temperature = {self.temperature}: must not be negative")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"explain.prompt.top_p = {self.top_p}: must be above 0 and at most 1")
        if self.max_tokens < 1:
            raise ConfigError(f"explain.prompt.max_tokens = {self.max_tokens}: must be at least 1")
        if self.few_shot < 0:
            raise ConfigError(f"explain.prompt.few_shot = {self.few_shot}: must not be negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltPrompt:
    """A prompt as it is sent, and as people read it."""

    token_ids: tuple[int, ...]
    text: str
    pattern: str | None = None


def sampling_seed(task: ExplainTask) -> int:
    """A seed in [0, 2^31) from the task's seed, unit and sample: no two samples of a run share their randomness."""
    digest = hashlib.blake2b(f"{task.seed} {task.unit} {task.sample}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little") >> 1


class LanguageModelExplainer:
    """Explains with the language model behind `engine`, which it closes when it is closed.

    Raises ConfigError: no chat template where one is demanded, more few-shot examples asked for than there are.
    """

    def __init__(self, engine: Engine, config: ExplainConfig) -> None:
        self._engine = engine
        self._config = config
        self._prompt = load_prompt(TASK, config.prompt_version)
        self._examples = first_examples(self._prompt, config.few_shot)
        self._chat = use_chat(config.chat, has_chat_template=engine.tokenizer.has_chat_template)

    @property
    def identity(self) -> Identity:
        engine = self._engine.identity
        own = {
            "explain.prompt": self._prompt.identity,
            "explain.few_shot": str(self._config.few_shot),
            "explain.chat": "yes" if self._chat else "no",
            "explain.temperature": str(self._config.temperature),
            "explain.top_p": str(self._config.top_p),
            "explain.max_tokens": str(self._config.max_tokens),
        }
        return Identity(kind=engine.kind, name=engine.name, details=tuple(sorted((*engine.details, *own.items()))))

    def explain(self, tasks: Sequence[ExplainTask]) -> list[ExplainReply]:
        for task in tasks:
            check_records(task)
        prompts = [self._fit(show_records(task.records)) for task in tasks]
        requests = [
            self._request(task, prompt) for task, prompt in zip(tasks, prompts, strict=True) if prompt is not None
        ]
        answers = iter(self._engine.generate(requests) if requests else [])
        return [self._too_long() if prompt is None else self._read(prompt, next(answers)) for prompt in prompts]

    def close(self) -> None:
        self._engine.close()

    def _fit(self, excerpts: Sequence[ShownExcerpt]) -> BuiltPrompt | None:
        """The prompt with as many examples as the context has room for; None where it has not even room for none."""
        for few_shot in range(len(self._examples), -1, -1):
            built = self._build(few_shot, excerpts)
            if len(built.token_ids) + self._config.max_tokens <= self._engine.context_tokens:
                return built
        return None

    def _build(self, few_shot: int, excerpts: Sequence[ShownExcerpt]) -> BuiltPrompt:
        tokenizer = self._engine.tokenizer
        prompt = explain_prompt(self._prompt, self._examples[:few_shot], excerpts)
        if self._chat:
            messages = as_messages(prompt)
            token_ids = tokenizer.render_chat(messages, prompt.opening)
            return BuiltPrompt(token_ids=token_ids, text=as_audit_text(messages, prompt.opening))
        text = as_text(prompt)
        pattern = answer_pattern(self._prompt, excerpts)
        return BuiltPrompt(token_ids=begin(tokenizer.bos_id, tokenizer.encode(text)), text=text, pattern=pattern)

    def _request(self, task: ExplainTask, prompt: BuiltPrompt) -> GenerateRequest:
        config = self._config
        sampling = Sampling(
            max_tokens=config.max_tokens,
            temperature=config.temperature,
            top_p=config.top_p,
            seed=sampling_seed(task),
            # A base model goes on with the next neuron; a chat may think first; a pattern has an end of its own.
            stop=() if self._chat or prompt.pattern is not None else ("\n",),
        )
        return GenerateRequest(token_ids=prompt.token_ids, sampling=sampling, pattern=prompt.pattern)

    def _too_long(self) -> ExplainReply:
        context = self._engine.context_tokens
        return ExplainReply(text=None, error=f"the prompt is longer than the model's context of {context} tokens")

    def _read(self, prompt: BuiltPrompt, answer: GenerateReply) -> ExplainReply:
        if answer.error is not None:
            return ExplainReply(
                text=None, error=answer.error, prompt=prompt.text, raw=answer.text, counts=answer.counts
            )
        opening = self._prompt.setting("opening")
        text = cut_explanation(answer.text, opening, was_cut=answer.finish == "length")
        error = None if text else "the model wrote no explanation"
        return ExplainReply(text=text or None, error=error, prompt=prompt.text, raw=answer.text, counts=answer.counts)
