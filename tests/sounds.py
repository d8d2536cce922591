"""Small sounds, made on the spot, and files that hold them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

Array = NDArray[np.float32]


def tone(hz: float, seconds: float = 1.0, sample_rate: int = 8000, level: float = 0.5) -> Array:
    """A sine, (time,) float32."""
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    return (level * np.sin(2 * np.pi * hz * time)).astype(np.float32)


def noise(seconds: float = 1.0, sample_rate: int = 8000, seed: int = 0) -> Array:
    """White noise, (time,) float32."""
    n_samples = round(seconds * sample_rate)
    return (0.1 * np.random.default_rng(seed).standard_normal(n_samples)).astype(np.float32)


def write(path: Path, waveform: Array, sample_rate: int = 8000, subtype: str | None = None) -> Path:
    """Write (time,) or (time, channel) samples; the ending decides the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, waveform, sample_rate, subtype=subtype)
    return path


def encode(path: Path, waveform: Array, sample_rate: int, codec: str, container: str) -> Path:
    """Write mono samples with FFmpeg, for formats that libsndfile cannot write."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(codec, rate=sample_rate, layout="mono")
        stream.bit_rate = 96_000  # WMA has no default
        frame = av.AudioFrame.from_ndarray(waveform[None, :], format="fltp", layout="mono")
        frame.sample_rate = sample_rate
        fifo = av.AudioFifo()
        fifo.write(frame)
        size = stream.codec_context.frame_size or 1024
        while (part := fifo.read(size, partial=True)) is not None:
            for packet in stream.encode(part):
                output.mux(packet)
        for packet in stream.encode(None):
            output.mux(packet)
    return path
