"""`run --audit` and `audit verify`: whatever was changed afterwards is found and named, and nothing else is."""

import json
import platform
import random
import shutil
import signal
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import duckdb
import pytest

from localexplain import __version__
from localexplain.audit.checking import check_audit, check_table
from localexplain.audit.making import KIND, check_target, read_audit
from localexplain.audit.tables import count_rows, hash_table, table_columns, table_names
from localexplain.carry.manifest import Manifest, ModelEntry, read_entries, seal, write_manifest
from localexplain.errors import UserError
from localexplain.files import hash_file
from localexplain.offline import OFFLINE
from localexplain.resources import resource
from localexplain.store.store import Store, open_for_reading
from tests.cli_process import CliProcess, run_cli, write_texts

EXPLAINER = "tiny-explainer-1m"
SMALL = ("--set", "capture.units=sample:6", "--set", "capture.stratum_excerpts=1", "--set", "corpus.length_tokens=16")
ALL = (*SMALL, "--explainer", EXPLAINER, "--simulator", EXPLAINER, "--set", 'simulate.controls=["lookup", "empty"]')


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """texts/, models/ (a model store that lists `subject`), run/ and audit.json; copied by tests that change any."""
    folder = tmp_path_factory.mktemp("home")
    write_texts(folder / "texts")
    add_model(folder / "models", "subject", resource("models", "tiny-subject"))
    ended = run_cli(
        "run", folder / "run", "--texts", folder / "texts", "--subject", folder / "models" / "subject", *ALL,
        "--audit", folder / "audit.json", "--json", scratch=folder,
    )  # fmt: skip
    assert ended.exit_code == 0, ended.stderr
    return folder


@pytest.fixture
def copy(home: Path, tmp_path: Path) -> Path:
    """The same elsewhere; the audit's paths still name the first, so what is moved is found by name."""
    return shutil.copytree(home, tmp_path / "home")


def add_model(store: Path, name: str, source: Path) -> Path:
    shutil.copytree(source, store / name)
    entry = ModelEntry(name=name, path=name, files=read_entries(store / name), repository="org/one", revision="abc")
    write_manifest(store, Manifest(models={name: entry}))
    return store / name


def verify(home: Path, *arguments: object, run: Path | None = None) -> tuple[int, dict[str, tuple[str, str]], str]:
    """Exit code; what -> (status, detail); the line on standard error."""
    command = ("audit", "verify", home / "audit.json", run or home / "run", "--json", *arguments)
    ended = run_cli(*command, scratch=home)
    values = json.loads(ended.stdout) if ended.stdout else {"findings": [], "agrees": False}
    assert values["agrees"] == (ended.exit_code == 0)
    found = {item["what"]: (item["status"], item["detail"]) for item in values["findings"]}
    return ended.exit_code, found, ended.stderr


def differing(found: dict[str, tuple[str, str]]) -> dict[str, str]:
    return {what: detail for what, (status, detail) in found.items() if status == "DIFFERS"}


def edit_store(home: Path, statement: str) -> None:
    with duckdb.connect(str(home / "run" / "run.duckdb")) as connection:
        connection.execute(statement)


# what it holds --------------------------------------------------------------------------------------------------------


def test_an_audit_says_what_ran(home: Path) -> None:
    found = read_audit(home / "audit.json")
    assert (found["ended"], found["run"]["folder"]) == ("done", str(home / "run"))
    assert found["command"][:2] == ["run", str(home / "run")]
    assert (found["config"]["corpus"]["length_tokens"], found["seeds"]) == (16, {"seed": 0})
    assert found["program"]["version"] == __version__
    assert found["packages"]["duckdb"] == duckdb.__version__
    assert found["switches"].keys() == OFFLINE.keys()
    assert found["switches"]["HF_HUB_OFFLINE"] == "1"
    assert (found["machine"]["python"], found["machine"]["platform"]) == (
        platform.python_version(),
        platform.platform(),
    )
    began, ended = (datetime.fromisoformat(found[name]) for name in ("started_at", "ended_at"))
    assert began < ended
    assert began.utcoffset() == ended.utcoffset() is not None


def test_its_models_are_those_of_the_run_file_by_file(home: Path) -> None:
    subject, *ours = read_audit(home / "audit.json")["models"]
    assert [subject["role"], *(model["role"] for model in ours)] == ["subject", "explainer", "simulator"]
    entry = ModelEntry(name="", path="", files=read_entries(home / "models" / "subject"))
    named = {name: subject[name] for name in ("name", "entry", "repository", "revision", "digest")}
    assert named == {"name": "subject", "entry": "subject", "repository": "org/one", "revision": "abc",
                     "digest": entry.digest}  # fmt: skip
    for model in ours:
        assert (model["name"], model["entry"]) == (EXPLAINER, None)
    for model in (subject, *ours):
        names = sorted(path.name for path in Path(model["path"]).iterdir())
        assert [file["path"] for file in model["files"]] == names
        assert [file["sha256"] for file in model["files"]] == [hash_file(Path(model["path"]) / name) for name in names]


def test_its_prompts_and_texts_are_those_that_were_used(home: Path) -> None:
    found = read_audit(home / "audit.json")
    versions = {item["task"]: item["version"] for item in found["prompts"]}
    with open_for_reading(home / "run") as store:
        details = store.sql("SELECT details FROM models WHERE kind = 'transformers'").column(0).to_pylist()
    used = {json.loads(item).get(f"{stage}.prompt") for item in details for stage in ("explain", "simulate")} - {None}
    assert {f"{task}/{version}" for task, version in versions.items()} == {text.split("@")[0] for text in used}
    for item in found["prompts"]:
        folder = resource("prompts", item["task"], item["version"])
        assert {file["path"]: file["sha256"] for file in item["files"]} == {
            path.name: hash_file(path) for path in folder.iterdir()
        }
    assert found["texts"]["path"] == str(home / "texts")
    assert {file["path"]: file["sha256"] for file in found["texts"]["files"]} == {
        path.name: hash_file(path) for path in (home / "texts").iterdir()
    }


def test_lookup_and_rule_are_no_models(home: Path, tmp_path: Path) -> None:
    run_cli(
        "run", tmp_path / "run", "--texts", home / "texts", *SMALL, "--audit", tmp_path / "audit.json",
        scratch=tmp_path,
    )  # fmt: skip
    found = read_audit(tmp_path / "audit.json")
    assert [model["role"] for model in found["models"]] == ["subject"]
    assert found["prompts"] == []


# an unchanged run -----------------------------------------------------------------------------------------------------


def test_an_unchanged_run_agrees(home: Path) -> None:
    code, found, said = verify(home)
    assert (code, said) == (0, "")
    assert {status for status, _ in found.values()} == {"ok"}
    with open_for_reading(home / "run") as store:
        tables = {f"table {name}" for name in table_names(store)}
    prompts = {f"prompt {item['task']}/{item['version']}" for item in read_audit(home / "audit.json")["prompts"]}
    models = {"subject subject", f"explainer {EXPLAINER}", f"simulator {EXPLAINER}"}
    assert found.keys() == tables | prompts | models | {"settings", "texts", "localexplain", "packages"}


def test_without_json_there_is_a_line_for_each_thing(home: Path) -> None:
    ended = run_cli("audit", "verify", home / "audit.json", home / "run", scratch=home)
    assert (ended.exit_code, ended.stderr) == (0, "")
    first, *lines = ended.stdout.splitlines()
    assert first.endswith("the run done")
    assert "ok         table units: 6 rows" in lines
    assert all(line.startswith("ok ") for line in lines)


def test_a_store_written_anew_agrees(copy: Path) -> None:
    """Other rows first, another file: EXPORT and IMPORT, and every table that nothing refers to in another order."""
    path, exported = copy / "run" / "run.duckdb", copy / "exported"
    before = hash_file(path)
    with duckdb.connect(str(path)) as old:
        old.execute("CREATE TEMP TABLE mixed AS SELECT * FROM records ORDER BY random()")
        old.execute("DELETE FROM records; INSERT INTO records SELECT * FROM mixed; DROP TABLE mixed")
        old.execute(f"EXPORT DATABASE '{exported}' (FORMAT parquet)")
    path.unlink()
    with duckdb.connect(str(path)) as new:
        new.execute(f"IMPORT DATABASE '{exported}'")
    assert hash_file(path) != before
    code, found, _ = verify(copy)
    assert (code, differing(found)) == (0, {})


def test_equal_runs_have_equal_tables_but_for_their_times(home: Path, tmp_path: Path) -> None:
    ended = run_cli(
        "run", tmp_path / "run", "--texts", home / "texts", "--subject", home / "models" / "subject", *ALL,
        "--audit", tmp_path / "audit.json", scratch=tmp_path,
    )  # fmt: skip
    assert ended.exit_code == 0, ended.stderr
    one, other = (read_audit(folder / "audit.json") for folder in (home, tmp_path))
    tables = [audit["store"]["tables"] for audit in (one, other)]
    assert [name for name in tables[0] if tables[0][name] != tables[1][name]] == ["runs"]
    for name in ("models", "prompts", "texts", "config", "program", "packages"):
        assert one[name] == other[name]


# every table ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def loose(home: Path) -> Iterator[Store]:
    """The run's tables in memory without their constraints, so that any value can be changed alone."""
    store = Store(duckdb.connect(), home)
    store.connection.execute(f"ATTACH '{home / 'run' / 'run.duckdb'}' AS run (READ_ONLY)")
    names = store.sql("SELECT table_name FROM duckdb_tables() WHERE database_name = 'run'").column(0).to_pylist()
    for name in names:
        store.connection.execute(f"CREATE TABLE {name} AS SELECT * FROM run.{name} ORDER BY random()")
    yield store
    store.close()


ONE = "WHERE rowid = (SELECT min(rowid) FROM {table})"
CHANGED = {  # another value than the column has
    "VARCHAR": "coalesce({column}, '') || 'x'",
    "TIMESTAMP": "{column} + INTERVAL 1 MICROSECOND",
    "INTEGER[]": "[{column}[1] + 1] || {column}[2:]",
    "FLOAT[]": "[{column}[1] + 1] || {column}[2:]",
    "VARCHAR[]": "[{column}[1] || 'x'] || {column}[2:]",
}
PRESENT = {
    "VARCHAR": "''",
    "VARCHAR[]": "[]",
    "INTEGER[]": "[]",
    "FLOAT[]": "[]",
    "TIMESTAMP": "TIMESTAMP '1970-01-01'",
}


def alterations(store: Store, table: str) -> list[str]:
    """Statements that each change the table by a little; of an empty one, only adding is possible."""
    some = [f"INSERT INTO {table} SELECT * FROM {table} LIMIT 1", f"DELETE FROM {table} {ONE.format(table=table)}"]
    columns = table_columns(store, table)
    if not count_rows(store, table):
        return [f"INSERT INTO {table} ({columns[0][0]}) VALUES (NULL)"]
    for column, kind in columns:
        where = ONE.format(table=table)
        other = CHANGED.get(kind, "coalesce({column}, 0) + 1").format(column=column)
        turned = f"CASE WHEN {column} IS NULL THEN {PRESENT.get(kind, '0')} END"  # a value to NULL, NULL to a value
        some += [f"UPDATE {table} SET {column} = {value} {where}" for value in (other, turned)]
    return some


def swaps(store: Store, table: str) -> list[str]:
    """For each column, its values in two rows exchanged, where the two differ in it and in another column."""
    names = [name for name, _ in table_columns(store, table)]
    found: list[str] = []
    for name in names:
        others = " OR ".join(f"a.{other} IS DISTINCT FROM b.{other}" for other in names if other != name)
        pair = store.sql(
            f"SELECT a.rowid AS one, b.rowid AS other FROM {table} a, {table} b "
            f"WHERE a.rowid < b.rowid AND a.{name} IS DISTINCT FROM b.{name} AND ({others}) LIMIT 1"
        ).to_pylist()
        if pair:
            one, other = pair[0].values()
            found.append(
                f"UPDATE {table} SET {name} = there.value FROM (SELECT rowid AS place, {name} AS value FROM {table} "
                f"WHERE rowid IN ({one}, {other})) there "
                f"WHERE {table}.rowid IN ({one}, {other}) AND there.place <> {table}.rowid"
            )
    return found


def test_every_change_to_every_table_is_found(home: Path, loose: Store) -> None:
    """A value changed, made NULL or made one, a row gone, a row twice, two rows' values exchanged: in each column of
    each table, one at a time."""
    audited = read_audit(home / "audit.json")["store"]["tables"]
    tried: dict[str, int] = {}
    for table, expected in audited.items():
        assert check_table(loose, table, expected).status == "ok"
        for statement in alterations(loose, table) + (swaps(loose, table) if expected["rows"] > 1 else []):
            loose.connection.execute("BEGIN")
            loose.connection.execute(statement)
            found = check_table(loose, table, expected)
            loose.connection.execute("ROLLBACK")
            assert (found.what, found.status) == (f"table {table}", "DIFFERS"), statement
            tried[table] = tried.get(table, 0) + 1
        assert check_table(loose, table, expected).status == "ok"
    n_columns = {table: len(expected["columns"]) for table, expected in audited.items()}
    full = [table for table, expected in audited.items() if expected["rows"]]
    assert {"records", "simulations", "scores", "units", "excerpts", "model_files", "runs"} <= set(full)
    assert all(tried[table] >= 2 + 2 * n_columns[table] for table in full)
    assert all(tried[table] == 1 for table in audited.keys() - set(full))


@pytest.mark.parametrize(
    ("statement", "table", "detail"),
    [
        ("UPDATE scores SET n_tokens = n_tokens + 1 WHERE score_key = (SELECT min(score_key) FROM scores)", "scores",
         "as many rows as the audit, but not the same"),
        ("DELETE FROM records WHERE rowid = 3", "records", "1 row fewer than the audit"),
        ("INSERT INTO left_out VALUES ('a', 'b'), ('c', 'd')", "left_out", "2 rows more than the audit"),
        ("DROP TABLE left_out", "left_out", "no such table"),
        ("ALTER TABLE left_out RENAME reason TO why", "left_out", "column reason is gone or of another type"),
    ],
)  # fmt: skip
def test_the_table_that_differs_is_named(statement: str, table: str, detail: str, copy: Path) -> None:
    edit_store(copy, statement)
    code, found, said = verify(copy)
    assert (code, differing(found)) == (2, {f"table {table}": detail})
    assert len(said.splitlines()) == 1
    assert said.rstrip().endswith(f"1 of {len(found)} things differ: table {table}")


def test_a_later_schema_is_told_and_no_fault(copy: Path) -> None:
    edit_store(copy, "ALTER TABLE units ADD COLUMN later INTEGER; CREATE TABLE more (a INTEGER)")
    code, found, _ = verify(copy)
    assert (code, found["table more"], found["table units"][0]) == (0, ("told", "not in the audit"), "ok")


def test_a_later_call_shows(copy: Path) -> None:
    """With one control more, rows come and settings change."""
    more = ("--set", 'simulate.controls=["lookup", "empty", "linear"]')
    assert run_cli("run", copy / "run", *more, scratch=copy).exit_code == 0
    code, found, _ = verify(copy)
    assert code == 2
    assert differing(found)["settings"] == "simulate.controls is another"
    assert "more than the audit" in differing(found)["table simulations"]
    assert differing(found).keys() == {"settings", "table simulations", "table scores", "table runs"}


# the file -------------------------------------------------------------------------------------------------------------


def test_an_audit_with_one_byte_changed_is_refused(copy: Path) -> None:
    file = copy / "audit.json"
    whole = file.read_bytes()
    draw = random.Random(0)
    for _ in range(60):
        place = draw.randrange(len(whole))
        changed = whole[:place] + bytes([whole[place] ^ (1 << draw.randrange(8))]) + whole[place + 1 :]
        file.write_bytes(changed)
        with pytest.raises(UserError, match=r"audit\.json: changed since it was written"):
            read_audit(file)
    code, found, said = verify(copy)
    assert (code, found) == (2, {})
    assert "changed since it was written" in said


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (seal({"format": 1, "models": {}}), "not an audit"),
        (seal({"kind": KIND, "format": 2}), "of format 2"),
        (None, "cannot be read"),
    ],
)
def test_what_is_no_audit_is_named(text: str | None, why: str, home: Path, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "audit.json").write_text(text)
    code, _, said = verify(tmp_path, run=home / "run")
    assert code == 2
    assert why in said


def test_a_folder_that_is_no_run_is_named(home: Path, tmp_path: Path) -> None:
    code, found, said = verify(home, run=tmp_path)
    assert (code, found) == (2, {})
    assert "not a run folder" in said


# models, prompts, texts -----------------------------------------------------------------------------------------------


def flip(file: Path, place: int = -1) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)


def redirect(home: Path, copy: Path) -> None:
    """Makes the audit of the copy look for models and texts in the copy."""
    values = read_audit(copy / "audit.json")
    for item in (*values["models"], values["texts"]):
        item["path"] = item["path"].replace(str(home), str(copy))
    (copy / "audit.json").write_text(seal(values))


def test_a_changed_model_file_is_named(home: Path, copy: Path) -> None:
    redirect(home, copy)
    flip(copy / "models" / "subject" / "model.safetensors")
    (copy / "models" / "subject" / "new.json").write_text("{}")
    code, found, said = verify(copy)
    assert code == 2
    assert found["subject subject"][0] == "DIFFERS"
    assert "model.safetensors: changed (sha256" in found["subject subject"][1]
    assert "new.json: extra" in found["subject subject"][1]
    assert said.rstrip().endswith("things differ: subject subject")


def test_a_moved_model_is_found_by_its_name(home: Path, copy: Path) -> None:
    redirect(home, copy)
    shutil.move(copy / "models", copy / "elsewhere")
    assert verify(copy)[1]["subject subject"] == ("not there", f"no folder {copy / 'models' / 'subject'}")
    assert verify(copy, "--store", copy / "elsewhere")[:2][1]["subject subject"] == ("ok", "")
    flip(copy / "elsewhere" / "subject" / "tokenizer.json")
    code, found, _ = verify(copy, "--store", copy / "elsewhere")
    assert (code, "tokenizer.json: changed" in found["subject subject"][1]) == (2, True)


def test_a_changed_text_is_named(home: Path, copy: Path) -> None:
    redirect(home, copy)
    flip(copy / "texts" / "1.txt")
    (copy / "texts" / "0.txt").unlink()
    code, found, _ = verify(copy)
    assert code == 2
    assert found["texts"][0] == "DIFFERS"
    assert "0.txt: missing, 1.txt: changed" in found["texts"][1]
    shutil.rmtree(copy / "texts")
    code, found, _ = verify(copy)
    assert (code, found["texts"]) == (0, ("not there", f"not in {copy / 'texts'}"))


def test_a_changed_prompt_is_named(home: Path, tmp_path: Path) -> None:
    """The prompts that ship, in a folder of the test's own."""
    audited = read_audit(home / "audit.json")
    prompts = shutil.copytree(resource("prompts"), tmp_path / "prompts")
    item = audited["prompts"][0]
    what, folder = f"prompt {item['task']}/{item['version']}", prompts / item["task"] / item["version"]

    def look() -> tuple[str, str]:
        findings = check_audit(audited, home / "run", prompts=prompts)
        return next((finding.status, finding.detail) for finding in findings if finding.what == what)

    assert look() == ("ok", "")
    flip(folder / item["files"][0]["path"])
    status, detail = look()
    assert (status, detail.split(":")[0]) == ("DIFFERS", item["files"][0]["path"])
    shutil.rmtree(folder)
    assert look() == ("not there", f"not in {folder}")


def test_other_packages_are_told_and_no_fault(home: Path, copy: Path) -> None:
    values = read_audit(copy / "audit.json")
    values["packages"] |= {"duckdb": "0.0.1", "gone": "1"}
    values["program"]["sha256"] = "0"
    (copy / "audit.json").write_text(seal(values))
    code, found, _ = verify(copy)
    assert code == 0
    now = f"duckdb 0.0.1 then, {duckdb.__version__} now, gone 1 then, not installed now"
    assert found["packages"] == ("told", now)
    assert found["localexplain"] == ("told", f"{__version__} then, {__version__} now, with other files")


# where it is written --------------------------------------------------------------------------------------------------


def refused(*arguments: object, scratch: Path) -> str:
    ended = run_cli("run", *arguments, scratch=scratch)
    assert (ended.exit_code, len(ended.stderr.splitlines())) == (2, 1), ended
    return ended.stderr


def test_a_place_that_cannot_be_is_said_before_the_run_starts(home: Path, tmp_path: Path) -> None:
    run, texts = tmp_path / "run", ("--texts", home / "texts", *SMALL)
    other = tmp_path / "notes.txt"
    other.write_text("mine")
    for file, why in (
        (tmp_path / "none" / "audit.json", f"there is no folder {tmp_path / 'none'}"),
        (tmp_path, "is a folder"),
        (other, "no audit that can be replaced"),
        (home / "audit.json", "the audit of another run"),
        (run / "run.duckdb", "must end in .json"),
    ):
        assert why in refused(run, *texts, "--audit", file, scratch=tmp_path)
    assert not run.exists()
    assert other.read_text() == "mine"
    assert read_audit(home / "audit.json")["run"]["folder"] == str(home / "run")


def test_the_same_run_replaces_its_own_audit_and_another_does_not(home: Path, copy: Path) -> None:
    assert run_cli("run", copy / "run", "--audit", copy / "audit.json", scratch=copy).exit_code == 0
    assert read_audit(copy / "audit.json")["run"]["folder"] == str(copy / "run")
    again = run_cli("run", copy / "other", "--texts", copy / "texts", *SMALL, scratch=copy)
    assert again.exit_code == 0, again.stderr
    assert "another run" in refused(copy / "other", "--audit", copy / "audit.json", scratch=copy)


def test_it_may_lie_in_the_run_s_own_folder(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "run" / "audit.json"
    ended = run_cli("run", tmp_path / "run", "--texts", home / "texts", *SMALL, "--audit", file, scratch=tmp_path)
    assert ended.exit_code == 0, ended.stderr
    assert read_audit(file)["ended"] == "done"


def test_only_a_run_that_no_stage_of_has_ended_is_known_by_its_place(home: Path, tmp_path: Path) -> None:
    values = read_audit(home / "audit.json")
    values["run"] = {"folder": str(tmp_path / "run"), "first_stage": None}
    (tmp_path / "audit.json").write_text(seal(values))
    check_target(tmp_path / "audit.json", tmp_path / "run")
    with pytest.raises(UserError, match="another run"):
        check_target(tmp_path / "audit.json", tmp_path / "other")


# runs that do not end well --------------------------------------------------------------------------------------------


def test_a_run_that_is_refused_half_way_has_an_audit_that_says_so(home: Path, copy: Path) -> None:
    ended = run_cli("run", copy / "run", "--seed", 5, "--audit", copy / "audit.json", scratch=copy)
    assert ended.exit_code == 2
    found = read_audit(copy / "audit.json")
    assert found["ended"].startswith("failed: ")
    assert "another seed" in found["ended"]
    assert found["config"]["seed"] == 5
    code, findings, _ = verify(copy)
    assert (code, findings["table units"][0]) == (0, "ok")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_stopped_or_killed_and_gone_on_with_has_an_audit_that_holds(
    number: signal.Signals, home: Path, tmp_path: Path
) -> None:
    """Stopped, it has an audit at once, of what is stored by then; killed, only when it has gone on."""
    file = tmp_path / "audit.json"
    arguments = ("run", tmp_path / "run", "--texts", home / "texts", "--subject", home / "models" / "subject", *ALL)
    process = CliProcess([*arguments, "--audit", file], tmp_path)
    assert process.wait_for(lambda: (tmp_path / "run" / "maxima.f16").exists())
    process.send(number)
    process.end()
    assert file.exists() == (number == signal.SIGINT)
    if number == signal.SIGINT:
        assert read_audit(file)["ended"].startswith("stopped: ")
        code, found, _ = verify(tmp_path)
        assert (code, differing(found)) == (0, {})
    assert run_cli(*arguments, "--audit", file, scratch=tmp_path).exit_code == 0
    assert read_audit(file)["ended"] == "done"
    code, found, _ = verify(tmp_path)
    assert (code, differing(found)) == (0, {})
    with open_for_reading(tmp_path / "run") as mine, open_for_reading(home / "run") as whole:
        names = [name for name in table_names(whole) if name != "runs"]
        assert [name for name in names if hash_table(mine, name) != hash_table(whole, name)] == []


def test_a_full_disk_at_the_end_keeps_the_earlier_audit(home: Path, copy: Path) -> None:
    """The audit is larger than any file may be: the run is done, the file is as it was."""
    before = (copy / "audit.json").read_bytes()
    ended = run_cli("run", copy / "run", "--audit", copy / "audit.json", scratch=copy, file_bytes=4000)
    assert ended.exit_code == 2, ended
    assert "no room left" in ended.stderr
    assert (copy / "audit.json").read_bytes() == before
    assert not list(copy.glob("*.partial"))
