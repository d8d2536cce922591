"""Stage: the audio tower learns captions, mixtures and the classes that its network knows.

In: `Material`, the text tower. Out: the tower, whose vectors lie in the space of the text tower.

The head alone learns, on what the network sees as it is published. A tagger's knowledge is easily
lost over a few thousand captions, so every sound is held to the classes that the published network
hears in it, by their names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recipes.starter.manifests import Quality, Recording, draw_weights
from recipes.starter.material import Material
from soundsearch.encoder.bundle import TextConfig
from trainer.contrastive_loss import contrastive_loss
from trainer.distillation import LEAST_STD, class_loss, class_vectors
from trainer.loop import (
    LoopConfig,
    TrainingError,
    delete_checkpoint,
    generator_of,
    one_pass,
    save_tensors,
    train,
)
from trainer.mixtures import MOST, Kind, captions_of, covered
from trainer.text_distillation import Array
from trainer.towers.mobilenet import MobileNetConfig, MobileNetTower
from trainer.towers.unit import embed_unit

WEIGHTS = "weights.safetensors"


@dataclass(frozen=True, kw_only=True)
class LearnConfig:
    """How batches are drawn, and what the tower learns from them.

    Attributes:
        tower: The tower.
        batch_size: Sounds in a step.
        mixture_share: Share of a batch that is mixtures.
        part_share: Share that is windows of what sounds in these mixtures. "a and b" and a alone
            are neither right nor wrong for each other.
        unnamed_share: Share that is windows of recordings without a caption.
        prompt_share, tag_share: Of the captions, how many are put into the prompt of labels, and
            how many are replaced by the recording's tags.
        caption_power, source_power: By which recordings are drawn, see `draw_weights`.
        quality: Factor on that, by how far a caption can be trusted.
        same_meaning: Texts with a higher cosine are not held against each other.
        scale: By which cosines become logits.
        class_weight: Of the divergence from the published network's classes.
        head: How the head is optimised.
    """

    tower: MobileNetConfig = field(
        default_factory=lambda: MobileNetConfig(
            dropout=0.4, levels=11, dim=384, fixed_blocks=5, hold_statistics=True, rate_decay=0.8
        )
    )
    batch_size: int = 512
    mixture_share: float = 0.4
    part_share: float = 0.2
    unnamed_share: float = 0.06
    prompt_share: float = 0.2
    tag_share: float = 0.15
    caption_power: float = -0.5
    source_power: float = -0.3
    quality: Mapping[Quality, float] = field(
        default_factory=lambda: {"high": 1.0, "medium": 0.7, "low": 0.25}
    )
    same_meaning: float = 0.95
    scale: float = 20.0
    class_weight: float = 0.5
    head: LoopConfig = field(
        default_factory=lambda: LoopConfig(
            steps=3000, warmup_steps=150, weight_decay=0.02, precision="fp32"
        )
    )


@dataclass(frozen=True)
class Batch:
    """Sounds, what they are called, and which pairs count.

    Attributes:
        rows: (n,) of the material: windows and mixtures with a caption, then windows without.
        texts: (n_named, width) unit vectors.
        positive, counted: (n_named, n_named) bool, see `contrastive_loss`.
    """

    rows: NDArray[np.int64]
    texts: Tensor
    positive: Tensor
    counted: Tensor


class Batches:
    """Draws batches, each by the seed and the step alone."""

    def __init__(
        self,
        recordings: Sequence[Recording],
        material: Material,
        embed: Callable[[Sequence[str]], Array],
        text: TextConfig,
        config: LearnConfig,
        seed: int,
    ) -> None:
        self._config, self._seed, self._material = config, seed, material
        of_window = material.members[: material.n_windows, 0]  # in ascending order
        self._first = np.searchsorted(of_window, np.arange(len(recordings) + 1))
        captions = [one.caption for one in recordings]
        _, self._caption = np.unique(captions, return_inverse=True)
        usable = np.diff(self._first) > 0
        usable &= np.array([one.split == "train" for one in recordings])
        named = np.array([bool(caption) for caption in captions])
        weights = draw_weights(recordings, config.caption_power, config.source_power)
        weights *= [config.quality[one.quality] for one in recordings]
        self._chances = weights * (usable & named) / (weights * (usable & named)).sum()
        self._unnamed = np.flatnonzero(usable & ~named)
        prompted = [text.prompt.format(caption) for caption in captions]
        tagged = [", ".join(one.tags) or one.caption for one in recordings]
        self._texts = np.stack([embed(texts) for texts in (captions, prompted, tagged)])
        self._mixed = embed(_composed(captions, material, np.random.default_rng(seed)))

    def draw(self, step: int, size: int) -> Batch:
        """Draw a batch of size sounds."""
        config, material = self._config, self._material
        generator = generator_of(self._seed, step)
        rng = np.random.default_rng(int(torch.randint(1 << 62, (1,), generator=generator)))
        n_unnamed = round(config.unnamed_share * size) if len(self._unnamed) else 0
        n_mixed = round(config.mixture_share * size)
        n_windows = size - n_mixed - n_unnamed
        mixed = rng.integers(len(self._mixed), size=n_mixed)
        parts = material.members[material.n_windows + mixed].ravel()
        parts = parts[parts >= 0][: round(config.part_share * size)]
        others = rng.choice(len(self._chances), n_windows - len(parts), p=self._chances)
        drawn = np.concatenate((parts, others)).astype(np.int64)
        unnamed = rng.choice(self._unnamed, n_unnamed) if n_unnamed else np.zeros(0, np.int64)
        forms = rng.choice(
            3,
            n_windows,
            p=(1 - config.prompt_share - config.tag_share, config.prompt_share, config.tag_share),
        )
        of_mixed = material.n_windows + mixed
        texts = np.concatenate((self._texts[forms, drawn], self._mixed[mixed]))
        alone = np.full((n_windows, MOST), -1)
        alone[:, 0] = drawn
        members = np.concatenate((alone, material.members[of_mixed]))
        heard = torch.from_numpy(np.append(self._caption, -1)[members])
        vectors = torch.from_numpy(texts)
        names = covered(heard)
        positive = names & names.T
        counted = ~(names | names.T) & (vectors @ vectors.T < config.same_meaning)
        rows = np.concatenate((self._window(drawn, rng), of_mixed, self._window(unnamed, rng)))
        return Batch(rows, vectors, positive, counted | positive)

    def _window(self, drawn: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """A random window of each recording, as a row of the material."""
        found: NDArray[np.int64] = rng.integers(self._first[drawn], self._first[drawn + 1])
        return found


def _composed(captions: Sequence[str], material: Material, rng: np.random.Generator) -> list[str]:
    """What each mixture is called, one of its ways."""
    mixed = slice(material.n_windows, None)
    return [
        str(rng.choice(captions_of([captions[i] for i in members if i >= 0], Kind(kind))))
        for members, kind in zip(material.members[mixed], material.kinds[mixed], strict=True)
    ]


def learn(
    folder: Path,
    recordings: Sequence[Recording],
    material: Material,
    network: MobileNetTower,
    class_names: Sequence[str],
    embed: Callable[[Sequence[str]], Array],
    text: TextConfig,
    config: LearnConfig,
    seed: int,
) -> MobileNetTower:
    """Train the tower, and write WEIGHTS.

    Args:
        folder: Of the stage.
        recordings: Of the material, of both splits; those of the training split are learnt from.
        material: What the published network gave.
        network: With the published weights.
        class_names: Of its classifier.
        embed: Texts -> unit vectors (n, width) of the text tower.
        text: The encoder's texts.
        config: How.
        seed: Of every random choice.
    """
    tower = new_tower(network, config, seed)
    batches = Batches(recordings, material, embed, text, config, seed)
    classes = class_vectors(class_names, embed, text.prompt)
    if classes.shape[1] != config.tower.dim:
        raise TrainingError(
            f"the tower gives vectors of {config.tower.dim} numbers, the text tower of "
            f"{classes.shape[1]}; they must be equal"
        )
    logits = torch.from_numpy(material.logits)
    pooled = torch.from_numpy(material.pooled).float()
    mean, std = pooled.mean(dim=0), pooled.std(dim=0).clamp(min=LEAST_STD)
    tower.head.standardise(mean, std)

    def losses(step: int) -> dict[str, Tensor]:
        torch.manual_seed(seed * 1_000_003 + step)  # of dropout
        batch = batches.draw(step, config.batch_size)
        found = embed_unit(tower.head(pooled[batch.rows]))
        scores = config.scale * found[: len(batch.texts)] @ batch.texts.T
        contrast = contrastive_loss(scores, batch.positive, batch.counted)
        named = class_loss(
            found @ classes.T, torch.tensor(config.scale), logits[batch.rows].float()
        )
        return {
            "loss": contrast + config.class_weight * named,
            "captions": contrast.detach(),
            "classes": named.detach(),
        }

    train(tower.head, one_pass(losses), config.head, folder / "head")
    save_tensors(tower.state_dict(), folder / WEIGHTS)
    delete_checkpoint(folder / "head")
    return tower.eval()


def new_tower(network: MobileNetTower, config: LearnConfig, seed: int) -> MobileNetTower:
    """Make the tower with the network's blocks and a head that is drawn from the seed."""
    torch.manual_seed(seed)
    tower = MobileNetTower(config.tower)
    tower.features.load_state_dict(network.features.state_dict())
    return tower
