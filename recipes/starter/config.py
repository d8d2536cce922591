"""Every constant of the recipe of the `starter` bundle, but those of the audio tower's learning."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from recipes.starter.corpus import CorpusConfig
from soundsearch.audio.windows import AudioConfig
from soundsearch.encoder.bundle import TextConfig
from trainer.text_distillation import DistilConfig


@dataclass(frozen=True, kw_only=True)
class StarterConfig:
    """Everything that decides the bundle before the audio tower learns.

    Attributes:
        name: Of the bundle.
        version: Of the bundle.
        description: Of the bundle, one line.
        licence: Of the weights.
        audio: Windows, as in the bundle.
        text: Texts, as in the bundle.
        longest_s: Seconds of a recording that training uses at most.
        n_held_out: Captions on which the text tower is compared with its teacher.
        corpus: The texts that the text tower learns from.
        distil: How it learns.
        seed: Of every random choice after the text tower.
    """

    name: str = "starter"
    version: str = "4"
    description: str = "Small general encoder for sound effects, nature, machines, music and voices"
    licence: str = "Apache-2.0"
    audio: AudioConfig = field(
        default_factory=lambda: AudioConfig(
            sample_rate=32000, window_s=3.0, hop_s=1.5, short="repeat"
        )
    )
    text: TextConfig = field(
        default_factory=lambda: TextConfig(max_tokens=64, prompt="the sound of {}")
    )
    longest_s: float = 30.0
    n_held_out: int = 500
    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    distil: DistilConfig = field(default_factory=DistilConfig)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.distil.max_tokens != self.text.max_tokens:
            raise ValueError(
                f"the text tower has {self.distil.max_tokens} positions, texts have "
                f"{self.text.max_tokens} tokens; they must be equal"
            )

    def seeded(self, seed: int) -> StarterConfig:
        """The same recipe with every random choice made from another seed."""
        return dataclasses.replace(
            self,
            corpus=dataclasses.replace(self.corpus, seed=seed),
            distil=dataclasses.replace(self.distil, seed=seed),
            seed=seed,
        )
