"""The training step of the paper's audio tower on one device: clips a second, MFU, and parity.

    python benchmarks/gpu_step.py                      # a machine with a GPU: under ten minutes
    python benchmarks/gpu_step.py --tiny --device cpu  # a small tower, to see that it runs

First parity: the same steps from the same weights in each precision, against fp32. Then speed: the
training loop as it is (forward, loss, backward, LARS, the look at loss and gradient), on features
that are on the device already, so that no reading is measured. The floating-point operations of a
clip are counted from the shape of the tower, three times those of the forward pass; MFU (model FLOPs
utilisation) is their share of the card's peak, of dense products in that precision.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import itertools
import math
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor

from soundsearch.choices import Precision
from trainer.contrast import Contrast, ContrastConfig, contrast_step
from trainer.loop import Amp, LoopConfig, Step, train
from trainer.runs import torch_device
from trainer.torchrun import World
from trainer.towers.vit import SpectrogramViT, VitConfig

#: Dense peaks in TFLOP a second, from NVIDIA's data sheets; the first name that a card's contains.
PEAKS: dict[str, dict[str, float]] = {
    "B200": {"fp32": 75, "tf32": 1100, "bf16": 2250, "fp16": 2250},
    "H200": {"fp32": 67, "tf32": 495, "bf16": 989, "fp16": 989},
    "H100 PCIe": {"fp32": 51, "tf32": 378, "bf16": 756, "fp16": 756},
    "H100": {"fp32": 67, "tf32": 495, "bf16": 989, "fp16": 989},
    "A100": {"fp32": 19.5, "tf32": 156, "bf16": 312, "fp16": 312},
    "L40S": {"fp32": 91.6, "tf32": 183, "bf16": 362, "fp16": 362},
    "L4": {"fp32": 30.3, "tf32": 60, "bf16": 121, "fp16": 121},
    "A10": {"fp32": 31.2, "tf32": 62.5, "bf16": 125, "fp16": 125},
    "RTX 4090": {"fp32": 82.6, "tf32": 82.6, "bf16": 165, "fp16": 165},
    "V100": {"fp32": 15.7, "fp16": 125},
    "T4": {"fp32": 8.1, "fp16": 65},
}
TINY = VitConfig(width=32, n_layers=2, n_heads=2, n_mels=64, n_frames=96, dim=16)
WARM_STEPS = 3
#: Steps in which the scaler of fp16 may look for its scale.
MOST_SKIPPED = 20


@dataclass(frozen=True)
class Way:
    """One way of running the step."""

    precision: Precision
    compiled: bool = False

    def __str__(self) -> str:
        return self.precision + (" compiled" if self.compiled else "")


@dataclass(frozen=True)
class Parity:
    """A precision against fp32: losses, cosines of gradients and embeddings, and the scaler."""

    precision: str
    losses: tuple[float, ...]
    gradient: float
    embedding: float
    n_skipped: int


class Measured(Exception):
    """Ends a loop that has been measured, before it stores anything."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--batches", default="64,128,256,512,1024", help="clips a step")
    parser.add_argument("--steps", type=int, default=10, help="measured steps of each loop")
    parser.add_argument("--budget", type=float, default=480, help="seconds, then it stops")
    parser.add_argument("--peak", type=float, help="TFLOP a second, for a card that is not known")
    parser.add_argument("--tiny", action="store_true", help="a small tower and small batches")
    options = parser.parse_args(arguments)
    began = time.monotonic()
    device = torch_device(options.device)
    shape = TINY if options.tiny else VitConfig()
    batches = [4, 8] if options.tiny else [int(n) for n in options.batches.split(",")]
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(
        f"{name}, torch {torch.__version__}, {flops(shape) / 1e9:.3g} GFLOP a clip, there and back"
    )
    on_gpu = device.type == "cuda"
    known = [p for p in get_args(Precision) if on_gpu or p != "tf32"]
    print("\n| precision | loss, first | loss, last | gradient | embeddings | skipped |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for row in parity(shape, device, known, batch=batches[0], n_steps=options.steps):
        print(
            f"| {row.precision} | {row.losses[0]:.5f} | {row.losses[-1]:.5f} | {row.gradient:.6f} | "
            f"{row.embedding:.6f} | {row.n_skipped} |"
        )
    print(
        "\n| batch | step | ms | clips a second | MFU | GB |\n| ---: | --- | ---: | ---: | ---: | ---: |"
    )
    ways = (
        [Way("bf16"), Way("bf16", compiled=True), Way("fp16"), Way("tf32")]
        if on_gpu
        else [Way("fp32"), Way("bf16")]
    )
    for batch in batches:
        for way in ways:
            if time.monotonic() - began > options.budget:
                print(f"| {batch} | {way} | not measured: the budget is used up | | | |")
                continue
            print(
                speed_line(
                    shape,
                    device,
                    batch,
                    way,
                    options.steps,
                    options.peak or peak(name, way.precision),
                )
            )
    print(f"\n{time.monotonic() - began:.0f} s in all")


def flops(shape: VitConfig) -> int:
    """Floating-point operations of a clip in training, a multiplication and an addition as two.

    Those of matrix products alone, forward and twice as many backward.
    """
    tokens, width = shape.n_tokens, shape.width
    block = 2 * tokens * 12 * width**2 + 4 * tokens**2 * width
    patches = 2 * (tokens - 1) * shape.patch**2 * width
    return 3 * (shape.n_layers * block + patches + 2 * width * shape.dim)


def peak(name: str, precision: str) -> float | None:
    """TFLOP a second of a card by its name; None if it is not known."""
    for part, peaks in PEAKS.items():
        if part in name:
            return peaks.get(precision)
    return None


def parity(
    shape: VitConfig,
    device: torch.device,
    precisions: Sequence[Precision],
    batch: int,
    n_steps: int,
) -> list[Parity]:
    """Take the same steps in every precision; fp32 comes first."""
    steps = [taken(shape, device, precision, batch, n_steps) for precision in precisions]
    return [
        Parity(
            precision,
            found.losses,
            float(torch.cosine_similarity(found.gradient, steps[0].gradient, dim=0)),
            float(torch.cosine_similarity(found.embeddings, steps[0].embeddings).min()),
            found.n_skipped,
        )
        for precision, found in zip(precisions, steps, strict=True)
    ]


@dataclass(frozen=True)
class Taken:
    """Steps in one precision: their losses, the first one's gradient, the embeddings after them.

    n_skipped: steps whose gradient overflowed, by which the scaler finds its scale.
    """

    losses: tuple[float, ...]
    gradient: Tensor
    embeddings: Tensor
    n_skipped: int


def taken(
    shape: VitConfig, device: torch.device, precision: Precision, batch: int, n_steps: int
) -> Taken:
    """Take so many steps that change the weights."""
    model, (features, vectors) = made_model(shape, device), made_batch(shape, batch, device)
    contrast = contrast_step(model, lambda _: (features, vectors), ContrastConfig(), World())
    losses: list[float] = []
    gradients: list[Tensor] = []
    done = 0

    def step_of(step: int, amp: Amp) -> dict[str, Tensor]:
        nonlocal done
        done = step
        if len(losses) == n_steps:
            raise Measured
        scale = amp.scaler.get_scale()
        found = dict(contrast(step, amp))
        whole = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        if whole.isfinite().all():
            losses.append(found["loss"].item())
            if not gradients:
                gradients.append(whole.cpu().double() / scale)
        return found

    run(model, step_of, precision, n_steps + MOST_SKIPPED + 1)
    with torch.no_grad():
        embeddings = model(features)[0].cpu().double()
    return Taken(tuple(losses), gradients[0], embeddings, done - n_steps)


def speed_line(
    shape: VitConfig, device: torch.device, batch: int, way: Way, n_steps: int, top: float | None
) -> str:
    """A row of the table, also where the batch does not fit."""
    try:
        seconds, gigabytes = speed(shape, device, batch, way, n_steps)
    except torch.cuda.OutOfMemoryError:
        return f"| {batch} | {way} | out of memory | | | |"
    finally:
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
    rate = batch / seconds
    share = f"{100 * rate * flops(shape) / (top * 1e12):.1f} %" if top else ""
    return f"| {batch} | {way} | {1000 * seconds:.1f} | {rate:.1f} | {share} | {gigabytes:.1f} |"


def speed(
    shape: VitConfig, device: torch.device, batch: int, way: Way, n_steps: int
) -> tuple[float, float]:
    """Seconds of a step of the training loop (median of two halves), and peak GB on the GPU."""
    model = made_model(shape, device)
    features, vectors = made_batch(shape, batch, device)
    contrast = contrast_step(
        model, lambda _: (features, vectors), ContrastConfig(), World(), compiled=way.compiled
    )
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    marks: list[float] = []
    ends = (
        WARM_STEPS,
        WARM_STEPS + math.ceil(n_steps / 2),
        WARM_STEPS + 2 * math.ceil(n_steps / 2),
    )

    def step_of(step: int, amp: Amp) -> dict[str, Tensor]:
        if step in ends:
            finish(device)
            marks.append(time.perf_counter())
        if step == ends[-1]:
            raise Measured
        return dict(contrast(step, amp))

    run(model, step_of, way.precision, ends[-1] + 1)
    halves = [(after - before) / (ends[1] - ends[0]) for before, after in itertools.pairwise(marks)]
    gigabytes = torch.cuda.max_memory_allocated() / 1e9 if device.type == "cuda" else 0.0
    return statistics.median(halves), gigabytes


def run(model: Contrast, step_of: Step, precision: Precision, n_steps: int) -> None:
    """The training loop until the step raises `Measured`."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            train(model, step_of, loop_config(precision, n_steps), Path(folder))
        except Measured:
            return
    raise RuntimeError("the loop was not measured")


def loop_config(precision: Precision, n_steps: int) -> LoopConfig:
    """LARS as the pivot stage has it, without warm-up."""
    never = 10**9
    return LoopConfig(
        steps=n_steps,
        schedule_steps=never,
        warmup_steps=0,
        optimiser="lars",
        learning_rate=0.3375,
        flat_learning_rate=0.0081,
        weight_decay=1e-6,
        clip_norm=None,
        precision=precision,
        log_every=never,
        save_every=never,
    )


def made_model(shape: VitConfig, device: torch.device) -> Contrast:
    """The tower with random weights, always the same."""
    torch.manual_seed(0)
    return Contrast(SpectrogramViT(dataclasses.replace(shape)), 1 / 0.07).to(device).train()


def made_batch(shape: VitConfig, n: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Features and vectors of clips, on the device."""
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(n, shape.n_mels, shape.n_frames, generator=generator)
    return features.to(device), torch.randn(n, shape.dim, generator=generator).to(device)


def finish(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
