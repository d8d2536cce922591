"""Uploads: bounded in bytes, seconds and time, decoded by processes that may die, deleted."""

from __future__ import annotations

import http.client
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import soundsearch
from soundsearch.serve.state import Limits
from tests.serve.conftest import HOSTILE, Site
from tests.serve.served import Client, serving
from tests.sounds import noise, tone, write
from tests.tiny_encoder import BAND_HZ

LIMITS = Limits(upload_bytes=100_000, upload_s=5, receive_s=1, decode_s=1.0)


@pytest.fixture(scope="module")
def strict(site: Site) -> Iterator[Client]:
    """A server with small limits."""
    with serving(site.index, LIMITS) as client:
        yield client


def long_silence(path: Path) -> Path:
    """Ten hours: a minute of MPEG frames again and again."""
    minute = write(path, np.zeros(8000 * 60, np.float32)).read_bytes()
    path.write_bytes(minute * 600)
    return path


def temporary_files() -> list[str]:
    """Files of ours in the folder of temporary files."""
    folders = Path(tempfile.gettempdir()).glob("soundsearch-*")
    return sorted(str(path) for folder in folders for path in folder.rglob("*"))


def test_an_upload_is_bounded_in_bytes(strict: Client) -> None:
    before = temporary_files()
    large = bytes(LIMITS.upload_bytes + (1 << 20) + 1)
    answer = strict.upload("/api/similar", large)
    assert answer.status == 413
    assert "1,148,576" in answer.error
    assert temporary_files() == before


def test_an_upload_of_no_declared_length_is_bounded_too(strict: Client) -> None:
    def parts() -> Iterator[bytes]:
        yield b'--b\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        for _ in range(100):
            yield bytes(100_000)

    with closing(strict.connect()) as connection:
        headers = {"Origin": strict.origin, "X-Soundsearch": "1"}
        headers["Content-Type"] = "multipart/form-data; boundary=b"
        try:
            connection.request("POST", "/api/similar", parts(), headers, encode_chunked=True)
            assert connection.getresponse().status == 413
        except (ConnectionError, http.client.HTTPException):
            pass  # it was closed before all was sent
    assert strict.get("/api/status").status == 200


def test_only_so_many_seconds_of_an_upload_are_searched_by(strict: Client, tmp_path: Path) -> None:
    sound = np.concatenate([tone(BAND_HZ[2], 5), tone(BAND_HZ[7], 30)])  # by its mean: hiss
    content = write(tmp_path / "a.ogg", sound, subtype="VORBIS").read_bytes()
    hits = strict.upload("/api/similar", content, "a.ogg", k=1).json["hits"]
    assert Path(hits[0]["path"]).name == "drone.wav"
    late = strict.upload("/api/similar", content, start=1, end=7)
    assert (late.status, "at most 5 s" in late.error) == (400, True)


def test_an_upload_is_decoded_in_a_time_limit(site: Site, tmp_path: Path) -> None:
    """The passage is at the end of hours, and a decoder is slow to get there."""
    before = temporary_files()
    path = long_silence(tmp_path / "long.mp3")
    limits = Limits(decode_s=0.05)
    with serving(site.index, limits) as client:
        answer = client.upload("/api/similar", path.read_bytes(), "long.mp3", start=35_990)
        assert answer.status == 422
        assert "long.mp3" in answer.error and "0.05 s" in answer.error
    assert temporary_files() == before


def test_an_upload_that_crawls_is_given_up(strict: Client) -> None:
    with closing(strict.connect()) as connection:
        connection.putrequest("POST", "/api/similar")
        for name, value in (
            ("Origin", strict.origin),
            ("X-Soundsearch", "1"),
            ("Content-Length", "1000"),
            ("Content-Type", "multipart/form-data; boundary=b"),
        ):
            connection.putheader(name, value)
        connection.endheaders()
        connection.send(b"--b\r\n")
        answer = connection.getresponse()
        assert answer.status == 408
        assert b"1 s" in answer.read()


@pytest.mark.parametrize(
    ("content", "values", "status", "facts"),
    [
        (b"no sound", {}, 422, ("mine.wav", "neither libsndfile nor FFmpeg")),
        (b"", {}, 422, ("mine.wav", "0 bytes")),
        (None, {}, 400, ("file",)),
        (b"x", {"recording": 1}, 400, ("file", "recording")),
        (b"x", {"k": "many"}, 400, ("k is 'many'",)),
        (b"x", {"path": "/etc/passwd"}, 400, ("'path'", "no parameter")),
    ],
)
def test_uploads_that_cannot_be_used(
    site: Site, content: bytes | None, values: dict[str, Any], status: int, facts: tuple[str, ...]
) -> None:
    before = temporary_files()
    answer = site.client.upload("/api/similar", content, "mine.wav", **values)
    assert answer.status == status, answer.body
    for fact in facts:
        assert fact in answer.error
    assert "/tmp" not in answer.error
    assert temporary_files() == before


@pytest.mark.parametrize(
    "name", ["../../evil.wav", "/etc/passwd", "a\x00.wav", "é.wav", "x" * 300, HOSTILE, ".", ""]
)
def test_the_name_of_an_upload_is_no_path(site: Site, tmp_path: Path, name: str) -> None:
    content = write(tmp_path / "a.wav", tone(BAND_HZ[7])).read_bytes()
    clean = name.replace("\x00", "%00")
    answer = site.client.upload("/api/similar", content, clean, k=1)
    assert answer.status == 200, answer.body
    bad = site.client.upload("/api/similar", b"no sound", clean)
    assert bad.status == 422
    assert len(bad.error) < 300


def test_a_silent_upload_is_named_as_the_client_calls_it(site: Site, tmp_path: Path) -> None:
    content = write(tmp_path / "a.wav", np.zeros(8000, np.float32)).read_bytes()
    answer = site.client.upload("/api/similar", content, "mine.wav")
    assert answer.status == 422
    assert answer.error.startswith("mine.wav: ")


@pytest.mark.parametrize(
    ("type_", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b"--b--"),
        ("multipart/form-data; boundary=b", b"nonsense"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\ncontent-disposition: form-data; name="q"\r\n\r\n',
        ),
        ("", b""),
    ],
)
def test_bodies_that_are_no_forms(site: Site, type_: str, body: bytes) -> None:
    answer = site.client.post("/api/similar", body, {"Content-Type": type_})
    assert answer.status in (400, 415)
    assert answer.error


def test_a_form_with_many_fields_is_refused(site: Site) -> None:
    parts = b"".join(
        b'--b\r\ncontent-disposition: form-data; name="q%d"\r\n\r\nx\r\n' % i for i in range(2000)
    )
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = site.client.post("/api/similar", parts + b"--b--\r\n", headers)
    assert (answer.status, "100" in answer.error) == (400, True)


def test_a_decoder_that_dies_costs_one_line(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process is killed from outside while it works, as a crash in a C library would end it."""
    from soundsearch.serve.decoding import Decoders

    decoders = Decoders(20, 20)
    decoders.warm_up()
    (worker,) = decoders._idle
    killer = threading.Timer(0.2, worker.process.kill)
    path = long_silence(tmp_path / "long.mp3")
    killer.start()
    with pytest.raises(soundsearch.SoundsearchError, match="crashed"):
        decoders.cut(path, 35_990, 35_995, 0, tmp_path / "part.wav")
    again = write(tmp_path / "a.wav", noise(2))
    decoders.cut(again, 0, 1, 0, tmp_path / "part.wav")
    assert (tmp_path / "part.wav").exists()
    decoders.close()
    with pytest.raises(soundsearch.SoundsearchError, match="shutting down"):
        decoders.cut(again, 0, 1, 0, tmp_path / "part.wav")
