"""Simulation by expected value: all cells of an excerpt in one prefill, nothing generated.

    few-shot | explanation | excerpt start          prefix, shared by all excerpts of one explanation
    cells of the excerpt, filler in each            tail; at each cell the eleven label probabilities are read
    expected value = sum(k p_k) / sum(p_k)

Source: the all-at-once simulator of openai/automated-interpretability, which reads the 15 likeliest tokens; here the
labels' own probabilities are read, however unlikely, and the mass that fell on them is reported.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, Float64, Int64

from localexplain.engines.base import Engine, EngineTokenizer, LabelReply, LabelRequest, Message
from localexplain.engines.labels import LabelSet, choose_labels
from localexplain.prompts import (
    ExampleNeuron,
    PromptFiles,
    begin,
    first_examples,
    load_prompt,
    shown_explanation,
    use_chat,
)
from localexplain.simulate.base import SimulateConfig, no_tokens_reply, simulator_identity, together, too_long_reply
from localexplain.simulate.cells import CellFormat, CellWriter, InlineWriter, cell_text
from localexplain.types import Identity, Mode, SimulateReply, SimulateTask

TASK = "simulate-expected"
PLAIN_LABELS = "digits"  # the label set that needs no legend


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """An excerpt in a prompt: tokens [T] and the activation told for each [T], None where the filler stands."""

    tokens: tuple[str, ...]
    levels: tuple[int | None, ...]


# the prompt ----------------------------------------------------------------------------------------------------------


def cell_format(prompt: PromptFiles) -> CellFormat:
    return CellFormat(separator=prompt.setting("separator"), filler=prompt.setting("filler"), end=prompt.setting("end"))


def is_inline(prompt: PromptFiles) -> bool:
    """Whether excerpts are running text instead of a line a token."""
    return prompt.setting("cells", default="lines") == "inline"


def cell_writer(prompt: PromptFiles, tokenizer: EngineTokenizer, labels: LabelSet) -> CellWriter | InlineWriter:
    if is_inline(prompt):
        return InlineWriter(tokenizer.encode_starts)
    return CellWriter(tokenizer.encode, cell_format(prompt), labels.ids)


def legend(labels: LabelSet) -> str:
    """The scale in words where the labels are not the numbers themselves: "a = 0, b = 1, ..."; else ""."""
    if labels.name == PLAIN_LABELS:
        return ""
    return ", ".join(f"{text.strip()} = {level}" for level, text in enumerate(labels.texts))


def prefix_parts(
    prompt: PromptFiles, examples: Sequence[ExampleNeuron], explanation: str, labels: LabelSet
) -> tuple[str | Table, ...]:
    """What stands before an excerpt's cells: the instruction, the examples, the explanation and nothing after it."""
    start, end = prompt.setting("excerpt_start"), prompt.setting("excerpt_end")
    instruction = prompt.render("instruction.j2", legend=legend(labels), filler=prompt.setting("filler"))
    parts: list[str | Table] = [f"{instruction}\n\n"] if instruction else []
    for number, neuron in enumerate(examples, start=1):
        parts.append(show_header(prompt, number, neuron.explanation))
        for excerpt in neuron.excerpts:
            levels = (None,) * excerpt.told_from + excerpt.activations[excerpt.told_from :]
            parts += [start, Table(tokens=excerpt.tokens, levels=levels), end]
        parts.append("\n")
    return (*parts, show_header(prompt, len(examples) + 1, explanation))


def show_header(prompt: PromptFiles, number: int, explanation: str) -> str:
    return prompt.render("neuron.j2", number=number, explanation=shown_explanation(prompt, explanation)) + "\n"


def join_text(parts: Iterable[str | Table]) -> list[str | Table]:
    """The same parts, with texts that stand together joined: a text is tokenised in one piece."""
    joined: list[str | Table] = []
    for part in parts:
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] = joined[-1] + part
        else:
            joined.append(part)
    return joined


# reading -------------------------------------------------------------------------------------------------------------


def expected_values(logprobs: Float32[np.ndarray, "T labels"]) -> Float64[np.ndarray, " T"]:
    """sum(k p_k) / sum(p_k) for each row, in [0, labels - 1]; NaN where no label has any probability.

    Worked by hand: p = (.1, .3) on the labels 0 and 10 and 0 on the others gives (0 * .1 + 10 * .3) / .4 = 7.5.
    """
    values = logprobs.astype(np.float64)
    highest = values.max(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):  # -inf - -inf where no label has any probability: the NaN that is promised
        weights = np.exp(values - highest)
    return np.asarray(weights @ np.arange(weights.shape[1]) / weights.sum(axis=1), dtype=np.float64)


def label_mass(logprobs: Float32[np.ndarray, "T labels"]) -> float:
    """The lowest probability, over the rows, that fell on the labels together, in [0, 1]."""
    return float(min(np.exp(logprobs.astype(np.float64)).sum(axis=1).min(), 1.0))


def read_reply(answer: LabelReply, labels: LabelSet) -> SimulateReply:
    if answer.error is not None or answer.logprobs is None:
        error = answer.error or "the engine gave no probabilities"
        return SimulateReply(expected=None, error=error, label_set=labels.name, counts=answer.counts)
    expected = expected_values(answer.logprobs)
    if not np.isfinite(expected).all():
        error = f"no probability on any label at {np.count_nonzero(~np.isfinite(expected))} of {len(expected)} tokens"
        return SimulateReply(expected=None, error=error, label_set=labels.name, counts=answer.counts)
    return SimulateReply(
        expected=expected.astype(np.float32),
        label_mass=label_mass(answer.logprobs),
        label_set=labels.name,
        counts=answer.counts,
    )


def for_tokens(reply: SimulateReply, places: Int64[np.ndarray, " T"]) -> SimulateReply:
    """A reply about positions as one about tokens; `places` [T]: which position belongs to each token."""
    return reply if reply.expected is None else replace(reply, expected=reply.expected[places])


# the simulator -------------------------------------------------------------------------------------------------------


class ExpectedSimulator:
    """Simulates with the language model behind `engine`, which it closes when it is closed.

    Raises ConfigError: no chat template where one is demanded, more few-shot examples asked for than there are;
    EngineError: no eleven labels in the vocabulary.
    """

    def __init__(self, engine: Engine, config: SimulateConfig) -> None:
        tokenizer = engine.tokenizer
        self._engine = engine
        self._prompt = load_prompt(TASK, config.prompt_version)
        self._examples = first_examples(self._prompt, config.few_shot)
        self._chat = use_chat(config.chat, has_chat_template=tokenizer.has_chat_template)
        self._format = cell_format(self._prompt)
        self._has_instruction = bool(self._prompt.files.get("instruction.j2", "").strip())
        self._labels = choose_labels(tokenizer.encode, tokenizer.decode, self._format.separator)
        self._writer = cell_writer(self._prompt, tokenizer, self._labels)

    @property
    def identity(self) -> Identity:
        own = {
            "mode": self.mode,
            "prompt": self._prompt.identity,
            "few_shot": str(len(self._examples)),
            "chat": "yes" if self._chat else "no",
            "labels": self._labels.name,
        }
        return simulator_identity(self._engine.identity, own)

    @property
    def mode(self) -> Mode:
        return "expected"

    def simulate(self, tasks: Sequence[SimulateTask]) -> list[SimulateReply]:
        replies: dict[int, SimulateReply] = {}
        requests: dict[int, LabelRequest] = {}
        places: dict[int, Int64[np.ndarray, " T"]] = {}
        prefixes: dict[tuple[str, int], tuple[int, ...]] = {}
        for place in together([task.explanation for task in tasks]):
            if not tasks[place].tokens:
                replies[place] = no_tokens_reply()
            elif fitted := self._fit(tasks[place], prefixes):
                requests[place], places[place] = fitted
            else:
                replies[place] = too_long_reply(self._engine.context_tokens)
        answers = self._engine.label_logprobs(list(requests.values())) if requests else []
        for place, answer in zip(requests, answers, strict=True):
            replies[place] = for_tokens(read_reply(answer, self._labels), places[place])
        return [replies[place] for place in range(len(tasks))]

    def close(self) -> None:
        self._engine.close()

    def _fit(
        self, task: SimulateTask, prefixes: dict[tuple[str, int], tuple[int, ...]]
    ) -> tuple[LabelRequest, Int64[np.ndarray, " T"]] | None:
        """The request with as many examples as the context has room for, of this task alone, so that what it is
        simulated with does not hang on its company, and which of its positions belongs to each token; None where it
        has not even room for none."""
        cells = self._writer.write(task.tokens, [None] * len(task.tokens))
        positions, places = np.unique(cells.positions, return_inverse=True)
        for few_shot in range(len(self._examples), -1, -1):
            key = (task.explanation, few_shot)
            if key not in prefixes:
                prefixes[key] = self._prefix(task.explanation, few_shot)
            prefix = prefixes[key]
            if len(prefix) + len(cells.token_ids) + 1 <= self._engine.context_tokens:  # 1: engines may write a token
                request = LabelRequest(
                    prefix=prefix,
                    tail=cells.token_ids,
                    positions=tuple(positions.tolist()),
                    label_ids=self._labels.ids,
                )
                return request, places.astype(np.int64)
        return None

    def _prefix(self, explanation: str, few_shot: int) -> tuple[int, ...]:
        parts = prefix_parts(self._prompt, self._examples[:few_shot], explanation, self._labels)
        start = self._prompt.setting("excerpt_start")
        return self._chat_prefix(parts, few_shot, start) if self._chat else self._plain_prefix([*parts, start])

    def _plain_prefix(self, parts: Sequence[str | Table]) -> tuple[int, ...]:
        token_ids: list[int] = []
        for part in join_text(parts):
            if isinstance(part, str):
                token_ids += self._engine.tokenizer.encode(part)
            else:
                token_ids += self._writer.write(part.tokens, part.levels).token_ids
        return begin(self._engine.tokenizer.bos_id, token_ids)

    def _chat_prefix(self, parts: Sequence[str | Table], few_shot: int, start: str) -> tuple[int, ...]:
        said = (
            part if isinstance(part, str) else cell_text(part.tokens, part.levels, self._format, self._labels.texts)
            for part in parts
        )
        shown = list(said)
        instruction = shown.pop(0) if self._has_instruction else ""
        request = self._prompt.render("request.j2", number=few_shot + 1)
        system = [Message(role="system", content=instruction.strip())] if instruction else []
        messages = [
            *system,
            Message(role="user", content=f"{''.join(shown)}\n{request}"),
        ]
        return self._engine.tokenizer.render_chat(messages, start)
