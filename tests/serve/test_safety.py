"""Who may ask, what is served, and what one request may cost."""

from __future__ import annotations

import http.client
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import soundsearch
from soundsearch.serve import server as server_module
from soundsearch.serve.safety import Access, is_loopback
from soundsearch.serve.server import PageServer
from soundsearch.serve.state import Limits
from tests.conftest import Run
from tests.serve.conftest import HOSTILE, Site
from tests.serve.served import Client, serving
from tests.sounds import noise, tone, write
from tests.tiny_encoder import BAND_HZ

OURS = "/api/library/index"

# ---- hosts and origins


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8765",
        "127.0.0.1.evil.example",
        "a@127.0.0.1",
        "",
        "[",
        "192.168.7.7",
        "localhost.evil.example",
    ],
)
@pytest.mark.parametrize("path", ["/", "/api/search?q=hum", "/page/index.html"])
def test_another_host_name_is_refused(site: Site, host: str, path: str) -> None:
    """A name of another site that leads here (DNS rebinding), also with an origin of that name."""
    for headers in ({"Host": host}, {"Host": host, "Origin": f"http://{host}"}):
        answer = site.client.send("GET", path, headers=headers)
        assert answer.status == 421
        assert repr(host) in answer.error


def test_names_of_this_server_are_served(site: Site) -> None:
    port = site.client.origin.rsplit(":", 1)[1]
    for host in (f"localhost:{port}", f"LOCALHOST:{port}", "localhost:9999", f"127.0.0.1:{port}"):
        assert site.client.send("GET", "/", headers={"Host": host}).status == 200


def test_a_request_without_a_host_is_refused(site: Site) -> None:
    with closing(site.client.connect()) as connection:
        connection.putrequest("GET", "/", skip_host=True)
        connection.endheaders()
        assert connection.getresponse().status in (400, 421)


def test_other_names_are_served_if_they_are_named(site: Site) -> None:
    with serving(site.index, names=["Sounds.Example"]) as client:
        assert client.send("GET", "/", headers={"Host": "sounds.example"}).status == 200
        assert client.send("GET", "/", headers={"Host": "evil.example"}).status == 421


CHANGES: list[tuple[str, str]] = [
    ("POST", OURS),
    ("DELETE", OURS),
    ("POST", "/api/similar"),
    ("POST", "/api/basket.zip"),
    ("POST", "/api/recordings/1/reveal"),
]


@pytest.mark.parametrize(("method", "path"), CHANGES)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Soundsearch": "1"},
        {"Origin": "OURS"},
        {"Origin": "OURS", "X-Soundsearch": "2"},
        {"Origin": "http://evil.example", "X-Soundsearch": "1"},
        {"Origin": "null", "X-Soundsearch": "1"},
        {"Origin": "http://localhost:1", "X-Soundsearch": "1"},
        {"Origin": "OURS", "X-Soundsearch": "1", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "OURS", "X-Soundsearch": "1", "Sec-Fetch-Site": "same-site"},
    ],
    ids=str,
)
def test_changes_need_our_origin_and_header(
    site: Site, method: str, path: str, headers: dict[str, str]
) -> None:
    given = {k: site.client.origin if v == "OURS" else v for k, v in headers.items()}
    answer = site.client.send(method, path, b"", given)
    assert answer.status == 403
    assert answer.error


def test_no_other_page_may_read(site: Site) -> None:
    """No answer allows another origin (CORS), and none is sent to a page that is one."""
    evil = {"Origin": "http://evil.example"}
    for headers in (evil, {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}):
        answer = site.client.send("GET", "/api/search?q=hum", headers=headers)
        assert answer.status == 403
    asks = {**evil, "Access-Control-Request-Method": "POST"}
    asks["Access-Control-Request-Headers"] = "x-soundsearch"
    answer = site.client.send("OPTIONS", OURS, headers=asks)
    assert answer.status in (403, 405)
    assert not any(name.startswith("access-control") for name in answer.headers)
    ours = site.client.send("GET", "/api/search?q=hum", headers={"Origin": site.client.origin})
    assert ours.status == 200
    assert not any(name.startswith("access-control") for name in ours.headers)


def test_a_link_of_another_page_opens_the_page_alone(site: Site) -> None:
    visit = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert site.client.send("GET", "/", headers=visit).status == 200
    assert site.client.send("GET", "/api/status", headers=visit).status == 403


@pytest.mark.parametrize("path", ["/", "/page/index.html", "/api/status", "/nothing", OURS])
def test_every_answer_has_the_headers_that_bind_a_browser(site: Site, path: str) -> None:
    headers = site.client.get(path).headers
    policy = dict(
        part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'self'"
    assert set(policy) == {
        *("default-src", "media-src", "img-src", "object-src", "base-uri", "form-action"),
        "frame-ancestors",
    }
    assert not any("unsafe" in sources or "*" in sources for sources in policy.values())
    assert policy["frame-ancestors"] == policy["object-src"] == "'none'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "server" not in headers


# ---- the token


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.5", False),
        ("example.org", False),
    ],
)
def test_which_addresses_are_of_this_machine_alone(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
    assert Access.of(host).is_loopback is expected


@contextmanager
def open_to_all(index: Path) -> Iterator[tuple[Client, str]]:
    """A server at all addresses of this machine, and its token."""
    listening = threading.Event()
    server = PageServer(soundsearch.open_index(index), host="0.0.0.0", started=listening.set)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert listening.wait(20)
        address, token = server.address.split("?token=")
        port = address.rstrip("/").rsplit(":", 1)[1]
        yield Client(f"http://127.0.0.1:{port}/"), token
    finally:
        server.should_exit = True
        thread.join(20)


def test_another_address_needs_the_token(site: Site) -> None:
    with open_to_all(site.index) as (client, token):
        assert len(token) >= 40
        for path in ("/", "/page/index.html", "/api/status", "/api/recordings/1/audio", "/nothing"):
            answer = client.get(path)
            assert answer.status == 401
            assert b"token" in answer.body and token.encode() not in answer.body
        for wrong in ("", "x", token[:-1], token + "x", "é" * 20):
            bearer = {"Authorization": f"Bearer {wrong}".encode().decode("latin-1")}
            assert client.get("/api/status", bearer).status == 401
            cookie = {"Cookie": f"soundsearch={wrong}".encode().decode("latin-1")}
            assert client.get("/api/status", cookie).status == 401
        assert client.get("/", token="wrong").status == 401
        assert client.get("/api/status", token=token).status == 401, "only / takes it"
        assert client.get("/api/status", {"Authorization": f"Bearer {token}"}).status == 200

        visit = client.get("/", token=token)
        assert (visit.status, visit.headers["location"]) == (303, "/")
        cookie, *attributes = visit.headers["set-cookie"].split("; ")
        assert {a.lower() for a in attributes} == {"httponly", "samesite=strict", "path=/"}
        assert client.get("/", {"Cookie": cookie}).status == 200
        assert client.get("/api/status", {"Cookie": f"other=1; {cookie}"}).status == 200
        changing = client.post("/api/recordings/1/reveal", headers={"Cookie": cookie})
        assert (changing.status, "server's own screen" in changing.error) == (403, True)
        assert client.post(OURS, headers={"Cookie": cookie, "X-Soundsearch": ""}).status == 403


def test_at_another_address_only_its_own_names_are_served(site: Site) -> None:
    with open_to_all(site.index) as (client, token):
        bearer = {"Authorization": f"Bearer {token}"}
        for host, status in (
            ("127.0.0.1", 200),
            (socket.gethostname(), 200),
            ("evil.example", 421),
            ("8.8.8.8", 421),
            ("0.0.0.0", 200),
        ):
            assert client.get("/api/status", {**bearer, "Host": host}).status == status, host


def test_each_start_has_another_token(site: Site) -> None:
    servers = [PageServer(soundsearch.open_index(site.index), host="0.0.0.0") for _ in range(2)]
    tokens = {server.address.split("?token=")[1] for server in servers}
    for server in servers:
        server._socket.close()
        server._served.close()
    assert len(tokens) == 2


def test_a_server_of_this_machine_alone_has_none(site: Site) -> None:
    assert "token" not in site.client.address


# ---- files


TRAVERSALS = [
    "/page/../safety.py",
    "/page/%2e%2e/safety.py",
    "/page/..%2fsafety.py",
    "/page/..%5csafety.py",
    "/page//etc/passwd",
    "/page/%2fetc%2fpasswd",
    "/page/....//safety.py",
    "/page/index.html%00",
    "/../../etc/passwd",
    "/api/recordings/../../etc/passwd",
    "/api/recordings/1/../2/audio",
    "/api/recordings/%2e%2e/audio",
    "/api/recordings/-1/audio",
    "/api/recordings/1/audio/../../../status",
]


@pytest.mark.parametrize("path", TRAVERSALS)
def test_no_path_leads_out_of_what_is_served(site: Site, path: str) -> None:
    answer = site.client.send("GET", path)
    assert answer.status == 404
    assert answer.error


def test_recordings_are_served_by_their_ids_alone(site: Site) -> None:
    assert site.client.get("/api/recordings/1/audio", path="/etc/passwd").status == 400
    assert site.client.get(f"/api/recordings/{site.library}/long.wav/audio").status == 404


@pytest.fixture
def linked(tmp_path: Path, soundsearch: Run) -> Iterator[tuple[Path, Client]]:
    """A library with links: one inside it, two out of it, and a file that was named itself."""
    library, outside = tmp_path / "library", tmp_path / "outside"
    write(outside / "secret.wav", tone(BAND_HZ[0]))
    write(outside / "other.wav", tone(BAND_HZ[1]))
    write(library / "real.wav", tone(BAND_HZ[2]))
    write(library / "swapped.wav", tone(BAND_HZ[3]))
    write(tmp_path / "alone.wav", tone(BAND_HZ[4]))
    (library / "out.wav").symlink_to(outside / "secret.wav")
    (library / "folder").symlink_to(outside)
    soundsearch("index", library, tmp_path / "alone.wav")
    with serving() as client:
        yield library, client


def ids(client: Client) -> dict[str, int]:
    hits = client.get("/api/search", filter="duration:>0", k=50, unique="false").json["hits"]
    return {Path(hit["path"]).name: hit["recording_id"] for hit in hits}


@pytest.mark.parametrize("what", ["/audio", "/audio?download=1", "/excerpt?end=0.5"])
def test_a_link_out_of_a_root_is_not_followed(linked: tuple[Path, Client], what: str) -> None:
    _, client = linked
    known = ids(client)
    for name, recording_id in known.items():
        answer = client.get(f"/api/recordings/{recording_id}{what}")
        inside = name in ("real.wav", "swapped.wav", "alone.wav")
        assert answer.status == (200 if inside else 403), name
        if not inside:
            assert "leads out of" in answer.error
    assert len(known) == 6


def test_a_file_that_became_a_link_is_not_followed(
    linked: tuple[Path, Client], tmp_path: Path
) -> None:
    library, client = linked
    known = ids(client)
    for path in (library / "swapped.wav", tmp_path / "alone.wav"):
        path.unlink()
        path.symlink_to(tmp_path / "outside" / "secret.wav")
        for what in ("/audio", "/excerpt?end=0.5"):
            answer = client.get(f"/api/recordings/{known[path.name]}{what}")
            assert answer.status == 403
        similar = client.get("/api/similar", recording=known[path.name])
        assert similar.status == 403
        items = b'[{"recording_id": %d}]' % known[path.name]
        assert client.post("/api/basket.zip", items).status == 403


def test_pipes_and_folders_in_place_of_files_do_not_block(
    linked: tuple[Path, Client], tmp_path: Path
) -> None:
    library, client = linked
    known = ids(client)
    for name, make in (("real.wav", os.mkfifo), ("swapped.wav", os.mkdir)):
        (library / name).unlink()
        make(library / name)
        for what in ("/audio", "/excerpt?end=0.5"):
            answer = client.get(f"/api/recordings/{known[name]}{what}")
            assert answer.status in (404, 422), (name, what)
            assert answer.error


def test_a_file_that_is_gone_is_named(own_site: Site) -> None:
    at = own_site.at("hum.wav")
    (own_site.library / "hum.wav").unlink()
    for what in ("/audio", "/excerpt?end=0.5"):
        answer = own_site.client.get(at + what)
        assert answer.status == 404
        assert "hum.wav" in answer.error and "not there" in answer.error
    assert own_site.client.get(at).json["recording"]["is_present"] is False
    similar = own_site.client.get("/api/similar", recording=at.rsplit("/", 1)[1], k=1)
    assert similar.status == 200  # its embeddings are stored


def test_names_are_data_in_every_answer(site: Site) -> None:
    """A name with markup is JSON, never a page: the type says so, and nothing may guess another."""
    answer = site.client.get(site.at(HOSTILE))
    assert answer.headers["content-type"] == "application/json"
    assert answer.json["recording"]["path"].endswith(HOSTILE)
    error = site.client.get("/api/search", q="x", k=HOSTILE)
    assert (error.headers["content-type"], HOSTILE in error.error) == ("application/json", True)
    saved = site.client.get(site.at(HOSTILE, "/audio"), download="1")
    assert saved.headers["content-type"] == "application/octet-stream"
    plain, encoded = saved.headers["content-disposition"].split("; ")[1:]
    assert "<" not in plain and "%3Cimg" in encoded


# ---- uploads


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


# ---- many clients, and slow ones


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
    deadline = time.monotonic() + 10
    names: set[str] = set()
    while "new hum.wav" not in names and time.monotonic() < deadline:
        hits = own_site.client.get("/api/search", q="hum", by="sound", k=3).json["hits"]
        names = {Path(hit["path"]).name for hit in hits}
    assert {"new hum.wav", "hum.wav"} <= names
