"""Mixtures are what they say: so many sounds, so arranged, and called by all their names."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sounds import noise, tone
from trainer.mixtures import (
    MOST,
    Kind,
    MixtureConfig,
    arrange,
    captions_of,
    named_in_part,
)

RATE = 8000
SIZE = 4000
LEVEL = MixtureConfig(apart_db=0.0)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def power_at(sound: np.ndarray, hz: float) -> float:
    """How much of a sound's power lies within 20 Hz of a tone."""
    power = np.abs(np.fft.rfft(sound)) ** 2
    near = np.abs(np.fft.rfftfreq(len(sound), 1 / RATE) - hz) < 20
    return float(power[near].sum() / power.sum())


def test_one_after_the_other_does_not_overlap() -> None:
    low, high = tone(200, 1.0, RATE), tone(1500, 1.0, RATE)
    window = arrange([low, high], Kind.SEQUENCE, RATE, SIZE, rng(), LEVEL)
    assert power_at(window[: int(0.3 * SIZE)], 200) > 0.9
    assert power_at(window[int(0.7 * SIZE) :], 1500) > 0.9


def test_together_both_sound_alike_and_behind_one_is_softer() -> None:
    low, high = tone(200, 1.0, RATE), 0.01 * tone(1500, 1.0, RATE)
    together = arrange([low, high], Kind.TOGETHER, RATE, SIZE, rng(), LEVEL)
    assert power_at(together, 200) == pytest.approx(power_at(together, 1500), abs=0.02)
    behind = arrange([low, high], Kind.BEHIND, RATE, SIZE, rng(), LEVEL)
    below = 10 * np.log10(power_at(behind, 200) / power_at(behind, 1500))
    assert LEVEL.behind_db[0] - 0.2 <= below <= LEVEL.behind_db[1] + 0.2


def test_a_short_sound_alone_is_repeated_from_its_start_as_at_search_time() -> None:
    sound = noise(0.1, RATE)
    window = arrange([sound], Kind.SINGLE, RATE, SIZE, rng(), LEVEL)
    wanted = np.resize(sound, SIZE)
    np.testing.assert_allclose(window / window[5], wanted / wanted[5], rtol=1e-4)


@settings(max_examples=60, deadline=None)
@given(
    seconds=st.floats(0.01, 2.0),
    kind=st.sampled_from(list(Kind)),
    seed=st.integers(0, 1 << 30),
    silent=st.booleans(),
)
def test_whatever_goes_in_a_mixture_is_a_window_of_sound(
    seconds: float, kind: Kind, seed: int, silent: bool
) -> None:
    sound = noise(seconds, RATE) * (0 if silent else 1)
    before = sound.copy()
    sounds = [sound] if kind is Kind.SINGLE else [sound, tone(300, 0.2, RATE)]
    window = arrange(sounds, kind, RATE, SIZE, rng(seed), MixtureConfig())
    assert window.shape == (SIZE,) and window.dtype == np.float32
    assert np.isfinite(window).all()
    np.testing.assert_array_equal(sound, before)


def test_kinds_are_drawn_by_their_shares() -> None:
    config = MixtureConfig(kinds=(0.6, 0.0, 0.4), three_share=0.5)
    drawn = [config.draw(rng(seed)) for seed in range(400)]
    shares = {kind: sum(found is kind for found, _ in drawn) / 400 for kind in Kind}
    assert shares[Kind.SINGLE] == shares[Kind.BEHIND] == 0
    assert shares[Kind.TOGETHER] == pytest.approx(0.6, abs=0.1)
    three = [n for kind, n in drawn if kind is Kind.TOGETHER]
    assert {n for kind, n in drawn if kind is Kind.SEQUENCE} == {2}
    assert sum(n == 3 for n in three) / len(three) == pytest.approx(0.5, abs=0.1)
    with pytest.raises(ValueError, match="make 1, not 2"):
        dataclasses.replace(config, kinds=(1.0, 0.5, 0.5))


def test_sentences_name_every_member() -> None:
    assert captions_of(["a dog"], Kind.SINGLE) == ["a dog"]
    for kind in (Kind.TOGETHER, Kind.BEHIND, Kind.SEQUENCE):
        for text in captions_of(["one", "two"], kind):
            assert "one" in text and "two" in text
    assert len(captions_of(["one", "two", "three"], Kind.TOGETHER)[0].split(",")) == MOST - 1
    after = next(text for text in captions_of(["one", "two"], Kind.SEQUENCE) if "after" in text)
    assert after == "two after one"


@given(
    st.lists(
        st.lists(st.integers(0, 3), min_size=1, max_size=2, unique=True), min_size=1, max_size=6
    )
)
def test_a_text_that_names_a_part_is_neither_right_nor_wrong(rows: list[list[int]]) -> None:
    members = torch.tensor([[*row, -1][:2] for row in rows])
    found = named_in_part(members)
    for i, j in itertools.product(range(len(rows)), repeat=2):
        assert found[i, j] == (set(rows[j]) < set(rows[i]))
