"""Nearest embeddings, exactly.

In: embeddings with the ids of their windows. Out: for a query, window ids and cosine scores.
Exact search over unit vectors; ids are the database's, never row positions.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import faiss
import numpy as np
import xxhash

from soundsearch.arrays import Array, Ids, Mask
from soundsearch.errors import SoundsearchError
from soundsearch.store.embeddings import check_unit

#: Length of the checksum (XXH3-128) of all before it, with which the file ends.
CHECKSUM_BYTES = 16
#: Bytes of the file hashed at a time.
HASH_BLOCK_BYTES = 1 << 20


class VectorFileError(SoundsearchError):
    """A file of vectors that cannot be read; it can always be made again from the database."""


class ExactIndex:
    """Unit embeddings by window id. Score is the inner product, so the cosine."""

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._index = faiss.IndexIDMap2(faiss.IndexFlatIP(dim))
        self._is_held: Mask | None = None  # by id; made at first use

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def ids(self) -> Ids:
        """All window ids, in no particular order."""
        return faiss.vector_to_array(self._index.id_map).astype(np.int64)

    def add(self, ids: Ids, embeddings: Array) -> None:
        """Add (n, dim) float32 unit embeddings under n ids that are not there yet."""
        if embeddings.ndim != 2 or embeddings.shape != (len(ids), self.dim):
            raise ValueError(
                f"embeddings must be ({len(ids)}, {self.dim}) float32, not {embeddings.shape}"
            )
        if len(ids) == 0:
            return
        check_unit(embeddings)
        is_held = self._held(int(ids.max()) + 1)
        if len(np.unique(ids)) != len(ids) or is_held[ids].any():
            raise ValueError("a window id is there twice")
        self._index.add_with_ids(np.ascontiguousarray(embeddings, np.float32), ids.astype(np.int64))
        is_held[ids] = True

    def remove(self, ids: Ids) -> None:
        """Remove these ids; those that are not there are skipped."""
        if len(ids):
            self._index.remove_ids(faiss.IDSelectorBatch(ids.astype(np.int64)))
            self._is_held = None

    def embeddings(self, ids: Ids) -> Array:
        """(n, dim) float32 as they were added. Raises KeyError for an unknown id."""
        try:
            found = [self._index.reconstruct(int(i)) for i in ids]
        except RuntimeError as error:
            raise KeyError(str(error)) from error
        return np.stack(found) if found else np.empty((0, self.dim), np.float32)

    def search(self, query: Array, top_k: int, among: Ids | None = None) -> tuple[Ids, Array]:
        """The top_k nearest windows of one query, best first; fewer if there are fewer.

        query: (dim,) float32. among: search these ids only. Returns ids (n,), scores (n,).
        """
        check_query(query, self.dim)
        if len(self) == 0 or top_k < 1 or (among is not None and len(among) == 0):
            return np.empty(0, np.int64), np.empty(0, np.float32)
        params = None
        if among is not None:
            chosen = selector(mask_of(among, len(self._held())))
            params = faiss.SearchParameters(sel=chosen)  # type: ignore[call-arg]
        scores, ids = self._index.search(
            np.ascontiguousarray(query[None], np.float32), min(top_k, len(self)), params=params
        )
        found = ids[0] >= 0
        return ids[0][found], scores[0][found]

    def save(self, path: Path) -> None:
        """Write a file that ends in a checksum. Raises OSError."""
        write_faiss(self._index, path)

    @classmethod
    def load(cls, path: Path, dim: int) -> ExactIndex:
        """Read what `save` wrote. Raises VectorFileError for anything else."""
        index = read_faiss(path)
        if (
            not isinstance(index, faiss.IndexIDMap2)
            or index.d != dim
            or not isinstance(faiss.downcast_index(index.index), faiss.IndexFlatIP)
        ):
            raise VectorFileError(f"{path}: a FAISS file of another kind or dimension")
        loaded = cls(dim)
        loaded._index = index
        return loaded

    def _held(self, n: int = 0) -> Mask:
        """Whether each id is held, for n ids or more. Grows by doubling, so that adding is linear."""
        if self._is_held is None:
            ids = self.ids
            self._is_held = mask_of(ids, int(ids.max(initial=-1)) + 1)
        if len(self._is_held) < n:
            more = max(n, 2 * len(self._is_held)) - len(self._is_held)
            self._is_held = np.append(self._is_held, np.zeros(more, bool))
        return self._is_held


def write_faiss(index: faiss.Index, path: Path) -> None:
    """Write an index of FAISS to a file that ends in a checksum. Raises OSError."""
    digest = xxhash.xxh3_128()
    with open(path, "wb") as file:

        def write(block: bytes) -> None:
            digest.update(block)
            file.write(block)

        faiss.write_index(index, faiss.PyCallbackIOWriter(write))  # type: ignore[attr-defined]
        file.write(digest.digest())


def read_faiss(path: Path) -> faiss.Index:
    """Read what `write_faiss` wrote. Raises VectorFileError for anything else."""
    try:
        with open(path, "rb") as file:  # FAISS itself opens no name that is not UTF-8
            # Checked before FAISS looks: a damaged count would make it ask for any memory.
            if not _is_whole(file):
                raise VectorFileError(f"{path}: not a readable FAISS file")
            file.seek(0)
            reader = faiss.PyCallbackIOReader(file.read)  # type: ignore[attr-defined]
            return faiss.read_index(reader)
    except (OSError, RuntimeError, MemoryError) as error:
        raise VectorFileError(f"{path}: not a readable FAISS file") from error


def mask_of(ids: Ids, n: int) -> Mask:
    """Return for the ids 0 to n - 1 whether each is among these, (n,)."""
    mask = np.zeros(n, bool)
    mask[ids[ids < n]] = True
    return mask


def selector(mask: Mask) -> faiss.IDSelector:
    """Return what chooses the ids of a mask."""
    bits = np.packbits(mask, bitorder="little")
    return faiss.IDSelectorBitmap(bits)  # type: ignore[call-arg, arg-type]


def _is_whole(file: BinaryIO) -> bool:
    """Whether a file ends with the checksum of all before it."""
    n_left = os.fstat(file.fileno()).st_size - CHECKSUM_BYTES
    digest = xxhash.xxh3_128()
    while n_left > 0 and (block := file.read(min(n_left, HASH_BLOCK_BYTES))):
        digest.update(block)
        n_left -= len(block)
    return bool(file.read() == digest.digest())


def check_query(query: Array, dim: int) -> None:
    """Raise ValueError unless a query is (dim,)."""
    if query.shape != (dim,):
        raise ValueError(f"query must be ({dim},), not {query.shape}")
