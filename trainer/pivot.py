"""Stage 1, the pivot: sounds against video frames of the same moments, without any text.

The vectors of the images come from a frozen CLIP model and are stored beforehand (`soundsearch
train embed-images`), so a step runs the audio tower alone. Each time an example is used, one of its
images and one stretch of its sound are drawn at random.

Source: VIP-ANT ("VA"), `cvap/monitor/cvap.py`, `bash/*.sh`. Differs from it in stored image
vectors, in batches that continue across epochs, and in bfloat16 in place of float16.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainer.checks import MakeCheck
from trainer.data.shards import ShardFolder
from trainer.data.targets import StoredTargets
from trainer.runs import StageConfig
from trainer.stage import Machine, Watch, run_stage

#: The setting of the paper's code: CLIP's image tower, LARS, batches of 432, ten epochs of warm-up.
#: The released checkpoints are of epochs 11 to 21.
PAPER = StageConfig(stage="pivot", batch_size=432, epochs=20.0, warmup_epochs=10.0)


def train_pivot(
    shards: Path,
    folder: Path,
    config: StageConfig = PAPER,
    machine: Machine | None = None,
    *,
    checks: Sequence[MakeCheck] = (),
    watch: Watch | None = None,
) -> Path:
    """Train on shards with stored image vectors, and return the run folder. See `run_stage`."""

    def targets_of(data: ShardFolder, encoder: str) -> StoredTargets:
        return StoredTargets(data, "images", encoder)

    return run_stage(
        shards, folder, config, "images", targets_of, machine, checks=checks, watch=watch
    )
