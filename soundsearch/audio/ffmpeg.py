"""FFmpeg: an opened file to blocks of samples of one of its sound tracks."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from typing import Any, BinaryIO, NoReturn

import numpy as np

from soundsearch.arrays import Array
from soundsearch.audio.blocks import block_length
from soundsearch.audio.ffmpeg_container import (
    CLOCKED,
    ffmpeg_errors,
    form_of,
    open_container,
    packets_of,
)
from soundsearch.audio.ffmpeg_length import declared_length_s
from soundsearch.audio.ffmpeg_track import GAP_S, SoundTrack
from soundsearch.audio.headers import begins_as_sound, mpeg_count
from soundsearch.audio.windows import is_silent
from soundsearch.errors import AudioError, Cause

#: So much less sound than the header declares is damage: headers may count what an encoder adds to
#: fill its packets, the longest of which have LONG_PACKET samples.
LOST_S = 0.25
LONG_PACKET = 4096
#: Of a format that only the ending of a name suggests, most of the first packets must be sound.
SURE_PACKETS = 15
#: Streams may appear late in containers without a header; so much is looked through for them.
DEEP_PROBE = {"probesize": str(64 << 20), "analyzeduration": str(600_000_000)}
PROBED_DEEPLY = frozenset(["mpeg", "mpegts", "flv"])


class FFmpegDecoder:
    """A `Decoder`: MP3, M4A, WMA, the sound tracks of films, and what libsndfile refuses.

    Of several sound tracks the one that is marked as default is read, else the first; if that is
    silent from beginning to end, the first that is not. `note` says so.

    Args:
        file: Opened for reading.
        form: FFmpeg's name of the format, None to detect it.
        declared_s: The declared length in seconds, where it is known already.

    Attributes:
        track: The index of the stream that is read.

    Raises:
        AudioError: There is no sound in the file that FFmpeg can decode.
    """

    def __init__(
        self,
        file: BinaryIO,
        *,
        form: str | None = None,
        declared_s: float | None = None,
    ) -> None:
        self.note: str | None = None
        self._errors = ffmpeg_errors()
        self._file, self._given_form = file, form
        self._container = self._open()
        try:
            self.track = self._choose_track()
            self._track, pieces = self._start(self.track)
            first = next(pieces, None)
            if first is None:
                self._refuse_undecodable()
            ahead = [first, *islice(pieces, SURE_PACKETS if form else 0)]
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
        self.start_s = self._begin_s()
        self.format = f"{self._form}/{self._stream.codec_context.name}".upper()
        self.lost_s = max(LOST_S, 2 * LONG_PACKET / self.sample_rate)
        self.declared_s = declared_s
        if declared_s is None:
            self.declared_s = declared_length_s(
                self._container, self._stream, file, self.sample_rate, self.start_s
            )

    def _begin_s(self) -> float:
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

    def _choose_track(self) -> int:
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
            if not self._is_silent_track(index):
                break
            silent.append(number[index])
        else:
            index, silent = indices[0], []
        self.note = f"{len(streams)} sound tracks, track {number[index]} was read"
        if silent:
            which = ", ".join(map(str, silent))
            self.note += f" (track{'s' * (len(silent) > 1)} {which}: silent)"
        return index

    def _is_silent_track(self, index: int) -> bool:
        """Whether a track is silent. The container is at its beginning afterwards."""
        track, pieces = self._start(index)
        silent = all(is_silent(piece, track.bits) for piece in pieces)
        self._container.close()
        self._container = self._open()
        return silent

    def _start(self, index: int) -> tuple[SoundTrack, Iterator[Array]]:
        track = SoundTrack(self._container.streams[index], self._container)
        return track, self._decoded(track, index)

    def _decoded(self, track: SoundTrack, index: int) -> Iterator[Array]:
        """The samples of a track, packet by packet."""
        for packet in packets_of(self._container, [index], track.fail):
            yield from track.decode(packet)
        yield from track.finish()

    def _refuse_undecodable(self) -> NoReturn:
        n_damaged = self._track.n_damaged
        if not n_damaged and self._given_form is None:
            raise AudioError(Cause.DAMAGED, "the file holds no samples")
        raise AudioError(Cause.DAMAGED, f"damaged packets were left out: {n_damaged}")

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
        pieces: list[Array] = []
        n_samples = 0
        for piece in self._pieces:
            pieces.append(piece)
            n_samples += piece.shape[-1]
            if n_samples >= block_length(self.n_channels):
                yield np.concatenate(pieces, axis=-1)
                pieces, n_samples = [], 0
        if pieces:
            yield np.concatenate(pieces, axis=-1)

    def close(self) -> None:
        """Let the library go of the file, which stays open."""
        self._container.close()
