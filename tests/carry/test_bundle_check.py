"""Whatever happens to a bundle on its way is found and named."""

import hashlib
import json
import random
import shutil
from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import pytest

from localexplain.carry.bundle import bundle_values, digest_in, manifest_name
from localexplain.carry.check import Checked, check_bundle
from localexplain.carry.make import Made
from localexplain.carry.manifest import seal
from localexplain.cli import main
from localexplain.errors import UserError
from tests.carry_bundles import PART_BYTES, make_small, write_world

CORRUPTIONS = 200
SEED = 6


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Made]:
    """A bundle of several parts with a file that is cut; never changed."""
    folder = tmp_path_factory.mktemp("made")
    made = make_small(write_world(folder / "world"), folder / "out", PART_BYTES)
    assert made.bundle.parts > 2
    return folder / "out", made


@pytest.fixture
def out(made: tuple[Path, Made], tmp_path: Path) -> Path:
    """A copy of the bundle to be spoilt."""
    return Path(shutil.copytree(made[0], tmp_path / "out"))


def files_of(out: Path) -> list[Path]:
    return sorted(path for path in out.rglob("*") if path.is_file())


def faults(checked: Checked) -> list[tuple[str, str]]:
    return [(fault.path, fault.what) for fault in checked.faults]


# two hundred of them --------------------------------------------------------------------------------------------------
# Each spoils the bundle in `out` and returns all the faults that must be found, as (path, what).

Found = list[tuple[str, str]]


def flip(out: Path, draw: random.Random) -> Found:
    file = draw.choice([path for path in files_of(out) if path.stat().st_size])
    content = bytearray(file.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    file.write_bytes(content)
    return [(str(file), "changed")]


def truncate(out: Path, draw: random.Random) -> Found:
    file = draw.choice([path for path in files_of(out) if path.stat().st_size])
    file.write_bytes(file.read_bytes()[: draw.randrange(file.stat().st_size)])
    return [(str(file), "changed")]


def delete(out: Path, draw: random.Random) -> Found:
    file = draw.choice(files_of(out))
    file.unlink()
    return [(str(file), "missing")]


def delete_part(out: Path, draw: random.Random) -> Found:
    parts = sorted(out.iterdir())
    gone = draw.randrange(len(parts))
    shutil.rmtree(parts[gone])
    return [(f"part {gone + 1} of {len(parts)}", "missing")]


def add(out: Path, draw: random.Random) -> Found:
    beside = draw.choice(files_of(out))
    file = beside.with_name(draw.choice(["evil.whl", ".hidden", f"{beside.name}.1", "bundle.json", "ä ö"]))
    file.write_bytes(draw.randbytes(draw.randrange(3)))
    return [(str(file), "extra")]


def swap(one: Path, other: Path) -> Found:
    mine, theirs = one.read_bytes(), other.read_bytes()
    assert mine != theirs
    one.write_bytes(theirs)
    other.write_bytes(mine)
    return [(str(one), "changed"), (str(other), "changed")]


def swap_cards(out: Path, draw: random.Random) -> Found:
    one, other = sorted(out.rglob("cards/*.toml"))
    return swap(one, other)


def swap_pieces(out: Path, draw: random.Random) -> Found:
    pieces = [path for path in files_of(out) if ".piece-" in path.name]
    return swap(*draw.sample(pieces, 2))


def swap_any(out: Path, draw: random.Random) -> Found:
    files = {path.read_bytes(): path for path in files_of(out)}
    return swap(*draw.sample(list(files.values()), 2))


def rename(out: Path, draw: random.Random) -> Found:
    file = draw.choice([path for path in files_of(out) if "files" in path.parts])
    other = file.with_name(f"{file.name}x")
    file.rename(other)
    return [(str(file), "missing"), (str(other), "extra")]


KINDS: tuple[Callable[[Path, random.Random], Found], ...] = (
    flip, flip, flip, truncate, delete, delete_part, add, swap_cards, swap_pieces, swap_any, rename,
)  # fmt: skip


def test_two_hundred_corruptions_are_found_and_named(made: tuple[Path, Made], tmp_path: Path) -> None:
    """Nothing else is reported; and the faults are those of the kind, at the place, that each corruption made. The
    same file is drawn more than once, so that manifests, scripts and pieces all have their turn."""
    draw = random.Random(SEED)
    found = 0
    touched = set()
    for number in range(CORRUPTIONS):
        out = Path(shutil.copytree(made[0], tmp_path / str(number)))
        wanted = KINDS[number % len(KINDS)](out, draw)
        checked = check_bundle([out])
        assert faults(checked) == sorted(wanted), number
        touched |= {Path(path).name.split("-")[0] for path, _ in wanted}
        found += 1
        shutil.rmtree(out)
    assert found == CORRUPTIONS
    assert {"bundle", "install.sh", "localexplain", "tinything", "model", "one.toml", "requirements.txt"} <= touched


def test_every_fault_is_named_and_not_the_first_alone(out: Path) -> None:
    draw = random.Random(1)
    files = [path for path in files_of(out) if path.stat().st_size and not path.name.startswith("bundle")]
    changed, gone = draw.sample(files, 8), []
    for file in changed[:4]:
        file.write_bytes(bytes(file.stat().st_size))
    for file in changed[4:]:
        file.unlink()
        gone.append(file)
    (out / "part-002" / "extra").touch()
    wanted = [(str(file), "changed") for file in changed[:4]] + [(str(file), "missing") for file in gone]
    assert faults(check_bundle([out])) == sorted([*wanted, (str(out / "part-002" / "extra"), "extra")])


# parts ----------------------------------------------------------------------------------------------------------------


def test_parts_in_every_order_and_from_other_media(out: Path, tmp_path: Path) -> None:
    media = []
    for number, part in enumerate(sorted(out.iterdir())):
        media.append(part.rename(tmp_path / f"disc{number}"))
    assert len(media) < 6
    for order in permutations(media):
        checked = check_bundle(order)
        assert (checked.faults, checked.opened and checked.opened.missing_parts) == ((), ())
    assert check_bundle([*media, media[0]]).faults == ()
    wanted = [(f"part {number} of {len(media)}", "missing") for number in range(2, len(media) + 1)]
    assert faults(check_bundle(media[:1])) == wanted


def test_a_part_copied_halfway(out: Path, tmp_path: Path) -> None:
    """The last file that was copied is cut short, those after it are missing."""
    part = out / "part-002"
    files = [path for path in files_of(part) if not path.name.startswith("bundle")]
    half = len(files) // 2
    files[half].write_bytes(files[half].read_bytes()[:-1])
    for file in files[half + 1 :]:
        file.unlink()
    wanted = [(str(files[half]), "changed")] + [(str(file), "missing") for file in files[half + 1 :]]
    assert faults(check_bundle([out])) == sorted(wanted)


def test_two_copies_of_a_part_are_both_checked(out: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(out / "part-001", tmp_path / "copy"))
    assert check_bundle([out, copy]).faults == ()
    (copy / "install.sh").write_text("rm -rf /\n")
    assert faults(check_bundle([out, copy])) == [(str(copy / "install.sh"), "changed")]


def test_parts_of_different_bundles(out: Path, tmp_path: Path) -> None:
    make_small(write_world(tmp_path / "other", "second", seed=4), tmp_path / "second", PART_BYTES)
    shutil.rmtree(out / "part-002")
    with pytest.raises(UserError, match="are parts of different bundles") as error:
        check_bundle([out, tmp_path / "second" / "part-002"])
    assert str(out / "part-001") in str(error.value)
    assert str(tmp_path / "second" / "part-002") in str(error.value)


def test_folders_that_are_no_part(out: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path, message in ((tmp_path / "empty", "holds no part"), (tmp_path / "none", "no such folder")):
        with pytest.raises(UserError, match=message):
            check_bundle([out, path])


def test_every_manifest_damaged(out: Path) -> None:
    for number, part in enumerate(sorted(out.iterdir()), 1):
        (part / manifest_name(number, len(list(out.iterdir())))).write_bytes(b"\xff")
    found = check_bundle([out])
    assert found.opened is None
    assert [what for _, what in faults(found)] == ["changed"] * len(list(out.iterdir()))


def test_links_are_not_followed_out_of_a_part(out: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x").touch()
    (out / "part-001" / "link").symlink_to(tmp_path / "elsewhere")
    (out / "part-002" / "dangling").symlink_to(tmp_path / "nowhere")
    assert faults(check_bundle([out])) == [
        (str(out / "part-001" / "link"), "extra"),
        (str(out / "part-002" / "dangling"), "extra"),
    ]


# forgers --------------------------------------------------------------------------------------------------------------


def forge(out: Path, made: Made) -> str:
    """A card is changed, and every manifest made to say so; returns the forged text."""
    card = next(out.rglob("cards/one.toml"))
    card.write_text("forged\n")
    values = bundle_values(made.bundle)
    for file in values["files"]:
        if file["path"] == "cards/one.toml":
            sha256 = hashlib.sha256(b"forged\n").hexdigest()
            file |= {"bytes": 7, "sha256": sha256, "pieces": [[file["pieces"][0][0], 7, sha256]]}
    for number, part in enumerate(sorted(out.iterdir()), 1):
        (part / manifest_name(number, made.bundle.parts)).write_text(seal(values), encoding="utf-8")
    return seal(values)


def test_a_forged_bundle_passes_by_itself_and_not_with_the_digest(out: Path, made: tuple[Path, Made]) -> None:
    """The digest inside tells an accident; the one that came another way tells a forger."""
    digest = made[1].digest
    assert check_bundle([out], digest).faults == ()
    spelled = " ".join(digest[at : at + 4] for at in range(0, 64, 4)).upper()
    assert check_bundle([out], spelled).faults == ()
    forged = forge(out, made[1])
    assert check_bundle([out]).faults == ()
    assert check_bundle([out], digest_in(forged)).faults == ()
    with pytest.raises(UserError, match="it is not the one that was meant; do not install it"):
        check_bundle([out], digest)
    with pytest.raises(UserError, match="not 64 hexadecimal characters"):
        check_bundle([out], digest[:20])


def test_pieces_that_are_right_and_make_another_file(out: Path, made: tuple[Path, Made]) -> None:
    """Only a manifest that is wrong from the start can say so; it is found all the same."""
    values = bundle_values(made[1].bundle)
    cut = next(file for file in values["files"] if len(file["pieces"]) > 1)
    cut["sha256"] = "0" * 64
    for number, part in enumerate(sorted(out.iterdir()), 1):
        (part / manifest_name(number, made[1].bundle.parts)).write_text(seal(values), encoding="utf-8")
    assert faults(check_bundle([out])) == [(cut["path"], "changed")]


# at the command line --------------------------------------------------------------------------------------------------


def test_the_command_prints_all_faults_and_exits_2(
    out: Path, made: tuple[Path, Made], capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = made[1].bundle
    assert main(["bundle", "check", str(out), "--digest", made[1].digest]) == 0
    assert f"all of {bundle.parts} parts, {len(bundle.files)} files" in capsys.readouterr().out
    assert main(["bundle", "check", str(out), "--digest", "0" * 64]) == 2
    assert "do not install it" in capsys.readouterr().err
    (out / "part-001" / "install.sh").unlink()
    (out / "part-002" / "more").touch()
    assert main(["bundle", "check", str(out)]) == 2
    printed = capsys.readouterr()
    assert printed.out == f"{out}/part-001/install.sh: missing\n{out}/part-002/more: extra\n"
    assert printed.err.startswith("localexplain: 2 faults found")
    assert main(["bundle", "check", str(out), "--json"]) == 2
    value = json.loads(capsys.readouterr().out)
    assert (value["id"], value["digest"], value["parts"]) == (bundle.id, made[1].digest, bundle.parts)
    assert [(fault["path"], fault["what"]) for fault in value["faults"]] == faults(check_bundle([out]))
