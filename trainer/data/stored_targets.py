"""What an example's sound is drawn to: stored vectors of its pictures or of texts about it.

A `Targets` answers for every example of a folder of shards: which examples have a vector at all, and one
vector of those an example has, at random in training, always the same in evaluation.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trainer.data.order import Numbers
from trainer.data.recently_used import RecentlyUsed
from trainer.data.shard_folder import ShardFolder
from trainer.data.vectors import Kind, ShardVectors, vectors_path

Array = NDArray[np.float32]

#: Side files of so many shards stay mapped: those of all of AudioSet, which is shuffled as a whole.
OPEN_SHARDS = 4096


class Targets(Protocol):
    """Vectors for the examples of a folder of shards. dim: their length."""

    dim: int

    def usable(self, shard: int) -> Numbers:
        """Numbers of the shard's examples that have a vector."""
        ...

    def draw(self, shard: int, example: int, generator: np.random.Generator | None) -> Array:
        """A vector (dim,) of the example: a random one, or without a generator its fixed one."""
        ...


class StoredTargets:
    """Vectors in the side files beside the shards, one of an example's own.

    The fixed one is, for pictures, number ceil(n / 2) - 1 from 0, the second of four (VIP-ANT,
    fact of section 6); for texts the first.
    """

    def __init__(self, folder: ShardFolder, kind: Kind, encoder: str) -> None:
        self._folder, self._kind, self._encoder = folder, kind, encoder
        self._open = RecentlyUsed(self._open_shard, OPEN_SHARDS)
        self.dim = self._open(0).facts.dim

    def _open_shard(self, shard: int) -> ShardVectors:
        path = vectors_path(self._folder.shards[shard], self._kind, self._encoder)
        return ShardVectors(path, self._folder.digest(shard))

    def usable(self, shard: int) -> Numbers:
        """See `Targets`."""
        return np.flatnonzero(np.diff(self._open_shard(shard).first))

    def draw(self, shard: int, example: int, generator: np.random.Generator | None) -> Array:
        """See `Targets`."""
        rows = self._open(shard).of(example)
        fixed = math.ceil(len(rows) / 2) - 1 if self._kind == "images" else 0
        chosen: Array = rows[fixed if generator is None else generator.integers(len(rows))]
        return chosen
