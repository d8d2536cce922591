"""The server: a socket, an app and uvicorn, from start to Ctrl-C."""

from __future__ import annotations

import secrets
import socket
import threading
import webbrowser
from collections.abc import Callable, Sequence
from typing import Any

import uvicorn

from soundsearch.errors import SoundsearchError
from soundsearch.search.index import Index
from soundsearch.serve.app import make_app
from soundsearch.serve.safety import Access, is_loopback
from soundsearch.serve.state import Limits, Served

#: Connections at a time; more are refused with 503.
MOST_CONNECTIONS = 256
#: Responses that are on their way get so many seconds when the server is stopped.
GRACE_S = 2
#: An idle connection is closed after so many seconds, and one whose request does not arrive.
IDLE_S = 30


class Server(uvicorn.Server):
    """Says when it listens, and ends streams before it waits for responses to end."""

    def __init__(
        self, config: uvicorn.Config, started: Callable[[], None], stopping: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._started, self._stopping = started, stopping

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start."""
        await super().startup(sockets)
        self._started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop."""
        self._stopping()
        await super().shutdown(sockets)


def serve(
    index: Index,
    *,
    host: str,
    port: int,
    names: Sequence[str] = (),
    limits: Limits | None = None,
    say: Callable[[str], None],
    open_browser: bool = False,
) -> None:
    """Serve an index until Ctrl-C.

    Args:
        index: Opened; it is closed at the end.
        host: Address to listen at. Another one than of this machine alone needs a token, which is
            made and is part of the address.
        port: 0 for any that is free.
        names: Other names by which browsers find this machine.
        limits: Bounds of what one request may cost.
        say: Is called with the address to open, once it can be opened.
        open_browser: Whether to open it.

    Raises:
        SoundsearchError: The address cannot be listened at.
    """
    listening = _listen(host, port)
    try:
        token = None if is_loopback(host) else secrets.token_urlsafe(32)
        access = Access.of(host, names, token)
        served = Served(index, limits or Limits(), is_local=access.is_loopback)
        address = address_of(host, listening.getsockname()[1], token)

        def started() -> None:
            say(address)
            if open_browser:
                threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()

        config = uvicorn.Config(
            make_app(served, access),
            log_level="warning",
            access_log=False,
            server_header=False,
            lifespan="on",
            ws="none",
            limit_concurrency=MOST_CONNECTIONS,
            timeout_keep_alive=IDLE_S,
            timeout_graceful_shutdown=GRACE_S,
            proxy_headers=False,
        )
        Server(config, started, served.run.stop_streams).run(sockets=[listening])
    finally:
        listening.close()


def address_of(host: str, port: int, token: str | None) -> str:
    """Return the address to open in a browser."""
    shown = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)
    name = f"[{shown}]" if ":" in shown else shown
    return f"http://{name}:{port}/" + (f"?token={token}" if token else "")


def _listen(host: str, port: int) -> socket.socket:
    try:
        family: Any = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except (OSError, UnicodeError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SoundsearchError(
            f"{host}:{port}: cannot be listened at ({reason.lower()}); give an address of this "
            "machine with --host, and a port that is free with --port (0 takes any)"
        ) from error
