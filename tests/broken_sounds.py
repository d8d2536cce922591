"""Recordings with something wrong, made on the spot, each with what the program should say of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import soundfile

from tests.sounds import encode, noise, tone, write


@dataclass(frozen=True)
class Broken:
    """A kind of file: its name, how to make it, and how it should end.

    cause: as the database has it; None where it is indexed without a word. reason: a regular
    expression for all of what the line says after the file's name. partly: it is indexed as far
    as it can be read.
    """

    name: str
    make: Callable[[Path], object]
    cause: str | None
    reason: str = ""
    partly: bool = False


def _cut(make: Callable[[Path], object], part: float) -> Callable[[Path], None]:
    """The same file, with only this part of its bytes left."""

    def write_cut(path: Path) -> None:
        make(path)
        os.truncate(path, int(part * path.stat().st_size))

    return write_cut


def _sound(path: Path) -> None:
    write(path, noise(3, 44100), 44100)


def _m4a(path: Path) -> None:
    encode(path, noise(3, 44100), 44100, "aac", "ipod")


def _adts(path: Path) -> None:
    encode(path, noise(3, 44100), 44100, "aac", "adts")


def _after_junk(path: Path) -> None:
    """An MP3 that begins in the middle of something else, as from a stream."""
    _sound(path)
    path.write_bytes(np.random.default_rng(0).bytes(3000) + path.read_bytes()[200:])


def _video(path: Path) -> None:
    with av.open(str(path), "w", format="mp4") as output:
        stream = output.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for _ in range(5):
            picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            for packet in stream.encode(picture):
                output.mux(packet)
        for packet in stream.encode(None):
            output.mux(packet)


def _with_sample(value: float) -> Callable[[Path], object]:
    def write_it(path: Path) -> None:
        waveform = tone(100, 2)
        waveform[12_000] = value
        write(path, waveform, subtype="FLOAT")

    return write_it


def _eight_channels(path: Path) -> None:
    sound = np.stack([tone(100 * (i + 1), 0.5, 192_000) for i in range(8)], axis=1)
    write(path, sound, 192_000, "PCM_24")


def _power_lost(path: Path) -> None:
    """A WAV whose recorder never wrote the sizes."""
    _sound(path)
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = bytes(4)
    path.write_bytes(content)


def _opposite(path: Path) -> None:
    sound = noise(3, 44100)
    write(path, np.stack([sound, -sound], axis=1), 44100)


def _nothing(path: Path) -> None:
    path.write_bytes(b"")


def _text(path: Path) -> None:
    path.write_text("Dear sound library, this is no sound.\n" * 50)


def _junk(path: Path) -> None:
    path.write_bytes(np.random.default_rng(1).bytes(20_000))


def _riff_of_junk(path: Path) -> None:
    path.write_bytes(b"RIFF\xff\xff\xff\x7fWAVEfmt " + np.random.default_rng(2).bytes(20_000))


NO_FORMAT = "neither libsndfile nor FFmpeg knows this format"
CUT_OR_DAMAGED = r"it is cut short or damaged \(.+\)"
TABLE = [
    Broken("empty.wav", _nothing, "empty file", r"the file is empty \(0 bytes\)"),
    Broken("empty.mp3", _nothing, "empty file", r"the file is empty \(0 bytes\)"),
    Broken("text.wav", _text, "not audio", NO_FORMAT),
    Broken("text.mp3", _text, "not audio", NO_FORMAT),
    Broken("junk.flac", _junk, "not audio", NO_FORMAT),
    Broken("junk.wav", _riff_of_junk, "damaged", CUT_OR_DAMAGED),
    Broken("video.mp4", _video, "no sound track", "it has no sound track"),
    Broken(
        "header.wav",
        lambda path: soundfile.write(path, np.zeros(0, np.float32), 8000),
        "damaged",
        "the file holds no samples",
    ),
    Broken(
        "header.aiff",
        lambda path: soundfile.write(path, np.zeros(0, np.float32), 8000),
        "damaged",
        "the file holds no samples",
    ),
    Broken("nan.wav", _with_sample(np.nan), "not finite", r"it holds .* \(first at 1\.50 s\)"),
    Broken("inf.wav", _with_sample(-np.inf), "not finite", r"it holds .* \(first at 1\.50 s\)"),
    Broken(
        "silent.wav",
        lambda path: write(path, np.zeros(24_000, np.float32)),
        "silent",
        "it is silent from beginning to end",
    ),
    Broken(
        "sample.wav",
        lambda path: write(path, tone(100)[1:2]),
        "too short",
        r"it lasts 0\.1[23] ms, at least 10 ms are needed",
    ),
    Broken(
        "short.wav",
        lambda path: write(path, tone(1150, 0.005)),
        "too short",
        "it lasts 5 ms, at least 10 ms are needed",
    ),
    Broken(
        "cut.wav",
        _cut(_sound, 0.5),
        "damaged",
        r"only 1\.5 s of 3\.0 s could be decoded",
        partly=True,
    ),
    Broken(
        "cut.flac",
        _cut(_sound, 0.5),
        "damaged",
        r"only 1\.5 s of 3\.0 s could be decoded \(damaged packets were left out: 1\)",
        partly=True,
    ),
    Broken(
        "cut.aac", _cut(_adts, 0.5), "damaged", r"damaged packets were left out: \d+", partly=True
    ),
    Broken("cut.aiff", _cut(_sound, 0.5), "damaged", r"only 1\.5 s of 3\.0 s .+", partly=True),
    Broken(
        "cut.ogg", _cut(_sound, 0.5), "damaged", r"it is cut short after [01]\.\d s", partly=True
    ),
    Broken("cut.mp3", _cut(_sound, 0.5), "damaged", r"only 1\.5 s of 3\.0 s .+", partly=True),
    Broken("cut.m4a", _cut(_m4a, 0.5), "damaged", CUT_OR_DAMAGED),  # its table stood at the end
    Broken(
        "power lost.wav",
        _power_lost,
        "damaged",
        r"its header declares 0\.0 s, 3\.0 s were read",
        partly=True,
    ),
    Broken(
        "slow.wav",
        lambda path: write(path, noise(3), 8),
        "sample rate too low",
        "its sample rate is 8 Hz, at least 1000 Hz are needed",
    ),
    Broken("opposite.wav", _opposite, None),
    Broken("quiet.wav", lambda path: write(path, tone(100, 2, level=1e-5), subtype="FLOAT"), None),
    Broken("stub.ogg", _cut(_sound, 0.01), "damaged", CUT_OR_DAMAGED),
    Broken("stub.wav", _cut(_sound, 0.0001), "damaged", CUT_OR_DAMAGED),
    Broken("stub.flac", _cut(_sound, 0.0002), "damaged", r"decoding stopped at 0\.0 s \(.+\)"),
    Broken("stub.mp3", _cut(_sound, 0.002), "not audio", NO_FORMAT),
    Broken("after junk.mp3", _after_junk, None),
    Broken("eight.wav", _eight_channels, None),
    Broken("two\nlines.wav", _text, "not audio", NO_FORMAT),
    Broken(os.fsdecode(b"latin-\xe9.wav"), _text, "not audio", NO_FORMAT),
    Broken(
        "dangling.wav",
        lambda path: path.symlink_to("nowhere.wav"),
        "vanished",
        "the file is not there any more",
    ),
    Broken(
        "circle.wav",
        lambda path: path.symlink_to("circle.wav"),
        "unreadable",
        r"it cannot be read \(Too many levels of symbolic links\)",
    ),
]
