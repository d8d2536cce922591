"""Run the recipe of the shipped encoder.

python -m recipes.starter DATA --run RUN --out BUNDLE
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import sys
from pathlib import Path

from recipes.starter.constants import StarterConfig
from recipes.starter.manifests import find_data
from recipes.starter.recipe import make_starter
from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.errors import SoundsearchError


def main(arguments: list[str] | None = None) -> None:
    """Make the bundle; print its folder."""
    parser = argparse.ArgumentParser(
        prog="python -m recipes.starter", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "data", type=Path, help="folder with sounds.csv, esc10.csv, captions/ and teachers/"
    )
    parser.add_argument(
        "--run",
        type=Path,
        required=True,
        help="folder for intermediate results; an interrupted run goes on there",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the random choices of the audio tower's learning"
    )
    parser.add_argument(
        "--repeat",
        type=Path,
        action="append",
        default=[],
        help="bundle of another seed, whose numbers the card shows, too; may be repeated",
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    config = dataclasses.replace(StarterConfig(), seed=options.seed)
    try:
        repeats = [EncoderBundle.read(folder) for folder in options.repeat]
        make_starter(find_data(options.data), options.run, options.out, config, repeats=repeats)
    except SoundsearchError as error:
        sys.exit(f"error: {error}")
    sys.stdout.write(f"{options.out}\n")


if __name__ == "__main__":
    main()
