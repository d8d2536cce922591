"""One index run: scan -> decode -> window -> features -> embed -> store.

Threads decode and compute features (the C libraries below them release the interpreter's lock),
the calling thread embeds in batches and is the only writer. All queues are bounded, so memory does
not grow with the number or the length of files. A recording is stored whole, in one transaction
with its embeddings: a run that is killed loses at most what was not yet committed.

One file never ends a run: whatever is raised while it is read, embedded or stored makes it a failed
file. What is no fault of a file does end it: a store that cannot be written, an encoder that embeds
nothing, no file descriptor left.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from indexer.plan import Plan, choose_targets, make_plan, settle
from indexer.report import FileProgress, Report
from indexer.scan import hash_of
from soundsearch.audio.recording import WHOLLY_SILENT, AudioFile, Window, read_windows, unreadable
from soundsearch.descriptors import n_free, stop_if_ran_out
from soundsearch.encoder.towers import BATCH_SIZE, Encoder
from soundsearch.errors import AudioError, BundleError, Cause, SoundsearchError
from soundsearch.progress import Progress, Silent
from soundsearch.store.store import Failed, FileFacts, Indexed, Recording, Store
from soundsearch.vectors.cache import refresh

Array = NDArray[np.float32]

#: A transaction is committed after so many windows or seconds, whichever comes first.
COMMIT_WINDOWS = 2_000
COMMIT_S = 2.0
#: How long a run that ends waits for its readers.
PATIENCE_S = 5.0
#: File descriptors left to the database and the libraries, and those that a reader may need.
SPARE_DESCRIPTORS = 8
DESCRIPTORS_OF_A_READER = 2
FEWER_JOBS = ", or use --jobs 1"
#: So much is said of an unexpected error.
REASON_CHARACTERS = 200


def run(
    store: Store,
    encoder: Encoder,
    paths: Sequence[Path],
    *,
    exclude: Sequence[str] = (),
    jobs: int | None = None,
    prune: bool = False,
    retry: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> tuple[Plan, Report]:
    """Bring the index up to date with these folders and files.

    jobs: files decoded side by side, where so many may be open; None means one per core. prune:
    also delete recordings whose files have vanished. retry: also try files again that failed or
    were read in part and have not changed. force: read and embed every file again.
    Ctrl-C ends the run early, with all finished recordings stored.
    Raises IndexBusyError if another process writes, StoreError if the database cannot, BundleError
    if the encoder embeds nothing, SoundsearchError where too few files may be open.
    """
    started = time.monotonic()
    report, plan = Report(), Plan({}, {})
    progress = progress or Silent()
    with store.lock():
        try:
            with store.snapshot() as connection:
                roots = store.roots(connection)
            targets = settle(store, choose_targets(roots, paths))
            plan = make_plan(store, targets, exclude, retry=retry, force=force, progress=progress)
            _apply_moves(store, plan, report, prune)
            _store_skipped(store, plan)
            _Run(store, encoder, report, progress).read(plan, jobs or os.cpu_count() or 1)
        except KeyboardInterrupt:
            report.interrupted = True
        try:
            progress.begin("writing the FAISS file")
            refresh(store)
        except KeyboardInterrupt:  # the next run or search sees to it
            report.interrupted = True
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
    report.n_failed_before = len(plan.failed_before)


def _store_skipped(store: Store, plan: Plan) -> None:
    """What was skipped in roots that were looked through from top to bottom."""
    with store.snapshot() as connection:
        standing = plan.whole & {root.id for root in store.roots(connection)}
        differ = [i for i in standing if store.skipped(connection, i) != plan.skipped[i]]
    if differ:
        with store.transaction(new_revision=False) as connection:
            for root_id in differ:
                store.put_skipped(connection, root_id, plan.skipped[root_id])


@dataclass
class _Open:
    """A file on its way through the pipeline."""

    file: FileFacts
    path: Path
    before: Recording | None
    again: bool = False  # whatever its content hash says
    spans: list[tuple[float, float]] = field(default_factory=list)
    embeddings: list[Array] = field(default_factory=list)
    end: _End | Failed | None = None  # set by the reader
    failure: Failed | None = None  # set by the calling thread, and goes before the end
    is_read: bool = False  # set when the last piece has arrived
    n_waiting: int = 0  # windows that have arrived but are not embedded yet
    n_bytes_read: int = 0  # as reported

    @property
    def outcome(self) -> _End | Failed | None:
        """What became of it, once it is finished."""
        return self.failure or self.end

    def fail(self, error: Exception) -> None:
        """What has been embedded of it counts no more."""
        self.failure = _not_handled(self.file, error)
        self.spans, self.embeddings = [], []


@dataclass(frozen=True)
class _End:
    """What is known of a file once all of it was read."""

    content_hash: bytes
    duration_s: float = 0.0
    sample_rate: int = 0
    n_channels: int = 0
    format: str = ""
    damage: str | None = None
    note: str | None = None
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
        self.store, self.encoder, self.report = store, encoder, report
        self.progress = FileProgress(progress)
        self._waiting: list[_Piece] = []
        self._finished: list[_Open] = []
        self._last_commit = time.monotonic()
        self._stop = threading.Event()
        self._shares = threading.Lock()

    def read(self, plan: Plan, jobs: int) -> None:
        """Read, embed and store the files of a plan."""
        files = plan.to_read
        if not files:
            return
        self.progress.begin(len(files), sum(todo.file.size_bytes for todo in files))
        jobs = min(jobs, len(files), _n_readers(jobs))
        # Made one by one as readers ask: what is stored is held by nobody any more.
        source = (
            _Open(todo.file, plan.path_of(todo.file), todo.before, todo.again) for todo in files
        )
        source_lock = threading.Lock()
        pieces: queue.Queue[_Piece | _Open | BaseException | None] = queue.Queue(2 * jobs)
        readers = [
            threading.Thread(
                target=self._read_files, args=(source, source_lock, pieces), daemon=True
            )
            for _ in range(jobs)
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
                with closing(self._read_file(todo)) as found:
                    for piece in found:
                        pieces.put(piece)
                        if self._stop.is_set():
                            return
                        if todo.failure is not None:
                            break
                self._advance(todo, todo.file.size_bytes)
                pieces.put(todo)
        except BaseException as error:  # no fault of a file: let the calling thread raise it
            pieces.put(error)
        finally:
            pieces.put(None)

    def _read_file(self, todo: _Open) -> Generator[_Piece, None, None]:
        """The file's windows in pieces; sets todo.end."""
        config = self.encoder.bundle.audio
        clock = _Clock()
        is_known = False
        try:
            content_hash = hash_of(todo.path)
            is_known = todo.before is not None and todo.before.content_hash == content_hash
            if is_known and not todo.again:
                todo.end = _End(content_hash, unchanged=True)
                return
            with AudioFile(todo.path) as audio:
                rate = config.rate_for(audio.sample_rate)
                duration_s = 0.0
                n_heard = 0
                batch: list[Window] = []
                for window in read_windows(audio, config):
                    self._advance(todo, audio.position_bytes)
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
                    audio.note,
                )
        except (AudioError, OSError) as error:
            stop_if_ran_out(error, or_else=FEWER_JOBS)
            why = unreadable(error) if isinstance(error, OSError) else error
            # Of a content that is known, the embeddings hold whatever becomes of the decoders.
            keep = why.cause.is_passing or is_known
            todo.end = Failed(todo.file, why.cause, why.reason, keep)
        except SoundsearchError:
            raise
        except Exception as error:  # a bug or a lack of memory, say, that others may not meet
            stop_if_ran_out(error, or_else=FEWER_JOBS)
            todo.end = _not_handled(todo.file, error)
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

    def _advance(self, todo: _Open, at_bytes: int) -> None:
        """Report how far a file was read."""
        n_bytes = min(at_bytes, todo.file.size_bytes) - todo.n_bytes_read
        if n_bytes > 0:
            todo.n_bytes_read += n_bytes
            self.progress.read(n_bytes)

    # ---- in the calling thread

    def _take(self, piece: _Piece) -> None:
        if piece.open.failure is not None:
            return
        piece.open.n_waiting += len(piece.spans)
        self._waiting.append(piece)
        if sum(len(waiting.spans) for waiting in self._waiting) >= BATCH_SIZE:
            self._embed()

    def _embed(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        started = time.perf_counter()
        for piece, embeddings in self._embeddings_of(waiting):
            piece.open.n_waiting -= len(piece.spans)
            if isinstance(embeddings, Exception):
                piece.open.fail(embeddings)
            elif piece.open.failure is None:
                piece.open.spans += piece.spans
                piece.open.embeddings.append(embeddings)
                self.progress.embedded(piece.spans[-1][1] - piece.spans[0][0])
        self.report.stage_s["embed"] += time.perf_counter() - started
        for todo in {id(piece.open): piece.open for piece in waiting}.values():
            self._finish(todo)

    def _embeddings_of(self, pieces: list[_Piece]) -> Iterator[tuple[_Piece, Array | Exception]]:
        """Pieces with their embeddings, all made at once; where that fails, one piece after the other."""
        try:
            embeddings = self.encoder.embed_features(
                np.concatenate([piece.features for piece in pieces])
            )
        except Exception as error:  # onnxruntime's exceptions share no base but Exception
            if len(pieces) > 1:
                for piece in pieces:
                    yield from self._embeddings_of([piece])
            else:
                stop_if_ran_out(error, or_else=FEWER_JOBS)
                self._blame_the_encoder(error)
                yield pieces[0], error
            return
        place = 0
        for piece in pieces:
            yield piece, embeddings[place : place + len(piece.spans)]
            place += len(piece.spans)

    def _blame_the_encoder(self, error: Exception) -> None:
        """Raise if it is no fault of the features: the encoder embeds nothing else either."""
        features = self.encoder.bundle.features
        try:
            self.encoder.embed_features(
                np.zeros((1, features.n_mels, features.n_frames), np.float32)
            )
        except SoundsearchError:
            raise
        except Exception:
            raise BundleError(
                f"encoder {self.encoder.bundle.name}: it embeds nothing ({_what(error)}); try another "
                "--device, or put it back with: soundsearch repair --model BUNDLE"
            ) from error

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
        try:
            self._store(finished)
        except SoundsearchError:
            raise
        except Exception:  # what one of them holds cannot be stored
            for todo in finished:
                self._store_alone(todo)
        self.report.stage_s["store"] += time.perf_counter() - started
        for todo in finished:
            self._count(todo)

    def _store_alone(self, todo: _Open) -> None:
        try:
            self._store([todo])
        except SoundsearchError:
            raise
        except Exception as error:
            todo.fail(error)
            self._store([todo])

    def _store(self, finished: list[_Open]) -> None:
        # Of a file that fails and had no windows, no search sees anything.
        is_seen = any(todo.before or isinstance(todo.outcome, _End) for todo in finished)
        with self.store.transaction(new_revision=is_seen) as connection:
            for todo in finished:
                end = todo.outcome
                if isinstance(end, Failed):
                    self.store.put_failed(connection, end)
                elif isinstance(end, _End) and end.unchanged:
                    assert todo.before is not None
                    self.store.move(connection, todo.before.id, todo.file)
                elif isinstance(end, _End):
                    self.store.put(connection, _indexed(todo, end))

    def _count(self, todo: _Open) -> None:
        problem = note = None
        end = todo.outcome
        if isinstance(end, Failed):
            problem = end.error
            self.report.n_failed += 1
            self.report.failures.append((todo.path, problem))
        elif isinstance(end, _End):
            problem = end.damage
            note = end.note
            self.report.n_windows += len(todo.spans)
            self.report.audio_s += end.duration_s
            if end.unchanged:
                self.report.n_unchanged += 1
            elif todo.before is None:
                self.report.n_new += 1
            elif todo.before.content_hash == end.content_hash:
                self.report.n_read_again += 1
            else:
                self.report.n_changed += 1
        self.progress.file_done(todo.path, problem, partly=isinstance(end, _End), note=note)


def _n_readers(jobs: int) -> int:
    """How many of so many files can be read side by side with the descriptors there are; 1 or more."""
    wanted = SPARE_DESCRIPTORS + DESCRIPTORS_OF_A_READER * jobs
    return max(1, (n_free(wanted) - SPARE_DESCRIPTORS) // DESCRIPTORS_OF_A_READER)


def _not_handled(file: FileFacts, error: Exception) -> Failed:
    """What becomes of a file at which something unexpected was raised."""
    reason = f"it could not be handled ({_what(error)})"
    return Failed(file, Cause.NOT_HANDLED, reason, keep=True)


def _what(error: Exception) -> str:
    """An error's type, and the start of what it says, on one line."""
    said = " ".join(str(error).split())[:REASON_CHARACTERS]
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


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
        note=end.note,
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
