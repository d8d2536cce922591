"""Fetching: whole files under their name, or one line and nothing left."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.recorded import Recorded
from trainer.convert import ConversionError
from trainer.convert.download import check_hub_file, fetch

CONTENT = b"weights" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


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


def test_progress_counts_megabytes(address: str, tmp_path: Path) -> None:
    progress = Recorded()
    fetch(f"{address}/whole", tmp_path / "a.pth", "...", progress=progress)
    assert [stage.what for stage in progress.stages] == ["MB of whole"]
    assert (progress.stages[0].total, progress.stages[0].done) == (1, pytest.approx(0.007))


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


def test_a_file_of_another_sha256_is_refused_and_not_left(address: str, tmp_path: Path) -> None:
    expected = "0" * 64
    with pytest.raises(ConversionError) as found:
        fetch(f"{address}/whole", tmp_path / "a.pth", "use --checkpoint FILE", expected)
    for fact in (f"{address}/whole", SHA256, expected, "use --checkpoint FILE"):
        assert fact in str(found.value)
    assert list(tmp_path.iterdir()) == []
    fetch(f"{address}/whole", tmp_path / "a.pth", "...", SHA256)
    assert (tmp_path / "a.pth").read_bytes() == CONTENT


def test_a_file_from_before_is_checked_and_replaced_by_the_published_one(
    address: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(b"half of an earlier download")
    fetch(f"{address}/whole", path, "...", SHA256)
    assert path.read_bytes() == CONTENT
    path.write_bytes(b"something else")
    with pytest.raises(ConversionError, match="cannot be fetched"):
        fetch(f"{address}/none", path, "...", SHA256)
    assert path.read_bytes() == b"something else"


def test_the_sha256_of_a_file_without_a_published_one_is_logged(
    address: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="trainer"):
        fetch(f"{address}/whole", tmp_path / "a.pth", "...")
    assert SHA256 in caplog.text


def hub_file(folder: Path, content: bytes, blob: str) -> Path:
    """A file as the hub's cache holds it: a blob, and a link to it from a snapshot."""
    (folder / "blobs").mkdir(parents=True, exist_ok=True)
    (folder / "blobs" / blob).write_bytes(content)
    path = folder / "snapshots" / "main" / "model.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(folder / "blobs" / blob)
    return path


def test_a_file_of_the_hub_is_held_to_the_sha256_it_is_published_under(tmp_path: Path) -> None:
    check_hub_file(hub_file(tmp_path / "whole", CONTENT, SHA256))
    check_hub_file(hub_file(tmp_path / "small", b"no SHA-256 is known", "a" * 40))
    damaged = hub_file(tmp_path / "damaged", CONTENT[:-1], SHA256)
    with pytest.raises(ConversionError) as found:
        check_hub_file(damaged)
    for fact in (str(damaged), SHA256, hashlib.sha256(CONTENT[:-1]).hexdigest(), "delete it"):
        assert fact in str(found.value)


def test_no_network_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        ConversionError, match=r"cannot be fetched \(.*refused.*\); use --clip FILE"
    ):
        fetch("http://127.0.0.1:9/a", tmp_path / "a", "use --clip FILE")
