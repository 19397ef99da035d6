"""The proof of silence: the pipeline on the tiny models, watched and without a network, after checks of the watch.

    controls  commands that do try to get out, in each way that is to be seen; one that is not seen: nothing is proven
    steps     the program's own commands, in one scratch folder; each in a network of its own, nobody beside it

What is used as in every other run: the installed libraries, the user's environment, home and caches.
"""

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from localexplain.doctor import Check
from localexplain.engines.vllm_host import installed_version
from localexplain.errors import NotSilent, UserError
from localexplain.silence.counters import Attempts
from localexplain.silence.guard import Outcome, find_attempts, run_guarded
from localexplain.silence.namespace import Refused

CLI = (sys.executable, "-m", "localexplain.cli")
MODEL = "tiny-explainer-1m"
SMALL = (
    "corpus.max_excerpts=100", "corpus.length_tokens=32", "capture.units=sample:4", "capture.stratum_excerpts=0",
    'simulate.calibrate="none"', 'simulate.controls=["empty"]',
)  # fmt: skip
HAS_IPV6 = Path("/proc/net/if_inet6").exists()
WATCH, OWN_NAME = "the watch", "own name"
ASK_OWN_NAME = (
    "import contextlib, socket\nwith contextlib.suppress(OSError): socket.gethostbyname(socket.gethostname())"
)
STEP_SECONDS = 900.0  # vLLM's start on a busy machine takes one of them
NO_VLLM = "vLLM cannot be used here"  # how the engine's own message begins

# Addresses and a name that documentation alone uses (RFC 5737, 3849, 2606).
TCP = "import socket; socket.socket().connect_ex(('192.0.2.1', 80))"
UDP = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect_ex(('192.0.2.1', 53))"  # sends nothing
IPV6 = "import socket; socket.socket(socket.AF_INET6).connect_ex(('2001:db8::1', 80))"
DNS = "import socket; socket.getaddrinfo('localexplain.invalid', 80)"
CHILD = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {UDP!r}])"
GRANDCHILD = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {CHILD!r}])"
# struct sockaddr_in of 192.0.2.1 port 80, through the C library, where Python sees nothing
COMPILED = (
    "import ctypes, socket, struct; libc = ctypes.CDLL(None); "
    "address = struct.pack('=H', socket.AF_INET) + struct.pack('>H4s8x', 80, bytes([192, 0, 2, 1])); "
    "libc.connect(libc.socket(socket.AF_INET, socket.SOCK_STREAM, 0), address, 16)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """A line of Python that tries to get out.

    counted  whether the kernel has to see it; a name may be asked of a daemon through a Unix socket
    noted    whether Python has to
    """

    name: str
    code: str
    counted: bool
    noted: bool


CONTROLS = (
    Control(name="TCP", code=TCP, counted=True, noted=True),
    Control(name="UDP", code=UDP, counted=True, noted=True),
    *((Control(name="IPv6", code=IPV6, counted=True, noted=True),) if HAS_IPV6 else ()),
    Control(name="a name asked", code=DNS, counted=False, noted=True),
    Control(name="a grandchild", code=GRANDCHILD, counted=True, noted=True),
    Control(name="compiled code", code=COMPILED, counted=True, noted=False),
)
# Without a namespace nothing stops what is tried: only what sends nothing is.
HARMLESS = tuple(replace(control, counted=False) for control in CONTROLS if control.code in (UDP, GRANDCHILD))


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A command of the program's, and what is added to the environment."""

    name: str
    command: tuple[str, ...]
    variables: Mapping[str, str]


# planning: pure -------------------------------------------------------------------------------------------------------


def plan_steps(run: Path, with_vllm: bool) -> list[Step]:
    """What is run, in this order: the later ones go on with the run folder of the first."""
    models = ("--explainer", MODEL, "--simulator", MODEL)
    small = tuple(word for setting in SMALL for word in ("--set", setting))
    here: dict[str, str] = {}
    steps = [
        ("run, no model", (*CLI, "run", str(run), *small, "--json"), here),
        ("run, expected", (*CLI, "run", str(run), *models, "--mode", "expected", "--json"), here),
        ("run, grid", (*CLI, "run", str(run), *models, "--mode", "grid", "--json"), here),
        ("show", (*CLI, "show", str(run), "--json"), here),
        ("report", (*CLI, "report", str(run), "--json"), here),
        ("view", (sys.executable, "-m", "localexplain.silence.visit", str(run)), here),
        ("eval puzzles", (*CLI, "eval", "puzzles", "--models", MODEL, "--json"), here),
    ]
    if with_vllm:  # in processes of its own, as on several GPUs
        command = (*CLI, "run", str(run), *models, "--mode", "expected", "--engine", "vllm", "--json")
        steps.append(("run, vLLM", command, {"VLLM_ENABLE_V1_MULTIPROCESSING": "1"}))
    return [Step(name=name, command=command, variables=variables) for name, command, variables in steps]


def is_seen(control: Control, outcome: Outcome) -> bool:
    counted = outcome.tried is not None and outcome.tried.beyond + outcome.tried.unanswered > 0
    noted = any(event.beyond for event in outcome.events)
    return (counted or not control.counted) and (noted or not control.noted)


def judge_watch(controls: Sequence[Control], unseen: Sequence[str], refusal: str) -> Check:
    """refusal  why there is no network namespace, "" where there is one"""
    if unseen:
        advice = "as long as these go unseen, nothing below is proven"
        return Check(name=WATCH, value=f"does not see: {', '.join(unseen)}", ok=False, advice=advice)
    if refusal:
        value = "only Python's sockets were watched, and nothing was stopped"
        return Check(name=WATCH, value=value, ok=None, advice=refusal)
    names = ", ".join(control.name for control in controls)
    return Check(name=WATCH, value=f"sees all {len(controls)} planted ways out: {names}", ok=True)


def judge_own_name(name: str, outcome: Outcome) -> Check:
    """Whether this machine knows its own name by itself; where not, torch asks a name server for it whenever it
    starts a group of processes, and there is no switch against that."""
    if outcome.tried == Attempts(beyond=0, unanswered=0):
        return Check(name=OWN_NAME, value=f"{name}: known without asking", ok=True)
    advice = f"add the line `127.0.1.1 {name}` to /etc/hosts: torch looks the name up when vLLM starts"
    return Check(name=OWN_NAME, value=f"{name}: a name server is asked for it", ok=None, advice=advice)


def judge_step(name: str, outcome: Outcome, seconds: float) -> Check:
    """Silent, or who tried what; a step that did not do its work proves nothing and has failed."""
    if attempts := find_attempts(outcome):
        advice = (
            f"it was stopped{'' if outcome.tried else ' by nothing'}: remove or update that library, or keep it off"
        )
        return Check(name=name, value="; ".join(attempts), ok=False, advice=advice)
    if outcome.n_killed:
        value = f"left {outcome.n_killed} processes running, which were killed"
        return Check(name=name, value=value, ok=False, advice="what they would have done later is not known")
    if outcome.exit_code != 0:
        why = (outcome.stderr.strip().splitlines() or ["no message"])[-1]
        if NO_VLLM in why:
            return Check(name=name, value=f"not run: {why}", ok=None)
        advice = "run the same without --offline first; what does not run is not proven"
        return Check(name=name, value=f"exit code {outcome.exit_code}: {why}", ok=False, advice=advice)
    silent = "silent" if outcome.tried else "silent as far as Python can see"
    return Check(name=name, value=f"{silent}, {seconds:.0f} s", ok=True if outcome.tried else None)


# running --------------------------------------------------------------------------------------------------------------


def find_refusal(environment: Mapping[str, str]) -> str:
    """Why this system gives no network namespace; "" where it does."""
    try:
        run_guarded([sys.executable, "-c", ""], environment)
    except Refused as error:
        return str(error)
    return ""


def check_watch(environment: Mapping[str, str], refusal: str) -> Check:
    """Whether what tries to get out is seen, each way tried once."""
    controls = HARMLESS if refusal else CONTROLS
    unseen = []
    for control in controls:
        outcome = run_guarded([sys.executable, "-c", control.code], environment, isolated=not refusal)
        if not is_seen(control, outcome):
            unseen.append(control.name)
    return judge_watch(controls, unseen, refusal)


def check_own_name(environment: Mapping[str, str], isolated: bool) -> list[Check]:
    """Nothing where asking could not be stopped."""
    if not isolated:
        return []
    outcome = run_guarded([sys.executable, "-c", ASK_OWN_NAME], environment)
    return [judge_own_name(socket.gethostname(), outcome)]


def run_step(step: Step, environment: Mapping[str, str], isolated: bool) -> Check:
    begin = time.monotonic()
    try:
        outcome = run_guarded(step.command, {**environment, **step.variables}, isolated=isolated, seconds=STEP_SECONDS)
    except subprocess.TimeoutExpired:
        return Check(name=step.name, value=f"did not end in {STEP_SECONDS:.0f} s", ok=False, advice="try again")
    return judge_step(step.name, outcome, time.monotonic() - begin)


def prove_silence(environment: Mapping[str, str], report: Callable[[str], None]) -> list[Check]:
    """Controls first, then every step. Takes minutes; `report` is told what is being done."""
    refusal = find_refusal(environment)
    report("checking that the watch sees what tries to get out")
    checks = [check_watch(environment, refusal), *check_own_name(environment, isolated=not refusal)]
    with tempfile.TemporaryDirectory(prefix="localexplain-") as scratch:
        for step in plan_steps(Path(scratch) / "run", with_vllm=installed_version() is not None):
            report(f"{step.name} ...")
            checks.append(run_step(step, environment, isolated=not refusal))
    return checks


def require_silence(checks: Sequence[Check]) -> None:
    """Raises NotSilent where a check failed, UserError where this system lets nobody prove it."""
    failed = [check.name for check in checks if check.ok is False]
    if failed:
        raise NotSilent(f"not proven silent: {', '.join(failed)}; see the checks above")
    if not checks[0].ok:
        raise UserError(f"silent as far as Python's sockets go, which is no proof: {checks[0].advice}")
