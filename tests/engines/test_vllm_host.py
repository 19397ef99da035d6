"""vLLM as a guest: what is set for it, whether it can run, and what a test that needs it does where it cannot."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from localexplain.engines.vllm_host import (
    CPU_SWITCHES,
    CPU_THREADS,
    SWITCHES,
    is_cpu_build,
    settle_environment,
    spare_one_core,
    vllm_status,
)
from localexplain.errors import EngineMissing
from localexplain.offline import OFFLINE

ROOT = Path(__file__).parents[2]


def write_fake_vllm(folder: Path, code: str) -> Path:
    """An installed "vllm 9.9" that runs `code` when it is imported."""
    (folder / "vllm").mkdir()
    (folder / "vllm" / "__init__.py").write_text(code)
    (folder / "vllm-9.9.dist-info").mkdir()
    (folder / "vllm-9.9.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 9.9\n")
    return folder


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without any of the switches, put back afterwards."""
    for name in (*OFFLINE, *SWITCHES, *CPU_SWITCHES, CPU_THREADS, "VLLM_TARGET_DEVICE"):
        monkeypatch.setenv(name, "")  # so that it is put back, whatever the test sets
        monkeypatch.delenv(name)
    return monkeypatch


def test_a_gpu_build_is_not_given_the_settings_of_the_cpu_build(unset: pytest.MonkeyPatch, tmp_path: Path) -> None:
    unset.syspath_prepend(write_fake_vllm(tmp_path, ""))
    assert not is_cpu_build()
    settle_environment()
    assert {name: os.environ[name] for name in OFFLINE} == {name: switch.value for name, switch in OFFLINE.items()}
    assert not {*CPU_SWITCHES, CPU_THREADS} & set(os.environ)


def test_the_cpu_build_is_given_its_own(unset: pytest.MonkeyPatch, tmp_path: Path) -> None:
    unset.syspath_prepend(write_fake_vllm(tmp_path, ""))
    unset.setenv("VLLM_TARGET_DEVICE", "cpu")
    settle_environment()
    assert os.environ["VLLM_CPU_KVCACHE_SPACE"] == "1"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert int(os.environ[CPU_THREADS]) == spare_one_core() == max(1, (cores or 1) - 1)


def test_what_the_user_has_set_stays_unless_it_opens_the_network(unset: pytest.MonkeyPatch) -> None:
    unset.setenv("HF_HUB_OFFLINE", "0")
    own = dict.fromkeys((*SWITCHES, *CPU_SWITCHES, CPU_THREADS), "own")
    for name, value in own.items():
        unset.setenv(name, value)
    settle_environment()
    assert {name: os.environ[name] for name in own} == own
    assert os.environ["HF_HUB_OFFLINE"] == "1"


def test_missing_vllm_is_one_clear_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from localexplain.engines.vllm import VllmEngine

    monkeypatch.setitem(sys.modules, "vllm", None)  # what the import system keeps for a module that is not to be found
    usable, why = vllm_status()
    assert not usable
    assert why.startswith("not installed")
    with pytest.raises(EngineMissing, match=r"^vLLM cannot be used here: not installed; install [^\n]*$"):
        VllmEngine.load(tmp_path)


def run_python(*arguments: str, path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Python in a process of its own that finds modules in `path` first, outside CI unless `variables` say so."""
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    environment |= {"PYTHONPATH": f"{path}{os.pathsep}{ROOT}"} | variables
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_an_import_that_fails_is_said_in_one_line(tmp_path: Path) -> None:
    write_fake_vllm(tmp_path, "raise ImportError('libcudart.so.13: cannot open shared object file\\nand more')")
    code = "from localexplain.engines.vllm_host import vllm_status; print(vllm_status())"
    found = run_python("-c", code, path=tmp_path)
    why = "9.9 is installed, but its import fails: libcudart.so.13: cannot open shared object file"
    assert found.stdout.strip() == repr((False, why))


# pytest calls a test that fails before it starts an error
@pytest.mark.parametrize(
    ("in_ci", "code", "outcome"), [("", 0, "1 passed, 1 skipped"), ("true", 1, "1 passed, 1 error")]
)
def test_a_test_that_needs_vllm_is_skipped_with_the_reason_but_fails_in_ci(
    tmp_path: Path, in_ci: str, code: int, outcome: str
) -> None:
    write_fake_vllm(tmp_path, "raise ImportError('no such library')")
    (tmp_path / "test_two.py").write_text(
        "import pytest\n\n\n@pytest.mark.vllm\ndef test_marked():\n    pass\n\n\ndef test_other():\n    pass\n"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = vllm: needs vLLM\n")
    ran = run_python("-m", "pytest", "-ra", "-p", "tests.conftest", "test_two.py", path=tmp_path, CI=in_ci)
    assert ran.returncode == code
    assert outcome in ran.stdout
    assert "its import fails: no such library" in ran.stdout


@pytest.mark.vllm
def test_usable_vllm_says_what_it_would_run_on() -> None:
    usable, text = vllm_status()
    assert usable
    version, _, rest = text.partition(" on ")
    assert version[0].isdigit()
    assert rest.endswith(("model runner V1", "model runner V2"))
