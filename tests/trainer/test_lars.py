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
