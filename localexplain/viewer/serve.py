"""Runs the viewer's server until Ctrl-C: on loopback, or on another address with a token."""

import socket
from collections.abc import Callable
from pathlib import Path

from localexplain.errors import UserError
from localexplain.viewer.guard import LOOPBACK, Access, is_loopback, make_token

LONGEST_ADDRESS = 64 * 1024  # bytes of a request's head: a text of the reader's own stands in it
SHORTEST_TOKEN = 16  # characters of a token of the user's own
NEW = "new"
EVERY_ADDRESS = ("0.0.0.0", "::")  # where visitors cannot call the server by the name it was given
HIGHEST_PORT = 65535


def open_socket(host: str, port: int) -> socket.socket:
    """A listening socket. Raises UserError: no such address here, or the port is taken."""
    if not 0 <= port <= HIGHEST_PORT:  # getaddrinfo takes 70000 for 4464
        raise UserError(f"--port {port}: must be 0, for any that is free, to {HIGHEST_PORT}")
    found = None
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        found = socket.socket(family, socket.SOCK_STREAM)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen()  # who is told the address may ask at once, and waits
    except (OSError, UnicodeError) as error:
        if found is not None:
            found.close()
        raise UserError(f"--host {host} --port {port}: cannot be listened on ({error}); choose others") from error
    return found


def choose_token(host: str, token: str | None) -> str | None:
    """The token that is asked for, or None. Raises UserError for another address than loopback without one."""
    if token is None:
        if not is_loopback(host):
            raise UserError(f"--host {host}: others could read the run; give --token new, or a secret of your own")
        return None
    if token == NEW:
        return make_token()
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or set(token) & set(' ;,"\\'):
        raise UserError(f"--token: give at least {SHORTEST_TOKEN} letters and digits, or new")
    return token


def serve(folder: Path, *, host: str, port: int, token: str | None, report: Callable[[str], None]) -> None:
    """Serves the run until it is stopped.

    Raises RunError where the folder is no run, UserError for an address that cannot be had.
    """
    import uvicorn

    from localexplain.store.store import FILE_NAME
    from localexplain.viewer.app import make_app
    from localexplain.viewer.desk import Desk

    if not (folder / FILE_NAME).is_file():
        raise UserError(f"{folder}: not a run folder, it holds no {FILE_NAME}; make one with `localexplain run`")
    secret = choose_token(host, token)
    listening = open_socket(host, port)
    port = listening.getsockname()[1]
    names = None if host in EVERY_ADDRESS else {*LOOPBACK, host.lower()}
    desk = Desk(folder)
    access = Access(port=port, names=names, token=secret)
    shown = f"[{host}]" if ":" in host else host
    report(f"{folder}: http://{shown}:{port}/{f'?token={secret}' if secret else ''} (Ctrl-C stops it)")
    settings = uvicorn.Config(
        make_app(desk, access),
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        h11_max_incomplete_event_size=LONGEST_ADDRESS,
        timeout_graceful_shutdown=2,
    )
    try:
        uvicorn.Server(settings).run(sockets=[listening])
    except KeyboardInterrupt:
        pass
    finally:
        listening.close()
        desk.close()
