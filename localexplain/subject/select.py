"""Which excerpts become a unit's records, and in which split. Pure, and for all units of a layer at once.

Source of the rules: the released code of Bills et al. 2023. The top 20 are dealt in turn to train, calibration, valid,
test; the random sample to calibration, valid, test; examples of five strata of the maximum are for looking at. Ours
differs in that a unit's random records leave out its top excerpts, and its strata leave out both, so that no excerpt is
in two places; excerpts of the pool are distinct and do not overlap.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64, UInt64

from localexplain.errors import UserError
from localexplain.types import Split, Unit, parse_unit

TOP_SPLITS: tuple[Split, ...] = ("train", "calibration", "valid", "test")
RANDOM_SPLITS: tuple[Split, ...] = ("calibration", "valid", "test")
STRATUM_ENDS = (0.5, 0.9, 0.99, 0.999, 1.0)  # shares of the excerpts, by rank of the maximum
NO_EXCERPT = -1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UnitExcerpts:
    """Excerpt ids by unit, NO_EXCERPT where there are fewer; the column is the rank within its kind.

    random_places  the same as `random`, as places in the shared sample
    """

    top: Int64[np.ndarray, "units K"]
    random: Int64[np.ndarray, "units R"]
    random_places: Int64[np.ndarray, "units R"]


def first_true(mask: Bool[np.ndarray, "units options"], n: int) -> Int64[np.ndarray, "units n"]:
    """Columns of each row's first `n` true entries, NO_EXCERPT where there are fewer.

    >>> first_true(np.array([[False, True, True], [False, False, True]]), 2).tolist()
    [[1, 2], [2, -1]]
    """
    places = np.full((mask.shape[0], n), NO_EXCERPT, dtype=np.int64)
    counts = np.cumsum(mask, axis=1)
    rows, columns = np.nonzero(mask & (counts <= n))
    places[rows, counts[rows, columns] - 1] = columns
    return places


def select_top_and_random(
    top_ids: Int64[np.ndarray, "units K"],
    top_maxima: Float[np.ndarray, "units K"],
    sample: Int64[np.ndarray, " pool"],
    n_random: int,
) -> UnitExcerpts:
    """A unit's top excerpts (only those where it is above 0) and its random ones (the first of the shared sample that
    are not among its top)."""
    top = np.where(top_maxima > 0, top_ids, NO_EXCERPT)
    free = ~(sample[None, :, None] == top[:, None, :]).any(axis=2)
    places = first_true(free, n_random)
    random = np.where(places >= 0, sample[places.clip(0)], NO_EXCERPT)
    return UnitExcerpts(top=top, random=random, random_places=places)


def stratum_ranges(n_excerpts: int) -> list[range]:
    """Ranks (0 the lowest maximum) of each stratum.

    >>> [list(part) for part in stratum_ranges(10)]
    [[0, 1, 2, 3, 4], [5, 6, 7, 8], [], [], [9]]
    """
    ends = [int(n_excerpts * share) for share in STRATUM_ENDS]
    return [range(first, end) for first, end in zip([0, *ends[:-1]], ends, strict=True)]


def select_strata(
    maxima: Float[np.ndarray, "excerpts units"],
    hashes: UInt64[np.ndarray, " excerpts"],
    taken: Int64[np.ndarray, "units some"],
    n_each: int,
) -> Int64[np.ndarray, "units strata n_each"]:
    """Examples of each stratum of each unit: those of lowest hash, so that units share them and the replay is short.

    maxima  ties in rank go to the lower excerpt id; taken  the unit's top and random excerpts, left out
    """
    n_excerpts, n_units = maxima.shape
    ranks = np.empty((n_excerpts, n_units), dtype=np.int64)
    np.put_along_axis(ranks, np.argsort(maxima, axis=0, kind="stable"), np.arange(n_excerpts)[:, None], axis=0)
    is_free = np.ones((n_units, n_excerpts), dtype=bool)
    unit, column = np.nonzero(taken >= 0)
    is_free[unit, taken[unit, column]] = False
    by_hash = np.argsort(hashes, kind="stable")
    chosen = np.full((n_units, len(STRATUM_ENDS), n_each), NO_EXCERPT, dtype=np.int64)
    for stratum, part in enumerate(stratum_ranges(n_excerpts)):
        inside = ((ranks >= part.start) & (ranks < part.stop)).T & is_free
        places = first_true(inside[:, by_hash], n_each)
        chosen[:, stratum] = np.where(places >= 0, by_hash[places.clip(0)], NO_EXCERPT)
    return chosen


# which units ---------------------------------------------------------------------------------------------------------


def unit_order(unit: Unit, seed: int) -> str:
    """A key that puts units in a random order that depends on the seed and the unit alone."""
    return hashlib.blake2b(f"{seed} {unit}".encode(), digest_size=8).hexdigest()


def parse_choice(text: str, layer_sizes: dict[int, int]) -> list[Unit]:
    """The units that a comma-separated list names. Raises UserError: not a unit or layer, or out of range."""
    chosen: list[Unit] = []
    for part in (part.strip() for part in text.split(",")):
        whole_layer = parse_unit(f"{part}:0")
        unit = parse_unit(part) or whole_layer
        if unit is None or unit.basis != "mlp":
            raise UserError(
                f'units: {part!r} is no unit; write "all", "sample:N", a layer "mlp.3" or a unit "mlp.3:127"'
            )
        if unit.layer not in layer_sizes:
            raise UserError(f"units: {part!r} is out of range; layers go from {min(layer_sizes)} to {max(layer_sizes)}")
        if unit.index >= layer_sizes[unit.layer]:
            size = layer_sizes[unit.layer]
            raise UserError(f"units: {part!r} is out of range; layer {unit.layer} has units 0 to {size - 1}")
        names_layer = parse_unit(part) is None
        indices = range(layer_sizes[unit.layer]) if names_layer else [unit.index]
        chosen += [Unit(basis="mlp", layer=unit.layer, index=index) for index in indices]
    return sorted(set(chosen))


def choose_units(text: str, candidates: list[Unit], layer_sizes: dict[int, int], seed: int) -> list[Unit]:
    """The units that a choice names, of `candidates`, in order.

    "all" is all of them; "sample:N" is N of them, dealt evenly to the layers; a list names units or layers.
    Raises UserError: malformed, out of range, or not among the candidates.
    """
    if text == "all":
        return sorted(candidates)
    if text.startswith("sample:"):
        number = text.removeprefix("sample:")
        if not number.isdecimal() or int(number) == 0:
            raise UserError(f'units: {text!r} is not a sample; write "sample:" and a number above 0')
        by_layer: dict[int, list[Unit]] = {}
        for unit in sorted(candidates, key=lambda unit: unit_order(unit, seed)):
            by_layer.setdefault(unit.layer, []).append(unit)
        dealt = sorted((place, layer, unit) for layer, units in by_layer.items() for place, unit in enumerate(units))
        return sorted(unit for _, _, unit in dealt[: int(number)])
    chosen = parse_choice(text, layer_sizes)
    known = set(candidates)
    for unit in chosen:
        if unit not in known:
            raise UserError(f"units: {unit} was not captured in this run; capture it in a new run folder")
    return chosen
