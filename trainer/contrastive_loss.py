"""The contrastive loss of the paper, and a general form of it. Pure functions of tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from soundsearch.choices import Reduction


def contrastive_loss(scores: Tensor, positive: Tensor, counted: Tensor) -> Tensor:
    """Mean of the cross-entropies of both directions, with one or more positives in a row.

    For each row: -mean over its positives p of log(exp(s_p) / sum over counted c of exp(s_c)).
    With the diagonal as positives and all pairs counted this is CLIP's symmetric loss.

    Args:
        scores: (n, n) cosine similarity times the logit scale; rows are sounds, columns texts.
        positive: (n, n) bool, symmetric, true on the diagonal: the text fits the sound.
        counted: (n, n) bool, true where positive: the pair is part of the loss. A pair that is
            neither positive nor negative, such as a mixture and the text of one of its parts, is
            not.

    Returns:
        A scalar.
    """
    masked = scores.masked_fill(~counted, float("-inf"))
    total = torch.zeros((), dtype=scores.dtype, device=scores.device)
    for axis in (1, 0):
        cross_entropies = masked.logsumexp(dim=axis, keepdim=True) - scores
        chosen = cross_entropies.masked_fill(~positive, 0.0).sum(dim=axis)
        total = total + (chosen / positive.sum(dim=axis)).mean()
    return total / 2


def pair_loss(
    scores: Tensor, reduction: Reduction = "sum", ignored: Tensor | None = None
) -> Tensor:
    """Cross-entropies of both directions, with column i as the only positive of row i.

    Source: VIP-ANT, `cvap/module/decoder/loss_head.py`, CELossHead: the sum of the two directions.
    CLIP takes their mean.

    Args:
        scores: (n, n) cosine similarity times the logit scale.
        reduction: Of the two directions, each of which is a mean over its n rows.
        ignored: (n, n) bool, false on the diagonal: pairs that are not part of the loss; None for
            none.

    Returns:
        A scalar.
    """
    right = scores.diagonal()
    if ignored is not None:
        scores = scores.masked_fill(ignored, float("-inf"))
    total = (scores.logsumexp(dim=1) - right).mean() + (scores.logsumexp(dim=0) - right).mean()
    return total if reduction == "sum" else total / 2


def three_way_loss(
    audio: Tensor, images: Tensor, texts: Tensor, scales: Tensor, reduction: Reduction = "sum"
) -> Tensor:
    """Sum of the pair losses of images and sounds, texts and images, sounds and texts.

    Source: VIP-ANT, `cvap/module/decoder/loss_head.py`, VALCELossHead with va, lv and al; each pair
    has a scale of its own. The paper's runs use one pair alone.

    Args:
        audio: (n, dim) unit embeddings; row i of each belongs to example i.
        images: (n, dim) unit vectors.
        texts: (n, dim) unit vectors.
        scales: (3,) logit scales of the pairs, in the order above.
        reduction: Of the two directions of each pair.

    Returns:
        A scalar.
    """
    pairs = ((images, audio), (texts, images), (audio, texts))
    losses = [
        pair_loss(scale * left @ right.T, reduction)
        for scale, (left, right) in zip(scales, pairs, strict=True)
    ]
    return torch.stack(losses).sum()
