"""Who may ask: the machine itself, under its own name; others only with the token. Nothing is let out, nothing in.

A page of another site can make a browser send requests to this server. It cannot read the answers, but a name of its
own that resolves to this machine would let it: so the Host header must be one that this server is known by, and a
request that says it comes from another site is refused.
"""

import hmac
import secrets
from collections.abc import Collection
from dataclasses import dataclass, field
from urllib.parse import urlencode

from starlette.datastructures import Headers, QueryParams
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost", "::1")
TOKEN_BYTES = 24
COOKIE = "localexplain_token"
SAME_SITE = ("same-origin", "none")  # "none": typed, or from a bookmark
METHODS = ("GET", "HEAD")
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


def is_loopback(host: str) -> bool:
    return host in LOOPBACK


def make_token() -> str:
    return secrets.token_urlsafe(TOKEN_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Where the server listens, and what it asks for.

    names  hosts, without port, that requests may call it by; None is any, for a server on all addresses of a machine:
           the token guards it there, and a browser keeps the cookie from a page under another name
    token  None: not asked for, on loopback alone
    """

    port: int
    names: Collection[str] | None = LOOPBACK
    token: str | None = field(default=None, repr=False)


def split_host(text: str) -> tuple[str, str]:
    """(name, port) of a Host header; the port "" where there is none.

    >>> split_host("localhost:8000"), split_host("[::1]:8000"), split_host("[::1]"), split_host("box")
    (('localhost', '8000'), ('::1', '8000'), ('::1', ''), ('box', ''))
    """
    name, closing, rest = text.rpartition("]")
    if closing:
        return name.removeprefix("["), rest.removeprefix(":")
    name, _, port = text.partition(":")
    return name, port


def is_known(name: str, access: Access) -> bool:
    if access.names is None:
        return bool(name) and access.token is not None
    return name in access.names


def refuse(headers: Headers, access: Access) -> str | None:
    """Why a request with these headers is refused, or None."""
    name, port = split_host(headers.get("host", ""))
    if not is_known(name.lower(), access) or port not in ("", str(access.port)):
        return "this server is not known by that name"
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2] != headers.get("host"):
        return "a page of another site may not ask"
    if headers.get("sec-fetch-site", "none") not in SAME_SITE:
        return "a page of another site may not ask"
    return None


def given_token(headers: Headers) -> str:
    """The token of a request's header or cookie, "" where it has none. Other servers on the same machine set cookies
    too, and some of theirs are malformed."""
    kind, _, bearer = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return bearer.strip()
    return cookie_parser(headers.get("cookie", "")).get(COOKIE, "")


def is_token(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())


def address_without_token(path: str, parameters: QueryParams) -> str:
    """The same page and state; always of this server, for "//name" would be another's.

    >>> address_without_token("/unit/mlp.3:1", QueryParams("token=secret&show=2"))
    '/unit/mlp.3:1?show=2'
    """
    rest = urlencode([(name, value) for name, value in parameters.multi_items() if name != "token"])
    return "/" + path.lstrip("/\\") + (f"?{rest}" if rest else "")


class Guard:
    """The outermost layer of the application: refuses, or lets through with headers that keep a page to itself."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", []), *own]}
            await send(message)

        answer = self._answer(scope)
        if answer is None:
            await self._app(scope, receive, send_guarded)
        else:
            await answer(scope, receive, send_guarded)

    def _answer(self, scope: Scope) -> Response | None:
        """A refusal, or the cookie for a token given in the address; None to let the request through."""
        headers = Headers(scope=scope)
        if scope["method"] not in METHODS:
            return PlainTextResponse("only GET and HEAD are known here", 405, headers={"allow": ", ".join(METHODS)})
        if why := refuse(headers, self._access):
            return PlainTextResponse(why, 403)
        wanted = self._access.token
        if wanted is None:
            return None
        parameters = QueryParams(scope["query_string"])
        if not is_token(parameters.get("token", ""), wanted):
            if is_token(given_token(headers), wanted):
                return None
            return PlainTextResponse("a token is needed: open the address that `localexplain view` printed", 401)
        response = RedirectResponse(address_without_token(scope["path"], parameters), 303)
        response.set_cookie(COOKIE, wanted, httponly=True, samesite="strict")
        return response
