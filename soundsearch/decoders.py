"""The two decoders: an opened file to blocks of samples.

libsndfile (soundfile) reads what begins as one of its formats, FFmpeg (PyAV) the rest, and what
libsndfile cannot open, cannot measure or stops reading. Both have sample_rate (Hz), n_channels,
format, bits (24 where samples are finer than 16 bits and stored without loss, else 16), told_s and
heard_s (seconds by the header, and of sound so far), n_damaged (packets left out) and lost_s: by how
much the two lengths may differ in a file that is whole.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from soundsearch.errors import AudioError, Cause
from soundsearch.headers import begins_as_sound, clock_s, mp3_frames, told_frames
from soundsearch.unwritten import Unwritten, WithHeader, goes_on

if TYPE_CHECKING:
    import av

Array = NDArray[np.float32]
#: From (channel, time) to what is wanted of it.
Pick = Callable[[Array], Array]

#: Samples decoded at a time, of all channels together, and of one channel.
BLOCK_SAMPLES = 1 << 18
BLOCK_FRAMES = 1 << 17
#: As many frames are told by libsndfile of a file that it cannot measure.
UNKNOWN_FRAMES = 1 << 62
#: Encodings of libsndfile with more than 16 bits a sample.
DEEP_SUBTYPES = frozenset(
    ["PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ALAC_20", "ALAC_24", "ALAC_32", "DWVW_24"]
)
#: FFmpeg's decoders without loss, whose sample format says how deep the sound is.
LOSSLESS_CODECS = frozenset(["flac", "alac", "wavpack", "tta", "truehd", "mlp", "ape", "tak"])
#: So much less sound than the header tells is damage; codecs round by less.
LOST_S = 0.1
#: The same where FFmpeg decodes: headers may count what an encoder adds to fill its packets, the
#: longest of which have LONG_PACKET samples.
LOST_FFMPEG_S = 0.25
LONG_PACKET = 4096
#: A hole in the time stamps of a damaged file is filled with silence if it is longer than HOLE_S
#: and shorter than LONGEST_HOLE_S: a damaged time stamp may lie anywhere.
HOLE_S = 0.03
LONGEST_HOLE_S = 600.0
#: Containers whose header tells the length. Of others that know a bit rate, FFmpeg guesses it.
TELL_LENGTH = frozenset(["mov", "asf", "caf"])
#: Containers that never pause: a hole in their time stamps is damage.
CONTINUOUS = frozenset(["flac", "ogg", "mp3", "wv", "caf"])


class GaveUpError(Exception):
    """libsndfile cannot go on with this file; FFmpeg may."""


class DeclaredLessError(GaveUpError):
    """libsndfile has read what the header declares, and more follows."""


def block_frames(n_channels: int) -> int:
    """Samples of each channel in one block, so that its size does not grow with the channels."""
    return max(1, min(BLOCK_FRAMES, BLOCK_SAMPLES // n_channels))


class SndfileDecoder:
    """libsndfile: WAV, AIFF, FLAC, Ogg, CAF, W64, RF64 and more. Raises GaveUpError.

    found: where the sound lies in a file whose header declares less of it.
    """

    n_damaged = 0
    lost_s = LOST_S

    def __init__(self, file: BinaryIO, found: Unwritten | None = None) -> None:
        import soundfile

        self._n_frames = 0
        self._file = file
        self._error = soundfile.LibsndfileError
        try:
            self._source = None if found is None else WithHeader(file, found)
            self._sound = soundfile.SoundFile(self._source or file.fileno(), closefd=False)
        except self._error as error:
            raise GaveUpError(str(error)) from error
        self.sample_rate: int = self._sound.samplerate
        self.n_channels: int = self._sound.channels
        self.format: str = self._sound.format if found is None else found.form
        self.bits = 24 if self._sound.subtype in DEEP_SUBTYPES else 16
        if self._sound.frames >= UNKNOWN_FRAMES:
            self._sound.close()
            raise GaveUpError("libsndfile does not know how long it is")
        self.told_s: float | None = (
            told_frames(self._sound.frames, self._sound.extra_info) / self.sample_rate
        )

    @property
    def heard_s(self) -> float:
        """Seconds of sound so far."""
        return self._n_frames / self.sample_rate

    def blocks(self, pick: Pick) -> Iterator[Array]:
        """What is picked of each block, in order. Raises GaveUpError where it cannot go on."""
        n_frames = block_frames(self.n_channels)
        while True:
            try:
                block = self._sound.read(n_frames, dtype="float32", always_2d=True)
            except self._error as error:
                raise GaveUpError(str(error)) from error
            if self._source is not None and self._source.error is not None:
                raise GaveUpError(str(self._source.error))
            if len(block) == 0:
                break
            self._n_frames += len(block)
            yield pick(block.T)
        if self.format in ("FLAC", "OGG") and goes_on(self._file, self.format):
            raise DeclaredLessError("more follows than its header declares")

    def close(self) -> None:
        """Let the library go of the file, which stays open."""
        self._sound.close()


class FFmpegSource:
    """A file as FFmpeg reads it: a seek to where a damaged header points may fail in silence."""

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.tell = file.read, file.tell
        self._file = file

    def seek(self, offset: int, whence: int) -> int:
        """As of a file, or -1."""
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError):
            return -1


class FFmpegDecoder:
    """FFmpeg through PyAV: MP3, M4A, WMA, the sound tracks of videos, and what libsndfile refuses.

    told_s: the length in seconds, where it is known already. Raises AudioError.
    """

    def __init__(self, file: BinaryIO, told_s: float | None = None) -> None:
        import av

        self._errors = (av.FFmpegError, OSError, ValueError, EOFError)
        self.n_damaged = self._n_heard = self._n_filled = 0
        self._end_s = 0.0  # by the time stamps
        av.logging.set_level(None)
        try:
            # A list of other files (a playlist, say) must not make us open them.
            self._container = av.open(FFmpegSource(file), options={"protocol_whitelist": ""})
        except self._errors as error:
            if begins_as_sound(file):
                why = getattr(error, "strerror", None) or error
                raise AudioError(Cause.DAMAGED, f"it is cut short or damaged ({why})") from error
            raise AudioError(
                Cause.NOT_AUDIO, "neither libsndfile nor FFmpeg knows this format"
            ) from error
        streams = self._container.streams.audio
        if not streams:
            is_cut = not self._container.streams and begins_as_sound(file)
            self._container.close()
            if is_cut:
                raise AudioError(Cause.DAMAGED, "it is cut short or damaged (no track is left)")
            raise AudioError(Cause.NO_SOUND, "it has no sound track")
        self._stream = streams[0]
        context = self._stream.codec_context
        if context is None:
            self._container.close()
            raise AudioError(Cause.DAMAGED, "FFmpeg does not know how its sound is encoded")
        self._stream.thread_type = "NONE"  # files are decoded side by side instead
        self.sample_rate: int = context.sample_rate or 0
        self.n_channels: int = context.channels
        if self.sample_rate <= 0 or self.n_channels <= 0:
            self._container.close()
            raise AudioError(Cause.DAMAGED, "its header gives no sample rate or no channels")
        self._form = self._container.format.name.split(",")[0]
        self.format = f"{self._form}/{context.name}".upper()
        self.bits = bits_of(context)
        self.told_s = self._told_s(file) if told_s is None else told_s
        self.lost_s = max(LOST_FFMPEG_S, 2 * LONG_PACKET / self.sample_rate)

    def _told_s(self, file: BinaryIO) -> float | None:
        """How long the sound is by the header, in seconds; None where FFmpeg only guesses."""
        import av

        stream = self._stream
        seconds = None
        if stream.duration is not None and stream.time_base is not None:
            seconds = float(stream.duration * stream.time_base)
        elif len(self._container.streams) == 1 and self._container.duration is not None:
            seconds = self._container.duration / av.time_base
        if stream.codec_context.name.startswith("pcm_") and self._form == "caf":
            return float(stream.frames) / self.sample_rate or None
        if self._form == "matroska" and "DURATION" in stream.metadata:
            return clock_s(stream.metadata["DURATION"])
        if self._form == "mp3":
            n_frames = mp3_frames(file)
            if n_frames is None or seconds is None:
                return None
            # Of files put one after the other, FFmpeg guesses all, and the first one counts its own.
            length = 1152 if self.sample_rate >= 32000 else 576
            return min(seconds, n_frames * length / self.sample_rate)
        is_guess = stream.codec_context.bit_rate and self._form not in TELL_LENGTH
        return None if is_guess else seconds

    @property
    def heard_s(self) -> float:
        """Seconds of sound so far, without what is lost, but with pauses that are meant."""
        heard_s = self._n_heard / self.sample_rate
        may_pause = self._form not in CONTINUOUS and self.n_damaged == 0
        return max(heard_s, self._end_s) if may_pause else heard_s

    def blocks(self, pick: Pick) -> Iterator[Array]:
        """What is picked of each block, in order; damaged packets are left out."""
        held: list[Array] = []
        n_held = 0
        for piece in self._pieces(pick):
            held.append(piece)
            n_held += piece.shape[-1]
            if n_held >= block_frames(self.n_channels):
                yield np.concatenate(held, axis=-1)
                held, n_held = [], 0
        if held:
            yield np.concatenate(held, axis=-1)

    def _pieces(self, pick: Pick) -> Iterator[Array]:
        """What comes out of the packets, with silence where some are lost."""
        import av

        # Interleaved: PyAV reads past the end of a frame with eight planes or more.
        to_float = av.AudioResampler(format="flt", rate=self.sample_rate)
        first_s: float | None = None
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
                decoded = [
                    (frame.time, pick(_channels(converted)))
                    for frame in packet.decode()
                    for converted in to_float.resample(frame)
                ]
            except StopIteration:
                break
            except av.EOFError:
                break
            except self._errors:
                self.n_damaged += 1
                if self.n_damaged > 1000:  # noise, not a recording with a scratch
                    break
                continue
            for at_s, piece in decoded:
                if at_s is not None:
                    first_s = at_s if first_s is None else first_s
                    for n_samples in self._hole_before(at_s - first_s):
                        yield pick(np.zeros((self.n_channels, n_samples), np.float32))
                    self._end_s = at_s - first_s + piece.shape[-1] / self.sample_rate
                self._n_heard += piece.shape[-1]
                yield piece
        rest = []
        with contextlib.suppress(*self._errors):
            rest = [pick(_channels(frame)) for frame in to_float.resample(None)]
        for piece in rest:
            self._n_heard += piece.shape[-1]
            yield piece

    def _hole_before(self, at_s: float) -> Iterator[int]:
        """Samples that are lost before the second at_s, told in blocks.

        Only a damaged file of known length has such holes; of any other the sound stays as it is.
        """
        hole_s = at_s - (self._n_heard + self._n_filled) / self.sample_rate
        if self.told_s is None or at_s > self.told_s or not HOLE_S < hole_s < LONGEST_HOLE_S:
            return
        if self.n_damaged == 0:
            if self._form not in CONTINUOUS:
                return
            self.n_damaged = 1
        n_lost = round(hole_s * self.sample_rate)
        self._n_filled += n_lost
        size = block_frames(self.n_channels)
        for start in range(0, n_lost, size):
            yield min(size, n_lost - start)

    def close(self) -> None:
        """Let the library go of the file, which stays open."""
        self._container.close()


def bits_of(context: av.AudioCodecContext) -> int:
    """24 where samples are finer than 16 bits and stored without loss, else 16."""
    sample_format = context.format.name if context.format else ""
    is_deep = sample_format[:3] not in ("u8", "u8p", "s16")
    is_lossless = context.name in LOSSLESS_CODECS or context.name.startswith("pcm_")
    return 24 if is_deep and is_lossless else 16


def _channels(frame: av.AudioFrame) -> Array:
    """Interleaved samples as (channel, time)."""
    samples: Array = frame.to_ndarray().reshape(-1, len(frame.layout.channels)).T
    return samples
