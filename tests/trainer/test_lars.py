"""LARS against its formula, written out for one parameter at a time."""

from __future__ import annotations

import pytest
import torch

from trainer.lars import Lars


def by_hand(p: list[float], gradients: list[list[float]], ratio: bool) -> torch.Tensor:
    value, buffer = torch.tensor(p), torch.zeros(len(p))
    for gradient in gradients:
        g = torch.tensor(gradient)
        if ratio:
            g = g + 0.1 * value
            if value.norm() > 0 and g.norm() > 0:
                g = g * 0.01 * value.norm() / g.norm()
        buffer = 0.9 * buffer + g
        value = value - 0.5 * buffer
    return value


@pytest.mark.parametrize("start", [[3.0, -4.0], [0.0, 0.0]])
@pytest.mark.parametrize("axes", [1, 2])
def test_a_few_steps(start: list[float], axes: int) -> None:
    gradients = [[1.0, 2.0], [-0.5, 0.25], [0.0, 0.0]]
    p = torch.nn.Parameter(torch.tensor(start if axes == 1 else [start]))
    optimiser = Lars([p], 0.5, momentum=0.9, eta=0.01, weight_decay=0.1)
    for gradient in gradients:
        p.grad = torch.tensor(gradient if axes == 1 else [gradient])
        optimiser.step()
    wanted = by_hand(start, gradients, ratio=axes == 2)
    torch.testing.assert_close(p.detach().reshape(-1), wanted)


def test_the_norm_of_the_gradient_includes_the_decay() -> None:
    p = torch.nn.Parameter(torch.tensor([[2.0, 0.0]]))
    p.grad = torch.tensor([[0.0, 1.0]])
    Lars([p], 1.0, eta=1.0, weight_decay=1.0).step()
    # g + wd p = (2, 1); |p| / |g| = 2 / sqrt(5)
    torch.testing.assert_close(
        p.detach(), torch.tensor([[2.0, 0.0]]) - torch.tensor([[2.0, 1.0]]) * 2 / 5**0.5
    )


def test_a_scalar_gets_neither_decay_nor_ratio() -> None:
    p = torch.nn.Parameter(torch.tensor(2.6593))
    p.grad = torch.tensor(1.0)
    Lars([p], 0.1, eta=0.001, weight_decay=0.5).step()
    assert p.item() == pytest.approx(2.5593)


def test_a_parameter_without_gradient_stays() -> None:
    p = torch.nn.Parameter(torch.ones(2, 2))
    Lars([p], 1.0).step()
    assert torch.equal(p.detach(), torch.ones(2, 2))


def one_by_one(
    p: torch.Tensor, g: torch.Tensor, buffer: torch.Tensor, lr: float, decay: float
) -> None:
    """The paper's update of one tensor, in place."""
    if p.ndim > 1:
        g = g + decay * p
        if p.norm() > 0 and g.norm() > 0:
            g = g * (0.001 * p.norm() / g.norm())
    buffer.mul_(0.9).add_(g)
    p.sub_(lr * buffer)


def test_tensors_updated_together_are_updated_as_one_by_one() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(7, 5), (5,), (3, 2, 2, 2), (), (4, 4), (1,)]
    start = [torch.randn(shape, generator=generator) for shape in shapes]
    start[4].zero_()
    alone, buffers = [p.clone() for p in start], [torch.zeros_like(p) for p in start]
    together = [torch.nn.Parameter(p.clone()) for p in start]
    optimiser = Lars(
        [{"params": together[:3], "lr": 0.3, "weight_decay": 0.01}, {"params": together[3:]}], 0.1
    )
    for _ in range(20):
        for i, p in enumerate(together):
            p.grad = torch.randn(p.shape, generator=generator)
            lr, decay = (0.3, 0.01) if i < 3 else (0.1, 0.0)
            one_by_one(alone[i], p.grad, buffers[i], lr, decay)
        optimiser.step()
    for p, expected in zip(together, alone, strict=True):
        torch.testing.assert_close(p.detach(), expected, rtol=1e-6, atol=1e-6)


def test_an_overflow_changes_nothing_and_a_good_step_counts_as_without_scaler() -> None:
    """As a GradScaler calls it, which tells of an overflow by a tensor."""
    start = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    p, plain = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    optimiser, other = (Lars([q], 0.5, weight_decay=0.1) for q in (p, plain))
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    for gradient in (torch.ones(3, 4), torch.full((3, 4), torch.inf), 2 * torch.ones(3, 4)):
        before = p.detach().clone()
        p.grad = gradient * scaler.get_scale()
        scaler.scale(torch.zeros(()))
        scaler.unscale_(optimiser)
        scaler.step(optimiser)
        scaler.update()
        if gradient.isfinite().all():
            plain.grad = gradient
            other.step()
        else:
            assert torch.equal(p.detach(), before)
        torch.testing.assert_close(p, plain)
    assert scaler.get_scale() == 4.0
