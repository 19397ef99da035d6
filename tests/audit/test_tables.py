"""A table's hash: as its description says, by an oracle in plain Python; of the rows, and of nothing else."""

import hashlib
import json
import math
import random
import struct
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localexplain.audit import tables
from localexplain.audit.tables import hash_table, table_columns, table_names
from localexplain.store.store import Store

CODES = {"BOOLEAN": "<?", "INTEGER": "<i", "BIGINT": "<q", "UBIGINT": "<Q", "FLOAT": "<f", "DOUBLE": "<d"}
QUIET = {"FLOAT": "0000c07f", "DOUBLE": "000000000000f87f"}  # little-endian
EPOCH = datetime(1970, 1, 1)  # the store's timestamps are UTC, and do not say so


# the oracle -----------------------------------------------------------------------------------------------------------


def value_bytes(value: Any, kind: str) -> bytes:
    if kind.endswith("[]"):
        if value is None:
            return bytes(5)
        return b"\1" + struct.pack("<I", len(value)) + b"".join(value_bytes(item, kind[:-2]) for item in value)
    if kind == "VARCHAR":
        return bytes(5) if value is None else b"\1" + struct.pack("<I", len(value.encode())) + value.encode()
    if kind == "TIMESTAMP":
        return bytes(9) if value is None else b"\1" + struct.pack("<q", (value - EPOCH) // timedelta(microseconds=1))
    if value is None:
        return bytes(1 + struct.calcsize(CODES[kind]))
    if isinstance(value, float) and math.isnan(value):
        return b"\1" + bytes.fromhex(QUIET[kind])
    return b"\1" + struct.pack(CODES[kind], value)


def oracle(columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[Any]]) -> str:
    hashes = sorted(
        hashlib.sha256(b"".join(value_bytes(v, kind) for v, (_, kind) in zip(row, columns, strict=True))).digest()
        for row in rows
    )
    header = json.dumps([list(column) for column in columns], separators=(",", ":")).encode() + b"\n"
    return hashlib.sha256(header + b"".join(hashes)).hexdigest()


# tables ---------------------------------------------------------------------------------------------------------------

COLUMNS = (
    ("flag", "BOOLEAN"), ("n", "INTEGER"), ("long", "BIGINT"), ("hash", "UBIGINT"), ("short", "FLOAT"),
    ("value", "DOUBLE"), ("made", "TIMESTAMP"), ("text", "VARCHAR"), ("ids", "INTEGER[]"), ("shorts", "FLOAT[]"),
    ("words", "VARCHAR[]"), ("nested", "VARCHAR[][]"),
)  # fmt: skip
ARROW = {
    "BOOLEAN": pa.bool_(), "INTEGER": pa.int32(), "BIGINT": pa.int64(), "UBIGINT": pa.uint64(), "FLOAT": pa.float32(),
    "DOUBLE": pa.float64(), "TIMESTAMP": pa.timestamp("us"), "VARCHAR": pa.string(),
}  # fmt: skip
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)  # DuckDB's SQL has no \0 in texts
VALUES = {
    "BOOLEAN": st.booleans(),
    "INTEGER": st.integers(-(2**31), 2**31 - 1),
    "BIGINT": st.integers(-(2**63), 2**63 - 1),
    "UBIGINT": st.integers(0, 2**64 - 1),
    "FLOAT": st.floats(width=32),
    "DOUBLE": st.floats(),
    "TIMESTAMP": st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)),
    "VARCHAR": TEXTS,
}


def arrow_type(kind: str) -> pa.DataType:
    return pa.list_(arrow_type(kind[:-2])) if kind.endswith("[]") else ARROW[kind]


def values_of(kind: str) -> st.SearchStrategy[Any]:
    some = st.lists(values_of(kind[:-2]), max_size=4) if kind.endswith("[]") else VALUES[kind]
    return st.none() | some


def make_table(columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[Any]]) -> Store:
    """An in-memory store with the one table "made"."""
    store = Store(duckdb.connect(), Path("memory"))
    listed = ", ".join(f'"{name}" {kind}' for name, kind in columns)
    store.connection.execute(f"CREATE TABLE made ({listed})")
    arrays = [pa.array([row[place] for row in rows], arrow_type(kind)) for place, (_, kind) in enumerate(columns)]
    if rows:
        store.insert("made", pa.table(arrays, names=[name for name, _ in columns]))
    return store


def hash_of(columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[Any]]) -> str:
    with make_table(columns, rows) as store:
        return hash_table(store, "made").sha256


@given(rows=st.lists(st.tuples(*(values_of(kind) for _, kind in COLUMNS)), max_size=8))
@settings(max_examples=60, deadline=None)
def test_the_hash_is_the_oracle_s(rows: list[tuple[Any, ...]]) -> None:
    assert hash_of(COLUMNS, rows) == oracle(COLUMNS, rows)


def test_a_hash_worked_out_by_hand() -> None:
    """Two rows, (7, 'a') and (NULL, NULL): 5 and 6 bytes the one, 5 and 5 zeros the other."""
    one, other = bytes.fromhex("0107000000010100000061"), bytes(10)
    hashes = sorted(hashlib.sha256(row).digest() for row in (one, other))
    expected = hashlib.sha256(b'[["n","INTEGER"],["t","VARCHAR"]]\n' + b"".join(hashes)).hexdigest()
    assert hash_of([("n", "INTEGER"), ("t", "VARCHAR")], [(7, "a"), (None, None)]) == expected


@pytest.mark.parametrize("limit", [1, 300, 2**22])
def test_the_hash_is_the_same_in_parts_of_any_size(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """9,000 rows are three batches of DuckDB's; each is cut in parts of `limit` bytes, and of one row at least."""
    draw = random.Random(0)
    columns = [("n", "INTEGER"), ("text", "VARCHAR"), ("ids", "INTEGER[]"), ("words", "VARCHAR[]")]
    rows = [
        (number, "x" * draw.randrange(9), [1] * draw.randrange(4), [None, "ab"] if draw.random() < 0.5 else None)
        for number in range(9000)
    ]
    monkeypatch.setattr(tables, "BYTES_AT_ONCE", limit)
    assert hash_of(columns, rows) == oracle(columns, rows)


NAN = float("nan")
ALIKE: list[tuple[str, list[Any]]] = [
    ("VARCHAR", [None, "", "NULL", "null", " ", "\\", "'", '"']),
    ("VARCHAR[]", [None, [], [None], [""], ["NULL"], ["a", "b"], ["a, b"], ["a', 'b"], ["ab"], ["b", "a"]]),
    ("VARCHAR[][]", [[["a"], ["b"]], [["a", "b"]], [["a", "b"], []], [[], ["a", "b"]], [None, ["a", "b"]]]),
    ("DOUBLE", [None, 0.0, -0.0, NAN, math.inf, -math.inf, 5e-324, 0.1, 0.1 + 2**-56, 1e300]),
    ("FLOAT", [None, 0.0, -0.0, NAN, math.inf, 16777216.0, 16777215.0]),
    ("FLOAT[]", [None, [], [None], [0.0], [-0.0], [NAN], [0.0, 0.0], [None, 0.0]]),
    ("BIGINT", [None, 0, -1, 2**53, 2**53 + 1]),
    ("BOOLEAN", [None, False, True]),
]


@pytest.mark.parametrize(("kind", "values"), ALIKE, ids=[kind for kind, _ in ALIKE])
def test_no_two_values_that_look_alike_have_one_hash(kind: str, values: list[Any]) -> None:
    assert len({hash_of([("c", kind)], [(value,)]) for value in values}) == len(values)


def test_where_a_column_ends_counts() -> None:
    columns = [("a", "VARCHAR"), ("b", "VARCHAR")]
    rows = [("ab", "c"), ("a", "bc"), ("abc", ""), ("abc", None), (None, "abc")]
    assert len({hash_of(columns, [row]) for row in rows}) == len(rows)


def test_names_types_and_repeated_rows_count() -> None:
    hashes = {
        hash_of([("a", "INTEGER")], [(1,)]),
        hash_of([("b", "INTEGER")], [(1,)]),
        hash_of([("a", "UBIGINT")], [(1,)]),
        hash_of([("a", "INTEGER")], [(1,), (1,)]),
        hash_of([("a", "INTEGER")], []),
        hash_of([("b", "INTEGER")], []),
    }
    assert len(hashes) == 6


def test_every_nan_is_one() -> None:
    """Which of its bits a processor sets is no matter of the value."""
    columns = [("v", "DOUBLE")]
    other = struct.unpack("<d", bytes.fromhex("010000000000f8ff"))[0]
    assert hash_of(columns, [(other,)]) == hash_of(columns, [(NAN,)])


@pytest.fixture
def store() -> Iterator[Store]:
    rows = [(number % 7, f"text {number}", [0.5, None]) for number in range(3000)]
    with make_table([("n", "INTEGER"), ("t", "VARCHAR"), ("list", "FLOAT[]")], rows) as made:
        yield made


def test_neither_order_nor_layout_counts(store: Store, tmp_path: Path) -> None:
    before = hash_table(store, "made")
    store.connection.execute("CREATE TABLE again AS SELECT * FROM made ORDER BY random()")
    assert store.sql("SELECT * FROM again") != store.sql("SELECT * FROM made")
    store.connection.execute("DELETE FROM made; INSERT INTO made SELECT * FROM again")
    assert hash_table(store, "made") == hash_table(store, "again") == before
    store.connection.execute(f"EXPORT DATABASE '{tmp_path}' (FORMAT parquet)")
    with Store(duckdb.connect(str(tmp_path / "other.duckdb")), tmp_path) as other:
        other.connection.execute(f"IMPORT DATABASE '{tmp_path}'")
        assert hash_table(other, "made") == before


def test_chosen_columns_are_hashed_as_if_there_were_no_others(store: Store) -> None:
    before = hash_table(store, "made")
    store.connection.execute("ALTER TABLE made ADD COLUMN later VARCHAR")
    assert hash_table(store, "made") != before
    assert hash_table(store, "made", ["n", "t", "list"]) == before


def test_tables_are_listed_without_views_and_with_any_name(store: Store) -> None:
    store.connection.execute(
        'CREATE TABLE "a ""b" (c INTEGER); INSERT INTO "a ""b" VALUES (1); CREATE VIEW v AS FROM made'
    )
    assert table_names(store) == ['a "b', "made"]
    assert hash_table(store, 'a "b').sha256 == oracle([("c", "INTEGER")], [(1,)])
    assert table_columns(store, "none") == ()


def test_a_type_without_bytes_is_our_fault() -> None:
    with Store(duckdb.connect(), Path("memory")) as store:
        store.connection.execute("CREATE TABLE made AS SELECT DATE '2026-01-01' AS day")
        with pytest.raises(TypeError, match="date32"):
            hash_table(store, "made")
