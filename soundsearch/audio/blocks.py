"""Blocks of samples, (channel, time) float32: how large they are, and with how many channels."""

from __future__ import annotations

import numpy as np

from soundsearch.arrays import Array

#: Samples decoded at a time, of all channels together, and of one channel.
BLOCK_SAMPLES = 1 << 18
CHANNEL_SAMPLES = 1 << 17


def block_length(n_channels: int) -> int:
    """Samples of each channel in one block, so that its size does not grow with the channels."""
    return max(1, min(CHANNEL_SAMPLES, BLOCK_SAMPLES // n_channels))


def with_channels(samples: Array, n_channels: int) -> Array:
    """The same sound with another number of channels.

    Args:
        samples: (channel, time) float32.
        n_channels: The number wanted. More channels are the given ones, repeated in turn; fewer are
            means, each of the channels that fall together when they are counted off in turn.

    Returns:
        (n_channels, time) float32; `samples` itself where it has as many channels.
    """
    if len(samples) == n_channels:
        return samples
    if len(samples) < n_channels:
        return samples[np.arange(n_channels) % len(samples)]
    return np.stack([samples[i::n_channels].mean(axis=0) for i in range(n_channels)])


def joined(blocks: list[Array]) -> Array:
    """Blocks (channel, time) as one. The list is emptied, so that no sample is in memory twice."""
    n_samples = sum(block.shape[1] for block in blocks)
    whole = np.empty((len(blocks[0]), n_samples), np.float32)
    place = 0
    blocks.reverse()
    while blocks:
        block = blocks.pop()
        whole[:, place : place + block.shape[1]] = block
        place += block.shape[1]
    return whole
