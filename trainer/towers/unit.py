"""Vectors to unit embeddings."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

#: Smallest divisor.
EPSILON = 1e-6


def embed_unit(vectors: Tensor) -> Tensor:
    """Scale vectors (n, dim) to unit length, in float32."""
    return functional.normalize(vectors.float(), dim=-1, eps=EPSILON)
