"""All scores of one simulated unit. Tokens of all excerpts are concatenated before a metric sees them: the mean of
per-excerpt correlations is another number, and cannot tell an excerpt where the unit is silent from one where it fires.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from localexplain.score.calibrate import Calibration, Fit, fit_linear
from localexplain.score.correlation import (
    Metric,
    Undefined,
    absolute_deviation_explained,
    correlation,
    explained_variance,
)
from localexplain.types import Score

ScoredKind = Literal["top", "random"]
Selection = Literal["top_and_random", "random_only"]

SELECTIONS: dict[Selection, tuple[ScoredKind, ...]] = {
    "top_and_random": ("top", "random"),
    "random_only": ("random",),
}
RAW_METRICS: dict[str, Metric] = {"correlation": correlation}
CALIBRATED_METRICS: dict[str, Metric] = {
    "explained_variance": explained_variance,
    "absolute_deviation_explained": absolute_deviation_explained,
}
NO_CALIBRATION_SIMULATIONS = "no calibration simulations"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoredExcerpt:
    """One excerpt with the unit's activations and what was simulated: exactly one of `predicted` and `error` is None.

    true       [T] raw activations
    predicted  [T] on any scale, the same for all excerpts of the unit; None where the simulation failed
    error      why it failed

    Raises: ValueError where that does not hold.
    """

    kind: ScoredKind
    true: Float[np.ndarray, " T"]
    predicted: Float[np.ndarray, " T"] | None
    error: str | None = None

    def __post_init__(self) -> None:
        if (self.predicted is None) == (self.error is None):
            raise ValueError("exactly one of predicted and error must be None")
        if self.predicted is not None and (self.true.ndim != 1 or self.true.shape != self.predicted.shape):
            raise ValueError(f"true {self.true.shape} and predicted {self.predicted.shape} must be 1-D, equally long")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitScore:
    """A score, and the valid excerpts it is over: "top_and_random" or "random_only"."""

    selection: Selection
    score: Score


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Concatenated:
    """The tokens of several excerpts, one excerpt after another: true and predicted are [tokens]."""

    true: Float[np.ndarray, " tokens"]
    predicted: Float[np.ndarray, " tokens"]


def concatenate(excerpts: Sequence[ScoredExcerpt], noun: str) -> Concatenated | Undefined:
    """All excerpts as one, in their order; undefined as soon as one simulation is missing, for a score over the rest
    would be one over easier excerpts. `excerpts` is not empty; `noun` names the simulations in the reason."""
    errors = [excerpt.error for excerpt in excerpts if excerpt.error is not None]
    if errors:
        return Undefined(reason=f"{len(errors)} of {len(excerpts)} {noun} failed: {errors[0]}")
    return Concatenated(
        true=np.concatenate([excerpt.true for excerpt in excerpts]),
        predicted=np.concatenate([excerpt.predicted for excerpt in excerpts if excerpt.predicted is not None]),
    )


def fit_calibration(excerpts: Sequence[ScoredExcerpt], fit: Fit) -> Calibration | Undefined:
    """The calibration fitted on all of `excerpts`, or why there is none."""
    if not excerpts:
        return Undefined(reason=NO_CALIBRATION_SIMULATIONS)
    together = concatenate(excerpts, "calibration simulations")
    return together if isinstance(together, Undefined) else fit(together.true, together.predicted)


def select_excerpts(
    excerpts: Sequence[ScoredExcerpt], kinds: tuple[ScoredKind, ...]
) -> tuple[ScoredExcerpt, ...] | Undefined:
    """The excerpts of these kinds; undefined where a kind has none, for the score would be another selection's."""
    present = {excerpt.kind for excerpt in excerpts}
    absent = [kind for kind in kinds if kind not in present]
    if absent:
        return Undefined(reason=f"no {' and no '.join(absent)} excerpts")
    return tuple(excerpt for excerpt in excerpts if excerpt.kind in kinds)


def measure(
    metric: Metric, together: Concatenated | Undefined, calibration: Calibration | Undefined | None
) -> float | Undefined:
    """The metric's value, after `calibration` unless that is None (the metric takes simulations as they came)."""
    if isinstance(together, Undefined):
        return together
    if isinstance(calibration, Undefined):
        return calibration
    predicted = together.predicted if calibration is None else calibration.apply(together.predicted)
    return metric(together.true, predicted)


def score_selection(
    valid: Sequence[ScoredExcerpt], selection: Selection, calibration: Calibration | Undefined
) -> tuple[UnitScore, ...]:
    """Every metric over one selection of the valid excerpts, in the order of RAW_METRICS, then CALIBRATED_METRICS."""
    kinds = SELECTIONS[selection]
    chosen = select_excerpts(valid, kinds)
    together = chosen if isinstance(chosen, Undefined) else concatenate(chosen, "simulations")
    values = {name: measure(metric, together, None) for name, metric in RAW_METRICS.items()}
    values |= {name: measure(metric, together, calibration) for name, metric in CALIBRATED_METRICS.items()}
    of_kinds = [excerpt for excerpt in valid if excerpt.kind in kinds]
    return tuple(
        UnitScore(
            selection=selection,
            score=Score(
                metric=name,
                value=None if isinstance(value, Undefined) else value,
                reason=value.reason if isinstance(value, Undefined) else None,
                n_tokens=sum(excerpt.true.size for excerpt in of_kinds),
                n_excerpts=len(of_kinds),
            ),
        )
        for name, value in values.items()
    )


def score_unit(
    valid: Sequence[ScoredExcerpt], calibration: Sequence[ScoredExcerpt], fit: Fit = fit_linear
) -> tuple[UnitScore, ...]:
    """Every metric over every selection of the valid excerpts: always one row for each pair, with a value or a reason.

    One calibration, fitted on all `calibration` excerpts whatever their kind, serves both selections. n_tokens and
    n_excerpts count the selection's excerpts, those whose simulation failed too. A value is None, and never one over
    fewer excerpts, where a kind has no excerpt, where a simulation failed or where the metric is undefined; without a
    calibration the calibrated metrics alone are None. Source: Bills et al. 2023, whose code fits on and scores the
    same splits.
    """
    fitted = fit_calibration(calibration, fit)
    return tuple(score for selection in SELECTIONS for score in score_selection(valid, selection, fitted))
