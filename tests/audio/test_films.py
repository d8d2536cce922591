"""The sound of films: the second that a player shows, all tracks, and whatever changes on the way."""

from __future__ import annotations

import json
import os
import re
import tracemalloc
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from soundsearch.audio.blocks import CHANNEL_SAMPLES
from soundsearch.audio.recording import AudioFile, read_windows
from soundsearch.audio.windows import AudioConfig, Window
from soundsearch.encoder.towers import Encoder
from soundsearch.errors import AudioError, Cause
from tests import sounds
from tests.conftest import Run
from tests.films import CODECS, RATE, Sound, Track, burst, write_film
from tests.tiny_encoder import write_tiny_bundle
from trainer.data.cutting import ExtractConfig, read_examples
from trainer.data.example import Example
from trainer.data.sound_files import read_channels
from trainer.data.videos import Span, Video

Array = NDArray[np.float32]
CONFIG = AudioConfig(sample_rate=16000, window_s=0.5, hop_s=0.25)


def _decode(path: Path) -> tuple[Array, AudioFile]:
    with AudioFile(path) as file:
        return np.concatenate(list(file.blocks())), file


def _windows(path: Path) -> list[Window]:
    with AudioFile(path) as file:
        windows = list(read_windows(file, CONFIG))
        assert file.damage is None
    return [window for window in windows if not window.is_silent]


def _loud_seconds(path: Path) -> list[tuple[float, float]]:
    """Where it is loud, on the clock of the windows: begin and end of each stretch."""
    found: list[tuple[float, float]] = []
    for window in _windows(path):
        if np.sqrt(np.mean(window.waveform**2)) < 0.2:
            continue
        if found and window.start_s <= found[-1][1]:
            found[-1] = found[-1][0], window.end_s
        else:
            found.append((window.start_s, window.end_s))
    return found


# ---- the clock


@pytest.mark.parametrize("clock_s", [0.0, 20.0])
@pytest.mark.parametrize("ending", CODECS)
def test_a_hits_second_is_the_second_that_a_player_shows(
    tmp_path: Path, ending: str, clock_s: float
) -> None:
    rate = 44100 if ending == "flv" else RATE
    film = Track([burst(2.0), burst(5.0)])
    path = write_film(tmp_path / f"a.{ending}", film, clock_s=clock_s, rate=rate)

    (first, second) = _loud_seconds(path)

    # Windows lie every quarter of a second; sound at other than RATE lasts a little longer.
    assert first == pytest.approx((2.0, 3.0), abs=0.4)
    assert second == pytest.approx((5.0, 6.0), abs=0.4)


@pytest.mark.parametrize(
    ("ending", "codec"), [("mkv", "flac"), ("mkv", "pcm_s16le"), ("mov", "pcm_s16le")]
)
@pytest.mark.parametrize("at_s", [0.0, 1.5, 3.217])
def test_windows_are_the_same_to_the_last_bit_wherever_the_sound_begins(
    tmp_path: Path, ending: str, codec: str | None, at_s: float
) -> None:
    waveform = np.rint(sounds.noise(2.0, RATE) * 2**15).astype(np.float32) / 2**15
    alone = _windows(sounds.write(tmp_path / "a.wav", waveform, RATE, "PCM_16"))
    path = write_film(tmp_path / f"a.{ending}", Track([Sound(at_s, waveform)], codec))

    windows = _windows(path)

    assert len(windows) == len(alone)
    for found, expected in zip(windows, alone, strict=True):
        np.testing.assert_array_equal(found.waveform, expected.waveform)
        assert found.start_s == pytest.approx(expected.start_s + at_s, abs=0.002)
        assert found.end_s == pytest.approx(expected.end_s + at_s, abs=0.002)


def test_what_the_codec_needs_to_begin_shifts_nothing(tmp_path: Path) -> None:
    for name, codec, container in (
        ("a.m4a", "aac", "ipod"),
        ("a.mka", "libopus", "matroska"),
        ("a.wma", "wmav2", "asf"),
    ):
        path = sounds.encode(tmp_path / name, sounds.noise(2.0, RATE), RATE, codec, container)
        assert _windows(path)[0].start_s == 0.0


def test_hours_of_pause_do_not_cost_memory(tmp_path: Path) -> None:
    path = write_film(
        tmp_path / "a.mkv",
        Track([burst(0.0), burst(1.0)], "pcm_s16le", shift=lambda s: s + 7200 * (s >= 1)),
        seconds=1.0,
    )
    n_samples = 0
    tracemalloc.start()
    try:
        with AudioFile(path) as file:
            for block in file.blocks():
                n_samples += block.size
                assert block.size < 2 * CHANNEL_SAMPLES
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert n_samples == pytest.approx(7202 * RATE, abs=100)
    assert peak_bytes < 8e6 and file.damage is None


#: Containers whose header declares the length of the pictures, or of nothing: with codecs.
LENGTH_OF_ANYTHING = {
    "late.ts": ("mpeg2video", "aac"),
    "late.mts": ("mpeg2video", "libopus"),
    "late.wmv": ("wmv2", "wmav2"),
    "late.nut": ("mpeg4", "libopus"),
    "late.ogv": ("libvpx", "libopus"),
    "late.wtv": ("mpeg2video", "mp2"),
    "late.mkv": ("mpeg4", "aac"),
    "late.mp4": ("mpeg4", "aac"),
    "late.avi": ("mpeg4", "adpcm_ms"),
}


@pytest.mark.parametrize("begin_s", [3.0, 0.0])
@pytest.mark.parametrize("name", LENGTH_OF_ANYTHING)
def test_sound_that_ends_before_the_pictures_is_whole(
    tmp_path: Path, name: str, begin_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CODECS, name[-3:], LENGTH_OF_ANYTHING[name])
    options = {"movflags": "frag_keyframe+delay_moov"} if name.endswith("mp4") else None
    film = Track([burst(begin_s)])
    path = write_film(tmp_path / name, film, seconds=8.0, clock_s=2.0, options=options)
    path.write_bytes(path.read_bytes().replace(b"DURATION", b"DURATIOX"))  # as most muxers do

    found, file = _decode(path)

    assert file.damage is None
    assert found.size / RATE == pytest.approx(1.0, abs=0.1)
    assert file.start_s == pytest.approx(0.0 if name.endswith("avi") else begin_s, abs=0.1)


@pytest.mark.parametrize(
    ("name", "codecs"),
    [
        ("a.wmv", ("wmv2", "wmav2")),
        ("a.avi", ("mpeg4", "adpcm_ms")),
        ("a.avi", ("mpeg4", "ac3")),
        ("a.flv", ("flv1", "libmp3lame")),
    ],
)
def test_a_film_that_is_shorter_than_it_declares_is_cut_short(
    tmp_path: Path, name: str, codecs: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CODECS, name[-3:], codecs)
    path = write_film(tmp_path / name, Track([burst(0.0, 8.0)]))
    assert _decode(path)[1].damage is None
    os.truncate(path, path.stat().st_size * 2 // 3)

    found, file = _decode(path)

    seconds = found.size / RATE
    assert 4.0 < seconds < 7.0
    assert file.damage is not None
    assert f"it is cut short after {seconds:.1f} s" in file.damage


def test_pauses_of_an_ogg_film_are_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CODECS, "ogv", ("libvpx", "libopus"))
    path = write_film(tmp_path / "a.ogv", Track([burst(1.0), burst(5.0)]))

    (first, second) = _loud_seconds(path)

    assert first == pytest.approx((1.0, 2.0), abs=0.4)
    assert second == pytest.approx((5.0, 6.0), abs=0.4)


YEARS_S = 3e8


@pytest.mark.parametrize(
    "shift",
    [
        lambda s: s + YEARS_S * (s >= 2),  # the clock was set
        lambda s: s + YEARS_S * (2.0 <= s < 2.02),  # one packet
        lambda s: s + 2.0 * (2.0 <= s < 2.02),
        lambda s: s + 0.02 * (round(50 * s) % 2),  # never exact
    ],
)
def test_damaged_time_stamps_lose_and_add_nothing(tmp_path: Path, shift) -> None:  # type: ignore[no-untyped-def]
    waveform = np.rint(sounds.noise(4.0, RATE) * 2**15).astype(np.float32) / 2**15
    track = Track([Sound(0.0, waveform)], "pcm_s16le", shift=shift)
    found, file = _decode(write_film(tmp_path / "a.mkv", track, seconds=4.0))
    np.testing.assert_array_equal(found, waveform)
    assert file.start_s == 0.0


def _noisy(number: int) -> NDArray[np.uint8]:
    return np.random.default_rng(number).integers(0, 256, (576, 720, 3), np.uint8)


@pytest.mark.parametrize("ending", ["ts", "mpg"])
def test_what_the_header_leaves_open_the_first_frame_answers(tmp_path: Path, ending: str) -> None:
    path = write_film(
        tmp_path / f"a.{ending}",
        Track([burst(1.0)]),
        seconds=2.0,
        size=(720, 576),
        pictures=lambda i: _noisy(i) if i < 20 else np.zeros((576, 720, 3), np.uint8),
    )
    with av.open(str(path)) as container:  # the trap is set
        streams = container.streams.audio
        assert not streams or not streams[0].codec_context.sample_rate

    (loud,) = _loud_seconds(path)

    assert loud == pytest.approx((1.0, 2.0), abs=0.4)


# ---- several tracks


def _silence(seconds: float = 4.0) -> Sound:
    return Sound(0.0, np.zeros(round(seconds * RATE), np.float32))


def _speech(seconds: float = 4.0) -> Sound:
    return Sound(0.0, sounds.noise(seconds, RATE))


@pytest.mark.parametrize(
    ("tracks", "hz", "note"),
    [
        ([Track([burst(0, 4)], "flac")], 1000, None),
        (
            [Track([burst(0, 4)], "flac"), Track([_speech()], "flac")],
            1000,
            "2 .*, track 1 was read",
        ),
        (
            [Track([_speech()], "flac"), Track([burst(0, 4)], "flac", is_default=True)],
            1000,
            "2 sound tracks, track 2 was read",
        ),
        (
            [Track([_silence()], "flac"), Track([burst(0, 4)], "flac")],
            1000,
            r"2 sound tracks, track 2 was read \(track 1: silent\)",
        ),
        (
            [
                Track([_silence()], "flac"),
                Track([_silence()], "flac"),
                Track([burst(0, 4)], "flac"),
            ],
            1000,
            r"3 sound tracks, track 3 was read \(tracks 1, 2: silent\)",
        ),
        (
            [Track([_silence(3.5), burst(3.5, 0.5)], "flac"), Track([_speech()], "flac")],
            None,  # the first one, which is not silent from beginning to end
            "2 sound tracks, track 1 was read",
        ),
    ],
)
def test_which_track_is_read_and_said(
    tmp_path: Path, tracks: list[Track], hz: int | None, note: str | None
) -> None:
    path = write_film(tmp_path / "a.mkv", *tracks, seconds=4.0)
    found, file = _decode(path)
    spectrum = np.abs(np.fft.rfft(found))
    assert found.size == 4 * RATE and file.damage is None
    assert hz is None or np.argmax(spectrum) * RATE / found.size == pytest.approx(hz, abs=1)
    if note is None:
        assert file.note is None
    else:
        assert file.note is not None
        assert re.fullmatch(note, file.note)


def test_a_file_whose_tracks_are_all_silent_is_silent(tmp_path: Path) -> None:
    track = Track([_silence()], "flac")
    path = write_film(tmp_path / "a.mkv", track, track, seconds=4.0)
    found, file = _decode(path)
    assert not found.any() and file.note == "2 sound tracks, track 1 was read"
    with pytest.raises(AudioError, match="silent from beginning to end"):
        _windows(path)


# ---- sound that changes on the way


def _encoded(
    path: Path, codec: str, container: str, rate: int, layout: str, seconds: float
) -> bytes:
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, layout=layout)
        if codec != "flac":
            stream.bit_rate = 128_000
        channels = [sounds.tone(1000, seconds, rate)] * len(stream.codec_context.layout.channels)
        frame = av.AudioFrame.from_ndarray(np.stack(channels), format="fltp", layout=layout)
        frame.sample_rate, frame.pts = rate, 0
        size = stream.codec_context.frame_size or 1024
        cut = av.AudioResampler(stream.format.name, layout, rate, frame_size=size)
        for part in [*cut.resample(frame), *cut.resample(None), None]:
            output.mux(stream.encode(part))
    return path.read_bytes()


OTHER_RATE, OTHER_LAYOUT, MORE_CHANNELS = (44100, "stereo"), (48000, "mono"), (48000, "5.1")
#: The rates and layouts, other than 48 kHz and stereo, that each codec has.
CHANGES = {
    ("libmp3lame", "mp3"): (OTHER_RATE, OTHER_LAYOUT),
    ("mp2", "mp2"): (OTHER_RATE, OTHER_LAYOUT),
    ("aac", "adts"): (OTHER_RATE, OTHER_LAYOUT, MORE_CHANNELS),
    ("ac3", "ac3"): (OTHER_RATE, OTHER_LAYOUT, MORE_CHANNELS),
    ("mp2", "mpegts"): (OTHER_RATE, OTHER_LAYOUT),
    ("aac", "mpegts"): (OTHER_RATE, OTHER_LAYOUT, MORE_CHANNELS),
    ("mp2", "mpeg"): (OTHER_RATE, OTHER_LAYOUT),
    ("libopus", "ogg"): (OTHER_LAYOUT, MORE_CHANNELS),
    ("flac", "ogg"): (OTHER_RATE, OTHER_LAYOUT, MORE_CHANNELS),
}


@pytest.mark.parametrize(
    ("codec", "container", "second"),
    [(*kind, second) for kind, seconds in CHANGES.items() for second in seconds],
)
def test_what_follows_a_change_of_rate_or_layout_is_read_too(
    tmp_path: Path, codec: str, container: str, second: tuple[int, str]
) -> None:
    path = tmp_path / "a"
    parts = [
        _encoded(path, codec, container, *form, seconds)
        for form, seconds in (((48000, "stereo"), 1.0), (second, 2.0))
    ]
    path.write_bytes(b"".join(parts))

    found, file = _decode(path)

    assert (file.sample_rate, file.n_channels, file.damage) == (48000, 2, None)
    assert found.size / 48000 == pytest.approx(3.0, abs=0.1)
    for begin in (10_000, 70_000, 110_000):
        spectrum = np.abs(np.fft.rfft(found[begin : begin + 24_000]))
        assert 2 * np.argmax(spectrum) == pytest.approx(1000, abs=5)
        assert spectrum.max() / 12_000 == pytest.approx(0.5, abs=0.1)


def test_chained_ogg_of_libsndfile_is_read_link_by_link(tmp_path: Path) -> None:
    path = tmp_path / "a.ogg"
    parts = []
    for rate, n_channels, seconds in ((44100, 1, 1.0), (22050, 2, 2.0), (48000, 1, 0.5)):
        tone = sounds.tone(1000, seconds, rate)
        soundfile.write(path, np.stack([tone] * n_channels, axis=1), rate)
        parts.append(path.read_bytes())
    path.write_bytes(b"".join(parts))

    found, file = _decode(path)

    assert (file.sample_rate, file.n_channels, file.damage) == (44100, 1, None)
    assert found.size == pytest.approx(3.5 * 44100, abs=10)
    for begin in (5_000, 60_000, 100_000, 135_000):
        spectrum = np.abs(np.fft.rfft(found[begin : begin + 14_700]))
        assert 3 * np.argmax(spectrum) == pytest.approx(1000, abs=5)


def test_another_sample_format_in_the_middle(tmp_path: Path) -> None:
    waveform = sounds.noise(1.0, RATE)
    path = tmp_path / "a.m2ts"
    parts = []
    for sample_format in ("s16", "s32"):
        options = {"mpegts_m2ts_mode": "1"}
        with av.open(str(path), "w", format="mpegts", options=options) as output:
            stream = output.add_stream("pcm_bluray", rate=RATE, layout="stereo")
            stream.format = sample_format
            frame = av.AudioFrame.from_ndarray(np.stack([waveform] * 2), "fltp", "stereo")
            frame.sample_rate, frame.pts = RATE, 0
            to_format = av.AudioResampler(sample_format, "stereo", RATE, frame_size=240)
            for part in [*to_format.resample(frame), *to_format.resample(None), None]:
                output.mux(stream.encode(part))
        parts.append(path.read_bytes())
    path.write_bytes(b"".join(parts))
    found, file = _decode(path)
    assert file.damage is None
    np.testing.assert_allclose(found[:RATE], waveform, atol=1e-4)
    np.testing.assert_allclose(found[RATE : 2 * RATE], waveform, atol=1e-6)  # 24 bits


# ---- no sound at all


def test_a_film_without_sound_is_refused_as_such(tmp_path: Path) -> None:
    path = write_film(tmp_path / "a.ts", seconds=1.0)
    with pytest.raises(AudioError) as caught:
        AudioFile(path)
    assert caught.value.cause is Cause.NO_SOUND


# ---- what is said of it


def test_which_track_was_read_is_one_line_a_row_and_a_count(
    soundsearch: Run, tmp_path: Path
) -> None:
    library = tmp_path / "library"
    library.mkdir()
    tracks = [Track([_silence()], "flac"), Track([burst(0, 4)], "flac")]
    path = write_film(library / "film.mkv", *tracks, seconds=4.0)
    sounds.write(library / "a.wav", sounds.tone(100, 1.0))

    result = soundsearch("index", library)

    (line,) = [line for line in result.stderr.splitlines() if "film.mkv" in line]
    assert line == f"note {path}: 2 sound tracks, track 2 was read (track 1: silent)"
    assert "2 new" in result.stderr and "0 failed" in result.stderr
    status = json.loads(soundsearch("status", "--json").stdout)
    assert status["failures"] == {"several sound tracks": 1}
    assert re.search(r"^note +several sound tracks: 1$", soundsearch("status").stdout, re.MULTILINE)
    path.rename(library / "other.mkv")  # what is known of the sound goes with it
    soundsearch("index", library)
    assert json.loads(soundsearch("status", "--json").stdout)["failures"] == status["failures"]
    hits = json.loads(soundsearch("similar", library / "other.mkv", "--json").stdout)
    assert hits is not None


def test_the_encoder_warns_of_other_tracks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    encoder = Encoder(write_tiny_bundle(tmp_path / "tiny"))
    tracks = [Track([_silence()], "flac"), Track([burst(0, 4)], "flac")]
    encoder.embed_file(write_film(tmp_path / "a.mkv", *tracks, seconds=4.0), whole=True)
    (record,) = caplog.records
    assert "2 sound tracks, track 2 was read" in record.getMessage()


def test_training_reads_the_track_that_a_search_reads(tmp_path: Path) -> None:
    waveform = sounds.noise(4.0, RATE)
    tracks = [Track([_silence()], "flac"), Track([Sound(0.0, waveform)], "flac")]
    path = write_film(tmp_path / "a.mkv", *tracks, seconds=4.0)
    (clip,) = read_examples(Video(path.parent, path.name, (Span(1.0, 3.0),)), ExtractConfig())
    assert isinstance(clip, Example)
    found = read_channels(clip.audio).channels[0]
    np.testing.assert_array_equal(found, _decode(path)[0][RATE : 3 * RATE])


@pytest.mark.parametrize("ending", ["mkv", "mp4", "ts"])
def test_training_and_searching_keep_one_clock(tmp_path: Path, ending: str) -> None:
    path = write_film(tmp_path / f"a.{ending}", Track([burst(2.0), burst(5.0)]))
    video = Video(path.parent, path.name, (Span(0.0, 6.5),))
    (clip,) = read_examples(video, ExtractConfig(example_s=6.5))
    assert isinstance(clip, Example)
    found = read_channels(clip.audio).channels[0]
    alone, file = _decode(path)
    late = round(file.start_s * RATE)
    assert not found[:late].any()
    np.testing.assert_allclose(found[late:], alone[: found.size - late], atol=2.0**-15)
