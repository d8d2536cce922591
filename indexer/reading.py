"""Files to features: what the reader threads of an index run do.

The C libraries below them release the interpreter's lock, so several files are decoded at once.
The queue between them and the calling thread is bounded, so memory does not grow with the number
or the length of files.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np

from indexer.fetching import Source, opened
from indexer.report import FileProgress, Report
from soundsearch.arrays import Array
from soundsearch.audio.peaks import Peaks
from soundsearch.audio.recording import AudioFile, read_windows, unreadable
from soundsearch.audio.windows import WHOLLY_SILENT, Window
from soundsearch.descriptors import n_free, stop_if_ran_out
from soundsearch.encoder.towers import BATCH_SIZE, Encoder
from soundsearch.errors import AudioError, Cause, SoundsearchError
from soundsearch.store import Failed, FileFacts, Indexed, Recording

#: How long a run that ends waits for its readers.
PATIENCE_S = 5.0
#: File descriptors left to the database and the libraries, and those that a reader may need.
SPARE_DESCRIPTORS = 8
DESCRIPTORS_OF_A_READER = 2
FEWER_JOBS = ", or use --jobs 1"
#: So much is said of an unexpected error.
REASON_CHARACTERS = 200


@dataclass
class PendingFile:
    """A file on its way through the pipeline.

    url: of an object in a storage, which is no file at the path. before: what is known of it;
    known_hash: the hash of its content then. again: it is read whatever its content hash says.
    end: set by the reader. failure: set by the calling thread, and goes before the end.
    is_read: set when the last piece has arrived. n_waiting: windows that have arrived but are not
    embedded yet. n_bytes_read: as reported.
    """

    file: FileFacts
    path: Path
    before: Recording | None = None
    again: bool = False
    url: str | None = None
    known_hash: bytes | None = None
    spans: list[tuple[float, float]] = field(default_factory=list)
    embeddings: list[Array] = field(default_factory=list)
    end: Decoded | Failed | None = None
    failure: Failed | None = None
    is_read: bool = False
    n_waiting: int = 0
    n_bytes_read: int = 0

    @property
    def outcome(self) -> Decoded | Failed | None:
        """What became of it, once it is finished."""
        return self.failure or self.end

    def fail(self, error: Exception) -> None:
        """What has been embedded of it counts no more."""
        self.failure = not_handled(self.file, error)
        self.spans, self.embeddings = [], []


@dataclass(frozen=True)
class Decoded:
    """What is known of a file once all of it was read."""

    content_hash: bytes
    duration_s: float = 0.0
    sample_rate: int = 0
    n_channels: int = 0
    format: str = ""
    damage: str | None = None
    note: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    unchanged: bool = False
    sound_hash: bytes = b""
    peaks: Peaks | None = None

    @classmethod
    def of(cls, stored: Indexed) -> Decoded:
        """What is stored of a recording, as it was when it was read."""
        return cls(**{name: getattr(stored, name) for name in _STORED})

    def indexed(self, pending: PendingFile) -> Indexed:
        """What is stored of a file whose windows are embedded."""
        known = {name: getattr(self, name) for name in _STORED}
        embeddings = np.concatenate(pending.embeddings)
        return Indexed(file=pending.file, spans=pending.spans, embeddings=embeddings, **known)


_STORED = [field.name for field in fields(Decoded) if field.name != "unchanged"]


@dataclass(frozen=True)
class Piece:
    """Some windows of a file, in order; features is (n, n_mels, n_frames) float32."""

    pending: PendingFile
    spans: list[tuple[float, float]]
    features: Array


class Readers:
    """Threads that read files side by side; iterate over what they have read."""

    def __init__(
        self,
        encoder: Encoder,
        files: Iterator[PendingFile],
        n_threads: int,
        report: Report,
        progress: FileProgress,
    ) -> None:
        """files: made one by one as readers ask, so that nothing holds what is stored."""
        self._encoder, self._files = encoder, files
        self._report, self._progress = report, progress
        self._queue: queue.Queue[Piece | PendingFile | BaseException | None]
        self._queue = queue.Queue(2 * n_threads)
        self._stop = threading.Event()
        self._files_lock, self._report_lock = threading.Lock(), threading.Lock()
        self._threads = [
            threading.Thread(target=self._read_files, daemon=True) for _ in range(n_threads)
        ]

    def __iter__(self) -> Iterator[Piece | PendingFile]:
        """Pieces as they come, and each file after its last piece.

        Raises what is no fault of a file.
        """
        for thread in self._threads:
            thread.start()
        n_running = len(self._threads)
        while n_running:
            found = self._queue.get()
            if isinstance(found, BaseException):
                raise found
            if found is None:
                n_running -= 1
            else:
                yield found

    def stop(self) -> None:
        """Begin nothing more."""
        self._stop.set()

    def wait(self) -> None:
        """Wait for the threads; one that waits for a dead disk is left behind."""
        until = time.monotonic() + PATIENCE_S
        while any(t.is_alive() for t in self._threads) and time.monotonic() < until:
            with suppress(queue.Empty):
                self._queue.get(timeout=0.05)

    # ---- in the threads

    def _read_files(self) -> None:
        try:
            while not self._stop.is_set():
                with self._files_lock:
                    pending = next(self._files, None)
                if pending is None:
                    break
                with closing(self._read_file(pending)) as found:
                    for piece in found:
                        self._queue.put(piece)
                        if self._stop.is_set():
                            return
                        if pending.failure is not None:
                            break
                self._advance(pending, pending.file.size_bytes)
                self._queue.put(pending)
        except BaseException as error:  # no fault of a file: let the calling thread raise it
            self._queue.put(error)
        finally:
            self._queue.put(None)

    def _read_file(self, pending: PendingFile) -> Generator[Piece, None, None]:
        """The file's windows in pieces; sets pending.end."""
        timer = _StageTimer()
        is_known = False
        try:
            known = pending.known_hash
            hash_first = known is not None and not pending.again
            with opened(pending.path, pending.url, pending.file, hash_first=hash_first) as source:
                is_known = known is not None and source.content_hash == known
                if is_known and hash_first:
                    pending.end = Decoded(source.whole_hash(), unchanged=True)
                else:
                    pending.end = yield from self._decoded(pending, source, timer)
        except (AudioError, OSError) as error:
            stop_if_ran_out(error, or_else=FEWER_JOBS)
            why = unreadable(error) if isinstance(error, OSError) else error
            # Of a content that is known, the embeddings hold whatever becomes of the decoders.
            keep = why.cause.is_passing or is_known
            pending.end = Failed(pending.file, why.cause, why.reason, keep)
        except SoundsearchError:
            raise
        except Exception as error:  # a bug or a lack of memory, say, that others may not meet
            stop_if_ran_out(error, or_else=FEWER_JOBS)
            pending.end = not_handled(pending.file, error)
        finally:
            timer.lap("decode")
            with self._report_lock:
                for stage, seconds in timer.seconds.items():
                    self._report.stage_s[stage] += seconds

    def _decoded(
        self, pending: PendingFile, source: Source, timer: _StageTimer
    ) -> Generator[Piece, None, Decoded]:
        """The windows in pieces; returns what is known of the file after the last one."""
        with source.audio() as audio:
            duration_s = yield from self._pieces(pending, audio, timer)
            return Decoded(
                source.whole_hash(),
                duration_s,
                audio.sample_rate,
                audio.n_channels,
                audio.format,
                audio.damage,
                audio.note,
                source.metadata(),
                sound_hash=audio.sound_hash,
                peaks=audio.peaks,
            )

    def _pieces(
        self, pending: PendingFile, audio: AudioFile, timer: _StageTimer
    ) -> Generator[Piece, None, float]:
        """Windows with sound, a batch at a time; returns where the last window ends, in seconds."""
        config = self._encoder.bundle.audio
        rate = config.rate_for(audio.sample_rate)
        end_s = 0.0
        n_windows = 0
        batch: list[Window] = []
        for window in read_windows(audio, config):
            self._advance(pending, audio.position_bytes)
            end_s = window.end_s
            if not window.is_silent:
                batch.append(window)
                n_windows += 1
            if len(batch) == BATCH_SIZE:
                yield self._piece(pending, batch, rate, timer)
                batch = []
        if batch:
            yield self._piece(pending, batch, rate, timer)
        if n_windows == 0:
            raise AudioError(Cause.SILENT, WHOLLY_SILENT)
        return end_s

    def _piece(
        self, pending: PendingFile, batch: list[Window], rate: int, timer: _StageTimer
    ) -> Piece:
        timer.lap("decode")
        features = self._encoder.features_of(batch, rate)
        timer.lap("features")
        return Piece(pending, [(w.start_s, w.end_s) for w in batch], features)

    def _advance(self, pending: PendingFile, at_bytes: int) -> None:
        """Report how far a file was read."""
        n_bytes = min(at_bytes, pending.file.size_bytes) - pending.n_bytes_read
        if n_bytes > 0:
            pending.n_bytes_read += n_bytes
            self._progress.read(n_bytes)


def n_readers(jobs: int) -> int:
    """How many of so many files can be read side by side with the descriptors there are; 1 or more."""
    wanted = SPARE_DESCRIPTORS + DESCRIPTORS_OF_A_READER * jobs
    return max(1, (n_free(wanted) - SPARE_DESCRIPTORS) // DESCRIPTORS_OF_A_READER)


def not_handled(file: FileFacts, error: Exception) -> Failed:
    """What becomes of a file at which something unexpected was raised."""
    reason = f"it could not be handled ({describe(error)})"
    return Failed(file, Cause.NOT_HANDLED, reason, keep=True)


def describe(error: Exception) -> str:
    """An error's type, and the start of what it says, on one line."""
    message = " ".join(str(error).split())[:REASON_CHARACTERS]
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


class _StageTimer:
    """Processor seconds of this thread, by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.thread_time()

    def lap(self, stage: str) -> None:
        """Put what has passed since the last lap on this stage."""
        now = time.thread_time()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now
