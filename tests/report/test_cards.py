"""What is said of a simulator's scores, by the card that the run has of it."""

import json
from pathlib import Path

import pytest

from localexplain.errors import RunError
from localexplain.report.cards import provisional_note, series_note
from localexplain.report.reading import Model, Series

KEY = "ab12"
FAULTS = ["2 simulations failed", "as little as 0.20 of the probability falls on the labels"]


def write_card(folder: Path, text: str, key: str = KEY) -> Path:
    path = folder / "cards" / f"{key}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def note(folder: Path, kind: str = "transformers") -> str | None:
    return provisional_note(folder, key=KEY, kind=kind, name="tiny")


@pytest.mark.parametrize("kind", ["transformers", "vllm"])
def test_a_language_model_without_a_card_is_provisional_and_the_note_says_what_makes_one(
    tmp_path: Path, kind: str
) -> None:
    write_card(tmp_path, json.dumps({"faults": []}), key="another")
    found = note(tmp_path, kind)
    assert found is not None
    assert found.startswith("Provisional: tiny has not been checked")
    assert "`localexplain eval qualify`" in found


@pytest.mark.parametrize("kind", ["rule", "control", "published"])
def test_what_is_no_language_model_needs_no_card(tmp_path: Path, kind: str) -> None:
    write_card(tmp_path, "not even read")
    assert note(tmp_path, kind) is None


def test_a_card_without_faults_says_nothing(tmp_path: Path) -> None:
    write_card(tmp_path, json.dumps({"name": "tiny", "faults": []}))
    assert note(tmp_path) is None


def test_a_failed_card_is_quoted_whole(tmp_path: Path) -> None:
    write_card(tmp_path, json.dumps({"name": "tiny", "faults": FAULTS}))
    assert note(tmp_path) == f"Provisional: as a simulator tiny is not qualified: {FAULTS[0]}; {FAULTS[1]}."


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"faults": [',
        "[]",
        "3",
        "{}",
        '{"faults": null}',  # none of these three may pass for a card without faults
        '{"faults": ""}',
        '{"faults": {}}',
        '{"faults": "slow"}',
        '{"faults": 3}',
        '{"faults": [3]}',
    ],
)
def test_a_card_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    path = write_card(tmp_path, text)
    with pytest.raises(RunError, match="eval qualify") as caught:
        note(tmp_path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_card_that_is_no_text_or_no_file_is_named(tmp_path: Path) -> None:
    path = write_card(tmp_path, "")
    path.write_bytes(b'{"faults": ["\xff"]}')
    with pytest.raises(RunError, match=KEY):
        note(tmp_path)
    path.unlink()
    path.mkdir()
    with pytest.raises(RunError, match=KEY):
        note(tmp_path)


def test_a_series_is_judged_by_its_simulator_alone(tmp_path: Path) -> None:
    """The explainer is a language model too, and its card, were there one, would be another."""
    explainer = Model(key="writer", kind="transformers", name="writer", details=())
    for kind, is_provisional in (("transformers", True), ("rule", False)):
        simulator = Model(key=KEY, kind=kind, name="tiny", details=())
        series = Series(explainer=explainer, simulator=simulator, mode="expected", n_units=3)
        found = series_note(tmp_path, series)
        assert (found is not None) == is_provisional
        assert found is None or "writer" not in found
        assert found == note(tmp_path, kind)
    write_card(tmp_path, json.dumps({"faults": FAULTS}), key="writer")
    write_card(tmp_path, json.dumps({"faults": []}))
    simulator = Model(key=KEY, kind="transformers", name="tiny", details=())
    assert series_note(tmp_path, Series(explainer=explainer, simulator=simulator, mode="expected", n_units=3)) is None
