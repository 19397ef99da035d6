"""The explainer's recipe at its smallest: settings, and how a training is stopped."""

import pytest

from localexplain.planted.bed import read_bed
from localexplain.train.explainer import train_explainer
from localexplain.train.explainer_settings import ExplainerTraining
from localexplain.train.passages import words_of
from localexplain.train.shapes import COMMON_TRIGGERS, NEGATORS

HELD_OUT = read_bed()[0].texts[0]
WEIGHTS = "model.safetensors"
SETTINGS = {
    "size": "1m",
    "subject": "",
    "vocabulary": 800,
    "context_tokens": 1024,
    "text_tokens": 500,
    "easy_tokens": 1600,
    "all_tokens": 3000,
    "distinct_tokens": 1600,
    "shard_tokens": 1000,
    "batch_tokens": 512,
    "warmup_steps": 3,
    "checkpoint_steps": 8,
    "processes": 1,
}
WORDS = (
    *COMMON_TRIGGERS, *NEGATORS,
    *words_of("unhappy unkind unfair unsafe uneven unlike repeat regret remark remind repair result"),
    *words_of("kindness darkness happiness weakness richness fitness sadness illness"),
    *words_of("walk walks walked walking walker lizard viper gecko cobra turtle tortoise river valley carpet"),
)  # fmt: skip


def configure(texts, out, data, **changes):
    return ExplainerTraining(texts=str(texts), out=str(out), data=str(data), **(SETTINGS | changes))


def quiet(line):
    """Says nothing."""


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


class StoppedError(Exception):
    """What the report raises in the place of a kill."""


def stop_before_the_end(settings):
    """Trains up to the report of the last step: a checkpoint is there, the model is not."""

    def report(line):
        if line.startswith("step"):
            raise StoppedError

    with pytest.raises(StoppedError):
        train_explainer(settings, report)
