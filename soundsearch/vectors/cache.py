"""The FAISS file beside the database: found, brought up to date, or made again.

In: a store. Out: a `VectorIndex` that holds exactly the windows a search may show. The file's name
carries the database revision it was made from, so a stale one can never pass for a fresh one; a
file that is stale is caught up, one that is missing or damaged is made again from the database.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from soundsearch.errors import IndexBusyError, StoreError
from soundsearch.store import Reader, Store, Writer
from soundsearch.vectors.exact import VectorFileError, VectorIndex

log = logging.getLogger(__name__)

#: Embeddings read from the database at a time while catching up.
CATCH_UP_ROWS = 50_000


def load_vectors(store: Store) -> VectorIndex:
    """The vectors of this index, in step with the database.

    What had to be done for that is saved for the next time, unless another process is writing the
    index or the folder cannot be written.
    """
    with store.snapshot() as reader:
        revision = reader.revision()
        vectors, is_saved = vectors_at(reader)
    if not is_saved:
        try:
            with store.writer() as writer:
                with writer.snapshot() as reader:
                    is_current = reader.revision() == revision
                if is_current:  # else a writer was here meanwhile, and has saved its own
                    save_vectors(writer, vectors, revision)
        except IndexBusyError:
            pass  # the writer will save its own
        except StoreError as error:
            log.warning("%s: its FAISS file is made again at every search", error)
    return vectors


def vectors_at(reader: Reader) -> tuple[VectorIndex, bool]:
    """The vectors of the state that a snapshot sees, and whether they lie in a file like that."""
    path = _file_of(reader.folder, reader.revision())
    dim = reader.encoder().dim
    vectors = _loaded(path, dim)
    if vectors is not None:
        return vectors, True
    # A file of a future that a restored backup knows nothing of may hold other windows under ids
    # that have been given out again since: only what this database grew out of can be caught up.
    stale = (
        _loaded(other, dim)
        for other in _files(reader.folder)
        if other != path and reader.has_had_revision(_revision_of(other))
    )
    vectors = next((found for found in stale if found is not None), VectorIndex(dim))
    _catch_up(reader, vectors)
    return vectors, False


def refresh(writer: Writer) -> None:
    """Bring the FAISS file up to date."""
    with writer.snapshot() as reader:
        revision = reader.revision()
        if _file_of(reader.folder, revision).exists():
            return
        vectors, _ = vectors_at(reader)
    save_vectors(writer, vectors, revision)


def discard(writer: Writer) -> None:
    """Drop the FAISS file; the next use makes it again."""
    for path in _files(writer.folder):
        path.unlink(missing_ok=True)


def save_vectors(writer: Writer, vectors: VectorIndex, revision: str) -> None:
    """Write the file of this revision and drop those of others. Failing is a note, not an error."""
    folder = writer.folder
    path = _file_of(folder, revision)
    try:
        vectors.save(path)
        for other in (*_files(folder), *folder.glob(".vectors-*")):  # the latter: of killed runs
            if other != path:
                other.unlink(missing_ok=True)
    except OSError as error:
        log.warning(
            "%s: cannot be written (%s); it is made again at every search", path, error.strerror
        )


def _loaded(path: Path, dim: int) -> VectorIndex | None:
    try:
        return VectorIndex.load(path, dim)
    except VectorFileError as error:
        if path.exists():  # else there is none, or a writer has just put another in its place
            log.warning("%s; making it again from the database", error)
        return None


def _catch_up(reader: Reader, vectors: VectorIndex) -> None:
    """An embedding never changes under its id, so comparing the ids is enough."""
    wanted, held = reader.window_ids(), vectors.ids
    vectors.remove(np.setdiff1d(held, wanted, assume_unique=True))
    new = np.setdiff1d(wanted, held, assume_unique=True)
    for i in range(0, len(new), CATCH_UP_ROWS):
        some = new[i : i + CATCH_UP_ROWS]
        try:
            vectors.add(some, reader.embeddings(some, vectors.dim))
        except ValueError as error:
            raise StoreError(f"{reader.folder}: {error}; run: soundsearch repair") from error


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("vectors-*.faiss"))


def _file_of(folder: Path, revision: str) -> Path:
    return folder / f"vectors-{revision}.faiss"


def _revision_of(path: Path) -> str:
    return path.stem.removeprefix("vectors-")
