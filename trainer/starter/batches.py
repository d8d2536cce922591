"""Batches of the audio stage: what sounds, what is said of it, and who is right for whom.

A batch holds scenes that a tagger has heard, bent ones without a caption among them, windows of
recordings, and late in training two windows laid over each other beside the two by themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.data.manifests import Recording
from trainer.loop import generator_of
from trainer.starter.augment import PER_DB, augment
from trainer.starter.cache import RecordingCache
from trainer.starter.config import CaptionsConfig
from trainer.starter.opinions import Opinions
from trainer.starter.scenes import MOST, Kind, Scenes, draw_weights
from trainer.starter.texts import Texts

Array = NDArray[np.float32]


class Batches:
    """Draws the batch of a step: log-mel windows, text vectors, and who is right for whom."""

    def __init__(
        self,
        clips: Sequence[Recording],
        cache: RecordingCache,
        places: Sequence[int],
        scenes: Scenes,
        texts: Texts,
        vectors: Array,
        n_frames: int,
        config: CaptionsConfig,
        usable: Callable[[Recording], bool] = lambda clip: True,
        unnamed: Callable[[Recording], bool] = lambda clip: False,
    ) -> None:
        """places: where each clip stands in the cache. vectors: (n_texts, width), unit.

        usable: clips of which it is false are left out, and every scene in which one sounds. But
        those of which `unnamed` is true still sound in scenes, which then have no caption. Raises
        ValueError if there is nothing that a batch, or a share of it, could be drawn from.
        """
        self._cache, self._places, self._scenes, self._texts = cache, places, scenes, texts
        self._vectors = torch.from_numpy(vectors)
        self._n_frames, self._config = n_frames, config
        _, self._caption = np.unique([clip.caption for clip in clips], return_inverse=True)
        whole = np.array([cache.n_frames(place) >= n_frames for place in places])
        taken = whole & np.array([usable(clip) for clip in clips])
        if not taken.any():
            raise ValueError(f"none of {len(clips)} recordings can be trained on; give others")
        weights = taken * draw_weights(clips, config.caption_power, config.source_power)
        self._chances = weights / weights.sum()
        heard = taken | whole & np.array([unnamed(clip) for clip in clips])
        named = np.append(taken, True)[scenes.members].all(axis=1)  # -1 is nobody
        bent = scenes.kinds == Kind.BENT
        self._captioned = np.flatnonzero(named & ~bent)
        self._without_caption = np.flatnonzero(
            np.append(heard, True)[scenes.members].all(axis=1) & (bent | ~named)
        )
        two = (scenes.kinds == Kind.TOGETHER) & ((scenes.members >= 0).sum(axis=1) == 2)
        self._duets = np.flatnonzero(named & two)
        for share, there, what in (
            (config.scene_share, self._captioned, "with a caption (n_scenes)"),
            (config.bent_share, self._without_caption, "without one (n_bent)"),
            (config.duet_share, self._duets, "of two sounds together (n_scenes)"),
        ):
            if share and not len(there):
                raise ValueError(
                    f"a batch is to draw a share of {share:g} from scenes {what}, and none can be "
                    "used; make more scenes, or set that share to 0"
                )
        self._opinions = Opinions.of(scenes, heard)

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
        late = step >= config.duets_after * config.loop.steps
        n_duets = round(config.duet_share * config.batch_size) if late else 0
        bent = rng.choice(self._without_caption, n_bent) if n_bent else np.zeros(0, np.int64)
        mixed = rng.choice(self._captioned, n_scenes)
        duets = rng.choice(self._duets, n_duets) if n_duets else np.zeros(0, np.int64)
        n_others = config.batch_size - n_bent - n_scenes - 3 * n_duets
        others = rng.choice(len(self._chances), n_others, p=self._chances)
        pairs = scenes.members[duets, :2]
        plain = np.concatenate((pairs.T.ravel(), others)).astype(np.int64)
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
        logits = torch.from_numpy(scenes.logits[of_teacher].astype(np.float32))
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
            logits,
            self._opinions.standardised(logits),
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
    wanted: the same, standardised for each class. classes (n_classes, width): their texts' vectors.
    trios (3, n_duets): places, among what has a caption, of two sounds together, of the first alone
    and of the second.
    """

    log_mel: Tensor
    vectors: Tensor
    positive: Tensor
    counted: Tensor
    logits: Tensor
    wanted: Tensor
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
