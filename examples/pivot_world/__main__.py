"""python -m examples.pivot_world: the pivot in a made-up world."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import sys
import time
from pathlib import Path

import torch

from examples.pivot_world import choice, world_results
from examples.pivot_world.experiment import Outcome, run
from examples.pivot_world.world import WorldConfig
from examples.pivot_world.world_settings import Size
from soundsearch.errors import SoundsearchError


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.pivot_world", description=__doc__)
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/pivot-world"),
        help="shards, runs and results; what is finished there is not made again",
    )
    parser.add_argument(
        "--seeds", type=int, default=1, help="how often all but the CLIP is repeated"
    )
    parser.add_argument("--clips", type=int, default=Size.n_clips, help="sounds for training")
    parser.add_argument("--epochs", type=float, default=Size.epochs, help="of the pivot stage")
    parser.add_argument("--clip-steps", type=int, default=Size.clip_steps, help="of the small CLIP")
    parser.add_argument(
        "--choose",
        action="store_true",
        help="compare settings of the captions stage, without the combinations of the table",
    )
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("examples").setLevel(logging.INFO)
    torch.set_num_threads(options.threads)
    began = time.monotonic()
    try:
        size = Size(n_clips=options.clips, epochs=options.epochs, clip_steps=options.clip_steps)
        if options.choose:
            settings(options.out, size)
        else:
            made_world(options.out, size, options.seeds)
    except SoundsearchError as error:
        sys.exit(f"error: {error}")
    print(f"\n{(time.monotonic() - began) / 60:.1f} minutes, results in {options.out}")


def made_world(out: Path, size: Size, n_seeds: int) -> None:
    def save(found: Outcome) -> None:
        about = {"size": dataclasses.asdict(size), "world": dataclasses.asdict(WorldConfig())}
        world_results.write_json(out / "results.json", {**about, **dataclasses.asdict(found)})

    found = run(out, size, WorldConfig(), range(n_seeds), save)
    print(
        world_results.table(
            {"chance": [found.chance], **found.arms, "(pictures)": [found.clip_model]}
        )
    )
    world_results.plot(out / "captions.png", found.arms, found.chance)


def settings(out: Path, size: Size) -> None:
    def save(found: choice.Choice) -> None:
        world_results.write_json(out / "choice.json", found)

    print(choice.table(choice.choose(out, size, WorldConfig(), save)))


if __name__ == "__main__":
    main()
