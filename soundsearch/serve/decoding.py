"""Decode in processes of their own: one that crashes or takes too long is killed, the server is not.

In: the path of a recording or of an upload, and a passage. Out: a WAV file of it.
"""

from __future__ import annotations

import multiprocessing
import signal
import threading
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from soundsearch.errors import AudioError, Cause

#: Memory of a worker: the samples of a passage, of all channels together.
MOST_SAMPLES = 1 << 27


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
    """

    limit_s: float
    _idle: list[_Worker] = field(default_factory=list)
    _busy: list[_Worker] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _is_closed: bool = False

    def cut(self, path: Path, start_s: float, end_s: float, handle_s: float, to: Path) -> None:
        """Write a passage as a WAV file; see `soundsearch.audio.excerpts`.

        Each call has a process to itself; callers bound how many there are at a time.

        Args:
            path: Of the recording.
            start_s: Where the passage begins, in seconds of a player's clock.
            end_s: Where it ends.
            handle_s: Seconds to add before and after, as far as the recording goes.
            to: The file that is written.

        Raises:
            AudioError: The recording cannot be read, or not in time, or ends before the passage.
        """
        worker = self._take()
        is_usable = False
        try:
            worker.pipe.send((path, start_s, end_s, handle_s, to))
            if not worker.pipe.poll(self.limit_s):
                raise AudioError(
                    Cause.NOT_HANDLED,
                    f"decoding takes longer than {self.limit_s:g} s; take a passage nearer to its "
                    "beginning, or a shorter one",
                )
            problem = worker.pipe.recv()
            is_usable = True
        except (EOFError, OSError) as error:
            reason = "the server is shutting down" if self._is_closed else "the decoder crashed"
            raise AudioError(Cause.NOT_HANDLED, reason) from error
        finally:
            self._put_back(worker, is_usable)
        if problem is not None:
            raise AudioError(*problem)

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
            if self._is_closed:
                raise AudioError(Cause.NOT_HANDLED, "the server is shutting down")
            worker = self._idle.pop() if self._idle else _started()
            self._busy.append(worker)
            return worker

    def _put_back(self, worker: _Worker, is_usable: bool) -> None:
        with self._lock:
            self._busy.remove(worker)
            if is_usable and not self._is_closed:
                self._idle.append(worker)
                return
        worker.stop()


def _started() -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs,), daemon=True, name="soundsearch-decoder")
    process.start()
    theirs.close()
    return _Worker(process, ours)


def _work(pipe: Connection) -> None:
    """Cut passages until the server closes the pipe."""
    from soundsearch.audio.excerpts import excerpt

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends this
    while True:
        try:
            path, start_s, end_s, handle_s, to = pipe.recv()
        except EOFError:
            return
        problem = None
        try:
            to.write_bytes(excerpt(path, start_s, end_s, handle_s, MOST_SAMPLES))
        except AudioError as error:
            problem = error.cause, error.reason
        except OSError as error:
            problem = Cause.UNREADABLE, f"its passage cannot be written ({error.strerror or error})"
        except Exception as error:
            problem = Cause.NOT_HANDLED, f"it cannot be decoded ({type(error).__name__}: {error})"
        pipe.send(problem)
