"""What a comparison found as a document: tables, plots, the command that made it, and warnings at its head."""

from collections.abc import Mapping, Sequence
from typing import Any

from localexplain.evaluate.cells import Cell, Cost
from localexplain.evaluate.compare import ComparePlan, Comparison, Pair, by_layer, comparison_values, make_pairs
from localexplain.evaluate.qualify import SimulatorCard, warnings_of
from localexplain.evaluate.suites import Suite
from localexplain.report.document import Document, Figure, Section, Table
from localexplain.report.plots import (
    CrossCell,
    Curve,
    CurvePoint,
    Distribution,
    IntervalRow,
    cross_table_plot,
    curve_plot,
    difference_plot,
    distribution_plot,
    interval_plot,
)
from localexplain.score.cluster import summarise_clustered
from localexplain.score.summary import Summary
from localexplain.score.unit import SELECTIONS, Selection

TITLES: dict[Selection, str] = {
    "top_and_random": "Scores on top and random excerpts",
    "random_only": "Scores on random excerpts alone",
}
SUMMARY_COLUMNS = ("mean", "low", "high", "n", "unscored")
MEGABYTE = 1e6
INTERVAL_NOTE = (
    "Intervals are 95 %, by bootstrap over units drawn whole; n counts scored units, unscored ones are in no mean."
)


def summary_cells(summary: Summary) -> tuple[float | int | None, ...]:
    """In the order of SUMMARY_COLUMNS."""
    return (summary.mean, summary.low, summary.high, summary.n, summary.unscored)


def interval_row(name: str, summary: Summary) -> IntervalRow:
    return IntervalRow(name=name, mean=summary.mean, low=summary.low, high=summary.high)


def summarise_cell(cell: Cell, source: str, selection: Selection, seed: int) -> Summary:
    return summarise_clustered(cell.values[source][selection], cell.units, seed)


# a comparison --------------------------------------------------------------------------------------------------------


def has_values(cell: Cell, source: str, selection: Selection) -> bool:
    return any(value is not None for value in cell.values[source][selection])


def score_table(cells: Sequence[Cell], selection: Selection, seed: int) -> Table:
    """Explanations and the controls that were run; lookup and linear are of the units, whatever the cell."""
    rows = [
        (cell.explainer, cell.simulator, source, *summary_cells(summarise_cell(cell, source, selection, seed)))
        for cell in cells
        for source in ("explanation", "shuffled", "empty")
        if source == "explanation" or has_values(cell, source, selection)
    ]
    rows += [
        ("-", "-", source, *summary_cells(summarise_cell(cells[0], source, selection, seed)))
        for source in ("lookup", "linear")
        if has_values(cells[0], source, selection)
    ]
    return Table(
        title="Explainer by simulator",
        columns=("explainer", "simulator", "what is simulated", *SUMMARY_COLUMNS),
        rows=tuple(rows),
        note=INTERVAL_NOTE
        + " Shuffled is another unit's explanation, empty none at all; lookup predicts from a token's mean activation, "
        "linear from its embedding: neither reads an explanation.",
    )


def pair_table(pairs: Sequence[Pair]) -> Table:
    return Table(
        title="Paired differences",
        columns=("first", "second", *SUMMARY_COLUMNS, "p", "p (Holm)", "smallest found"),
        rows=tuple(
            (pair.a, pair.b, *summary_cells(pair.difference), pair.p, pair.p_holm, pair.smallest) for pair in pairs
        ),
        note=(
            f"First minus second on the units that both have. p is of no difference at all, by flipping signs; over "
            f"these {len(pairs)} comparisons it is adjusted by Holm's method. Smallest found: the mean difference that "
            "this n finds in 80 % of such runs, at 5 %, two-sided, without the adjustment."
        ),
    )


def layer_curves(cells: Sequence[Cell], selection: Selection, seed: int) -> list[Curve]:
    """Mean score against layer, a curve a cell."""
    return [
        Curve(
            name=cell.label,
            points=tuple(
                CurvePoint(x=layer, mean=found.mean, low=found.low, high=found.high)
                for layer, found in by_layer(cell, "explanation", selection, seed).items()
            ),
        )
        for cell in cells
    ]


def selection_section(cells: Sequence[Cell], selection: Selection, seed: int) -> Section:
    """Everything about one selection of excerpts."""
    means = {cell.label: summarise_cell(cell, "explanation", selection, seed) for cell in cells}
    pairs = make_pairs(cells, selection, seed)
    figures = [
        Figure(
            name=f"means-{selection}",
            title="Mean scores",
            caption="Mean score of each explainer under each simulator, with its 95 % interval.",
            svg=interval_plot([interval_row(name, found) for name, found in means.items()], "mean score"),
        ),
        Figure(
            name=f"distribution-{selection}",
            title="Distribution over units",
            caption="Share of units by score, for each explainer and simulator.",
            svg=distribution_plot(
                [Distribution(name=cell.label, values=tuple(cell.values["explanation"][selection])) for cell in cells],
                "score",
            ),
        ),
        Figure(
            name=f"layers-{selection}",
            title="By layer",
            caption="Mean score by layer of the subject, with 95 % intervals.",
            svg=curve_plot(layer_curves(cells, selection, seed), "layer", "mean score"),
        ),
    ]
    if len({cell.simulator for cell in cells}) > 1:
        crossed = [
            CrossCell(
                explainer=cell.explainer,
                simulator=cell.simulator,
                mean=means[cell.label].mean,
                low=means[cell.label].low,
                high=means[cell.label].high,
            )
            for cell in cells
        ]
        figures.append(
            Figure(
                name=f"cross-{selection}",
                title="Explainer by simulator",
                caption="Mean score of every explainer under every simulator.",
                svg=cross_table_plot(crossed),
            )
        )
    if pairs:
        rows = [interval_row(f"{pair.a} minus {pair.b}", pair.difference) for pair in pairs]
        figures.append(
            Figure(
                name=f"differences-{selection}",
                title="Paired differences",
                caption="Mean paired differences with 95 % intervals.",
                svg=difference_plot(rows, "difference of mean scores"),
            )
        )
    tables = [score_table(cells, selection, seed), *([pair_table(pairs)] if pairs else [])]
    return Section(title=TITLES[selection], text=(), tables=tuple(tables), figures=tuple(figures))


def cost_cells(cost: Cost) -> tuple[float | int | None, ...]:
    memory = None if cost.peak_memory_bytes is None else round(cost.peak_memory_bytes / MEGABYTE)
    seconds = None if cost.seconds is None else round(cost.seconds, 1)
    return (cost.n, cost.prompt_tokens, cost.computed_tokens, cost.generated_tokens, seconds, memory)


def cost_section(cells: Sequence[Cell], selection: Selection, seed: int) -> Section:
    """Quality beside what it took: score against size and against compute."""
    rows: list[tuple[Any, ...]] = []
    by_size: dict[str, list[CurvePoint]] = {}
    by_compute: dict[str, list[CurvePoint]] = {}
    for cell in cells:
        rows += [
            (cell.label, "explain", *cost_cells(cell.explain)),
            (cell.label, "simulate", *cost_cells(cell.simulate)),
        ]
        found = summarise_cell(cell, "explanation", selection, seed)
        parameters = cell.explainer_parameters
        if parameters:
            point = CurvePoint(x=parameters, mean=found.mean, low=found.low, high=found.high)
            by_size.setdefault(cell.simulator, []).append(point)
            # a forward pass multiplies and adds about twice for each parameter and token
            work = 2.0 * parameters * (cell.explain.computed_tokens + cell.explain.generated_tokens)
            if work:
                point = CurvePoint(x=work, mean=found.mean, low=found.low, high=found.high)
                by_compute.setdefault(cell.simulator, []).append(point)
    figures = [
        Figure(
            name=f"{name}-{selection}",
            title=title,
            caption=f"Mean score against {label}, with 95 % intervals.",
            svg=curve_plot(
                [Curve(name=f"by {simulator}", points=tuple(sorted(points, key=lambda p: p.x)))
                 for simulator, points in series.items()],
                label, "mean score", log_x=True,
            ),
        )
        for name, title, label, series in (
            ("size", "Score against size", "parameters of the explainer", by_size),
            ("compute", "Score against compute", "multiplications and additions of explaining", by_compute),
        )
        if any(len(points) > 1 for points in series.values())
    ]  # fmt: skip
    table = Table(
        title="What it took",
        columns=("cell", "stage", "items", "prompt tokens", "computed", "generated", "seconds", "peak memory, MB"),
        rows=tuple(rows),
        note=(
            "Tokens are those of explanations and of their simulations, controls left out; seconds and memory are of "
            "the calls that did the work, controls counted in, whenever that was."
        ),
    )
    return Section(title="Cost beside quality", text=(), tables=(table,), figures=tuple(figures))


def card_section(cards: Sequence[SimulatorCard]) -> Section:
    rows = [
        (
            card.name,
            card.truth_first,
            card.n_puzzles,
            card.pairs.mean,
            card.pairs.low,
            card.pairs.high,
            card.lift.mean,
            card.lift.low,
            card.lift.high,
            card.again,
            card.reordered,
            card.label_mass,
            "; ".join(card.faults) or "qualified",
        )
        for card in cards
    ]
    return Section(
        title="Simulators' cards",
        text=(
            "A simulator is qualified when on planted units true explanations score above other units', on puzzles the "
            "truth above false explanations (both with the interval clear of chance), and when the same request gives "
            "the same answer again and in another batch.",
        ),
        tables=(
            Table(
                title="Checks with known answers",
                columns=(
                    "simulator", "truth first", "puzzles", "pairs won", "low", "high", "planted lift", "low", "high",
                    "same again", "other order", "lowest label mass", "verdict",
                ),
                rows=tuple(rows),
                note="Pairs won: chance is 0.5. Same again, other order: largest difference of an expected value.",
            ),
        ),
        figures=(),
    )  # fmt: skip


def comparison_document(
    found: Comparison, title: str, command: str, seed: int, values: Mapping[str, Any] | None = None
) -> Document:
    """The document of a comparison; `values` stand in for those made from it."""
    plan: ComparePlan = found.plan
    selections: tuple[Selection, ...] = tuple(SELECTIONS)
    sections = [selection_section(found.cells, selection, seed) for selection in selections]
    sections += [cost_section(found.cells, selections[0], seed), card_section(found.cards)]
    return Document(
        title=title,
        command=command,
        warnings=warnings_of(found.cards),
        facts=(
            ("units that can be scored", f"{plan.n_units} ({plan.n_too_few} more are active too rarely)"),
            ("said beforehand", plan.lines[1]),
            ("seed", str(seed)),
        ),
        sections=tuple(sections),
        values=dict(values or comparison_values(found.cells, found.cards, plan, selections, seed)),
    )


def puzzle_document(values: Mapping[str, Any], seed: int) -> Document:
    """What `eval puzzles` found, every explainer's answer beside the truth."""
    columns = ("model", "puzzles", "truth first", "by chance", "first two", "pairs won", "low", "high")
    rows = tuple(
        (
            name,
            item["n"],
            item["truth_first"],
            item["chance"]["truth_first"],
            item["truth_in_first_two"],
            item["pairwise"],
            *item["pairwise_interval"],
        )
        for name, item in values.items()
    )
    answers = tuple(
        (name, puzzle["name"], puzzle["rank"], puzzle["truth"], puzzle["answer"])
        for name, item in values.items()
        for puzzle in item["puzzles"]
    )
    note = "Pairs won: the share of false explanations that the truth scores above; chance is 0.5. 95 % over puzzles."
    return Document(
        title="Puzzles",
        command="localexplain eval puzzles",
        warnings=(),
        facts=(("seed", str(seed)),),
        sections=(
            Section(
                title="Simulators: is the truth ranked first?",
                text=(),
                tables=(Table(title="By model", columns=columns, rows=rows, note=note),),
                figures=(),
            ),
            Section(
                title="Explainers: what each wrote",
                text=(),
                tables=(
                    Table(
                        title="Answers",
                        columns=("model", "puzzle", "rank of the truth", "truth", "answer"),
                        rows=answers,
                        note="From all sentences of the puzzle in which something is active.",
                    ),
                ),
                figures=(),
            ),
        ),
        values=dict(values),
    )


def suite_document(suite: Suite, found: Comparison, values: Mapping[str, Any]) -> Document:
    command = f"localexplain eval run {suite.name}"
    return comparison_document(found, suite.settings.title, command, suite.settings.run.seed, values)
