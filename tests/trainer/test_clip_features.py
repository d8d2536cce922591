"""Features of recordings that are computed once."""

from __future__ import annotations

import dataclasses
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from soundsearch.progress import Silent
from tests.recorded import Recorded
from tests.sounds import noise, tone, write
from tests.trainer.data.test_log_mels import LIKE_VIP_ANT
from tests.trainer.made_shards import FRONT_END
from trainer.checks import features_of
from trainer.clip_features import StoredClips
from trainer.data.sound_files import read_sound
from trainer.front_ends import EFFICIENTAT, FrontEnd

CENTRED = dataclasses.replace(
    EFFICIENTAT,
    name="centred",
    features=dataclasses.replace(EFFICIENTAT.features, centred=True),  # type: ignore[call-arg]
)


@pytest.fixture
def clips(tmp_path: Path) -> list[Path]:
    """Shorter and longer than a stretch."""
    lengths = (0.1, 0.25, 0.65, 1.29)  # the centre is on the grid of frames
    return [
        write(tmp_path / f"{i}.wav", tone(300.0 * i + 200, seconds) + 0.01 * noise(seconds))
        for i, seconds in enumerate(lengths)
    ]


def counted(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The recordings that are decoded from now on, one after the other."""
    found: list[Path] = []
    read = read_sound

    def noted(path: Path) -> object:
        found.append(path)
        return read(path)

    monkeypatch.setattr("trainer.clip_features.read_sound", noted)
    monkeypatch.setattr("trainer.checks.read_sound", noted)
    return found


@pytest.mark.parametrize("front_end", [LIKE_VIP_ANT, FRONT_END, EFFICIENTAT, CENTRED])
def test_they_are_those_of_the_sound(
    front_end: FrontEnd, clips: list[Path], tmp_path: Path
) -> None:
    stored = StoredClips(clips, front_end, tmp_path / "x", n_workers=2, progress=Silent())
    travelled = pickle.loads(pickle.dumps(stored))
    for each in (stored, travelled):
        np.testing.assert_allclose(each(clips), features_of(clips, front_end), atol=2e-2)
        drawn = each(clips[:2], np.random.default_rng(3))  # not longer than a stretch
        wanted = features_of(clips[:2], front_end, np.random.default_rng(3))
        np.testing.assert_allclose(drawn, wanted, atol=2e-2)
    assert stored.lost == {}


def test_nothing_is_decoded_twice(
    clips: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = counted(monkeypatch)
    monkeypatch.setattr("trainer.clip_features.PART", 3)
    watched = Recorded()
    stored = StoredClips(clips, LIKE_VIP_ANT, tmp_path / "x", n_workers=1, progress=watched)
    assert sorted(decoded) == clips
    assert watched.stage("reading clips").advances == [1, 1, 1, 1]
    generator = np.random.default_rng(0)
    crops = [stored(clips[::-1], generator) for _ in range(3)]
    assert (crops[0] != crops[1]).any() and sorted(decoded) == clips
    # A folder that was begun goes on; what changed, or was cut off, is read again.
    StoredClips(clips, LIKE_VIP_ANT, tmp_path / "x", n_workers=1, progress=Silent())
    assert sorted(decoded) == clips
    os.utime(clips[3], ns=(1, 1))
    StoredClips(clips, LIKE_VIP_ANT, tmp_path / "x", n_workers=1, progress=Silent())
    assert decoded[4:] == [clips[3]]
    part = tmp_path / "x" / "part-00001.safetensors"
    part.write_bytes(part.read_bytes()[:-1])
    stored = StoredClips(clips, LIKE_VIP_ANT, tmp_path / "x", n_workers=1, progress=Silent())
    assert decoded[5:] == [clips[3]]
    stored.delete()
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("front_end", [LIKE_VIP_ANT, CENTRED])
def test_what_cannot_be_used_is_named(
    front_end: FrontEnd, clips: list[Path], tmp_path: Path
) -> None:
    clips[1].write_bytes(b"no sound")
    clips[2].unlink()
    for _ in range(2):  # also where it was found before
        stored = StoredClips(clips, front_end, tmp_path / "x", n_workers=1, progress=Silent())
        assert set(stored.lost) == {1, 2} and all(stored.lost.values())
    np.testing.assert_allclose(stored([clips[3]]), features_of([clips[3]], front_end), atol=2e-2)
