"""Every recording is decoded once, and its samples are found again."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from recipes.starter.constants import StarterConfig
from recipes.starter.decoded import decode
from tests.sounds import noise, tone, write
from trainer.data.lines import ManifestError


def test_samples_are_those_of_each_recording_up_to_the_longest(
    tmp_path: Path, tiny_config: StarterConfig
) -> None:
    paths = [
        write(tmp_path / "tone.wav", tone(1500, 0.2, 8000), 8000),
        write(tmp_path / "long.wav", noise(2.0, 8000), 8000),
    ]
    found = decode(paths, tmp_path / "decoded", tiny_config.front_end.audio, longest_s=1.5)
    assert len(found) == 2 and found.failed == {}
    np.testing.assert_allclose(found[0], tone(1500, 0.2, 8000), atol=1e-4)
    assert found[1].shape == (12000,) and found[1].dtype == np.float32
    np.testing.assert_allclose(found[1], noise(2.0, 8000)[:12000].clip(-1, 1), atol=1e-4)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(found))[1], found[1])
    with pytest.raises(IndexError):
        found[2]


def test_a_recording_that_cannot_be_used_is_named_and_takes_no_room(
    tmp_path: Path, tiny_config: StarterConfig
) -> None:
    good = write(tmp_path / "hiss.wav", noise(0.6, 8000), 8000)
    bad = tmp_path / "text.wav"
    bad.write_text("not a sound")
    found = decode([bad, good], tmp_path / "decoded", tiny_config.front_end.audio, longest_s=30)
    assert list(found.failed) == [str(bad)]
    assert found.n_samples(0) == 0 < found.n_samples(1)
    with pytest.raises(ManifestError, match="none of 1 recordings could be decoded"):
        decode([bad], tmp_path / "nothing", tiny_config.front_end.audio, longest_s=30)
