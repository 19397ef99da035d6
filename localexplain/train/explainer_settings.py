"""Settings of the explainer's recipe: sizes, token budgets, the folders."""

from dataclasses import dataclass, fields
from pathlib import Path

from localexplain.errors import ConfigError
from localexplain.settings import check_lowest


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A model's shape; head_width as vLLM's kernels have it."""

    layers: int
    width: int
    heads: int
    head_width: int
    mlp: int
    learning_rate: float


SIZES = {
    "1m": Size(layers=3, width=96, heads=3, head_width=32, mlp=192, learning_rate=4e-3),
    "4m": Size(layers=4, width=256, heads=4, head_width=64, mlp=320, learning_rate=2e-3),
    "12m": Size(layers=5, width=384, heads=6, head_width=64, mlp=1024, learning_rate=1.2e-3),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainerTraining:
    """The recipe's settings; the defaults are those of models/tiny-explainer-12m but for its size.

    texts           folder of texts; a file of synsets in it, wordnet.jsonl, gives sets of words
    out             the model's folder
    data            folder of the training set, which sizes share; "" is OUT/data
    size            "1m", "4m" or "12m"
    start           a model of this recipe to go on from, with its tokenizer; "" begins anew
    subject         a subject model whose real records are among the examples; "" for none
    text_tokens, easy_tokens, all_tokens   tokens trained on in each stage, padding left out
    grid_tokens     tokens of a last stage, in which the start model's own expected values teach it to write grids
    distinct_tokens the shards of the last stage hold about so many; the other two stages as many as they train on
    batch_tokens    tokens of a step
    learning_rate   0 is the size's own
    snapshots       models kept on the way, after equal shares of the steps, in OUT/snapshots/STEP
    processes       that make the training set
    """

    texts: str
    out: str
    data: str = ""
    size: str = "12m"
    start: str = ""
    subject: str = "tiny-subject"
    text_field: str = "text"
    vocabulary: int = 8192
    context_tokens: int = 4096
    text_tokens: int = 0
    easy_tokens: int = 1_200_000
    all_tokens: int = 14_800_000
    grid_tokens: int = 0
    distinct_tokens: int = 14_000_000
    shard_tokens: int = 500_000
    batch_tokens: int = 2048
    learning_rate: float = 0.0
    warmup_steps: int = 150
    weight_decay: float = 0.05
    real_excerpts: int = 10_000
    checkpoint_steps: int = 250
    snapshots: int = 0
    processes: int = 2
    seed: int = 1

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise ConfigError(f"size = {self.size!r}: must be one of {', '.join(SIZES)}")
        numbers = (item.name for item in fields(self) if isinstance(getattr(self, item.name), int | float))
        check_lowest(self, numbers, 0)
        counts = ("distinct_tokens", "shard_tokens", "batch_tokens", "checkpoint_steps", "processes")
        check_lowest(self, counts, 1)
        if not self.text_tokens + self.easy_tokens + self.all_tokens + self.grid_tokens:
            raise ConfigError("all_tokens = 0: there is nothing to train on; give some stage tokens")
        if self.grid_tokens and not self.start:
            raise ConfigError(f"grid_tokens = {self.grid_tokens}: needs a model to start from; set start too")
        if not 512 <= self.vocabulary <= 32_000:  # a target is a token, or a token to be spelled, in 16 bits
            raise ConfigError(f"vocabulary = {self.vocabulary}: must be from 512 to 32,000")

    @property
    def data_folder(self) -> Path:
        return Path(self.data) if self.data else Path(self.out) / "data"
