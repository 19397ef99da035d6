"""`localexplain eval` as a user calls it: one JSON value on standard output, one clear line for bad input."""

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
    done = run_cli("eval", "puzzles", "--models", SMALLEST, "--file", file, "--json", scratch=tmp_path)
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
