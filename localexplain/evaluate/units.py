"""The planted units of the held-out bed: each concept's texts as records, its noise drawn from a seed.

concept + 11 texts ──tokens of a real subject──> 5 to explain from, 6 to score on, and 6 silent ones of other kinds
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from localexplain.engines.tokenizer import HuggingFaceTokenizer
from localexplain.errors import UserError
from localexplain.planted.bed import BedConcept
from localexplain.planted.concept import Concept, PlantedText, find_levels, plant_text
from localexplain.resources import resource
from localexplain.types import Record, Unit

EXPLAIN_TEXTS = 5  # the protocol's number of train records
SILENT_TEXTS = 6
TOKENIZER = "tiny-subject"  # whose tokens the texts are cut into: a subject's, not the simulator's

CutText = Callable[[str], tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlantedUnit:
    """shown: what an explainer sees; scored: what is simulated and scored, its own texts before the silent ones."""

    concept: Concept
    shown: tuple[PlantedText, ...]
    scored: tuple[PlantedText, ...]


def subject_cut(name: str = TOKENIZER) -> CutText:
    """Cuts a text into the tokens of a subject that ships; joined they are the text."""
    return HuggingFaceTokenizer.load(resource("models", name)).cut


def plant_units(bed: Sequence[BedConcept], cut: CutText, seed: int) -> list[PlantedUnit]:
    """One unit for each concept; `seed` draws the noise and the silent texts, which are of other kinds' concepts and
    hold nothing of this one.

    Raises UserError where a concept has too few texts.
    """
    units: list[PlantedUnit] = []
    for place, item in enumerate(bed):
        random = np.random.default_rng((seed, place))
        if len(item.texts) <= EXPLAIN_TEXTS:
            raise UserError(
                f"the concept {item.concept.name!r} has {len(item.texts)} texts; it needs more than {EXPLAIN_TEXTS}"
            )
        others = [text for other in bed if other.concept.kind != item.concept.kind for text in other.texts]
        silent = [text for text in others if not find_levels(item.concept, text).any()]
        chosen = [silent[int(number)] for number in random.permutation(len(silent))[:SILENT_TEXTS]]
        own = [plant_text(item.concept, cut(text), random) for text in item.texts]
        rest = [plant_text(item.concept, cut(text), random) for text in chosen]
        units.append(
            PlantedUnit(concept=item.concept, shown=tuple(own[:EXPLAIN_TEXTS]), scored=(*own[EXPLAIN_TEXTS:], *rest))
        )
    return units


def as_records(texts: Sequence[PlantedText], unit: Unit) -> tuple[Record, ...]:
    """Train records, for an explainer."""
    return tuple(
        Record(
            unit=unit,
            excerpt_id=place,
            kind="top",
            rank=place,
            stratum=None,
            split="train",
            tokens=text.tokens,
            token_ids=(0,) * len(text.tokens),
            activations=text.activations,
        )
        for place, text in enumerate(texts)
    )


def quick_units(units: Sequence[PlantedUnit]) -> list[PlantedUnit]:
    """Every second unit, all kinds among them, with its first phrasing alone: a sixth of the work. First phrasings are
    the plainest, so scores come out higher than on the whole bed."""
    return [
        replace(unit, concept=replace(unit.concept, explanations=unit.concept.explanations[:1])) for unit in units[::2]
    ]
