"""The outline of a recording's waveform: the extremes of short stretches, small enough to store."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from soundsearch.arrays import Array

Extremes = NDArray[np.uint8]

#: Stretches a second of a long recording: 2.4 kB a minute.
PER_SECOND = 20
#: A recording that lasts less than this many of them has finer ones: up to so many a second.
MOST_FINE = 1200
FINEST_PER_SECOND = 32 * PER_SECOND


@dataclass(frozen=True)
class Peaks:
    """The outline of a waveform.

    Attributes:
        per_second: Stretches a second. Stretch i begins at i / per_second of a player's clock.
        values: (n, 2) uint8: how far the samples of a stretch, of all channels, reach below and
            above zero, as 255 times the square root of the amplitude: so quiet recordings keep
            their shape. `(value / 255) ** 2` is the amplitude, 1 for all that is beyond full scale.
    """

    per_second: float
    values: Extremes

    def reduced(self, most: int) -> Peaks:
        """Return the same outline in at most this many stretches, 1 or more."""
        step = math.ceil(len(self.values) / most)
        return self if step <= 1 else _joined(self, step)


class PeakMeter:
    """Makes peaks of samples as they come; no more than a block of them is in memory.

    Args:
        sample_rate: Hz, at least FINEST_PER_SECOND.
        start_s: The second, on the clock of a player, of the first sample.
    """

    def __init__(self, sample_rate: int, start_s: float = 0.0) -> None:
        self._sample_rate, self._start_s = sample_rate, start_s
        self._per_second = FINEST_PER_SECOND
        self._n_samples = 0
        self._values = bytearray()  # of all stretches, the last of which may go on

    def add(self, block: Array) -> None:
        """Add the next samples, (channel, time) float32; how they are cut into blocks is no matter."""
        n_channels, n_samples = block.shape
        if n_samples == 0:
            return
        first = self._stretch_of(self._n_samples)
        begun = self._n_samples
        self._n_samples += n_samples
        stretches = np.arange(first, self._stretch_of(self._n_samples - 1) + 1)
        starts = -(-stretches * self._sample_rate // self._per_second) - begun
        starts[0] = 0
        in_time = block.T.reshape(-1)  # as the samples lie in most files: no copy
        starts *= n_channels
        found = np.stack(
            [-np.minimum.reduceat(in_time, starts), np.maximum.reduceat(in_time, starts)], axis=1
        )
        with np.errstate(invalid="ignore"):  # `AudioFile` refuses samples that are not finite
            values = np.rint(255 * np.sqrt(np.clip(found, 0, 1))).astype(np.uint8)
        if 2 * first < len(self._values):  # it was begun by the block before
            values[0] = np.maximum(values[0], np.frombuffer(self._values[-2:], np.uint8))
            del self._values[-2:]
        self._values += values.tobytes()
        while len(self._values) > 2 * MOST_FINE and self._per_second > PER_SECOND:
            self._values = bytearray(_joined(self._so_far(), 2).values.tobytes())
            self._per_second //= 2

    def peaks(self) -> Peaks:
        """The peaks of all samples so far, from the beginning of the player's clock on."""
        before = np.zeros((round(self._start_s * self._per_second), 2), np.uint8)
        return Peaks(self._per_second, np.concatenate([before, self._so_far().values]))

    def _so_far(self) -> Peaks:
        values = np.frombuffer(bytes(self._values), np.uint8)
        return Peaks(self._per_second, values.reshape(-1, 2))

    def _stretch_of(self, sample: int) -> int:
        return sample * self._per_second // self._sample_rate


def _joined(peaks: Peaks, step: int) -> Peaks:
    """Every so many stretches as one; the last may be of fewer."""
    starts = np.arange(0, len(peaks.values), step)
    return Peaks(peaks.per_second / step, np.maximum.reduceat(peaks.values, starts, axis=0))
