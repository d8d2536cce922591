"""Fetching: whole files under their name, or one line and nothing left."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from trainer.convert import ConversionError
from trainer.convert.download import fetch

CONTENT = b"weights" * 1000


class _Files(BaseHTTPRequestHandler):
    """/whole is whole, /cut ends before it should, and nothing else is there."""

    def do_GET(self) -> None:
        if self.path not in ("/whole", "/cut"):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT if self.path == "/whole" else CONTENT[:100])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Files) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_file_is_fetched_once(address: str, tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.pth"
    assert fetch(f"{address}/whole", path, "...") == path
    assert path.read_bytes() == CONTENT
    assert [p.name for p in path.parent.iterdir()] == ["a.pth"]
    assert fetch(f"{address}/not there any more", path, "...") == path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cut", r"/cut: ended after 100 of 7000 bytes; use --checkpoint FILE"),
        (
            "none",
            r"/none: cannot be fetched \((HTTP Error 404: )?Not Found\); use --checkpoint FILE",
        ),
    ],
)
def test_what_cannot_be_had_whole_leaves_nothing(
    address: str, tmp_path: Path, name: str, message: str
) -> None:
    with pytest.raises(ConversionError, match=message) as found:
        fetch(f"{address}/{name}", tmp_path / "a.pth", "use --checkpoint FILE")
    assert "\n" not in str(found.value)
    assert list(tmp_path.iterdir()) == []


def test_no_network_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        ConversionError, match=r"cannot be fetched \(.*refused.*\); use --clip FILE"
    ):
        fetch("http://127.0.0.1:9/a", tmp_path / "a", "use --clip FILE")
