"""Controls that need no model: what a score is worth shows beside what these get.

The lookup table predicts from the token alone, so a unit it predicts as well as the explanation does is a token
detector; a shuffled explanation, another unit's, shows what any fluent explanation would get.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int64

from localexplain.types import Record, Split

SCORED_SPLITS: tuple[Split, ...] = ("valid", "test")


def select_unscored(records: Iterable[Record]) -> tuple[Record, ...]:
    """The records a lookup table may be built on: all but those of the scored splits and, since a stratum may hold an
    excerpt that a scored split holds too, all but other records on the same excerpts."""
    records = tuple(records)
    scored = {record.excerpt_id for record in records if record.split in SCORED_SPLITS}
    return tuple(record for record in records if record.excerpt_id not in scored)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LookupTable:
    """A token's mean activation, for the tokens that were seen; for all others the mean over all tokens seen.

    token_ids  [entries] strictly rising
    means      [entries] raw activation
    unseen     raw activation
    """

    token_ids: Int64[np.ndarray, " entries"]
    means: Float64[np.ndarray, " entries"]
    unseen: float

    @classmethod
    def fit(cls, records: Iterable[Record]) -> "LookupTable":
        """The table of one unit's records. Each token of each record counts once: a token's mean, and `unseen`, weigh
        occurrences, not records. Source: Bills et al. 2023, token-based lookup; ours is not built on all texts but on
        the unit's own records, so say beside its score how many.

        Raises: ValueError where there is no token, where the records are of several units, or where a record is of a
        scored split: the table would then know what it is scored on.
        """
        records = tuple(records)
        leaked = sorted({str(record.split) for record in records if record.split in SCORED_SPLITS})
        if leaked:
            raise ValueError(f"the lookup table may not be built on the scored split {' and '.join(leaked)}")
        if len({record.unit for record in records}) > 1:
            raise ValueError("the lookup table is of one unit, the records are of several")
        if not any(record.token_ids for record in records):
            raise ValueError("no tokens to build the lookup table on")
        ids = np.concatenate([np.asarray(record.token_ids, dtype=np.int64) for record in records])
        activations = np.concatenate([record.activations.astype(np.float64) for record in records])
        token_ids, entry, counts = np.unique(ids, return_inverse=True, return_counts=True)
        means = np.bincount(entry, weights=activations) / counts
        return cls(token_ids=token_ids, means=means, unseen=float(activations.mean()))

    def predict(self, token_ids: Sequence[int]) -> Float32[np.ndarray, " T"]:
        """[T] raw activation; the context of a token plays no part."""
        ids = np.asarray(token_ids, dtype=np.int64)
        entry = np.minimum(np.searchsorted(self.token_ids, ids), self.token_ids.size - 1)
        return np.where(self.token_ids[entry] == ids, self.means[entry], self.unseen).astype(np.float32)


def hash_order(seed: int, text: str) -> bytes:
    """Where `text` stands in the order that `seed` draws; the same on every machine and with every library version."""
    return hashlib.blake2b(f"{seed}:{text}".encode("utf-8", "surrogatepass"), digest_size=16).digest()


def shuffle_explanations(explanations: Sequence[str], seed: int) -> tuple[int, ...]:
    """For each unit, the index of the unit whose explanation it gets: never its own, and each is used once.

    As many units as possible get a text that differs from their own: all of them, unless one text is shared by more
    than half of the units. The draw depends on `seed` and the texts alone.

    Raises: ValueError for a single unit: no other explanation exists.
    """
    n = len(explanations)
    if n == 1:
        raise ValueError("one explanation cannot be shuffled")
    if n == 0:
        return ()
    # Equal texts stand together on a circle and everyone takes the text that stands `step` places on. With the size
    # of the largest group as the step nobody lands in the own group, or only those that have to.
    order = sorted(range(n), key=lambda i: (hash_order(seed, explanations[i]), hash_order(seed, str(i))))
    largest = max(Counter(explanations).values())
    step = largest if largest < n else 1
    donors = [0] * n
    for place, receiver in enumerate(order):
        donors[receiver] = order[(place + step) % n]
    return tuple(donors)
