"""Files to windows: decode, make mono, resample, cut.

In: a path. Out: mono windows at the encoder's sample rate, one after the other, so a recording of
many hours needs no more memory than a short one. Two decoders stand behind it
(`decoders.py`, `demux.py`), and only here is held together what a file declares and what was
decoded.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from soundsearch.audio.chained import ChainedDecoder
from soundsearch.audio.decoders import (
    DeclaredLessError,
    Decoder,
    GaveUpError,
    SndfileDecoder,
    block_frames,
)
from soundsearch.audio.demux import FFmpegDecoder
from soundsearch.audio.headers import (
    MPEG_SYNC_BYTES,
    OGG_MAGIC,
    PREFIX_BYTES,
    SNDFILE_MAGIC,
    first_byte,
    lacks_bytes,
    lacks_its_end,
    ogg_links,
    size_of,
    sound_begins,
)
from soundsearch.audio.mixdown import Channels, one_channel
from soundsearch.audio.parts import FilePart
from soundsearch.audio.resampling import open_resampler
from soundsearch.audio.suffixes import FORM_OF_SUFFIX
from soundsearch.audio.unwritten import find_unwritten
from soundsearch.errors import AudioError, Cause
from soundsearch.files import NotRegularFileError, open_regular

Array = NDArray[np.float32]
#: What a recording shorter than one window becomes.
Short = Literal["repeat", "repeat-whole", "zeros", "keep"]
#: What stands for a whole short recording.
Clip = Literal["windows", "centre"]

#: Shorter recordings are refused: there is nothing in them to hear.
SHORTEST_S = 0.010
#: What is said of a recording none of whose windows is sound.
WHOLLY_SILENT = "it is silent from beginning to end"
#: A sample beyond this is no sound: its power would overflow in the features.
LARGEST_SAMPLE = 1e12
#: Slower recordings are refused: what they can hold (below 500 Hz) no encoder can tell apart.
LOWEST_RATE_HZ = 1000
#: Faster ones are refused: no converter samples sound so fast, the header is wrong.
HIGHEST_RATE_HZ = 3_000_000
#: An encoder without a rate of its own gets a recording at its own rate, up to this one: ten
#: seconds are one window.
HIGHEST_OWN_RATE_HZ = 192_000
#: Samples, of all channels together, that are held at once where a whole clip is needed: 1 GiB.
MOST_CLIP_SAMPLES = 1 << 28


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
    channels: Channels = "mean"
    clip: Clip = "windows"

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
        """Rate in Hz at which the encoder gets a recording of this rate.

        Where the bundle names none it is the recording's own, HIGHEST_OWN_RATE_HZ at most.
        Raises AudioError as `refuse_rate`.
        """
        refuse_rate(sample_rate)
        return self.sample_rate or min(sample_rate, HIGHEST_OWN_RATE_HZ)


@dataclass(frozen=True)
class Window:
    """A stretch of a recording that gets one embedding.

    waveform: (time,) float32 mono at the encoder's rate; longer than end_s - start_s where a
    short recording was filled up to a whole window. bits: of the recording, see `AudioFile`.
    """

    start_s: float
    end_s: float
    waveform: Array
    bits: int = 16

    @property
    def is_silent(self) -> bool:
        """Whether it is silence, which gets no embedding."""
        return is_silent(self.waveform, self.bits)


def is_silent(waveform: Array, bits: int = 16) -> bool:
    """Whether a waveform, (time,) or (channel, time), is silence: digital zero, or any constant.

    That is, whether no sample reaches one step of a recording of so many bits, or none of its
    channels varies by that much. Noise of one step, such as dither, is sound. Lossy codecs count as
    16 bits: some leave noise at -101 dBFS of digital zero (AC-3, AMR).
    """
    step = 2.0 ** (1 - bits)
    highest, lowest = waveform.max(axis=-1, initial=-np.inf), waveform.min(axis=-1, initial=np.inf)
    largest = np.maximum(highest, -lowest)
    return bool(np.all((largest < step) | (highest - lowest < step)))


class AudioFile:
    """An opened recording: its facts, and its sound as mono blocks or all channels at once.

    It can be read once. sample_rate: Hz. n_channels: those of the file. format: such as "WAV" or
    "MOV/AAC". bits: 24 where its samples are finer than 16 bits and stored without loss, else 16.
    start_s: the second, on the clock of a player, of the first sample; 0 but for sound that begins
    late in a film. damage: after reading, one sentence if the file was only partly readable. note:
    one sentence if it holds more than was read, such as other sound tracks.
    Raises AudioError if the file holds no audio that either decoder can open, and as `refuse_rate`.
    """

    def __init__(self, path: Path) -> None:
        self.damage: str | None = None
        self._declared_s: float | None = None  # where more was found than that
        self._file = self._source = _open(path)
        try:
            if os.fstat(self._file.fileno()).st_size == 0:
                raise AudioError(Cause.EMPTY, "the file is empty (0 bytes)")
            self._decoder = self._open_decoder(path.suffix.lower())
            refuse_rate(self._decoder.sample_rate)
        except BaseException:
            self._file.close()
            raise
        self.sample_rate = self._decoder.sample_rate
        self.n_channels = self._decoder.n_channels
        self.format, self.bits = self._decoder.format, self._decoder.bits
        self.start_s = self._decoder.start_s
        self.note = self._decoder.note

    def _open_decoder(self, suffix: str) -> Decoder:
        """A decoder of the file; where its beginning is unknown, of what its ending explains."""
        try:
            return self._decoder_of(self._file)
        except AudioError as error:
            if error.cause is not Cause.NOT_AUDIO:
                raise
            for begin, form in self._explanations(suffix):
                self._source = cast(BinaryIO, FilePart(self._file, begin))
                with contextlib.suppress(AudioError):
                    return self._decoder_of(self._source, form)
            raise

    def _explanations(self, suffix: str) -> Iterator[tuple[int, str | None]]:
        """Where the sound may begin, and in which format, in a file whose beginning is unknown."""
        begin = first_byte(self._file)
        if begin > 0:
            yield begin, None
            if begin % 4:
                yield begin - begin % 4, None  # MP4 begins with zeros
        if (place := sound_begins(self._file, suffix)) is not None:
            yield place, None
        if (form := FORM_OF_SUFFIX.get(suffix)) is not None:
            end = min(begin + PREFIX_BYTES, size_of(self._file))
            for place in range(begin, end, MPEG_SYNC_BYTES):
                yield place, form

    def _decoder_of(self, source: BinaryIO, form: str | None = None) -> Decoder:
        """A decoder of a file or of a part of one. form: of FFmpeg, where it must be given."""
        source.seek(0)
        begins = source.read(4)
        source.seek(0)
        if begins == OGG_MAGIC and len(starts := ogg_links(source)) > 1:
            return ChainedDecoder(source, starts, self._decoder_of_link)
        if form is None and (found := find_unwritten(source)):
            with contextlib.suppress(GaveUpError):
                decoder = SndfileDecoder(source, found)
                if found.declared_bytes is not None and decoder.declared_s is not None:
                    self._declared_s = decoder.declared_s * found.declared_bytes / found.n_bytes
                return decoder
            source.seek(0)
        return self._decoder_of_link(source, form)

    def _decoder_of_link(self, source: BinaryIO, form: str | None = None) -> Decoder:
        begins = source.read(4)
        source.seek(0)
        if begins in SNDFILE_MAGIC and form is None:
            with contextlib.suppress(GaveUpError):
                return SndfileDecoder(source)
        return FFmpegDecoder(source, is_silent=is_silent, form=form)

    @property
    def position_bytes(self) -> int:
        """How far into the file the decoder has got, about; to tell how much of it is left."""
        return self._file.tell()

    def blocks(self, channels: Channels = "mean") -> Iterator[Array]:
        """Mono blocks in order, (time,) float32, at the file's own sample rate.

        channels: what they are made of, see `mixdown.py`. Where libsndfile gives up in the middle,
        FFmpeg goes on from there. Raises AudioError for samples that are not finite, and when
        nothing at all can be decoded.
        """
        return self._checked(one_channel(self._decoded(), self.sample_rate, channels))

    def all_channels(self) -> Array:
        """The whole sound, (channel, time) float32, at the file's own sample rate; as `blocks`.

        It begins with the first sample, at start_s of a player's clock: a clip whose sound begins
        late is that sound, without silence in front of it. Pauses in the middle are silence.
        Raises AudioError also where it has more than MOST_CLIP_SAMPLES, which do not fit at once.
        """
        longest = MOST_CLIP_SAMPLES // self.n_channels
        blocks: list[Array] = []
        n_frames = 0
        for block in self._checked(self._decoded()):
            blocks.append(block)
            n_frames += block.shape[1]
            if n_frames > longest:
                raise AudioError(
                    Cause.TOO_LONG,
                    f"a clip of {self.n_channels} channels at {self.sample_rate} Hz may last "
                    f"{longest / self.sample_rate:.0f} s at most, this one lasts longer; cut it",
                )
        return _joined(blocks)

    def _checked(self, blocks: Iterable[Array]) -> Iterator[Array]:
        n_frames = 0
        for block in blocks:
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

    def _decoded(self) -> Iterator[Array]:
        """All channels, (channel, time), block by block."""
        n_done = 0
        try:
            for block in self._decoder.blocks():
                n_done += block.shape[-1]
                yield block
            self.damage = self._what_is_lost()
        except DeclaredLessError:
            damage = self._what_is_lost()
            self._declared_s = self._decoder.declared_s
        except GaveUpError as error:
            reason = str(error).rstrip(".")
            damage = f"decoding stopped at {n_done / self.sample_rate:.1f} s ({reason})"
        else:
            return
        n_found = 0
        declared_s = self._decoder.declared_s
        self._decoder.close()
        try:
            self._decoder = FFmpegDecoder(self._source, is_silent=is_silent, declared_s=declared_s)
            rate = self._decoder.sample_rate  # of an Opus file, say, libsndfile tells another one
            for block in resample(self._decoder.blocks(), rate, self.sample_rate):
                new = block[..., max(0, n_done - n_found) :]
                n_found += block.shape[-1]
                if new.size:
                    yield new
            self.damage = self._what_is_lost()
        except AudioError:
            pass
        if n_found <= n_done:
            self.damage = damage

    def _what_is_lost(self) -> str | None:
        """One sentence if less, or more, was decoded than the header declares; compared only here."""
        decoded_s, declared_s = self._decoder.decoded_s, self._decoder.declared_s
        if self._declared_s is not None:
            return f"its header declares {self._declared_s:.1f} s, {decoded_s:.1f} s were read"
        n_damaged = self._decoder.n_damaged
        packets = f"damaged packets were left out: {n_damaged}"
        if (
            declared_s is not None
            and declared_s - decoded_s > self._decoder.lost_s
            and not self._decoder.has_all_packets
        ):
            lost = f"only {decoded_s:.1f} s of {declared_s:.1f} s could be decoded"
            return f"{lost} ({packets})" if n_damaged else lost
        is_ogg = self.format.startswith("OGG")
        if lacks_its_end(self._source) if is_ogg else lacks_bytes(self._source):
            return f"it is cut short after {decoded_s:.1f} s"
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


def refuse_rate(sample_rate: int) -> None:
    """Raise AudioError for a recording whose sample rate in Hz no encoder can use."""
    if sample_rate < LOWEST_RATE_HZ:
        raise AudioError(
            Cause.TOO_SLOW,
            f"its sample rate is {sample_rate} Hz, at least {LOWEST_RATE_HZ} Hz are needed",
        )
    if sample_rate > HIGHEST_RATE_HZ:
        raise AudioError(
            Cause.TOO_FAST,
            f"its sample rate is {sample_rate} Hz, at most {HIGHEST_RATE_HZ} Hz can be used",
        )


def _joined(blocks: list[Array]) -> Array:
    """Blocks (channel, time) as one. The list is emptied, so that nothing is held twice."""
    n_frames = sum(block.shape[1] for block in blocks)
    whole = np.empty((len(blocks[0]), n_frames), np.float32)
    place = 0
    blocks.reverse()
    while blocks:
        block = blocks.pop()
        whole[:, place : place + block.shape[1]] = block
        place += block.shape[1]
    return whole


def resample(blocks: Iterable[Array], from_hz: int, to_hz: int) -> Iterator[Array]:
    """The same sound at another rate, block by block; how it was cut into blocks leaves no trace.

    blocks: all (time,), or all (channel, time) of as many channels. However long they are, and
    whatever the rates, those that come out have about `block_frames` samples a channel at most.
    """
    if from_hz == to_hz:
        yield from blocks
        return
    stream = None
    size = 0
    for block in blocks:
        if stream is None:
            n_channels = 1 if block.ndim == 1 else len(block)
            size = max(1, block_frames(n_channels) * min(from_hz, to_hz) // to_hz)
            stream = open_resampler(from_hz, to_hz, n_channels)
        for start in range(0, block.shape[-1], size):
            part = block[..., start : start + size]
            yield stream.resample_chunk(np.ascontiguousarray(part.T)).T
    if stream is not None:
        yield stream.resample_chunk(np.zeros_like(block.T[:0]), last=True).T


def cut_windows(
    blocks: Iterable[Array],
    sample_rate: int,
    config: AudioConfig,
    bits: int = 16,
    start_s: float = 0.0,
) -> Iterator[Window]:
    """Windows every config.hop_s seconds, the last one aligned to the end: no gap, no random crop.

    blocks: (time,) float32 at sample_rate Hz. bits: as of an `AudioFile`. start_s: the second of
    the first sample; the windows are cut from there, and so are the same wherever the sound begins.
    A recording shorter than a window gives one window.
    Raises AudioError for a recording under SHORTEST_S.
    """
    late = round(start_s * sample_rate)  # whole samples, so that windows stay on one grid
    size = round(config.window_s * sample_rate)
    hop = round(config.hop_s * sample_rate)
    held = np.zeros(0, np.float32)
    held_from = 0  # place in the recording of held[0], in samples
    next_start = 0

    def window(start: int) -> Window:
        waveform = held[start - held_from : start - held_from + size].copy()
        begin = late + start
        return Window(begin / sample_rate, (begin + size) / sample_rate, waveform, bits)

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
        waveform = fill_up(held, size, config.short)
        yield Window(late / sample_rate, (late + n_samples) / sample_rate, waveform, bits)
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
    """The windows of an opened recording at the rate the encoder wants.

    Raises AudioError; after the last window also for a recording of one constant value, in which a
    converter of sample rates makes clicks of its beginning and end.
    """
    sample_rate = config.rate_for(file.sample_rate)
    constant: np.float32 | None = None
    varies = False

    def blocks() -> Iterator[Array]:
        nonlocal constant, varies
        for block in file.blocks(config.channels):
            if not varies and block.size:
                constant = block[0] if constant is None else constant
                varies = bool((block != constant).any())
            yield block

    resampled = resample(blocks(), file.sample_rate, sample_rate)
    yield from cut_windows(resampled, sample_rate, config, file.bits, file.start_s)
    if not varies:
        raise AudioError(Cause.SILENT, WHOLLY_SILENT)
