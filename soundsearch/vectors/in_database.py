"""The vectors of an index that a database holds: it finds candidates itself, and ranks them there.

In: the embedding of a question. Out: window ids with cosines, as of `VectorIndex`: what the database
finds is ranked by the embeddings that it holds, exactly. Few windows are compared one by one; many by
the database; very many by its graph, whose breadth is calibrated on texts (docs/adr/0021).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from soundsearch.arrays import Array, Ids
from soundsearch.progress import Progress
from soundsearch.store import Reader, Writer
from soundsearch.store.backend import MOST_EF, MOST_NUMBERS, GraphFacts
from soundsearch.store.conditions import Condition
from soundsearch.vectors.build import RECALL_10, RECALL_100, Truth, n_candidates, recalls_of
from soundsearch.vectors.exact import check_query
from soundsearch.vectors.vector_index import DEEP_SHARE, FEW_WINDOWS, best, ranked_by_reading

log = logging.getLogger(__name__)

#: From so many windows on there is a graph; among fewer chosen ones the database compares all.
EXACT_WINDOWS = 20_000
#: The graph is calibrated again for so many times the windows.
GROWTH = 4
#: Texts that the graph is calibrated by, and breadths of it, of which the least that does is sought.
MOST_QUESTIONS = 64
BREADTHS = (40, 60, 80, 120, 160, 240, 320, 480, 640, 1000, 2000, 4000, 8000)
#: Windows that a search of the graph visits at most: for each candidate that a filter lets pass, for
#: each candidate of its breadth, and at least.
VISITED_OF_EACH, VISITED_OF_BREADTH, LEAST_VISITED = 8, 40, 20_000
#: What a candidate of the graph costs, in windows that are compared one after the other: an estimate
#: from both ways at 200,000 and at a million windows (benchmarks/postgres.py).
VISITED_COST = 120


@dataclass(frozen=True)
class Chosen:
    """The windows of the recordings that are chosen by conditions, and how many they are."""

    conditions: tuple[Condition, ...]
    n_windows: int

    def __len__(self) -> int:
        return self.n_windows


@dataclass(frozen=True)
class DatabaseVectors:
    """The embeddings of all windows in a database; offers a search what `VectorIndex` does.

    Attributes:
        dim: Numbers in an embedding.
        n_windows: How many windows a search might show when this was made.
        graph: How the graph is searched; None if there is none.
    """

    dim: int
    n_windows: int
    graph: GraphFacts | None

    @classmethod
    def of(cls, reader: Reader) -> DatabaseVectors:
        """Return those of the state that a snapshot sees."""
        return cls(reader.encoder().dim, reader.n_windows(), reader.graph_facts())

    def __len__(self) -> int:
        return self.n_windows

    def choose(self, reader: Reader, conditions: Sequence[Condition]) -> Chosen:
        """Return what `search` searches among, of recordings that are chosen by conditions."""
        return Chosen(tuple(conditions), reader.n_windows(conditions))

    def embeddings(self, ids: Ids, reader: Reader) -> Array:
        """(n, dim) float32. Raises StoreError for an id that is nowhere."""
        return reader.embeddings(ids, self.dim)

    def search(
        self,
        query: Array,
        top_k: int,
        reader: Reader,
        among: Chosen | Ids | None = None,
        *,
        exact: bool = False,
    ) -> tuple[Ids, Array]:
        """Return the nearest windows of one query; arguments and result as of `VectorIndex.search`.

        among: what `choose` gave, or ids, ascending; None for all.
        """
        check_query(query, self.dim)
        if isinstance(among, np.ndarray):
            return ranked_by_reading(query, top_k, reader, among)
        conditions = () if among is None else among.conditions
        n_all = len(self) if among is None else len(among)
        top_k = min(top_k, n_all)
        if top_k < 1:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        n = n_candidates(top_k)
        if n_all <= FEW_WINDOWS or n > DEEP_SHARE * n_all:
            return ranked_by_reading(query, top_k, reader, reader.window_ids(conditions))
        if self.graph is not None and not exact and not self._compares_all(self.graph, n_all):
            found = self._of_graph(query, n, reader, conditions, n_all)
            if len(found[0]) >= top_k:  # else it has stopped before it found enough
                return best(found[0], found[1] @ query, top_k)
        ids, embeddings = reader.nearest_windows(query, n, conditions)
        return best(ids, embeddings @ query, top_k)

    def _compares_all(self, graph: GraphFacts, n_all: int) -> bool:
        """Whether comparing so many windows takes less than finding them in the graph.

        The graph visits more windows the fewer of them pass a filter.
        """
        n_visited = VISITED_COST * graph.ef_search * len(self) / n_all
        return n_all <= EXACT_WINDOWS or (n_all < len(self) and n_all <= n_visited)

    def _of_graph(
        self, query: Array, n: int, reader: Reader, conditions: Sequence[Condition], n_all: int
    ) -> tuple[Ids, Array]:
        assert self.graph is not None
        visited = VISITED_OF_EACH * n * len(self) // n_all
        return reader.nearest_windows(
            query,
            n,
            conditions,
            ef_search=self.graph.ef_search,
            most_visited=max(LEAST_VISITED, visited, VISITED_OF_BREADTH * self.graph.ef_search),
        )


def bring_up_to_date(
    writer: Writer, questions_of: Callable[[Reader], Array | None], progress: Progress
) -> None:
    """Make the graph of a database that has got many windows, and calibrate it.

    questions_of: gives embeddings of texts, (n, dim); None for none: then the graph is as broad as
    can be.
    """
    with writer.snapshot() as reader:
        vectors = DatabaseVectors.of(reader)
    known, n_windows = vectors.graph, len(vectors)
    if n_windows <= EXACT_WINDOWS or vectors.dim > MOST_NUMBERS:
        return
    if known is not None and n_windows < GROWTH * known.n_windows:
        return
    writer.build_graph(progress)
    facts = GraphFacts(n_windows, MOST_EF, None, None)
    with writer.snapshot() as reader:
        questions = questions_of(reader)
        if questions is not None:
            facts = calibrated(reader, facts, questions, progress)
    writer.put_graph_facts(facts)


def calibrated(
    reader: Reader, facts: GraphFacts, questions: Array, progress: Progress
) -> GraphFacts:
    """Return the facts of a graph with the least breadth that answers questions, (n, dim)."""
    truth = Truth(questions[:: -(-len(questions) // MOST_QUESTIONS)])
    ids, dim = reader.window_ids(), questions.shape[1]
    progress.begin("windows compared with questions", len(ids))
    for some, embeddings in reader.embedding_blocks(ids, dim):
        truth.see(some, embeddings)
        progress.advance(len(some))
    progress.begin("questions searched")
    low, high = 0, len(BREADTHS) - 1
    tried = _tried(reader, facts, BREADTHS[high], truth)
    if not _is_enough(tried):
        log.warning(
            "%s: the graph of the database finds %.1f%% of the 10 nearest windows at its broadest",
            *(reader.name, 100 * (tried.recall_10 or 0)),
        )
        return tried
    while low < high:  # a broader search finds no less
        middle = (low + high) // 2
        other = _tried(reader, facts, BREADTHS[middle], truth)
        if _is_enough(other):
            high, tried = middle, other
        else:
            low = middle + 1
    return tried


def _tried(reader: Reader, facts: GraphFacts, breadth: int, truth: Truth) -> GraphFacts:
    """Return the facts of a graph of this breadth, with the share of windows that it finds."""
    vectors = DatabaseVectors(
        truth.questions.shape[1], facts.n_windows, replace(facts, ef_search=breadth)
    )
    recalls = recalls_of(truth, lambda q, n: vectors._of_graph(q, n, reader, (), len(vectors))[0])
    return GraphFacts(facts.n_windows, breadth, *(round(recall, 4) for recall in recalls))


def _is_enough(facts: GraphFacts) -> bool:
    return (facts.recall_10 or 0) >= RECALL_10 and (facts.recall_100 or 0) >= RECALL_100
