"""What every explainer is: something that turns a unit's train records into a sentence."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from localexplain.types import ExplainReply, ExplainTask, Identity


@runtime_checkable  # the shape checker of the tests asks isinstance
class Explainer(Protocol):
    @property
    def identity(self) -> Identity:
        """All that determines an explanation besides the task: part of its key."""
        ...

    def explain(self, tasks: Sequence[ExplainTask]) -> list[ExplainReply]:
        """One reply for each task, in order. A task that fails alone is a reply with `error`.

        Raises ValueError for a task with a record of another split than train: explaining from what is scored on
        would be cheating, so it is our bug wherever it happens.
        """
        ...

    def close(self) -> None:
        """Frees what the explainer holds; it cannot be used afterwards."""
        ...
