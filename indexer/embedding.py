"""Files to embeddings: threads read them, the calling thread embeds in batches.

The threads decode and compute features (the C libraries below them release the interpreter's lock).
All queues are bounded, so memory does not grow with the number or the length of files.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

import numpy as np

from indexer.reading import FEWER_JOBS, PendingFile, Piece, Readers, describe, n_readers
from indexer.report import FileProgress, Report
from indexer.storing import Committer, Store
from soundsearch.arrays import Array
from soundsearch.descriptors import stop_if_ran_out
from soundsearch.encoder.towers import BATCH_SIZE, Encoder
from soundsearch.errors import BundleError, SoundsearchError

#: Finished files are stored after so many windows or seconds, whichever comes first.
COMMIT_WINDOWS = 2_000
COMMIT_S = 2.0


def embed_files(
    files: Iterator[PendingFile],
    n_files: int,
    encoder: Encoder,
    jobs: int,
    store: Store,
    report: Report,
    progress: FileProgress,
) -> None:
    """Read, embed and store files, and count them in a report.

    files: made one by one as readers ask, so that nothing holds what is stored; n_files of them.
    jobs: files read side by side, where so many may be open. store: is called with finished files,
    as they come. progress: is informed, from any thread.
    Raises BundleError where the encoder embeds nothing; SoundsearchError where too few files may be
    open, or what `store` raises.
    """
    if n_files:
        run = Run(encoder, Committer(store, report, progress), report, progress)
        run.read(files, min(jobs, n_files))


class _Windowed(Protocol):
    @property
    def spans(self) -> Sequence[tuple[float, float]]: ...


Value = TypeVar("Value", bound=_Windowed)


def batches(
    rows: Iterable[Value], *, most_windows: int = 0, most_rows: float = math.inf
) -> Iterator[list[Value]]:
    """Rows, or files that were read, in lists that end at so many windows (0: COMMIT_WINDOWS) or rows."""
    some: list[Value] = []
    n_windows = 0
    for row in rows:
        some.append(row)
        n_windows += len(row.spans)
        if n_windows >= (most_windows or COMMIT_WINDOWS) or len(some) >= most_rows:
            yield some
            some, n_windows = [], 0
    if some:
        yield some


class Run:
    """The state of one run in the calling thread, and the readers it starts."""

    def __init__(
        self, encoder: Encoder, committer: Committer, report: Report, progress: FileProgress
    ) -> None:
        self.encoder, self.report, self.progress = encoder, report, progress
        self._committer = committer
        self._waiting: list[Piece] = []
        self._finished: list[PendingFile] = []
        self._last_commit = time.monotonic()

    def read(self, files: Iterator[PendingFile], jobs: int) -> None:
        """Read, embed and store these files."""
        readers = Readers(self.encoder, files, n_readers(jobs), self.report, self.progress)
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

    def _commit(self) -> None:
        finished, self._finished = self._finished, []
        self._last_commit = time.monotonic()
        self._committer.commit(finished)
