"""Train records to the prompt of a language model that explains. Pure.

    records ──show_records──> ShownExcerpts ──explain_prompt──> ExplainPrompt ──as_messages, as_text──> chat, plain

Records of any other split than train are refused: an explanation may not see what it is scored on.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from localexplain.engines.base import Message
from localexplain.explain.answers import answer_slots
from localexplain.explain.normalise import active_fraction, highest_activation, normalise
from localexplain.explain.windows import Window, active_words, cut_windows
from localexplain.prompts import ExampleNeuron, PromptFiles, show_token
from localexplain.types import ExplainTask, Record

ANSWER_FILE = "answer.j2"
SPARSE_FRACTION = 0.2  # below it the active tokens are repeated. Source: Bills et al. 2023


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownExcerpt:
    """What a prompt shows of a record: subject tokens [T] and levels [T] in 0..10."""

    tokens: tuple[str, ...]
    levels: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainPrompt:
    """The parts of one prompt, rendered.

    opening   the words the assistant's turn begins with
    turns     (what is shown, what is answered) for each few-shot neuron
    question  what is shown of the neuron to explain
    """

    instruction: str
    opening: str
    turns: tuple[tuple[str, str], ...]
    question: str


# what may be shown ---------------------------------------------------------------------------------------------------


def check_records(task: ExplainTask) -> None:
    """Raises ValueError unless the task has records and all are the unit's own train records."""
    if not task.records:
        raise ValueError(f"{task.unit}: nothing to explain it from")
    for record in task.records:
        if record.split != "train":
            raise ValueError(f"{task.unit}: excerpt {record.excerpt_id} is of the split {record.split}, not train")
        if record.unit != task.unit:
            raise ValueError(f"{task.unit}: excerpt {record.excerpt_id} is a record of {record.unit}")


def show_records(records: Sequence[Record]) -> tuple[ShownExcerpt, ...]:
    """The records with their activations normalised by the highest among them all."""
    maximum = highest_activation(records)
    return tuple(
        ShownExcerpt(tokens=record.tokens, levels=normalise(record.activations, maximum)) for record in records
    )


def repeated_pairs(excerpts: Sequence[ShownExcerpt]) -> tuple[tuple[str, int], ...]:
    """The (token, level) pairs that are active, in the order of the text, where fewer than 20 % are; else none."""
    if active_fraction([excerpt.levels for excerpt in excerpts]) >= SPARSE_FRACTION:
        return ()
    return tuple(
        (token, level)
        for excerpt in excerpts
        for token, level in zip(excerpt.tokens, excerpt.levels, strict=True)
        if level
    )


# rendering -----------------------------------------------------------------------------------------------------------


def prompt_windows(prompt: PromptFiles, excerpts: Sequence[ShownExcerpt]) -> list[Window]:
    """The runs around the most active tokens, where the prompt's settings ask for them."""
    most = int(prompt.setting("windows", default="0"))
    if not most:
        return []
    before, after, lowest = (int(prompt.setting(f"window_{name}")) for name in ("before", "after", "lowest"))
    return [
        window
        for excerpt in excerpts
        for window in cut_windows(excerpt.tokens, excerpt.levels, before, after, lowest, most)
    ]


def prompt_words(prompt: PromptFiles, excerpts: Sequence[ShownExcerpt]) -> list[str]:
    """The most active runs of tokens, where the prompt's settings ask for them."""
    most = int(prompt.setting("words", default="0"))
    if not most:
        return []
    pairs = [(excerpt.tokens, excerpt.levels) for excerpt in excerpts]
    return [show_token(word) for word in active_words(pairs, int(prompt.setting("window_lowest")), most)]


def answer_pattern(prompt: PromptFiles, excerpts: Sequence[ShownExcerpt]) -> str | None:
    """The pattern that an explanation of these excerpts must match, line break at its end included; None where the
    prompt's version has none."""
    if ANSWER_FILE not in prompt.files:
        return None
    pairs = [(excerpt.tokens, excerpt.levels) for excerpt in excerpts]
    slots = answer_slots(pairs, int(prompt.setting("window_lowest")), int(prompt.setting("answer_words")))
    return prompt.render(ANSWER_FILE, slots=slots)


def show_neuron(prompt: PromptFiles, number: int, excerpts: Sequence[ShownExcerpt]) -> str:
    windows = [
        {"opens_text": window.opens_text, "pairs": [(show_token(token), level) for token, level in window.pairs]}
        for window in prompt_windows(prompt, excerpts)
    ]
    return prompt.render(
        "neuron.j2",
        number=number,
        windows=windows,
        words=prompt_words(prompt, excerpts),
        excerpts=[list(zip(map(show_token, e.tokens), e.levels, strict=True)) for e in excerpts],
        active=[(show_token(token), level) for token, level in repeated_pairs(excerpts)],
    )


def show_example(prompt: PromptFiles, number: int, neuron: ExampleNeuron) -> tuple[str, str]:
    excerpts = [ShownExcerpt(tokens=e.tokens, levels=e.activations) for e in neuron.excerpts]
    answer = f"{prompt.setting('opening')} {neuron.explanation}."
    return show_neuron(prompt, number, excerpts), answer


def explain_prompt(
    prompt: PromptFiles, examples: Sequence[ExampleNeuron], excerpts: Sequence[ShownExcerpt]
) -> ExplainPrompt:
    """The prompt for one neuron, numbered after the examples."""
    return ExplainPrompt(
        instruction=prompt.render("instruction.j2"),
        opening=prompt.setting("opening"),
        turns=tuple(show_example(prompt, number, neuron) for number, neuron in enumerate(examples, start=1)),
        question=show_neuron(prompt, len(examples) + 1, excerpts),
    )


def as_messages(prompt: ExplainPrompt) -> tuple[Message, ...]:
    """A chat whose next turn is the assistant's, to be begun with `prompt.opening`."""
    turns = [Message(role="system", content=prompt.instruction)]
    for shown, answer in prompt.turns:
        turns += [Message(role="user", content=shown), Message(role="assistant", content=answer)]
    return (*turns, Message(role="user", content=prompt.question))


def as_text(prompt: ExplainPrompt) -> str:
    """The same as plain text, up to and with the opening."""
    turns = (f"{shown}\n{answer}" for shown, answer in prompt.turns)
    parts = [prompt.instruction, *turns, f"{prompt.question}\n{prompt.opening}"]
    return "\n\n".join(part for part in parts if part)


def as_audit_text(messages: Sequence[Message], opening: str) -> str:
    """A chat as people read it, without the template's special tokens."""
    turns = [f"[{message.role}]\n{message.content}" for message in messages]
    return "\n\n".join([*turns, f"[assistant]\n{opening}"])
