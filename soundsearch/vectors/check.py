"""Compare the vectors beside a database with the embeddings in it. Reads a block at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from soundsearch.arrays import Array
from soundsearch.progress import SILENT, Progress
from soundsearch.store import Reader
from soundsearch.vectors.cache import found_vectors
from soundsearch.vectors.exact import ExactIndex, VectorFileError
from soundsearch.vectors.inverted import InvertedFile
from soundsearch.vectors.vector_index import VectorIndex

#: Windows compared at a time.
BATCH_ROWS = 20_000
#: Quantised to 8 bits, an embedding has at least this cosine to itself.
ALIKE = 0.99


def vector_problems(reader: Reader, progress: Progress = SILENT) -> Iterator[str]:
    """Yield what is wrong with the vectors beside a database, in words.

    Those of an earlier state are compared as far as they are used; none are no problem, nor are
    damaged ones that are made again by the next search.
    """
    if not isinstance(reader.place, Path):
        return  # the server keeps its graph in step with the table
    vectors, is_fresh = found_vectors(reader)
    if vectors is None:
        return
    wanted = reader.window_ids()
    try:
        held = vectors.ids
        if is_fresh and not np.array_equal(held, wanted):
            yield f"the vectors beside the database are of {len(held)} windows, it has {len(wanted)}"
            return
        known = np.intersect1d(held, wanted, assume_unique=True)
        progress.begin("vectors compared", len(known))
        n_differ = 0
        for n_compared, n_unequal in _differ(vectors, reader, known):
            progress.advance(n_compared)
            n_differ += n_unequal
    except VectorFileError as error:
        yield str(error)
        return
    if n_differ:
        yield f"vectors that differ from the database: {n_differ}"


def _differ(vectors: VectorIndex, reader: Reader, known: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield for each block how many vectors were compared, and how many differ."""
    exact = np.intersect1d(vectors.delta.ids, known)
    for start in range(0, len(exact), BATCH_ROWS):
        some = exact[start : start + BATCH_ROWS]
        yield len(some), _n_unequal(vectors.delta, reader, some)
    if vectors.base is not None:
        for number in range(vectors.base.facts.n_lists):
            yield _n_unlike(vectors.base, number, reader, known)


def _n_unequal(delta: ExactIndex, reader: Reader, ids: np.ndarray) -> int:
    unequal = delta.embeddings(ids) != reader.embeddings(ids, delta.dim)
    return int(unequal.any(axis=1).sum())


def _n_unlike(
    base: InvertedFile, number: int, reader: Reader, known: np.ndarray
) -> tuple[int, int]:
    """How many windows of a list are known, and how many not about what the database holds."""
    codes, ids = base.read_list(number)
    is_known = np.isin(ids, known)
    order = np.argsort(ids[is_known])
    decoded: Array = base.decoded(number, codes[is_known][order])
    stored = reader.embeddings(ids[is_known][order], decoded.shape[1])
    return len(stored), int(((decoded * stored).sum(axis=1) < ALIKE).sum())
