"""Clips a second of the pivot stage: log-mels that are mapped against sound that is decoded.

The audio encoder is the paper's, at full size with random weights; clips are ten seconds of stereo
at 44.1 kHz. One run measures, for both ways of reading: reading alone (in one process, and with
--workers), the step alone, and both together with the share of the time that the loop waits. Where
the time of one clip goes is measured apart, with what an image tower in the loop would add, as
VIP-ANT's code has it. From this follows how many cores have to read for a GPU.

"Core" milliseconds are processor time, the least of several calls, so that other programs of the
machine change them little. All files are in the page cache. With many steps a second, take --steps well above twice --workers:
the first steps live on what was read ahead.
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
from trainer.data.log_mels import find_log_mels, log_mels_path
from trainer.data.order import Order
from trainer.data.shard_folder import ShardFolder
from trainer.data.shard_writer import write_shards
from trainer.data.sound_files import flac
from trainer.data.stored_targets import StoredTargets
from trainer.data.stream import Batches, Positions
from trainer.data.vectors import VectorsFacts, vectors_path, write_vectors
from trainer.front_ends import VIP_ANT, extract_features
from trainer.lars import Lars
from trainer.loop import Amp, Step
from trainer.runs import StageConfig, build_tower, torch_device
from trainer.store_log_mels import store_log_mels
from trainer.torchrun import World
from trainer.towers.clip_model import ClipChoice, FrozenClip

SAMPLE_RATE, CLIP_S, N_FRAMES = 44_100, 10.0, 4
FRAME_SIZE = (640, 360)
MODEL = "ViT-B-32-quickgelu"
#: Arithmetic of one clip through the audio tower, forward and backward: 3 x 56 GFLOP.
TFLOP_A_CLIP = 0.168
#: TFLOP a second that a GPU may sustain; the clips a second that it then wants are printed.
SUSTAINED_TFLOPS = (100, 200, 400)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--batch", type=int, default=8, help="clips a step (the paper: 432)")
    parser.add_argument("--steps", type=int, default=4, help="measured steps; 0: read alone")
    parser.add_argument("--workers", type=int, default=1, help="processes that read")
    parser.add_argument("--precisions", default="bf16")
    parser.add_argument("--clips", type=int, default=64, help="different clips on disk")
    options = parser.parse_args()
    device = torch_device(options.device)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "shards")
        clip_model = random_clip(device)
        write_shards(made_clips(options.clips), folder)
        data = ShardFolder(folder)
        store_random_vectors(data, clip_model)
        where = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
        print(f"{where}, {os.cpu_count()} cores, {torch.get_num_threads()} threads of torch,")
        print(f"{options.workers} workers, batches of {options.batch}, {options.clips} clips")
        storing(folder, options.clips)
        room(data, options.clips)
        read_ms = {way: reading(data, clip_model, way, options) for way in ("sound", "log-mels")}
        for precision in options.precisions.split(",") if options.steps else ():
            model = Contrast(build_tower(StageConfig(stage="pivot"), clip_model.dim), 1 / 0.07).to(
                device
            )
            rate = step_alone(model, precision, device, options)
            for way in read_ms:
                both(data, clip_model, way, model, precision, device, options)
            wanted(read_ms, f"this machine's step in {precision}", rate)
        for sustained in SUSTAINED_TFLOPS:
            wanted(read_ms, f"a GPU that sustains {sustained} TFLOP/s", sustained / TFLOP_A_CLIP)
        print("\nparts, milliseconds a clip, each apart:")
        for what, ms in parts(data, clip_model, device, options.batch).items():
            print(f"    {what:44}{ms:9.2f}")


def storing(folder: Path, n_clips: int) -> None:
    """How fast `train features` is, with one thread and with one a core."""
    print("\nstoring log-mels:")
    for n_workers in sorted({1, os.cpu_count() or 1}):
        for path in folder.glob("*.log-mel.*"):
            path.unlink()
        began, began_cpu = time.perf_counter(), time.process_time()
        store_log_mels(folder, VIP_ANT, n_workers=n_workers)
        rate = n_clips / (time.perf_counter() - began)
        ms = 1000 * (time.process_time() - began_cpu) / n_clips
        print(f"    {n_workers} threads: {rate:.1f} clips a second, {ms:.1f} core ms a clip")


def room(data: ShardFolder, n_clips: int) -> None:
    """Bytes of a clip on disk."""
    shards = range(len(data.shards))
    sound = sum(len(data.open(n).audio_bytes(i)) for n in shards for i in range(data.counts[n]))
    stored = sum(log_mels_path(path, VIP_ANT).stat().st_size for path in data.shards)
    print("\nroom on disk, kB a clip:")
    print(f"    {sound / n_clips / 1e3:.1f} as FLAC, {stored / n_clips / 1e3:.1f} as log-mel")


def examples_of(data: ShardFolder, clip_model: FrozenClip, way: str) -> Positions:
    """The examples of the loop, read one way or the other."""
    order = Order([np.arange(n) for n in data.counts], seed=0)
    targets = StoredTargets(data, "images", clip_model.encoder)
    log_mels = find_log_mels(data, VIP_ANT) if way == "log-mels" else None
    return Positions(data, order, targets, VIP_ANT, 0, log_mels)


def reading(
    data: ShardFolder, clip_model: FrozenClip, way: str, options: argparse.Namespace
) -> float:
    """Measure reading alone; returns milliseconds of one core a clip."""
    examples = examples_of(data, clip_model, way)
    n_mels, n_frames = examples.shape
    batch = torch.empty(n_frames, n_mels, dtype=examples.dtype).numpy().T
    vector = torch.empty(clip_model.dim).numpy()
    position = iter(range(10**9))
    ms = core_ms(lambda: examples.fill(next(position), batch, vector), 100)
    n_steps = 30 + 4 * options.workers
    batches = Batches(examples, options.batch, n_steps, World(), options.workers)
    batches(0)
    began = time.perf_counter()
    for step in range(1, n_steps):
        batches(step)
    rate = options.batch * (n_steps - 1) / (time.perf_counter() - began)
    batches.close()
    print(f"\nreading alone, {way}:")
    print(f"    {ms:.2f} core ms a clip: {1000 / ms:.0f} clips a second for each core")
    print(f"    into batches by {options.workers} workers: {rate:.0f} clips a second")
    return ms


def step_of(model: Contrast, batches: Callable[[int], tuple[Tensor, Tensor]]) -> Step:
    return contrast_step(model, batches, ContrastConfig(), World())


def step_alone(
    model: Contrast, precision: str, device: torch.device, options: argparse.Namespace
) -> float:
    """Measure the step on a batch that is there; returns clips a second."""
    features = torch.randn(options.batch, 128, 1000, device=device)
    vectors = torch.randn(options.batch, 512, device=device)
    step, amp = step_of(model, lambda _: (features, vectors)), Amp(precision, device)
    optimiser = optimiser_of(model)

    def run() -> None:
        optimiser.zero_grad(set_to_none=True)
        step(0, amp)
        optimiser.step()

    rate = 1000 * options.batch / timed(run, device, options.steps)
    print(f"\nthe step alone, {precision}: {rate:.2f} clips a second", end="")
    if device.type == "cpu":
        ms = core_ms(run, 1) / options.batch
        rate = 1000 * (os.cpu_count() or 1) / ms
        print(f"; {ms:.0f} core ms a clip, {rate:.2f} clips a second on all cores", end="")
    print()
    return rate


def both(
    data: ShardFolder,
    clip_model: FrozenClip,
    way: str,
    model: Contrast,
    precision: str,
    device: torch.device,
    options: argparse.Namespace,
) -> None:
    """Measure reading and step together."""
    # Workers that have no more to fetch would leave the last steps faster than they are.
    n_steps = options.steps + 2 + 2 * max(1, options.workers)
    examples = examples_of(data, clip_model, way)
    batches = Batches(examples, options.batch, n_steps, World(), options.workers, device)
    step, amp, optimiser = step_of(model, batches), Amp(precision, device), optimiser_of(model)
    seconds, waits = [], []
    for number in range(options.steps + 1):
        began, waited = time.perf_counter(), batches.waited_s
        optimiser.zero_grad(set_to_none=True)
        step(number, amp)
        optimiser.step()
        finish(device)
        seconds.append(time.perf_counter() - began)
        waits.append(batches.waited_s - waited)
    batches.close()
    rate = options.batch / statistics.median(seconds[1:])  # the first one starts the workers
    share = sum(waits[1:]) / sum(seconds[1:])
    print(f"both, {way + ',':9} {precision}: {rate:20.2f} clips a second, waits {share:.1%}")


def wanted(read_ms: Mapping[str, float], who: str, rate: float) -> None:
    """How many cores have to read for so many clips a second."""
    cores = ", ".join(f"{rate * ms / 1000:.2f} for {way}" for way, ms in read_ms.items())
    print(f"cores that read for {who}, {rate:.0f} clips a second: {cores}")


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


def store_random_vectors(data: ShardFolder, clip_model: FrozenClip) -> None:
    """What `train embed-images` would store, as far as time goes."""
    random = np.random.default_rng(0)
    facts = VectorsFacts(
        "images", clip_model.encoder, MODEL, "random", clip_model.fingerprint, clip_model.dim
    )
    for n, path in enumerate(data.shards):
        rows = [
            random.normal(size=(N_FRAMES, clip_model.dim)).astype(np.float32)
            for _ in range(data.counts[n])
        ]
        write_vectors(vectors_path(path, "images", clip_model.encoder), rows, facts, data.digest(n))


def optimiser_of(model: Contrast) -> Lars:
    """LARS as the pivot stage has it."""
    weights = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups: list[dict[str, object]] = [
        {"params": weights, "weight_decay": 1e-6},
        {"params": others},
    ]
    return Lars(groups, lr=1e-4)


def parts(
    data: ShardFolder, clip_model: FrozenClip, device: torch.device, batch: int
) -> Mapping[str, float]:
    """Milliseconds a clip of what reading does, and of an image tower in the loop."""
    shard = data.open(0)
    channels, sample_rate = shard.audio(0)
    frame = shard.frames(0)[0]
    seen = torch.stack([clip_model.pixels(Image.open(io.BytesIO(frame)))] * batch).to(device)

    def image_tower() -> None:
        with torch.no_grad():
            clip_model.model.encode_image(seen)  # type: ignore[operator]

    return {
        "FLAC decoding (10 s, 44.1 kHz, stereo), core": core_ms(lambda: shard.audio(0)),
        "features, core": core_ms(lambda: extract_features(channels, sample_rate, VIP_ANT, None)),
        "frame: JPEG decoding and resizing, core": core_ms(
            lambda: clip_model.pixels(Image.open(io.BytesIO(frame)))
        ),
        "image tower forward, fp32": timed(image_tower, device, 3) / batch,
        "image tower forward, fp32, core": core_ms(image_tower, 3) / batch,
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


def core_ms(call: Callable[[], object], n: int = 15) -> float:
    """Least milliseconds of processor time of a call, of all threads: the one least disturbed."""
    call()
    took = []
    for _ in range(n):
        began = time.process_time()
        call()
        took.append(1000 * (time.process_time() - began))
    return min(took)


def finish(device: torch.device) -> None:
    """Wait until the GPU has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
