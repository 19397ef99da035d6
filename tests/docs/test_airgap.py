"""docs/airgap.md against the command line: every command in it is one, and its settings are settings."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from localexplain.arguments import build_parser, settings_from
from localexplain.pipeline.config import RunConfig
from localexplain.settings import build_settings, parse_values

PAGE = (Path(__file__).parents[2] / "docs" / "airgap.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
COMMANDS = [
    line
    for kind, block in BLOCKS
    if not kind
    for line in block.replace("\\\n", " ").splitlines()
    if line.startswith("localexplain ")
]


def test_the_page_goes_all_the_way() -> None:
    words = {tuple(shlex.split(line)[1:3]) for line in COMMANDS}
    steps = ("models", "add"), ("models", "verify"), ("bundle", "make"), ("bundle", "check"), ("audit", "verify")
    assert set(steps) | {("doctor", "--offline")} <= words
    assert "install.sh" in PAGE


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_page_is_one_that_the_program_takes(line: str) -> None:
    """With its settings; argparse and the settings refuse any flag or key that does not exist."""
    arguments = build_parser().parse_args(shlex.split(line)[1:])
    if arguments.command == "run" and arguments.config is None:
        config = build_settings({}, settings_from(arguments), RunConfig)
        assert config.explain.engine.kind == config.simulate.engine.kind == "vllm"
        assert config.simulate.prompt.mode == "expected"


def test_the_file_of_settings_is_one() -> None:
    (text,) = (block for kind, block in BLOCKS if kind == "toml")
    config = parse_values(tomllib.loads(text), RunConfig)
    assert config.explain.engine.tensor_parallel == config.simulate.engine.tensor_parallel == 4
    assert config.simulate.engine.dtype == "bfloat16"


def test_the_flags_of_the_table_exist() -> None:
    flags = set(re.findall(r"`[^`]*?(--[a-z-]+)", "\n".join(re.findall(r"^\|.*", PAGE, flags=re.MULTILINE))))
    assert {"--part-size", "--with-tests"} <= flags
    for flag in flags - {"--with-tests"}:
        value = {"--part-size": "1GB", "--engine": "vllm"}.get(flag, "x")
        build_parser().parse_args(["bundle", "make", "--out", "x", flag, value])
