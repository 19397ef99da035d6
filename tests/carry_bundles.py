"""Small bundles made by the real functions from wheels of a few lines; and the same as a process that can be killed.

    python -m tests.carry_bundles FUSE make OUT WORLD [PART_BYTES]
    python -m tests.carry_bundles FUSE install TARGET PART ...

It kills itself, as kill -9 would, at the FUSE-th thing that it does to a file; P+N: at the N-th after it has started P
other programs. What it has done is counted on standard error at its end: before each program it started, and after.
"""

import atexit
import base64
import hashlib
import os
import signal
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from localexplain import __version__
from localexplain.carry.contents import choose_models, gather_contents
from localexplain.carry.install import install
from localexplain.carry.lock import only_one
from localexplain.carry.make import Made, Order, put_out
from localexplain.carry.wheels import running_python
from tests.carry_models import write_model

PROGRAM = "import sys, tinything\n\ndef main():\n    print(tinything.WORD, *sys.argv[1:])\n"
FUSED_EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.link", "os.symlink", "os.chmod", "shutil.rmtree",
                "subprocess.Popen")  # fmt: skip
ROOT = Path(__file__).parents[1]
WEIGHT_BYTES, PART_BYTES = 30_000, 110_000  # of each of two shards; parts that hold about 30,000 beside the scripts


def write_wheel(
    folder: Path,
    name: str,
    version: str,
    files: Mapping[str, str],
    *,
    requires: Sequence[str] = (),
    tag: str = "py3-none-any",
) -> Path:
    """A wheel of these files. `requires`: lines of Requires-Dist."""
    info = f"{name}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {line}\n" for line in requires)
    contents = dict(files) | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    rows = []
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inner, text in contents.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            rows.append(f"{inner},sha256={digest},{len(text.encode())}\n")
            archive.writestr(zipfile.ZipInfo(inner), text)
        archive.writestr(zipfile.ZipInfo(f"{info}/RECORD"), "".join(rows) + f"{info}/RECORD,,\n")
    return path


def write_own_wheel(folder: Path, requires: Sequence[str] = ("tinything",)) -> Path:
    """What stands for the project: its name and version, a command that needs another wheel, prompts and two cards."""
    files = {
        "standin.py": PROGRAM,
        f"localexplain-{__version__}.dist-info/entry_points.txt": "[console_scripts]\nlocalexplain = standin:main\n",
        "localexplain/_data/prompts/explain/v1/instruction.j2": "Say what the neuron does.\n",
        "localexplain/_data/models/one.toml": 'repository = "org/one"\n',
        "localexplain/_data/models/two.toml": 'repository = "org/two"\n',
        "localexplain/_data/models/weights/config.json": "{}",
    }
    return write_wheel(folder, "localexplain", __version__, files, requires=requires)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What bundles are made from. `word`: what the installed program says, so that two worlds can be told apart."""

    root: Path
    own_wheel: Path
    thing: Path
    model: Path
    data: Path


def write_world(root: Path, word: str = "first", seed: int = 0) -> World:
    thing = write_wheel(root / "wheels", "tinything", "1.5", {"tinything.py": f"WORD = {word!r}\n# " + "x" * 3000})
    (root / "data").mkdir()
    (root / "data" / "empty.txt").touch()
    (root / "data" / "neurons.jsonl").write_text("{}\n" * 200, encoding="utf-8")
    return World(
        root=root,
        own_wheel=write_own_wheel(root / "own"),
        thing=thing,
        model=write_model(root / f"model-{word}", seed, weight_bytes=WEIGHT_BYTES),
        data=root / "data",
    )


def find_world(root: Path) -> World:
    """The world that `write_world` wrote there."""
    (own,), (thing,), (model,) = (root / "own").iterdir(), (root / "wheels").iterdir(), root.glob("model-*")
    return World(root=root, own_wheel=own, thing=thing, model=model, data=root / "data")


def make_small(world: World, out: Path, part_bytes: int | None = None, **changes: object) -> Made:
    """The bundle of a world. `changes`: fields of the order."""
    models = choose_models([str(world.model)], None)
    order = Order(**{"out": out, "python": running_python(), "models": models, "part_bytes": part_bytes} | changes)
    scratch = out.with_name(f".{out.name}.partial")
    with only_one(scratch, print):
        unpacked = scratch / "unpacked"
        unpacked.mkdir(exist_ok=True)
        contents = gather_contents(
            own_wheel=world.own_wheel,
            wheels=[world.thing],
            scratch=unpacked,
            models=order.models,
            data=[world.data],
        )
        return put_out(contents, order, scratch, lambda line: None)


def light(fuse: str) -> None:
    """From here on counts every opening, renaming, making and removing of a file, and kills at the fuse's number."""
    programs, _, things = fuse.rpartition("+")
    counts = [0]

    def burn(event: str, _: object) -> None:
        if event not in FUSED_EVENTS:
            return
        if event == "subprocess.Popen":
            counts.append(0)
        counts[-1] += 1
        reached = counts[-1] if programs else sum(counts)
        if reached == int(things) and len(counts) - 1 == int(programs or len(counts) - 1):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(burn)
    atexit.register(lambda: print(*counts, file=sys.stderr))


def main(fuse: str, kind: str, *arguments: str) -> None:
    light(fuse)
    if kind == "make":
        out, world, *size = arguments
        make_small(find_world(Path(world)), Path(out), int(size[0]) if size else None)
    else:
        target, *parts = arguments
        print(install([Path(part) for part in parts], Path(target)).state)


if __name__ == "__main__":
    main(*sys.argv[1:])
