"""What the towers minimise. Pure functions of tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from soundsearch.choices import Reduction


def contrastive_loss(scores: Tensor, positive: Tensor, counted: Tensor) -> Tensor:
    """Mean of both directions' cross-entropies, where a row may have several right columns.

    scores: (n, n) cosine similarity times the logit scale; rows are audio, columns texts.
    positive: (n, n) bool, symmetric, true on the diagonal: texts that are right for the audio.
    counted: (n, n) bool, symmetric, true where positive: pairs that enter at all; what is neither
    right nor wrong (a mixture against one of its parts) is left out of both sides.
    For each row: -mean over its positives p of log(exp(s_p) / sum over counted c of exp(s_c)).
    With a diagonal `positive` and all counted this is CLIP's symmetric loss.
    """
    masked = scores.masked_fill(~counted, float("-inf"))
    total = torch.zeros((), dtype=scores.dtype, device=scores.device)
    for axis in (1, 0):
        surprise = masked.logsumexp(dim=axis, keepdim=True) - scores
        chosen = surprise.masked_fill(~positive, 0.0).sum(dim=axis)
        total = total + (chosen / positive.sum(dim=axis)).mean()
    return total / 2


def cosine_loss(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean of 1 - cosine over rows of two (n, dim) tensors of unit embeddings."""
    return 1.0 - (found * wanted).sum(dim=1).mean()


def similarity_loss(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared difference of the two (n, n) cosine matrices; unit embeddings (n, dim)."""
    return (found @ found.T - wanted @ wanted.T).square().mean()


def pair_loss(
    scores: Tensor, reduction: Reduction = "sum", ignored: Tensor | None = None
) -> Tensor:
    """Cross-entropies of both directions, where row i belongs to column i.

    scores: (n, n) cosine similarity times the logit scale. reduction: over the two directions;
    each is a mean over its n rows. ignored: (n, n) bool, symmetric, false on the diagonal: pairs
    that count neither as right nor as wrong, None for none.
    Source: VIP-ANT, `cvap/module/decoder/loss_head.py`, CELossHead: the sum, without a half. CLIP
    takes the mean.
    """
    positive = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    counted = torch.ones_like(positive) if ignored is None else ~ignored
    mean = contrastive_loss(scores, positive, counted)
    return 2 * mean if reduction == "sum" else mean
