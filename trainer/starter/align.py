"""Stage: the audio tower against captions.

The text tower stands still, so every text is one fixed vector. What learns is the audio tower, a
linear head that turns text vectors into the shared space, and the logit scale.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainer.data.manifests import Clip
from trainer.loop import LoopConfig, generator_of, plain, train
from trainer.losses import contrastive_loss
from trainer.starter.augment import AugmentConfig, augment, mix
from trainer.starter.cache import LogMelCache
from trainer.starter.corpus import TEMPLATES
from trainer.towers.compact import AudioTower
from trainer.towers.unit import embed_unit

Array = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class CaptionsConfig:
    """How batches are drawn, and how the towers learn from them.

    caption_power: a clip is drawn with weight (clips that share its caption) ** caption_power.
    mixture_share: share of a batch that is two recordings at once, under "a and b"; n_mixtures:
    how many such pairs there are. same_meaning: texts with a higher cosine are not held
    against each other. speed: largest change of speed; shift_bands: of pitch, in mel bands.
    head_rate: factor on the learning rate of the head, which starts as the principal components
    of the texts and should keep the neighbourhoods of words that no caption holds.
    """

    batch_size: int = 256
    caption_power: float = -0.5
    mixture_share: float = 0.1
    n_mixtures: int = 5_000
    same_meaning: float = 0.95
    speed: float = 0.15
    shift_bands: int = 2
    logit_scale: float = 1 / 0.07
    largest_logit_scale: float = 100.0
    head_rate: float = 0.2
    seed: int = 0
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    loop: LoopConfig = field(
        default_factory=lambda: LoopConfig(
            steps=2000, warmup_steps=60, learning_rate=1.5e-3, weight_decay=0.05, average=0.995
        )
    )


@dataclass(frozen=True)
class ClipTexts:
    """Every text that may stand for a clip, and which.

    texts: all of them, without duplicates. of_clip: for each clip, numbers of the texts that may
    be drawn (the plain caption several times, so that it comes up more often). mixtures: (clip,
    clip, text) numbers of pairs that are heard together.
    """

    texts: list[str]
    of_clip: list[list[int]]
    mixtures: NDArray[np.int64]


def texts_of(clips: Sequence[Clip], config: CaptionsConfig) -> ClipTexts:
    """Captions as they are, inside templates, with tags, and tags alone; and pairs of captions."""
    generator = random.Random(config.seed)
    numbers: dict[str, int] = {}

    def number(text: str) -> int:
        return numbers.setdefault(text, len(numbers))

    of_clip = []
    for clip in clips:
        plain = number(clip.caption)
        some = [plain] * 4 + [
            number(template.format(clip.caption)) for template in generator.sample(TEMPLATES, 2)
        ]
        if clip.tags:
            some.append(number(", ".join(clip.tags)))
            some.append(number(", ".join((clip.caption, *clip.tags))))
        of_clip.append(some)
    mixtures = []
    for _ in range(config.n_mixtures):
        one, other = generator.randrange(len(clips)), generator.randrange(len(clips))
        joined = f"{clips[one].caption} and {clips[other].caption}"
        mixtures.append((one, other, number(joined)))
    return ClipTexts(list(numbers), of_clip, np.array(mixtures, np.int64).reshape(-1, 3))


class Aligner(nn.Module):
    """The audio tower, the head on the text tower, and the logit scale between them."""

    def __init__(self, tower: AudioTower, head: nn.Linear, logit_scale: float) -> None:
        super().__init__()
        self.tower = tower
        self.head = head
        self.log_scale = nn.Parameter(torch.tensor(math.log(logit_scale)))


def head_from(vectors: Array, dim: int) -> nn.Linear:
    """A linear map from text vectors (n, width) to dim: their principal directions."""
    _, _, directions = torch.linalg.svd(torch.from_numpy(vectors), full_matrices=False)
    head = nn.Linear(vectors.shape[1], dim, bias=False)
    with torch.no_grad():
        head.weight.copy_(directions[:dim])
    return head


class Batches:
    """Draws the batch of a step: log-mel windows, text vectors, and who is right for whom."""

    def __init__(
        self,
        clips: Sequence[Clip],
        cache: LogMelCache,
        places: Sequence[int],
        texts: ClipTexts,
        vectors: Array,
        n_frames: int,
        config: CaptionsConfig,
    ) -> None:
        """places: where each clip stands in the cache. vectors: (n_texts, width), unit."""
        self._cache, self._places, self._texts = cache, places, texts
        self._vectors = torch.from_numpy(vectors)
        self._n_frames, self._config = n_frames, config
        number = {caption: i for i, caption in enumerate(sorted({c.caption for c in clips}))}
        self._caption = np.array([number[clip.caption] for clip in clips])
        counts = np.bincount(self._caption)
        usable = np.array([cache.n_frames(place) >= n_frames for place in places])
        weights = usable * counts[self._caption].astype(np.float64) ** config.caption_power
        self._weights = torch.from_numpy(weights)
        one, other = texts.mixtures[:, 0], texts.mixtures[:, 1]
        self._mixtures = texts.mixtures[usable[one] & usable[other]]

    def draw(self, step: int) -> Batch:
        """The batch of a step; the same for the same seed."""
        config = self._config
        generator = generator_of(config.seed, step)
        n_mixed = round(config.mixture_share * config.batch_size) if len(self._mixtures) else 0
        n_plain = config.batch_size - n_mixed
        plain = torch.multinomial(
            self._weights, n_plain, replacement=True, generator=generator
        ).numpy()
        chosen = torch.randint(max(1, len(self._mixtures)), (n_mixed,), generator=generator).numpy()
        one, other, joined = self._mixtures[chosen].T
        numbers = np.random.default_rng(int(torch.randint(1 << 62, (1,), generator=generator)))
        texts = np.array([numbers.choice(self._texts.of_clip[clip]) for clip in plain], np.int64)
        log_mel = self._windows(plain, numbers)
        if n_mixed:
            both = mix(self._windows(one, numbers), self._windows(other, numbers), generator)
            log_mel = torch.cat((log_mel, both))
        first = np.concatenate((self._caption[plain], self._caption[one]))
        second = np.concatenate((self._caption[plain], self._caption[other]))
        texts = np.concatenate((texts, joined))
        vectors = self._vectors[torch.from_numpy(texts)]
        positive, counted = relations(first, second, texts)
        counted = counted & (vectors @ vectors.T < config.same_meaning) | positive
        return Batch(augment(log_mel, config.augment, generator), vectors, positive, counted)

    def _windows(self, clips: NDArray[np.int64], numbers: np.random.Generator) -> Tensor:
        """One random window of each clip, played a little faster or slower, higher or lower."""
        config, n = self._config, self._n_frames
        found = np.empty((len(clips), n, self._cache.n_mels), np.float32)
        bands = np.arange(self._cache.n_mels)
        for row, clip in enumerate(clips):
            place = self._places[clip]
            n_there = self._cache.n_frames(place)
            speed = min(1 + config.speed * numbers.uniform(-1, 1), n_there / n)
            n_taken = min(math.ceil(n * speed), n_there)
            start = int(numbers.integers(n_there - n_taken + 1))
            taken = self._cache.window(place, start, n_taken)[
                np.minimum(np.arange(n) * speed, n_taken - 1).astype(np.int64)
            ]
            shift = int(numbers.integers(-config.shift_bands, config.shift_bands + 1))
            found[row] = taken[:, np.clip(bands + shift, 0, len(bands) - 1)]
        return torch.from_numpy(found)


@dataclass(frozen=True)
class Batch:
    """log_mel (n, n_frames, n_mels), not normalised; vectors (n, width); see `contrastive_loss`."""

    log_mel: Tensor
    vectors: Tensor
    positive: Tensor
    counted: Tensor


def relations(
    first: NDArray[np.int64], second: NDArray[np.int64], texts: NDArray[np.int64]
) -> tuple[Tensor, Tensor]:
    """Which texts are right for which sounds, and which pairs count: two (n, n) bool tensors.

    first, second: caption numbers of the one or two recordings in each sound. texts: the text
    drawn. The same captions or the same text are right; one shared caption of two is neither
    right nor wrong.
    """
    low, high = np.minimum(first, second), np.maximum(first, second)
    same = (low[:, None] == low) & (high[:, None] == high)
    shared = np.zeros_like(same)
    for mine in (first, second):
        for theirs in (first, second):
            shared |= mine[:, None] == theirs
    positive = same | (texts[:, None] == texts)
    return torch.from_numpy(positive), torch.from_numpy(positive | ~shared)


def align(
    aligner: Aligner,
    batches: Batches,
    config: CaptionsConfig,
    folder: Path,
    check: Callable[[nn.Module], Mapping[str, float]] | None = None,
) -> Aligner:
    """Train the audio tower and the head; returns them."""
    mean, std = aligner.tower.mean, aligner.tower.std
    ceiling = math.log(config.largest_logit_scale)
    aligner.tower.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def loss_of(step: int) -> dict[str, Tensor]:
        batch = batches.draw(step)
        features = ((batch.log_mel - mean) / std).transpose(1, 2)
        audio = embed_unit(aligner.tower(features))
        text = embed_unit(aligner.head(batch.vectors))
        scale = aligner.log_scale.clamp(max=ceiling).exp()
        cosine = audio @ text.T
        loss = contrastive_loss(scale * cosine.float(), batch.positive, batch.counted)
        return {"loss": loss, "logit_scale": scale.detach()}

    train(
        aligner,
        plain(loss_of),
        config.loop,
        folder,
        slow={"head.": config.head_rate},
        check=check,
        check_every=200,
    )
    return aligner
