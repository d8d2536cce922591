"""A second part of every embedding: what a tagger would say.

Captions at hand name some hundred kinds of sound, a tagger knows hundreds more. Its opinion is
taught to the audio tower as a list of scores (the probe); here the list becomes numbers that a text
can have too: a text's likeness to each class's name, read by the text tower, takes the place of the
scores. The less a text is like any class's name, and the more it is like a caption that stood over
recordings, the shorter this part of it is, and the learned part decides.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.towers.unit import embed_unit


@dataclass(frozen=True, kw_only=True)
class TagSpaceConfig:
    """dim: numbers of an embedding that this part takes.

    weight: of its cosine, beside 1 for the learned part's, for a class's name that is unlike any
    caption. temperature: of the softmax over a text's cosines with names. unlike: a text whose best
    cosine with names is this or lower is like no class; one whose best cosine with captions is this
    or lower is like no caption. least: share of its length that this part keeps for a caption.
    """

    dim: int = 96
    weight: float = 1.0
    temperature: float = 0.02
    unlike: float = 0.5
    least: float = 0.3

    def __post_init__(self) -> None:
        if self.dim < 1 or self.weight < 0 or self.temperature <= 0:
            raise ValueError(
                "dim must be 1 or more, weight 0 or more, temperature above 0, not "
                f"{self.dim}, {self.weight:g} and {self.temperature:g}"
            )
        if not (0 <= self.unlike < 1 and 0 <= self.least <= 1):
            raise ValueError(
                f"unlike must be in [0, 1) and least in [0, 1], not {self.unlike:g} and {self.least:g}"
            )


class TagSpace(nn.Module):
    """Sounds and texts by a tagger's classes, and how that is joined to what was learned.

    opinions: (n, n_classes), a tagger's log-odds of many sounds, standardised for each class; those
    of a sound are told by the dim directions in which these differ most. names: (n_classes,
    n_texts, width), unit vectors of the texts that stand for each class. captions: (n_captions,
    width), unit vectors of what stood over recordings. Both are kept as the columns of a matrix,
    which is how onnxruntime multiplies: else it would hold them twice.
    """

    directions: Tensor
    names: Tensor
    captions: Tensor

    def __init__(
        self, opinions: Tensor, names: Tensor, captions: Tensor, config: TagSpaceConfig
    ) -> None:
        super().__init__()
        n_classes = opinions.shape[1]
        if config.dim > n_classes:
            raise ValueError(f"{n_classes} classes have no {config.dim} directions")
        self.config = config
        _, _, directions = torch.linalg.svd(torch.cov(opinions.T))
        self.register_buffer("directions", directions[: config.dim].T.contiguous())
        self.register_buffer("names", names.flatten(0, 1).T.contiguous())
        self.register_buffer("captions", captions.T.contiguous())

    def of_sounds(self, opinions: Tensor) -> Tensor:
        """Standardised log-odds (n, n_classes) -> unit (n, dim)."""
        return embed_unit(opinions @ self.directions)

    def of_texts(self, vectors: Tensor) -> Tensor:
        """Text vectors (n, width), unit -> (n, dim), of length 1 or less."""
        n_classes = len(self.directions)
        alike = torch.unflatten(vectors @ self.names, 1, (n_classes, -1)).amax(dim=2)
        share = torch.softmax(alike / self.config.temperature, dim=1)
        unlike, least = self.config.unlike, self.config.least
        of_class = (alike.amax(dim=1, keepdim=True) - unlike) / (1 - unlike)
        of_no_caption = (1 - (vectors @ self.captions).amax(dim=1, keepdim=True)) / (1 - unlike)
        length = of_class.clamp(0.0, 1.0) * of_no_caption.clamp(least, 1.0)
        return embed_unit(share @ self.directions) * length

    def join(self, learned: Tensor, tags: Tensor) -> Tensor:
        """Unit (n, dim of both): learned (n, dim), unit, and what of_sounds or of_texts gave."""
        return embed_unit(torch.cat((learned, self.config.weight**0.5 * tags), dim=1))
