"""Training in several processes, as `torchrun` starts them, or in a single one.

All processes ("ranks") hold the same weights and read different examples. Embeddings are gathered,
so that each example of the whole batch is a negative for every other; gradients are averaged.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed


@dataclass(frozen=True)
class World:
    """One process of all that train together. rank: its number from 0. size: their number."""

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def gather(self, embeddings: Tensor) -> Tensor:
        """Gather (n, dim) of every rank to (n * size, dim), in rank order, with gradients.

        Every rank computes the loss of all embeddings, so a rank gets `size` times its gradient;
        `average_gradients` divides by `size`.
        """
        if self.size == 1:
            return embeddings
        from torch.distributed.nn.functional import all_gather

        return torch.cat(all_gather(embeddings))  # type: ignore[no-untyped-call]

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace each gradient by its mean over the ranks, in one all-reduce."""
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([g.reshape(-1) for g in gradients])
        distributed.all_reduce(flat)
        flat /= self.size
        for g, mean in zip(
            gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True
        ):
            g.copy_(mean.view_as(g))

    def wait(self) -> None:
        """Wait for all ranks."""
        if self.size > 1:
            distributed.barrier()


@contextmanager
def join_processes(device: torch.device) -> Iterator[World]:
    """Join the processes that torchrun started; without it, yield a world of one."""
    if "WORLD_SIZE" not in os.environ or int(os.environ["WORLD_SIZE"]) == 1:
        yield World()
        return
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield World(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()
