"""Stage 1, the pivot: sounds against pictures of the same moments. No word is seen.

The pictures' vectors come from a frozen CLIP and were stored once (`soundsearch train
embed-images`), so a step runs the audio tower alone. For each clip and each time it comes up, one
of its frames and one place of its sound are drawn at random.

Source: VIP-ANT ("VA"), `cvap/monitor/cvap.py`, `bash/*.sh`. Differs from it in that image vectors
are stored, in that batches run on from one epoch into the next, and in bfloat16 where the authors
have float16.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainer.checks import MakeCheck
from trainer.data.shards import ShardFolder
from trainer.data.targets import StoredTargets
from trainer.runs import StageConfig
from trainer.stage import Machine, Watch, run_stage

#: The paper's setting: CLIP's tower, LARS, batches of 432, ten epochs of warm-up. The released
#: checkpoints are of epochs 11 to 21.
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
    """Train on shards with stored image vectors; returns the run folder. See `run_stage`."""

    def targets_of(data: ShardFolder, encoder: str) -> StoredTargets:
        return StoredTargets(data, "images", encoder)

    return run_stage(
        shards, folder, config, "images", targets_of, machine, checks=checks, watch=watch
    )
