"""Losses beside the contrastive one: least where the student agrees with its teacher."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trainer.starter.losses import (
    cosine_loss,
    duet_loss,
    similarity_loss,
    sound_loss,
    tag_loss,
)
from trainer.towers.unit import embed_unit


def test_a_duet_is_paid_for_while_a_part_fits_as_well() -> None:
    trios = torch.tensor([[0], [1], [2]])
    scores = torch.zeros(3, 3)
    assert duet_loss(scores, trios).item() == pytest.approx(2 * np.log(2))
    scores[0, 0] = 20.0  # the two together, and the text that names both
    assert duet_loss(scores, trios).item() == pytest.approx(0.0, abs=1e-6)
    scores[2, 0] = 25.0  # the second alone fits it better still
    assert duet_loss(scores, trios).item() == pytest.approx(5.0, abs=0.01)


def test_the_divergence_is_least_where_the_student_agrees() -> None:
    logits = torch.tensor([[4.0, 0.0, -3.0], [-2.0, 1.0, 1.0]])
    agreeing = tag_loss(logits, torch.tensor(1.0), logits)
    assert agreeing.item() == pytest.approx(0.0, abs=1e-6)
    wanted = torch.softmax(logits, 1)
    assert tag_loss(torch.zeros(2, 3), torch.tensor(1.0), logits).item() == pytest.approx(
        float((wanted * (wanted.log() + np.log(3))).sum(1).mean()), abs=1e-6
    )


def test_every_class_has_its_own_distribution_over_sounds() -> None:
    wanted = torch.tensor([[2.0, 0.0], [0.0, 0.0], [-1.0, 0.0]])
    assert sound_loss(wanted / 4, torch.tensor(4.0), wanted).item() == pytest.approx(0.0, abs=1e-6)
    # A class of which all sounds have as much says nothing of how loud its name calls.
    raised = wanted + torch.tensor([0.0, 5.0])
    assert sound_loss(raised, torch.tensor(1.0), wanted).item() == pytest.approx(0.0, abs=1e-6)
    share = torch.softmax(wanted[:, 0], 0)
    expected = float((share * (share.log() + np.log(3))).sum()) / 2
    found = sound_loss(torch.zeros(3, 2), torch.tensor(1.0), wanted)
    assert found.item() == pytest.approx(expected, abs=1e-6)


def test_distillation_losses_are_those_of_a_double_loop() -> None:
    generator = torch.Generator().manual_seed(1)
    found = embed_unit(torch.randn(4, 3, generator=generator))
    wanted = embed_unit(torch.randn(4, 3, generator=generator))
    cosines = [
        sum(a * b for a, b in zip(*rows, strict=True)) for rows in zip(found, wanted, strict=True)
    ]
    torch.testing.assert_close(cosine_loss(found, wanted), 1 - sum(cosines) / 4)
    squares = [
        (torch.dot(found[i], found[j]) - torch.dot(wanted[i], wanted[j])) ** 2
        for i in range(4)
        for j in range(4)
    ]
    torch.testing.assert_close(similarity_loss(found, wanted), sum(squares) / 16)
