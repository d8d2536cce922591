"""Training in several processes, as `torchrun` starts them, or in a single one.

All processes ("ranks") hold the same weights and read different examples. Embeddings are gathered,
so that each example of the whole batch is a negative for every other; gradients are averaged; batch
normalisation is over the whole batch. So several processes train the model that a single one trains.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """One process of all that train together. rank: its number from 0. size: their number."""

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def gather(self, tensor: Tensor) -> Tensor:
        """Gather (n, ...) of every rank to (n * size, ...), in rank order, with gradients.

        Every rank computes the loss of all embeddings, so a rank gets `size` times its gradient;
        the mean over the ranks, which a model of `parallel` takes, divides by `size`.
        """
        if self.size == 1:
            return tensor
        from torch.distributed.nn.functional import all_gather

        return torch.cat(all_gather(tensor))  # type: ignore[no-untyped-call]

    def parallel(self, model: nn.Module) -> nn.Module:
        """Return the model as it is called in training: its gradients become means over the ranks.

        They are averaged in buckets while the backward pass goes on. Batch normalisation inside the
        model is replaced by one over the batches of all ranks. The parameters stay those of `model`.
        """
        if self.size == 1:
            return model
        for module in list(model.modules()):
            for name, child in module.named_children():
                if type(child) is nn.BatchNorm2d:
                    setattr(module, name, GatheredBatchNorm2d(child, self))
        return DistributedDataParallel(model, broadcast_buffers=False, gradient_as_bucket_view=True)

    def collect(self, value: T) -> list[T]:
        """Return a value of every rank, in rank order; all ranks must call it."""
        if self.size == 1:
            return [value]
        found: list[T | None] = [None] * self.size
        distributed.all_gather_object(found, value)
        return found  # type: ignore[return-value]

    def wait(self) -> None:
        """Wait for all ranks."""
        if self.size > 1:
            distributed.barrier()


def without_averaging(parallel: nn.Module) -> AbstractContextManager[None]:
    """Return the context of passes whose gradients are only added up, until a pass outside of it.

    parallel: a model of `World.parallel`.
    """
    if isinstance(parallel, DistributedDataParallel):
        return parallel.no_sync()
    return nullcontext()


class GatheredBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation over the batches of all ranks, which must be of one size.

    Mean and variance are gathered with gradients, once a pass, on any device; torch's own
    SyncBatchNorm is for GPUs alone. Parameters and buffers are those of the layer it replaces.
    """

    def __init__(self, layer: nn.BatchNorm2d, world: World) -> None:
        super().__init__(layer.num_features, layer.eps, layer.momentum)
        self.weight, self.bias = layer.weight, layer.bias
        self._buffers.update(layer._buffers)
        self.training = layer.training
        self.world = world

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, rows, columns) -> same, of the same type; the statistics are float32."""
        if not self.training:
            return super().forward(x)
        values = x.float()
        variance, mean = torch.var_mean(values, dim=(0, 2, 3), correction=0)
        both = self.world.gather(torch.stack((mean, variance))[None])  # (size, 2, channels)
        mean = both[:, 0].mean(dim=0)
        variance = both[:, 1].mean(dim=0) + both[:, 0].var(dim=0, correction=0)
        self._remember(mean, variance, self.world.size * x.numel() / len(mean))
        scale = self.weight * (variance + self.eps).rsqrt()
        centred = values - mean[:, None, None]
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, n: float) -> None:
        assert self.running_mean is not None and self.running_var is not None
        assert self.momentum is not None and self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (n / (n - 1)), self.momentum)


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
