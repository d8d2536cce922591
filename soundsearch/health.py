"""Status, verification and repair of an index.

In: a store. Out: a `Status`, or the `Problem`s found when rows, words, vectors, files and encoder
are compared with each other.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.errors import BundleError, Cause, SoundsearchError, StoreError
from soundsearch.files import facts_of
from soundsearch.progress import SILENT, Progress
from soundsearch.roots import RootFacts, facts_of_roots
from soundsearch.store import (
    Failed,
    FileFacts,
    PinnedEncoder,
    Reader,
    Recording,
    State,
    Store,
    WindowBlock,
)
from soundsearch.store.backend import GraphFacts
from soundsearch.store.embeddings import NORM_TOLERANCE, from_blobs
from soundsearch.store.embeddings import is_readable as can_be_embedding
from soundsearch.store.pinned import (
    COPY,
    NEXT,
    awaits_its_place,
    check_same_encoder,
    encoder_folder,
    finish_switch,
    next_index,
    pinned_bundle,
    put_encoder,
)
from soundsearch.store.statements import chunks
from soundsearch.urls import is_url
from soundsearch.vectors.cache import discard, facts_of_base, refresh
from soundsearch.vectors.check import vector_problems
from soundsearch.vectors.folder import BaseFacts

log = logging.getLogger(__name__)

#: Odd recordings that lose their windows in one transaction.
MENDED_AT_ONCE = 1000


@dataclass(frozen=True)
class Reembedding:
    """Another encoder that was begun, and how many recordings are embedded by it."""

    encoder: PinnedEncoder
    n_ready: int


@dataclass(frozen=True)
class Status:
    """What an index holds.

    failures: per cause, recordings that could not (or only partly) be read.
    skipped: per ending, files that the last whole scan of a root did not take for sound.
    reembedding: if the index is to have another encoder, and was not switched to it yet.
    search: how windows are found if there are too many to be compared all; None if all are.
    """

    folder: str
    encoder: PinnedEncoder
    roots: list[RootFacts]
    n_indexed: int
    n_failed: int
    n_missing: int
    n_windows: int
    duration_s: float
    failures: dict[str, int]
    skipped: Counter[str]
    size_bytes: int
    reembedding: Reembedding | None
    search: BaseFacts | GraphFacts | None


@dataclass(frozen=True)
class Problem:
    """Something `verify` found.

    kind: where; "files" also of a root that is not there. recording_id: the recording it is about,
    if it is about one.
    """

    kind: Literal["database", "rows", "words", "vectors", "encoder", "files"]
    text: str
    recording_id: int | None = None

    @property
    def is_drift(self) -> bool:
        """A file that changed since it was indexed, or a root that is gone: no fault of the index."""
        return self.kind == "files"


def status(store: Store) -> Status:
    """Count what is there."""
    with store.snapshot() as reader:
        roots = facts_of_roots(reader)
        return Status(
            folder=store.name,
            encoder=reader.encoder(),
            roots=roots,
            n_indexed=sum(root.n_indexed for root in roots),
            n_failed=sum(root.n_failed for root in roots),
            n_missing=sum(root.n_missing for root in roots),
            n_windows=reader.n_windows(),
            duration_s=reader.duration_s(),
            failures=dict(reader.causes().most_common()),
            skipped=reader.skipped(),
            size_bytes=store.size_bytes(),
            reembedding=_reembedding(store, reader.encoder()),
            search=facts_of_base(reader),
        )


def _reembedding(store: Store, pinned: PinnedEncoder) -> Reembedding | None:
    try:
        begun = next_index(store)
        if begun is None:
            return None
        with contextlib.closing(begun), begun.snapshot() as reader:
            n_ready = sum(
                n for (_, state), n in reader.root_counts().items() if state is State.INDEXED
            )
            found = Reembedding(reader.encoder(), n_ready)
    except StoreError as error:
        log.warning("%s", error)
        return None
    return None if found.encoder == pinned else found  # a switch that is not finished


def verify(store: Store, *, is_locked: bool = False, progress: Progress = SILENT) -> list[Problem]:
    """Compare rows, words, vectors, encoder and files with each other. Changes nothing.

    Memory does not grow with the index, but with the problems that are found. is_locked: whether
    the caller is its writer.
    """
    progress.begin("checking the database")
    problems = [Problem("database", text) for text in store.database_problems()]
    if problems:  # the rest would only repeat it
        return problems
    with store.snapshot() as reader:
        problems += _row_problems(reader, progress)
        are_rows_sound = not problems
        progress.begin("checking words")
        words = reader.word_problems() or store.damaged_words(is_locked=is_locked)
        problems += [Problem("words", text) for text in words]
        problems += _file_problems(reader, progress)
        problems += _encoder_problems(reader)
        if are_rows_sound:
            problems += _vector_problems(reader, progress)
    return problems


def repair(
    store: Store, bundle: EncoderBundle | None = None, *, progress: Progress = SILENT
) -> list[str]:
    """Mend what `verify` finds, and say what was done.

    The words and the vectors beside the database are made again. Recordings whose windows are odd
    lose these and keep their captions; the next index run embeds them anew. bundle: where to take a
    lost encoder from.
    Raises StoreError where the database itself is damaged, IndexMismatchError where the bundle is
    not the encoder of this index, IndexBusyError where another process writes it.
    """
    done = []
    with store.writer() as writer:
        finish_switch(store, writer)
        problems = verify(store, is_locked=True, progress=progress)
        for problem in problems:
            if problem.kind == "database":
                raise StoreError(f"{store.name}: {problem.text}; {store.restore}")
        if bundle is not None:
            check_same_encoder(store, bundle)
        if any(problem.kind == "encoder" for problem in problems):
            put_encoder(writer, bundle or pinned_bundle(store, own_copy=False))
            done.append("put back the encoder")
        if any(problem.kind == "words" for problem in problems):
            with writer.transaction(new_revision=False) as changes:
                changes.empty_words()
            writer.renew_words(progress)
            done.append("made the words of names, folders and metadata again")
        odd = {p.recording_id for p in problems if p.kind == "rows" and p.recording_id is not None}
        if odd:
            for some in chunks(sorted(odd), MENDED_AT_ONCE):
                with writer.transaction() as changes:
                    for recording in list(changes.recordings_of(some)):
                        changes.put_failed(_unembedded(recording))
            done.append(
                f"dropped {len(odd)} odd recordings; run `soundsearch index` to embed them anew"
            )
        if odd or any(problem.kind == "vectors" for problem in problems):
            discard(writer)
            progress.begin("writing the vectors")
            refresh(writer, progress)
            done.append("made the vectors again")
    return done


def _unembedded(recording: Recording) -> Failed:
    """What becomes of a recording whose embeddings are of no use: the next run reads it again."""
    place = (recording.root_id, recording.relative_path)
    file = FileFacts(*place, recording.size_bytes, recording.mtime_ns)
    return Failed(file, Cause.NOT_HANDLED, "what was stored of it was damaged; index it again")


def _encoder_problems(reader: Reader) -> Iterator[Problem]:
    """Of the index's own copy: that a twin is at hand today does not help it tomorrow."""
    pinned, copy = reader.encoder(), encoder_folder(reader)
    if isinstance(reader.place, Path) and awaits_its_place(reader.place / NEXT / COPY, pinned):
        copy = reader.place / NEXT / COPY
    try:
        bundle = EncoderBundle.read(copy)
        for name in bundle.files:
            bundle.file(name)
    except BundleError as error:
        yield Problem("encoder", str(error))
        return
    if bundle.fingerprint != pinned.fingerprint:
        found = PinnedEncoder.of(bundle)
        yield Problem("encoder", f"{copy}: holds {found}, this index was built with {pinned}")


def _row_problems(reader: Reader, progress: Progress) -> Iterator[Problem]:
    dim = reader.encoder().dim
    roots = {root.id: str(root.path) for root in reader.roots()}
    for recording in reader.without_windows():
        name = _name_of(roots[recording.root_id], recording.relative_path)
        yield Problem("rows", f"{name}: has no windows", recording.id)
    progress.begin("windows checked", reader.n_stored_windows())
    for block in reader.window_blocks():
        odd = sorted(_odd_windows(block, dim))
        of_odd = reader.recordings_of({recording_id for _, recording_id, _ in odd})
        names = {r.id: _name_of(roots[r.root_id], r.relative_path) for r in of_odd}
        for window_id, recording_id, text in odd:
            name = f"{names[recording_id]}, window {window_id}"
            yield Problem("rows", f"{name}: {text}", recording_id)
        progress.advance(len(block.ids))


def _odd_windows(block: WindowBlock, dim: int) -> Iterator[tuple[int, int, str]]:
    """Ids of window and recording of those that cannot be, and what is odd about each."""
    ids = list(zip(block.ids.tolist(), block.recording_ids.tolist(), strict=True))
    is_readable = np.array([can_be_embedding(blob, dim) for blob in block.embeddings])
    for i in np.flatnonzero(~is_readable):
        yield *ids[i], f"{len(block.embeddings[i])} bytes of embedding, expected {2 * dim}"
    (readable,) = np.nonzero(is_readable)
    norms = np.linalg.norm(from_blobs([block.embeddings[i] for i in readable], dim), axis=1)
    is_unit = np.abs(norms - 1) <= NORM_TOLERANCE
    for i, norm in zip(readable[~is_unit], norms[~is_unit], strict=True):
        yield *ids[i], f"its embedding has length {norm:.3g}, not 1"
    starts, ends, durations = block.starts_s, block.ends_s, block.durations_s
    is_inside = (starts >= 0) & (starts < ends) & (ends <= durations + 1e-6)
    for i in np.flatnonzero(is_readable & ~is_inside):
        yield *ids[i], f"lies at {starts[i]} to {ends[i]} of {durations[i]} s"


def _name_of(root: str, relative_path: str) -> str:
    """A recording as messages name it; a file that was named itself is its root."""
    return root if relative_path == "." else relative_path


def _vector_problems(reader: Reader, progress: Progress) -> Iterator[Problem]:
    progress.begin("reading the vectors")
    try:
        for text in vector_problems(reader, progress):
            yield Problem("vectors", text)
    except SoundsearchError as error:
        yield Problem("vectors", str(error))


def _file_problems(reader: Reader, progress: Progress) -> Iterator[Problem]:
    facts = facts_of_roots(reader)
    for root in facts:
        if root.is_lost:
            n_kept = root.n_indexed + root.n_missing
            kept = f"recordings of it that are kept: {n_kept}"
            text = f"{root.path}: {root.absence} now; {kept}; {root.way_out}"
            yield Problem("files", text)
    lost = {root.path for root in facts if root.is_lost}
    roots = {root.id: root.path for root in reader.roots()}
    progress.begin("files compared", sum(r.n_indexed + r.n_failed + r.n_missing for r in facts))
    for recording in reader.recordings():
        progress.advance()
        folder = roots[recording.root_id]
        if recording.state is not State.INDEXED or folder in lost or is_url(folder):
            continue
        path = folder / recording.relative_path
        try:
            stat = os.stat(path)
        except OSError as error:
            yield Problem("files", f"{path}: {error.strerror}", recording.id)
            continue
        if facts_of(stat) != recording.facts:
            yield Problem("files", f"{path}: changed since it was indexed", recording.id)
