"""Every constant of the recipe of the `starter` bundle."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from soundsearch.audio.features import KaldiFbank
from soundsearch.audio.windows import AudioConfig
from soundsearch.encoder.bundle import TextConfig
from trainer.loop import LoopConfig
from trainer.starter.augment import AugmentConfig
from trainer.starter.corpus import CorpusConfig
from trainer.starter.distil import DistilConfig
from trainer.starter.scenes import SceneConfig
from trainer.starter.tag_space import TagSpaceConfig
from trainer.towers.compact import AudioTowerConfig


@dataclass(frozen=True, kw_only=True)
class CaptionsConfig:
    """How batches are drawn, and what the towers learn from them.

    caption_power, source_power: with which weights recordings are drawn, see `draw_weights`.
    scene_share, bent_share: share of a batch that is scenes with a caption, and bent ones without; the
    rest is windows of recordings. duet_share: share of a batch that is two of those windows laid
    over each other, each of which is in the batch as well, from the share duets_after of the steps
    on; apart_db: largest level difference between them. duet_weight: of the loss that "a and b"
    fits the two together better than either. same_meaning: texts with a higher cosine are not held
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
    duets_after: float = 0.6
    duet_weight: float = 0.5
    apart_db: float = 6.0
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


@dataclass(frozen=True, kw_only=True)
class StarterConfig:
    """Everything that decides the bundle. features.mean and .std are measured, not chosen.

    longest_s: seconds of a recording that training sees at most. n_held_out: captions on which
    the text tower is compared with its teacher.
    """

    name: str = "starter"
    version: str = "3"
    description: str = "Small general encoder for sound effects, nature, machines, music and voices"
    licence: str = "Apache-2.0"
    audio: AudioConfig = field(
        default_factory=lambda: AudioConfig(
            sample_rate=32000, window_s=3.0, hop_s=1.5, short="repeat"
        )
    )
    features: KaldiFbank = field(
        default_factory=lambda: KaldiFbank(n_mels=64, n_frames=298, f_min=50.0, f_max=14000.0)
    )
    text: TextConfig = field(
        default_factory=lambda: TextConfig(max_tokens=64, prompt="the sound of {}")
    )
    longest_s: float = 30.0
    n_held_out: int = 500
    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    distil: DistilConfig = field(default_factory=DistilConfig)
    scenes: SceneConfig = field(default_factory=SceneConfig)
    tower: AudioTowerConfig = field(default_factory=lambda: AudioTowerConfig(dim=192))
    tags: TagSpaceConfig = field(default_factory=TagSpaceConfig)
    captions: CaptionsConfig = field(default_factory=CaptionsConfig)

    def seeded(self, seed: int) -> StarterConfig:
        """The same recipe with every random choice made from another seed."""
        return dataclasses.replace(
            self,
            corpus=dataclasses.replace(self.corpus, seed=seed),
            distil=dataclasses.replace(self.distil, seed=seed),
            scenes=dataclasses.replace(self.scenes, seed=seed),
            captions=dataclasses.replace(self.captions, seed=seed),
        )

    def with_steps(self, distil: int | None, captions: int | None) -> StarterConfig:
        """The same recipe, cut short or drawn out."""

        def stretched(loop: Any, steps: int | None) -> Any:
            if steps is None:
                return loop
            return dataclasses.replace(
                loop, steps=steps, warmup_steps=min(loop.warmup_steps, steps)
            )

        return dataclasses.replace(
            self,
            distil=dataclasses.replace(self.distil, loop=stretched(self.distil.loop, distil)),
            captions=dataclasses.replace(
                self.captions, loop=stretched(self.captions.loop, captions)
            ),
        )
