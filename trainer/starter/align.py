"""Stage: the audio tower against captions, and against a tagger's opinion of scenes.

The text tower stands still, so every text is one fixed vector. What learns is the audio tower, a
linear head that turns text vectors into the shared space, and the logit scales.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from trainer.data.manifests import Clip
from trainer.loop import LoopConfig, generator_of, plain, train
from trainer.losses import contrastive_loss
from trainer.starter.augment import PER_DB, AugmentConfig, augment
from trainer.starter.cache import RecordingCache
from trainer.starter.corpus import TEMPLATES
from trainer.starter.scenes import MOST, Kind, Scenes, captions_of, draw_weights
from trainer.starter.tag_space import TagSpace
from trainer.towers.compact import AudioTower
from trainer.towers.unit import embed_unit

Array = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class CaptionsConfig:
    """How batches are drawn, and what the towers learn from them.

    caption_power, source_power: with which weights recordings are drawn, see `draw_weights`.
    scene_share, bent_share: share of a batch that is scenes with a caption, and bent ones without; the
    rest is windows of recordings. duet_share: share of a batch that is two of those windows laid
    over each other, each of which is in the batch as well; apart_db: largest level difference
    between them. duet_weight: of the loss that "a and b" fits the two together better than either.
    late: share of the steps after which duets are drawn, and sounds and texts are compared by whole
    embeddings; before, by the learned part of them. same_meaning: texts with a higher cosine are not held
    against each other. speed: largest change of speed; shift_bands: of pitch, in mel bands.
    tag_weight: of the divergence from the tagger, by way of its classes' names, over classes of a
    sound; sound_weight: over sounds of a class; probe_weight: of a linear map to its scores; any
    may be 0.
    head_rate: factor on the learning rate of the head, which starts as the principal components
    of the texts and should keep the neighbourhoods of words that no caption holds.
    augment, scene_augment: of windows, and of scenes, which were changed as waveforms already.
    """

    batch_size: int = 256
    caption_power: float = -0.5
    source_power: float = -0.3
    scene_share: float = 0.35
    bent_share: float = 0.15
    duet_share: float = 0.15
    duet_weight: float = 0.5
    apart_db: float = 6.0
    late: float = 0.6
    same_meaning: float = 0.95
    speed: float = 0.15
    shift_bands: int = 2
    tag_weight: float = 0.5
    sound_weight: float = 0.5
    probe_weight: float = 1.0
    logit_scale: float = 1 / 0.07
    largest_logit_scale: float = 100.0
    tag_scale: float = 20.0
    head_rate: float = 0.2
    seed: int = 0
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    scene_augment: AugmentConfig = field(
        default_factory=lambda: AugmentConfig(
            tilt_db=3.0,
            noise_share=0.1,
            band_limit_share=0.0,
            time_masks=(1, 40),
            band_masks=(1, 8),
        )
    )
    loop: LoopConfig = field(
        default_factory=lambda: LoopConfig(
            steps=3200, warmup_steps=60, learning_rate=1.5e-3, weight_decay=0.05, average=0.998
        )
    )

    def __post_init__(self) -> None:
        shares = self.scene_share + self.bent_share + 3 * self.duet_share
        if not 0 <= shares <= 1:
            raise ValueError(
                "scenes, bent ones and three times the duets are shares of one batch and make 1 at "
                f"most, not {shares:g}"
            )


@dataclass(frozen=True)
class Texts:
    """Every text that may stand for a sound, and which.

    texts: all of them, without duplicates. of_clip, of_scene: for each, numbers of the texts that may
    be drawn (a plain caption several times, so that it comes up more often). of_class: numbers of
    the texts for each of the tagger's classes, equally many for each.
    """

    texts: list[str]
    of_clip: list[list[int]]
    of_scene: list[list[int]]
    of_class: NDArray[np.int64]


def texts_of(
    clips: Sequence[Clip], scenes: Scenes, class_names: Sequence[str], prompt: str, seed: int
) -> Texts:
    """Captions as they are, inside templates, with tags, and tags alone; composed; class names.

    clips: those that the scenes' members number. prompt: with {} where a class goes.
    """
    generator = random.Random(seed)
    numbers: dict[str, int] = {}

    def number(text: str) -> int:
        return numbers.setdefault(text, len(numbers))

    of_clip = []
    for clip in clips:
        some = [number(clip.caption)] * 4 + [
            number(template.format(clip.caption)) for template in generator.sample(TEMPLATES, 2)
        ]
        if clip.tags:
            some.append(number(", ".join(clip.tags)))
            some.append(number(", ".join((clip.caption, *clip.tags))))
        of_clip.append(some)
    of_scene = []
    for members, kind in zip(scenes.members, scenes.kinds, strict=True):
        who = [int(clip) for clip in members if clip >= 0]
        if kind == Kind.BENT:
            of_scene.append([])
            continue
        if len(who) == 1:
            of_scene.append(of_clip[who[0]])
            continue
        forms = captions_of([clips[clip].caption for clip in who], Kind(kind))
        of_scene.append([number(text) for text in generator.sample(forms, 2)])
    of_class = [[number(text) for text in class_texts(name, prompt)] for name in class_names]
    return Texts(list(numbers), of_clip, of_scene, np.array(of_class, np.int64).reshape(-1, 4))


def class_texts(name: str, prompt: str) -> list[str]:
    """Four ways to say a class's name, such as "Gush" or "Child speech, kid speaking"."""
    plain = name.lower()
    parts = [part.strip() for part in re.sub(r"\(.*?\)", "", plain).split(",")]
    return [plain, prompt.format(plain), prompt.format(parts[0]), parts[-1]]


class Aligner(nn.Module):
    """What learns: the audio tower, the head on the text tower, the probe, and logit scales.

    The probe gives the tagger's log-odds, standardised; `tags` makes the second part of embeddings
    of them. Only training needs the scales.
    """

    def __init__(
        self, tower: AudioTower, head: nn.Linear, tags: TagSpace, config: CaptionsConfig
    ) -> None:
        super().__init__()
        self.tower = tower
        self.head = head
        self.probe = nn.Linear(2 * tower.config.pooled, tags.n_classes)
        self.tags = tags
        self.log_scale = nn.Parameter(torch.tensor(math.log(config.logit_scale)))
        self.log_tag_scale = nn.Parameter(torch.tensor(math.log(config.tag_scale)))
        self.log_sound_scale = nn.Parameter(torch.tensor(math.log(config.tag_scale)))

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self.tower.config.dim + self.tags.config.dim

    def embed_audio(self, features: Tensor) -> Tensor:
        """(n, n_mels, n_frames) -> unit (n, dim of both parts)."""
        pooled = self.tower.pool(features)
        learned = embed_unit(self.tower.project(pooled))
        return self.tags.join(learned, self.tags.of_sounds(self.probe(pooled)))

    def embed_text(self, vectors: Tensor) -> Tensor:
        """The text tower's unit vectors (n, width) -> unit (n, dim of both parts)."""
        return self.tags.join(embed_unit(self.head(vectors)), self.tags.of_texts(vectors))


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
        cache: RecordingCache,
        places: Sequence[int],
        scenes: Scenes,
        texts: Texts,
        vectors: Array,
        n_frames: int,
        config: CaptionsConfig,
        usable: Callable[[Clip], bool] = lambda clip: True,
    ) -> None:
        """places: where each clip stands in the cache. vectors: (n_texts, width), unit.

        usable: clips of which it is false are left out, and every scene in which one sounds.
        """
        self._cache, self._places, self._scenes, self._texts = cache, places, scenes, texts
        self._vectors = torch.from_numpy(vectors)
        self._n_frames, self._config = n_frames, config
        _, self._caption = np.unique([clip.caption for clip in clips], return_inverse=True)
        taken = np.array(
            [
                usable(clip) and cache.n_frames(place) >= n_frames
                for clip, place in zip(clips, places, strict=True)
            ]
        )
        weights = taken * draw_weights(clips, config.caption_power, config.source_power)
        self._chances = weights / weights.sum()
        heard = np.append(taken, True)[scenes.members].all(axis=1)  # -1 is nobody
        bent = scenes.kinds == Kind.BENT
        self._usable_scenes = np.flatnonzero(heard & ~bent)
        self._usable_bent = np.flatnonzero(heard & bent)
        two = (scenes.kinds == Kind.TOGETHER) & ((scenes.members >= 0).sum(axis=1) == 2)
        cached = np.append([cache.n_frames(place) >= n_frames for place in places], True)
        self._duets = np.flatnonzero(heard & two & cached[scenes.members].all(axis=1))
        logits = scenes.logits[np.sort(self._usable_scenes)[:20_000]].astype(np.float32)
        self._logits = torch.from_numpy(logits)
        self._logits_mean = self._logits.mean(dim=0)
        self._logits_std = self._logits.std(dim=0, correction=0).clamp(min=0.1)

    def standardised(self, logits: Tensor) -> Tensor:
        """The teacher's log-odds (n, n_classes), each class by its mean and deviation over scenes."""
        return (logits - self._logits_mean) / self._logits_std

    def fit(self, tags: TagSpace) -> None:
        """Make the tag space that of these scenes and class names."""
        names = self._vectors[torch.from_numpy(self._texts.of_class)]
        tags.fit(self.standardised(self._logits), names)

    def class_vectors(self, generator: torch.Generator) -> Tensor:
        """(n_classes, width): one of the texts of each class."""
        of_class = torch.from_numpy(self._texts.of_class)
        drawn = torch.randint(of_class.shape[1], (len(of_class), 1), generator=generator)
        return self._vectors[of_class.gather(1, drawn).ravel()]

    def draw(self, step: int) -> Batch:
        """The batch of a step; the same for the same seed."""
        config, scenes = self._config, self._scenes
        generator = generator_of(config.seed, step)
        rng = np.random.default_rng(int(torch.randint(1 << 62, (1,), generator=generator)))
        n_scenes = round(config.scene_share * config.batch_size)
        n_bent = round(config.bent_share * config.batch_size)
        late = step >= config.late * config.loop.steps
        n_duets = round(config.duet_share * config.batch_size) if late else 0
        bent = rng.choice(self._usable_bent, n_bent) if n_bent else np.zeros(0, np.int64)
        mixed = rng.choice(self._usable_scenes, n_scenes)
        duets = rng.choice(self._duets, n_duets) if n_duets else np.zeros(0, np.int64)
        n_others = config.batch_size - n_bent - n_scenes - 3 * n_duets
        others = rng.choice(len(self._chances), n_others, p=self._chances)
        pairs = scenes.members[duets, :2]
        plain = np.concatenate((pairs.T.ravel(), others))
        windows = self._windows(plain, rng)
        first, second = windows[:n_duets], windows[n_duets : 2 * n_duets]
        apart = torch.from_numpy(rng.uniform(-1, 1, n_duets).astype(np.float32)) * config.apart_db
        of_teacher = np.concatenate((bent, mixed))
        log_mel = torch.cat(
            (
                torch.from_numpy(scenes.frames[of_teacher].astype(np.float32)),
                overlaid(first, second, apart),
                windows,
            )
        )
        composed = np.concatenate((mixed, duets))
        heard = np.full((config.batch_size - n_bent, MOST), -1, np.int64)
        heard[: len(composed)] = np.append(self._caption, -1)[scenes.members[composed]]
        heard[len(composed) :, 0] = self._caption[plain]
        texts = np.array(
            [rng.choice(self._texts.of_scene[scene]) for scene in composed]
            + [rng.choice(self._texts.of_clip[clip]) for clip in plain],
            np.int64,
        )
        trios = n_scenes + n_duets * np.arange(3)[:, None] + np.arange(n_duets)
        vectors = self._vectors[torch.from_numpy(texts)]
        positive, counted = relations(heard, texts)
        counted = counted & (vectors @ vectors.T < config.same_meaning) | positive
        return Batch(
            torch.cat(
                (
                    augment(log_mel[: len(of_teacher)], config.scene_augment, generator),
                    augment(log_mel[len(of_teacher) :], config.augment, generator),
                )
            ),
            vectors,
            positive,
            counted,
            torch.from_numpy(scenes.logits[of_teacher].astype(np.float32)),
            self.class_vectors(generator),
            torch.from_numpy(trios),
        )

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
    """Sounds, texts, and what a teacher says.

    log_mel (n, n_frames, n_mels), not normalised: first what is bent, then scenes, then the rest.
    vectors (n_captioned, width): texts of all but the bent ones; positive, counted: see
    `contrastive_loss`. logits (n_heard, n_classes): the teacher's, of what is bent and of scenes;
    classes (n_classes, width): their texts' vectors. trios (3, n_duets): places, among what has a
    caption, of two sounds together, of the first alone and of the second.
    """

    log_mel: Tensor
    vectors: Tensor
    positive: Tensor
    counted: Tensor
    logits: Tensor
    classes: Tensor
    trios: Tensor


def overlaid(first: Tensor, second: Tensor, apart_db: Tensor) -> Tensor:
    """Log-mel windows (n, n_frames, n_mels) of two sounds at once, the second apart_db (n,) above the first.

    Energies add up, as they do on average where the sounds are not in phase.
    """

    def levelled(windows: Tensor) -> Tensor:
        return windows - windows.logsumexp(dim=(1, 2), keepdim=True)

    level = first.logsumexp(dim=(1, 2), keepdim=True)
    louder = (apart_db * PER_DB)[:, None, None]
    return torch.logaddexp(levelled(first), levelled(second) + louder) + level


def relations(heard: NDArray[np.int64], texts: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Which texts are right for which sounds, and which pairs count: two (n, n) bool tensors.

    heard: caption numbers of what sounds, (n, at most), -1 for nothing; the text of each row names
    all of them. texts: the text drawn. Right are the same captions, and the same text. A text that
    names only a part of what sounds is neither right nor wrong; one that names more is wrong.
    """
    within = (heard[:, None, :, None] == heard[None, :, None, :]).any(axis=2)
    covers = (within | (heard == -1)[None]).all(axis=2)  # [i, j]: sound i has all that text j names
    positive = (covers & covers.T) | (texts[:, None] == texts)
    return torch.from_numpy(positive), torch.from_numpy(positive | ~covers)


def tag_loss(cosine: Tensor, scale: Tensor, logits: Tensor) -> Tensor:
    """Divergence of the student's distribution over classes from the teacher's, a scalar.

    cosine (n, n_classes) of sounds and class names. The teacher's scores are independent; as a
    distribution over classes they say what fits a sound best, however weakly.
    """
    wanted = torch.softmax(logits, dim=1)
    found = torch.log_softmax(scale * cosine, dim=1)
    return functional.kl_div(found, wanted, reduction="batchmean")


def sound_loss(cosine: Tensor, scale: Tensor, wanted: Tensor) -> Tensor:
    """Divergence of the student's distribution over sounds from the teacher's, mean of classes.

    cosine (n, n_classes) of sounds and class names; wanted: the teacher's log-odds, standardised for
    each class. Every class counts alike, also one that none of the sounds belongs to: which of
    them is most like a cat says what a cat would sound like.
    """
    target = torch.softmax(wanted, dim=0)
    found = torch.log_softmax(scale * cosine, dim=0)
    return functional.kl_div(found, target, reduction="sum") / cosine.shape[1]


def duet_loss(scores: Tensor, trios: Tensor) -> Tensor:
    """How far "a and b" is from fitting a and b together better than a, and than b; a scalar.

    scores (n, n): cosine similarity of sounds and texts times the logit scale; trios: see `Batch`.
    """
    both, *parts = (scores[rows, trios[0]] for rows in trios)
    return torch.stack([functional.softplus(part - both).mean() for part in parts]).sum()


def align(
    aligner: Aligner,
    batches: Batches,
    config: CaptionsConfig,
    folder: Path,
    check: Callable[[nn.Module], Mapping[str, float]] | None = None,
) -> Aligner:
    """Train the audio tower, the head and the probe; returns them."""
    batches.fit(aligner.tags)
    mean, std = aligner.tower.mean, aligner.tower.std
    ceiling = math.log(config.largest_logit_scale)
    aligner.tower.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def loss_of(step: int) -> dict[str, Tensor]:
        batch = batches.draw(step)
        features = ((batch.log_mel - mean) / std).transpose(1, 2)
        pooled = aligner.tower.pool(features)
        audio = learned = embed_unit(aligner.tower.project(pooled))
        text = embed_unit(aligner.head(batch.vectors))
        opinions = aligner.probe(pooled).float()
        if step >= config.late * config.loop.steps:
            # Captions teach the learned part what tags do not say; tags are the tagger's alone.
            audio = aligner.tags.join(learned, aligner.tags.of_sounds(opinions.detach()))
            with torch.autocast(text.device.type, enabled=False):
                text = aligner.tags.join(text, aligner.tags.of_texts(batch.vectors))
        scale = aligner.log_scale.clamp(max=ceiling).exp()
        cosine = audio[len(audio) - len(text) :] @ text.T
        contrast = contrastive_loss(scale * cosine.float(), batch.positive, batch.counted)
        losses = {"captions": contrast.detach(), "logit_scale": scale.detach()}
        loss = contrast
        n_heard = len(batch.logits)
        wanted = batches.standardised(batch.logits)
        if config.duet_weight and batch.trios.shape[1]:
            duets = duet_loss(scale * cosine.float(), batch.trios)
            loss, losses["duets"] = loss + config.duet_weight * duets, duets.detach()
        if (config.tag_weight or config.sound_weight) and n_heard:
            classes = embed_unit(aligner.head(batch.classes))
            by_class = (learned[:n_heard] @ classes.T).float()
            tags = tag_loss(by_class, aligner.log_tag_scale.exp(), batch.logits)
            loss, losses["tags"] = loss + config.tag_weight * tags, tags.detach()
            sounds = sound_loss(by_class, aligner.log_sound_scale.exp(), wanted)
            loss, losses["sounds"] = loss + config.sound_weight * sounds, sounds.detach()
        if config.probe_weight and n_heard:
            probed = functional.mse_loss(opinions[:n_heard], wanted)
            loss, losses["probe"] = loss + config.probe_weight * probed, probed.detach()
        return {"loss": loss, **losses}

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
