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
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from indexer.captions import Caption, apply_captions
from indexer.interrupts import hold_interrupts
from indexer.options import DEFAULTS, IndexOptions
from indexer.plan import Plan, make_plan
from indexer.reading import FEWER_JOBS, Decoded, PendingFile, Piece, Readers, describe, n_readers
from indexer.report import FileProgress, Report
from indexer.targets import Target, apply_targets, choose_targets, still_hold
from soundsearch.descriptors import stop_if_ran_out
from soundsearch.encoder.towers import BATCH_SIZE, Encoder
from soundsearch.errors import BundleError, SoundsearchError
from soundsearch.progress import Progress, Silent
from soundsearch.store import Failed, Indexed, Store, Writer
from soundsearch.store.pinned import finish_switch
from soundsearch.vectors.cache import refresh

Array = NDArray[np.float32]

#: A transaction is committed after so many windows or seconds, whichever comes first.
COMMIT_WINDOWS = 2_000
COMMIT_S = 2.0


def run(
    store: Store,
    encoder: Encoder,
    paths: Sequence[Path],
    options: IndexOptions = DEFAULTS,
    *,
    targets: Sequence[Target] | None = None,
    captions: Sequence[Caption] | None = None,
    progress: Progress | None = None,
) -> tuple[Plan, Report]:
    """Bring the index up to date with these folders and files.

    Ctrl-C ends the run early, with all finished recordings stored.

    Args:
        store: the index.
        encoder: the one it is pinned to.
        paths: folders and files.
        options: what is skipped, read again and deleted, and how many files are read at a time.
        targets: what `choose_targets` gave for the paths, if that is known; else they are chosen here.
        captions: what takes the place of all captions in these folders and files; None keeps them.
        progress: is informed while the run goes on, from any thread.

    Raises:
        IndexBusyError: another process writes the index.
        StoreError: the database cannot be written, or a path cannot be indexed.
        BundleError: the encoder embeds nothing.
        SoundsearchError: too few files may be open.
    """
    started = time.monotonic()
    report, plan = Report(), Plan({}, {})
    progress = progress or Silent()
    with store.writer() as writer:
        try:
            finish_switch(store, writer)
            with writer.snapshot() as reader:
                roots = reader.roots()
            if targets is None or not still_hold(targets, roots):
                targets = choose_targets(roots, paths)
            targets = apply_targets(writer, targets)
            plan = make_plan(store, targets, options, progress=progress)
            report.absent, report.unreadable = plan.absent, plan.unreadable
            report.left_behind, report.skipped = plan.left_behind, plan.all_skipped
            _apply_moves(writer, plan, report, options.prune)
            _store_skipped(writer, plan)
            writer.convert_embeddings(progress)
            writer.renew_words(progress)
            read_files(writer, encoder, plan, options.jobs, report, progress)
            if captions is not None:
                apply_captions(writer, targets, captions, report)
                writer.renew_words(progress)
        except KeyboardInterrupt:
            report.interrupted = True
        try:
            progress.begin("writing the vectors")
            refresh(writer, progress)
        except KeyboardInterrupt:  # the next run or search sees to it
            report.interrupted = True
    report.elapsed_s = time.monotonic() - started
    return plan, report


def read_files(
    writer: Writer,
    encoder: Encoder,
    plan: Plan,
    jobs: int | None,
    report: Report,
    progress: Progress,
) -> None:
    """Read, embed and store the files of a plan, and count them in a report; raises as `run`."""
    _Run(writer, encoder, report, progress).read(plan, jobs or os.cpu_count() or 1)


def _apply_moves(writer: Writer, plan: Plan, report: Report, prune: bool) -> None:
    """All that needs no decoding, in one transaction."""
    gone = [recording.id for recording in plan.missing]
    if plan.moved or plan.returned or gone or plan.gone_roots or (prune and plan.missing_before):
        with writer.transaction() as changes:
            for recording, file in (*plan.moved, *plan.returned):
                changes.move(recording.id, file)
            changes.mark_missing(gone)
            if prune:
                pruned = gone + [recording.id for recording in plan.missing_before]
                changes.delete(pruned)
                report.n_pruned = len(pruned)
            dropped = changes.drop_empty_roots(plan.gone_roots)
            report.dropped_roots = [root.path for root in dropped]
    report.n_moved = len(plan.moved) + len(plan.returned)
    report.n_removed = len(gone)
    report.n_unchanged = plan.n_unchanged
    report.n_failed_before = len(plan.failed_before)


def _store_skipped(writer: Writer, plan: Plan) -> None:
    """What was skipped in roots that were looked through from top to bottom."""
    with writer.snapshot() as reader:
        standing = plan.whole & {root.id for root in reader.roots()}
        differ = [i for i in standing if reader.skipped(i) != plan.skipped[i]]
    if differ:
        with writer.transaction(new_revision=False) as changes:
            for root_id in differ:
                changes.put_skipped(root_id, plan.skipped[root_id])


class _Run:
    """The state of one run in the calling thread, and the readers it starts."""

    def __init__(
        self, writer: Writer, encoder: Encoder, report: Report, progress: Progress
    ) -> None:
        self.writer, self.encoder, self.report = writer, encoder, report
        self.progress = FileProgress(progress)
        self._waiting: list[Piece] = []
        self._finished: list[PendingFile] = []
        self._last_commit = time.monotonic()

    def read(self, plan: Plan, jobs: int) -> None:
        """Read, embed and store the files of a plan."""
        files = plan.to_read
        if not files:
            return
        self.progress.begin(len(files), sum(todo.file.size_bytes for todo in files))
        jobs = min(jobs, len(files), n_readers(jobs))
        pending = (
            PendingFile(todo.file, plan.path_of(todo.file), todo.before, todo.again)
            for todo in files
        )
        readers = Readers(self.encoder, pending, jobs, self.report, self.progress)
        try:
            for found in readers:
                if isinstance(found, PendingFile):
                    found.is_read = True
                    self._finish(found)
                else:
                    self._take(found)
            self._embed()
        finally:
            readers.stop()
            try:
                self._commit()
            finally:
                readers.wait()

    def _take(self, piece: Piece) -> None:
        if piece.pending.failure is not None:
            return
        piece.pending.n_waiting += len(piece.spans)
        self._waiting.append(piece)
        if sum(len(waiting.spans) for waiting in self._waiting) >= BATCH_SIZE:
            self._embed()

    def _embed(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        started = time.perf_counter()
        for piece, embeddings in self._embeddings_of(waiting):
            piece.pending.n_waiting -= len(piece.spans)
            if isinstance(embeddings, Exception):
                piece.pending.fail(embeddings)
            elif piece.pending.failure is None:
                piece.pending.spans += piece.spans
                piece.pending.embeddings.append(embeddings)
                self.progress.embedded(piece.spans[-1][1] - piece.spans[0][0])
        self.report.stage_s["embed"] += time.perf_counter() - started
        for todo in {id(piece.pending): piece.pending for piece in waiting}.values():
            self._finish(todo)

    def _embeddings_of(self, pieces: list[Piece]) -> Iterator[tuple[Piece, Array | Exception]]:
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
                f"encoder {self.encoder.bundle.name}: it embeds nothing ({describe(error)}); try another "
                "--device, or put it back with: soundsearch repair --model BUNDLE"
            ) from error

    def _finish(self, todo: PendingFile) -> None:
        """Once all of a file was read and embedded, it waits for the next commit."""
        if not todo.is_read or todo.n_waiting:
            return
        self._finished.append(todo)
        n_windows = sum(len(finished.spans) for finished in self._finished)
        if n_windows >= COMMIT_WINDOWS or time.monotonic() - self._last_commit >= COMMIT_S:
            self._commit()

    @hold_interrupts()
    def _commit(self) -> None:
        """One transaction for all finished recordings, and the count of them."""
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

    def _store_alone(self, todo: PendingFile) -> None:
        try:
            self._store([todo])
        except SoundsearchError:
            raise
        except Exception as error:
            todo.fail(error)
            self._store([todo])

    def _store(self, finished: list[PendingFile]) -> None:
        # Of a file that fails and had no windows, no search sees anything.
        is_seen = any(todo.before or isinstance(todo.outcome, Decoded) for todo in finished)
        with self.writer.transaction(new_revision=is_seen) as changes:
            read = []
            for todo in finished:
                end = todo.outcome
                if isinstance(end, Failed):
                    changes.put_failed(end)
                elif isinstance(end, Decoded) and end.unchanged:
                    assert todo.before is not None
                    changes.move(todo.before.id, todo.file)
                elif isinstance(end, Decoded):
                    read.append(_indexed(todo, end))
            changes.put_all(read)

    def _count(self, todo: PendingFile) -> None:
        problem = note = None
        end = todo.outcome
        if isinstance(end, Failed):
            problem = end.error
            self.report.n_failed += 1
            self.report.failures.append((todo.path, problem))
        elif isinstance(end, Decoded):
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
        self.progress.file_done(todo.path, problem, partly=isinstance(end, Decoded), note=note)


def _indexed(todo: PendingFile, end: Decoded) -> Indexed:
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
        metadata=end.metadata,
        sound_hash=end.sound_hash,
        peaks=end.peaks,
    )
