"""What is printed, off a terminal and on one, from small_store.py."""

import io
import re

import pytest
from rich.console import Console

from localexplain.errors import UserError
from localexplain.report.terminal import print_run, print_unit
from localexplain.store.store import Store
from tests.report.small_store import CONSTANT, TOO_FEW


def plain_console(width: int = 80) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=False)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def lines_with(text: str, *words: str) -> list[str]:
    """Lines that hold all the words, runs of spaces made one."""
    lines = [re.sub(" +", " ", line).strip() for line in text.splitlines()]
    return [line for line in lines if all(word in line for word in words)]


def test_run_prints_means_n_and_unscored(store: Store) -> None:
    console = plain_console()
    print_run(store, console)
    text = printed(console)
    own = lines_with(text, "explanation", " to ")
    assert re.fullmatch(r"explanation 0\.400 -?0\.\d{3} to 0\.\d{3} 0\.400 3 2", own[0])
    assert lines_with(text, "lookup 0.550")[0].endswith("0.600 4 1")
    assert lines_with(text, "explanation 0.500") == ["explanation 0.500 - 0.500 1 4"]  # one unit: no interval
    assert lines_with(text, "empty - -")[0] == "empty - - - 0 5"
    # the other explainer stands apart
    assert lines_with(text, "explained by writer, simulated by model (mode expected)")
    assert lines_with(text, "explanation 0.100")[0].endswith("0.100 2 0")
    # layer 0 and 1: explanation, lookup, linear, shuffled, empty, n, unscored
    assert "0 0.600 0.800 0.200 0.010 - 2 0" in lines_with(text, "0.600")
    assert "1 0.000 0.300 0.200 -0.005 - 1 2" in lines_with(text, "-0.005")
    assert "0.800 mlp.0:0 the token ' rain'" in lines_with(text, "0.800")
    assert f"explanation 1 0 {TOO_FEW}" in lines_with(text, TOO_FEW)
    assert f"empty 4 5 {CONSTANT}" in lines_with(text, "empty")


def test_run_states_its_provenance(store: Store) -> None:
    console = plain_console()
    print_run(store, console)
    text = printed(console)
    assert "subject toy-subject" in lines_with(text, "subject")
    assert lines_with(text, "token 1 (policy auto)")
    assert lines_with(text, "5 units of 2 layers; 1 active in too few excerpts")
    assert lines_with(text, "1,100 prompt, 110 computed, 11 generated")
    assert lines_with(text, "capture 1 min 0 s, explain 0.0 s, simulate 0.0 s, score 2.0 s")


def test_a_run_without_scores_says_so(captured_only: Store) -> None:
    console = plain_console()
    print_run(captured_only, console)
    assert "Nothing is scored yet" in printed(console)
    unit = plain_console()
    print_unit(captured_only, "mlp.0:0", unit)
    assert "Not explained in this run." in printed(unit)
    assert "sim" not in printed(unit).split("Records")[1].split("\n\n", 1)[1]


def test_unit_off_a_terminal_shades_by_digits(store: Store) -> None:
    console = plain_console()
    print_unit(store, "mlp.0:0", console)
    text = printed(console)
    assert "\x1b" not in text  # neither colours nor the escape that is a token
    # tokens " rain" " on" tab "日本" "&amp;": real 3, 0.4, -2, 1.2, 0 of 4; two simulations
    block = text[text.index("top 2") :].splitlines()
    assert block[1:5] == [
        "        rain on⇥日本&amp;",
        "real    7    1  3",
        "sim 1   9",
        "sim 2   5      1    9",
    ]
    assert block[0] == "top 2 · scored · highest 3.00 · a <b> file.txt from token 5"
    # not simulated: the real line alone
    peak = text[text.index("top 1 ·") :].splitlines()
    assert peak[1:4] == ["      It rain↵<script>␣␣", "real     9    5", ""]
    assert "\\x1b[31ma b" in text


def test_unit_prints_scores_beside_controls(store: Store) -> None:
    console = plain_console(100)
    print_unit(store, "mlp.0:0", console)
    text = printed(console)
    assert lines_with(text, "Explanation 1 (namer, sample 0)")
    assert "correlation 0.800 0.500" in lines_with(text, "correlation")
    assert f"shuffled (mlp.0:1's) 0.010 - ({CONSTANT})" in lines_with(text, "shuffled")
    assert "explained variance 0.250 0.250" in lines_with(text, "explained variance")
    assert "activation mean 0.500, standard deviation 1.500" in lines_with(text, "activation")
    assert "active 35.0% of 20 tokens, 3 of 4 excerpts" in lines_with(text, "active")


def test_markup_in_explanations_stays_text(store: Store) -> None:
    console = plain_console()
    print_unit(store, "mlp.0:1", console)
    assert "names of <b>days</b> [bold]" in printed(console)
    failed = plain_console()
    print_unit(store, "mlp.1:3", failed)
    assert "explain failed: no [b] answer" in printed(failed)
    assert "No explanation (namer)" in printed(failed)


def test_unit_on_a_terminal_is_shaded(store: Store) -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system="truecolor", no_color=False)
    print_unit(store, "mlp.0:0", console)
    text = printed(console)
    shade_9, shade_5 = "\x1b[1;38;2;0;0;0;48;2;255;128;0m", "\x1b[38;2;0;0;0;48;2;196;138;72m"
    assert f"It{shade_9} rain\x1b[0m↵{shade_5}<script>\x1b[0m␣␣" in text
    assert "\\x1b[31m" in text  # a token, written out
    assert "\x1b[31m" not in text


@pytest.mark.parametrize("width", [40, 61, 200])
def test_nothing_is_wider_than_the_console(store: Store, width: int) -> None:
    console = plain_console(width)
    print_run(store, console)
    print_unit(store, "mlp.0:0", console)
    assert max(len(line) for line in printed(console).splitlines()) <= width


def test_unknown_unit(store: Store) -> None:
    with pytest.raises(UserError, match="layer 1 has units 0 to 7"):
        print_unit(store, "mlp.1:8", plain_console())
