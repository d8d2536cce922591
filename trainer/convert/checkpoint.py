"""Read the .pth checkpoints of the VIP-ANT authors as data.

Such a file is a pickle with two entries: `cfg`, the settings of the run as an OmegaConf tree, and
`model`, the state dicts of the towers. It is read by torch's restricted unpickler, which allows
only the names below. An empty class replaces those of OmegaConf, so that the package is not needed. A
file with any other name is refused, and nothing of it is run.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainer.convert import ConversionError

#: Length of the tuple `model` -> place of the audio tower: (image, audio, text, loss) or (audio, loss).
AUDIO_AT = {4: 1, 2: 0}
#: A reference from one setting to another.
REFERENCE = re.compile(r"\$\{([\w.]+)\}")


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint of the authors.

    Attributes:
        path: Of the file.
        audio: Weights of the audio tower by name.
        config: Settings of the run as nested dicts and lists, with references between them as
            they were written, such as "${running.audio.max_len}".
    """

    path: Path
    audio: Mapping[str, Tensor]
    config: Mapping[str, Any]

    def setting(self, name: str) -> Any:
        """Return a setting by its dotted name, with references resolved; None if there is none."""
        return _looked_up(self.config, name, 0)


class _Node:
    """Replaces every class of OmegaConf; stores its state."""

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _plain_dict(_default: object = None) -> dict[Any, Any]:
    """Replace defaultdict, which torch's unpickler constructs but cannot fill."""
    return {}


#: Classes and functions of a checkpoint's settings, with the names that its pickle may use.
ALLOWED: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (_Node, "omegaconf.dictconfig.DictConfig"),
    (_Node, "omegaconf.listconfig.ListConfig"),
    (_Node, "omegaconf.nodes.AnyNode"),
    (_Node, "omegaconf.base.Metadata"),
    (_Node, "omegaconf.base.ContainerMetadata"),
    (_plain_dict, "collections.defaultdict"),
    (typing.cast(Callable[..., Any], typing.Any), "typing.Any"),
    dict,
    list,
    int,
]


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint of the authors, with tensors on the CPU.

    Raises:
        ConversionError: The file is missing, damaged, or of another kind, or its pickle needs more
            than weights and settings; nothing of it is run.
    """
    found = _unpickled(path)
    if not isinstance(found, dict) or not {"cfg", "model"} <= found.keys():
        held = ", ".join(map(str, found)) if isinstance(found, dict) else type(found).__name__
        raise ConversionError(
            f"{path}: not a VIP-ANT checkpoint, expected the entries cfg and model, found {held[:80]}"
        )
    towers = found["model"]
    if not isinstance(towers, tuple) or len(towers) not in AUDIO_AT:
        n = len(towers) if isinstance(towers, tuple | list) else type(towers).__name__
        raise ConversionError(
            f"{path}: not a VIP-ANT checkpoint, expected the weights of 4 towers (image, audio, "
            f"text, loss) or 2 (audio, loss), found {n}"
        )
    audio = towers[AUDIO_AT[len(towers)]]
    if not isinstance(audio, Mapping) or not all(isinstance(v, Tensor) for v in audio.values()):
        raise ConversionError(f"{path}: the entry of the audio tower holds no weights")
    if not audio:
        raise ConversionError(f"{path}: the entry of the audio tower is empty")
    config = _plain(found["cfg"])
    if not isinstance(config, Mapping):
        raise ConversionError(f"{path}: its settings (cfg) are no mapping")
    return Checkpoint(path, audio, config)


def _unpickled(path: Path) -> Any:
    with torch.serialization.safe_globals(ALLOWED):
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except OSError as error:
            raise ConversionError(f"{path}: cannot be read ({error.strerror or error})") from error
        except Exception as error:  # torch and pickle raise a dozen kinds
            unknown = _unknown_names(path)
            if unknown:
                raise ConversionError(
                    f"{path}: refused, its pickle asks for {', '.join(unknown[:3])}, which weights "
                    "and settings have no use for; nothing of it was run"
                ) from error
            raise ConversionError(
                f"{path}: not a checkpoint of torch, or damaged; fetch it anew"
            ) from error


def _unknown_names(path: Path) -> list[str]:
    """Return the names in the pickle beyond the allowed ones, without running it."""
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(str(path)))
    except Exception:  # not an archive of torch at all
        return []


def _plain(value: Any) -> Any:
    """Convert an OmegaConf tree of replaced classes to dicts, lists and values."""
    if isinstance(value, _Node):
        value = value.state.get("_content", value.state.get("_val"))
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value


def _looked_up(config: Mapping[str, Any], name: str, depth: int) -> Any:
    value: Any = config
    for key in name.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return _followed(config, value, depth)


def _followed(config: Mapping[str, Any], value: Any, depth: int) -> Any:
    if isinstance(value, list):
        return [_followed(config, inner, depth) for inner in value]
    if isinstance(value, str) and (reference := REFERENCE.fullmatch(value)) and depth < 10:
        return _looked_up(config, reference[1], depth + 1)
    return value
