"""A storage in memory, as fsspec has it, with recordings in it."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from typing import Any

import fsspec
import numpy as np
import soundfile

from tests.sounds import Array


def memory() -> Any:
    return fsspec.filesystem("memory")


def wav(waveform: Array, sample_rate: int = 8000, kind: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, waveform, sample_rate, format=kind)
    return file.getvalue()


def tar(members: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as made:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            made.addfile(info, io.BytesIO(content))
    return file.getvalue()


def put(objects: Mapping[str, bytes]) -> None:
    """Put objects into the storage, by their URLs."""
    for url, content in objects.items():
        memory().pipe_file(url.removeprefix("memory:/"), content)


def sawtooth(hz: float, seconds: float = 1.0, sample_rate: int = 8000) -> Array:
    """A sound whose samples differ all along, so that a lost one is seen."""
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    return (0.5 * (2 * ((hz * time) % 1) - 1)).astype(np.float32)
