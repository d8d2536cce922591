"""What stands before every request: who may ask, and what a browser may do with the answer.

A page of another site, opened in a browser on this machine, can send requests to 127.0.0.1. It
cannot choose the headers `Host`, `Origin` and `Sec-Fetch-Site`, nor send a header of its own
without being asked for leave, which is never given. A name of another site that leads to 127.0.0.1
(DNS rebinding) stands in `Host`, which is therefore checked first.
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
from collections.abc import Collection
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from soundsearch.serve.http_errors import RequestError, error_response

SAFE_METHODS = frozenset({"GET", "HEAD"})
#: A header that only scripts of our own page send.
OWN_HEADER = "X-Soundsearch"
COOKIE = "soundsearch"
#: Headers of every response.
HEADERS = {
    "content-security-policy": (
        "default-src 'self'; media-src 'self' blob:; img-src 'self' data:; object-src 'none'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
}


@dataclass(frozen=True)
class Access:
    """Who may ask.

    Attributes:
        names: Host names that are served, in small letters, beside the address that a request
            came to.
        is_loopback: Whether only this machine can send requests.
        token: What every request must bring; None for no token.
    """

    names: Collection[str] = ()
    is_loopback: bool = True
    token: str | None = None

    @classmethod
    def of(cls, host: str, names: Collection[str] = (), token: str | None = None) -> Access:
        """Return who may ask a server that listens at this address.

        Args:
            host: An address, or a name of this machine.
            names: Other names by which browsers find it.
            token: Needed unless the address is of this machine alone.
        """
        is_own = is_loopback(host)
        served = {"localhost", host, *names} if is_own else {host, socket.gethostname(), *names}
        return cls(frozenset(name.lower() for name in served), is_own, token)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class Guard:
    """Lets requests through to an app, or refuses them.

    Args:
        app: What answers.
        access: Who may ask.
        most_bytes: The largest body of a request.
    """

    def __init__(self, app: ASGIApp, access: Access, most_bytes: int) -> None:
        self._app = app
        self._access = access
        self._most_bytes = most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        n_bytes = 0

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        async def receive_some() -> Message:
            nonlocal n_bytes
            message = await receive()
            n_bytes += len(message.get("body", b""))
            if n_bytes > self._most_bytes:
                raise RequestError(413, self._too_large)
            return message

        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, send_with_headers)
        else:
            await self._app(scope, receive_some, send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        """The response to a request that is refused, or that only brings the token."""
        headers, method = Headers(scope=scope), scope["method"]
        host = headers.get("host", "")
        if not self._serves(host, scope):
            return error_response(
                421,
                f"host {host!r}: not served here, expected {self._expected(scope)}; "
                "name others with --name",
            )
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
        own = f"{scope['scheme']}://{host}"
        ours = {f"{scheme}://{host}".lower() for scheme in ("http", "https")}  # a proxy may encrypt
        if origin is not None and origin.lower() not in ours:
            return error_response(403, f"origin {origin!r}: another page, expected {own}")
        is_visit = method in SAFE_METHODS and headers.get("sec-fetch-mode") == "navigate"
        if site not in ("none", "same-origin") and not (is_visit and scope["path"] == "/"):
            return error_response(403, f"a request of another site ({site}); open {own}/ instead")
        refusal = self._without_token(scope, headers)
        if refusal is not None:
            return refusal
        if method not in SAFE_METHODS and (origin is None or headers.get(OWN_HEADER) != "1"):
            return error_response(
                403, f"{method} needs the headers Origin: {own} and {OWN_HEADER}: 1; send both"
            )
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()) or int(length) > self._most_bytes:
            return error_response(413, self._too_large)
        return None

    def _serves(self, host: str, scope: Scope) -> bool:
        """Whether a Host header names this server: by a name of it, or the address it came to."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
            if "@" in host or not name:
                return False
        except ValueError:
            return False
        if name in self._access.names:
            return True
        try:
            address = ipaddress.ip_address(name)
            return address == ipaddress.ip_address(scope["server"][0])
        except (ValueError, TypeError, KeyError):
            return False

    def _expected(self, scope: Scope) -> str:
        return " or ".join(sorted({*self._access.names, str((scope.get("server") or [""])[0])}))

    def _without_token(self, scope: Scope, headers: Headers) -> Response | None:
        token = self._access.token
        if token is None:
            return None
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
        if scope["path"] == "/" and scope["method"] in SAFE_METHODS and given:
            if _is_same(given[0], token):
                response = RedirectResponse("/", 303)
                response.set_cookie(COOKIE, token, path="/", httponly=True, samesite="strict")
                return response
        elif _is_same(_brought(headers), token):
            return None
        text = "a token is needed; open the address that the server printed when it started"
        if scope["path"].startswith("/api/"):
            return error_response(401, f"{text}, or send Authorization: Bearer TOKEN")
        return PlainTextResponse(f"{text}\n", 401)

    @property
    def _too_large(self) -> str:
        return (
            f"the body of the request is larger than {self._most_bytes:,} bytes; send less, such as "
            "a part of the recording"
        )


def _brought(headers: Headers) -> str:
    """The token that a request brings; empty if there is none."""
    kind, _, value = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return value.strip()
    try:
        cookies = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return ""
    return cookies[COOKIE].value if COOKIE in cookies else ""


def _is_same(given: str, token: str) -> bool:
    """Whether two tokens are the same, in a time that does not depend on where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())
