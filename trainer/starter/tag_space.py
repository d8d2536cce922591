"""A second part of every embedding: what a tagger would say.

Captions at hand name some hundred kinds of sound, a tagger knows hundreds more. Its opinion is
taught to the audio tower as a list of scores (the probe); here the list becomes numbers that a text
can have too: a text's likeness to each class's name, read by the text tower, takes the place of the
scores. Where a text is like no class's name, this part is short, and the learned part decides.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.towers.unit import embed_unit


@dataclass(frozen=True, kw_only=True)
class TagSpaceConfig:
    """dim: numbers of an embedding that this part takes.

    weight: of its cosine, beside 1 for the learned part's, where a text is a class's name.
    temperature: of the softmax over a text's cosines with names. unlike: a text whose best cosine
    is this or lower is like no class.
    """

    dim: int = 64
    weight: float = 1.0
    temperature: float = 0.02
    unlike: float = 0.5

    def __post_init__(self) -> None:
        if self.dim < 1 or self.weight < 0 or self.temperature <= 0 or not 0 <= self.unlike < 1:
            raise ValueError(
                "dim must be 1 or more, weight 0 or more, temperature above 0 and unlike in "
                f"[0, 1), not {self}"
            )


class TagSpace(nn.Module):
    """Sounds and texts by a tagger's classes, and how that is joined to what was learned.

    directions: (n_classes, dim), along which the tagger's opinions of sounds differ most. names:
    (n_classes, n_texts, width), unit vectors of the texts that stand for each class.
    """

    directions: Tensor
    names: Tensor

    def __init__(self, n_classes: int, n_texts: int, width: int, config: TagSpaceConfig) -> None:
        super().__init__()
        if config.dim > n_classes:
            raise ValueError(f"{n_classes} classes have no {config.dim} directions")
        self.config = config
        self.n_classes = n_classes
        self.register_buffer("directions", torch.zeros(n_classes, config.dim))
        self.register_buffer("names", torch.zeros(n_classes, n_texts, width))

    def fit(self, opinions: Tensor, names: Tensor) -> None:
        """Take the principal directions of standardised log-odds (n, n_classes), and the names."""
        _, _, directions = torch.linalg.svd(torch.cov(opinions.T))
        self.directions.copy_(directions[: self.config.dim].T)
        self.names.copy_(names)

    def of_sounds(self, opinions: Tensor) -> Tensor:
        """Standardised log-odds (n, n_classes) -> unit (n, dim)."""
        return embed_unit(opinions @ self.directions)

    def of_texts(self, vectors: Tensor) -> Tensor:
        """Text vectors (n, width), unit -> (n, dim), as long as the text is like a class's name."""
        n_classes, n_texts, width = self.names.shape
        cosines = vectors @ self.names.reshape(-1, width).T
        alike = cosines.reshape(-1, n_classes, n_texts).amax(dim=2)
        share = torch.softmax(alike / self.config.temperature, dim=1)
        unlike = self.config.unlike
        length = ((alike.amax(dim=1, keepdim=True) - unlike) / (1 - unlike)).clamp(0, 1)
        return embed_unit(share @ self.directions) * length

    def join(self, learned: Tensor, tags: Tensor) -> Tensor:
        """Unit (n, dim of both): learned (n, dim), unit, and of_sounds or of_texts."""
        return embed_unit(torch.cat((learned, self.config.weight**0.5 * tags), dim=1))
