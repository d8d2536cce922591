"""Several rankings of the same recordings to one, by reciprocal ranks.

Source: Cormack, Clarke and Buettcher, "Reciprocal rank fusion outperforms Condorcet and individual
rank learning methods", SIGIR 2009.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

#: How little the first ranks differ; the value of the paper.
RANK_CONSTANT = 60


def ranks(scored: Iterable[tuple[int, float]]) -> dict[int, int]:
    """Ranks of ids from 1, by score from the highest; ids of one score share their rank.

    So of exact copies none is ranked before another.
    """
    ranked: dict[int, int] = {}
    rank, last = 0, None
    for place, (identity, score) in enumerate(sorted(scored, key=lambda pair: -pair[1]), start=1):
        if score != last:
            rank, last = place, score
        ranked[identity] = rank
    return ranked


def fuse(
    rankings: Sequence[Mapping[int, int]], weights: Sequence[Mapping[int, float]]
) -> dict[int, float]:
    """The sum over rankings of weight / (RANK_CONSTANT + rank), for each id that is in any of them.

    Higher is better. A ranking adds nothing to an id that it does not hold. Weights: for each
    ranking, those of its ids.
    """
    fused: dict[int, float] = {}
    for ranking, weight in zip(rankings, weights, strict=True):
        for identity, rank in ranking.items():
            fused[identity] = fused.get(identity, 0.0) + weight[identity] / (RANK_CONSTANT + rank)
    return fused
