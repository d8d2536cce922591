"""Which example comes when: an endless, shuffled order over shards that is known without reading them.

    position (0, 1, 2, ...) -> (shard, example in it)

Every epoch shuffles the shards, takes them `block` at a time, and shuffles the examples of a block
together. So only a few shards are open at once, wherever a run stands; a position's example follows
from the seed alone, so a run goes on after a break exactly where it was, with any number of
workers and processes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trainer.data.recently_used import RecentlyUsed

Numbers = NDArray[np.int64]

#: Permutations of blocks that are held: positions are used nearly in order.
CACHED_BLOCKS = 2


class Order:
    """Positions to examples.

    examples: for each shard, the numbers of its examples that take part. seed: of every shuffling.
    block: shards whose examples are shuffled together, and that are open at once.
    Raises ValueError if no example takes part.
    """

    def __init__(self, examples: Sequence[Numbers], seed: int, block: int = 8) -> None:
        self._examples = list(examples)
        self._counts = np.array([len(c) for c in examples], np.int64)
        self._seed, self._block = seed, block
        self.n_examples = int(self._counts.sum())
        if self.n_examples == 0:
            raise ValueError("no example takes part")
        self._epoch = -1
        self._shards: Numbers = np.empty(0, np.int64)
        self._ends: Numbers = np.empty(0, np.int64)
        self._block_of = RecentlyUsed(self._shuffled, CACHED_BLOCKS)

    def place(self, position: int) -> tuple[int, int]:
        """Shard and example in it at a position; every example once in each n_examples positions."""
        epoch, left = divmod(position, self.n_examples)
        if epoch != self._epoch:
            self._begin(epoch)
        number = int(np.searchsorted(self._ends, left, side="right"))
        first = int(self._ends[number - 1]) if number else 0
        shards, examples = self._block_of((epoch, number))
        return int(shards[left - first]), int(examples[left - first])

    def _begin(self, epoch: int) -> None:
        self._shards = np.random.default_rng((self._seed, epoch)).permutation(len(self._counts))
        ends = np.cumsum(self._counts[self._shards])
        last = np.arange(self._block - 1, len(ends) + self._block - 1, self._block)
        self._ends = ends[np.minimum(last, len(ends) - 1)]
        self._epoch = epoch

    def _shuffled(self, block: tuple[int, int]) -> tuple[Numbers, Numbers]:
        """Shards and examples of a block of the present epoch, by epoch and number."""
        epoch, number = block
        chosen = self._shards[number * self._block : (number + 1) * self._block]
        shards = np.repeat(chosen, self._counts[chosen])
        examples = np.concatenate([self._examples[shard] for shard in chosen])
        mixed = np.random.default_rng((self._seed, epoch, number)).permutation(len(examples))
        return shards[mixed], examples[mixed]


def subset(examples: Sequence[Numbers], n: int, seed: int) -> list[Numbers]:
    """N examples of all, drawn without replacement, the same for the same seed; each shard's in order.

    A smaller n draws a subset of what a larger one draws, so that a scaling curve grows its data.
    Raises ValueError if there are fewer than n.
    """
    counts = np.array([len(c) for c in examples], np.int64)
    total = int(counts.sum())
    if not 1 <= n <= total:
        raise ValueError(f"need 1 to {total} examples, not {n}")
    chosen = np.sort(np.random.default_rng(seed).permutation(total)[:n])
    ends = np.cumsum(counts)
    parts = np.split(chosen, np.searchsorted(chosen, ends[:-1]))
    firsts = ends - counts
    return [c[part - first] for c, part, first in zip(examples, parts, firsts, strict=True)]
