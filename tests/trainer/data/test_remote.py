"""Shards by URL, from a server on this machine."""

from __future__ import annotations

import functools
import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.recorded import Recorded
from tests.trainer.made_shards import made_shards
from trainer.convert import ConversionError
from trainer.data.example import ShardError
from trainer.data.remote import local_shards, parse_list
from trainer.data.shard_folder import ShardFolder


class Server(http.server.ThreadingHTTPServer):
    """Serves a folder and remembers what was asked for."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Server)
        self.server.asked.append(self.path)
        super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of tmp_path/web, and an empty cache folder."""
    monkeypatch.setenv("SOUNDSEARCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "web").mkdir()
    with Server(tmp_path / "web") as served:
        thread = threading.Thread(target=served.serve_forever, args=(0.01,))
        thread.start()
        yield served
        served.shutdown()
        thread.join()


def write_list(folder: Path, *lines: str) -> None:
    (folder / "list.txt").write_text("\n".join(("# shards", "", *lines)) + "\n")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_list_is_fetched_once_with_what_lies_beside_the_shards(
    server: Server, tmp_path: Path
) -> None:
    made = made_shards(tmp_path / "web" / "data", n_clips=5, examples_per_shard=3)
    names = sorted(path.name for path in made.folder.iterdir() if path.suffix != ".jsonl")
    lines = [f"{sha256(made.folder / name)}  data/{name}" for name in names[:-1]]
    write_list(tmp_path / "web", *lines, f"{server.url}/data/{names[-1]}")
    progress = Recorded()
    folder = local_shards(f"{server.url}/list.txt", progress)
    assert (tmp_path / "cache") in folder.parents
    data = ShardFolder(folder)
    assert data.counts.tolist() == [3, 2]
    assert data.digest(1) == made.digest(1)
    assert sorted(stage.what for stage in progress.stages) == [f"MB of {name}" for name in names]
    assert all(sum(stage.advances) > 0 for stage in progress.stages)
    server.asked.clear()
    assert local_shards(f"{server.url}/list.txt") == folder
    assert server.asked == ["/list.txt"]


def test_a_changed_shard_is_fetched_again_and_without_the_network_the_old_ones_serve(
    server: Server, tmp_path: Path
) -> None:
    web = tmp_path / "web"
    shard = made_shards(web, n_clips=2).shards[0]
    write_list(web, f"{sha256(shard)}  {shard.name}")
    url = f"{server.url}/list.txt"
    folder = local_shards(url)
    shard = made_shards(web, n_clips=3).shards[0]
    write_list(web, f"{shard.name} {sha256(shard).upper()}")
    assert len(ShardFolder(local_shards(url))) == 3
    server.shutdown()
    server.server_close()
    assert local_shards(url) == folder


def test_a_shard_of_another_hash_is_refused_and_nothing_is_left(
    server: Server, tmp_path: Path
) -> None:
    shard = made_shards(tmp_path / "web", n_clips=2).shards[0]
    write_list(tmp_path / "web", f"{'0' * 64}  {shard.name}")
    with pytest.raises(ConversionError) as caught:
        local_shards(f"{server.url}/list.txt")
    assert all(part in str(caught.value) for part in (shard.name, sha256(shard), "0" * 64))
    assert not list((tmp_path / "cache").rglob("*.tar"))


def test_what_is_not_there_is_one_line(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"list\.txt: cannot be fetched .*not found"):
        local_shards(f"{server.url}/list.txt")
    write_list(tmp_path / "web", "gone.tar")
    with pytest.raises(ConversionError, match=r"gone\.tar: cannot be fetched .*not found"):
        local_shards(f"{server.url}/list.txt")


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("a.tar b.tar", "line 2 must be a URL"),
        ("a.zip", "line 2 must name a file .tar"),
        ("file:///etc/a.tar", "by http or https"),
        ("sub/x.tar", "second file x.tar"),
        ("..%2F.tar", "line 2 must name"),
    ],
)
def test_a_line_that_is_no_shard_is_named(line: str, what: str) -> None:
    with pytest.raises(ShardError, match=what):
        parse_list(f"x.tar\n{line}\n", "http://h/list.txt")


def test_a_list_without_shards_is_refused() -> None:
    with pytest.raises(ShardError, match="names no shard"):
        parse_list("# none\n", "http://h/list.txt")


def test_a_path_is_itself(tmp_path: Path) -> None:
    assert local_shards(str(tmp_path)) == tmp_path
