"""Embeddings as the database holds them: a blob for each window, little-endian float16.

Indexes of earlier versions hold float32. These are read rounded to float16, so that what a search
sees does not depend on how far `Writer.convert_embeddings` has come.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import sqlalchemy as sa

from soundsearch.arrays import Array, Ids
from soundsearch.errors import StoreError
from soundsearch.store.schema import index_table, windows_table
from soundsearch.store.statements import Statements, chunks

STORED = np.dtype("<f2")
#: Of the rows that earlier versions wrote.
EARLIER = np.dtype("<f4")
#: How far from 1 the norm of an embedding may be.
NORM_TOLERANCE = 1e-3
#: Embeddings read at a time where many are read: 11.5 MB of 288 numbers each.
BLOCK_ROWS = 20_000
#: Ids less dense than one in so many are looked up one by one, not read as a stretch of the table.
SPARSE = 4


def to_blobs(embeddings: Array) -> list[bytes]:
    """Embeddings (n, dim) as they are stored."""
    return [row.tobytes() for row in embeddings.astype(STORED)]


def is_readable(blob: bytes, dim: int) -> bool:
    """Whether a blob holds so many numbers, in the form of this version or of an earlier one."""
    return len(blob) == dim * STORED.itemsize or is_earlier(blob, dim)


def is_earlier(blob: bytes, dim: int) -> bool:
    """Whether a blob holds so many numbers in the form of an earlier version."""
    return len(blob) == dim * EARLIER.itemsize


def from_blobs(blobs: Sequence[bytes], dim: int) -> Array:
    """Embeddings as a search sees them, (n, dim) float32. blobs: such as `is_readable` accepts."""
    if all(len(blob) == dim * STORED.itemsize for blob in blobs):
        stored = np.frombuffer(b"".join(blobs), STORED).reshape(-1, dim)
    else:
        stored = np.stack([_stored(blob, dim) for blob in blobs])
    return stored.astype(np.float32)


def _stored(blob: bytes, dim: int) -> np.ndarray[tuple[int], np.dtype[np.float16]]:
    return np.frombuffer(blob, EARLIER if is_earlier(blob, dim) else STORED).astype(STORED)


def check_unit(embeddings: Array) -> None:
    """Raise ValueError unless every row is finite and of length 1."""
    norms = np.linalg.norm(embeddings, axis=1)
    if not np.isfinite(norms).all() or np.abs(norms - 1).max(initial=0) > NORM_TOLERANCE:
        raise ValueError("an embedding is not a finite unit vector")


class EmbeddingReader(Statements):
    """The part of a `Reader` that reads embeddings."""

    def embeddings(self, window_ids: Ids, dim: int) -> Array:
        """The embeddings of windows in the order of their ids, (n, dim) float32.

        window_ids: (n,) int64. Raises StoreError where one is missing, or has not dim numbers.
        """
        ids, places = np.unique(window_ids, return_inverse=True)
        found = np.empty((len(ids), dim), np.float32)
        start = 0
        for _, embeddings in self.embedding_blocks(ids, dim):
            found[start : start + len(embeddings)] = embeddings
            start += len(embeddings)
        return found if np.array_equal(ids, window_ids) else found[places]

    def embedding_blocks(self, window_ids: Ids, dim: int) -> Iterator[tuple[Ids, Array]]:
        """The embeddings of many windows, a block at a time, so that memory stays bounded.

        window_ids: (n,) int64, ascending, each once. Yields the next ids (m,) and their embeddings
        (m, dim) float32; m is BLOCK_ROWS, or less at the end. Raises StoreError as `embeddings`.
        """
        for start in range(0, len(window_ids), BLOCK_ROWS):
            ids = window_ids[start : start + BLOCK_ROWS]
            yield ids, self._decoded(ids, self._blobs(ids), dim)

    def found_embeddings(self, window_ids: Ids, dim: int) -> tuple[Ids, Array]:
        """The embeddings of those windows that are there.

        window_ids: (n,) int64, ascending, each once. Returns their ids (m,), ascending, and their
        embeddings (m, dim) float32. Raises StoreError where one has not dim numbers.
        """
        rows = self._blobs(window_ids)
        ids = window_ids[[i in rows for i in window_ids.tolist()]]
        return ids, self._decoded(ids, rows, dim)

    def float16_from(self) -> int:
        """The id of the first window from which on all embeddings are stored as float16.

        0: all are, and what room they took before was given back. 1: it was not yet.
        """
        return self._number(sa.select(index_table.c.float16_from))

    def n_stored_windows(self, before: int | None = None) -> int:
        """How many windows there are, also of missing files. before: only of smaller ids."""
        query = sa.select(sa.func.count()).select_from(windows_table)
        if before is not None:
            query = query.where(windows_table.c.id < before)
        return self._number(query)

    def embeddings_of(self, recording_id: int, dim: int) -> Array:
        """The embeddings of one recording's windows in order, (n, dim) float32; see `embeddings`."""
        columns = windows_table.c
        query = sa.select(columns.id).where(columns.recording_id == recording_id)
        ids = self._execute(query.order_by(columns.id)).scalars().all()
        return self.embeddings(np.array(ids, np.int64), dim)

    def _decoded(self, ids: Ids, rows: dict[int, bytes], dim: int) -> Array:
        """Embeddings of windows, of what is stored by id. Raises StoreError as `embeddings`."""
        blobs = [rows.get(i, b"") for i in ids.tolist()]
        for window_id, blob in zip(ids, blobs, strict=True):
            if not is_readable(blob, dim):
                raise StoreError(
                    f"{self.name}: window {window_id} holds {len(blob)} bytes of embedding, "
                    f"expected {dim * STORED.itemsize}; run: soundsearch repair"
                )
        return from_blobs(blobs, dim)

    def _blobs(self, ids: Ids) -> dict[int, bytes]:
        """What is stored of windows, by id; perhaps of others between them, too. ids: ascending."""
        if len(ids) == 0:
            return {}
        columns = windows_table.c
        query = sa.select(columns.id, columns.embedding)
        if len(ids) * SPARSE >= ids[-1] - ids[0]:
            stretch = columns.id.between(int(ids[0]), int(ids[-1]))
            return dict(self._driver_rows(query.where(stretch), streamed=False))
        found: dict[int, bytes] = {}
        for some in chunks(ids.tolist()):
            chosen = query.where(self._database.one_of(columns.id, some))
            found.update(self._driver_rows(chosen, streamed=False))
        return found
