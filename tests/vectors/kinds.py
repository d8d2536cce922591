"""Vectors of each kind over the same windows: exact, with an inverted file, and unread."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from soundsearch.progress import Silent
from soundsearch.vectors.build import build
from soundsearch.vectors.folder import BASE_FILES, BaseFacts, Manifest, facts_of_files
from soundsearch.vectors.inverted import InvertedFile
from soundsearch.vectors.vector_index import VectorIndex

Array = NDArray[np.float32]
Ids = NDArray[np.int64]
KINDS = ("exact", "inverted", "unread")
#: One window in so many is in the delta.
DELTA_SHARE = 3


@dataclass
class InMemory:
    """What a reader tells of embeddings, from arrays; ids ascending."""

    ids: Ids
    embeddings: Array
    n_read: int = 0

    def window_ids(self) -> Ids:
        return self.ids

    def embedding_blocks(self, window_ids: Ids, dim: int) -> Iterator[tuple[Ids, Array]]:
        for start in range(0, len(window_ids), 20_000):
            yield self.found_embeddings(window_ids[start : start + 20_000], dim)

    def found_embeddings(self, window_ids: Ids, dim: int) -> tuple[Ids, Array]:
        assert (np.diff(window_ids) > 0).all()
        found = window_ids[np.isin(window_ids, self.ids)]
        self.n_read += len(found)
        return found, self.embeddings[np.searchsorted(self.ids, found)]


def stored(ids: Ids, embeddings: Array) -> InMemory:
    """A library of these windows."""
    order = np.argsort(ids)
    return InMemory(ids[order], embeddings[order])


def opened(folder: Path, facts: BaseFacts, dim: int) -> InvertedFile:
    """A base that was written into a folder."""
    files = facts_of_files(folder, BASE_FILES)
    return InvertedFile.open(folder, Manifest("e", dim, facts.n_windows, 0, facts, files))


def inverted(library: InMemory, scratch: Path, questions: Array | None = None) -> InvertedFile:
    """A base of all windows of a library."""
    folder = Path(tempfile.mkdtemp(dir=scratch))
    blocks = library.embedding_blocks(library.ids, library.embeddings.shape[1])
    n = len(library.ids)
    facts = build(folder, n, library.embeddings, blocks, questions, Silent())
    return opened(folder, facts, library.embeddings.shape[1])


def made(kind: str, ids: Ids, embeddings: Array, scratch: Path) -> tuple[VectorIndex, InMemory]:
    """Vectors of one kind, and the library behind. Bases are searched whole."""
    library = stored(ids, embeddings)
    vectors = VectorIndex.empty(embeddings.shape[1])
    if kind == "unread":
        return VectorIndex.unread(vectors.dim, len(ids)), library
    in_delta = np.arange(len(ids)) % DELTA_SHARE == 0
    if kind == "exact":
        in_delta[:] = True
    vectors.delta.add(ids[in_delta], embeddings[in_delta])
    if not in_delta.all():
        vectors.base = inverted(stored(ids[~in_delta], embeddings[~in_delta]), scratch)
        vectors.is_deleted = np.zeros(vectors.base.facts.id_limit, bool)
    return vectors, library
