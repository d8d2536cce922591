"""Shards to batches: crop, features, masks, and the vector to be drawn to.

Features come from stored log-mels (`log_mels.py`) where there are some, else from decoded sound.
Everything random about an example follows from the seed and from its position in the order, so a batch
is the same whichever worker makes it and wherever the run began.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from soundsearch.errors import AudioError
from trainer.data.changes import Changes
from trainer.data.example import ShardError
from trainer.data.log_mels import StoredLogMels, cut_log_mel
from trainer.data.order import Order
from trainer.data.read_ahead import AHEAD, read_ahead
from trainer.data.shard_folder import ShardFolder
from trainer.data.stored_targets import Targets
from trainer.front_ends import FrontEnd, extract_features
from trainer.torchrun import World

#: Features (n_mels, n_frames) and vector (dim,) of an example; with a leading axis n, of a batch.
TrainingPair = tuple[Tensor, Tensor]
#: The same of a batch, and what `Changes.shapes` names where sounds are changed.
Batch = tuple[Tensor, ...]


class Positions:
    """Positions of an order to examples, cropped, masked and perhaps changed at random.

    shape: (n_mels, n_frames) of features. dtype: float16 where log-mels are stored, else float32.
    more: shapes and types of what changed examples have beside features and vector.
    """

    def __init__(
        self,
        folder: ShardFolder,
        order: Order,
        targets: Targets,
        front_end: FrontEnd,
        seed: int,
        log_mels: StoredLogMels | None = None,
        changes: Changes | None = None,
    ) -> None:
        self._changes = changes
        self.more = changes.shapes if changes else ()
        self._folder, self._order, self._targets = folder, order, targets
        self._front_end, self._seed, self._log_mels = front_end, seed, log_mels
        self.shape = front_end.features.n_mels, front_end.features.n_frames
        self.dtype = torch.float16 if log_mels else torch.float32
        self.dim = targets.dim

    def __getitem__(self, position: int) -> TrainingPair:
        """Features and vector of the example at a position. Raises ShardError."""
        features = torch.empty(self.shape, dtype=self.dtype)
        vector = torch.empty(self.dim)
        self.fill(position, features.numpy(), vector.numpy())
        return features, vector

    def fill(
        self,
        position: int,
        features: NDArray[np.floating],
        vector: NDArray[np.float32],
        *more: NDArray[Any],
    ) -> None:
        """Write features, vector and the rest of the example at a position into arrays.

        Raises ShardError.
        """
        shard, example = self._order.place(position)
        generator = np.random.default_rng((self._seed, 1, position))
        vector[:] = self._targets.draw(shard, example, generator)
        if self._changes is None:
            _fill(
                self._folder, self._log_mels, shard, example, self._front_end, generator, features
            )
            return
        members, text, logits = more
        try:
            self._changes.fill(position, generator, features, members, text, logits)
        except AudioError as error:
            raise _unusable(self._folder, shard, example, error) from error


def _unusable(folder: ShardFolder, shard: int, example: int, error: AudioError) -> ShardError:
    opened = folder.open(shard)
    return ShardError(
        f"{opened.path}: the sound of example {opened.keys[example]} cannot be used "
        f"({error.reason}); leave it out of the shard"
    )


def _fill(
    folder: ShardFolder,
    log_mels: StoredLogMels | None,
    shard: int,
    example: int,
    front_end: FrontEnd,
    generator: np.random.Generator | None,
    features: NDArray[np.floating],
) -> None:
    if log_mels is not None and len(clip := log_mels.of(shard, example)):
        cut_log_mel(clip, front_end, generator, features)
        return
    opened = folder.open(shard)
    try:
        features[:] = extract_features(*opened.audio(example), front_end, generator)
    except AudioError as error:
        raise _unusable(folder, shard, example, error) from error


class Batches:
    """The batches of one process, asked for in the order of steps.

    Called with a step it returns features (n, n_mels, n_frames) and vectors (n, dim), float32 on the
    device, where n is batch_size over the number of processes; and what changed examples have more. waited_s: seconds the caller has
    waited for them.

    Workers write examples into batches that lie in memory shared with this process, so that nothing
    is copied between processes. Those batches are page-locked for a GPU, and float16 until they are
    on the device where log-mels are stored. Close it: its workers end with it.
    """

    def __init__(
        self,
        examples: Positions,
        batch_size: int,
        n_steps: int,
        world: World,
        n_workers: int,
        device: torch.device | None = None,
    ) -> None:
        self._examples, self._batch_size, self._n_steps = examples, batch_size, n_steps
        self._world, self._n_workers = world, n_workers
        self._device = device or torch.device("cpu")
        self._next = 0
        self._running: Generator[Batch] | None = None
        self.waited_s = 0.0

    def __call__(self, step: int) -> Batch:
        """The batch of a step."""
        if self._running is None or step != self._next or step == 0:
            self.close()
            self._running = self._from(step)
        self._next = step + 1
        return next(self._running)

    def close(self) -> None:
        """End the workers. Another call begins anew."""
        if self._running is not None:
            self._running.close()
        self._running = None

    def _from(self, first: int) -> Generator[Batch]:
        ring = _Ring(
            self._examples,
            self._batch_size,
            self._world,
            # a batch is on its way to the device, another one is being asked for
            n_slots=AHEAD * self._n_workers + 2,
        )
        steps = read_ahead(ring.fill, range(first, self._n_steps), self._n_workers)
        return self._on_device(ring, steps)

    def _on_device(self, ring: _Ring, steps: Generator[int]) -> Generator[Batch]:
        """The batches of steps; their workers have begun, which share no locked pages."""
        on_gpu = self._device.type == "cuda"
        copied: deque[torch.cuda.Event] = deque()
        with closing(steps), ring.locked_pages() if on_gpu else nullcontext():
            while True:
                began = time.monotonic()
                if len(copied) > 1:
                    copied.popleft().synchronize()  # its slot is the next to be written
                step = next(steps, None)
                self.waited_s += time.monotonic() - began
                if step is None:
                    return
                features, *others = (
                    part.to(self._device, non_blocking=True, copy=True) for part in ring[step]
                )
                if on_gpu:
                    copied.append(torch.cuda.Event())  # type: ignore[no-untyped-call]
                    copied[-1].record()
                yield features.float().transpose(1, 2), *others


class _Ring:
    """Batches in shared memory, one after the other; the batch of step i is in slot i % n_slots.

    Its parts: features (n_slots, n, n_frames, n_mels), frames as they are stored; vectors (n_slots,
    n, dim); and what changed examples have more.
    """

    def __init__(self, examples: Positions, batch_size: int, world: World, n_slots: int) -> None:
        n_mels, n_frames = examples.shape
        n = batch_size // world.size
        self._examples, self._batch_size, self._n_slots = examples, batch_size, n_slots
        self._own = range(world.rank * n, (world.rank + 1) * n)
        shapes = [((n_frames, n_mels), examples.dtype), ((examples.dim,), torch.float32)]
        self._parts = [
            _shared((n_slots, n, *shape), dtype) for shape, dtype in [*shapes, *examples.more]
        ]

    def __getitem__(self, step: int) -> Batch:
        return tuple(part[step % self._n_slots] for part in self._parts)

    def fill(self, step: int) -> int:
        """Read this process's examples of a step into its slot. Raises ShardError."""
        features, *others = (part.numpy() for part in self[step])
        for i, number in enumerate(self._own):
            position = step * self._batch_size + number
            self._examples.fill(position, features[i].T, *(part[i] for part in others))
        return step

    @contextmanager
    def locked_pages(self) -> Iterator[None]:
        """Within, pages are locked for copies to a GPU, which are slower where that fails."""
        runtime: Any = torch.cuda.cudart()  # type: ignore[no-untyped-call]
        locked = [
            part
            for part in self._parts
            if part.nbytes and int(runtime.cudaHostRegister(part.data_ptr(), part.nbytes, 0)) == 0
        ]
        if len(locked) < sum(part.nbytes > 0 for part in self._parts):
            with suppress(RuntimeError):  # the next kernel meets the error of the call that failed
                torch.zeros(1, device="cuda")
        try:
            yield
        finally:
            torch.cuda.synchronize()
            for part in locked:
                runtime.cudaHostUnregister(part.data_ptr())


def _shared(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """A tensor in memory that processes share. Raises ShardError if there is not enough."""
    n_bytes = math.prod(shape) * dtype.itemsize
    if n_bytes == 0:  # a teacher that there is not
        return torch.empty(shape, dtype=dtype)
    try:
        storage = torch.UntypedStorage._new_shared(n_bytes)  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise ShardError(
            f"{shape[0]} batches need {n_bytes / 1e6:,.0f} MB of shared memory (/dev/shm), and "
            "there is less; take fewer --workers or a smaller batch, or allow more"
        ) from error
    return torch.empty(0, dtype=dtype).set_(storage, 0, shape)  # type: ignore[call-overload,no-any-return]


def fixed_features(
    folder: ShardFolder,
    examples: Sequence[tuple[int, int]],
    front_end: FrontEnd,
    log_mels: StoredLogMels | None = None,
) -> Tensor:
    """Evaluation's features (n, n_mels, n_frames) of (shard, example) pairs: centred, not masked."""
    shape = front_end.features.n_mels, front_end.features.n_frames
    features = np.empty((len(examples), *shape), np.float32)
    for row, (shard, example) in zip(features, examples, strict=True):
        _fill(folder, log_mels, shard, example, front_end, None, row)
    return torch.from_numpy(features)
