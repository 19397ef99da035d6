"""The switches: what the user may change, and that the libraries really read them."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from localexplain.offline import OFFLINE, settle_offline
from localexplain.silence.guard import find_attempts, run_guarded

# what somebody would set who wants the network: the value that opens it
OPEN = {"USE_HUB_KERNELS": "1", "VLLM_USE_MODELSCOPE": "1", "RAY_USAGE_STATS_ENABLED": "1"} | dict.fromkeys(
    ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_XET"), "0"
)
OPEN |= dict.fromkeys(("DO_NOT_TRACK", "VLLM_DO_NOT_TRACK", "VLLM_NO_USAGE_STATS"), "0")
OPEN |= {name: "1" for name in OFFLINE if name.endswith("REMOTE_CACHE")}


def test_a_switch_for_silence_stands_whatever_the_user_set() -> None:
    for before in ({}, dict.fromkeys(OFFLINE, "own"), dict.fromkeys(OFFLINE, "")):
        found = dict(before)
        settle_offline(found)
        assert found.keys() == OFFLINE.keys()
        for name, switch in OFFLINE.items():
            stays = before.get(name) == "own" and not switch.forced
            assert found[name] == ("own" if stays else switch.value), name


def test_every_switch_has_a_reason() -> None:
    assert all(len(switch.reason) > 5 for switch in OFFLINE.values())
    assert {switch.forced for switch in OFFLINE.values()} == {True, False}


def read_in_new_process(code: str, environment: Mapping[str, str]) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(environment)
    )
    return json.loads(done.stdout.splitlines()[-1])


SETTLED = "import json, os; from localexplain.offline import settle_offline; settle_offline(os.environ); "


@pytest.mark.parametrize("settled", [True, False])
def test_the_libraries_read_them(settled: bool) -> None:
    """The same lines, with the user's own values and with ours over them: every answer turns."""
    code = (
        "import json; from huggingface_hub import constants as hub; "
        "from transformers.integrations.hub_kernels import _TRANSFORMERS_USE_HUB_KERNELS as kernels; "
        "from torch._inductor import config; from torch._functorch import config as autograd; "
        "print(json.dumps([hub.HF_HUB_OFFLINE, hub.is_offline_mode(), hub.HF_HUB_DISABLE_TELEMETRY, "
        "hub.HF_HUB_DISABLE_XET, kernels == '0', not config.fx_graph_remote_cache, not config.autotune_remote_cache, "
        "not config.bundled_autotune_remote_cache, not autograd.enable_remote_autograd_cache]))"
    )
    found = read_in_new_process((SETTLED if settled else "") + code, os.environ | OPEN)
    assert found == [settled] * 9


@pytest.mark.parametrize(
    "entry",
    [
        "from localexplain import api; api.load_explainer('lookup').close()",
        "from localexplain import api; api.load_simulator('rule').close()",
        "from localexplain.cli import main; import contextlib, io\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()): main(['--version'])",
    ],
)
def test_every_entrance_settles_them(entry: str) -> None:
    code = f"import json, os\n{entry}\nprint(json.dumps(dict(os.environ)))"
    found = read_in_new_process(code, os.environ | OPEN)
    assert {name: found[name] for name in OPEN} == {name: OFFLINE[name].value for name in OPEN}


# a machine whose name nobody knows, with a network of its own; then one process group of one process
GLOO = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
assert libc.unshare(0x04000000) == 0 or libc.unshare(0x14000000) == 0  # CLONE_NEWUTS, in a user namespace or not
name = b"localexplain-test.invalid"
assert libc.sethostname(name, len(name)) == 0
import torch.distributed as group
group.init_process_group("gloo", init_method="file://" + os.path.abspath("store"), rank=0, world_size=1)
group.barrier()
"""


@pytest.mark.usefixtures("namespace")
def test_torch_does_not_ask_for_the_name_of_the_machine(environment: dict[str, str]) -> None:
    without = {name: value for name, value in environment.items() if name != "GLOO_SOCKET_IFNAME"}
    command = [sys.executable, "-c", GLOO]
    asking, silent = run_guarded(command, without), run_guarded(command, without | {"GLOO_SOCKET_IFNAME": "lo"})
    assert asking.exit_code == silent.exit_code == 0, asking.stderr
    assert find_attempts(asking) != []
    assert find_attempts(silent) == []


@pytest.mark.vllm
@pytest.mark.usefixtures("namespace")
@pytest.mark.parametrize(
    ("name", "code", "silent_answer"),
    [
        ("VLLM_HOST_IP", "from vllm.utils.network_utils import get_ip; print(get_ip())", "127.0.0.1"),
        (
            "FLASHINFER_CUBINS_REPOSITORY",
            "from vllm.utils.flashinfer import has_nvidia_artifactory as has; print(has())",
            "False",
        ),
    ],
)
def test_vllm_asks_without_the_switch_and_not_with_it(
    environment: dict[str, str], name: str, code: str, silent_answer: str
) -> None:
    without = {variable: value for variable, value in environment.items() if variable != name}
    command = [sys.executable, "-c", code]
    asking, silent = run_guarded(command, without), run_guarded(command, without | {name: OFFLINE[name].value})
    assert any("called by vllm" in line or line.startswith("vllm") for line in find_attempts(asking))
    assert find_attempts(silent) == []
    assert silent.stdout.split()[-1] == silent_answer


@pytest.mark.vllm
@pytest.mark.parametrize("settled", [True, False])
def test_vllm_reports_no_use(settled: bool, environment: dict[str, str]) -> None:
    code = (
        "import json; from vllm.usage.usage_lib import is_usage_stats_enabled as reports; import vllm.envs as envs; "
        "print(json.dumps([not reports(), not envs.VLLM_USE_MODELSCOPE]))"
    )
    assert read_in_new_process((SETTLED if settled else "") + code, environment | OPEN) == [settled] * 2
