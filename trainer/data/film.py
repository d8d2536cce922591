"""Open one video, and decode its sound and its pictures from any place on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from soundsearch.audio.ffmpeg import FFmpegDecoder
from soundsearch.audio.ffmpeg_container import (
    end_of,
    ffmpeg_errors,
    open_container,
    packets_of,
    start_of,
)
from soundsearch.audio.ffmpeg_track import SoundTrack
from soundsearch.audio.recording import unreadable
from soundsearch.files import open_regular

if TYPE_CHECKING:
    import av

Array = NDArray[np.float32]

#: So much less than its header declares makes a video cut off; headers round by less.
CUT_OFF_S = 1.0
#: A header that promises more seconds than the file could hold is not believed.
LEAST_BYTES_PER_S = 50


class NoVideoError(Exception):
    """A file of which nothing can be taken, with the reason."""


class Film:
    """An opened video with sound and pictures; times count from its beginning, in seconds.

    sound_s: where its sound ends. declared_s: where it all ends by its header. end_s: how far it has
    been read. is_cut_off: whether it ended long before declared_s. n_damaged: packets left out.
    n_without_pictures, n_without_sound: examples dropped for want of any.
    Raises AudioError or NoVideoError for what cannot be opened or lacks one of the two.
    """

    def __init__(self, path: Path) -> None:
        self.end_s = self.sound_s = self.declared_s = 0.0
        self.is_cut_off = False
        self.n_damaged = self.n_without_pictures = self.n_without_sound = 0
        self._track_index: int | None = None
        try:
            self._file = open_regular(path, buffering=0)  # closed by `close`
        except OSError as error:
            raise unreadable(error) from error
        try:
            self._n_bytes = os.fstat(self._file.fileno()).st_size
            if self._n_bytes == 0:
                raise NoVideoError("the file is empty (0 bytes)")
            self._open()
            self._find_ends()
        except BaseException:
            self._file.close()
            raise

    def _open(self) -> None:
        import av

        self._errors = ffmpeg_errors()
        try:
            self._container = open_container(self._file)
        except self._errors as error:
            raise NoVideoError("no video, or cut off before its index") from error
        pictures = [
            stream
            for stream in self._container.streams.video
            if not stream.disposition & av.stream.Disposition.attached_pic
            and stream.codec_context is not None
        ]
        if not pictures:
            without = "pictures" if self._container.streams.audio else "sound track"
            raise NoVideoError(f"it has no {without}")
        self._pictures = pictures[0]
        self._pictures.thread_type = "NONE"  # videos are decoded side by side instead
        if self._track_index is None:
            self._choose_track()
        self._sound = self._container.streams[self._track_index]
        self._decoder = SoundTrack(self._sound, self._container, self.sample_rate, self.n_channels)
        self.pixel_aspect = float(self._pictures.sample_aspect_ratio or 1)
        self._start_s = start_of(self._container)
        self._is_at_start = True

    def _choose_track(self) -> None:
        """The sound track that a search reads, too, and what its first frame says of it."""
        self._container.close()
        with closing(FFmpegDecoder(self._file)) as found:
            self._track_index = found.track
            self.sample_rate, self.n_channels = found.sample_rate, found.n_channels
            self.bits = found.bits
        self._open()

    def _find_ends(self) -> None:
        """By the header where it declares the length of the sound; else by going through the packets."""
        declared_s = end_of(self._container) or 0.0
        self.declared_s = declared_s if declared_s <= self._n_bytes / LEAST_BYTES_PER_S else 0.0
        if self.declared_s and self._sound.duration and self._sound.time_base:
            end = (self._sound.start_time or 0) + self._sound.duration
            self.sound_s = min(float(end * self._sound.time_base) - self._start_s, self.declared_s)
            return
        for stream, end_s in self._packet_ends():
            self.end_s = max(self.end_s, end_s)
            if stream == self._sound.index:
                self.sound_s = max(self.sound_s, end_s)
        self.is_cut_off = self.end_s < self.declared_s - CUT_OFF_S
        self.rewind()

    def _packet_ends(self) -> Iterator[tuple[int, float]]:
        """When each packet of sound and pictures ends; nothing is decoded."""
        self._is_at_start = False
        streams = self._sound.index, self._pictures.index
        for packet in packets_of(self._container, streams, lambda: None):  # decoding counts damage
            if packet.pts is not None and packet.time_base is not None:
                end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                yield packet.stream.index, end - self._start_s

    def seek(self, time_s: float) -> bool:
        """Go to a key frame at or before a time; whether that succeeded."""
        import av

        self.rewind()
        self._is_at_start = False
        try:
            self._container.seek(int((time_s + self._start_s) * av.time_base))
        except self._errors:
            return False
        return True

    def rewind(self) -> None:
        """Go back to the beginning, unless nothing has been read yet."""
        if not self._is_at_start:
            self._container.close()
            self._open()

    def decoded(self) -> Iterator[tuple[float | None, Array | av.VideoFrame]]:
        """Sound (channels, time) and pictures from here on as they come.

        With each picture comes its time, with each block of sound the time of the first one.
        """
        self._is_at_start = False
        track = self._decoder
        try:
            streams = self._sound.index, self._pictures.index
            for packet in packets_of(self._container, streams, track.fail):
                if packet.stream.index == self._sound.index:
                    for block in track.decode(packet):
                        yield track.start_s, block
                else:
                    yield from self._decoded_pictures(packet)
            for block in track.finish():
                yield track.start_s, block
        finally:
            self.n_damaged += track.n_damaged

    def _decoded_pictures(self, packet: av.Packet) -> Iterator[tuple[float | None, av.VideoFrame]]:
        try:
            frames = list(packet.decode())
        except self._errors:
            self.n_damaged += 1
            return
        for frame in frames:
            yield None if frame.time is None else frame.time - self._start_s, frame

    def complaints(self) -> Iterator[str]:
        """What was wrong with it, once all examples have been asked for."""
        if self.n_without_pictures:
            yield f"examples left out for want of pictures: {self.n_without_pictures}"
        if self.n_without_sound:
            yield f"examples left out for want of sound: {self.n_without_sound}"
        if self.is_cut_off:
            yield f"it is cut off or damaged after {self.end_s:.1f} s of {self.declared_s:.1f} s"
        elif self.n_damaged:
            yield f"damaged packets were left out: {self.n_damaged}"

    def close(self) -> None:
        """Close the file."""
        self._container.close()
        self._file.close()
