"""The published scores that ours are compared with: what eval/published/gpt4_scores.toml holds, as records.

Every score is a mean correlation over neurons of GPT-2 XL, higher is better. Source: Bills et al. 2023.
"""

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeVar

from localexplain.errors import UserError
from localexplain.resources import resource

TABLE = ("eval", "published", "gpt4_scores.toml")

Mark = Literal["stated", "digitised"]
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A published number.

    mark       whether the paper's text states it, or it is read off a figure
    error      what a digitised number may be off by; None where it is not known, and for a stated one
    low, high  the confidence interval of a mean over a sample; None where none is published
    """

    value: float
    mark: Mark
    error: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BySelection:
    """One number over the 5 top and 5 random excerpts, and over the 5 random ones; None where it is not published."""

    top_and_random: Figure
    random_only: Figure | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerMean:
    """The mean score of a layer's neurons."""

    layer: int
    mean: Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantile:
    """The score below which `fraction` of the neurons lie."""

    fraction: float
    score: Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainerScore:
    """An explainer's explanations, simulated by GPT-4, on a sample of neurons."""

    name: str
    mean: BySelection


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorScore:
    """GPT-4's explanations, simulated by another model, on a sample of neurons.

    mean             top_and_random
    human_agreement  the share of pairs of explanations whose order by this simulator's scores is a human's order, 0-1;
                     0.5 is chance
    """

    name: str
    mean: Figure
    human_agreement: Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineScore:
    """A prediction that is not GPT-4's explanation, simulated.

    name      "lookup": the token's mean activation; "linear": the token's embedding through the layer's input norm and
              weights; "... summarised": GPT-4's summary of that table; "next token": an explanation by what comes next
    mean      over all layers alike
    by_layer  of some layers, ascending, top_and_random; () where it is not published
    """

    name: str
    mean: BySelection
    by_layer: tuple[LayerMean, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PuzzleResult:
    """How GPT-4 did on the paper's puzzles, all stated.

    count                  how many puzzles there are
    solved                 its explanation is the truth
    solved_after_revision  so many more are, once it has revised its explanation
    ranked_first           the truth scores highest among the false explanations
    ranked_in_top_two      the truth scores highest or second, those of ranked_first counted in
    """

    count: int
    solved: int
    solved_after_revision: int
    ranked_first: int
    ranked_in_top_two: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where the numbers are from, and what they are about."""

    title: str
    authors: str
    year: int
    subject: str
    layers: int
    neurons_per_layer: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedTable:
    """What is published of GPT-4 explaining and simulating GPT-2 XL's neurons.

    mean                     over all neurons
    sd                       standard deviation over neurons, top_and_random
    not_above_zero_fraction  share of neurons that score 0 or less
    quantiles                over neurons, ascending, top_and_random
    layers                   every layer's mean, ascending, top_and_random
    layers_random_only       some layers' means, ascending, random_only
    explainers, simulators   other models in one of GPT-4's places, oldest model first, humans last
    human_human_agreement    what SimulatorScore.human_agreement is between two humans
    """

    source: Source
    mean: BySelection
    sd: Figure
    not_above_zero_fraction: BySelection
    quantiles: tuple[Quantile, ...]
    layers: tuple[LayerMean, ...]
    layers_random_only: tuple[LayerMean, ...]
    explainers: tuple[ExplainerScore, ...]
    simulators: tuple[SimulatorScore, ...]
    human_human_agreement: Figure
    baselines: tuple[BaselineScore, ...]
    puzzles: PuzzleResult


# from the file's tables to records -----------------------------------------------------------------------------------


def parse_figure(value: object, data: dict[str, Any], *, low: float | None = None, high: float | None = None) -> Figure:
    """`value` as a figure, with the mark and the error that `data` gives for all its numbers.

    Raises TypeError or ValueError for what is no number, and for a mark of another name.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    if data["mark"] not in ("stated", "digitised"):
        raise ValueError(f"mark {data['mark']!r}")
    return Figure(value=float(value), mark=data["mark"], error=data.get("error"), low=low, high=high)


def parse_selections(data: dict[str, Any]) -> BySelection:
    """From a table with a table for each selection."""
    top_and_random, random_only = data["top_and_random"], data.get("random_only")
    return BySelection(
        top_and_random=parse_figure(top_and_random["value"], top_and_random),
        random_only=None if random_only is None else parse_figure(random_only["value"], random_only),
    )


def parse_row_means(row: dict[str, Any], data: dict[str, Any]) -> BySelection:
    """From a row with a number for each selection; the interval is that of top_and_random."""
    return BySelection(
        top_and_random=parse_figure(row["top_and_random"], data, low=row.get("low"), high=row.get("high")),
        random_only=parse_figure(row["random_only"], data) if "random_only" in row else None,
    )


def parse_layers(data: dict[str, Any]) -> tuple[LayerMean, ...]:
    return tuple(LayerMean(layer=item["layer"], mean=parse_figure(item["value"], data)) for item in data["points"])


def parse_rows(data: dict[str, Any], parse: Callable[[dict[str, Any], dict[str, Any]], Row]) -> tuple[Row, ...]:
    return tuple(parse(row, data) for row in data["rows"])


def parse_explainer(row: dict[str, Any], data: dict[str, Any]) -> ExplainerScore:
    return ExplainerScore(name=row["name"], mean=parse_row_means(row, data))


def parse_simulator(row: dict[str, Any], data: dict[str, Any]) -> SimulatorScore:
    return SimulatorScore(
        name=row["name"],
        mean=parse_row_means(row, data).top_and_random,
        human_agreement=parse_figure(row["human_agreement"], data),
    )


def parse_baseline(row: dict[str, Any], data: dict[str, Any]) -> BaselineScore:
    layers = data["by_layer"].get(row["name"])
    return BaselineScore(
        name=row["name"], mean=parse_row_means(row, data), by_layer=() if layers is None else parse_layers(layers)
    )


def parse_puzzles(data: dict[str, Any]) -> PuzzleResult:
    return PuzzleResult(**{key: value for key, value in data.items() if key != "mark"})


def parse_table(data: dict[str, Any]) -> PublishedTable:
    """Raises KeyError, TypeError or ValueError where a number is missing or is none."""
    quantiles, agreement = data["quantiles"], data["human_human_agreement"]
    return PublishedTable(
        source=Source(**data["source"]),
        mean=parse_selections(data["mean"]),
        sd=parse_selections(data["sd"]).top_and_random,
        not_above_zero_fraction=parse_selections(data["not_above_zero_fraction"]),
        quantiles=tuple(
            Quantile(fraction=item["fraction"], score=parse_figure(item["value"], quantiles))
            for item in quantiles["points"]
        ),
        layers=parse_layers(data["by_layer"]["top_and_random"]),
        layers_random_only=parse_layers(data["by_layer"]["random_only"]),
        explainers=parse_rows(data["explainers"], parse_explainer),
        simulators=parse_rows(data["simulators"], parse_simulator),
        human_human_agreement=parse_figure(agreement["value"], agreement),
        baselines=parse_rows(data["baselines"], parse_baseline),
        puzzles=parse_puzzles(data["puzzles"]),
    )


@lru_cache(maxsize=8)
def read_table(path: Path | None = None) -> PublishedTable:
    """The table that ships, or that of another file of its form. Raises UserError for a file that is not of it."""
    path = resource(*TABLE) if path is None else path
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); put the file back") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not TOML ({error}); put the file back") from error
    try:
        return parse_table(data)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: no table ({type(error).__name__}: {error}); put the file back") from error
