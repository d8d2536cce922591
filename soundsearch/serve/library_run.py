"""A run of `index` in a process of its own, and who is informed of it.

A process: it can be ended as Ctrl-C ends the command, and searches share no interpreter with it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from soundsearch.errors import IndexBusyError, SoundsearchError
from soundsearch.paths import DatabaseUrl
from soundsearch.render import printable, report_facts
from soundsearch.serve.http_errors import RequestError
from soundsearch.serve.processes import let_signals_in, start

#: Seconds between two reports on one stage.
REPORT_S = 0.2
#: A run that was asked to end has so long to store what it has finished.
PATIENCE_S = 5.0
#: Seconds after which a stream that has nothing to say says so.
SILENCE_S = 15.0
#: How much a run stands behind searches for the processor.
NICE = 10
#: Notes on files that are kept of a run.
MOST_NOTES = 200

Event = dict[str, Any]


class LibraryRun:
    """The one run that this server starts at a time."""

    def __init__(self, place: Path | DatabaseUrl) -> None:
        """Prepare it; nothing runs yet. place: of the index."""
        self._place = place if isinstance(place, Path) else place.url
        self._process: Any = None
        self._listener: threading.Thread | None = None
        self._lock = threading.Lock()
        self._is_closed = False
        self._last: Event = {}
        self._notes: list[str] = []
        self._finished: Event | None = None
        self._n_changes = self._n_runs = 0

    @property
    def is_running(self) -> bool:
        """Whether a run goes on."""
        return self._process is not None

    @property
    def facts(self) -> Event:
        """What is known of the run that goes on, or of the last one."""
        return {
            "running": self.is_running,
            **self._last,
            "notes": list(self._notes),
            "finished": self._finished,
        }

    def start(self, *, retry: bool = False) -> None:
        """Bring the index up to date with all its roots, as `soundsearch index` does.

        Args:
            retry: Whether to try files again that failed.

        Raises:
            RequestError: A run goes on already.
        """
        with self._lock:
            if self._process is not None or self._is_closed:
                raise RequestError(409, "a run goes on already; wait for it, or cancel it")
            self._last, self._notes, self._finished = {"stage": "starting"}, [], None
            self._process, ours = start(
                _index, self._place, retry, name="soundsearch-index", daemon=False, duplex=False
            )
            self._n_runs += 1
            self._n_changes += 1
            self._listener = threading.Thread(
                target=self._listen, args=(self._process, ours), daemon=True
            )
            self._listener.start()

    def cancel(self) -> None:
        """End the run as Ctrl-C does: what was finished is kept. Raises RequestError if none goes on."""
        process = self._process
        if process is None:
            raise RequestError(409, "no run goes on; there is nothing to cancel")
        _interrupt(process)

    def close(self) -> None:
        """End the run, and all streams of events."""
        with self._lock:
            self._is_closed = True
            self._n_changes += 1
            process, listener = self._process, self._listener
        if process is not None and listener is not None:
            _interrupt(process)
            listener.join(PATIENCE_S)
            if listener.is_alive():
                process.kill()  # loses only what was not committed yet
                listener.join()

    def stop_streams(self) -> None:
        """End all streams of events."""
        self._is_closed = True

    async def events(self) -> AsyncIterator[Event | None]:
        """Yield what the run reports, from its state now; None after a time of silence.

        Ends when the server does.
        """
        seen, reported, n_notes = -1, 0, 0
        spoke = time.monotonic()
        while not self._is_closed:
            if seen != self._n_changes:
                seen, run = self._n_changes, self._n_runs
                n_notes = n_notes if reported < run else 0
                for note in self._notes[n_notes:]:
                    yield {**self._last, "note": note}
                    n_notes += 1
                if self._finished is None and self.is_running:
                    yield dict(self._last)
                elif self._finished is not None and reported < run:
                    yield {"finished": self._finished}
                    reported = run
                spoke = time.monotonic()
            elif time.monotonic() - spoke > SILENCE_S:
                spoke = time.monotonic()
                yield None
            await asyncio.sleep(REPORT_S)

    def _listen(self, process: Any, pipe: Connection) -> None:
        """Receive reports until the run ends."""
        finished: Event | None = None
        with suppress(EOFError, OSError):
            while True:
                kind, what = pipe.recv()
                if kind == "finished":
                    finished = what
                elif kind == "note":
                    if len(self._notes) < MOST_NOTES:
                        self._notes.append(what)
                else:
                    self._last = what
                self._n_changes += 1
        process.join()
        with self._lock:
            self._finished = finished or {
                "error": f"the run ended at once (exit code {process.exitcode}); "
                "what was finished is kept, run it again"
            }
            self._process = None
            self._n_changes += 1


def _interrupt(process: Any) -> None:
    with suppress(ProcessLookupError):  # only the listener waits for the process: two cannot
        os.kill(process.pid, signal.SIGINT)


class _Reporter:
    """A `Progress` that sends what it receives through a pipe, a few times a second.

    It also ends a run that was cancelled: an exception of a signal handler may be lost in the
    middle of an import, say.
    """

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()
        self._facts: Event = {}
        self._sent = 0.0
        self._is_cancelled = False

    def cancel(self, *_: object) -> None:
        """Handle a signal."""
        self._is_cancelled = True
        raise KeyboardInterrupt

    def begin(self, what: str, total: int | None = None, n_bytes: int | None = None) -> None:
        """See `Progress`."""
        with self._lock:
            self._facts = {"stage": what, "done": 0, "total": total, "done_bytes": 0}
            self._facts |= {"total_bytes": n_bytes, "status": ""}
            self._send(at_once=True)

    def advance(self, n: float = 1, n_bytes: int = 0) -> None:
        """See `Progress`."""
        self._end_if_cancelled()
        with self._lock:
            self._facts["done"] = self._facts.get("done", 0) + n
            self._facts["done_bytes"] = self._facts.get("done_bytes", 0) + n_bytes
            self._send()

    def status(self, text: str) -> None:
        """See `Progress`."""
        with self._lock:
            self._facts["status"] = text
            self._send()

    def note(self, line: str) -> None:
        """See `Progress`."""
        with self._lock, suppress(OSError):
            self._pipe.send(("note", printable(line)))

    def _end_if_cancelled(self) -> None:
        if self._is_cancelled and threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt

    def _send(self, *, at_once: bool = False) -> None:
        if at_once or time.monotonic() - self._sent > REPORT_S:
            self._sent = time.monotonic()
            with suppress(OSError):  # the server was killed; the run goes on
                self._pipe.send(("progress", dict(self._facts)))


def _index(place: Path | str, retry: bool, pipe: Connection) -> None:
    """Run `index`, in a process of its own."""
    import soundsearch

    if hasattr(os, "nice"):
        os.nice(NICE)
    reporter = _Reporter(pipe)
    try:
        signal.signal(signal.SIGINT, reporter.cancel)
        signal.signal(signal.SIGTERM, reporter.cancel)
        let_signals_in()
        report = soundsearch.index_folders(index=place, retry=retry, progress=reporter)
        finished: Event = report_facts(report)
    except IndexBusyError as error:
        finished = {"error": str(error), "busy": True}
    except SoundsearchError as error:
        finished = {"error": str(error)}
    except KeyboardInterrupt:
        finished = {"error": "the run was cancelled before it had begun"}
    with suppress(OSError):
        pipe.send(("finished", finished))
