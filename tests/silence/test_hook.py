"""What an event says about where it wants to go, against addresses whose kind their standards fix."""

import socket
import types
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localexplain.silence.hook import find_target, is_local, read_stack


@given(st.ip_addresses(network="127.0.0.0/8"))
def test_all_of_127_is_this_machine(address: object) -> None:
    assert is_local(str(address))
    assert is_local(f"::ffff:{address}")


@given(st.one_of(st.ip_addresses(network="10.0.0.0/8"), st.ip_addresses(network="2001:db8::/32"), st.just("fe80::1%3")))
def test_a_private_network_is_not_this_machine(address: object) -> None:
    assert not is_local(str(address))


def of_family(family: int) -> types.SimpleNamespace:
    return types.SimpleNamespace(family=family)


INET, INET6 = socket.AF_INET, socket.AF_INET6


@pytest.mark.parametrize(
    ("event", "arguments", "expected"),
    [
        ("socket.connect", (of_family(INET), ("192.0.2.1", 80)), ("192.0.2.1 port 80", True)),
        ("socket.connect", (of_family(INET), ("127.0.0.1", 80)), ("127.0.0.1 port 80", False)),
        ("socket.connect", (of_family(INET6), ("2001:db8::1", 80, 0, 0)), ("2001:db8::1 port 80", True)),
        ("socket.connect", (of_family(socket.AF_UNIX), "/run/x"), None),
        ("socket.connect", (of_family(socket.AF_VSOCK), (2, 80)), (f"{socket.AF_VSOCK!r} (2, 80)", True)),
        ("socket.sendto", (of_family(INET), ("192.0.2.1", 53)), ("192.0.2.1 port 53", True)),
        ("socket.sendmsg", (of_family(INET), None), None),  # to where it is connected
        ("socket.getaddrinfo", ("example.invalid", 80, 0, 0, 0), ("example.invalid", True)),
        ("socket.getaddrinfo", (b"example.invalid", 80, 0, 0, 0), ("example.invalid", True)),
        ("socket.getaddrinfo", (None, 80, 0, 0, 0), None),
        ("socket.getaddrinfo", ("localhost", 80, 0, 0, 0), None),
        ("socket.getaddrinfo", ("192.0.2.1", 80, 0, 0, 0), None),  # nothing is asked for an address
        ("socket.getaddrinfo", (socket.gethostname(), 80, 0, 0, 0), (socket.gethostname(), False)),
        ("socket.gethostbyname", ("example.invalid",), ("example.invalid", True)),
        ("socket.gethostbyaddr", ("192.0.2.1",), ("192.0.2.1", False)),
        ("socket.getnameinfo", (("192.0.2.1", 80),), ("192.0.2.1", False)),
        ("http.client.connect", (None, "example.invalid", 80), ("example.invalid", True)),
        ("urllib.Request", ("https://u@example.invalid:8/a", None, {}, None), ("https://u@example.invalid:8/a", True)),
        ("urllib.Request", ("http://[::1]:80/a", None, {}, None), ("http://[::1]:80/a", False)),
        ("urllib.Request", ("file:///etc/hosts", None, {}, None), None),
        ("open", ("/etc/hosts", "r", 0), None),
    ],
)
def test_targets(event: str, arguments: tuple[object, ...], expected: tuple[str, bool] | None) -> None:
    assert find_target(event, arguments) == expected


def test_the_stack_names_libraries_in_the_order_of_calls() -> None:
    """inner.transport is called by outer.client, that by the standard library, and that by `python -c`."""
    frame: Any = None
    for file, name in (
        ("<string>", "__main__"),
        ("/lib/python3/threading.py", "threading"),
        ("/venv/site-packages/outer/client.py", "outer.client"),
        ("/venv/site-packages/outer/deeper.py", "outer.deeper"),
        ("/venv/lib/python3/site-packages/inner/transport.py", "inner.transport"),
        ("/lib/python3/socket.py", "socket"),
        ("/own/hook.py", "hook"),
    ):
        code = types.SimpleNamespace(co_filename=file, co_name="f")
        frame = types.SimpleNamespace(f_code=code, f_globals={"__name__": name}, f_lineno=7, f_back=frame)
    libraries, lines = read_stack(frame, "/own/hook.py", ("/lib/python3/", "/venv/lib/python3/"))
    assert libraries == ["inner", "outer"]
    assert lines[0] == "/venv/lib/python3/site-packages/inner/transport.py:7 f"
    assert len(lines) == 3
