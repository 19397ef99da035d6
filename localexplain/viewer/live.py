"""A reader's own sentence: one unit's real activations on it, and what the run's simulator predicts from a text.

    store ──read_recipe──> LiveRecipe ──LiveModels──┬─ sentence: text ──> the subject, up to the unit's layer
                                                    └─ predict: explanation and tokens ──> the series' simulator

Nothing is loaded before it is asked for, and then only what the run itself was made with: the subject by the hash of
its files, the simulator by its whole identity. A number of another model beside those of the run would mislead.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32

from localexplain.carry.manifest import model_name
from localexplain.errors import ConfigError, LocalexplainError, RunError, UserError
from localexplain.modelfiles import hash_model_folder
from localexplain.pipeline.config import SimulateStage
from localexplain.pipeline.models import SimulatorPlan, model_folder, plan_simulator
from localexplain.pipeline.run import model_key
from localexplain.pipeline.used import used_model
from localexplain.report.columns import Pairs
from localexplain.report.reading import Model, Series, read_models
from localexplain.score.correlation import Undefined, correlation
from localexplain.settings import parse_values
from localexplain.simulate.base import Simulator
from localexplain.store.store import Store
from localexplain.types import Identity, SimulateReply, SimulateTask, Unit

if TYPE_CHECKING:
    from localexplain.subject.model import Subject

LONGEST_CHARACTERS = 4000  # of a text; far more than the tokens below
LONGEST_EXPLANATION_CHARACTERS = 1000  # explainers write a tenth of it
MOST_TOKENS = 512  # of a text: a page still shows them, and a CPU answers within seconds
FILES = "files_sha256"  # the detail that holds the hash of a model's folder


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveRecipe:
    """What the store says about the models of a run.

    subject         as it was captured
    subject_folder  the setting of the newest stage: a path, or the name of a model that ships
    layer_sizes     units of each layer of the subject
    bos_token       the token id the subject read before every excerpt, or None; what the policy came to
    stages          every setting that something was simulated with, newest first
    """

    subject: Model
    subject_folder: str
    layer_sizes: tuple[int, ...]
    bos_token: int | None
    stages: tuple[SimulateStage, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sentence:
    """A text as the subject's tokens [T], and a unit's raw activations on them; T is at least 1."""

    tokens: tuple[str, ...]
    activations: Float32[np.ndarray, " T"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prediction:
    """What a simulator expects on a sentence, and how well that fits the unit's activations.

    expected  [T] in [0, 10]; exactly one of `expected` and `error` is None
    score     correlation of the activations with `expected`; exactly one of `score` and `reason` is None
    """

    expected: Float32[np.ndarray, " T"] | None
    error: str | None
    score: float | None
    reason: str | None


# what the store says --------------------------------------------------------------------------------------------------


def read_stage(config: dict[str, Any]) -> SimulateStage | None:
    """How a run's settings say to simulate; None where this version does not know them."""
    try:
        return parse_values(config.get("simulate", {}), SimulateStage)
    except ConfigError:
        return None


def read_recipe(store: Store) -> LiveRecipe:
    """Raises RunError when nothing is captured in the store, or no stage has ended."""
    captures = store.query("report_capture").to_pylist()
    configs = [json.loads(row["config"]) for row in reversed(store.query("report_stages").to_pylist())]
    if not captures or not configs:
        raise RunError(f"{store.path.parent}: nothing is captured in it yet; run `localexplain run` on it")
    capture = captures[0]
    stages = [stage for config in configs if (stage := read_stage(config)) is not None]
    return LiveRecipe(
        subject=read_models(store)[capture["model_key"]],
        subject_folder=str(configs[0].get("subject", "")),
        layer_sizes=tuple(capture["layer_sizes"]),
        bos_token=capture["bos_token"],
        stages=tuple(dict.fromkeys(stages)),
    )


# what is typed --------------------------------------------------------------------------------------------------------


def check_typed(text: str, what: str, longest_characters: int) -> None:
    """Raises UserError for a text that is too long, or that is no whole text."""
    if len(text) > longest_characters:
        raise UserError(f"the {what} has {len(text)} characters; at most {longest_characters} are taken, so shorten it")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(
            f"the {what} holds half of a character at place {error.start + 1} (a lone surrogate); take it out"
        ) from error


def check_unit(unit: Unit, layer_sizes: tuple[int, ...]) -> None:
    """Raises UserError for a unit that the subject does not have."""
    if unit.basis != "mlp" or unit.layer >= len(layer_sizes) or unit.index >= layer_sizes[unit.layer]:
        raise UserError(
            f"{unit} is no unit of this subject; its layers are mlp.0 to mlp.{len(layer_sizes) - 1}, the units of each "
            "are counted from 0"
        )


# the subject ----------------------------------------------------------------------------------------------------------


def find_subject(recipe: LiveRecipe) -> Path:
    """The folder of the subject that was captured. Raises UserError: imported, not there, or no longer the same."""
    recorded = dict(recipe.subject.details).get(FILES)
    name = recipe.subject.name
    if recorded is None:
        raise UserError(
            f"the subject {name} cannot be asked here: its activations were imported from a release, without the "
            "model; make a run of your own with `localexplain run`"
        )
    folder = model_folder(recipe.subject_folder)
    if not folder.is_dir():
        raise UserError(
            f"the subject {name} cannot be asked here: no such folder {folder}; put the model back there, or, where "
            "the path is a relative one, start from the folder that the run was made in"
        )
    used_model(recipe.subject_folder, "subject")
    if hash_model_folder(folder) != recorded:
        raise UserError(
            f"the subject {name} cannot be asked here: the files in {folder} are not those that the run was made with; "
            "put these back, or make a new run"
        )
    return folder


def load_recorded(recipe: LiveRecipe, device: str) -> "Subject":
    """The subject as it was captured, in the precision it had then.

    Raises UserError as `find_subject` and `load_subject` do, and when it has come out another model.
    """
    from localexplain.subject.model import load_subject

    folder = find_subject(recipe)
    recorded = dict(recipe.subject.details)
    subject = load_subject(folder, recorded["dtype"], device)  # type: ignore[arg-type]  # as a capture wrote it
    if faults := list_differences(recipe.subject.details, subject.identity.details):
        raise UserError(f"the subject {recipe.subject.name} cannot be asked here: {'; '.join(faults)}; make a new run")
    return subject


def encode_typed(subject: "Subject", text: str, bos: int | None) -> list[int]:
    """The text's token ids. Raises UserError: none, more than are taken, or not to be had."""
    from localexplain.subject.model import encode_text

    try:
        token_ids = encode_text(subject, text)
    except LocalexplainError:
        raise
    except Exception as error:  # the tokenizers library raises bare Exceptions
        raise UserError(f"the subject has no tokens for this text ({error}); try another") from error
    most_tokens = min(MOST_TOKENS, subject.context_tokens - (bos is not None))
    if not token_ids:
        raise UserError("the text is empty; type at least one token")
    if len(token_ids) > most_tokens:
        raise UserError(
            f"the text has {len(token_ids)} tokens of the subject's; at most {most_tokens} are taken, so shorten it"
        )
    return token_ids


def read_sentence(subject: "Subject", unit: Unit, text: str, bos: int | None) -> Sentence:
    """The unit's activations on the text, in a forward pass that ends at its layer.

    bos  the token id to go before the text, as in the capture; its activation is left out
    Raises UserError as `encode_typed` does, and for activations that are no finite numbers.
    """
    import torch

    from localexplain.subject.capture import watch_layers
    from localexplain.subject.model import run_tokens

    token_ids = encode_typed(subject, text, bos)
    seen: list[Float32[np.ndarray, " T"]] = []

    def keep(layer: int, activations: torch.Tensor) -> None:
        seen.append(activations[0, :, 0].float().cpu().numpy().copy())

    remove = watch_layers(subject, {unit.layer: torch.tensor([unit.index])}, 0 if bos is None else 1, keep)
    try:
        run_tokens(subject, torch.tensor([token_ids], dtype=torch.int32), bos)
    finally:
        remove()
    if not np.isfinite(seen[0]).all():
        raise UserError(f"{unit} has activations on this text that are not finite numbers; try another text")
    return Sentence(tokens=tuple(subject.texts[token_id] for token_id in token_ids), activations=seen[0])


# the simulator --------------------------------------------------------------------------------------------------------


def list_differences(recorded: Pairs, here: Pairs) -> tuple[str, ...]:
    """What differs between a model as it was and as it is here, in words; none where nothing does.

    >>> list_differences((("dtype", "float32"), ("torch", "2.9.0")), (("dtype", "float32"), ("torch", "2.9.1")))
    ('torch was 2.9.0 in the run and is 2.9.1 here',)
    """
    old, new = dict(recorded), dict(here)
    names = [name for name in sorted(old | new) if old.get(name) != new.get(name)]
    return tuple(
        "its files have changed"
        if name == FILES and name in old and name in new
        else f"{name} was {old.get(name, 'not set')} in the run and is {new.get(name, 'not set')} here"
        for name in names
    )


def may_have_made(stage: SimulateStage, simulator: Model) -> bool:
    """Whether the settings name such a simulator; tells cheaply which ones need not be planned, for that takes a hash
    of all the model's files."""
    if "rule" in (stage.simulator, simulator.kind):
        return stage.simulator == simulator.kind
    named = (stage.engine.kind, model_name(model_folder(stage.simulator)), stage.prompt.mode)
    return named == (simulator.kind, simulator.name, dict(simulator.details).get("simulate.mode"))


def describe_other(simulator: Model, identity: Identity) -> tuple[str, ...]:
    """What differs between the simulator and one planned here, which is another; at least one line."""
    faults = list_differences(simulator.details, identity.details)
    return faults or (f"it is {simulator.name} in the run and {identity.name} here",)


def plan_again(simulator: Model, stages: tuple[SimulateStage, ...], device: str) -> SimulatorPlan:
    """The plan of the very simulator that the store names.

    device  where transformers runs it, which is no part of its identity
    Raises UserError where it was imported or cannot be had again, with what differs in the settings nearest to it.
    """
    refusal = f"the simulator {simulator.name} cannot be asked here:"
    if simulator.kind == "published":
        raise UserError(f"{refusal} its predictions were imported from a release, without the model; choose another")
    if simulator.kind == "control":
        raise UserError(f"{refusal} it is a control, which reads no explanation; choose another")
    faults: list[tuple[str, ...]] = []
    for stage in stages:
        if not may_have_made(stage, simulator):
            continue
        try:
            plan = plan_simulator(replace(stage, engine=replace(stage.engine, device=device)))
        except UserError as error:
            faults.append((str(error),))
            continue
        if model_key(plan.identity) == simulator.key:
            return plan
        faults.append(describe_other(simulator, plan.identity))
    if not faults:
        raise UserError(f"{refusal} no settings stored in the run name it; simulate again with `localexplain simulate`")
    fewest: tuple[str, ...] = min(faults, key=len)
    raise UserError(f"{refusal} {'; '.join(fewest)}; put that right, or simulate again with `localexplain simulate`")


def judge_reply(reply: SimulateReply, sentence: Sentence) -> Prediction:
    """The reply with its score, over the tokens of the one sentence."""
    if reply.expected is None:
        error = reply.error or "the simulator gave no reason"
        return Prediction(expected=None, error=error, score=None, reason=f"the simulation failed: {error}")
    found = correlation(sentence.activations, reply.expected)
    if isinstance(found, Undefined):
        return Prediction(expected=reply.expected, error=None, score=None, reason=found.reason)
    return Prediction(expected=reply.expected, error=None, score=found, reason=None)


# both, while a viewer runs --------------------------------------------------------------------------------------------


class LiveModels:
    """The subject and one simulator of a run, each loaded when first asked for and kept; safe to call from threads.

    Calls to one model wait for each other. A simulator that another one replaces is closed first, so that there are
    never more than two models. A load that failed is tried again by the next call.

    device  "auto", "cpu", "cuda" ...: where the run's models ran does not count here
    """

    def __init__(self, recipe: LiveRecipe, *, device: str = "auto") -> None:
        self.recipe = recipe
        self._device = device
        self._closed = False
        self._subject_lock = Lock()
        self._subject: Subject | None = None
        self._simulator_lock = Lock()
        self._simulator: Simulator | None = None
        self._simulator_key = ""

    def subject(self) -> "Subject":
        """The subject, for its weights and tokens; a forward pass through it is for `sentence` alone, whose hooks would
        see it. Raises UserError as `sentence` does."""
        with self._subject_lock:
            return self._loaded_subject()

    def sentence(self, unit: Unit, text: str) -> Sentence:
        """The unit's activations on a text.

        Raises UserError: a text that is empty, too long or no text; no such unit; a subject that is not at hand.
        """
        check_typed(text, "text", LONGEST_CHARACTERS)
        if not text:
            raise UserError("the text is empty; type at least one token")
        check_unit(unit, self.recipe.layer_sizes)
        with self._subject_lock:
            return read_sentence(self._loaded_subject(), unit, text, self.recipe.bos_token)

    def predict(self, series: Series, explanation: str, sentence: Sentence) -> Prediction:
        """What the series' simulator expects on the sentence from the explanation ("" is the empty control).

        Raises UserError: an explanation that is too long or no text, a simulator that is not at hand; EngineError when
        the simulator stops working as a whole.
        """
        check_typed(explanation, "explanation", LONGEST_EXPLANATION_CHARACTERS)
        task = SimulateTask(explanation=explanation, tokens=sentence.tokens)
        with self._simulator_lock:
            reply = self._loaded_simulator(series.simulator).simulate([task])[0]
        return judge_reply(reply, sentence)

    def close(self) -> None:
        """Waits for the calls under way and frees both models; every later call is refused with UserError."""
        self._closed = True
        with self._subject_lock:
            self._subject = None
        with self._simulator_lock:
            self._drop_simulator()

    def _loaded_subject(self) -> "Subject":
        self._check_open()
        if self._subject is None:
            self._subject = load_recorded(self.recipe, self._device)
        return self._subject

    def _loaded_simulator(self, simulator: Model) -> Simulator:
        self._check_open()
        if self._simulator is None or self._simulator_key != simulator.key:
            plan = plan_again(simulator, self.recipe.stages, self._device)
            self._drop_simulator()
            self._simulator, self._simulator_key = plan.load(), simulator.key
        return self._simulator

    def _drop_simulator(self) -> None:
        held, self._simulator = self._simulator, None
        if held is not None:
            held.close()

    def _check_open(self) -> None:
        if self._closed:
            raise UserError("these models were put away: the viewer is closing, or its run has changed; ask again")
