import io
import json
import os
import subprocess
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import pytest
from rich.console import Console

from localexplain.doctor import (
    GIB,
    Check,
    check_cpu,
    check_disk,
    check_memory,
    check_packages,
    check_python,
    check_shipped,
    diagnose,
    parse_cpu_flags,
    parse_meminfo,
    parse_memory_limit,
    print_checks,
)


def test_cpu_flags_of_x86_and_arm() -> None:
    assert parse_cpu_flags("model name : x\nflags\t: fpu avx2 avx512_bf16\n\nflags\t: other\n") == {
        "fpu",
        "avx2",
        "avx512_bf16",
    }
    assert parse_cpu_flags("Features\t: fp asimd bf16\n") == {"fp", "asimd", "bf16"}
    assert parse_cpu_flags("") == frozenset()


def test_cpu_names_the_flags_that_matter() -> None:
    check = check_cpu("flags : fpu amx_bf16 avx2 sse\n", 3)
    assert check.value.endswith("3 usable, avx2 amx_bf16")
    assert check_cpu("", 1).value.endswith("1 usable, no flags known")


def test_memory() -> None:
    assert parse_meminfo("MemTotal: 8 kB\nMemAvailable: 4 kB\nHugePages_Total: 3\nodd line\n") == {
        "MemTotal": 8192,
        "MemAvailable": 4096,
        "HugePages_Total": 3,
    }
    assert (parse_memory_limit("max\n"), parse_memory_limit(""), parse_memory_limit("5\n")) == (None, None, 5)
    meminfo = f"MemTotal: {16 * GIB // 1024} kB\nMemAvailable: {8 * GIB // 1024} kB\n"
    assert check_memory(meminfo, "max").value == "16.0 GiB, 8.0 GiB free"
    assert check_memory(meminfo, "max").ok is True
    # a container's limit is what there is, however much the machine has
    small = check_memory(meminfo, str(2 * GIB))
    assert (small.value, small.ok) == ("2.0 GiB (limit of the container), 2.0 GiB free", None)
    assert small.advice
    assert check_memory("", "").ok is None


def test_python() -> None:
    assert check_python().ok is True
    old = check_python((3, 10, 4))
    assert (old.ok, old.advice) == (False, "use Python 3.11 or newer")


def test_packages() -> None:
    checks = {
        check.name: check for check in check_packages(("numpy", "no-such-package-here"), ("nor-this-one", "rich"))
    }
    assert (checks["numpy"].ok, checks["numpy"].value) == (True, version("numpy"))
    assert (checks["no-such-package-here"].ok, checks["no-such-package-here"].value) == (False, "not installed")
    assert "nor-this-one" not in checks
    assert checks["rich"].ok is True
    assert "localexplain" in checks


def test_shipped_files(tmp_path: Path) -> None:
    package = tmp_path / "package"
    for part in ("package", "prompts", "models/tiny-subject"):
        (tmp_path / part).mkdir(parents=True)
    checks = {check.name: check for check in check_shipped(package)}
    assert (checks["prompts"].ok, checks["prompts"].value) == (True, str(tmp_path / "prompts"))
    assert checks["models/tiny-subject"].ok is True
    missing = checks["eval/demo-texts"]
    assert (missing.ok, missing.value) == (False, "missing")
    assert "install localexplain again" in missing.advice


def test_disk(tmp_path: Path) -> None:
    check = check_disk(tmp_path)
    assert check.value.endswith(f"free in {tmp_path}")
    assert (check.advice == "") is bool(check.ok)


def test_diagnosis_is_complete(tmp_path: Path) -> None:
    checks = diagnose(tmp_path)
    names = [check.name for check in checks]
    for name in ("python", "localexplain", "torch", "cpu", "memory", "bf16", "prompts", "vllm engine", "disk"):
        assert names.count(name) == 1
    assert any(name.startswith("gpu") for name in names)
    assert json.loads(json.dumps([asdict(check) for check in checks]))
    assert all(check.advice for check in checks if check.ok is False)
    (vllm,) = [check for check in checks if check.name == "vllm engine"]
    assert vllm.ok in (True, None)  # never a fault: localexplain does without it
    assert (vllm.advice == "") is bool(vllm.ok)


@pytest.mark.parametrize("is_terminal", [True, False])
def test_printing(is_terminal: bool) -> None:
    console = Console(file=io.StringIO(), width=60, force_terminal=is_terminal)
    checks = [
        Check(name="good", value="1.0 [cpu]", ok=True),
        Check(name="bad", value="missing", ok=False, advice="mend [it]"),
        Check(name="so so", value="none", ok=None),
    ]
    print_checks(checks, console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert ("\x1b[" in text) is is_terminal
    if not is_terminal:
        lines = [line.split() for line in text.splitlines()]
        assert lines[0] == ["ok", "good", "1.0", "[cpu]"]  # brackets are text
        assert lines[1] == ["FAIL", "bad", "missing"]
        assert lines[2] == ["mend", "[it]"]
        assert lines[3] == ["-", "so", "so", "none"]
        assert text.rstrip().endswith("1 to fix: bad")
    good = Console(file=io.StringIO(), width=60)
    print_checks(checks[:1], good)
    assert good.file.getvalue().endswith("nothing to fix\n")  # type: ignore[attr-defined]


def test_offline_is_the_proof_of_silence_and_its_exit_code(tmp_path: Path) -> None:
    """Without the prompts' library nothing of the pipeline runs, and what does not run is not proven silent."""
    (tmp_path / "jinja2.py").write_text("raise ImportError('not today')\n")
    done = subprocess.run(
        [sys.executable, "-m", "localexplain.cli", "doctor", "--offline", "--json"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    checks = {check["name"]: check for check in json.loads(done.stdout)}
    assert done.returncode == 1
    assert {"the watch", "run, no model", "run, expected", "run, grid", "report", "view", "eval puzzles"} <= set(checks)
    assert "not today" in checks["eval puzzles"]["value"]
    assert checks["eval puzzles"]["ok"] is False
    assert "torch" not in checks  # the ordinary checks are another call
    assert done.stderr.splitlines()[-1].startswith("localexplain: not proven silent: ")
