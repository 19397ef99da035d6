"""Simulation by a written grid: the model writes one number for each token, held to that form by a pattern.

    plain    "0,10,3": the pattern depends on the excerpt's length alone, so an engine compiles it once for all excerpts
    echoed   "Stir0\\n the0\\n soup10\\n": the pattern spells out the tokens, so that a small model writes each number
             right where it has read the token; compiled for every excerpt, which small vocabularies make cheap

Whatever the model believes, what it writes has one number in 0..10 for each token, or was cut off by its token limit.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from localexplain.engines.base import Engine, GenerateReply, GenerateRequest, Message, Sampling
from localexplain.errors import ConfigError
from localexplain.prompts import (
    ExampleNeuron,
    PromptFiles,
    begin,
    escape_regex,
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
SPARE_TOKENS = 8
LINE_END = "\n"  # of an echoed cell: no shown token holds one


# the grid ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A reply that is asked for.

    cells       what stands before each number [T]
    end         what stands behind each number but the last
    last_end    what stands behind that one
    max_tokens  no reply of this form is longer
    """

    cells: tuple[str, ...]
    end: str
    last_end: str
    max_tokens: int

    @property
    def pattern(self) -> str:
        """Its regular expression."""
        if any(self.cells):
            return self.end.join(escape_regex(cell) + NUMBER for cell in self.cells) + self.last_end
        n = len(self.cells)
        return (NUMBER if n == 1 else f"{NUMBER}({self.end}{NUMBER}){{{n - 1}}}") + self.last_end

    def read(self, text: str) -> Float32[np.ndarray, " T"] | None:
        """The numbers [T] in 0..10, or None where `text` is not exactly of this form."""
        parts = text.removesuffix(self.last_end).split(self.end)
        if len(parts) != len(self.cells) or not re.fullmatch(self.pattern, text):
            return None
        numbers = [part.removeprefix(cell) for part, cell in zip(parts, self.cells, strict=True)]
        return np.array([int(number) for number in numbers], dtype=np.float32)


def plain_grid(tokens: Sequence[str]) -> Grid:
    """Numbers with commas between them.

    >>> grid = plain_grid(["Stir", " the", " soup"])
    >>> grid.pattern, grid.read("0,10,3"), grid.read("075")
    ('(10|[0-9])(,(10|[0-9])){2}', array([ 0., 10.,  3.], dtype=float32), None)
    """
    most = TOKENS_PER_CELL * len(tokens) + SPARE_TOKENS
    return Grid(cells=("",) * len(tokens), end=",", last_end="", max_tokens=most)


def echoed_grid(tokens: Sequence[str]) -> Grid:
    """Each token as prompts show it with its number behind it, on a line of its own.

    >>> echoed_grid([" a", ".", ""]).read(" a10\\n.0\\n3\\n")
    array([10.,  0.,  3.], dtype=float32)
    """
    cells = tuple(show_token(token) for token in tokens)
    longest = sum(len(cell.encode("utf-8")) for cell in cells)  # a token of the model is a byte at least
    most = longest + TOKENS_PER_CELL * len(cells) + SPARE_TOKENS
    return Grid(cells=cells, end=LINE_END, last_end=LINE_END, max_tokens=most)


GRIDS = {"plain": plain_grid, "echoed": echoed_grid}


def read_reply(answer: GenerateReply, grid: Grid) -> SimulateReply:
    if answer.error is not None:
        return SimulateReply(expected=None, error=answer.error, counts=answer.counts)
    expected = grid.read(answer.text)
    if expected is not None:
        return SimulateReply(expected=expected, counts=answer.counts)
    if answer.finish == "length":
        error = f"cut off by max_tokens = {grid.max_tokens} before all {len(grid.cells)} numbers were written"
    else:
        error = f"not a grid of {len(grid.cells)} numbers: {answer.text[:80]!r}"
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
        form = self._prompt.setting("grid", default="plain")
        if form not in GRIDS:
            raise ConfigError(f"prompts/{TASK}/{config.prompt_version}: grid = {form!r}; use {' or '.join(GRIDS)}")
        self._grid = GRIDS[form]

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
            replies[place] = read_reply(answer, self._grid(tasks[place].tokens))
        return [replies[place] for place in range(len(tasks))]

    def close(self) -> None:
        self._engine.close()

    def _fit(self, task: SimulateTask) -> GenerateRequest | None:
        """The request with as many examples as the context has room for; None where it has not even room for none."""
        grid = self._grid(task.tokens)
        for few_shot in range(len(self._examples), -1, -1):
            token_ids = self._token_ids(task, few_shot)
            if len(token_ids) + grid.max_tokens <= self._engine.context_tokens:
                return GenerateRequest(
                    token_ids=token_ids, sampling=Sampling(max_tokens=grid.max_tokens), pattern=grid.pattern
                )
        return None

    def _token_ids(self, task: SimulateTask, few_shot: int) -> tuple[int, ...]:
        tokenizer = self._engine.tokenizer
        examples = self._examples[:few_shot]
        question = show_question(self._prompt, few_shot + 1, task.explanation, task.tokens)
        if self._chat:
            return tokenizer.render_chat(as_messages(self._prompt, examples, question))
        return begin(tokenizer.bos_id, tokenizer.encode(as_text(self._prompt, examples, question)))
