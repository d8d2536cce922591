"""Every constant of the recipe of the `starter` bundle."""

from __future__ import annotations

from dataclasses import dataclass, field

from recipes.starter.corpus import CorpusConfig
from recipes.starter.learn import LearnConfig
from recipes.starter.material import MaterialConfig
from soundsearch.encoder.bundle import TextConfig
from trainer.front_ends import EFFICIENTAT, FrontEnd
from trainer.inverted_softmax import InvertedSoftmaxConfig
from trainer.text_distillation import DistilConfig


@dataclass(frozen=True, kw_only=True)
class StarterConfig:
    """Everything that decides the bundle.

    Attributes:
        name: Of the bundle.
        version: Of the bundle.
        description: Of the bundle, one line.
        licence: Of the weights.
        front_end: Windows and features, as in the bundle.
        text: Texts, as in the bundle.
        longest_s: Seconds of a recording that training uses at most.
        n_held_out: Captions on which the text tower is compared with its teacher.
        corpus: The texts that the text tower learns from.
        distil: How it learns.
        material: What the audio tower learns from.
        learn: How it learns.
        inverted_softmax: How far a sound is lowered that many captions fit.
        seed: Of every random choice of the audio tower's learning.
    """

    name: str = "starter"
    version: str = "4"
    description: str = "Small general encoder for sound effects, nature, machines, music and voices"
    licence: str = "Apache-2.0"
    front_end: FrontEnd = EFFICIENTAT
    text: TextConfig = field(
        default_factory=lambda: TextConfig(max_tokens=64, prompt="the sound of {}")
    )
    longest_s: float = 60.0
    n_held_out: int = 500
    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    distil: DistilConfig = field(default_factory=DistilConfig)
    material: MaterialConfig = field(default_factory=MaterialConfig)
    learn: LearnConfig = field(default_factory=LearnConfig)
    inverted_softmax: InvertedSoftmaxConfig = field(default_factory=InvertedSoftmaxConfig)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.distil.max_tokens != self.text.max_tokens:
            raise ValueError(
                f"the text tower has {self.distil.max_tokens} positions, texts have "
                f"{self.text.max_tokens} tokens; they must be equal"
            )
