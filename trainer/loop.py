"""The training loop of all stages.

A stage passes its model and a `Step`. The step draws its batch from seed and step number alone, so
a run that is continued from any checkpoint gets the same next loss.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from soundsearch.choices import Optimiser, Precision
from soundsearch.errors import SoundsearchError
from soundsearch.files import remove_unfinished, write_atomically, write_text
from trainer.distributed import World
from trainer.lars import Lars

logger = logging.getLogger(__name__)

LOG = "log.jsonl"
CHECKPOINT = "checkpoint.safetensors"


class TrainingError(SoundsearchError):
    """A run cannot begin or cannot continue."""


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How a model is optimised: warm-up, cosine schedule, gradient clipping, averaged weights.

    Attributes:
        steps: Optimiser steps.
        schedule_steps: Step at which the cosine ends, None for the last one. A run may stop long
            before.
        warmup_steps: Steps in which the learning rate rises linearly from 0.
        learning_rate: Of tensors with more than one axis.
        flat_learning_rate: Of all others (biases, norms, scales); None for the same.
        last_rate: Factor on both at the end of the cosine.
        weight_decay: Of tensors with more than one axis; the others have none.
        clip_norm: Gradients are scaled down to this norm; None leaves them.
        average: Decay of the exponential moving average of weights that is the result; 0 takes
            the last weights.
        log_every: Steps between two records of the log.
        save_every: Steps between two checkpoints.
    """

    steps: int
    schedule_steps: int | None = None
    warmup_steps: int = 50
    optimiser: Optimiser = "adamw"
    learning_rate: float = 1e-3
    flat_learning_rate: float | None = None
    last_rate: float = 0.0
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.98)
    momentum: float = 0.9
    eta: float = 0.001
    clip_norm: float | None = 1.0
    average: float = 0.0
    precision: Precision = "bf16"
    log_every: int = 20
    save_every: int = 200

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 <= self.warmup_steps <= self.steps:
            raise ValueError(
                f"need 0 <= warmup_steps <= steps, not {self.warmup_steps}, {self.steps}"
            )
        if self.schedule_steps is not None and self.schedule_steps < self.steps:
            raise ValueError(
                f"schedule_steps ({self.schedule_steps}) is below steps ({self.steps})"
            )
        if self.optimiser not in ("adamw", "lars"):
            raise ValueError(f"optimiser must be adamw or lars, not {self.optimiser!r}")
        if self.precision not in ("fp32", "bf16", "fp16"):
            raise ValueError(f"precision must be fp32, bf16 or fp16, not {self.precision!r}")
        if not 0 <= self.average < 1:
            raise ValueError(f"average must be in [0, 1), not {self.average}")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be above 0, not {self.learning_rate}")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ValueError(f"clip_norm must be above 0, or null, not {self.clip_norm}")
        if self.log_every < 1 or self.save_every < 1:
            raise ValueError("log_every and save_every must be 1 or more")


def rate_at(step: int, config: LoopConfig) -> float:
    """Return the factor on the learning rates at a step, counted from 0.

    Linear from 0 to 1 over warmup_steps, then half a cosine down to last_rate at schedule_steps.
    """
    if step < config.warmup_steps:
        return step / config.warmup_steps
    last = config.schedule_steps or config.steps
    done = (step - config.warmup_steps) / max(1, last - config.warmup_steps)
    share = 0.5 * (1 + math.cos(math.pi * done))
    return share + config.last_rate * (1 - share)


def generator_of(seed: int, step: int) -> torch.Generator:
    """Return the random generator of one step; it does not depend on earlier steps."""
    generator = torch.Generator()
    generator.manual_seed(seed * 1_000_003 + step)
    return generator


class Amp:
    """Automatic mixed precision of the forward pass, and the loss scale of the backward pass."""

    def __init__(self, precision: str, device: torch.device) -> None:
        self.device = device
        self._dtype = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
        self.scaler = GradScaler(device.type, enabled=precision == "fp16")

    def forward(self) -> AbstractContextManager[None]:
        """Return the context of the forward pass: lower precision for matrix products, not for norms."""
        return torch.autocast(
            self.device.type, self._dtype or torch.bfloat16, enabled=self._dtype is not None
        )

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of the loss, times the loss scale, to the gradients of the model."""
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]


#: Runs one step: leaves gradients on the model and returns losses by name; "loss" is minimised.
Step = Callable[[int, Amp], Mapping[str, Tensor]]


def one_pass(loss_of: Callable[[int], Mapping[str, Tensor]]) -> Step:
    """Return a step of one forward and one backward pass."""

    def step_of(step: int, amp: Amp) -> Mapping[str, Tensor]:
        with amp.forward():
            losses = loss_of(step)
        if torch.isfinite(losses["loss"]):
            amp.backward(losses["loss"])
        return losses

    return step_of


Check = Callable[[nn.Module], Mapping[str, float]]


def train(
    model: nn.Module,
    step_of: Step,
    config: LoopConfig,
    folder: Path,
    *,
    slow: Mapping[str, float] | None = None,
    check: Check | None = None,
    check_every: int = 0,
    world: World | None = None,
    watch: Callable[[int, Mapping[str, float]], None] | None = None,
) -> nn.Module:
    """Optimise a model in place.

    Args:
        model: The model; its parameters that require gradients are trained.
        step_of: Runs a step.
        config: How to optimise.
        folder: Gets log.jsonl, one JSON object a line, and the checkpoint from which an
            interrupted run continues. Call `delete_checkpoint` when the result is stored.
        slow: Beginning of a parameter's name -> factor on its learning rate.
        check: Returns metrics of the (averaged) model, which are logged.
        check_every: Steps between two checks; 0 for none.
        world: The processes that train together; the main one writes and checks.
        watch: Is called with each logged record, for a progress bar or TensorBoard.

    Returns:
        The model with its final (averaged) weights, in eval mode.

    Raises:
        TrainingError: The loss or the gradient is not finite; the last checkpoint stays.
    """
    world = world or World()
    folder.mkdir(parents=True, exist_ok=True)
    device = next(model.parameters()).device
    amp = Amp(config.precision, device)
    optimiser = _optimiser(model, config, slow or {})
    trained = [p for group in optimiser.param_groups for p in group["params"]]
    averaged = None
    if config.average:
        averaged = torch.optim.swa_utils.AveragedModel(
            model, multi_avg_fn=_average(config.average), use_buffers=True
        )
    checkpoint = Checkpoint(folder / CHECKPOINT, model, averaged, optimiser, amp.scaler)
    first = checkpoint.load()
    if world.is_main:
        remove_unfinished(folder / CHECKPOINT)
    log = _Log(folder / LOG, first, watch) if world.is_main else None
    world.wait()
    for step in range(first, config.steps):
        model.train()
        for group in optimiser.param_groups:
            group["lr"] = group["base"] * rate_at(step, config)
        optimiser.zero_grad(set_to_none=True)
        losses = step_of(step, amp)
        world.average_gradients(trained)
        amp.scaler.unscale_(optimiser)
        norm = nn.utils.clip_grad_norm_(trained, config.clip_norm or math.inf)
        _stop_unless_finite(losses["loss"], norm, step, config, folder)
        amp.scaler.step(optimiser)
        amp.scaler.update()
        if averaged:
            averaged.update_parameters(model)
        done = step + 1
        record: dict[str, float] = {}
        if done % config.log_every == 0 or done == config.steps:
            record |= {name: round(value.item(), 5) for name, value in losses.items()}
            record |= {"rate": optimiser.param_groups[0]["lr"], "norm": round(float(norm), 4)}
        due = check_every and (done % check_every == 0 or done == config.steps)
        if check and due and world.is_main:
            measured = (averaged.module if averaged else model).eval()
            with torch.no_grad():
                record |= {name: round(value, 5) for name, value in check(measured).items()}
        if record and log:
            log.write(done, record)
        if (done % config.save_every == 0 or done == config.steps) and world.is_main:
            checkpoint.save(done)
    if averaged:
        model.load_state_dict(averaged.module.state_dict())
    return model.eval()


def _optimiser(
    model: nn.Module, config: LoopConfig, slow: Mapping[str, float]
) -> torch.optim.Optimizer:
    """Return the optimiser, with parameters grouped by rate and decay; the schedule scales `base`."""
    flat = config.learning_rate if config.flat_learning_rate is None else config.flat_learning_rate
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, p in model.named_parameters():
        if p.requires_grad:
            factor = next((f for start, f in slow.items() if name.startswith(start)), 1.0)
            rate = factor * (config.learning_rate if p.ndim > 1 else flat)
            groups.setdefault((rate, config.weight_decay if p.ndim > 1 else 0.0), []).append(p)
    listed = [
        {"params": ps, "lr": rate, "base": rate, "weight_decay": decay}
        for (rate, decay), ps in groups.items()
    ]
    if config.optimiser == "lars":
        return Lars(listed, config.learning_rate, momentum=config.momentum, eta=config.eta)
    return torch.optim.AdamW(listed, betas=config.betas)


def _stop_unless_finite(
    loss: Tensor, norm: Tensor, step: int, config: LoopConfig, folder: Path
) -> None:
    # In float16 a gradient may overflow: the scaler then skips the step.
    bad = "loss" if not torch.isfinite(loss) else "gradient" if not torch.isfinite(norm) else None
    if bad and not (bad == "gradient" and config.precision == "fp16"):
        found = loss if bad == "loss" else norm
        checkpoint = folder / CHECKPOINT
        way_out = f"{checkpoint} holds the last good weights; " if checkpoint.exists() else ""
        raise TrainingError(
            f"{folder}: the {bad} is {found.item()} at step {step}; {way_out}"
            "lower the learning rate and begin a new run"
        )


class _Log:
    """Writes log.jsonl. Records after the checkpoint are deleted, since their steps run again."""

    def __init__(
        self, path: Path, step: int, watch: Callable[[int, Mapping[str, float]], None] | None
    ) -> None:
        self._path, self._watch = path, watch
        self._started = time.monotonic()
        if path.exists():
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            valid = [
                line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step
            ]
            write_text(path, "".join(valid))

    def write(self, done: int, record: Mapping[str, float]) -> None:
        seconds = round(time.monotonic() - self._started, 1)
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": done, **record, "seconds": seconds}) + "\n")
        if self._watch:
            self._watch(done, record)


def _average(decay: float) -> Callable[..., None]:
    """Return the update of an exponential average whose decay rises over the first steps."""

    @torch.no_grad()
    def update(averages: list[Tensor], new: list[Tensor], n_averaged: Tensor | int) -> None:
        n = int(n_averaged)
        current_decay = min(decay, (1 + n) / (10 + n))
        for average, value in zip(averages, new, strict=True):
            if average.is_floating_point():
                average.lerp_(value, 1 - current_decay)
            else:
                average.copy_(value)

    return update


class Checkpoint:
    """All that the next step depends on, in one safetensors file that is written atomically."""

    def __init__(
        self,
        path: Path,
        model: nn.Module,
        averaged: nn.Module | None,
        optimiser: torch.optim.Optimizer,
        scaler: GradScaler,
    ) -> None:
        self.path = path
        self._model, self._averaged = model, averaged
        self._optimiser, self._scaler = optimiser, scaler

    def save(self, step: int) -> None:
        """Write weights, averaged weights, the optimiser's state and the loss scale."""
        tensors = {f"model.{k}": v for k, v in self._model.state_dict().items()}
        if self._averaged:
            tensors |= {f"averaged.{k}": v for k, v in self._averaged.state_dict().items()}
        for i, state in self._optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{i}.{k}": v for k, v in state.items()}
        facts = {"step": str(step), "scaler": json.dumps(self._scaler.state_dict())}
        save_tensors(tensors, self.path, facts)

    def load(self) -> int:
        """Restore the saved state; return the step to continue from, 0 if there is no checkpoint."""
        from safetensors import SafetensorError, safe_open

        if not self.path.exists():
            return 0
        try:
            with safe_open(self.path, "pt") as file:
                facts = file.metadata()
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            self._model.load_state_dict(strip_prefix(tensors, "model."))
            if self._averaged:
                self._averaged.load_state_dict(strip_prefix(tensors, "averaged."))
        except (SafetensorError, RuntimeError, KeyError, TypeError) as error:
            first = str(error).splitlines()[0]
            raise TrainingError(
                f"{self.path}: not a checkpoint of this run ({first}); begin in another folder"
            ) from error
        states: dict[int, dict[str, Tensor]] = {}
        for name, value in strip_prefix(tensors, "optimiser.").items():
            i, key = name.split(".")
            states.setdefault(int(i), {})[key] = value
        fresh = self._optimiser.state_dict()
        self._optimiser.load_state_dict({**fresh, "state": states})
        self._scaler.load_state_dict(json.loads(facts["scaler"]))
        logger.info("continuing from step %s", facts["step"])
        return int(facts["step"])


def delete_checkpoint(folder: Path) -> None:
    """Delete the checkpoint of a run whose result is stored."""
    (folder / CHECKPOINT).unlink(missing_ok=True)


def save_tensors(
    tensors: Mapping[str, Tensor], path: Path, facts: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file atomically. Tensors may share memory."""
    from safetensors.torch import save_file

    copies = {k: v.detach().to("cpu", copy=True).contiguous() for k, v in tensors.items()}
    with write_atomically(path) as temporary:
        save_file(copies, temporary, dict(facts or {}))


def strip_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose name begins with a prefix, without it."""
    return {
        name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)
    }
