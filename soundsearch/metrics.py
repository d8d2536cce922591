"""Retrieval metrics, pure numpy.

In: scores of queries against candidates and which candidates are relevant. Out: numbers. Every
query stands alone; means over queries are the caller's, but for `recall_at_k`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


def best_ranks(scores: Floats, relevant: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Rank of each query's best-ranked relevant candidate, 1 the first.

    scores: (n_queries, n_candidates), higher is better. relevant: bool of that shape, with at
    least one true in every row. Ties are broken by expectation, so that an encoder which scores
    everything alike gains nothing: with s the best relevant score,

        rank = 1 + #{c irrelevant: score_c > s} + 1/2 #{c irrelevant: score_c = s}

    Relevant candidates never stand in each other's way. Returns (n_queries,) float64.
    Raises ValueError for other shapes, NaN scores, or a query with nothing relevant.
    """
    if scores.ndim != 2 or scores.shape != relevant.shape:
        raise ValueError(
            f"scores and relevant must be one (query, candidate) shape, not {scores.shape} and {relevant.shape}"
        )
    if np.isnan(scores).any():
        raise ValueError("scores hold NaN")
    without = np.flatnonzero(~relevant.any(axis=1))
    if without.size:
        raise ValueError(f"query {without[0]} has no relevant candidate")
    best = np.where(relevant, scores, -np.inf).max(axis=1, keepdims=True, initial=-np.inf)
    greater = ((scores > best) & ~relevant).sum(axis=1)
    equal = ((scores == best) & ~relevant).sum(axis=1)
    ranks: NDArray[np.float64] = 1.0 + greater + 0.5 * equal
    return ranks


def recall_at_k(ranks: NDArray[np.float64], k: int) -> float:
    """Share of queries whose best relevant candidate stands among the first k: mean(rank <= k).

    ranks: (n_queries,) from `best_ranks`. Raises ValueError if there is no query or k < 1.
    """
    if k < 1 or ranks.size == 0:
        raise ValueError(
            f"recall needs k of 1 or more and at least one query, not {k} and {ranks.size}"
        )
    return float(np.mean(ranks <= k))
