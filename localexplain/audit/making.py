"""The audit of a run: one JSON file that says what ran, and proves that it is as it was written.

    before the stages   command, switches, settings, models, prompts, texts
    after them          how it ended, when, on what machine, with which packages, a hash of every table

It is written however the run ends, but for a kill: then the next call, which goes on, writes it.
"""

import hashlib
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from localexplain import __version__
from localexplain.audit.tables import hash_table, table_names
from localexplain.cards.card import card_of
from localexplain.carry.manifest import seal, unseal
from localexplain.doctor import count_usable_cpus, parse_meminfo, read_system
from localexplain.errors import LocalexplainError, RunError, UserError
from localexplain.files import hash_file, write_whole
from localexplain.modelfiles import hash_once
from localexplain.pipeline.capture import corpus_path
from localexplain.pipeline.config import RunConfig
from localexplain.pipeline.models import Prompt, with_card
from localexplain.pipeline.run import Run
from localexplain.pipeline.used import used_model
from localexplain.progress import Interrupted
from localexplain.prompts import load_prompt
from localexplain.resources import PACKAGE, model_folder, resource
from localexplain.store.store import FILE_NAME, Store, connect
from localexplain.subject.corpus import corpus_files

KIND = "audit of a run of localexplain"
FORMAT = 1
DONE = "done"
NO_MODELS = (("explainer", "lookup"), ("simulator", "rule"))
PROGRAM_SUFFIXES = (".py", ".sql", ".html", ".css", ".js")


# reading one ----------------------------------------------------------------------------------------------------------


def read_audit(file: Path) -> dict[str, Any]:
    """The audit's values. Raises UserError: no such file, changed since it was written, something else."""
    try:
        text = file.read_bytes().decode()
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}); give an audit file") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: changed since it was written (not UTF-8); bring an unchanged copy") from error
    values = unseal(text, str(file))
    if values.get("kind") != KIND:
        raise UserError(f"{file}: not an audit of a run; give one that `localexplain run --audit` wrote")
    if values.get("format") != FORMAT:
        raise UserError(f"{file}: of format {values.get('format')}, not {FORMAT}; update localexplain to read it")
    return values


def first_stage(store: Store) -> str | None:
    """When the run's first stage began, to the microsecond: tells runs apart. None where none has ended yet."""
    found = store.query("first_stage").column(0)[0].as_py()
    return None if found is None else found.isoformat()


def first_stage_in(folder: Path) -> str | None:
    """As `first_stage`, of a run folder that may not be one yet. Raises StoreError while a process writes to it."""
    path = folder / FILE_NAME
    if not path.is_file():
        return None
    try:
        with connect(path, read_only=True) as store:
            return first_stage(store) if "runs" in table_names(store) else None
    except RunError:  # whoever opens the run says what is wrong with it
        return None


def is_same_run(audited: Mapping[str, Any], folder: Path, first: str | None) -> bool:
    """Whether an audit's "run" is the one in the folder. One that no stage of has ended has nothing but its place."""
    if audited["first_stage"] is None:
        return bool(audited["folder"] == str(folder.absolute()))
    return bool(audited["first_stage"] == first)


def check_target(file: Path, folder: Path) -> None:
    """Raises UserError where the run's audit cannot be written to the file, or would replace anything but an audit of
    the same run."""
    place, inside = file.resolve().parent, file.resolve().parent == folder.resolve()
    if file.is_dir():
        raise UserError(f"--audit {file}: is a folder; give a file")
    if inside and file.suffix != ".json":  # it may be a file that the run will make
        raise UserError(f"--audit {file}: in the run's own folder its name must end in .json; give another")
    if not inside and not place.is_dir():
        raise UserError(f"--audit {file}: there is no folder {file.parent}; make it, or give another path")
    if place.is_dir() and not os.access(place, os.W_OK):
        raise UserError(f"--audit {file}: nothing can be written to {file.parent}; give another path")
    if not file.exists():
        return
    try:
        audited = read_audit(file)["run"]
    except UserError as error:
        raise UserError(f"--audit {file}: is there, and is no audit that can be replaced; give another file") from error
    if not is_same_run(audited, folder, first_stage_in(folder)):
        raise UserError(f"--audit {file}: is the audit of another run, in {audited['folder']}; give another file")


# what is known before -------------------------------------------------------------------------------------------------


def named_models(config: RunConfig) -> dict[str, str]:
    """Role -> name of the language models that the settings name."""
    named = {"subject": config.subject, "explainer": config.explain.explainer, "simulator": config.simulate.simulator}
    return {role: name for role, name in named.items() if (role, name) not in NO_MODELS}


def describe_model(role: str, name: str) -> dict[str, Any]:
    """One that cannot be used is there too, with its fault."""
    place = {"role": role, "name": name, "path": str(model_folder(name).absolute())}
    try:
        used = used_model(name, role)
        card = card_of(used.folder)
    except UserError as error:
        return place | {"fault": str(error)}
    return {
        **place,
        "name": used.name,
        "entry": used.entry and used.entry.name,
        "repository": used.entry and used.entry.repository,
        "revision": used.entry and used.entry.revision,
        "digest": used.digest,
        "card": card and card.name,
        "files": [asdict(file) for file in used.files],
    }


def prompt_files(task: str, version: str) -> list[dict[str, str]]:
    """Name and sha256 of each file of a prompt, as it lies there."""
    folder = resource("prompts", task, version)
    names = sorted(load_prompt(task, version).files)
    return [{"path": name, "sha256": hash_file(folder / name)} for name in names]


def describe_prompt(role: str, task: str, prompt: Prompt, folder: Path) -> list[dict[str, Any]]:
    """One item; none where a stage will refuse the prompt."""
    try:
        loaded = load_prompt(task, with_card(prompt, folder).prompt_version)
    except UserError:
        return []
    files = prompt_files(task, loaded.version)
    return [{"role": role, "task": task, "version": loaded.version, "files": files}]


def describe_prompts(config: RunConfig) -> list[dict[str, Any]]:
    """Of the language models that the settings name."""
    explain, simulate, named = config.explain.prompt, config.simulate.prompt, named_models(config)
    found: list[dict[str, Any]] = []
    if "explainer" in named:
        found += describe_prompt("explainer", "explain", explain, model_folder(named["explainer"]))
    if "simulator" in named:
        task = f"simulate-{simulate.mode}"
        found += describe_prompt("simulator", task, simulate, model_folder(named["simulator"]))
    return found


def describe_texts(config: RunConfig) -> dict[str, Any]:
    path = corpus_path(config.corpus)
    try:
        files = corpus_files(path)
        hashes = hash_once(files)
    except UserError as error:
        return {"path": str(path.absolute()), "fault": str(error)}
    root = path if path.is_dir() else path.parent
    listed = [
        {"path": file.relative_to(root).as_posix(), "bytes": file.stat().st_size, "sha256": hashes[file]}
        for file in files
    ]
    return {"path": str(path.absolute()), "files": listed}


def describe_inputs(config: RunConfig) -> dict[str, Any]:
    """What the settings name, hashed. It is what the stages are about to read, who need not hash it again then."""
    return {
        "config": asdict(config),
        "seeds": {"seed": config.seed},
        "models": [describe_model(role, name) for role, name in named_models(config).items()],
        "prompts": describe_prompts(config),
        "texts": describe_texts(config),
    }


# what is known after --------------------------------------------------------------------------------------------------


def hash_program() -> str:
    """sha256 over the names and hashes of the package's own files: the same version may have been edited."""
    files = [path for path in sorted(PACKAGE.rglob("*")) if path.suffix in PROGRAM_SUFFIXES and path.is_file()]
    lines = [f"{path.relative_to(PACKAGE).as_posix()} {hash_file(path)}\n" for path in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def installed_packages() -> dict[str, str]:
    """Every distribution that is installed here -> its version: what is there may take part without being asked."""
    found = {str(item.metadata["Name"]): item.version for item in distributions() if item.metadata["Name"]}
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def describe_program() -> dict[str, Any]:
    return {"version": __version__, "sha256": hash_program()}


def describe_gpus() -> list[dict[str, Any]]:
    """As torch sees them, where the run has loaded it."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    every = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [{"name": found.name, "memory_bytes": found.total_memory} for found in every]


def describe_machine() -> dict[str, Any]:
    """memory_bytes  None where the system does not say"""
    cpus = [
        line.partition(":")[2].strip() for line in read_system("/proc/cpuinfo").splitlines() if "model name" in line
    ]
    return {
        "platform": platform.platform(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "cpu": cpus[0] if cpus else "",
        "usable_cpus": count_usable_cpus(),
        "memory_bytes": parse_meminfo(read_system("/proc/meminfo")).get("MemTotal"),
        "gpus": describe_gpus(),
    }


def stored_config(store: Store) -> dict[str, Any] | None:
    """The settings that the run's last stage was called with; None where none has ended yet."""
    rows = store.query("last_config").column("config").to_pylist()
    values: dict[str, Any] | None = json.loads(rows[0]) if rows else None
    return values


def describe_store(run: Run) -> dict[str, Any]:
    """Every table's hash; "fault" where the store can no longer be read."""
    try:
        names = table_names(run.store)
        tables: dict[str, dict[str, Any]] = {}
        run.watcher.begin("audit", len(names), "tables")
        for name in names:
            found = hash_table(run.store, name)
            tables[name] = {"columns": list(found.columns), "rows": found.rows, "sha256": found.sha256}
            run.watcher.advance(1)
        run.watcher.end()
        versions = run.store.query("schema_versions").column("version").to_pylist()
        return {"schema_versions": versions, "config": stored_config(run.store), "tables": tables}
    except LocalexplainError as error:
        return {"fault": str(error)}


def describe_run(run: Run) -> dict[str, Any]:
    try:
        first = first_stage(run.store)
    except LocalexplainError:
        first = None
    return {"folder": str(run.folder.absolute()), "first_stage": first}


def describe_end(error: BaseException | None) -> str:
    """How a run ended, in words.

    >>> describe_end(None), describe_end(KeyboardInterrupt()), describe_end(UserError("no such folder"))
    ('done', 'stopped at once', 'failed: no such folder')
    """
    if error is None:
        return DONE
    if isinstance(error, Interrupted):
        return f"stopped: {error}"
    if isinstance(error, KeyboardInterrupt):
        return "stopped at once"
    return f"failed: {error}" if isinstance(error, LocalexplainError) else f"failed: {type(error).__name__}: {error}"


# the file -------------------------------------------------------------------------------------------------------------


def utc(time: datetime) -> str:
    return f"{time.isoformat()}Z"


@contextmanager
def recording(
    run: Run, config: RunConfig, file: Path, *, command: Sequence[str], switches: Mapping[str, str | None],
    report: Callable[[str], None],
) -> Iterator[None]:  # fmt: skip
    """Writes the audit of what the block does, also when it is stopped or fails.

    command   the arguments of the command line
    switches  variables of the environment -> value, None where unset
    report    is told where the file cannot be written beside another failure, which goes first
    Raises OSError where it cannot be written after a block that ended well.
    """
    began = run.now()
    before = {"command": list(command), "switches": dict(switches), **describe_inputs(config)}

    def write(error: BaseException | None) -> None:
        after = {
            "ended": describe_end(error),
            "started_at": utc(began),
            "ended_at": utc(run.now()),
            "run": describe_run(run),
            "program": describe_program(),
            "packages": installed_packages(),
            "machine": describe_machine(),
            "store": describe_store(run),
        }
        write_whole(file, seal({"kind": KIND, "format": FORMAT, **after, **before}))

    try:
        yield
    except BaseException as error:
        try:
            write(error)
        except OSError as second:
            report(f"{file}: the audit could not be written ({second.strerror})")
        raise
    write(None)
