"""What `eval planted` and `eval puzzles` print for people."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def escape(text: str) -> str:
    """A name as it is, brackets and all."""
    from rich.markup import escape as escape_markup

    return escape_markup(text)


def show(summary: dict[str, Any]) -> str:
    """Mean, 95 % interval and n, with the unscored where there are any."""
    if summary["mean"] is None:
        return f"none of {summary['unscored']} scored"
    ends = "" if summary["low"] is None else f" ({summary['low']:.3f} to {summary['high']:.3f})"
    unscored = f", {summary['unscored']} unscored" if summary["unscored"] else ""
    return f"{summary['mean']:.3f}{ends}, n {summary['n']}{unscored}"


def short(summary: dict[str, Any]) -> str:
    return "-" if summary["mean"] is None else f"{summary['mean']:.2f}"


def make_table(title: str, *columns: str) -> "Table":
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place == 0 else "right")
    return table


def print_planted(values: dict[str, Any], console: "Console") -> None:
    """Simulators, explainers, judges, and every kind of every simulator."""
    table = make_table(
        f"Simulators on {values['units']} planted units, kinds weighted equally (correlation, 95 % interval)",
        "simulator", "true", "shuffled", "empty", "lift",
    )  # fmt: skip
    for name, item in values["simulator"].items():
        table.add_row(escape(name), *(show(item[key]) for key in ("true", "shuffled", "empty", "lift")))
    console.print(table)
    table = make_table(
        f"Explainers, simulated by {escape(values['fixed_simulator'])}", "explainer", "true", "lift", "above lookup"
    )
    for name, item in values["explainer"].items():
        above = "" if name == "lookup" else show(item["above_lookup"])
        table.add_row(escape(name), show(item["true"]), show(item["lift"]), above)
    console.print(table)
    table = make_table("Judges: share of excerpts judged right", "judge", "accuracy")
    for name, item in values["judge"].items():
        table.add_row(escape(name), show(item["accuracy"]))
    console.print(table)
    names = list(values["simulator"])
    table = make_table("By kind: score with a true explanation / lift", "kind", *map(escape, names))
    kinds = next(iter(values["simulator"].values()))["kinds"]["true"]
    for kind in kinds:
        cells = (values["simulator"][name]["kinds"] for name in names)
        table.add_row(kind, *(f"{short(cell['true'][kind])} / {short(cell['lift'][kind])}" for cell in cells))
    console.print(table)


def print_puzzles(values: dict[str, Any], console: "Console") -> None:
    table = make_table("Puzzles", "model", "puzzles", "truth first", "in the first two", "above a false one")
    for name, item in values.items():
        low, high = item["pairwise_interval"]
        ends = "" if low is None else f" ({low:.2f} to {high:.2f})"
        table.add_row(
            escape(name),
            str(item["n"]),
            f"{item['truth_first']} (chance {item['chance']['truth_first']:.0f})",
            str(item["truth_in_first_two"]),
            f"{item['pairwise']:.2f}{ends}",
        )
    console.print(table)
