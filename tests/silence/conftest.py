"""What the tests of the guard share: an environment, and the rule for tests that need a network namespace."""

import os
from functools import cache
from pathlib import Path

import pytest

from localexplain.silence.proof import find_refusal


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The tests' own, with an empty home, so that nothing fetched on another day can stand in for a silent library."""
    home = tmp_path / "home"
    home.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_HOME", "XDG_"))}
    return kept | {"HOME": str(home), "OMP_NUM_THREADS": "1"}


@pytest.fixture
def namespace() -> None:
    """Skips, with the reason, where the system gives no network namespace; in CI it fails."""
    refusal = find_refusal_once()
    if refusal and os.environ.get("CI"):
        pytest.fail(refusal, pytrace=False)
    if refusal:
        pytest.skip(refusal)


@cache
def find_refusal_once() -> str:
    return find_refusal(os.environ)
