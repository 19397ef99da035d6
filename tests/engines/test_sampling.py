"""One step of sampling, by hand."""

import math

import pytest
import torch

from localexplain.engines.sampling import pick_tokens

# probabilities 0.1, 0.6, 0.3: by likelihood tokens 1, 2, 0, which share [0, 1) at 0.6 and 0.9
LOGITS = [math.log(0.1), math.log(0.6), math.log(0.3)]


def pick(temperature: float, top_p: float, uniform: float, logits: list[float] = LOGITS) -> int:
    numbers = [torch.tensor([value], dtype=torch.float64) for value in (temperature, top_p, uniform)]
    return int(pick_tokens(torch.tensor([logits]), *numbers))


@pytest.mark.parametrize(
    ("temperature", "top_p", "uniform", "wanted"),
    [
        (0.0, 1.0, 0.99, 1),  # greedy, whatever the uniform
        (1.0, 1.0, 0.59, 1),
        (1.0, 1.0, 0.61, 2),
        (1.0, 1.0, 0.91, 0),
        (1.0, 1.0, 1.0 - 2**-53, 0),  # the largest uniform there is
        (1.0, 0.5, 0.99, 1),  # the first token alone reaches 0.5
        (1.0, 0.7, 0.66, 1),  # two tokens reach 0.7; they share [0, 1) at 0.6 / 0.9 = 0.667
        (1.0, 0.7, 0.67, 2),
        (1.0, 0.7, 0.999, 2),
        # at temperature 2 the shares go as the roots .316 .775 .548: 0.473, 0.334, 0.193
        (2.0, 1.0, 0.48, 2),
        (2.0, 1.0, 0.47, 1),
        (1e-9, 1.0, 0.99, 1),
    ],
)
def test_known_draws(temperature: float, top_p: float, uniform: float, wanted: int) -> None:
    assert pick(temperature, top_p, uniform) == wanted


def test_a_token_that_is_masked_is_never_drawn() -> None:
    for uniform in (0.0, 0.5, 1.0 - 2**-53):
        assert pick(5.0, 1.0, uniform, [-math.inf, 1.0, -math.inf]) == 1


def test_rows_are_drawn_each_by_their_own_settings() -> None:
    temperatures, top_ps, uniforms = torch.tensor(
        [[0.0, 1.0, 0.99], [1.0, 1.0, 0.95], [1.0, 0.5, 0.95], [1.0, 1.0, 0.7]], dtype=torch.float64
    ).T
    assert pick_tokens(torch.tensor([LOGITS] * 4), temperatures, top_ps, uniforms).tolist() == [1, 0, 1, 2]


def test_ties_go_to_the_lower_id() -> None:
    """So that a draw does not depend on how a library sorts."""
    assert [pick(1.0, 1.0, uniform, [0.0, 0.0, 0.0, 0.0]) for uniform in (0.1, 0.3, 0.6, 0.9)] == [0, 1, 2, 3]
