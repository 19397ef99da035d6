"""One step of sampling, for rows that each have their own temperature and top_p. Pure."""

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

SMALLEST_TEMPERATURE = 1e-6  # below it a division overflows; the row is greedy all but for ties


def pick_tokens(
    logits: Float[Tensor, "rows vocabulary"],
    temperatures: Float64[Tensor, " rows"],
    top_ps: Float64[Tensor, " rows"],
    uniforms: Float64[Tensor, " rows"],
) -> Int64[Tensor, " rows"]:
    """The next token of each row: the most likely one at temperature 0, else a draw.

    uniforms  in [0, 1), from each row's own generator: a draw depends on nothing else, so not on the batch. The most
              likely tokens whose probabilities first reach top_p share [0, 1) in that order, and the uniform picks.
    """
    greedy = logits.argmax(dim=-1)
    if not bool((temperatures > 0).any()):
        return greedy
    scaled = logits.double() / temperatures.clamp(min=SMALLEST_TEMPERATURE).unsqueeze(-1)
    probabilities, order = torch.softmax(scaled, dim=-1).sort(dim=-1, descending=True, stable=True)
    before = probabilities.cumsum(dim=-1) - probabilities
    candidates = (before < top_ps.unsqueeze(-1)) & (probabilities > 0)  # a run of places from 0
    shares = torch.where(candidates, probabilities, 0.0).cumsum(dim=-1)
    target = uniforms.unsqueeze(-1) * shares[:, -1:]
    place = (shares <= target).sum(dim=-1)
    last = candidates.sum(dim=-1) - 1  # where rounding lets the target reach the sum itself
    drawn = order.gather(-1, torch.minimum(place, last).unsqueeze(-1)).squeeze(-1)
    return torch.where(temperatures > 0, drawn, greedy)
