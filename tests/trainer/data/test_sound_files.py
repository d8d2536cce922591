"""All channels at the file's own rate, and FLAC that gives every step back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from soundsearch.errors import AudioError, Cause
from tests.sounds import encode, noise, tone, write
from tests.videos import two_noises, write_video
from trainer.data.sound_files import flac, read_channels, read_sound


@given(
    bits=st.sampled_from([16, 24]),
    n_channels=st.integers(1, 8),
    sample_rate=st.sampled_from([1000, 11025, 44100, 192_000]),
    seed=st.integers(0, 1000),
)
def test_flac_gives_back_every_step(
    bits: int, n_channels: int, sample_rate: int, seed: int
) -> None:
    top = 2 ** (bits - 1)
    steps = np.random.default_rng(seed).integers(-top, top, (n_channels, 50))
    steps[:, :2] = -top, top - 1
    channels = (steps / top).astype(np.float32)
    sound = read_channels(flac(channels, sample_rate, bits))
    np.testing.assert_array_equal(sound.channels, channels)
    assert (sound.sample_rate, sound.bits, sound.damage) == (sample_rate, bits, None)
    assert sound.channels.flags.c_contiguous


def test_louder_samples_are_clipped() -> None:
    channels = np.array([[1.5, -1.5, 1.0, 0.0]], np.float32)
    sound = read_channels(flac(channels, 8000, 16))
    np.testing.assert_array_equal(sound.channels, [[1 - 2**-15, -1, 1 - 2**-15, 0]])


@pytest.mark.parametrize(
    ("subtype", "suffix", "bits"),
    [
        ("PCM_U8", "wav", 16),
        ("PCM_16", "wav", 16),
        ("PCM_24", "wav", 24),
        ("PCM_32", "wav", 24),
        ("FLOAT", "wav", 24),
        ("PCM_24", "flac", 24),
        ("PCM_16", "flac", 16),
        ("VORBIS", "ogg", 16),
    ],
)
def test_files_of_libsndfile(tmp_path: Path, subtype: str, suffix: str, bits: int) -> None:
    stereo = np.stack([noise(0.2, 22050, 1), noise(0.2, 22050, 2)], axis=1)
    sound = read_sound(write(tmp_path / f"x.{suffix}", stereo, 22050, subtype))
    assert (sound.sample_rate, sound.bits, sound.channels.shape) == (22050, bits, (2, 4410))
    if suffix != "ogg":
        np.testing.assert_allclose(sound.channels, stereo.T, atol=1.01 * 2.0**-7)


@pytest.mark.parametrize(
    ("codec", "container", "bits"), [("aac", "ipod", 16), ("alac", "ipod", 24), ("aac", "adts", 16)]
)
def test_files_of_ffmpeg(tmp_path: Path, codec: str, container: str, bits: int) -> None:
    waveform = tone(440, 0.5, 44100)
    if codec == "alac":
        path = _alac(tmp_path / "x.m4a", waveform)
    else:
        path = encode(tmp_path / "x.m4a", waveform, 44100, codec, container)
    sound = read_sound(path)
    assert (sound.sample_rate, sound.bits, len(sound.channels)) == (44100, bits, 1)
    assert sound.channels.shape[1] == pytest.approx(22050, abs=2048)


def _alac(path: Path, waveform: np.ndarray) -> Path:
    soundfile.write(path.with_suffix(".caf"), waveform, 44100, "ALAC_24")
    import av

    with av.open(str(path.with_suffix(".caf"))) as source, av.open(str(path), "w") as output:
        stream = output.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(audio=0):
            if packet.dts is not None:
                packet.stream = stream
                output.mux(packet)
    return path


def test_the_sound_of_a_video_with_all_its_channels(tmp_path: Path) -> None:
    stereo = two_noises(1.0)
    sound = read_sound(write_video(tmp_path / "x.mov", stereo, seconds=1.0))
    np.testing.assert_array_equal(sound.channels, stereo)


@pytest.mark.parametrize(
    ("channels", "sample_rate", "message"),
    [
        (np.zeros((9, 10)), 8000, "it has 9 channels, FLAC holds at most 8; mix it down"),
        (np.zeros((1, 10)), 700_000, "its sample rate is 700000 Hz, FLAC holds at most 655350 Hz"),
        (np.full((1, 10), np.nan), 8000, "it holds samples that are NaN"),
    ],
)
def test_what_flac_cannot_hold_is_one_clear_line(
    channels: np.ndarray, sample_rate: int, message: str
) -> None:
    with pytest.raises(AudioError, match=message) as caught:
        flac(channels.astype(np.float32), sample_rate, 16)
    assert "\n" not in str(caught.value)


def test_the_highest_rate_of_flac_is_taken() -> None:
    channels = two_noises(0.01)
    sound = read_channels(flac(channels, 655_350, 16))
    assert sound.sample_rate == 655_350
    np.testing.assert_array_equal(sound.channels, channels)


def test_a_header_that_declares_weeks_costs_no_memory() -> None:
    channels = two_noises(0.5)
    content = bytearray(flac(channels, 8000, 16))
    content[21] |= 0x0F  # the number of samples in STREAMINFO, 36 bits
    content[22:26] = b"\xff" * 4
    sound = read_channels(bytes(content))
    assert sound.channels.shape == channels.shape
    assert sound.damage is not None and sound.damage.startswith("only 0.5 s of ")


def _nan(path: Path) -> None:
    soundfile.write(path, np.full(100, np.nan), 8000, subtype="FLOAT")


def _cut_flac(path: Path) -> None:
    soundfile.write(path, noise(3, 44100), 44100, format="FLAC")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_damage_is_told(tmp_path: Path) -> None:
    _cut_flac(tmp_path / "cut.flac")
    sound = read_sound(tmp_path / "cut.flac")
    assert sound.damage is not None and sound.damage.startswith("only 1.5 s of 3.0 s")
    assert 1.0 < sound.channels.shape[1] / 44100 < 2.0
    in_memory = read_channels((tmp_path / "cut.flac").read_bytes())
    assert in_memory.damage == sound.damage
    np.testing.assert_array_equal(in_memory.channels, sound.channels)


@pytest.mark.parametrize("suffix", ["m4a", "mp3", "ogg"])
def test_sound_in_memory_is_that_of_the_file(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"x.{suffix}"
    if suffix == "m4a":
        encode(path, tone(440, 0.5, 44100), 44100, "aac", "ipod")
    else:
        write(path, tone(440, 0.5, 44100), 44100)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))  # memory is enough
    np.testing.assert_array_equal(
        read_channels(path.read_bytes()).channels, read_sound(path).channels
    )


@pytest.mark.parametrize(
    ("name", "make", "cause"),
    [
        ("empty.wav", lambda path: path.touch(), Cause.EMPTY),
        ("text.mp3", lambda path: path.write_text("no sound\n" * 50), Cause.NOT_AUDIO),
        ("nan.wav", _nan, Cause.NOT_FINITE),
        ("gone.wav", lambda path: None, Cause.VANISHED),
        ("none.wav", lambda path: soundfile.write(path, np.zeros(0), 8000), Cause.DAMAGED),
        ("mute.mp4", lambda path: write_video(path, None, seconds=0.3), Cause.NO_SOUND),
    ],
)
def test_what_cannot_be_used_has_its_cause(tmp_path: Path, name: str, make, cause: Cause) -> None:  # type: ignore[no-untyped-def]
    make(tmp_path / name)
    with pytest.raises(AudioError) as caught:
        read_sound(tmp_path / name)
    assert caught.value.cause == cause
