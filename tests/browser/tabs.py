"""A browser's tab that writes down what it asks for and what goes wrong in it; and where the browser is found.

find_browser ──> open_browser ──> Tab ──goto, clicks──> Tab.faults, which have to be none
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Error, Page, Request, Response, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
VARIABLE = "LOCALEXPLAIN_BROWSER"
LONGEST_MS = 120_000  # a page that loads two models on a busy machine
DESKTOP = {"width": 1100, "height": 900}
PHONE = {"width": 380, "height": 800}


def find_browser() -> tuple[Path | None, str]:
    """The browser to drive, or None and why there is none."""
    if given := os.environ.get(VARIABLE):
        path = Path(given)
        return (path, "") if path.is_file() else (None, f"{VARIABLE}={given} is no file")
    for name in NAMES:
        if found := shutil.which(name):
            return Path(found), ""
    return None, f"none of {', '.join(NAMES)} is on the PATH, and {VARIABLE} is not set"


@contextmanager
def open_browser(path: Path) -> Iterator[Browser]:
    """Chromium's own sandbox refuses to start for root."""
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@dataclass
class Tab:
    """requests  every address that was asked for
    faults       errors on the console, errors of the script, requests to somewhere else than `site`
    refusals     statuses of answers from 400 on; the console's line about one is no fault of its own
    """

    page: Page
    site: str
    requests: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    refusals: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(LONGEST_MS)
        self.page.on("request", self._note_request)
        self.page.on("response", self._note_response)
        self.page.on("console", self._note_console)
        self.page.on("pageerror", self._note_error)

    def _note_request(self, request: Request) -> None:
        self.requests.append(request.url)
        if not is_of(request.url, self.site):
            self.faults.append(f"asked for {request.url}")

    def _note_response(self, response: Response) -> None:
        if response.status >= 400:
            self.refusals.append(response.status)

    def _note_console(self, message: ConsoleMessage) -> None:
        if message.type == "error" and "the server responded with a status of" not in message.text:
            self.faults.append(f"on the console: {message.text}")

    def _note_error(self, error: Error) -> None:
        self.faults.append(f"in a script: {error}")

    def visit(self, path: str, status: int = 200) -> Page:
        """The page at `path` of the site, which has to be answered with `status`."""
        answer = self.page.goto(self.site + path)
        assert answer is not None
        assert answer.status == status, path
        if status >= 400:
            self.refusals.remove(status)
        return self.page

    def ask(self, script: str, *arguments: Any) -> Any:
        """What the script comes to in the page."""
        return self.page.evaluate(script, *arguments)


def is_of(address: str, site: str) -> bool:
    """Whether an address is of the same scheme, host and port as the site.

    >>> is_of("http://127.0.0.1:80/a", "http://127.0.0.1:80"), is_of("http://127.0.0.1:81/", "http://127.0.0.1:80")
    (True, False)
    """
    return urlsplit(address)[:2] == urlsplit(site)[:2]
