"""No room left: what can still be answered is, the rest is one line that says so."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from soundsearch.errors import StoreError
from soundsearch.store import Store
from tests import program
from tests.conftest import Run
from tests.filled_store import FLAT, put
from tests.sounds import noise, tone, write

ROOT = Path("/library")


@contextlib.contextmanager
def no_room(file_bytes: int = 1000) -> Iterator[None]:
    """Within, no file of this process can grow beyond that size: SQLite finds no room for its -shm."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An index of one recording; nobody has it open."""
    with contextlib.closing(Store.create(tmp_path / "index", FLAT)) as made:
        put(made, ROOT, "a.wav", [(1, 0), (0, 1)])
    yield made
    made.close()


def names(store: Store) -> list[str]:
    with store.snapshot() as reader:
        return [recording.relative_path for recording in reader.recordings()]


# ---- the database


def test_reading_needs_no_room(store: Store) -> None:
    with no_room():
        opened = Store.open(store.folder)
        with opened.snapshot() as reader, opened.snapshot() as inner:
            ids = reader.window_ids()
            np.testing.assert_array_equal(inner.embeddings(ids, 2), np.eye(2))
        opened.close()
    assert not (store.folder / "soundsearch.db-wal").exists()
    assert names(store) == ["a.wav"]
    put(store, ROOT, "b.wav")  # there is room again
    store.close()
    assert not list(store.folder.glob("soundsearch.db-*"))


def test_what_a_killed_writer_left_is_read(store: Store) -> None:
    killed = (
        "import os, sys; from pathlib import Path; from soundsearch.store import Store\n"
        "from tests.filled_store import put\n"
        "store = Store(Path(sys.argv[1])); put(store, Path('/library'), 'b.wav'); os._exit(0)"
    )
    command = [sys.executable, "-c", killed, store.folder]
    subprocess.run(command, check=True, env=program.environment())
    assert (store.folder / "soundsearch.db-wal").stat().st_size > 0
    (store.folder / "soundsearch.db-shm").unlink()
    with no_room():
        assert names(store) == ["a.wav", "b.wav"]
    assert names(store) == ["a.wav", "b.wav"]


def test_a_reader_without_room_lets_the_others_in_again(store: Store) -> None:
    other = (
        "import sqlite3, sys; connection = sqlite3.connect(sys.argv[1], timeout=0)\n"
        "print(connection.execute('SELECT count(*) FROM recordings').fetchone())"
    )
    command = [sys.executable, "-c", other, store.folder / "soundsearch.db"]
    with no_room(), store.snapshot():
        assert names(store) == ["a.wav"]  # by a second connection
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "database is locked" in result.stderr
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.stdout == "(1,)\n", result.stderr


@pytest.mark.parametrize(
    ("free", "says"),
    [(0, "the disk is full; make room"), (1 << 40, "the disk fails; check it, then run: ")],
)
def test_an_io_error_is_told_by_the_room_there_is(
    store: Store, monkeypatch: pytest.MonkeyPatch, free: int, says: str
) -> None:
    asked = []

    def disk_usage(path: Path) -> object:
        asked.append(path)
        return shutil._ntuple_diskusage(1 << 40, (1 << 40) - free, free)  # type: ignore[attr-defined]

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    with no_room(), pytest.raises(StoreError, match=f"disk I/O error: {says}"):
        put(store, ROOT, "b.wav", np.tile((1.0, 0.0), (5000, 1)))
    assert asked == [store.folder]
    assert names(store) == ["a.wav"]


def test_a_folder_that_is_gone_is_not_a_full_disk(store: Store) -> None:
    shutil.rmtree(store.folder)
    with pytest.raises(StoreError, match="the folder cannot be written"):
        names(store)


# ---- the command line, on a disk that is full


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Callable[[bool], Path]]:
    """A small disk of its own: fill it, or make room again."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("a disk can be mounted by root alone")

    def fill(wanted: bool) -> Path:
        filler = disk / "filler"
        filler.unlink(missing_ok=True)
        if wanted:
            with open(filler, "wb", buffering=0) as file, contextlib.suppress(OSError):
                while file.write(bytes(4096)):
                    pass
        return disk

    yield fill
    subprocess.run(["umount", disk], check=True)


@pytest.mark.usefixtures("tiny")
def test_an_index_on_a_full_disk_answers_and_says_why_it_takes_no_more(
    tmp_path: Path, full: Callable[[bool], Path]
) -> None:
    index, library = full(False) / "index", tmp_path / "library"
    write(library / "low.wav", tone(100))
    write(library / "high.wav", tone(3200))

    def said(*arguments: object, code: int = 0) -> tuple[str, str]:
        result = program.soundsearch(*arguments, "--index", index)
        assert result.returncode == code, result.stderr
        return result.stdout.decode(), result.stderr.decode()

    said("index", library, "--model", "tiny")
    full(True)
    assert said("query", "hiss", "-k", 1, "--paths") == (f"{library}/high.wav\n", "")
    assert "recordings  2 (" in said("status")[0]
    assert said("verify") == ("", "the index is sound\n")
    write(library / "new.wav", noise(60))
    _, line = said("index", library, code=1)
    assert line.startswith(f"error: {index}: ") and line.count("\n") == 1
    assert line.endswith(
        ": the disk is full; make room and run the command again, what was committed is kept\n"
    )
    full(False)
    assert said("index", library)[1].startswith("1 new, 0 changed, 0 moved, 2 unchanged, ")
    assert said("verify") == ("", "the index is sound\n")


# ---- results that go to a full disk


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_results_that_cannot_be_written_are_one_line(
    soundsearch: Run, tmp_path: Path, unbuffered: str
) -> None:
    write(tmp_path / "library" / "low.wav", tone(100))
    soundsearch("index", tmp_path / "library")
    for command in (
        ["query", "hum"],
        ["query", "hum", "--paths"],
        ["query", "hum", "--json"],
        ["--help"],
    ):
        with open("/dev/full", "wb") as stdout:
            result = subprocess.run(
                [*program.COMMAND, *command],
                stdout=stdout,
                stderr=subprocess.PIPE,
                check=False,
                env=program.environment(PYTHONUNBUFFERED=unbuffered),
            )
        assert result.stderr == b"error: standard output: no space left on device\n", command
        assert result.returncode == 1, command


def test_another_file_that_cannot_be_written_is_no_fault_of_the_output(
    soundsearch: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from soundsearch import health

    def bug(store: Store) -> None:
        raise OSError(28, "No space left on device")

    write(tmp_path / "library" / "low.wav", tone(100))
    soundsearch("index", tmp_path / "library")
    monkeypatch.setattr(health, "status", bug)
    with pytest.raises(OSError, match="No space left"):
        soundsearch("status")
