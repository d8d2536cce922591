"""The training loop of all stages.

A stage passes its model and a `Step`. The step draws its batch from seed and step number alone, so
a run that is continued from any checkpoint gets the same next loss.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections import deque
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
from trainer.average import Average
from trainer.lars import Lars
from trainer.limits import must_be, must_be_one_of
from trainer.torchrun import World

logger = logging.getLogger(__name__)

LOG = "log.jsonl"
CHECKPOINT = "checkpoint.safetensors"
#: Steps after which a GPU's loss and gradient are looked at: by then it has finished them.
LAG = 2


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
        must_be_one_of(Optimiser, "optimiser", self.optimiser)
        must_be_one_of(Precision, "precision", self.precision)
        must_be("in [0, 1)", 0 <= self.average < 1, average=self.average)
        must_be("above 0", self.learning_rate > 0, learning_rate=self.learning_rate)
        norm = self.clip_norm
        must_be("above 0, or null", norm is None or norm > 0, clip_norm=norm)
        must_be("1 or more", self.log_every >= 1, log_every=self.log_every)
        must_be("1 or more", self.save_every >= 1, save_every=self.save_every)


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
    """Automatic mixed precision of the forward pass, and the loss scale of the backward pass.

    fp32 is float32 throughout. With tf32 a GPU rounds the inputs of float32 matrix products to 10
    bits; this is a switch of the whole process. bf16 and fp16 are for most products of the forward
    pass and their gradients; everything else, such as the loss, is float32.
    """

    def __init__(self, precision: Precision, device: torch.device) -> None:
        self.device = device
        self._dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
        self.scaler = GradScaler(device.type, enabled=precision == "fp16")
        if device.type == "cuda":
            torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
            torch.backends.cudnn.allow_tf32 = precision == "tf32"

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
        amp.backward(losses["loss"])
        return losses

    return step_of


#: Returns metrics of a model by name, to be logged.
Check = Callable[[nn.Module], Mapping[str, float]]


def train(
    model: nn.Module,
    step_of: Step,
    config: LoopConfig,
    folder: Path,
    *,
    slow: Mapping[str, float] | None = None,
    checks: Mapping[int, Check] | None = None,
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
        checks: Number of finished steps -> what to do with the (averaged) model then, in every
            process; see `every`.
        world: The processes that train together; the main one writes.
        watch: Is called with each logged record, for a progress bar or TensorBoard.

    Returns:
        The model with its final (averaged) weights, in eval mode.

    Raises:
        TrainingError: The loss or the gradient is not finite; the last checkpoint stays.
    """
    world, checks = world or World(), checks or {}
    folder.mkdir(parents=True, exist_ok=True)
    device = next(model.parameters()).device
    amp = Amp(config.precision, device)
    optimiser = _optimiser(model, config, slow or {}, device)
    trained = [p for group in optimiser.param_groups for p in group["params"]]
    average = Average(model, config.average) if config.average else None
    checkpoint = Checkpoint(folder / CHECKPOINT, model, average, optimiser, amp.scaler)
    first = checkpoint.load()
    if world.is_main:
        remove_unfinished(folder / CHECKPOINT)
    log = _Log(folder / LOG, first, watch) if world.is_main else None
    finite = _Finite(config.precision, folder, LAG if device.type == "cuda" else 0)
    world.wait()
    for step in range(first, config.steps):
        model.train()
        for group in optimiser.param_groups:
            group["lr"] = group["base"] * rate_at(step, config)
        optimiser.zero_grad(set_to_none=True)
        losses = step_of(step, amp)
        amp.scaler.unscale_(optimiser)
        norm = _clipped(trained, config.clip_norm)
        finite.add(step, losses["loss"], norm)
        amp.scaler.step(optimiser)
        amp.scaler.update()
        if average:
            average.update(model, step)
        done = step + 1
        last = done == config.steps
        logged, saved = done % config.log_every == 0 or last, done % config.save_every == 0 or last
        if logged or saved or done in checks:
            finite.check_all()
        record: dict[str, float] = {}
        if logged:
            record |= {name: round(value.item(), 5) for name, value in losses.items()}
            record |= {"rate": optimiser.param_groups[0]["lr"], "norm": round(float(norm), 4)}
        if done in checks:
            measured = (average.model if average else model).eval()
            with torch.no_grad():
                record |= {name: round(v, 5) for name, v in checks[done](measured).items()}
        if record and log:
            log.write(done, record)
        if saved and world.is_main:
            checkpoint.save(done)
    if average:
        model.load_state_dict(average.model.state_dict())
    return model.eval()


def every(n: int, steps: int, check: Check | None) -> dict[int, Check]:
    """Return a check after every n of `steps` steps and after the last one; none without a check."""
    return dict.fromkeys((*range(n, steps, n), steps), check) if check else {}


def _optimiser(
    model: nn.Module, config: LoopConfig, slow: Mapping[str, float], device: torch.device
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
    return torch.optim.AdamW(listed, betas=config.betas, fused=device.type in ("cpu", "cuda"))


def _clipped(parameters: list[nn.Parameter], clip_norm: float | None) -> Tensor:
    """Return the norm of all gradients, after scaling them down to clip_norm."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    if clip_norm is not None:
        nn.utils.clip_grads_with_norm_(parameters, clip_norm, norm)
    return norm


class _Finite:
    """Stops a run whose loss or gradient is not finite.

    Both are checked `lag` steps later, so that the host never waits for the GPU. Weights that
    came after may be spoilt; call `check_all` before they are stored or measured.
    """

    def __init__(self, precision: Precision, folder: Path, lag: int) -> None:
        self._precision, self._folder, self._lag = precision, folder, lag
        self._pending: deque[tuple[int, Tensor, torch.cuda.Event | None]] = deque()

    def add(self, step: int, loss: Tensor, norm: Tensor) -> None:
        """Take in a step's loss and the norm of its gradients. Raises TrainingError."""
        both = torch.stack((loss.detach().float(), norm.detach().float()))
        copied = None
        if both.is_cuda:
            both, copied = both.to("cpu", non_blocking=True), torch.cuda.Event()  # type: ignore[no-untyped-call]
            copied.record()
        self._pending.append((step, both, copied))
        self._check(self._lag)

    def check_all(self) -> None:
        """Check all steps so far. Raises TrainingError."""
        self._check(0)

    def _check(self, n_left: int) -> None:
        while len(self._pending) > n_left:
            step, both, copied = self._pending.popleft()
            if copied:
                copied.synchronize()
            for name, value in zip(("loss", "gradient"), both.tolist(), strict=True):
                # In float16 a gradient may overflow: the scaler then skips the step.
                if not math.isfinite(value) and (name, self._precision) != ("gradient", "fp16"):
                    self._stop(f"the {name} is {value} at step {step}")

    def _stop(self, found: str) -> None:
        checkpoint = self._folder / CHECKPOINT
        way_out = f"{checkpoint} holds the last good weights; " if checkpoint.exists() else ""
        raise TrainingError(
            f"{self._folder}: {found}; {way_out}lower the learning rate and begin a new run"
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


class Checkpoint:
    """All that the next step depends on, in one safetensors file that is written atomically."""

    def __init__(
        self,
        path: Path,
        model: nn.Module,
        average: Average | None,
        optimiser: torch.optim.Optimizer,
        scaler: GradScaler,
    ) -> None:
        self.path = path
        self._model, self._average = model, average
        self._optimiser, self._scaler = optimiser, scaler

    def save(self, step: int) -> None:
        """Write weights, averaged weights, the optimiser's state and the loss scale."""
        tensors = {f"model.{k}": v for k, v in self._model.state_dict().items()}
        if self._average:
            averaged = self._average.model.state_dict()
            tensors |= {f"averaged.module.{k}": v for k, v in averaged.items()}
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
            if self._average:
                averaged = strip_prefix(tensors, "averaged.module.")
                self._average.model.load_state_dict(averaged)
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
        for p, state in self._optimiser.state.items():
            for key, value in state.items():  # a fused step wants both in one order of memory
                if value.ndim > 1:
                    state[key] = torch.empty_like(p).copy_(value)
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
