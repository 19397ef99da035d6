"""What machines a set of wheels runs on, told from their names. Pure but for `this_machine`."""

import os
import re
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

ANY = "any"
NAMED_TAGS = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}  # PEP 600
NAMED_TAG = re.compile(r"(manylinux1|manylinux2010|manylinux2014)_(.+)")
TAG = re.compile(r"(manylinux|musllinux|macosx)_([0-9]+)_([0-9]+)_(.+)")
PLAIN_TAG = re.compile(r"(linux|win)_?(.*)")
OLDEST_GLIBC = 5  # manylinux_2_5 is the oldest tag that there is


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """kind     manylinux, musllinux, macosx, linux or win
    version  least that is asked for: of glibc, of musl or of macOS; (0, 0) where none is
    machine  x86_64, aarch64, arm64, universal2 ...
    """

    kind: str
    version: tuple[int, int]
    machine: str

    def __str__(self) -> str:
        numbers = f"_{self.version[0]}_{self.version[1]}" if self.version != (0, 0) else ""
        return f"{self.kind}{numbers}_{self.machine}"


def parse_tag(tag: str) -> Platform | None:
    """
    >>> str(parse_tag("manylinux2014_x86_64")), parse_tag("any")
    ('manylinux_2_17_x86_64', None)
    """
    if match := NAMED_TAG.fullmatch(tag):
        return Platform(kind="manylinux", version=NAMED_TAGS[match[1]], machine=match[2])
    if match := TAG.fullmatch(tag):
        return Platform(kind=match[1], version=(int(match[2]), int(match[3])), machine=match[4])
    if match := PLAIN_TAG.fullmatch(tag):
        return Platform(kind=match[1], version=(0, 0), machine=match[2])
    return None


def needed_platform(wheels: Iterable[str]) -> str:
    """The tag that a machine must meet to take all of the wheels, given by file name.

    >>> needed_platform(["a-1-py3-none-any.whl", "b-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    ...                  "c-1-cp311-abi3-manylinux_2_28_x86_64.whl"])
    'manylinux_2_28_x86_64'
    """
    asked = []
    for wheel in wheels:
        tags = [parse_tag(tag) for tag in PurePosixPath(wheel).stem.split("-")[-1].split(".")]
        known = [tag for tag in tags if tag is not None]
        if known:
            asked.append(min(known, key=lambda tag: tag.version))  # any one of its tags will do
    return str(max(asked, key=lambda tag: tag.version)) if asked else ANY


def wider_tags(tag: str) -> tuple[str, ...]:
    """The tag and all those of wheels that run wherever its own run: for an index that is asked for one platform.

    >>> wider_tags("manylinux_2_6_x86_64")
    ('manylinux_2_6_x86_64', 'manylinux_2_5_x86_64', 'manylinux1_x86_64')
    """
    asked = parse_tag(tag)
    if asked is None or asked.kind != "manylinux" or asked.version[0] != 2:
        return (tag,)
    found = []
    for minor in range(asked.version[1], OLDEST_GLIBC - 1, -1):
        found.append(f"manylinux_2_{minor}_{asked.machine}")
        found += [f"{name}_{asked.machine}" for name, version in NAMED_TAGS.items() if version == (2, minor)]
    return tuple(found)


def why_unfit(needed: str, here: Platform) -> str:
    """Why wheels that ask for the tag `needed` do not run on `here`; "" where they do.

    >>> why_unfit("manylinux_2_28_x86_64", Platform(kind="manylinux", version=(2, 17), machine="x86_64"))
    'its wheels are for manylinux_2_28_x86_64, and this machine is manylinux_2_17_x86_64'
    """
    asked = parse_tag(needed)
    if asked is None:
        return ""
    kinds = {here.kind, "linux"} if here.kind in ("manylinux", "musllinux") else {here.kind}
    fits = asked.kind in kinds and asked.machine in (here.machine, "universal2") and asked.version <= here.version
    return "" if fits else f"its wheels are for {asked}, and this machine is {here}"


def this_machine() -> Platform:
    """What runs this."""
    system, _, rest = sysconfig.get_platform().partition("-")
    if system == "macosx":
        version, _, machine = rest.partition("-")
        major, _, minor = version.partition(".")
        return Platform(kind=system, version=(int(major), int(minor or 0)), machine=machine)
    if system != "linux":
        return Platform(kind=system, version=(0, 0), machine=rest)
    try:
        library = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):  # another C library
        library = ""
    if match := re.fullmatch(r"glibc ([0-9]+)\.([0-9]+).*", library):
        return Platform(kind="manylinux", version=(int(match[1]), int(match[2])), machine=rest)
    return Platform(kind="musllinux", version=(1, 2), machine=rest)
