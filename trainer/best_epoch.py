"""Choose the epoch that stands for a run, as the paper does for each task.

By a metric of the run's log, or by running a benchmark on the weights of every epoch that was kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from soundsearch.progress import Progress, Silent
from trainer.checks import bench_check
from trainer.clip_features import LOG_MELS, StoredClips
from trainer.epochs import Picked, kept_epochs, pick_epoch
from trainer.loop import LOG, TrainingError
from trainer.model_card import read_log
from trainer.runs import read_config, read_run

#: Entries of the log of which the lowest is the best; of all others it is the highest.
LOWEST = frozenset({"loss"})
#: Entries of the log that say nothing of the weights.
NO_METRICS = frozenset({"step", "epoch", "seconds", "rate", "norm", "waited_s", "logit_scale"})


def pick_by_metric(folder: Path, metric: str) -> tuple[Picked, dict[int, float]]:
    """Pick the epoch with the best logged metric, the earliest of equal ones.

    Returns:
        The epoch, and epoch -> value of all that were kept and measured.

    Raises:
        TrainingError: No epoch was kept, or none of those has the metric.
    """
    kept = _kept(folder)
    records = {
        record["epoch"]: record for record in read_log(folder / LOG) if record.get("epoch") in kept
    }
    values = {epoch: record[metric] for epoch, record in records.items() if metric in record}
    if not values:
        known = sorted({name for record in records.values() for name in record} - NO_METRICS)
        raise TrainingError(
            f"{folder}: no epoch that was kept has {metric!r} in {LOG}; there are: "
            f"{', '.join(known) or 'none'}; measure more often with --check-every, or choose by a "
            "benchmark, NAME=FOLDER"
        )
    return _best(folder, metric, values), values


def pick_by_benchmark(
    folder: Path,
    name: str,
    place: Path,
    *,
    device: str = "auto",
    n_workers: int = 0,
    progress: Progress | None = None,
) -> tuple[Picked, dict[int, float]]:
    """Run a benchmark on every epoch that was kept, and pick the best; see `pick_by_metric`.

    Args:
        folder: The run folder.
        name: Of the benchmark, one of `trainer.checks.BENCHES`.
        place: Its folder or manifest.
        device: auto, cpu or cuda.
        n_workers: Threads that decode at first, and processes that read; 0 for none.
        progress: Is informed of every clip and epoch.

    Raises:
        ConfigError: The benchmark is unknown.
        DataSetError: The benchmark is missing or incomplete.
        TrainingError: No epoch was kept, or a clip cannot be read.
    """
    kept, progress = _kept(folder), progress or Silent()
    make, config = bench_check(name, place), read_config(folder)
    check = make(config, read_run(folder, kept[0]).vectors, n_workers=n_workers)
    stored = StoredClips(
        check.clips, config.front_end, folder / LOG_MELS, n_workers=n_workers, progress=progress
    )
    check.features = stored
    progress.begin("epochs", len(kept))
    values: dict[int, float] = {}
    for epoch in kept:
        found = check(read_run(folder, epoch).model(device))
        values[epoch] = found[check.primary_metric]
        numbers = "  ".join(f"{key} {value:.4f}" for key, value in found.items())
        progress.note(f"epoch {epoch}  {numbers}")
        progress.advance()
    stored.delete()
    return _best(folder, check.primary_metric, values), values


def _kept(folder: Path) -> list[int]:
    kept = kept_epochs(folder)
    if not kept:
        raise TrainingError(f"{folder}: no epoch was kept; train with --keep-epochs")
    return kept


def _best(folder: Path, metric: str, values: Mapping[int, float]) -> Picked:
    sign = -1 if metric in LOWEST else 1
    epoch = max(sorted(values), key=lambda number: sign * values[number])
    picked = Picked(epoch=epoch, by=metric, value=values[epoch])
    pick_epoch(folder, picked)
    return picked
