"""Stage: the audio tower against captions, and against a tagger's opinion of scenes.

The text tower stands still, so every text is one fixed vector. What learns is the audio tower, a
linear head that turns text vectors into the shared space, a probe that repeats the tagger's scores,
and the logit scales.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from trainer.contrastive_loss import contrastive_loss
from trainer.loop import every, one_pass, train
from trainer.starter.batches import Batches
from trainer.starter.config import CaptionsConfig
from trainer.starter.losses import duet_loss, sound_loss, tag_loss
from trainer.towers.compact import AudioTower
from trainer.towers.unit import embed_unit

Array = NDArray[np.float32]


class Aligner(nn.Module):
    """What learns: the audio tower, the head on the text tower, the probe, and logit scales.

    The probe gives the tagger's log-odds, standardised. Only training needs the scales.
    """

    def __init__(
        self, tower: AudioTower, head: nn.Linear, n_classes: int, config: CaptionsConfig
    ) -> None:
        super().__init__()
        self.tower = tower
        self.head = head
        self.probe = nn.Linear(2 * tower.config.pooled, n_classes)
        self.log_scale = nn.Parameter(torch.tensor(math.log(config.logit_scale)))
        self.log_tag_scale = nn.Parameter(torch.tensor(math.log(config.tag_scale)))
        self.log_sound_scale = nn.Parameter(torch.tensor(math.log(config.tag_scale)))


def head_from(vectors: Array, dim: int) -> nn.Linear:
    """A linear map from text vectors (n, width) to dim: their principal directions."""
    _, _, directions = torch.linalg.svd(torch.from_numpy(vectors), full_matrices=False)
    head = nn.Linear(vectors.shape[1], dim, bias=False)
    with torch.no_grad():
        head.weight.copy_(directions[:dim])
    return head


def align(
    aligner: Aligner,
    batches: Batches,
    config: CaptionsConfig,
    folder: Path,
    check: Callable[[nn.Module], Mapping[str, float]] | None = None,
) -> Aligner:
    """Train the audio tower, the head and the probe; returns them."""
    mean, std = aligner.tower.mean, aligner.tower.std
    ceiling = math.log(config.largest_logit_scale)
    aligner.tower.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def loss_of(step: int) -> dict[str, Tensor]:
        batch = batches.draw(step)
        features = ((batch.log_mel - mean) / std).transpose(1, 2)
        pooled = aligner.tower.pool(features)
        audio = embed_unit(aligner.tower.project(pooled))
        text = embed_unit(aligner.head(batch.vectors))
        scale = aligner.log_scale.clamp(max=ceiling).exp()
        cosine = audio[len(audio) - len(text) :] @ text.T
        contrast = contrastive_loss(scale * cosine.float(), batch.positive, batch.counted)
        losses = {"captions": contrast.detach(), "logit_scale": scale.detach()}
        loss = contrast
        n_heard = len(batch.logits)
        if config.duet_weight and batch.trios.shape[1]:
            duets = duet_loss(scale * cosine.float(), batch.trios)
            loss, losses["duets"] = loss + config.duet_weight * duets, duets.detach()
        if (config.tag_weight or config.sound_weight) and n_heard:
            classes = embed_unit(aligner.head(batch.classes))
            by_class = (audio[:n_heard] @ classes.T).float()
            tags = tag_loss(by_class, aligner.log_tag_scale.exp(), batch.logits)
            loss, losses["tags"] = loss + config.tag_weight * tags, tags.detach()
            sounds = sound_loss(by_class, aligner.log_sound_scale.exp(), batch.wanted)
            loss, losses["sounds"] = loss + config.sound_weight * sounds, sounds.detach()
        if config.probe_weight and n_heard:
            probed = functional.mse_loss(aligner.probe(pooled[:n_heard]).float(), batch.wanted)
            loss, losses["probe"] = loss + config.probe_weight * probed, probed.detach()
        return {"loss": loss, **losses}

    train(
        aligner,
        one_pass(loss_of),
        config.loop,
        folder,
        slow={"head.": config.head_rate},
        checks=every(200, config.loop.steps, check),
    )
    return aligner
