"""Clips a second of the pivot stage: stored image vectors against an image tower in the loop.

The audio encoder is the paper's, at full size with random weights. Both loops decode FLAC and make
features in the same way and take the same optimiser steps; the live one also decodes and resizes a
frame of each clip and sends it through CLIP's image tower at every step, as VIP-ANT's code does. They
run one after the other in one process. Where the time of one clip goes is measured apart, so that
one sees what another machine would change. With many steps a second, take --steps well above twice
--workers: the first steps live on what was decoded ahead.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import open_clip
import torch
from PIL import Image
from torch import Tensor

from trainer.contrast import Contrast, ContrastConfig, contrast_step
from trainer.data.example import Example, ExampleFacts
from trainer.data.order import Order
from trainer.data.shard_writer import write_shards
from trainer.data.shards import ShardFolder
from trainer.data.stream import Batches, Positions, TrainingPair
from trainer.data.targets import StoredTargets
from trainer.data.waveforms import flac
from trainer.distributed import World
from trainer.embed_shards import embed_images
from trainer.front_ends import VIP_ANT, extract_features
from trainer.lars import Lars
from trainer.loop import Amp
from trainer.runs import StageConfig, build_tower, torch_device
from trainer.towers.clip_model import ClipChoice, FrozenClip

SAMPLE_RATE, CLIP_S, N_FRAMES = 44_100, 10.0, 4
FRAME_SIZE = (640, 360)
MODEL = "ViT-B-32-quickgelu"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--batch", type=int, default=8, help="clips a step (the paper: 432)")
    parser.add_argument("--steps", type=int, default=4, help="measured steps of each loop")
    parser.add_argument("--workers", type=int, default=1, help="processes that decode")
    parser.add_argument("--precisions", default="fp32,bf16")
    parser.add_argument("--clips", type=int, default=32, help="different clips on disk")
    options = parser.parse_args()
    device = torch_device(options.device)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "shards")
        clip = random_clip(device)
        write_shards(made_clips(options.clips), folder)
        embed_images(folder, clip)
        data = ShardFolder(folder)
        where = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
        print(
            f"{where}, {os.cpu_count()} cores, {torch.get_num_threads()} threads of torch, ", end=""
        )
        print(
            f"{options.workers} workers, batches of {options.batch}, medians of {options.steps} steps"
        )
        for precision in options.precisions.split(","):
            rates: dict[str, list[float]] = {"stored": [], "live": []}
            waits: dict[str, list[float]] = {"stored": [], "live": []}
            model = Contrast(build_tower(StageConfig(stage="pivot"), clip.dim), 1 / 0.07).to(device)
            for name in rates:
                loop = Loop(name, data, clip, model, precision, device, options)
                for _ in range(options.steps):
                    seconds, waited = loop.step()
                    rates[name].append(options.batch / seconds)
                    waits[name].append(waited / seconds)
            stored, live = (statistics.median(rates[name]) for name in rates)
            print(
                f"\n{precision}: {stored / live:.2f} times as many clips a second with stored vectors"
            )
            for name in rates:
                print(
                    f"  {name:7}{statistics.median(rates[name]):8.2f} clips a second, "
                    f"waits for data {100 * statistics.median(waits[name]):5.1f} % of the time"
                )
            print("  milliseconds a clip, each apart:")
            for what, ms in parts(data, clip, model, precision, device, options.batch).items():
                print(f"    {what:44}{ms:9.2f}")


def random_clip(device: torch.device) -> FrozenClip:
    """The paper's CLIP with random weights: as fast as with any."""
    torch.manual_seed(0)
    model = open_clip.CLIP(**open_clip.get_model_config(MODEL))
    transform = open_clip.image_transform(224, is_train=False)
    choice = ClipChoice(model=MODEL, pretrained="random")
    tokenizer = open_clip.get_tokenizer(MODEL)
    return FrozenClip(choice, model, tokenizer, transform, 512, "0" * 64, device)


def made_clips(n: int) -> list[Example]:
    """Ten seconds of stereo noise that swells, and frames of smooth noise, as large as in the wild."""
    random = np.random.default_rng(0)
    n_samples = round(SAMPLE_RATE * CLIP_S)
    swell = 0.2 + 0.2 * np.sin(np.linspace(0, 20, n_samples))
    clips = []
    for i in range(n):
        noise = np.cumsum(random.normal(0, 0.05, (2, n_samples)), axis=1)
        sound = (swell * np.tanh(noise - noise.mean())).astype(np.float32)
        frames = []
        for _ in range(N_FRAMES):
            small = random.integers(0, 255, (36, 64, 3)).astype(np.uint8)
            picture = io.BytesIO()
            Image.fromarray(small).resize(FRAME_SIZE).save(picture, "JPEG", quality=90)
            frames.append(picture.getvalue())
        facts = ExampleFacts(f"{i}.mp4", 0.0, CLIP_S, SAMPLE_RATE)
        clips.append(Example(facts, flac(sound, SAMPLE_RATE, 16), tuple(frames)))
    return clips


class LivePositions(Positions):
    """As `Positions`, with a frame's pixels where the stored vector would be."""

    def __init__(self, data: ShardFolder, order: Order, clip: FrozenClip) -> None:
        self._folder, self._order, self._pixels = data, order, clip.pixels

    def __getitem__(self, position: int) -> TrainingPair:
        """Features, and pixels (3, height, width) of a random frame."""
        shard, number = self._order.place(position)
        random = np.random.default_rng(position)
        opened = self._folder.open(shard)
        features = extract_features(*opened.audio(number), VIP_ANT, random)
        frames = opened.frames(number)
        frame = Image.open(io.BytesIO(frames[random.integers(len(frames))]))
        return torch.from_numpy(features), self._pixels(frame)


class Loop:
    """One of the two loops; the first step is a warm-up and starts the workers."""

    def __init__(
        self,
        name: str,
        data: ShardFolder,
        clip: FrozenClip,
        model: Contrast,
        precision: str,
        device: torch.device,
        options: argparse.Namespace,
    ) -> None:
        order = Order([np.arange(n) for n in data.counts], seed=0)
        examples: Positions
        if name == "live":
            examples = LivePositions(data, order, clip)
        else:
            targets = StoredTargets(data, "images", clip.encoder)
            examples = Positions(data, order, targets, VIP_ANT, seed=0)
        # Workers that have no more to fetch would leave the last steps faster than they are.
        n_steps = options.steps + 2 + 2 * max(1, options.workers)
        self._batches = Batches(examples, options.batch, n_steps, World(), options.workers)
        self._clip, self._device, self._amp = clip, device, Amp(precision, device)
        batch_of: Callable[[int], tuple[Tensor, Tensor]] = (
            self._through_image_tower if name == "live" else self._batches
        )
        self._step_of = contrast_step(model, batch_of, ContrastConfig(), World())
        self._optimiser = optimiser_of(model)
        self._n_done = 0
        self.step()

    def _through_image_tower(self, step: int) -> tuple[Tensor, Tensor]:
        features, pixels = self._batches(step)
        return features, image_vectors(self._clip, pixels, self._device, self._amp)

    def step(self) -> tuple[float, float]:
        """Seconds of a step, and how many of them were spent waiting for data."""
        began, waited = time.perf_counter(), self._batches.waited_s
        self._optimiser.zero_grad(set_to_none=True)
        self._step_of(self._n_done, self._amp)
        self._optimiser.step()
        finish(self._device)
        self._n_done += 1
        return time.perf_counter() - began, self._batches.waited_s - waited


def optimiser_of(model: Contrast) -> Lars:
    """LARS as the pivot stage has it."""
    weights = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups: list[dict[str, object]] = [
        {"params": weights, "weight_decay": 1e-6},
        {"params": others},
    ]
    return Lars(groups, lr=1e-4)


def image_vectors(clip: FrozenClip, pixels: Tensor, device: torch.device, amp: Amp) -> Tensor:
    """What the authors' loop asks of the image tower at each step."""
    with torch.no_grad(), amp.forward():
        vectors: Tensor = clip.model.encode_image(pixels.to(device))  # type: ignore[operator]
    return vectors.float()


def parts(
    data: ShardFolder,
    clip: FrozenClip,
    model: Contrast,
    precision: str,
    device: torch.device,
    batch: int,
) -> Mapping[str, float]:
    """Median milliseconds a clip of each part, alone and in this process."""
    shard = data.open(0)
    channels, sample_rate = shard.audio(0)
    features = extract_features(channels, sample_rate, VIP_ANT, None)
    frame = shard.frames(0)[0]
    heard = torch.from_numpy(np.stack([features] * batch)).to(device)
    seen = torch.stack([clip.pixels(Image.open(io.BytesIO(frame)))] * batch)
    targets = torch.randn(batch, clip.dim)
    amp = Amp(precision, device)
    both = contrast_step(model, lambda _: (heard, targets), ContrastConfig(), World())
    optimiser = optimiser_of(model)
    both(0, amp)
    return {
        "FLAC decoding (10 s, 44.1 kHz, stereo)": timed(lambda: shard.audio(0), device),
        "features": timed(lambda: extract_features(channels, sample_rate, VIP_ANT, None), device),
        "frame: JPEG decoding and resizing (live only)": timed(
            lambda: clip.pixels(Image.open(io.BytesIO(frame))), device
        ),
        "image tower forward (live only)": timed(
            lambda: image_vectors(clip, seen, device, amp), device, 3
        )
        / batch,
        "audio tower forward and backward": timed(lambda: both(0, amp), device, 3) / batch,
        "optimiser": timed(optimiser.step, device, 3) / batch,
    }


def timed(call: Callable[[], object], device: torch.device, n: int = 15) -> float:
    """Median milliseconds of a call; the first does not count."""
    call()
    took = []
    for _ in range(n):
        finish(device)
        began = time.perf_counter()
        call()
        finish(device)
        took.append(1000 * (time.perf_counter() - began))
    return statistics.median(took)


def finish(device: torch.device) -> None:
    """Wait until the GPU has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
