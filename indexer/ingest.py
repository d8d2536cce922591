"""Parts into an index, and an index as parts: how embeddings travel between machines.

In: a folder of parts, from anywhere. Out: their recordings in an index. The order in which parts come,
and how often, makes no difference: of two states of a file the one with the later time of change
counts (by the clock of its own storage), and sound counts more than a failure.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from indexer.embedding import batches
from indexer.parts import PartFolder, Row, name_of
from indexer.reading import Decoded, PendingFile
from indexer.report import FileProgress, Report
from indexer.storing import Committer, into
from indexer.targets import Target, apply_targets
from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.encoder.registry import bundle_folders, find_bundle
from soundsearch.errors import BundleError, IndexMismatchError, StoreError
from soundsearch.progress import SILENT, Progress, Silent
from soundsearch.store import (
    Failed,
    FileFacts,
    PinnedEncoder,
    Reader,
    Recording,
    Root,
    State,
    Store,
    Writer,
)
from soundsearch.store.backend import Place
from soundsearch.store.pinned import check_same_encoder, create_index, finish_switch
from soundsearch.urls import path_of
from soundsearch.vectors.cache import refresh

#: A part that is exported ends after so many recordings or windows.
EXPORTED_RECORDINGS = 1000
EXPORTED_WINDOWS = 100_000


@dataclass
class IngestReport:
    """What became of parts.

    Attributes:
        n_parts: Parts that were read.
        n_new: Recordings that the index did not know.
        n_replaced: Recordings that it knew in another state.
        n_known: Rows that say what it knows, or of an earlier state.
        n_failed: Files that could not be used, among the new and the replaced.
        n_windows: Windows that were stored.
    """

    n_parts: int = 0
    n_new: int = 0
    n_replaced: int = 0
    n_known: int = 0
    n_failed: int = 0
    n_windows: int = 0


def ingest(
    parts: str, index: Place, model: str | None = None, *, progress: Progress = SILENT
) -> IngestReport:
    """Store the recordings of all parts of a folder in an index, which is made if there is none.

    Nothing is written where any part is of another encoder, or lacks its end. A part is stored in
    transactions of bounded size; a run that was stopped is finished by the next one.

    Args:
        parts: path or URL of the folder.
        index: place of the index, a folder or the address of a database.
        model: encoder of a new index, by its name or its bundle's folder; None looks for the one
            that made the parts among those installed.
        progress: is informed of parts and recordings.

    Raises:
        StoreError: there are no parts, one is not whole, or the index cannot be written;
            IndexMismatchError where a part is of another encoder.
        BundleError: the encoder is not installed here.
    """
    folder = PartFolder(parts)
    names = folder.names()
    if not names:
        raise StoreError(
            f"{folder.where}: no parts in it; give the folder that holds part-*.parquet"
        )
    encoder = _one_encoder(folder, names)
    first = folder.read(names[0])  # before an index is made
    found = itertools.chain([first], map(folder.read, names[1:]))
    report = IngestReport()
    with closing(_opened(index, encoder, model)) as store, store.writer() as writer:
        finish_switch(store, writer)
        places = _Places(writer)
        progress.begin("parts", len(names))
        for part in found:
            for some in batches(part.rows):
                _store(writer, places, some, report)
            report.n_parts += 1
            progress.advance()
        writer.renew_words(progress)
        progress.begin("writing the vectors")
        refresh(writer, progress)
    return report


def _one_encoder(folder: PartFolder, names: Sequence[str]) -> PinnedEncoder:
    """The encoder of all parts. Raises IndexMismatchError where they differ."""
    first = folder.encoder_of(names[0])
    for name in names[1:]:
        found = folder.encoder_of(name)
        if found.fingerprint != first.fingerprint:
            raise IndexMismatchError(
                f"{folder.path(name)}: made by {found}, {names[0]} by {first}; put parts of one "
                "encoder into a folder of their own"
            )
    return first


def _opened(index: Place, encoder: PinnedEncoder, model: str | None) -> Store:
    """The index, pinned to this encoder."""
    if Store.exists(index):
        store = Store.open(index)
        try:
            if model is not None:
                check_same_encoder(store, find_bundle(model))
            pinned = store.encoder()
            if pinned.fingerprint != encoder.fingerprint:
                raise IndexMismatchError(
                    f"{index}: this index was built with {pinned}, the parts with {encoder}; make "
                    "another index of them with --index"
                )
        except BaseException:
            store.close()
            raise
        return store
    return create_index(index, _bundle(encoder, model))


def _bundle(encoder: PinnedEncoder, model: str | None) -> EncoderBundle:
    if model is not None:
        bundle = find_bundle(model)
        if bundle.fingerprint != encoder.fingerprint:
            raise IndexMismatchError(
                f"--model {model}: {PinnedEncoder.of(bundle)}, the parts were made by {encoder}; give "
                "that one"
            )
        return bundle
    for place in bundle_folders():
        try:
            bundle = EncoderBundle.read(place)
        except BundleError:
            continue
        if bundle.fingerprint == encoder.fingerprint:
            return bundle
    raise BundleError(
        f"the parts were made by {encoder}, which is not installed here; give its bundle with --model"
    )


class _Places:
    """Roots of parts in an index: a root is known, lies in one that is, or is new."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._known: dict[str, tuple[Root, str]] = {}

    def place_of(self, row: Row) -> FileFacts:
        """The file of a row, in the index."""
        if row.root not in self._known:
            self._known[row.root] = self._find(path_of(row.root))
        root, prefix = self._known[row.root]
        path = row.file.relative_path
        if prefix:
            path = prefix if path == "." else f"{prefix}/{path}"
        return replace(row.file, root_id=root.id, relative_path=path)

    def _find(self, path: Path) -> tuple[Root, str]:
        with self._writer.snapshot() as reader:
            roots = {root.path: root for root in reader.roots()}
        for around in (path, *path.parents):
            if around in roots:
                inside = str(path.relative_to(around))
                return roots[around], "" if inside == "." else inside
        (added,) = apply_targets(self._writer, [Target(Root(-1, path))])
        return added.root, ""


def _store(writer: Writer, places: _Places, rows: Sequence[Row], report: IngestReport) -> None:
    """Store those of these rows that say more than the index knows."""
    by_place: dict[tuple[int, str], tuple[Row, PendingFile]] = {}
    files = [(row, places.place_of(row)) for row in rows]
    with writer.snapshot() as reader:
        known = reader.recordings_at((file.root_id, file.relative_path) for _, file in files)
    for row, file in files:
        place = file.root_id, file.relative_path
        before = known.get(place)
        other = by_place.get(place)
        is_more = _says_more(row, before) and (other is None or _worth(row) > _worth(other[0]))
        if not is_more:
            report.n_known += 1
            continue
        by_place[place] = row, row.pending(file, row.path, before)
    counted = Report()
    pendings = [pending for _, pending in by_place.values()]
    Committer(into(writer), counted, FileProgress(Silent())).commit(pendings)
    report.n_windows += counted.n_windows
    report.n_failed += counted.n_failed
    n_new = sum(pending.before is None for pending in pendings)
    report.n_new += n_new
    report.n_replaced += len(pendings) - n_new
    _store_more(writer, [(row, pending.file) for row, pending in by_place.values()])


def _store_more(writer: Writer, stored: Sequence[tuple[Row, FileFacts]]) -> None:
    """What a part says beside the sound: captions, where the index has none, and what is missing."""
    more = [(row, file) for row, file in stored if row.captions or row.is_missing]
    if not more:
        return
    with writer.transaction() as changes:
        known = changes.recordings_at((file.root_id, file.relative_path) for _, file in more)
        for row, file in more:
            recording = known[file.root_id, file.relative_path]
            if row.captions and not changes.facts(recording).captions:
                changes.put_captions({recording.id: row.captions})
            if row.is_missing:
                changes.mark_missing([recording.id])


def _worth(row: Row) -> tuple[bool, int, int, bytes]:
    """Which of two rows of a file counts: sound before failures, then the later state."""
    content = row.end.content_hash if isinstance(row.end, Decoded) else b""
    return isinstance(row.end, Decoded), row.file.mtime_ns, row.file.size_bytes, content


def _says_more(row: Row, before: Recording | None) -> bool:
    """Whether a row is of a later state than what the index knows."""
    if (
        isinstance(row.end, Decoded) and row.end.unchanged
    ):  # of use to the index that it was made for
        return (
            before is not None
            and before.is_embedded
            and before.content_hash == row.end.content_hash
            and row.file.mtime_ns > before.mtime_ns
        )
    if before is None:
        return True
    has_sound = before.state is not State.FAILED and before.is_embedded
    content = before.content_hash or b""
    return _worth(row) > (
        has_sound,
        before.mtime_ns,
        before.size_bytes,
        content if has_sound else b"",
    )


def export(index: Place, parts: str, *, progress: Progress = SILENT) -> tuple[int, int]:
    """Write all recordings of an index as parts into a folder, also failures and captions.

    Memory holds one part at a time. A part that is there already, of the same recordings, is written
    again: their captions may be others.

    Args:
        index: place of the index, a folder or the address of a database.
        parts: path or URL of the folder, made if it is not there.
        progress: is informed of recordings.

    Returns:
        How many recordings were written, and how many that are not embedded yet were left out.

    Raises:
        StoreError: there is no index, or the folder cannot be written.
    """
    with closing(Store.open(index)) as store, store.snapshot() as reader:
        folder = PartFolder(parts)
        encoder = reader.encoder()
        n_known = reader.root_counts().total()
        n_written = 0
        progress.begin("recordings", n_known)
        rows = _exported_rows(reader, encoder.dim)
        for some in batches(rows, most_windows=EXPORTED_WINDOWS, most_rows=EXPORTED_RECORDINGS):
            name = name_of(encoder.fingerprint, [(row.root, row.file) for row in some])
            folder.write(name, encoder, some)
            n_written += len(some)
            progress.advance(len(some))
    return n_written, n_known - n_written


def _exported_rows(reader: Reader, dim: int) -> Iterator[Row]:
    """The rows of all recordings but those that are not embedded yet, one after the other."""
    roots = {root.id: str(root.path) for root in reader.roots()}
    for recording in reader.recordings():
        if recording.is_embedded:
            yield _exported(reader, recording, roots[recording.root_id], dim)


def _exported(reader: Reader, recording: Recording, root: str, dim: int) -> Row:
    file = FileFacts(0, recording.relative_path, *recording.facts)
    facts = reader.facts(recording)
    if recording.state is State.FAILED:
        failed = Failed(file, facts.cause or "", facts.error or "")
        return Row(root, file, failed, captions=facts.captions)
    stored = reader.indexed(recording, file, facts, dim)
    return Row(
        root,
        file,
        Decoded.of(stored),
        stored.spans,
        stored.embeddings,
        is_missing=recording.state is State.MISSING,
        captions=facts.captions,
    )
