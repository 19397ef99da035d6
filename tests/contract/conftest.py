"""What the contract tests of all engines share."""

from pathlib import Path

import pytest

from tests.tiny_models import write_tiny_engine

pytest.register_assert_rewrite("tests.contract.engine_contract")


@pytest.fixture(scope="session")
def tiny_engine_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Qwen3 checkpoint with random weights and a tokenizer without BOS, with a ChatML template."""
    return write_tiny_engine(tmp_path_factory.mktemp("models") / "tiny-qwen3", family="qwen3")
