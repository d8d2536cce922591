"""Sound at another sample rate, by soxr, block by block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from soundsearch.arrays import Array
from soundsearch.audio.blocks import block_length

#: soxr's 20-bit setting.
QUALITY = "HQ"


class Resampler:
    """Converts a stream of blocks from one sample rate, in Hz, to another.

    Blocks are (channel, time) float32, or (time,) where there is one channel. However long those
    that go in are, and whatever the rates, those that come out have about `block_length` samples
    a channel at most. How the sound was cut into blocks changes no sample.
    """

    def __init__(self, from_hz: int, to_hz: int, n_channels: int) -> None:
        import soxr

        self._stream = soxr.ResampleStream(
            from_hz, to_hz, n_channels, dtype="float32", quality=QUALITY
        )
        self._size = max(1, block_length(n_channels) * min(from_hz, to_hz) // to_hz)
        self._n_channels = n_channels

    def convert(self, block: Array) -> Iterator[Array]:
        """Blocks of what can be computed once this one is known, of as many dimensions, float32."""
        for start in range(0, block.shape[-1], self._size):
            part = block[..., start : start + self._size]
            yield self._stream.resample_chunk(np.ascontiguousarray(part.T)).T

    def finish(self) -> Array:
        """The rest, (channel, time) float32, once the last block has come."""
        nothing = np.zeros((0, self._n_channels), np.float32)
        rest: Array = self._stream.resample_chunk(nothing, last=True).T
        return rest


def resample(blocks: Iterable[Array], from_hz: int, to_hz: int) -> Iterator[Array]:
    """The same sound at another sample rate.

    Args:
        blocks: All (time,) float32, or all (channel, time) with as many channels.
        from_hz: Their sample rate.
        to_hz: The sample rate wanted. Where it is the same, the blocks come out as they are.

    Returns:
        Blocks of the same number of dimensions; see `Resampler`.
    """
    if from_hz == to_hz:
        yield from blocks
        return
    resampler: Resampler | None = None
    is_mono = False
    for block in blocks:
        if resampler is None:
            is_mono = block.ndim == 1
            resampler = Resampler(from_hz, to_hz, 1 if is_mono else len(block))
        yield from resampler.convert(block)
    if resampler is not None:
        rest = resampler.finish()
        yield rest[0] if is_mono else rest
