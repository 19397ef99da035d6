"""The transformers engine under the contract, on tiny random models."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from localexplain.engines.base import Engine
from localexplain.engines.transformers import TransformersEngine
from tests.contract.engine_contract import EngineContract
from tests.tiny_models import write_tiny_engine


class TestTransformersEngine(EngineContract):
    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, tiny_engine_folder: Path) -> Iterator[Engine]:
        engine = TransformersEngine.load(tiny_engine_folder, device="cpu")
        yield engine
        engine.close()


class TestSmallBatches(EngineContract):
    """Two or three requests to a batch, so that every test crosses batches."""

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, tiny_engine_folder: Path) -> Iterator[Engine]:
        engine = TransformersEngine.load(tiny_engine_folder, device="cpu", batch_requests=3, batch_tokens=120)
        yield engine
        engine.close()


class TestSlidingWindow(EngineContract):
    """Gemma 3, whose layers see 16 tokens or all, by turns; most prompts of the contract are longer."""

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
        engine = TransformersEngine.load(
            write_tiny_engine(tmp_path_factory.mktemp("gemma") / "g", "gemma3"), device="cpu"
        )
        yield engine
        engine.close()
