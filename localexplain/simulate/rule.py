"""A simulator without a model: active exactly on the tokens that the explanation quotes."""

from collections.abc import Sequence

import numpy as np

from localexplain.explain.lookup import quoted_tokens
from localexplain.types import Identity, Mode, SimulateReply, SimulateTask

ACTIVE = 10.0


class RuleSimulator:
    """Predicts 10 where the token is one of those quoted in the explanation, as LookupExplainer quotes them, and 0
    elsewhere; an explanation that quotes none, the empty one for instance, predicts 0 everywhere."""

    @property
    def identity(self) -> Identity:
        return Identity(kind="rule", name="quoted-tokens")

    @property
    def mode(self) -> Mode:
        return "rule"

    def simulate(self, tasks: Sequence[SimulateTask]) -> list[SimulateReply]:
        return [self._simulate(task) for task in tasks]

    def _simulate(self, task: SimulateTask) -> SimulateReply:
        quoted = set(quoted_tokens(task.explanation))
        active = [ACTIVE if token in quoted else 0.0 for token in task.tokens]
        return SimulateReply(expected=np.array(active, dtype=np.float32))

    def close(self) -> None:
        """Nothing is held."""
