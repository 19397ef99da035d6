"""Any query's result as a table in the terminal."""

import pyarrow as pa
from rich.console import Console
from rich.markup import escape
from rich.table import Table

LONGEST_CELL = 200  # characters; a cell of 64 activations is cut, with its length
NUMERIC = (pa.types.is_integer, pa.types.is_floating)


def cell_text(value: object) -> str:
    """One value: NULL as such, fractions to 4 digits, long lists and texts cut."""
    if value is None:
        return "NULL"
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= LONGEST_CELL else f"{text[:LONGEST_CELL]}… ({len(text)} characters)"


def print_table(rows: pa.Table, console: Console) -> None:
    """The rows, numbers to the right, and how many there are."""
    table = Table(show_edge=False, pad_edge=False)
    for field in rows.schema:
        is_number = any(test(field.type) for test in NUMERIC)
        table.add_column(escape(field.name), justify="right" if is_number else "left", overflow="fold")
    for row in rows.to_pylist():
        table.add_row(*(escape(cell_text(value)) for value in row.values()))
    console.print(table)
    console.print(f"{rows.num_rows} rows", style="dim")
