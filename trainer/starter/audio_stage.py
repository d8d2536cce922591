"""Stage: the audio tower, from what the stages before it left; in a module of its own for studies.

In: a `Material`. Out: WEIGHTS in the stage's folder, and the `Aligner` they belong to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import numpy as np
import tokenizers
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import nn

from trainer.data.manifests import Recording, of_split
from trainer.loop import delete_checkpoint
from trainer.starter.align import Aligner, align, head_from
from trainer.starter.batches import Batches
from trainer.starter.cache import RecordingCache
from trainer.starter.check import Check
from trainer.starter.config import StarterConfig
from trainer.starter.distil import TokenIds, embed_texts
from trainer.starter.opinions import Opinions
from trainer.starter.scenes import Scenes
from trainer.starter.start import start_from
from trainer.starter.tag_space import TagSpace
from trainer.starter.texts import Texts
from trainer.towers.bert import TextTower
from trainer.towers.compact import AudioTower
from trainer.towers.unit import embed_unit

Array = NDArray[np.float32]

WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class Material:
    """All that the audio stage learns from: what the stages before it left.

    clips: of both splits, in the cache's order. texts: of clips of the training split, of scenes and
    of the tagger's classes; vectors: theirs, (n_texts, width) float32.
    """

    clips: Sequence[Recording]
    cache: RecordingCache
    scenes: Scenes
    texts: Texts
    vectors: Array
    text_tower: TextTower
    tokenizer: tokenizers.Tokenizer

    def embed(self, texts: Sequence[str]) -> Array:
        """Unit vectors (n, width) of the text tower."""
        return embed_texts(self.text_tower, TokenIds(self.tokenizer, texts))

    def untrained(self, config: StarterConfig, mean: float, std: float) -> Aligner:
        """Towers for features of this mean and deviation, with weights drawn from the seed."""
        torch.manual_seed(config.captions.seed)
        width = self.text_tower.config.width
        tower = AudioTower(config.tower, config.features.n_mels, mean, std)
        head = nn.Linear(width, config.tower.dim, bias=False)
        return Aligner(tower, head, len(self.texts.of_class), config.captions)

    def tag_space(
        self,
        config: StarterConfig,
        usable: Callable[[Recording], bool] = lambda clip: True,
        unnamed: Callable[[Recording], bool] = lambda clip: False,
    ) -> TagSpace:
        """That of the tagger's classes, the training split's captions, and the scenes made of it."""
        clips = of_split(self.clips, "train")
        taken = [usable(clip) for clip in clips]
        heard = [usable(clip) or unnamed(clip) for clip in clips]
        opinions = Opinions.of(self.scenes, np.array(heard))
        captions = sorted({clip.caption for clip in compress(clips, taken)})
        prompts = [config.text.prompt.format(caption) for caption in captions]
        return TagSpace(
            opinions.standardised(opinions.logits),
            torch.from_numpy(self.vectors[self.texts.of_class]),
            embed_unit(torch.from_numpy(self.embed(captions) + self.embed(prompts))),
            config.tags,
        )


def align_audio(
    folder: Path,
    material: Material,
    config: StarterConfig,
    zero_shot: Mapping[str, Mapping[int, str]] | None = None,
    usable: Callable[[Recording], bool] = lambda clip: True,
    unnamed: Callable[[Recording], bool] = lambda clip: False,
    start: Path | None = None,
) -> Aligner:
    """Train on the training split, and write WEIGHTS; the validation split is measured on the way.

    zero_shot: more sets of labelled clips to be measured, see `Check`. usable, unnamed: clips
    that are trained on, and of the others those of which only the tagger speaks, see `Batches`.
    start: weights for the tower to begin with, see `start_from`.
    """
    clips, cache = material.clips, material.cache
    places = [i for i, clip in enumerate(clips) if clip.split == "train"]
    train_clips = [clips[i] for i in places]
    mean, std = (round(x, 4) for x in cache.mean_and_std(places))
    batches = Batches(
        train_clips,
        cache,
        places,
        material.scenes,
        material.texts,
        material.vectors,
        config.features.n_frames,
        config.captions,
        usable,
        unnamed,
    )
    aligner = material.untrained(config, mean, std)
    aligner.head = head_from(material.vectors, config.tower.dim)
    if start is not None:
        start_from(aligner.tower, start)
    tags = material.tag_space(config, usable, unnamed)
    check = Check(clips, cache, material.embed, tags, config, zero_shot, usable)
    align(aligner, batches, config.captions, folder, check)
    state = aligner.state_dict() | {"mean_and_std": torch.tensor([mean, std])}
    save_file({name: value.contiguous() for name, value in state.items()}, folder / WEIGHTS)
    delete_checkpoint(folder)
    return aligner


def read_aligner(folder: Path, material: Material, config: StarterConfig) -> Aligner:
    """What `align_audio` left in its folder."""
    weights = load_file(folder / WEIGHTS)
    mean, std = (round(float(x), 4) for x in weights.pop("mean_and_std"))
    aligner = material.untrained(config, mean, std)
    aligner.load_state_dict(weights)
    return aligner.eval()
