"""The copy that readers look at: what is in it, when it is made, and that it is the old one or the new one, whole."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb
import pytest

from localexplain.errors import LocalexplainError, RunError, StoreError
from localexplain.store.snapshot import (
    PUBLISHED,
    Snapshot,
    open_published,
    publish_file,
    stamp,
)
from localexplain.store.store import (
    FILE_NAME,
    Store,
    connect,
    open_for_reading,
    open_for_writing,
    query_text,
    schema_files,
)
from tests.report.small_store import UNITS, write_small_store
from tests.store.writer_process import add_unit

WRITTEN = ("models", "captures", "runs", "excerpts", "units", "records", "explanations", "simulations", "scores")


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def open_copy(folder: Path) -> Snapshot:
    found = open_published(folder)
    assert found is not None
    return found


@contextmanager
def copy_of(folder: Path) -> Iterator[Store]:
    found = open_copy(folder)
    yield found.store
    found.store.close()


def rows_of(store: Store, table: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = store.sql(f"SELECT * FROM {table} ORDER BY ALL").to_pylist()
    return rows


def n_units(store: Store) -> int:
    return int(store.sql("SELECT count(*) AS n FROM units").column("n")[0].as_py())


def refused(folder: Path, kind: type[LocalexplainError]) -> str:
    """Why no copy can be made, in one line; and nothing of the attempt stays."""
    before = names_in(folder)
    with pytest.raises(kind) as raised:
        publish_file(folder)
    assert "\n" not in str(raised.value)
    assert names_in(folder) == before
    return str(raised.value)


# what is in it --------------------------------------------------------------------------------------------------------


def test_the_copy_has_the_runs_rows_and_the_run_is_not_touched(run: Path) -> None:
    before = digest(run / FILE_NAME)
    publish_file(run)
    assert names_in(run) == [PUBLISHED, FILE_NAME]
    assert digest(run / FILE_NAME) == before
    with copy_of(run) as copy, open_for_reading(run) as store:
        for table in WRITTEN:
            assert rows_of(copy, table) == rows_of(store, table)
            assert rows_of(copy, table)


def test_a_copy_says_what_it_is_a_copy_of_and_takes_no_writes(run: Path) -> None:
    publish_file(run)
    found = open_copy(run)
    assert found.source == stamp(run / FILE_NAME)
    with pytest.raises(Exception, match="read-only"):
        found.store.connection.execute("DELETE FROM units")
    other = found.cursor()
    assert n_units(other) == len(UNITS)
    found.store.close()


def expected_browse(store: Store) -> list[dict[str, Any]]:
    """The rows of `browse`, by going over the run's own tables one row at a time."""
    units, scores = rows_of(store, "units"), rows_of(store, "scores")
    said = {row["explanation_key"]: row for row in rows_of(store, "explanations")}
    excerpts = {row["excerpt_id"]: row["tokens"] for row in rows_of(store, "excerpts")}
    main = [s for s in scores if (s["metric"], s["selection"]) == ("correlation", "top_and_random")]

    def mean(found: list[dict[str, Any]]) -> float | None:
        values = [row["value"] for row in found if row["value"] is not None]
        return sum(values) / len(values) if values else None

    def peaks(unit_id: int) -> str | None:
        best: dict[str, float] = {}
        for record in rows_of(store, "records"):
            if (record["unit_id"], record["kind"]) == (unit_id, "top"):
                place = record["activations"].index(max(record["activations"]))
                token = excerpts[record["excerpt_id"]][place]
                best[token] = max(best.get(token, float("-inf")), record["maximum"])
        return "\x1f".join(sorted(best, key=lambda token: (-best[token], token))) or None

    keys = {(s["explainer_key"], s["simulator_key"], s["mode"]) for s in scores if s["source"] == "explanation"}
    sizes = {
        key: len({s["unit_id"] for s in scores if (s["explainer_key"], s["simulator_key"], s["mode"]) == key})
        for key in keys
    }
    rows = []
    for series, key in enumerate(sorted(keys, key=lambda key: (-sizes[key], key)), start=1):
        for unit in units:
            of_unit = [s for s in main if s["unit_id"] == unit["unit_id"]]
            of_series = [s for s in of_unit if (s["explainer_key"], s["simulator_key"], s["mode"]) == key]
            own = [s for s in of_series if s["source"] == "explanation"]
            value = mean(own)
            texts = sorted(
                (row["sample"], row["text"])
                for row in said.values()
                if (row["unit_id"], row["explainer_key"]) == (unit["unit_id"], key[0])
            )
            peaked = peaks(unit["unit_id"])
            kept = ("unit_id", "unit", "basis", "layer", "unit_index", "status", "active_token_fraction", "highest")
            rows.append(
                {name: unit[name] for name in kept}
                | {
                    "series": series,
                    "value": value,
                    "reason": own[0]["reason"] if own and value is None else None,
                    "lookup": mean([s for s in of_unit if s["source"] == "lookup"]),
                    "shuffled": mean([s for s in of_series if s["source"] == "shuffled"]),
                    "text": texts[0][1] if texts else None,
                    "peaks": peaked,
                    "said": {text.lower() for _, text in texts},
                    "peaked": (peaked or "").lower(),
                }
            )
    return rows


def test_the_table_for_browsing_is_what_going_over_the_runs_tables_gives(run: Path) -> None:
    publish_file(run)
    with copy_of(run) as copy, open_for_reading(run) as store:
        found = rows_of(copy, "browse")
        expected = expected_browse(store)
    for row in found:
        row["said"] = set(row["said"].split("\x1f")) - {""}
    assert found == sorted(expected, key=lambda row: (row["series"], row["unit_id"]))
    # By hand: two series of five units; the mean of 0.2 and 0.6; peaks of 4 on " rain" and of 3 on " rain": named once.
    assert len(found) == 10
    assert found[1]["value"] == pytest.approx(0.4)
    assert found[0]["peaks"] == " rain"
    assert [row["value"] for row in found[5:]] == [-0.1, 0.3, None, None, None]


def test_a_run_that_is_captured_alone_is_a_series_of_its_own(tmp_path: Path) -> None:
    folder = write_small_store(tmp_path / "run", with_results=False)
    publish_file(folder)
    with copy_of(folder) as copy:
        rows = rows_of(copy, "browse")
    assert [(row["series"], row["unit"], row["value"], row["reason"], row["text"]) for row in rows] == [
        (0, unit, None, None, None) for unit in UNITS
    ]


# what it is made from -------------------------------------------------------------------------------------------------


def write_old(folder: Path, *statements: str) -> Path:
    """A store as the first schema alone makes it."""
    folder.mkdir()
    version, file = schema_files()[0]
    with connect(folder / FILE_NAME, read_only=False) as store:
        store.connection.execute(query_text("create_schema_versions"))
        store.connection.execute(file.read_text(encoding="utf-8"))
        store.connection.execute(query_text("add_schema_version"), {"version": version, "name": file.name})
        for statement in statements:
            store.connection.execute(statement)
    return folder


def test_a_copy_of_an_older_store_is_brought_up_to_date_and_the_store_is_not(tmp_path: Path) -> None:
    folder = write_old(
        tmp_path / "run",
        "INSERT INTO units VALUES (0, 'mlp.0:0', 'mlp', 0, 0, 'ok', 9, 3, 3, 0.5, 1, 1, 0, 2)",
        "INSERT INTO runs VALUES (0, 'capture', '2026-01-02', 1, '{}', '{}', 1)",
    )
    before = digest(folder / FILE_NAME)
    with pytest.raises(RunError, match="of an older version"):
        open_for_reading(folder)
    publish_file(folder)
    assert digest(folder / FILE_NAME) == before
    with copy_of(folder) as copy:
        assert [row["unit"] for row in rows_of(copy, "browse")] == ["mlp.0:0"]
        assert rows_of(copy, "runs")[0]["peak_memory_bytes"] is None
        versions = {row["version"] for row in rows_of(copy, "schema_versions")}
    assert versions == {version for version, _ in schema_files()}


def test_a_store_of_a_newer_version_is_refused(run: Path) -> None:
    with connect(run / FILE_NAME, read_only=False) as store:
        store.connection.execute(query_text("add_schema_version"), {"version": 9999, "name": "9999_later.sql"})
    assert "written by a newer version of localexplain; update localexplain to open it" in refused(run, RunError)


def test_what_is_no_store_of_ours_is_refused(tmp_path: Path) -> None:
    assert "not a run folder, it holds no run.duckdb" in refused(tmp_path, RunError)
    (tmp_path / FILE_NAME).write_bytes(b"not a database" * 999)
    assert "cannot be opened as a run" in refused(tmp_path, RunError)
    (tmp_path / FILE_NAME).unlink()
    with connect(tmp_path / FILE_NAME, read_only=False) as store:
        store.connection.execute("CREATE TABLE sea AS SELECT 1 AS salt")
    assert "not a store of localexplain" in refused(tmp_path, RunError)
    (tmp_path / FILE_NAME).unlink()
    (tmp_path / FILE_NAME).mkdir()
    assert refused(tmp_path, LocalexplainError)


def test_a_store_that_was_cut_off_is_refused(run: Path) -> None:
    content = (run / FILE_NAME).read_bytes()
    (run / FILE_NAME).write_bytes(content[: len(content) // 2])
    assert FILE_NAME in refused(run, LocalexplainError) or PUBLISHED in refused(run, LocalexplainError)


# what lies there already ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.001, 0.01, 0.3, 0.6, 0.9, 0.99])
def test_a_copy_that_was_cut_off_is_none_and_is_made_anew(run: Path, share: float) -> None:
    publish_file(run)
    content = (run / PUBLISHED).read_bytes()
    (run / PUBLISHED).write_bytes(content[: int(len(content) * share)])
    assert open_published(run) is None
    assert names_in(run) == [PUBLISHED, FILE_NAME]
    publish_file(run)
    with copy_of(run) as copy:
        assert len(rows_of(copy, "browse")) == 10
    assert names_in(run) == [PUBLISHED, FILE_NAME]


def test_a_copy_that_is_damaged_never_answers_with_something_else(run: Path) -> None:
    """Each block in turn is overwritten: it does not open, or says that it is damaged, or answers as before."""
    publish_file(run)
    content = (run / PUBLISHED).read_bytes()
    with copy_of(run) as copy:
        whole = rows_of(copy, "browse")
    block = 256 * 1024
    n_none = 0
    for start in [0, 4096, 8192, *range(3 * 4096, len(content), block)]:
        (run / PUBLISHED).write_bytes(content[:start] + b"\xa5" * 64 + content[start + 64 :])
        found = open_published(run)
        if found is None:
            n_none += 1
            continue
        with suppress(duckdb.Error, StoreError):
            assert rows_of(found.store, "browse") == whole
        found.store.close()
    assert n_none >= 2  # at least where the file says what it is, and where its newest tables are listed


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM published_from",
        "UPDATE published_from SET version = 'another'",
        "INSERT INTO published_from SELECT * FROM published_from",
        "DROP TABLE published_from",
    ],
)
def test_a_copy_of_another_version_is_none(run: Path, change: str) -> None:
    publish_file(run)
    with connect(run / PUBLISHED, read_only=False) as store:
        store.connection.execute(change)
    assert open_published(run) is None
    publish_file(run)
    assert open_published(run) is not None


def test_where_there_is_no_copy_there_is_none(run: Path) -> None:
    assert open_published(run) is None
    (run / PUBLISHED).mkdir()
    assert open_published(run) is None
    assert refused(run, StoreError)


def test_an_open_copy_is_read_on_while_others_take_its_place(run: Path) -> None:
    publish_file(run)
    found = [open_copy(run)]
    for _ in range(3):
        with open_for_writing(run) as store:
            add_unit(store)
        assert found[-1].source != stamp(run / FILE_NAME)
        publish_file(run)
        found.append(open_copy(run))
    assert [n_units(item.store) for item in found] == [5, 6, 7, 8]
    assert [len(rows_of(item.store, "browse")) for item in found] == [10, 12, 14, 16]
    assert names_in(run) == [PUBLISHED, FILE_NAME]
    for item in found:
        item.store.close()
