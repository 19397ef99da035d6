"""docs/terms.md against the code: what an entry says it lives in exists, and every value of the vocabularies is there.

An entry is a list item "- **name**: meaning. Where: `place`, `place`." and, below it, "  - `value`: meaning" for each
value. A place is a table, a table's column, a configuration key, or a file of the package, with a name in it or not.
"""

import ast
import re
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_type_hints

import duckdb
import pytest

from localexplain.engines.labels import CANDIDATES
from localexplain.pipeline.config import RunConfig
from localexplain.score.unit import CALIBRATED_METRICS, RAW_METRICS, Selection
from localexplain.store.store import schema_files
from localexplain.subject.capture_config import CaptureConfig
from localexplain.subject.select import RANDOM_SPLITS, TOP_SPLITS
from localexplain.types import Kind, Mode, Source, Split

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "terms.md").read_text(encoding="utf-8")
SPAN = re.compile(r"`([^`]+)`")
SHORTEST_MEANING = 15  # characters: what is shorter explains nothing


# the page ------------------------------------------------------------------------------------------------------------


def read_entries(page: str) -> dict[str, tuple[str, dict[str, str]]]:
    """Name -> (its text, value -> what that means). Fails on a name that is defined twice."""
    entries: dict[str, tuple[str, dict[str, str]]] = {}
    name = ""
    for line in page.splitlines():
        if entry := re.fullmatch(r"- \*\*([^*]+)\*\*: (.+)", line):
            name = entry[1]
            assert name not in entries, f"{name} is defined twice"
            entries[name] = (entry[2], {})
        elif value := re.fullmatch(r"  - `([^`]+)`: (.+)", line):
            entries[name][1][value[1]] = value[2]
        else:
            assert not line.lstrip().startswith(("-", "*")) or line.startswith("- ["), f"no entry: {line}"
    return entries


def places_of(text: str) -> list[str]:
    """The code spans behind "Where:"."""
    return SPAN.findall(text.partition("Where:")[2])


ENTRIES = read_entries(PAGE)


# the code ------------------------------------------------------------------------------------------------------------


@cache
def schema() -> dict[str, frozenset[str]]:
    """Table or view -> its columns, in a store made from the schema files."""
    with duckdb.connect() as connection:
        for _, file in schema_files():
            connection.execute(file.read_text(encoding="utf-8"))
        rows = connection.execute("SELECT table_name, column_name FROM information_schema.columns").fetchall()
    return {table: frozenset(column for name, column in rows if name == table) for table, _ in rows}


@cache
def config_keys(settings: type = RunConfig, prefix: str = "") -> frozenset[str]:
    kinds: dict[str, Any] = get_type_hints(settings)
    found: set[str] = set()
    for field in fields(settings):
        key = f"{prefix}{field.name}"
        found |= config_keys(kinds[field.name], f"{key}.") if is_dataclass(kinds[field.name]) else {key}
    return frozenset(found)


@cache
def names_in(path: Path) -> frozenset[str]:
    """What a module defines at its top level, read without importing it: some modules load torch."""
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return frozenset(found)


def exists(place: str) -> bool:
    if ".py" in place:
        file, colon, name = place.partition(":")
        path = ROOT / "localexplain" / file
        return path.is_file() and (not colon or name in names_in(path))
    table, dot, column = place.partition(".")
    in_schema = table in schema() and (not dot or column in schema()[table])
    return in_schema or place in config_keys()


# what entries name ---------------------------------------------------------------------------------------------------


def test_places_that_do_not_exist_are_told_from_those_that_do():
    assert all(map(exists, ("records", "records.split", "capture.top_k", "subject/select.py", "types.py:Unit")))
    assert not any(map(exists, ("record", "records.splits", "capture.topk", "subject/selects.py", "types.py:Units")))


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_says_where_it_lives_and_that_exists(name):
    text, _ = ENTRIES[name]
    assert len(text.partition("Where:")[0]) > SHORTEST_MEANING
    assert places_of(text)
    assert [place for place in places_of(text) if not exists(place)] == []


def test_every_column_and_key_that_the_text_names_exists():
    heads = set(schema()) | {key.partition(".")[0] for key in config_keys()}
    dotted = {span for span in SPAN.findall(PAGE) if re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", span)}
    named = {span for span in dotted if span.partition(".")[0] in heads}
    assert len(named) > 50
    assert {span for span in named if not exists(span)} == set()


def test_every_table_is_named():
    named = {place.partition(".")[0] for text, _ in ENTRIES.values() for place in places_of(text)}
    assert set(schema()) - named == set()


# vocabularies --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("kind", get_args(Kind)),
        ("split", get_args(Split)),
        ("mode", get_args(Mode)),
        ("source", get_args(Source)),
        ("selection", get_args(Selection)),
        ("metric", (*RAW_METRICS, *CALIBRATED_METRICS)),
    ],
)
def test_every_value_is_explained_and_no_other(name, values):
    _, found = ENTRIES[name]
    assert set(found) == set(values)
    assert all(len(meaning) > SHORTEST_MEANING for meaning in found.values())


def test_every_status_is_explained():
    (check,) = re.findall(r"status IN \(([^)]*)\)", "".join(file.read_text("utf-8") for _, file in schema_files()))
    assert set(ENTRIES["status"][1]) == set(re.findall(r"'(\w+)'", check))


def test_every_label_set_is_named():
    assert {name for name, _ in CANDIDATES} <= set(SPAN.findall(ENTRIES["label set"][0]))


@pytest.mark.parametrize(
    ("kind", "splits", "count"),
    [("top", TOP_SPLITS, CaptureConfig().top_k), ("random", RANDOM_SPLITS, CaptureConfig().random_excerpts)],
)
def test_the_ranks_of_each_split_are_the_true_ones(kind, splits, count):
    # dealt in turn: rank r goes to splits[r % len(splits)]
    for split, meaning in ENTRIES["split"][1].items():
        written = re.search(rf"{kind} ranks ([0-9, ]+[0-9])", meaning)
        found = [int(rank) for rank in written[1].split(",")] if written else []
        assert found == [rank for rank in range(count) if splits[rank % len(splits)] == split]
