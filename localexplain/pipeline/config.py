"""The settings of a whole run, one table a stage; stored with the run. See docs/configuration.md."""

from dataclasses import dataclass
from typing import Literal

from localexplain.errors import ConfigError
from localexplain.explain.language_model import ExplainConfig
from localexplain.simulate.base import SimulateConfig
from localexplain.subject.capture_config import CaptureConfig
from localexplain.subject.corpus import CorpusConfig

Control = Literal["lookup", "linear", "shuffled", "empty"]
SEED_LIMIT = 2**63  # a BIGINT of the store
ALL_CONTROLS: tuple[Control, ...] = ("lookup", "linear", "shuffled", "empty")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """Which engine runs a language model, and how.

    kind             "transformers" or "vllm"
    dtype            of weights and activations
    device           transformers: "auto", "cpu", "cuda", "cuda:1" ...; vLLM chooses by itself
    context_tokens   0 is the model's own; a smaller one saves memory
    tensor_parallel  vLLM: GPUs that share the model
    memory_fraction  vLLM: share of the GPU's memory it may use
    quantization     vLLM: "" reads it from the checkpoint; else vLLM's name of it
    """

    kind: Literal["transformers", "vllm"] = "transformers"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    device: str = "auto"
    context_tokens: int = 0
    tensor_parallel: int = 1
    memory_fraction: float = 0.9
    quantization: str = ""

    def __post_init__(self) -> None:
        if self.kind == "transformers" and self.dtype == "float16":
            raise ConfigError('engine.dtype = "float16": only vLLM runs it; use "float32" or "bfloat16"')
        if self.context_tokens < 0:
            raise ConfigError(f"engine.context_tokens = {self.context_tokens}: must not be negative")
        if self.tensor_parallel < 1:
            raise ConfigError(f"engine.tensor_parallel = {self.tensor_parallel}: must be at least 1")
        if not 0 < self.memory_fraction <= 1:
            raise ConfigError(f"engine.memory_fraction = {self.memory_fraction}: must be above 0 and at most 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainStage:
    """explainer  "lookup", a model folder, or the name of a model that ships
    units      which of the captured units: "all", "sample:N" or a list (see CaptureConfig.units)
    prompt     how a language model is asked; ignored by "lookup"
    """

    explainer: str = "lookup"
    units: str = "all"
    prompt: ExplainConfig = ExplainConfig()
    engine: EngineConfig = EngineConfig()


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulateStage:
    """simulator  "rule", a model folder, or the name of a model that ships
    calibrate  "linear" simulates the calibration records too, for the metrics that need a scale; "none" saves that half
    controls   what is simulated beside the explanations
    """

    simulator: str = "rule"
    calibrate: Literal["linear", "none"] = "linear"
    controls: tuple[Control, ...] = ALL_CONTROLS
    prompt: SimulateConfig = SimulateConfig(mode="rule")
    engine: EngineConfig = EngineConfig()

    def __post_init__(self) -> None:
        if len(set(self.controls)) < len(self.controls):
            raise ConfigError(f"simulate.controls = {list(self.controls)}: names a control twice; name it once")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """Everything that a run's numbers depend on.

    subject  a model folder, or the name of a model that ships
    seed     of every random choice, 0 to 2^63 - 1
    """

    subject: str = "tiny-subject"
    seed: int = 0
    corpus: CorpusConfig = CorpusConfig()
    capture: CaptureConfig = CaptureConfig()
    explain: ExplainStage = ExplainStage()
    simulate: SimulateStage = SimulateStage()

    def __post_init__(self) -> None:
        if not 0 <= self.seed < SEED_LIMIT:
            raise ConfigError(f"seed = {self.seed}: must be from 0 to 2^63 - 1")
