"""Stage 1, the pivot: sounds against video frames of the same moments, without any text.

The vectors of the images come from a frozen CLIP model and are stored beforehand (`soundsearch
train embed-images`), so a step runs the audio tower alone. Each time an example is used, one of its
images and one stretch of its sound are drawn at random.

Source: VIP-ANT ("VA"), `cvap/monitor/cvap.py`, `bash/*.sh`; its values: `trainer/presets.py`. Differs from it in stored image
vectors, in batches that continue across epochs, and in bfloat16 in place of float16.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from soundsearch.progress import Progress
from trainer.checks import MakeCheck
from trainer.data.shards import ShardFolder, ShardPaths
from trainer.data.targets import StoredTargets
from trainer.presets import preset
from trainer.runs import StageConfig
from trainer.stage import Machine, Watch, run_stage

#: The preset paper-va, but the cosine ends at the last epoch, rates follow the batch, and
#: precision is the machine's.
DEFAULT = replace(
    preset("paper-va"),
    schedule_epochs=None,
    learning_rate=None,
    flat_learning_rate=None,
    precision=StageConfig.precision,
)


def train_pivot(
    shards: ShardPaths,
    folder: Path,
    config: StageConfig = DEFAULT,
    machine: Machine | None = None,
    *,
    checks: Sequence[MakeCheck] = (),
    watch: Watch | None = None,
    progress: Progress | None = None,
) -> Path:
    """Train on shards with stored image vectors, and return the run folder. See `run_stage`."""

    def targets_of(data: ShardFolder, encoder: str) -> StoredTargets:
        return StoredTargets(data, "images", encoder)

    return run_stage(
        shards,
        folder,
        config,
        "images",
        targets_of,
        machine,
        checks=checks,
        watch=watch,
        progress=progress,
    )
