"""Where commands print: results on standard output, progress and notes on standard error."""

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from localexplain.progress import Watcher


def make_watcher() -> "Watcher":
    """Bars with rate and time left on standard error; nothing where that is no terminal."""
    from localexplain.progress import Silent

    if not sys.stderr.isatty():
        return Silent()
    from localexplain.report.bars import Bars

    return Bars()


def make_console() -> "Console":
    """Standard output; where its reader is gone it says so like a plain print, and not by exiting with our fault."""
    from rich.console import Console

    class Output(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return Output()


def print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, default=str))


def say(line: str) -> None:
    """Progress of what has no bar."""
    print(line, file=sys.stderr, flush=True)
