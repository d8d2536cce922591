"""Side files of shards: safetensors files, written atomically and mapped into memory.

The safetensors library copies a whole file into memory; here one mapping holds all of its tensors,
so that thousands of files can be open, and processes on a machine share their pages.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soundsearch.files import write_atomically
from trainer.data.example import ShardError

#: The longest header a safetensors file may have.
MOST_HEADER_BYTES = 100_000_000
DTYPES = {"F16": "<f2", "F64": "<f8", "I32": "<i4", "I64": "<i8"}

Tensors = dict[str, NDArray[Any]]


def write_side_file(
    path: Path, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]
) -> None:
    """Write a safetensors file atomically. Raises ShardError if that fails."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    try:
        with write_atomically(path) as temporary:
            save_file(dict(tensors), temporary, dict(metadata))
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ShardError(f"{path}: cannot be written ({reason})") from error


def map_side_file(path: Path, remedy: str) -> tuple[Tensors, dict[str, str]]:
    """The tensors of a safetensors file, mapped into memory, and its metadata.

    Args:
        path: Of the file.
        remedy: What makes the file, the end of a message.

    Raises:
        ShardError: The file is missing, cut off, or no such file.
    """
    try:
        with open(path, "rb") as file:
            n_bytes = os.fstat(file.fileno()).st_size
            n_header = int.from_bytes(file.read(8), "little")
            if not 0 < n_header <= min(n_bytes - 8, MOST_HEADER_BYTES):
                raise ValueError("its header is cut off")
            header = json.loads(file.read(n_header))
            content = np.memmap(file, np.uint8, "r")
        metadata = header.pop("__metadata__")
        start = 8 + n_header
        wanted = start + max((entry["data_offsets"][1] for entry in header.values()), default=0)
        if n_bytes != wanted:
            raise ValueError(f"it has {n_bytes} bytes, its header promises {wanted}")
        tensors = {}
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            dtype, shape = np.dtype(DTYPES[entry["dtype"]]), tuple(entry["shape"])
            if end - begin != dtype.itemsize * math.prod(shape):
                raise ValueError(f"the size of {name} does not fit its shape")
            tensors[name] = np.ndarray(shape, dtype, content, start + begin)
    except FileNotFoundError as error:
        raise ShardError(f"{path}: not there yet; {remedy}") from error
    except OSError as error:
        raise ShardError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ShardError(
            f"{path}: damaged or no safetensors file ({error}); delete it and {remedy}"
        ) from error
    return tensors, metadata


def check_rows(first: NDArray[np.int64], rows: NDArray[Any]) -> None:
    """Raise ValueError unless example i can own rows[first[i] : first[i + 1]], and all have an owner."""
    if (
        not rows.ndim
        or first.ndim != 1
        or not first.size
        or first[0] != 0
        or (np.diff(first) < 0).any()
        or first[-1] != len(rows)
    ):
        raise ValueError("its tensors do not fit each other")
