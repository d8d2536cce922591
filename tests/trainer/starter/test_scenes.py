"""Scenes are what they say: so many sounds, so arranged, heard by the teacher as the student sees them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sounds import noise, tone, write
from tests.trainer.starter.conftest import Mix
from trainer.data.manifests import Recording
from trainer.starter.cache import RecordingCache, build_cache
from trainer.starter.config import StarterConfig
from trainer.starter.corpus import JOINS
from trainer.starter.scenes import (
    FORM_OF_THREE,
    FORMS,
    FRAMES,
    MOST,
    Kind,
    Maker,
    SceneConfig,
    arrange,
    captions_of,
    change,
    coded,
    cut_to_band,
    draw_weights,
    finish,
    make_scenes,
    room,
)
from trainer.starter.tagger import Teacher

RATE = 8000
SIZE = 4000
PLAIN = SceneConfig(
    speed_share=0.0, room_share=0.0, band_share=0.0, coded_share=0.0, noise_share=0.0, apart_db=0.0
)


def power_at(sound: np.ndarray, hz: float) -> float:
    """How much of a sound's power lies within 20 Hz of a tone."""
    power = np.abs(np.fft.rfft(sound)) ** 2
    near = np.abs(np.fft.rfftfreq(len(sound), 1 / RATE) - hz) < 20
    return float(power[near].sum() / power.sum())


def clip_of(path: Path, caption: str, source: str = "made") -> Recording:
    return Recording(
        path=path, caption=caption, tags=(), split="train", source=source, licence="CC0"
    )


@pytest.fixture
def clips(tmp_path: Path) -> list[Recording]:
    low = write(tmp_path / "low.wav", tone(200, 0.8, RATE), RATE)
    high = write(tmp_path / "high.wav", tone(1500, 0.2, RATE), RATE)
    bad = tmp_path / "bad.wav"
    bad.write_text("no sound")
    return [clip_of(low, "low"), clip_of(high, "high"), clip_of(bad, "bad")]


@pytest.fixture
def cache(clips: list[Recording], tmp_path: Path, tiny_config: StarterConfig) -> RecordingCache:
    return build_cache(
        clips, tmp_path / "cache", tiny_config.audio, tiny_config.features, longest_s=3
    )


def test_a_cached_waveform_is_the_recording(cache: RecordingCache) -> None:
    np.testing.assert_allclose(cache.waveform(1), tone(1500, 0.2, RATE), atol=1e-4)
    assert cache.waveform(2).size == 0


def test_the_teacher_hears_what_the_student_sees(
    cache: RecordingCache, clips: list[Recording], mix: Mix
) -> None:
    config = dataclasses.replace(PLAIN, n_scenes=40, n_bent=0, seed=4)
    scenes = mix(cache, clips, config)
    assert len(scenes) == 40 and scenes.frames.shape == (40, 48, 16)
    assert set(scenes.members.ravel()) == {-1, 0, 1}  # what could not be decoded is in none
    assert ((scenes.members >= 0).sum(axis=1) == 1).tolist() == (
        scenes.kinds == Kind.SINGLE
    ).tolist()
    low = (scenes.members == 1).sum(axis=1) == 0  # nobody but the low tone
    high = (scenes.members == 0).sum(axis=1) == 0
    assert low.any() and high.any()
    logits = scenes.logits.astype(np.float64)
    assert (logits[low, 0] > 3).all() and (logits[high, 1] > 3).all()
    np.testing.assert_allclose(logits[:, 0], -logits[:, 1], atol=0.05)
    loudest = scenes.frames.astype(np.float64).mean(axis=1).argmax(axis=1)
    assert loudest[low].max() < loudest[high].min()
    again = mix(cache, clips, dataclasses.replace(config, n_scenes=7), n_workers=1)
    np.testing.assert_array_equal(again.frames, scenes.frames[:7])  # the seed and i, nothing else


def test_bent_scenes_follow_the_others_and_come_of_recordings_or_of_nothing(
    cache: RecordingCache, clips: list[Recording], mix: Mix
) -> None:
    config = dataclasses.replace(PLAIN, n_scenes=5, n_bent=60, made_up_share=0.3, pair_share=0.4)
    scenes = mix(cache, clips, config)
    assert ((scenes.kinds == Kind.BENT) == (np.arange(65) >= 5)).all()
    bent = scenes.members[5:]
    assert set(bent.ravel()) == {-1, 0, 1} and (bent[:, 2] == -1).all()
    n_named = (bent >= 0).sum(axis=1)
    assert {0, 1, 2} == set(n_named.tolist())
    odds = scenes.logits[5:, 0]
    assert (odds > 3).any() and (odds < -3).any()  # low sounds and high ones, whatever they were
    assert np.isfinite(scenes.frames).all()


def test_an_interrupted_stage_goes_on_and_ends_as_if_it_had_not_been(
    clips: list[Recording],
    cache: RecordingCache,
    tmp_path: Path,
    tiny_config: StarterConfig,
    made_tagger: Teacher,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []
    make = Maker.make

    def noted(self: Maker, i: int) -> object:
        asked.append(i)
        if i == 7 and len(asked) == 8:
            raise KeyboardInterrupt
        return make(self, i)

    def made(folder: Path) -> list[bytes]:
        make_scenes(
            cache,
            range(len(clips)),
            clips,
            made_tagger,
            folder,
            tiny_config.audio,
            tiny_config.features,
            SceneConfig(n_scenes=12, n_bent=4),
            0,
        )
        return [path.read_bytes() for path in sorted(folder.iterdir())]

    at_once = made(tmp_path / "at once")
    monkeypatch.setattr(Maker, "make", noted)
    with pytest.raises(KeyboardInterrupt):
        made(tmp_path / "twice")
    with open(tmp_path / "twice" / FRAMES, "ab") as file:
        file.write(b"half a scene")
    assert made(tmp_path / "twice") == at_once
    assert asked == [*range(8), *range(7, 16)]


def test_rarer_captions_and_smaller_sources_come_more_often() -> None:
    here = Path()
    clips = [clip_of(here, "a", "big"), clip_of(here, "a", "big"), clip_of(here, "b", "big")]
    clips.append(clip_of(here, "c", "small"))
    np.testing.assert_allclose(
        draw_weights(clips, -0.5, -1.0), [2**-0.5 / 3, 2**-0.5 / 3, 1 / 3, 1.0]
    )


def test_one_after_the_other_does_not_overlap() -> None:
    rng = np.random.default_rng(0)
    low, high = tone(200, 1.0, RATE), tone(1500, 1.0, RATE)
    scene = arrange([low, high], Kind.SEQUENCE, SIZE, rng, PLAIN)
    assert power_at(scene[: int(0.3 * SIZE)], 200) > 0.9
    assert power_at(scene[int(0.7 * SIZE) :], 1500) > 0.9


def test_together_both_sound_alike_and_behind_one_is_softer() -> None:
    low, high = tone(200, 1.0, RATE), 0.01 * tone(1500, 1.0, RATE)
    rng = np.random.default_rng(0)
    together = arrange([low, high], Kind.TOGETHER, SIZE, rng, PLAIN)
    assert power_at(together, 200) == pytest.approx(power_at(together, 1500), abs=0.02)
    behind = arrange([low, high], Kind.BEHIND, SIZE, rng, PLAIN)
    below = 10 * np.log10(power_at(behind, 200) / power_at(behind, 1500))
    assert PLAIN.behind_db[0] - 0.2 <= below <= PLAIN.behind_db[1] + 0.2


def test_a_short_sound_alone_is_repeated_from_its_start_as_at_search_time() -> None:
    sound = noise(0.1, RATE)
    scene = arrange([sound], Kind.SINGLE, SIZE, np.random.default_rng(0), PLAIN)
    wanted = np.resize(sound, SIZE)
    np.testing.assert_allclose(scene / scene[5], wanted / wanted[5], rtol=1e-4)


@settings(max_examples=60, deadline=None)
@given(
    seconds=st.floats(0.01, 2.0),
    kind=st.sampled_from(list(Kind)),
    seed=st.integers(0, 1 << 30),
    silent=st.booleans(),
)
def test_whatever_goes_in_a_scene_is_a_window_of_sound(
    seconds: float, kind: Kind, seed: int, silent: bool
) -> None:
    config = SceneConfig(
        speed_share=0.5, room_share=0.5, band_share=0.5, coded_share=0.5, noise_share=0.5
    )
    rng = np.random.default_rng(seed)
    sound = noise(seconds, RATE) * (0 if silent else 1)
    n = 1 if kind is Kind.SINGLE else 2
    changed = [change(sound, RATE, SIZE, rng, config) for _ in range(n)]
    assert all(0 < len(one) <= SIZE for one in changed)
    scene = finish(arrange(changed, kind, SIZE, rng, config), RATE, rng, config)
    assert scene.shape == (SIZE,) and scene.dtype == np.float32
    assert np.isfinite(scene).all() and np.abs(scene).max() < 1.5


def test_slower_is_lower() -> None:
    config = dataclasses.replace(PLAIN, speed_share=1.0, speed=0.25)
    sound = tone(1000, 1.0, RATE)
    peaks = {
        int(
            np.abs(
                np.fft.rfft(change(sound, RATE, SIZE, np.random.default_rng(i), config))
            ).argmax()
        )
        for i in range(12)
    }
    found = np.array(sorted(peaks)) * RATE / SIZE
    assert 1000 * np.exp(-0.26) < found[0] < 950 and 1050 < found[-1] < 1000 * np.exp(0.26)


def test_a_room_rings_a_band_cuts_and_a_codec_keeps_length() -> None:
    rng = np.random.default_rng(1)
    response = room(RATE, rng)
    assert response[0] > 0.5
    half = len(response) // 2
    assert np.square(response[1:half]).sum() > 10 * np.square(response[half:]).sum()
    hiss = noise(1.0, RATE)
    kept = cut_to_band(np.tile(hiss, 4), RATE, rng)
    spectrum = np.abs(np.fft.rfft(kept)) ** 2
    low = np.fft.rfftfreq(len(kept), 1 / RATE) < 40
    assert spectrum[low].mean() < 0.3 * spectrum[~low].mean()
    through = coded(soxr.resample(hiss, RATE, 32000), 32000, 0.5)
    assert through.shape == (32000,)


def test_sentences_name_every_member() -> None:
    assert captions_of(["a dog"], Kind.SINGLE) == ["a dog"]
    for kind in (Kind.TOGETHER, Kind.BEHIND, Kind.SEQUENCE):
        for text in captions_of(["one", "two"], kind):
            assert "one" in text and "two" in text
    assert len(captions_of(["one", "two", "three"], Kind.TOGETHER)[0].split(",")) == MOST - 1
    after = next(text for text in captions_of(["one", "two"], Kind.SEQUENCE) if "after" in text)
    assert after == "two after one"


def test_the_text_tower_has_read_every_form_of_a_mixture() -> None:
    forms = {form for of_kind in FORMS.values() for form in of_kind} - {"{b} and {a}"}
    assert {*forms, FORM_OF_THREE} <= set(JOINS)
