"""A hash of a table that depends on its rows alone: not on their order, nor on how DuckDB keeps them.

    table   sha256 over a header and then the rows' hashes in ascending order, 32 bytes each
    header  the JSON text [["unit_id","INTEGER"],["unit","VARCHAR"],...] of the columns in order, without blanks, and a
            line break
    row     sha256 over the row's values, one after the other
    value   one byte, 1, then what the value is; for NULL, 0 and as many zeros as the smallest value of its type has
            number, boolean   little-endian, as wide as its type; a float's IEEE bits, every NaN as the quiet one
                              (7fc00000, 7ff8000000000000)
            timestamp         microseconds since 1970, 8 bytes
            text              length in bytes, 4 bytes, then UTF-8
            list              number of elements, 4 bytes, then each element as a value

No two rows of a table have the same bytes, since each value says where it ends. Nothing here is a number written as
text, which versions of DuckDB do in different ways.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int64, UInt8

from localexplain.store.store import Store

ROWS_AT_ONCE = 4096  # read from DuckDB
BYTES_AT_ONCE = 2**22  # put together; the indices that do it take sixteen times as much
DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pieces:
    """n strings of bytes one after the other: their lengths, and all their bytes."""

    lengths: Int64[np.ndarray, " n"]
    data: UInt8[np.ndarray, " total"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableHash:
    """columns  that the hash is over, in order: (name, type as DuckDB writes it)"""

    columns: tuple[tuple[str, str], ...]
    rows: int
    sha256: str


# values as bytes ------------------------------------------------------------------------------------------------------


def join_pieces(parts: Sequence[Pieces]) -> Pieces:
    """The n-th string of each part in turn, as one string."""
    lengths: Int64[np.ndarray, " n"] = np.stack([part.lengths for part in parts]).sum(axis=0)
    data = np.empty(int(lengths.sum()), dtype=np.uint8)
    starts = np.cumsum(lengths) - lengths
    for part in parts:
        own_starts = np.cumsum(part.lengths) - part.lengths
        data[np.repeat(starts - own_starts, part.lengths) + np.arange(len(part.data))] = part.data
        starts = starts + part.lengths
    return Pieces(lengths=lengths, data=data)


def fixed_pieces(values: np.ndarray, is_there: np.ndarray) -> Pieces:
    """Values [n] of one width; where there is none, 0 is what must be given."""
    rows = np.empty(len(values), dtype=[("is_there", "u1"), ("value", values.dtype.newbyteorder("<"))])
    rows["is_there"], rows["value"] = is_there, values
    lengths = np.full(len(rows), rows.dtype.itemsize, dtype=np.int64)
    return Pieces(lengths=lengths, data=np.frombuffer(rows.tobytes(), dtype=np.uint8))


def number_pieces(column: pa.Array, is_there: np.ndarray) -> Pieces:
    kind = column.type
    if pa.types.is_timestamp(kind):
        column = column.cast(pa.timestamp("us")).cast(pa.int64())
    elif pa.types.is_boolean(kind):
        column = column.cast(pa.uint8())
    elif not pa.types.is_integer(kind) and not pa.types.is_floating(kind):
        raise TypeError(f"no bytes are set down for a column of type {kind}")
    values = pc.fill_null(column, pa.scalar(0, column.type)).to_numpy(zero_copy_only=False)
    if values.dtype.kind == "f":
        values = np.where(np.isnan(values), np.array(np.nan, dtype=values.dtype), values)
    return fixed_pieces(values, is_there)


def text_pieces(column: pa.Array, is_there: np.ndarray) -> Pieces:
    filled = pc.fill_null(column.cast(pa.large_binary()), b"")
    _, places, data = filled.buffers()
    ends = np.frombuffer(places, dtype=np.int64)[filled.offset : filled.offset + len(filled) + 1]
    held = np.frombuffer(data, dtype=np.uint8)[ends[0] : ends[-1]] if data else np.empty(0, dtype=np.uint8)
    lengths = np.diff(ends)
    return join_pieces([fixed_pieces(lengths.astype("<u4"), is_there), Pieces(lengths=lengths, data=held)])


def list_pieces(column: pa.Array, is_there: np.ndarray) -> Pieces:
    counts = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    elements = column_pieces(column.flatten())
    ends = np.concatenate([[0], np.cumsum(elements.lengths)])[np.concatenate([[0], np.cumsum(counts)])]
    held = Pieces(lengths=np.diff(ends), data=elements.data)
    return join_pieces([fixed_pieces(counts.astype("<u4"), is_there), held])


def column_pieces(column: pa.Array) -> Pieces:
    """Each value of a column as bytes. Raises TypeError for a type that is none of those above."""
    is_there = column.is_valid().to_numpy(zero_copy_only=False)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return text_pieces(column, is_there)
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        return list_pieces(column, is_there)
    return number_pieces(column, is_there)


# rows -----------------------------------------------------------------------------------------------------------------


def cut_batch(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """The batch in parts of about BYTES_AT_ONCE, none empty."""
    step = max(1, batch.num_rows * BYTES_AT_ONCE // max(1, batch.nbytes))
    for first in range(0, batch.num_rows, step):
        yield batch.slice(first, step)


def hash_rows(batch: pa.RecordBatch) -> UInt8[np.ndarray, "rows 32"]:
    rows = join_pieces([column_pieces(column) for column in batch.columns])
    ends = np.cumsum(rows.lengths)
    places = zip((ends - rows.lengths).tolist(), ends.tolist(), strict=True)
    data = rows.data.data
    digests = b"".join([hashlib.sha256(data[start:end]).digest() for start, end in places])
    return np.frombuffer(digests, dtype=np.uint8).reshape(-1, DIGEST_BYTES)


def quote(name: str) -> str:
    """A name as SQL takes any."""
    return '"' + name.replace('"', '""') + '"'


def table_names(store: Store) -> list[str]:
    """Every table of the store, views left out, in order."""
    return [str(name) for name in store.query("audit_tables").column(0).to_pylist()]


def table_columns(store: Store, table: str) -> tuple[tuple[str, str], ...]:
    """(name, type) in the table's order; none where there is no such table."""
    rows = store.query("audit_columns", table_name=table).to_pylist()
    return tuple((row["column_name"], row["data_type"]) for row in rows)


def count_rows(store: Store, table: str) -> int:
    found: int = store.sql(f"SELECT count(*) FROM {quote(table)}").column(0)[0].as_py()
    return found


def hash_table(store: Store, table: str, names: Sequence[str] | None = None) -> TableHash:
    """The table's hash over the columns of these names, which it must have; None: all of them."""
    kinds = dict(table_columns(store, table))
    columns = tuple((name, kinds[name]) for name in (kinds if names is None else names))
    hashes = np.empty((count_rows(store, table), DIGEST_BYTES), dtype=np.uint8)
    filled = 0
    listed = ", ".join(quote(name) for name, _ in columns)
    with store.guarded():
        for batch in store.connection.sql(f"SELECT {listed} FROM {quote(table)}").to_arrow_reader(ROWS_AT_ONCE):
            for part in cut_batch(batch):
                hashes[filled : filled + part.num_rows] = hash_rows(part)
                filled += part.num_rows
    assert filled == len(hashes), "nobody else writes to an open store"
    hashes.view(f"S{DIGEST_BYTES}").ravel().sort()  # in place, byte by byte
    total = hashlib.sha256(json.dumps(columns, separators=(",", ":"), ensure_ascii=False).encode() + b"\n")
    total.update(hashes.data)
    return TableHash(columns=columns, rows=len(hashes), sha256=total.hexdigest())
