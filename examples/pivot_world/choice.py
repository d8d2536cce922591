"""Which setting the captions stage after the pivot gets, chosen without the combinations of the table.

The combinations for training are split once more. Sounds are trained on the greater part, and the
settings are compared on the rest, with one seed that the table has not. The small CLIP is that of the
table: it has met both parts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from examples.pivot_world import world
from examples.pivot_world.experiment import (
    MACHINE,
    Numbers,
    in_brief,
    make_seed,
    train_world_clip,
)
from examples.pivot_world.world import WorldConfig
from examples.pivot_world.world_settings import CANDIDATES, Size, pivot_config
from trainer.stage import train_stage
from trainer.towers.clip_model import load_clip

logger = logging.getLogger(__name__)

#: Setting -> count of captions -> numbers.
Choice = dict[str, dict[int, Numbers]]

#: Its data are not those of a seed of the table.
SEED = 100
#: Captions: few, since it is few that a wrong setting spoils.
COUNTS = (10, 30, 100, 300)


def choose(folder: Path, size: Size, hard: WorldConfig, save: Callable[[Choice], None]) -> Choice:
    """The numbers of every setting, by counts of captions, and of the pivot alone (0 captions).

    `save` gets the numbers so far after each.
    """
    clip_model = load_clip(train_world_clip(folder / "clip", size, hard, world.split(hard)[0]))
    split = world.split_to_choose(hard)
    made = make_seed(folder / "choice", size, hard, clip_model, SEED, split)
    pivoted = train_stage(made.shards, made.folder / "pivot", pivot_config(size, SEED), MACHINE)
    found: Choice = {"pivot": {0: made.measure(pivoted)}}
    for n in COUNTS:
        for name, setting in CANDIDATES.items():
            run = made.folder / f"{name.replace(', ', '-').replace(' ', '-')}-{n}"
            trained = train_stage(made.shards, run, setting(SEED, n, str(pivoted)), MACHINE)
            numbers = found.setdefault(name, {})[n] = made.measure(trained)
            logger.info("%d captions, %s: %s", n, name, in_brief(numbers))
            save(found)
    return found


def table(found: Choice) -> str:
    """A Markdown table of percent R@1, the mean of both ways, and its mean over the counts."""
    lines = [
        "| | " + " | ".join(f"{n} captions" for n in COUNTS) + " | mean |",
        "| --- |" + " ---: |" * (len(COUNTS) + 1),
    ]
    for name, by_count in found.items():
        of = {n: 50 * (x["audio_to_text"] + x["text_to_audio"]) for n, x in by_count.items()}
        cells = [f"{of[n]:.1f}" if n in of else "" for n in COUNTS]
        lines.append(f"| {name} | {' | '.join(cells)} | {sum(of.values()) / len(of):.1f} |")
    return "\n".join(lines)
