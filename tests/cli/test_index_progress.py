"""What `soundsearch index` says while it runs, and of what it did not read."""

from __future__ import annotations

import json
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from indexer import fetching, plan
from soundsearch.cli import progress
from soundsearch.store import State
from tests import program
from tests.conftest import Run
from tests.index_contents import rows_of
from tests.sounds import noise, write


@pytest.fixture
def library(tmp_path: Path) -> Path:
    folder = tmp_path / "library"
    for i in range(3):
        write(folder / f"{i}.wav", noise(2, seed=i))
    return folder


def until(is_true: Callable[[], bool]) -> None:
    """Wait for it, but not for ever."""
    deadline = time.monotonic() + 20
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# ---- lines, where there is no terminal


def test_a_line_says_where_the_run_stands_while_a_file_takes_long(
    soundsearch: Run, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.05)
    hash_of = fetching.hash_of

    def wait_for_a_line(path: Path) -> bytes:
        if path.name == "2.wav":
            until(lambda: b"files: " in sys.stderr.buffer.getvalue())  # type: ignore[attr-defined]
        return hash_of(path)

    monkeypatch.setattr(fetching, "hash_of", wait_for_a_line)
    threads_before = set(threading.enumerate())
    result = soundsearch("index", library, "-j", 1)
    first = next(line for line in result.stderr.splitlines() if "files: " in line)
    assert re.fullmatch(
        r"files: \d/3 \(\d+% of the bytes\)(, \S+ s of sound, \d+ x real time)?", first
    )
    assert result.stdout == ""
    assert set(threading.enumerate()) <= threads_before


def test_lines_of_a_scan_and_of_looking_for_moved_files(
    soundsearch: Run, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundsearch("index", library)
    for path in library.glob("*.wav"):
        path.rename(path.with_name(f"new {path.name}"))
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.05)
    walk, hash_of = plan.walk, plan.hash_of

    def seen(text: bytes) -> bool:
        return text in sys.stderr.buffer.getvalue()  # type: ignore[attr-defined]

    def walk_slowly(*arguments: object) -> Iterator[object]:
        yield from walk(*arguments)  # type: ignore[arg-type]
        until(lambda: seen(b"sound files found: 3"))

    def hash_slowly(path: Path) -> bytes:
        if path.name == "new 1.wav":
            until(lambda: seen(b"gone: 1/3 (33%)"))
        return hash_of(path)

    monkeypatch.setattr(plan, "walk", walk_slowly)
    monkeypatch.setattr(plan, "hash_of", hash_slowly)
    assert "3 moved" in soundsearch("index", library).stderr


def test_json_has_no_lines_beside_it(
    soundsearch: Run, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.001)
    assert soundsearch("index", library, "--json").stderr == ""


# ---- Ctrl-C before the first file


def test_ctrl_c_while_planning_ends_quietly(
    soundsearch: Run, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> object:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(plan, "walk", stop)
        result = soundsearch("index", library, code=130)
        assert result.stderr.startswith("stopped; ") and result.stderr.count("\n") == 1
        assert json.loads(soundsearch("index", library, "--json", code=130).stdout)["interrupted"]
        assert soundsearch("index", library, "--dry-run", code=130).stdout == ""
    assert "3 new" in soundsearch("index").stderr


@pytest.mark.usefixtures("tiny")
def test_sigint_while_a_slow_disk_is_scanned(tmp_path: Path) -> None:
    slow = (
        "import indexer.plan, time; walk = indexer.plan.walk\n"
        "def slowly(*a): print('scanning', flush=True); time.sleep(60); return walk(*a)\n"
        "indexer.plan.walk = slowly\n"
        "from soundsearch.cli import app; app(prog_name='soundsearch')"
    )
    write(tmp_path / "library" / "a.wav", noise())
    process = program.start(
        *("index", tmp_path / "library", "--model", "tiny"), command=[sys.executable, "-c", slow]
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"scanning\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert errors.startswith(b"stopped; ") and errors.count(b"\n") == 1


# ---- what was not read


def said(text: str) -> list[str]:
    """The lines but those of progress, which a slow machine has."""
    return [
        line
        for line in text.splitlines()
        if not re.match(r"(files|gone|sound files found): \d", line)
    ]


def test_the_summary_says_what_was_skipped_and_what_failed_before(
    soundsearch: Run, library: Path
) -> None:
    for i, ending in enumerate(["jpg", "JPG", "jpg", "txt", "txt", "a", "b", "c", "d"]):
        (library / f"{i}.{ending}").write_text("")
    (library / "README").write_text("")
    (library / "bad.wav").write_text("no sound")
    lines = said(soundsearch("index", library).stderr)
    assert "1 failed" in lines[1] and "before" not in lines[1]
    assert lines[2] == "skipped by ending: .jpg 3, .txt 2, .a 1, .b 1, .c 1, +2 more"
    before = soundsearch("index", library, "--dry-run")
    lines = said(soundsearch("index", library).stderr)
    assert "0 failed" in lines[0]
    assert "1 failed before" in lines[1] and "--retry" in lines[1]
    assert lines[2].startswith("skipped by ending: .jpg 3, ")
    assert said(before.stderr)[1:] == lines[1:]
    assert before.stdout == ""
    again = said(soundsearch("index", library, "--retry").stderr)
    assert again[0].startswith("skipped ") and "1 failed" in again[1]
    assert not any("before" in line for line in again)


def test_the_json_of_what_was_skipped_and_what_failed_before(
    soundsearch: Run, library: Path
) -> None:
    for i in range(8):
        (library / f"x.{'abcdefgh'[i]}").write_text("")
    (library / "README").write_text("")
    (library / "y.H").write_text("")
    (library / "bad.wav").write_text("no sound")
    skipped = {".h": 2, **{f".{letter}": 1 for letter in "abcdefg"}, "": 1}
    soundsearch("index", library)
    for options in ((), ("--dry-run",)):
        facts = json.loads(soundsearch("index", library, "--json", *options).stdout)
        assert facts["failed_before"] == 1
        assert facts["skipped"] == skipped
        assert next(iter(facts["skipped"])) == ".h"
    assert json.loads(soundsearch("status", "--json").stdout)["skipped"] == skipped
    assert "skipped     .h 2, " in soundsearch("status").stdout


def test_retry_and_force_on_the_command_line(
    soundsearch: Run, library: Path, tmp_path: Path
) -> None:
    (library / "bad.wav").write_text("no sound")
    soundsearch("index", library)
    lines = soundsearch("index", "--force", "--dry-run").stdout.splitlines()
    assert lines == ["new     library/bad.wav"] + [f"again   library/{i}.wav" for i in range(3)]
    facts = json.loads(soundsearch("index", "--force", "--json").stdout)
    assert (facts["again"], facts["failed"], facts["unchanged"]) == (3, 1, 0)
    assert "3 read again" in soundsearch("index", "--force").stderr
    assert rows_of(tmp_path / "index")[library / "0.wav"].state is State.INDEXED
