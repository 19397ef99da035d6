"""Runs a command watched and without a network, and says what tried to get out."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from localexplain.resources import INSTALLED_FOLDER, PACKAGE
from localexplain.silence.counters import Attempts
from localexplain.silence.namespace import Refused
from localexplain.silence.watch import Event, read_events, watched_environment, write_watch

# A proxy on loopback would be a way out that looks like staying inside.
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY")
COMPILED = "compiled code"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a watched command did.

    exit_code  minus the number of the signal where one killed it
    tried      what the kernel counted; None where it ran without a namespace
    n_killed   processes that it left behind, and that had to be killed
    events     what Python processes noted, see watch.Event
    """

    exit_code: int
    stdout: str
    stderr: str
    tried: Attempts | None
    n_killed: int
    events: tuple[Event, ...]


def guarded_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Without proxies, and with this package to be found where it runs from a checkout that is not installed."""
    found = {name: value for name, value in environment.items() if name.upper() not in PROXIES}
    if not (PACKAGE / INSTALLED_FOLDER).is_dir():
        paths = [*filter(None, [found.get("PYTHONPATH")]), str(PACKAGE.parent)]
        found["PYTHONPATH"] = os.pathsep.join(paths)
    return found


def run_to_end(command: Sequence[str], folder: Path, environment: Mapping[str, str], seconds: float) -> tuple[int, str]:
    """Exit code and standard error; standard output goes to a file in `folder`.

    Raises TimeoutExpired; then, as after Ctrl-C, all that the command started is killed.
    """
    with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env=dict(environment),
            cwd=folder,  # `python -m` looks for modules where it is started
            start_new_session=True,
        )
        try:
            exit_code = process.wait(seconds)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
    return exit_code, (folder / "stderr").read_text(encoding="utf-8", errors="replace")


def run_guarded(
    command: Sequence[str], environment: Mapping[str, str], *, isolated: bool = True, seconds: float = 600
) -> Outcome:
    """Runs the command to its end, and that of all it started.

    isolated  in a network of its own; without, only Python's calls are seen and nothing is stopped

    Raises Refused where the system gives no such network, subprocess.TimeoutExpired after `seconds`.
    """
    with tempfile.TemporaryDirectory(prefix="localexplain-") as scratch:
        folder = Path(scratch)
        report, log = folder / "report.json", folder / "events.jsonl"
        write_watch(folder / "watch", log)
        watched = watched_environment(guarded_environment(environment), folder / "watch")
        launcher = [sys.executable, "-m", "localexplain.silence.namespace", "--report", str(report), "--"]
        exit_code, stderr = run_to_end([*(launcher if isolated else []), *command], folder, watched, seconds)
        tried, n_killed = None, 0
        if isolated:
            counted = json.loads(report.read_text(encoding="utf-8"))
            if "refused" in counted:
                raise Refused(counted["refused"])
            exit_code, n_killed, tried = counted["exit_code"], counted["n_killed"], Attempts(**counted["tried"])
        return Outcome(
            exit_code=exit_code,
            stdout=(folder / "stdout").read_text(encoding="utf-8", errors="replace"),
            stderr=stderr,
            tried=tried,
            n_killed=n_killed,
            events=tuple(read_events(log)),
        )


def describe_event(event: Event) -> str:
    """Who and what, in one line.

    >>> describe_event(Event(event="socket.connect", target="192.0.2.1 port 80", beyond=True, pid=1, command=(),
    ...                      libraries=("urllib3", "requests", "vllm"), stack=()))
    'urllib3, called by requests, called by vllm: socket.connect 192.0.2.1 port 80'
    """
    who = ", called by ".join(event.libraries) or "the program itself"
    return f"{who}: {event.event} {event.target}"


def find_attempts(outcome: Outcome) -> list[str]:
    """Every way out that was tried, each once: by the library that Python names, else by compiled code, with the
    kernel's count. Empty: nothing tried."""
    counted = outcome.tried is not None and (outcome.tried.beyond > 0 or outcome.tried.unanswered > 0)
    named = [describe_event(event) for event in outcome.events if event.beyond or counted]
    if counted and not named:
        assert outcome.tried is not None
        named = [
            f"{COMPILED}, which Python cannot name: {outcome.tried.beyond} packets to other machines, "
            f"{outcome.tried.unanswered} to ports of this one that nobody serves"
        ]
    return list(dict.fromkeys(named))
