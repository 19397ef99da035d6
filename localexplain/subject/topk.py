"""What capture keeps of a stream of excerpts, exactly, in memory that does not grow with the stream.

    TopExcerpts   the K excerpts of highest maximum for every unit, with all their activations
    MomentTree    sums whose value does not depend on where a run was cut

Both merge: the state of two runs over the two halves of a text, merged, is bit for bit the state of one run.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64
from torch import Tensor

EMPTY_EXCERPT = -1  # excerpt id of a slot not yet filled; its value is -inf
FEW_COPIES = 2048  # below it, going excerpt by excerpt costs more than it saves


def copy_activations(
    activations: Float[Tensor, "batch T units"],
    place: Int64[Tensor, " n"],
    units: Int64[Tensor, " n"],
    rows: Float[Tensor, "rows T"],
    targets: Int64[Tensor, " n"],
) -> None:
    """rows[targets[i]] = activations[place[i], :, units[i]] for every i.

    A unit's activations on one excerpt lie a whole row of units apart, so on a CPU each excerpt's are fetched together,
    units in order, which takes 0.6 of the time of fetching pair by pair. A GPU takes all at once.
    """
    if activations.device.type != "cpu" or len(place) < FEW_COPIES:
        rows.index_copy_(0, targets, activations[place, :, units].to(rows.dtype))
        return
    by_place = torch.argsort(place, stable=True)  # stable: units stay in order
    counts = torch.bincount(place, minlength=len(activations)).tolist()
    parts = torch.split(units[by_place], counts), torch.split(targets[by_place], counts)
    for excerpt, some_units, some_targets in zip(activations, *parts, strict=True):
        rows.index_copy_(0, some_targets, excerpt.index_select(1, some_units).T.to(rows.dtype))


@dataclass(slots=True, eq=False)
class TopExcerpts:
    """Per unit the K excerpts with the highest maximum, ties going to the lower excerpt id, best first.

    The payload stays where it was written; `slots` says which payload row belongs to which rank, so that an excerpt
    that moves down a rank costs one index, not a copy of its activations.
    """

    values: Float32[Tensor, "units K"]
    excerpts: Int64[Tensor, "units K"]
    slots: Int64[Tensor, "units K"]
    payload: Float[Tensor, "units K T"]

    @classmethod
    def empty(cls, n_units: int, top_k: int, length_tokens: int, dtype: torch.dtype) -> "TopExcerpts":
        return cls(
            values=torch.full((n_units, top_k), -torch.inf),
            excerpts=torch.full((n_units, top_k), EMPTY_EXCERPT, dtype=torch.long),
            slots=torch.arange(top_k).repeat(n_units, 1),
            payload=torch.zeros(n_units, top_k, length_tokens, dtype=dtype),
        )

    def update(
        self,
        maxima: Float32[Tensor, "batch units"],
        first_excerpt: int,
        activations: Float[Tensor, "batch T units"],
    ) -> None:
        """Takes in a batch whose excerpt ids are first_excerpt, first_excerpt + 1, ..., all higher than any before."""
        top_k = self.values.shape[1]
        rows = (maxima.amax(0) > self.values[:, -1]).nonzero()[:, 0]
        if not len(rows):
            return
        # Old entries come first and have lower ids, so a stable sort by value alone breaks ties by excerpt id.
        candidates = torch.cat([self.values[rows], maxima.index_select(1, rows).T], dim=1)
        values, order = torch.sort(candidates, dim=1, descending=True, stable=True)
        values, order = values[:, :top_k], order[:, :top_k]
        is_new = order >= top_k
        kept = torch.zeros_like(candidates, dtype=torch.bool).scatter_(1, order, True)[:, :top_k]
        freed = self.slots[rows][~kept]  # row by row as many as are new, in the same row-major order
        old = order.clamp_max(top_k - 1)
        slots, excerpts = self.slots[rows].gather(1, old), self.excerpts[rows].gather(1, old)
        slots[is_new] = freed
        place = (order - top_k)[is_new]  # which excerpt of the batch
        excerpts[is_new] = place + first_excerpt
        units = rows[:, None].expand(-1, top_k)[is_new]
        self.values[rows], self.excerpts[rows], self.slots[rows] = values, excerpts, slots
        copy_activations(activations, place, units, self.payload.view(-1, self.payload.shape[2]), units * top_k + freed)

    def merge(self, other: "TopExcerpts") -> "TopExcerpts":
        """The state after both streams, in canonical form (rank r in slot r)."""
        top_k = self.values.shape[1]
        values = torch.cat([self.values, other.values], dim=1)
        excerpts = torch.cat([self.excerpts, other.excerpts], dim=1)
        payload = torch.cat([self.ranked_payload(), other.ranked_payload()], dim=1)
        by_id = torch.argsort(excerpts, dim=1, stable=True)
        by_value = torch.argsort(values.gather(1, by_id), dim=1, descending=True, stable=True)
        order = by_id.gather(1, by_value)[:, :top_k]
        return TopExcerpts(
            values=values.gather(1, order),
            excerpts=excerpts.gather(1, order),
            slots=torch.arange(top_k, device=values.device).repeat(len(values), 1),
            payload=payload.gather(1, order[:, :, None].expand(-1, -1, payload.shape[2])),
        )

    def ranked_payload(self) -> Float[Tensor, "units K T"]:
        """The activations, best excerpt first."""
        return self.payload.gather(1, self.slots[:, :, None].expand(-1, -1, self.payload.shape[2]))


@dataclass(slots=True, eq=False)
class MomentTree:
    """Sums over batches, added in the shape of a fixed binary tree over the batch numbers.

    Floating-point addition is not associative, so a running sum depends on where a run was cut. Here batches 2i and
    2i + 1 are always added to each other first, then those pairs to each other, and so on: `nodes[level, i]` is the
    sum over batches [i * 2**level, (i + 1) * 2**level), and at most two nodes a level wait for their partner.
    """

    nodes: dict[tuple[int, int], Float64[np.ndarray, " sums"]]

    def add(self, batch: int, sums: Float64[np.ndarray, " sums"]) -> None:
        """Takes in the sums over batch number `batch`."""
        self.insert((0, batch), sums)

    def merge(self, other: "MomentTree") -> "MomentTree":
        """The tree over the batches of both, which must not share any."""
        merged = MomentTree(dict(self.nodes))
        for key, sums in other.nodes.items():
            merged.insert(key, sums)
        return merged

    def insert(self, key: tuple[int, int], sums: Float64[np.ndarray, " sums"]) -> None:
        """Puts in a node and joins it with its partner as long as that is there."""
        while (partner := (key[0], key[1] ^ 1)) in self.nodes:
            other = self.nodes.pop(partner)
            sums = other + sums if partner[1] < key[1] else sums + other
            key = (key[0] + 1, key[1] >> 1)
        self.nodes[key] = sums

    def total(self) -> Float64[np.ndarray, " sums"]:
        """The sum over all batches: what is left of the tree, added from the first batch to the last."""
        keys = sorted(self.nodes, key=lambda key: key[1] << key[0])
        total = self.nodes[keys[0]].copy()
        for key in keys[1:]:
            total += self.nodes[key]
        return total
