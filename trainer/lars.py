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
    """

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
        """Update every parameter that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                g = p.grad
                if p.ndim > 1:
                    g = g.add(p, alpha=group["weight_decay"])
                    p_norm, g_norm = p.norm(), g.norm()
                    ratio = torch.where(
                        (p_norm > 0) & (g_norm > 0),
                        group["eta"] * p_norm / g_norm,
                        torch.ones_like(p_norm),
                    )
                    g = g * ratio
                state = self.state[p]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(p)
                buffer: Tensor = state["momentum_buffer"]
                buffer.mul_(group["momentum"]).add_(g)
                p.add_(buffer, alpha=-group["lr"])
