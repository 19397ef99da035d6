"""What all tests share: an offline, quiet process, and the rule for tests that need vLLM."""

import os
from functools import cache
from importlib.util import find_spec

import pytest

from localexplain.engines.vllm_host import settle_environment, vllm_status

# Before anything imports torch, which reads these once. One thread: a second one beside another busy process makes
# every test slower, not faster.
os.environ.setdefault("OMP_NUM_THREADS", "1")
settle_environment()

# On the other side of an air gap there is no playwright, which the browser's tests import before they could skip.
collect_ignore = [] if find_spec("playwright") else ["browser"]

known_vllm_status = cache(vllm_status)  # importing vLLM takes seconds, and only its own tests need it


def pytest_report_header() -> list[str]:
    return ["left out, for playwright is not installed: tests/browser"] if collect_ignore else []


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test marked `vllm` is skipped, with the reason, where vLLM cannot run; in CI it fails."""
    if item.get_closest_marker("vllm") is None:
        return
    usable, why = known_vllm_status()
    if not usable and os.environ.get("CI"):
        pytest.fail(f"vLLM cannot run, and in CI it must: {why}", pytrace=False)
    if not usable:
        pytest.skip(f"vLLM cannot run: {why}")
