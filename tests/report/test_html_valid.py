"""The page of fifty units: valid to a strict parser, as small as it was said to be, and whole in itself.

The run is a made-up one of two series, whose explanations and tokens hold markup on purpose.
"""

import re
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import html5lib
import pytest

from eval.bench.synthetic_store import make_store
from localexplain.report.html import Choice, estimate_bytes, make_report
from localexplain.report.reading import Overview, read_overview
from localexplain.store.store import open_for_reading

FIFTY = Choice(best=20, worst=20, random=10)
N_SECOND = 8  # every 16th of 120 units has an explanation by the second explainer
LARGEST_BYTES = 5 * 10**6
FORECAST_MAY_ERR = 0.25
XHTML = "{http://www.w3.org/1999/xhtml}"
KEPT_BY_BROWSER = ("href", "src", "srcset", "action", "poster", "data")  # attributes that lead somewhere


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Report:
    overview: Overview
    data: bytes
    tree: ET.Element

    def attributes(self, *names: str) -> list[str]:
        return [element.get(name) for element in self.tree.iter() for name in names if element.get(name) is not None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fifty") / "run"
    make_store(path, 2, 60, records_per_unit=22, seed=1)
    return path


@pytest.fixture(scope="module")
def report(folder: Path) -> Report:
    with open_for_reading(folder) as store:
        overview, data = read_overview(store), make_report(store, FIFTY)
    # `strict` raises at the first thing that the standard calls a parse error
    return Report(overview=overview, data=data, tree=html5lib.HTMLParser(strict=True).parse(data.decode("utf-8")))


def test_the_parser_is_strict() -> None:
    for fault in ("<p><b>x</p>", "<p id=a id=b>x</p>", "<table><p>x</p></table>", "a &bogus; b"):
        with pytest.raises(html5lib.html5parser.ParseError):
            html5lib.HTMLParser(strict=True).parse(f"<!DOCTYPE html><title>t</title>{fault}")


def test_fifty_units_of_the_first_series_are_there_and_all_of_the_second(report: Report) -> None:
    cards = [name for name in report.attributes("id") if re.search(r"-mlp\.\d+:\d+$", name)]
    assert Counter(name.partition("-mlp")[0] for name in cards if name.startswith("series-1")) == {
        "series-1-best": 20,
        "series-1-worst": 20,
        "series-1-random": 10,
    }
    assert sum(name.startswith("series-2") for name in cards) == N_SECOND
    assert len(cards) == 50 + N_SECOND


def test_ids_are_unique_and_links_lead_to_them(report: Report) -> None:
    ids = report.attributes("id")
    assert len(ids) == len(set(ids)) > 50
    targets = report.attributes("href", "aria-labelledby", "aria-describedby", "for")
    assert {target.removeprefix("#") for target in targets} <= set(ids)
    assert report.attributes(*KEPT_BY_BROWSER[1:]) == []


def test_texts_became_no_elements(report: Report) -> None:
    names = {element.tag for element in report.tree.iter() if isinstance(element.tag, str)}
    assert names.isdisjoint({f"{XHTML}{name}" for name in ("script", "img", "iframe", "link", "object", "form")})
    assert "<script>alert(1)</script>" in "".join(report.tree.itertext())


def test_size_is_small_and_as_forecast(report: Report) -> None:
    assert len(report.data) < LARGEST_BYTES
    assert estimate_bytes(report.overview, FIFTY) == pytest.approx(len(report.data), rel=FORECAST_MAY_ERR)


def test_a_series_is_forecast_to_show_no_more_units_than_it_has(report: Report) -> None:
    """The forecast once counted all captured units for every series, also where few of them were explained."""
    first, second = report.overview.series
    assert (first.n_units, second.n_units) == (120, N_SECOND)
    alone = replace(report.overview, series=(second,))
    assert estimate_bytes(alone, FIFTY) == estimate_bytes(alone, Choice(best=N_SECOND, worst=0, random=0))
    listed = Choice(best=N_SECOND, worst=0, random=0, listed=("mlp.0:1",))
    assert estimate_bytes(alone, listed) > estimate_bytes(alone, FIFTY)


@pytest.mark.parametrize("choice", [Choice(best=0, worst=0, random=0), Choice(best=3, worst=2, random=0)])
def test_fewer_units_are_forecast_too(folder: Path, report: Report, choice: Choice) -> None:
    with open_for_reading(folder) as store:
        size = len(make_report(store, choice))
    assert estimate_bytes(report.overview, choice) == pytest.approx(size, rel=FORECAST_MAY_ERR)
