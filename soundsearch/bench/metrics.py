"""Retrieval metrics, pure numpy.

In: scores of queries against candidates and which candidates are relevant. Out: positions of the
relevant candidates (`rank_relevant`), and numbers made of nothing but those positions. Functions
that return an array give one value a query; their mean is the metric.

Ties. A position is its expectation over all orders that the ties allow, each as likely as any
other, so that an encoder which scores everything alike gains nothing. The best and the worst
order stand beside it. docs/benchmarks.md holds the formulas and what other codes do differently.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from soundsearch.arrays import Floats, Ints, Mask

#: Scores sorted at a time: what bounds the memory of `rank_relevant`, about 16 MB of float32.
BLOCK = 4_000_000
#: More candidates than there are.
ALL = 1 << 62


@dataclass(frozen=True, eq=False)
class Ranks:
    """The 1-based positions of every query's relevant candidates, rising within a query.

    positions: (n_relevant,) float64, those of query q at first[q]:first[q + 1]; first:
    (n_queries + 1,) int64. Every query has at least one.
    """

    positions: NDArray[np.float64]
    first: Ints

    @property
    def best(self) -> NDArray[np.float64]:
        """The rank of each query: that of its best relevant candidate, (n_queries,)."""
        return self.positions[self.first[:-1]]

    @property
    def n_relevant(self) -> Ints:
        """How many candidates are relevant to each query, (n_queries,)."""
        return np.diff(self.first)

    def __len__(self) -> int:
        """How many queries there are."""
        return self.first.size - 1


class TiedRanks(NamedTuple):
    """The same positions under three rules for ties; alike where nothing is tied."""

    expected: Ranks
    optimistic: Ranks
    pessimistic: Ranks


def rank_relevant(scores: Floats, query: Ints, candidate: Ints) -> TiedRanks:
    """Where the relevant candidates of every query stand when its scores are sorted, best first.

    scores: (n_queries, n_candidates), higher is better. query, candidate: (n_relevant,) each, the
    pairs that belong together, in any order. For the i-th of m relevant candidates with one
    score, which `greater` candidates surpass and which T candidates share:

        expected = greater + i (T + 1) / (m + 1)
        optimistic = greater + i          pessimistic = greater + T - m + i

    With one relevant candidate, expected = 1 + greater + (T - 1) / 2.
    Raises ValueError for other shapes, NaN scores, a pair twice, or a query with nothing relevant.
    """
    if scores.ndim != 2 or query.shape != candidate.shape or query.ndim != 1:
        raise ValueError(
            "scores must be (query, candidate) and the pairs two arrays of one length, "
            f"not {scores.shape}, {query.shape} and {candidate.shape}"
        )
    n_queries, n_candidates = scores.shape
    without = np.flatnonzero(np.bincount(query, minlength=n_queries) == 0)
    if without.size:
        raise ValueError(f"query {without[0]} has no relevant candidate")
    own = scores[query, candidate]
    order = np.lexsort((-own, query))
    query, candidate, own = query[order], candidate[order], own[order]
    if np.unique(query * n_candidates + candidate).size < query.size:
        raise ValueError("a query and its relevant candidate are named twice")
    first = np.searchsorted(query, np.arange(n_queries + 1))

    greater, tied = np.empty(query.size, np.int64), np.empty(query.size, np.int64)
    step = max(1, BLOCK // max(1, n_candidates))
    for begin in range(0, n_queries, step):
        block = np.sort(scores[begin : begin + step], axis=1)
        if np.isnan(block[:, -1]).any():  # NaN sorts last
            raise ValueError("scores hold NaN")
        for q, row in enumerate(block, begin):
            of = slice(first[q], first[q + 1])
            below = np.searchsorted(row, own[of], "left")
            until = np.searchsorted(row, own[of], "right")
            greater[of], tied[of] = n_candidates - until, until - below

    new = np.ones(query.size, bool)
    new[1:] = (query[1:] != query[:-1]) | (own[1:] != own[:-1])
    starts = np.flatnonzero(new)
    sizes = np.diff(starts, append=query.size)
    i = np.arange(query.size) - np.repeat(starts, sizes) + 1
    m = np.repeat(sizes, sizes)
    return TiedRanks(
        Ranks(greater + i * (tied + 1) / (m + 1), first),
        Ranks((greater + i).astype(np.float64), first),
        Ranks((greater + tied - m + i).astype(np.float64), first),
    )


def best_ranks(scores: Floats, relevant: Mask) -> NDArray[np.float64]:
    """Rank of each query's best-ranked relevant candidate, 1 the first, ties by expectation.

    scores: (n_queries, n_candidates), higher is better. relevant: bool of that shape, with at
    least one true in every row. Returns (n_queries,) float64.
    Raises ValueError for other shapes, NaN scores, or a query with nothing relevant.
    """
    if scores.ndim != 2 or scores.shape != relevant.shape:
        raise ValueError(
            f"scores and relevant must be one (query, candidate) shape, not {scores.shape} and {relevant.shape}"
        )
    return rank_relevant(scores, *np.nonzero(relevant)).expected.best


def recall_at_k(ranks: NDArray[np.float64], k: int) -> float:
    """Share of queries whose best relevant candidate stands among the first k: mean(rank <= k).

    ranks: (n_queries,) from `best_ranks`. Raises ValueError if there is no query or k < 1.
    """
    if k < 1 or ranks.size == 0:
        raise ValueError(
            f"recall needs k of 1 or more and at least one query, not {k} and {ranks.size}"
        )
    return float(np.mean(ranks <= k))


def hits_at_k(ranks: Ranks, k: int) -> NDArray[np.float64]:
    """(n_queries,): 1 for each query with a relevant candidate among the first k, else 0."""
    return (ranks.best <= _positive(k)).astype(np.float64)


def true_recall_at_k(ranks: Ranks, k: int) -> NDArray[np.float64]:
    """(n_queries,): each query's relevant candidates among the first k, over all that it has."""
    return _sums(ranks, ranks.positions <= _positive(k)) / ranks.n_relevant


def average_precision_at_k(ranks: Ranks, k: int) -> NDArray[np.float64]:
    """(n_queries,): average precision over the first k, normalised by all that is relevant.

        AP@k = 1 / n_relevant * sum of i / p_i over the positions p_1 < p_2 < ... that are <= k

    With n_relevant = 5 captions this is WavCaps' audio-to-text mAP@10, with several clips a
    caption the DCASE 2025 mAP@16, and with a single relevant candidate `reciprocal_rank_at_k`.
    """
    i = np.arange(ranks.positions.size) - np.repeat(ranks.first[:-1], ranks.n_relevant) + 1
    found = np.where(ranks.positions <= _positive(k), i / ranks.positions, 0.0)
    return _sums(ranks, found) / ranks.n_relevant


def average_precision(ranks: Ranks) -> NDArray[np.float64]:
    """(n_queries,): average precision of each query over all candidates."""
    return average_precision_at_k(ranks, ALL)


def reciprocal_rank_at_k(ranks: Ranks, k: int) -> NDArray[np.float64]:
    """(n_queries,): 1 / rank of the best relevant candidate if that is among the first k, else 0."""
    return np.where(ranks.best <= _positive(k), 1 / ranks.best, 0.0)


def _sums(ranks: Ranks, values: NDArray[np.generic]) -> NDArray[np.float64]:
    """Sum within each query of one value a relevant candidate."""
    sums: NDArray[np.float64] = np.add.reduceat(values.astype(np.float64), ranks.first[:-1])
    return sums


def _positive(k: int) -> int:
    if k < 1:
        raise ValueError(f"k must be 1 or more, not {k}")
    return k
