"""The pages that ask the models: a unit by its weights, and on a text of the reader's own."""

from collections.abc import Sequence
from dataclasses import dataclass

from localexplain.errors import LocalexplainError
from localexplain.report.shading import SIMULATED_SCALE, find_maximum, visible
from localexplain.report.unit import find_unit, read_unit
from localexplain.report.unit_view import HeatMap, Judged, judge_all, show_tokens
from localexplain.types import Unit, parse_unit
from localexplain.viewer.browse import read_listed
from localexplain.viewer.desk import Desk, Look
from localexplain.viewer.live import Prediction
from localexplain.viewer.pages import table_series
from localexplain.viewer.query import SentenceState, UnitState

N_CONNECTIONS = 10  # of each sort


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedToken:
    """A token in visible form."""

    text: str
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedUnit:
    """A related unit, with its score and explanation in the series; None where it has none."""

    unit: str
    weight: float
    value: float | None
    text: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsPage:
    """Each list as (title, strongest first, most negative first)."""

    unit: str
    tokens: tuple[tuple[str, tuple[WeightedToken, ...], tuple[WeightedToken, ...]], ...]
    units: tuple[tuple[str, tuple[WeightedUnit, ...], tuple[WeightedUnit, ...]], ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SentencePage:
    """judged      the unit's explanations, to begin from
    explanation    that was tried, or is offered for a try
    map            the text's heat map; None before a text is given
    prediction     of the explanation; None where there was none to ask for
    trouble        why there is no prediction
    """

    unit: str
    judged: tuple[Judged, ...]
    explanation: str
    map: HeatMap | None
    maximum: float
    prediction: Prediction | None
    trouble: str | None


def named_unit(look: Look, text: str) -> Unit:
    """Raises UserError, naming the range, when the run does not hold it."""
    unit = parse_unit(find_unit(look.store, text)["unit"])
    assert unit is not None, text
    return unit


def read_weights_page(look: Look, desk: Desk, text: str, state: UnitState) -> WeightsPage:
    """Raises UserError: no such unit, or a subject that is not at hand."""
    from localexplain.subject.weights import RelatedUnit, TokenWeight, read_connections

    unit = named_unit(look, text)
    subject = desk.models(look.store).subject()
    found = read_connections(subject, unit, desk.unembedding(look.store), N_CONNECTIONS)
    related = (*found.upstream_high, *found.upstream_low, *found.downstream_high, *found.downstream_low)
    names = sorted({str(item.unit) for item in related})
    listed = read_listed(look.store, table_series(look.glance, state.series), names)

    def tokens(items: Sequence[TokenWeight]) -> tuple[WeightedToken, ...]:
        return tuple(WeightedToken(text=visible(item.text), weight=item.weight) for item in items)

    def units(items: Sequence[RelatedUnit]) -> tuple[WeightedUnit, ...]:
        rows = [(str(item.unit), item.weight, *listed.get(str(item.unit), (None, None))) for item in items]
        return tuple(
            WeightedUnit(unit=name, weight=weight, value=value, text=said) for name, weight, value, said in rows
        )

    return WeightsPage(
        unit=str(unit),
        tokens=(
            ("Input tokens", tokens(found.input_tokens_high), tokens(found.input_tokens_low)),
            ("Output tokens", tokens(found.output_tokens_high), tokens(found.output_tokens_low)),
        ),
        units=(
            ("Upstream units", units(found.upstream_high), units(found.upstream_low)),
            ("Downstream units", units(found.downstream_high), units(found.downstream_low)),
        ),
    )


def read_sentence_page(look: Look, desk: Desk, text: str, state: SentenceState) -> SentencePage:
    """What is wrong with the simulator alone stands on the page, beside the real activations.

    Raises UserError: no such unit, a text that cannot be taken, a subject that is not at hand.
    """
    unit = named_unit(look, text)
    report = read_unit(look.store, str(unit))
    judged = judge_all(report)
    chosen = next((item for item in judged if item.number == state.show), judged[0] if judged else None)
    offered = chosen.text if chosen else None
    explanation = (offered or "") if state.explanation is None else state.explanation
    heat_map, maximum, prediction, trouble = None, 0.0, None, None
    if state.text:
        models = desk.models(look.store)
        sentence = models.sentence(unit, state.text)
        series = look.glance.scored(state.series)
        if series is None:
            trouble = "nothing is simulated in this run yet, so it names no simulator"
        elif explanation or state.explanation is not None:
            try:
                prediction = models.predict(series, explanation, sentence)
                trouble = prediction.error
            except LocalexplainError as error:
                trouble = str(error)
        expected = None if prediction is None or prediction.expected is None else prediction.expected.tolist()
        real = sentence.activations.tolist()
        maximum = find_maximum([real, *(record.activations for record in report.records)])
        simulated = SIMULATED_SCALE if state.scale == "shared" or expected is None else find_maximum([expected])
        heat_map = HeatMap(
            title="your text",
            is_simulated=expected is not None,
            tokens=show_tokens(sentence.tokens, real, maximum, expected, simulated),
        )
    return SentencePage(
        unit=str(unit),
        judged=judged,
        explanation=explanation,
        map=heat_map,
        maximum=maximum,
        prediction=prediction,
        trouble=trouble,
    )
