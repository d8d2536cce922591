"""The server: a socket, an app and uvicorn, from start to Ctrl-C."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Callable, Sequence
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from soundsearch.errors import SoundsearchError
from soundsearch.search.index import Index
from soundsearch.serve.app import make_app
from soundsearch.serve.safety import Access, is_loopback
from soundsearch.serve.state import Limits, Served

#: Connections at a time; more are refused with 503.
MOST_CONNECTIONS = 256
#: Responses that are on their way get so many seconds when the server is stopped.
GRACE_S = 2
#: A connection is closed after so many seconds without a request, or with a part of one.
IDLE_S = 30
#: All addresses of a machine.
ANY = ("0.0.0.0", "::")


class _Connection(H11Protocol):
    """Gives a client as long for the head of its request as an idle connection has."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def data_received(self, data: bytes) -> None:
        self.conn.receive_data(data)
        self.handle_events()  # the end of the head stops the clock


class PageServer(uvicorn.Server):
    """Serves the page and the API over an index.

    Attributes:
        address: What to open in a browser, with the token if there is one.
    """

    def __init__(
        self,
        index: Index,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        names: Sequence[str] = (),
        limits: Limits | None = None,
        started: Callable[[], object] = lambda: None,
    ) -> None:
        """Listen; `run` answers.

        Args:
            index: Opened; it is closed at the end.
            host: Address to listen at. Another one than of this machine alone needs a token, which
                is made.
            port: 0 for any that is free.
            names: Other names by which browsers find this machine.
            limits: Bounds of what one request may cost.
            started: Is called once the address can be opened.

        Raises:
            SoundsearchError: The address cannot be listened at.
        """
        self._socket = _listen(host, port)
        token = None if is_loopback(host) else secrets.token_urlsafe(32)
        access = Access.of(host, names, token)
        self.address = _address(host, self._socket.getsockname()[1], token)
        self._started = started
        self._served = Served(index, limits or Limits(), is_local=access.is_loopback)
        super().__init__(
            uvicorn.Config(
                make_app(self._served, access),
                http=_Connection,
                ws="none",
                lifespan="on",
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=MOST_CONNECTIONS,
                timeout_keep_alive=IDLE_S,
                timeout_graceful_shutdown=GRACE_S,
            )
        )

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer until Ctrl-C, which is raised again, or until `should_exit` is set."""
        with self._socket:
            super().run([self._socket])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start."""
        await super().startup(sockets)
        self._started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop: first what would go on for ever."""
        self._served.stop()
        await super().shutdown(sockets)


def _address(host: str, port: int, token: str | None) -> str:
    name = socket.gethostname() if host in ANY else host
    name = f"[{name}]" if ":" in name else name
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
