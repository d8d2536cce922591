"""From vectors to embeddings."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

#: Smallest norm that is divided by.
EPSILON = 1e-6


def embed_unit(vectors: Tensor) -> Tensor:
    """Vectors (n, dim) scaled to unit length, in float32."""
    return functional.normalize(vectors.float(), dim=-1, eps=EPSILON)
