"""What every simulator is: something that predicts a unit's activations from an explanation alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from localexplain.errors import ConfigError
from localexplain.prompts import AUTO, ChatChoice
from localexplain.types import Identity, Mode, SimulateReply, SimulateTask

SimulateMode = Literal["expected", "grid", "rule"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulateConfig:
    """How explanations are simulated.

    mode            "expected": the expected value of the label probabilities a language model gives to each token;
                    "grid": the numbers it writes; "rule": a token listed in the explanation is active, others are
                    not. Scores of two modes are never comparable.
    prompt_version  folder below prompts/simulate-expected or prompts/simulate-grid; "auto" is the one that the model's
                    card names, with its number of examples, and v1 where it names none
    few_shot        example neurons shown before the one to simulate; fewer where the context is short
    chat            "auto": through the model's chat template where it has one; "always", "never"
    """

    mode: SimulateMode = "expected"
    prompt_version: str = AUTO
    few_shot: int = 3
    chat: ChatChoice = "auto"

    def __post_init__(self) -> None:
        if self.few_shot < 0:
            raise ConfigError(f"simulate.prompt.few_shot = {self.few_shot}: must not be negative")


@runtime_checkable  # the shape checker of the tests asks isinstance
class Simulator(Protocol):
    @property
    def identity(self) -> Identity:
        """All that determines a simulation besides the task: part of its key."""
        ...

    @property
    def mode(self) -> Mode: ...

    def simulate(self, tasks: Sequence[SimulateTask]) -> list[SimulateReply]:
        """One reply for each task, in order. A task that fails alone is a reply with `error`."""
        ...

    def close(self) -> None:
        """Frees what the simulator holds; it cannot be used afterwards."""
        ...


def simulator_identity(engine: Identity, own: dict[str, str]) -> Identity:
    """The engine's identity with the simulator's settings among its details."""
    details = ((f"simulate.{key}", value) for key, value in own.items())
    return Identity(kind=engine.kind, name=engine.name, details=tuple(sorted((*engine.details, *details))))


def together(explanations: Sequence[str]) -> list[int]:
    """The indices of all tasks, those of one explanation side by side, explanations in the order of their first.

    >>> together(["a", "b", "a"])
    [0, 2, 1]
    """
    places: dict[str, list[int]] = {}
    for place, explanation in enumerate(explanations):
        places.setdefault(explanation, []).append(place)
    return [place for group in places.values() for place in group]


def no_tokens_reply() -> SimulateReply:
    return SimulateReply(expected=None, error="the excerpt has no tokens")


def too_long_reply(context_tokens: int) -> SimulateReply:
    return SimulateReply(
        expected=None, error=f"the prompt is longer than the model's context of {context_tokens} tokens"
    )
