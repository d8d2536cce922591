"""What is measured and shipped: an aligner's towers with a tag space."""

from __future__ import annotations

from torch import Tensor, nn

from trainer.starter.align import Aligner
from trainer.starter.tag_space import TagSpace
from trainer.towers.unit import embed_unit


class Embedder(nn.Module):
    """Both parts of embeddings: what the towers learned, and what the tagger would say."""

    def __init__(self, aligner: Aligner, tags: TagSpace) -> None:
        super().__init__()
        self.tower, self.head, self.probe = aligner.tower, aligner.head, aligner.probe
        self.tags = tags

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self.tower.config.dim + self.tags.config.dim

    def embed_audio(self, features: Tensor) -> Tensor:
        """(n, n_mels, n_frames) -> unit (n, dim)."""
        pooled = self.tower.pool(features)
        learned = embed_unit(self.tower.project(pooled))
        return self.tags.join(learned, self.tags.of_sounds(self.probe(pooled)))

    def embed_text(self, vectors: Tensor) -> Tensor:
        """The text tower's unit vectors (n, width) -> unit (n, dim)."""
        return self.tags.join(embed_unit(self.head(vectors)), self.tags.of_texts(vectors))
