"""Metrics against an oracle that walks through every order the ties allow, and against trec_eval."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from soundsearch.bench import metrics
from soundsearch.bench.metrics import (
    Ranks,
    TiedRanks,
    average_precision_at_k,
    best_ranks,
    hits_at_k,
    rank_relevant,
    recall_at_k,
    reciprocal_rank_at_k,
    true_recall_at_k,
)


def all_orders(scores: list[int], relevant: list[bool]) -> NDArray[np.int64]:
    """Positions of the relevant candidates, rising, in every order the ties allow."""
    orders = []
    for order in permutations(range(len(scores))):
        best_first = sorted(order, key=lambda c: -scores[c])  # stable: ties as in this order
        orders.append([p for p, c in enumerate(best_first, 1) if relevant[c]])
    return np.array(orders)


def ranked(scores: NDArray[np.floating], relevant: NDArray[np.bool_]) -> TiedRanks:
    return rank_relevant(scores, *np.nonzero(relevant))


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[list[int]], list[list[bool]]]:
    n_queries, n_candidates = draw(st.integers(1, 3)), draw(st.integers(1, 5))
    row = st.lists(st.integers(-1, 1), min_size=n_candidates, max_size=n_candidates)
    flags = st.lists(st.booleans(), min_size=n_candidates, max_size=n_candidates).filter(any)
    return (
        draw(st.lists(row, min_size=n_queries, max_size=n_queries)),
        draw(st.lists(flags, min_size=n_queries, max_size=n_queries)),
    )


def untied(
    n_queries: int, n_candidates: int, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Scores without ties, and one to five relevant candidates a query."""
    rng = np.random.default_rng(seed)
    scores = rng.permuted(
        np.tile(np.arange(n_candidates, dtype=np.float32), (n_queries, 1)), axis=1
    )
    relevant = np.zeros((n_queries, n_candidates), bool)
    for row in relevant:
        row[rng.choice(n_candidates, size=rng.integers(1, 6), replace=False)] = True
    return scores, relevant


@given(tables())
@settings(max_examples=60)
def test_positions_are_those_of_the_oracle(table: tuple[list[list[int]], list[list[bool]]]) -> None:
    scores, relevant = np.array(table[0], np.float32), np.array(table[1])
    found = ranked(scores, relevant)
    orders = [all_orders(s, r) for s, r in zip(*table, strict=True)]
    for ranks, of in zip(found, (np.mean, np.min, np.max), strict=True):
        wanted = np.concatenate([of(each, axis=0) for each in orders])
        np.testing.assert_allclose(ranks.positions, wanted, atol=1e-12)
        assert ranks.n_relevant.tolist() == relevant.sum(axis=1).tolist()
    np.testing.assert_array_equal(best_ranks(scores, relevant), found.expected.best)


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


@given(tables(), st.integers(1, 6))
def test_every_measure_rises_with_k_and_lies_between_its_bounds(
    table: tuple[list[list[int]], list[list[bool]]], k: int
) -> None:
    found = ranked(np.array(table[0], np.float32), np.array(table[1]))
    for of in (hits_at_k, true_recall_at_k, average_precision_at_k, reciprocal_rank_at_k):
        expected, optimistic, pessimistic = (of(each, k) for each in found)
        assert (of(found.expected, k + 1) >= expected).all()
        assert (pessimistic <= expected + 1e-12).all()
        assert (expected <= optimistic + 1e-12).all()
        assert (pessimistic >= 0).all()
        assert (optimistic <= 1).all()


@given(tables(), st.randoms(use_true_random=False))
def test_the_order_of_candidates_changes_nothing(
    table: tuple[list[list[int]], list[list[bool]]], random: object
) -> None:
    scores, relevant = np.array(table[0], np.float32), np.array(table[1])
    order = list(range(scores.shape[1]))
    random.shuffle(order)  # type: ignore[attr-defined]
    for one, two in zip(
        ranked(scores, relevant), ranked(scores[:, order], relevant[:, order]), strict=True
    ):
        np.testing.assert_array_equal(one.positions, two.positions)


def test_measures_are_those_of_plain_loops() -> None:
    scores, relevant = untied(40, 30)
    ranks = ranked(scores, relevant).expected
    for q in range(40):
        best_first = sorted(range(30), key=lambda c: -scores[q, c])
        flags = [bool(relevant[q, c]) for c in best_first]
        for k in (1, 5, 10, 30):
            hits = sum(flags[:k])
            precisions = [sum(flags[: i + 1]) / (i + 1) for i in range(k) if flags[i]]
            assert hits_at_k(ranks, k)[q] == (hits > 0)
            assert true_recall_at_k(ranks, k)[q] == hits / sum(flags)
            assert average_precision_at_k(ranks, k)[q] == pytest.approx(
                sum(precisions) / sum(flags)
            )
            first = flags.index(True) + 1
            assert reciprocal_rank_at_k(ranks, k)[q] == (1 / first if first <= k else 0)


def test_measures_are_those_of_trec_eval() -> None:
    scores, relevant = untied(60, 50, seed=3)
    ranks = ranked(scores, relevant).expected
    judged = {
        f"q{q}": {f"d{c}": int(relevant[q, c]) for c in range(50) if relevant[q, c]}
        for q in range(60)
    }
    run = {f"q{q}": {f"d{c}": float(scores[q, c]) for c in range(50)} for q in range(60)}
    wanted = pytrec_eval.RelevanceEvaluator(
        judged, {"map_cut_10", "map_cut_16", "recall_5", "success_5", "recip_rank"}
    ).evaluate(run)
    for name, found in {
        "map_cut_10": average_precision_at_k(ranks, 10),
        "map_cut_16": average_precision_at_k(ranks, 16),
        "recall_5": true_recall_at_k(ranks, 5),
        "success_5": hits_at_k(ranks, 5),
        "recip_rank": reciprocal_rank_at_k(ranks, 50),
    }.items():
        np.testing.assert_allclose(found, [wanted[f"q{q}"][name] for q in range(60)], atol=1e-9)


def test_the_best_and_the_worst_there_is() -> None:
    relevant = np.zeros((4, 20), bool)
    relevant[:, :3] = True
    best = ranked(relevant.astype(np.float32), relevant).expected
    for k in (1, 5, 10):
        assert hits_at_k(best, k).tolist() == [1] * 4
        assert average_precision_at_k(best, k).tolist() == [min(k, 3) / 3] * 4
    assert true_recall_at_k(best, 3).tolist() == [1] * 4
    worst = ranked(-relevant.astype(np.float32), relevant).expected
    assert worst.positions.reshape(4, 3).tolist() == [[18, 19, 20]] * 4
    assert hits_at_k(worst, 17).tolist() == [0] * 4


def test_scoring_everything_alike_gains_nothing() -> None:
    relevant = np.eye(101, dtype=bool)
    found = ranked(np.zeros((101, 101)), relevant)
    assert found.expected.best.tolist() == [51.0] * 101
    assert recall_at_k(found.expected.best, 10) == 0.0
    assert found.optimistic.best.tolist() == [1.0] * 101
    assert found.pessimistic.best.tolist() == [101.0] * 101


def test_one_vector_for_all_ranks_as_chance_does_with_several_relevant_too() -> None:
    relevant = np.zeros((1, 5225), bool)
    relevant[0, :5] = True
    ranks = ranked(np.ones((1, 5225), np.float32), relevant).expected
    # the i-th of 5 among 5225 shuffled stands at i (5225 + 1) / (5 + 1)
    assert ranks.positions.tolist() == [871.0, 1742.0, 2613.0, 3484.0, 4355.0]


def test_the_best_of_several_relevant_candidates_counts() -> None:
    scores = np.array([[0.9, 0.5, 0.8, 0.1]])
    assert best_ranks(scores, np.array([[False, True, True, False]])).tolist() == [2.0]


def test_average_precision_sorts_positions_first() -> None:
    # LAION-CLAP takes the five positions in caption order; ours cannot pass 1, nor depend on it
    relevant = np.array([[True, True, True, False]])
    for scores in ([[3.0, 2.0, 1.0, 0.0]], [[1.0, 2.0, 3.0, 0.0]]):
        ranks = ranked(np.array(scores), relevant).expected
        assert average_precision_at_k(ranks, 10).tolist() == [1.0]
    unsorted = np.mean([1 / 3, 2 / 2, 3 / 1])
    assert unsorted > 1


def test_several_relevant_and_the_first_hit_alone_are_two_definitions() -> None:
    scores, relevant = np.array([[4.0, 3.0, 2.0, 1.0]]), np.array([[False, True, False, True]])
    ranks = ranked(scores, relevant).expected
    assert average_precision_at_k(ranks, 10)[0] == (1 / 2 + 2 / 4) / 2
    assert average_precision_at_k(ranks, 3)[0] == (1 / 2) / 2
    assert reciprocal_rank_at_k(ranks, 10)[0] == 1 / 2


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, relevant = untied(30, 20)
    whole = ranked(scores, relevant).expected.positions
    monkeypatch.setattr(metrics, "BLOCK", 50)
    np.testing.assert_array_equal(ranked(scores, relevant).expected.positions, whole)


def test_clotho_has_both_directions_at_full_size() -> None:
    rng = np.random.default_rng(0)
    owner, text = np.repeat(np.arange(1045), 5), np.arange(5225)
    scores = rng.normal(size=(5225, 1045)).astype(np.float32)
    kept = scores.copy()
    to_audio, to_text = rank_relevant(scores, text, owner), rank_relevant(scores.T, owner, text)
    np.testing.assert_array_equal(scores, kept)
    assert to_audio.expected.best.shape == (5225,)
    assert to_text.expected.positions.shape == (5225,)
    assert len(to_text.expected) == 1045
    for q in (0, 1044):
        order = np.argsort(-scores[:, q])
        wanted = np.flatnonzero(owner[order] == q) + 1
        np.testing.assert_array_equal(to_text.expected.positions[5 * q : 5 * q + 5], wanted)


def test_what_cannot_be_ranked_is_refused() -> None:
    with pytest.raises(ValueError, match="query 1 has no relevant"):
        best_ranks(np.zeros((2, 2)), np.array([[True, False], [False, False]]))
    with pytest.raises(ValueError, match="NaN"):
        best_ranks(np.array([[np.nan, 1.0]]), np.array([[True, False]]))
    with pytest.raises(ValueError, match="NaN"):
        best_ranks(np.array([[np.nan, 1.0]]), np.array([[False, True]]))
    with pytest.raises(ValueError, match="shape"):
        best_ranks(np.zeros((2, 2)), np.ones((2, 3), bool))
    with pytest.raises(ValueError, match="one length"):
        rank_relevant(np.zeros((2, 2)), np.arange(2), np.arange(3))
    with pytest.raises(ValueError, match="named twice"):
        rank_relevant(np.zeros((1, 2)), np.array([0, 0]), np.array([1, 1]))
    with pytest.raises(ValueError, match="at least one query"):
        recall_at_k(np.zeros(0), 10)
    with pytest.raises(ValueError, match="k must be 1 or more, not 0"):
        hits_at_k(Ranks(np.ones(1), np.arange(2)), 0)
