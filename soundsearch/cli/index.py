"""`soundsearch index`: folders of sound into the index."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soundsearch.cli.options import Device, DeviceChoice, IndexFolder, Json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bar

    from indexer.plan import Plan
    from indexer.report import Report

#: Where no bar can be drawn, a line says so often where the run stands.
LINE_EVERY_S = 30.0
#: So many endings of skipped files are named.
N_ENDINGS = 5


def index(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            readable=False,
            help="Folders or files; none means all of those indexed before.",
        ),
    ] = None,
    index: IndexFolder = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            help="Pass over names or relative paths like this (shell pattern; repeatable)."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list what would be done; change nothing.")
    ] = False,
    prune: Annotated[
        bool,
        typer.Option("--prune", help="Also delete what is known of files that have vanished."),
    ] = False,
    retry: Annotated[
        bool,
        typer.Option(
            "--retry",
            help="Also try files again that failed, or were read in part, and have not changed.",
        ),
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Read all files again, also those that look unchanged."),
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option("-j", "--jobs", min=1, help="Files read at a time. [default: one per core]"),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Encoder of a new index: a name from `models list`, or a folder."),
    ] = None,
    device: DeviceChoice = Device.auto,
    json: Json = False,
) -> None:
    """Index folders of sound, or bring the index up to date with them.

    What has not changed is skipped, what was moved (from a root that was renamed, too) is not
    embedded anew, what cannot be read costs one line and is tried again once it has changed. Stop
    it whenever you like: it goes on where it was.

    Example: soundsearch index ~/Sounds /mnt/archive --exclude "*.asd"
    """
    from indexer.run import IndexRun
    from soundsearch.paths import index_folder
    from soundsearch.render import to_json

    with IndexRun(index_folder(index), paths or [], model) as run:
        if not run.paths:
            raise typer.BadParameter("give at least one folder: nothing has been indexed yet")
        if dry_run:
            with _progress(quiet=json) as progress:
                plan = run.plan(exclude=exclude or [], retry=retry, force=force, progress=progress)
            _preview(plan, json)
            return
        with _progress(quiet=json) as progress:
            plan, report = run.run(
                device=device.value,
                exclude=exclude or [],
                jobs=jobs,
                prune=prune,
                retry=retry,
                force=force,
                progress=progress,
            )
    if json:
        typer.echo(to_json(_report_facts(plan, report)))
    _tell_trouble(plan)
    _tell_dropped(report)
    _tell_report(plan, report, shown=not json)
    if report.interrupted:
        raise typer.Exit(130)
    if plan.absent:
        raise typer.Exit(1)


def _preview(plan: Plan, json: bool) -> None:
    from soundsearch.render import near, to_json

    todo = {
        "new": [plan.path_of(file) for file in plan.new],
        "changed": [plan.path_of(file) for _, file in plan.changed],
        "moved": [plan.path_of(file) for _, file in (*plan.moved, *plan.returned)],
        "again": [plan.path_of(file) for _, file in plan.again],
        "removed": [plan.known_path(recording) for recording in plan.missing],
    }
    if json:
        facts = {"unchanged": plan.n_unchanged, "failed_before": len(plan.failed_before)}
        typer.echo(to_json({"dry_run": True, **facts, **todo, "skipped": _by_number(plan)}))
    else:
        for what, files in todo.items():
            for path in sorted(files):
                typer.echo(f"{what:8}{near(path)}")
    _tell_trouble(plan)
    counts = ", ".join(
        f"{len(files)} {what}" for what, files in todo.items() if files or what != "again"
    )
    typer.echo(f"would be: {counts}, {plan.n_unchanged} unchanged; nothing was changed", err=True)
    _tell_left_out(plan)


def _report_facts(plan: Plan, report: Report) -> dict[str, Any]:
    return {
        "dry_run": False,
        "new": report.n_new,
        "changed": report.n_changed,
        "moved": report.n_moved,
        "unchanged": report.n_unchanged,
        "again": report.n_read_again,
        "removed": report.n_removed,
        "failed": report.n_failed,
        "failed_before": report.n_failed_before,
        "pruned": report.n_pruned,
        "windows": report.n_windows,
        "audio_s": round(report.audio_s, 3),
        "elapsed_s": round(report.elapsed_s, 3),
        "stage_s": {stage: round(seconds, 3) for stage, seconds in report.stage_s.items()},
        "interrupted": report.interrupted,
        "skipped": _by_number(plan),
        "failures": [{"path": path, "reason": reason} for path, reason in report.failures],
        "absent": [{"path": path, "reason": reason} for path, reason in plan.absent],
        "left_behind": [{"path": path, "reason": reason} for path, reason in plan.left_behind],
        "dropped_roots": report.dropped_roots,
    }


def _tell_trouble(plan: Plan) -> None:
    from soundsearch.render import shown

    for path, reason in plan.unreadable:
        typer.echo(f"skipped folder {shown(path)}: {reason}; what is known of it is kept", err=True)
    for path, reason in plan.left_behind:
        typer.echo(shown(f"note: {path}: {reason}"), err=True)
    for path, reason in plan.absent:
        typer.echo(shown(f"error: {path}: {reason}"), err=True)


def _tell_dropped(report: Report) -> None:
    from soundsearch.render import shown

    for path in report.dropped_roots:
        why = "all its recordings were found elsewhere or deleted"
        typer.echo(f"dropped root {shown(path)}: {why}", err=True)


def _by_number(plan: Plan) -> dict[str, int]:
    """Files skipped by ending, the most frequent first."""
    return dict(plan.all_skipped.most_common())


def _tell_left_out(plan: Plan) -> None:
    """What was not read, and how it would be."""
    from soundsearch.render import endings

    if plan.failed_before:
        n = len(plan.failed_before)
        typer.echo(f"{n} failed before and unchanged; try them again with --retry", err=True)
    if plan.all_skipped:
        typer.echo(f"skipped by ending: {endings(plan.all_skipped, N_ENDINGS)}", err=True)


def _tell_report(plan: Plan, report: Report, shown: bool) -> None:
    from soundsearch.render import length

    parts = [
        f"{report.n_new} new",
        f"{report.n_changed} changed",
        f"{report.n_moved} moved",
        f"{report.n_unchanged} unchanged",
        f"{report.n_removed} removed",
        f"{report.n_failed} failed",
    ]
    if report.n_read_again:
        parts.append(f"{report.n_read_again} read again")
    if report.n_pruned:
        parts.append(f"{report.n_pruned} pruned")
    line = ", ".join(parts)
    if report.audio_s:
        speed = report.audio_s / max(report.elapsed_s, 1e-3)
        line += f"; {length(report.audio_s)} of sound in {report.elapsed_s:.1f} s ({speed:.0f} times real time)"
    if report.interrupted:
        line = f"stopped; what was finished is kept, run it again to go on: {line}"
    if shown or report.interrupted:
        typer.echo(line, err=True)
    if shown:
        _tell_left_out(plan)


@contextlib.contextmanager
def _progress(quiet: bool) -> Iterator[_Reporter]:
    """Progress on stderr. quiet: only the files with a problem."""
    from rich.console import Console

    console = Console(stderr=True)
    if quiet:
        yield _Reporter(console)
    elif sys.stderr.isatty() and console.is_terminal and not console.is_dumb_terminal:
        with _bar(console) as bar:
            yield _BarReporter(console, bar)
    else:
        reporter = _Reporter(console)
        with _repeatedly(LINE_EVERY_S, reporter.print_line):
            yield reporter


def _bar(console: Console) -> Bar:
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.table import Column

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TaskProgressColumn(table_column=Column(min_width=4, no_wrap=True)),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


@contextlib.contextmanager
def _repeatedly(seconds: float, act: Callable[[], None]) -> Iterator[None]:
    """Within, act every so many seconds, in a thread."""
    is_over = threading.Event()

    def run() -> None:
        while not is_over.wait(seconds):
            act()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


class _Reporter:
    """Progress as lines: one for every file with a problem, and where the run stands when asked."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()  # readers report, too
        self._doing = ""
        self._n_found = self._n_files = self._n_done = self._n_failed = 0
        self._n_bytes = self._n_bytes_read = 0
        self._seconds = 0.0
        self._began: float | None = None

    def found(self, n_files: int) -> None:
        with self._lock:
            self._n_found += n_files
            self._doing = f"scanning: {self._n_found} sound files found"

    def compared(self, n_done: int, n_files: int) -> None:
        self._doing = f"looking for moved files: {n_done} of {n_files} new files compared"

    def begin(self, n_files: int, n_bytes: int) -> None:
        self._n_files, self._n_bytes = n_files, n_bytes
        self._began = time.monotonic()

    def read(self, n_bytes: int) -> None:
        with self._lock:
            self._n_bytes_read += n_bytes

    def embedded(self, seconds: float) -> None:
        self._seconds += seconds

    def note(self, path: Path, text: str) -> None:
        from soundsearch.render import shown

        self._print(f"note {shown(path)}: {shown(text)}")

    def file_done(self, path: Path, problem: str | None = None, partly: bool = False) -> None:
        from soundsearch.render import shown

        self._n_done += 1
        if problem is not None:
            self._n_failed += not partly
            self._print(f"{'partly read' if partly else 'skipped'} {shown(path)}: {shown(problem)}")

    def saving(self) -> None:
        self._began, self._doing = None, "writing the FAISS file"

    def line(self) -> str:
        """Where the run stands."""
        from soundsearch.render import length

        if self._began is None:
            return self._doing
        return (
            f"{self._n_done} of {self._n_files} files, {self._part():.0%} of their bytes; "
            f"{length(self._seconds)} of sound ({self._speed():.0f} times real time), "
            f"{self._n_failed} failed"
        )

    def print_line(self) -> None:
        """Print where the run stands, once there is something to say."""
        line = self.line()
        if line:
            self._print(line)

    def _speed(self) -> float:
        """Seconds of sound embedded per second."""
        return self._seconds / max(time.monotonic() - (self._began or 0.0), 1.0)

    def _part(self) -> float:
        """How much of what has to be read was read, in [0, 1]."""
        return self._n_bytes_read / self._n_bytes if self._n_bytes else 1.0

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True, emoji=False)


class _BarReporter(_Reporter):
    """Progress as a bar on a terminal, which grows with the bytes that were read."""

    def __init__(self, console: Console, bar: Bar) -> None:
        super().__init__(console)
        self._bar = bar
        self._task = bar.add_task("", total=None)

    def found(self, n_files: int) -> None:
        super().found(n_files)
        self._update()

    def compared(self, n_done: int, n_files: int) -> None:
        super().compared(n_done, n_files)
        self._update()

    def begin(self, n_files: int, n_bytes: int) -> None:
        super().begin(n_files, n_bytes)
        self._bar.reset(self._task, total=max(1, n_bytes))

    def read(self, n_bytes: int) -> None:
        super().read(n_bytes)
        self._update()

    def embedded(self, seconds: float) -> None:
        super().embedded(seconds)
        self._update()

    def file_done(self, path: Path, problem: str | None = None, partly: bool = False) -> None:
        super().file_done(path, problem, partly)
        self._update()

    def saving(self) -> None:
        super().saving()
        self._update()

    def line(self) -> str:
        """Where the run stands, beside a bar; files that failed have lines of their own."""
        from soundsearch.render import length

        if self._began is None:
            return super().line()
        done = f"{self._n_done}/{self._n_files} files"
        return f"{done}, {length(self._seconds)} of sound, {self._speed():.0f} x"

    def _update(self) -> None:
        self._bar.update(self._task, completed=self._n_bytes_read, description=self.line())
