"""Killed at any step, or at any moment, a change of a model store leaves the old state or the new one."""

import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from localexplain.carry.manifest import read_manifest
from localexplain.carry.model_store import add, list_unlisted, remove, verify
from tests.carry_models import model_contents, safetensors, write_files, write_model
from tests.cli_process import CliProcess, run_cli

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
# What Python tells its audit hooks about files: a kill right before each is a kill between every two steps.
STEPS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree", "fcntl.flock")
MOST_STEPS = 300
N_KILLS = 30
WEIGHT_BYTES = 3_000_000  # of each of two shards
SMALL = {"config.json": b"{}", "model.safetensors": safetensors(40), "original/params.json": b"{}"}


def die_before(step: int, act: Callable[[Path], None], store: Path) -> None:
    """Inside a process of its own: `act`, killed right before its step of this number that touches the store."""
    count = 0

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal count
        if event in STEPS and (event == "fcntl.flock" or str(arguments[0]).startswith(str(store))):
            if count == step:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1

    sys.addaudithook(watch)
    act(store)


def add_one(store: Path) -> None:
    add(store, store.with_name("one"), "one", now=NOON)


def remove_one(store: Path) -> None:
    remove(store, "one")


def run_killed(step: int, act: Callable[[Path], None], store: Path) -> bool:
    """Whether the kill came before the end."""
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=die_before, args=(step, act, store))
    process.start()
    process.join(60)
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def contents_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def check_old_or_new(store: Path, names: set[str]) -> set[str]:
    """The names that the store lists, each model whole and nothing else to be seen."""
    listed = set(read_manifest(store).models)
    assert "zero" in listed
    assert listed <= names
    found = verify(store)
    assert found.n_faults == 0, found
    assert list_unlisted(store, read_manifest(store)) == ()
    return listed


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A model store with one model; another lies beside it."""
    write_files(tmp_path / "one", SMALL)
    add(tmp_path / "store", write_model(tmp_path / "zero"), "zero", now=NOON)
    return tmp_path / "store"


def test_an_add_that_is_killed_before_any_of_its_steps(store: Path) -> None:
    seen: list[bool] = []
    for step in range(MOST_STEPS):
        was_killed = run_killed(step, add_one, store)
        listed = check_old_or_new(store, {"zero", "one"})
        seen.append("one" in listed)
        add_one(store)  # goes on, or finds it there
        assert check_old_or_new(store, {"zero", "one"}) == {"zero", "one"}
        assert contents_of(store / "one") == SMALL
        remove_one(store)
        assert sorted(path.name for path in store.iterdir()) == [".lock", "manifest.json", "zero"]
        if not was_killed:
            break
    assert not was_killed, "never came to its end"
    assert len(seen) > 20  # three files copied and read back, and the folders around them
    assert seen == sorted(seen)  # one step commits
    assert sum(seen) >= 2  # and there is something left to do afterwards


def test_a_removal_that_is_killed_before_any_of_its_steps(store: Path) -> None:
    seen: list[bool] = []
    for step in range(MOST_STEPS):
        add_one(store)
        was_killed = run_killed(step, remove_one, store)
        listed = check_old_or_new(store, {"zero", "one"})
        seen.append("one" not in listed)
        if "one" in listed:
            remove_one(store)
        add_one(store)
        assert contents_of(store / "one") == SMALL
        remove_one(store)
        assert sorted(path.name for path in store.iterdir()) == [".lock", "manifest.json", "zero"]
        if not was_killed:
            break
    assert not was_killed, "never came to its end"
    assert len(seen) > 10
    assert seen == sorted(seen)
    assert sum(seen) >= 2


def test_what_a_kill_left_is_cleared_by_the_next_change_of_another_model(store: Path, tmp_path: Path) -> None:
    halves = 0
    for step in range(0, MOST_STEPS, 4):
        was_killed = run_killed(step, add_one, store)
        halves += len(list(store.iterdir())) > 3
        add(store, write_model(tmp_path / "two", seed=2), "two", now=NOON)
        left = {".lock", "manifest.json", "zero", "two"} | ({"one"} & set(read_manifest(store).models))
        assert {path.name for path in store.iterdir()} == left
        remove(store, "two")
        if not was_killed:
            break
    assert not was_killed
    assert halves >= 4


def test_killed_at_random_moments_the_command_leaves_old_or_new(store: Path, tmp_path: Path) -> None:
    """Moments are drawn from a little more than the time that an undisturbed add takes here."""
    source = write_model(tmp_path / "big", seed=3, weight_bytes=WEIGHT_BYTES)
    command = ("models", "add", source, "--as", "big", "--store", store, "--json")
    first = CliProcess(command, tmp_path)
    first.wait_for(lambda: first.has_begun)
    began = time.monotonic()
    assert first.end().exit_code == 0
    whole_seconds = time.monotonic() - began
    remove(store, "big")

    draw = random.Random(5)
    killed = 0
    for number in range(N_KILLS):
        process = CliProcess(command, tmp_path)
        process.wait_for(lambda process=process: process.has_begun)
        time.sleep(draw.uniform(0, 1.2 * whole_seconds))
        process.send(signal.SIGKILL)
        killed += process.end().exit_code == -signal.SIGKILL
        listed = check_old_or_new(store, {"zero", "big"})
        if number % 6 == 0:  # two processes take their time
            shown = run_cli("models", "list", "--store", store, "--json", scratch=tmp_path)
            assert shown.exit_code == 0
            assert ('"name": "big"' in shown.stdout) == ("big" in listed)
            assert run_cli("models", "verify", "--store", store, scratch=tmp_path).exit_code == 0
        if "big" in listed:
            remove(store, "big")
    assert killed >= N_KILLS // 5, killed  # the machine may be faster now than it was then
    ended = run_cli(*command, scratch=tmp_path)
    assert ended.exit_code == 0, ended.stderr
    assert check_old_or_new(store, {"zero", "big"}) == {"zero", "big"}
    assert contents_of(store / "big") == model_contents(3, WEIGHT_BYTES)
