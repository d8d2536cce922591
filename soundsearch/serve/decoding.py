"""Decode in processes of their own: one that crashes or takes too long is killed, the server is not.

In: the path of a recording or of an upload. Out: a WAV file of a passage, or the outline of its
waveform.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from soundsearch.audio.excerpts import excerpt
from soundsearch.audio.peaks import Peaks
from soundsearch.errors import AudioError, Cause
from soundsearch.serve.processes import let_signals_in, start
from soundsearch.waveforms import decoded_peaks

#: Memory of a worker: the samples of a passage, of all channels together.
MOST_SAMPLES = 1 << 27
#: A process has so many seconds to start, however busy the machine is.
START_S = 60.0


@dataclass
class _Worker:
    """A process that waits for work, and the pipe to it."""

    process: Any
    pipe: Connection

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


@dataclass
class Decoders:
    """Processes that cut passages out of recordings; they are started when they are needed.

    Attributes:
        limit_s: How long one passage may take.
        outline_s: How long the outline of a whole recording may take.
    """

    limit_s: float
    outline_s: float
    _idle: list[_Worker] = field(default_factory=list)
    _busy: list[_Worker] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _is_closed: bool = False

    def cut(self, path: Path, start_s: float, end_s: float, handle_s: float, to: Path) -> None:
        """Write a passage as a WAV file; see `soundsearch.audio.excerpts`.

        Each call has a process to itself; callers bound how many there are at a time. Arguments as of
        `excerpt`; to: the file that is written.

        Raises:
            AudioError: As `excerpt`; or it cannot be read in time.
        """
        self._do(self.limit_s, _cut, path, start_s, end_s, handle_s, to)

    def outline(self, path: Path) -> Peaks:
        """Return the outline of a recording's waveform. Raises AudioError as `cut`."""
        peaks: Peaks = self._do(self.outline_s, decoded_peaks, path)
        return peaks

    def _do(self, limit_s: float, work: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function of a module in a process of its own."""
        worker = self._take()
        is_usable = False
        try:
            worker.pipe.send((work, arguments))
            if not worker.pipe.poll(limit_s):
                raise AudioError(
                    Cause.NOT_HANDLED,
                    f"decoding takes longer than {limit_s:g} s; take a passage nearer to its "
                    "beginning, or a shorter one",
                )
            problem, found = worker.pipe.recv()
            is_usable = True
        except (EOFError, OSError) as error:
            reason = "the server is shutting down" if self._is_closed else "the decoder crashed"
            raise AudioError(Cause.NOT_HANDLED, reason) from error
        finally:
            self._put_back(worker, is_usable)
        if problem is not None:
            raise AudioError(*problem)
        return found

    def warm_up(self) -> None:
        """Start a process, so that the first passage need not wait for it."""
        self._put_back(self._take(), True)

    def close(self) -> None:
        """Kill all processes; passages that are being cut fail."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
            for worker in self._busy:
                worker.process.kill()
        for worker in idle:
            worker.stop()

    def _take(self) -> _Worker:
        with self._lock:
            worker = self._idle.pop() if self._idle and not self._is_closed else None
        worker = worker or _started()
        with self._lock:
            if not self._is_closed:
                self._busy.append(worker)
                return worker
        worker.stop()
        raise AudioError(Cause.NOT_HANDLED, "the server is shutting down")

    def _put_back(self, worker: _Worker, is_usable: bool) -> None:
        with self._lock:
            self._busy.remove(worker)
            if is_usable and not self._is_closed:
                self._idle.append(worker)
                return
        worker.stop()


def _started() -> _Worker:
    process, ours = start(_work, name="soundsearch-decoder", daemon=True, duplex=True)
    worker = _Worker(process, ours)
    try:
        is_ready = ours.poll(START_S) and ours.recv()
    except EOFError:
        is_ready = False
    if not is_ready:
        worker.stop()
        raise AudioError(Cause.NOT_HANDLED, "no process to decode in could be started")
    return worker


def _cut(path: Path, start_s: float, end_s: float, handle_s: float, to: Path) -> None:
    to.write_bytes(excerpt(path, start_s, end_s, handle_s, MOST_SAMPLES))


def _work(pipe: Connection) -> None:
    """Do what is asked for until the server closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends this
    let_signals_in()
    pipe.send(True)
    while True:
        try:
            work, arguments = pipe.recv()
        except EOFError:
            return
        problem = found = None
        try:
            found = work(*arguments)
        except AudioError as error:
            problem = error.cause, error.reason
        except OSError as error:
            problem = Cause.UNREADABLE, f"its passage cannot be written ({error.strerror or error})"
        except Exception as error:
            problem = Cause.NOT_HANDLED, f"it cannot be decoded ({type(error).__name__}: {error})"
        pipe.send((problem, found))
