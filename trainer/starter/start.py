"""Where the audio tower begins: weights of an earlier stage in place of random ones."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from trainer.loop import TrainingError
from trainer.towers.compact import AudioTower

#: The last projection leads into the space of the vectors it learnt from, so each stage has its own.
OWN = "project."


def body_of(tower: AudioTower) -> dict[str, Tensor]:
    """The tower's weights and running means by name, all but those of the last projection."""
    return {name: v for name, v in tower.state_dict().items() if not name.startswith(OWN)}


def start_from(tower: AudioTower, weights: Path) -> list[str]:
    """Fill the tower with the weights of a safetensors file, and return the names that were filled.

    weights: named as in `body_of`, with the same shapes and types. A last projection in it is not
    read; the tower keeps its own. Of another mean and standard deviation of the features the tower
    takes no notice, as it undoes them itself. The tower changes wholly or not at all.
    Raises TrainingError for a file that cannot be read or is not of such a tower.
    """
    if not weights.is_file():
        raise TrainingError(
            f"{weights}: there is no such file; expected an audio tower's weights as safetensors"
        )
    try:
        found = {k: v for k, v in load_file(weights).items() if not k.startswith(OWN)}
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"{weights}: cannot be read ({error}); expected an audio tower's weights as safetensors"
        ) from error
    wanted = body_of(tower)
    for names, what in ((wanted.keys() - found.keys(), "lacks"), (found.keys() - wanted, "holds")):
        if names:
            raise TrainingError(
                f"{weights}: not the weights of this audio tower, it {what} {min(names)} "
                f"({len(names)} such names; {len(wanted)} are expected); "
                "take a file that was made with the same tower settings"
            )
    for name, tensor in wanted.items():
        if _kind(found[name]) != _kind(tensor):
            raise TrainingError(
                f"{weights}: {name} is {_kind(found[name])}, expected {_kind(tensor)}; "
                "take a file that was made with the same tower settings"
            )
        if not torch.isfinite(found[name]).all():
            raise TrainingError(
                f"{weights}: {name} is not finite everywhere; take a run that did not diverge"
            )
    tower.load_state_dict(found, strict=False)
    return list(wanted)


def _kind(tensor: Tensor) -> str:
    """Type and shape in words, such as "float32 of 48 x 1 x 4 x 8"."""
    shape = " x ".join(map(str, tensor.shape)) or "one number"
    return f"{str(tensor.dtype).removeprefix('torch.')} of {shape}"
