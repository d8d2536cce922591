"""Several channels to one: their mean, except where the mean loses the sound.

In: blocks of samples, all channels of them, one after the other. Out: mono blocks. Where channels
cancel (one is the other upside down) the loudest of them stands for all. What is decided depends on
the samples and their place in the recording alone, not on how it was cut into blocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from soundsearch.arrays import Array, Mask
from soundsearch.audio.windows import Channels

#: Whether channels cancel is decided for every such stretch of a recording,
SEGMENT_S = 0.5
#: shorter where the samples of all its channels would be more than these (4 MiB).
MOST_SEGMENT_SAMPLES = 1 << 20
#: Channels cancel where the power of their mean is below this share of what the mean of as many
#: independent sounds of their power has: channels of a correlation below -0.9, where there are two.
CANCELLED_SHARE = 0.1
#: A channel stands for all until another one has more than this many times its power.
CLEARLY_LOUDER = 2.0
#: From the mean to a channel, or from one to another: a linear fade of this length.
FADE_S = 0.01
#: What stands for all channels where none of them does.
MEAN = -1


def in_one(channels: Array, sample_rate: int, rule: Channels) -> Array:
    """(channel, time) at sample_rate Hz to mono (time,) float32; see `one_channel`. A copy."""
    blocks = list(one_channel([channels], sample_rate, rule))
    return np.concatenate(blocks) if blocks else np.empty(0, np.float32)


def one_channel(blocks: Iterable[Array], sample_rate: int, rule: Channels) -> Iterator[Array]:
    """Blocks of several channels to mono ones, not of the same lengths.

    Samples that are not finite come out as such.

    Args:
        blocks: Of a recording in order, each (channel, time) float32.
        sample_rate: Hz.
        rule: "first" is the first channel, whatever it holds: encoders are published that are
            trained and measured so. "mean" is the mean of all channels, except in segments where it
            has lost the sound (see CANCELLED_SHARE): there it is the loudest channel.

    Returns:
        Blocks (time,) float32.
    """
    if rule == "first":
        yield from (np.array(block[0]) for block in blocks)
        return
    mixer: _Mixer | None = None
    buffered: list[Array] = []  # the beginning of a segment
    n_buffered = 0
    for block in blocks:
        if len(block) == 1:
            yield np.array(block[0])
            continue
        mixer = mixer or _Mixer(len(block), sample_rate)
        if n_buffered:
            missing = mixer.size - n_buffered
            buffered.append(block[:, :missing])
            n_buffered += buffered[-1].shape[1]
            block = block[:, missing:]
            if n_buffered == mixer.size:
                yield mixer.mix(np.concatenate(buffered, axis=1), mixer.size)
                buffered, n_buffered = [], 0
        n_whole = block.shape[1] // mixer.size * mixer.size
        if n_whole:
            yield mixer.mix(block[:, :n_whole], mixer.size)
        if n_whole < block.shape[1]:
            buffered.append(block[:, n_whole:])
            n_buffered = buffered[-1].shape[1]
    if mixer is not None and n_buffered:
        yield mixer.mix(np.concatenate(buffered, axis=1), n_buffered)


class _Mixer:
    """Segments of several channels to mono, in order. size: samples a channel of a segment."""

    def __init__(self, n_channels: int, sample_rate: int) -> None:
        self.size = max(1, min(round(SEGMENT_S * sample_rate), MOST_SEGMENT_SAMPLES // n_channels))
        self._fade = min(round(FADE_S * sample_rate), self.size)
        self._before: int | None = None  # the channel, or MEAN, of the segment before

    def mix(self, channels: Array, size: int) -> Array:
        """(channel, time) of whole segments of this size to (time,).

        The last segment of a recording may be shorter. One of less than half the size is too short
        to judge by, and goes on as the one before, if there is one.
        """
        samples = np.ascontiguousarray(channels.T)  # (time, channel), as they lie in most files
        mono = _mean(samples.T)
        segments = samples.reshape(-1, size, samples.shape[1])
        lost = _lost(segments, mono.reshape(-1, size))
        if 2 * size < self.size and self._before is not None:
            lost[:] = self._before != MEAN
        if self._before in (None, MEAN) and not lost.any():
            self._before = MEAN
        else:
            for i, is_lost in enumerate(lost):
                piece = mono[i * size : (i + 1) * size]
                self._choose(segments[i], piece, self._loudest(segments[i]) if is_lost else MEAN)
        return mono

    def _loudest(self, segment: Array) -> int:
        """The channel that stands for a segment (time, channel) whose channels cancel."""
        power = np.einsum("tc,tc->c", segment, segment)
        loudest = int(power.argmax())
        before = self._before
        if before in (None, MEAN):
            return loudest
        return before if CLEARLY_LOUDER * power[before] >= power[loudest] else loudest

    def _choose(self, segment: Array, mean: Array, channel: int) -> None:
        """Write what stands for a segment into its mean, faded in from what stood before."""
        before = channel if self._before is None else self._before
        self._before = channel
        if channel == before == MEAN:
            return
        n_fade = min(self._fade, mean.size) if channel != before else 0
        old = mean if before == MEAN else segment[:, before]
        new = mean if channel == MEAN else segment[:, channel]
        share = np.arange(1, n_fade + 1, dtype=np.float32) / np.float32(n_fade + 1)
        faded = (1 - share) * old[:n_fade] + share * new[:n_fade]
        mean[n_fade:] = new[n_fade:]
        mean[:n_fade] = faded


def _lost(segments: Array, means: Array) -> Mask:
    """Of which segments (n, time, channel) the means (n, time) have lost the sound."""
    n_channels = segments.shape[2]
    flat = segments.reshape(len(segments), -1)
    with np.errstate(over="ignore", invalid="ignore"):
        power = np.einsum("ij,ij->i", flat, flat)
        lost: Mask = np.einsum("ij,ij->i", means, means) < power * (CANCELLED_SHARE / n_channels**2)
    return lost


def _mean(channels: Array) -> Array:
    """(channel, time) of two channels or more to (time,): the mean, so that none of them clips."""
    with np.errstate(over="ignore", invalid="ignore"):  # `AudioFile` refuses infinite samples
        mono: Array = channels[0] + channels[1]
        for channel in channels[2:]:  # faster than mean(axis=0) on interleaved samples
            mono += channel
    mono /= np.float32(len(channels))
    return mono
