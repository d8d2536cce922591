"""The vectors beside the database: found, brought up to date, or made again.

In: a store. Out: a `VectorIndex` that holds exactly the windows a search may show. The name of their
folder carries the database revision it was made from, so a stale one can never pass for a fresh one;
one that is stale is caught up, one that is missing or damaged is made again from the database.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from soundsearch.arrays import Array, Ids, Mask
from soundsearch.encoder.bundle import BACKGROUND_TEXTS, EncoderBundle
from soundsearch.encoder.calibration import read_background
from soundsearch.encoder.towers import Encoder
from soundsearch.errors import BundleError, IndexBusyError, StoreError
from soundsearch.progress import SILENT, Progress, Silent
from soundsearch.store import Reader, Store, Writer
from soundsearch.store.backend import GraphFacts
from soundsearch.store.embeddings import check_unit
from soundsearch.store.pinned import encoder_folder
from soundsearch.vectors.build import Blocks, build, merge, sample_of
from soundsearch.vectors.exact import ExactIndex, VectorFileError, mask_of
from soundsearch.vectors.folder import (
    BASE_FILES,
    DELETED,
    DELTA,
    BaseFacts,
    Manifest,
    facts_of_files,
    link_files,
    read_array,
    remove,
    write_array,
    written_folder,
)
from soundsearch.vectors.in_database import DatabaseVectors, bring_up_to_date
from soundsearch.vectors.inverted import InvertedFile
from soundsearch.vectors.vector_index import VectorIndex
from soundsearch.vocabulary import load_vocabulary

log = logging.getLogger(__name__)

#: Begins the names of folders; a revision ends them.
PREFIX = "vectors-"
#: Up to so many windows search is exact; an inverted file is dropped at half as many.
EXACT_WINDOWS = 100_000
#: A base is merged with what came since at so many windows, or once this share of it is deleted.
DELTA_WINDOWS, DELETED_SHARE = 20_000, 0.05
#: A search that puts so many windows into lists first says so.
LONG_WINDOWS = 100_000
#: New centroids are computed for so many times the windows that they were computed from.
GROWTH = 4


@dataclass(frozen=True)
class Changes:
    """What a stale `VectorIndex` lacks of a state of the database, and what it has too many.

    Attributes:
        wanted: Ids of all windows, ascending.
        rest: Of those that are not in the base.
        new: Of those that are neither there nor in the delta.
        gone: Of those in the delta that are no longer wanted.
        is_deleted: Whether each id of the base is gone.
    """

    wanted: Ids
    rest: Ids
    new: Ids
    gone: Ids
    is_deleted: Mask


@dataclass(frozen=True)
class Found:
    """Vectors that were read from a folder."""

    folder: Path
    manifest: Manifest
    vectors: VectorIndex


class _Noted(Silent):
    """Notes that a search takes long, since it makes an inverted file first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def begin(self, what: str, total: int | None = None, n_bytes: int | None = None) -> None:
        """See `Progress`."""
        if (total or 0) >= LONG_WINDOWS:
            log.warning("%s: before the search, %s %s; it takes a while", self._folder, total, what)


def load_vectors(store: Store) -> VectorIndex | DatabaseVectors:
    """The vectors of this index, in step with the database.

    What had to be done for that is saved for the next time, unless another process is writing the
    index or the folder cannot be written.
    """
    if store.has_graph:
        with store.snapshot() as reader:
            return DatabaseVectors.of(reader)
    with contextlib.suppress(VectorFileError), store.snapshot() as reader:
        # What is wrong is said when they are made again.
        return _read(_folder_of(reader.folder, reader.revision()), reader).vectors
    with contextlib.ExitStack() as stack:
        try:
            writer = stack.enter_context(store.writer())
        except IndexBusyError:
            pass  # the writer will save its own
        except StoreError as error:
            log.warning("%s: its vectors are made again at every search", error)
        else:
            return _refreshed(writer, _Noted(store.folder))
    with store.snapshot() as reader:
        return vectors_at(reader)


def vectors_at(reader: Reader) -> VectorIndex:
    """The vectors of the state that a snapshot sees. Writes nothing."""
    found = _loaded(_folder_of(reader.folder, reader.revision()), reader)
    if found is not None:
        return found.vectors
    stale = _stale(reader)
    vectors = VectorIndex.empty(reader.encoder().dim) if stale is None else stale.vectors
    return _caught_up(reader, vectors, _changes(reader, vectors))


def refresh(writer: Writer, progress: Progress = SILENT) -> None:
    """Bring the vectors beside the database up to date, or the graph in it."""
    if not isinstance(writer.place, Path):
        bring_up_to_date(writer, _questions, progress)
        return
    with writer.snapshot() as reader:
        is_there = _folder_of(writer.folder, reader.revision()).exists()
    if not is_there:
        _refreshed(writer, progress)


def discard(writer: Writer) -> None:
    """Drop the vectors beside the database, or the graph in it; `refresh` makes them again."""
    if not isinstance(writer.place, Path):
        writer.drop_graph()
        return
    for path in _all_of(writer.folder):
        remove(path)


def found_vectors(reader: Reader) -> tuple[VectorIndex | None, bool]:
    """The vectors beside the database as they are, and whether they are of the state one sees."""
    found = _loaded(_folder_of(reader.folder, reader.revision()), reader)
    if found is not None:
        return found.vectors, True
    stale = _stale(reader)
    return None if stale is None else stale.vectors, False


def facts_of_base(reader: Reader) -> BaseFacts | GraphFacts | None:
    """How the inverted file of this index, or its graph, is searched; None if search is exact."""
    if not isinstance(reader.place, Path):
        return reader.graph_facts()
    for folder in (_folder_of(reader.folder, reader.revision()), *_stale_folders(reader)):
        with contextlib.suppress(VectorFileError):
            return Manifest.read(folder).base
    return None


def _refreshed(writer: Writer, progress: Progress) -> VectorIndex:
    """The vectors of the state that the writer sees, saved if they can be."""
    with writer.snapshot() as reader:
        path = _folder_of(writer.folder, reader.revision())
        found = _loaded(path, reader)
        if found is not None:
            return found.vectors
        stale = _stale(reader)
        try:
            with written_folder(path) as folder:
                vectors = _write(folder, reader, stale, progress)
        except OSError as error:
            why = error.strerror or error
            log.warning("%s: cannot be written (%s); it is made again at every search", path, why)
            return vectors_at(reader)
        for other in _all_of(writer.folder):
            if other != path:
                remove(other)
        if vectors is None:
            found = _loaded(path, reader)
            vectors = vectors_at(reader) if found is None else found.vectors
        return vectors


def _write(
    folder: Path, reader: Reader, stale: Found | None, progress: Progress
) -> VectorIndex | None:
    """Write the vectors of a state into a folder.

    Returns:
        What was written; None if it has a base, which is to be opened at its new place.

    Raises:
        OSError: A file cannot be written.
    """
    pinned = reader.encoder()
    vectors = VectorIndex.empty(pinned.dim) if stale is None else stale.vectors
    changes = _changes(reader, vectors)
    base, files = None, {}
    is_new = _needs_new_base(vectors, changes) or _is_worn(vectors, changes)
    if is_new:
        base = _make_base(folder, reader, vectors, changes, progress)
        delta, is_deleted = ExactIndex(pinned.dim), np.zeros(base.id_limit, bool)
    else:
        if _is_too_small(vectors, changes):
            vectors = VectorIndex.empty(pinned.dim)
            changes = _changes(reader, vectors)
        vectors = _caught_up(reader, vectors, changes)
        delta, is_deleted = vectors.delta, vectors.is_deleted
        if vectors.base is not None:
            assert stale is not None
            base = stale.manifest.base
            link_files(stale.folder, folder, BASE_FILES)
            files = {name: stale.manifest.files[name] for name in BASE_FILES}
    names = [DELTA]
    delta.save(folder / DELTA)
    if base is not None:
        write_array(folder / DELETED, np.packbits(is_deleted))
        names += [DELETED, *(name for name in BASE_FILES if name not in files)]
    files = {**files, **facts_of_files(folder, names)}
    n_windows = len(changes.wanted)
    Manifest(pinned.fingerprint, pinned.dim, n_windows, len(delta), base, files).write(folder)
    return vectors if base is None else None


def _needs_new_base(vectors: VectorIndex, changes: Changes) -> bool:
    n_windows = len(changes.wanted)
    if vectors.base is None:
        return n_windows > EXACT_WINDOWS
    return n_windows >= max(EXACT_WINDOWS, GROWTH * vectors.base.facts.n_trained)


def _is_too_small(vectors: VectorIndex, changes: Changes) -> bool:
    return vectors.base is not None and len(changes.wanted) <= EXACT_WINDOWS // 2


def _is_worn(vectors: VectorIndex, changes: Changes) -> bool:
    """Whether a base is merged with what came since."""
    if vectors.base is None or _is_too_small(vectors, changes):
        return False
    n_deleted = int(changes.is_deleted.sum())
    return (
        len(changes.rest) > DELTA_WINDOWS
        or n_deleted > DELETED_SHARE * vectors.base.facts.n_windows
    )


def _make_base(
    folder: Path, reader: Reader, vectors: VectorIndex, changes: Changes, progress: Progress
) -> BaseFacts:
    """Write a new base, or a merged one. Raises OSError."""
    if vectors.base is not None and not _needs_new_base(vectors, changes):
        rest = changes.rest
        blocks = _blocks(reader, rest, vectors.dim)
        try:
            return merge(folder, vectors.base, changes.is_deleted, blocks, len(rest), progress)
        except VectorFileError as error:
            log.warning("%s; making it again from the database", error)
    wanted = changes.wanted
    sample = reader.embeddings(sample_of(wanted), vectors.dim)
    blocks = _blocks(reader, wanted, vectors.dim)
    return build(folder, len(wanted), sample, blocks, _questions(reader), progress)


def _questions(reader: Reader) -> Array | None:
    """Embeddings of ordinary texts by the encoder of the index; None if it is not at hand."""
    try:
        bundle = EncoderBundle.read(encoder_folder(reader))
        if bundle.fingerprint != reader.encoder().fingerprint:
            raise BundleError(f"{bundle.folder}: not the encoder of this index")
        if BACKGROUND_TEXTS in bundle.files:
            return read_background(bundle, BACKGROUND_TEXTS)
        texts = [bundle.text.prompt.format(text) for text in load_vocabulary()]
        return Encoder(bundle, "cpu").embed_text(texts)
    except BundleError as error:
        log.warning("%s; searches visit all windows, since none can be tried out", error)
        return None


def _loaded(folder: Path, reader: Reader) -> Found | None:
    """The vectors in a folder; None if they are not there, damaged, or of another encoder."""
    try:
        return _read(folder, reader)
    except VectorFileError as error:
        if folder.exists():  # else there is none, or a writer has just put another in its place
            log.warning("%s; making it again from the database", error)
        return None


def _read(folder: Path, reader: Reader) -> Found:
    """Read the vectors in a folder. Raises VectorFileError."""
    pinned = reader.encoder()
    manifest = Manifest.read(folder)
    if (manifest.encoder, manifest.dim) != (pinned.fingerprint, pinned.dim):
        found, expected = manifest.encoder[:12], pinned.fingerprint[:12]
        raise VectorFileError(f"{folder}: of another encoder, {found}, not {expected}")
    vectors = VectorIndex(manifest.dim, ExactIndex.load(folder / DELTA, manifest.dim))
    if manifest.base is not None:
        manifest.check(folder, [DELETED])
        vectors.base = InvertedFile.open(folder, manifest)
        bits = read_array(folder / DELETED, np.dtype(np.uint8))
        limit = manifest.base.id_limit
        if len(bits) != (limit + 7) // 8:
            raise VectorFileError(f"{folder / DELETED}: {len(bits)} bytes for {limit} ids")
        vectors.is_deleted = np.unpackbits(bits, count=limit).astype(bool)
    if (len(vectors), len(vectors.delta)) != (manifest.n_windows, manifest.n_delta):
        raise VectorFileError(f"{folder}: holds {len(vectors)} windows, not {manifest.n_windows}")
    return Found(folder, manifest, vectors)


def _stale(reader: Reader) -> Found | None:
    """Vectors of an earlier state, if there are any."""
    found = (_loaded(folder, reader) for folder in _stale_folders(reader))
    return next((each for each in found if each is not None), None)


def _stale_folders(reader: Reader) -> Iterator[Path]:
    """Folders of earlier states of this database.

    One of a future that a restored backup knows nothing of may hold other windows under ids that
    have been given out again since: only what this database grew out of can be caught up.
    """
    for folder in sorted(reader.folder.glob(f"{PREFIX}*")):
        revision = folder.name.removeprefix(PREFIX)
        if revision != reader.revision() and reader.has_had_revision(revision):
            yield folder


def _changes(reader: Reader, vectors: VectorIndex) -> Changes:
    """An embedding never changes under its id, so comparing the ids is enough."""
    wanted, delta = reader.window_ids(), np.sort(vectors.delta.ids)
    rest, is_deleted = wanted, vectors.is_deleted
    if vectors.base is not None:
        ids = vectors.base.ids
        is_wanted = mask_of(wanted, vectors.base.facts.id_limit)
        is_deleted = mask_of(ids, len(is_wanted)) & ~is_wanted
        rest = np.setdiff1d(wanted, ids, assume_unique=True)
    new = np.setdiff1d(rest, delta, assume_unique=True)
    gone = np.setdiff1d(delta, rest, assume_unique=True)
    return Changes(wanted, rest, new, gone, is_deleted)


def _caught_up(reader: Reader, vectors: VectorIndex, changes: Changes) -> VectorIndex:
    """Vectors in step with the database, in memory; those of very many windows stay where they are."""
    if len(changes.rest) > EXACT_WINDOWS:
        return VectorIndex.unread(vectors.dim, len(changes.wanted))
    vectors.delta.remove(changes.gone)
    for ids, embeddings in _blocks(reader, changes.new, vectors.dim):
        vectors.delta.add(ids, embeddings)
    vectors.is_deleted = changes.is_deleted
    return vectors


def _blocks(reader: Reader, ids: Ids, dim: int) -> Blocks:
    """Embeddings of windows, block by block. Raises StoreError where one is none."""
    for some, embeddings in reader.embedding_blocks(ids, dim):
        try:
            check_unit(embeddings)
        except ValueError as error:
            raise StoreError(f"{reader.name}: {error}; run: soundsearch repair") from error
        yield some, embeddings


def _all_of(folder: Path) -> list[Path]:
    """All vectors beside a database: also what killed processes and earlier versions left."""
    return sorted((*folder.glob(f"{PREFIX}*"), *folder.glob(f".{PREFIX}*")))


def _folder_of(folder: Path, revision: str) -> Path:
    return folder / f"{PREFIX}{revision}"
