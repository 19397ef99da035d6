"""The viewer's pages on a run written by hand: what each shows, with the numbers worked out."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from localexplain.store.store import open_for_writing
from tests.report.small_store import insert, write_small_store
from tests.viewer.viewed import Page, read_page, viewing

PAGES = [
    "/",
    "/?series=2",
    "/?q=rain&where=tokens&sort=worst&low=-1&high=1&rare=1&frequent=99&explained=yes&layer=0&page=1",
    "/?q=zebra",
    "/about",
    "/about?series=2",
    "/unit/mlp.0:0",
    "/unit/mlp.0:0?series=2&show=1&view=beside&scale=own&kinds=top",
    "/unit/mlp.0:1",
    "/unit/mlp.1:0",
    "/unit/mlp.1:3",
    "/unit/mlp.1:5",
    "/unit/mlp.0:0/sentence",
    "/unit/mlp.0:1/sentence?series=2&explanation=my+own&view=beside&scale=own",
    "/unit/mlp.1:3/sentence",
]
# Two more scored excerpts of mlp.0:0, one of each kind, so that its score has an interval.
MORE = {
    4: ("top", 2, [0.0, 2.0, 1.0, 0.0, 0.5], [0.0, 8.0, 0.0, 1.0, 0.0]),
    5: ("random", 1, [0.1, 0.0, 0.0, 0.3, 0.0], [0.0, 0.0, 2.0, 3.0, 0.0]),
}


def write_run(folder: Path) -> Path:
    write_small_store(folder)
    with open_for_writing(folder) as store:
        excerpt = store.sql("SELECT * FROM excerpts WHERE excerpt_id = 3").to_pylist()[0]
        record = store.sql("SELECT * FROM records WHERE excerpt_id = 1").to_pylist()[0]
        simulation = store.sql("SELECT * FROM simulations WHERE simulation_key = 's0'").to_pylist()[0]
        for number, (kind, rank, true, expected) in MORE.items():
            about = {"excerpt_id": number, "hash": number, "offset_tokens": 5000 + number}
            insert(store, "excerpts", [excerpt | about | {"document_id": f"file {number}"}])
            changes = {"excerpt_id": number, "kind": kind, "rank": rank, "activations": true, "maximum": max(true)}
            insert(store, "records", [record | changes])
            made = {"simulation_key": f"more {number}", "excerpt_id": number, "expected": expected}
            insert(store, "simulations", [simulation | made])
        store.connection.execute(
            "UPDATE explanations SET prompt = 'Neuron 0:\n\train <b>', raw = 'the token <i>rain</i>, I think' "
            "WHERE explanation_key = 'w0'"
        )
    return folder


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with viewing(write_run(tmp_path_factory.mktemp("app") / "run")) as found:
        yield found


def page_of(client: TestClient, address: str) -> Page:
    answer = client.get(address)
    assert answer.status_code == 200, answer.text
    return read_page(answer)


def levels_of(page: Page) -> list[list[str]]:
    """The classes of the tokens, line by line."""
    lines: list[list[str]] = []
    for tag, attributes in page.elements:
        names = (attributes.get("class") or "").split()
        if tag == "p" and "tokens" in names:
            lines.append([])
        elif tag == "span" and "title" in attributes:
            lines[-1].append(attributes["class"] or "")
    return lines


# every page -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def followed() -> dict[str, int]:
    """Links that were followed, and the status each led to: many pages have the same ones."""
    return {}


@pytest.mark.parametrize("address", PAGES)
def test_a_page_is_well_formed_and_its_links_lead_to_pages(
    client: TestClient, followed: dict[str, int], address: str
) -> None:
    page = page_of(client, address)
    assert len(page.of("h1")) == 1 or "/about" in address
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {link.partition("#")[0] for link in page.attributes("a", "href")} - {""}
    files = {*page.attributes("link", "href"), *page.attributes("script", "src")} - {"data:,"}
    for link in (links | files) - followed.keys():
        if not re.search("/weights($|[?])", link):  # these need the subject
            followed[link] = client.get(link).status_code
            # There is no random one of those that fit where none does.
            expected = 200 if not link.startswith("/random") else 404 if "zebra" in link else 303
            assert followed[link] == expected, link


@pytest.mark.parametrize(
    ("name", "kind"), [("viewer.js", "text/javascript"), ("viewer.css", "text/css"), ("style.css", "text/css")]
)
def test_files_come_as_what_they_are(client: TestClient, name: str, kind: str) -> None:
    answer = client.get(f"/static/{name}")
    assert answer.headers["content-type"].startswith(kind)
    assert len(answer.text) > 200


# the start page -------------------------------------------------------------------------------------------------------


def test_the_start_page_shows_the_run_and_its_units(client: TestClient) -> None:
    page = page_of(client, "/")
    assert page.of("h1") == ["toy-subject"]
    assert page.of("p", "found") == ["5 units"]
    listed = [tuple(cell.split()) for cell in page.of("th") if re.match(r"mlp", cell)]
    # 0.8; the mean of 0.2 and 0.6; 0; and those without a score, by layer and index.
    assert listed == [("mlp.0:0",), ("mlp.0:1",), ("mlp.1:5",), ("mlp.1:0",), ("mlp.1:3",)]
    rows = page.of("tr")
    first = next(row for row in rows if "the token ' rain'" in row and "35.0 %" in row)
    assert re.findall(r"-?\d\.\d\d", first) == ["0.80", "0.90", "0.01"]  # score, lookup, shuffled
    assert any("unscored: constant simulation" in row for row in rows)
    assert any("unscored: active in 3 excerpts, fewer than 20" in row for row in rows)
    assert "explained by writer, simulated by model (mode expected)" in page.of("li")


def test_another_series_has_its_own_scores_and_keeps_to_itself(client: TestClient) -> None:
    page = page_of(client, "/?series=2")
    rows = [row for row in page.of("tr") if "35.0 %" in row]
    assert [re.findall(r"mlp\.\d:\d", row)[0] for row in rows[:2]] == ["mlp.0:1", "mlp.0:0"]
    assert "a week's days" in rows[0]
    assert "0.30" in rows[0]
    assert "-0.10" in rows[1]
    assert all("not explained" in row for row in rows[2:])
    units = [link for link in page.attributes("a", "href") if link.startswith("/unit/")]
    assert units
    assert all(link.endswith("?series=2") for link in units)


def test_what_is_searched_for_is_listed_and_stands_in_its_field(client: TestClient) -> None:
    page = page_of(client, "/?q=%3Cb%3E%22DAYS%22")
    assert page.of("p", "found") == ["0 units"]
    assert '<b>"DAYS"' in page.attributes("input", "value")
    assert page_of(client, "/?q=%3CB%3Edays").of("p", "found") == ["1 unit"]


# a unit's page --------------------------------------------------------------------------------------------------------


def interval_by_loops() -> tuple[float, float]:
    """The bootstrap over the four scored excerpts of mlp.0:0, as the first explainer's were simulated."""
    scored = {
        "random": [([0, 0, 1.6, 0, 0], [0, 0, 0, 0, 0]), MORE[5][2:]],
        "top": [([3, 0.4, -2, 1.2, 0], [10, 0, 0, 0, 0]), MORE[4][2:]],
    }
    from zlib import crc32

    random = np.random.default_rng(crc32(b"mlp.0:0"))
    places = {kind: random.integers(0, 2, (2000, 2)) for kind in scored}
    values = []
    for draw in range(2000):
        chosen = [scored[kind][place] for kind in scored for place in places[kind][draw]]
        true, predicted = (np.concatenate([item[side] for item in chosen]) for side in (0, 1))
        values.append(np.corrcoef(true, predicted)[0, 1])
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def test_a_unit_shows_its_explanations_scores_intervals_and_controls(client: TestClient) -> None:
    page = page_of(client, "/unit/mlp.0:0")
    assert page.of("h1") == ["mlp.0:0"]
    assert page.of("p", "text") == ["the token ' rain'", "weather & storms"]
    first, other = (" ".join(text.split()) for text in page.of("p", "score"))
    low, high = interval_by_loops()
    assert first == f"0.800 {low:.2f} to {high:.2f} 95 %, had other excerpts been drawn (4)"
    assert other == "-0.100 too few excerpts for an interval"  # one of its excerpts was simulated
    of_first = ["explanation", "lookup", "linear", "shuffled (mlp.0:1's)", "empty"]
    of_other = ["explanation", "lookup", "linear", "empty"]
    assert [cell for cell in page.of("th") if cell in of_first] == of_first + of_other
    rows = [" ".join(re.split(r"\s+", row)) for row in page.of("tr")]
    assert any(row.startswith("lookup0.900") for row in rows)
    assert any(row.startswith("explained variance0.250") for row in rows)


def test_a_unit_shows_what_its_explainer_was_shown_and_answered(client: TestClient) -> None:
    texts = page_of(client, "/unit/mlp.0:0").of("pre")
    assert any("rain <b>" in text for text in texts)
    assert "the token <i>rain</i>, I think" in texts


def test_a_unit_shows_its_records_and_where_they_are_from(client: TestClient) -> None:
    page = page_of(client, "/unit/mlp.0:0")
    titles = page.of("figcaption", "where")
    assert titles == [
        "top 1 · for the explainer · highest 4.00 · a <b> file.txt from token 0",
        "top 2 · scored · highest 3.00 · a <b> file.txt from token 5",
        "top 3 · scored · highest 2.00 · file 4 from token 5,004",
        "stratum 2, 1 · for looking at · highest 0.10 · a <b> file.txt from token 15",
        "random 1 · scored · highest 1.60 · a <b> file.txt from token 10",
        "random 2 · scored · highest 0.30 · file 5 from token 5,005",
    ]
    # Tenths of 4, the highest: -1, 4, 0, 2, 0.39; then 3, 0.4, -2, 1.2, 0 beside 10, 0, 0, 0, 0.
    assert levels_of(page)[:2] == [["r0", "r9", "r0", "r5", "r0"], ["r7 s9", "r1 s0", "r0 s0", "r3 s0", "r0 s0"]]
    assert page.of("p", "tokens")[:2] == ["It rain↵<script>␣␣", " rain on⇥日本&amp;"]


def test_a_unit_shows_tokens_by_mean_and_a_histogram(client: TestClient) -> None:
    """Tokens by hand: " rain" is 4 and 3, so 3.5 of 2; "f" is 0.1, 2 and 0, so 0.7 of 3."""
    page = page_of(client, "/unit/mlp.0:0")
    rows = ["|".join(re.findall(r"\S+", row)) for row in page.of("tr")]
    flat = [re.sub(r"\s+", "", row) for row in page.of("tr")]
    assert "rain3.504.002" in flat
    assert "f0.702.003" in flat
    assert rows
    # Random records hold 1.6, 0.1, 0.3 and seven zeros: mean 0.2.
    assert any("mean 0.2; counts on a logarithmic scale" in text for text in page.of("li"))
    bars = page.of("title")
    assert "0 to 0.0533: 7" in bars


def test_kinds_shows_those_records_alone(client: TestClient) -> None:
    for kind, n in (("all", 6), ("top", 3), ("strata", 1), ("random", 2)):
        page = page_of(client, f"/unit/mlp.0:0?kinds={kind}")
        assert len(page.of("figcaption", "where")) == n
        assert all(title.startswith(kind[:5]) for title in page.of("figcaption", "where")) or kind == "all"


def test_another_explanations_simulation_is_shown_when_asked_for(client: TestClient) -> None:
    """Of writer's: 5.5, 0.9, 1.0, 0, 9.9, on the second record alone."""
    for address in ("/unit/mlp.0:0?show=2", "/unit/mlp.0:0?series=2"):
        levels = levels_of(page_of(client, address))
        assert levels[1] == ["r7 s5", "r1 s0", "r0 s1", "r3 s0", "r0 s9"]
        assert sum("s" in level for line in levels for level in line) == 5


def without_links(client: TestClient, address: str) -> list[str]:
    """The page's text lines; what is asked for again in its links does not count."""
    page = page_of(client, address)
    return [
        f"{tag} {name}: {text}"
        for tag, name, text in page.texts
        if tag in ("figcaption", "td", "th", "h1", "h2", "pre")
    ]


def test_beside_and_its_own_scale_change_the_heat_maps_alone(client: TestClient) -> None:
    plain = page_of(client, "/unit/mlp.0:0")
    beside = page_of(client, "/unit/mlp.0:0?view=beside")
    own = page_of(client, "/unit/mlp.0:0?show=2&scale=own")
    assert without_links(client, "/unit/mlp.0:0") == without_links(client, "/unit/mlp.0:0?view=beside")
    assert without_links(client, "/unit/mlp.0:0?show=2") == without_links(client, "/unit/mlp.0:0?show=2&scale=own")
    # Each simulated record is two lines then: its real levels, and its simulated ones.
    parted = []
    for line in levels_of(plain):
        real = [level.split()[0] for level in line]
        parted += [real, [level.split()[1] for level in line]] if " " in line[0] else [real]
    assert levels_of(beside) == parted
    assert beside.of("span", "line") == ["real", "simulated"] * 4
    # Tenths of 9.9, the highest that writer's simulation has: 5.5 is the sixth, 0.9 below the first, 1.0 the second.
    assert levels_of(own)[1] == ["r7 s5", "r1 s0", "r0 s1", "r3 s0", "r0 s9"]
    assert any("Simulated: tenths of 9.9" in text for text in own.of("p", "note"))
    assert any("Simulated: tenths of 10.0" in text for text in plain.of("p", "note"))


def test_its_own_scale_spreads_a_faint_simulation(tmp_path: Path) -> None:
    folder = write_small_store(tmp_path / "run")
    with open_for_writing(folder) as store:
        store.connection.execute("UPDATE simulations SET expected = [2.0, 1.0, 0.0, 0.0, 0.5] WHERE excerpt_id = 1")
    with viewing(folder) as client:
        shared, own = (levels_of(page_of(client, f"/unit/mlp.0:0?scale={scale}"))[1] for scale in ("shared", "own"))
    assert shared == ["r7 s2", "r1 s1", "r0 s0", "r3 s0", "r0 s0"]
    assert own == ["r7 s9", "r1 s5", "r0 s0", "r3 s0", "r0 s2"]


def test_a_unit_that_has_no_score_or_no_explanation_says_why(client: TestClient) -> None:
    text = " ".join(page_of(client, "/unit/mlp.1:3").of("section", "explanations"))
    assert "no explanation" in text
    assert "unscored: active in 3 excerpts, fewer than 20" in text
    assert "Failed in stage explain: no [b] answer" in text
    assert "unscored: constant simulation" in " ".join(page_of(client, "/unit/mlp.1:0").of("p", "score"))


# ways about -----------------------------------------------------------------------------------------------------------


def test_a_unit_leads_to_its_neighbours(client: TestClient) -> None:
    page = page_of(client, "/unit/mlp.1:0")
    ways = {found["id"]: found["href"] for tag, found in page.elements if tag == "a" and "rel" in found}
    assert ways == {"previous": "/unit/mlp.0:1", "next": "/unit/mlp.1:3"}


@pytest.mark.parametrize(
    ("asked", "target"),
    [
        ("unit=0:1", "/unit/mlp.0:1"),
        ("unit=mlp.0:1", "/unit/mlp.0:1"),
        ("unit=+00:001+", "/unit/mlp.0:1"),
        ("unit=1:5&series=2", "/unit/mlp.1:5?series=2"),
        ("unit=9:9", "/unit/mlp.9:9"),
    ],
)
def test_a_typed_unit_is_gone_to(client: TestClient, asked: str, target: str) -> None:
    answer = client.get(f"/go?{asked}")
    assert (answer.status_code, answer.headers["location"]) == (303, target)


def test_random_leads_to_a_unit_that_fits(client: TestClient) -> None:
    places = {client.get("/random?layer=0").headers["location"] for _ in range(30)}
    assert places == {"/unit/mlp.0:0", "/unit/mlp.0:1"}
    assert client.get("/random?layer=0&low=0.7&series=1").headers["location"] == "/unit/mlp.0:0"
    assert client.get("/random?series=2&low=0").headers["location"] == "/unit/mlp.0:1?series=2"


def test_the_about_page_says_what_the_numbers_come_from(client: TestClient) -> None:
    text = " ".join(page_of(client, "/about").of("section", "provenance"))
    assert all(part in text for part in ("toy-subject", "ab12", "namer", "writer", "duckdb", "token 1"))


def test_the_sentence_page_offers_the_units_own_explanations(client: TestClient) -> None:
    page = page_of(client, "/unit/mlp.0:0/sentence")
    assert page.of("textarea", "explanation") == ["the token ' rain'"]
    assert page.of("textarea", "text") == [""]
    assert page_of(client, "/unit/mlp.0:0/sentence?explanation=%3Cb%3E+mine").of("textarea", "explanation") == [
        "<b> mine"
    ]
