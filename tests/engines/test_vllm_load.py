"""Starting and stopping vLLM: what it leaves of the process, and models that cannot be loaded."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from localexplain.engines.base import GenerateRequest, Sampling
from localexplain.engines.vllm import VllmEngine
from localexplain.errors import EngineError, UserError
from tests import tiny_models
from tests.tiny_models import edit_json, write_tiny_engine

pytestmark = pytest.mark.vllm

REQUEST = GenerateRequest(token_ids=(5, 6, 7), sampling=Sampling(max_tokens=2))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_engine(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """torch on two threads, where vLLM is told to take one."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def process_state() -> tuple[object, ...]:
    """What starting vLLM changes if it is let."""
    numbers = np.random.get_state()[1]
    return (
        random.getstate(),
        tuple(numbers.tolist()),
        tuple(torch.get_rng_state().tolist()),
        torch.set_num_threads,
        os.environ.get("LD_PRELOAD"),
        torch.get_default_dtype(),
    )


def test_vllm_leaves_the_process_as_it_was(folder: Path, two_threads: None) -> None:
    from vllm.platforms import current_platform

    random.seed(1234)
    before = process_state()
    engine = VllmEngine.load(folder, context_tokens=64)
    assert process_state() == before
    assert engine.context_tokens == 64
    assert torch.get_num_threads() == (1 if current_platform.is_cpu() else 2)
    assert engine.generate([REQUEST])[0].error is None
    if os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0":
        with pytest.raises(EngineError, match="close it first"):
            VllmEngine.load(folder)
    engine.close()
    engine.close()
    assert torch.get_num_threads() == 2
    assert not torch.distributed.is_initialized()
    with pytest.raises(EngineError, match="is closed"):
        engine.generate([REQUEST])


def test_a_model_that_cannot_be_loaded_is_one_line_and_the_next_one_loads(folder: Path) -> None:
    with pytest.raises(EngineError, match=r"^[^\n]*tiny: vLLM cannot load it \([^\n]*max_model_len[^\n]*\)$"):
        VllmEngine.load(folder, context_tokens=100_000)
    engine = VllmEngine.load(folder)
    engine.close()


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    broken = write_tiny_engine(tmp_path / "broken")
    edit_json(broken / "config.json", hidden_size=64)
    with pytest.raises(EngineError, match=r"^[^\n]*broken: vLLM cannot load it \([^\n]*size[^\n]*\)$"):
        VllmEngine.load(broken)


def test_a_model_that_vllm_cannot_run_is_refused_at_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        pytest.skip("a GPU runs heads of 16")
    monkeypatch.setitem(tiny_models.GROUPED, "head_dim", 16)
    narrow = write_tiny_engine(tmp_path / "narrow")
    with pytest.raises(EngineError, match=r"^narrow: vLLM stopped working \([^\n]*head_dim=16[^\n]*\)$"):
        VllmEngine.load(narrow)


def test_an_incomplete_folder_is_the_users_fault(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no config"):
        VllmEngine.load(tmp_path)
