"""Weights for an audio tower to begin with, from sounds and pictures alone.

    python -m examples.pivot_start DATA --out runs/pivot_start

The pivot stage, with the front end `starter` and the compact tower, on the recordings of
pairs/pairs.csv that sounds.csv counts to its training split, each against its pictures. No recording
of the validation split takes part, and the small CLIP sees no picture that belongs to those alone.
The result is a run folder that `soundsearch train captions --init` takes.

The pictures' vectors are those of the small CLIP of `examples.pivot_world`, trained on these very
pictures and their captions. So all that can be learnt here is which sounds go with like pictures.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import sys
import time
from pathlib import Path

import torch

from examples.pivot_world import pairs, report
from examples.pivot_world.experiment import make_shards
from examples.pivot_world.pairs import Recording
from recipes.starter.manifests import read_sounds
from soundsearch.errors import SoundsearchError
from trainer.pivot import train_pivot
from trainer.runs import read_run
from trainer.stage import Machine
from trainer.towers.clip_model import load_clip
from trainer.towers.compact import AudioTowerConfig

logger = logging.getLogger(__name__)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m examples.pivot_start", description=__doc__.splitlines()[0]
    )
    parser.add_argument("data", type=Path, help="folder with sounds.csv and pairs/pairs.csv")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/pivot_start"),
        help="shards, run and weights; what is finished there is not made again",
    )
    parser.add_argument("--epochs", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1, help="processes that decode")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(options.threads)
    began = time.monotonic()
    try:
        training, asked = choose(options.data)
        run = make(training, asked, options.out, options.epochs, options.seed, options.workers)
    except SoundsearchError as error:
        sys.exit(f"error: {error}")
    print(f"\n{(time.monotonic() - began) / 60:.1f} minutes, the run is {run}")


def choose(data: Path) -> tuple[list[Recording], list[Recording]]:
    """Paired recordings to train on, and those of the validation split whose concept is among them.

    By sounds.csv; a recording that it does not list is in neither. Raises SoundsearchError.
    """
    clips = {clip.path: clip for clip in read_sounds(data)}
    chosen: dict[str, list[Recording]] = {"train": [], "valid": []}
    for recording in pairs.read_pairs(data):
        clip = clips.get(recording.path)
        if clip is not None:
            chosen[clip.split].append(recording)
    concepts = {recording.concept for recording in chosen["train"]}
    return chosen["train"], [r for r in chosen["valid"] if r.concept in concepts]


def make(
    training: list[Recording],
    asked: list[Recording],
    folder: Path,
    epochs: float,
    seed: int,
    n_workers: int,
) -> Path:
    """The pivot stage in `folder`; prints what it learnt, and returns the run folder."""
    clip_model = load_clip(pairs.train_on_pictures(training, folder / "clip"))
    make_shards(folder / "shards", pairs.packed(training, training, pairs.read_or_skip), clip_model)
    config = dataclasses.replace(
        pairs.pivot_config(seed),
        compact=AudioTowerConfig(),
        epochs=epochs,
        precision="bf16",
        save_every=25,
    )
    machine = Machine(device="cpu", n_workers=n_workers)
    run = read_run(
        train_pivot(folder / "shards", folder / f"run-{epochs:g}-{seed}", config, machine)
    )
    sounds = {recording.path: pairs.read_or_skip(recording.path) for recording in asked}
    known = {"validation split": [r for r in asked if sounds[r.path]]}
    print(
        f"trained on {run.config['data']['n_clips']} recordings and "
        f"{len({picture for r in training for picture in r.pictures})} pictures of "
        f"{len({r.concept for r in training})} concepts; "
        f"asked with {len(known['validation split'])} recordings"
    )
    found = pairs.measure(run.folder, known, sounds, clip_model)
    print(report.table({"chance": [pairs.chance_of(known)], "pivot": [found]}))
    return run.folder


if __name__ == "__main__":
    main()
