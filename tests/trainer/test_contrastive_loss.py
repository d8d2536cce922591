"""Losses against loops that a person can check."""

from __future__ import annotations

import math

import torch

from trainer.contrastive_loss import contrastive_loss, three_way_loss


def slow_contrastive_loss(
    scores: torch.Tensor, positive: torch.Tensor, counted: torch.Tensor
) -> float:
    n = len(scores)
    total = 0.0
    for side in (scores, scores.T):
        for i in range(n):
            below = sum(math.exp(side[i, c]) for c in range(n) if counted[i, c])
            right = [p for p in range(n) if positive[i, p]]
            total += sum(-math.log(math.exp(side[i, p]) / below) for p in right) / len(right) / n
    return total / 2


def test_contrastive_loss_is_that_of_a_double_loop() -> None:
    generator = torch.Generator().manual_seed(3)
    scores = 3 * torch.randn(6, 6, generator=generator, dtype=torch.float64)
    positive = torch.eye(6, dtype=torch.bool)
    positive[0, 4] = positive[4, 0] = True
    counted = torch.ones(6, 6, dtype=torch.bool)
    counted[1, 2] = counted[2, 1] = False
    found = contrastive_loss(scores, positive, counted)
    assert math.isclose(found, slow_contrastive_loss(scores, positive, counted), rel_tol=1e-12)


def test_with_one_positive_each_it_is_the_symmetric_cross_entropy() -> None:
    scores = torch.randn(5, 5, generator=torch.Generator().manual_seed(0))
    diagonal = torch.eye(5, dtype=torch.bool)
    places = torch.arange(5)
    cross_entropy = torch.nn.functional.cross_entropy
    wanted = (cross_entropy(scores, places) + cross_entropy(scores.T, places)) / 2
    found = contrastive_loss(scores, diagonal, torch.ones_like(diagonal))
    torch.testing.assert_close(found, wanted)


def test_a_pair_that_does_not_count_gets_no_gradient() -> None:
    scores = torch.zeros(3, 3, requires_grad=True)
    positive = torch.eye(3, dtype=torch.bool)
    counted = torch.ones(3, 3, dtype=torch.bool)
    counted[0, 2] = counted[2, 0] = False
    contrastive_loss(scores, positive, counted).backward()
    assert scores.grad is not None
    assert scores.grad[0, 2] == scores.grad[2, 0] == 0
    assert scores.grad[0, 1] > 0 > scores.grad[0, 0]


def test_equal_captions_pull_each_other() -> None:
    scores = torch.zeros(3, 3, requires_grad=True)
    positive = torch.eye(3, dtype=torch.bool)
    positive[0, 1] = positive[1, 0] = True
    contrastive_loss(scores, positive, torch.ones(3, 3, dtype=torch.bool)).backward()
    assert scores.grad is not None
    assert scores.grad[0, 1] < 0 < scores.grad[0, 2]


def test_three_ways_are_three_pairs_with_scales_of_their_own() -> None:
    """Held to cross-entropy over the rows and the columns of each pair, as torch has it."""
    generator = torch.Generator().manual_seed(3)
    audio, images, texts = (
        torch.nn.functional.normalize(torch.randn(5, 4, generator=generator), dim=1)
        for _ in range(3)
    )
    scales = torch.tensor([14.0, 3.0, 20.0], requires_grad=True)
    target = torch.arange(5)
    cross_entropy = torch.nn.functional.cross_entropy
    expected = 0.0
    pairs = ((images, audio), (texts, images), (audio, texts))
    for scale, (left, right) in zip(scales, pairs, strict=True):
        logits = scale * left @ right.T
        expected = expected + cross_entropy(logits, target) + cross_entropy(logits.T, target)
    found = three_way_loss(audio, images, texts, scales)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(three_way_loss(audio, images, texts, scales, "mean"), expected / 2)
    found.backward()
    assert (scales.grad != 0).all()
