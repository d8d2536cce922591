"""LARS, layer-wise adaptive rate scaling: the optimiser of the paper's code.

Source: VIP-ANT, `cvap/module/lars.py`, after arXiv:1708.03888; weight decay is part of the gradient
norm, and momentum has neither dampening nor Nesterov's form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class Lars(torch.optim.Optimizer):
    """Momentum SGD whose step is scaled, for each tensor of more than one axis, by its own norm.

    For such a tensor p with gradient g:

        g <- g + weight_decay * p
        g <- g * eta * |p| / |g|        (times 1 where either norm is 0)

    and for every tensor:

        buffer <- momentum * buffer + g
        p      <- p - lr * buffer

    Tensors of fewer than two axes (biases, norms, class embedding, logit scale) get neither weight
    decay nor the ratio. Put them into a parameter group of their own to give them another rate.
    All tensors of a group are updated together, and nothing waits for the device.
    """

    #: A `GradScaler` then leaves it to `step` to change nothing where a gradient overflowed: it sets
    #: `found_inf`, a float tensor that is 1 in that case, so that the host need not wait for it.
    _step_supports_amp_scaling = True

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        *,
        momentum: float = 0.9,
        eta: float = 0.001,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "eta": eta, "weight_decay": weight_decay}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient, which must be unscaled and stays as it is."""
        assert closure is None and getattr(self, "grad_scale", None) is None
        overflowed: Tensor | None = getattr(self, "found_inf", None)
        for group in self.param_groups:
            trained = [p for p in group["params"] if p.grad is not None]
            scaled, plain = _parted(trained)
            gradients = _finite([*scaled, *plain], overflowed)
            if scaled:
                gradients[: len(scaled)] = _scaled(gradients[: len(scaled)], scaled, group)
            if trained:
                self._move([*scaled, *plain], gradients, group, overflowed)

    def _move(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        group: dict[str, Any],
        overflowed: Tensor | None,
    ) -> None:
        buffers = [self._buffer(p) for p in parameters]
        if overflowed is None:
            torch._foreach_mul_(buffers, group["momentum"])
            torch._foreach_add_(buffers, gradients)
            torch._foreach_add_(parameters, buffers, alpha=-group["lr"])
            return
        good = 1 - overflowed  # 0 or 1
        torch._foreach_mul_(buffers, group["momentum"] * good + overflowed)
        torch._foreach_add_(buffers, torch._foreach_mul(gradients, good))
        torch._foreach_add_(parameters, torch._foreach_mul(buffers, -group["lr"] * good))

    def _buffer(self, p: Tensor) -> Tensor:
        state = self.state[p]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(p)
        buffer: Tensor = state["momentum_buffer"]
        return buffer


def _parted(parameters: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Return the tensors of more than one axis, and the others."""
    return [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim < 2]


def _finite(parameters: list[Tensor], overflowed: Tensor | None) -> list[Tensor]:
    """Return the gradients, all 0 if one overflowed, since 0 times infinity is not 0."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if overflowed is None:
        return gradients
    return [g.masked_fill(overflowed.bool(), 0.0) for g in gradients]


def _scaled(
    gradients: list[Tensor], parameters: list[Tensor], group: dict[str, Any]
) -> list[Tensor]:
    """Return the gradients with decay, each times its ratio."""
    decayed = torch._foreach_add(gradients, parameters, alpha=group["weight_decay"])
    p_norms = torch.stack(torch._foreach_norm(parameters))
    g_norms = torch.stack(torch._foreach_norm(decayed))
    ratios = torch.where(
        (p_norms > 0) & (g_norms > 0), group["eta"] * p_norms / g_norms, torch.ones_like(p_norms)
    )
    return list(torch._foreach_mul(decayed, ratios.unbind()))
