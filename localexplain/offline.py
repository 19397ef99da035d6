"""The switches that keep libraries off the network, in one place, each with its reason.

Libraries read them when they are imported, so they are settled before: by the command line first of all, by
`localexplain.api` before it loads anything, by the tests before they import anything. What a process starts inherits
them. `localexplain doctor --offline` shows whether they are enough.
"""

import os
import sys
from collections.abc import MutableMapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """A variable of the environment.

    forced  True: set whatever the user has set, since any other value opens the network; False: set where the user has
            set nothing, since a value of the user's own is as silent
    """

    value: str
    forced: bool
    reason: str


def silence(value: str, reason: str) -> Switch:
    return Switch(value=value, forced=True, reason=reason)


def comfort(value: str, reason: str) -> Switch:
    return Switch(value=value, forced=False, reason=reason)


OFFLINE = {
    # the hub and what asks it
    "HF_HUB_OFFLINE": silence("1", "the hub's library refuses every request, also to ask whether a file is newer"),
    "TRANSFORMERS_OFFLINE": silence("1", "an older name of the same, which some libraries still read alone"),
    "HF_DATASETS_OFFLINE": silence("1", "the same for datasets, which has a switch of its own"),
    "HF_HUB_DISABLE_TELEMETRY": silence("1", "no figures of use with a request"),
    "HF_HUB_DISABLE_XET": silence("1", "a second client for downloads, compiled, with connections of its own"),
    "USE_HUB_KERNELS": silence("0", "transformers fetches compiled kernels from the hub where their loader is there"),
    # vLLM and what it brings
    "DO_NOT_TRACK": silence("1", "vLLM's figures of use, and those of everybody else who honours it"),
    "VLLM_DO_NOT_TRACK": silence("1", "goes before DO_NOT_TRACK in vLLM, so that a 0 here would undo it"),
    "VLLM_NO_USAGE_STATS": silence("1", "the same by its first name"),
    "VLLM_USE_MODELSCOPE": silence("0", "another hub, which the switches above do not reach"),
    "FLASHINFER_NO_DOWNLOAD": silence("1", "compiled kernels for GPUs are taken from the disk or not at all"),
    "FLASHINFER_CUBINS_REPOSITORY": silence(
        "none", "vLLM asks on some GPUs whether this address answers; this is none"
    ),
    "RAY_USAGE_STATS_ENABLED": silence("0", "Ray, where vLLM spreads over GPUs with it, sends figures of use"),
    "OTEL_SDK_DISABLED": silence("true", "OpenTelemetry, where it is installed, exports traces and figures"),
    "VLLM_HOST_IP": comfort("127.0.0.1", "else vLLM finds its address by connecting to a public one, sending nothing"),
    # torch
    "TORCHINDUCTOR_FX_GRAPH_REMOTE_CACHE": silence("0", "compiled graphs are looked up on a server of the network"),
    "TORCHINDUCTOR_AUTOGRAD_REMOTE_CACHE": silence("0", "likewise"),
    "TORCHINDUCTOR_AUTOTUNE_REMOTE_CACHE": silence("0", "likewise"),
    "TORCHINDUCTOR_BUNDLED_AUTOTUNE_REMOTE_CACHE": silence("0", "likewise"),
    "GLOO_SOCKET_IFNAME": comfort(
        "lo0" if sys.platform == "darwin" else "lo",
        "else torch.distributed looks up the machine's name, which may be asked of a name server",
    ),
    "LOGNAME": comfort(str(os.getuid()), "else torch asks the system who the user is, and that may ask the network"),
    # what is no matter of the network, and every process wants
    "TORCH_CPP_LOG_LEVEL": comfort("ERROR", "torch warns about machines without NUMA"),
    "TOKENIZERS_PARALLELISM": comfort("false", "its threads and a later fork do not go together, and it warns of it"),
}


def settle_offline(environment: MutableMapping[str, str]) -> None:
    """Sets every switch in `environment`: the forced ones always, the others where they are unset or empty.

    >>> variables = {"HF_HUB_OFFLINE": "0", "VLLM_HOST_IP": "10.0.0.7"}
    >>> settle_offline(variables)
    >>> variables["HF_HUB_OFFLINE"], variables["VLLM_HOST_IP"], variables["TOKENIZERS_PARALLELISM"]
    ('1', '10.0.0.7', 'false')
    """
    for name, switch in OFFLINE.items():
        if switch.forced or not environment.get(name):
            environment[name] = switch.value
