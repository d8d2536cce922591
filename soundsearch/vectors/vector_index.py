"""The vectors of an index: an inverted file, exact embeddings beside it, and the database behind.

In: the embedding of a question. Out: window ids with cosines, which are exact: what an inverted file
finds is ranked by the embeddings in the database. A small library has exact embeddings alone.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from soundsearch.arrays import Array, Ids, Mask
from soundsearch.store.conditions import Condition
from soundsearch.vectors.build import n_candidates
from soundsearch.vectors.exact import ExactIndex, VectorFileError, check_query, mask_of
from soundsearch.vectors.inverted import InvertedFile

log = logging.getLogger(__name__)

#: Among so few windows a search reads the embeddings of all from the database.
FEW_WINDOWS = 2_000
#: Candidates for this share of the windows are not found by an inverted file, but by reading all.
DEEP_SHARE = 0.25
#: A search visits lists with this many windows, or more, for each that it ranks exactly.
VISITED_OF_EACH = 16


class Stored(Protocol):
    """Where embeddings are read from: a `Reader` of the index."""

    def window_ids(self, among: Iterable[Condition] = ()) -> Ids:
        """Ids of all windows that a search may show, ascending; or of those that are chosen."""

    def embedding_blocks(self, window_ids: Ids, dim: int) -> Iterator[tuple[Ids, Array]]:
        """Embeddings of windows (ids ascending), block by block."""

    def found_embeddings(self, window_ids: Ids, dim: int) -> tuple[Ids, Array]:
        """Those of these windows that are there, and their embeddings."""


class Vectors(Protocol):
    """What a search asks for nearest windows: a `VectorIndex`, or a database itself."""

    @property
    def dim(self) -> int:
        """Numbers in an embedding."""

    def __len__(self) -> int: ...

    def choose(self, reader: Any, conditions: Sequence[Condition]) -> Any:
        """What `search` searches among, of recordings that are chosen by conditions; has a length."""

    def embeddings(self, ids: Ids, reader: Any) -> Array:
        """(n, dim) float32 of windows by their ids."""

    def search(
        self, query: Array, top_k: int, reader: Any, among: Any = None, *, exact: bool = False
    ) -> tuple[Ids, Array]:
        """Ids and cosines of the nearest windows. among: what `choose` gave, or ids; None for all."""


@dataclass
class VectorIndex:
    """Embeddings of windows by id. Score is the inner product, so the cosine.

    Attributes:
        dim: Numbers in an embedding.
        delta: Exact embeddings: of all windows, or of those that are not in the base.
        base: An inverted file of most of them, if there are many.
        is_deleted: Whether each id of the base is gone.
        in_database: Whether there are many and no inverted file: each search reads them all.
        n_unread: How many there are then.
    """

    dim: int
    delta: ExactIndex
    base: InvertedFile | None = None
    is_deleted: Mask = field(default_factory=lambda: np.zeros(0, bool))
    in_database: bool = False
    n_unread: int = 0

    @classmethod
    def empty(cls, dim: int) -> VectorIndex:
        """Return one without windows."""
        return cls(dim, ExactIndex(dim))

    @classmethod
    def unread(cls, dim: int, n_windows: int) -> VectorIndex:
        """Return one whose windows are all read from the database at each search."""
        return cls(dim, ExactIndex(dim), in_database=True, n_unread=n_windows)

    def __len__(self) -> int:
        return len(self.delta) + self.n_in_base + self.n_unread

    @property
    def n_in_base(self) -> int:
        """Windows in the base that are not deleted."""
        if self.base is None:
            return 0
        return self.base.facts.n_windows - int(np.count_nonzero(self.is_deleted))

    @property
    def ids(self) -> Ids:
        """All window ids, ascending, but not those that are only in the database."""
        if self.base is None:
            return np.sort(self.delta.ids)
        ids = self.base.ids
        return np.sort(np.concatenate([ids[~self.is_deleted[ids]], self.delta.ids]))

    def choose(self, reader: Stored, conditions: Sequence[Condition]) -> Ids:
        """Return what `search` searches among, of recordings that are chosen by conditions."""
        return reader.window_ids(conditions)

    def embeddings(self, ids: Ids, reader: Stored) -> Array:
        """(n, dim) float32. Raises KeyError for an id that is nowhere."""
        if self.base is None and not self.in_database:
            return self.delta.embeddings(ids)
        found, embeddings = reader.found_embeddings(np.unique(ids), self.dim)
        places = np.searchsorted(found, ids)
        if not np.isin(ids, found).all():
            raise KeyError(f"{np.setdiff1d(ids, found)[0]}")
        return embeddings[places]

    def search(
        self,
        query: Array,
        top_k: int,
        reader: Stored,
        among: Ids | None = None,
        *,
        exact: bool = False,
    ) -> tuple[Ids, Array]:
        """Return the nearest windows of one query, best first; fewer if there are fewer.

        Args:
            query: (dim,) float32.
            top_k: How many.
            reader: The embeddings of windows, by which candidates are ranked.
            among: Ids of the windows to search among, ascending; None for all.
            exact: Whether no window may be missed, however long that takes.

        Returns:
            Ids (n,) and cosines (n,); of equal ones the lower ids first.
        """
        check_query(query, self.dim)
        if self.base is None and not self.in_database:
            return self.delta.search(query, top_k, among)
        n_all = len(self) if among is None else len(among)
        top_k = min(top_k, n_all)
        if top_k < 1:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        is_few = among is not None and n_all <= FEW_WINDOWS
        is_deep = n_candidates(top_k) > DEEP_SHARE * n_all
        if self.base is None or exact or is_few or is_deep:
            return self._all_of_database(query, top_k, reader, among)
        share = min(1.0, n_all / max(1, len(self)))
        n_lists = self._n_lists(self.base, top_k, share)
        try:
            found = self._approximately(self.base, query, top_k, n_lists, reader, among)
        except VectorFileError as error:
            log.warning("%s; searching the database instead; run: soundsearch repair", error)
            return self._all_of_database(query, top_k, reader, among)
        if len(found[0]) < top_k:  # the lists hold too few of them
            return self._all_of_database(query, top_k, reader, among)
        return found

    def _n_lists(self, base: InvertedFile, top_k: int, share: float) -> int:
        """Return how many lists are visited: more for part of the windows, or for many of them."""
        n_probe = base.facts.n_probe / share
        n_needed = VISITED_OF_EACH * n_candidates(top_k) / max(1.0, share * len(self))
        return math.ceil(min(base.facts.n_lists, max(n_probe, n_needed * base.facts.n_lists)))

    def _approximately(
        self,
        base: InvertedFile,
        query: Array,
        top_k: int,
        n_lists: int,
        reader: Stored,
        among: Ids | None,
    ) -> tuple[Ids, Array]:
        allowed = None
        if among is not None:
            allowed = mask_of(among, base.facts.id_limit) & ~self.is_deleted
        elif self.is_deleted.any():
            allowed = ~self.is_deleted
        candidates = base.search(query, n_candidates(top_k), n_lists, allowed)
        ids, embeddings = reader.found_embeddings(np.sort(candidates), self.dim)
        others, cosines = self.delta.search(query, top_k, among)
        return best(
            np.concatenate([ids, others]), np.concatenate([embeddings @ query, cosines]), top_k
        )

    def _all_of_database(
        self, query: Array, top_k: int, reader: Stored, among: Ids | None
    ) -> tuple[Ids, Array]:
        """Search exactly, with a block of embeddings in memory at a time."""
        return ranked_by_reading(
            query, top_k, reader, reader.window_ids() if among is None else among
        )


def ranked_by_reading(
    query: Array, top_k: int, reader: Stored, window_ids: Ids
) -> tuple[Ids, Array]:
    """Return the nearest of these windows, by reading the embeddings of all, a block at a time."""
    ids, cosines = np.empty(0, np.int64), np.empty(0, np.float32)
    for some, embeddings in reader.embedding_blocks(window_ids, len(query)):
        ids, cosines = best(
            np.concatenate([ids, some]), np.concatenate([cosines, embeddings @ query]), top_k
        )
    return ids, cosines


def best(ids: Ids, cosines: Array, n: int) -> tuple[Ids, Array]:
    """Return the n with the highest cosines, the best first; of equal ones the lower ids."""
    order = np.lexsort((ids, -cosines))[:n]
    return ids[order], cosines[order]
