"""The pictures of the viewer in docs: the start page, a unit, a sentence of one's own, and a unit on a phone.

    python eval/figures/screenshots.py RUN docs

RUN has to have scores and its own models. The browser is `chromium` on the PATH, or LOCALEXPLAIN_BROWSER.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

from playwright.sync_api import Browser, sync_playwright

DESKTOP = {"width": 1100, "height": 900}
TALL = {"width": 1100, "height": 1320}  # explanation and first heat maps in one picture
PHONE = {"width": 380, "height": 800}
LONGEST_MS = 300_000  # the first sentence loads two models
TEXT = "It was very late, the fire was not very warm, and a very small boat still lay at the edge of the river."


@contextmanager
def serve(run: Path) -> Iterator[str]:
    """The address of the run's viewer, in a process of its own."""
    command = [sys.executable, "-m", "localexplain.cli", "view", str(run), "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        found = re.search(r"http://[^/]+", line)
        if found is None:
            sys.exit(line.strip())
        yield found[0]
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def take(browser: Browser, address: str, path: Path, size: dict[str, int], scheme: str) -> None:
    """One picture of what is seen first at the address."""
    context = browser.new_context(viewport=size, color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(LONGEST_MS)
    page.goto(address)
    page.screenshot(path=path)
    context.close()


def find_best(browser: Browser, site: str) -> tuple[str, str]:
    """The best explained unit, as the start page lists it, and its explanation."""
    page = browser.new_page()
    page.set_default_timeout(LONGEST_MS)
    page.goto(site)
    row = page.locator("table.list tbody tr").first
    found = row.locator("th").inner_text(), row.locator("td").nth(1).inner_text()
    page.close()
    return found


def main() -> None:
    run, folder = map(Path, sys.argv[1:3])
    browser_path = os.environ.get("LOCALEXPLAIN_BROWSER") or shutil.which("chromium")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium's own refuses to start for root
    with serve(run) as site, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=browser_path, args=arguments)
        unit, explanation = find_best(browser, site)
        tried = urlencode({"text": TEXT, "explanation": explanation})
        for name, address, size, scheme in (
            ("start", f"{site}/", DESKTOP, "light"),
            ("unit", f"{site}/unit/{unit}", TALL, "light"),
            ("sentence", f"{site}/unit/{unit}/sentence?{tried}", DESKTOP, "light"),
            ("phone", f"{site}/unit/{unit}#records", PHONE, "dark"),
        ):
            take(browser, address, folder / f"viewer-{name}.png", size, scheme)
        browser.close()


if __name__ == "__main__":
    main()
