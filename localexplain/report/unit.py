"""One unit as people are shown it: statistics, explanations, scores beside controls, records beside simulations."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from localexplain.errors import RunError, UserError
from localexplain.report.reading import CORRELATION, SOURCES, Model, read_models
from localexplain.store.store import Store
from localexplain.types import parse_unit


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitExplanation:
    """`number` counts from 1 among the unit's explanations; it names the explanation beside its simulations.
    `excerpt_ids` are the records the explainer saw."""

    number: int
    key: str
    explainer: Model
    sample: int
    text: str
    excerpt_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What an explainer was shown, and what it answered before anything was cut off."""

    prompt: str
    raw: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitScore:
    """A score of the unit: exactly one of `value` and `reason` is None.

    explanation_key  what was simulated: the unit's own explanation, for "shuffled" another unit's; None for the other
                     controls, and where there is no explanation
    explainer        whose explanation that is, or would be, and `sample` which of its samples
    other_unit       for "shuffled": the unit whose explanation, `other_text`, stood in
    """

    source: str
    simulator: Model
    mode: str
    selection: str
    metric: str
    value: float | None
    reason: str | None
    n_tokens: int
    n_excerpts: int
    explanation_key: str | None
    explainer: Model | None
    sample: int | None
    other_unit: str | None
    other_text: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """What a simulator expected [T], 0 to 10, from one of the unit's explanations."""

    explanation_key: str
    simulator_key: str
    mode: str
    expected: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitRecord:
    """The unit on one excerpt: tokens [T] and raw activations [T], and the simulations of it, if any."""

    excerpt_id: int
    kind: str
    rank: int
    stratum: int | None
    split: str | None
    document_id: str
    offset_tokens: int
    tokens: tuple[str, ...]
    activations: tuple[float, ...]
    simulated: tuple[Simulated, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitFailure:
    """An item of the unit that was tried and failed: its explanation, or the simulation of an excerpt."""

    stage: str
    excerpt_id: int | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """What a release says of the unit: its score as stored, None where that was no number, and as recomputed from the
    released simulations, None with the reason."""

    release: str
    stored_score: float | None
    recomputed_score: float | None
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitReport:
    """Everything the store has about a unit.

    exchanges    explanation key -> what made it
    released     None for a unit of a run of one's own
    status       "ok" or "too_few_active"
    mean, standard_deviation, lowest, highest   of its raw activation over all n_tokens tokens of the corpus
    records      top ones by rank, then examples of the strata, then random ones
    """

    unit: str
    layer: int
    status: str
    n_tokens: int
    n_excerpts: int
    n_active_excerpts: int
    active_token_fraction: float
    mean: float
    standard_deviation: float
    lowest: float
    highest: float
    explanations: tuple[UnitExplanation, ...]
    exchanges: dict[str, Exchange]
    released: Released | None
    scores: tuple[UnitScore, ...]
    records: tuple[UnitRecord, ...]
    failures: tuple[UnitFailure, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """An explanation's scores by one simulator, and the controls' correlation that they are read beside.
    `explanation` is None for a unit that has none: its scores then say why."""

    explanation: UnitExplanation | None
    explainer: Model
    simulator: Model
    mode: str
    scores: tuple[UnitScore, ...]
    controls: tuple[UnitScore, ...]


# finding it -----------------------------------------------------------------------------------------------------------


def refuse_unit(text: str, captured: Sequence[dict[str, Any]], layer_sizes: Sequence[int]) -> NoReturn:
    """Raises UserError for a unit that is not in the run, naming the range that it is out of.

    captured     rows of report_unit_range
    layer_sizes  units of each layer of the subject, captured or not
    """
    if not captured:
        raise RunError(f"{text}: the run holds no units yet; finish its capture first")
    unit = parse_unit(text)
    bases = sorted({row["basis"] for row in captured})
    if unit is None or unit.basis not in bases:
        example = f"{bases[0]}.{captured[0]['layer']}:{captured[0]['first_index']}"
        raise UserError(
            f"{text!r} is no unit of this run; write a basis ({', '.join(bases)}), a layer and an index, "
            f'like "{example}"'
        )
    if unit.layer >= len(layer_sizes):
        raise UserError(f"{text}: out of range; layers go from 0 to {len(layer_sizes) - 1}")
    if unit.index >= layer_sizes[unit.layer]:
        raise UserError(f"{text}: out of range; layer {unit.layer} has units 0 to {layer_sizes[unit.layer] - 1}")
    here = [row for row in captured if (row["basis"], row["layer"]) == (unit.basis, unit.layer)]
    if not here:
        layers = ", ".join(str(row["layer"]) for row in captured if row["basis"] == unit.basis)
        raise UserError(f"{text}: not captured in this run, which holds layers {layers}")
    first, last, n = here[0]["first_index"], here[0]["last_index"], here[0]["n"]
    raise UserError(
        f"{text}: not captured in this run, which holds {n} units of layer {unit.layer}, from {first} to {last}"
    )


def find_unit(store: Store, text: str) -> dict[str, Any]:
    """The row of `units`. Raises UserError, naming the range, when the run does not hold it."""
    unit = parse_unit(text)  # "mlp.03:7" is mlp.3:7
    rows: list[dict[str, Any]] = store.query("report_unit", unit=str(unit)).to_pylist()
    if not rows:
        captures = store.query("report_capture").to_pylist()
        sizes = captures[0]["layer_sizes"] if captures else []
        refuse_unit(text, store.query("report_unit_range").to_pylist(), sizes)
    return rows[0]


# reading it -----------------------------------------------------------------------------------------------------------


def read_explanations(store: Store, unit_id: int, models: dict[str, Model]) -> tuple[UnitExplanation, ...]:
    rows = store.query("report_unit_explanations", unit_id=unit_id).to_pylist()
    return tuple(
        UnitExplanation(
            number=number,
            key=row["explanation_key"],
            explainer=models[row["explainer_key"]],
            sample=row["sample"],
            text=row["text"],
            excerpt_ids=tuple(row["excerpt_ids"]),
        )
        for number, row in enumerate(rows, start=1)
    )


def read_exchanges(store: Store, unit_id: int) -> dict[str, Exchange]:
    """Explanation key -> what made it."""
    rows = store.query("report_unit_prompts", unit_id=unit_id).to_pylist()
    return {row["explanation_key"]: Exchange(prompt=row["prompt"], raw=row["raw"]) for row in rows}


def read_unit_scores(store: Store, unit_id: int, models: dict[str, Model]) -> tuple[UnitScore, ...]:
    """In the order of SOURCES."""
    scores: list[UnitScore] = []
    for row in store.query("report_unit_scores", unit_id=unit_id).to_pylist():
        simulator, explainer_key = models[row.pop("simulator_key")], row.pop("explainer_key")
        scores.append(UnitScore(simulator=simulator, explainer=models.get(explainer_key), **row))
    return tuple(sorted(scores, key=lambda score: SOURCES.index(score.source)))


def read_unit_records(store: Store, unit_id: int) -> tuple[UnitRecord, ...]:
    simulated: dict[int, list[Simulated]] = {}
    for row in store.query("report_unit_simulations", unit_id=unit_id).to_pylist():
        about = Simulated(
            explanation_key=row["explanation_key"],
            simulator_key=row["simulator_key"],
            mode=row["mode"],
            expected=tuple(row["expected"]),
        )
        simulated.setdefault(row["excerpt_id"], []).append(about)
    return tuple(
        UnitRecord(
            excerpt_id=row["excerpt_id"],
            kind=row["kind"],
            rank=row["rank"],
            stratum=row["stratum"],
            split=row["split"],
            document_id=row["document_id"],
            offset_tokens=row["offset_tokens"],
            tokens=tuple(row["tokens"]),
            activations=tuple(row["activations"]),
            simulated=tuple(simulated.get(row["excerpt_id"], ())),
        )
        for row in store.query("report_unit_records", unit_id=unit_id).to_pylist()
    )


def read_unit(store: Store, unit: str) -> UnitReport:
    """Raises UserError, naming the range, when the run does not hold the unit."""
    row = find_unit(store, unit)
    unit_id, models = row["unit_id"], read_models(store)
    failures = store.query("report_unit_failures", unit_id=unit_id).to_pylist()
    released = store.query("report_unit_published", unit_id=unit_id).to_pylist()
    return UnitReport(
        unit=row["unit"],
        layer=row["layer"],
        status=row["status"],
        n_tokens=row["n_tokens"],
        n_excerpts=row["n_excerpts"],
        n_active_excerpts=row["n_active_excerpts"],
        active_token_fraction=row["active_token_fraction"],
        mean=row["mean"],
        standard_deviation=math.sqrt(row["variance"]),
        lowest=row["lowest"],
        highest=row["highest"],
        explanations=read_explanations(store, unit_id, models),
        exchanges=read_exchanges(store, unit_id),
        released=Released(**released[0]) if released else None,
        scores=read_unit_scores(store, unit_id, models),
        records=read_unit_records(store, unit_id),
        failures=tuple(UnitFailure(**failure) for failure in failures),
    )


# arranging it ---------------------------------------------------------------------------------------------------------


def controls_of(report: UnitReport, like: UnitScore) -> tuple[UnitScore, ...]:
    """Correlations of the controls that belong beside a score of an explanation: its simulator's empty and shuffled
    ones (the explanation that stood in is of the same explainer and sample), and those without a language model."""

    def belongs(score: UnitScore) -> bool:
        if score.metric != CORRELATION or score.source == "explanation":
            return False
        is_its = (
            (score.simulator, score.mode) == (like.simulator, like.mode)
            and score.explainer in (None, like.explainer)
            and (score.sample is None or like.sample in (None, score.sample))
        )
        return is_its or score.source in ("lookup", "linear")

    return tuple(score for score in report.scores if belongs(score))


def judge(report: UnitReport) -> tuple[Judgement, ...]:
    """One for each explanation and simulator that there are scores of, in the order of the explanations, then of those
    that could not be made."""
    by_key = {explanation.key: explanation for explanation in report.explanations}
    groups: dict[tuple[str | None, str | None, str, str], list[UnitScore]] = {}
    for score in report.scores:
        if score.explainer and score.source == "explanation":
            about = (score.explanation_key, score.explainer.key, score.simulator.key, score.mode)
            groups.setdefault(about, []).append(score)
    judgements = [
        Judgement(
            explanation=by_key.get(scores[0].explanation_key or ""),
            explainer=scores[0].explainer,
            simulator=scores[0].simulator,
            mode=scores[0].mode,
            scores=tuple(scores),
            controls=controls_of(report, scores[0]),
        )
        for scores in groups.values()
        if scores[0].explainer
    ]
    last = len(report.explanations) + 1
    return tuple(sorted(judgements, key=lambda item: item.explanation.number if item.explanation else last))


def choose_records(records: Sequence[UnitRecord], n_top: int, n_random: int) -> tuple[UnitRecord, ...]:
    """The records to show: the top one, then of each kind first those that are scored, then others that are simulated,
    then the rest; shown by kind and rank."""

    def wish(record: UnitRecord) -> tuple[bool, bool, bool, int]:
        is_peak = record.kind == "top" and record.rank == 0
        is_scored = record.split == "valid" and bool(record.simulated)
        return not is_peak, not is_scored, not record.simulated, record.rank

    chosen: list[UnitRecord] = []
    for kind, n in (("top", n_top), ("random", n_random)):
        of_kind = sorted((record for record in records if record.kind == kind), key=wish)
        chosen += sorted(of_kind[:n], key=lambda record: record.rank)
    return tuple(chosen)
