"""What all tests share: an offline, quiet process, and the rule for tests that need vLLM."""

import os
from functools import cache

import pytest

from localexplain.engines.vllm_host import settle_environment, vllm_status

# Before anything imports torch, which reads these once. One thread: a second one beside another busy process makes
# every test slower, not faster.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
settle_environment()

known_vllm_status = cache(vllm_status)  # importing vLLM takes seconds, and only its own tests need it


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
