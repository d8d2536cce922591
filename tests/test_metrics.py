"""Metrics against an oracle that walks through every order the ties allow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soundsearch.metrics import best_ranks, recall_at_k


def expected_rank(scores: list[int], relevant: list[bool]) -> float:
    """Walk through the candidates: each irrelevant one stands before, or before in half the orders."""
    best = max(score for score, right in zip(scores, relevant, strict=True) if right)
    rank = 1.0
    for score, right in zip(scores, relevant, strict=True):
        if right:
            continue
        if score > best:
            rank += 1
        elif score == best:
            rank += 0.5
    return rank


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[list[int]], list[list[bool]]]:
    n_queries, n_candidates = draw(st.integers(1, 5)), draw(st.integers(1, 8))
    row = st.lists(st.integers(-2, 2), min_size=n_candidates, max_size=n_candidates)
    flags = st.lists(st.booleans(), min_size=n_candidates, max_size=n_candidates).filter(any)
    return (
        draw(st.lists(row, min_size=n_queries, max_size=n_queries)),
        draw(st.lists(flags, min_size=n_queries, max_size=n_queries)),
    )


@given(tables())
def test_best_ranks_are_those_of_the_oracle(
    table: tuple[list[list[int]], list[list[bool]]],
) -> None:
    scores, relevant = table
    found = best_ranks(np.array(scores, np.float32), np.array(relevant))
    wanted = [expected_rank(s, r) for s, r in zip(scores, relevant, strict=True)]
    np.testing.assert_array_equal(found, wanted)


@given(tables())
def test_recall_counts_ranks_and_never_falls_as_k_grows(
    table: tuple[list[list[int]], list[list[bool]]],
) -> None:
    scores, relevant = table
    ranks = best_ranks(np.array(scores, np.float32), np.array(relevant))
    recalls = [recall_at_k(ranks, k) for k in range(1, len(scores[0]) + 1)]
    assert recalls == sorted(recalls)
    assert recalls[-1] == 1.0
    assert recalls[0] == sum(rank <= 1 for rank in ranks) / len(ranks)


def test_scoring_everything_alike_gains_nothing() -> None:
    relevant = np.eye(101, dtype=bool)
    ranks = best_ranks(np.zeros((101, 101)), relevant)
    assert ranks.tolist() == [51.0] * 101
    assert recall_at_k(ranks, 10) == 0.0


def test_the_best_of_several_relevant_candidates_counts() -> None:
    scores = np.array([[0.9, 0.5, 0.8, 0.1]])
    assert best_ranks(scores, np.array([[False, True, True, False]])).tolist() == [2.0]


def test_what_cannot_be_ranked_is_refused() -> None:
    with pytest.raises(ValueError, match="query 1 has no relevant"):
        best_ranks(np.zeros((2, 2)), np.array([[True, False], [False, False]]))
    with pytest.raises(ValueError, match="NaN"):
        best_ranks(np.array([[np.nan, 1.0]]), np.array([[True, False]]))
    with pytest.raises(ValueError, match="shape"):
        best_ranks(np.zeros((2, 2)), np.ones((2, 3), bool))
    with pytest.raises(ValueError, match="at least one query"):
        recall_at_k(np.zeros(0), 10)
