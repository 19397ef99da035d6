"""One series of scores as pages show it: its tables, its curve by layer, how its units are spread."""

from dataclasses import dataclass

from localexplain.report.cards import series_note
from localexplain.report.charts import Histogram, IntervalRow, LayerChart, histogram, interval_rows, layer_chart
from localexplain.report.reading import SELECTIONS, Series, SeriesReport, SourceScore, read_series_report
from localexplain.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreTable:
    """The scores over one selection, each with its place in the picture."""

    selection: str
    rows: tuple[tuple[SourceScore, IntervalRow], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesView:
    """note: why the scores are provisional, None where they are not."""

    id: str
    report: SeriesReport
    note: str | None
    main: dict[str, SourceScore]
    tables: tuple[ScoreTable, ...]
    layers: LayerChart | None
    values: Histogram | None


def view_series(
    store: Store, series: Series, number: int, seed: int, *, n_best: int = 0, n_worst: int = 0, n_random: int = 0
) -> SeriesView:
    """`n_best` and the like: so many units are named in its report."""
    report = read_series_report(store, series, seed, n_best=n_best, n_worst=n_worst, n_random=n_random)
    tables = [tuple(score for score in report.scores if score.selection == selection) for selection in SELECTIONS]
    return SeriesView(
        id=f"series-{number}",
        report=report,
        note=series_note(store.path.parent, report.series),
        main={score.selection: score for score in report.scores if score.source == "explanation"},
        tables=tuple(
            ScoreTable(selection=selection, rows=tuple(zip(scores, interval_rows(scores), strict=True)))
            for selection, scores in zip(SELECTIONS, tables, strict=True)
        ),
        layers=layer_chart(report.layers) if report.layers else None,
        values=histogram(report.values),
    )
