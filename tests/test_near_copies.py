"""Near copies: the same sound in another encoding, at another level, cut a little shorter."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given
from hypothesis import strategies as st

from soundsearch import near_copies
from soundsearch.near_copies import LENGTH_S, NEAR, group_near
from tests.conftest import Run
from tests.filled_store import unit
from tests.recorded import Recorded
from tests.sounds import noise, tone, write
from tests.tiny_encoder import BAND_HZ


@pytest.fixture
def library(tmp_path: Path, soundsearch: Run) -> Path:
    """A sound in several encodings, one that is longer, and others of its length; indexed."""
    folder = tmp_path / "library"
    made = np.concatenate([tone(BAND_HZ[i], 0.9, 44_100) for i in (1, 6, 3)])
    made = made + noise(2.7, 44_100) / 20
    write(folder / "original.wav", made, 44_100)
    shutil.copyfile(folder / "original.wav", folder / "z copy.wav")
    soundfile.write(folder / "small.mp3", made, 44_100)
    soundfile.write(folder / "small.ogg", made, 44_100)
    write(folder / "quiet.wav", made / 4, 44_100)
    write(folder / "slow rate.wav", soxr.resample(made, 44_100, 22_050), 22_050)
    write(folder / "trimmed.wav", made[4410:], 44_100)
    write(folder / "longer.wav", np.concatenate([made, made]), 44_100)
    for i in (2, 5):
        write(folder / f"other {i}.wav", tone(BAND_HZ[i], 2.7, 44_100), 44_100)
    soundsearch("index", folder, "-j", 1)
    return folder


NEAR_ONES = [
    *("original.wav", "quiet.wav", "slow rate.wav", "small.mp3", "small.ogg"),
    *("trimmed.wav", "z copy.wav"),
]


@pytest.mark.usefixtures("library")
def test_other_encodings_levels_rates_and_a_trimmed_end_are_near(soundsearch: Run) -> None:
    result = soundsearch("duplicates", "--near")
    rows = [line.split("  library/") for line in result.stdout.splitlines()]
    assert sorted(name for _, name in rows) == NEAR_ONES
    cosines = [float(cosine) for cosine, _ in rows]
    assert cosines == sorted(cosines, reverse=True)
    assert cosines[0] == 1 and cosines[-1] >= NEAR
    assert "groups: 1, copies beside the first: 6" in result.stderr


def test_the_json_and_the_paths_of_near_copies(soundsearch: Run, library: Path) -> None:
    (group,) = json.loads(soundsearch("duplicates", "--near", "--json").stdout)["groups"]
    by_name = {Path(copy["path"]).name: copy for copy in group["copies"]}
    assert sorted(by_name) == NEAR_ONES
    assert set(by_name["quiet.wav"]) == {
        *("path", "state", "is_present", "content_hash", "size_bytes", "duration_s"),
        *("recording_id", "sound_hash", "cosine"),
    }
    hashes = {name: copy["sound_hash"] for name, copy in by_name.items()}
    assert hashes["original.wav"] == hashes["z copy.wav"]
    assert len(set(hashes.values())) == len(NEAR_ONES) - 1
    paths = soundsearch("duplicates", "--near", "--paths").stdout.splitlines()
    assert sorted(paths) == sorted(str(library / name) for name in NEAR_ONES)
    assert soundsearch("duplicates", "--paths").stdout.splitlines() == [
        str(library / "original.wav"),
        str(library / "z copy.wav"),
    ]


def test_without_near_copies_nothing_is_printed(soundsearch: Run, tmp_path: Path) -> None:
    write(tmp_path / "a" / "hum.wav", tone(BAND_HZ[1]))
    shutil.copyfile(tmp_path / "a" / "hum.wav", tmp_path / "a" / "exact.wav")
    soundsearch("index", "a")
    result = soundsearch("duplicates", "--near")
    assert result.stdout == "" and "no two recordings are near copies" in result.stderr


vectors = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from([0.0, 0.001, 0.3]), st.integers(0, 4)), max_size=20
)


@given(vectors, st.sampled_from([1, 3, 256]))
def test_groups_are_what_comparing_all_with_all_gives(
    recordings: list[tuple[int, float, int]], block_rows: int
) -> None:
    eye = np.eye(5, dtype=np.float32)
    means = np.array([eye[i] + aside * eye[4] for i, aside, _ in recordings], np.float32)
    means = unit(means.reshape(-1, 5)) if len(means) else np.empty((0, 5), np.float32)
    lengths = np.array([n * LENGTH_S * 0.75 for *_, n in recordings])
    progress = Recorded()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_copies, "BLOCK_ROWS", block_rows)
        groups = group_near(means, lengths, progress)
    assert progress.stage("recordings compared").done == len(means)

    def are_near(i: int, j: int) -> bool:
        return bool(means[i] @ means[j] >= NEAR) and abs(lengths[i] - lengths[j]) <= LENGTH_S

    expected, left = [], sorted(range(len(means)), key=lambda i: (lengths[i], i))
    while left:
        first, *others = left
        members = [i for i in others if are_near(first, i)]
        left = [i for i in others if i not in members]
        if members:
            expected.append([first, *members])
    assert [[i for i, _ in group] for group in groups] == expected
    for (first, one), *others in groups:
        assert one == 1
        for i, cosine in others:
            assert cosine == pytest.approx(float(means[first] @ means[i]), abs=1e-4)


def test_memory_does_not_grow_with_equal_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_copies, "BLOCK_PAIRS", 50)
    means = unit(np.random.default_rng(0).standard_normal((40, 8)))
    means[30:] = means[:10]
    groups = group_near(means, np.ones(40))
    assert sorted(sorted(i for i, _ in group) for group in groups) == [
        [i, 30 + i] for i in range(10)
    ]
