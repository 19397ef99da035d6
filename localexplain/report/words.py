"""The words and number formats that people are shown, in the terminal and in HTML alike. Pure."""

from localexplain.report.reading import Series
from localexplain.report.unit import UnitRecord, UnitScore
from localexplain.score.summary import Summary

NONE = "-"

SELECTION_NAMES = {"top_and_random": "top and random", "random_only": "random only"}
METRIC_NAMES = {
    "correlation": "correlation",
    "explained_variance": "explained variance",
    "absolute_deviation_explained": "absolute deviation explained",
}
SPLIT_NAMES = {
    "train": "for the explainer",
    "calibration": "for calibration",
    "valid": "scored",
    "test": "kept for tests",
    None: "for looking at",
}
SOURCE_NOTES = {
    "explanation": "the unit's own explanation, simulated",
    "lookup": "no language: the mean activation of each token on records that are not scored",
    "linear": "no language: each token's embedding through the unit's own weights, without context",
    "shuffled": "another unit's explanation, simulated",
    "empty": "no explanation, simulated",
}


def number(value: float | None, decimals: int = 3) -> str:
    """A value that may not exist.

    >>> number(0.52778), number(None), number(-0.0001)
    ('0.528', '-', '0.000')
    """
    if value is None:
        return NONE
    text = f"{value:.{decimals}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def interval(summary: Summary) -> str:
    """The 95 % interval of the mean.

    >>> interval(Summary(mean=0.5, median=0.5, n=2, unscored=0, low=0.4, high=0.6))
    '0.400 to 0.600'
    """
    if summary.low is None or summary.high is None:
        return NONE
    return f"{number(summary.low)} to {number(summary.high)}"


def count(value: int) -> str:
    """With separators: 24,000."""
    return f"{value:,}"


def duration(seconds: float) -> str:
    """A time for people.

    >>> duration(0.84), duration(47.5), duration(125.0), duration(7380.0)
    ('0.8 s', '47.5 s', '2 min 5 s', '2 h 3 min')
    """
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def plural(n: int, noun: str) -> str:
    """A count with its noun.

    >>> plural(1, "unit"), plural(2000, "unit")
    ('1 unit', '2,000 units')
    """
    return f"{count(n)} {noun}{'' if n == 1 else 's'}"


def series_title(series: Series) -> str:
    """Who explained, who simulated, and how."""
    return f"explained by {series.explainer.name}, simulated by {series.simulator.name} (mode {series.mode})"


def score_or_reason(score: UnitScore | None) -> str:
    """The value, or why there is none."""
    if score is None:
        return NONE
    return number(score.value) if score.reason is None else f"{NONE} ({score.reason})"


def record_title(record: UnitRecord) -> str:
    """Why the record was kept, what its split is for, and where its excerpt is from."""
    stratum = "" if record.stratum is None else f" {record.stratum},"
    kind = f"{record.kind}{stratum} {record.rank + 1}"
    peak = number(max(record.activations, default=None), 2)
    where = f"{record.document_id} from token {count(record.offset_tokens)}"
    return f"{kind} · {SPLIT_NAMES[record.split]} · highest {peak} · {where}"
