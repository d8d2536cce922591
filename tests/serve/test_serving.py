"""`soundsearch serve` as a process: it starts, says where, and stops in seconds."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from soundsearch.encoder.bundle import EncoderBundle
from tests import program
from tests.conftest import Run
from tests.serve.served import Client
from tests.sounds import tone, write
from tests.tiny_encoder import BAND_HZ

#: Seconds that are not long for a busy machine.
SOON_S = 120


@pytest.fixture
def library(tmp_path: Path, soundsearch: Run) -> Path:
    for i in range(3):
        write(tmp_path / "library" / f"{i}.wav", tone(BAND_HZ[i]))
    soundsearch("index", tmp_path / "library")
    return tmp_path / "library"


@contextmanager
def started(*options: object) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The process, and the address that it prints."""
    process = program.start("serve", "--port", 0, *options)
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().decode().strip()
    finally:
        process.kill()
        process.communicate()


def children_of(process: subprocess.Popen[bytes]) -> list[int]:
    tasks = Path(f"/proc/{process.pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, -signal.SIGTERM)])
def test_it_stops_in_seconds_whatever_clients_do(sign: signal.Signals, code: int) -> None:
    """One listens to events, one reads no answer, one sends half a request; decoders run."""
    with started() as (process, address):
        client = Client(address, timeout_s=SOON_S)
        assert client.get("/api/search", q="hum").status == 200
        assert client.get("/api/recordings/1/excerpt", end=0.5).status == 200
        clients = [client.connect() for _ in range(3)]
        clients[0].request("GET", "/api/library/events")
        assert clients[0].getresponse().readline()
        clients[1].request("GET", "/api/recordings/1/audio")
        clients[2].connect()
        clients[2].sock.sendall(b"GET / HTTP/1.1\r\nHost:")
        children = children_of(process)
        assert children
        began = time.monotonic()
        process.send_signal(sign)
        assert process.wait(SOON_S) == code
        assert time.monotonic() - began < SOON_S / 2
        _, errors = process.communicate()
        assert b"Traceback" not in errors
        deadline = time.monotonic() + SOON_S
        while any(map(is_running, children)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not any(map(is_running, children))
        for connection in clients:
            connection.close()


@pytest.mark.usefixtures("library")
def test_ctrl_c_of_a_terminal_reaches_all_processes() -> None:
    with started() as (process, address):
        client = Client(address, timeout_s=SOON_S)
        assert client.get("/api/recordings/1/excerpt", end=0.5).status == 200
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(SOON_S) == 0
        assert process.communicate()[1] == b""


@pytest.mark.usefixtures("library")
def test_temporary_files_are_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    with started() as (process, address):
        assert Client(address).get("/api/recordings/1/excerpt", end=0.5).status == 200
        assert list(folder.iterdir())
        process.send_signal(signal.SIGINT)
        process.wait(SOON_S)
    assert list(folder.iterdir()) == []


def test_there_must_be_an_index(tmp_path: Path) -> None:
    done = program.soundsearch("serve", "--index", tmp_path / "none")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"no index at" in done.stderr and b"soundsearch index FOLDER" in done.stderr


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(
    ("host", "port"), [("127.0.0.1", "TAKEN"), ("203.0.113.7", "0"), ("no.such.host.invalid", "0")]
)
def test_an_address_that_cannot_be_listened_at(soundsearch: Run, host: str, port: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1]) if port == "TAKEN" else port
        result = soundsearch("serve", "--host", host, "--port", port, code=1)
    assert result.stderr.startswith(f"error: {host}:{port}: ")
    assert "--host" in result.stderr and "--port" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("port", ["-1", "65536", "http"])
def test_ports_that_there_are_not(soundsearch: Run, port: str) -> None:
    assert "--port" in soundsearch("serve", "--port", port, code=2).stderr


@pytest.mark.usefixtures("library")
def test_the_page_opens_in_a_browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = tmp_path / "browser"
    browser.write_text(
        f'#!/bin/sh\necho "$1" > {tmp_path}/opened.part\n'
        f"mv {tmp_path}/opened.part {tmp_path}/opened\n"
    )
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(browser))
    with started("--open") as (_, address):
        deadline = time.monotonic() + SOON_S
        while not (tmp_path / "opened").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert (tmp_path / "opened").read_text().strip() == address


@pytest.mark.usefixtures("library")
def test_another_address_prints_its_token(tmp_path: Path) -> None:
    with started("--host", "0.0.0.0") as (_, address):
        plain, token = address.split("?token=")
        port = plain.rstrip("/").rsplit(":", 1)[1]
        client = Client(f"http://127.0.0.1:{port}/")
        assert client.get("/api/status").status == 401
        assert client.get("/api/status", {"Authorization": f"Bearer {token}"}).status == 200


@pytest.mark.usefixtures("library")
def test_ipv6() -> None:
    with started("--host", "::1") as (process, address):
        if not address:
            pytest.skip(f"no IPv6 here: {process.communicate()[1]!r}")
        assert address.startswith("http://[::1]:")
        with urllib.request.urlopen(f"{address}api/status", timeout=SOON_S) as answer:
            assert answer.status == 200


def test_an_encoder_that_is_lost_is_named_in_answers(
    library: Path, tiny: EncoderBundle, soundsearch: Run, tmp_path: Path
) -> None:
    import shutil

    shutil.rmtree(tmp_path / "index" / "encoder")
    shutil.rmtree(tiny.folder)
    with started() as (_, address):
        client = Client(address, timeout_s=SOON_S)
        answer = client.get("/api/search", q="hum")
        assert (answer.status, "encoder" in answer.error) == (503, True)
        assert client.get("/api/status").status == 200
        assert client.get("/api/recordings/1/audio").status == 200
