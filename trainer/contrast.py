"""The contrastive step of both stages: an audio tower against frozen vectors.

The loss moves the embedding of a sound towards the vector of its own example and away from those of
the other examples of the batch, on all processes. A large batch fits a small memory by gradient
caching (arXiv:2101.06983): a first pass without gradients embeds the batch, and a second pass, in
chunks, propagates the gradients of the loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from soundsearch.choices import Duplicates, Reduction
from trainer.contrastive_loss import pair_loss
from trainer.distributed import World
from trainer.loop import Amp, Step
from trainer.towers.unit import embed_unit

#: Vectors with a higher cosine belong to the same image or the same text.
SAME = 0.9999


@dataclass(frozen=True, kw_only=True)
class ContrastConfig:
    """Settings of the loss; the defaults are the paper's.

    Source: VIP-ANT, `cvap/module/decoder/loss_head.py`, CELossHead.

    Attributes:
        reduction: Sum (the paper) or mean of the two directions.
        logit_scale: Initial value of the learnt logit scale.
        largest_logit_scale: Upper bound of the logit scale; None for no bound (the paper).
        duplicates: Whether an equal vector of another example is a negative (the paper) or is
            left out of the loss.
        chunk: Examples that pass through the tower at once; None for the whole batch.
    """

    reduction: Reduction = "sum"
    logit_scale: float = 1 / 0.07
    largest_logit_scale: float | None = None
    duplicates: Duplicates = "negative"
    chunk: int | None = None

    def __post_init__(self) -> None:
        if self.reduction not in ("sum", "mean"):
            raise ValueError(f"reduction must be sum or mean, not {self.reduction!r}")
        if self.duplicates not in ("negative", "ignored"):
            raise ValueError(f"duplicates must be negative or ignored, not {self.duplicates!r}")
        if not self.logit_scale > 0:
            raise ValueError(f"logit_scale must be above 0, not {self.logit_scale}")
        if self.largest_logit_scale is not None and self.largest_logit_scale < self.logit_scale:
            raise ValueError(
                f"largest_logit_scale ({self.largest_logit_scale}) is below logit_scale "
                f"({self.logit_scale:.4g})"
            )
        if self.chunk is not None and self.chunk < 1:
            raise ValueError(f"chunk must be 1 or more, or null, not {self.chunk}")


class Contrast(nn.Module):
    """The trained parameters: the audio tower, and the logarithm of the logit scale."""

    def __init__(self, tower: nn.Module, logit_scale: float) -> None:
        super().__init__()
        self.tower = tower
        self.log_scale = nn.Parameter(torch.tensor(math.log(logit_scale)))


def contrast_step(
    model: Contrast,
    batch_of: Callable[[int], tuple[Tensor, Tensor]],
    config: ContrastConfig,
    world: World,
) -> Step:
    """Return the contrastive step of the training loop.

    Args:
        model: Tower and logit scale.
        batch_of: Step -> this process's features (n, n_mels, n_frames) and vectors (n, dim).
        config: The loss.
        world: The processes that train together.
    """

    def loss_of(audio: Tensor, vectors: Tensor) -> dict[str, Tensor]:
        audio, targets = world.gather(audio), world.gather(embed_unit(vectors))
        ceiling = config.largest_logit_scale
        log_scale = model.log_scale.clamp(max=math.log(ceiling) if ceiling else math.inf)
        ignored = None
        if config.duplicates == "ignored":
            ignored = targets @ targets.T > SAME
            ignored.fill_diagonal_(False)
        loss = pair_loss(log_scale.exp() * audio @ targets.T, config.reduction, ignored)
        return {"loss": loss, "logit_scale": log_scale.detach().exp()}

    def step_of(step: int, amp: Amp) -> Mapping[str, Tensor]:
        features, vectors = (part.to(amp.device, non_blocking=True) for part in batch_of(step))
        chunks = torch.split(features, config.chunk or len(features))
        if len(chunks) == 1:
            with amp.forward():
                audio = model.tower(features)
            losses = loss_of(embed_unit(audio), vectors)
            amp.backward(losses["loss"])
            return losses
        with torch.no_grad(), amp.forward(), _frozen_statistics(model.tower):
            audio = torch.cat([embed_unit(model.tower(chunk)) for chunk in chunks])
        audio.requires_grad_()
        losses = loss_of(audio, vectors)
        amp.backward(losses["loss"])
        assert audio.grad is not None
        for chunk, gradient in zip(chunks, torch.split(audio.grad, len(chunks[0])), strict=True):
            with amp.forward():
                again = model.tower(chunk)
            embed_unit(again).backward(gradient)  # type: ignore[no-untyped-call]
        return losses

    return step_of


@contextmanager
def _frozen_statistics(tower: nn.Module) -> Iterator[None]:
    """Leave the running statistics of batch normalisation unchanged by the first of two passes."""
    norms = [m for m in tower.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    yield
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
