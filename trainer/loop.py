"""The training loop: one function for every stage.

A stage hands in its model and `loss_of(step)`, which draws the batch of that step from the seed
and the step number alone, so a run can be continued anywhere and gives the same next loss.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from soundsearch.errors import SoundsearchError


class TrainingError(SoundsearchError):
    """A run that cannot go on."""


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How a model is optimised: AdamW, linear warm-up, cosine to zero, averaged weights.

    steps: optimiser steps. clip_norm: gradients are scaled down to this norm. average: decay of
    the running average of weights that is the result; 0 takes the last weights as they are.
    """

    steps: int
    warmup_steps: int = 50
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    average: float = 0.0
    bfloat16: bool = True
    log_every: int = 20
    save_every: int = 200

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 <= self.warmup_steps <= self.steps:
            raise ValueError(
                f"need 0 <= warmup_steps <= steps, not {self.warmup_steps}, {self.steps}"
            )
        if not 0 <= self.average < 1:
            raise ValueError(f"average must be in [0, 1), not {self.average}")


def rate_at(step: int, config: LoopConfig) -> float:
    """Learning rate of a step (from 0): linear up to warmup_steps, then half a cosine to zero."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def generator_of(seed: int, step: int) -> torch.Generator:
    """The random numbers of one step, the same whichever steps came before."""
    generator = torch.Generator()
    generator.manual_seed(seed * 1_000_003 + step)
    return generator


def train(
    model: nn.Module,
    loss_of: Callable[[int], Mapping[str, Tensor]],
    config: LoopConfig,
    folder: Path,
    *,
    slow: Mapping[str, float] | None = None,
    check: Callable[[nn.Module], Mapping[str, float]] | None = None,
    check_every: int = 0,
) -> nn.Module:
    """Optimise `model` in place and return it with its final (averaged) weights, in eval mode.

    loss_of: step -> named losses; "loss" is minimised, the others are logged beside it.
    folder: gets log.jsonl, one JSON object a line, and the checkpoint from which an interrupted
    run continues. slow: factor on the learning rate for parameters whose name starts so.
    check: measured on the averaged weights every check_every steps and logged.
    Raises TrainingError if the loss is not finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    groups = [
        {
            "params": [p],
            "weight_decay": config.weight_decay if p.ndim > 1 else 0.0,
            "factor": next((f for start, f in (slow or {}).items() if name.startswith(start)), 1.0),
        }
        for name, p in named.items()
    ]
    optimiser = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98))
    averaged = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=_average(config.average), use_buffers=True
    )
    checkpoint = Checkpoint(folder / "checkpoint.safetensors", model, averaged, optimiser)
    first = checkpoint.load()
    _forget_after(folder / "log.jsonl", first)
    started = time.monotonic()
    with open(folder / "log.jsonl", "a", encoding="utf-8") as log:
        for step in range(first, config.steps):
            model.train()
            rate = rate_at(step, config)
            for group in optimiser.param_groups:
                group["lr"] = rate * group["factor"]
            with torch.autocast("cpu", torch.bfloat16, enabled=config.bfloat16):
                losses = loss_of(step)
            loss = losses["loss"]
            if not torch.isfinite(loss):
                raise TrainingError(
                    f"{folder}: the loss is {loss.item()} at step {step}; lower the learning rate"
                )
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            norm = nn.utils.clip_grad_norm_(named.values(), config.clip_norm)
            optimiser.step()
            averaged.update_parameters(model)
            done = step + 1
            record: dict[str, float] = {}
            if done % config.log_every == 0 or done == config.steps:
                record |= {name: round(value.item(), 5) for name, value in losses.items()}
                record |= {"rate": rate, "norm": round(float(norm), 4)}
            if check and check_every and (done % check_every == 0 or done == config.steps):
                averaged.eval()
                record |= {name: round(value, 5) for name, value in check(averaged.module).items()}
            if record:
                seconds = round(time.monotonic() - started, 1)
                log.write(json.dumps({"step": done, **record, "seconds": seconds}) + "\n")
                log.flush()
            if done % config.save_every == 0 and done < config.steps:
                checkpoint.save(done)
    model.load_state_dict(averaged.module.state_dict())
    checkpoint.remove()
    return model.eval()


def _forget_after(log: Path, step: int) -> None:
    """Take out of the log what is going to happen again."""
    if log.exists():
        lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if json.loads(line)["step"] <= step]
        log.write_text("".join(kept), encoding="utf-8")


def _average(decay: float) -> Callable[..., None]:
    """Exponential average with a warm-up, so that the first weights are forgotten quickly."""

    @torch.no_grad()
    def update(kept: list[Tensor], new: list[Tensor], n_averaged: Tensor | int) -> None:
        n = int(n_averaged)
        now = min(decay, (1 + n) / (10 + n))
        for old, value in zip(kept, new, strict=True):
            if old.is_floating_point():
                old.lerp_(value, 1 - now)
            else:
                old.copy_(value)

    return update


class Checkpoint:
    """Model, averaged model and AdamW's moments in one safetensors file, renamed into place."""

    def __init__(
        self, path: Path, model: nn.Module, averaged: nn.Module, optimiser: torch.optim.AdamW
    ) -> None:
        self.path = path
        self._model, self._averaged, self._optimiser = model, averaged, optimiser

    def save(self, step: int) -> None:
        """Write everything that the next step depends on."""
        from safetensors.torch import save_file

        tensors = {f"model.{k}": v for k, v in self._model.state_dict().items()}
        tensors |= {f"averaged.{k}": v for k, v in self._averaged.state_dict().items()}
        for i, state in self._optimiser.state_dict()["state"].items():
            tensors |= {f"adam.{i}.{k}": v for k, v in state.items()}
        aside = self.path.with_suffix(".part")
        save_file(
            {k: v.detach().clone().contiguous() for k, v in tensors.items()},
            aside,
            {"step": str(step)},
        )
        aside.replace(self.path)

    def load(self) -> int:
        """Restore what was saved and return the step to go on from; 0 where nothing was."""
        from safetensors import safe_open

        if not self.path.exists():
            return 0
        with safe_open(self.path, "pt") as file:
            step = int(file.metadata()["step"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        self._model.load_state_dict(_below(tensors, "model."))
        self._averaged.load_state_dict(_below(tensors, "averaged."))
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in _below(tensors, "adam.").items():
            i, key = name.split(".")
            moments.setdefault(int(i), {})[key] = value
        state = self._optimiser.state_dict()
        self._optimiser.load_state_dict({**state, "state": moments})
        return step

    def remove(self) -> None:
        """Delete the file; a finished run needs it no more."""
        self.path.unlink(missing_ok=True)


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)
    }
