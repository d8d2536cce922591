"""Side files of shards: safetensors files, written atomically and mapped into memory.

Thousands of them can be open, and processes on a machine share their pages.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sized
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soundsearch.files import write_atomically
from trainer.data.example import ShardError


def write_side_file(
    path: Path, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str], digest: str
) -> None:
    """Write a side file atomically. digest: the shard's. Raises ShardError if that fails."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    try:
        with write_atomically(path) as temporary:
            save_file(dict(tensors), temporary, {**metadata, "shard": digest})
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ShardError(f"{path}: cannot be written ({reason})") from error


class SideFile:
    """A side file of a shard, mapped into memory.

    Attributes:
        path: Of the file.
        metadata: Texts by name.
    """

    def __init__(self, path: Path, digest: str | None, remedy: str) -> None:
        """Map a file.

        Args:
            path: Of the file.
            digest: The shard's as it is now; None to take the file without asking.
            remedy: What makes the file, the end of a message.

        Raises:
            ShardError: The file is missing, cut off, no such file, or made from another shard.
        """
        from safetensors import SafetensorError, safe_open

        self.path, self._remedy = path, remedy
        try:
            with safe_open(path, "pt") as file:  # NumPy's tensors would be copies
                self.metadata: dict[str, str] = file.metadata() or {}
                self._tensors: dict[str, NDArray[Any]] = {
                    name: file.get_tensor(name).numpy()
                    for name in file.keys()  # noqa: SIM118
                }
        except FileNotFoundError as error:
            raise self.unfit("not there yet") from error
        except OSError as error:
            raise ShardError(f"{path}: cannot be read ({error.strerror or error})") from error
        except SafetensorError as error:
            n_bytes = path.stat().st_size
            raise ShardError(
                f"{path}: damaged or no safetensors file of {n_bytes} bytes ({error}); delete it "
                f"and {remedy}"
            ) from error
        made_from = self.metadata.get("shard")
        if digest is not None and digest != made_from:
            raise self.unfit(f"made from another shard ({made_from}, this one is {digest})")

    def unfit(self, reason: str) -> ShardError:
        """Return the error for a file that does not fit."""
        return ShardError(f"{self.path}: {reason}; {self._remedy}")

    def tensor(self, name: str) -> NDArray[Any]:
        """Return a tensor, a view of the file. Raises ShardError if there is none."""
        if name not in self._tensors:
            raise self.unfit(f"not a file of this kind, it lacks {name}")
        return self._tensors[name]

    def rows(self, name: str, first: str = "first") -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Return a tensor, and a copy of `first`: example i owns its rows first[i] to first[i + 1].

        Raises ShardError unless all rows have an owner.
        """
        rows, places = self.tensor(name), np.array(self.tensor(first), np.int64)
        if (
            not rows.ndim
            or places.ndim != 1
            or not places.size
            or places[0] != 0
            or (np.diff(places) < 0).any()
            or places[-1] != len(rows)
        ):
            raise self.unfit("damaged, its tensors do not fit each other")
        return rows, places


def firsts_of(rows: Iterable[Sized]) -> NDArray[np.int64]:
    """Return `first` of the rows of each example, see `SideFile.rows`."""
    return np.cumsum([0, *map(len, rows)], dtype=np.int64)
