from __future__ import annotations

import contextlib
import os
import re
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from soundsearch.audio import blocks, ffmpeg_track
from soundsearch.audio import recording as audio
from soundsearch.audio.blocks import BLOCK_SAMPLES, CHANNEL_SAMPLES
from soundsearch.audio.ffmpeg import FFmpegDecoder
from soundsearch.audio.recording import LARGEST_SAMPLE, AudioFile, read_windows
from soundsearch.audio.resampling import resample
from soundsearch.audio.windows import AudioConfig, Window, cut_windows, is_silent
from soundsearch.errors import AudioError, Cause
from tests import sounds

Array = NDArray[np.float32]


def _decode(path: Path) -> tuple[Array, AudioFile]:
    with AudioFile(path) as file:
        return np.concatenate(list(file.blocks())), file


def _encode(
    path: Path,
    waveform: Array,
    codec: str,
    container: str,
    options: dict[str, str] | None = None,
    quality: int | None = None,
    rate: int = 48000,
    pause_s: float = 0.0,
    begin_s: float = 0.0,
) -> Path:
    """Write mono samples with FFmpeg. quality: of a variable bit rate.

    pause_s: so much later are the time stamps of the second half. begin_s: the first time stamp.
    """
    with av.open(str(path), "w", format=container, options=options or {}) as output:
        stream = output.add_stream(codec, rate=rate, layout="mono")
        if quality is None:
            stream.bit_rate = 96_000  # WMA has no default
        else:
            stream.codec_context.qscale = True
            stream.codec_context.global_quality = quality * 118
        frame = av.AudioFrame.from_ndarray(waveform[None, :], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = rate, round(begin_s * rate)
        size = stream.codec_context.frame_size or 1024
        cut = av.AudioResampler(stream.format.name, "mono", rate, frame_size=size)
        for part in [*cut.resample(frame), *cut.resample(None), None]:
            for packet in stream.encode(part):
                assert packet.pts is not None and packet.dts is not None
                if packet.pts * packet.time_base >= begin_s + waveform.size / rate / 2:
                    packet.pts += round(pause_s / packet.time_base)
                    packet.dts += round(pause_s / packet.time_base)
                output.mux(packet)
    return path


def _level_at(waveform: Array, hz: float, sample_rate: int) -> float:
    """Amplitude of one frequency in the waveform."""
    time = np.arange(waveform.size) / sample_rate
    return float(2 * np.abs(np.mean(waveform * np.exp(-2j * np.pi * hz * time))))


# ---- formats


@pytest.mark.parametrize(
    ("ending", "subtype"),
    [
        ("wav", "PCM_U8"),
        ("wav", "PCM_16"),
        ("wav", "PCM_24"),
        ("wav", "PCM_32"),
        ("wav", "FLOAT"),
        ("wav", "DOUBLE"),
        ("aiff", "PCM_16"),
        ("flac", "PCM_24"),
        ("caf", "PCM_16"),
        ("rf64", "PCM_16"),
        ("w64", "PCM_16"),
    ],
)
def test_lossless_formats_give_the_samples_back(tmp_path: Path, ending: str, subtype: str) -> None:
    waveform = sounds.noise(1.5, 22050)
    path = sounds.write(tmp_path / f"a.{ending}", waveform, 22050, subtype)

    found, file = _decode(path)

    assert (file.format, file.sample_rate, file.n_channels) == (ending.upper(), 22050, 1)
    assert file.damage is None and found.dtype == np.float32
    np.testing.assert_allclose(found, waveform, atol=1 / 127 if subtype == "PCM_U8" else 1e-4)


def _write_vorbis(path: Path, waveform: Array, sample_rate: int) -> Path:
    soundfile.write(path, waveform, sample_rate, format="OGG", subtype="VORBIS")
    return path


def _write_opus(path: Path, waveform: Array, sample_rate: int) -> Path:
    soundfile.write(path, waveform, sample_rate, format="OGG", subtype="OPUS")
    return path


@pytest.mark.parametrize(
    ("name", "writer", "form"),
    [
        ("a.ogg", _write_vorbis, "OGG"),
        ("a.opus", _write_opus, "OGG"),
        ("a.mp3", sounds.write, "MP3/MP3FLOAT"),
        ("a.m4a", ("aac", "ipod"), "MOV/AAC"),
        ("a.wma", ("wmav2", "asf"), "ASF/WMAV2"),
        ("a.mkv", ("libopus", "matroska"), "MATROSKA/OPUS"),
        ("a.webm", ("libopus", "webm"), "MATROSKA/OPUS"),
    ],
)
def test_lossy_formats_sound_the_same(tmp_path: Path, name: str, writer: object, form: str) -> None:
    sample_rate = 48000
    waveform = sounds.tone(1000.0, 2.0, sample_rate)
    if isinstance(writer, tuple):
        path = sounds.encode(tmp_path / name, waveform, sample_rate, *writer)
    else:
        path = writer(tmp_path / name, waveform, sample_rate)  # type: ignore[operator]

    found, file = _decode(path)

    assert (file.format, file.sample_rate, file.n_channels) == (form, sample_rate, 1)
    assert file.damage is None
    assert found.size / sample_rate == pytest.approx(2.0, abs=0.06)
    middle = found[sample_rate // 2 : sample_rate * 3 // 2]
    assert _level_at(middle, 1000.0, sample_rate) == pytest.approx(0.5, abs=0.03)
    assert _level_at(middle, 1300.0, sample_rate) < 0.01


def test_the_sound_track_of_a_video_is_heard(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    waveform = sounds.tone(1000.0, 1.0, 44100)
    with av.open(str(path), "w") as output:
        pictures = output.add_stream("mpeg4", rate=10)
        pictures.width = pictures.height = 64
        track = output.add_stream("aac", rate=44100, layout="mono")
        for _ in range(10):
            picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            output.mux(pictures.encode(picture))
        output.mux(pictures.encode(None))
        for start in range(0, waveform.size, 1024):
            part = waveform[None, start : start + 1024]
            frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
            frame.sample_rate = 44100
            output.mux(track.encode(frame))
        output.mux(track.encode(None))

    found, file = _decode(path)

    assert file.format == "MOV/AAC"
    assert found.size / 44100 == pytest.approx(1.0, abs=0.06)
    assert _level_at(found[4410:39690], 1000.0, 44100) == pytest.approx(0.5, abs=0.03)


def test_a_video_without_sound(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as output:
        pictures = output.add_stream("mpeg4", rate=10)
        pictures.width = pictures.height = 64
        picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
        output.mux(pictures.encode(picture))
        output.mux(pictures.encode(None))
    with pytest.raises(AudioError, match="no sound track") as caught:
        AudioFile(path)
    assert caught.value.cause is Cause.NO_SOUND


def test_eight_channels_at_192_khz(tmp_path: Path) -> None:
    channels = np.stack([sounds.noise(0.25, 192000, seed) for seed in range(8)], axis=1)
    path = sounds.write(tmp_path / "a.wav", channels, 192000, "PCM_24")

    found, file = _decode(path)

    assert (file.sample_rate, file.n_channels) == (192000, 8)
    np.testing.assert_allclose(found, channels.mean(axis=1), atol=1e-6)


def test_the_ending_decides_nothing(tmp_path: Path) -> None:
    path = sounds.write(tmp_path / "a.flac", sounds.noise(1.0)).rename(tmp_path / "a.mp3")
    assert _decode(path)[1].format == "FLAC"


@pytest.mark.parametrize("name", [b"\xff.wav", b"new\nline.wav", "Gewitter é.wav".encode(), b"a'b"])
def test_any_name_can_be_opened(tmp_path: Path, name: bytes) -> None:
    plain = sounds.write(tmp_path / "plain.wav", sounds.noise(0.5))
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    plain.rename(path)
    assert _decode(path)[0].size == 4000


def test_mp3_without_a_count_of_its_frames_is_read_to_the_end(tmp_path: Path) -> None:
    """libsndfile guesses the length from the first frames, and stops there."""
    loud_then_silent = np.concatenate((sounds.noise(10.0, 44100), np.zeros(441_000, np.float32)))
    no_count = {"write_xing": "0", "id3v2_version": "0"}
    path = _encode(
        tmp_path / "a.mp3", loud_then_silent, "libmp3lame", "mp3", no_count, quality=4, rate=44100
    )
    assert soundfile.info(path).duration < 15  # the trap is set

    found, file = _decode(path)

    assert found.size / 44100 == pytest.approx(20.0, abs=0.1)
    assert file.damage is None


def test_a_stream_that_does_not_tell_its_length_is_read_to_the_end(tmp_path: Path) -> None:
    waveform = sounds.noise(3.0, 44100)
    path = sounds.write(tmp_path / "a.flac", waveform, 44100)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # the number of samples in STREAMINFO, 36 bits
    content[22:26] = bytes(4)
    path.write_bytes(content)

    found, file = _decode(path)

    assert file.damage is None
    np.testing.assert_allclose(found, waveform, atol=1e-4)


def test_mp3_files_put_one_after_the_other_are_read_to_the_end(tmp_path: Path) -> None:
    parts = [
        sounds.write(tmp_path / f"{i}.mp3", sounds.noise(2.0, 44100, i), 44100) for i in (1, 2)
    ]
    both = tmp_path / "both.mp3"
    both.write_bytes(b"".join(part.read_bytes() for part in parts))
    found, file = _decode(both)
    assert found.size / 44100 == pytest.approx(4.0, abs=0.1) and file.damage is None


# ---- downmix


def test_channels_are_averaged(tmp_path: Path) -> None:
    waveform = sounds.tone(440.0)
    left_only = np.stack([waveform, np.zeros_like(waveform)], axis=1)
    path = sounds.write(tmp_path / "left.wav", left_only, subtype="FLOAT")
    np.testing.assert_allclose(_decode(path)[0], waveform / 2, atol=1e-7)


def test_of_opposite_channels_one_is_left(tmp_path: Path) -> None:
    waveform = sounds.tone(440.0)
    path = sounds.write(
        tmp_path / "a.wav", np.stack([waveform, -waveform], axis=1), subtype="FLOAT"
    )
    np.testing.assert_array_equal(_decode(path)[0], waveform)


def test_ffmpeg_averages_channels_too(tmp_path: Path) -> None:
    waveform = sounds.tone(1000.0, 1.0, 44100)
    path = sounds.write(
        tmp_path / "a.mp3", np.stack([waveform, np.zeros_like(waveform)], axis=1), 44100
    )
    found, file = _decode(path)
    assert file.n_channels == 2
    assert _level_at(found[4410:39690], 1000.0, 44100) == pytest.approx(0.25, abs=0.02)


# ---- one channel, and all of them


def _two(sample_rate: int, seconds: float = 1.0) -> Array:
    """A tone on the first channel, another on the second: (time, channel)."""
    tones = [sounds.tone(hz, seconds, sample_rate) for hz in (1000.0, 3000.0)]
    return np.stack(tones, axis=1)


@pytest.mark.parametrize("ending", ["wav", "mp3"])  # libsndfile, FFmpeg
def test_the_first_channel_alone(tmp_path: Path, ending: str) -> None:
    path = sounds.write(tmp_path / f"a.{ending}", _two(44100), 44100)
    with AudioFile(path) as file:
        found = np.concatenate(list(file.blocks("first")))
        assert file.n_channels == 2 and found.dtype == np.float32
    middle = found[4410:39690]
    assert _level_at(middle, 1000.0, 44100) == pytest.approx(0.5, abs=0.03)
    assert _level_at(middle, 3000.0, 44100) < 0.02


@pytest.mark.parametrize("ending", ["wav", "mp3"])
def test_all_channels_at_once(tmp_path: Path, ending: str) -> None:
    seconds = 2 * CHANNEL_SAMPLES / 44100 + 1
    path = sounds.write(tmp_path / f"a.{ending}", _two(44100, seconds), 44100)
    with AudioFile(path) as file:
        channels = file.all_channels()
    assert channels.shape[0] == 2 and channels.shape[1] / 44100 == pytest.approx(seconds, abs=0.06)
    assert _level_at(channels[0, 4410:39690], 1000.0, 44100) == pytest.approx(0.5, abs=0.03)
    assert _level_at(channels[1, 4410:39690], 3000.0, 44100) == pytest.approx(0.5, abs=0.03)
    with AudioFile(path) as file:
        np.testing.assert_array_equal(np.concatenate(list(file.blocks("first"))), channels[0])
    with AudioFile(path) as file:
        mean = np.concatenate(list(file.blocks()))
    np.testing.assert_allclose(mean, channels.mean(axis=0), atol=1e-7)


def test_windows_are_made_of_the_channel_the_encoder_wants(tmp_path: Path) -> None:
    path = sounds.write(tmp_path / "a.wav", _two(8000, 1.5), 8000, "FLOAT")
    for channels, expected in (("first", _two(8000)[:, 0]), ("mean", _two(8000).mean(axis=1))):
        config = AudioConfig(
            sample_rate=None,
            window_s=1.0,
            hop_s=0.5,
            channels=channels,  # type: ignore[arg-type]
        )
        with AudioFile(path) as file:
            first, _ = read_windows(file, config)
        np.testing.assert_allclose(first.waveform, expected, atol=1e-6)


@pytest.mark.parametrize("channel", [0, 1])
def test_what_is_no_sound_matters_in_the_channels_that_are_heard(
    tmp_path: Path, channel: int
) -> None:
    samples = _two(8000)
    samples[4000:, channel] = np.nan
    path = sounds.write(tmp_path / "a.wav", samples, subtype="FLOAT")
    with AudioFile(path) as file, pytest.raises(AudioError, match=r"NaN.*first at 0\.50 s"):
        file.all_channels()
    with AudioFile(path) as file:
        if channel == 0:
            with pytest.raises(AudioError, match=r"NaN.*first at 0\.50 s"):
                list(file.blocks("first"))
        else:
            assert np.concatenate(list(file.blocks("first"))).size == 8000


# ---- files that cannot be used, or only partly


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", Cause.EMPTY),
        (b"just some text, no sound at all\n" * 100, Cause.NOT_AUDIO),
        (bytes(5000), Cause.NOT_AUDIO),
        (b"#EXTM3U\nother.wav\n", Cause.NOT_AUDIO),
        (b"ffconcat version 1.0\nfile other.wav\n", Cause.NOT_AUDIO),
    ],
)
def test_what_is_no_audio_is_refused(
    tmp_path: Path, content: bytes, cause: Cause, monkeypatch: pytest.MonkeyPatch
) -> None:
    sounds.write(tmp_path / "other.wav", sounds.noise())
    monkeypatch.chdir(tmp_path)  # where FFmpeg would look for what a list names
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(AudioError) as caught:
        _decode(path)
    assert caught.value.cause is cause


def test_a_header_without_samples(tmp_path: Path) -> None:
    path = sounds.write(tmp_path / "a.wav", np.zeros(0, np.float32))
    with pytest.raises(AudioError, match="no samples") as caught:
        _decode(path)
    assert caught.value.cause is Cause.DAMAGED


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(AudioError) as caught:
        AudioFile(tmp_path / "a.wav")
    assert caught.value.cause is Cause.VANISHED


def test_a_folder_is_no_recording(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"^it is a folder, not a regular file$") as caught:
        AudioFile(tmp_path)
    assert caught.value.cause is Cause.UNREADABLE


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (np.nan, "NaN or infinite"),
        (np.inf, "NaN or infinite"),
        (-np.inf, "NaN or infinite"),
        (2 * LARGEST_SAMPLE, "too large to be sound"),
    ],
)
def test_samples_that_are_no_numbers_are_refused(tmp_path: Path, wrong: float, words: str) -> None:
    waveform = sounds.noise(20.0)
    at = CHANNEL_SAMPLES + 8000  # in the second block
    waveform[at:] = wrong
    path = sounds.write(tmp_path / "a.wav", waveform, subtype="FLOAT")

    with pytest.raises(AudioError, match=rf"{words} \(first at {at / 8000:.2f} s\)") as caught:
        _decode(path)
    assert caught.value.cause is Cause.NOT_FINITE


@pytest.mark.parametrize("pair", [(np.inf, -np.inf), (3e38, 3e38)])
def test_channels_that_have_no_mean_are_refused(tmp_path: Path, pair: tuple[float, float]) -> None:
    channels = np.zeros((8000, 2), np.float32)
    channels[800] = pair
    path = sounds.write(tmp_path / "a.wav", channels, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"NaN or infinite \(first at 0\.10 s\)"):
        _decode(path)


# ---- whole, cut short, with a hole: the length told and the length heard


def _sndfile(form: str, subtype: str) -> Callable[[Path, Array], object]:
    def write_it(path: Path, waveform: Array) -> None:
        soundfile.write(path, waveform, 48000, format=form, subtype=subtype)

    return write_it


def _ffmpeg(codec: str, container: str, **settings: Any) -> Callable[[Path, Array], object]:
    def write_it(path: Path, waveform: Array) -> None:
        _encode(path, waveform, codec, container, **settings)

    return write_it


#: Formats that tell how long they are, in the order of their decoders.
TELLING = {
    "wav": _sndfile("WAV", "PCM_16"),
    "wav adpcm": _sndfile("WAV", "IMA_ADPCM"),
    "aiff": _sndfile("AIFF", "PCM_16"),
    "aifc": _sndfile("AIFF", "FLOAT"),
    "au": _sndfile("AU", "PCM_16"),
    "rf64": _sndfile("RF64", "PCM_16"),
    "rf64 of ffmpeg": _ffmpeg("pcm_s16le", "wav", options={"rf64": "always"}),
    "w64": _sndfile("W64", "PCM_16"),
    "w64 of ffmpeg": _ffmpeg("pcm_s16le", "w64"),
    "flac": _sndfile("FLAC", "PCM_16"),
    "caf": _sndfile("CAF", "PCM_16"),  # cut short, it is FFmpeg's
    "alac in caf": _sndfile("CAF", "ALAC_16"),
    "mp3": _sndfile("MP3", "MPEG_LAYER_III"),
    "mp3 cbr": _ffmpeg("libmp3lame", "mp3"),
    "mp3 vbr": _ffmpeg("libmp3lame", "mp3", quality=4),
    "m4a": _ffmpeg("aac", "ipod", options={"movflags": "faststart"}),
    "fragments": _ffmpeg("aac", "mp4", options={"movflags": "frag_keyframe+empty_moov"}),
    "mkv": _ffmpeg("aac", "matroska"),
    "webm": _ffmpeg("libopus", "webm"),
    "mp3 in mkv": _ffmpeg("libmp3lame", "matroska"),
    "wv": _ffmpeg("wavpack", "wv"),
}
#: Ogg tells where it ends; the others tell nothing, or a length that FFmpeg only guesses.
SILENT_ON_IT = {
    "ogg": _sndfile("OGG", "VORBIS"),
    "opus of ffmpeg": _ffmpeg("libopus", "ogg"),
    "opus": _sndfile("OGG", "OPUS"),
    "flac in ogg": _ffmpeg("flac", "ogg"),
    "mp3 without a count": _ffmpeg("libmp3lame", "mp3", options={"write_xing": "0"}),
    "mp3 vbr without a count": _ffmpeg("libmp3lame", "mp3", options={"write_xing": "0"}, quality=4),
    "adts": _ffmpeg("aac", "adts"),
    "live mkv": _ffmpeg("libmp3lame", "matroska", options={"live": "1"}),
    "m4a with its table at the end": _ffmpeg("aac", "ipod"),
    "wma": _ffmpeg("wmav2", "asf"),
}


def _loud_then_soft(seconds: float) -> Array:
    """Noise whose first half needs far more bits than its second."""
    waveform = sounds.noise(seconds, 48000)
    waveform[waveform.size // 2 :] *= 0.001
    return waveform


@pytest.mark.parametrize("seconds", [0.05, 1.0, 10.0])
@pytest.mark.parametrize("form", [*TELLING, *SILENT_ON_IT])
def test_of_a_whole_file_nothing_is_missing(tmp_path: Path, form: str, seconds: float) -> None:
    path = tmp_path / "a"
    (TELLING | SILENT_ON_IT)[form](path, _loud_then_soft(seconds))

    found, file = _decode(path)

    assert file.damage is None
    assert found.size / file.sample_rate == pytest.approx(seconds, abs=0.07)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("form", TELLING)
def test_how_much_of_a_cut_file_is_heard_is_told(tmp_path: Path, form: str, part: float) -> None:
    path = tmp_path / "a"
    waveform = sounds.noise(10.0, 48000)
    TELLING[form](path, waveform)
    _cut(path, part)

    found, file = _decode(path)

    heard_s = found.size / 48000
    assert heard_s == pytest.approx(10 * part, abs=0.6)
    assert file.damage is not None
    told = re.fullmatch(
        r"only (\S+) s of (\S+) s could be decoded( \(damaged packets were left out: 1\))?",
        file.damage,
    )
    assert told is not None
    assert float(told[1]) == pytest.approx(heard_s, abs=0.051)
    assert float(told[2]) == pytest.approx(10.0, abs=0.25 if form == "wav adpcm" else 0.051)


@pytest.mark.parametrize(("lost_s", "is_damage"), [(0.05, False), (0.2, True)])
@pytest.mark.parametrize("ending", ["wav", "aiff", "au", "w64"])
def test_a_tenth_of_a_second_less_than_declared_is_damage(
    tmp_path: Path, ending: str, lost_s: float, is_damage: bool
) -> None:
    path = sounds.write(tmp_path / f"a.{ending}", sounds.noise(2.0, 16000), 16000)
    os.truncate(path, path.stat().st_size - 2 * round(lost_s * 16000))
    found, file = _decode(path)
    assert found.size / 16000 == pytest.approx(2.0 - lost_s, abs=0.01)
    assert (file.damage is not None) == is_damage


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("form", ["ogg", "opus of ffmpeg", "opus", "flac in ogg"])
def test_an_ogg_file_without_its_end_is_cut_short(tmp_path: Path, form: str, part: float) -> None:
    path = tmp_path / "a"
    SILENT_ON_IT[form](path, sounds.noise(20.0, 48000))
    _cut(path, part)

    found, file = _decode(path)

    heard_s = found.size / file.sample_rate
    assert 20 * part - 1.5 < heard_s < 20 * part + 0.5
    assert file.damage == f"it is cut short after {heard_s:.1f} s"


def test_an_ogg_file_cut_within_its_last_page(tmp_path: Path) -> None:
    path = sounds.write(tmp_path / "a.ogg", sounds.noise(3.0, 44100), 44100)
    os.truncate(path, path.stat().st_size - 1)
    damage = _decode(path)[1].damage
    assert damage is not None and damage.startswith("it is cut short after 2.")


def test_bytes_behind_an_ogg_file_are_not_its_end(tmp_path: Path) -> None:
    path = sounds.write(tmp_path / "a.ogg", sounds.noise(3.0, 44100), 44100)
    path.write_bytes(path.read_bytes() + b"TAG" + bytes(125))
    assert _decode(path)[1].damage is None


@pytest.mark.parametrize(
    ("form", "at", "size"),
    [("AU", 8, b"\xff" * 4), ("WAV", 40, b"\xff" * 4), ("W64", 16, b"\xff" * 8)],
)
def test_a_header_that_leaves_the_length_open_tells_of_no_damage(
    tmp_path: Path, form: str, at: int, size: bytes
) -> None:
    path = tmp_path / "a"
    soundfile.write(path, sounds.noise(2.0), 8000, format=form, subtype="PCM_16")
    content = bytearray(path.read_bytes())
    content[at : at + len(size)] = size
    path.write_bytes(content)

    found, file = _decode(path)

    assert found.size == 16000 and file.damage is None


def _hole(path: Path, begin: float, end: float) -> None:
    """Noise in the place of these parts of the file."""
    content = bytearray(path.read_bytes())
    hole = slice(int(begin * len(content)), int(end * len(content)))
    content[hole] = np.random.default_rng(0).bytes(hole.stop - hole.start)
    path.write_bytes(content)


@pytest.mark.parametrize("form", ["flac", "m4a", "fragments"])
def test_silence_stands_for_what_is_lost_in_the_middle(tmp_path: Path, form: str) -> None:
    path = tmp_path / "a"
    waveform = sounds.noise(10.0, 48000)
    waveform[8 * 48000 :] += sounds.tone(1000.0, 2.0, 48000)
    TELLING[form](path, waveform)
    _hole(path, 0.4, 0.6)

    found, file = _decode(path)

    assert file.damage is not None
    assert re.match(r"only (7\.[5-9]|8\.[0-4]) s of 10\.0 s could be decoded", file.damage)
    assert found.size / 48000 == pytest.approx(10.0, abs=0.05)  # where time stamps tell the place
    assert not found[int(4.6 * 48000) : int(5.4 * 48000)].any()
    loud = _level_at(found[int(8.1 * 48000) : int(8.6 * 48000)], 1000.0, 48000)
    before = _level_at(found[int(7.4 * 48000) : int(7.9 * 48000)], 1000.0, 48000)
    assert loud == pytest.approx(0.5, abs=0.03) and before < 0.03


def test_a_hole_without_end_is_not_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ffmpeg_track, "LONGEST_GAP_S", 1.0)
    path = sounds.write(tmp_path / "a.flac", sounds.noise(10.0, 44100), 44100)
    _hole(path, 0.4, 0.6)

    found, file = _decode(path)

    heard_s = found.size / 44100
    assert 7.5 < heard_s < 8.1
    assert file.damage == f"only {heard_s:.1f} s of 10.0 s could be decoded"


@pytest.mark.parametrize(
    ("name", "codec", "container"),
    [("a.wma", "wmav2", "asf"), ("a.mka", "aac", "matroska"), ("a.mka", "flac", "matroska")],
)
def test_a_declared_length_counts_from_where_the_sound_begins(
    tmp_path: Path, name: str, codec: str, container: str
) -> None:
    path = _encode(tmp_path / name, sounds.noise(4.0, 48000), codec, container, begin_s=3.0)
    found, file = _decode(path)
    assert found.size / 48000 == pytest.approx(4.0, abs=0.1) and file.damage is None

    os.truncate(path, path.stat().st_size * 2 // 3)
    found, file = _decode(path)
    assert found.size / 48000 == pytest.approx(2.7, abs=0.3) and file.damage is not None


@pytest.mark.parametrize("rate", [24000, 44100])
def test_an_mp3_that_is_cut_short_declares_its_length_at_any_rate(
    tmp_path: Path, rate: int
) -> None:
    path = _encode(tmp_path / "a.mp3", sounds.noise(6.0, rate), "libmp3lame", "mp3", rate=rate)
    assert _decode(path)[1].damage is None
    os.truncate(path, path.stat().st_size // 2)
    damage = _decode(path)[1].damage
    assert damage is not None and re.search(r"only [23]\.\d s of 6\.[01] s", damage)


def test_what_is_missing_in_an_mp3_is_told(tmp_path: Path) -> None:
    path = sounds.write(tmp_path / "a.mp3", sounds.noise(10.0, 44100), 44100)
    _hole(path, 0.4, 0.6)
    damage = _decode(path)[1].damage
    assert damage is not None
    assert re.fullmatch(
        r"only [78]\.\d s of 10\.0 s could be decoded \(damaged packets were left out: \d+\)",
        damage,
    )


def test_a_pause_between_packets_is_silence_and_no_damage(tmp_path: Path) -> None:
    path = _encode(tmp_path / "a.mkv", sounds.noise(4.0, 48000), "flac", "matroska", pause_s=3.0)
    found, file = _decode(path)
    assert found.size == pytest.approx(7 * 48000, abs=48) and file.damage is None


@pytest.mark.parametrize("form", ["m4a with its table at the end", "ogg", "flac in ogg", "wav"])
def test_what_begins_as_sound_and_cannot_be_read_is_damaged(tmp_path: Path, form: str) -> None:
    path = tmp_path / "a"
    (TELLING | SILENT_ON_IT)[form](path, sounds.noise(2.0, 48000))
    os.truncate(path, 40)
    with pytest.raises(AudioError, match=r"^it is cut short or damaged \(.+\)$") as caught:
        AudioFile(path)
    assert caught.value.cause is Cause.DAMAGED


@pytest.mark.parametrize(
    "head", [b"RIFF\x64\0\0\0ACONanih", b"FORM\0\0\0\x64WORDFONS", b"RIFF", b"ID3\3\0\0\0\0\0\0"]
)
def test_what_only_begins_like_sound_is_no_audio(tmp_path: Path, head: bytes) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(head + b"no picture" * 20)
    with pytest.raises(AudioError) as caught:
        AudioFile(path)
    assert caught.value.cause is Cause.NOT_AUDIO


def _cut(path: Path, keep: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: round(keep * len(content))])
    return path


@pytest.mark.parametrize("ending", ["wav", "flac"])
def test_what_is_left_of_a_truncated_file_is_read(tmp_path: Path, ending: str) -> None:
    waveform = sounds.noise(10.0, 44100)
    path = _cut(sounds.write(tmp_path / f"a.{ending}", waveform, 44100), 0.6)

    found, _ = _decode(path)

    assert 5.5 < found.size / 44100 < 6.5
    np.testing.assert_allclose(found, waveform[: found.size], atol=1e-4)


def test_a_hole_in_an_ogg_file_is_noted(tmp_path: Path) -> None:
    path = sounds.write(tmp_path / "a.ogg", sounds.tone(440.0, 20.0, 44100), 44100)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = bytes(3000)
    path.write_bytes(content)

    found, file = _decode(path)

    assert found.size / 44100 < 19.9
    assert file.damage == f"only {found.size / 44100:.1f} s of 20.0 s could be decoded"


def test_where_libsndfile_stops_ffmpeg_goes_on(tmp_path: Path) -> None:
    waveform = sounds.noise(20.0, 44100)
    path = sounds.write(tmp_path / "a.flac", waveform, 44100)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = np.random.default_rng(0).bytes(3000)
    path.write_bytes(content)
    with soundfile.SoundFile(path) as sound, pytest.raises(soundfile.LibsndfileError):
        sound.read()  # the trap is set

    found, file = _decode(path)

    assert found.size == 20 * 44100
    assert file.damage == "damaged packets were left out: 1"  # less than 0.25 s
    np.testing.assert_allclose(found[: 9 * 44100], waveform[: 9 * 44100], atol=1e-4)
    np.testing.assert_allclose(found[-9 * 44100 :], waveform[-9 * 44100 :], atol=1e-4)


def test_where_libsndfile_stops_ffmpeg_goes_on_with_every_channel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "CHANNEL_SAMPLES", 100_000)  # no multiple of a block of FLAC's
    channels = np.stack([sounds.noise(20.0, 44100, seed) for seed in (1, 2)])
    path = sounds.write(tmp_path / "a.flac", channels.T, 44100)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = np.random.default_rng(0).bytes(3000)
    path.write_bytes(content)

    with AudioFile(path) as file:
        found = file.all_channels()

    with AudioFile(path) as file:
        first = np.concatenate(list(file.blocks("first")))
    assert found.shape == (2, 20 * 44100) and first.size == 20 * 44100
    for end in (slice(9 * 44100), slice(-9 * 44100, None)):
        np.testing.assert_allclose(found[:, end], channels[:, end], atol=1e-4)


@pytest.mark.data
@pytest.mark.parametrize(
    "name", ["sounds/endless_sky_data/zapper.opus", "sounds/moodist/rain_thunder_w1.opus"]
)
def test_recordings_that_libsndfile_refuses(data_folder: Path, name: str) -> None:
    path = data_folder / name
    with pytest.raises(soundfile.LibsndfileError), soundfile.SoundFile(path) as sound:
        sound.read()  # the trap is set
    with av.open(str(path)) as container:
        expected_s = sum(f.samples / f.sample_rate for f in container.decode(audio=0))

    found, file = _decode(path)

    assert found.size / file.sample_rate == pytest.approx(expected_s, abs=0.01)
    assert np.abs(found).max() > 0.01


# ---- resampling


@st.composite
def _cut_anywhere(draw: st.DrawFn) -> list[int]:
    return sorted(draw(st.lists(st.integers(0, 3000), max_size=6)))


def _blocks(waveform: Array, cuts: list[int]) -> Iterator[Array]:
    yield from np.split(waveform, cuts)


@given(
    cuts=_cut_anywhere(),
    rates=st.sampled_from([(44100, 8000), (8000, 48000), (22050, 32000), (8000, 8000)]),
)
def test_resampling_does_not_depend_on_the_blocks(cuts: list[int], rates: tuple[int, int]) -> None:
    waveform = sounds.noise(3000 / 8000)
    whole = np.concatenate(list(resample([waveform], *rates)))

    found = np.concatenate(list(resample(_blocks(waveform, cuts), *rates)))

    np.testing.assert_array_equal(found, whole)


def test_channels_are_resampled_one_by_one() -> None:
    channels = np.stack([sounds.noise(1.0, 44100, seed) for seed in (1, 2)])
    blocks = np.split(channels, [1000, 30_000], axis=1)
    found = np.concatenate(list(resample(blocks, 44100, 16000)), axis=1)
    for one, expected in zip(found, channels, strict=True):
        np.testing.assert_array_equal(one, np.concatenate(list(resample([expected], 44100, 16000))))


@pytest.mark.parametrize("rates", [(44100, 8000), (48000, 44100), (8000, 48000), (192000, 22050)])
def test_a_resampled_sine_is_that_sine(rates: tuple[int, int]) -> None:
    from_hz, to_hz = rates
    found = np.concatenate(list(resample([sounds.tone(440.0, 1.0, from_hz)], from_hz, to_hz)))

    expected = sounds.tone(440.0, 1.0, to_hz)
    assert found.size == expected.size
    inner = slice(to_hz // 20, -to_hz // 20)
    np.testing.assert_allclose(found[inner], expected[inner], atol=1e-4)


def test_what_the_new_rate_cannot_hold_is_gone() -> None:
    found = np.concatenate(list(resample([sounds.tone(6000.0, 1.0, 44100)], 44100, 8000)))
    assert np.abs(found[400:-400]).max() < 1e-4


# ---- windows, at 8 samples a second


def _windows(n_samples: int, size: int, hop: int, cuts: list[int], short: str) -> list[Window]:
    config = AudioConfig(
        sample_rate=None,
        window_s=size / 8,
        hop_s=hop / 8,
        short=short,  # type: ignore[arg-type]
    )
    recording = np.arange(1, n_samples + 1, dtype=np.float32)  # a sample tells its place
    return list(cut_windows(_blocks(recording, cuts), 8, config))


@given(
    n_samples=st.integers(1, 60),
    size=st.integers(1, 9),
    hop=st.integers(1, 9),
    cuts=_cut_anywhere().map(lambda cuts: [cut % 61 for cut in cuts]).map(sorted),
)
def test_windows_leave_no_gap(n_samples: int, size: int, hop: int, cuts: list[int]) -> None:
    hop = min(hop, size)

    windows = _windows(n_samples, size, hop, cuts, "keep")

    starts = [round(8 * w.start_s) for w in windows]
    ends = [round(8 * w.end_s) for w in windows]
    assert starts[0] == 0 and ends[-1] == n_samples
    assert all(begin <= end for end, begin in zip(ends, starts[1:], strict=False))  # no gap
    assert all(a < b for a, b in pairwise(starts))  # and none twice
    assert all(start % hop == 0 for start in starts[:-1])
    for start, end, window in zip(starts, ends, windows, strict=True):
        assert end - start == min(size, n_samples)
        np.testing.assert_array_equal(window.waveform, np.arange(start + 1, end + 1))


def test_the_last_window_ends_at_the_end() -> None:
    windows = _windows(11, 4, 2, [], "keep")
    assert [8 * w.start_s for w in windows] == [0, 2, 4, 6, 7]


def test_no_window_is_added_where_the_last_fits() -> None:
    windows = _windows(10, 4, 2, [], "keep")
    assert [8 * w.start_s for w in windows] == [0, 2, 4, 6]


@pytest.mark.parametrize(
    ("short", "expected"),
    [
        ("repeat", [1, 2, 3, 1, 2, 3, 1, 2]),
        ("zeros", [1, 2, 3, 0, 0, 0, 0, 0]),
        ("repeat-whole", [1, 2, 3, 1, 2, 3, 0, 0]),
        ("keep", [1, 2, 3]),
    ],
)
def test_a_short_recording(short: str, expected: list[int]) -> None:
    (window,) = _windows(3, 8, 4, [1], short)
    np.testing.assert_array_equal(window.waveform, expected)
    assert (window.start_s, window.end_s) == (0.0, 3 / 8)  # where there is something to hear


def test_windows_do_not_share_their_samples() -> None:
    first, second, *_ = _windows(12, 4, 2, [], "keep")
    first.waveform[:] = 0
    np.testing.assert_array_equal(second.waveform, [3, 4, 5, 6])


def test_less_than_ten_milliseconds_are_refused() -> None:
    config = AudioConfig(sample_rate=8000, window_s=1.0, hop_s=0.5)
    with pytest.raises(AudioError, match=r"9\.9 ms, at least 10 ms") as caught:
        list(cut_windows([np.ones(79, np.float32)], 8000, config))
    assert caught.value.cause is Cause.TOO_SHORT
    (window,) = cut_windows([np.ones(80, np.float32)], 8000, config)
    assert window.waveform.size == 8000


@pytest.mark.parametrize("bits", [16, 24])
@pytest.mark.parametrize("sign", [1, -1])
def test_silence_is_less_than_one_step_of_the_recording(bits: int, sign: int) -> None:
    click = np.zeros(8, np.float32)
    click[3] = sign * 2.0 ** (1 - bits)
    assert not Window(0.0, 1.0, click, bits).is_silent
    assert Window(0.0, 1.0, np.nextafter(click, np.float32(0)), bits).is_silent
    assert Window(0.0, 1.0, np.zeros(8, np.float32), bits).is_silent
    assert Window(0.0, 1.0, click).is_silent == (bits == 24)


def test_a_constant_is_silence_too() -> None:
    assert is_silent(np.full(8, 0.5, np.float32))
    offset = np.full(8, -0.5, np.float32)
    offset[3] += 2.0**-15
    assert not is_silent(offset)
    assert is_silent(np.stack([np.full(8, 0.5, np.float32), np.zeros(8, np.float32)]))
    assert not is_silent(np.stack([np.full(8, 0.5, np.float32), offset]))


@pytest.mark.parametrize("value", [0.0, 0.25])
def test_a_file_of_one_value_is_silent_at_any_rate(tmp_path: Path, value: float) -> None:
    """At another rate its beginning and its end are clicks."""
    path = sounds.write(tmp_path / "a.wav", np.full(3 * 44100, value, np.float32), 44100, "FLOAT")
    for rate in (44100, 8000):
        config = AudioConfig(sample_rate=rate, window_s=1.0, hop_s=0.5)
        with AudioFile(path) as file, pytest.raises(AudioError, match="silent from") as caught:
            list(read_windows(file, config))
        assert caught.value.cause is Cause.SILENT


@pytest.mark.parametrize(
    ("ending", "subtype", "bits"),
    [
        ("wav", "PCM_U8", 16),
        ("wav", "PCM_16", 16),
        ("wav", "PCM_24", 24),
        ("wav", "FLOAT", 24),
        ("flac", "PCM_24", 24),
        ("ogg", "VORBIS", 16),
        ("mp3", "MPEG_LAYER_III", 16),
    ],
)
def test_how_fine_the_samples_are(tmp_path: Path, ending: str, subtype: str, bits: int) -> None:
    path = sounds.write(tmp_path / f"a.{ending}", sounds.noise(1.0), subtype=subtype)
    with AudioFile(path) as file:
        assert file.bits == bits
        config = AudioConfig(sample_rate=None, window_s=0.5, hop_s=0.5)
        assert {window.bits for window in read_windows(file, config)} == {bits}


def test_windows_of_a_file_come_at_the_encoders_rate(tmp_path: Path) -> None:
    path = sounds.write(tmp_path / "a.wav", sounds.tone(440.0, 2.25, 44100), 44100)
    with AudioFile(path) as file:
        config = AudioConfig(sample_rate=8000, window_s=1.0, hop_s=0.5)
        windows = list(read_windows(file, config))
    assert [w.start_s for w in windows] == [0.0, 0.5, 1.0, 1.25]
    assert {w.waveform.size for w in windows} == {8000}
    expected = sounds.tone(440.0, 2.25)[4000:12000]
    np.testing.assert_allclose(windows[1].waveform, expected, atol=1e-3)


def test_windows_at_the_recordings_own_rate(tmp_path: Path) -> None:
    path = sounds.write(tmp_path / "a.wav", sounds.noise(2.0, 44100), 44100)
    with AudioFile(path) as file:
        config = AudioConfig(sample_rate=None, window_s=1.0, hop_s=1.0)
        assert [w.waveform.size for w in read_windows(file, config)] == [44100, 44100]


@pytest.mark.parametrize("encoder_hz", [None, 8000])
@pytest.mark.parametrize("rate", [1, 8, 100, 999])
def test_a_recording_of_some_hz_is_refused_whatever_the_encoder(
    tmp_path: Path, rate: int, encoder_hz: int | None
) -> None:
    path = sounds.write(tmp_path / "a.wav", sounds.noise(1.0), rate)
    message = f"sample rate is {rate} Hz, at least 1000 Hz"
    with pytest.raises(AudioError, match=message) as caught:
        AudioFile(path)
    assert caught.value.cause is Cause.TOO_SLOW
    with pytest.raises(AudioError, match=message):
        AudioConfig(sample_rate=encoder_hz, window_s=1.0, hop_s=0.5).rate_for(rate)


@pytest.mark.parametrize("rate", [3_000_001, 2**31 - 1])
def test_a_header_of_too_high_a_rate_is_refused(tmp_path: Path, rate: int) -> None:
    path = sounds.write(tmp_path / "a.wav", sounds.noise(1.0))
    content = bytearray(path.read_bytes())
    content[24:28] = rate.to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(AudioError, match=rf"{rate} Hz, at most 3000000 Hz") as caught:
        AudioFile(path)
    assert caught.value.cause is Cause.TOO_FAST


@pytest.mark.parametrize("rate", [1000, 3_000_000])
def test_the_lowest_and_the_highest_rate_are_read(tmp_path: Path, rate: int) -> None:
    path = sounds.write(tmp_path / "a.wav", sounds.noise(1.0), rate)
    config = AudioConfig(sample_rate=8000, window_s=0.02, hop_s=0.02)
    with AudioFile(path) as file:
        assert file.sample_rate == rate
        if rate == 1000:
            assert sum(1 for _ in read_windows(file, config)) == 400


@pytest.mark.parametrize(
    ("at", "value"), [(22, 0), (22, 65535), (24, 0), (24, 2**32 - 1), (24, 2**31), (32, 0), (34, 0)]
)
def test_numbers_of_a_header_that_cannot_be_are_one_line(
    tmp_path: Path, at: int, value: int
) -> None:
    """Channels, rate, bytes a frame and bits of a WAV: refused, or read in spite of it."""
    path = sounds.write(tmp_path / "a.wav", sounds.noise(1.0))
    content = bytearray(path.read_bytes())
    size = 4 if at == 24 else 2
    content[at : at + size] = value.to_bytes(size, "little")
    path.write_bytes(content)
    with contextlib.suppress(AudioError):
        assert _decode(path)[0].size == 8000


def test_an_encoder_without_a_rate_gets_ultrasound_at_192_khz() -> None:
    config = AudioConfig(sample_rate=None, window_s=1.0, hop_s=0.5)
    assert [config.rate_for(rate) for rate in (1000, 192_000, 192_001)] == [1000, 192_000, 192_000]


def _peak_bytes(consume: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        consume()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("from_hz", "to_hz", "n_channels"),
    [(1000, 48000, 1), (1000, 48000, 8), (3_000_000, 8000, 1), (44100, 48000, 1024)],
)
def test_what_comes_out_of_resampling_is_bounded_however_much_goes_in(
    from_hz: int, to_hz: int, n_channels: int
) -> None:
    def blocks() -> Iterator[Array]:
        for _ in range(4):
            yield np.zeros((n_channels, (1 << 20) // n_channels), np.float32)

    largest = 0

    def consume() -> None:
        nonlocal largest
        for block in resample(blocks(), from_hz, to_hz):
            largest = max(largest, block.size)

    peak_bytes = _peak_bytes(consume)
    assert largest < 4 * BLOCK_SAMPLES  # the converter gives of many channels in bursts
    assert peak_bytes < 24e6  # one block of 4 MB, its copy, and what comes out; else up to 800 MB


def test_memory_does_not_grow_with_the_channels(tmp_path: Path) -> None:
    one_second = np.tile(sounds.noise(1.0)[:, None], 1024)
    path = sounds.write(tmp_path / "a.wav", np.tile(one_second, (3, 1)))  # 98 MB of samples
    config = AudioConfig(sample_rate=16000, window_s=0.5, hop_s=0.5)

    def consume() -> None:
        with AudioFile(path) as file:
            assert file.n_channels == 1024
            assert sum(1 for _ in read_windows(file, config)) == 6

    assert _peak_bytes(consume) < 24e6


def test_blocks_of_ffmpeg_do_not_grow_with_the_channels(tmp_path: Path) -> None:
    path = sounds.write(tmp_path / "a.flac", np.tile(sounds.noise(30.0)[:, None], 8))
    with open(path, "rb", buffering=0) as file:
        decoder = FFmpegDecoder(file)
        sizes = [block.size for block in decoder.blocks()]
        decoder.close()
    assert sum(sizes) == 8 * 240_000 and max(sizes) <= BLOCK_SAMPLES + 8 * 65_535


def test_a_clip_that_does_not_fit_in_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sounds.write(tmp_path / "a.wav", _two(8000, 2.0))
    monkeypatch.setattr(audio, "MOST_CLIP_SAMPLES", 32_000)
    with AudioFile(path) as file:
        assert file.all_channels().shape == (2, 16_000)
    monkeypatch.setattr(audio, "MOST_CLIP_SAMPLES", 31_999)
    with (
        AudioFile(path) as file,
        pytest.raises(AudioError, match="2 channels at 8000 Hz may last 2 s at most") as caught,
    ):
        file.all_channels()
    assert caught.value.cause is Cause.TOO_LONG


def test_a_clip_is_not_held_twice(tmp_path: Path) -> None:
    path = sounds.write(tmp_path / "a.wav", np.tile(sounds.noise(60.0)[:, None], 8))
    with AudioFile(path) as file:
        peak_bytes = _peak_bytes(file.all_channels)
    assert peak_bytes < 2.2 * 60 * 8000 * 8 * 4


def test_memory_does_not_grow_with_the_recording(tmp_path: Path) -> None:
    path = tmp_path / "long.flac"
    minute = sounds.noise(60.0)
    with soundfile.SoundFile(path, "w", 8000, 1) as output:
        for _ in range(20):
            output.write(minute)
    config = AudioConfig(sample_rate=16000, window_s=1.0, hop_s=0.5)
    tracemalloc.start()
    try:
        with AudioFile(path) as file:
            n_windows = sum(1 for _ in read_windows(file, config))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert n_windows == 2399
    assert peak_bytes < 8e6  # the whole recording at 16 kHz: 77 MB


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sample_rate": 999}, "1000 Hz"),
        ({"hop_s": 0.0}, "hop_s"),
        ({"hop_s": 1.5}, "hop_s"),
        ({"window_s": float("nan")}, "window_s"),
        ({"short": "loop"}, "loop"),
        ({"channels": "left"}, "channels .*mean, first.* 'left'"),
        ({"clip": "middle"}, "clip .*windows, centre.* 'middle'"),
    ],
)
def test_audio_settings_that_cannot_be(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AudioConfig(**{"sample_rate": 8000, "window_s": 1.0, "hop_s": 0.5, **wrong})  # type: ignore[arg-type]
