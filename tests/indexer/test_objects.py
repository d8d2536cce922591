"""Recordings in a storage: found, compared with the index, searched for, explained."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

import soundsearch as library
from indexer import workers
from indexer.distribute import Sequential
from indexer.objects import place_at, state_of, walk_url
from indexer.scan import Scan
from soundsearch.errors import StoreError
from soundsearch.urls import path_of
from tests.conftest import Run
from tests.index_contents import rows_of, sounds_of
from tests.sounds import tone, write
from tests.storage import memory, put, tar, wav, web_server
from tests.tiny_encoder import BAND_HZ, WORDS

ODD = "hiss #1 ?x=2 ä%20b.wav"


@pytest.fixture(autouse=True)
def empty_storage() -> None:
    memory().store.clear()
    memory().pseudo_dirs[:] = [""]


@pytest.fixture
def at_url() -> str:
    sounds = {word: wav(tone(hz, 1.5)) for word, hz in zip(WORDS, BAND_HZ, strict=True)}
    put(
        {
            f"memory://lib/{ODD}": sounds["hiss"],
            "memory://lib/sub/hum.wav": sounds["hum"],
            "memory://lib/.hidden.wav": sounds["hum"],
            "memory://lib/.cache/hum.wav": sounds["hum"],
            "memory://lib/notes.txt": b"no sound",
            "memory://lib/code.ts": b"export const a = 1;\n" * 100,
            "memory://lib/shard.tar": tar(
                {"./a/beep.wav": sounds["beep"], "a/beep.json": b"{}", "drone.wav": sounds["drone"]}
            ),
        }
    )
    return "memory://lib"


def indexed(folder: Path) -> set[str]:
    return {str(path) for path in sounds_of(folder)}


def relative(url: str) -> set[str]:
    return {path for path, _ in walk_url(path_of(url))}


def test_a_prefix_is_looked_through_as_a_folder_is(at_url: str) -> None:
    found = Scan()
    paths = {path for path, _ in walk_url(path_of(at_url), exclude=["sub"], found=found)}
    assert paths == {ODD, "shard.tar!/a/beep.wav", "shard.tar!/drone.wav"}
    assert found.skipped == {".txt": 1, ".ts": 1}
    assert relative(at_url + "/sub/hum.wav") == {"."}
    assert relative(at_url + "/shard.tar!") == {"a/beep.wav", "drone.wav"}
    assert {path for path, _ in walk_url(path_of(at_url), "sub")} == {"sub/hum.wav"}


def test_it_is_indexed_found_and_shown_by_its_url(
    soundsearch: Run, tmp_path: Path, at_url: str
) -> None:
    summary = soundsearch("index", at_url).stderr
    assert summary.startswith("4 new, ")
    hit = json.loads(soundsearch("query", "hiss", "-k", 1, "--json").stdout)["hits"][0]
    assert hit["path"] == f"memory://lib/{ODD}" and hit["is_present"]
    assert soundsearch("query", "beep", "-k", 1, "--paths").stdout == (
        "memory://lib/shard.tar!/a/beep.wav\n"
    )
    shown = soundsearch("show", f"memory://lib/{ODD}").stdout
    assert f"path        memory://lib/{ODD}\n" in shown
    similar = soundsearch("similar", "memory://lib/sub/hum.wav", "-k", 1, "--paths").stdout
    assert similar.startswith("memory://lib/")
    assert soundsearch("query", "hum", "--in", "memory://lib/sub", "--paths").stdout == (
        "memory://lib/sub/hum.wav\n"
    )
    assert soundsearch("verify").exit_code == 0
    assert "memory://lib" in soundsearch("roots").stdout


def test_what_needs_the_file_says_where_it_lies(
    soundsearch: Run, tmp_path: Path, at_url: str
) -> None:
    soundsearch("index", at_url)
    for option in ("--play", "--open", "--reveal"):
        error = soundsearch("query", "hiss", option, 1, code=1).stderr.splitlines()[-1]
        assert f"memory://lib/{ODD}" in error and "download" in error
    for option in ("--copy-to", "--link-to", "--excerpts"):
        left_out = soundsearch("query", "hiss", "-k", 1, option, "out").stderr
        assert "download" in left_out and f"memory://lib/{ODD}" in left_out
    soundsearch("query", "hiss", "-k", 1, "--m3u", "a.m3u8")
    assert (tmp_path / "a.m3u8").read_text().splitlines()[-1] == f"memory://lib/{ODD}"


def test_runs_again_see_what_changed(soundsearch: Run, tmp_path: Path, at_url: str) -> None:
    soundsearch("index", at_url)
    assert ", 4 unchanged, " in soundsearch("index").stderr
    put({f"memory://lib/{ODD}": wav(tone(100, 2.5))})
    memory().rm("/lib/sub/hum.wav")
    assert soundsearch("index").stderr.startswith(
        "0 new, 1 changed, 0 moved, 2 unchanged, 1 removed"
    )
    put({"memory://lib/shard.tar": tar({"drone.wav": wav(tone(646, 1.5))})})
    # The content of a member that stayed is known, so it is not embedded again.
    assert soundsearch("index").stderr.startswith(
        "0 new, 0 changed, 0 moved, 2 unchanged, 1 removed"
    )


def test_local_runs_leave_urls_alone(soundsearch: Run, tmp_path: Path, at_url: str) -> None:
    soundsearch("index", at_url)
    before = rows_of(tmp_path / "index")
    memory().store.clear()  # nobody looks
    local = write(tmp_path / "here" / "hum.wav", tone(BAND_HZ[1], 1.5))  # the sound of one of them
    assert soundsearch("index", local.parent).stderr.startswith("1 new, 0 changed, 0 moved")
    assert before.items() <= rows_of(tmp_path / "index").items()
    gone = soundsearch("index", code=1).stderr
    assert "error: memory://lib: " in gone and "kept: 4" in gone
    assert before.items() <= rows_of(tmp_path / "index").items()


def test_a_list_of_urls(soundsearch: Run, tmp_path: Path, at_url: str) -> None:
    lines = ["# a list", "", f"memory://lib/{ODD}", "sub/hum.wav", "memory://lib/gone.wav"]
    put({"memory://lib/list.txt": "\n".join(lines).encode()})
    soundsearch("index", "memory://lib/list.txt")
    assert indexed(tmp_path / "index") == {f"memory://lib/{ODD}", "memory://lib/sub/hum.wav"}
    failed = rows_of(tmp_path / "index")[path_of("memory://lib/gone.wav")]
    assert failed.cause == "vanished"
    assert soundsearch("show", "memory://lib/sub/hum.wav").stdout.startswith("path ")
    put({"memory://lib/list.txt": b"sub/hum.wav"})
    assert ", 1 unchanged, 2 removed" in soundsearch("index").stderr


def test_a_member_of_a_known_tar_file_is_looked_at_alone(
    soundsearch: Run, tmp_path: Path, at_url: str
) -> None:
    soundsearch("index", f"{at_url}/shard.tar")
    for part in ("a", "a/beep.wav"):
        again = soundsearch("index", f"{at_url}/shard.tar!/{part}").stderr
        assert again.startswith("0 new, 0 changed, 0 moved, 1 unchanged, 0 removed")
    memory().mv("/lib/shard.tar", "/lib/B.TAR")
    assert relative(at_url) >= {"B.TAR!/a/beep.wav"}
    assert soundsearch("index", f"{at_url}/B.TAR", "--index", "B").stderr.startswith("2 new")


WEB_NAMES = ["a b", "c#d", "e?f=g", "h%i", "ä ö", "j+k&l", "m[n]", "o'p\"q"]


@pytest.fixture
def on_the_web(tmp_path: Path) -> Iterator[str]:
    for name, hz in zip(WEB_NAMES, BAND_HZ, strict=True):
        write(tmp_path / "web" / f"{name}.wav", tone(hz, 1.5))
    write(tmp_path / "web" / "known escape.wav", tone(100, 1.5))
    (tmp_path / "web" / "x.tar").write_bytes(tar({"hum.wav": wav(tone(100, 1.5))}))
    with web_server(tmp_path / "web") as address:
        yield address


def test_odd_names_in_a_list_on_the_web(soundsearch: Run, tmp_path: Path, on_the_web: str) -> None:
    """Names are names; what is escaped already stays so, and whole URLs are taken to the letter."""
    lines = [*(f"{name}.wav" for name in WEB_NAMES), "known%20escape.wav", "/a%20b.wav"]
    lines += [f"{on_the_web}/c%23d.wav", f"{on_the_web}/a b.wav?sig=1", "gone.wav"]
    (tmp_path / "web" / "list.txt").write_text("\n".join(lines))
    result = soundsearch("index", f"{on_the_web}/list.txt?sig=a/b").stderr
    assert result.splitlines()[-1].startswith("11 new") and ", 1 failed" in result, result
    assert "gone.wav" in result
    soundsearch("index", tmp_path / "web", "--index", "A")
    here = {path.name: sound for path, sound in sounds_of(tmp_path / "A").items()}
    there = sounds_of(tmp_path / "index")
    for name in WEB_NAMES:
        written = name.replace("#", "%23").replace("?", "%3F").replace("h%i", "h%25i")
        assert there[path_of(f"{on_the_web}/{written}.wav")] == here[f"{name}.wav"]
    assert there[path_of(f"{on_the_web}/a b.wav?sig=1")] == here["a b.wav"]
    assert ", 11 unchanged" in soundsearch("index").stderr


def test_urls_with_a_query(soundsearch: Run, tmp_path: Path, on_the_web: str) -> None:
    """As signed URLs have it; the ending of the name is before it."""
    urls = [f"{on_the_web}/a%20b.wav?sig=abc", f"{on_the_web}/x.tar?sig=a.b"]
    assert soundsearch("index", *urls).stderr.startswith("2 new")
    assert indexed(tmp_path / "index") == {urls[0], f"{urls[1]}!/hum.wav"}
    assert ", 2 unchanged" in soundsearch("index").stderr


def test_a_page_that_lists_nothing_is_an_error(
    soundsearch: Run, tmp_path: Path, on_the_web: str
) -> None:
    (tmp_path / "web" / "empty").mkdir()
    (tmp_path / "web" / "page.html").write_text("<a href='about.html'>about</a>")
    for name in ("empty/", "page.html", "page.html?download=hum.wav"):
        error = soundsearch("index", f"{on_the_web}/{name}", "--index", name[:4], code=1).stderr
        (line,) = (line for line in error.splitlines() if line.startswith("error"))
        assert f"{on_the_web}/{name}".rstrip("/") in line and ".txt" in line
    write(tmp_path / "web" / "empty" / "later.wav", tone(100, 1.5))
    assert "1 new" in soundsearch("index", f"{on_the_web}/empty").stderr


def test_local_tar_files_and_lists(soundsearch: Run, tmp_path: Path, at_url: str) -> None:
    (tmp_path / "x.tar").write_bytes(memory().cat_file("/lib/shard.tar"))
    write(tmp_path / "far" / "a#b ?.wav", tone(100))
    write(tmp_path / "near 50%.wav", tone(100))
    lines = ["memory://lib/sub/hum.wav", f"{tmp_path}/far/a#b ?.wav", "near 50%.wav"]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    soundsearch("index", "x.tar", "list.txt")
    assert indexed(tmp_path / "index") == {
        f"file://{tmp_path}/far/a#b ?.wav",
        f"file://{tmp_path}/near 50%.wav",
        f"file://{tmp_path}/x.tar!/a/beep.wav",
        f"file://{tmp_path}/x.tar!/drone.wav",
        "memory://lib/sub/hum.wav",
    }


def test_objects_without_sound_cost_a_row_each(soundsearch: Run, tmp_path: Path) -> None:
    put(
        {"memory://b/empty.wav": b"", "memory://b/text.wav": b"text" * 99, "memory://b/x.tar": b"-"}
    )
    put({"memory://b/good.wav": wav(tone(100))})
    result = soundsearch("index", "memory://b")
    assert result.stderr.splitlines()[-1].startswith("1 new") and ", 2 failed" in result.stderr
    causes = {str(path): row.cause for path, row in rows_of(tmp_path / "index").items()}
    assert causes == {
        "memory://b/empty.wav": "empty file",
        "memory://b/text.wav": "not audio",
        "memory://b/good.wav": None,
    }
    assert "memory://b/x.tar!" in result.stderr  # no tar file


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("memory://nowhere/x", ["memory://nowhere/x", "not there", "address"]),
        ("foo://b/x", ["foo://", "s3"]),
        ("gs://b/x", ["gs://b/x", "pip install gcsfs"]),
        ("https://ann:secret@host/x", ["https://host", "password", "netrc"]),
    ],
)
def test_impossible_addresses_are_one_line(
    soundsearch: Run, tmp_path: Path, url: str, parts: list[str]
) -> None:
    result = soundsearch("index", url, code=1)
    (line,) = result.stderr.splitlines()
    assert all(part in line for part in parts) and "secret" not in result.output
    assert not (tmp_path / "index").exists()


def test_without_fsspec_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(StoreError, match=r"soundsearch\[dask\]"):
        place_at("s3://b/x")


def test_without_the_package_of_a_storage_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    for name in ("s3", "s3a"):  # fsspec remembers what it loaded before
        monkeypatch.delitem(
            importlib.import_module("fsspec.registry")._registry, name, raising=False
        )
    with pytest.raises(StoreError, match=r"s3://b/x: .*pip install 'soundsearch\[dask\]'"):
        place_at("s3://b/x")


def test_the_state_of_an_object_is_its_time_and_version() -> None:
    time = datetime(2020, 1, 2, tzinfo=UTC)
    seconds = round(time.timestamp())
    assert state_of({"size": 3, "LastModified": time}) == (3, seconds * 10**9)
    assert state_of({"size": 3, "Last-Modified": "Thu, 02 Jan 2020 00:00:00 GMT"})[1] == (
        seconds * 10**9
    )
    assert state_of({"size": None, "mtime": float(seconds)}) == (0, seconds * 10**9)
    tagged = [state_of({"size": 3, "LastModified": time, "ETag": tag})[1] for tag in ("a", "b")]
    assert tagged[0] != tagged[1]
    assert {state // 10**9 for state in tagged} == {seconds}
    assert state_of({"size": 3}) == (3, 0) != state_of({"size": 3, "ETag": "a"})


@pytest.mark.parametrize("year", [1, 1950, 2300, 9999])
def test_far_dates_of_objects_fit_and_leave_their_versions(year: int) -> None:
    time = datetime(year, 1, 2, tzinfo=UTC)
    states = [state_of({"size": 3, "LastModified": time, "ETag": tag})[1] for tag in "ab"]
    assert states[0] != states[1] and all(-(2**63) <= state < 2**63 for state in states)
    assert (states[0] < 0) == (year < 1970)


def test_a_date_that_goes_backwards_is_a_change(
    soundsearch: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clocks of storages are compared with themselves alone, and only for equality."""
    monkeypatch.setattr(workers, "distributor_of", lambda *_: Sequential())

    def put_at(hz: float, year: int) -> None:
        put({"memory://lib/a.wav": wav(tone(hz, 1.5))})
        memory().store["/lib/a.wav"].created = datetime(year, 1, 1, tzinfo=UTC)

    of_threads = ("index", "memory://lib", "--index", "A")
    of_workers = ("index", "memory://lib", "--index", "B", "--workers", 2, "--parts", "P")
    for i, (hz, year, n) in enumerate(
        [(100, 2100, "1 new, 0 changed"), (646, 1950, "0 new, 1 changed"), (100, 1940, "1 changed")]
    ):
        put_at(hz, year)
        for command in (of_threads, of_workers):
            assert n in soundsearch(*command).stderr, (i, command)
    put_at(100, 1930)  # the date alone
    for command in (of_threads, of_workers):
        assert "0 changed, 0 moved, 1 unchanged" in soundsearch(*command).stderr
        assert ", 1 unchanged" in soundsearch(*command).stderr
    assert sounds_of(tmp_path / "A") == sounds_of(tmp_path / "B")


def test_from_python(tmp_path: Path, tiny: object, at_url: str) -> None:
    report = library.index_folders(at_url, tmp_path / "p", model="tiny")
    assert report.n_new == 4
    with library.open_index(tmp_path / "p") as index:
        hit = index.search(text="beep")[0]
        assert str(hit.path) == "memory://lib/shard.tar!/a/beep.wav"
        stored = index.search(audio="memory://lib/shard.tar!/a/beep.wav")
        assert len(stored) == 3


def test_another_encoder_reads_urls_again(
    soundsearch: Run, tmp_path: Path, at_url: str, other: object
) -> None:
    soundsearch("index", at_url)
    soundsearch("reembed", "--model", "other")
    assert len(sounds_of(tmp_path / "index")) == 4
    assert ", 4 unchanged" in soundsearch("index", "--model", "other").stderr
