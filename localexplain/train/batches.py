"""Shards of examples as the batches of training steps."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from localexplain.train.dataset import STAGES, Stage
from localexplain.train.explainer_settings import ExplainerTraining
from localexplain.train.training_set import shard_numbers, shard_path

EPISODE_POOL = 64  # batches are cut from so many batches' worth of examples sorted by length


@dataclass(frozen=True, slots=True, eq=False)
class ExampleSet:
    """All examples of a stage: ids and targets in a row each, and where each example starts and ends."""

    ids: np.ndarray
    targets: np.ndarray
    starts: Int64[np.ndarray, " examples"]
    ends: Int64[np.ndarray, " examples"]

    @classmethod
    def load(cls, settings: ExplainerTraining, stage: Stage) -> "ExampleSet":
        parts = [np.load(shard_path(settings, stage, n)) for n in shard_numbers(settings, stage)]
        ends: list[np.ndarray] = []
        offset = 0
        for part in parts:
            ends.append(part["ends"] + offset)
            offset += int(part["ends"][-1])
        joined = np.concatenate(ends)
        return cls(
            np.concatenate([part["ids"] for part in parts]),
            np.concatenate([part["targets"] for part in parts]),
            np.concatenate([np.zeros(1, dtype=np.int64), joined[:-1]]),
            joined,
        )

    def batches(self, epoch: int, batch_tokens: int, seed: int) -> list[Int64[np.ndarray, " examples"]]:
        """Every example once, in batches of at most `batch_tokens` with padding; each pool of examples is sorted by
        length before it is cut, and the batches of a pool are shuffled."""
        random = np.random.default_rng((seed, epoch))
        lengths = self.ends - self.starts
        order = random.permutation(len(lengths))
        per_pool = max(1, int(EPISODE_POOL * batch_tokens / max(1.0, float(lengths.mean()))))
        found: list[Int64[np.ndarray, " examples"]] = []
        for first in range(0, len(order), per_pool):
            pool = order[first : first + per_pool]
            pool = pool[np.argsort(lengths[pool], kind="stable")]
            cut: list[Int64[np.ndarray, " examples"]] = []
            start = 0
            for place in range(len(pool)):
                if (place - start + 1) * lengths[pool[place]] > batch_tokens and place > start:
                    cut.append(pool[start:place])
                    start = place
            cut.append(pool[start:])
            found += [cut[int(number)] for number in random.permutation(len(cut))]
        return found

    def read(self, chosen: Int64[np.ndarray, " examples"], nothing: int) -> tuple[np.ndarray, np.ndarray]:
        """ids and targets [examples, longest]; padding is id 0 without a target, behind each example."""
        lengths = (self.ends - self.starts)[chosen]
        ids = np.zeros((len(chosen), int(lengths.max())), dtype=np.int64)
        targets = np.full(ids.shape, nothing, dtype=np.int64)
        for row, example in enumerate(chosen):
            span = slice(self.starts[example], self.ends[example])
            ids[row, : lengths[row]] = self.ids[span]
            targets[row, : lengths[row]] = self.targets[span]
        return ids, targets


def plan_steps(settings: ExplainerTraining, sets: dict[Stage, ExampleSet]) -> list[tuple[Stage, np.ndarray]]:
    """The batch of each step: each stage's epochs until its tokens are used up."""
    wanted: dict[Stage, int] = {
        "text": settings.text_tokens,
        "easy": settings.easy_tokens,
        "all": settings.all_tokens,
        "grid": settings.grid_tokens,
    }
    steps: list[tuple[Stage, np.ndarray]] = []
    for stage in STAGES:
        if stage not in sets:
            continue
        lengths = sets[stage].ends - sets[stage].starts
        used, epoch = 0, 0
        while used < wanted[stage]:
            for batch in sets[stage].batches(epoch, settings.batch_tokens, settings.seed):
                steps.append((stage, batch))
                used += int(lengths[batch].sum())
                if used >= wanted[stage]:
                    break
            epoch += 1
    return steps
