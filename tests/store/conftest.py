"""What the tests of the published copy share."""

import shutil
from pathlib import Path

import pytest

from tests.report.small_store import write_small_store


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hand-written run; copied for each test."""
    return write_small_store(tmp_path_factory.mktemp("made") / "run")


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))
