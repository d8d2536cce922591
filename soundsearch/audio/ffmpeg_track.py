"""The packets of one sound track to samples, on the clock that a player shows.

Search and training decode sound here: `ffmpeg.py` reads one track of a file, and
`trainer/data/cutting.py` reads sound and pictures side by side. Gaps in the time stamps become
silence, sound whose format changes on the way is converted, and damaged packets are counted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from soundsearch.arrays import Array
from soundsearch.audio.blocks import block_length, with_channels
from soundsearch.audio.ffmpeg_container import (
    CONTINUOUS,
    PACKETED,
    end_of,
    ffmpeg_errors,
    form_of,
    has_pictures,
    start_of,
)
from soundsearch.audio.headers import TAGS
from soundsearch.audio.resampling import Resampler

if TYPE_CHECKING:
    import av


#: A gap in the time stamps is filled with silence if it is longer than GAP_S (shorter ones are
#: rounding) and ends before the file does. Where the length of the file is not known, it may last
#: LONGEST_UNSURE_GAP_S. A longer one, and one of more than LONGEST_GAP_S, is a damaged time stamp.
GAP_S = 0.03
LONGEST_UNSURE_GAP_S = 600.0
LONGEST_GAP_S = 24 * 3600.0
#: Time stamps that go back by more than this begin anew, as in files put one after the other.
BACK_S = 1.0
#: FFmpeg's decoders without loss, whose sample format says how deep the sound is.
LOSSLESS_CODECS = frozenset(["flac", "alac", "wavpack", "tta", "truehd", "mlp", "ape", "tak"])


class SoundTrack:
    """Packets of one sound track to samples, in order and on the clock of the file.

    The rate and the channels of the first packet that can be decoded are those of the track, unless
    they are given. Sound at another rate, with other channels or in another sample format is
    converted.

    Args:
        stream: The track, of `container`.
        container: Of `open_container`.
        sample_rate: Hz; 0 for that of the first packet.
        n_channels: Likewise.

    Attributes:
        bits: 16, or 24 for deeper sound without loss.
        start_s: The second, on a player's clock, of the first sample; None before it.
        packet_s: The second of the first packet, of which a decoder may give no samples.
        n_samples: Of a channel, so far.
        n_lost: Those among them that are silence in place of lost sound, not a pause.
        n_damaged: Packets left out, without what lies between the packets and is no sound.
        n_packets: Those that could be decoded.
    """

    def __init__(
        self, stream: av.AudioStream, container: Any, sample_rate: int = 0, n_channels: int = 0
    ) -> None:
        self.sample_rate, self.n_channels = sample_rate, n_channels
        self.bits = 16
        self.start_s: float | None = None
        self.packet_s: float | None = None
        self.n_samples = self.n_lost = self.n_damaged = self.n_packets = 0
        stream.thread_type = "NONE"  # files are decoded side by side instead
        self._stream = stream
        self._errors = ffmpeg_errors()
        self._origin_s, self._end_s = start_of(container), end_of(container)
        form = form_of(container)
        self._is_continuous = form in CONTINUOUS and not has_pictures(container)
        self._is_packeted = form in PACKETED
        self._is_mpeg = stream.codec_context.name.startswith(("mp1", "mp2", "mp3"))
        self._converter: _Converter | None = None
        self._clock_s = 0.0  # the time stamp at which the next samples should be
        self._pending: tuple[float, list[Array]] | None = None  # a gap, and the sound behind it
        self._failures: list[bool] = []  # since the last sound: whether each looks like a packet
        self._last_size = 0
        self._last_begin = b""

    @property
    def n_failed(self) -> int:
        """Packets that could not be decoded, whatever they were."""
        return self.n_damaged + len(self._failures)

    def decode(self, packet: av.Packet) -> Iterator[Array]:
        """The samples of a packet, (channel, time) float32, and the silence before them."""
        try:
            frames = self._frames(packet)
        except self._errors:
            self._fail(bytes(packet))
            return
        if self.packet_s is None and packet.pts is not None and packet.time_base is not None:
            self.packet_s = float(packet.pts * packet.time_base) - self._origin_s
        if frames:
            self.n_packets += 1
        for frame in frames:
            if self._is_mpeg:  # the decoder writes the rate of the frame before
                frame.sample_rate = self._stream.codec_context.sample_rate
            try:
                pieces = self._converted(frame)
            except self._errors:
                self._failures.append(True)
                continue
            yield from self._placed(frame, pieces)

    def fail(self) -> None:
        """The demultiplexer failed: damage, if more sound follows."""
        self._failures.append(False)

    def finish(self) -> Iterator[Array]:
        """The rest of the samples, (channel, time) float32, once all packets have come."""
        if self._pending is not None:
            yield from self._confirmed()
        rest: list[Array] = []
        if self._converter is not None:
            with contextlib.suppress(*self._errors):
                rest = self._converter.finish()
        yield from self._counted(rest)
        # What comes behind the last sound is a packet cut off, or no sound at all.
        self.n_damaged += sum(self._failures)
        self._failures = []

    def _frames(self, packet: av.Packet) -> list[av.AudioFrame]:
        """Decode a packet, if need be without what a parser took for its end."""
        import av

        try:
            frames = list(packet.decode())
        except self._errors:
            if self._is_packeted or not 0 < self._last_size < packet.size:
                raise
            shorter = av.Packet(bytes(packet)[: self._last_size])
            shorter.pts, shorter.dts = packet.pts, packet.dts
            shorter.time_base = packet.time_base
            if not (frames := list(self._stream.codec_context.decode(shorter))):
                raise
            return frames
        if frames and packet.size and not self._is_packeted:
            self._last_size = packet.size
            self._last_begin = bytes(memoryview(packet)[:1])
        return frames

    def _fail(self, content: bytes) -> None:
        if content.startswith(TAGS):
            return
        looks_cut = content[:1] == self._last_begin and len(content) <= 2 * self._last_size
        self._failures.append(self._is_packeted or looks_cut)

    def _converted(self, frame: av.AudioFrame) -> list[Array]:
        """The samples of a frame at the rate and with the channels of the track."""
        if not self.sample_rate:
            self.sample_rate = frame.sample_rate
            self.n_channels = frame.layout.nb_channels
            is_deep = frame.format.name not in ("u8", "u8p", "s16", "s16p")
            codec = self._stream.codec_context.name
            is_lossless = codec in LOSSLESS_CODECS or codec.startswith("pcm_")
            self.bits = 24 if is_deep and is_lossless else 16
        form = frame.format.name, frame.layout.name, frame.sample_rate
        if self._converter is not None and self._converter.form == form:
            return self._converter.convert(frame)
        converter = _Converter(frame, self.sample_rate, self.n_channels)
        pieces = converter.convert(frame)  # raises where FFmpeg cannot convert it
        ended = [] if self._converter is None else self._converter.finish()
        self._converter = converter
        return [*ended, *pieces]

    def _placed(self, frame: av.AudioFrame, pieces: list[Array]) -> Iterator[Array]:
        """The samples of a frame at the place of its time stamp, with silence in a gap before it.

        One time stamp may be damaged: a gap is filled once the time stamp after it agrees.
        """
        time_s: float | None = frame.time
        if self.start_s is None:
            self._begin(self._origin_s if time_s is None else time_s)
        gap_s = None if time_s is None else time_s - self._clock_s
        if self._pending is not None:
            if gap_s is None or gap_s > GAP_S:
                filled_s = self._pending[0]
                yield from self._confirmed()
                gap_s = None if gap_s is None else gap_s - filled_s
            else:
                yield from self._counted(self._pending[1])
                self._pending = None
        if gap_s is not None and time_s is not None:
            if self._is_plausible(gap_s):
                self._pending = gap_s, pieces
            elif not -BACK_S < gap_s <= GAP_S:
                self._clock_s = time_s  # the clock begins anew
        self._clock_s += frame.samples / frame.sample_rate
        if self._pending is None:
            self._count_failures()
            yield from self._counted(pieces)

    def _begin(self, time_s: float) -> None:
        """Set the clock to the first time stamp, and start_s where it is plausible."""
        self._clock_s = time_s
        late_s = time_s - self._origin_s
        self.start_s = late_s if self._is_plausible(late_s) or abs(late_s) <= GAP_S else 0.0
        if not self._is_packeted:
            self._failures = []  # what lies in front of the sound

    def _count_failures(self) -> None:
        """Sound follows: what failed before it was damaged."""
        self.n_damaged += len(self._failures)
        self._failures = []

    def _is_plausible(self, gap_s: float) -> bool:
        """Whether this gap, from the clock on, can be one in the sound."""
        longest_s = LONGEST_UNSURE_GAP_S
        if self._end_s is not None:
            longest_s = self._origin_s + self._end_s - self._clock_s
            if self.start_s is None:
                longest_s = self._end_s
        return GAP_S < gap_s <= min(longest_s, LONGEST_GAP_S)

    def _confirmed(self) -> Iterator[Array]:
        """Silence for the pending gap, and the sound behind it."""
        assert self._pending is not None
        gap_s, pieces = self._pending
        self._pending = None
        self._clock_s += gap_s
        n_missing = round(gap_s * self.sample_rate)
        if self._is_continuous and not self._failures:
            self._failures = [True]
        if self._failures:
            self.n_lost += n_missing
        self._count_failures()
        longest = block_length(self.n_channels)
        for start in range(0, n_missing, longest):
            size = min(longest, n_missing - start)
            silence = np.broadcast_to(np.zeros(size, np.float32), (self.n_channels, size))
            yield from self._counted([silence])
        yield from self._counted(pieces)

    def _counted(self, pieces: list[Array]) -> Iterator[Array]:
        for piece in pieces:
            if piece.shape[1]:
                self.n_samples += piece.shape[1]
                yield piece


class _Converter:
    """Audio frames of one format to float32 samples at the rate and with the channels of a track."""

    def __init__(self, frame: av.AudioFrame, sample_rate: int, n_channels: int) -> None:
        import av

        self.form = frame.format.name, frame.layout.name, frame.sample_rate
        self._n_channels = n_channels
        # Interleaved: PyAV reads past the end of a frame with eight planes or more.
        self._to_float = av.AudioResampler(format="flt", rate=frame.sample_rate)
        self._resampler: Resampler | None = None
        if frame.sample_rate != sample_rate:
            self._resampler = Resampler(frame.sample_rate, sample_rate, n_channels)

    def convert(self, frame: av.AudioFrame | None) -> list[Array]:
        """The samples of a frame, (channel, time); None: what is left."""
        return [
            piece
            for converted in self._to_float.resample(frame)
            for piece in self._at_rate(with_channels(_channels(converted), self._n_channels))
        ]

    def finish(self) -> list[Array]:
        """What is left, at the end."""
        pieces = self.convert(None)
        if self._resampler is not None:
            pieces.append(self._resampler.finish())
        return pieces

    def _at_rate(self, samples: Array) -> Iterator[Array]:
        if self._resampler is None:
            yield samples
        else:
            yield from self._resampler.convert(samples)


def _channels(frame: av.AudioFrame) -> Array:
    """Interleaved samples as (channel, time)."""
    n_channels = frame.layout.nb_channels
    samples = np.frombuffer(frame.planes[0], np.float32, frame.samples * n_channels)
    return samples.reshape(-1, n_channels).T
