"""Progress on stderr: one bar for every command, and lines where there is no terminal."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

#: Where no bar can be drawn, a line says so often where the run stands.
LINE_EVERY_S = 30.0
#: The first such line comes sooner.
FIRST_LINE_S = 5.0


@contextlib.contextmanager
def progress_on_stderr(title: str = "", *, quiet: bool = False) -> Iterator[Reporter]:
    """A reporter for a long run: a bar on a terminal, elsewhere a line after some seconds and
    then every half minute.

    Args:
        title: Stands in front of every stage, such as the name of an encoder.
        quiet: Print notes alone.
    """
    console = None if quiet else _terminal()
    if console is not None:
        with make_bar(console) as bar:
            yield Reporter(title, bar)
        return
    reporter = Reporter(title)
    if quiet:
        yield reporter
    else:
        with _repeatedly(min(FIRST_LINE_S, LINE_EVERY_S), LINE_EVERY_S, reporter.print_line):
            yield reporter


def _terminal() -> Console | None:
    """Where a bar can be drawn."""
    if not sys.stderr.isatty():
        return None
    from rich.console import Console

    console = Console(stderr=True)
    return console if console.is_terminal and not console.is_dumb_terminal else None


def make_bar(console: Console) -> Bar:
    """A bar that vanishes when the run has ended."""
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.table import Column

    return Progress(
        TextColumn("{task.description}", markup=False, table_column=Column()),  # alone may wrap
        BarColumn(bar_width=min(20, console.width // 6)),
        TaskProgressColumn(table_column=Column(min_width=4, no_wrap=True)),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        redirect_stdout=False,  # results stay apart
    )


@contextlib.contextmanager
def _repeatedly(first_s: float, every_s: float, act: Callable[[], None]) -> Iterator[None]:
    """Within, act after so many seconds, and then every so many, in a thread."""
    is_over = threading.Event()

    def run() -> None:
        seconds = first_s
        while not is_over.wait(seconds):
            act()
            seconds = every_s

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


class Reporter:
    """A `Progress` that draws a bar, or has a line for where the run stands. Notes are printed."""

    def __init__(self, title: str = "", bar: Bar | None = None) -> None:
        self._title, self._bar = title, bar
        self._task: TaskID | None = None
        self._lock = threading.Lock()
        self._set("", None, None)

    def _set(self, what: str, total: int | None, n_bytes: int | None) -> None:
        self._what, self._total, self._n_bytes = what, total, n_bytes
        self._n_done, self._n_bytes_done, self._status = 0.0, 0, ""

    def begin(self, what: str, total: int | None = None, n_bytes: int | None = None) -> None:
        """See `Progress`."""
        with self._lock:
            self._set(what, total, n_bytes)
            if self._bar is not None:
                if self._task is not None:
                    self._bar.remove_task(self._task)
                self._task = self._bar.add_task(self._text(), total=None if total is None else 1)

    def advance(self, n: float = 1, n_bytes: int = 0) -> None:
        """See `Progress`."""
        with self._lock:
            self._n_done += n
            self._n_bytes_done += n_bytes
            self._update()

    def status(self, text: str) -> None:
        """See `Progress`."""
        with self._lock:
            self._status = text
            self._update()

    def note(self, line: str) -> None:
        """See `Progress`."""
        from soundsearch.render import printable

        if self._bar is None:
            typer.echo(printable(line), err=True)
        else:  # above the bar
            self._bar.console.print(
                printable(line), markup=False, highlight=False, soft_wrap=True, emoji=False
            )

    def line(self) -> str:
        """Where the run stands; empty before the first stage."""
        with self._lock:
            if self._total is None:
                return self._text()
            return self._text(f" ({self._part():.0%}{' of the bytes' if self._n_bytes else ''})")

    def print_line(self) -> None:
        """Print where the run stands, once there is something to say."""
        line = self.line()
        if line:
            self.note(line)

    def _text(self, part: str = "") -> str:
        """Stage, count and status; part: how much of it is done, where no bar shows it."""
        text = ": ".join(filter(None, [self._what and self._title, self._what]))
        n_done = int(self._n_done + 1e-6)  # parts of one may add up to a little less
        if self._total is not None:
            text += f": {n_done}/{self._total}{part}"
        elif n_done:
            text += f": {n_done}"
        return f"{text}, {self._status}" if self._status else text

    def _part(self) -> float:
        """How much of the stage is done, in [0, 1]."""
        if self._n_bytes:
            return self._n_bytes_done / self._n_bytes
        return self._n_done / self._total if self._total else 1.0

    def _update(self) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._part(), description=self._text())
