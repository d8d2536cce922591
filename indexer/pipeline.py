"""One index run: scan -> decode -> window -> features -> embed -> store.

Threads decode and compute features (the C libraries below them release the interpreter's lock),
the calling thread embeds in batches and is the only writer. All queues are bounded, so memory does
not grow with the number or the length of files. A recording is stored whole, in one transaction
with its embeddings: a run that is killed loses at most what was not yet committed.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from indexer.plan import Plan, choose_targets, make_plan, settle
from indexer.report import Progress, Report, Silent
from indexer.scan import hash_of
from soundsearch.audio import WHOLLY_SILENT, AudioFile, Window, read_windows, unreadable
from soundsearch.cache import refresh
from soundsearch.encoder import BATCH_SIZE, Encoder
from soundsearch.errors import AudioError, Cause
from soundsearch.store import Failed, FileFacts, Indexed, Recording, Store

Array = NDArray[np.float32]

#: A transaction is committed after so many windows or seconds, whichever comes first.
COMMIT_WINDOWS = 2_000
COMMIT_S = 2.0
#: How long a run that ends waits for its readers.
PATIENCE_S = 5.0
#: Failures that say nothing about the sound: what was known of the recording is kept.
PASSING = frozenset({Cause.NOT_PERMITTED, Cause.VANISHED, Cause.UNREADABLE})


def run(
    store: Store,
    encoder: Encoder,
    paths: Sequence[Path],
    *,
    exclude: Sequence[str] = (),
    jobs: int | None = None,
    prune: bool = False,
    progress: Progress | None = None,
) -> tuple[Plan, Report]:
    """Bring the index up to date with these folders and files.

    jobs: files decoded side by side; None means one per core. prune: also delete recordings whose
    files have vanished. Ctrl-C ends the run early, with all finished recordings stored.
    Raises IndexBusyError if another process writes, StoreError if the database cannot.
    """
    started = time.monotonic()
    report = Report()
    with store.lock():
        with store.snapshot() as connection:
            roots = store.roots(connection)
        plan = make_plan(store, settle(store, choose_targets(roots, paths)), exclude)
        try:
            _apply_moves(store, plan, report, prune)
            _Run(store, encoder, report, progress or Silent()).read(
                plan, jobs or os.cpu_count() or 1
            )
        except KeyboardInterrupt:
            report.interrupted = True
        refresh(store)
    report.elapsed_s = time.monotonic() - started
    return plan, report


def _apply_moves(store: Store, plan: Plan, report: Report, prune: bool) -> None:
    """All that needs no decoding, in one transaction."""
    gone = [recording.id for recording in plan.missing]
    if plan.moved or plan.returned or gone or plan.gone_roots or (prune and plan.missing_before):
        with store.transaction() as connection:
            for recording, file in (*plan.moved, *plan.returned):
                store.move(connection, recording.id, file)
            store.mark_missing(connection, gone)
            if prune:
                pruned = gone + [recording.id for recording in plan.missing_before]
                store.forget(connection, pruned)
                report.n_pruned = len(pruned)
            dropped = store.drop_empty_roots(connection, plan.gone_roots)
            report.dropped_roots = [root.path for root in dropped]
    report.n_moved = len(plan.moved) + len(plan.returned)
    report.n_removed = len(gone)
    report.n_unchanged = plan.n_unchanged


@dataclass
class _Open:
    """A file on its way through the pipeline."""

    file: FileFacts
    path: Path
    before: Recording | None
    spans: list[tuple[float, float]] = field(default_factory=list)
    embeddings: list[Array] = field(default_factory=list)
    end: _End | Failed | None = None  # set by the reader
    is_read: bool = False  # set when the last piece has arrived
    n_waiting: int = 0  # windows that have arrived but are not embedded yet


@dataclass(frozen=True)
class _End:
    """What is known of a file once all of it was read."""

    content_hash: bytes
    duration_s: float = 0.0
    sample_rate: int = 0
    n_channels: int = 0
    format: str = ""
    damage: str | None = None
    unchanged: bool = False


@dataclass(frozen=True)
class _Piece:
    """Some windows of a file, in order; features is (n, n_mels, n_frames)."""

    open: _Open
    spans: list[tuple[float, float]]
    features: Array


class _Run:
    """The state of one run in the calling thread, and the readers it starts."""

    def __init__(self, store: Store, encoder: Encoder, report: Report, progress: Progress) -> None:
        self.store, self.encoder, self.report, self.progress = store, encoder, report, progress
        self._waiting: list[_Piece] = []
        self._finished: list[_Open] = []
        self._last_commit = time.monotonic()
        self._stop = threading.Event()
        self._shares = threading.Lock()

    def read(self, plan: Plan, jobs: int) -> None:
        """Read, embed and store the files of a plan."""
        self.progress.begin(len(plan.to_read))
        if not plan.to_read:
            return
        # Made one by one as readers ask: what is stored is held by nobody any more.
        source = (_Open(file, plan.path_of(file), before) for file, before in plan.to_read)
        source_lock = threading.Lock()
        pieces: queue.Queue[_Piece | _Open | BaseException | None] = queue.Queue(2 * jobs)
        readers = [
            threading.Thread(
                target=self._read_files, args=(source, source_lock, pieces), daemon=True
            )
            for _ in range(min(jobs, len(plan.to_read)))
        ]
        for reader in readers:
            reader.start()
        try:
            n_running = len(readers)
            while n_running:
                piece = pieces.get()
                if isinstance(piece, BaseException):
                    raise piece
                if piece is None:
                    n_running -= 1
                elif isinstance(piece, _Open):
                    piece.is_read = True
                    self._finish(piece)
                else:
                    self._take(piece)
            self._embed()
        finally:
            self._stop.set()
            try:
                self._commit()
            finally:  # one that waits for a dead disk is left behind
                until = time.monotonic() + PATIENCE_S
                while any(reader.is_alive() for reader in readers) and time.monotonic() < until:
                    with suppress(queue.Empty):
                        pieces.get(timeout=0.05)

    # ---- in the reader threads

    def _read_files(
        self,
        source: Iterator[_Open],
        source_lock: threading.Lock,
        pieces: queue.Queue[_Piece | _Open | BaseException | None],
    ) -> None:
        try:
            while not self._stop.is_set():
                with source_lock:
                    todo = next(source, None)
                if todo is None:
                    break
                for piece in self._read_file(todo):
                    pieces.put(piece)
                    if self._stop.is_set():
                        return
                pieces.put(todo)
        except BaseException as error:  # a bug: let the calling thread raise it
            pieces.put(error)
        finally:
            pieces.put(None)

    def _read_file(self, todo: _Open) -> Iterator[_Piece]:
        """The file's windows in pieces; sets todo.end."""
        config = self.encoder.bundle.audio
        clock = _Clock()
        try:
            content_hash = hash_of(todo.path)
            if todo.before is not None and todo.before.content_hash == content_hash:
                todo.end = _End(content_hash, unchanged=True)
                return
            with AudioFile(todo.path) as audio:
                rate = config.rate_for(audio.sample_rate)
                duration_s = 0.0
                n_heard = 0
                batch: list[Window] = []
                for window in read_windows(audio, config):
                    duration_s = window.end_s
                    if not window.is_silent:
                        batch.append(window)
                    if len(batch) == BATCH_SIZE:
                        n_heard += len(batch)
                        yield self._piece(todo, batch, rate, clock)
                        batch = []
                if batch:
                    n_heard += len(batch)
                    yield self._piece(todo, batch, rate, clock)
                if n_heard == 0:
                    raise AudioError(Cause.SILENT, WHOLLY_SILENT)
                todo.end = _End(
                    content_hash,
                    duration_s,
                    audio.sample_rate,
                    audio.n_channels,
                    audio.format,
                    audio.damage,
                )
        except (AudioError, OSError) as error:
            why = unreadable(error) if isinstance(error, OSError) else error
            todo.end = Failed(todo.file, why.cause, why.reason, keep=why.cause in PASSING)
        finally:
            clock.lap("decode")
            with self._shares:
                for stage, seconds in clock.seconds.items():
                    self.report.stage_s[stage] += seconds

    def _piece(self, todo: _Open, batch: list[Window], rate: int, clock: _Clock) -> _Piece:
        clock.lap("decode")
        features = self.encoder.features_of(batch, rate)
        clock.lap("features")
        return _Piece(todo, [(w.start_s, w.end_s) for w in batch], features)

    # ---- in the calling thread

    def _take(self, piece: _Piece) -> None:
        piece.open.n_waiting += len(piece.spans)
        self._waiting.append(piece)
        if sum(len(waiting.spans) for waiting in self._waiting) >= BATCH_SIZE:
            self._embed()

    def _embed(self) -> None:
        if not self._waiting:
            return
        started = time.perf_counter()
        embeddings = self.encoder.embed_features(
            np.concatenate([piece.features for piece in self._waiting])
        )
        self.report.stage_s["embed"] += time.perf_counter() - started
        place = 0
        waiting, self._waiting = self._waiting, []
        for piece in waiting:
            n = len(piece.spans)
            piece.open.spans += piece.spans
            piece.open.embeddings.append(embeddings[place : place + n])
            piece.open.n_waiting -= n
            place += n
            self.progress.heard(piece.spans[-1][1] - piece.spans[0][0])
        for todo in {id(piece.open): piece.open for piece in waiting}.values():
            self._finish(todo)

    def _finish(self, todo: _Open) -> None:
        """Once all of a file was read and embedded, it waits for the next commit."""
        if not todo.is_read or todo.n_waiting:
            return
        self._finished.append(todo)
        n_windows = sum(len(finished.spans) for finished in self._finished)
        if n_windows >= COMMIT_WINDOWS or time.monotonic() - self._last_commit >= COMMIT_S:
            self._commit()

    def _commit(self) -> None:
        """One transaction for all finished recordings."""
        finished, self._finished = self._finished, []
        self._last_commit = time.monotonic()
        if not finished:
            return
        started = time.perf_counter()
        with self.store.transaction() as connection:
            for todo in finished:
                if isinstance(todo.end, Failed):
                    self.store.put_failed(connection, todo.end)
                elif isinstance(todo.end, _End) and todo.end.unchanged:
                    assert todo.before is not None
                    self.store.move(connection, todo.before.id, todo.file)
                elif isinstance(todo.end, _End):
                    self.store.put(connection, _indexed(todo, todo.end))
        self.report.stage_s["store"] += time.perf_counter() - started
        for todo in finished:
            self._count(todo)

    def _count(self, todo: _Open) -> None:
        problem = None
        if isinstance(todo.end, Failed):
            problem = todo.end.error
            self.report.n_failed += 1
            self.report.failures.append((todo.path, problem))
        elif isinstance(todo.end, _End):
            problem = todo.end.damage
            self.report.n_windows += len(todo.spans)
            self.report.audio_s += todo.end.duration_s
            if todo.end.unchanged:
                self.report.n_unchanged += 1
            elif todo.before is None:
                self.report.n_new += 1
            else:
                self.report.n_changed += 1
        self.progress.file_done(todo.path, problem, partly=isinstance(todo.end, _End))


def _indexed(todo: _Open, end: _End) -> Indexed:
    return Indexed(
        file=todo.file,
        content_hash=end.content_hash,
        duration_s=end.duration_s,
        sample_rate=end.sample_rate,
        n_channels=end.n_channels,
        format=end.format,
        spans=todo.spans,
        embeddings=np.concatenate(todo.embeddings),
        damage=end.damage,
    )


class _Clock:
    """Processor seconds of this thread, by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.thread_time()

    def lap(self, stage: str) -> None:
        """Put what has passed since the last lap on this stage."""
        now = time.thread_time()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now
