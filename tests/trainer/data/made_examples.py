"""Clips for shards, small and known."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.sounds import noise
from trainer.data.example import Example, ExampleFacts
from trainer.data.sound_files import flac

RATE = 8000


def picture(level: int, kind: str = "JPEG") -> bytes:
    """An image file, evenly gray."""
    file = io.BytesIO()
    Image.new("RGB", (8, 6), (level,) * 3).save(file, kind)
    return file.getvalue()


def waveform(n: int, n_channels: int = 2) -> NDArray[np.float32]:
    """Sound number n, (channels, time), in whole steps of 16 bits."""
    channels = np.stack([noise(0.02, RATE, seed=10 * n + i) for i in range(n_channels)])
    return (np.rint(channels * 2**15) / 2**15).astype(np.float32)


def clip(n: int, n_frames: int = 2, captions: tuple[str, ...] = ()) -> Example:
    """Clip number n."""
    times = tuple(n + i / 2 for i in range(n_frames))
    facts = ExampleFacts(f"video {n}.mp4", n, n + 1.0, RATE, times, captions, ("a", "b"))
    return Example(facts, flac(waveform(n), RATE, 16), tuple(map(picture, range(n_frames))))
