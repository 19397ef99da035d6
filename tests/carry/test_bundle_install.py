"""A bundle is installed where nothing is but Python, with no network; and, slowly, the real one.

The slow test keeps the wheels that it downloads in the folder that LOCALEXPLAIN_WHEELS names, else in .venv/wheels of
the checkout.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from localexplain.carry.contents import contents_of, gather_contents
from localexplain.carry.install import carry_over, install
from localexplain.carry.lock import only_one
from localexplain.carry.make import Made, Order, put_out
from localexplain.carry.manifest import compare_folder, read_manifest
from localexplain.carry.model_store import add
from localexplain.carry.receive import Place, check_room
from localexplain.carry.wheels import running_python
from localexplain.cli import main
from localexplain.errors import UserError
from tests.carry_bundles import PART_BYTES, ROOT, World, make_small, write_wheel, write_world
from tests.carry_models import model_contents, write_cache, write_model
from tests.tiny_models import write_tiny_engine

NOW = datetime(2026, 3, 4, tzinfo=UTC)
NO_NETWORK = [sys.executable, "-m", "localexplain.silence.namespace", "--"]
TORCH_IS_CUT_BYTES = 100_000_000
TESTS = ["-m", "not slow and not gpu and not browser and not vllm and not build", "-q", "-p", "no:cacheprovider"]


def run_alone(*command: object, folder: Path, code: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs a command without a network, and with no variables but a path and a home that is empty."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    python = Path(sys.base_prefix) / "bin"
    environment = ["env", "-i", f"PATH={python}:/usr/bin:/bin", f"HOME={home}"]
    environment += [f"{name}={value}" for name, value in variables.items()]
    texts = [*NO_NETWORK, *environment, *map(str, command)]
    done = subprocess.run(texts, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == code, done.stdout[-5000:] + done.stderr
    return done


def refusal(parts: Sequence[Path], target: Path, **named: Any) -> str:
    with pytest.raises(UserError) as error:
        install(parts, target, **named)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return write_world(tmp_path_factory.mktemp("made") / "world", "first", seed=1)


@pytest.fixture(scope="module")
def made(world: World) -> Made:
    return make_small(world, world.root.parent / "out", PART_BYTES)


@pytest.fixture(scope="module")
def parts(world: World, made: Made) -> list[Path]:
    assert made.bundle.parts >= 3
    return sorted((world.root.parent / "out").iterdir())


@pytest.fixture(scope="module")
def target(world: World, made: Made, parts: list[Path]) -> Path:
    """Installed with the shell script, the last part first, from a folder with a blank in its name; the caller has
    variables that would lead pip and Python astray."""
    folder = world.root.parent
    target = folder / "the target"
    astray = {"PIP_TARGET": "/nowhere", "PIP_INDEX_URL": "https://index.invalid/", "PIP_REQUIRE_VIRTUALENV": "1",
              "PYTHONPATH": "/nowhere", "PYTHONHOME": "/nowhere"}  # fmt: skip
    n = made.bundle.parts
    for came, part in enumerate(reversed(parts), 1):
        medium = folder / "medium"
        shutil.copytree(part, medium)
        done = run_alone("sh", medium / "install.sh", target, folder=folder, **astray)
        shutil.rmtree(medium)
        if came < n:
            missing = ", ".join(str(number) for number in range(1, n - came + 1))
            plural = "part" if n - came == 1 else "parts"
            assert done.stdout == f"{came} of {n} parts received; still missing: {plural} {missing}\n"
            assert not (target / "current").exists()
    assert done.stdout == f"installed: bundle {made.bundle.id}; start it with {target}/localexplain\n"
    return target


# what is there afterwards ---------------------------------------------------------------------------------------------


def test_the_program_runs_with_the_models_of_its_version(target: Path, made: Made) -> None:
    done = run_alone(target / "localexplain", "demo", "a b", folder=target.parent)
    assert done.stdout == "first demo a b\n"
    assert os.readlink(target / "current") == f"versions/{made.bundle.id}"
    shown = target / "current" / "venv" / "bin" / "localexplain"
    kept = shown.read_text()
    try:
        shown.write_text('#!/bin/sh\necho "$LOCALEXPLAIN_MODELS"\n')
        done = run_alone(target / "localexplain", folder=target.parent)
        assert done.stdout == f"{target}/versions/{made.bundle.id}/models\n"
        done = run_alone(target / "localexplain", folder=target.parent, LOCALEXPLAIN_MODELS="/other")
        assert done.stdout == "/other\n"
    finally:
        shown.write_text(kept)


def test_everything_that_was_carried_is_there(target: Path, made: Made) -> None:
    version = target / "current"
    models = version / "models"
    (entry,) = read_manifest(models).models.values()
    assert compare_folder(models / entry.name, entry.files) == ()
    assert (entry.name, entry.path, entry.copied, entry.added_at) == ("model-first", "model-first", True,
                                                                      made.bundle.made_at)  # fmt: skip
    assert entry.files == made.bundle.models[0].files
    assert (models / "model-first" / "config.json").read_bytes() == model_contents(1)["config.json"]
    assert (version / "prompts/explain/v1/instruction.j2").read_text() == "Say what the neuron does.\n"
    assert (version / "cards/two.toml").read_text() == 'repository = "org/two"\n'
    assert (version / "data/data/empty.txt").read_bytes() == b""
    done = json.loads((version / "installed.json").read_text())
    assert (done["id"], done["digest"], done["python"]) == (made.bundle.id, made.digest, running_python())
    assert {path.name for path in target.iterdir()} == {"current", "localexplain", "versions"}


def test_again_is_already_installed_and_a_changed_model_is_named(
    target: Path, parts: list[Path], made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    assert install(parts[:1], target).state == "already installed"
    assert main(["bundle", "install", str(parts[0]), "--to", str(target), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"id": made.bundle.id, "state": "already installed", "missing": []}
    file = target / "current" / "models" / "model-first" / "LICENSE"
    before = file.read_bytes()
    file.write_bytes(before[:-1] + b"!")
    assert "installed, but not as it came: model-first/LICENSE: changed" in refusal(parts, target)
    file.write_bytes(before)
    assert install(parts, target).state == "already installed"


def test_another_bundle_keeps_the_models_and_the_version_before(target: Path, made: Made, tmp_path: Path) -> None:
    """A link, so a large model takes its room once; and the way back is to install the old bundle again."""
    make_small(write_world(tmp_path / "world", "second", seed=2), tmp_path / "out")
    installed = install([tmp_path / "out"], target)
    assert installed.state == "installed"
    assert run_alone(target / "localexplain", folder=tmp_path).stdout == "second\n"
    store, before = target / "current" / "models", target / "versions" / made.bundle.id / "models"
    entries = read_manifest(store).models
    assert entries.keys() == {"model-first", "model-second"}
    for entry in entries.values():
        assert compare_folder(store / entry.path, entry.files) == ()
    assert (store / "model-first" / "config.json").samefile(before / "model-first" / "config.json")
    parts = sorted((target.parent / "out").iterdir())
    assert install(parts[:1], target).state == "installed"
    assert run_alone(target / "localexplain", folder=tmp_path).stdout == "first\n"


def test_a_model_of_the_version_before_that_lacks_a_file_is_left_where_it_is(tmp_path: Path) -> None:
    """And one whose files lie elsewhere in the model store, as links, comes along under its name."""
    place = Place(target=tmp_path, id="new")
    before = tmp_path / "versions" / "old" / "models"
    (tmp_path / "current").symlink_to("versions/old")
    (place.version / "models").mkdir(parents=True)
    add(before, write_model(tmp_path / "broken", seed=1), "broken", now=NOW)
    add(before, write_cache(before, "org/cached", seed=2), "cached", now=NOW)
    (before / "broken" / "LICENSE").unlink()
    said: list[str] = []
    carry_over(place, said.append)
    assert said[0].startswith("broken of the version before lacks files; it is not kept")
    entries = read_manifest(place.version / "models").models
    assert entries.keys() == {"cached"}
    assert compare_folder(place.version / "models" / "cached", entries["cached"].files) == ()
    assert not any(path.is_symlink() for path in (place.version / "models").rglob("*"))


# what is refused ------------------------------------------------------------------------------------------------------


def test_damage_is_named_what_was_right_is_kept_and_the_whole_part_mends_it(
    parts: list[Path], made: Made, tmp_path: Path
) -> None:
    bad = Path(shutil.copytree(parts[0], tmp_path / "bad"))
    files = sorted(path for path in bad.rglob("*") if path.is_file() and "files" in path.parts)
    files[0].write_bytes(files[0].read_bytes()[:-1] + b"\xff")
    files[1].unlink()
    (bad / "more").touch()
    (bad / "install.sh").write_text("rm\n")
    said: list[str] = []
    target = tmp_path / "target"
    assert refusal([bad], target, report=said.append).startswith("4 faults found; bring that part again")
    named = {line.partition(":")[0]: line.split(": ")[1].split(" ")[0] for line in said[1:]}
    wanted = {str(files[0]): "changed", str(files[1]): "missing", f"{bad}/more": "extra"}
    assert named == wanted | {f"{bad}/install.sh": "changed"}
    kept = [path for path in (target / ".incoming" / made.bundle.id / "pieces").rglob("*") if path.is_file()]
    assert len(kept) == len(files) - 2
    result = install([parts[0]], target)
    assert (result.state, result.missing_parts) == ("incomplete", tuple(range(2, made.bundle.parts + 1)))


def test_another_digest_is_refused_before_anything_is_written(parts: list[Path], made: Made, tmp_path: Path) -> None:
    assert "do not install it" in refusal(parts, tmp_path / "target", digest="0" * 64)
    assert list(tmp_path.iterdir()) == []
    assert install(parts[:1], tmp_path / "target", made.digest).state == "incomplete"


@pytest.mark.parametrize(
    ("python", "tag", "message"),
    [
        ("3.9", "py3-none-any", "this bundle needs Python 3.9, and "),
        (running_python(), "py3-none-manylinux_2_99_x86_64", "its wheels are for manylinux_2_99_x86_64, and this mach"),
        (running_python(), "py3-none-win_arm64", "its wheels are for win_arm64, and this machine is "),
    ],
)
def test_another_python_or_machine_is_refused_at_the_first_part(
    python: str, tag: str, message: str, world: World, tmp_path: Path
) -> None:
    thing = write_wheel(tmp_path / "wheels", "tinything", "1.5", {"tinything.py": ""}, tag=tag)
    make_small(replace(world, thing=thing), tmp_path / "out", PART_BYTES, python=python)
    assert message in refusal([tmp_path / "out" / "part-001"], tmp_path / "target")
    assert not (tmp_path / "target").exists()


def install_wheels(wheels: list[Path], world: World, folder: Path, pins: str | None = None, **fields: Any) -> str:
    """Makes a bundle of these wheels, with other pins where they are given, and returns why it cannot be installed."""
    order = Order(out=folder / "out", python=running_python(), **fields)
    with only_one(folder / ".out.partial", print):
        unpacked = folder / ".out.partial" / "unpacked"
        unpacked.mkdir()
        contents = gather_contents(own_wheel=world.own_wheel, wheels=wheels, scratch=unpacked)
        if pins is not None:
            hashes = [content.sha256 for content in contents if content.role == "wheel"]
            (folder / "pins").write_text(pins.format(*hashes))
            contents = (*contents_of({"requirements.txt": folder / "pins"}, "pins"), *contents[1:])
        put_out(contents, order, folder / ".out.partial", lambda line: None)
    return refusal([folder / "out"], folder / "target")


def test_a_wheel_that_the_pins_do_not_name_is_refused_by_pip(world: World, tmp_path: Path) -> None:
    pins = "localexplain==0.1.0 --hash=sha256:{0}\ntinything==1.5 --hash=sha256:" + "0" * 64 + "\n"
    message = install_wheels([world.thing], world, tmp_path, pins)
    assert message.startswith("installing the wheels failed: THESE PACKAGES DO NOT MATCH THE HASHES")
    assert not (tmp_path / "target" / "current").exists()


def test_wheels_that_lack_one_are_refused(world: World, tmp_path: Path) -> None:
    message = install_wheels([], world, tmp_path)
    assert message == "checking the environment failed: localexplain 0.1.0 requires tinything, which is not installed."
    assert not (tmp_path / "target" / "current").exists()


def test_no_room_is_said_before_anything_is_copied(parts: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"needs {10**18} bytes and [0-9]+ are free"):
        check_room(tmp_path, 10**18, "part 1")
    check_room(tmp_path, 1, "part 1")


def test_a_file_as_target_and_damaged_manifests(parts: list[Path], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert refusal(parts, tmp_path / "file").endswith("choose another place for --to")
    bad = Path(shutil.copytree(parts[0], tmp_path / "bad"))
    next(bad.glob("bundle-*.json")).write_text("{}")
    assert refusal([bad], tmp_path / "target").endswith("bring an unchanged copy of it")


# the real one ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.build
@pytest.mark.timeout(7200)
def test_the_real_bundle_installs_runs_the_demo_and_passes_its_tests_with_no_network(tmp_path: Path) -> None:
    """Wheels of the CPU requirements, in parts so small that torch's is cut."""
    tiny = write_tiny_engine(tmp_path / "tiny-engine")
    wheels = Path(os.environ.get("LOCALEXPLAIN_WHEELS", ROOT / ".venv" / "wheels"))
    out, target = tmp_path / "out", tmp_path / "target"
    flags = ["--models", f"{tiny},tiny-explainer-1m", "--part-size", str(TORCH_IS_CUT_BYTES), "--wheels", str(wheels)]
    command = [sys.executable, "-m", "localexplain.cli", "bundle", "make", "--out", str(out), *flags, "--with-tests"]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    parts = sorted(out.iterdir())
    assert len(parts) == summary["parts"] > 2
    assert any(path.name.startswith("torch-") and ".piece-" in path.name for path in out.rglob("*"))
    for part in parts:
        assert sum(path.stat().st_size for path in part.rglob("*") if path.is_file()) <= TORCH_IS_CUT_BYTES
    program = parts[0] / "localexplain-carry.pyz"
    run_alone("python3", "-I", program, "check", out, "--digest", summary["digest"], folder=tmp_path)
    done = run_alone("sh", parts[0] / "install.sh", target, *parts[1:], folder=tmp_path)
    assert done.stdout.startswith(f"installed: bundle {summary['id']}")
    shutil.rmtree(out)
    program = target / "localexplain"
    demo = run_alone(program, "demo", "--out", tmp_path / "run", "--json", folder=tmp_path, OMP_NUM_THREADS="1")
    assert json.loads(demo.stdout)["explanations"] > 0
    verified = json.loads(run_alone(program, "models", "verify", "--json", folder=tmp_path).stdout)
    assert {"tiny-engine", "tiny-explainer-1m"} <= set(json.dumps(verified).replace('"', " ").split())
    source, python = target / "current" / "source", target / "current" / "venv" / "bin" / "python"
    found = run_alone("sh", "-c", 'cd "$0" && exec "$@"',
                      source, python, "-m", "pytest", *TESTS, folder=tmp_path, OMP_NUM_THREADS="1")  # fmt: skip
    print(found.stdout[-3000:])
    assert " passed" in found.stdout.splitlines()[-1]
