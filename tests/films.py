"""Films made on the spot whose sound begins late, pauses, lies in several tracks, or has odd time stamps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from tests import sounds

Array = NDArray[np.float32]

RATE = 48000
FPS = 25
#: Container (by ending): codec of the pictures, and one of the sound.
CODECS = {
    "mkv": ("mpeg4", "aac"),
    "mp4": ("mpeg4", "aac"),
    "mov": ("mpeg4", "aac"),
    "webm": ("libvpx", "libopus"),
    "ts": ("mpeg2video", "mp2"),
    "mpg": ("mpeg2video", "mp2"),
    "flv": ("flv1", "libmp3lame"),
}


@dataclass(frozen=True)
class Sound:
    """Samples (time,) at RATE that begin at a second of a film."""

    at_s: float
    waveform: Array


@dataclass(frozen=True)
class Track:
    """A sound track. shift: from the second of a packet to that in its time stamp."""

    sounds: Sequence[Sound]
    codec: str | None = None
    is_default: bool = False
    shift: Callable[[float], float] = lambda second: second


def burst(at_s: float, seconds: float = 1.0) -> Sound:
    """A loud tone."""
    return Sound(at_s, sounds.tone(1000, seconds, RATE))


def write_film(
    path: Path,
    *tracks: Track,
    seconds: float = 8.0,
    clock_s: float = 0.0,
    rate: int = RATE,
    size: tuple[int, int] = (32, 32),
    pictures: Callable[[int], NDArray[np.uint8]] | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """A film of grey pictures with these sound tracks; its ending decides the container.

    clock_s: the first time stamp. pictures: other ones, by number.
    """
    video_codec, audio_codec = CODECS[path.suffix[1:]]
    with av.open(str(path), "w", options=options or {}) as output:
        video = output.add_stream(video_codec, rate=FPS)
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        video.codec_context.time_base = Fraction(1, FPS)
        if video_codec != "libvpx":
            video.codec_context.qmin = video.codec_context.qmax = 1
        packets = []
        streams = []
        for track in tracks:
            stream = output.add_stream(track.codec or audio_codec, rate=rate, layout="mono")
            if not stream.codec_context.name.startswith("pcm_"):
                stream.bit_rate = 96_000
            if track.is_default:
                stream.disposition = av.stream.Disposition.default
            streams.append(stream)
        for i in range(round(seconds * FPS)):
            picture = pictures(i) if pictures else np.full((*size[::-1], 3), i % 256, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = i + round(clock_s * FPS), Fraction(1, FPS)
            packets += [(clock_s + i / FPS, packet) for packet in video.encode(frame)]
        packets += [(clock_s + seconds, packet) for packet in video.encode(None)]
        for track, stream in zip(tracks, streams, strict=True):
            for packet in _sound_packets(track, stream, clock_s, rate):
                assert packet.pts is not None
                second = float(packet.pts * packet.time_base)
                late = round((track.shift(second) - second) / packet.time_base)
                packet.pts += late
                if track.shift(1e6) > 1e6:  # for good
                    packet.dts = packet.pts
                packets.append((second, packet))
        for _, packet in sorted(packets, key=lambda pair: pair[0]):
            output.mux(packet)
    return path


def _sound_packets(
    track: Track, stream: av.AudioStream, clock_s: float, rate: int
) -> list[av.Packet]:
    size = stream.codec_context.frame_size or 1000
    to_format = av.AudioResampler(stream.format.name, "mono", rate)
    packets = []
    for sound in track.sounds:
        for begin in range(0, sound.waveform.size, size):
            part = sound.waveform[begin : begin + size]
            if stream.codec_context.frame_size:
                part = np.pad(part, (0, size - part.size))
            frame = av.AudioFrame.from_ndarray(part[None, :], format="fltp", layout="mono")
            frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
            frame.pts = round((clock_s + sound.at_s) * rate) + begin
            for converted in to_format.resample(frame):
                packets += stream.encode(converted)
    return [*packets, *stream.encode(None)]
