"""The guard on commands that do what it is there to find, and on those that stay inside."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from localexplain.silence.counters import Attempts
from localexplain.silence.guard import PROXIES, find_attempts, guarded_environment, run_guarded
from localexplain.silence.proof import COMPILED, CONTROLS, DNS, GRANDCHILD, HAS_IPV6, IPV6, TCP, UDP, Control, is_seen

NOBODY = 65534
pytestmark = pytest.mark.usefixtures("namespace")


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


# what tries to get out ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: control.name)
def test_each_way_out_is_seen(control: Control, environment: dict[str, str]) -> None:
    outcome = run_guarded(python(control.code), environment)
    assert is_seen(control, outcome)
    assert find_attempts(outcome) != []


@pytest.mark.parametrize(
    ("code", "target", "packets"),
    [
        (TCP, "socket.connect 192.0.2.1 port 80", 1),
        (UDP, "socket.connect 192.0.2.1 port 53", 1),
        pytest.param(
            IPV6, "socket.connect 2001:db8::1 port 80", 1, marks=pytest.mark.skipif(not HAS_IPV6, reason="no IPv6 here")
        ),
        (GRANDCHILD, "socket.connect 192.0.2.1 port 53", 1),
        (
            "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
            "for _ in range(3):\n    try: s.sendto(b'x', ('192.0.2.1', 53))\n    except OSError: pass",
            "socket.sendto 192.0.2.1 port 53",
            3,
        ),
    ],
)
def test_who_and_how_often(code: str, target: str, packets: int, environment: dict[str, str]) -> None:
    outcome = run_guarded(python(code), environment)
    assert find_attempts(outcome) == [f"the program itself: {target}"]
    assert outcome.tried == Attempts(beyond=packets, unanswered=0)


def test_a_name_that_is_asked_is_told(environment: dict[str, str]) -> None:
    outcome = run_guarded(python(DNS), environment)
    assert find_attempts(outcome) == ["the program itself: socket.getaddrinfo localexplain.invalid"]
    assert outcome.exit_code == 1  # it goes on as it would have: with gaierror


def test_compiled_code_is_counted_though_python_sees_nothing(environment: dict[str, str]) -> None:
    outcome = run_guarded(python(COMPILED), environment)
    assert outcome.events == ()
    assert outcome.tried == Attempts(beyond=1, unanswered=0)
    (line,) = find_attempts(outcome)
    assert line.startswith("compiled code, which Python cannot name: 1 packets to other machines")


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_a_child_of_multiprocessing_is_watched(method: str, environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "parent.py").write_text(
        "import multiprocessing, socket\n\n"
        "def call_out():\n    socket.socket().connect_ex(('192.0.2.1', 80))\n\n"
        "if __name__ == '__main__':\n"
        f"    child = multiprocessing.get_context({method!r}).Process(target=call_out)\n"
        "    child.start()\n    child.join()\n    print(child.pid)\n"
    )
    outcome = run_guarded([sys.executable, str(tmp_path / "parent.py")], environment)
    (event,) = outcome.events
    assert event.pid == int(outcome.stdout)
    assert event.libraries == ("parent.py",)
    assert outcome.tried == Attempts(beyond=1, unanswered=0)


def test_a_process_left_behind_is_waited_for(environment: dict[str, str]) -> None:
    later = f"import time; time.sleep(1); {TCP}"
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {later!r}], start_new_session=True)"
    outcome = run_guarded(python(code), environment)
    assert outcome.tried == Attempts(beyond=1, unanswered=0)
    assert outcome.n_killed == 0


def test_a_process_that_does_not_end_is_killed_and_counted(environment: dict[str, str]) -> None:
    code = "import subprocess; print(subprocess.Popen(['sleep', '600'], start_new_session=True).pid)"
    outcome = run_guarded(python(code), environment)
    assert outcome.n_killed == 1
    assert not Path("/proc", outcome.stdout.strip()).exists()


# what stays inside ----------------------------------------------------------------------------------------------------

SERVED = """
import socket, threading

def echo(family, host):
    server = socket.socket(family)
    server.bind((host, 0))
    server.listen()
    threading.Thread(target=lambda: server.accept()[0].sendall(b"x" * 10000), daemon=True).start()
    client = socket.socket(family)
    client.connect(server.getsockname()[:2])
    assert client.recv(10) == b"x" * 10
    client.close()  # before all was read: the connection is reset

echo(socket.AF_INET, "127.0.0.1")
echo(socket.AF_INET, "localhost")
if {ipv6}:
    echo(socket.AF_INET6, "::1")
one, other = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
one.bind(("127.0.0.1", 0))
other.sendto(b"x", one.getsockname())
assert one.recv(1) == b"x"
server = socket.socket(socket.AF_UNIX)
server.bind("socket")
server.listen()
socket.socket(socket.AF_UNIX).connect("socket")
socket.socketpair()
"""


def test_what_stays_on_loopback_is_not_reported(environment: dict[str, str]) -> None:
    outcome = run_guarded(python(SERVED.format(ipv6=HAS_IPV6)), environment)
    assert outcome.exit_code == 0, outcome.stderr
    assert outcome.tried == Attempts(beyond=0, unanswered=0)
    assert find_attempts(outcome) == []


@pytest.mark.parametrize(
    ("code", "target"),
    [
        ("import socket; socket.socket().connect_ex(('127.0.0.1', 3128))", "socket.connect 127.0.0.1 port 3128"),
        (
            "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.53', 53))",
            "socket.sendto 127.0.0.53 port 53",
        ),
    ],
)
def test_a_proxy_or_a_resolver_of_this_machine_is_a_way_out(
    code: str, target: str, environment: dict[str, str]
) -> None:
    outcome = run_guarded(python(code), environment)
    assert outcome.tried == Attempts(beyond=0, unanswered=1)
    assert find_attempts(outcome) == [f"the program itself: {target}"]


def test_nobody_is_sent_through_a_proxy() -> None:
    given = {name.lower(): "http://127.0.0.1:3128" for name in PROXIES} | {"HTTPS_PROXY": "http://proxy:1", "A": "b"}
    found = guarded_environment(given)
    assert found["A"] == "b"
    assert found.keys() <= {"A", "PYTHONPATH"}


# the command it guards ------------------------------------------------------------------------------------------------


def test_exit_codes_output_and_time(environment: dict[str, str]) -> None:
    outcome = run_guarded(["sh", "-c", "echo out; echo err >&2; exit 7"], environment)
    assert (outcome.exit_code, outcome.stdout, outcome.stderr) == (7, "out\n", "err\n")
    assert run_guarded(["sh", "-c", "kill -9 $$"], environment).exit_code == -9
    launcher = [sys.executable, "-m", "localexplain.silence.namespace", "--", "sh", "-c", "kill -9 $$"]
    assert subprocess.run(launcher, check=False).returncode == 128 + 9


def test_too_long_a_command_is_killed_with_its_children(environment: dict[str, str], tmp_path: Path) -> None:
    code = f"sleep 600 & echo $! > {tmp_path / 'pid'}; wait"
    with pytest.raises(subprocess.TimeoutExpired):
        run_guarded(["sh", "-c", code], environment, seconds=3)
    child = Path("/proc", (tmp_path / "pid").read_text().strip())
    end = time.monotonic() + 20
    while child.exists() and (child / "stat").read_text().split()[2] != "Z":
        assert time.monotonic() < end
        time.sleep(0.05)


def test_another_sitecustomize_still_runs(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import builtins\nbuiltins.was_here = True\n")
    code = f"print(was_here, __import__('sitecustomize').__file__); {TCP}"
    outcome = run_guarded(python(code), environment | {"PYTHONPATH": str(tmp_path)})
    assert outcome.stdout == f"True {tmp_path / 'sitecustomize.py'}\n"
    assert len(outcome.events) == 1


def test_without_a_namespace_python_is_watched_alone(environment: dict[str, str]) -> None:
    outcome = run_guarded(python(UDP), environment, isolated=False)
    assert outcome.tried is None
    assert find_attempts(outcome) == ["the program itself: socket.connect 192.0.2.1 port 53"]


# users and rights -----------------------------------------------------------------------------------------------------


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may write to."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


def test_files_keep_their_owner(environment: dict[str, str], tmp_path: Path) -> None:
    run_guarded(["sh", "-c", f"id -u > {tmp_path / 'made'}"], environment)
    found = (tmp_path / "made").stat()
    assert (found.st_uid, found.st_gid) == (os.getuid(), os.getgid())
    assert int((tmp_path / "made").read_text()) == os.getuid()


AS_NOBODY = """
import ctypes, json, os, sys
from localexplain.silence.namespace import isolate, run_inside
libc = ctypes.CDLL(None, use_errno=True)
if os.getuid() == 0:
    os.setgroups([])
    os.setgid({nobody})
    os.setuid({nobody})
    libc.prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE, which setuid takes: else /proc/self stays root's
isolate(libc)
ran = run_inside(["/bin/sh", "-c", "id -u > {folder}/made; id -g >> {folder}/made"], libc)
tried = run_inside(["/bin/bash", "-c", "echo > /dev/tcp/192.0.2.1/80"], libc)
print(ran.exit_code, ran.tried.beyond, tried.tried.beyond)
"""


def test_an_ordinary_user_is_guarded_and_stays_the_same_user(open_folder: Path) -> None:
    code = AS_NOBODY.format(nobody=NOBODY, folder=open_folder)
    done = subprocess.run(python(code), capture_output=True, text=True, check=False)
    if os.getuid() == 0 and "Refused" in done.stderr and "Operation not permitted" in done.stderr:
        why = "the system lets nobody but root make namespaces"
        pytest.fail(why, pytrace=False) if os.environ.get("CI") else pytest.skip(why)
    assert done.stdout.split() == ["0", "0", "1"], done.stderr
    user = NOBODY if os.getuid() == 0 else os.getuid()
    assert (open_folder / "made").stat().st_uid == user
    assert (open_folder / "made").read_text().split()[0] == str(user)


# In a user namespace of its own the kernel's limits are its own too; at none it refuses, as it does on a machine where
# an administrator has set them.
WITHOUT_NAMESPACES = """
import ctypes, os, sys
from pathlib import Path
libc = ctypes.CDLL(None)
user, group = os.getuid(), os.getgid()
assert libc.unshare(0x10000000) == 0
Path("/proc/self/setgroups").write_text("deny")
Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
for name in ("max_net_namespaces", "max_user_namespaces"):
    Path("/proc/sys/user", name).write_text("0")
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def run_without_namespaces(*arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [*python(WITHOUT_NAMESPACES), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_a_system_without_namespaces_is_told_in_one_line(environment: dict[str, str], tmp_path: Path) -> None:
    made = tmp_path / "made"
    done = run_without_namespaces(
        "-m", "localexplain.silence.namespace", "--", "touch", str(made), environment=environment
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("localexplain: this system gives no network namespace (")
    assert "run it as root" in done.stderr
    assert not made.exists()  # what cannot be guarded is not run


def test_there_the_watch_says_what_it_does_not_see(environment: dict[str, str]) -> None:
    code = (
        "import os; from localexplain.silence.proof import check_watch, find_refusal; "
        "refusal = find_refusal(os.environ); check = check_watch(os.environ, refusal); "
        "print(check.ok, check.value, check.advice == refusal, sep='|')"
    )
    done = run_without_namespaces("-c", code, environment=environment)
    assert done.stdout.strip() == "None|only Python's sockets were watched, and nothing was stopped|True", done.stderr
