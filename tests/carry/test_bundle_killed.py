"""A bundle or an install that is killed again and again leaves what was, or what is new; and then it is finished."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from localexplain.carry.check import check_bundle
from localexplain.carry.manifest import compare_folder, read_manifest
from tests.carry_bundles import PART_BYTES, ROOT, make_small, write_world

MAKE_KILLS, ROUNDS = 16, 6
LONGEST_SECONDS = 120
COMMAND = [sys.executable, "-m", "tests.carry_bundles"]


def run(*arguments: object) -> tuple[int, str, list[int]]:
    """Exit status, standard output, and what was done to files before and after each program that was started."""
    done = subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    counts = done.stderr.splitlines()[-1].split() if done.returncode == 0 else []
    return done.returncode, done.stdout.strip(), [int(count) for count in counts]


def test_make_leaves_nothing_or_everything(tmp_path: Path) -> None:
    """Each kill finds what the one before left; half of them start anew. The last kills are in what comes after the
    bundle has its name."""
    world, out, twin = write_world(tmp_path / "world"), tmp_path / "out", tmp_path / "twin"
    status, _, (n_things,) = run(0, "make", twin, world.root, PART_BYTES)
    assert status == 0
    draw = random.Random(3)
    fuses = [draw.randrange(1, n_things) for _ in range(MAKE_KILLS)] + list(range(n_things, n_things - 12, -1))
    states = {"nothing": 0, "everything": 0, "finished": 0}
    for fuse in fuses:
        status, _, _ = run(fuse, "make", out, world.root, PART_BYTES)
        assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith(".")) in (
            ["twin", "world"],
            ["out", "twin", "world"],
        )
        if not out.exists():
            states["nothing"] += 1
            continue
        states["finished" if status == 0 else "everything"] += 1
        assert check_bundle([out]).faults == ()
        again = make_small(world, out, PART_BYTES)
        assert not again.is_new
        assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
        for path in sorted(out.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        out.rmdir()
    assert states["nothing"] > MAKE_KILLS // 2
    assert states["everything"]
    status, _, _ = run(0, "make", out, world.root, PART_BYTES)
    assert status == 0
    files = {path.relative_to(twin) for path in twin.rglob("*") if path.is_file() and path.suffix != ".json"}
    for name in files:
        assert (out / name).read_bytes() == (twin / name).read_bytes()


def is_inside(path: Path, target: Path) -> bool:
    """Whether the path is of the current version."""
    return path.resolve().is_relative_to((target / "current").resolve())


class Site:
    """A folder with one bundle installed and another one, in parts, to be installed over it."""

    def __init__(self, folder: Path) -> None:
        self.target = folder / "target"
        for word, seed in (("first", 1), ("second", 2)):
            make_small(write_world(folder / word, word, seed), folder / f"bundle-{word}", PART_BYTES)
        self.parts = sorted((folder / "bundle-second").iterdir())
        status, said, self.counts = run(0, "install", self.target, folder / "bundle-first")
        assert (status, said) == (0, "installed")

    def install(self, fuse: object) -> tuple[int, str]:
        """With the parts in an order of their own each time; checks that what is there then works as a whole."""
        parts = random.Random(str(fuse)).sample(self.parts, len(self.parts))
        status, said, _ = run(fuse, "install", self.target, *parts)
        return status, said

    def kill_beside_a_child(self) -> None:
        """Kills the installer alone, while the program that makes the environment works on."""
        with subprocess.Popen([*COMMAND, "0", "install", self.target, *self.parts], cwd=ROOT) as process:
            end = time.monotonic() + LONGEST_SECONDS
            while not [venv for venv in self.target.glob("versions/*/venv/bin") if not is_inside(venv, self.target)]:
                assert time.monotonic() < end
                assert process.poll() is None
                time.sleep(0.002)
            process.kill()
            assert process.wait() == -signal.SIGKILL

    def word(self) -> str:
        """What the installed program says; its models are those of its bundle, whole."""
        done = subprocess.run([self.target / "localexplain", "a b"], capture_output=True, text=True, check=True)
        word = done.stdout.split()[0]
        assert done.stdout == f"{word} a b\n"
        models = self.target / "current" / "models"
        entries = read_manifest(models).models
        assert entries.keys() == ({"model-first"} if word == "first" else {"model-first", "model-second"})
        for entry in entries.values():
            assert compare_folder(models / entry.path, entry.files) == ()
        return word


def check_finished(site: Site) -> None:
    """Goes on to the end, once more for nothing, and nothing is left over."""
    assert site.install(0) in ((0, "installed"), (0, "already installed"))
    assert site.word() == "second"
    assert site.install(0) == (0, "already installed")
    names = {path.name for path in site.target.iterdir()}
    assert names == {"current", "localexplain", "versions"}


def test_install_leaves_the_old_version_or_the_new_one(tmp_path: Path) -> None:
    """Killed while parts come in, and while the environment is made."""
    site = Site(tmp_path)
    before = site.counts[0]
    draw = random.Random(5)
    for _ in range(ROUNDS):  # each goes on from the one before, so that together they come near to the end
        status, _ = site.install(f"0+{draw.randrange(1, before // ROUNDS)}")
        assert (status, site.word()) == (-signal.SIGKILL, "first")
    site.kill_beside_a_child()
    assert site.word() == "first"
    check_finished(site)


@pytest.mark.slow
def test_install_killed_at_everything_after_pip(tmp_path: Path) -> None:
    """Every third thing that is done to a file from the end of pip to the end of the command, each from the state
    before."""
    site = Site(tmp_path)
    after = site.counts[-1]
    assert after > 12
    words = []
    for number in range(2, after, 3):
        site.install(f"3+{number}")
        words.append(site.word())
    assert words == sorted(words)
    assert words[0] == "first"
    check_finished(site)
