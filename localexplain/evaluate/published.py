"""Open models on the released neurons: is the release what it says, and who scores what on the same activations.

release ──draw_neurons, import──> a run ──verify──> largest difference from the stored scores
                                   ├──published explanation, published simulation   as released
                                   ├──published explanation, open simulator         what the simulator changes
                                   └──open explanation, open simulator              what the explainer changes
The fourth cell, an open explanation under the published simulator, would need that simulator: it stays empty.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from localexplain.errors import RunError, UserError
from localexplain.evaluate.cells import (
    CELL_SOURCES,
    Cell,
    ModelChoice,
    cell_config,
    read_cell,
    read_planned,
)
from localexplain.pipeline.config import Control, RunConfig, SimulateStage
from localexplain.pipeline.explain import explain
from localexplain.pipeline.imported import import_neurons, published_explainer, published_simulator
from localexplain.pipeline.models import plan_explainer, plan_simulator
from localexplain.pipeline.run import Run
from localexplain.pipeline.score import score
from localexplain.pipeline.simulate import simulate
from localexplain.published.layout import LayoutError
from localexplain.published.read import NeuronFiles, list_neurons, read_explanation, read_neurons
from localexplain.published.records import LAYERS, LeftOut, Release
from localexplain.published.table import PublishedTable
from localexplain.score.cluster import paired_clustered, rank_correlation, summarise_clustered
from localexplain.score.summary import Summary
from localexplain.score.unit import Selection
from localexplain.simulate.base import SimulateConfig
from localexplain.subject.corpus import CorpusConfig
from localexplain.types import parse_unit

AGREES = 1e-6  # of a stored score and the recomputed one. Source: the release's own data
CANDIDATES = 10  # neurons whose stored score is looked at, for one that is drawn
STRATA = 5  # by stored score, equally filled
EXCERPT_TOKENS = 64  # of the release
OPEN_CONTROLS: tuple[Control, ...] = ("shuffled", "empty", "lookup")  # linear would need the subject's weights

Report = Callable[[str], None]


# which neurons -------------------------------------------------------------------------------------------------------


def parse_neurons(text: str) -> list[tuple[int, int]]:
    """A list such as "mlp.3:127, mlp.40:9" as (layer, index). Raises UserError for what is none.

    >>> parse_neurons("mlp.3:127")
    [(3, 127)]
    """
    found: list[tuple[int, int]] = []
    for part in text.split(","):
        unit = parse_unit(part.strip())
        if unit is None or unit.basis != "mlp":
            raise UserError(f"{part.strip()!r}: not a neuron; write them as mlp.LAYER:INDEX, with commas between")
        found.append((unit.layer, unit.index))
    return found


def hash_order(files: NeuronFiles, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed}:{files.layer}:{files.index}".encode(), digest_size=16).digest()


def stored_score(files: NeuronFiles) -> float | None:
    """What the release says of the neuron's explanation; None where it says nothing, or cannot be read."""
    if files.explanation is None:
        return None
    try:
        return read_explanation(files.explanation, layer=files.layer, index=files.index).score
    except (OSError, LayoutError):
        return None


def draw_from_layer(candidates: Sequence[NeuronFiles], n: int) -> list[NeuronFiles]:
    """`n` of the candidates, as many from each fifth by stored score as from any other; those without a score come
    last."""
    scored = [(value, files) for files in candidates if (value := stored_score(files)) is not None]
    ordered = [files for _, files in sorted(scored, key=lambda pair: pair[0])]
    strata = [list(part) for part in np.array_split(np.arange(len(ordered)), STRATA)]
    places = [stratum[turn] for turn in range(len(ordered)) for stratum in strata if turn < len(stratum)]
    with_score = {id(files) for files in ordered}
    return [*(ordered[place] for place in places), *(f for f in candidates if id(f) not in with_score)][:n]


def draw_neurons(folder: Path, n: int, seed: int) -> list[tuple[int, int]]:
    """`n` neurons, or all there are if they are fewer: as many from every layer, spread over the stored scores. The
    draw depends on the seed and on which files there are. Raises UserError for a folder that is not of the released
    layout."""
    layers: dict[int, list[NeuronFiles]] = {}
    for files in list_neurons(folder):
        layers.setdefault(files.layer, []).append(files)
    share, rest = divmod(n, max(1, len(layers)))
    drawn: list[tuple[int, int]] = []
    for place, layer in enumerate(sorted(layers)):
        wanted = share + (place < rest)
        order = sorted(layers[layer], key=lambda files: hash_order(files, seed))
        chosen = draw_from_layer(order[: wanted * CANDIDATES], wanted) if wanted else []
        drawn += [(files.layer, files.index) for files in chosen]
    return sorted(drawn)


# the release against itself ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """Stored scores beside those recomputed from the stored simulations.

    n           neurons with both
    undefined   neurons with neither: a constant simulation
    one_sided   neurons with one of them alone
    differing   neurons whose two differ by more than AGREES
    largest     largest difference; None where n is 0
    worst       the neuron that has it
    """

    n: int
    undefined: int
    one_sided: int
    differing: int
    largest: float | None
    worst: str | None


def verify(run: Run) -> Verification:
    """From the store alone."""
    rows = run.store.query("published_scores").to_pylist()
    both = [
        (abs(row["stored_score"] - row["recomputed_score"]), row["unit"])
        for row in rows
        if row["stored_score"] is not None and row["recomputed_score"] is not None
    ]
    neither = sum(row["stored_score"] is None and row["recomputed_score"] is None for row in rows)
    largest, worst = max(both, default=(None, None), key=lambda pair: pair[0] or 0.0)
    return Verification(
        n=len(both),
        undefined=neither,
        one_sided=len(rows) - len(both) - neither,
        differing=sum(difference > AGREES for difference, _ in both),
        largest=largest,
        worst=worst,
    )


# cells ---------------------------------------------------------------------------------------------------------------


def import_config(release: Release, seed: int) -> RunConfig:
    """The settings that an imported run is stored with."""
    return RunConfig(
        subject=release,
        seed=seed,
        corpus=CorpusConfig(path="published", length_tokens=EXCERPT_TOKENS),
        simulate=SimulateStage(
            simulator="published", calibrate="none", controls=(), prompt=SimulateConfig(mode="expected")
        ),
    )


def read_released(run: Run, release: Release, config: RunConfig) -> Cell:
    """The cell of the release alone, as the store has it."""
    explainer, simulator = published_explainer(release), published_simulator(release)
    return read_planned(run, config, explainer, simulator, "published", "published")


def score_published(run: Run, release: Release, config: RunConfig) -> Cell:
    """The cell of the release alone, scored."""
    score(run, published_explainer(release), published_simulator(release), config)
    return read_released(run, release, config)


def open_config(base: RunConfig, explainer: ModelChoice | None, simulator: ModelChoice) -> RunConfig:
    """The imported run's settings with open models; without an explainer the stage that needs one is not called."""
    config = cell_config(base, explainer or ModelChoice(name="lookup"), simulator)
    return replace(config, simulate=replace(config.simulate, controls=OPEN_CONTROLS))


def fill_open(
    run: Run, release: Release, base: RunConfig, explainer: ModelChoice | None, simulator: ModelChoice
) -> list[Cell]:
    """The published explanations, and the explainer's if there is one, under the open simulator."""
    published = published_explainer(release)
    config = open_config(base, explainer, simulator)
    plan = plan_simulator(config.simulate)
    simulate(run, published, plan, config)
    score(run, published, plan, config)
    cells = [read_planned(run, config, published, plan, "published", simulator.label)]
    if explainer is not None:
        own = plan_explainer(config.explain)
        explain(run, own, config)
        simulate(run, own, plan, config)
        score(run, own, plan, config)
        cells.append(read_cell(run, config, explainer, simulator))
    return cells


# values --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """The paired difference of two cells, over all and by layer; what it says."""

    name: str
    meaning: str
    difference: Summary
    by_layer: dict[int, Summary]


def contrast(name: str, meaning: str, a: Cell, b: Cell, selection: Selection, seed: int) -> Contrast:
    """a - b over the neurons that both have."""
    left, right = a.values["explanation"][selection], b.values["explanation"][selection]
    layers = sorted(set(a.layers))
    places = {layer: [n for n, own in enumerate(a.layers) if own == layer] for layer in layers}
    return Contrast(
        name=name,
        meaning=meaning,
        difference=paired_clustered(left, right, a.units, seed),
        by_layer={
            layer: paired_clustered(
                [left[n] for n in places[layer]],
                [right[n] for n in places[layer]],
                [a.units[n] for n in places[layer]],
                seed,
            )
            for layer in layers
        },
    )


def contrasts(cells: Sequence[Cell], selection: Selection, seed: int) -> list[Contrast]:
    """What the cells that are there can say."""
    by_name = {(cell.explainer == "published", cell.simulator == "published"): cell for cell in cells}
    released, resimulated, opened = (by_name.get(key) for key in ((True, True), (True, False), (False, False)))
    found: list[Contrast] = []
    if released and resimulated:
        found.append(
            contrast("simulator", "open minus published simulator, published explanations", resimulated, released,
                     selection, seed)
        )  # fmt: skip
    if opened and resimulated:
        found.append(
            contrast("explainer", "open minus published explanations, open simulator", opened, resimulated, selection,
                     seed)
        )  # fmt: skip
    if opened and released:
        found.append(
            contrast("both", "open pair minus the release: two causes in one number", opened, released, selection, seed)
        )
    return found


def place_beside(
    layers: Sequence[int], scores: Sequence[float | None], table: PublishedTable, selection: Selection, seed: int
) -> list[dict[str, Any]]:
    """The mean of each layer's scores beside the published one, None where that is not published."""
    rows = table.layers if selection == "top_and_random" else table.layers_random_only
    curve = {row.layer: row.mean.value for row in rows}
    groups: dict[int, list[float | None]] = {}
    for layer, value in zip(layers, scores, strict=True):
        groups.setdefault(layer, []).append(value)
    return [
        {
            "layer": layer,
            "published": curve.get(layer),
            "own": asdict(summarise_clustered(groups[layer], list(range(len(groups[layer]))), seed)),
        }
        for layer in sorted(groups)
    ]


def check_comparable(run: Run) -> list[str]:
    """What differs between a run of one's own and the published one, as lines. Raises UserError for a run on anything
    but GPT-2 XL: its means are compared with nothing else."""
    rows = run.store.sql("SELECT layer_sizes, length_tokens, n_excerpts, corpus FROM captures").to_pylist()
    if not rows:
        raise RunError(f"{run.folder}: nothing captured yet; run `localexplain capture` on it first")
    sizes = rows[0]["layer_sizes"]
    if len(sizes) != LAYERS["gpt2-xl"] or set(sizes) != {6400}:
        raise UserError(
            f"{run.folder}: its subject has {len(sizes)} layers of {sizes[0]}, so it is not GPT-2 XL; the published "
            "means are of that model alone"
        )
    found = [
        "text: excerpts of another collection than the published ones",
        "simulator: an open model in place of the published one",
        "activation function: the published activations come from a slightly different one",
    ]
    if rows[0]["length_tokens"] != EXCERPT_TOKENS:
        found.append(f"excerpts of {rows[0]['length_tokens']} tokens, not {EXCERPT_TOKENS}")
    return found


def published_values(
    cells: Sequence[Cell], verification: Verification, left_out: Sequence[LeftOut], table: PublishedTable | None,
    selections: Sequence[Selection], seed: int,
) -> dict[str, Any]:  # fmt: skip
    """What `eval published --json` prints."""
    values: dict[str, Any] = {
        "verification": asdict(verification),
        "left_out": [asdict(item) for item in left_out],
        "cells": {},
        "selections": {},
    }
    for selection in selections:
        released = next(
            (cell for cell in cells if cell.explainer == "published" and cell.simulator == "published"), None
        )
        again = next((cell for cell in cells if cell.explainer == "published" and cell.simulator != "published"), None)
        ranks = None
        if released and again:
            ranks = asdict(
                rank_correlation(
                    released.values["explanation"][selection],
                    again.values["explanation"][selection],
                    released.units,
                    seed,
                )
            )
        values["selections"][selection] = {
            "cells": [
                {
                    "explainer": cell.explainer,
                    "simulator": cell.simulator,
                    "units": list(cell.units),
                    "scores": cell.values["explanation"][selection],
                    **{
                        source: asdict(summarise_clustered(cell.values[source][selection], cell.units, seed))
                        for source in CELL_SOURCES
                        if source == "explanation" or any(v is not None for v in cell.values[source][selection])
                    },
                    "by_layer": place_beside(cell.layers, cell.values["explanation"][selection], table, selection, seed)
                    if table
                    else [],
                }
                for cell in cells
            ],
            "contrasts": [asdict(item) for item in contrasts(cells, selection, seed)],
            "rank_correlation": ranks,
        }
    return values


def import_release(
    run: Run, folder: Path, release: Release, wanted: Sequence[tuple[int, int]] | None, seed: int
) -> list[LeftOut]:
    """Reads and stores; what could not be used comes back."""
    return import_neurons(run, release, import_config(release, seed), read_neurons(folder, release, wanted))
