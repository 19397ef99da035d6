"""Whether a series' scores are provisional: what the run's card of its simulator says, if the run has one."""

import json
from pathlib import Path

from localexplain.errors import RunError
from localexplain.report.reading import Series

CARD_FOLDER = "cards"
LANGUAGE_MODELS = ("transformers", "vllm")  # kinds of simulators that a card is made for


def provisional_note(folder: Path, series: Series) -> str | None:
    """Why the scores are not more than provisional, as a sentence; None where the simulator is qualified, or is no
    language model. `folder` is the run's. Raises RunError for a card that cannot be read."""
    if series.simulator.kind not in LANGUAGE_MODELS:
        return None
    path = folder / CARD_FOLDER / f"{series.simulator.key}.json"
    try:
        faults = json.loads(path.read_text(encoding="utf-8"))["faults"]
    except FileNotFoundError:
        return (
            f"Provisional: {series.simulator.name} has not been checked as a simulator for this run; "
            "`localexplain eval qualify` does that."
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{path}: no card of a simulator; take the file away and run `localexplain eval qualify`"
        ) from error
    return (
        f"Provisional: as a simulator {series.simulator.name} is not qualified: {'; '.join(faults)}."
        if faults
        else None
    )
