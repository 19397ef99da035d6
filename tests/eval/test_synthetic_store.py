"""The made-up store is one that a run could have left, and what is read of it agrees with its rows."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eval.bench.synthetic_store import make_store
from localexplain.report.html import write_report
from localexplain.report.reading import read_overview, read_series, read_series_report
from localexplain.report.unit import read_unit
from localexplain.score.correlation import correlation
from localexplain.store.store import Store, open_for_reading

N_LAYERS, UNITS_PER_LAYER, RECORDS_PER_UNIT = 2, 40, 22
N_UNITS = N_LAYERS * UNITS_PER_LAYER
SEED = 4  # four units with too few active excerpts, and one whose simulation is constant


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("synthetic") / "run"
    make_store(path, N_LAYERS, UNITS_PER_LAYER, records_per_unit=RECORDS_PER_UNIT, seed=SEED)
    return path


@pytest.fixture(scope="module")
def store(folder: Path) -> Iterator[Store]:
    with open_for_reading(folder) as opened:
        yield opened


def rows(store: Store, statement: str) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in store.sql(statement).to_pylist()]


def test_nothing_is_inconsistent(store: Store) -> None:
    assert store.check() == []


def test_it_holds_as_many_as_asked(store: Store) -> None:
    assert rows(store, "SELECT layer, count(*) FROM units GROUP BY ALL ORDER BY ALL") == [(0, 40), (1, 40)]
    # 22 records: one for each of five strata, and of the 17 others 17 * 5 // 12 = 7 random ones
    kinds = (
        "SELECT kind, count(*) // count(DISTINCT unit_id) FROM records JOIN units USING (unit_id) WHERE status = 'ok'"
    )
    assert rows(store, f"{kinds} GROUP BY kind ORDER BY kind") == [("random", 7), ("stratum", 5), ("top", 10)]
    assert rows(
        store, "SELECT DISTINCT len(activations), len(token_ids) FROM records JOIN excerpts USING (excerpt_id)"
    ) == [(64, 64)]
    statuses = dict(rows(store, "SELECT status, count(*) FROM units GROUP BY ALL"))
    assert 0 < statuses["too_few_active"] < statuses["ok"]
    # every unit with 5 sources over 2 selections, the explanation by 3 metrics: 2 * (3 + 4); the second explainer has
    # units 0, 16, 32, 48 and 64, with 2 * (3 + 1) scores each
    assert rows(store, "SELECT count(*) FROM scores") == [(N_UNITS * 14 + 5 * 8,)]


def test_a_unit_with_too_few_active_excerpts_says_so_and_has_nothing(store: Store) -> None:
    found = rows(
        store,
        "SELECT n_active_excerpts, count(*) FILTER (kind = 'top'), "
        "(SELECT count(*) FROM explanations WHERE explanations.unit_id = units.unit_id), "
        "(SELECT list(DISTINCT reason) FROM scores WHERE scores.unit_id = units.unit_id) "
        "FROM units JOIN records USING (unit_id) WHERE status = 'too_few_active' "
        "GROUP BY units.unit_id, n_active_excerpts",
    )
    assert found
    for n_active, n_top, n_explanations, reasons in found:
        assert (n_top, n_explanations) == (n_active, 0)
        assert reasons == [f"active in {n_active} excerpts, fewer than 10"]


def test_texts_are_many_and_some_are_hostile(store: Store) -> None:
    texts = [text for (text,) in rows(store, "SELECT text FROM explanations WHERE sample = 0")]
    assert len(set(texts)) > 0.9 * len(texts)
    tokens = {token for (token,) in rows(store, "SELECT DISTINCT unnest(tokens) FROM excerpts")}
    assert tokens >= {"<script>alert(1)</script>", "\n", "   ", "🙂"}


def test_correlations_are_those_of_the_simulations(store: Store) -> None:
    """Against the package's own metric, over the stored records and simulations, unit by unit."""
    joined = rows(
        store,
        "SELECT explanation_key, kind, list(activations ORDER BY excerpt_id), list(expected ORDER BY excerpt_id) "
        "FROM simulations JOIN records USING (unit_id, excerpt_id) WHERE split = 'valid' GROUP BY ALL ORDER BY ALL",
    )
    together: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = {}
    for key, kind, true, expected in joined:
        together.setdefault(key, {})[kind] = np.concatenate(true), np.concatenate(expected)
    stored = rows(
        store,
        "SELECT explanation_key, selection, value FROM scores WHERE source = 'explanation' AND metric = 'correlation' "
        "AND explanation_key IS NOT NULL",
    )
    assert len(stored) == 2 * len(together) > 100
    for key, selection, value in stored:
        kinds = ("top", "random") if selection == "top_and_random" else ("random",)
        true, expected = (np.concatenate([together[key][kind][side] for kind in kinds]) for side in (0, 1))
        assert true.size >= 64 * 2 * len(kinds)  # at least two valid excerpts of each kind
        found = correlation(true, expected)
        assert value == pytest.approx(found, abs=1e-6) if isinstance(found, float) else value is None


def test_what_is_read_agrees_with_the_rows(store: Store) -> None:
    overview = read_overview(store)
    assert (overview.n_units, overview.layer_sizes, overview.n_excerpts) == (N_UNITS, (40, 40), 20_000)
    assert dict(overview.settings)["capture.top_k"] == "10"
    assert [series.n_units for series in overview.series] == [N_UNITS, 5]
    for series in overview.series:
        report = read_series_report(store, series, overview.seed, n_best=2, n_worst=2, n_random=3)
        by_place: dict[tuple[str, str], list[tuple[int, float | None]]] = {}
        all_rows = rows(
            store, "SELECT unit_id, source, selection, explainer_key, value FROM scores WHERE metric = 'correlation'"
        )
        own = {unit for unit, source, _, explainer, _ in all_rows if explainer == series.explainer.key}
        for unit, source, selection, explainer, value in all_rows:
            if unit in own and explainer in (None, series.explainer.key):
                by_place.setdefault((source, selection), []).append((unit, value))
        assert {(item.source, item.selection) for item in report.scores} == set(by_place)
        for item in report.scores:
            values = [value for _, value in by_place[item.source, item.selection] if value is not None]
            n_missing = len(by_place[item.source, item.selection]) - len(values)
            assert (item.summary.n, item.summary.unscored) == (len(values), n_missing)
            assert item.summary.mean == (pytest.approx(np.mean(values)) if values else None)
        ranked = sorted(
            (value for _, value in by_place["explanation", "top_and_random"] if value is not None), reverse=True
        )
        assert list(report.values) == ranked
        assert [unit.value for unit in report.best] == ranked[:2]


def test_a_unit_can_be_read_and_a_page_written(store: Store, tmp_path: Path) -> None:
    series = read_series(store)[0]
    (best,) = read_series_report(store, series, 0, n_best=1, n_worst=0).best
    unit = read_unit(store, best.unit)
    assert len(unit.records) == RECORDS_PER_UNIT
    assert sum(bool(record.simulated) for record in unit.records) >= 4
    assert unit.explanations[0].text == best.text
    assert write_report(store, tmp_path / "page.html") == (tmp_path / "page.html").stat().st_size
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert best.unit in page
    assert "<script>alert(1)" not in page


def test_the_seed_decides(folder: Path, store: Store, tmp_path: Path) -> None:
    def read(opened: Store) -> list[tuple[Any, ...]]:
        return rows(opened, "SELECT unit_id, excerpt_id, maximum FROM records ORDER BY ALL") + rows(
            opened, "SELECT explanation_key, text FROM explanations ORDER BY ALL"
        )

    found = []
    for seed in (SEED, SEED + 1):
        make_store(tmp_path / str(seed), N_LAYERS, UNITS_PER_LAYER, records_per_unit=RECORDS_PER_UNIT, seed=seed)
        with open_for_reading(tmp_path / str(seed)) as other:
            found.append(read(other))
    assert found[0] == read(store)
    assert found[1] != read(store)


def test_too_few_records_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 12"):
        make_store(tmp_path / "run", 1, 10, records_per_unit=11, seed=0)
