"""Whether a run, and what it was made from, is still what its audit says."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from localexplain.audit.making import describe_program, installed_packages, stored_config
from localexplain.audit.tables import hash_table, table_columns, table_names
from localexplain.carry.manifest import FileEntry, Manifest, compare, compare_folder, read_manifest, role_of
from localexplain.errors import RunError
from localexplain.files import hash_files
from localexplain.pipeline.used import readable_files
from localexplain.resources import model_folder, resource
from localexplain.store.snapshot import READER_MEMORY
from localexplain.store.store import FILE_NAME, Store, applied_versions, connect

Status = Literal["ok", "DIFFERS", "not there", "told"]
MOST_NAMED = 3  # files or keys in one line


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    status  "not there": it cannot be looked at here; "told": it is another now, which is no fault
    detail  "" where there is nothing to add
    """

    what: str
    status: Status
    detail: str = ""


def judged(what: str, differences: Iterable[object]) -> Finding:
    """ "ok" where nothing differs."""
    listed = [str(item) for item in differences]
    more = f" and {len(listed) - MOST_NAMED} more" if len(listed) > MOST_NAMED else ""
    return Finding(what=what, status="DIFFERS" if listed else "ok", detail=", ".join(listed[:MOST_NAMED]) + more)


# the store ------------------------------------------------------------------------------------------------------------


def say_rows(number: int) -> str:
    return "1 row" if number == 1 else f"{number} rows"


def describe_growth(now: int, then: int) -> str:
    """
    >>> describe_growth(15, 3), describe_growth(3, 4), describe_growth(3, 3)
    ('12 rows more than the audit', '1 row fewer than the audit', 'as many rows as the audit, but not the same')
    """
    if now == then:
        return "as many rows as the audit, but not the same"
    return f"{say_rows(abs(now - then))} {'more' if now > then else 'fewer'} than the audit"


def check_table(store: Store, name: str, audited: Mapping[str, Any]) -> Finding:
    """Over the columns that the audit knows; later versions of the program may have added some."""
    what = f"table {name}"
    here = dict(table_columns(store, name))
    columns = [(column, kind) for column, kind in audited["columns"]]
    if not here:
        return Finding(what=what, status="DIFFERS", detail="no such table")
    if changed := [column for column, kind in columns if here.get(column) != kind]:
        return judged(what, (f"column {column} is gone or of another type" for column in changed))
    found = hash_table(store, name, [column for column, _ in columns])
    if found.sha256 != audited["sha256"]:
        return Finding(what=what, status="DIFFERS", detail=describe_growth(found.rows, audited["rows"]))
    return Finding(what=what, status="ok", detail=say_rows(found.rows))


def flatten(values: Any, above: str = "") -> dict[str, Any]:
    """
    >>> flatten({"seed": 0, "corpus": {"path": "demo"}})
    {'seed': 0, 'corpus.path': 'demo'}
    """
    if not isinstance(values, dict):
        return {above: values}
    return {key: value for name in values for key, value in flatten(values[name], f"{above}.{name}".strip(".")).items()}


def check_config(now: Mapping[str, Any] | None, then: Mapping[str, Any] | None) -> Finding:
    here, there = flatten(dict(now or {})), flatten(dict(then or {}))
    return judged("settings", (f"{key} is another" for key in sorted(here | there) if here.get(key) != there.get(key)))


def check_store(folder: Path, audited: Mapping[str, Any]) -> list[Finding]:
    """Raises RunError where the folder is no run, StoreLocked while a process writes to it."""
    path = folder / FILE_NAME
    if not path.is_file():
        raise RunError(f"{folder}: not a run folder, it holds no {FILE_NAME}; give the folder of the run")
    with connect(path, read_only=True) as store:
        if applied_versions(store) is None:
            raise RunError(f"{path}: holds no run; give the folder of the run")
        if "fault" in audited:
            return [Finding(what="tables", status="not there", detail=f"not in the audit: {audited['fault']}")]
        store.connection.execute(f"SET memory_limit = '{READER_MEMORY}'")
        findings = [check_config(stored_config(store), audited["config"])]
        findings += [check_table(store, name, table) for name, table in audited["tables"].items()]
        for name in table_names(store):
            if name not in audited["tables"]:
                findings.append(Finding(what=f"table {name}", status="told", detail="not in the audit"))
        return findings


# files ----------------------------------------------------------------------------------------------------------------


def find_model(audited: Mapping[str, Any], manifest: Manifest, store: Path | None) -> Path | None:
    """The model's folder: where it was, else by its name in the model store, else the one of that name that ships."""
    before = Path(audited["path"])
    entry = manifest.models.get(audited["name"])
    here = [before, *([store / entry.path] if store and entry else []), model_folder(audited["name"])]
    return next((folder for folder in here if folder.is_dir()), None)


def check_model(audited: Mapping[str, Any], manifest: Manifest, store: Path | None) -> Finding:
    what = f"{audited['role']} {audited['name']}"
    if "fault" in audited:
        return Finding(what=what, status="not there", detail=f"was not used: {audited['fault']}")
    folder = find_model(audited, manifest, store)
    if folder is None:
        return Finding(what=what, status="not there", detail=f"no folder {audited['path']}")
    expected = [FileEntry(**file) for file in audited["files"]]
    faults = compare_folder(folder, expected)
    if audited["entry"] is None:  # a folder outside a model store may hold files that no run reads
        read = readable_files(folder)
        faults = tuple(fault for fault in faults if fault.what != "extra" or fault.path in read)
    return judged(what, faults)


def check_files(what: str, folder: Path, audited: Iterable[Mapping[str, Any]]) -> Finding:
    """The listed files, hashed now; those beside them do not count."""
    listed = {str(file["path"]): str(file["sha256"]) for file in audited}
    there = {name: folder / name for name in listed if (folder / name).is_file()}
    if not there:
        return Finding(what=what, status="not there", detail=f"not in {folder}")
    hashes = hash_files(there.values())

    def entries(found: Mapping[str, str]) -> list[FileEntry]:
        return [FileEntry(path=name, bytes=0, sha256=sha256, role=role_of(name)) for name, sha256 in found.items()]

    return judged(what, compare(entries(listed), entries({name: hashes[path] for name, path in there.items()})))


def check_texts(audited: Mapping[str, Any]) -> Finding:
    if "fault" in audited:
        return Finding(what="texts", status="not there", detail=f"were not read: {audited['fault']}")
    path = Path(audited["path"])
    return check_files("texts", path.parent if path.is_file() else path, audited["files"])


def check_program(audited: Mapping[str, Any]) -> list[Finding]:
    """What is another now: told, since a later version may well look at an older run."""
    now, program = installed_packages(), describe_program()
    before = audited["packages"]
    names = [name for name in sorted(now.keys() | before.keys(), key=str.lower) if now.get(name) != before.get(name)]
    changed = [
        f"{name} {before.get(name, 'not installed')} then, {now.get(name, 'not installed')} now" for name in names
    ]
    same = program == audited["program"]
    version = f"{audited['program']['version']} then, {program['version']} now, with other files"
    return [
        Finding(what="localexplain", status="ok" if same else "told", detail="" if same else version),
        Finding(what="packages", status="told" if changed else "ok", detail=", ".join(changed)),
    ]


def check_audit(
    audited: Mapping[str, Any], folder: Path, store: Path | None = None, prompts: Path | None = None
) -> list[Finding]:
    """Everything that the audit lists, looked at now; nothing is taken from memory.

    store    folder of models to look in by name, None where there is none
    prompts  None: those that ship
    Raises RunError where the folder is no run, StoreLocked while a process writes to it, UserError for a damaged
    manifest.
    """
    manifest = Manifest(models={}) if store is None else read_manifest(store)
    root = resource("prompts") if prompts is None else prompts
    return [
        *check_store(folder, audited["store"]),
        *(check_model(model, manifest, store) for model in audited["models"]),
        *(
            check_files(
                f"prompt {item['task']}/{item['version']}", root / item["task"] / item["version"], item["files"]
            )
            for item in audited["prompts"]
        ),
        check_texts(audited["texts"]),
        *check_program(audited),
    ]
