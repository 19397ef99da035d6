"""Expected numbers are those of the table in small_store.py."""

import dataclasses
from pathlib import Path

import pytest

from localexplain.errors import RunError
from localexplain.report.ranking import split_ends
from localexplain.report.reading import (
    CORRELATION,
    SOURCES,
    RankedUnit,
    Series,
    count_reasons,
    keys_of,
    read_overview,
    read_series,
    read_series_report,
    read_sources,
    summarise_layers,
    summarise_sources,
)
from localexplain.report.scores import Scores, read_reasons
from localexplain.score.summary import Summary, summarise
from localexplain.store.store import Store, open_for_reading, open_for_writing
from localexplain.types import TokenCounts
from tests.report.small_store import CONSTANT, SEED, TOO_FEW, UNITS, write_small_store


@pytest.fixture
def by_rule(store: Store) -> Series:
    return next(series for series in read_series(store) if series.mode == "rule")


def read_correlations(store: Store, series: Series) -> tuple[Scores, ...]:
    return read_sources(store, series, CORRELATION, SOURCES[1:])


def find(report_scores: tuple, source: str, selection: str) -> Summary:  # type: ignore[type-arg]
    (score,) = [item for item in report_scores if (item.source, item.selection) == (source, selection)]
    summary: Summary = score.summary
    return summary


def test_overview(store: Store) -> None:
    overview = read_overview(store)
    assert (overview.subject.name, dict(overview.subject.details)["files_sha256"]) == ("toy-subject", "ab12")
    assert (overview.n_units, overview.n_too_few_active, overview.layer_sizes) == (5, 1, (4, 8))
    assert (overview.n_records, overview.n_explanations, overview.n_simulations, overview.n_failures) == (4, 7, 3, 1)
    # 7 explanations, 3 simulations and 1 failure at 100, 10 and 1 tokens each
    assert overview.tokens == TokenCounts(prompt=1100, computed=110, generated=11)
    assert overview.seconds == (("capture", 60.0), ("explain", 0), ("simulate", 0), ("score", 2.0))
    assert (overview.length_tokens, overview.bos_token, overview.seed) == (5, 1, SEED)
    assert overview.corpus == (("bos", "auto"), ("length_tokens", "5"), ("path", "texts"))
    assert overview.capture == (("top_k", "20"),)
    assert overview.settings == (("explain.units", "all"), ("seed", "7"))
    assert overview.versions == (("duckdb", "2.0"), ("torch", "1.0, 1.1"))


def test_overview_of_an_empty_store(tmp_path: Path) -> None:
    open_for_writing(tmp_path / "run").close()
    with open_for_reading(tmp_path / "run") as store, pytest.raises(RunError, match="nothing is captured"):
        read_overview(store)


def test_series_are_told_apart_by_explainer_simulator_and_mode(store: Store) -> None:
    assert [
        (series.explainer.name, series.simulator.name, series.mode, series.n_units) for series in read_series(store)
    ] == [("namer", "rule", "rule", 5), ("writer", "model", "expected", 2)]


def test_no_series_before_the_score_stage(captured_only: Store) -> None:
    assert read_series(captured_only) == ()
    assert read_overview(captured_only).n_units == 5


def test_scores_of_a_series(store: Store, by_rule: Series) -> None:
    scores = summarise_sources(read_correlations(store, by_rule), SEED)
    own = find(scores, "explanation", "top_and_random")
    # 0.8, the mean 0.4 of two samples, 0.0; mlp.1:0 and mlp.1:3 have none
    assert (own.mean, own.median, own.n, own.unscored) == (pytest.approx(0.4), pytest.approx(0.4), 3, 2)
    assert own == summarise([0.8, 0.4, None, None, 0.0], SEED)
    random_only = find(scores, "explanation", "random_only")
    assert (random_only.mean, random_only.n, random_only.unscored, random_only.low) == (0.5, 1, 4, None)
    # mean of 0.9, 0.7, 0.1 and 0.5; median between 0.5 and 0.7
    lookup = find(scores, "lookup", "top_and_random")
    assert (lookup.mean, lookup.median, lookup.n, lookup.unscored) == (
        pytest.approx(0.55), pytest.approx(0.6), 4, 1,
    )  # fmt: skip
    # mean of 0.01, -0.03 and 0.02
    shuffled = find(scores, "shuffled", "top_and_random")
    assert (shuffled.mean, shuffled.n, shuffled.unscored) == (pytest.approx(0.0), 3, 2)
    empty = find(scores, "empty", "top_and_random")
    assert (empty.mean, empty.n, empty.unscored) == (None, 0, 5)


def test_another_mode_is_another_column(store: Store) -> None:
    (series,) = [series for series in read_series(store) if series.mode == "expected"]
    scores = summarise_sources(read_correlations(store, series), SEED)
    own = find(scores, "explanation", "top_and_random")
    assert (own.mean, own.n, own.unscored) == (pytest.approx(0.1), 2, 0)  # (-0.1 + 0.3) / 2
    # controls of its two units alone: (0.9 + 0.7) / 2; its own simulator's empty control
    assert find(scores, "lookup", "top_and_random").mean == pytest.approx(0.8)
    assert find(scores, "empty", "top_and_random").mean == pytest.approx(0.04)
    assert "shuffled" not in {score.source for score in scores}


def test_layers(store: Store, by_rule: Series) -> None:
    layers = summarise_layers(read_correlations(store, by_rule), "top_and_random", SEED)
    assert [(layer.layer, layer.explanation.n, layer.explanation.unscored) for layer in layers] == [
        (0, 2, 0),
        (1, 1, 2),
    ]
    assert [layer.explanation.mean for layer in layers] == [pytest.approx(0.6), 0.0]  # (0.8 + 0.4) / 2
    # lookup (0.9 + 0.7) / 2 and (0.1 + 0.5) / 2, linear 0.2 and 0.2, shuffled 0.01 and (-0.03 + 0.02) / 2
    assert [dict(layer.controls) for layer in layers] == [
        {"lookup": pytest.approx(0.8), "linear": pytest.approx(0.2), "shuffled": pytest.approx(0.01), "empty": None},
        {"lookup": pytest.approx(0.3), "linear": pytest.approx(0.2), "shuffled": pytest.approx(-0.005), "empty": None},
    ]


def test_reasons_add_up_to_the_unscored(store: Store, by_rule: Series) -> None:
    scores = read_correlations(store, by_rule)
    reasons = count_reasons(read_reasons(store, keys_of(by_rule), item) for item in scores)
    counted = [(item.source, item.reason, item.top_and_random, item.random_only) for item in reasons]
    # random only: all constant but the one that has a value; the most frequent first
    assert counted[:2] == [("explanation", CONSTANT, 1, 4), ("explanation", TOO_FEW, 1, 0)]
    assert ("linear", "constant activations", 1, 0) in counted
    assert [item for item in counted if item[0] == "empty"] == [("empty", CONSTANT, 4, 5), ("empty", TOO_FEW, 1, 0)]
    for score in summarise_sources(scores, SEED):
        own = [item for item in reasons if item.source == score.source]
        assert sum(getattr(item, score.selection) for item in own) == score.summary.unscored


def test_a_unit_is_unscored_only_where_all_its_samples_are(tmp_path: Path) -> None:
    """mlp.0:1 has the samples n1a and n1b, with 0.2 and 0.6."""
    folder = write_small_store(tmp_path / "run")
    unscore = (
        "UPDATE scores SET value = NULL, reason = $reason WHERE explanation_key = $key AND source = 'explanation' "
        "AND selection = 'top_and_random' AND metric = 'correlation'"
    )

    def read_after(key: str, reason: str) -> tuple[RankedUnit, set[str]]:
        with open_for_writing(folder) as store:
            store.connection.execute(unscore, {"key": key, "reason": reason})
        with open_for_reading(folder) as store:
            series = next(series for series in read_series(store) if series.mode == "rule")
            report = read_series_report(store, series, SEED, n_best=0, n_worst=0, n_random=9)
        (unit,) = [unit for unit in report.random if unit.unit == "mlp.0:1"]
        return unit, {item.reason for item in report.reasons}

    unit, reasons = read_after("n1a", "garbled")
    assert (unit.value, unit.reason) == (0.6, None)
    assert "garbled" not in reasons
    unit, reasons = read_after("n1b", "cut short")
    assert (unit.value, unit.reason) == (None, "garbled")  # the first sample's reason stands for both
    assert "garbled" in reasons
    assert "cut short" not in reasons


def test_best_worst_and_random_units(store: Store, by_rule: Series) -> None:
    report = read_series_report(store, by_rule, SEED, n_best=1, n_worst=1, n_random=9)
    (best,), (worst,) = report.best, report.worst
    assert (best.unit, best.value, best.text) == ("mlp.0:0", 0.8, "the token ' rain'")
    assert (worst.unit, worst.value, worst.text) == ("mlp.1:5", 0.0, "numbers")
    by_unit = {unit.unit: unit for unit in report.random}
    assert set(by_unit) == set(UNITS) - {"mlp.0:0", "mlp.1:5"}  # no unit twice, unscored ones too
    assert (by_unit["mlp.0:1"].value, by_unit["mlp.0:1"].text) == (pytest.approx(0.4), "days of the week")
    assert (by_unit["mlp.1:0"].value, by_unit["mlp.1:0"].reason) == (None, CONSTANT)
    assert (by_unit["mlp.1:3"].reason, by_unit["mlp.1:3"].text) == (TOO_FEW, None)
    assert report.values == (0.8, pytest.approx(0.4), 0.0)
    # the same for the same seed, in another order for others
    orders = {
        tuple(unit.unit for unit in read_series_report(store, by_rule, seed, n_best=1, n_worst=1, n_random=9).random)
        for seed in range(20)
    }
    assert len(orders) > 1
    again = read_series_report(store, by_rule, SEED, n_best=1, n_worst=1, n_random=9)
    assert dataclasses.asdict(again) == dataclasses.asdict(report)


def test_calibrated_metrics_are_of_explanations_alone(store: Store, by_rule: Series) -> None:
    report = read_series_report(store, by_rule, SEED)
    found = {(item.metric, item.selection): item.summary for item in report.calibrated}
    variance = found["explained_variance", "top_and_random"]
    assert (variance.mean, variance.n, variance.unscored) == (0.25, 1, 4)
    assert found["absolute_deviation_explained", "random_only"].n == 0
    assert {item.source for item in report.calibrated} == {"explanation"}


@pytest.mark.parametrize(
    ("n", "n_best", "n_worst", "ends"),
    [(10, 2, 3, (2, 3)), (5, 5, 5, (3, 2)), (1, 5, 5, (1, 0)), (0, 5, 5, (0, 0)), (4, 0, 3, (0, 3)), (9, 9, 1, (8, 1))],
)
def test_split_ends(n: int, n_best: int, n_worst: int, ends: tuple[int, int]) -> None:
    assert split_ends(n, n_best, n_worst) == ends
