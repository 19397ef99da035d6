"""What the start page lists: each filter, sort and search against plain loops over the run's own tables."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from localexplain.store.snapshot import open_published, publish_file
from localexplain.store.store import Store, open_for_reading, open_for_writing
from localexplain.viewer.browse import PEAKS_SHOWN, list_units, pick_unit, read_listed, read_neighbours
from localexplain.viewer.query import PAGE_ROWS, BadAddress, ListState, Sort
from tests.report.small_store import insert, write_small_store

N_MORE = 120  # units beside the hand-written five: three pages in all
ODD_TEXTS = {
    5: "100% of 'em",
    6: 'says "sea_salt" \\ or so',
    7: "SELECT * FROM units; --",
    8: "ΟΔΟΣ and İstanbul",
    9: "<script>alert(1)</script>",
    10: "100 per cent",
    11: "seaXsalt",
}
SERIES = (("namer", "rule", "rule"), ("writer", "model", "expected"))


def write_run(folder: Path) -> Path:
    """The hand-written run with more units: some scored by "namer", some not explained, one with nine peaks."""
    write_small_store(folder)
    with open_for_writing(folder) as store:
        old = store.sql("SELECT * FROM units WHERE unit_id = 4").to_pylist()[0]
        numbers = range(5, 5 + N_MORE)
        units = [
            old
            | {
                "unit_id": number,
                "unit": f"mlp.2:{number}",
                "layer": 2,
                "unit_index": number,
                "active_token_fraction": (number * 7 % 50) / 100,
            }
            for number in numbers
        ]
        insert(store, "units", units)
        said = store.sql("SELECT * FROM explanations WHERE explanation_key = 'n4'").to_pylist()[0]
        texts = {number: ODD_TEXTS.get(number, f"number {number}") for number in numbers if number % 3}
        texts |= ODD_TEXTS
        insert(
            store,
            "explanations",
            [said | {"explanation_key": f"m{n}", "unit_id": n, "text": text} for n, text in texts.items()],
        )
        score = store.sql("SELECT * FROM scores WHERE explanation_key = 'n4' AND source = 'explanation'").to_pylist()
        row = next(s for s in score if (s["metric"], s["selection"]) == ("correlation", "top_and_random"))
        insert(
            store,
            "scores",
            [
                row
                | {
                    "score_key": f"m{n}",
                    "unit_id": n,
                    "explanation_key": f"m{n}",
                    "value": None if n % 4 == 0 else (n % 10) / 10,
                    "reason": "constant simulation" if n % 4 == 0 else None,
                }
                for n in texts
            ],
        )
        tokens = [" Sea", " sea", "%", "_", "'", '"', "\\", " salt", "İ"]
        excerpt = store.sql("SELECT * FROM excerpts WHERE excerpt_id = 0").to_pylist()[0]
        insert(store, "excerpts", [excerpt | {"excerpt_id": 9, "hash": 9, "tokens": tokens, "token_ids": [0] * 9}])
        record = store.sql("SELECT * FROM records WHERE kind = 'top' LIMIT 1").to_pylist()[0]
        records = [
            record
            | {
                "unit_id": 5,
                "excerpt_id": 9,
                "rank": place,
                "maximum": 9.0 - place,
                "activations": [9.0 - place if other == place else -1.0 for other in range(9)],
            }
            for place in range(9)
        ]
        insert(store, "records", records)
    return folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What loops over the run's tables say of a unit in a series."""

    unit_id: int
    unit: str
    layer: int
    active: float
    value: float | None
    reason: str | None
    said: str
    peaked: str


def know(store: Store, series: int) -> list[Known]:
    explainer, simulator, mode = SERIES[series - 1]

    def rows(table: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = store.sql(f"SELECT * FROM {table}").to_pylist()
        return found

    scores = [
        row
        for row in rows("scores")
        if (row["explainer_key"], row["simulator_key"], row["mode"]) == (explainer, simulator, mode)
        and (row["source"], row["metric"], row["selection"]) == ("explanation", "correlation", "top_and_random")
    ]
    tokens = {row["excerpt_id"]: row["tokens"] for row in rows("excerpts")}
    known = []
    for unit in sorted(rows("units"), key=lambda row: row["unit_id"]):
        number = unit["unit_id"]
        own = [row for row in scores if row["unit_id"] == number]
        values = [row["value"] for row in own if row["value"] is not None]
        said = [
            row["text"] for row in rows("explanations") if (row["unit_id"], row["explainer_key"]) == (number, explainer)
        ]
        peaked = [
            tokens[row["excerpt_id"]][row["activations"].index(max(row["activations"]))]
            for row in rows("records")
            if (row["unit_id"], row["kind"]) == (number, "top")
        ]
        known.append(
            Known(
                unit_id=number,
                unit=unit["unit"],
                layer=unit["layer"],
                active=unit["active_token_fraction"],
                value=sum(values) / len(values) if values else None,
                reason=own[0]["reason"] if own and not values else None,
                said="\n".join(said),
                peaked="\n".join(peaked),
            )
        )
    return known


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_run(tmp_path_factory.mktemp("browse") / "run")
    publish_file(folder)
    return folder


@pytest.fixture(scope="module")
def store(run: Path) -> Iterator[Store]:
    found = open_published(run)
    assert found is not None
    yield found.store
    found.store.close()


@pytest.fixture(scope="module")
def known(run: Path) -> dict[int, list[Known]]:
    with open_for_reading(run) as store:
        return {series: know(store, series) for series in (1, 2)}


def list_all(store: Store, state: ListState, series: int = 1) -> list[str]:
    """Names on all pages, one after the other; each page is full but the last."""
    first = list_units(store, state, series)
    names: list[str] = []
    for page in range(1, first.last_page + 1):
        asked = ListState(**{name: getattr(state, name) for name in ListState.__dataclass_fields__} | {"page": page})
        found = list_units(store, asked, series)
        assert (found.n, found.page, found.last_page) == (first.n, page, first.last_page)
        assert len(found.units) == PAGE_ROWS or page == first.last_page
        names += [item.unit for item in found.units]
    assert len(names) == first.n == len(set(names))
    return names


# filters, each alone --------------------------------------------------------------------------------------------------


def is_explained(item: Known) -> bool:
    return item.value is not None or item.reason is not None


FILTERS: list[tuple[ListState, Callable[[Known], bool]]] = [
    (ListState(), lambda item: True),
    (ListState(layer=0), lambda item: item.layer == 0),
    (ListState(layer=2), lambda item: item.layer == 2),
    (ListState(layer=7), lambda item: False),
    (ListState(low=0.4), lambda item: item.value is not None and item.value >= 0.4),
    (ListState(high=0.0), lambda item: item.value is not None and item.value <= 0.0),
    (ListState(low=0.3, high=0.6), lambda item: item.value is not None and 0.3 <= item.value <= 0.6),
    (ListState(low=0.6, high=0.3), lambda item: False),
    (ListState(rare=35), lambda item: item.active >= 0.35),
    (ListState(frequent=7), lambda item: item.active <= 0.07),
    (ListState(rare=0.0, frequent=0.0), lambda item: item.active == 0),
    (ListState(explained="yes"), is_explained),
    (ListState(explained="no"), lambda item: not is_explained(item)),
    (ListState(layer=2, explained="yes", low=0.5), lambda item: item.layer == 2 and (item.value or 0) >= 0.5),
]


@pytest.mark.parametrize("series", [1, 2])
@pytest.mark.parametrize(("state", "fits"), FILTERS, ids=[state.link() or "all" for state, _ in FILTERS])
def test_a_filter_lists_what_a_loop_finds(
    store: Store, known: dict[int, list[Known]], state: ListState, fits: Callable[[Known], bool], series: int
) -> None:
    assert sorted(list_all(store, state, series)) == sorted(item.unit for item in known[series] if fits(item))


def test_filters_are_not_all_or_nothing(known: dict[int, list[Known]]) -> None:
    """Else the test above would prove little."""
    found = [sum(map(fits, known[1])) for _, fits in FILTERS]
    assert found[0] == 5 + N_MORE
    assert all(0 < n < found[0] for n, (state, _) in zip(found[1:], FILTERS[1:], strict=True) if state.layer != 7) or (
        found.count(0) == 2
    )


SORTS: dict[Sort, Callable[[Known], tuple[float, ...]]] = {
    "best": lambda item: (1, 0) if item.value is None else (0, -item.value),
    "worst": lambda item: (1, 0) if item.value is None else (0, item.value),
    "frequent": lambda item: (-item.active,),
    "rare": lambda item: (item.active,),
    "unit": lambda item: (),
}


@pytest.mark.parametrize("series", [1, 2])
@pytest.mark.parametrize("sort", SORTS)
def test_a_sort_goes_over_all_pages_with_ties_in_order_of_the_units(
    store: Store, known: dict[int, list[Known]], sort: Sort, series: int
) -> None:
    expected = sorted(known[series], key=lambda item: (*SORTS[sort](item), item.unit_id))
    assert list_all(store, ListState(sort=sort), series) == [item.unit for item in expected]


# search ---------------------------------------------------------------------------------------------------------------


SEARCHES = ["100%", "%", "_", "sea_salt", "'", "'em", '"', "\\", "*", "; --", "<script>", "SEA", "Sea", "ber 1", "ΟΔΟΣ"]
SEARCHES += ["οδοσ", "İ", "i", "names of <B>DAYS", " rain", "  ", "zebra", "' OR 1=1 --", "number 5\nnumber"]


def lower(text: str) -> str:
    """One letter for each, as in the tables."""
    return "".join(character.lower()[0] for character in text)


@pytest.mark.parametrize("where", ["all", "explanations", "tokens"])
@pytest.mark.parametrize("q", SEARCHES)
def test_a_search_finds_plain_text_in_any_case(store: Store, known: dict[int, list[Known]], q: str, where: str) -> None:
    places = {"all": ("said", "peaked"), "explanations": ("said",), "tokens": ("peaked",)}[where]
    expected = [item.unit for item in known[1] if any(lower(q) in lower(getattr(item, place)) for place in places)]
    found = list_all(store, ListState(q=q, where=where, sort="unit"))  # type: ignore[arg-type]
    assert found == expected


def test_searches_by_hand(store: Store) -> None:
    def found(q: str, **more: Any) -> list[str]:
        return list_all(store, ListState(q=q, **more))

    assert found("100%") == ["mlp.2:5"]  # not "100 per cent"
    assert found("sea_salt") == ["mlp.2:6"]  # not "seaXsalt"
    assert found("DAYS OF THE WEEK") == ["mlp.0:1"]
    assert found("<b>days</b>") == ["mlp.0:1"]  # in its second sample
    assert found("rain", where="tokens") == ["mlp.0:0"]
    assert found("week's") == []  # what the other explainer says
    assert list_all(store, ListState(q="week's"), 2) == ["mlp.0:1"]


# pages ----------------------------------------------------------------------------------------------------------------


def test_pages_by_hand(store: Store) -> None:
    """125 units are 50, 50 and 25."""
    pages = [list_units(store, ListState(page=page), 1) for page in (1, 2, 3)]
    assert [(len(page.units), page.n, page.last_page) for page in pages] == [(50, 125, 3), (50, 125, 3), (25, 125, 3)]


@pytest.mark.parametrize(("state", "last"), [(ListState(page=4), 3), (ListState(q="zebra", page=2), 1)])
def test_a_page_behind_the_last_is_named(store: Store, state: ListState, last: int) -> None:
    with pytest.raises(BadAddress, match=f"^page={state.page}: there are {last}$"):
        list_units(store, state, 1)
    with pytest.raises(BadAddress, match="page=1000000000: there are 3"):
        list_units(store, ListState(page=10**9), 1)


def test_what_is_listed_of_a_unit(store: Store) -> None:
    listed = {item.unit: item for item in list_units(store, ListState(sort="unit"), 1).units}
    first = listed["mlp.0:0"]
    assert (first.value, first.lookup, first.shuffled, first.text) == (0.8, 0.9, 0.01, "the token ' rain'")
    assert (first.status, first.active_token_fraction, first.highest) == ("ok", 0.35, 4.0)
    assert first.peaks == (" rain",)
    assert listed["mlp.0:1"].value == pytest.approx(0.4)
    assert (listed["mlp.1:3"].value, listed["mlp.1:3"].reason) == (None, "active in 3 excerpts, fewer than 20")
    # Nine peaks, the highest first, of which eight are shown.
    assert listed["mlp.2:5"].peaks == (" Sea", " sea", "%", "_", "'", '"', "\\", " salt")[:PEAKS_SHOWN]


# ways to a unit -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("series", [1, 2])
def test_neighbours_are_the_next_ones_of_the_same_sort(
    store: Store, known: dict[int, list[Known]], series: int
) -> None:
    """From an explained unit to explained ones; from another to any."""
    for place, item in enumerate(known[series]):
        ways = [known[series][:place], known[series][place + 1 :]]
        names = [[other.unit for other in way if is_explained(other) or not is_explained(item)] for way in ways]
        near = read_neighbours(store, series, item.unit)
        assert (near.before, near.after) == (names[0][-1] if names[0] else None, names[1][0] if names[1] else None)


def test_a_unit_that_is_not_there_has_no_neighbours(store: Store) -> None:
    near = read_neighbours(store, 1, "mlp.9:9")
    assert (near.before, near.after) == (None, None)


def test_a_random_unit_is_one_of_those_that_fit_and_any_of_them(store: Store, known: dict[int, list[Known]]) -> None:
    state = ListState(layer=0)
    assert {pick_unit(store, state, 1, seed) for seed in range(40)} == {"mlp.0:0", "mlp.0:1"}
    drawn = [pick_unit(store, ListState(explained="no"), 1, seed) for seed in range(60)]
    assert drawn == [pick_unit(store, ListState(explained="no"), 1, seed) for seed in range(60)]
    assert set(drawn) <= {item.unit for item in known[1] if not is_explained(item)}
    assert len(set(drawn)) > 15  # 60 draws from 40 units: about 31 of them
    assert pick_unit(store, ListState(q="zebra"), 1, 0) is None


def test_related_units_come_with_score_and_explanation(store: Store) -> None:
    found = read_listed(store, 1, ["mlp.0:0", "mlp.1:0", "mlp.9:9", "' OR 1=1"])
    assert found == {"mlp.0:0": (0.8, "the token ' rain'"), "mlp.1:0": (None, "nothing in particular")}
    assert read_listed(store, 1, []) == {}


def test_a_run_without_scores_lists_its_units_and_finds_its_tokens(tmp_path: Path) -> None:
    folder = write_small_store(tmp_path / "run", with_results=False)
    publish_file(folder)
    found = open_published(folder)
    assert found is not None
    names = [item.unit for item in list_units(found.store, ListState(), 0).units]
    assert names == ["mlp.0:0", "mlp.0:1", "mlp.1:0", "mlp.1:3", "mlp.1:5"]
    assert list_all(found.store, ListState(q="RAIN"), 0) == ["mlp.0:0"]
    assert list_all(found.store, ListState(explained="yes"), 0) == []
    assert list_all(found.store, ListState(low=-1.0), 0) == []
    assert read_neighbours(found.store, 0, "mlp.0:1").after == "mlp.1:0"
    assert pick_unit(found.store, ListState(layer=1), 0, 0) in names[2:]
    found.store.close()
