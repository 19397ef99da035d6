"""Who is let in: the machine under its own name, others with the token, and never a page of another site."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from localexplain.errors import UserError
from localexplain.store.store import open_for_writing
from localexplain.viewer.app import make_app
from localexplain.viewer.desk import Desk
from localexplain.viewer.guard import COOKIE, HEADERS, Access, make_token
from localexplain.viewer.serve import choose_token, open_socket
from tests.report.small_store import insert, write_small_store

PORT = 8000
TOKEN = "sea-salt-and-harbour-lantern"
HOME = f"http://127.0.0.1:{PORT}"
ABOUT = "/about"
# An address, and the status it has for who is let in: pages, errors, files, what leads elsewhere.
ADDRESSES = {
    "/": 200,
    "/about": 200,
    "/unit/mlp.0:0": 200,
    "/unit/mlp.0:0/sentence": 200,
    "/unit/mlp.9:9": 400,
    "/unit/mlp.0:0/weights": 400,  # its subject is not at hand
    "/?page=9": 400,
    "/?nonsense=1": 400,
    "/random": 303,
    "/go?unit=0:0": 303,
    "/go?unit=sea": 404,
    "/nowhere": 404,
    "/static/viewer.js": 200,
    "/static/viewer.css": 200,
    "/static/style.css": 200,
    "/static/none.js": 404,
}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    found = Desk(write_small_store(tmp_path_factory.mktemp("guard") / "run"))
    yield found
    found.close()


def client_of(desk: Desk, access: Access) -> TestClient:
    """A client that shows what a server would send, follows nothing and has no cookies yet."""
    app = make_app(desk, access)
    return TestClient(app, base_url=HOME, follow_redirects=False, raise_server_exceptions=False)


@pytest.fixture(scope="module")
def client(desk: Desk) -> Iterator[TestClient]:
    with client_of(desk, Access(port=PORT)) as found:
        yield found


@pytest.fixture(scope="module")
def shut_server(desk: Desk) -> Iterator[TestClient]:
    with client_of(desk, Access(port=PORT, names=("127.0.0.1", "box.example"), token=TOKEN)) as found:
        yield found


@pytest.fixture
def shut(shut_server: TestClient) -> TestClient:
    """Of a server that asks for the token; a browser that has not been there yet."""
    shut_server.cookies.clear()
    shut_server.follow_redirects = False
    return shut_server


def is_refusal(answer: Response, status: int) -> bool:
    """Whether nothing of the run is in the answer: one plain line."""
    kind = answer.headers["content-type"]
    lines = answer.text.splitlines()
    return answer.status_code == status and kind.startswith("text/plain") and len(lines) == 1 and "toy" not in lines[0]


# where it was sent to -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8000", "localhost:8000", "LocalHost:8000", "[::1]:8000", "127.0.0.1", "localhost", "[::1]"]
)
def test_the_machines_own_names_are_let_in(client: TestClient, host: str) -> None:
    assert client.get(ABOUT, headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:8000",
        "evil.example",
        "127.0.0.1.evil.example:8000",
        "localhost.evil.example",
        "evil-localhost:8000",
        "localhost@evil.example:8000",
        "evil.example]localhost:8000",
        "127.0.0.2:8000",
        "127.1:8000",
        "0.0.0.0:8000",
        "127.0.0.1:8001",
        "127.0.0.1:80",
        "127.0.0.1:08000",
        "127.0.0.1:8000:8000",
        "127.0.0.1:8000, evil.example",
        "localhost.:8000",
        " localhost:8000x",
        "::1",
        "::1:8000",
        "[::1]:8001",
        "[::2]:8000",
        "[::ffff:127.0.0.1]:8000",
        "[::1",
        "",
        ":8000",
    ],
)
def test_another_name_or_port_is_refused(client: TestClient, host: str) -> None:
    assert is_refusal(client.get(ABOUT, headers={"host": host}), 403)


async def ask_without_host(app: object) -> int:
    """The status of a request that has no Host header at all, as HTTP/1.0 allows."""
    seen: list[int] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, object]) -> None:
        if message["type"] == "http.response.start":
            status = message["status"]
            assert isinstance(status, int)
            seen.append(status)

    scope = {"type": "http", "method": "GET", "path": ABOUT, "query_string": b"", "headers": []}
    await app(scope, receive, send)  # type: ignore[operator]
    return seen[0]


def test_a_request_that_names_no_host_is_refused(desk: Desk) -> None:
    import anyio

    assert anyio.run(ask_without_host, make_app(desk, Access(port=PORT))) == 403


def test_a_server_on_another_address_is_known_by_that_too(shut: TestClient) -> None:
    sent = {"authorization": f"Bearer {TOKEN}"}
    assert shut.get(ABOUT, headers=sent | {"host": "box.example:8000"}).status_code == 200
    assert is_refusal(shut.get(ABOUT, headers=sent | {"host": "other.example:8000"}), 403)


# where it comes from --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("origin", [HOME, f"https://127.0.0.1:{PORT}"])
def test_the_servers_own_pages_may_ask(client: TestClient, origin: str) -> None:
    assert client.get(ABOUT, headers={"origin": origin}).status_code == 200


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "http://127.0.0.1",
        "http://127.0.0.1:8001",
        "http://localhost:8000",  # not the name it was called by here
        "http://127.0.0.1:8000.evil.example",
        "null",
        "",
        "127.0.0.1:8000",
        "file://",
    ],
)
def test_a_page_of_another_origin_may_not(client: TestClient, origin: str) -> None:
    assert is_refusal(client.get(ABOUT, headers={"origin": origin}), 403)


@pytest.mark.parametrize(
    ("site", "status"), [("same-origin", 200), ("none", 200), ("cross-site", 403), ("same-site", 403)]
)
def test_a_browser_that_says_where_it_comes_from_is_believed(client: TestClient, site: str, status: int) -> None:
    """ "same-site" is another port of this machine: another server's page."""
    assert client.get(ABOUT, headers={"sec-fetch-site": site}).status_code == status


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_page_of_another_site_gets_nothing_whatever_it_asks(client: TestClient, address: str) -> None:
    for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "http://evil.example"}, {"host": "evil.example:8000"}):
        assert is_refusal(client.get(address, headers=headers), 403)


# what it does ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get"])
@pytest.mark.parametrize("address", ["/", "/static/viewer.js", "/nowhere"])
def test_nothing_but_reading_is_known(client: TestClient, method: str, address: str) -> None:
    scope_method = client.build_request(method, address).method
    answer = client.request(method, address)
    if scope_method == "GET":  # the client wrote it as it is written
        assert answer.status_code == ADDRESSES.get(address, 404)
        return
    assert is_refusal(answer, 405)
    assert answer.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize(("address", "status"), ADDRESSES.items())
def test_head_answers_as_get_does_without_the_page(client: TestClient, address: str, status: int) -> None:
    assert client.head(address).status_code == status
    assert client.get(address).status_code == status


# with a token ---------------------------------------------------------------------------------------------------------


WRONG = ["", "x", TOKEN[:-1], f"{TOKEN}x", TOKEN.upper(), "\u00e9" * 9, "\u65e5\u672c"]


@pytest.mark.parametrize("address", ADDRESSES)
def test_without_the_token_nothing_is_told(shut: TestClient, address: str) -> None:
    answer = shut.get(address)
    assert is_refusal(answer, 401)
    assert "set-cookie" not in answer.headers
    assert TOKEN not in answer.text


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_token_is_none(shut: TestClient, wrong: str) -> None:
    said = wrong.encode()
    assert is_refusal(shut.get(ABOUT, params={"token": wrong}), 401)
    assert is_refusal(shut.get(ABOUT, headers={"authorization": b"Bearer " + said}), 401)
    assert is_refusal(shut.get(ABOUT, headers={"cookie": f"{COOKIE}=".encode() + said}), 401)
    assert is_refusal(shut.get(ABOUT, headers={"authorization": f"Basic {TOKEN}"}), 401)


@pytest.mark.parametrize("header", [f"Bearer {TOKEN}", f"bearer {TOKEN}", f"BEARER   {TOKEN} "])
def test_the_token_in_a_header_is_enough(shut: TestClient, header: str) -> None:
    answer = shut.get(ABOUT, headers={"authorization": header})
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "before", ["", "other=1; ", 'json={"a":[1,2]}; ', "a/b=1; ", "b c; ", "\u00e9=\u00e9; ", "[x]=1; ", ";;=; "]
)
def test_the_cookie_is_found_among_those_of_other_servers(shut: TestClient, before: str) -> None:
    """A browser sends a machine's cookies to all of its ports: a malformed one of another server was the end of ours,
    as an error or as no token at all."""
    cookies = f"{before}{COOKIE}={TOKEN}; last=1".encode()
    assert shut.get(ABOUT, headers={"cookie": cookies}).status_code == 200


@pytest.mark.parametrize(
    ("address", "target"),
    [
        (f"/?token={TOKEN}", "/"),
        (f"/unit/mlp.0:0?token={TOKEN}", "/unit/mlp.0:0"),
        (f"/?q=sea+%26+salt&token={TOKEN}&page=2", "/?q=sea+%26+salt&page=2"),
        (f"//evil.example/?token={TOKEN}", "/evil.example/"),
        (f"/%5Cevil.example?token={TOKEN}", "/evil.example"),
    ],
)
def test_an_address_with_the_token_becomes_a_cookie_and_one_without(
    shut: TestClient, address: str, target: str
) -> None:
    """It stands in no history and no link then. What else the address says stays, and it stays on this server."""
    answer = shut.get(f"{HOME}{address}")
    assert answer.status_code == 303
    assert answer.headers["location"] == target
    cookie = answer.headers["set-cookie"].lower()
    assert cookie.startswith(f"{COOKIE}={TOKEN};")
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "domain" not in cookie
    assert TOKEN not in answer.text


def test_with_the_cookie_pages_open_and_the_printed_address_opens_again(shut: TestClient) -> None:
    shut.follow_redirects = True
    assert is_refusal(shut.get(ABOUT), 401)
    for _ in range(2):  # whoever has the cookie and opens what was printed again was told of an unknown parameter
        answer = shut.get("/", params={"token": TOKEN})
        assert answer.status_code == 200
        assert str(answer.url) == f"{HOME}/"
        assert TOKEN not in answer.text
    assert shut.get(ABOUT).status_code == 200
    shut.cookies.clear()
    assert is_refusal(shut.get(ABOUT), 401)


def test_the_token_opens_nothing_to_another_site(shut: TestClient) -> None:
    sent = {"authorization": f"Bearer {TOKEN}"}
    assert is_refusal(shut.get(ABOUT, headers=sent | {"origin": "http://evil.example"}), 403)
    assert is_refusal(shut.get(f"{ABOUT}?token={TOKEN}", headers={"sec-fetch-site": "cross-site"}), 403)
    assert TOKEN not in repr(Access(port=PORT, token=TOKEN))


# what every answer carries --------------------------------------------------------------------------------------------


def keeps_to_itself(answer: Response) -> bool:
    return all(answer.headers.get_list(name) == [value] for name, value in HEADERS.items())


@pytest.mark.parametrize(("address", "status"), ADDRESSES.items())
def test_every_answer_keeps_a_page_to_itself(client: TestClient, shut: TestClient, address: str, status: int) -> None:
    answer = client.get(address)
    assert answer.status_code == status
    refusals = [client.get(address, headers={"host": "evil"}), client.post(address), shut.get(address)]
    assert all(map(keeps_to_itself, [answer, *refusals, shut.get(address, params={"token": TOKEN})]))


def test_the_policy_lets_in_nothing_from_elsewhere_and_no_script_in_a_page() -> None:
    policy = dict(part.split(" ", 1) for part in HEADERS["content-security-policy"].split("; "))
    assert policy.pop("default-src") == "'none'"
    assert policy.pop("img-src") == "'self' data:"
    assert {policy.pop(name) for name in ("frame-ancestors", "base-uri")} == {"'none'"}
    assert set(policy.values()) == {"'self'"}
    assert policy["script-src"] == policy["style-src"] == "'self'"


def test_the_answer_to_our_own_bug_carries_it_too(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A run whose tables hold what they never should. Whoever runs the server sees what happened, a page does not."""
    folder = write_small_store(tmp_path / "run", with_results=False)
    with open_for_writing(folder) as store:
        insert(store, "models", [{"model_key": "odd", "kind": "rule", "name": "odd", "details": "not JSON"}])
    desk = Desk(folder)
    answer = client_of(desk, Access(port=PORT)).get(ABOUT)
    desk.close()
    assert answer.status_code == 500
    assert keeps_to_itself(answer)
    assert "Traceback" not in answer.text
    assert "JSONDecodeError" in capfd.readouterr().err


# starting it ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_on_loopback_no_token_is_asked_for_unless_wanted(host: str) -> None:
    assert choose_token(host, None) is None
    assert choose_token(host, TOKEN) == TOKEN


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "127.0.0.2", "box.example", ""])
def test_elsewhere_there_is_none_without_a_token(host: str) -> None:
    with pytest.raises(UserError, match="others could read the run; give --token new"):
        choose_token(host, None)
    assert choose_token(host, TOKEN) == TOKEN


def test_new_tokens_are_long_and_never_the_same() -> None:
    found = {make_token() for _ in range(50)} | {choose_token("0.0.0.0", "new") or "" for _ in range(50)}
    assert len(found) == 100
    # 24 bytes in base 64: 32 characters, all of which an address and a cookie carry as they are.
    assert {len(token) for token in found} == {32}
    assert all(choose_token("::", token) == token for token in found)


@pytest.mark.parametrize(
    "token", ["", "short", "x" * 15, "x" * 16 + "é", "x" * 16 + " ", "x" * 16 + ";", "x" * 16 + "\n"]
)
def test_a_token_that_is_short_or_no_cookie_carries_is_refused(token: str) -> None:
    with pytest.raises(UserError, match="--token: give at least 16 letters and digits, or new") as raised:
        choose_token("127.0.0.1", token)
    assert not token or len(token) < 9 or token not in str(raised.value)


@pytest.mark.parametrize("port", [-1, 65536, 70000])
def test_a_port_that_there_is_none_of_is_refused(port: int) -> None:
    """The system takes 70000 for 4464, and would listen there."""
    with pytest.raises(UserError, match=f"--port {port}: must be 0, for any that is free, to 65535"):
        open_socket("127.0.0.1", port)


@pytest.mark.parametrize(("host", "port"), [("no such host", 0), ("192.0.2.1", 0), ("x" * 70, 0)])
def test_an_address_that_cannot_be_had_is_refused_in_one_line(host: str, port: int) -> None:
    with pytest.raises(UserError, match=f"--host {host} --port {port}: cannot be listened on") as raised:
        open_socket(host, port)
    assert "\n" not in str(raised.value)


def test_a_port_that_is_taken_is_refused_and_0_is_a_free_one() -> None:
    with open_socket("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        assert port > 0
        with pytest.raises(UserError, match=f"--port {port}: cannot be listened on"):
            open_socket("127.0.0.1", port)
    with open_socket("127.0.0.1", port) as again:
        assert again.getsockname()[1] == port


def test_on_every_address_any_name_will_do_but_only_with_the_token(desk: Desk) -> None:
    """A server on 0.0.0.0 is called by addresses it cannot know; without a token no name would be known."""
    named = {"host": f"192.0.2.7:{PORT}"}
    with client_of(desk, Access(port=PORT, names=None, token=TOKEN)) as found:
        assert found.get(ABOUT, headers=named).status_code == 401
        assert found.get(ABOUT, headers=named | {"authorization": f"Bearer {TOKEN}"}).status_code == 200
        assert found.get(ABOUT, headers={"host": "192.0.2.7:1"}).status_code == 403
        foreign = named | {"authorization": f"Bearer {TOKEN}", "origin": "http://elsewhere.example"}
        assert found.get(ABOUT, headers=foreign).status_code == 403
    with client_of(desk, Access(port=PORT, names=None)) as found:
        assert found.get(ABOUT, headers=named).status_code == 403
