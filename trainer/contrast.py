"""The contrastive step of both stages: an audio tower against frozen vectors.

The loss moves the embedding of a sound towards the vector of its own example and away from those of
the other examples of the batch, on all processes. A large batch fits a small memory by gradient
caching (arXiv:2101.06983): a first pass without gradients embeds the batch, and a second pass, in
chunks, propagates the gradients of the loss. Batch normalisation depends on the whole batch, so a
tower with it takes no chunks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from soundsearch.choices import Duplicates, Reduction
from trainer.contrastive_loss import pair_loss, three_way_loss
from trainer.distillation import class_loss, sound_loss, standardised
from trainer.limits import must_be, must_be_one_of
from trainer.loop import Amp, Step, TrainingError
from trainer.mixtures import named_in_part
from trainer.torchrun import World, without_averaging
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
        three_way: Whether images take part beside texts, each pair with a scale of its own; the
            vectors of an example are then its image's and its text's, one after the other.
        chunk: Examples that pass through the tower at once; None for the whole batch.
        class_weight: Of a teacher's soft labels over the classes of a sound.
        sound_weight: Of the same over the sounds of a class, see `trainer/distillation.py`.
    """

    reduction: Reduction = "sum"
    logit_scale: float = 1 / 0.07
    largest_logit_scale: float | None = None
    duplicates: Duplicates = "negative"
    three_way: bool = False
    chunk: int | None = None
    class_weight: float = 0.5
    sound_weight: float = 0.5

    def __post_init__(self) -> None:
        must_be_one_of(Reduction, "reduction", self.reduction)
        must_be_one_of(Duplicates, "duplicates", self.duplicates)
        must_be("above 0", self.logit_scale > 0, logit_scale=self.logit_scale)
        must_be("1 or more, or null", self.chunk is None or self.chunk >= 1, chunk=self.chunk)
        for name in ("class_weight", "sound_weight"):
            must_be("0 or more", getattr(self, name) >= 0, **{name: getattr(self, name)})
        if self.three_way and self.duplicates == "ignored":
            raise ValueError("three_way has equal vectors as negatives; leave duplicates out")
        if self.largest_logit_scale is not None and self.largest_logit_scale < self.logit_scale:
            raise ValueError(
                f"largest_logit_scale ({self.largest_logit_scale}) is below logit_scale "
                f"({self.logit_scale:.4g})"
            )


class Contrast(nn.Module):
    """The trained parameters: the audio tower, and the logarithm of the logit scale.

    n_scales: More than one are in one tensor of one axis: two of a teacher's soft labels, if there is
    one, then the one of the pairs, or the three of the three-way loss.
    """

    def __init__(self, tower: nn.Module, logit_scale: float, n_scales: int = 1) -> None:
        super().__init__()
        self.tower = tower
        scale = torch.tensor(math.log(logit_scale))
        self.log_scale = nn.Parameter(scale if n_scales == 1 else scale.repeat(n_scales))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features (n, n_mels, n_frames) -> unit embeddings (n, dim), and the logit scales."""
        return embed_unit(self.tower(features)), self.log_scale.exp()


def contrast_step(
    model: Contrast,
    batch_of: Callable[[int], tuple[Tensor, ...]],
    config: ContrastConfig,
    world: World,
    *,
    compiled: bool = False,
    classes: Tensor | None = None,
) -> Step:
    """Return the contrastive step of the training loop.

    Args:
        model: Tower and logit scale. With several processes its batch normalisation is replaced by
            one over all of them.
        batch_of: Step -> this process's features (n, n_mels, n_frames) and vectors (n, dim); and,
            where examples are changed, what sounds in each, (n, most), and a teacher's logits,
            (n, n_classes).
        config: The loss.
        world: The processes that train together.
        compiled: Whether torch.compile makes the kernels of the tower.
        classes: Unit vectors of the names of a teacher's classes, (n_classes, dim); None without
            a teacher. The model has two scales more with one.

    Raises:
        TrainingError: Chunks were asked for, and the tower has batch normalisation.
    """
    if config.chunk and any(
        isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules()
    ):
        raise TrainingError(
            f"chunk is {config.chunk}, but this tower has batch normalisation, which needs the whole "
            "batch at once; leave --chunk out, take a smaller --batch-size, or --tower vit"
        )
    if compiled:
        model.compile()
    embed = world.parallel(model)

    def loss_of(
        audio: Tensor,
        scale: Tensor,
        vectors: Tensor,
        members: Tensor | None = None,
        logits: Tensor | None = None,
    ) -> dict[str, Tensor]:
        scale = scale.clamp(max=config.largest_logit_scale or math.inf)
        soft: dict[str, Tensor] = {}
        if classes is not None:
            assert logits is not None, "a teacher's classes come with its logits"
            soft = soft_labels(world.gather(audio), scale[:2], world.gather(logits))
            scale = scale[2:] if config.three_way else scale[2]
        losses = (three_way if config.three_way else pairs)(audio, scale, vectors, members)
        for name, weight in (("classes", config.class_weight), ("sounds", config.sound_weight)):
            if name in soft:
                losses["loss"] = losses["loss"] + weight * soft[name]
                losses[name] = soft[name].detach()
        return losses

    def pairs(
        audio: Tensor, scale: Tensor, vectors: Tensor, members: Tensor | None
    ) -> dict[str, Tensor]:
        audio, targets = world.gather(audio), world.gather(embed_unit(vectors))
        ignored = None
        if config.duplicates == "ignored":
            exact = targets.double()  # TF32 could not tell SAME from 1
            ignored = exact @ exact.T > SAME
            ignored.fill_diagonal_(False)
        if members is not None:  # a mixture, and the text of a part of it
            in_part = named_in_part(world.gather(members.double()))
            ignored = in_part if ignored is None else ignored | in_part
        loss = pair_loss(scale * audio @ targets.T, config.reduction, ignored)
        return {"loss": loss, "logit_scale": scale.detach()}

    def soft_labels(audio: Tensor, scales: Tensor, logits: Tensor) -> dict[str, Tensor]:
        assert classes is not None
        cosine = audio @ classes.T
        return {
            "classes": class_loss(cosine, scales[0], logits),
            "sounds": sound_loss(cosine, scales[1], standardised(logits)),
        }

    def three_way(
        audio: Tensor, scales: Tensor, vectors: Tensor, members: Tensor | None
    ) -> dict[str, Tensor]:
        images, texts = (world.gather(embed_unit(half)) for half in vectors.chunk(2, dim=1))
        loss = three_way_loss(world.gather(audio), images, texts, scales, config.reduction)
        return {"loss": loss, "logit_scale": scales[-1].detach()}

    def whole(features: Tensor, targets: Sequence[Tensor], amp: Amp) -> Mapping[str, Tensor]:
        with amp.forward():
            audio, scale = embed(features)
        losses = loss_of(audio, scale, *targets)
        amp.backward(losses["loss"])
        return losses

    def in_chunks(features: Tensor, targets: Sequence[Tensor], amp: Amp) -> Mapping[str, Tensor]:
        chunks = torch.split(features, config.chunk or len(features))
        with torch.no_grad(), amp.forward():
            audio = torch.cat([model(chunk)[0] for chunk in chunks])
        scale = model.log_scale.detach().exp()
        losses = loss_of(audio.requires_grad_(), scale.requires_grad_(), *targets)
        amp.backward(losses["loss"])
        assert audio.grad is not None
        parts = torch.split(audio.grad, len(chunks[0]))
        with without_averaging(embed):
            for chunk, gradient in zip(chunks[:-1], parts[:-1], strict=True):
                with amp.forward():
                    again, _ = embed(chunk)
                torch.autograd.backward(again, gradient)
        with amp.forward():
            both = embed(chunks[-1])
        torch.autograd.backward(both, (parts[-1], scale.grad))
        return losses

    def step_of(step: int, amp: Amp) -> Mapping[str, Tensor]:
        features, *targets = (part.to(amp.device, non_blocking=True) for part in batch_of(step))
        in_parts = config.chunk is not None and config.chunk < len(features)
        return (in_chunks if in_parts else whole)(features, targets, amp)

    return step_of
