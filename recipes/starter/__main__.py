"""Run the recipe of the starter up to the learning of its audio tower.

python -m recipes.starter DATA --run RUN
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from recipes.starter.config import StarterConfig
from recipes.starter.manifests import find_data
from recipes.starter.recipe import prepare
from soundsearch.errors import SoundsearchError


def main(arguments: list[str] | None = None) -> None:
    """Decode the recordings and make the text tower; print the run folder."""
    parser = argparse.ArgumentParser(
        prog="python -m recipes.starter", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("data", type=Path, help="folder with sounds.csv, esc10.csv and captions/")
    parser.add_argument(
        "--run",
        type=Path,
        required=True,
        help="folder for intermediate results; an interrupted run goes on there",
    )
    parser.add_argument("--seed", type=int, default=0, help="of every random choice")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        prepare(find_data(options.data), options.run, StarterConfig().seeded(options.seed))
    except SoundsearchError as error:
        sys.exit(f"error: {error}")
    sys.stdout.write(f"{options.run}\n")


if __name__ == "__main__":
    main()
