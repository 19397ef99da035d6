"""What a viewer does with texts that would act, addresses that lead nowhere, and runs that are none, or half of one."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from localexplain.report.shading import visible
from localexplain.store.store import FILE_NAME, connect, open_for_writing, query_text, schema_files
from tests.report.small_store import write_capture, write_results, write_small_store
from tests.viewer.viewed import read_page, read_trouble, viewing

HOSTILE = [
    "<script>alert(1)</script>",
    '" onmouseover="alert(1)" x="',
    "' autofocus onfocus='alert(1)",
    "{{ 7*7 }}{% raw %}",
    "</textarea></pre></p><img src=x onerror=alert(1)>",
    "]]><!-- --><![CDATA[",
    "\u202egnp.exe\u202c",
    "\x1b[31mred\x07\x01",
    "&lt;b&gt; &#60; &amp;",
    "javascript:alert(1)",
    "\u200b\ufeff\u2028\u2029",
    "日本 🎈 é",
]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_store(tmp_path_factory.mktemp("small") / "run")


@pytest.fixture(scope="module")
def client(small: Path) -> Iterator[TestClient]:
    with viewing(small) as found:
        yield found


# texts that would act -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A run in which each text that a model or a file had a say in is one of those."""
    folder = tmp_path_factory.mktemp("hostile") / "run"
    text = "".join(HOSTILE)
    with open_for_writing(folder) as store:
        write_capture(store)
        store.connection.execute("UPDATE excerpts SET document_id = $1, tokens = $2", [text, HOSTILE])
        store.connection.execute("UPDATE records SET activations = [4.0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]")
        write_results(store)
        store.connection.execute("UPDATE explanations SET text = $1, prompt = $1, raw = $1", [text])
        store.connection.execute("UPDATE simulations SET expected = [9.0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]")
        store.connection.execute("UPDATE scores SET reason = $1 WHERE reason IS NOT NULL", [text])
        store.connection.execute("UPDATE failures SET reason = $1", [text])
        store.connection.execute("UPDATE models SET name = $1", ["".join(HOSTILE[:6])])
    with viewing(folder) as found:
        yield found


ADDRESSES = ["/", "/?q=alert", "/about", "/unit/mlp.0:0", "/unit/mlp.0:0?view=beside", "/unit/mlp.1:3"]


@pytest.mark.parametrize("address", ADDRESSES)
def test_texts_of_a_run_come_out_as_text(hostile: TestClient, address: str) -> None:
    """`read_page` lets no script in but the viewer's own, and no attribute that acts."""
    answer = hostile.get(address)
    assert answer.status_code == 200
    page = read_page(answer)
    text = "".join(page.of("body"))
    assert "<script>alert(1)</script>" in text
    assert "{{ 7*7 }}{% raw %}" in text
    assert "49" not in text.replace("0.49", "")
    assert not any("javascript:" in link for link in page.attributes("a", "href"))


def test_tokens_are_shown_one_by_one_and_nothing_of_them_is_hidden(hostile: TestClient) -> None:
    page = read_page(hostile.get("/unit/mlp.0:0"))
    expected = "".join(visible(token) for token in HOSTILE)
    assert page.of("p", "tokens") == [expected] * 4
    assert all(hidden not in expected for hidden in "\u202e\u202c\x1b\x07\x01\u200b\ufeff\u2028")
    assert page.of("p", "text")[0] == visible("".join(HOSTILE))
    assert page.of("pre")[0] == visible("".join(HOSTILE))


@pytest.mark.parametrize("text", [text for text in HOSTILE if "\x1b" not in text])
def test_what_an_address_says_comes_out_as_text(client: TestClient, text: str) -> None:
    searched = read_page(client.get("/", params={"q": text}))
    assert searched.attributes("input", "value").count(text) == 2
    for name, address in (("sort", "/"), ("series", "/"), (text, "/"), ("series", "/random")):
        assert visible(text[:12]) in read_trouble(client.get(address, params={name: text}))
    read_trouble(client.get("/go", params={"unit": text}))
    read_trouble(client.get(f"/unit/{quote(text, safe='')}"))
    page = read_page(client.get("/unit/mlp.0:0/sentence", params={"explanation": text}))
    assert page.of("textarea", "explanation") == [text]


# addresses that lead nowhere ------------------------------------------------------------------------------------------


BAD = [
    ("/unit/mlp.9:9", 400, "layers go from 0 to 1"),
    ("/unit/mlp.0:3", 400, "not captured in this run, which holds 2 units of layer 0"),
    ("/unit/mlp.0:4", 400, "layer 0 has units 0 to 3"),
    ("/unit/head.0:0", 400, "is no unit of this run"),
    ("/unit/mlp.3:99999999999999999999", 400, "is no unit of this run"),
    (f"/unit/mlp.3:{'9' * 5000}", 404, "is no unit"),
    (f"/unit/mlp.3:{'9' * 5000}/weights", 404, "is no unit"),
    ("/unit/sea", 400, "is no unit of this run"),
    ("/unit/%00", 400, "is no unit of this run"),
    ("/unit/mlp.0:0%20", 400, "is no unit of this run"),
    ("/unit/%F0%9F", 400, "is no unit of this run"),
    ("/unit/mlp.0:0'%20OR%201=1", 400, "is no unit of this run"),
    ("/unit/mlp.9:9/sentence", 400, "layers go from 0 to 1"),
    ("/unit/mlp.9:9/weights", 400, "layers go from 0 to 1"),
    ("/unit/mlp.0:0/weights", 400, "subject model: . holds no config.json"),
    ("/unit/mlp.0:0/sentence?text=sea", 400, "subject model: . holds no config.json"),
    ("/unit/", 404, "no page at this address"),
    ("/unit/mlp.0:0/other", 404, "no page at this address"),
    ("/unit/..%2f..%2fetc%2fpasswd", 404, "no page at this address"),
    ("/unit/..%5c..%5cetc", 400, "is no unit of this run"),
    ("/static/", 404, "no page at this address"),
    ("/static/..%2f..%2fguard.py", 404, "no page at this address"),
    ("/static/..%2Fapp.py", 404, "no page at this address"),
    ("/static/%2e%2e", 404, "no such file"),
    ("/static/viewer.js%00", 404, "no such file"),
    ("/static/VIEWER.JS", 404, "no such file"),
    ("/static/app.py", 404, "no such file"),
    ("/run.duckdb", 404, "no page at this address"),
    ("/published.duckdb", 404, "no page at this address"),
    ("/etc/passwd", 404, "no page at this address"),
    ("/?page=2", 400, "page=2: there are 1"),
    ("/?page=0", 400, "page=0: must be a whole number from 1 on"),
    ("/?series=3", 400, "series=3: this run has 2"),
    ("/random?series=3", 400, "series=3: this run has 2"),
    ("/unit/mlp.0:0?series=3", 400, "series=3: this run has 2"),
    ("/unit/mlp.0:0?show=3", 400, "show=3: this unit has 2 judged explanations"),
    ("/?low=nan", 400, "low=nan: must be a number"),
    ("/?sort=best;DROP", 400, "sort=best;DROP: must be one of"),
    ("/?q=a&q=b", 400, "q: is given twice"),
    ("/go?unit=0:0&unit=0:1", 400, "unit: is given twice"),
    ("/?nonsense=1", 400, "nonsense: no such parameter here"),
    ("/about?q=sea", 400, "q: no such parameter here"),
    ("/?q=%00", 400, "q: holds characters that are no text"),
    (f"/?q={'x' * 201}", 400, "201 characters are too many"),
    (f"/unit/mlp.0:0/sentence?text={'x' * 4001}", 400, "4,001 characters are too many; give at most 4,000"),
    (f"/unit/mlp.0:0/sentence?explanation={'x' * 1001}", 400, "1,001 characters are too many"),
    ("/random?q=zebra", 404, "no unit of this run fits"),
    ("/go", 404, "is no unit"),
    ("/go?unit=..%2F..%2Fetc", 404, "is no unit"),
    (f"/go?unit=3:{'9' * 5000}", 404, "is no unit"),
    ("/go?unit=//evil.example", 404, "is no unit"),
    ("/go?unit=0:0&page=1", 400, "page: no such parameter here"),
]


@pytest.mark.parametrize(("address", "status", "said"), BAD, ids=[address[:50] for address, _, _ in BAD])
def test_a_bad_address_is_answered_by_one_line_and_the_next_good_one_by_its_page(
    client: TestClient, address: str, status: int, said: str
) -> None:
    answer = client.get(address)
    assert answer.status_code == status
    assert said in read_trouble(answer)
    assert client.get("/unit/mlp.0:0").status_code == 200


# runs that are not as they should be ----------------------------------------------------------------------------------


def write_schema(folder: Path, versions: int, name: str = "") -> Path:
    """A store with so many of the schema's files and no rows; `name` stands for a file of a later version."""
    folder.mkdir()
    with connect(folder / FILE_NAME, read_only=False) as store:
        store.connection.execute(query_text("create_schema_versions"))
        for version, file in schema_files()[:versions]:
            store.connection.execute(file.read_text(encoding="utf-8"))
            store.connection.execute(query_text("add_schema_version"), {"version": version, "name": file.name})
        if name:
            store.connection.execute(query_text("add_schema_version"), {"version": 9999, "name": name})
    return folder


def write_garbage(folder: Path) -> Path:
    folder.mkdir()
    (folder / FILE_NAME).write_bytes(b"not a store" * 999)
    return folder


@pytest.mark.parametrize("address", ["/", "/unit/mlp.0:0", "/unit/mlp.0:0/sentence", "/about", "/random"])
def test_runs_that_cannot_be_shown_say_why(tmp_path: Path, address: str) -> None:
    (tmp_path / "folder").mkdir()
    n = len(schema_files())
    for folder, said in (
        (write_schema(tmp_path / "empty", n), "captur"),
        (write_schema(tmp_path / "old", 1), "captur"),
        (write_schema(tmp_path / "new", n, "9999_later.sql"), "written by a newer version of localexplain"),
        (write_garbage(tmp_path / "garbage"), "cannot be opened as a run"),
        (tmp_path / "folder", "not a run folder, it holds no run.duckdb"),
        (tmp_path / "missing", "not a run folder, it holds no run.duckdb"),
    ):
        with viewing(folder) as client:
            assert said in read_trouble(client.get(address))
            assert client.get("/static/viewer.js").status_code == 200


def test_a_run_that_is_captured_alone_is_shown_as_far_as_it_is(tmp_path: Path) -> None:
    with viewing(write_small_store(tmp_path / "run", with_results=False)) as client:
        start = read_page(client.get("/"))
        assert "Nothing is scored yet" in "".join(start.of("main"))
        assert start.of("p", "found") == ["5 units"]
        unit = read_page(client.get("/unit/mlp.0:0"))
        assert len(unit.of("figcaption", "where")) == 4
        assert "This unit is not explained." in " ".join(unit.of("section", "explanations")).replace("\n", "")
        assert read_page(client.get("/unit/mlp.0:0/sentence")).of("textarea", "explanation") == [""]
        assert client.get("/about").status_code == 200
        assert "series=2: this run has 0" in read_trouble(client.get("/?series=2"))


def test_a_run_that_is_emptied_and_comes_back_is_followed(small: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small, tmp_path / "run"))
    with viewing(folder) as client:
        assert client.get("/").status_code == 200
        for path in folder.iterdir():
            path.unlink()
        end = time.monotonic() + 30
        while (answer := client.get("/")).status_code == 200:  # it looks again every two seconds
            assert time.monotonic() < end
            time.sleep(0.1)
        assert "not a run folder, it holds no run.duckdb" in read_trouble(answer)
        shutil.copy(small / FILE_NAME, folder)
        assert client.get("/unit/mlp.0:0").status_code == 200
