"""The one file that a run's results live in: a thin shell over DuckDB.

SQL lives in files: schema/NNNN_*.sql are applied once each, in order, every one in a transaction; queries/*.sql hold
one statement each with named parameters. Rows go in as Arrow tables. One process writes at a time.
"""

import errno
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from localexplain.errors import RunError, StoreError, StoreFull, StoreLocked

FILE_NAME = "run.duckdb"
MEMORY_LIMIT = "1GB"  # what DuckDB may use beside the rows handed to it; it spills to disk beyond that
SQL_FOLDER = Path(__file__).parent
NO_ROOM = re.compile(r"No space left|File too large|Disk quota|not enough disk space|Could not write", re.IGNORECASE)
CORRUPT = re.compile(r"corrupt", re.IGNORECASE)
LOCK_HOLDER = re.compile(r"PID (\d+)")
INTERRUPTED = "Query interrupted"  # what DuckDB makes of the KeyboardInterrupt of a signal handler
MAGIC = b"DUCK"  # from byte 8 on, of every DuckDB file
HEADER_BYTES = 3 * 4096  # a file that DuckDB has begun and not finished creating is shorter


def schema_files() -> list[tuple[int, Path]]:
    """(version, file) in order of version."""
    return sorted((int(file.name[:4]), file) for file in (SQL_FOLDER / "schema").glob("[0-9]*.sql"))


def query_text(name: str) -> str:
    """The statement in queries/NAME.sql."""
    return (SQL_FOLDER / "queries" / f"{name}.sql").read_text(encoding="utf-8")


def explain_failure(error: Exception, path: Path) -> StoreError:
    """The error of the tree for what DuckDB, or the system, raised."""
    text = " ".join(str(error).split())
    if isinstance(error, duckdb.ConnectionException):
        return StoreLocked(f"{path}: open in this process already; close it there first")
    if "lock" in text.lower() and (holder := LOCK_HOLDER.search(text)):
        return StoreLocked(f"{path}: in use by another process (PID {holder[1]}); wait for it to end, or stop it")
    if NO_ROOM.search(text) or getattr(error, "errno", None) in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
        return StoreFull(f"{path}: no room left on the disk; free some and run the same command again, it will resume")
    return StoreError(f"{path}: {text}")


class Store:
    """An open store. Close it, or use it in a `with` statement; an unfinished transaction is undone."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: Path) -> None:
        self.connection = connection
        self.path = path

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        self.connection.close()

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Turns what DuckDB raises for reasons outside our code into the tree's errors, and Ctrl-C back into itself."""
        try:
            yield
        except RuntimeError as error:
            if str(error) == INTERRUPTED:
                raise KeyboardInterrupt from error
            raise
        except (duckdb.IOException, duckdb.FatalException) as error:
            raise explain_failure(error, self.path) from error
        except duckdb.Error as error:
            if NO_ROOM.search(str(error)) or CORRUPT.search(str(error)):
                raise explain_failure(error, self.path) from error
            raise

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All inside is written together or not at all."""
        with self.guarded():
            self.connection.execute("BEGIN TRANSACTION")
            try:
                yield
                self.connection.execute("COMMIT")
            except BaseException:
                with suppress(duckdb.Error):  # the failure may have ended the transaction already
                    self.connection.execute("ROLLBACK")
                raise

    def insert(self, table: str, rows: pa.Table) -> None:
        """Appends rows; columns go by name, those left out are NULL."""
        with self.guarded():
            self.connection.register("rows_to_insert", rows)
            try:
                self.connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM rows_to_insert")
            finally:
                with suppress(duckdb.Error):  # in a transaction that failed nothing works; it would hide the failure
                    self.connection.unregister("rows_to_insert")

    def query(self, name: str, **parameters: Any) -> pa.Table:
        """The result of queries/NAME.sql."""
        return self.sql(query_text(name), parameters)

    def sql(self, statement: str, parameters: dict[str, Any] | None = None) -> pa.Table:
        """The result of any statement that returns rows."""
        with self.guarded():
            return self.connection.sql(statement, params=parameters or None).to_arrow_table()

    def execute(self, name: str, **parameters: Any) -> None:
        """Runs queries/NAME.sql for its effect."""
        with self.guarded():
            self.connection.execute(query_text(name), parameters)

    def value(self, name: str, **parameters: Any) -> Any:
        """The first column of the only row of a query."""
        return self.query(name, **parameters).column(0)[0].as_py()

    def check(self) -> list[str]:
        """What is inconsistent, as lines; empty when all is well. For what the schema's own checks leave out."""
        return [str(line) for line in self.query("check").column("fault").to_pylist()]


def applied_versions(store: Store) -> set[int] | None:
    """The schema files that the store has; None when it is empty.

    Raises RunError when it is from a newer version, or holds something else than a run.
    """
    tables = store.sql("SELECT table_name FROM information_schema.tables").column(0).to_pylist()
    if not tables:
        return None
    if "schema_versions" not in tables:
        raise RunError(f"{store.path}: not a store of localexplain; give the folder of a run")
    applied = set(store.query("schema_versions").column("version").to_pylist())
    if applied - set(dict(schema_files())):
        raise RunError(f"{store.path}: written by a newer version of localexplain; update localexplain to open it")
    return applied


def apply_schema(store: Store) -> None:
    """Applies the schema files that the store does not have yet. Raises RunError as `applied_versions`."""
    applied = applied_versions(store)
    if applied is None:
        with store.transaction():
            store.connection.execute(query_text("create_schema_versions"))
    for version, file in schema_files():
        if version not in (applied or set()):
            with store.transaction():
                store.connection.execute(file.read_text(encoding="utf-8"))
                store.connection.execute(query_text("add_schema_version"), {"version": version, "name": file.name})


def first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def connect(path: Path, read_only: bool) -> Store:
    settings: dict[str, Any] = {
        "memory_limit": MEMORY_LIMIT,
        "autoinstall_known_extensions": "false",
        "python_enable_replacements": "false",  # else a table's name may find a variable of ours
    }
    try:
        connection = duckdb.connect(str(path), read_only=read_only, config=settings)
    except duckdb.Error as error:
        failure = explain_failure(error, path)
        if type(failure) is StoreError:  # not ours, damaged, not allowed: whatever it is, the file is what is wrong
            raise RunError(f"{path}: cannot be opened as a run ({first_line(error)}); give another folder") from error
        raise failure from error
    # Rows of a unit are written together, and order by unit is what makes reading one fast.
    connection.execute("SET preserve_insertion_order = true")
    return Store(connection, path)


def remove_unfinished(path: Path) -> None:
    """Removes a file that DuckDB was creating when it was killed, or the disk full: it never held anything, and cannot
    be opened."""
    if path.is_file() and path.stat().st_size < HEADER_BYTES:
        content = path.read_bytes()
        if not content or content[8:12] == MAGIC:
            path.unlink()


def open_for_writing(folder: Path) -> Store:
    """The run's store, made if it is not there.

    Raises RunError when the file there is none of ours, StoreLocked while another process has it open.
    """
    path = folder / FILE_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_unfinished(path)
    except OSError as error:
        raise RunError(f"{folder}: cannot be made a run folder ({error.strerror}); give another path") from error
    store = connect(path, read_only=False)
    try:
        apply_schema(store)
    except BaseException:
        store.close()
        raise
    return store


def open_for_reading(folder: Path) -> Store:
    """The run's store, read-only. Raises RunError when the folder is no run, StoreLocked while a process writes."""
    path = folder / FILE_NAME
    if not path.is_file():
        raise RunError(f"{folder}: not a run folder, it holds no {FILE_NAME}; make one with `localexplain run`")
    store = connect(path, read_only=True)
    try:
        applied = applied_versions(store)
    except BaseException:
        store.close()
        raise
    if applied != set(dict(schema_files())):
        store.close()
        raise RunError(f"{path}: of an older version of localexplain; run `localexplain score` on it once to update it")
    return store


def unique_names(names: Sequence[str]) -> list[str]:
    """The names, a number behind each that was there before.

    >>> unique_names(["unit", "value", "unit", "unit_2"])
    ['unit', 'value', 'unit_2', 'unit_2_2']
    """
    found: list[str] = []
    for name in names:
        other, number = name, 1
        while other in found:
            number += 1
            other = f"{name}_{number}"
        found.append(other)
    return found


def ask(store: Store, statement: str) -> pa.Table:
    """The statement's rows, its columns' names made distinct."""
    with store.guarded():
        relation = store.connection.sql(statement)
        if relation is None:
            raise RunError("query: it returns no rows; write one that does, e.g. SELECT * FROM units LIMIT 5")
        rows = relation.to_arrow_table()
        return rows.rename_columns(unique_names(rows.column_names))


def query_rows(store: Store, statement: str) -> pa.Table:
    """The rows of a user's own statement, which Ctrl-C stops. Raises RunError, with DuckDB's own words, when it is not
    a valid query."""
    with ThreadPoolExecutor(1) as thread:  # in this one, DuckDB would not see Ctrl-C before the query's end
        rows = thread.submit(ask, store, statement)
        try:
            return rows.result()
        except KeyboardInterrupt:
            store.connection.interrupt()
            raise
        except duckdb.Error as error:
            raise RunError(f"query: {first_line(error)}") from error
