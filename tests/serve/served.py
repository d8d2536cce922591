"""A server over an index, in this process or in one of its own, and a client that sends what it is given."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import soundsearch
from soundsearch.serve.server import PageServer
from soundsearch.serve.state import Limits


@dataclass
class Answer:
    """A response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The one line of an answer that is an error."""
        facts = self.json
        assert set(facts) == {"schema", "error"}, facts
        line: str = facts["error"]
        assert "\n" not in line
        return line


@dataclass
class Client:
    """Sends requests to one server.

    Attributes:
        address: As the server prints it.
        headers: Sent with each request.
    """

    address: str
    headers: dict[str, str] = field(default_factory=dict)
    timeout_s: float = 120

    @property
    def origin(self) -> str:
        parts = urlsplit(self.address)
        return f"{parts.scheme}://{parts.netloc}"

    def get(self, path: str, headers: Mapping[str, str] | None = None, /, **values: Any) -> Answer:
        """GET with parameters: lists are sent as several."""
        query = f"?{urlencode(values, doseq=True)}" if values else ""
        return self.send("GET", path + query, headers=headers)

    def post(
        self,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        method: str = "POST",
    ) -> Answer:
        """POST as the page does."""
        own = {"Origin": self.origin, "X-Soundsearch": "1"}
        return self.send(method, path, body, {**own, **(headers or {})})

    def upload(
        self, path: str, content: bytes | None, name: str = "a.wav", /, **values: Any
    ) -> Answer:
        """POST a form with a file."""
        boundary = uuid.uuid4().hex
        body = io.BytesIO()
        for key, value in values.items():
            head = (
                f'--{boundary}\r\ncontent-disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
            )
            body.write(head.encode())
        if content is not None:
            file = f'form-data; name="file"; filename="{name}"'
            body.write(f"--{boundary}\r\ncontent-disposition: {file}\r\n\r\n".encode())
            body.write(content + b"\r\n")
        body.write(f"--{boundary}--\r\n".encode())
        type_ = f"multipart/form-data; boundary={boundary}"
        return self.post(path, body.getvalue(), {"content-type": type_})

    def send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request as it is."""
        with contextlib.closing(self.connect()) as connection:
            connection.request(method, path, body, {**self.headers, **(headers or {})})
            response = connection.getresponse()
            content = response.read()
            return Answer(
                response.status, {k.lower(): v for k, v in response.getheaders()}, content
            )

    def connect(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.address)
        assert parts.hostname is not None
        return http.client.HTTPConnection(parts.hostname, parts.port, timeout=self.timeout_s)


@contextlib.contextmanager
def serving(
    index: Path | str | None = None, limits: Limits | None = None, names: Sequence[str] = ()
) -> Iterator[Client]:
    """Serve an index in a thread."""
    listening = threading.Event()
    server = PageServer(
        soundsearch.open_index(index), limits=limits, names=names, started=listening.set
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert listening.wait(120)
        yield Client(server.address)
    finally:
        server.should_exit = True
        thread.join(120)
        assert not thread.is_alive()
