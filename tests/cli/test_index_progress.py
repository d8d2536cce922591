"""What `soundsearch index` says while it runs, and of what it did not read."""

from __future__ import annotations

import io
import json
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from indexer import plan, reading
from soundsearch.cli import index as command
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
    monkeypatch.setattr(command, "LINE_EVERY_S", 0.05)
    hash_of = reading.hash_of

    def wait_for_a_line(path: Path) -> bytes:
        if path.name == "2.wav":
            until(lambda: b" of 3 files" in sys.stderr.buffer.getvalue())  # type: ignore[attr-defined]
        return hash_of(path)

    monkeypatch.setattr(reading, "hash_of", wait_for_a_line)
    threads_before = set(threading.enumerate())
    result = soundsearch("index", library, "-j", 1)
    first = next(line for line in result.stderr.splitlines() if " of 3 files" in line)
    assert re.fullmatch(
        r"\d of 3 files, \d+% of their bytes; \S+ s of sound \(\d+ times real time\), 0 failed",
        first,
    )
    assert result.stdout == ""
    assert set(threading.enumerate()) <= threads_before


def test_lines_of_a_scan_and_of_looking_for_moved_files(
    soundsearch: Run, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundsearch("index", library)
    for path in library.glob("*.wav"):
        path.rename(path.with_name(f"new {path.name}"))
    monkeypatch.setattr(command, "LINE_EVERY_S", 0.05)
    scan, hash_of = plan.scan, plan.hash_of

    def seen(text: bytes) -> bool:
        return text in sys.stderr.buffer.getvalue()  # type: ignore[attr-defined]

    def scan_slowly(*arguments: object) -> object:
        found = scan(*arguments)  # type: ignore[arg-type]
        until(lambda: seen(b"scanning: 3 sound files found"))
        return found

    def hash_slowly(path: Path) -> bytes:
        if path.name == "new 1.wav":
            until(lambda: seen(b"looking for moved files: 1 of 3 new files compared"))
        return hash_of(path)

    monkeypatch.setattr(plan, "scan", scan_slowly)
    monkeypatch.setattr(plan, "hash_of", hash_slowly)
    assert "3 moved" in soundsearch("index", library).stderr


def test_json_has_no_lines_beside_it(
    soundsearch: Run, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "LINE_EVERY_S", 0.001)
    assert soundsearch("index", library, "--json").stderr == ""


# ---- the bar


def test_the_bar_grows_while_one_long_file_is_read() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    bar = command._bar(console)
    reporter = command._BarReporter(console, bar)
    reporter.found(2)
    assert "2 sound files" in bar.tasks[0].description
    reporter.begin(2, 1000)
    reporter.read(250)
    assert bar.tasks[0].percentage == 25
    assert bar.tasks[0].description.startswith("0/2 files, ")
    reporter.read(500)
    reporter.file_done(Path("/lib/a\n.wav"), "\x1b[31mno sound")
    assert bar.tasks[0].percentage == 75
    assert bar.tasks[0].description.startswith("1/2 files, ")
    console.print(bar.get_renderable())
    assert re.search(r"1/2 files, 0 s of sound, 0 x .*━.* 75%", console.file.getvalue())  # type: ignore[attr-defined]
    assert "skipped /lib/a\\n.wav: \\x1b[31mno sound" in console.file.getvalue()  # type: ignore[attr-defined]
    reporter.saving()
    assert "FAISS" in bar.tasks[0].description


def test_a_narrow_terminal_shows_how_much_is_done() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=40)
    bar = command._bar(console)
    reporter = command._BarReporter(console, bar)
    reporter.begin(321, 1000)
    reporter.embedded(900)
    reporter.read(334)
    console.print(bar.get_renderable())
    assert " 33%" in re.sub(r"\x1b\[.*?m", "", console.file.getvalue())  # type: ignore[attr-defined]


def test_files_without_a_byte_are_a_bar_too() -> None:
    console = Console(file=io.StringIO(), force_terminal=True)
    bar = command._bar(console)
    reporter = command._BarReporter(console, bar)
    reporter.begin(1, 0)
    reporter.file_done(Path("/lib/lost.wav"), "not there")
    assert "1/1 files" in bar.tasks[0].description


# ---- Ctrl-C before the first file


def test_ctrl_c_while_planning_ends_quietly(
    soundsearch: Run, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> object:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(plan, "scan", stop)
        result = soundsearch("index", library, code=130)
        assert result.stderr.startswith("stopped; ") and result.stderr.count("\n") == 1
        assert json.loads(soundsearch("index", library, "--json", code=130).stdout)["interrupted"]
        assert soundsearch("index", library, "--dry-run", code=130).stdout == ""
    assert "3 new" in soundsearch("index").stderr


@pytest.mark.usefixtures("tiny")
def test_sigint_while_a_slow_disk_is_scanned(tmp_path: Path) -> None:
    slow = (
        "import indexer.plan, time; scan = indexer.plan.scan\n"
        "def slowly(*a): print('scanning', flush=True); time.sleep(60); return scan(*a)\n"
        "indexer.plan.scan = slowly\n"
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


def test_the_summary_says_what_was_skipped_and_what_failed_before(
    soundsearch: Run, library: Path
) -> None:
    for i, ending in enumerate(["jpg", "JPG", "jpg", "txt", "txt", "a", "b", "c", "d"]):
        (library / f"{i}.{ending}").write_text("")
    (library / "README").write_text("")
    (library / "bad.wav").write_text("no sound")
    lines = soundsearch("index", library).stderr.splitlines()
    assert "1 failed" in lines[1] and "before" not in lines[1]
    assert lines[2] == "skipped by ending: .jpg 3, .txt 2, .a 1, .b 1, .c 1, +2 more"
    before = soundsearch("index", library, "--dry-run")
    lines = soundsearch("index", library).stderr.splitlines()
    assert "0 failed" in lines[0]
    assert "1 failed before" in lines[1] and "--retry" in lines[1]
    assert lines[2].startswith("skipped by ending: .jpg 3, ")
    assert before.stderr.splitlines()[1:] == lines[1:]
    assert before.stdout == ""
    again = soundsearch("index", library, "--retry").stderr.splitlines()
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
