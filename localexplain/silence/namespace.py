"""Runs a command, with all its children, in a network of its own that holds loopback and nothing else.

    python -m localexplain.silence.namespace [--report FILE] -- COMMAND [ARGUMENT ...]

The kernel stops and counts whatever tries to get out (see counters.py), whoever tries it and in whatever language.
Nothing is asked for but a namespace: root gets one as it is, anybody else inside a user namespace in which the user
stays the same user, so that files keep their owner. It is a guard against what is built in by habit, not a jail for
what wants out: root can leave it, and a Unix socket leads to any daemon of the machine.

Exit status is the command's, 128 + N where signal N killed it, 2 where the system allows no such namespace. FILE is
written with what was counted, as JSON.
"""

import argparse
import ctypes
import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from localexplain.errors import UserError
from localexplain.silence.counters import Attempts, read_attempts

USERS_FAULT, KILLED = 2, 128
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
INTERFACE = "16sh14x"  # struct ifreq: a name, then its flags
PR_SET_CHILD_SUBREAPER = 36
REFUSED = (
    "this system gives no network namespace ({reason}); run it as root, or allow user namespaces "
    "(user.max_user_namespaces above 0, kernel.apparmor_restrict_unprivileged_userns = 0)"
)
ENDING_SECONDS = 5.0  # what children get to end by themselves after the command has ended


class Refused(UserError):
    """The system makes no network namespace, or does not count in one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a command did that ran to its end.

    exit_code  minus the number of the signal where one killed it
    tried      what the kernel counted meanwhile
    n_killed   processes that it left behind and that did not end by themselves
    """

    exit_code: int
    tried: Attempts
    n_killed: int


def check(done: int) -> None:
    if done != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def raise_loopback() -> None:
    """Brings the interface "lo" up; a new namespace has it down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        found = fcntl.ioctl(asked, SIOCGIFFLAGS, struct.pack(INTERFACE, b"lo", 0))
        name, flags = struct.unpack(INTERFACE, found)
        fcntl.ioctl(asked, SIOCSIFFLAGS, struct.pack(INTERFACE, name, flags | IFF_UP))


def isolate(libc: ctypes.CDLL) -> None:
    """Moves this process, which may have one thread only, into a new network; what it starts from here on is in it.

    Raises Refused.
    """
    try:
        check(libc.unshare(CLONE_NEWNET))  # root's: nothing else changes
        raise_loopback()
        return
    except OSError:
        pass
    user, group = os.getuid(), os.getgid()
    try:
        check(libc.unshare(CLONE_NEWUSER | CLONE_NEWNET))
        Path("/proc/self/setgroups").write_text("deny")  # the kernel's condition for the next line but one
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
        raise_loopback()
    except OSError as error:
        raise Refused(REFUSED.format(reason=error.strerror)) from error


def start_counting() -> Attempts:
    """Raises Refused where the kernel does not count."""
    try:
        return read_attempts()
    except (OSError, KeyError) as error:
        raise Refused(f"this system's kernel does not count what is tried in a network namespace ({error})") from error


def find_children() -> list[int]:
    """Process ids of the direct children, those inherited from children that have ended among them."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                stat = (entry / "stat").read_text(errors="replace")
            except OSError:  # ended meanwhile
                continue
            if int(stat.rpartition(")")[2].split()[1]) == os.getpid():
                found.append(int(entry.name))
    return found


def reap_children(seconds: float) -> int:
    """Waits until no child is left, after `seconds` by killing; returns how many were killed."""
    end = time.monotonic() + seconds
    killed = 0
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return killed
        if time.monotonic() > end:
            for child in find_children():
                os.kill(child, signal.SIGKILL)
                killed += 1
        time.sleep(0.02)


def run_inside(command: Sequence[str], libc: ctypes.CDLL) -> Ran:
    """Runs the command to its end and to that of all it started. Raises OSError where it cannot be started."""
    check(libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))  # what the command leaves behind becomes our child
    signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C reaches the command by itself
    before = start_counting()
    process = subprocess.Popen(command)
    signal.signal(signal.SIGTERM, lambda number, _: process.send_signal(number))
    exit_code = process.wait()
    n_killed = reap_children(ENDING_SECONDS)
    return Ran(exit_code=exit_code, tried=read_attempts() - before, n_killed=n_killed)


def write_report(path: Path | None, content: dict[str, object]) -> None:
    if path is not None:
        path.write_text(json.dumps(content), encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m localexplain.silence.namespace")
    parser.add_argument("--report", type=Path, metavar="FILE")
    parser.add_argument("command", nargs="+", metavar="COMMAND")
    arguments = parser.parse_args(argv)
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        isolate(libc)
        ran = run_inside(arguments.command, libc)
    except UserError as error:
        write_report(arguments.report, {"refused": str(error)})
        print(f"localexplain: {error}", file=sys.stderr)
        return USERS_FAULT
    write_report(arguments.report, asdict(ran))
    return ran.exit_code if ran.exit_code >= 0 else KILLED - ran.exit_code


if __name__ == "__main__":
    sys.exit(main())
