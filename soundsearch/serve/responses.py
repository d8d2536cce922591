"""Opened files as responses, whole or a range of them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from email.utils import formatdate
from typing import BinaryIO
from urllib.parse import quote

from anyio import CancelScope, create_task_group, to_thread
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

BLOCK_BYTES = 256 << 10
#: One range, as players ask for it. Several at once are answered with the whole file.
RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})", re.ASCII)


class OpenedFile(Response):
    """The content of a file that is open already, so that no other one can take its place.

    No thread waits for a slow client: one is taken for each block that is read.
    """

    def __init__(self, file: BinaryIO, media_type: str, headers: Mapping[str, str]) -> None:
        self._file = file
        facts = os.fstat(file.fileno())
        self._n_bytes = facts.st_size
        self._tag = f'"{facts.st_mtime_ns:x}-{facts.st_size:x}"'
        self.status_code, self.media_type, self.background = 200, media_type, None
        self.init_headers(
            {
                "accept-ranges": "bytes",
                "cache-control": "private, no-cache",
                "etag": self._tag,
                "last-modified": formatdate(facts.st_mtime, usegmt=True),
                "content-type": media_type,
                "content-length": str(self._n_bytes),
                **headers,
            }
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, until the client goes away."""
        try:
            async with create_task_group() as tasks:

                async def send_all() -> None:
                    await self._send(scope, send)
                    tasks.cancel_scope.cancel()

                tasks.start_soon(send_all)
                while (await receive())["type"] != "http.disconnect":
                    pass
                tasks.cancel_scope.cancel()
        finally:
            with CancelScope(shield=True):
                await to_thread.run_sync(self._file.close)

    async def _send(self, scope: Scope, send: Send) -> None:
        headers = Headers(scope=scope)
        begin, end = 0, self._n_bytes
        if headers.get("if-none-match") == self._tag:
            self.status_code, begin = 304, end
            del self.headers["content-length"]
        elif headers.get("if-range", self._tag) == self._tag:
            found = _range_of(headers.get("range", ""), self._n_bytes)
            if found is not None:
                begin, end = found
                self.status_code = 206 if begin < end else 416
                of = f"{begin}-{end - 1}" if begin < end else "*"
                self.headers["content-range"] = f"bytes {of}/{self._n_bytes}"
                self.headers["content-length"] = str(end - begin)
        start = {"type": "http.response.start", "status": self.status_code}
        await send({**start, "headers": self.raw_headers})
        if scope["method"] == "HEAD":
            begin = end
        while begin < end:
            block = await to_thread.run_sync(self._block, begin, min(BLOCK_BYTES, end - begin))
            if not block:
                raise OSError("the file became shorter while it was sent")
            begin += len(block)
            await send({"type": "http.response.body", "body": block, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    def _block(self, begin: int, n_bytes: int) -> bytes:
        self._file.seek(begin)
        return self._file.read(n_bytes)


def _range_of(header: str, n_bytes: int) -> tuple[int, int] | None:
    """Where a range begins and ends; an empty one is outside of the file; None for no range."""
    found = RANGE.fullmatch(header.strip())
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        return max(0, n_bytes - int(found[2])), n_bytes
    begin = int(found[1])
    end = min(int(found[2]) + 1, n_bytes) if found[2] else n_bytes
    if found[2] and int(found[2]) < begin:
        return None  # says nothing, by RFC 9110
    return (begin, end) if begin < n_bytes else (0, 0)


def attachment(name: str) -> dict[str, str]:
    """Return the header that makes a browser save a response under a name."""
    clean = name.encode("utf-8", "replace").decode()
    plain = re.sub(r"[^\w .()-]", "_", clean, flags=re.ASCII)
    return {
        "content-disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(clean)}"
    }
