"""Augmentation changes what it says and nothing else, and only through its generator."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from trainer.starter.augment import (
    FLOOR,
    PER_DB,
    AugmentConfig,
    add_noise,
    augment,
    limit_band,
    mask,
    tilt,
)

OFF = AugmentConfig(
    gain_db=0, tilt_db=0, noise_share=0, band_limit_share=0, time_masks=(0, 1), band_masks=(0, 1)
)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(5)


@pytest.fixture
def log_mel() -> torch.Tensor:
    return 2 * torch.randn(6, 20, 8, generator=torch.Generator().manual_seed(0)) - 4


def test_switched_off_it_changes_nothing(log_mel: torch.Tensor) -> None:
    torch.testing.assert_close(augment(log_mel, OFF, generator()), log_mel)


def test_the_generator_decides_and_the_argument_stays(log_mel: torch.Tensor) -> None:
    before = log_mel.clone()
    found = augment(log_mel, AugmentConfig(), generator())
    torch.testing.assert_close(augment(log_mel, AugmentConfig(), generator()), found)
    assert not torch.equal(
        found, augment(log_mel, AugmentConfig(), torch.Generator().manual_seed(6))
    )
    torch.testing.assert_close(log_mel, before)


def test_gain_moves_a_whole_window_by_at_most_what_is_said(log_mel: torch.Tensor) -> None:
    change = augment(log_mel, dataclasses.replace(OFF, gain_db=10.0), generator()) - log_mel
    assert change.flatten(1).std(dim=1).max() < 1e-5
    assert 3 * PER_DB < change.abs().max() <= 10 * PER_DB
    assert augment(log_mel - 20, OFF, generator()).min() == pytest.approx(FLOOR)


def test_tilt_is_the_same_for_every_frame(log_mel: torch.Tensor) -> None:
    change = tilt(log_mel, 6.0, generator()) - log_mel
    assert (change - change[:, :1]).abs().max() < 1e-5
    assert 1 * PER_DB < change.abs().max() <= 9 * PER_DB


def test_noise_only_adds_energy_and_only_to_its_share(log_mel: torch.Tensor) -> None:
    some = add_noise(log_mel.repeat(100, 1, 1), 0.25, (-10.0, 0.0), generator()) - log_mel.repeat(
        100, 1, 1
    )
    assert some.min() >= -1e-5
    assert ((some.amax(dim=(1, 2)) > 0).float().mean() - 0.25).abs() < 0.06


def test_band_limits_only_take_away_at_the_edges(log_mel: torch.Tensor) -> None:
    change = limit_band(log_mel, 1.0, generator()) - log_mel
    assert change.max() <= 0 and change.min() < -2 * PER_DB
    assert change[:, :, 2:4].abs().max() < 1e-6


def test_masks_blank_no_more_than_they_may() -> None:
    x = torch.randn(50, 40, 10, generator=torch.Generator().manual_seed(0))
    hidden = mask(x, (1, 8), (0, 1), generator()) != x
    assert 1 <= hidden.any(dim=2).sum(dim=1).max() <= 9
    hidden = mask(x, (0, 1), (1, 3), generator()) != x
    assert 1 <= hidden.any(dim=1).sum(dim=1).max() <= 4
