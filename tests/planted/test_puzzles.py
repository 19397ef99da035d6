"""The puzzles that ship hold what their README promises, and a file that is malformed gives one clear error."""

import json
import re

import numpy as np
import pytest

from localexplain.errors import UserError
from localexplain.planted.puzzles import parse_sentence, read_puzzles

SHIPPED = read_puzzles()

GOOD = {
    "name": "cats",
    "explanation": "cats",
    "sentences": [["A", [" cat", 9], " sat", ["s", 2.5]], ["No", " dogs"]],
    "false_explanations": ["dogs", "animals"],
}


def pairs(puzzle):
    """Every (token in lower case, activation) of a puzzle."""
    return [
        (token.strip().lower(), float(activation))
        for sentence in puzzle.sentences
        for token, activation in zip(sentence.tokens, sentence.activations, strict=True)
    ]


def write(folder, data):
    path = folder / "puzzles.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return path


# what ships ----------------------------------------------------------------------------------------------------------


def test_there_are_twenty_and_no_two_share_a_name_or_a_truth():
    assert len(SHIPPED) == 20
    assert len({puzzle.name for puzzle in SHIPPED}) == len({puzzle.explanation for puzzle in SHIPPED}) == 20
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", puzzle.name) for puzzle in SHIPPED)


@pytest.mark.parametrize("puzzle", SHIPPED, ids=lambda puzzle: puzzle.name)
def test_five_of_ten_sentences_are_active(puzzle):
    assert [bool(sentence.activations.any()) for sentence in puzzle.sentences].count(True) == 5
    assert len(puzzle.sentences) == 10
    texts = ["".join(sentence.tokens) for sentence in puzzle.sentences]
    assert len(set(texts)) == 10
    assert all(text == text.strip() and "  " not in text for text in texts)
    values = {activation for _, activation in pairs(puzzle)}
    assert values <= set(range(11))
    assert all(token for sentence in puzzle.sentences for token in sentence.tokens)


@pytest.mark.parametrize("puzzle", SHIPPED, ids=lambda puzzle: puzzle.name)
def test_four_false_explanations_and_none_is_the_truth(puzzle):
    assert len(set(puzzle.false_explanations)) == 4
    assert puzzle.explanation not in puzzle.false_explanations
    assert all(text.strip() for text in (puzzle.explanation, *puzzle.false_explanations))


@pytest.mark.parametrize("puzzle", SHIPPED, ids=lambda puzzle: puzzle.name)
def test_the_list_of_words_is_never_the_truth(puzzle):
    # the README: other tokens are active too, and words of the list appear silent
    listed = {word.lower() for word in re.findall(r'"([^"]+)"', puzzle.false_explanations[3])}
    active = {token for token, activation in pairs(puzzle) if activation > 0}
    silent = {token for token, activation in pairs(puzzle) if activation == 0}
    assert listed & active
    assert active - listed
    assert listed & silent


# reading -------------------------------------------------------------------------------------------------------------


def test_a_token_alone_is_silent_and_a_pair_has_its_activation(tmp_path):
    (puzzle,) = read_puzzles(write(tmp_path, [GOOD]))
    assert (puzzle.name, puzzle.explanation) == ("cats", "cats")
    assert puzzle.false_explanations == ("dogs", "animals")
    assert [sentence.tokens for sentence in puzzle.sentences] == [("A", " cat", " sat", "s"), ("No", " dogs")]
    assert [sentence.activations.tolist() for sentence in puzzle.sentences] == [[0, 9, 0, 2.5], [0, 0]]
    assert puzzle.sentences[0].activations.dtype == np.float32


def test_puzzles_keep_the_order_of_the_file_and_other_fields_are_left_alone(tmp_path):
    rows = [GOOD | {"name": name, "notes": "of the author"} for name in ("z", "a", "m")]
    assert [puzzle.name for puzzle in read_puzzles(write(tmp_path, rows))] == ["z", "a", "m"]


# malformed -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[", "not JSON"),
        ("", "not JSON"),
        ("[]", "not a list of puzzles"),
        ("{}", "not a list of puzzles"),
        ('"cats"', "not a list of puzzles"),
        ("null", "not a list of puzzles"),
    ],
)
def test_a_file_that_holds_no_list_of_puzzles(tmp_path, content, told):
    path = write(tmp_path, content)
    with pytest.raises(UserError) as error:
        read_puzzles(path)
    assert str(error.value).startswith(f"{path}: {told}")
    assert "\n" not in str(error.value)


def test_a_file_that_cannot_be_read_or_is_no_text(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        read_puzzles(tmp_path / "none.json")
    with pytest.raises(UserError, match="cannot be read"):
        read_puzzles(tmp_path)
    (tmp_path / "bytes.json").write_bytes(b'["\xff"]')
    with pytest.raises(UserError, match="not JSON"):
        read_puzzles(tmp_path / "bytes.json")


BROKEN = {
    "no object": ("cats", "needs a name and an explanation"),
    "no name": ({k: v for k, v in GOOD.items() if k != "name"}, "needs a name and an explanation"),
    "a name that is a number": (GOOD | {"name": 3}, "needs a name and an explanation"),
    "no explanation": (GOOD | {"explanation": None}, "needs a name and an explanation"),
    "no sentences": (GOOD | {"sentences": []}, "(cats): needs sentences"),
    "sentences that are a text": (GOOD | {"sentences": "A cat"}, "(cats): needs sentences"),
    "no false explanations": (GOOD | {"false_explanations": []}, "(cats): needs false_explanations"),
    "a false explanation that is a number": (GOOD | {"false_explanations": [1]}, "(cats): needs false_explanations"),
    "false explanations that are a text": (GOOD | {"false_explanations": "x"}, "(cats): needs false_explanations"),
    "an empty sentence": (GOOD | {"sentences": [["A"], []]}, "(cats): a sentence is a list of tokens, not '[]'"),
    "a sentence that is a text": (GOOD | {"sentences": ["A cat"]}, "(cats): a sentence is a list of tokens"),
    "a token that is a number": (GOOD | {"sentences": [["A", 3]]}, "(cats): 3 is neither a token"),
    "a token that is null": (GOOD | {"sentences": [[None]]}, "(cats): None is neither a token"),
    "a pair the wrong way round": (GOOD | {"sentences": [[[3, "A"]]]}, "(cats): [3, 'A'] is neither a token"),
    "an activation that is a text": (GOOD | {"sentences": [[["A", "3"]]]}, "(cats): ['A', '3'] is neither"),
    "an activation that is true": (GOOD | {"sentences": [[["A", True]]]}, "(cats): ['A', True] is neither"),
    "a pair of one": (GOOD | {"sentences": [[["A"]]]}, "(cats): ['A'] is neither a token"),
    "a pair of three": (GOOD | {"sentences": [[["A", 1, 2]]]}, "(cats): ['A', 1, 2] is neither a token"),
}


@pytest.mark.parametrize(("row", "told"), BROKEN.values(), ids=BROKEN)
def test_a_puzzle_that_is_malformed_is_named_with_its_number(tmp_path, row, told):
    path = write(tmp_path, [GOOD, row])
    with pytest.raises(UserError) as error:
        read_puzzles(path)
    assert str(error.value).startswith(f"{path}, puzzle 2")
    assert told in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "1e300", f"1{'0' * 400}"])
def test_an_activation_that_is_not_finite_is_refused(number):
    with pytest.raises(UserError, match="neither a token"):
        parse_sentence(json.loads(f'[["A", {number}], "b"]'), "here")
