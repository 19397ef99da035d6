"""Notes who inside a Python process tries to reach another machine. Standard library only, and nothing of this package:
a copy of this file is loaded by every Python process that is watched (see watch.py).

It changes nothing: what was tried goes on as it would have. Python reports the calls of its own socket module; a
library that makes its connections in compiled code is seen by the kernel's counters alone.
"""

import importlib.machinery
import importlib.util
import ipaddress
import json
import os
import socket
import sys
import sysconfig
from types import FrameType
from typing import Any

# Event -> which of its arguments says where to; of socket.* the first argument is the socket.
ADDRESSES = {"socket.connect": 1, "socket.sendto": 1, "socket.sendmsg": 1}
NAMES = {"socket.getaddrinfo": 0, "socket.gethostbyname": 0, "socket.gethostbyaddr": 0, "http.client.connect": 1}
SOCKETS_OF_NAMES = "socket.getnameinfo"
REQUEST = "urllib.Request"
LOCAL_FAMILIES = frozenset(
    getattr(socket, name) for name in ("AF_UNIX", "AF_NETLINK", "AF_ALG") if hasattr(socket, name)
)
LOCAL_NAMES = ("", "localhost", "localhost.localdomain", "ip6-localhost")
INSTALLED = ("site-packages", "dist-packages")
DEEPEST = 12  # frames that are written down
LONGEST = 200  # characters of a target


def as_text(host: Any) -> str:
    return host.decode("utf-8", "replace") if isinstance(host, (bytes, bytearray)) else str(host or "")


def is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def is_local(host: str) -> bool:
    """Whether a name or an address is this machine by what it says alone.

    >>> [is_local(host) for host in ("127.0.0.53", "::1", "::ffff:127.0.0.1", "0.0.0.0", "localhost", "10.0.0.1", "vm")]
    [True, True, True, True, True, False, False]
    """
    if not is_address(host):
        return host.lower().rstrip(".") in LOCAL_NAMES
    address = ipaddress.ip_address(host.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback or address.is_unspecified


def find_target(event: str, arguments: tuple[Any, ...]) -> tuple[str, bool] | None:
    """Where an event wants to go, and whether that is surely beyond this machine; None where it goes nowhere.

    Not sure is what depends on the machine: its own name, which a file may know or a name server be asked; the name
    that belongs to an address; a port of loopback that nobody may serve.
    """
    if event in ADDRESSES:
        place, address = arguments[0], arguments[ADDRESSES[event]]
        if address is None or place.family in LOCAL_FAMILIES:
            return None
        if place.family in (socket.AF_INET, socket.AF_INET6) and isinstance(address, tuple):
            return f"{as_text(address[0])} port {address[1]}", not is_local(as_text(address[0]))
        return f"{place.family!r} {address}", True
    if event in NAMES:
        host = as_text(arguments[NAMES[event]])
        if is_address(host) and event != "http.client.connect":
            return (host, False) if event == "socket.gethostbyaddr" and not is_local(host) else None
        if is_local(host):
            return (host, False) if event == "http.client.connect" else None
        return host, host != socket.gethostname()
    if event == SOCKETS_OF_NAMES:
        host = as_text(arguments[0][0])
        return None if is_local(host) else (host, False)
    if event == REQUEST:
        url = as_text(arguments[0])
        scheme, found, rest = url.partition("://")
        if not found or scheme in ("file", "data"):
            return None
        host = rest.partition("/")[0].rpartition("@")[2]
        host = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        return url, not is_local(host)
    return None


def read_stack(frame: FrameType | None, own: str, standard: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """The libraries on the stack, each once, the one that made the call first; and the first lines of their code.

    own       the file of the hook
    standard  folders of the standard library, which is left out
    """
    libraries: list[str] = []
    lines: list[str] = []
    while frame is not None:
        file, name = frame.f_code.co_filename, str(frame.f_globals.get("__name__", ""))
        inside = file.startswith(standard) and not any(part in file for part in INSTALLED)
        if file != own and not inside and not file.startswith("<"):  # <frozen importlib>, <string> of `python -c`
            library = os.path.basename(file) if name in ("__main__", "__mp_main__", "") else name.partition(".")[0]
            if library not in libraries:
                libraries.append(library)
            if len(lines) < DEEPEST:
                lines.append(f"{file}:{frame.f_lineno} {frame.f_code.co_name}")
        frame = frame.f_back
    return libraries, lines


def install(log: str) -> None:
    """From here on this process, and what it forks, appends each try to the file `log`, one JSON object a line."""
    own = install.__code__.co_filename
    standard = tuple({sysconfig.get_path("stdlib") + os.sep, sysconfig.get_path("platstdlib") + os.sep})
    watched = {*ADDRESSES, *NAMES, SOCKETS_OF_NAMES, REQUEST}

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in watched:
            return
        try:
            found = find_target(event, arguments)
            if found is None:
                return
            libraries, lines = read_stack(sys._getframe(), own, standard)
            content = {
                "event": event,
                "target": found[0][:LONGEST],
                "beyond": found[1],
                "libraries": libraries,
                "stack": lines,
                "pid": os.getpid(),
                "command": sys.orig_argv,
            }
            file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(file, json.dumps(content).encode() + b"\n")  # one write: lines of processes do not mix
            finally:
                os.close(file)
        except Exception:  # whatever is wrong with the note, an error here would become one of the program's
            return

    sys.addaudithook(note)


def run_other_sitecustomize(own: str) -> None:
    """Runs the `sitecustomize` that would have run without ours, which lies in the folder `own`."""
    elsewhere = [path for path in sys.path if os.path.abspath(path) != os.path.abspath(own)]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", elsewhere)
    if spec is None or spec.loader is None:
        return
    module = importlib.util.module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)
