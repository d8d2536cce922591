"""The library page: what there is, what failed, and a run of `index` that is watched."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import soundsearch
from tests.conftest import Run
from tests.program import another_writer
from tests.serve.conftest import HOSTILE, Site
from tests.serve.served import Client, serving
from tests.sounds import noise, tone, write
from tests.tiny_encoder import BAND_HZ

RUN = "/api/library/index"


class Events:
    """Server-sent events as they come, in a thread."""

    def __init__(self, response: Any) -> None:
        self.found: list[dict[str, Any]] = []
        self._response = response
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        with suppress(ValueError, OSError, AttributeError):  # of a response that was closed
            for line in self._response:
                if line.startswith(b"data: "):
                    self.found.append(json.loads(line.removeprefix(b"data: ")))

    def wait_for(self, key: str, n: int = 1) -> list[dict[str, Any]]:
        """The first n events that have a key, once there are so many."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            found = [event for event in self.found if key in event]
            if len(found) >= n:
                return found
            time.sleep(0.02)
        raise AssertionError(f"no {n} events with {key}: {self.found}")

    def join(self) -> None:
        self._thread.join(10)
        assert not self._thread.is_alive()


@contextmanager
def listening(client: Client) -> Iterator[Events]:
    connection = client.connect()
    connection.request("GET", "/api/library/events")
    response = connection.getresponse()
    assert response.getheader("content-type", "").startswith("text/event-stream")
    events = Events(response)
    try:
        yield events
    finally:
        connection.sock.shutdown(socket.SHUT_RDWR)
        connection.close()
        events.join()


def test_the_library_is_the_status_and_the_run(site: Site) -> None:
    facts = site.client.get("/api/library").json
    run = facts.pop("run")
    assert facts == site.client.get("/api/status").json
    assert run == {"running": False, "notes": [], "finished": None}
    assert facts["failures"] == {"not audio": 1}
    (root,) = facts["roots"]
    assert root["path"] == str(site.library)


def test_failed_files_are_listed_with_their_causes(site: Site) -> None:
    answer = site.client.get("/api/library/failures").json
    (failure,) = answer["failures"]
    assert answer["more"] is False
    assert failure.pop("error")
    assert failure == {
        "recording_id": site.id_of("broken.wav"),
        "path": str(site.library / "broken.wav"),
        "cause": "not audio",
    }
    same = site.client.get("/api/library/failures", cause="not audio").json["failures"]
    assert len(same) == 1
    for values in ({"cause": "damaged"}, {"offset": 1}):
        assert site.client.get("/api/library/failures", **values).json["failures"] == []


def test_failed_files_come_in_pages(tmp_path: Path, soundsearch: Run) -> None:
    for i in range(5):
        (tmp_path / "library").mkdir(exist_ok=True)
        (tmp_path / "library" / f"{i}.wav").write_text("no sound")
    soundsearch("index", tmp_path / "library")
    with serving() as client:
        pages = [client.get("/api/library/failures", k=2, offset=i).json for i in (0, 2, 4)]
    names = [[Path(f["path"]).name for f in page["failures"]] for page in pages]
    assert names == [["0.wav", "1.wav"], ["2.wav", "3.wav"], ["4.wav"]]
    assert [page["more"] for page in pages] == [True, True, False]


def test_a_run_is_watched_to_its_report(own_site: Site) -> None:
    write(own_site.library / "new.wav", tone(BAND_HZ[3], 600))  # takes longer than a report waits
    (own_site.library / HOSTILE).write_text("no sound")
    with listening(own_site.client) as events, listening(own_site.client) as others:
        started = own_site.client.post(RUN)
        assert (started.status, started.json["run"]["running"]) == (202, True)
        (last,) = events.wait_for("finished")
        assert others.wait_for("finished") == [last]
        report = last["finished"]
        assert (report["new"], report["failed"], report["unchanged"]) == (1, 1, 8)
        assert report["interrupted"] is False
        assert report["failures"][0]["path"] == str(own_site.library / HOSTILE)
        files = [event for event in events.found if event.get("stage") == "files"]
        assert files[0]["total"] == 2
        assert all(0 <= event["done"] <= 2 for event in files)
        (note,) = {event["note"] for event in events.found if "note" in event}
        assert HOSTILE in note
    facts = own_site.client.get("/api/library").json
    assert facts["run"]["running"] is False
    assert facts["run"]["finished"] == report
    assert facts["n_indexed"] == 9
    hits = own_site.client.get("/api/search", filter="duration:600").json["hits"]
    assert [Path(hit["path"]).name for hit in hits] == ["new.wav"]


def test_the_report_is_that_of_the_command(own_site: Site, soundsearch: Run) -> None:
    with listening(own_site.client) as events:
        own_site.client.post(RUN)
        report = events.wait_for("finished")[0]["finished"]
    printed = json.loads(soundsearch("index", "--index", own_site.index, "--json").stdout)
    assert set(report) == set(printed) - {"schema"}
    for key in set(report) - {"elapsed_s", "stage_s"}:
        assert report[key] == printed[key]


def test_a_client_that_comes_later_is_told_the_end(own_site: Site) -> None:
    with listening(own_site.client) as events:
        own_site.client.post(RUN)
        (last,) = events.wait_for("finished")
    with listening(own_site.client) as events:
        assert events.wait_for("finished") == [last]
        own_site.client.post(RUN)  # and of the next run
        assert len(events.wait_for("finished", 2)) == 2


def test_failed_files_are_tried_again_on_demand(own_site: Site) -> None:
    (own_site.library / "bad.wav").write_text("no sound")
    reports = []
    with listening(own_site.client) as events:
        for n, query in enumerate(["", "", "?retry=true"], 1):
            assert own_site.client.post(RUN + query).status == 202
            reports.append(events.wait_for("finished", n)[n - 1]["finished"])
    found = [(report["failed"], report["failed_before"]) for report in reports]
    assert found == [(1, 0), (0, 1), (1, 0)]


@pytest.fixture
def endless(own_site: Site) -> Site:
    """A site whose next run goes on for a while."""
    for i in range(30):
        write(own_site.library / "more" / f"{i:02d}.wav", noise(60, 8000, i))
    return own_site


def test_a_run_is_cancelled_and_goes_on_later(endless: Site) -> None:
    client = endless.client
    with listening(client) as events:
        assert client.post(RUN).status == 202
        events.wait_for("total")
        second = client.post(RUN)
        assert (second.status, "goes on already" in second.error) == (409, True)
        assert client.get("/api/search", q="hum").status == 200, "searching works meanwhile"
        assert client.post(RUN, method="DELETE").status == 202
        report = events.wait_for("finished")[0]["finished"]
        assert report.get("interrupted") is True, str(report)
        nothing = client.post(RUN, method="DELETE")
        assert (nothing.status, "nothing to cancel" in nothing.error) == (409, True)
        client.post(RUN)
        assert events.wait_for("finished", 2)[1]["finished"]["interrupted"] is False
    with soundsearch.open_index(endless.index) as index:
        assert index.count() == 38


def test_only_one_writes(own_site: Site) -> None:
    with another_writer(own_site.index), listening(own_site.client) as events:
        assert own_site.client.post(RUN).status == 202
        finished = events.wait_for("finished")[0]["finished"]
        assert finished["busy"] is True
        assert "another soundsearch is writing" in finished["error"]


def test_a_run_that_dies_is_said_to_have(endless: Site) -> None:
    from soundsearch.serve.library_run import LibraryRun

    run = LibraryRun(endless.index)
    run.start()
    deadline = time.monotonic() + 120
    while run.facts["stage"] == "starting" and time.monotonic() < deadline:
        time.sleep(0.01)
    run._process.kill()
    while run.is_running and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "exit code -9" in run.facts["finished"]["error"]
    run.start()  # another may follow
    process = run._process
    run.close()
    assert not process.is_alive()


def test_nothing_to_index(tmp_path: Path, soundsearch: Run) -> None:
    write(tmp_path / "library" / "a.wav", tone(BAND_HZ[0]))
    soundsearch("index", tmp_path / "library")
    soundsearch("roots", "remove", tmp_path / "library", "--yes")
    with serving() as client:
        answer = client.post(RUN)
        assert (answer.status, "soundsearch index FOLDER" in answer.error) == (409, True)


def test_the_server_stops_while_a_run_goes_on_and_is_watched(
    tmp_path: Path, soundsearch: Run
) -> None:
    for i in range(30):
        write(tmp_path / "library" / f"{i:02d}.wav", noise(60, 8000, i))
    soundsearch("index", tmp_path / "library" / "00.wav")
    with serving() as client:
        connection = client.connect()
        connection.request("GET", "/api/library/events")
        events = Events(connection.getresponse())
        assert client.post(RUN).status == 202
    with closing(connection):
        events.join()
    assert soundsearch("index", tmp_path / "library", "--json").stdout  # the lock is free
