"""The store: its schema, what its constraints refuse, what a transaction keeps together, and who may open it."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from localexplain.errors import RunError, StoreLocked, UserError
from localexplain.store import store as store_module
from localexplain.store.rows import float_lists, int_lists, matrix
from localexplain.store.store import FILE_NAME, Store, open_for_reading, open_for_writing, query_rows, schema_files

COSTS = {"prompt_tokens": 1, "computed_tokens": 1, "generated_tokens": 1}
# One row of every table, each legal beside the others.
ROWS: dict[str, dict[str, Any]] = {
    "models": {"model_key": "m", "kind": "rule", "name": "rule", "details": "{}"},
    "model_entries": {"model_key": "m", "digest": "0" * 64},
    "model_files": {"model_key": "m", "path": "a/b.json", "bytes": 0, "sha256": "0" * 64, "role": "other"},
    "captures": {
        "capture_key": "c",
        "model_key": "m",
        "corpus": "{}",
        "config": "{}",
        "seed": 0,
        "length_tokens": 2,
        "n_documents": 1,
        "n_excerpts": 2,
        "n_duplicates": 0,
        "layer_sizes": [4],
    },
    "excerpts": {
        "excerpt_id": 0,
        "document_id": "a",
        "offset_tokens": 0,
        "hash": 1,
        "token_ids": [5, 6],
        "tokens": ["a", "b"],
    },
    "units": {
        "unit_id": 0,
        "unit": "mlp.0:0",
        "basis": "mlp",
        "layer": 0,
        "unit_index": 0,
        "status": "ok",
        "n_tokens": 4,
        "n_excerpts": 2,
        "n_active_excerpts": 1,
        "active_token_fraction": 0.5,
        "mean": 0.1,
        "variance": 0.2,
        "lowest": -1.0,
        "highest": 1.0,
    },
    "records": {
        "unit_id": 0,
        "excerpt_id": 0,
        "kind": "top",
        "rank": 0,
        "split": "train",
        "maximum": 1.0,
        "activations": [1.0, 0.0],
    },
    "explanations": {
        "explanation_key": "e",
        "unit_id": 0,
        "explainer_key": "m",
        "sample": 0,
        "text": "rain",
        "prompt": "",
        "raw": "rain",
        "excerpt_ids": [0],
        **COSTS,
    },
    "simulations": {
        "simulation_key": "s",
        "unit_id": 0,
        "excerpt_id": 0,
        "source": "explanation",
        "explanation_key": "e",
        "simulator_key": "m",
        "mode": "rule",
        "label_set": "",
        "expected": [10.0, 0.0],
        **COSTS,
    },
    "scores": {
        "score_key": "k",
        "unit_id": 0,
        "source": "explanation",
        "explainer_key": "m",
        "explanation_key": "e",
        "simulator_key": "m",
        "mode": "rule",
        "selection": "top_and_random",
        "metric": "correlation",
        "value": 0.5,
        "n_tokens": 2,
        "n_excerpts": 1,
    },
    "failures": {"failure_key": "f", "stage": "simulate", "unit_id": 0, "excerpt_id": 0, "reason": "too long", **COSTS},
}  # fmt: skip


def add(store: Store, table: str, **changes: Any) -> None:
    """Inserts the table's row with some values changed; None is NULL."""
    row = ROWS[table] | changes
    store.insert(table, pa.Table.from_pylist([{name: value for name, value in row.items() if value is not None}]))


def count(store: Store, table: str) -> int:
    found: int = store.sql(f"SELECT count(*) FROM {table}").column(0)[0].as_py()
    return found


def fill(store: Store) -> Store:
    for table in ROWS:
        add(store, table)
    return store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store with one row in every table."""
    with open_for_writing(tmp_path / "run") as opened:
        yield fill(opened)


@pytest.fixture(scope="module")
def unchanged_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """The same for tests that cannot change it, which is what they show."""
    with open_for_writing(tmp_path_factory.mktemp("store") / "run") as opened:
        yield fill(opened)


# schema ---------------------------------------------------------------------------------------------------------------


def test_schema_files_are_applied_once(tmp_path: Path) -> None:
    for _ in range(3):
        with open_for_writing(tmp_path) as store:
            applied = store.sql("SELECT version, name FROM schema_versions ORDER BY version").to_pylist()
            assert applied == [{"version": number, "name": file.name} for number, file in schema_files()]


@pytest.fixture
def two_more_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package's SQL with two schema files more, the second of which needs the first."""
    folder = tmp_path / "sql"
    shutil.copytree(store_module.SQL_FOLDER, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    (folder / "schema" / "9001_first.sql").write_text("CREATE TABLE later (a INTEGER); INSERT INTO later VALUES (1);")
    (folder / "schema" / "9002_second.sql").write_text("ALTER TABLE later ADD COLUMN b INTEGER DEFAULT 7;")
    monkeypatch.setattr(store_module, "SQL_FOLDER", folder)
    return folder


def test_an_older_store_gets_what_it_lacks_in_order_and_keeps_its_rows(
    tmp_path: Path, store: Store, two_more_files: Path
) -> None:
    store.close()
    with pytest.raises(RunError, match="older version"):
        open_for_reading(tmp_path / "run")
    for _ in range(2):
        with open_for_writing(tmp_path / "run") as updated:
            assert updated.sql("SELECT * FROM later").to_pylist() == [{"a": 1, "b": 7}]
            assert count(updated, "units") == 1
    with open_for_reading(tmp_path / "run") as readable:
        assert count(readable, "later") == 1


def test_a_store_from_before_models_had_files_gets_their_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made by the first two schema files alone, with a row in each of their tables."""
    older = tmp_path / "sql"
    shutil.copytree(store_module.SQL_FOLDER, older, ignore=shutil.ignore_patterns("*.py", "__pycache__", "0003_*"))
    with monkeypatch.context() as patch:
        patch.setattr(store_module, "SQL_FOLDER", older)
        with open_for_writing(tmp_path / "run") as store:
            for table in ROWS:
                if not table.startswith("model_"):
                    add(store, table)
    with open_for_writing(tmp_path / "run") as store:
        assert {table: count(store, table) for table in ROWS} == {
            table: int(not table.startswith("model_")) for table in ROWS
        }
        add(store, "model_entries")
        add(store, "model_files")
        assert store.check() == []


def test_a_schema_file_that_fails_leaves_nothing_of_itself(tmp_path: Path, two_more_files: Path) -> None:
    second = two_more_files / "schema" / "9002_second.sql"
    whole = second.read_text()
    second.write_text(whole + "INSERT INTO absent VALUES (1);")
    with pytest.raises(duckdb.CatalogException):
        open_for_writing(tmp_path / "run")
    second.write_text(whole)  # mended: it is applied from its start
    with open_for_writing(tmp_path / "run") as store:
        assert store.sql("SELECT * FROM later").to_pylist() == [{"a": 1, "b": 7}]


@pytest.mark.parametrize("open_it", [open_for_writing, open_for_reading])
def test_a_store_of_a_newer_version_is_refused_and_left_alone(open_it: Any, tmp_path: Path, store: Store) -> None:
    store.connection.execute("INSERT INTO schema_versions VALUES (9999, '9999_future.sql')")
    store.close()
    before = (tmp_path / "run" / FILE_NAME).read_bytes()
    with pytest.raises(RunError, match="newer version of localexplain; update"):
        open_it(tmp_path / "run")
    assert (tmp_path / "run" / FILE_NAME).read_bytes() == before


# files that are no store ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("open_it", [open_for_writing, open_for_reading])
def test_another_duckdb_file_is_refused_and_left_alone(open_it: Any, tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    with duckdb.connect(str(path)) as other:
        other.execute("CREATE TABLE sales AS SELECT 1 AS amount")
    before = path.read_bytes()
    with pytest.raises(RunError, match="not a store of localexplain"):
        open_it(tmp_path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("open_it", [open_for_writing, open_for_reading])
@pytest.mark.parametrize("content", [b"hello", b"x" * 100_000])
def test_a_file_of_another_kind_is_refused_and_left_alone(open_it: Any, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(content)
    with pytest.raises(RunError, match="cannot be opened as a run"):
        open_it(tmp_path)
    assert path.read_bytes() == content


def test_a_store_that_is_cut_off_is_refused_and_left_alone(tmp_path: Path, store: Store) -> None:
    store.close()
    path = tmp_path / "run" / FILE_NAME
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(RunError, match="cannot be opened as a run"):
        open_for_writing(tmp_path / "run")
    assert path.stat().st_size == 20_000


@pytest.mark.parametrize("length", [0, 4096, 8192])
def test_a_file_whose_creation_was_cut_off_is_made_again(length: int, tmp_path: Path, store: Store) -> None:
    """A process killed, or a disk full, while DuckDB writes a new file's three header blocks: it holds nothing."""
    store.close()
    path = tmp_path / "run" / FILE_NAME
    path.write_bytes(path.read_bytes()[:length])
    with open_for_writing(tmp_path / "run") as again:
        assert count(again, "units") == 0


def test_a_folder_that_is_no_run_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path, tmp_path / "absent", tmp_path / "file"):
        with pytest.raises(RunError, match="not a run folder"):
            open_for_reading(folder)
    with pytest.raises(RunError, match="cannot be made a run folder"):
        open_for_writing(tmp_path / "file")


# transactions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_a_transaction_that_fails_leaves_nothing(failure: type[BaseException], store: Store) -> None:
    def add_and_fail() -> None:
        with store.transaction():
            add(store, "explanations", explanation_key="e2")
            add(store, "failures", failure_key="f2")
            raise failure

    with pytest.raises(failure):
        add_and_fail()
    assert (count(store, "explanations"), count(store, "failures")) == (1, 1)
    with store.transaction():  # and the next one works
        add(store, "explanations", explanation_key="e2")
    assert count(store, "explanations") == 2


def test_a_transaction_whose_last_row_is_refused_leaves_nothing(store: Store) -> None:
    """And it is the refusal that is raised, not that nothing more can be done in its transaction."""

    def add_two() -> None:
        with store.transaction():
            add(store, "explanations", explanation_key="e2")
            add(store, "failures", failure_key="f2", stage="score")

    with pytest.raises(duckdb.ConstraintException, match="stage"):
        add_two()
    assert count(store, "explanations") == 1
    add(store, "failures", failure_key="f2")
    assert count(store, "failures") == 2


def test_what_was_not_committed_is_gone_after_closing(tmp_path: Path, store: Store) -> None:
    store.connection.execute("BEGIN TRANSACTION")
    add(store, "failures", failure_key="f2")
    store.close()
    with open_for_reading(tmp_path / "run") as readable:
        assert count(readable, "failures") == 1


def test_an_inserted_table_goes_by_names_and_leaves_no_view_behind(store: Store) -> None:
    row = {"details": "{}", "name": "b", "kind": "a", "model_key": "m2"}  # in another order than the schema's
    store.insert("models", pa.Table.from_pylist([row]))
    assert store.sql("SELECT * FROM models WHERE model_key = 'm2'").to_pylist() == [row]
    with pytest.raises(RunError, match="rows_to_insert"):
        query_rows(store, "SELECT * FROM rows_to_insert")


# constraints ----------------------------------------------------------------------------------------------------------

REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("models", {}),  # the same key again
    ("model_entries", {}),
    ("model_entries", {"model_key": "absent"}),
    ("model_entries", {"model_key": "m", "digest": None}),
    ("model_files", {}),
    ("model_files", {"model_key": "absent"}),
    ("model_files", {"path": "b", "bytes": -1}),
    ("model_files", {"path": "b", "sha256": "0" * 63}),
    ("model_files", {"path": "b", "role": None}),
    ("captures", {"capture_key": "c2", "model_key": "absent"}),
    ("captures", {"capture_key": "c2", "length_tokens": 0}),
    ("excerpts", {}),
    ("excerpts", {"excerpt_id": 1, "offset_tokens": -1}),
    ("units", {"unit_id": 1}),  # its name again
    ("units", {"unit_id": 1, "unit": "b", "status": "fine"}),
    ("units", {"unit_id": 1, "unit": "b", "n_active_excerpts": 3}),
    ("units", {"unit_id": 1, "unit": "b", "active_token_fraction": 1.1}),
    ("units", {"unit_id": 1, "unit": "b", "variance": -0.1}),
    ("units", {"unit_id": 1, "unit": "b", "highest": -2.0}),
    ("records", {"kind": "best"}),
    ("records", {"rank": -1}),
    ("records", {"split": "training"}),
    ("records", {"split": None}),  # a top record is in a split
    ("records", {"stratum": 0}),  # and in no stratum
    ("records", {"kind": "stratum", "stratum": 0}),  # a stratum's is in no split
    ("records", {"kind": "stratum", "split": None}),  # and says which stratum
    ("records", {"kind": "stratum", "split": None, "stratum": 5}),
    ("records", {"kind": "stratum", "split": None, "stratum": -1}),
    ("records", {"activations": None}),
    ("records", {"maximum": None}),
    ("records", {"unit_id": None}),
    ("explanations", {}),
    ("explanations", {"explanation_key": "e2", "unit_id": 9}),
    ("explanations", {"explanation_key": "e2", "explainer_key": "absent"}),
    ("explanations", {"explanation_key": "e2", "text": ""}),
    ("explanations", {"explanation_key": "e2", "text": None}),
    ("explanations", {"explanation_key": "e2", "sample": -1}),
    ("stand_ins", {"explanation_key": "e", "other_key": "e"}),  # not its own
    ("stand_ins", {"explanation_key": "e", "other_key": "absent"}),
    ("stand_ins", {"explanation_key": "absent", "other_key": "e"}),
    ("simulations", {}),
    ("simulations", {"simulation_key": "s2", "unit_id": 9}),
    ("simulations", {"simulation_key": "s2", "excerpt_id": 9}),
    ("simulations", {"simulation_key": "s2", "explanation_key": "absent"}),
    ("simulations", {"simulation_key": "s2", "simulator_key": "absent"}),
    ("simulations", {"simulation_key": "s2", "source": "explained"}),
    ("simulations", {"simulation_key": "s2", "explanation_key": None}),
    ("simulations", {"simulation_key": "s2", "source": "shuffled", "explanation_key": None}),
    ("simulations", {"simulation_key": "s2", "source": "empty"}),  # a control has no explanation
    ("simulations", {"simulation_key": "s2", "mode": "sampled"}),
    ("simulations", {"simulation_key": "s2", "expected": None}),
    ("simulations", {"simulation_key": "s2", "label_mass": -0.1}),
    ("simulations", {"simulation_key": "s2", "label_mass": 1.01}),
    ("simulations", {"simulation_key": "s2", "label_mass": float("nan")}),
    ("scores", {}),
    ("scores", {"score_key": "k2", "unit_id": 9}),
    ("scores", {"score_key": "k2", "explanation_key": "absent"}),
    ("scores", {"score_key": "k2", "explainer_key": "absent"}),
    ("scores", {"score_key": "k2", "simulator_key": "absent"}),
    ("scores", {"score_key": "k2", "source": "other"}),
    ("scores", {"score_key": "k2", "mode": "other"}),
    ("scores", {"score_key": "k2", "selection": "top"}),
    ("scores", {"score_key": "k2", "metric": "accuracy"}),
    ("scores", {"score_key": "k2", "value": 1.01}),
    ("scores", {"score_key": "k2", "value": float("nan")}),
    ("scores", {"score_key": "k2", "value": None}),  # neither a value nor a reason
    ("scores", {"score_key": "k2", "reason": "constant"}),  # both
    ("scores", {"score_key": "k2", "explainer_key": None}),  # an explanation's score says whose
    ("scores", {"score_key": "k2", "source": "lookup", "explanation_key": None}),  # a control's is nobody's
    ("failures", {}),
    ("failures", {"failure_key": "f2", "stage": "score"}),
    ("failures", {"failure_key": "f2", "unit_id": 9}),
    ("failures", {"failure_key": "f2", "excerpt_id": 9}),
    ("failures", {"failure_key": "f2", "reason": None}),
]


@pytest.mark.parametrize(("table", "changes"), REFUSED)
def test_a_row_that_cannot_be_is_refused(table: str, changes: dict[str, Any], unchanged_store: Store) -> None:
    before = count(unchanged_store, table)
    with pytest.raises(duckdb.ConstraintException):
        unchanged_store.insert(table, row_table(table, changes))
    assert count(unchanged_store, table) == before


def row_table(table: str, changes: dict[str, Any]) -> pa.Table:
    row = ROWS.get(table, {}) | changes
    return pa.Table.from_pylist([{name: value for name, value in row.items() if value is not None}])


ACCEPTED: list[tuple[str, dict[str, Any]]] = [
    ("model_files", {"path": "b"}),
    ("records", {"kind": "stratum", "split": None, "stratum": 4, "excerpt_id": 1}),
    ("explanations", {"explanation_key": "e2", "sample": 1}),
    ("simulations", {"simulation_key": "s2", "source": "empty", "explanation_key": None, "label_mass": 0.5}),
    ("scores", {"score_key": "k2", "value": None, "reason": "constant"}),
    ("scores", {"score_key": "k2", "value": -70.0, "metric": "explained_variance"}),
    ("scores", {"score_key": "k2", "source": "lookup", "explanation_key": None, "explainer_key": None}),
    ("scores", {"score_key": "k2", "explanation_key": None, "value": None, "reason": "no explanation"}),
    ("failures", {"failure_key": "f2", "stage": "explain", "excerpt_id": None}),
]


@pytest.mark.parametrize(("table", "changes"), ACCEPTED)
def test_its_legal_neighbour_is_accepted(table: str, changes: dict[str, Any], store: Store) -> None:
    before = count(store, table)
    store.insert(table, row_table(table, changes))
    assert count(store, table) == before + 1


# check ----------------------------------------------------------------------------------------------------------------


def test_check_finds_nothing_where_all_is_well(unchanged_store: Store) -> None:
    assert unchanged_store.check() == []


@pytest.mark.parametrize(
    ("table", "changes", "fault"),
    [
        ("records", {"unit_id": 8}, "record of a unit that is not there: unit_id 8"),
        ("records", {"excerpt_id": 8}, "record of an excerpt that is not there: excerpt_id 8"),
        ("records", {"kind": "random"}, "excerpt 0 twice among the records of unit_id 0"),
        (
            "simulations",
            {"simulation_key": "s2", "expected": [1.0]},
            "simulation s2 not as long as its excerpt",
        ),
    ],
)
def test_check_names_a_planted_fault(table: str, changes: dict[str, Any], fault: str, store: Store) -> None:
    add(store, table, **changes)
    assert store.check() == [fault]


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        ("model_entries", "files of a model without an entry: model_key m"),
        ("model_files", "entry of a model without files: model_key m"),
    ],
)
def test_check_names_a_model_s_files_without_an_entry_and_the_reverse(table: str, fault: str, store: Store) -> None:
    store.connection.execute(f"DELETE FROM {table}")
    assert store.check() == [fault]


def test_check_names_a_record_of_another_length(store: Store) -> None:
    add(store, "excerpts", excerpt_id=1)
    add(store, "records", excerpt_id=1, rank=1, activations=[1.0, 2.0, 3.0])
    assert store.check() == ["record of unit_id 0 not as long as its excerpt 1"]


# who may open it ------------------------------------------------------------------------------------------------------

HOLDER = """
import sys
from pathlib import Path
from localexplain.store.store import {opener}
with {opener}(Path(sys.argv[1])):
    print("open", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held(folder: Path, opener: str) -> Iterator[int]:
    """A second process has the run open; its process id."""
    command = [sys.executable, "-c", HOLDER.format(opener=opener), str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        yield process.pid
        process.communicate("")
    assert process.returncode == 0


def test_while_a_process_writes_no_other_writes_or_reads(tmp_path: Path, store: Store) -> None:
    store.close()
    with held(tmp_path / "run", "open_for_writing") as pid:
        for open_it in (open_for_writing, open_for_reading):
            with pytest.raises(StoreLocked, match=rf"in use by another process \(PID {pid}\)") as caught:
                open_it(tmp_path / "run")
            assert isinstance(caught.value, UserError)
    with open_for_writing(tmp_path / "run") as again:
        assert count(again, "units") == 1


def test_while_a_process_reads_others_read_and_none_writes(tmp_path: Path, store: Store) -> None:
    store.close()
    with held(tmp_path / "run", "open_for_reading") as pid:
        with open_for_reading(tmp_path / "run") as readable:
            assert count(readable, "units") == 1
        with pytest.raises(StoreLocked, match=rf"PID {pid}\)"):
            open_for_writing(tmp_path / "run")


def test_a_notebook_that_has_it_open_is_told_so(tmp_path: Path, store: Store) -> None:
    with pytest.raises(StoreLocked, match="open in this process already"):
        open_for_reading(tmp_path / "run")


# a user's own queries -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("SELEKT 1", "Parser Error"),
        ("SELECT * FROM neurons", "neurons"),
        ("SELECT nothing FROM units", "nothing"),
        ("SELECT unit::INTEGER FROM units", "Conversion Error"),
        ("", "it returns no rows"),
        ("SELECT * FROM statement", "Table with name statement does not exist"),  # no Python variable is looked at
        ("SELECT 1; SELECT * FROM neurons", "neurons"),
    ],
)
def test_a_query_that_fails_says_so_in_one_line(statement: str, words: str, unchanged_store: Store) -> None:
    with pytest.raises(RunError) as caught:
        query_rows(unchanged_store, statement)
    assert str(caught.value).startswith("query: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("statement", ["DELETE FROM units", "DROP TABLE scores", "CREATE TABLE t (a INTEGER)"])
def test_a_reader_changes_nothing(statement: str, tmp_path: Path, store: Store) -> None:
    store.close()
    with open_for_reading(tmp_path / "run") as readable:
        with pytest.raises(RunError, match="read-only"):
            query_rows(readable, statement)
        assert count(readable, "units") == count(readable, "scores") == 1


def test_no_column_of_a_join_is_lost(unchanged_store: Store) -> None:
    (row,) = query_rows(unchanged_store, "SELECT * FROM units JOIN records ON true").to_pylist()
    assert row["unit_id"] == row["unit_id_2"] == 0
    assert len(row) == len(ROWS["units"]) + len(ROWS["records"]) + 1  # and the stratum, which is NULL


LONG_QUERY = "SELECT sum(range) FROM range(10000000000000)"


def interrupted(ask: Callable[[], object]) -> None:
    """Runs `ask` and sends Ctrl-C meanwhile, which must come out as Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    try:
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            ask()
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_stops_a_user_s_query(unchanged_store: Store) -> None:
    """In the main thread DuckDB sees it only where it has one thread, or in a process's first query."""
    for _ in range(3):
        interrupted(lambda: query_rows(unchanged_store, LONG_QUERY))
    assert query_rows(unchanged_store, "SELECT 1 AS a").to_pylist() == [{"a": 1}]


def test_ctrl_c_is_not_taken_for_a_fault_of_ours() -> None:
    """Where DuckDB sees it, it raises a RuntimeError."""
    with Store(duckdb.connect(config={"threads": 1}), Path("memory")) as store:
        interrupted(lambda: store.sql(LONG_QUERY))


# arrays ---------------------------------------------------------------------------------------------------------------

SHAPES = array_shapes(min_dims=2, max_dims=2, max_side=5)


@settings(max_examples=30, deadline=None)
@given(values=arrays(np.float32, SHAPES, elements=st.floats(width=32, allow_nan=False)))
def test_float_lists_come_back_bit_by_bit_through_the_store(values: np.ndarray) -> None:
    with Store(duckdb.connect(), Path("memory")) as store:
        store.connection.execute("CREATE TABLE kept (place INTEGER, activations FLOAT[])")
        lists = float_lists(values)
        store.insert("kept", pa.table({"activations": lists, "place": np.arange(len(values))}))
        rows = store.sql("SELECT activations FROM kept ORDER BY place")
        found = matrix(rows.column("activations"), "float32")
    assert found.dtype == np.float32
    assert found.tobytes() == np.ascontiguousarray(values).tobytes()
    assert matrix(pa.chunked_array([lists[:1], lists[1:]]), "float32").tobytes() == values.tobytes()


@given(values=arrays(np.int32, SHAPES))
def test_int_lists_come_back(values: np.ndarray) -> None:
    assert (matrix(pa.chunked_array([int_lists(values)]), "int32") == values).all()
    assert int_lists(values[:, ::-1]).to_pylist() == values[:, ::-1].tolist()  # a view that is not contiguous
