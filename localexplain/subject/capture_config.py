"""What capture keeps: settings alone, so that reading them loads no model library."""

from dataclasses import dataclass
from typing import Literal

from localexplain.errors import ConfigError

Dtype = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureConfig:
    """What is kept for each unit.

    units               "all"; "sample:N" (N units, the same number from every layer, by the seed); or a list such as
                        "mlp.0, mlp.3:127"
    top_k               excerpts of highest maximum kept. Source: Bills et al. 2023 keep 20
    random_excerpts     excerpts of the random sample that each unit gets, beyond its top ones; the protocol's 15 make
                        three splits of 5
    stratum_excerpts    examples of each of the five strata of the maximum; 0 leaves the replay pass out
    dtype               of the subject's weights and of what is kept of its activations
    batch_excerpts      excerpts in one forward pass; part of the key, because it moves the last bits
    checkpoint_batches  the state is written this often, and a killed run loses at most that much
    """

    units: str = "all"
    top_k: int = 20
    random_excerpts: int = 15
    stratum_excerpts: int = 5
    dtype: Dtype = "float32"
    device: str = "auto"
    batch_excerpts: int = 32
    checkpoint_batches: int = 64

    def __post_init__(self) -> None:
        for name in ("top_k", "batch_excerpts", "checkpoint_batches"):
            if getattr(self, name) < 1:
                raise ConfigError(f"capture.{name} = {getattr(self, name)}: must be at least 1")
        for name in ("random_excerpts", "stratum_excerpts"):
            if getattr(self, name) < 0:
                raise ConfigError(f"capture.{name} = {getattr(self, name)}: must not be negative")

    @property
    def random_pool_excerpts(self) -> int:
        """Size of the shared sample: a unit skips those among its top ones, so at most top_k more are needed."""
        return self.random_excerpts + self.top_k
