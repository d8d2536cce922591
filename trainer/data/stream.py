"""Shards to batches: decode, crop, features, masks, and the vector to be drawn to.

Everything random about an example follows from the seed and from its position in the order, so a batch
is the same whichever worker makes it and wherever the run began.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from trainer.data.order import Order
from trainer.data.shards import ShardFolder
from trainer.data.targets import Targets
from trainer.distributed import World
from trainer.front_ends import FrontEnd, extract_features

#: Features (n_mels, n_frames) and vector (dim,) of an example; with a leading axis n, of a batch.
TrainingPair = tuple[Tensor, Tensor]


class Positions(Dataset[TrainingPair]):
    """Positions of an order to examples, cropped and masked at random."""

    def __init__(
        self, folder: ShardFolder, order: Order, targets: Targets, front_end: FrontEnd, seed: int
    ) -> None:
        self._folder, self._order, self._targets = folder, order, targets
        self._front_end, self._seed = front_end, seed

    def __getitem__(self, position: int) -> TrainingPair:
        """Features and vector of the example at a position. Raises ShardError."""
        shard, example = self._order.place(position)
        generator = np.random.default_rng((self._seed, 1, position))
        vector = self._targets.draw(shard, example, generator)
        channels, sample_rate = self._folder.open(shard).audio(example)
        features = extract_features(channels, sample_rate, self._front_end, generator)
        return torch.from_numpy(features), torch.from_numpy(vector)


class Batches:
    """The batches of one process, asked for in the order of steps.

    Called with a step it returns features (n, n_mels, n_frames) and vectors (n, dim), where n is
    batch_size over the number of processes. waited_s: seconds the caller has waited for them.
    """

    def __init__(
        self, examples: Positions, batch_size: int, n_steps: int, world: World, n_workers: int
    ) -> None:
        self._examples, self._batch_size, self._n_steps = examples, batch_size, n_steps
        self._world, self._n_workers = world, n_workers
        self._next = 0
        self._running: Iterator[TrainingPair] = iter(())
        self.waited_s = 0.0

    def __call__(self, step: int) -> TrainingPair:
        """The batch of a step."""
        if step != self._next or step == 0:
            self._running = self._from(step)
        self._next = step + 1
        began = time.monotonic()
        batch: TrainingPair = next(self._running)
        self.waited_s += time.monotonic() - began
        return batch

    def _from(self, first: int) -> Iterator[TrainingPair]:
        n_own = self._batch_size // self._world.size
        offset = n_own * self._world.rank
        starts = range(first * self._batch_size, self._n_steps * self._batch_size, self._batch_size)
        loader = DataLoader(
            self._examples,
            batch_sampler=_Batched(starts, offset, n_own),
            num_workers=self._n_workers,
            pin_memory=torch.cuda.is_available(),
        )
        return iter(loader)


class _Batched:
    """Positions of each step, one list after the other, without making them all at once."""

    def __init__(self, starts: range, offset: int, n: int) -> None:
        self._starts, self._offset, self._n = starts, offset, n

    def __iter__(self) -> Iterator[list[int]]:
        for start in self._starts:
            yield list(range(start + self._offset, start + self._offset + self._n))

    def __len__(self) -> int:
        return len(self._starts)


def fixed_examples(
    folder: ShardFolder,
    examples: Sequence[tuple[int, int]],
    targets: Targets,
    front_end: FrontEnd,
    batch_size: int,
) -> Iterator[TrainingPair]:
    """Evaluation's batches of (shard, example) pairs: centre crops, no masks, the fixed vector."""
    for start in range(0, len(examples), batch_size):
        features, vectors = [], []
        for shard, example in examples[start : start + batch_size]:
            channels, sample_rate = folder.open(shard).audio(example)
            features.append(extract_features(channels, sample_rate, front_end, None))
            vectors.append(targets.draw(shard, example, None))
        yield torch.from_numpy(np.stack(features)), torch.from_numpy(np.stack(vectors))
