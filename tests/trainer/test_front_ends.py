"""The front ends of training, held against torchaudio and the words of the paper's code."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import soundsearch
from soundsearch.audio.features import KaldiFbank, compute_features
from soundsearch.audio.mixdown import in_one
from soundsearch.audio.windows import Window
from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.encoder.towers import Encoder
from soundsearch.errors import AudioError
from tests import sounds
from tests.trainer.authors import as_the_authors
from trainer.front_ends import (
    EFFICIENTAT,
    FRONT_ENDS,
    STARTER,
    VIP_ANT,
    extract_features,
    masked_rows,
)

with warnings.catch_warnings():  # the oracles are other people's code
    warnings.simplefilter("ignore")
    import torch
    import torchaudio.functional

Array = NDArray[np.float32]

PADDING = 0.857731


def _clip(seconds: float, sample_rate: int, n_channels: int = 2, seed: int = 0) -> Array:
    """A tone in noise, another one in each channel, with a quiet beginning."""
    channels = np.stack(
        [
            sounds.tone(440.0 * (i + 1), seconds, sample_rate, 0.2)
            + sounds.noise(seconds, sample_rate, seed + i)
            for i in range(n_channels)
        ]
    )
    channels[:, : channels.shape[1] // 4] *= 0.05
    return channels


# ---- VIP-ANT, against torchaudio


@pytest.mark.parametrize("seconds", [4.0, 10.0, 14.3])
@pytest.mark.parametrize("sample_rate", [16000, 22050, 44100])
def test_trap_1_features_are_the_authors_at_the_files_own_rate(
    sample_rate: int, seconds: float
) -> None:
    """Traps 1 to 6 together: nothing is resampled, channel 0, 10.05 s, Hann, Nyquist, constants."""
    channels = _clip(seconds, sample_rate)
    found = extract_features(channels, sample_rate, VIP_ANT, None)
    assert found.shape == (128, 1000) and found.dtype == np.float32
    np.testing.assert_allclose(found, as_the_authors(channels, sample_rate), atol=1e-3)


def test_trap_1_the_mel_bands_move_with_the_rate() -> None:
    tone = sounds.tone(3000.0, 2.0, 16000)[None]
    low = extract_features(tone, 16000, VIP_ANT, None)[:, 50].argmax()
    tone = sounds.tone(3000.0, 2.0, 44100)[None]
    high = extract_features(tone, 44100, VIP_ANT, None)[:, 50].argmax()
    assert low - high > 20


def test_trap_2_padding_is_raw_zero_before_normalisation() -> None:
    found = extract_features(_clip(3.0, 16000), 16000, VIP_ANT, None)
    np.testing.assert_allclose(found[:, 298:], PADDING, atol=1e-6)
    silence = extract_features(np.zeros((1, 48000), np.float32), 16000, VIP_ANT, None)
    np.testing.assert_allclose(silence[:, :298], (-15.9424 + 4.93839311) / 5.75751113, atol=1e-4)


def test_trap_3_only_the_first_channel_is_heard() -> None:
    channels = _clip(4.0, 16000)
    found = extract_features(channels, 16000, VIP_ANT, None)
    np.testing.assert_array_equal(found, extract_features(channels[:1], 16000, VIP_ANT, None))
    other = extract_features(channels[::-1], 16000, VIP_ANT, None)
    assert np.abs(found - other).max() > 0.5


def test_trap_3_the_mean_of_all_channels_leaves_no_trace() -> None:
    """The authors subtract it; every frame loses its own mean anyway."""
    channels = _clip(4.0, 16000)
    found = extract_features(channels, 16000, VIP_ANT, None)
    shifted = extract_features(channels + np.float32(0.25), 16000, VIP_ANT, None)
    np.testing.assert_allclose(shifted, found, atol=1e-3)


def test_traps_4_and_5_constants_window_and_upper_edge() -> None:
    features = VIP_ANT.features
    assert isinstance(features, KaldiFbank)
    assert (features.mean, features.std) == (-4.93839311, 5.75751113)  # not AST's
    assert (features.window, features.f_min, features.f_max) == ("hann", 20.0, 0.0)
    assert features.upper_edge_hz(44100) == 22050


@pytest.mark.parametrize(
    ("sample_rate", "n_frames"),
    [(16000, 998), (32000, 998), (44100, 998), (48000, 998), (22050, 1000)],
)
def test_trap_6_ten_seconds_have_so_many_frames(sample_rate: int, n_frames: int) -> None:
    found = extract_features(_clip(10.0, sample_rate, 1), sample_rate, VIP_ANT, None)
    is_padding = np.isclose(found, PADDING, atol=1e-6).all(axis=0)
    assert is_padding.tolist() == [False] * n_frames + [True] * (1000 - n_frames)


def test_trap_6_a_longer_clip_fills_all_frames() -> None:
    found = extract_features(_clip(10.06, 16000, 1), 16000, VIP_ANT, None)
    assert not np.isclose(found, PADDING, atol=1e-6).all(axis=0).any()


def test_trap_6_the_guard_works_in_evaluation_and_in_training() -> None:
    channels = 0.001 * sounds.noise(40.0, 8000)[None]
    channels[:, :160_000] *= 0.5
    channels[:, :80_400] += sounds.noise(10.05, 8000, 1)  # only the first stretch can be heard
    first = extract_features(channels[:, :80_400], 8000, VIP_ANT, None)
    np.testing.assert_array_equal(extract_features(channels, 8000, VIP_ANT, None), first)
    unmasked = dataclasses.replace(VIP_ANT, frequency_mask=0, time_mask=0)
    starts = [int(np.random.default_rng(s).integers(320_000 - 80_400)) for s in range(9)]
    quiet = [seed for seed, start in enumerate(starts) if start > 80_400]
    assert len(quiet) > 2
    for seed in quiet:
        found = extract_features(channels, 8000, unmasked, np.random.default_rng(seed))
        np.testing.assert_array_equal(found, first)


# ---- training


def test_the_stretch_of_training_lies_anywhere() -> None:
    unmasked = dataclasses.replace(VIP_ANT, frequency_mask=0, time_mask=0)
    channels = sounds.noise(12.0, 8000)[None]
    spare = 96_000 - 80_400
    for seed in range(4):
        found = extract_features(channels, 8000, unmasked, np.random.default_rng(seed))
        start = int(np.random.default_rng(seed).integers(spare))
        stretch = channels[0, start : start + 80_400]
        np.testing.assert_array_equal(found, compute_features(stretch, 8000, VIP_ANT.features))


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_the_same_generator_gives_the_same_features(name: str) -> None:
    front_end = FRONT_ENDS[name]
    channels = _clip(11.0, 16000)
    channels.flags.writeable = False
    one, again, other = (
        extract_features(channels, 16000, front_end, np.random.default_rng(seed))
        for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), seconds=st.sampled_from([1.0, 4.0]))
def test_trap_21_masks_come_after_normalisation_and_hide_padding_too(
    seed: int, seconds: float
) -> None:
    channels = _clip(seconds, 8000, 1)
    plain = extract_features(channels, 8000, VIP_ANT, None)
    assert not (plain == 0.0).any()

    found = extract_features(channels, 8000, VIP_ANT, np.random.default_rng(seed))

    hidden = found == 0.0
    bands, frames = hidden.all(axis=1), hidden.all(axis=0)
    np.testing.assert_array_equal(hidden, bands[:, None] | frames[None, :])
    np.testing.assert_array_equal(found[~hidden], plain[~hidden])
    for mask, longest in ((bands, 32), (frames, 200)):
        assert mask.sum() < longest
        assert np.abs(np.diff(mask.astype(int), prepend=0, append=0)).sum() in (0, 2)  # one stretch


def test_trap_21_padding_is_hidden_at_times() -> None:
    channels = _clip(1.0, 8000, 1)
    generator = np.random.default_rng(0)
    found = [extract_features(channels, 8000, VIP_ANT, generator) for _ in range(8)]
    assert any((f[:, 500:] == 0.0).all(axis=0).any() for f in found)


def test_masks_are_as_long_as_they_may_be() -> None:
    channels = _clip(10.0, 8000, 1)
    generator = np.random.default_rng(0)
    hidden = [extract_features(channels, 8000, VIP_ANT, generator) == 0.0 for _ in range(30)]
    assert 24 < max(h.all(axis=1).sum() for h in hidden) < 32
    assert 150 < max(h.all(axis=0).sum() for h in hidden) < 200


class _Told:
    """Random numbers between 0 and 1 that were told beforehand."""

    def __init__(self, *numbers: float) -> None:
        self.numbers = list(numbers)

    def random(self) -> float:
        return self.numbers.pop(0)


@settings(max_examples=200)
@given(
    width=st.floats(0, 1, exclude_max=True, width=32),
    start=st.floats(0, 1, exclude_max=True, width=32),
    longest=st.sampled_from([1, 12, 32]),
)
def test_masks_lie_where_torchaudio_puts_them(width: float, start: float, longest: int) -> None:
    features = np.ones((40, 3), np.float32)
    numbers = [torch.tensor([width], dtype=torch.float64), torch.tensor([start])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "rand", lambda _: numbers.pop(0))
        expected = torchaudio.functional.mask_along_axis(
            torch.from_numpy(features)[None], longest, 0.0, 1
        )[0]

    found = features.copy()
    masked_rows(found, longest, _Told(width, start))[:] = 0.0  # type: ignore[arg-type]

    np.testing.assert_array_equal(found, expected.numpy())


@given(n_rows=st.integers(1, 40), longest=st.integers(0, 60), seed=st.integers(0, 1000))
def test_a_mask_is_shorter_than_its_limit_and_than_what_it_hides(
    n_rows: int, longest: int, seed: int
) -> None:
    rows = masked_rows(np.ones((n_rows, 2)), longest, np.random.default_rng(seed))
    assert len(rows) < max(1, min(longest, n_rows))


@pytest.mark.parametrize("mask", ["frequency_mask", "time_mask"])
def test_masks_cannot_be_negative(mask: str) -> None:
    with pytest.raises(ValueError, match="must be 0 or more"):
        dataclasses.replace(VIP_ANT, **{mask: -1})  # type: ignore[arg-type]


# ---- starter


def test_the_front_end_of_efficientat_is_that_of_the_shipped_encoder() -> None:
    folder = Path(soundsearch.__file__).parent / "bundles" / "starter"
    bundle = EncoderBundle.read(folder)
    assert (EFFICIENTAT.audio, EFFICIENTAT.features) == (bundle.audio, bundle.features)


def test_a_clip_of_one_window_has_the_features_of_search() -> None:
    channels = np.stack([sounds.noise(3.0, 32000, 1), sounds.noise(3.0, 32000, 2)])
    found = extract_features(channels, 32000, STARTER, None)
    mean = ((channels[0] + channels[1]) / 2).astype(np.float32)
    np.testing.assert_array_equal(found, compute_features(mean, 32000, STARTER.features))
    assert found.shape == (64, 298)


def test_a_short_clip_is_repeated() -> None:
    channels = sounds.noise(1.0, 32000)[None]
    found = extract_features(channels, 32000, STARTER, None)
    tiled = np.tile(channels, 3)
    np.testing.assert_array_equal(found, extract_features(tiled, 32000, STARTER, None))


def test_clips_are_heard_at_32_khz() -> None:
    fast = extract_features(sounds.tone(5000.0, 5.0, 48000)[None], 48000, STARTER, None)
    plain = extract_features(sounds.tone(5000.0, 5.0, 32000)[None], 32000, STARTER, None)
    loudest = plain > plain.max() - 1.0
    np.testing.assert_allclose(fast[loudest], plain[loudest], atol=0.05)


def test_a_clip_without_sound_is_refused() -> None:
    for front_end in FRONT_ENDS.values():
        with pytest.raises(AudioError, match="at least 10 ms"):
            extract_features(
                np.zeros((2, 0), np.float32), 44100, front_end, np.random.default_rng(0)
            )


def test_loudness_leaves_efficientats_features_as_they_are() -> None:
    clip = _clip(3.0, 32000)
    expected = extract_features(clip, 32000, EFFICIENTAT, None)
    for gain in (3e-5, 1e-2, 3.0):
        found = extract_features(np.float32(gain) * clip, 32000, EFFICIENTAT, None)
        np.testing.assert_allclose(found, expected, atol=1e-3)


def test_quiet_clips_are_lifted_as_in_search_and_as_the_authors_have_them() -> None:
    """The starter's features do not depend on the level of a quiet clip; VIP-ANT's stay the authors'."""
    quiet, quieter = (np.float32(gain) * _clip(3.0, 32000) for gain in (1e-4, 1e-5))
    found = extract_features(quiet, 32000, STARTER, None)
    np.testing.assert_allclose(extract_features(quieter, 32000, STARTER, None), found, atol=1e-3)
    as_search = Encoder(
        EncoderBundle.read(Path(soundsearch.__file__).parent / "bundles" / "starter"), "cpu"
    ).features_of([Window(0.0, 3.0, in_one(quiet, 32000, "mean"))], 32000)[0]
    shipped = extract_features(quiet, 32000, EFFICIENTAT, None)
    np.testing.assert_allclose(shipped, as_search, atol=1e-5)
    np.testing.assert_allclose(
        extract_features(quieter, 32000, VIP_ANT, None), as_the_authors(quieter, 32000), atol=1e-3
    )
