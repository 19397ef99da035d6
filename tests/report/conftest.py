"""The hand-written run, opened for reading."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from localexplain.store.store import Store, open_for_reading
from tests.report.small_store import write_small_store


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_store(tmp_path_factory.mktemp("small") / "run")


@pytest.fixture(scope="session")
def store(small_run: Path) -> Iterator[Store]:
    with open_for_reading(small_run) as opened:
        yield opened


@pytest.fixture
def captured_only(tmp_path: Path) -> Iterator[Store]:
    """The same run before anything was explained."""
    with open_for_reading(write_small_store(tmp_path / "run", with_results=False)) as opened:
        yield opened
