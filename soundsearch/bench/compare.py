"""Whether one result is really better than another: a paired bootstrap over the same queries.

Both encoders answered the same queries, so each resampling of the clips is applied to both and
their difference taken. That is much sharper than asking whether two intervals overlap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from soundsearch.arrays import Ints
from soundsearch.bench.evaluation import interval, resampled, resamplings
from soundsearch.bench.protocols import PROTOCOLS, Measure
from soundsearch.bench.results import BenchmarkResult, DirectionResult, QueryRanks
from soundsearch.errors import BenchmarkError


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One number of both results, and second - first with its 95 % interval.

    p_value: two-sided; how often resamplings would land as far on the other side of no difference.
    """

    direction: str
    measure: str
    is_rank: bool
    first: float
    second: float
    difference: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two results over the same queries, number by number."""

    first: BenchmarkResult
    second: BenchmarkResult
    n_clips: int
    seed: int
    bootstrap: int
    differences: tuple[Difference, ...]


def compare(
    first: BenchmarkResult, second: BenchmarkResult, *, seed: int = 0, bootstrap: int = 2000
) -> Comparison:
    """Second against first. Queries are aligned by name; clips are resampled with all their queries.

    Raises BenchmarkError unless benchmark, split, protocol and queries are the same, and the ranks
    of both are at hand.
    """
    _check_same(first, second)
    differences = []
    for one in first.directions:
        two = second.direction(one.name)
        assert two is not None  # _check_same
        mine, theirs = _ranks(first, one), _ranks(second, two)
        order = _aligned(one.name, mine, theirs)
        names, clip = np.unique(mine.clips, return_inverse=True)
        clip = clip.astype(np.int64)
        weights = resamplings(names.size, n=bootstrap, seed=seed)
        for measure in PROTOCOLS[first.protocol].measures(one.name):
            a, b = measure.values(mine.ranks)[0], measure.values(theirs.ranks)[0][order]
            differences.append(_difference(one.name, measure, a, b, clip, weights))
    return Comparison(
        first=first,
        second=second,
        n_clips=first.n_clips,
        seed=seed,
        bootstrap=bootstrap,
        differences=tuple(differences),
    )


def _difference(
    direction: str,
    measure: Measure,
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    clip: Ints,
    weights: Ints,
) -> Difference:
    samples = resampled(measure, b, clip, weights) - resampled(measure, a, clip, weights)
    low, high = interval(samples)
    n = samples.size + 1  # the difference found counts as one more sample, so that p is never 0
    tail = min(((samples <= 0).sum() + 1) / n, ((samples >= 0).sum() + 1) / n)
    return Difference(
        direction=direction,
        measure=measure.name,
        is_rank=measure.is_rank,
        first=measure.over(a),
        second=measure.over(b),
        difference=measure.over(b) - measure.over(a),
        low=low,
        high=high,
        p_value=float(min(1.0, 2 * tail)),
    )


def _check_same(first: BenchmarkResult, second: BenchmarkResult) -> None:
    for what, one, two in (
        ("benchmarks", first.run.benchmark, second.run.benchmark),
        ("splits", first.run.split, second.run.split),
        ("protocols", first.protocol, second.protocol),
        ("rules for identical texts", first.merged_identical, second.merged_identical),
        ("clips", first.n_clips, second.n_clips),
        ("texts", first.n_texts, second.n_texts),
        ("directions", [x.name for x in first.directions], [x.name for x in second.directions]),
    ):
        if one != two:
            raise BenchmarkError(
                f"these results have different {what}, {one} and {two}; only results of the same data and protocol compare"
            )


def _ranks(result: BenchmarkResult, direction: DirectionResult) -> QueryRanks:
    if direction.queries is None:
        raise BenchmarkError(
            f"the result of {result.run.model} comes without its .ranks.csv; keep both files together"
        )
    return direction.queries


def _aligned(direction: str, mine: QueryRanks, theirs: QueryRanks) -> Ints:
    """For each of my queries, where it stands among theirs."""
    place = {query: i for i, query in enumerate(theirs.queries)}
    missing = [query for query in mine.queries if query not in place]
    if missing or len(place) != len(mine.queries):
        raise BenchmarkError(
            f"these results are over different queries: {direction} {missing[0] if missing else '...'!r} is in one alone"
        )
    return np.array([place[query] for query in mine.queries])
