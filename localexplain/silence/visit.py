"""Starts `localexplain view` on a run, asks it for pages on loopback as a browser would, and stops it.

    python -m localexplain.silence.visit RUN

The pages: the start, a unit, its neighbours by weight (which loads the subject), and a sentence through subject and
simulator.
"""

import http.client
import signal
import subprocess
import sys
from urllib.parse import urlsplit

OK, SEE_OTHER = 200, 303
PAGES = ("", "/weights", "/sentence?text=The+river+froze+and+the+boats+stayed+in+the+harbour.")
ANSWER_SECONDS = 120.0
ENDING_SECONDS = 30.0


def ask(place: str, path: str, status: int) -> http.client.HTTPResponse:
    """Raises RuntimeError where the answer has another status."""
    connection = http.client.HTTPConnection(place, timeout=ANSWER_SECONDS)
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    if answer.status != status:
        raise RuntimeError(f"the viewer answers {path} with {answer.status}")
    return answer


def ask_all(place: str) -> None:
    ask(place, "/", OK)
    unit = urlsplit(ask(place, "/random", SEE_OTHER).headers["Location"]).path
    for page in PAGES:
        ask(place, f"{unit}{page}", OK)


def visit(run: str) -> None:
    """Raises RuntimeError where the viewer does not start, or a page is not answered as it should."""
    command = [sys.executable, "-m", "localexplain.cli", "view", run, "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            line = server.stderr.readline()
            places = [urlsplit(word).netloc for word in line.split() if word.startswith("http://")]
            if not places:
                raise RuntimeError(line.strip() or "the viewer ended at once")
            ask_all(places[0])
        finally:
            server.send_signal(signal.SIGINT)
            try:
                server.wait(ENDING_SECONDS)
            except subprocess.TimeoutExpired:
                server.kill()


if __name__ == "__main__":
    visit(sys.argv[1])
