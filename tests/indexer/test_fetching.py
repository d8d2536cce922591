"""Objects read with bounded memory: whichever way, they are what the same file would be."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import fsspec.implementations.memory
import numpy as np
import pytest

from indexer import fetching
from indexer.fetching import HashedContent, opened
from indexer.objects import place_at, state_of
from soundsearch.files import hash_of
from soundsearch.store import FileFacts
from tests.conftest import Run
from tests.index_contents import rows_of, sounds_of
from tests.sounds import encode, noise
from tests.storage import memory, put, sawtooth, tar, wav

URL = "memory://lib/x.wav"


@pytest.fixture(autouse=True)
def empty_storage() -> None:
    memory().store.clear()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "lib"
    folder.mkdir()
    for name, kind in (("a.wav", "WAV"), ("b.flac", "FLAC"), ("c.aiff", "AIFF"), ("d.ogg", "OGG")):
        (folder / name).write_bytes(wav(sawtooth(300, 5), kind=kind))
    encode(folder / "e.m4a", noise(3, 16000), 16000, "aac", "mp4")
    (folder / "f.mp3").write_bytes(b"\0" * 3000 + wav(sawtooth(300, 3), kind="MP3"))
    put({f"memory://lib/{path.name}": path.read_bytes() for path in folder.iterdir()})
    return folder


def facts(url: str = URL) -> FileFacts:
    return FileFacts(0, "x", *state_of(place_at(url).info()))


@pytest.mark.parametrize("most", [fetching.MOST_IN_MEMORY, 0])
def test_an_object_is_embedded_as_a_file_is(
    soundsearch: Run, tmp_path: Path, files: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    soundsearch("index", files, "--index", "A")
    monkeypatch.setattr(fetching, "MOST_IN_MEMORY", most)
    soundsearch("index", "memory://lib", "--index", "B")
    by_name = [
        {path.name: sound for path, sound in sounds_of(tmp_path / index).items()}
        for index in ("A", "B")
    ]
    assert by_name[0] == by_name[1] and len(by_name[0]) == 6
    hashes = [_hashes(tmp_path / index) for index in ("A", "B")]
    assert hashes[0] == hashes[1]


def _hashes(index: Path) -> dict[str, tuple[bytes | None, str | None]]:
    from soundsearch.store import Store

    with Store.open(index).snapshot() as reader:
        facts = map(reader.facts, reader.recordings())
        return {one.path.name: (one.content_hash, one.sound_hash, one.format) for one in facts}


def test_large_files_are_streamed_where_the_format_allows(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "MOST_IN_MEMORY", 0)
    for path in files.iterdir():
        url = f"memory://lib/{path.name}"
        is_streamed = path.suffix in (".wav", ".flac", ".aiff")
        with opened(path, url, facts(url), hash_first=False) as source:
            assert (source.content_hash is None) == is_streamed, path
            assert source.whole_hash() == hash_of(path)
        with opened(path, url, facts(url), hash_first=True) as source:
            assert source.content_hash == hash_of(path)


def test_the_hash_is_that_of_the_whole_however_it_is_read() -> None:
    rng = np.random.default_rng(0)
    content = rng.bytes(1000)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        read = HashedContent(io.BytesIO(content), 1000, URL)
        for _ in range(rng.integers(0, 30)):
            at = int(rng.integers(0, 1000))
            read.seek(at)
            n = int(rng.integers(0, 400))
            assert read.read(n) == content[at : at + n]
        assert read.whole_hash() == HashedContent(io.BytesIO(content), 1000, URL).whole_hash()


@pytest.mark.parametrize("most", [fetching.MOST_IN_MEMORY, 0])
@pytest.mark.parametrize("name", ["x.wav", "x.mp3"])
def test_an_object_that_changes_while_it_is_read_is_read_by_the_next_run(
    soundsearch: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, name: str
) -> None:
    monkeypatch.setattr(fetching, "MOST_IN_MEMORY", most)
    url, kind = f"memory://lib/{name}", Path(name).suffix[1:].upper()
    put({url: wav(sawtooth(300, 2), kind=kind)})
    read = fetching.Fetched.metadata

    def change(self: Any) -> dict[str, str]:
        put({url: wav(sawtooth(500, 2), kind=kind)})
        return read(self)

    with monkeypatch.context() as patched:
        patched.setattr(fetching.Fetched, "metadata", change)
        assert "changed while it was read" in soundsearch("index", "memory://lib").stderr
    (row,) = rows_of(tmp_path / "index").values()
    assert (row.cause, row.window_ids) == ("unreadable", ())
    assert soundsearch("index").stderr.startswith("1 new")


def test_a_connection_that_breaks_is_no_damage(
    soundsearch: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoders take the end of a content for the end of the sound."""
    monkeypatch.setattr(fetching, "MOST_IN_MEMORY", 0)
    put({URL: wav(sawtooth(300, 60))})

    class Breaks(fsspec.implementations.memory.MemoryFile):
        def read(self, n: int = -1) -> bytes:
            if self.tell() > 100_000:
                raise ConnectionError("the line is dead")
            return super().read(n)

    with monkeypatch.context() as patched:
        patched.setattr(memory().store["/lib/x.wav"], "__class__", Breaks)
        result = soundsearch("index", "memory://lib")
    assert "the line is dead" in result.stderr and ", 1 failed" in result.stderr
    (row,) = rows_of(tmp_path / "index").values()
    assert (row.cause, row.window_ids) == ("unreadable", ())
    memory().store["/lib/x.wav"].__class__ = fsspec.implementations.memory.MemoryFile
    assert soundsearch("index").stderr.startswith("1 new")


def test_more_than_the_disk_holds_costs_a_row(
    soundsearch: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "MOST_IN_MEMORY", 0)
    monkeypatch.setattr(fetching, "MOST_ON_DISK", 1000)
    put({"memory://lib/x.mp3": wav(sawtooth(300, 60), kind="MP3"), URL: wav(sawtooth(300))})
    result = soundsearch("index", "memory://lib")
    assert result.stderr.splitlines()[-1].startswith("1 new") and "TMPDIR" in result.stderr
    assert rows_of(tmp_path / "index")


def test_a_tar_file_without_a_date_is_looked_through_each_time(
    soundsearch: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its members may lie elsewhere by now, and nothing of it says so."""
    monkeypatch.setattr("indexer.objects.TIMES", ())
    sounds = {name: wav(sawtooth(hz, 2)) for name, hz in (("a.wav", 300), ("b.wav", 700))}
    put({"memory://lib/x.tar": tar(sounds)})
    soundsearch("index", "memory://lib/x.tar")
    before = sounds_of(tmp_path / "index")
    assert len(before) == 2
    put({"memory://lib/x.tar": tar(dict(reversed(sounds.items())))})
    assert ", 2 read again" in soundsearch("index", "--force").stderr
    assert sounds_of(tmp_path / "index") == before


def test_a_tar_file_is_looked_through_once_for_all_readers(
    soundsearch: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    put({"memory://lib/x.tar": tar({f"{i}.wav": wav(sawtooth(300, 1)) for i in range(8)})})
    seen: list[str] = []
    look = fetching.members_of

    def slowly(place: Any) -> dict[str, tuple[int, int]]:
        seen.append(place.url)
        time.sleep(0.05)  # so that all readers are there
        return look(place)

    monkeypatch.setattr(fetching, "members_of", slowly)
    assert "8 new" in soundsearch("index", "memory://lib/x.tar", "-j", 4).stderr
    assert seen == ["memory://lib/x.tar"]
