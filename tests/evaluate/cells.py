"""Cells made by hand: scores of units on layers 0, 1, 2, 0, 1 ..."""

from localexplain.evaluate.cells import Cell, Cost

NOTHING = Cost(n=0, prompt_tokens=0, computed_tokens=0, generated_tokens=0, seconds=None, peak_memory_bytes=None)


def make_cell(explainer, scores, simulator="s", shuffled=None):
    scores = list(scores)
    none = [None] * len(scores)
    values = {
        source: {"top_and_random": none, "random_only": none} for source in ("shuffled", "empty", "lookup", "linear")
    }
    values["explanation"] = {"top_and_random": scores, "random_only": none}
    if shuffled is not None:
        values["shuffled"] = {"top_and_random": list(shuffled), "random_only": none}
    return Cell(
        explainer=explainer,
        simulator=simulator,
        units=tuple(f"mlp.{place % 3}:{place}" for place in range(len(scores))),
        layers=tuple(place % 3 for place in range(len(scores))),
        values=values,
        explain=NOTHING,
        simulate=NOTHING,
    )
