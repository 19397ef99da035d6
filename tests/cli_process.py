"""The command line in processes of its own: for exit codes, signals, limits, and folders that are left half done.

A process is forked from a server that has the model libraries imported, which saves the four seconds that importing
them takes; apart from that it is a new process that runs `cli.main` on its own arguments.
"""

import multiprocessing
import os
import pty
import random
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pyarrow as pa

from localexplain.store.store import open_for_reading, query_rows

PRELOADED = ["localexplain.cli", "localexplain.pipeline.main", "localexplain.subject.capture", "tests.cli_process"]
LONGEST_SECONDS = 120
WORDS = (
    "the a of river boat rain stone bread morning wheel letter judge garden storm piano winter engine ticket corner "
    "window salt paper doctor lantern field orchard harbour market needle thread copper pigeon ladder"
)


# what runs ------------------------------------------------------------------------------------------------------------


def write_texts(folder: Path, n_files: int = 2, lines: int = 60) -> Path:
    """A folder of .txt files of random words, always the same ones."""
    folder.mkdir(parents=True)
    for number in range(n_files):
        draw = random.Random(number)
        rows = [" ".join(draw.choice(WORDS.split()) for _ in range(12)) + ".\n" for _ in range(lines)]
        (folder / f"{number}.txt").write_text("".join(rows), encoding="utf-8")
    return folder


def read_tables(folder: Path) -> dict[str, pa.Table]:
    """Every table of a run, its rows in order, but for `runs`, whose times are never the same twice; and the check for
    faults, which must find none."""
    with open_for_reading(folder) as store:
        assert store.check() == []
        names = query_rows(store, "SELECT table_name FROM duckdb_tables() ORDER BY ALL").column(0).to_pylist()
        return {name: query_rows(store, f"SELECT * FROM {name} ORDER BY ALL") for name in names if name != "runs"}


def differing_tables(left: Path, right: Path) -> list[str]:
    """Names of the tables in which two runs differ."""
    mine, other = read_tables(left), read_tables(right)
    assert mine.keys() == other.keys()
    return [name for name in mine if mine[name] != other[name]]


# how it runs ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """exit_code  as a shell has it; minus the signal's number where one killed the process"""

    exit_code: int
    stdout: str
    stderr: str


def run_main(arguments: list[str], stdout: str, stderr: str, file_bytes: int | None) -> None:
    """Inside the new process: `localexplain ARGUMENTS`, its output to files, those no longer than `file_bytes`."""
    for path, number in ((stdout, 1), (stderr, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOCTTY, 0o600), number)
    os.environ["TERM"] = "xterm"
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started the tests may have it ignored
    if file_bytes is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, resource.RLIM_INFINITY))
    from localexplain.cli import main

    sys.exit(main(arguments))


class CliProcess:
    """A running `localexplain`. Standard error is a terminal where `on_terminal` says so; else it is a file.

    seen  what has come on the terminal so far
    """

    def __init__(
        self, arguments: Sequence[object], scratch: Path, *, file_bytes: int | None = None, on_terminal: bool = False
    ) -> None:
        self.seen = ""
        self._stdout, self._stderr = scratch / "stdout", scratch / "stderr"
        for path in (self._stdout, self._stderr):
            path.unlink(missing_ok=True)
        self._reader: threading.Thread | None = None
        stderr = str(self._stderr)
        if on_terminal:
            self._ours, self._theirs = pty.openpty()
            stderr = os.ttyname(self._theirs)
            self._reader = threading.Thread(target=self._read_terminal, daemon=True)
            self._reader.start()
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        texts = [str(argument) for argument in arguments]
        self._process: ForkServerProcess = context.Process(
            target=run_main, args=(texts, str(self._stdout), stderr, file_bytes)
        )
        self._process.start()

    def _read_terminal(self) -> None:
        while True:
            try:
                found = os.read(self._ours, 4096)
            except OSError:  # the terminal is closed
                return
            self.seen += found.decode("utf-8", "replace")

    @property
    def has_begun(self) -> bool:
        """Whether the new process is there, so that a signal reaches `localexplain` and not what starts it."""
        return self._stdout.exists()

    def is_running(self) -> bool:
        return self._process.is_alive()

    def wait_for(self, holds: Callable[[], bool]) -> bool:
        """Waits until `holds`, or the process has ended; returns whether it is still running."""
        end = time.monotonic() + LONGEST_SECONDS
        while not holds() and self.is_running():
            assert time.monotonic() < end, f"waited in vain; on the terminal: {self.seen!r}"
            time.sleep(0.002)
        return self.is_running()

    def send(self, number: signal.Signals) -> None:
        """Sends a signal; nothing where the process has ended."""
        if self.is_running():
            assert self._process.pid is not None
            os.kill(self._process.pid, number)

    def end(self) -> Ended:
        """Waits for the end."""
        self._process.join(LONGEST_SECONDS)
        assert self._process.exitcode is not None, "it does not end"
        if self._reader is not None:
            os.close(self._theirs)
            self._reader.join(LONGEST_SECONDS)
            os.close(self._ours)
        stderr = self.seen if self._reader is not None else self._stderr.read_text(encoding="utf-8")
        stdout = self._stdout.read_text(encoding="utf-8")
        return Ended(exit_code=self._process.exitcode, stdout=stdout, stderr=stderr)


def run_cli(*arguments: object, scratch: Path, file_bytes: int | None = None) -> Ended:
    """`localexplain ARGUMENTS`, to its end."""
    return CliProcess(arguments, scratch, file_bytes=file_bytes).end()
