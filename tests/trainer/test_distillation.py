"""Soft labels: the loss is least where the student agrees with its teacher."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from trainer.distillation import (
    class_loss,
    class_texts,
    class_vectors,
    sound_loss,
    standardised,
)


def test_the_divergence_is_least_where_the_student_agrees() -> None:
    logits = torch.tensor([[4.0, 0.0, -3.0], [-2.0, 1.0, 1.0]])
    agreeing = class_loss(logits, torch.tensor(1.0), logits)
    assert agreeing.item() == pytest.approx(0.0, abs=1e-6)
    wanted = torch.softmax(logits, 1)
    assert class_loss(torch.zeros(2, 3), torch.tensor(1.0), logits).item() == pytest.approx(
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


def test_logits_are_standardised_by_class_and_a_constant_class_says_nothing() -> None:
    logits = torch.tensor([[1.0, 5.0], [3.0, 5.0]])
    torch.testing.assert_close(standardised(logits), torch.tensor([[-1.0, 0.0], [1.0, 0.0]]))


def test_a_class_is_called_in_four_ways_and_has_the_mean_of_their_vectors() -> None:
    said = class_texts("Child speech, kid speaking (young)", "the sound of {}")
    assert said == [
        "child speech, kid speaking (young)",
        "the sound of child speech, kid speaking (young)",
        "the sound of child speech",
        "kid speaking",
    ]

    def embed(texts: Sequence[str]) -> np.ndarray:
        return np.float32([[1, 0] if "kid" in text else [0, 1] for text in texts])

    vectors = class_vectors(["Child speech, kid speaking", "Rain"], embed, "the sound of {}")
    norm = np.hypot(3, 1)
    torch.testing.assert_close(vectors, torch.tensor([[3 / norm, 1 / norm], [0.0, 1.0]]).float())
