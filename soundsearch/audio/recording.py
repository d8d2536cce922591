"""Files to windows: decode, make mono, resample, cut.

In: a path. Out: mono windows at the encoder's sample rate, one after the other, so a recording of
many hours needs no more memory than a short one. This module chooses the decoder (`sndfile.py`,
`ffmpeg.py`, `chained.py`), and compares the declared length with the decoded one.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from soundsearch.arrays import Array
from soundsearch.audio.blocks import joined
from soundsearch.audio.chained import ChainedDecoder
from soundsearch.audio.decoder import DeclaredLessError, Decoder, GaveUpError
from soundsearch.audio.ffmpeg import FFmpegDecoder
from soundsearch.audio.file_part import FilePart
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
from soundsearch.audio.mixdown import one_channel
from soundsearch.audio.peaks import PeakMeter, Peaks
from soundsearch.audio.resampling import resample
from soundsearch.audio.sndfile import SndfileDecoder
from soundsearch.audio.sound_hash import SoundHash
from soundsearch.audio.suffixes import FORM_OF_SUFFIX
from soundsearch.audio.understated import find_understated
from soundsearch.audio.windows import (
    SILENT_PASSAGE,
    WHOLLY_SILENT,
    AudioConfig,
    Channels,
    Window,
    cut_windows,
    refuse_rate,
)
from soundsearch.errors import AudioError, Cause
from soundsearch.files import NotRegularFileError, open_regular

#: A sample beyond this is no sound: its power would overflow in the features.
LARGEST_SAMPLE = 1e12
#: The most samples, of all channels together, of a recording that is decoded as a whole: 1 GiB.
MOST_CLIP_SAMPLES = 1 << 28


class AudioFile:
    """An opened recording: its facts, and its sound as mono blocks or all channels at once.

    It can be read once.

    Args:
        source: The path of a file, or the content of one, opened for reading.
        suffix: Ending of the name of such a content, which helps where its beginning is unknown; a
            path has one.

    Attributes:
        sample_rate: Hz.
        n_channels: Those of the file.
        format: Such as "WAV" or "MOV/AAC".
        bits: 24 where its samples are finer than 16 bits and stored without loss, else 16.
        start_s: The second, on the clock of a player, of the first sample; 0 except for sound that
            begins late in a film.
        damage: After reading, one sentence if the file was only partly readable.
        note: One sentence if it holds more than was read, such as other sound tracks.

    Raises:
        AudioError: The file holds no audio that a decoder can open; or as `refuse_rate`.
    """

    def __init__(self, source: Path | BinaryIO, suffix: str = "") -> None:
        self.damage: str | None = None
        self._declared_s: float | None = None  # where more was found than that
        self._file = self._source = _open(source) if isinstance(source, Path) else source
        try:
            if size_of(self._file) == 0:
                raise AudioError(Cause.EMPTY, "the file is empty (0 bytes)")
            suffix = source.suffix if isinstance(source, Path) else suffix
            self._decoder = self._open_decoder(suffix.lower())
            refuse_rate(self._decoder.sample_rate)
        except BaseException:
            self._file.close()
            raise
        self.sample_rate = self._decoder.sample_rate
        self.n_channels = self._decoder.n_channels
        self.format, self.bits = self._decoder.format, self._decoder.bits
        self.start_s = self._decoder.start_s
        self.note = self._decoder.note
        self._sound = SoundHash(self.sample_rate, self.n_channels)
        self._meter = PeakMeter(self.sample_rate, self.start_s)
        self.n_skipped = 0

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
        if form is None and (found := find_understated(source)):
            with contextlib.suppress(GaveUpError):
                decoder = SndfileDecoder(source, found)
                declared_s, n_bytes = decoder.declared_s, found.declared_bytes
                if n_bytes is not None and declared_s is not None and found.n_bytes:
                    self._declared_s = declared_s * n_bytes / found.n_bytes
                return decoder
            source.seek(0)
        return self._decoder_of_link(source, form)

    def _decoder_of_link(self, source: BinaryIO, form: str | None = None) -> Decoder:
        begins = source.read(4)
        source.seek(0)
        if begins in SNDFILE_MAGIC and form is None:
            with contextlib.suppress(GaveUpError):
                return SndfileDecoder(source)
        return FFmpegDecoder(source, form=form)

    @property
    def position_bytes(self) -> int:
        """How far into the file the decoder has got, about; to tell how much of it is left."""
        return self._file.tell()

    @property
    def sound_hash(self) -> bytes:
        """After reading, the hash of all samples of all channels, see `SoundHash`."""
        return self._sound.digest()

    @property
    def peaks(self) -> Peaks:
        """After reading, the outline of the waveform of all channels."""
        return self._meter.peaks()

    def skip(self, n_samples: int) -> None:
        """Go on at a later sample, or at one before it; of no effect where a decoder finds none.

        To be called before anything is read. What is skipped is in no block, and neither in
        `sound_hash` nor in `peaks`. `n_skipped` says how many samples were.
        """
        if isinstance(self._decoder, SndfileDecoder):
            self.n_skipped = self._decoder.skip(n_samples)

    def blocks(self, channels: Channels = "mean") -> Iterator[Array]:
        """Mono blocks in order, at the file's own sample rate.

        Where libsndfile gives up in the middle, FFmpeg goes on from there.

        Args:
            channels: What they are made of, see `mixdown.py`.

        Returns:
            Blocks (time,) float32.

        Raises:
            AudioError: A sample is not finite, or nothing at all can be decoded.
        """
        return self._checked(one_channel(self._measured(), self.sample_rate, channels))

    def channel_blocks(self) -> Iterator[Array]:
        """All channels in order, at the file's own sample rate.

        The first sample is at start_s of a player's clock.

        Returns:
            Blocks (channel, time) float32.

        Raises:
            AudioError: As `blocks`.
        """
        return self._checked(self._measured())

    def all_channels(self) -> Array:
        """The whole sound, at the file's own sample rate.

        It begins with the first sample, at start_s of a player's clock, without silence in front of
        that. Pauses in the middle are silence.

        Returns:
            (channel, time) float32.

        Raises:
            AudioError: As `blocks`; or it has more than MOST_CLIP_SAMPLES.
        """
        longest = MOST_CLIP_SAMPLES // self.n_channels
        blocks: list[Array] = []
        n_samples = 0
        for block in self.channel_blocks():
            blocks.append(block)
            n_samples += block.shape[1]
            if n_samples > longest:
                raise AudioError(
                    Cause.TOO_LONG,
                    f"a clip of {self.n_channels} channels at {self.sample_rate} Hz may last "
                    f"{longest / self.sample_rate:.0f} s at most, this one lasts longer; cut it",
                )
        return joined(blocks)

    def _checked(self, blocks: Iterable[Array]) -> Iterator[Array]:
        n_samples = 0
        for block in blocks:
            sound = np.abs(block) <= LARGEST_SAMPLE
            if not sound.all():
                first = int(np.argwhere(~sound)[:, -1].min())
                at_s = (self.n_skipped + n_samples + first) / self.sample_rate
                is_finite = np.isfinite(block[..., first]).all()
                what = "too large to be sound" if is_finite else "NaN or infinite"
                raise AudioError(
                    Cause.NOT_FINITE, f"it holds samples that are {what} (first at {at_s:.2f} s)"
                )
            n_samples += block.shape[-1]
            yield block
        if n_samples == 0:
            raise AudioError(Cause.DAMAGED, self.damage or "the file holds no samples")

    def _measured(self) -> Iterator[Array]:
        for block in self._decoded():
            self._sound.add(block)
            self._meter.add(block)
            yield block

    def _decoded(self) -> Iterator[Array]:
        """All channels, (channel, time), block by block."""
        n_done = self.n_skipped
        try:
            for block in self._decoder.blocks():
                n_done += block.shape[-1]
                yield block
            self.damage = self._what_is_lost()
            return
        except DeclaredLessError:
            damage = self._what_is_lost()
            self._declared_s = self._decoder.declared_s
        except GaveUpError as error:
            reason = str(error).rstrip(".")
            damage = f"decoding stopped at {n_done / self.sample_rate:.1f} s ({reason})"
        yield from self._decoded_by_ffmpeg(n_done, damage)

    def _decoded_by_ffmpeg(self, n_done: int, damage: str | None) -> Iterator[Array]:
        """What follows the n_done samples that libsndfile gave. damage: where that is nothing."""
        n_found = 0
        declared_s = self._decoder.declared_s
        self._decoder.close()
        try:
            self._decoder = FFmpegDecoder(self._source, declared_s=declared_s)
            rate = self._decoder.sample_rate  # libsndfile gives another one of an Opus file, say
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


def samples_of(
    file: AudioFile, blocks: Iterable[Array], passage: tuple[float, float]
) -> Iterator[Array]:
    """The samples of a passage of an opened recording. Nothing after it is decoded.

    Args:
        file: The recording. Its note says if it ends within the passage.
        blocks: Its blocks from the first one that was not skipped, (..., time).
        passage: (start_s, end_s) in seconds of a player's clock; the end may be infinite.

    Raises:
        AudioError: As the blocks, or the recording ends before the passage.
    """
    start_s, end_s = passage
    first = max(0, round((start_s - file.start_s) * file.sample_rate))
    stop = (end_s - file.start_s) * file.sample_rate
    n_done = file.n_skipped
    for block in blocks:
        n_block = block.shape[-1]
        part = block[..., max(0, first - n_done) : round(min(max(0, stop - n_done), n_block))]
        n_done += n_block
        if part.size:
            yield part
        if n_done >= stop:
            return
    ends = f"it ends at {file.start_s + n_done / file.sample_rate:.1f} s"
    if n_done <= first:
        raise AudioError(Cause.TOO_SHORT, f"{ends}, before the passage")
    if stop < math.inf:
        note = f"{ends}, within the passage"
        file.note = f"{file.note}; {note}" if file.note else note


def read_windows(
    file: AudioFile, config: AudioConfig, passage: tuple[float, float] | None = None
) -> Iterator[Window]:
    """The windows of an opened recording, or of a passage, at the rate the encoder wants.

    passage: as of `samples_of`; windows are cut from its beginning.
    Raises AudioError as `AudioFile.blocks` and `cut_windows`. After the last window also for a
    recording of one constant value, in which a converter of sample rates makes clicks of its
    beginning and end.
    """
    sample_rate = config.rate_for(file.sample_rate)
    constant: np.float32 | None = None
    varies = False

    def blocks() -> Iterator[Array]:
        nonlocal constant, varies
        decoded = file.blocks(config.channels)
        for block in decoded if passage is None else samples_of(file, decoded, passage):
            if not varies and block.size:
                constant = block[0] if constant is None else constant
                varies = bool((block != constant).any())
            yield block

    resampled = resample(blocks(), file.sample_rate, sample_rate)
    start_s = file.start_s if passage is None else max(file.start_s, passage[0])
    yield from cut_windows(resampled, sample_rate, config, file.bits, start_s)
    if not varies:
        raise AudioError(Cause.SILENT, WHOLLY_SILENT if passage is None else SILENT_PASSAGE)
