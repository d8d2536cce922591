"""Weights by epoch in a run folder, and which of them stand for the run.

epochs/0007.safetensors  the (averaged) weights after 7 passes over the examples
picked.json              the epoch that stands for the run, and why; without it the last weights do
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import nn

from soundsearch.config import fill, read_json
from soundsearch.files import remove_unfinished, write_text
from trainer.loop import TrainingError, save_tensors

EPOCHS = "epochs"
PICKED = "picked.json"
#: Result of a run at its end.
WEIGHTS = "weights.safetensors"


@dataclass(frozen=True, kw_only=True)
class Picked:
    """The epoch that stands for a run.

    Attributes:
        epoch: Its number, from 1.
        by: Metric that it was chosen by; None where it was named.
        value: Of the metric.
    """

    epoch: int
    by: str | None = None
    value: float | None = None


def epoch_ends(epochs: float, per_epoch: float) -> dict[int, int]:
    """Return steps -> the number of the epoch that they finish. per_epoch: steps, not rounded."""
    return {round(n * per_epoch): n for n in range(1, int(epochs) + 1)}


def epoch_path(folder: Path, epoch: int) -> Path:
    """Return the file of an epoch's weights."""
    return folder / EPOCHS / f"{epoch:04d}.safetensors"


def kept_epochs(folder: Path) -> list[int]:
    """Return the numbers of the epochs whose weights a run folder has, in order."""
    return sorted(
        int(path.stem) for path in (folder / EPOCHS).glob("*.safetensors") if path.stem.isdecimal()
    )


def keep_epoch(model: nn.Module, folder: Path, epoch: int, n_kept: int | None) -> None:
    """Write an epoch's weights, atomically, and delete those of earlier epochs.

    Args:
        model: The weights.
        folder: The run folder.
        epoch: The epoch that is finished.
        n_kept: How many of the latest epochs stay; None for all. The picked one stays, too.
    """
    path = epoch_path(folder, epoch)
    path.parent.mkdir(exist_ok=True)
    remove_unfinished(path)
    save_tensors(model.state_dict(), path)
    if n_kept is None:
        return
    picked = read_picked(folder)
    for other in [number for number in kept_epochs(folder) if number <= epoch][:-n_kept]:
        if picked is None or other != picked.epoch:
            epoch_path(folder, other).unlink()


def pick_epoch(folder: Path, picked: Picked) -> Path:
    """Let an epoch stand for a run, and return the file of its weights. Raises TrainingError."""
    path = _existing(folder, picked.epoch)
    write_text(folder / PICKED, json.dumps(asdict(picked), indent=2) + "\n")
    return path


def pick_last(folder: Path) -> Path:
    """Let the last weights stand for a run again, and return their file. Raises TrainingError."""
    path = _last(folder)
    (folder / PICKED).unlink(missing_ok=True)
    return path


def read_picked(folder: Path) -> Picked | None:
    """Return the epoch that was picked, None if none was. Raises ConfigError."""
    path = folder / PICKED
    return fill(Picked, read_json(path), f"{path}: ") if path.exists() else None


def weights_path(folder: Path, epoch: int | None = None) -> Path:
    """Return the file of an epoch's weights, without one of those that stand for the run.

    Raises:
        TrainingError: The run is not finished and no epoch was picked, or the epoch was not kept.
    """
    if epoch is None and (picked := read_picked(folder)):
        epoch = picked.epoch
    return _last(folder) if epoch is None else _existing(folder, epoch)


def _last(folder: Path) -> Path:
    path = folder / WEIGHTS
    if not path.exists():
        kept = ", or choose an epoch with `soundsearch train pick`" if kept_epochs(folder) else ""
        raise TrainingError(
            f"{folder}: not a finished run, {WEIGHTS} is missing; continue it to its end{kept}"
        )
    return path


def _existing(folder: Path, epoch: int) -> Path:
    path = epoch_path(folder, epoch)
    if not path.exists():
        raise TrainingError(
            f"{folder}: the weights of epoch {epoch} were not kept; {_choice(kept_epochs(folder))}"
        )
    return path


def _choice(kept: list[int]) -> str:
    if not kept:
        return "none were; train with --keep-epochs"
    numbers = ", ".join(map(str, kept))
    return f"choose one of {numbers}" if len(kept) > 1 else f"only {numbers} was"
