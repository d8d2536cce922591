"""Read the weights of a CLIP checkpoint as data, and load them into a model of open_clip.

A checkpoint that would run Python code is refused.
"""

from __future__ import annotations

import textwrap
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from soundsearch.errors import SoundsearchError

#: What checkpoints may hold beside weights: sizes (OpenAI's archives), and computed buffers.
NOT_WEIGHTS = frozenset(
    [
        "input_resolution",
        "context_length",
        "vocab_size",
        "attn_mask",
        "text.attn_mask",
        "text.transformer.embeddings.position_ids",
    ]
)


class ClipError(SoundsearchError):
    """A CLIP model cannot be found, read or run."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the state dict of a CLIP checkpoint, on the CPU, in the file's own precision.

    Three formats are read: .safetensors; files of torch.save, with `weights_only`, so that a pickle
    of anything but tensors is refused; and TorchScript archives, as OpenAI's .pt files are. Of an
    archive only the weights are taken: TorchScript is not Python, none of its methods is called,
    and an archive with `__setstate__`, the one method that loading itself calls, is refused.

    Raises:
        ClipError: The file is missing, damaged, of another format, or would run code.
    """
    try:
        found = _read(path)
    except ClipError:
        raise
    except OSError as error:
        raise ClipError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # torch and safetensors raise a dozen kinds for a damaged file
        reason = "; it holds more than weights" if "weights_only" in str(error) else ""
        raise ClipError(
            f"{path}: not a checkpoint that can be read safely{reason}; expected .safetensors, a "
            "state dict saved by torch, or OpenAI's .pt"
        ) from error
    if isinstance(found, Mapping) and isinstance(found.get("state_dict"), Mapping):
        found = found["state_dict"]  # a training checkpoint of open_clip
    if not isinstance(found, Mapping) or not all(isinstance(v, Tensor) for v in found.values()):
        raise ClipError(f"{path}: not a CLIP checkpoint, it holds no state dict")
    return {str(name).removeprefix("module."): value for name, value in found.items()}


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    if not _is_torchscript(path):
        return torch.load(path, map_location="cpu", weights_only=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the format
        archive: nn.Module = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
    return archive.state_dict()


def _is_torchscript(path: Path) -> bool:
    """Return whether a file is a TorchScript archive. Raises ClipError if loading it runs code."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if not any(name.endswith("/constants.pkl") for name in names):
            return False
        if any(name.endswith(".py") and b"__setstate__" in archive.read(name) for name in names):
            raise ClipError(
                f"{path}: a TorchScript archive that runs code when it is loaded; "
                "expected one of weights alone"
            )
    return True


def load_weights(model: nn.Module, path: Path, model_name: str) -> None:
    """Load a checkpoint into a model of open_clip.

    All weights must be there with the model's own shapes. open_clip's load_checkpoint is not used:
    it resizes position tables, and reads no TorchScript archive.

    Args:
        model: The model; its weights are replaced.
        path: Of the checkpoint.
        model_name: Of the model, for messages.

    Raises:
        ClipError: As `read_weights`, or the weights are those of another model.
    """
    from open_clip.convert import convert_state_dict
    from open_clip.model import convert_to_custom_text_state_dict

    weights = convert_state_dict(model, read_weights(path))
    expected = model.state_dict()
    if "positional_embedding" in weights and "positional_embedding" not in expected:
        weights = convert_to_custom_text_state_dict(weights)
    weights = {name: value for name, value in weights.items() if name not in NOT_WEIGHTS}
    if expected.keys().isdisjoint(weights):
        raise ClipError(f"{path}: not a CLIP checkpoint, none of its tensors is one of CLIP's")
    if "logit_scale" in weights and weights["logit_scale"].numel() == 1:
        weights["logit_scale"] = weights["logit_scale"].reshape(expected["logit_scale"].shape)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        detail = textwrap.shorten(str(error).splitlines()[1], 200, placeholder=" ...")
        raise ClipError(
            f"{path}: not a checkpoint of {model_name} ({detail.rstrip('.')}); choose its model"
        ) from error
