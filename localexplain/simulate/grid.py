"""Simulation by a written grid: the model lists one number for each token, held to that form by a pattern.

The pattern depends on the excerpt's length alone: an engine compiles it once for all excerpts, and whatever the model
believes, what it writes has one number in 0..10 for each token, or was cut off by its token limit.
"""

import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

from localexplain.engines.base import Engine, GenerateReply, GenerateRequest, Message, Sampling
from localexplain.prompts import (
    ExampleNeuron,
    PromptFiles,
    begin,
    first_examples,
    load_prompt,
    show_token,
    shown_explanation,
    use_chat,
)
from localexplain.simulate.base import SimulateConfig, no_tokens_reply, simulator_identity, together, too_long_reply
from localexplain.types import Identity, Mode, SimulateReply, SimulateTask

TASK = "simulate-grid"
NUMBER = "(10|[0-9])"  # never \d: in Outlines it also matches the digits of other scripts
TOKENS_PER_CELL = 3  # "10," where every character is a token of its own
TOKENS_PER_NUMBERED_CELL = 9  # " 1024:10" likewise
SPARE_TOKENS = 8


# the grid ------------------------------------------------------------------------------------------------------------


def grid_pattern(n_tokens: int, *, numbered: bool = False) -> str:
    """The regular expression of `n_tokens` >= 1 numbers 0..10 with commas between them; numbered, " 1:0 2:10 3:7"."""
    if numbered:
        return "".join(f" {place}:{NUMBER}" for place in range(1, n_tokens + 1))
    return NUMBER if n_tokens == 1 else f"{NUMBER}(,{NUMBER}){{{n_tokens - 1}}}"


def grid_max_tokens(n_tokens: int, *, numbered: bool = False) -> int:
    return (TOKENS_PER_NUMBERED_CELL if numbered else TOKENS_PER_CELL) * n_tokens + SPARE_TOKENS


def parse_grid(text: str, n_tokens: int, *, numbered: bool = False) -> Float32[np.ndarray, " T"] | None:
    """The numbers of a grid [n_tokens] in 0..10, or None where `text` is not exactly such a grid.

    >>> parse_grid("0,10,3", 3), parse_grid("075", 3), parse_grid(" 1:0 2:10", 2, numbered=True)
    (array([ 0., 10.,  3.], dtype=float32), None, array([ 0., 10.], dtype=float32))
    """
    if not re.fullmatch(grid_pattern(n_tokens, numbered=numbered), text):
        return None
    cells = [cell.partition(":")[2] for cell in text.split()] if numbered else text.split(",")
    return np.array([int(number) for number in cells], dtype=np.float32)


def read_reply(answer: GenerateReply, n_tokens: int, *, numbered: bool = False) -> SimulateReply:
    if answer.error is not None:
        return SimulateReply(expected=None, error=answer.error, counts=answer.counts)
    expected = parse_grid(answer.text, n_tokens, numbered=numbered)
    if expected is not None:
        return SimulateReply(expected=expected, counts=answer.counts)
    if answer.finish == "length":
        most = grid_max_tokens(n_tokens, numbered=numbered)
        error = f"cut off by max_tokens = {most} before all {n_tokens} numbers were written"
    else:
        error = f"not a grid of {n_tokens} numbers: {answer.text[:80]!r}"
    return SimulateReply(expected=None, error=error, counts=answer.counts)


# the prompt ----------------------------------------------------------------------------------------------------------


def show_question(prompt: PromptFiles, number: int, explanation: str, tokens: Sequence[str]) -> str:
    shown = [show_token(token) for token in tokens]
    return prompt.render("neuron.j2", number=number, explanation=shown_explanation(prompt, explanation), tokens=shown)


def example_turns(prompt: PromptFiles, examples: Sequence[ExampleNeuron]) -> tuple[tuple[str, str], ...]:
    """(question, grid) for each excerpt of each example."""
    return tuple(
        (
            show_question(prompt, number, neuron.explanation, excerpt.tokens),
            ",".join(str(level) for level in excerpt.activations),
        )
        for number, neuron in enumerate(examples, start=1)
        for excerpt in neuron.excerpts
    )


def as_messages(prompt: PromptFiles, examples: Sequence[ExampleNeuron], question: str) -> tuple[Message, ...]:
    """A chat whose next turn, the assistant's, is the grid alone."""
    messages = [Message(role="system", content=prompt.render("instruction.j2"))]
    for asked, grid in example_turns(prompt, examples):
        messages += [Message(role="user", content=asked), Message(role="assistant", content=grid)]
    return (*messages, Message(role="user", content=question))


def as_text(prompt: PromptFiles, examples: Sequence[ExampleNeuron], question: str) -> str:
    """The same as plain text, up to where the grid begins."""
    answer_start = prompt.setting("answer_start")
    turns = [f"{asked}\n{answer_start}{grid}" for asked, grid in example_turns(prompt, examples)]
    parts = [prompt.render("instruction.j2"), *turns, f"{question}\n{answer_start}"]
    return "\n\n".join(part for part in parts if part)


# the simulator -------------------------------------------------------------------------------------------------------


class GridSimulator:
    """Simulates with the language model behind `engine`, which it closes when it is closed; greedy, so the same
    prompt gives the same grid.

    Raises ConfigError: no chat template where one is demanded, more few-shot examples asked for than there are.
    """

    def __init__(self, engine: Engine, config: SimulateConfig) -> None:
        self._engine = engine
        self._prompt = load_prompt(TASK, config.prompt_version)
        self._examples = first_examples(self._prompt, config.few_shot)
        self._chat = use_chat(config.chat, has_chat_template=engine.tokenizer.has_chat_template)
        self._numbered = self._prompt.setting("grid", default="plain") == "numbered"

    @property
    def identity(self) -> Identity:
        own = {
            "mode": self.mode,
            "prompt": self._prompt.identity,
            "few_shot": str(len(self._examples)),
            "chat": "yes" if self._chat else "no",
            "labels": "",
        }
        return simulator_identity(self._engine.identity, own)

    @property
    def mode(self) -> Mode:
        return "grid"

    def simulate(self, tasks: Sequence[SimulateTask]) -> list[SimulateReply]:
        replies: dict[int, SimulateReply] = {}
        requests: dict[int, GenerateRequest] = {}
        for place in together([task.explanation for task in tasks]):
            if not tasks[place].tokens:
                replies[place] = no_tokens_reply()
            elif request := self._fit(tasks[place]):
                requests[place] = request
            else:
                replies[place] = too_long_reply(self._engine.context_tokens)
        answers = self._engine.generate(list(requests.values())) if requests else []
        for place, answer in zip(requests, answers, strict=True):
            replies[place] = read_reply(answer, len(tasks[place].tokens), numbered=self._numbered)
        return [replies[place] for place in range(len(tasks))]

    def close(self) -> None:
        self._engine.close()

    def _fit(self, task: SimulateTask) -> GenerateRequest | None:
        """The request with as many examples as the context has room for; None where it has not even room for none."""
        max_tokens = grid_max_tokens(len(task.tokens), numbered=self._numbered)
        for few_shot in range(len(self._examples), -1, -1):
            token_ids = self._token_ids(task, few_shot)
            if len(token_ids) + max_tokens <= self._engine.context_tokens:
                return GenerateRequest(
                    token_ids=token_ids,
                    sampling=Sampling(max_tokens=max_tokens),
                    pattern=grid_pattern(len(task.tokens), numbered=self._numbered),
                )
        return None

    def _token_ids(self, task: SimulateTask, few_shot: int) -> tuple[int, ...]:
        tokenizer = self._engine.tokenizer
        examples = self._examples[:few_shot]
        question = show_question(self._prompt, few_shot + 1, task.explanation, task.tokens)
        if self._chat:
            return tokenizer.render_chat(as_messages(self._prompt, examples, question))
        return begin(tokenizer.bos_id, tokenizer.encode(as_text(self._prompt, examples, question)))
