"""What the parts share: sizes told to the reader, the peak of a process, random subjects, the last line of JSON."""

import argparse
import json
import os
import platform
import resource
import statistics
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from localexplain.subject.corpus import ExcerptPool
    from localexplain.subject.model import Subject

PACKAGES = ("localexplain", "torch", "transformers", "duckdb", "pyarrow", "numpy")
LENGTH_TOKENS = 64
GPT2_SMALL = {"n_layer": 12, "n_embd": 768, "n_head": 12, "vocab_size": 50257}


def say(line: str) -> None:
    """Progress, on standard error: standard output is for the numbers."""
    print(line, file=sys.stderr, flush=True)


def run_part(measure: Callable[[bool], dict[str, Any]]) -> None:
    """The command line of a part: measures and prints one JSON object on the last line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="a smoke run: tiny sizes, numbers without meaning")
    print(json.dumps(measure(parser.parse_args().quick)), flush=True)


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    versions: dict[str, str] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count(), "load": load, **versions}


def peak_bytes() -> int:
    """The most memory this process has held so far.

    VmHWM where there is one: on Linux ru_maxrss starts at what the parent held when it started this process.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Median and quartiles, with n."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return {"median": round(middle, 4), "low": round(low, 4), "high": round(high, 4), "n": len(values)}


def random_pool(n_excerpts: int, vocabulary: int, length_tokens: int = LENGTH_TOKENS, seed: int = 0) -> "ExcerptPool":
    """Excerpts of random tokens, one a document."""
    from localexplain.subject.corpus import ExcerptPool

    generator = np.random.default_rng(seed)
    return ExcerptPool(
        token_ids=generator.integers(0, vocabulary, (n_excerpts, length_tokens)).astype(np.int32),
        document=np.arange(n_excerpts, dtype=np.int32),
        offset=np.zeros(n_excerpts, dtype=np.int64),
        hashes=generator.integers(0, 1 << 63, n_excerpts).astype(np.uint64),
        document_ids=tuple(f"{row}.txt" for row in range(n_excerpts)),
        n_duplicates=0,
    )


def random_gpt2(dtype: str, **shape: int) -> "Subject":
    """A GPT-2 of random weights, held as `load_subject` would hold it."""
    import torch
    from transformers import GPT2Config, GPT2Model

    from localexplain.subject.model import Subject, fuse_gelu
    from localexplain.subject.sites import find_sites
    from localexplain.types import Identity

    torch.manual_seed(0)
    config = GPT2Config(**shape, bos_token_id=None, eos_token_id=None, attn_implementation="sdpa")
    base = GPT2Model(config).to(getattr(torch, dtype)).eval().requires_grad_(False)
    fuse_gelu(base)
    return Subject(
        identity=Identity(kind="subject", name="random-gpt2"),
        base=base,
        tokenizer=None,
        sites=find_sites(base, config.vocab_size),
        texts=tuple(f"t{index}" for index in range(config.vocab_size)),
        context_tokens=config.n_positions,
        device=torch.device("cpu"),
    )


def every_unit(subject: "Subject") -> "dict[int, Any]":
    """layer -> indices of all its units."""
    import torch

    return {site.layer: torch.arange(site.n_units) for site in subject.sites}
