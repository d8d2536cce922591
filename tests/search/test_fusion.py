"""Several rankings to one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from soundsearch.search.fusion import RANK_CONSTANT, fuse, ranks

SCORES = st.dictionaries(st.integers(0, 30), st.sampled_from([0.1, 0.2, 0.3, 0.4]))


@given(SCORES)
def test_equal_scores_share_the_rank_that_counting_gives(scores: dict[int, float]) -> None:
    found = ranks(scores.items())
    for identity, score in scores.items():
        assert found[identity] == 1 + sum(other > score for other in scores.values())


@given(SCORES)
def test_one_ranking_keeps_its_order(scores: dict[int, float]) -> None:
    fused = fuse([ranks(scores.items())], [dict.fromkeys(scores, 1.0)])
    for a in scores:
        for b in scores:
            assert (fused[a] > fused[b]) == (scores[a] > scores[b])


def test_weights_and_ranks_add_up() -> None:
    fused = fuse([{1: 1, 2: 2}, {2: 1}], [{1: 1.0, 2: 1.0}, {2: 0.5}])
    assert fused == {
        1: 1 / (RANK_CONSTANT + 1),
        2: 1 / (RANK_CONSTANT + 2) + 0.5 / (RANK_CONSTANT + 1),
    }


def test_what_two_rankings_agree_on_comes_before_what_one_puts_first() -> None:
    fused = fuse([{1: 1, 2: 2}, {3: 1, 2: 2}], [{1: 1.0, 2: 1.0}, {2: 1.0, 3: 1.0}])
    assert max(fused, key=fused.__getitem__) == 2
