"""Inverted softmax: a sound that many texts fit is a weaker answer to each of them.

Some sounds lie close to the texts of everything, and come first for questions that they do not fit. So
the cosine of a text and a sound is lowered by how well ordinary texts fit the sound. That number is the
sound's alone: its embedding carries it in a direction that texts do not use, where all texts have the
same value. An index and its search remain as they are.

Source: Smith et al., "Offline bilingual word vectors" (arXiv:1702.03859), section 3.1; here with a mean
of ordinary texts, and as a part of the embedding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2
from torch import Tensor, nn

from trainer.towers.unit import embed_unit

Array = NDArray[np.float32]

#: Rounds of k-means.
N_ROUNDS = 20


@dataclass(frozen=True, kw_only=True)
class InvertedSoftmaxConfig:
    """How much the fit of ordinary texts counts.

    Attributes:
        n_centres: Centres of k-means that stand for the ordinary texts.
        scale: By which cosines become logits. The higher, the more the texts that fit best count alone.
        weight: Factor on what is subtracted from the cosine.
    """

    n_centres: int = 512
    scale: float = 15.0
    weight: float = 1.25

    def __post_init__(self) -> None:
        if self.n_centres < 1 or not self.scale > 0 or not self.weight >= 0:
            raise ValueError(f"n_centres and scale must be above 0, weight 0 or more: {self}")


class LoweredAudioTower(nn.Module):
    """An audio tower whose vectors carry how well ordinary texts fit the sound.

    Args:
        tower: Features (n, n_mels, n_frames) -> vectors (n, dim).
        texts: Unit vectors of ordinary texts, (n_texts, dim).
        direction: Unit vector that no text has a part along, (dim,); see `unused_direction`.
        config: How much it counts.
    """

    centres: Tensor
    log_shares: Tensor
    direction: Tensor

    def __init__(
        self, tower: nn.Module, texts: Array, direction: Array, config: InvertedSoftmaxConfig
    ) -> None:
        super().__init__()
        self.tower, self._config = tower, config
        centres, shares = _centres_of(texts, config.n_centres)
        self.register_buffer("centres", torch.from_numpy(centres))
        self.register_buffer("log_shares", torch.from_numpy(np.log(shares)))
        self.register_buffer("direction", torch.from_numpy(direction))

    def forward(self, features: Tensor) -> Tensor:
        """(n, n_mels, n_frames) float32 -> (n, dim)."""
        vectors = embed_unit(self.tower(features))
        return _replaced(vectors, self.direction, -self.fit(vectors)[:, None])

    def fit(self, vectors: Tensor) -> Tensor:
        """Return what is subtracted from the cosines of unit vectors (n, dim) with texts, (n,)."""
        scale, weight = self._config.scale, self._config.weight
        logits = scale * vectors @ self.centres.T + self.log_shares
        return weight / scale * logits.logsumexp(dim=1)


class LevelledTextTower(nn.Module):
    """A text tower whose vectors all have the same part along a direction.

    Args:
        tower: input_ids and attention_mask (n, n_tokens) int64 -> vectors (n, dim).
        direction: Unit vector that no text has a part along, (dim,); see `unused_direction`.
    """

    direction: Tensor

    def __init__(self, tower: nn.Module, direction: Array) -> None:
        super().__init__()
        self.tower = tower
        self.register_buffer("direction", torch.from_numpy(direction))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """input_ids, attention_mask (n, n_tokens) int64 -> (n, dim)."""
        vectors = embed_unit(self.tower(input_ids, attention_mask))
        return _replaced(vectors, self.direction, torch.ones_like(vectors[:, :1]))


def unused_direction(texts: Array) -> Array:
    """Return the unit vector (dim,) along which vectors of texts (n, dim) have the least.

    A text tower that ends with layer normalisation has directions without anything.
    """
    exact = texts.astype(np.float64)
    _, vectors = np.linalg.eigh(exact.T @ exact)
    least: Array = vectors[:, 0].astype(np.float32)
    return least


def without(vectors: Array, direction: Array) -> Array:
    """Return the unit vectors of what vectors (n, dim) have beside a unit vector (dim,)."""
    rest = vectors - (vectors @ direction)[:, None] * direction
    unit: Array = rest / np.linalg.norm(rest, axis=1, keepdims=True)
    return unit


def _replaced(vectors: Tensor, direction: Tensor, part: Tensor) -> Tensor:
    """Replace the part of vectors (n, dim) along a unit vector by (n, 1) numbers."""
    return vectors + (part - vectors @ direction[:, None]) * direction


def _centres_of(texts: Array, n: int) -> tuple[Array, Array]:
    """Return at most n centres of texts (m, dim), and which share of the texts each stands for."""
    if len(texts) <= n:
        return texts, np.full(len(texts), 1 / len(texts), np.float32)
    centres, nearest = kmeans2(texts.astype(np.float64), n, iter=N_ROUNDS, minit="++", rng=0)
    counts = np.bincount(nearest, minlength=n)
    used = counts > 0
    shares = counts[used] / len(texts)
    return centres[used].astype(np.float32), shares.astype(np.float32)
