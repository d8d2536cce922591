"""Every constant of the recipe of the `starter` bundle."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from soundsearch.audio import AudioConfig
from soundsearch.bundle import TextConfig
from soundsearch.features import KaldiFbank
from trainer.starter.align import CaptionsConfig
from trainer.starter.corpus import CorpusConfig
from trainer.starter.distil import DistilConfig
from trainer.starter.scenes import SceneConfig
from trainer.starter.tag_space import TagSpaceConfig
from trainer.towers.compact import AudioTowerConfig


@dataclass(frozen=True, kw_only=True)
class StarterConfig:
    """Everything that decides the bundle. features.mean and .std are measured, not chosen.

    longest_s: seconds of a recording that training sees at most. n_held_out: captions on which
    the text tower is compared with its teacher.
    """

    name: str = "starter"
    version: str = "2"
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
