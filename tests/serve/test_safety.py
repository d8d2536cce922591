"""Who may ask, and what is served."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

import soundsearch
from soundsearch.serve.safety import Access, is_loopback
from soundsearch.serve.server import PageServer
from tests.conftest import Run
from tests.serve.conftest import HOSTILE, Site
from tests.serve.served import Client, serving
from tests.sounds import tone, write
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


def test_a_proxy_may_encrypt(site: Site) -> None:
    with serving(site.index, names=["sounds.example"]) as client:
        headers = {"Host": "sounds.example", "X-Soundsearch": "1"}
        for origin, status in (("https://sounds.example", 400), ("https://sounds.example:1", 403)):
            answer = client.send("POST", "/api/basket.csv", b"[]", {**headers, "Origin": origin})
            assert answer.status == status


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
        assert listening.wait(120)
        address, token = server.address.split("?token=")
        port = address.rstrip("/").rsplit(":", 1)[1]
        yield Client(f"http://127.0.0.1:{port}/"), token
    finally:
        server.should_exit = True
        thread.join(120)


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
