"""Sizes as people write them, and the flags of models, bundles and audits."""

import argparse
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localexplain.arguments import build_parser
from localexplain.arguments_carry import UNITS, size_in_bytes


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("0", 0),
        ("1000", 1000),
        ("1000B", 1000),
        ("80GB", 80_000_000_000),
        ("80 gb", 80_000_000_000),
        ("80G", 80_000_000_000),
        ("1GiB", 1_073_741_824),
        ("0.5KiB", 512),
        ("4.7GB", 4_700_000_000),
        (" 25 GB ", 25_000_000_000),
        ("2TiB", 2 * 2**40),
    ],
)
def test_a_size(text: str, wanted: int) -> None:
    assert size_in_bytes(text) == wanted


@given(st.integers(0, 10**6), st.sampled_from(sorted(UNITS)), st.booleans(), st.sampled_from(["", "B", "b"]))
def test_a_whole_number_of_any_unit(number: int, unit: str, is_lower: bool, end: str) -> None:
    assert size_in_bytes(f"{number}{unit.lower() if is_lower else unit}{end}") == number * UNITS[unit]


@pytest.mark.parametrize("text", ["", "GB", "-1", "1e9", "4,7GB", "5I", "5IB", "1PB", "4.GB", "1 2", "GiB4", "٣"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"is no size; write 4\.7GB, 650MiB or a number"):
        size_in_bytes(text)


def parse(*arguments: str) -> argparse.Namespace:
    return build_parser().parse_args(arguments)


def test_a_wrong_size_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        parse("bundle", "make", "--out", "x", "--part-size", "much")
    assert error.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_flags_of_the_models_commands() -> None:
    added = parse(
        "models", "add", "p", "--as", "n", "--allow-pickled", "a.bin", "--allow-pickled", "b", "--repository", "o/n"
    )
    assert (added.path, added.name, added.allow_pickled, added.repository) == (Path("p"), "n", ["a.bin", "b"], "o/n")
    assert (added.store, added.json) == (None, False)
    for kind in (("list",), ("show", "n"), ("add", "p", "--as", "n"), ("verify",), ("verify", "n"), ("remove", "n")):
        given = parse("models", *kind, "--store", "s", "--json")
        assert (given.kind, given.store, given.json) == (kind[0], Path("s"), True)
    assert parse("models", "verify").name is None
    assert parse("models", "show", "n", "--gpu-memory", "24GB").gpu_memory == 24_000_000_000
    with pytest.raises(SystemExit):
        parse("models", "add", "p")  # a model without a name


def test_pickled_files_of_one_call_are_not_allowed_in_the_next() -> None:
    """`action="append"` on a list that all calls share would keep them."""
    parser = build_parser()
    parser.parse_args(["models", "add", "p", "--as", "n", "--allow-pickled", "a.bin"])
    assert parser.parse_args(["models", "add", "p", "--as", "n"]).allow_pickled == []
