"""FFmpeg: the sound of a file, packet by packet, on the clock that a player shows.

One demultiplexer for searching and training. `FFmpegDecoder` opens a file, chooses its sound track
and gives blocks of samples; `SoundTrack` turns the packets of a track into samples: it keeps the
clock, stands in with silence where the time stamps leave a gap, converts sound whose format changes
on the way, and counts what is damaged. `trainer/data/film.py` feeds a `SoundTrack` with packets
that it reads beside those of the pictures.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

import numpy as np
from numpy.typing import NDArray

from soundsearch.audio.decoders import block_frames
from soundsearch.audio.headers import asf_facts, begins_as_sound, clock_s, mpeg_count
from soundsearch.audio.resampling import open_resampler
from soundsearch.errors import AudioError, Cause

if TYPE_CHECKING:
    import av
    import soxr

Array = NDArray[np.float32]

#: So much less sound than the header declares is damage: headers may count what an encoder adds to
#: fill its packets, the longest of which have LONG_PACKET samples.
LOST_S = 0.25
LONG_PACKET = 4096
#: A gap in the time stamps is filled with silence if it is longer than GAP_S (shorter ones are
#: rounding) and ends before the file does. Where the length of the file is not known, it may last
#: LONGEST_UNSURE_GAP_S. A longer one, and one of more than LONGEST_GAP_S, is a damaged time stamp.
GAP_S = 0.03
LONGEST_UNSURE_GAP_S = 600.0
LONGEST_GAP_S = 24 * 3600.0
#: Time stamps that go back by more than this begin anew, as in files put one after the other.
BACK_S = 1.0
#: So many failures of the demultiplexer in a row, without a packet between them, end the file.
MOST_FAILURES = 100
#: Of a format that only the ending of a name suggests, most of the first frames must be sound.
SURE_FRAMES = 15
#: Containers whose header declares the length. Of others that know a bit rate, FFmpeg guesses it.
DECLARE_LENGTH = frozenset(["mov", "caf"])
#: Containers that declare no length: what FFmpeg says is the last time stamp of any stream.
DECLARE_NONE = frozenset(["mpegts", "mpeg", "nut", "ogg", "wtv"])
#: Containers that never pause, but in films: a gap in their time stamps is lost sound.
CONTINUOUS = frozenset(["flac", "ogg", "mp3", "wv", "caf"])
#: Containers with a clock of their own, so that sound may begin late. In others time stamps are
#: counted from the packets, of which the first ones may be no sound.
CLOCKED = frozenset(
    [
        "asf",
        "avi",
        "dv",
        "flv",
        "gxf",
        "matroska",
        "mov",
        "mpeg",
        "mpegts",
        "mxf",
        "nut",
        "ogg",
        "rm",
        "wtv",
    ]
)
#: Containers that say where each packet ends. In other files packets are sought by how they begin,
#: so that what is no sound at all may look like one.
PACKETED = frozenset(
    ["mov", "matroska", "asf", "avi", "flv", "caf", "ogg", "rm", "mxf", "wtv", "wv", "tta"]
)
#: How tags begin that stand between or behind MPEG frames.
TAGS = (b"TAG", b"ID3", b"APETAGEX", b"LYRICSBEGIN")
#: FFmpeg's decoders without loss, whose sample format says how deep the sound is.
LOSSLESS_CODECS = frozenset(["flac", "alac", "wavpack", "tta", "truehd", "mlp", "ape", "tak"])
#: Streams may appear late in containers without a header; so much is looked through for them.
DEEP_PROBE = {"probesize": str(64 << 20), "analyzeduration": str(600_000_000)}
PROBED_DEEPLY = frozenset(["mpeg", "mpegts", "flv"])


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


def ffmpeg_errors() -> tuple[type[Exception], ...]:
    """What PyAV raises for a file that it cannot read."""
    import av

    return av.FFmpegError, OSError, ValueError, EOFError


def open_container(
    file: BinaryIO, form: str | None = None, options: dict[str, str] | None = None
) -> Any:
    """A PyAV container of a file, read from its beginning.

    form: FFmpeg's name of the format, None to find it out. Raises what `ffmpeg_errors` lists.
    """
    import av

    av.logging.set_level(None)
    file.seek(0)
    # A list of other files (a playlist, say) must not make us open them.
    safe = {"protocol_whitelist": "", **(options or {})}
    return av.open(FFmpegSource(file), format=form, options=safe)


def start_of(container: Any) -> float:
    """The time stamp, in seconds, at which a player shows 0: where the earliest stream starts."""
    import av

    return float((container.start_time or 0) / av.time_base)


def end_of(container: Any) -> float | None:
    """How long the file declares to be, in seconds from its start; None where it does not."""
    import av

    if container.duration is None:
        return None
    end_s = float(container.duration / av.time_base)
    # Matroska counts from 0, wherever its first time stamp lies.
    return end_s - (start_of(container) if form_of(container) == "matroska" else 0.0)


def form_of(container: Any) -> str:
    """The short name of a container's format, such as mov."""
    return str(container.format.name.split(",")[0])


def _has_pictures(container: Any) -> bool:
    """Whether it is a film. Covers of albums are streams of pictures, too."""
    import av

    cover = av.stream.Disposition.attached_pic
    return any(not stream.disposition & cover for stream in container.streams.video)


def packets_of(
    container: Any, indices: Sequence[int], failed: Callable[[], None]
) -> Iterator[av.Packet]:
    """The packets of these streams from here on, over what the demultiplexer cannot read.

    failed: called whenever it fails.
    """
    streams = [container.streams[i] for i in indices]
    errors = ffmpeg_errors()
    n_failures = 0
    while n_failures < MOST_FAILURES:
        try:
            for packet in container.demux(streams):
                yield packet
                n_failures = 0
            return
        except EOFError:
            return
        except errors:
            n_failures += 1
            failed()


class SoundTrack:
    """Packets of one sound track to samples, in order and on the clock of the file.

    The rate and the channels of the first frame that can be decoded are those of the track, unless
    they are given; sound at another rate, with other channels or in another sample format is
    converted.

    sample_rate: Hz, 0 until a frame was decoded. n_channels. bits: 16, or 24 for deeper sound
    without loss. start_s: the second, on a player's clock, of the first sample. n_samples: given out
    so far; n_lost: those among them that stand for lost sound, not for a pause. n_damaged: packets
    left out, without what lies in front of, between and behind the frames and is no sound.
    n_packets: those that could be decoded. packet_s: the second of the first of them, of which a
    decoder may give no samples.
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
        self._is_continuous = form in CONTINUOUS and not _has_pictures(container)
        self._is_packeted = form in PACKETED
        self._is_mpeg = stream.codec_context.name.startswith(("mp1", "mp2", "mp3"))
        self._converter: _Converter | None = None
        self._clock_s = 0.0  # the time stamp at which the next frame should be
        self._doubted: tuple[float, list[Array]] | None = None  # a gap, and the frame behind it
        self._failing: list[bool] = []  # since the last frame: whether each looks like a frame
        self._last_size = 0
        self._last_begin = b""

    @property
    def n_failed(self) -> int:
        """Packets that could not be decoded, whatever they were."""
        return self.n_damaged + len(self._failing)

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
                self._failing.append(True)
                continue
            yield from self._placed(frame, pieces)

    def fail(self) -> None:
        """The demultiplexer failed: damage, if more sound follows."""
        self._failing.append(False)

    def finish(self) -> Iterator[Array]:
        """What is still held, once all packets have come."""
        if self._doubted is not None:
            yield from self._believed()
        rest: list[Array] = []
        if self._converter is not None:
            with contextlib.suppress(*self._errors):
                rest = self._converter.finish()
        yield from self._counted(rest)
        # What comes behind the last frame is a cut frame, or no sound at all.
        self.n_damaged += sum(self._failing)
        self._failing = []

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
        self._failing.append(self._is_packeted or looks_cut)

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
        """A frame's samples where its time stamp says, behind silence if that leaves a gap.

        One time stamp may be damaged: silence is filled in once the frame after it agrees.
        """
        time_s: float | None = frame.time
        if self.start_s is None:
            self._clock_s = self._origin_s if time_s is None else time_s
            late_s = self._clock_s - self._origin_s
            self.start_s = late_s if self._is_believable(late_s) or abs(late_s) <= GAP_S else 0.0
            if not self._is_packeted:
                self._failing = []  # what lies in front of the sound
        gap_s = None if time_s is None else time_s - self._clock_s
        if self._doubted is not None:
            if gap_s is None or gap_s > GAP_S:
                filled_s = self._doubted[0]
                yield from self._believed()
                gap_s = None if gap_s is None else gap_s - filled_s
            else:
                yield from self._counted(self._doubted[1])
                self._doubted = None
        if gap_s is not None and time_s is not None:
            if self._is_believable(gap_s):
                self._doubted = gap_s, pieces
            elif not -BACK_S < gap_s <= GAP_S:
                self._clock_s = time_s  # the clock begins anew
        self._clock_s += frame.samples / frame.sample_rate
        if self._doubted is None:
            self.n_damaged += len(self._failing)
            self._failing = []
            yield from self._counted(pieces)

    def _is_believable(self, gap_s: float) -> bool:
        """Whether this gap, from the clock on, can be one in the sound."""
        longest_s = LONGEST_UNSURE_GAP_S
        if self._end_s is not None:
            longest_s = self._origin_s + self._end_s - self._clock_s
            if self.start_s is None:
                longest_s = self._end_s
        return GAP_S < gap_s <= min(longest_s, LONGEST_GAP_S)

    def _believed(self) -> Iterator[Array]:
        """Silence for the gap that was in doubt, and the frame behind it."""
        assert self._doubted is not None
        gap_s, pieces = self._doubted
        self._doubted = None
        self._clock_s += gap_s
        n_missing = round(gap_s * self.sample_rate)
        if self._is_continuous and not self._failing:
            self._failing = [True]
        if self._failing:
            self.n_lost += n_missing
        self.n_damaged += len(self._failing)
        self._failing = []
        longest = block_frames(self.n_channels)
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
    """Frames of one form to float32 samples at the rate and with the channels of a track."""

    def __init__(self, frame: av.AudioFrame, sample_rate: int, n_channels: int) -> None:
        import av

        self.form = frame.format.name, frame.layout.name, frame.sample_rate
        self._n_channels = n_channels
        # Interleaved: PyAV reads past the end of a frame with eight planes or more.
        self._to_float = av.AudioResampler(format="flt", rate=frame.sample_rate)
        self._resampler: soxr.ResampleStream | None = None
        self._rates = frame.sample_rate, sample_rate
        if frame.sample_rate != sample_rate:
            self._resampler = open_resampler(*self._rates, n_channels)

    def convert(self, frame: av.AudioFrame | None) -> list[Array]:
        """The samples of a frame, (channel, time); None: what is still held."""
        return [
            piece
            for converted in self._to_float.resample(frame)
            for piece in self._at_rate(like_channels(_channels(converted), self._n_channels))
        ]

    def finish(self) -> list[Array]:
        """What is still held, at the end."""
        pieces = self.convert(None)
        if self._resampler is not None:
            nothing = np.zeros((0, self._n_channels), np.float32)
            pieces.append(self._resampler.resample_chunk(nothing, last=True).T)
        return pieces

    def _at_rate(self, samples: Array) -> Iterator[Array]:
        if self._resampler is None:
            yield samples
            return
        for chunk in in_chunks(samples, *self._rates):
            yield self._resampler.resample_chunk(chunk).T


def _channels(frame: av.AudioFrame) -> Array:
    """Interleaved samples as (channel, time)."""
    n_channels = frame.layout.nb_channels
    samples = np.frombuffer(frame.planes[0], np.float32, frame.samples * n_channels)
    return samples.reshape(-1, n_channels).T


def in_chunks(samples: Array, from_hz: int, to_hz: int) -> Iterator[Array]:
    """(channel, time) in chunks (time, channel) that stay bounded once they are resampled."""
    size = max(1, block_frames(len(samples)) * min(from_hz, to_hz) // to_hz)
    for start in range(0, samples.shape[1], size):
        yield np.ascontiguousarray(samples[:, start : start + size].T)


def like_channels(samples: Array, n_channels: int) -> Array:
    """As many channels as are wanted: repeated in turn, or the mean of those that fall together."""
    if len(samples) == n_channels:
        return samples
    if len(samples) < n_channels:
        return samples[np.arange(n_channels) % len(samples)]
    return np.stack([samples[i::n_channels].mean(axis=0) for i in range(n_channels)])


class FFmpegDecoder:
    """FFmpeg through PyAV: MP3, M4A, WMA, the sound tracks of films, and what libsndfile refuses.

    form: FFmpeg's name of the format, None to find it out. declared_s: the length in seconds, where
    it is known already. is_silent: whether all of a block (channel, time) of so many bits is silence.
    Of several sound tracks the one that is marked as default is read, else the first; if that is
    silent from beginning to end, the first that is not. note: says so, where there are several.
    track: the index of the stream that is read. start_s: the second of the first sample on a
    player's clock. Raises AudioError.
    """

    def __init__(
        self,
        file: BinaryIO,
        *,
        is_silent: Callable[[Array, int], bool],
        form: str | None = None,
        declared_s: float | None = None,
    ) -> None:
        self.note: str | None = None
        self._errors = ffmpeg_errors()
        self._file, self._given_form = file, form
        self._container = self._open()
        try:
            self.track = self._choose_track(is_silent)
            self._track, pieces = self._start(self.track)
            first = next(pieces, None)
            if first is None:
                self._refuse_undecodable()
            ahead = [first, *islice(pieces, SURE_FRAMES if form else 0)]
            if form and self._track.n_failed > len(ahead) / 4:
                raise AudioError(Cause.NOT_AUDIO, f"it is no {form}, whatever its name ends in")
        except BaseException:
            self._container.close()
            raise
        self._pieces = chain(ahead, pieces)
        self._form = form_of(self._container)
        self._stream = self._container.streams[self.track]
        self.sample_rate, self.n_channels = self._track.sample_rate, self._track.n_channels
        self.bits = self._track.bits
        self.start_s = self._late_s()
        self.format = f"{self._form}/{self._stream.codec_context.name}".upper()
        self.lost_s = max(LOST_S, 2 * LONG_PACKET / self.sample_rate)
        self.declared_s = self._declared_s() if declared_s is None else declared_s

    def _late_s(self) -> float:
        """The second of the first sample, without rounding and what a decoder needs to begin."""
        track = self._track
        if self._form not in CLOCKED:
            return 0.0
        late_s = track.start_s or 0.0
        begins_at_once = track.packet_s is not None and track.packet_s <= GAP_S
        is_delay = begins_at_once and late_s <= 2 * LONG_PACKET / self.sample_rate
        return 0.0 if late_s <= GAP_S or is_delay else late_s

    def _open(self) -> Any:
        container = self._open_with(None)
        is_cut = not container.streams and begins_as_sound(self._file)
        if not container.streams.audio and form_of(container) in PROBED_DEEPLY:
            container.close()
            container = self._open_with(DEEP_PROBE)
        if container.streams.audio:
            return container
        container.close()
        if is_cut:
            raise AudioError(Cause.DAMAGED, "it is cut short or damaged (no track is left)")
        raise AudioError(Cause.NO_SOUND, "it has no sound track")

    def _open_with(self, options: dict[str, str] | None) -> Any:
        try:
            return open_container(self._file, self._given_form, options)
        except self._errors as error:
            if begins_as_sound(self._file):
                why = getattr(error, "strerror", None) or error
                raise AudioError(Cause.DAMAGED, f"it is cut short or damaged ({why})") from error
            raise AudioError(
                Cause.NOT_AUDIO, "neither libsndfile nor FFmpeg knows this format"
            ) from error

    def _choose_track(self, is_silent: Callable[[Array, int], bool]) -> int:
        import av

        default = av.stream.Disposition.default
        streams = self._container.streams.audio
        known = [stream for stream in streams if stream.codec_context is not None]
        if not known:
            raise AudioError(Cause.DAMAGED, "FFmpeg does not know how its sound is encoded")
        known.sort(key=lambda stream: not stream.disposition & default)
        indices = [int(stream.index) for stream in known]
        if len(streams) == 1:
            return indices[0]
        number = {stream.index: i for i, stream in enumerate(streams, 1)}
        silent = []
        for index in indices:
            if not self._is_silent_track(index, is_silent):
                break
            silent.append(number[index])
        else:
            index, silent = indices[0], []
        self.note = f"{len(streams)} sound tracks, track {number[index]} was read"
        if silent:
            which = ", ".join(map(str, silent))
            self.note += f" (track{'s' * (len(silent) > 1)} {which}: silent)"
        return index

    def _is_silent_track(self, index: int, is_silent: Callable[[Array, int], bool]) -> bool:
        """Whether nothing can be heard in a track; the container is at its beginning afterwards."""
        track, pieces = self._start(index)
        silent = all(is_silent(piece, track.bits) for piece in pieces)
        self._container.close()
        self._container = self._open()
        return silent

    def _start(self, index: int) -> tuple[SoundTrack, Iterator[Array]]:
        track = SoundTrack(self._container.streams[index], self._container)
        return track, self._decoded(track, index)

    def _decoded(self, track: SoundTrack, index: int) -> Iterator[Array]:
        """The samples of a track, frame by frame."""
        for packet in packets_of(self._container, [index], track.fail):
            yield from track.decode(packet)
        yield from track.finish()

    def _refuse_undecodable(self) -> NoReturn:
        n_damaged = self._track.n_damaged
        if not n_damaged and self._given_form is None:
            raise AudioError(Cause.DAMAGED, "the file holds no samples")
        raise AudioError(Cause.DAMAGED, f"damaged packets were left out: {n_damaged}")

    def _declared_s(self) -> float | None:
        """How long the sound is by the header, in seconds; None where FFmpeg only guesses."""
        import av

        stream, container, form = self._stream, self._container, self._form
        is_alone = len(container.streams) == 1  # else a length may be that of the pictures
        is_in_fragments = form == "mov" and not stream.frames
        if form in DECLARE_NONE or (is_in_fragments and not is_alone):
            return None
        is_guessed = bool(stream.codec_context.bit_rate) and form not in DECLARE_LENGTH
        all_s = None
        if is_alone and container.duration is not None:
            all_s = container.duration / av.time_base
        if form == "matroska":  # counts from 0, wherever the sound begins
            end_s = None if is_guessed else all_s
            if "DURATION" in stream.metadata:
                end_s = clock_s(stream.metadata["DURATION"])
            return None if end_s is None else end_s - self.start_s - start_of(container)
        if form == "asf":
            facts = asf_facts(self._file) if is_alone else None
            return None if facts is None else facts.seconds - max(0.0, start_of(container))
        if stream.codec_context.name.startswith("pcm_") and form == "caf":
            return float(stream.frames) / self.sample_rate or None
        seconds = all_s
        if stream.duration is not None and stream.time_base is not None:
            seconds = float(stream.duration * stream.time_base)
        if form == "mp3":
            count = mpeg_count(self._file)
            if count is None or seconds is None:
                return None
            # Of files put one after the other, FFmpeg guesses all, and the first one counts its own.
            length = 1152 if self.sample_rate >= 32000 else 576
            return min(float(seconds), count.n_frames * length / self.sample_rate)
        return None if is_guessed else seconds

    @property
    def n_damaged(self) -> int:
        """Packets that are left out, so far."""
        return self._track.n_damaged

    @property
    def decoded_s(self) -> float:
        """Seconds of sound so far, without what is lost, but with pauses that are meant."""
        return (self._track.n_samples - self._track.n_lost) / self.sample_rate

    @property
    def has_all_packets(self) -> bool:
        """Whether every packet of the file was decoded, whatever length its header declares."""
        if self._track.n_damaged:
            return False
        if self._form == "mp3":
            count = mpeg_count(self._file)
            return count is not None and count.has_all_bytes
        return self._form == "mov" and 0 < self._stream.frames <= self._track.n_packets

    def blocks(self) -> Iterator[Array]:
        """Blocks (channel, time) float32, in order; damaged packets are left out."""
        held: list[Array] = []
        n_held = 0
        for piece in self._pieces:
            held.append(piece)
            n_held += piece.shape[-1]
            if n_held >= block_frames(self.n_channels):
                yield np.concatenate(held, axis=-1)
                held, n_held = [], 0
        if held:
            yield np.concatenate(held, axis=-1)

    def close(self) -> None:
        """Let the library go of the file, which stays open."""
        self._container.close()
