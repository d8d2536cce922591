"""Losses of the starter beside the contrastive loss: audio stage and distilled text tower."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def tag_loss(cosine: Tensor, scale: Tensor, logits: Tensor) -> Tensor:
    """Divergence of the student's distribution over classes from the teacher's, a scalar.

    cosine (n, n_classes) of sounds and class names. The teacher's scores are independent; as a
    distribution over classes they say what fits a sound best, however weakly.
    """
    wanted = torch.softmax(logits, dim=1)
    found = torch.log_softmax(scale * cosine, dim=1)
    return functional.kl_div(found, wanted, reduction="batchmean")


def sound_loss(cosine: Tensor, scale: Tensor, wanted: Tensor) -> Tensor:
    """Divergence of the student's distribution over sounds from the teacher's, mean of classes.

    cosine (n, n_classes) of sounds and class names; wanted: the teacher's log-odds, standardised for
    each class. Every class counts alike, also one that none of the sounds belongs to: which of
    them is most like a cat says what a cat would sound like.
    """
    target = torch.softmax(wanted, dim=0)
    found = torch.log_softmax(scale * cosine, dim=0)
    return functional.kl_div(found, target, reduction="sum") / cosine.shape[1]


def duet_loss(scores: Tensor, trios: Tensor) -> Tensor:
    """How far "a and b" is from fitting a and b together better than a, and than b; a scalar.

    scores (n, n): cosine similarity of sounds and texts times the logit scale; trios: see `Batch`.
    """
    both, *parts = (scores[rows, trios[0]] for rows in trios)
    return torch.stack([functional.softplus(part - both).mean() for part in parts]).sum()


def cosine_loss(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean of 1 - cosine over rows of two (n, dim) tensors of unit embeddings."""
    return 1.0 - (found * wanted).sum(dim=1).mean()


def similarity_loss(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared difference of the two (n, n) cosine matrices; unit embeddings (n, dim)."""
    return (found @ found.T - wanted @ wanted.T).square().mean()
