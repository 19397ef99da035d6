"""What long work tells whoever watches, and how they stop it. The pipeline knows only this; cli.py draws the bars."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Protocol, runtime_checkable

from localexplain.errors import UserError


class Interrupted(UserError):
    """Ctrl-C: what was begun is finished and stored, the rest is left for the next call."""


@runtime_checkable
class Watcher(Protocol):
    """Told of each stage's length and advance."""

    def begin(self, name: str, total: int | None, unit: str) -> None:
        """`name` of the stage, `total` items of kind `unit`; None where nobody knows beforehand."""
        ...

    def advance(self, items: int) -> None: ...

    def end(self) -> None: ...


class Silent:
    """A watcher that does nothing: the default."""

    def begin(self, name: str, total: int | None, unit: str) -> None:
        """Nothing."""

    def advance(self, items: int) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""


class StopRequest:
    """Set by the first Ctrl-C and looked at after every chunk; a second Ctrl-C ends the process at once."""

    def __init__(self) -> None:
        self.requested = False

    def check(self) -> None:
        """Raises Interrupted if a stop was asked for; called when everything done so far is stored."""
        if self.requested:
            raise Interrupted("stopped; all finished chunks are stored: run the same command again to go on from there")

    @contextmanager
    def listening(self) -> Iterator["StopRequest"]:
        """Takes over Ctrl-C inside the block."""

        def on_signal(number: int, frame: FrameType | None) -> None:
            if self.requested:
                raise KeyboardInterrupt
            self.requested = True

        before = signal.signal(signal.SIGINT, on_signal)
        try:
            yield self
        finally:
            signal.signal(signal.SIGINT, before)
