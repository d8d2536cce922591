"""The step of both stages: chunks, duplicates, the scale, and what gradients they leave."""

from __future__ import annotations

import functools
import math

import pytest
import torch
from torch import Tensor, nn

from trainer.contrast import Contrast, ContrastConfig, contrast_step
from trainer.distillation import class_loss, sound_loss, standardised
from trainer.loop import Amp, TrainingError
from trainer.torchrun import World
from trainer.towers.unit import embed_unit

AMP = Amp("fp32", torch.device("cpu"))


class Tower(nn.Module):
    """Features (n, 2, 3) to (n, 4), with batch normalisation if asked."""

    def __init__(self, norm: bool = False) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 4)
        self.norm = nn.BatchNorm1d(4) if norm else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        found: Tensor = self.norm(self.linear(features.flatten(1)).tanh())
        return found


def made(config: ContrastConfig, norm: bool = False) -> Contrast:
    torch.manual_seed(3)
    return Contrast(Tower(norm), config.logit_scale).train()


def batch(n: int = 7) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(n, 2, 3, generator=generator)
    return features, 5 * torch.randn(n, 4, generator=generator)


def gradients(config: ContrastConfig) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    model = made(config)
    losses = contrast_step(model, lambda step: batch(), config, World())(0, AMP)
    return dict(losses), {
        name: p.grad for name, p in model.named_parameters() if p.grad is not None
    }


def by_hand(model: Contrast, reduction: str) -> Tensor:
    """The paper's loss with loops."""
    features, vectors = batch()
    audio = nn.functional.normalize(model.tower(features), dim=1)
    targets = nn.functional.normalize(vectors, dim=1)
    scores = model.log_scale.exp() * audio @ targets.T
    total = torch.zeros(())
    for i in range(7):
        for line in (scores[i], scores[:, i]):
            total = total - (line[i] - line.exp().sum().log()) / 7
    return total if reduction == "sum" else total / 2


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_loss_and_gradients_are_the_papers(reduction: str) -> None:
    config = ContrastConfig(reduction=reduction)  # type: ignore[arg-type]
    losses, found = gradients(config)
    model = made(config)
    wanted = by_hand(model, reduction)
    wanted.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(losses["loss"].detach(), wanted.detach())
    assert set(found) == {name for name, _ in model.named_parameters()}
    for name, p in model.named_parameters():
        torch.testing.assert_close(found[name], p.grad, msg=name)


@pytest.mark.parametrize("chunk", [1, 3, 7, 50])
def test_chunks_change_nothing(chunk: int) -> None:
    losses, found = gradients(ContrastConfig(chunk=chunk))
    whole_losses, whole = gradients(ContrastConfig())
    torch.testing.assert_close(losses["loss"], whole_losses["loss"])
    for name, gradient in whole.items():
        torch.testing.assert_close(found[name], gradient, msg=name, atol=1e-5, rtol=1e-5)


def test_a_tower_with_batch_normalisation_takes_no_chunks() -> None:
    config = ContrastConfig(chunk=3)
    with pytest.raises(TrainingError, match=r"chunk is 3, .* batch normalisation.* --chunk"):
        contrast_step(made(config, norm=True), lambda step: batch(6), config, World())


def test_a_compiled_step_leaves_the_same_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced and differentiated by torch.compile, without a compiler of C++."""
    compile_with = functools.partial(torch.compile, backend="aot_eager")
    monkeypatch.setattr(torch, "compile", compile_with)
    for config in (ContrastConfig(), ContrastConfig(chunk=3)):
        _, whole = gradients(config)
        model = made(config)
        contrast_step(model, lambda step: batch(), config, World(), compiled=True)(0, AMP)
        assert {name for name, _ in model.named_parameters()} == set(whole)
        for name, p in model.named_parameters():
            torch.testing.assert_close(p.grad, whole[name], msg=name)


def test_the_scale_starts_as_the_papers_and_is_held_only_if_asked() -> None:
    losses, _ = gradients(ContrastConfig())
    assert losses["logit_scale"].item() == pytest.approx(1 / 0.07)
    assert made(ContrastConfig()).log_scale.item() == pytest.approx(2.6593, abs=1e-4)
    model = made(ContrastConfig())
    model.log_scale.data.fill_(math.log(500.0))
    free = contrast_step(model, lambda step: batch(), ContrastConfig(), World())(0, AMP)
    held = contrast_step(
        model, lambda step: batch(), ContrastConfig(largest_logit_scale=100.0), World()
    )(0, AMP)
    assert free["logit_scale"].item() == pytest.approx(500.0, rel=1e-4)
    assert held["logit_scale"].item() == pytest.approx(100.0, rel=1e-4)


def test_the_same_picture_twice_is_a_negative_unless_ignored() -> None:
    features, vectors = batch(3)
    vectors[2] = 4 * vectors[0]  # another length, the same direction

    model = made(ContrastConfig())
    audio = nn.functional.normalize(model.tower(features), dim=1)
    scores = model.log_scale.exp() * audio @ nn.functional.normalize(vectors, dim=1).T
    for duplicates in ("ignored", "negative"):
        wanted = torch.zeros(())
        for i in range(3):
            others = [j for j in range(3) if duplicates == "negative" or {i, j} != {0, 2}]
            for line in (scores[i], scores[:, i]):
                wanted = wanted - (line[i] - line[others].exp().sum().log()) / 3
        config = ContrastConfig(duplicates=duplicates)  # type: ignore[arg-type]
        step = contrast_step(model, lambda step: (features, vectors), config, World())
        torch.testing.assert_close(step(0, AMP)["loss"], wanted, msg=duplicates)


def test_a_text_that_names_a_part_of_a_mixture_is_no_negative_of_it() -> None:
    """Row 0 holds what rows 1 and 2 hold; the text of row 0 is wrong for rows 1 and 2."""
    features, vectors = batch(4)
    members = torch.tensor([[5, 7, -1], [5, -1, -1], [7, -1, -1], [9, -1, -1]])
    model = made(ContrastConfig())
    audio = nn.functional.normalize(model.tower(features), dim=1)
    scores = model.log_scale.exp() * audio @ nn.functional.normalize(vectors, dim=1).T
    left_out = {(0, 1), (0, 2)}
    wanted = torch.zeros(())
    for i in range(4):
        row = [j for j in range(4) if (i, j) not in left_out]
        column = [j for j in range(4) if (j, i) not in left_out]
        wanted = wanted - (scores[i, i] - scores[i, row].exp().sum().log()) / 4
        wanted = wanted - (scores[i, i] - scores[column, i].exp().sum().log()) / 4
    parts = (features, vectors, members, torch.zeros(4, 0))
    step = contrast_step(model, lambda step: parts, ContrastConfig(), World())
    torch.testing.assert_close(step(0, AMP)["loss"], wanted)


@pytest.mark.parametrize("three_way", [False, True])
def test_soft_labels_are_learnt_beside_the_pairs_with_scales_of_their_own(three_way: bool) -> None:
    generator = torch.Generator().manual_seed(2)
    features, vectors = batch()
    vectors = vectors.repeat(1, 2) if three_way else vectors
    logits = torch.randn(7, 5, generator=generator)
    classes = embed_unit(torch.randn(5, 4, generator=generator))
    members = torch.arange(7)[:, None]

    def losses_of(chunk: int | None, weights: tuple[float, float]) -> tuple[dict[str, Tensor], ...]:
        config = ContrastConfig(
            chunk=chunk, three_way=three_way, class_weight=weights[0], sound_weight=weights[1]
        )
        torch.manual_seed(3)
        model = Contrast(Tower(), config.logit_scale, n_scales=5 if three_way else 3).train()
        with torch.no_grad():
            model.log_scale.copy_(torch.linspace(2.0, 3.0, len(model.log_scale)))
        parts = (features, vectors, members, logits)
        step = contrast_step(model, lambda step: parts, config, World(), classes=classes)
        losses = dict(step(0, AMP))
        return losses, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}

    alone, _ = losses_of(None, (0.0, 0.0))
    both, gradients = losses_of(None, (0.5, 2.0))
    model = made(ContrastConfig())
    cosine = nn.functional.normalize(model.tower(features), dim=1) @ classes.T
    first, second = torch.linspace(2.0, 3.0, 5 if three_way else 3)[:2].exp()
    by_class = class_loss(cosine, first, logits)
    by_sound = sound_loss(cosine, second, standardised(logits))
    torch.testing.assert_close(both["classes"], by_class.detach())
    torch.testing.assert_close(both["sounds"], by_sound.detach())
    torch.testing.assert_close(both["loss"], alone["loss"] + 0.5 * by_class + 2 * by_sound)
    assert (gradients["log_scale"] != 0).all()
    in_chunks, chunked = losses_of(3, (0.5, 2.0))
    torch.testing.assert_close(in_chunks["loss"], both["loss"])
    for name, gradient in gradients.items():
        torch.testing.assert_close(chunked[name], gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"reduction": "max"},
        {"duplicates": "kept"},
        {"logit_scale": 0.0},
        {"largest_logit_scale": 1.0},
        {"chunk": 0},
        {"class_weight": -1.0},
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ContrastConfig(**wrong)  # type: ignore[arg-type]
