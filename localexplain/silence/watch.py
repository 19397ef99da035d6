"""Who tried: every Python process that a command starts notes it, and the notes read as records.

A folder at the head of PYTHONPATH holds a `sitecustomize`, which Python runs at the start of each process: children of
any kind inherit the variable (multiprocessing by spawn, fork and forkserver, vLLM's engine core and workers). A process
started with `-S`, `-E` or `-I`, or with another PYTHONPATH, is not watched; the kernel counts its tries all the same.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localexplain.silence import hook

HOOK_MODULE = "localexplain_watch_hook"
SITECUSTOMIZE = """\
import {module}

{module}.install({log!r})
{module}.run_other_sitecustomize({folder!r})
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One call of Python's that wants to reach something.

    event      Python's name of the audit event, for instance socket.connect
    target     address and port, name, or URL
    beyond     True: surely another machine; False: it depends, and only the kernel's count says so (see hook.py)
    libraries  those on the stack, the one that made the call first
    stack      lines of their code, innermost first
    command    command line of the process
    """

    event: str
    target: str
    beyond: bool
    libraries: tuple[str, ...]
    stack: tuple[str, ...]
    pid: int
    command: tuple[str, ...]


def write_watch(folder: Path, log: Path) -> None:
    """Makes the folder that `watched_environment` needs; the notes will be in `log`."""
    folder.mkdir(parents=True)
    shutil.copyfile(hook.__file__, folder / f"{HOOK_MODULE}.py")
    text = SITECUSTOMIZE.format(module=HOOK_MODULE, log=str(log), folder=str(folder))
    (folder / "sitecustomize.py").write_text(text, encoding="utf-8")


def watched_environment(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """The environment in which every Python process is watched by the hook in `folder`."""
    paths = [str(folder), *filter(None, [environment.get("PYTHONPATH")])]
    return {**environment, "PYTHONPATH": os.pathsep.join(paths)}


def read_events(log: Path) -> list[Event]:
    """The notes, in the order they were written; none where nobody wrote any."""
    if not log.is_file():
        return []
    found = []
    for line in log.read_text(encoding="utf-8").splitlines():
        values: dict[str, Any] = json.loads(line)
        lists = {name: tuple(values[name]) for name in ("libraries", "stack", "command")}
        found.append(Event(**(values | lists)))
    return found
