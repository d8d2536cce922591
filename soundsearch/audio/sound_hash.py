"""A hash of the sound of a recording, whatever file format and tags it has."""

from __future__ import annotations

import struct

import numpy as np
import xxhash

from soundsearch.arrays import Array


class SoundHash:
    """XXH3-128 of decoded samples; no more than a block of them is in memory.

    What is hashed: sample rate and number of channels as little-endian 32-bit numbers, then the
    samples as little-endian float32, those of one moment together. So it is the same for all files
    that hold the same samples without loss, such as WAV and FLAC.

    Args:
        sample_rate: Hz.
        n_channels: Those of the file.
    """

    def __init__(self, sample_rate: int, n_channels: int) -> None:
        self._digest = xxhash.xxh3_128(struct.pack("<II", sample_rate, n_channels))

    def add(self, block: Array) -> None:
        """Add the next samples, (channel, time) float32; how they are cut into blocks is no matter."""
        in_time = np.add(block.T, np.float32(0), order="C")  # also makes -0 the same as 0
        self._digest.update(in_time.astype("<f4", copy=False).data)

    def digest(self) -> bytes:
        """The hash of all samples so far, 16 bytes."""
        return self._digest.digest()
