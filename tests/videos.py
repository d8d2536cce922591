"""Small real videos, made on the spot: pictures that tell their number, and known sound."""

from __future__ import annotations

import io
import math
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.sounds import noise

Array = NDArray[np.float32]

LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}


def two_noises(seconds: float, sample_rate: int = 8000) -> Array:
    """Another noise in each of two channels, (2, time) float32, in whole steps of 16 bits."""
    channels = np.stack([noise(seconds, sample_rate, seed) for seed in (1, 2)])
    return np.rint(channels * 2**15).clip(-(2**15), 2**15 - 1).astype(np.float32) / 2**15


def bars(number: int, width: int = 64, height: int = 48) -> NDArray[np.uint8]:
    """The picture of frame `number` (0 to 255): eight bars, black for 0 and white for 1."""
    bits = np.array([number >> i & 1 for i in range(8)], np.uint8)
    row = np.repeat(255 * bits, width // 8)
    return np.broadcast_to(row[None, :, None], (height, width, 3)).copy()


def number_of(picture: bytes) -> int:
    """The number of the frame that an image file shows."""
    with Image.open(io.BytesIO(picture)) as image:
        levels = np.asarray(image.convert("L").resize((8, 1), Image.Resampling.BOX))[0]
    return sum(int(level > 128) << i for i, level in enumerate(levels))


def write_video(
    path: Path,
    sound: Array | None,
    *,
    sample_rate: int = 8000,
    seconds: float = 3.0,
    fps: int = 10,
    pictures: bool = True,
    codecs: tuple[str, str] = ("mpeg4", "pcm_s16le"),
    size: tuple[int, int] = (64, 48),
    key_every: int = 5,
    rotated: int = 0,
    first_picture_s: float = 0.0,
    first_sound_s: float = 0.0,
    pictures_s: float = math.inf,
    bright_left: bool = False,
    options: dict[str, str] | None = None,
) -> Path:
    """A video of numbered pictures and of sound (channels, time); the ending decides the container.

    codecs: of pictures and sound; pcm_s16le keeps samples exactly. rotated: degrees, as phones
    note it. first_picture_s, first_sound_s: when they begin. pictures_s: how long there are any. bright_left: their
    left half is white. options: of the container.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=options or {}) as output:
        if pictures:
            video = output.add_stream(codecs[0], rate=fps)
            video.width, video.height, video.pix_fmt = *size, "yuv420p"
            video.codec_context.gop_size = key_every
            video.codec_context.qmin = video.codec_context.qmax = 1
            video.codec_context.time_base = Fraction(1, fps)
            if rotated:
                video.set_display_rotation(rotated)
        if sound is not None:
            layout = LAYOUTS[len(sound)]
            audio = output.add_stream(codecs[1], rate=sample_rate, layout=layout)
        for i in range(round(seconds * fps)):
            if pictures and i < pictures_s * fps:
                picture = bars(i, *size)
                if bright_left:
                    picture[:] = np.where(np.arange(size[0]) < size[0] // 2, 255, 0)[:, None]
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = i + round(first_picture_s * fps), Fraction(1, fps)
                output.mux(video.encode(frame))
            if sound is not None:
                begin, end = (round(n * sample_rate / fps) for n in (i, i + 1))
                samples = (sound[:, begin:end].T * 2**15).astype(np.int16)
                if samples.size:
                    packed = samples.reshape(1, -1)
                    block = av.AudioFrame.from_ndarray(packed, format="s16", layout=layout)
                    block.sample_rate, block.pts = (
                        sample_rate,
                        begin + round(first_sound_s * sample_rate),
                    )
                    block.time_base = Fraction(1, sample_rate)
                    output.mux(audio.encode(block))
        if pictures:
            output.mux(video.encode(None))
        if sound is not None:
            output.mux(audio.encode(None))
    return path


def cut_off(path: Path, share: float) -> Path:
    """Leave this share of a file's bytes."""
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    return path
