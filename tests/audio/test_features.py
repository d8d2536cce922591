from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from soundsearch.audio.features import (
    FeatureConfig,
    KaldiFbank,
    StftLogMel,
    compute_features,
    compute_features_of,
    lifted,
)
from tests import sounds
from tests.tiny_encoder import BAND_HZ

Array = NDArray[np.float32]

VIP_ANT = KaldiFbank(n_mels=128, n_frames=1000, f_min=20.0, mean=-4.93839311, std=5.75751113)
CLAP = StftLogMel(n_mels=64, n_frames=1001, f_min=50.0, f_max=14000.0)


def _signal(kind: str, sample_rate: int, seconds: float = 0.5) -> Array:
    if kind == "tone":
        return sounds.tone(440.0, seconds, sample_rate)
    if kind == "noise":
        return sounds.noise(seconds, sample_rate)
    if kind == "offset":  # a constant is removed from every frame
        return sounds.noise(seconds, sample_rate) + np.float32(0.3)
    if kind == "tone in noise":  # beside a pure tone float32 has only rounding errors to compare
        return sounds.tone(440.0, seconds, sample_rate) + sounds.noise(seconds, sample_rate)
    return np.zeros(round(seconds * sample_rate), np.float32)


def _oracle(module: str) -> Any:
    """Another implementation to compare with, where the train set is installed."""
    with warnings.catch_warnings():  # these are other people's code
        warnings.simplefilter("ignore")
        return pytest.importorskip(module)


def _kaldi(waveform: Array, sample_rate: int, config: KaldiFbank) -> Array:
    torch = _oracle("torch")
    found = _oracle("torchaudio.compliance.kaldi").fbank(
        torch.from_numpy(waveform)[None],
        sample_frequency=sample_rate,
        num_mel_bins=config.n_mels,
        window_type={"hann": "hanning", "povey": "povey"}[config.window],
        frame_length=config.frame_length_ms,
        frame_shift=config.frame_shift_ms,
        low_freq=config.f_min,
        high_freq=config.f_max,
        preemphasis_coefficient=config.preemphasis,
        dither=0.0,
        use_energy=False,
        htk_compat=True,
    )
    mels: Array = found.numpy().T
    return mels


# ---- Kaldi filter banks, against torchaudio


@pytest.mark.parametrize("signal", ["tone", "noise", "offset", "silence"])
@pytest.mark.parametrize("sample_rate", [8000, 16000, 22050, 32000, 44100, 48000])
def test_kaldi_fbank_is_torchaudios_at_every_sample_rate(sample_rate: int, signal: str) -> None:
    waveform = _signal(signal, sample_rate)
    config = KaldiFbank(n_mels=64, n_frames=1, f_min=20.0)

    found = config.log_mel(waveform, sample_rate)

    expected = _kaldi(waveform, sample_rate, config)
    assert found.shape == expected.shape and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize(
    "config",
    [
        KaldiFbank(n_mels=8, n_frames=1, f_min=20.0),
        KaldiFbank(n_mels=40, n_frames=1, f_min=0.0, f_max=7600.0),
        KaldiFbank(n_mels=128, n_frames=1, f_min=20.0, window="povey"),
        KaldiFbank(n_mels=128, n_frames=1, f_min=20.0, f_max=7000.0, preemphasis=0.0),
        KaldiFbank(n_mels=23, n_frames=1, f_min=60.0, frame_length_ms=32.0, frame_shift_ms=16.0),
    ],
    ids=lambda config: f"{config.n_mels} bands, {config.window}, to {config.f_max:.0f} Hz",
)
def test_kaldi_fbank_is_torchaudios_in_every_setting(config: KaldiFbank) -> None:
    waveform = _signal("noise", 16000) + _signal("tone", 16000)

    found = config.log_mel(waveform, 16000)

    np.testing.assert_allclose(found, _kaldi(waveform, 16000, config), atol=1e-3)


def test_a_tone_lies_in_its_band() -> None:
    config = KaldiFbank(n_mels=8, n_frames=98, f_min=20.0)
    loudest = [config.log_mel(sounds.tone(hz), 8000).mean(axis=1).argmax() for hz in BAND_HZ]
    assert loudest == list(range(8))


@pytest.mark.parametrize(("n_samples", "n_frames"), [(1, 0), (199, 0), (200, 1), (280, 2)])
def test_kaldi_frames_are_whole_frames_only(n_samples: int, n_frames: int) -> None:
    config = KaldiFbank(n_mels=8, n_frames=4, f_min=20.0)
    waveform = sounds.noise(1.0)[:n_samples]

    assert config.log_mel(waveform, 8000).shape == (8, n_frames)


def test_a_window_shorter_than_a_frame_is_all_padding() -> None:
    config = KaldiFbank(n_mels=8, n_frames=4, f_min=20.0, mean=1.0, std=2.0)
    features = compute_features(sounds.noise(0.001), 8000, config)
    np.testing.assert_array_equal(features, np.full((8, 4), -0.5, np.float32))


# ---- VIP-ANT


def test_ten_seconds_at_44100_hz_are_998_frames() -> None:
    waveform = sounds.noise(10.0, 44100)
    assert VIP_ANT.log_mel(waveform, 44100).shape == (128, 998)


def test_vip_ant_pads_before_it_normalises() -> None:
    waveform = sounds.noise(10.0, 44100)

    features = compute_features(waveform, 44100, VIP_ANT)

    assert features.shape == (128, 1000) and features.dtype == np.float32
    expected = (_kaldi(waveform, 44100, VIP_ANT) + 4.93839311) / 5.75751113
    np.testing.assert_allclose(features[:, :998], expected, atol=1e-3)
    np.testing.assert_allclose(features[:, 998:], 0.857731, atol=1e-6)


def test_padding_after_normalisation_stays_zero() -> None:
    config = dataclasses.replace(VIP_ANT, pad="after-normalisation")

    features = compute_features(sounds.noise(10.0, 44100), 44100, config)

    np.testing.assert_array_equal(features[:, 998:], 0.0)
    before = compute_features(sounds.noise(10.0, 44100), 44100, VIP_ANT)
    np.testing.assert_array_equal(features[:, :998], before[:, :998])


def test_frames_beyond_n_frames_are_cut_off() -> None:
    config = KaldiFbank(n_mels=8, n_frames=10, f_min=20.0)
    waveform = sounds.noise(1.0)

    features = compute_features(waveform, 8000, config)

    np.testing.assert_array_equal(features, config.log_mel(waveform, 8000)[:, :10])


# ---- CLAP, against transformers


@pytest.mark.parametrize(
    ("truncation", "config"),
    [
        ("rand_trunc", CLAP),
        ("fusion", dataclasses.replace(CLAP, mel_scale="htk", norm="none")),
    ],
)
@pytest.mark.parametrize("signal", ["tone in noise", "noise", "silence"])
def test_stft_log_mel_is_that_of_transformers(
    truncation: str, config: StftLogMel, signal: str
) -> None:
    waveform = _signal(signal, 48000, seconds=10.0)
    extractor = _oracle("transformers").ClapFeatureExtractor(
        truncation=truncation, frequency_min=50
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = extractor(
            waveform.astype(np.float64), sampling_rate=48000, return_tensors="np"
        ).input_features[0, 0]

    found = compute_features(waveform, 48000, config)

    np.testing.assert_allclose(found, expected.T, atol=1e-3)


def test_stft_frames_are_centred() -> None:
    config = StftLogMel(n_mels=8, n_frames=101, f_min=0.0, n_fft=256, hop_length=80)
    waveform = np.zeros(8000, np.float32)
    waveform[4000] = 1.0  # a click: loudest in the frame centred on it

    features = compute_features(waveform, 8000, config)

    assert features[4].argmax() == 50
    assert config.log_mel(waveform, 8000).shape == (8, 1 + 8000 // 80)


def test_stft_of_one_sample_is_finite() -> None:
    features = compute_features(np.ones(1, np.float32), 48000, CLAP)
    assert features.shape == (64, 1001) and np.isfinite(features).all()


# ---- both

BOTH = pytest.mark.parametrize(
    "config",
    [
        KaldiFbank(n_mels=8, n_frames=98, f_min=20.0, mean=-4.0, std=5.0),
        StftLogMel(n_mels=8, n_frames=101, f_min=20.0, n_fft=256, hop_length=80),
    ],
    ids=["kaldi", "stft"],
)


@BOTH
def test_the_waveform_is_not_modified(config: KaldiFbank | StftLogMel) -> None:
    waveform = sounds.noise(1.0) + np.float32(0.25)
    before = waveform.copy()
    waveform.flags.writeable = False

    compute_features(waveform, 8000, config)

    np.testing.assert_array_equal(waveform, before)


@BOTH
@given(start=st.integers(0, 12_000), loud=st.sampled_from([0.0, 0.9]))
def test_the_same_window_gives_the_same_features_wherever_it_lies(
    config: KaldiFbank | StftLogMel, start: int, loud: float
) -> None:
    window = sounds.noise(1.0, seed=1)
    recording = np.full(20_000, loud, np.float32)
    recording[start : start + 8000] = window

    found = compute_features(recording[start : start + 8000], 8000, config)

    np.testing.assert_array_equal(found, compute_features(window, 8000, config))


@BOTH
@given(
    starts=st.lists(st.integers(0, 150), min_size=1, max_size=6),
    unit=st.sampled_from([1, 79, 80, 160]),
    sizes=st.lists(st.sampled_from([100, 4000, 8000]), min_size=6, max_size=6),
    lie=st.sampled_from([0, 80, 81]),
)
def test_windows_in_order_have_the_features_of_each_alone(
    config: KaldiFbank | StftLogMel, starts: list[int], unit: int, sizes: list[int], lie: int
) -> None:
    """Wherever they lie, however they overlap, and even if a start is wrong."""
    recording = sounds.noise(4.0)
    windows = [
        (start * unit + lie * (i == 1), recording[start * unit :][:size])
        for i, (start, size) in enumerate(zip(starts, sizes, strict=False))
    ]

    found = compute_features_of(windows, 8000, config)

    alone = [compute_features(waveform, 8000, config) for _, waveform in windows]
    np.testing.assert_array_equal(found, np.stack(alone))


def test_what_two_windows_share_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    config = KaldiFbank(n_mels=8, n_frames=98, f_min=20.0)
    log_mel, n_computed = KaldiFbank.log_mel, 0

    def count(self: KaldiFbank, waveform: Array, sample_rate: int) -> Array:
        nonlocal n_computed
        found = log_mel(self, waveform, sample_rate)
        n_computed += found.shape[1]
        return found

    monkeypatch.setattr(KaldiFbank, "log_mel", count)
    recording = sounds.noise(11.0)
    compute_features_of(
        [(i, recording[i : i + 8000]) for i in range(0, 80_001, 4000)], 8000, config
    )
    assert n_computed == 98 + 20 * 50


@BOTH
def test_steps_in_memory_change_nothing(config: KaldiFbank | StftLogMel) -> None:
    waveform = sounds.noise(1.0)
    interleaved = np.stack([waveform, sounds.noise(1.0, seed=2)], axis=1)
    np.testing.assert_array_equal(
        compute_features(interleaved[:, 0], 8000, config), compute_features(waveform, 8000, config)
    )


@BOTH
@pytest.mark.parametrize("shape", [(0,), (2, 8000), ()])
def test_only_mono_waveforms_have_features(
    config: KaldiFbank | StftLogMel, shape: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="mono"):
        compute_features(np.zeros(shape, np.float32), 8000, config)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_mels": 0}, "n_mels and n_frames"),
        ({"n_frames": 0}, "n_mels and n_frames"),
        ({"f_min": -1.0}, "f_min"),
        ({"f_min": 100.0, "f_max": 100.0}, "f_min < f_max"),
        ({"std": 0.0}, "std"),
        ({"std": float("nan")}, "std"),
        ({"pad": "never"}, "never"),
        ({"frame_shift_ms": 0.0}, "frame_shift_ms"),
        ({"frame_shift_ms": 26.0}, "frame_shift_ms"),
        ({"window": "hamming"}, "hamming"),
    ],
)
def test_kaldi_settings_that_cannot_be(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        KaldiFbank(**{"n_mels": 8, "n_frames": 98, "f_min": 20.0, **wrong})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_fft": 1}, "n_fft"),
        ({"hop_length": 0}, "hop_length"),
        ({"mel_scale": "bark"}, "bark"),
        ({"norm": "l2"}, "l2"),
    ],
)
def test_stft_settings_that_cannot_be(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StftLogMel(**{"n_mels": 8, "n_frames": 98, "f_min": 20.0, **wrong})  # type: ignore[arg-type]


# ---- quiet windows


def _spanning(level: float, offset: float = 0.0) -> Array:
    """A waveform whose highest and lowest sample lie exactly 2 * level apart."""
    waveform = np.zeros(100, np.float32)
    waveform[10], waveform[20] = level, -level
    return waveform + np.float32(offset)


@pytest.mark.parametrize("level", [2.0**-10, 2.0**-9, 1.0, 0.99 * 2.0**-23, 0.0])
def test_other_windows_than_quiet_ones_stay_as_they_are(level: float) -> None:
    waveform = _spanning(level)
    assert lifted(waveform) is waveform


@pytest.mark.parametrize("level", [0.999 * 2.0**-10, 1e-5, 2.0**-23])
def test_quiet_windows_are_lifted_to_one_level(level: float) -> None:
    waveform = _spanning(level)
    waveform.flags.writeable = False
    found = lifted(waveform)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, _spanning(2.0**-10), rtol=1e-6)


def test_an_offset_is_no_level() -> None:
    found = lifted(_spanning(2.0**-12, offset=0.125))
    assert found.max() - found.min() == pytest.approx(2.0**-9)


@pytest.mark.parametrize("config", [VIP_ANT, CLAP], ids=["kaldi", "stft"])
def test_features_of_quiet_windows_do_not_depend_on_the_level(config: FeatureConfig) -> None:
    waveform = sounds.noise(1.0)
    expected = compute_features(lifted(np.float32(1e-4) * waveform), 8000, config)
    for gain in (1e-3, 1e-5):
        found = compute_features(lifted(np.float32(gain) * waveform), 8000, config)
        np.testing.assert_allclose(found, expected, atol=1e-3)
    assert expected.std() > 0.1
