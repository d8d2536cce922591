"""Atomic writing: the old file whole or the new one whole, and nothing left beside it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from soundsearch.files import (
    put_folder_in_place,
    put_in_place,
    remove_unfinished,
    sha256_of,
    write_atomically,
    write_bytes,
    write_text,
)
from tests import program
from tests.test_full_disk import no_room


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_and_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_text(path, "é\r\nold\n")
    assert path.read_bytes() == "é\r\nold\n".encode()
    with write_atomically(path) as temporary:
        temporary.write_bytes(b"new")
        assert path.read_bytes() == "é\r\nold\n".encode()
        assert temporary.parent == tmp_path and temporary.name.startswith(".")
    assert path.read_bytes() == b"new" and names(tmp_path) == ["a.json"]


def test_a_failure_in_the_middle_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"old")

    def interrupted() -> None:
        with write_atomically(path) as temporary:
            temporary.write_bytes(b"ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"old" and names(tmp_path) == ["a.json"]


def test_a_disk_that_takes_no_more_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"old")
    with no_room(), pytest.raises(OSError, match="too large"):
        write_bytes(path, bytes(5000))
    assert path.read_bytes() == b"old" and names(tmp_path) == ["a.json"]


def test_what_the_disk_refuses_only_when_flushed_is_not_put_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"old")

    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space left"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old" and names(tmp_path) == ["a.json"]


def test_content_is_flushed_before_the_name_and_the_folder_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, bool]] = []
    path = tmp_path / "a.json"

    def fsync(descriptor: int) -> None:
        flushed = os.readlink(f"/proc/self/fd/{descriptor}")
        seen.append(("folder" if flushed == str(tmp_path) else "file", path.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    write_bytes(path, b"new")
    assert seen == [("file", False), ("folder", True)]


def test_all_of_a_folder_is_flushed_before_its_name_and_the_folder_above_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, bool]] = []
    temporary, folder = tmp_path / ".a", tmp_path / "a"
    temporary.mkdir()
    for name in ("b", "c"):
        (temporary / name).write_bytes(b"new")

    def fsync(descriptor: int) -> None:
        flushed = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        seen.append((flushed.relative_to(tmp_path).as_posix(), folder.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    put_folder_in_place(temporary, folder)
    assert sorted(seen[:2]) == [(".a/b", False), (".a/c", False)]
    assert seen[2:] == [(".a", False), (".", True)] and names(folder) == ["b", "c"]


def test_a_folder_that_cannot_be_flushed_leaves_the_old_one_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new, old, folder = tmp_path / ".new", tmp_path / ".old", tmp_path / "a"
    for place, content in ((new, b"new"), (folder, b"old")):
        place.mkdir()
        (place / "b").write_bytes(content)

    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(os, "fsync", refuse)
        with pytest.raises(OSError, match="No space left"):
            put_folder_in_place(new, folder, old)
    assert (folder / "b").read_bytes() == b"old" and not old.exists()
    with pytest.raises(OSError, match="not empty"):
        put_folder_in_place(new, folder)
    assert (folder / "b").read_bytes() == b"old"
    put_folder_in_place(new, folder, old)
    assert (folder / "b").read_bytes() == b"new" and (old / "b").read_bytes() == b"old"


def test_threads_that_write_one_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    path, both = tmp_path / "a.json", threading.Barrier(2)

    def write(content: bytes) -> None:
        with write_atomically(path) as temporary:
            temporary.write_bytes(content)
            both.wait(10)

    threads = [threading.Thread(target=write, args=(bytes([i]) * 9,)) for i in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in (b"\1" * 9, b"\2" * 9) and names(tmp_path) == ["a.json"]


def test_the_longest_name_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("é" * 127)
    write_text(path, "whole")
    assert path.read_text() == "whole"


def test_what_a_killed_process_left_can_be_removed(tmp_path: Path) -> None:
    path, other = tmp_path / "a[1].json", tmp_path / ".a1.json.7.part"
    other.touch()
    path.write_bytes(b"old")
    killed = (
        "import os, sys; from pathlib import Path; from soundsearch.files import write_atomically\n"
        "with write_atomically(Path(sys.argv[1])) as temporary: temporary.write_bytes(b'ne'); os._exit(9)"
    )
    command = [sys.executable, "-c", killed, path]
    assert subprocess.run(command, check=False, env=program.environment()).returncode == 9
    assert path.read_bytes() == b"old" and len(names(tmp_path)) == 3
    remove_unfinished(path)
    assert names(tmp_path) == sorted([other.name, path.name])


def test_a_file_that_was_written_over_a_long_time_is_put_in_place(tmp_path: Path) -> None:
    part = tmp_path / "a.tar.part"
    part.write_bytes(b"whole")
    put_in_place(part, tmp_path / "a.tar")
    assert names(tmp_path) == ["a.tar"]
    with pytest.raises(FileNotFoundError):
        put_in_place(part, tmp_path / "a.tar")


def test_the_sha256_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc" * 100_000)
    assert sha256_of(path) == hashlib.sha256(b"abc" * 100_000).hexdigest()
