"""Files to windows: decode, make mono, resample, cut.

In: a path. Out: mono windows at the encoder's sample rate, one after the other, so a recording of
many hours needs no more memory than a short one. Two decoders stand behind it (`decoders.py`), and
only here is held together what a file says it has and what was heard (`headers.py`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from soundsearch.decoders import FFmpegDecoder, GaveUpError, Pick, SndfileDecoder
from soundsearch.errors import AudioError, Cause
from soundsearch.files import NotRegularFileError, open_regular
from soundsearch.headers import SNDFILE_MAGIC, lacks_its_end

Array = NDArray[np.float32]
#: How channels become one: their mean, or the first alone.
Channels = Literal["mean", "first"]
#: What a recording shorter than one window becomes.
Short = Literal["repeat", "repeat-whole", "zeros", "keep"]
#: What stands for a whole short recording.
Clip = Literal["windows", "centre"]

#: Shorter recordings are refused: there is nothing in them to hear.
SHORTEST_S = 0.010
#: A window whose samples all lie below one step of 16-bit audio is silence and gets no embedding.
SILENCE_PEAK = 2.0**-15
#: A sample beyond this is no sound: its power would overflow in the features.
LARGEST_SAMPLE = 1e12
#: Slower recordings are refused by an encoder that listens at the recording's own rate.
LOWEST_RATE_HZ = 1000
#: How finely soxr resamples; HQ is its 20-bit setting.
RESAMPLING_QUALITY = "HQ"
#: Marks a field that bundles were first written without: at its default it is not told.
ADDED_LATER = {"added later": True}


@dataclass(frozen=True, kw_only=True)
class AudioConfig:
    """How a bundle wants its windows.

    sample_rate: Hz, or None for the recording's own (VIP-ANT). window_s, hop_s: seconds.
    short: what a recording shorter than one window becomes: repeated, repeated as often as it fits
    whole and then filled up with zeros (CLAP), filled up with zeros, or left as it is for the
    front end to pad.
    channels: what a window is made of where there are several channels.
    clip: what stands for a whole short recording: all its windows, or one stretch of window_s at
    its centre (see `clips.py`).
    """

    sample_rate: int | None
    window_s: float
    hop_s: float
    short: Short = "repeat"
    channels: Channels = field(default="mean", metadata=ADDED_LATER)
    clip: Clip = field(default="windows", metadata=ADDED_LATER)

    def __post_init__(self) -> None:
        if self.sample_rate is not None and self.sample_rate < LOWEST_RATE_HZ:
            raise ValueError(
                f"sample_rate must be {LOWEST_RATE_HZ} Hz or more, or null, not {self.sample_rate}"
            )
        if not 0 < self.hop_s <= self.window_s:
            raise ValueError(f"need 0 < hop_s <= window_s, not {self.hop_s} and {self.window_s}")
        if self.short not in get_args(Short):
            raise ValueError(
                f"short must be one of {', '.join(get_args(Short))}, not {self.short!r}"
            )
        if self.channels not in ("mean", "first"):
            raise ValueError(f"channels must be mean or first, not {self.channels!r}")
        if self.clip not in ("windows", "centre"):
            raise ValueError(f"clip must be windows or centre, not {self.clip!r}")

    def rate_for(self, sample_rate: int) -> int:
        """Rate in Hz at which the encoder hears a recording of this rate.

        Raises AudioError where that is the recording's own and below LOWEST_RATE_HZ.
        """
        rate = self.sample_rate or sample_rate
        if rate < LOWEST_RATE_HZ:
            raise AudioError(
                Cause.TOO_SLOW,
                f"its sample rate is {rate} Hz, this encoder needs at least {LOWEST_RATE_HZ} Hz",
            )
        return rate


@dataclass(frozen=True)
class Window:
    """A stretch of a recording that gets one embedding.

    waveform: (time,) float32 mono at the encoder's rate; longer than end_s - start_s where a
    short recording was filled up to a whole window.
    """

    start_s: float
    end_s: float
    waveform: Array

    @property
    def is_silent(self) -> bool:
        """Whether nothing in it reaches one step of 16-bit audio."""
        return is_silent(self.waveform)


def is_silent(waveform: Array) -> bool:
    """Whether no sample, of any channel, reaches one step of 16-bit audio."""
    return bool(np.abs(waveform).max(initial=0.0) < SILENCE_PEAK)


class AudioFile:
    """An opened recording: its facts, and its sound as mono blocks or all channels at once.

    It can be read once. sample_rate: Hz. n_channels: those of the file. format: such as "WAV" or
    "MOV/AAC". damage: after reading, one sentence if the file was only partly readable.
    Raises AudioError if the file holds no audio that either decoder can open.
    """

    def __init__(self, path: Path) -> None:
        self.damage: str | None = None
        self._file = _open(path)
        try:
            if os.fstat(self._file.fileno()).st_size == 0:
                raise AudioError(Cause.EMPTY, "the file is empty (0 bytes)")
            self._decoder = self._open_decoder()
        except BaseException:
            self._file.close()
            raise
        self.sample_rate = self._decoder.sample_rate
        self.n_channels = self._decoder.n_channels
        self.format = self._decoder.format

    def _open_decoder(self) -> SndfileDecoder | FFmpegDecoder:
        begins = self._file.read(4)
        self._file.seek(0)
        if begins in SNDFILE_MAGIC:
            try:
                return SndfileDecoder(self._file)
            except GaveUpError:
                self._file.seek(0)
        return FFmpegDecoder(self._file)

    @property
    def position_bytes(self) -> int:
        """How far into the file the decoder has got, about; to tell how much of it is left."""
        return self._file.tell()

    def blocks(self, channels: Channels = "mean") -> Iterator[Array]:
        """Mono blocks in order, (time,) float32, at the file's own sample rate.

        channels: what they are made of. Where libsndfile gives up in the middle, FFmpeg goes on
        from there. Raises AudioError for samples that are not finite, and when nothing at all can
        be decoded.
        """
        return self._checked(_mean if channels == "mean" else _first)

    def all_channels(self) -> Array:
        """The whole sound, (channel, time) float32, at the file's own sample rate; as `blocks`."""
        return np.concatenate(list(self._checked(np.ascontiguousarray)), axis=1)

    def _checked(self, pick: Pick) -> Iterator[Array]:
        n_frames = 0
        for block in self._decoded(pick):
            sound = np.abs(block) <= LARGEST_SAMPLE
            if not sound.all():
                first = int(np.argwhere(~sound)[:, -1].min())
                at_s = (n_frames + first) / self.sample_rate
                is_finite = np.isfinite(block[..., first]).all()
                what = "too large to be sound" if is_finite else "NaN or infinite"
                raise AudioError(
                    Cause.NOT_FINITE, f"it holds samples that are {what} (first at {at_s:.2f} s)"
                )
            n_frames += block.shape[-1]
            yield block
        if n_frames == 0:
            raise AudioError(Cause.DAMAGED, self.damage or "the file holds no samples")

    def _decoded(self, pick: Pick) -> Iterator[Array]:
        n_done = 0
        try:
            for block in self._decoder.blocks(pick):
                n_done += block.shape[-1]
                yield block
            self.damage = self._what_is_lost()
        except GaveUpError as error:
            reason = str(error).rstrip(".")
        else:
            return
        n_found = 0
        told_s = self._decoder.told_s
        self._decoder.close()
        self._file.seek(0)
        try:
            self._decoder = FFmpegDecoder(self._file, told_s)
            rate = self._decoder.sample_rate  # of an Opus file, say, libsndfile tells another one
            for block in resample(self._decoder.blocks(pick), rate, self.sample_rate):
                new = block[..., max(0, n_done - n_found) :]
                n_found += block.shape[-1]
                if new.size:
                    yield new
            self.damage = self._what_is_lost()
        except AudioError:
            pass
        if n_found <= n_done:
            self.damage = f"decoding stopped at {n_done / self.sample_rate:.1f} s ({reason})"

    def _what_is_lost(self) -> str | None:
        """One sentence if less was heard than the file tells of; only here the two are compared."""
        heard_s, told_s = self._decoder.heard_s, self._decoder.told_s
        n_damaged = self._decoder.n_damaged
        packets = f"damaged packets were left out: {n_damaged}"
        if told_s is not None and told_s - heard_s > self._decoder.lost_s:
            lost = f"only {heard_s:.1f} s of {told_s:.1f} s could be decoded"
            return f"{lost} ({packets})" if n_damaged else lost
        if self.format.startswith("OGG") and lacks_its_end(self._file):
            return f"it is cut short after {heard_s:.1f} s"
        return packets if n_damaged else None

    def close(self) -> None:
        """Close the file; reading on is an error."""
        self._decoder.close()
        self._file.close()

    def __enter__(self) -> AudioFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _open(path: Path) -> BinaryIO:
    """Open a regular file by any name there may be; unbuffered, as libsndfile reads too."""
    try:
        return open_regular(path, buffering=0)
    except OSError as error:
        raise unreadable(error) from error


def unreadable(error: OSError) -> AudioError:
    """What it means for a recording that its file cannot be opened or read."""
    if isinstance(error, FileNotFoundError):
        return AudioError(Cause.VANISHED, "the file is not there any more")
    if isinstance(error, PermissionError):
        return AudioError(Cause.NOT_PERMITTED, "permission to read it is denied")
    if isinstance(error, NotRegularFileError):
        return AudioError(Cause.UNREADABLE, f"it is {error.strerror}")
    return AudioError(Cause.UNREADABLE, f"it cannot be read ({error.strerror})")


def in_one(channels: Array, rule: Channels) -> Array:
    """(channel, time) to mono (time,), by the rule of the bundle. A copy."""
    return _mean(channels) if rule == "mean" else _first(channels)


def _first(channels: Array) -> Array:
    return np.array(channels[0])


def _mean(channels: Array) -> Array:
    """(channel, time) to (time,): the mean, so that no channel is lost and none clips."""
    mono = np.array(channels[0])
    with np.errstate(over="ignore", invalid="ignore"):  # `blocks` tells of infinite samples
        for channel in channels[1:]:  # faster than mean(axis=0) on interleaved samples
            mono += channel
    if len(channels) > 1:
        mono /= np.float32(len(channels))
    return mono


def resample(blocks: Iterable[Array], from_hz: int, to_hz: int) -> Iterator[Array]:
    """The same sound at another rate, block by block; how it was cut into blocks leaves no trace.

    blocks: all (time,), or all (channel, time) of as many channels.
    """
    if from_hz == to_hz:
        yield from blocks
        return
    import soxr

    stream = None
    for block in blocks:
        if stream is None:
            n_channels = 1 if block.ndim == 1 else len(block)
            stream = soxr.ResampleStream(
                from_hz, to_hz, n_channels, dtype="float32", quality=RESAMPLING_QUALITY
            )
        yield stream.resample_chunk(np.ascontiguousarray(block.T)).T
    if stream is not None:
        yield stream.resample_chunk(np.zeros_like(block.T[:0]), last=True).T


def cut_windows(blocks: Iterable[Array], sample_rate: int, config: AudioConfig) -> Iterator[Window]:
    """Windows every config.hop_s seconds, the last one aligned to the end: no gap, no random crop.

    blocks: (time,) float32 at sample_rate Hz. A recording shorter than a window gives one window.
    Raises AudioError for a recording under SHORTEST_S.
    """
    size = round(config.window_s * sample_rate)
    hop = round(config.hop_s * sample_rate)
    held = np.zeros(0, np.float32)
    held_from = 0  # place in the recording of held[0], in samples
    next_start = 0

    def window(start: int) -> Window:
        waveform = held[start - held_from : start - held_from + size].copy()
        return Window(start / sample_rate, (start + size) / sample_rate, waveform)

    for block in blocks:
        held = np.concatenate((held, block))
        while held_from + held.size >= next_start + size:
            yield window(next_start)
            next_start += hop
        # The last window cut may have to be moved to the end: keep all it could need.
        keep_from = max(held_from, next_start - hop)
        held = held[keep_from - held_from :]
        held_from = keep_from
    n_samples = held_from + held.size
    refuse_too_short(n_samples, sample_rate)
    if n_samples < size:
        yield Window(0.0, n_samples / sample_rate, fill_up(held, size, config.short))
    elif n_samples > next_start - hop + size:
        yield window(n_samples - size)


def refuse_too_short(n_samples: int, sample_rate: int) -> None:
    """Raise AudioError for a recording under SHORTEST_S."""
    if n_samples < SHORTEST_S * sample_rate:
        raise AudioError(
            Cause.TOO_SHORT,
            f"it lasts {1000 * n_samples / sample_rate:.2g} ms, at least {1000 * SHORTEST_S:.0f} ms are needed",
        )


def fill_up(waveform: Array, size: int, rule: Short) -> Array:
    """What a waveform (time,) of fewer than `size` samples becomes; see AudioConfig.short."""
    if rule == "repeat":
        return np.resize(waveform, size)
    if rule == "repeat-whole":
        waveform = np.tile(waveform, size // waveform.size)
    if rule in ("zeros", "repeat-whole"):
        return np.pad(waveform, (0, size - waveform.size))
    return waveform


def read_windows(file: AudioFile, config: AudioConfig) -> Iterator[Window]:
    """The windows of an opened recording at the rate the encoder wants. Raises AudioError."""
    sample_rate = config.rate_for(file.sample_rate)
    blocks = resample(file.blocks(config.channels), file.sample_rate, sample_rate)
    return cut_windows(blocks, sample_rate, config)
