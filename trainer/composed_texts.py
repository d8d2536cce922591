"""Texts that no side file holds: those of mixtures, and the names of a teacher's classes.

The frozen CLIP model of the run embeds them, names once, mixtures while training goes on.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.data.changes import texts_in
from trainer.data.example import ExampleFacts
from trainer.data.stream import Batch
from trainer.data.vectors import VectorsFacts
from trainer.distillation import class_vectors
from trainer.embed_shards import PROMPT, texts_of
from trainer.taggers import Tagger
from trainer.towers.clip_model import ClipChoice, FrozenClip, load_clip

Array = NDArray[np.float32]

#: Vectors of texts that are cached, since captions come together again.
CACHED_TEXTS = 8192


def names_of(facts: ExampleFacts, *, labels: bool) -> list[str]:
    """Return what an example may be called in the text of a mixture: its captions, or its labels."""
    return texts_of(facts, "labels", "{}") if labels else texts_of(facts, "captions", "")


class ComposedTexts:
    """Embeds texts with the CLIP model whose vectors a run learns from.

    facts: Of the stored vectors. texts: gold or label. device: Where the model runs.
    """

    def __init__(self, facts: VectorsFacts, texts: str, device: torch.device) -> None:
        self._facts, self._labels, self._device = facts, texts == "label", device
        self._embed = functools.lru_cache(CACHED_TEXTS)(self._embed_one)

    def classes(self, tagger: Tagger) -> Tensor:
        """Unit vectors of the names of a tagger's classes, (n_classes, dim)."""
        return class_vectors(tagger.names, self._clip.embed_texts, PROMPT).to(self._device)

    def completed(self, batch: Batch) -> Batch:
        """Give mixtures the vectors of their texts.

        Args:
            batch: Features, vectors, members, texts and logits, as `Batches` gives them.

        Returns:
            Features, vectors, members and logits.
        """
        features, vectors, members, texts, logits = batch
        found = texts_in(texts.cpu().numpy())
        if found:
            embedded = np.stack([self._embed(text) for text in found.values()])
            rows = torch.tensor(list(found), device=vectors.device)
            vectors = vectors.index_copy(0, rows, torch.from_numpy(embedded).to(vectors.device))
        return features, vectors, members, logits

    def _embed_one(self, text: str) -> Array:
        vector: Array = self._clip.embed_texts([PROMPT.format(text) if self._labels else text])[0]
        return vector

    @functools.cached_property
    def _clip(self) -> FrozenClip:
        choice = ClipChoice(model=self._facts.model, pretrained=self._facts.pretrained)
        return load_clip(choice, str(self._device))
