"""The demo library: what it promises about every file, and that it never harms a foreign one."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from soundsearch.demo import DEMO_SOUNDS, DemoSound, library, synthesise, write_demo_library
from soundsearch.errors import SoundsearchError

BY_NAME = {sound.name: sound for sound in DEMO_SOUNDS}
FEW = tuple(BY_NAME[name] for name in ("camera shutter", "dial tone", "door slamming"))
BARK_BAND_HZ = (350.0, 1200.0)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Write the whole library, once for this module."""
    return write_demo_library(tmp_path_factory.mktemp("demo"))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> tuple[DemoSound, ...]:
    """Shrink the library to three short sounds, for what does not need them all."""
    monkeypatch.setattr(library, "DEMO_SOUNDS", FEW)
    return FEW


def band_power(
    waveform: NDArray[np.float32], sample_rate: int, low_hz: float, high_hz: float
) -> float:
    """Mean power of a mono waveform between two frequencies."""
    spectrum = np.abs(np.fft.rfft(waveform)) ** 2
    f_hz = np.fft.rfftfreq(len(waveform), 1 / sample_rate)
    inside = (f_hz >= low_hz) & (f_hz < high_hz)
    return float(spectrum[inside].sum() / len(waveform) ** 2)


def centroid_hz(waveform: NDArray[np.float32], sample_rate: int) -> float:
    """Power-weighted mean frequency of a mono waveform."""
    power = np.abs(np.fft.rfft(waveform)) ** 2
    return float((power * np.fft.rfftfreq(len(waveform), 1 / sample_rate)).sum() / power.sum())


def test_catalogue_is_large_varied_and_unique() -> None:
    assert len(DEMO_SOUNDS) >= 44
    assert len({sound.path for sound in DEMO_SOUNDS}) == len(DEMO_SOUNDS)
    assert len({sound.name for sound in DEMO_SOUNDS}) == len(DEMO_SOUNDS)
    assert len({sound.description for sound in DEMO_SOUNDS}) == len(DEMO_SOUNDS)
    assert {sound.sample_rate for sound in DEMO_SOUNDS} == {22050, 44100, 48000}
    assert {sound.n_channels for sound in DEMO_SOUNDS} == {1, 2}
    assert {sound.subtype for sound in DEMO_SOUNDS} == {"PCM_16", "PCM_24"}
    for sound in DEMO_SOUNDS:
        assert 1.0 <= sound.duration_s <= (40.0 if sound.event_s else 12.0)
        assert sound.path.endswith(".wav") and sound.path.count("/") == 1
        assert sound.description.endswith(".")


def test_every_file_is_what_the_catalogue_says(written: list[Path]) -> None:
    assert len(written) == len(DEMO_SOUNDS)
    for path, sound in zip(written, DEMO_SOUNDS, strict=True):
        assert path.is_absolute() and path.as_posix().endswith(sound.path)
        facts = soundfile.info(path)
        assert (facts.samplerate, facts.channels, facts.subtype, facts.frames) == (
            sound.sample_rate,
            sound.n_channels,
            sound.subtype,
            sound.n_samples,
        ), sound.path
        assert facts.duration == pytest.approx(sound.duration_s, abs=1 / sound.sample_rate)
    on_disk = {path for path in written[0].parent.parent.rglob("*") if path.is_file()}
    assert on_disk == set(written), "nothing else is left behind"


def test_every_file_is_audible_unclipped_and_faded(written: list[Path]) -> None:
    for path, sound in zip(written, DEMO_SOUNDS, strict=True):
        waveform, _ = soundfile.read(path, dtype="float32", always_2d=True)
        assert np.isfinite(waveform).all(), sound.path
        assert np.abs(waveform).max() == pytest.approx(10 ** (-3 / 20), abs=1e-3), sound.path
        for channel in waveform.T:
            assert 20 * np.log10(np.sqrt(np.mean(channel**2))) > -45, sound.path
            assert abs(float(channel.mean())) < 2e-3, sound.path
            assert np.abs(channel[[0, -1]]).max() < 1e-3, sound.path
        if sound.n_channels == 2:
            assert not np.array_equal(waveform[:, 0], waveform[:, 1]), sound.path


def test_same_seed_same_samples_in_any_order() -> None:
    forward = [synthesise(sound) for sound in FEW]
    backward = [synthesise(sound) for sound in reversed(FEW)][::-1]
    for sound, one, other in zip(FEW, forward, backward, strict=True):
        assert one.dtype == np.float32 and one.shape == (sound.n_channels, sound.n_samples)
        np.testing.assert_array_equal(one, other)


def test_seed_and_path_both_matter() -> None:
    sound = BY_NAME["heavy rain"]
    renamed = replace(sound, path="weather/other rain.wav")
    assert not np.array_equal(synthesise(sound), synthesise(sound, seed=1))
    assert not np.array_equal(synthesise(sound), synthesise(renamed))


def test_same_seed_same_bytes(few: tuple[DemoSound, ...], tmp_path: Path) -> None:
    first = write_demo_library(tmp_path / "one", seed=3)
    second = write_demo_library(tmp_path / "two", seed=3)
    other = write_demo_library(tmp_path / "three", seed=4)
    contents = [path.read_bytes() for path in first]
    assert contents == [path.read_bytes() for path in second]
    assert all(a != b.read_bytes() for a, b in zip(contents, other, strict=True))


def test_written_files_hold_what_synthesise_returns(
    few: tuple[DemoSound, ...], tmp_path: Path
) -> None:
    for path, sound in zip(write_demo_library(tmp_path), few, strict=True):
        waveform, _ = soundfile.read(path, dtype="float32", always_2d=True)
        np.testing.assert_allclose(waveform.T, synthesise(sound), atol=1 / 32768)


def test_writing_again_leaves_own_files_alone(few: tuple[DemoSound, ...], tmp_path: Path) -> None:
    first = write_demo_library(tmp_path)
    before = [(path.stat().st_ino, path.stat().st_mtime_ns) for path in first]
    assert write_demo_library(tmp_path) == first
    assert [(path.stat().st_ino, path.stat().st_mtime_ns) for path in first] == before


def test_foreign_file_is_never_overwritten(few: tuple[DemoSound, ...], tmp_path: Path) -> None:
    foreign = tmp_path / few[1].path
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"somebody's only copy")
    with pytest.raises(SoundsearchError, match="exists and is not the demo sound") as caught:
        write_demo_library(tmp_path)
    assert few[1].path in str(caught.value) and "\n" not in str(caught.value)
    assert foreign.read_bytes() == b"somebody's only copy"
    assert [path.name for path in tmp_path.rglob(".*")] == []


def test_dangling_link_and_folder_in_the_way_are_refused(
    few: tuple[DemoSound, ...], tmp_path: Path
) -> None:
    blocked = tmp_path / few[0].path
    blocked.mkdir(parents=True)
    with pytest.raises(SoundsearchError, match="exists and is not the demo sound"):
        write_demo_library(tmp_path)
    blocked.rmdir()
    blocked.symlink_to(tmp_path / "elsewhere.wav")
    with pytest.raises(SoundsearchError, match="exists and is not the demo sound"):
        write_demo_library(tmp_path)
    assert not (tmp_path / "elsewhere.wav").exists()


def test_unwritable_place_is_one_clear_line(few: tuple[DemoSound, ...], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(SoundsearchError, match="cannot write the demo sound") as caught:
        write_demo_library(tmp_path / "file")
    assert "\n" not in str(caught.value)


def test_failed_write_leaves_nothing_behind(
    few: tuple[DemoSound, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(library.os, "replace", full_disk)
    with pytest.raises(SoundsearchError, match="No space left on device"):
        write_demo_library(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_dog_barks_only_in_the_stated_seconds_of_the_garden() -> None:
    sound = BY_NAME["evening garden"]
    assert sound.event_s is not None
    waveform = synthesise(sound)[0]
    rate = sound.sample_rate
    per_second = np.array(
        [
            band_power(waveform[s * rate : (s + 1) * rate], rate, *BARK_BAND_HZ)
            for s in range(int(sound.duration_s))
        ]
    )
    start, end = (round(t) for t in sound.event_s)
    outside = np.delete(per_second, range(start, end))
    assert per_second[start:end].min() > 30 * outside.max()


@pytest.mark.parametrize(
    ("name", "low_hz", "high_hz"),
    [
        ("thunder", 25, 400),
        ("heavy rain", 1000, 9000),
        ("heartbeat", 25, 150),
        ("crickets", 4000, 5200),
        ("songbird", 3000, 6500),
        ("cuckoo", 500, 750),
        ("glass breaking", 3000, 12000),
        ("dial tone", 350, 440),
        ("police siren", 620, 2300),
        ("helicopter", 40, 1000),
    ],
)
def test_energy_lies_where_the_sound_has_it(name: str, low_hz: float, high_hz: float) -> None:
    sound = BY_NAME[name]
    assert low_hz <= centroid_hz(synthesise(sound).mean(axis=0), sound.sample_rate) <= high_hz


def test_knocks_come_when_they_should() -> None:
    sound = BY_NAME["knocking on a door"]
    waveform = synthesise(sound)[0]
    loud_s = np.flatnonzero(np.abs(waveform) > 0.25) / sound.sample_rate
    onsets = loud_s[np.concatenate(([True], np.diff(loud_s) > 0.1))]
    expected = [0.35, 0.56, 0.77, 1.75, 1.96, 2.17, 2.38]
    np.testing.assert_allclose(onsets, expected, atol=0.04)


def test_importing_the_demo_is_cheap() -> None:
    code = (
        "import sys, soundsearch.demo; "
        "print([name for name in ('soundfile', 'scipy', 'torch') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
