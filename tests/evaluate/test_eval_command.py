"""`localexplain eval` as a user calls it: one JSON value on standard output, one clear line for bad input."""

import html
import json

import pytest

from tests.cli_process import run_cli

PUZZLE = {
    "name": "boats",
    "explanation": "words about boats",
    "sentences": [["The", [" ferry", 9], " left", "."], ["A", " cow", " slept", "."]],
    "false_explanations": ["words about cows", "full stops"],
}
SMALLEST = "tiny-explainer-1m"


def test_a_file_of_puzzles_is_measured(tmp_path):
    file = tmp_path / "puzzles.json"
    file.write_text(json.dumps([PUZZLE, PUZZLE | {"name": "again"}]), encoding="utf-8")
    out = tmp_path / "kept" / "report"
    done = run_cli("eval", "puzzles", "--models", SMALLEST, "--file", file, "--out", out, "--json", scratch=tmp_path)
    assert done.exit_code == 0, done.stderr
    values = json.loads(done.stdout)
    assert list(values) == [SMALLEST]
    item = values[SMALLEST]
    assert item["n"] == 2
    assert item["chance"] == {"truth_first": pytest.approx(2 / 3), "pairwise": 0.5}  # three explanations each
    assert [puzzle["name"] for puzzle in item["puzzles"]] == ["boats", "again"]
    first, second = item["puzzles"]
    assert first["scores"] == pytest.approx(second["scores"])  # the same puzzle twice
    assert item["truth_first"] == sum(puzzle["rank"] == 1 for puzzle in item["puzzles"])
    # the report: the same values, and a row for each puzzle with the truth and what the model wrote beside it
    assert sorted(path.name for path in out.iterdir() if path.is_file()) == ["report.html", "report.json", "report.md"]
    assert json.loads((out / "report.json").read_text(encoding="utf-8")) == values
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (out / "report.md").read_text(encoding="utf-8").splitlines()
        if PUZZLE["explanation"] in line
    ]
    assert [row[1] for row in rows] == ["boats", "again"]
    for row, puzzle in zip(rows, item["puzzles"], strict=True):
        assert puzzle["answer"]
        assert row == [SMALLEST, puzzle["name"], str(puzzle["rank"]), PUZZLE["explanation"], puzzle["answer"]]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count(html.escape(first["answer"])) >= 2


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "not JSON"),
        ("[]", "not a list of puzzles"),
        (json.dumps([PUZZLE | {"sentences": []}]), "needs sentences"),
        (json.dumps([PUZZLE | {"false_explanations": []}]), "false_explanations"),
    ],
)
def test_a_file_that_holds_no_puzzles_is_refused_in_one_line(tmp_path, content, says):
    file = tmp_path / "puzzles.json"
    file.write_text(content, encoding="utf-8")
    done = run_cli("eval", "puzzles", "--models", SMALLEST, "--file", file, scratch=tmp_path)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert says in done.stderr
    assert done.stderr.startswith("localexplain: ")
    assert done.stderr.count("\n") == 1


def test_a_model_that_is_not_there_is_named(tmp_path):
    done = run_cli("eval", "puzzles", "--models", tmp_path / "nowhere", scratch=tmp_path)
    assert done.exit_code == 2
    assert "nowhere" in done.stderr
