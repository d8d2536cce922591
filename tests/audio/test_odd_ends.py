"""What lies in front of the sound and behind it is no sound, and no loss of sound."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from soundsearch.audio.file_part import FilePart
from soundsearch.audio.headers import mpeg_count, ogg_links
from soundsearch.audio.recording import AudioFile
from soundsearch.errors import AudioError, Cause
from tests import sounds

Array = NDArray[np.float32]

RATE = 44100
#: Codec and container of what FFmpeg writes, by ending.
FFMPEG = {
    "mp3": ("libmp3lame", "mp3", RATE),
    "mp2": ("mp2", "mp2", RATE),
    "aac": ("aac", "adts", RATE),
    "ac3": ("ac3", "ac3", 48000),
    "eac3": ("eac3", "eac3", 48000),
    "latm": ("aac", "latm", RATE),
    "wv": ("wavpack", "wv", RATE),
    "tta": ("tta", "tta", RATE),
    "m4a": ("aac", "ipod", RATE),
    "mka": ("aac", "matroska", RATE),
    "wma": ("wmav2", "asf", RATE),
    "ts": ("mp2", "mpegts", 48000),
    "nut": ("mp2", "nut", RATE),
}
LIBSNDFILE = ("wav", "aiff", "flac", "ogg", "caf")


def _write(folder: Path, ending: str, seconds: float = 3.0) -> Path:
    path = folder / f"a.{ending}"
    if ending in FFMPEG:
        codec, container, rate = FFMPEG[ending]
        return sounds.encode(path, sounds.noise(seconds, rate), rate, codec, container)
    return sounds.write(path, sounds.noise(seconds, RATE), RATE)


def _decode(path: Path) -> tuple[Array, AudioFile]:
    with AudioFile(path) as file:
        return np.concatenate(list(file.blocks())), file


def _ape_tag() -> bytes:
    item = (90).to_bytes(4, "little") + bytes(4) + b"Comment\0" + b"x" * 90
    size = (len(item) + 32).to_bytes(4, "little")
    facts = b"APETAGEX" + (2000).to_bytes(4, "little") + size + (1).to_bytes(4, "little")
    return facts + b"\0\0\0\xa0" + bytes(8) + item + facts + b"\0\0\0\x80" + bytes(8)


TAILS = {
    "zeros": bytes(4000),
    "ID3v1": b"TAG" + b"Title".ljust(125, b"\0"),
    "APEv2": _ape_tag(),
    "Lyrics3": b"LYRICSBEGIN" + b"IND0000200" + b"la la " * 200 + b"001225LYRICS200",
    "both": _ape_tag() + b"TAG" + b"Title".ljust(125, b"\0"),
    "noise": np.random.default_rng(3).bytes(5000),
    "text": b"Some text. " * 300,
}


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("ending", [*FFMPEG, *LIBSNDFILE])
def test_what_lies_behind_the_last_frame_is_no_damage(
    tmp_path: Path, ending: str, tail: str
) -> None:
    path = _write(tmp_path, ending)
    expected, _ = _decode(path)
    path.write_bytes(path.read_bytes() + TAILS[tail])

    found, file = _decode(path)

    assert file.damage is None
    # By a count that FFmpeg believes no more, an MP3 loses what its encoder added to fill frames.
    longer = found.size - expected.size
    assert 0 <= longer <= (1152 if ending == "mp3" else 0)
    # AC-3's last frame is decoded a second time, without what was taken for its end.
    n_same = expected.size - (1536 if ending in ("ac3", "eac3") else 0)
    np.testing.assert_array_equal(found[:n_same], expected[:n_same])


@pytest.mark.parametrize("ending", ["mp3", "aac", "flac", "latm", "wv", "tta", "mka", "wma"])
def test_a_file_that_is_cut_short_stays_damaged(tmp_path: Path, ending: str) -> None:
    path = _write(tmp_path, ending)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2 - 40])
    assert _decode(path)[1].damage is not None


def _xing(content: bytes) -> int:
    return next(place for mark in (b"Xing", b"Info") if (place := content.find(mark)) >= 0)


def test_a_frame_count_that_is_too_high_is_no_damage_where_all_bytes_are_there(
    tmp_path: Path,
) -> None:
    path = _write(tmp_path, "mp3", 10.0)
    content = bytearray(path.read_bytes())
    place = _xing(content) + 8
    n_frames = int.from_bytes(content[place : place + 4])
    content[place : place + 4] = (2 * n_frames).to_bytes(4)
    path.write_bytes(content)

    found, file = _decode(path)

    assert file.damage is None and found.size / RATE == pytest.approx(10.0, abs=0.1)
    os.truncate(path, len(content) * 2 // 3)
    damage = _decode(path)[1].damage
    assert damage is not None and damage.startswith("only 6.")


def _id3(n_bytes: int, flags: int = 0) -> bytes:
    """A tag of so many bytes behind its own head, seven bits of the size to a byte."""
    size = bytes(n_bytes >> shift & 0x7F for shift in (21, 14, 7, 0))
    footer = b"3DI\4\0" + bytes([flags]) + size if flags else b""
    return b"ID3\4\0" + bytes([flags]) + size + bytes(n_bytes) + footer


@pytest.mark.parametrize(
    "tags",
    [
        [],
        [_id3(100)],
        [_id3(129)],
        [_id3(20_000)],
        [_id3(300_000)],
        [_id3((1 << 21) + 300)],
        [_id3(500), _id3(20_001)],
        [_id3(500, flags=0x10)],
        [_id3(500, flags=0x10), _id3(300_000)],
    ],
)
def test_the_frame_count_is_found_behind_any_id3_tag(tmp_path: Path, tags: list[bytes]) -> None:
    path = tmp_path / "a.mp3"
    no_tag = {"id3v2_version": "0"}
    import av

    with av.open(str(path), "w", format="mp3", options=no_tag) as output:
        stream = output.add_stream("libmp3lame", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(sounds.noise(10.0, RATE)[None, :], "fltp", "mono")
        frame.sample_rate, frame.pts = RATE, 0
        cut = av.AudioResampler(stream.format.name, "mono", RATE, frame_size=1152)
        for part in [*cut.resample(frame), *cut.resample(None), None]:
            output.mux(stream.encode(part))
    content = path.read_bytes()
    whole = int.from_bytes(content[_xing(content) + 8 :][:4])
    path.write_bytes(b"".join(tags) + content)
    with path.open("rb") as file:
        count = mpeg_count(file)
    assert count is not None and (count.n_mpeg_frames, count.has_all_bytes) == (whole, True)

    os.truncate(path, sum(map(len, tags)) + len(content) // 2)

    found, opened = _decode(path)
    assert found.size / RATE == pytest.approx(5.0, abs=0.2)
    assert opened.damage is not None and opened.damage.endswith("s of 10.0 s could be decoded")


def test_a_length_that_is_too_long_is_no_damage_where_mp4_has_all_its_packets(
    tmp_path: Path,
) -> None:
    path = _write(tmp_path, "m4a")
    content = bytearray(path.read_bytes())
    place = content.rindex(b"mdhd") + 4 + 16
    n_samples = int.from_bytes(content[place : place + 4])
    content[place : place + 4] = (3 * n_samples).to_bytes(4)
    path.write_bytes(content)
    found, file = _decode(path)
    assert found.size / RATE == pytest.approx(3.0, abs=0.1) and file.damage is None


HEADS = {
    "zeros": bytes(100_000),
    "many zeros": bytes(3_000_000),
    "noise": np.random.default_rng(0).bytes(200_000),
    "lines": b"HTTP/1.0 200 OK\r\nicy-name: radio\r\n\r\n" * 40,
}


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(
    "ending",
    [ending for ending in (*FFMPEG, *LIBSNDFILE) if ending != "nut"],  # no recorder writes NUT
)
def test_what_lies_in_front_is_skipped_where_the_ending_explains_the_rest(
    tmp_path: Path, ending: str, head: str
) -> None:
    path = _write(tmp_path, ending)
    expected, _ = _decode(path)
    path.write_bytes(HEADS[head] + path.read_bytes())

    found, file = _decode(path)

    # In noise there are things that look like frames, which may cost the first ones of a stream.
    is_stream = ending in ("mp3", "mp2", "aac", "ac3", "eac3", "latm", "ts")
    assert found.size == pytest.approx(expected.size, abs=0.25 * RATE if is_stream else 0)
    assert file.start_s == 0.0
    assert file.damage is None or head == "noise"
    if not is_stream:
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("ending", ["mp3", "aac", "ac3", "eac3", "flac", "ts", "mpg", "dts", "gsm"])
@pytest.mark.parametrize(
    "content",
    [
        np.random.default_rng(1).bytes(50_000),
        b"Dear library, this is no sound.\n" * 2000,
        bytes(10_000) + b"hello",
        bytes(10_000),
    ],
)
def test_an_ending_alone_makes_no_sound(tmp_path: Path, ending: str, content: bytes) -> None:
    path = tmp_path / f"a.{ending}"
    path.write_bytes(content)
    with pytest.raises(AudioError, match="neither libsndfile nor FFmpeg") as caught:
        AudioFile(path)
    assert caught.value.cause is Cause.NOT_AUDIO


def test_a_part_of_a_file_is_read_as_a_file() -> None:
    part = FilePart(cast(BinaryIO, io.BytesIO(b"0123456789")), 2, 7)
    assert part.read() == b"23456" and part.tell() == 5 and part.read() == b""
    assert part.seek(1) == 1 and part.read(2) == b"34"
    assert part.seek(-2, io.SEEK_END) == 3 and part.read(9) == b"56"
    assert part.seek(1, io.SEEK_CUR) == 6 and part.read() == b""
    with pytest.raises(ValueError, match="-1"):
        part.seek(-1)


def test_ogg_links_are_found_over_junk(tmp_path: Path) -> None:
    one = _write(tmp_path, "ogg").read_bytes()
    for middle in (b"", b"TAG" + bytes(125)):
        path = tmp_path / "b.ogg"
        path.write_bytes(one + middle + one)
        with path.open("rb") as file:
            assert ogg_links(file) == [0, len(one) + len(middle)]
        found, opened = _decode(path)
        assert found.size == 6 * RATE and opened.damage is None
    with (tmp_path / "a.ogg").open("rb") as file:
        assert ogg_links(file) == [0]
