from __future__ import annotations

import io
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from soundsearch.audio.excerpts import excerpt
from soundsearch.audio.recording import AudioFile
from soundsearch.errors import AudioError
from tests.sounds import encode, noise, tone, write


def cut(path: Path, *span: float) -> tuple[np.ndarray, int, str]:
    with soundfile.SoundFile(io.BytesIO(excerpt(path, *span))) as file:
        return file.read(dtype="int32", always_2d=True), file.samplerate, file.subtype


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
@pytest.mark.parametrize("ending", ["wav", "flac"])
def test_samples_are_those_of_the_file_bit_for_bit(
    tmp_path: Path, subtype: str, ending: str
) -> None:
    rate = 44100
    stereo = np.stack([noise(3, rate, seed=1), noise(3, rate, seed=2)], axis=1) * 2
    stereo[rate] = [-1, 1]  # full scale
    path = write(tmp_path / f"a.{ending}", stereo, rate, subtype)
    samples, found_rate, found_subtype = cut(path, 0.75, 1.5)
    whole, _ = soundfile.read(path, dtype="int32")
    np.testing.assert_array_equal(samples, whole[round(0.75 * rate) : round(1.5 * rate)])
    assert (found_rate, found_subtype) == (rate, subtype)


def test_handles_reach_no_further_than_the_recording(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", tone(100, 2), subtype="PCM_16")
    whole, _ = soundfile.read(path, dtype="int32", always_2d=True)
    for span, first, stop in (
        ((0.0, 1.0, 0.5), 0, 12000),
        ((1.0, 2.0, 0.5), 4000, 16000),
        ((0.75, 1.25, 0.25), 4000, 12000),
    ):
        np.testing.assert_array_equal(cut(path, *span)[0], whole[first:stop])


def test_sound_beyond_full_scale_is_not_clipped(tmp_path: Path) -> None:
    path = write(tmp_path / "loud.wav", tone(100, 1, level=3), subtype="FLOAT")
    with soundfile.SoundFile(io.BytesIO(excerpt(path, 0, 1))) as file:
        assert file.subtype == "FLOAT"
        assert np.abs(file.read()).max() == pytest.approx(3, rel=0.01)


def test_a_format_that_ffmpeg_reads(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.m4a", tone(440, 3, 44100), 44100, "aac", "mp4")
    samples, rate, _ = cut(path, 1, 2)
    assert (samples.shape, rate) == ((44100, 1), 44100)
    spectrum = np.abs(np.fft.rfft(samples[:, 0].astype(float)))
    assert np.argmax(spectrum) == 440


def test_a_recording_that_ends_before_the_passage(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"ends at 1\.0 s"):
        excerpt(write(tmp_path / "a.wav", tone(100)), 5, 6)


def test_of_a_long_recording_the_passage_alone_is_in_memory(tmp_path: Path) -> None:
    path = write(tmp_path / "long.wav", noise(60, 48000), 48000)  # 11.5 MB as float32
    excerpt(path, 0, 1)  # what is imported
    tracemalloc.start()
    content = excerpt(path, 50, 51)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(content) == 96_044
    assert peak < 6_000_000


@pytest.mark.parametrize(
    ("ending", "subtype"),
    [
        *(("wav", subtype) for subtype in ("PCM_U8", "PCM_16", "FLOAT", "ULAW", "IMA_ADPCM")),
        *(("aiff", "PCM_24"), ("w64", "PCM_16"), ("rf64", "PCM_16"), ("caf", "ALAC_16")),
        *(("caf", "PCM_24"), ("flac", "PCM_16"), ("au", "PCM_16"), ("ogg", "VORBIS")),
    ],
)
def test_a_passage_is_the_same_whether_what_is_before_it_is_decoded_or_not(
    tmp_path: Path, ending: str, subtype: str
) -> None:
    rate = 8000
    path = write(tmp_path / f"a.{ending}", noise(20, rate), rate, subtype)
    with AudioFile(path) as file:
        whole = file.all_channels()
    for start_s, end_s in ((0.0, 1.0), (7.3, 7.4), (19.5, 20.0)):
        with soundfile.SoundFile(io.BytesIO(excerpt(path, start_s, end_s))) as found:
            samples = found.read(dtype="float32", always_2d=True).T
        np.testing.assert_allclose(
            samples, whole[:, round(start_s * rate) : round(end_s * rate)], atol=1 / 32768
        )
    with pytest.raises(AudioError, match=r"it ends at 20\.0 s, before the passage"):
        excerpt(path, 21, 22)


def test_what_lies_before_a_passage_is_not_read(tmp_path: Path) -> None:
    """A WAV file of 3 GB, all of it a hole but the header and the end."""
    rate, n_samples = 48000, 1_500_000_000
    path = tmp_path / "long.wav"
    head = struct.pack(
        "<4sI4s4sIHHIIHH",
        b"RIFF",
        36 + 2 * n_samples,
        b"WAVE",
        b"fmt ",
        16,
        1,
        1,
        rate,
        2 * rate,
        2,
        16,
    )
    end = (tone(1000, 1, rate) * 32767).astype("<i2")
    with path.open("wb") as file:
        file.write(head + struct.pack("<4sI", b"data", 2 * n_samples))
        file.seek(44 + 2 * (n_samples - rate))
        file.write(end.tobytes())
    duration_s = n_samples / rate
    samples, _, _ = cut(path, duration_s - 1, duration_s)  # decoding all would take a minute
    np.testing.assert_array_equal(samples[:, 0] >> 16, end)


def test_an_excerpt_is_bounded(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", tone(100, 3))
    assert excerpt(path, 1, 2, most_samples=8000)
    with pytest.raises(AudioError, match="1 channels at 8000 Hz may last 1 s at most"):
        excerpt(path, 1, 2.5, most_samples=8000)
