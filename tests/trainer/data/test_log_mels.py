"""Stored log-mels: the features of sound, without the sound."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from soundsearch.audio.clips import guarded
from soundsearch.audio.features import StftLogMel
from soundsearch.audio.windows import AudioConfig
from tests.recorded import Recorded, Stage
from tests.sounds import noise, tone
from tests.trainer.made_shards import ENCODER, FRONT_END, RATE, flac, made_shards, store, vector_of
from trainer.data.example import Example, ExampleFacts, ShardError
from trainer.data.log_mels import (
    ShardLogMels,
    SoundLogMel,
    cut_log_mel,
    find_log_mels,
    log_mels_path,
    sound_log_mel,
    whole_log_mels,
)
from trainer.data.order import Order
from trainer.data.part import Part
from trainer.data.shard_folder import ShardFolder
from trainer.data.shard_writer import write_shards
from trainer.data.stored_targets import StoredTargets
from trainer.data.stream import Positions, fixed_features
from trainer.front_ends import EFFICIENTAT, STARTER, VIP_ANT, FrontEnd, extract_features
from trainer.store_log_mels import FeaturesError, store_log_mels

Array = NDArray[np.float32]

#: As VIP-ANT's: one stretch a clip, at the clip's own rate, of the first channel, padded.
LIKE_VIP_ANT = dataclasses.replace(
    FRONT_END,
    name="like-vip-ant",
    audio=AudioConfig(
        sample_rate=None, window_s=0.25, hop_s=0.1, short="keep", channels="first", clip="centre"
    ),
)


class Drawn:
    """A generator that draws this sample, and masks of no width."""

    def __init__(self, start: int) -> None:
        self._start = start

    def integers(self, n: int) -> int:
        assert 0 <= self._start < n
        return self._start

    def random(self) -> float:
        return 0.0


def sound(seconds: float, rate: int, n_channels: int = 2, seed: int = 0) -> Array:
    """Tones in noise, with a beginning and a middle so quiet that the guard acts."""
    channels = np.stack(
        [
            tone(300.0 * (i + 1), seconds, rate, 0.2) + noise(seconds, rate, seed + i)
            for i in range(n_channels)
        ]
    ).astype(np.float32)
    n = channels.shape[1]
    channels[:, : n // 8] *= 0.05
    channels[:, n // 2 : 3 * n // 4] *= 0.05
    return channels


def cut(clip: SoundLogMel, front_end: FrontEnd, generator: object) -> NDArray[np.float16]:
    shape = front_end.features.n_mels, front_end.features.n_frames
    out = np.full(shape, np.nan, np.float16)
    cut_log_mel(clip, front_end, generator, out)  # type: ignore[arg-type]
    return out


@pytest.mark.parametrize(
    ("seconds", "rate", "front_end"),
    [
        (0.1, 8000, LIKE_VIP_ANT),  # shorter than a stretch: padded
        (0.1, 8000, FRONT_END),  # repeated
        (2.0, 8000, LIKE_VIP_ANT),
        (2.0, 11025, LIKE_VIP_ANT),  # a stretch is no whole number of frames
        (2.0, 8000, FRONT_END),
        (10.0, 16000, VIP_ANT),
        (12.0, 22050, VIP_ANT),
        (5.0, 32000, STARTER),
    ],
)
def test_features_from_the_store_are_those_of_the_sound(
    seconds: float, rate: int, front_end: FrontEnd
) -> None:
    channels = sound(seconds, rate)
    clip = sound_log_mel(channels, rate, front_end)
    assert clip.frames.dtype == np.float16
    n_found = 0
    for number in range(0, len(clip.starts), 1 + len(clip.starts) // 40):
        start = round(number * clip.hop)  # on the grid of frames
        to_the_end = clip.starts[number] not in (number, 0)
        if clip.spare and (start >= clip.spare or (to_the_end and clip.spare % clip.hop)):
            continue  # it begins between two frames
        wanted = extract_features(channels, rate, front_end, Drawn(start))  # type: ignore[arg-type]
        np.testing.assert_allclose(cut(clip, front_end, Drawn(start)), wanted, atol=1e-2)
        n_found += 1
    assert n_found >= (10 if clip.spare > 0 else 1)


@given(
    st.integers(1, 3),
    st.integers(260, 900),
    st.lists(st.floats(0, 1), min_size=4, max_size=9),
    st.integers(0, 9),
)
@example(n_channels=1, n_ms=390, levels=[0, 0, 0, 1], seed=0)  # stretches of silence are equal
@settings(deadline=None, max_examples=40)
def test_the_guard_is_that_of_the_sound(
    n_channels: int, n_ms: int, levels: list[float], seed: int
) -> None:
    """Stored starts are those that `guarded` chooses, whatever is loud and where."""
    n = n_ms * 8
    level = np.interp(np.linspace(0, 1, n), np.linspace(0, 1, len(levels)), np.square(levels))
    channels = (np.random.default_rng(seed).normal(0, 0.2, (n_channels, n)) * level).astype(
        np.float32
    )
    clip = sound_log_mel(channels, 8000, LIKE_VIP_ANT)
    for number, start in enumerate(clip.starts):
        drawn = number * 80
        if drawn + 2000 > n:
            continue
        found = guarded(channels, 2000, drawn)
        # A view of channels: where it lies in memory tells its start, also between equal stretches.
        begin = (found.ctypes.data - channels.ctypes.data) // channels.itemsize
        assert np.shares_memory(found, channels)
        assert abs(int(start) * 80 - begin) <= 40


def test_a_start_between_two_frames_goes_to_the_nearer_one() -> None:
    channels = sound(2.0, 8000)
    clip = sound_log_mel(channels, 8000, LIKE_VIP_ANT)
    on_grid = cut(clip, LIKE_VIP_ANT, Drawn(80 * 40))
    for drawn in (80 * 40 - 39, 80 * 40 + 39):
        np.testing.assert_array_equal(cut(clip, LIKE_VIP_ANT, Drawn(drawn)), on_grid)
    assert (cut(clip, LIKE_VIP_ANT, Drawn(80 * 41)) != on_grid).any()


def test_the_same_random_numbers_are_drawn() -> None:
    """So a run with log-mels takes the same stretches, masks and pictures."""
    channels = sound(2.0, 8000)
    clip = sound_log_mel(channels, 8000, LIKE_VIP_ANT)
    for seed in range(20):
        one, other = np.random.default_rng(seed), np.random.default_rng(seed)
        wanted = extract_features(channels, 8000, LIKE_VIP_ANT, one)
        found = cut(clip, LIKE_VIP_ANT, other)
        np.testing.assert_array_equal(found == 0, wanted == 0)  # the masks
        assert one.random() == other.random()


def test_where_a_stretch_is_mixed_or_amplified_otherwise_than_the_whole_its_sound_is_read() -> None:
    quiet = noise(1.0, 8000)[None] * np.float32(2.0**-13)
    assert len(sound_log_mel(quiet, 8000, FRONT_END)) == 0  # a window of a recording is amplified
    assert len(sound_log_mel(quiet, 8000, LIKE_VIP_ANT)) > 0  # a clip of the paper's is not
    loud = noise(1.0, 8000)
    against = np.stack([loud, -loud])
    assert len(sound_log_mel(against, 8000, FRONT_END)) == 0
    assert len(sound_log_mel(against, 8000, LIKE_VIP_ANT)) > 0


def test_where_a_window_has_its_own_level_the_sound_of_longer_clips_is_read() -> None:
    three, four = (noise(seconds, 32000)[None] for seconds in (3.0, 4.0))
    whole = sound_log_mel(three, 32000, EFFICIENTAT)
    expected = extract_features(three, 32000, EFFICIENTAT, None)
    np.testing.assert_allclose(cut(whole, EFFICIENTAT, None), expected, atol=2e-3)
    longer = sound_log_mel(four, 32000, EFFICIENTAT)
    assert len(longer) == 0 and longer.hop > 0
    plain = dataclasses.replace(
        EFFICIENTAT, features=dataclasses.replace(EFFICIENTAT.features, level=None)
    )
    assert len(sound_log_mel(four, 32000, plain)) > 0


def test_resampled_sound_differs_at_the_edges_of_a_stretch_alone() -> None:
    channels = sound(6.0, 44100, 1)
    channels[:] = tone(440, 6.0, 44100) + 0.1 * noise(6.0, 44100)
    clip = sound_log_mel(channels, 44100, STARTER)
    start = 44100  # 100 frames
    wanted = extract_features(channels, 44100, STARTER, Drawn(start))  # type: ignore[arg-type]
    found = cut(clip, STARTER, Drawn(start))
    np.testing.assert_allclose(found[:, 1:-1], wanted[:, 1:-1], atol=1e-2)


def test_masks_do_not_change_the_fingerprint_and_all_else_does() -> None:
    masked = dataclasses.replace(VIP_ANT, name="other", frequency_mask=0, time_mask=0)
    assert masked.fingerprint == VIP_ANT.fingerprint
    features = dataclasses.replace(VIP_ANT.features, mean=-4.0)
    others = [
        dataclasses.replace(VIP_ANT, features=features),
        dataclasses.replace(VIP_ANT, audio=dataclasses.replace(VIP_ANT.audio, window_s=5.05)),
        STARTER,
    ]
    assert len({other.fingerprint for other in (VIP_ANT, *others)}) == 4


def fitting(data: ShardFolder, front_end: FrontEnd = LIKE_VIP_ANT) -> list[NDArray[np.float16]]:
    """All stored log-mels of a folder."""
    found = []
    for shard, path in enumerate(data.shards):
        stored = ShardLogMels(log_mels_path(path, front_end), front_end, data.digest(shard))
        found += [np.array(stored.of(i).frames) for i in range(int(data.counts[shard]))]
    return found


@pytest.mark.parametrize("n_workers", [1, 3])
def test_the_store_holds_the_log_mel_of_every_clip_in_order(tmp_path: Path, n_workers: int) -> None:
    data = made_shards(tmp_path, n_clips=9, examples_per_shard=4)
    progress = Recorded()
    report = store_log_mels(tmp_path, LIKE_VIP_ANT, n_workers=n_workers, progress=progress)
    assert (report.n_done, report.n_examples, report.n_bad) == (3, 9, 0)
    assert progress.stage("shards").done == pytest.approx(3)
    assert len(progress.stage("shards").advances) == 9  # after every clip, not every shard
    found = fitting(data)
    for i, frames in enumerate(found):
        wanted = sound_log_mel(*data.open(i // 4).audio(i % 4), LIKE_VIP_ANT)
        np.testing.assert_array_equal(frames, wanted.frames)


def test_a_stopped_run_goes_on_and_a_finished_one_does_nothing(tmp_path: Path) -> None:
    def stop(shards: Stage) -> None:
        if shards.done >= 1.5:
            raise KeyboardInterrupt

    data = made_shards(tmp_path, n_clips=9, examples_per_shard=3)
    with pytest.raises(KeyboardInterrupt):
        store_log_mels(tmp_path, LIKE_VIP_ANT, n_workers=1, progress=Recorded(stop))
    paths = [log_mels_path(path, LIKE_VIP_ANT) for path in data.shards]
    assert [path.exists() for path in paths] == [True, False, False]
    assert not list(tmp_path.glob(".*.part"))
    report = store_log_mels(tmp_path, LIKE_VIP_ANT, n_workers=1)
    assert (report.n_ready, report.n_done) == (1, 2)
    assert store_log_mels(tmp_path, LIKE_VIP_ANT, n_workers=1).n_done == 0
    paths[1].write_bytes(paths[1].read_bytes()[:-5])
    write_shards([Example(FACTS, flac(tone(500, 0.3, RATE)))], tmp_path, first=2)
    assert store_log_mels(tmp_path, LIKE_VIP_ANT, n_workers=1).n_done == 2


FACTS = ExampleFacts("made.wav", 0.0, 0.3, RATE)


def test_machines_share_the_shards(tmp_path: Path) -> None:
    data = made_shards(tmp_path, n_clips=10, examples_per_shard=2)
    done = []
    for number in (1, 2, 3):
        store_log_mels(tmp_path, LIKE_VIP_ANT, n_workers=1, part=Part(number, 3))
        done.append(
            [i for i, p in enumerate(data.shards) if log_mels_path(p, LIKE_VIP_ANT).exists()]
        )
    assert done == [[0, 3], [0, 1, 3, 4], [0, 1, 2, 3, 4]]


def test_a_sound_that_cannot_be_used_costs_one_line_and_takes_no_part(tmp_path: Path) -> None:
    good = flac(tone(500, 0.5, RATE))
    short = flac(tone(500, 0.004, RATE))
    write_shards([Example(FACTS, good), Example(FACTS, b"fLaC"), Example(FACTS, short)], tmp_path)
    progress = Recorded()
    report = store_log_mels(tmp_path, LIKE_VIP_ANT, n_workers=2, progress=progress)
    assert (report.n_examples, report.n_bad, report.n_failed) == (3, 2, 0)
    assert ["000000-00001" in progress.notes[0], "000000-00002" in progress.notes[1]] == [True] * 2
    stored = find_log_mels(ShardFolder(tmp_path), LIKE_VIP_ANT)
    assert stored is not None
    assert stored.usable(0).tolist() == [0]
    write_shards([Example(FACTS, b"fLaC")], tmp_path / "bad")
    with pytest.raises(FeaturesError, match="no example has a sound"):
        store_log_mels(tmp_path / "bad", LIKE_VIP_ANT, n_workers=1)


def test_a_front_end_whose_frames_depend_on_their_neighbours_is_refused(tmp_path: Path) -> None:
    made_shards(tmp_path, n_clips=2)
    stft = StftLogMel(n_mels=16, n_frames=23, f_min=50.0)
    with pytest.raises(FeaturesError, match="tiny"):
        store_log_mels(tmp_path, dataclasses.replace(FRONT_END, features=stft), n_workers=1)


def test_what_does_not_fit_is_refused_with_the_way_out(tmp_path: Path) -> None:
    data = made_shards(tmp_path, n_clips=9, examples_per_shard=3)
    assert find_log_mels(data, LIKE_VIP_ANT) is None  # sound is read
    store_log_mels(tmp_path, FRONT_END, n_workers=1)
    command = f"soundsearch train features {tmp_path} --front-end like-vip-ant"
    with pytest.raises(ShardError) as another:
        find_log_mels(data, LIKE_VIP_ANT)
    assert all(part in str(another.value) for part in (FRONT_END.slug, LIKE_VIP_ANT.slug, command))
    store_log_mels(tmp_path, LIKE_VIP_ANT, n_workers=1)
    paths = [log_mels_path(path, LIKE_VIP_ANT) for path in data.shards]
    whole = paths[1].read_bytes()
    paths[1].unlink()
    with pytest.raises(ShardError) as mixed:
        find_log_mels(data, LIKE_VIP_ANT)
    assert all(part in str(mixed.value) for part in ("2 of 3", "shard-000001.tar", command))
    assert whole_log_mels(data, LIKE_VIP_ANT) is None
    paths[1].write_bytes(whole[:-7])
    stored = find_log_mels(data, LIKE_VIP_ANT)
    assert stored is not None
    with pytest.raises(ShardError) as short:
        stored.usable(1)
    assert all(part in str(short.value) for part in (str(paths[1]), str(len(whole) - 7), command))
    log_mels_path(data.shards[1], FRONT_END).replace(paths[1])
    with pytest.raises(ShardError) as wrong:
        stored.usable(1)
    assert FRONT_END.fingerprint[:12] in str(wrong.value)
    paths[2].replace(paths[1])
    with pytest.raises(ShardError, match="made from another shard"):
        stored.usable(1)


def positions(data: ShardFolder, stored: bool) -> Positions:
    log_mels = find_log_mels(data, LIKE_VIP_ANT) if stored else None
    targets = StoredTargets(data, "images", ENCODER)
    clips = [targets.usable(shard) for shard in range(len(data.shards))]
    return Positions(data, Order(clips, 0, block=9), targets, LIKE_VIP_ANT, 0, log_mels)


def test_training_reads_the_same_from_the_store_as_from_sound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clips no longer than a stretch, as AudioSet's: crop, masks and picture are the same."""
    sounds = [Example(FACTS, flac(tone(300.0 + i, 0.25, RATE))) for i in range(6)]
    write_shards(sounds, tmp_path)
    data = ShardFolder(tmp_path)
    rows = [np.stack([vector_of(i), vector_of(i + 6)]) for i in range(6)]
    store(data.shards[0], "images", rows, data.digest(0))
    store_log_mels(tmp_path, LIKE_VIP_ANT, n_workers=1)
    from_sound = [positions(data, stored=False)[i] for i in range(12)]
    clips = [(0, i) for i in range(6)]
    fixed = fixed_features(data, clips, LIKE_VIP_ANT)

    monkeypatch.setattr("trainer.data.shard_folder.read_channels", None)  # nothing is decoded
    from_store = [positions(data, stored=True)[i] for i in range(12)]
    for (features, vector), (wanted, its) in zip(from_store, from_sound, strict=True):
        assert features.dtype == torch.float16
        torch.testing.assert_close(features.float(), wanted, atol=1e-2, rtol=0)
        torch.testing.assert_close(vector, its, atol=0, rtol=0)
    log_mels = find_log_mels(data, LIKE_VIP_ANT)
    stored = fixed_features(data, clips, LIKE_VIP_ANT, log_mels)
    torch.testing.assert_close(stored, fixed, atol=1e-2, rtol=0)
