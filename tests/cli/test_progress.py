"""Progress on stderr: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import io
import os
import re
import sys
import threading
from pathlib import Path

import pytest
from rich.console import Console

from indexer.report import FileProgress
from soundsearch.cli import progress
from soundsearch.cli.progress import Reporter, make_bar, progress_on_stderr
from tests import program


def console_of(width: int = 80) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return re.sub(r"\x1b\[.*?m", "", console.file.getvalue())


def test_the_bar_grows_while_one_long_file_is_read() -> None:
    console = console_of()
    bar = make_bar(console)
    reporter = Reporter(bar=bar)
    reporter.begin("sound files found")
    reporter.advance()
    reporter.advance()
    assert bar.tasks[0].description == "sound files found: 2"
    assert bar.tasks[0].total is None
    files = FileProgress(reporter)
    files.begin(2, 1000)
    files.read(250)
    assert len(bar.tasks) == 1 and bar.tasks[0].percentage == 25
    assert bar.tasks[0].description == "files: 0/2"
    files.read(500)
    files.file_done(Path("/lib/a\n.wav"), "\x1b[31mno sound")
    assert bar.tasks[0].percentage == 75
    assert bar.tasks[0].description.startswith("files: 1/2, 0 s of sound")
    console.print(bar.get_renderable())
    assert re.search("files: 1/2, .*1 failed .*━.* 75%", written(console))
    assert "skipped /lib/a\\n.wav: \\x1b[31mno sound" in written(console)
    reporter.begin("writing the vectors")
    assert [task.description for task in bar.tasks] == ["writing the vectors"]


def test_a_narrow_terminal_shows_how_much_is_done() -> None:
    console = console_of(width=40)
    bar = make_bar(console)
    files = FileProgress(Reporter(bar=bar))
    files.begin(321, 1000)
    files.embedded(900)
    files.read(334)
    console.print(bar.get_renderable())
    assert " 33%" in written(console)


def test_files_without_a_byte_are_a_bar_too() -> None:
    bar = make_bar(console_of())
    files = FileProgress(Reporter(bar=bar))
    files.begin(1, 0)
    files.file_done(Path("/lib/lost.wav"), "not there")
    assert bar.tasks[0].description.startswith("files: 1/1")
    assert bar.tasks[0].percentage == 100


def test_a_bar_without_bytes_grows_with_the_count_and_bears_its_title() -> None:
    bar = make_bar(console_of())
    reporter = Reporter("starter", bar)
    reporter.begin("clips", 8)
    for _ in range(20):
        reporter.advance(0.1)
    assert bar.tasks[0].description == "starter: clips: 2/8"
    assert bar.tasks[0].percentage == pytest.approx(25)


def test_a_stage_of_nothing_is_done() -> None:
    bar = make_bar(console_of())
    reporter = Reporter(bar=bar)
    reporter.begin("clips", 0)
    reporter.status("none")
    assert bar.tasks[0].percentage == 100
    assert reporter.line() == "clips: 0/0 (100%), none"


def test_a_line_says_how_much_of_a_stage_is_done() -> None:
    reporter = Reporter("mine")
    assert reporter.line() == ""
    reporter.begin("texts", 3)
    reporter.advance()
    assert reporter.line() == "mine: texts: 1/3 (33%)"
    reporter.begin("files", 2, 1000)
    reporter.advance(0, 250)
    reporter.status("2 failed")
    assert reporter.line() == "mine: files: 0/2 (25% of the bytes), 2 failed"


def test_nothing_is_printed_before_the_first_stage_and_no_odd_character_ever(
    capsys: pytest.CaptureFixture[str],
) -> None:
    reporter = Reporter("mine")
    reporter.print_line()
    assert capsys.readouterr().err == ""
    reporter.note("skipped a\n\x1b[31m\udce9.wav")
    assert capsys.readouterr().err == "skipped a\\n\\x1b[31m\\udce9.wav\n"


def test_the_first_line_comes_sooner_than_the_others() -> None:
    assert progress.FIRST_LINE_S <= 5
    printed = threading.Event()
    with progress._repeatedly(0.001, 3600, printed.set):
        assert printed.wait(10)
        printed.clear()
        assert not printed.wait(0.05)


def test_quiet_progress_has_notes_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.001)
    monkeypatch.setattr(progress, "_terminal", console_of)
    with progress_on_stderr(quiet=True) as reporter:
        reporter.begin("clips", 3)
        reporter.advance()
        reporter.note("skipped a.wav")
    assert capsys.readouterr().err == "skipped a.wav\n"


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize(("term", "is_drawn"), [("xterm", True), ("dumb", False)])
def test_a_bar_is_drawn_on_a_terminal_that_can_and_rich_loads_for_no_other(
    term: str, is_drawn: bool
) -> None:
    import pty
    import subprocess

    script = (
        "import sys\n"
        "from soundsearch.cli.progress import progress_on_stderr\n"
        "with progress_on_stderr() as reporter:\n"
        "    reporter.begin('clips', 3)\n"
        "    print(reporter._bar is not None, 'rich' in sys.modules)\n"
    )
    environment = {**program.environment(), "TERM": term}
    for name in ("NO_COLOR", "TTY_COMPATIBLE", "FORCE_COLOR"):
        environment.pop(name, None)
    ours, theirs = pty.openpty()
    try:
        command = [sys.executable, "-c", script]
        on_terminal = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, stderr=theirs, check=True
        )
        elsewhere = subprocess.run(command, env=environment, capture_output=True, check=True)
    finally:
        os.close(ours)
        os.close(theirs)
    assert on_terminal.stdout.split() == [str(is_drawn).encode(), b"True"]
    assert elsewhere.stdout.split() == [b"False", b"False"]
