"""`eval published` as a document: cells beside the published means, the stored scores checked, what was left out."""

from collections.abc import Mapping, Sequence
from typing import Any

from localexplain.evaluate.cells import CELL_SOURCES
from localexplain.evaluate.documents import INTERVAL_NOTE, SUMMARY_COLUMNS, TITLES, summary_cells
from localexplain.report.document import Document, Figure, Section, Table
from localexplain.report.plots import (
    Curve,
    CurvePoint,
    Distribution,
    IntervalRow,
    curve_plot,
    distribution_plot,
    interval_plot,
)
from localexplain.score.summary import Summary
from localexplain.score.unit import SELECTIONS, Selection


def summary_of(values: Mapping[str, Any]) -> Summary:
    return Summary(**values)


def published_section(values: Mapping[str, Any], selection: Selection, published: Mapping[str, Any] | None) -> Section:
    """The cells of one selection beside the published means."""
    part = values["selections"][selection]
    rows: list[tuple[Any, ...]] = []
    curves: list[Curve] = []
    for cell in part["cells"]:
        rows += [
            (cell["explainer"], cell["simulator"], source, *summary_cells(summary_of(cell[source])))
            for source in CELL_SOURCES
            if source in cell
        ]
        points = [
            CurvePoint(x=row["layer"], mean=row["own"]["mean"], low=row["own"]["low"], high=row["own"]["high"])
            for row in cell["by_layer"]
        ]
        if points:
            curves.append(Curve(name=f"{cell['explainer']} by {cell['simulator']}", points=tuple(points)))
    tables = [
        Table(
            title="Cells",
            columns=("explainer", "simulator", "what is simulated", *SUMMARY_COLUMNS),
            rows=tuple(rows),
            note=INTERVAL_NOTE,
        )
    ]
    if part["contrasts"]:
        tables.append(
            Table(
                title="What changes the score",
                columns=("cause", "difference", *SUMMARY_COLUMNS),
                rows=tuple(
                    (c["name"], c["meaning"], *summary_cells(summary_of(c["difference"]))) for c in part["contrasts"]
                ),
                note="Paired by neuron; intervals by bootstrap over neurons.",
            )
        )
        layers = sorted({int(layer) for c in part["contrasts"] for layer in c["by_layer"]})
        tables.append(
            Table(
                title="The same by layer",
                columns=("layer", *(c["name"] for c in part["contrasts"])),
                rows=tuple((layer, *(mean_at(c["by_layer"], layer) for c in part["contrasts"])) for layer in layers),
                note="Mean paired differences.",
            )
        )
    if part["rank_correlation"]:
        ranks = part["rank_correlation"]
        tables.append(
            Table(
                title="Order of the explanations",
                columns=("rank correlation, open and published simulator", "low", "high", "n"),
                rows=((ranks["value"], ranks["low"], ranks["high"], ranks["n"]),),
                note="Spearman's, over the same published explanations.",
            )
        )
    groups = [
        Distribution(name=f"{cell['explainer']} by {cell['simulator']}", values=tuple(cell["scores"]))
        for cell in part["cells"]
    ]
    figures = [
        Figure(
            name=f"distribution-{selection}",
            title="Distribution over neurons",
            caption="Share of neurons by score, for each pair of explainer and simulator.",
            svg=distribution_plot(groups, "score"),
        )
    ]
    if published:
        figures.append(scaling_figure(part["cells"], published, selection))
        key = "layers" if selection == "top_and_random" else "layers_random_only"
        reference = tuple(
            CurvePoint(
                x=row["layer"],
                mean=row["mean"]["value"],
                low=row["mean"]["value"] - (row["mean"]["error"] or 0.0),
                high=row["mean"]["value"] + (row["mean"]["error"] or 0.0),
            )
            for row in published[key]
        )
        curves.append(Curve(name="published mean of the layer", points=reference, is_reference=True))
        tables.append(scaling_table(published, selection))
    if curves:
        figures.append(
            Figure(
                name=f"layers-{selection}",
                title="By layer",
                caption="Mean score by layer, beside the published means where there are any.",
                svg=curve_plot(curves, "layer", "mean score"),
            )
        )
    return Section(title=TITLES[selection], text=(), tables=tuple(tables), figures=tuple(figures))


def mean_at(by_layer: Mapping[Any, Any], layer: int) -> float | None:
    found = by_layer.get(layer, by_layer.get(str(layer)))
    return None if found is None else found["mean"]


def scaling_figure(cells: Sequence[Mapping[str, Any]], published: Mapping[str, Any], selection: Selection) -> Figure:
    """The cells among the published explainers, all of those under GPT-4."""
    rows = [
        IntervalRow(
            name=f"{row['name']} by GPT-4, published", mean=figure["value"], low=figure["low"], high=figure["high"]
        )
        for row in published["explainers"]
        if (figure := row["mean"][selection]) is not None
    ]
    rows += [
        IntervalRow(
            name=f"{cell['explainer']} by {cell['simulator']}, here", mean=own["mean"], low=own["low"], high=own["high"]
        )
        for cell in cells
        if (own := cell["explanation"])
    ]
    return Figure(
        name=f"explainers-{selection}",
        title="Among the published explainers",
        caption="Mean scores of the published explainers under GPT-4, over other neurons, and of the cells here.",
        svg=interval_plot(rows, "mean score"),
    )


def scaling_table(published: Mapping[str, Any], selection: Selection) -> Table:
    """The published means that a result is read beside, each with its mark."""
    rows: list[tuple[Any, ...]] = []

    def add(name: str, figure: Mapping[str, Any] | None) -> None:
        if figure is not None:
            rows.append((name, figure["value"], figure["low"], figure["high"], figure["mark"], figure["error"]))

    add("all neurons, GPT-4 by GPT-4", published["mean"][selection])
    for row in published["explainers"]:
        add(f"{row['name']} by GPT-4", row["mean"][selection])
    for row in published["baselines"]:
        add(f"baseline: {row['name']}", row["mean"][selection])
    return Table(
        title="Published means",
        columns=("explainer by simulator", "mean", "low", "high", "mark", "may be off by"),
        rows=tuple(rows),
        note="Stated in the paper's text, or digitised: read off its figures. Over other neurons than the cells above.",
    )


def published_document(values: Mapping[str, Any], command: str) -> Document:
    """The document of `eval published`."""
    verification = values["verification"]
    reasons: dict[str, int] = {}
    for item in values["left_out"]:
        reasons[item["reason"]] = reasons.get(item["reason"], 0) + 1
    sections = [published_section(values, selection, values["published"]) for selection in SELECTIONS]
    tables: list[Table] = []
    if verification is not None:
        tables.append(
            Table(
                title="Stored scores, recomputed from the stored simulations",
                columns=("compared", "both undefined", "one undefined", "differ", "largest difference", "neuron"),
                rows=(
                    (
                        verification["n"], verification["undefined"], verification["one_sided"],
                        verification["differing"],
                        None if verification["largest"] is None else f"{verification['largest']:.1e}",
                        verification["worst"] or "",
                    ),
                ),
                note="Differ: by more than 0.000001. Undefined: a constant simulation has no correlation.",
            )
        )  # fmt: skip
    tables.append(
        Table(
            title="Left out",
            columns=("file", "why"),
            rows=tuple((item["path"], item["reason"]) for item in values["left_out"]),
            note=f"{len(values['left_out'])} files; {len(reasons)} different reasons.",
        )
    )
    sections.append(Section(title="The data", text=(), tables=tuple(tables), figures=()))
    return Document(
        title=f"Beside the published scores: {values['release']}",
        command=command,
        warnings=tuple(values["warnings"]),
        facts=(
            ("neurons", str(values["n_neurons"])),
            ("left out", str(len(values["left_out"]))),
            *(("note", note) for note in values["notes"]),
        ),
        sections=tuple(sections),
        values=dict(values),
    )
