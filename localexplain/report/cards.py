"""Whether a series' scores are provisional: what the run's card of its simulator says, if the run has one."""

import json
from pathlib import Path

from localexplain.errors import RunError
from localexplain.report.reading import Series

CARD_FOLDER = "cards"
LANGUAGE_MODELS = ("transformers", "vllm")  # kinds of simulators that a card is made for


def provisional_note(folder: Path, *, key: str, kind: str, name: str) -> str | None:
    """Why the scores of the simulator with this row of `models` are not more than provisional, as a sentence; None
    where it is qualified, or is no language model. `folder` is the run's. Raises RunError for a card that is none."""
    if kind not in LANGUAGE_MODELS:
        return None
    path = folder / CARD_FOLDER / f"{key}.json"
    try:
        faults = json.loads(path.read_text(encoding="utf-8"))["faults"]
        if not (isinstance(faults, list) and all(isinstance(fault, str) for fault in faults)):
            raise TypeError("faults are a list of sentences")
    except FileNotFoundError:
        return (
            f"Provisional: {name} has not been checked as a simulator for this run; "
            "`localexplain eval qualify` does that."
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{path}: no card of a simulator; take the file away and run `localexplain eval qualify`"
        ) from error
    return f"Provisional: as a simulator {name} is not qualified: {'; '.join(faults)}." if faults else None


def series_note(folder: Path, series: Series) -> str | None:
    """The same of a series."""
    simulator = series.simulator
    return provisional_note(folder, key=simulator.key, kind=simulator.kind, name=simulator.name)
