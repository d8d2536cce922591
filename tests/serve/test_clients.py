"""Many clients at a time, slow ones, and an index that is written meanwhile."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from soundsearch.serve import server as server_module
from soundsearch.serve.state import Limits
from tests.conftest import Run
from tests.serve.conftest import Site
from tests.serve.served import serving
from tests.sounds import tone, write
from tests.tiny_encoder import BAND_HZ


def test_slow_clients_do_not_hold_up_others(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some send their request letter by letter, some never read the answer; the others are served."""
    monkeypatch.setattr(server_module, "IDLE_S", 1)
    with serving(site.index) as client, ExitStack() as stack:
        crawling = []
        for _ in range(20):
            connection = stack.enter_context(closing(client.connect()))
            connection.connect()
            connection.sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ")
            crawling.append(connection.sock)
        for _ in range(20):
            connection = stack.enter_context(closing(client.connect()))
            connection.request("GET", site.at("long.wav", "/audio"))
        for _ in range(10):
            assert client.get("/api/search", q="hum").status == 200
        for sock in crawling[1:]:
            assert sock.recv(1) == b""
        with pytest.raises(ConnectionError):  # noqa: PT012 - however it goes on
            while True:
                crawling[0].sendall(b"x")
                time.sleep(0.02)


def test_many_questions_at_a_time_use_few_threads(site: Site) -> None:
    failures: list[object] = []
    most = 0

    def ask(word: str) -> None:
        try:
            answer = site.client.get("/api/search", q=word, by="sound", k=1, filter="in:tones")
            if answer.status != 200 or word not in answer.json["hits"][0]["path"]:
                failures.append((word, answer))
        except Exception as error:
            failures.append(error)

    words = ["hum", "hiss", "beep", "drone"] * 15
    askers = [threading.Thread(target=ask, args=(word,)) for word in words]
    for asker in askers:
        asker.start()
    while any(asker.is_alive() for asker in askers):
        names = [thread.name for thread in threading.enumerate()]
        most = max(most, sum(name.startswith("AnyIO") for name in names))
        time.sleep(0.01)
    assert failures == []
    limits = Limits()
    assert 0 < most <= limits.n_searches + limits.n_readers + 4


def test_the_index_is_not_locked_while_it_is_served(own_site: Site, soundsearch: Run) -> None:
    """Reading while `index` writes shows new recordings without a restart."""
    write(own_site.library / "new hum.wav", tone(BAND_HZ[1], 2))
    soundsearch("index", own_site.library, "--index", own_site.index)
    deadline = time.monotonic() + 120
    names: set[str] = set()
    while "new hum.wav" not in names and time.monotonic() < deadline:
        hits = own_site.client.get("/api/search", q="hum", by="sound", k=3).json["hits"]
        names = {Path(hit["path"]).name for hit in hits}
    assert {"new hum.wav", "hum.wav"} <= names
