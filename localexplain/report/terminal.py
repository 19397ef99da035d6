"""A run, and a unit, in the terminal; plain text where the output is no terminal."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from localexplain.report.cards import series_note
from localexplain.report.excerpts import draw_excerpt, excerpt_lines, is_shaded, legend
from localexplain.report.reading import (
    CALIBRATED_METRICS,
    CORRELATION,
    SELECTIONS,
    Overview,
    RankedUnit,
    SeriesReport,
    read_overview,
    read_series_report,
)
from localexplain.report.shading import find_maximum, visible
from localexplain.report.unit import Judgement, UnitReport, UnitScore, choose_records, judge, read_unit
from localexplain.report.words import (
    METRIC_NAMES,
    NONE,
    SELECTION_NAMES,
    count,
    duration,
    interval,
    number,
    plural,
    record_title,
    score_or_reason,
    series_title,
)
from localexplain.store.store import Store

N_ENDS = 5  # best and worst units of a run
N_TOP = 4
N_RANDOM = 3
MOST_REASONS = 12  # the rest is counted together


def heading(text: str) -> Text:
    return Text(f"\n{text}", style="bold")


def facts(pairs: Iterable[tuple[str, str]]) -> Table:
    """Names and values in two columns."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in pairs:
        table.add_row(name, Text(visible(value)))
    return table


def columns(*names: str) -> Table:
    """A table without frame; the first column is words, the others numbers."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for place, name in enumerate(names):
        table.add_column(name, justify="left" if place == 0 else "right", overflow="fold")
    return table


# a run ----------------------------------------------------------------------------------------------------------------


def overview_facts(overview: Overview) -> list[tuple[str, str]]:
    corpus = dict(overview.corpus)
    bos = "none" if overview.bos_token is None else f"token {overview.bos_token}"
    captured = f"{plural(overview.n_units, 'unit')} of {plural(len(overview.layer_sizes), 'layer')}"
    if overview.n_too_few_active:
        captured += f"; {count(overview.n_too_few_active)} active in too few excerpts"
    made = f"{plural(overview.n_explanations, 'explanation')}, {plural(overview.n_simulations, 'simulation')}"
    tokens = overview.tokens
    return [
        ("subject", overview.subject.name),
        (
            "text",
            f"{corpus.get('path', NONE)}: {plural(overview.n_documents, 'document')}, "
            f"{plural(overview.n_excerpts, 'excerpt')} of {overview.length_tokens} tokens",
        ),
        ("start token", f"{bos} (policy {corpus.get('bos', NONE)})"),
        ("captured", captured),
        ("made", f"{made}, {plural(overview.n_failures, 'failure')}"),
        (
            "model tokens",
            f"{count(tokens.prompt)} prompt, {count(tokens.computed)} computed, {count(tokens.generated)} generated",
        ),
        ("time", ", ".join(f"{stage} {duration(seconds)}" for stage, seconds in overview.seconds)),
        ("seed", str(overview.seed)),
    ]


def print_scores(report: SeriesReport, console: Console) -> None:
    for selection in SELECTIONS:
        table = columns(f"{SELECTION_NAMES[selection]} excerpts", "mean", "95 % interval", "median", "n", "unscored")
        table.columns[0].min_width = len(f"{SELECTION_NAMES['top_and_random']} excerpts")
        for score in report.scores:
            if score.selection == selection:
                summary = score.summary
                table.add_row(
                    score.source,
                    number(summary.mean),
                    interval(summary),
                    number(summary.median),
                    count(summary.n),
                    count(summary.unscored),
                    style="bold" if score.source == "explanation" else None,
                )
        console.print(table)
        console.print()


def print_layers(report: SeriesReport, console: Console) -> None:
    controls = [source for source, _ in report.layers[0].controls] if report.layers else []
    table = columns("layer", "explanation", *controls, "n", "unscored")
    for layer in report.layers:
        table.add_row(
            str(layer.layer),
            number(layer.explanation.mean),
            *(number(mean) for _, mean in layer.controls),
            count(layer.explanation.n),
            count(layer.explanation.unscored),
        )
    console.print(table)


def print_ranked(units: Sequence[RankedUnit], console: Console) -> None:
    table = columns("score", "unit", "explanation")
    table.columns[0].justify, table.columns[1].justify, table.columns[2].justify = "right", "left", "left"
    table.columns[1].no_wrap = True
    for unit in units:
        table.add_row(number(unit.value), unit.unit, Text(visible(unit.text) if unit.text else NONE))
    console.print(table)


def print_reasons(report: SeriesReport, console: Console) -> None:
    table = columns("source", *SELECTION_NAMES.values(), "reason")
    table.columns[3].justify = "left"
    for reason in report.reasons[:MOST_REASONS]:
        n = (count(reason.top_and_random), count(reason.random_only))
        table.add_row(reason.source, *n, Text(visible(reason.reason)))
    if rest := report.reasons[MOST_REASONS:]:
        n = (count(sum(reason.top_and_random for reason in rest)), count(sum(reason.random_only for reason in rest)))
        table.add_row("", *n, f"{plural(len(rest), 'other reason')}, see the report or --json")
    console.print(table)


def print_series(report: SeriesReport, console: Console) -> None:
    console.print(heading(f"Correlation, {series_title(report.series)}"))
    print_scores(report, console)
    console.print(Text("By layer, top and random excerpts", style="bold"))
    print_layers(report, console)
    if report.best:
        console.print(heading("Best explained"))
        print_ranked(report.best, console)
    if report.worst:
        console.print(heading("Worst explained"))
        print_ranked(report.worst, console)
    if report.reasons:
        console.print(heading("Why units are unscored"))
        print_reasons(report, console)


def print_run(store: Store, console: Console) -> None:
    """The run's overview and the scores of every series. Raises RunError when the store holds no capture."""
    overview = read_overview(store)
    console.print(facts(overview_facts(overview)))
    if not overview.series:
        console.print(heading("Nothing is scored yet; `localexplain run` on this folder goes on where it stopped."))
    for series in overview.series:
        note = series_note(store.path.parent, series)
        if note is not None:
            console.print(Text(note, style="yellow"))
        print_series(read_series_report(store, series, overview.seed, n_best=N_ENDS, n_worst=N_ENDS), console)


# a unit ---------------------------------------------------------------------------------------------------------------


def unit_facts(report: UnitReport) -> list[tuple[str, str]]:
    active = f"{report.active_token_fraction:.1%} of {count(report.n_tokens)} tokens"
    return [
        ("status", report.status.replace("_", " ")),
        ("active", f"{active}, {count(report.n_active_excerpts)} of {count(report.n_excerpts)} excerpts"),
        ("activation", f"mean {number(report.mean)}, standard deviation {number(report.standard_deviation)}"),
        ("range", f"{number(report.lowest)} to {number(report.highest)}"),
    ]


def find_score(scores: Iterable[UnitScore], metric: str, selection: str) -> UnitScore | None:
    return next((score for score in scores if (score.metric, score.selection) == (metric, selection)), None)


def judgement_table(judgement: Judgement) -> Table:
    """The explanation's metrics, then the controls' correlation, over both selections."""
    table = columns(f"{judgement.simulator.name}, {judgement.mode}", *SELECTION_NAMES.values())

    def add(name: str, scores: Iterable[UnitScore], metric: str, style: str | None = None) -> None:
        found = [find_score(scores, metric, selection) for selection in SELECTIONS]
        table.add_row(name, *(Text(visible(score_or_reason(score))) for score in found), style=style)

    add(METRIC_NAMES[CORRELATION], judgement.scores, CORRELATION, "bold")
    for source in dict.fromkeys(score.source for score in judgement.controls):
        of_source = [score for score in judgement.controls if score.source == source]
        stand_in = f" ({of_source[0].other_unit}'s)" if of_source[0].other_unit else ""
        add(f"  {source}{stand_in}", of_source, CORRELATION)
    for metric in CALIBRATED_METRICS:
        add(METRIC_NAMES[metric], judgement.scores, metric)
    return table


def print_explanations(report: UnitReport, console: Console) -> None:
    judgements = judge(report)
    for explanation in report.explanations:
        by = f"{explanation.explainer.name}, sample {explanation.sample}"
        console.print(heading(f"Explanation {explanation.number} ({by})"))
        console.print(Text(visible(explanation.text)))
        own = [item for item in judgements if item.explanation == explanation]
        for judgement in own:
            console.print()
            console.print(judgement_table(judgement))
        if not own:
            console.print(Text("not scored yet", style="dim"))
    for judgement in judgements:
        if judgement.explanation is None:
            console.print(heading(f"No explanation ({judgement.explainer.name})"))
            console.print(judgement_table(judgement))
    if not report.explanations and not judgements:
        console.print(heading("Not explained in this run."))


def print_records(report: UnitReport, console: Console) -> None:
    records = choose_records(report.records, N_TOP, N_RANDOM)
    if not records:
        return
    maximum = find_maximum(record.activations for record in records)
    numbers = {explanation.key: explanation.number for explanation in report.explanations}
    shaded = is_shaded(console)
    console.print(heading("Records"))
    console.print(legend(maximum, shaded))
    for record in records:
        console.print(Text(f"\n{visible(record_title(record))}", style="dim"))
        for line in draw_excerpt(record.tokens, excerpt_lines(record, maximum, numbers), console.width, shaded):
            console.print(line, no_wrap=True, overflow="crop", highlight=False)


def print_unit(store: Store, unit: str, console: Console) -> None:
    """Everything about one unit. Raises UserError, naming the range, when the run does not hold it."""
    report = read_unit(store, unit)
    console.print(Text(report.unit, style="bold"))
    console.print(facts(unit_facts(report)))
    print_explanations(report, console)
    for failure in report.failures:
        about = "" if failure.excerpt_id is None else f" of excerpt {failure.excerpt_id}"
        console.print(Text(f"{failure.stage}{about} failed: {visible(failure.reason)}", style="dim"))
    print_records(report, console)
