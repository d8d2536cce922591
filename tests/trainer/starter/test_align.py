"""The audio stage: which texts are right for which sounds, and that it learns."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.sounds import noise, tone, write
from tests.trainer.conftest import MadeTagger
from trainer.data.manifests import Clip
from trainer.loop import LoopConfig
from trainer.starter.align import (
    Aligner,
    Batches,
    CaptionsConfig,
    align,
    duet_loss,
    head_from,
    overlaid,
    relations,
    sound_loss,
    tag_loss,
    texts_of,
)
from trainer.starter.cache import RecordingCache, build_cache
from trainer.starter.config import StarterConfig
from trainer.starter.scenes import SceneConfig, Scenes, make_scenes
from trainer.starter.tag_space import TagSpace, TagSpaceConfig
from trainer.starter.tagger import Teacher
from trainer.towers.compact import AudioTower

N = 8


@pytest.fixture
def eight(tmp_path: Path) -> list[Clip]:
    """Eight sounds that a tower can tell apart."""
    clips = []
    for i in range(N):
        waveform = (
            tone(200 * 1.4**i, 0.3, 8000)
            if i < 6
            else noise(0.2 * (i - 4), 8000) * tone(3 * i, 0.2 * (i - 4), 8000)
        )
        path = write(tmp_path / f"{i}.wav", waveform, 8000)
        facts = {"tags": (f"tag {i}",), "source": "made", "licence": "CC0"}
        clips.append(Clip(path=path, caption=f"sound {i}", split="train", **facts))
    return clips


@pytest.fixture
def cache(eight: list[Clip], tmp_path: Path, tiny_config: StarterConfig) -> RecordingCache:
    return build_cache(
        eight, tmp_path / "cache", tiny_config.audio, tiny_config.features, longest_s=3
    )


@pytest.fixture
def scenes(
    eight: list[Clip],
    cache: RecordingCache,
    tiny_config: StarterConfig,
    made_tagger: Teacher,
    tmp_path: Path,
) -> Scenes:
    """Sixty scenes of the eight sounds."""
    return make_scenes(
        cache,
        range(N),
        eight,
        made_tagger,
        tmp_path / "scenes",
        tiny_config.audio,
        tiny_config.features,
        SceneConfig(n_scenes=60, n_bent=0, speed=0.02, room_share=0, band_share=0, noise_share=0),
        n_workers=0,
    )


@pytest.fixture
def bent(
    eight: list[Clip],
    cache: RecordingCache,
    tiny_config: StarterConfig,
    made_tagger: Teacher,
    tmp_path: Path,
) -> Scenes:
    """Twenty scenes, and ten bent ones."""
    return make_scenes(
        cache,
        range(N),
        eight,
        made_tagger,
        tmp_path / "bent",
        tiny_config.audio,
        tiny_config.features,
        SceneConfig(n_scenes=20, n_bent=10),
        n_workers=0,
    )


def batches_of(
    clips: list[Clip],
    cache: RecordingCache,
    scenes: Scenes,
    config: CaptionsConfig,
    usable: Callable[[Clip], bool] = lambda clip: True,
) -> Batches:
    texts = texts_of(clips, scenes, MadeTagger.names, "the sound of {}", 0)
    vectors = np.random.default_rng(0).standard_normal((len(texts.texts), 12)).astype(np.float32)
    for numbers in texts.of_clip:  # texts of one clip lie close together
        vectors[numbers] = vectors[numbers[0]] + 0.1 * vectors[numbers]
    for members, numbers in zip(scenes.members, texts.of_scene, strict=True):
        if members[1] >= 0:  # and those of a mixture between its members'
            vectors[numbers] = sum(vectors[texts.of_clip[i][0]] for i in members if i >= 0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Batches(clips, cache, range(len(clips)), scenes, texts, vectors, 48, config, usable)


def test_a_text_is_wrong_for_a_sound_that_lacks_a_part_of_it() -> None:
    # 0: a; 1: a again; 2: b; 3: a and b; 4: b and a; 5: c, under the same tag as 2; 6: a, b and c
    heard = np.array(
        [[0, -1, -1], [0, -1, -1], [1, -1, -1], [0, 1, -1], [1, 0, -1], [2, -1, -1], [0, 1, 2]]
    )
    positive, counted = relations(heard, np.array([10, 11, 12, 13, 14, 12, 15]))
    right = {(i, j) for i, j in torch.nonzero(positive).tolist() if i != j}
    assert right == {(0, 1), (1, 0), (3, 4), (4, 3), (2, 5), (5, 2)}
    left_out = {(sound, text) for sound, text in torch.nonzero(~counted).tolist()}
    parts_of_two = {(sound, text) for sound in (3, 4) for text in (0, 1, 2)}
    assert left_out == parts_of_two | {(6, text) for text in (0, 1, 2, 3, 4, 5)}
    assert counted[0, 3] and not positive[0, 3]  # "a and b" over a alone is held against it
    assert positive.diagonal().all()


def test_a_batch_is_the_same_for_the_same_step(
    eight: list[Clip], cache: RecordingCache, scenes: Scenes
) -> None:
    config = CaptionsConfig(batch_size=10, scene_share=0.4, bent_share=0.0)
    batches = batches_of(eight, cache, scenes, config)
    batch, again, next_one = batches.draw(3), batches.draw(3), batches.draw(4)
    torch.testing.assert_close(batch.log_mel, again.log_mel)
    assert batch.log_mel.shape == (10, 48, 16)
    assert batch.logits.shape == (4, 2) and batch.classes.shape == (2, 12)
    assert not torch.equal(batch.log_mel, next_one.log_mel)
    assert torch.isfinite(batch.log_mel).all()
    assert (batch.counted | ~batch.positive).all()


def test_duets_come_late_with_both_of_their_sounds(
    eight: list[Clip], cache: RecordingCache, scenes: Scenes
) -> None:
    config = CaptionsConfig(
        batch_size=12, scene_share=0.25, bent_share=0.0, duet_share=0.25, late=0.5
    )
    loop = dataclasses.replace(config.loop, steps=10, warmup_steps=1)
    config = dataclasses.replace(config, loop=loop)
    batches = batches_of(eight, cache, scenes, config)
    assert batches.draw(4).trios.shape == (3, 0)
    batch = batches.draw(5)
    assert batch.trios.tolist() == [[3, 4, 5], [6, 7, 8], [9, 10, 11]]
    assert batch.log_mel.shape[0] == len(batch.vectors) == 12
    for together, first, second in batch.trios.T.tolist():
        if batch.vectors[first] @ batch.vectors[second] > 0.9:
            continue  # one sound twice
        assert batch.counted[first, together] and batch.counted[second, together]
        assert not batch.positive[first, together] and not batch.positive[second, together]
        assert not batch.counted[together, first]  # a lies in a and b, neither right nor wrong
        found = batch.vectors[first] + batch.vectors[second]
        assert torch.cosine_similarity(found, batch.vectors[together], 0) > 0.9


def test_two_sounds_at_once_have_the_energy_of_both() -> None:
    low, high = torch.full((2, 5, 4), -20.0), torch.full((2, 5, 4), -20.0)
    low[:, :, 0] = torch.tensor([2.0, -3.0])[:, None]
    high[:, :, 3] = torch.tensor([-1.0, 4.0])[:, None]
    found = overlaid(low, high, torch.tensor([0.0, 10.0]))
    # As loud in its band as the first alone, the second brought to its level, or 10 dB above.
    torch.testing.assert_close(found[:, :, 0], low[:, :, 0], atol=1e-3, rtol=0)
    louder = torch.tensor([[0.0], [float(np.log(10.0))]])
    torch.testing.assert_close(found[:, :, 3], low[:, :, 0] + louder, atol=1e-3, rtol=0)


def test_a_duet_is_paid_for_while_a_part_fits_as_well() -> None:
    trios = torch.tensor([[0], [1], [2]])
    scores = torch.zeros(3, 3)
    assert duet_loss(scores, trios).item() == pytest.approx(2 * np.log(2))
    scores[0, 0] = 20.0  # the two together, and the text that names both
    assert duet_loss(scores, trios).item() == pytest.approx(0.0, abs=1e-6)
    scores[2, 0] = 25.0  # the second alone fits it better still
    assert duet_loss(scores, trios).item() == pytest.approx(5.0, abs=0.01)


def test_bent_scenes_have_a_teacher_and_no_text(
    eight: list[Clip], cache: RecordingCache, bent: Scenes
) -> None:
    config = CaptionsConfig(batch_size=10, scene_share=0.2, bent_share=0.3, duet_share=0.0)
    batch = batches_of(eight, cache, bent, config).draw(0)
    assert batch.log_mel.shape == (10, 48, 16)
    assert batch.logits.shape == (5, 2)
    assert batch.vectors.shape == (7, 12)
    assert batch.positive.shape == batch.counted.shape == (7, 7)


def test_a_clip_has_its_caption_its_tags_and_sentences_around_it(
    eight: list[Clip], scenes: Scenes
) -> None:
    texts = texts_of(eight, scenes, MadeTagger.names, "the sound of {}", 0)
    of_first = {texts.texts[number] for number in texts.of_clip[0]}
    assert {"sound 0", "tag 0", "sound 0, tag 0"} < of_first
    assert sum(texts.texts[number] == "sound 0" for number in texts.of_clip[0]) == 4
    for members, numbers in zip(scenes.members, texts.of_scene, strict=True):
        for number in numbers:
            if (members >= 0).sum() > 1:
                assert all(f"sound {i}" in texts.texts[number] for i in members if i >= 0)
    assert [texts.texts[number] for number in texts.of_class[0]] == [
        "low tone, hum",
        "the sound of low tone, hum",
        "the sound of low tone",
        "hum",
    ]


def test_nothing_of_a_clip_that_is_left_out_is_drawn(
    eight: list[Clip], tmp_path: Path, tiny_config: StarterConfig, made_tagger: Teacher
) -> None:
    eight[3].path.write_text("damaged")
    audio, features = tiny_config.audio, tiny_config.features
    cache = build_cache(eight, tmp_path / "again", audio, features, longest_s=3)
    scenes = make_scenes(
        cache,
        range(N),
        eight,
        made_tagger,
        tmp_path / "scenes",
        audio,
        features,
        SceneConfig(n_scenes=60, n_bent=20),
        n_workers=0,
    )
    config = CaptionsConfig(
        batch_size=64, scene_share=0.4, bent_share=0.2, duet_share=0.1, late=0.0
    )
    batches = batches_of(eight, cache, scenes, config, lambda clip: clip is not eight[5])
    texts = texts_of(eight, scenes, MadeTagger.names, "the sound of {}", 0)
    named = {
        i
        for i, text in enumerate(texts.texts)
        if "sound 3" in text or "sound 5" in text or text in ("tag 3", "tag 5")
    }
    vectors = batches._vectors
    for step in range(20):
        batch = batches.draw(step)
        assert torch.isfinite(batch.log_mel).all()
        nearest = (batch.vectors @ vectors.T).argmax(dim=1).tolist()
        assert not named & set(nearest)


def test_the_divergence_is_least_where_the_student_agrees() -> None:
    logits = torch.tensor([[4.0, 0.0, -3.0], [-2.0, 1.0, 1.0]])
    agreeing = tag_loss(logits, torch.tensor(1.0), logits)
    assert agreeing.item() == pytest.approx(0.0, abs=1e-6)
    wanted = torch.softmax(logits, 1)
    assert tag_loss(torch.zeros(2, 3), torch.tensor(1.0), logits).item() == pytest.approx(
        float((wanted * (wanted.log() + np.log(3))).sum(1).mean()), abs=1e-6
    )


def test_every_class_has_its_own_distribution_over_sounds() -> None:
    wanted = torch.tensor([[2.0, 0.0], [0.0, 0.0], [-1.0, 0.0]])
    assert sound_loss(wanted / 4, torch.tensor(4.0), wanted).item() == pytest.approx(0.0, abs=1e-6)
    # A class of which all sounds have as much says nothing of how loud its name calls.
    raised = wanted + torch.tensor([0.0, 5.0])
    assert sound_loss(raised, torch.tensor(1.0), wanted).item() == pytest.approx(0.0, abs=1e-6)
    share = torch.softmax(wanted[:, 0], 0)
    expected = float((share * (share.log() + np.log(3))).sum()) / 2
    found = sound_loss(torch.zeros(3, 2), torch.tensor(1.0), wanted)
    assert found.item() == pytest.approx(expected, abs=1e-6)


def test_shares_that_do_not_fit_into_a_batch_are_refused() -> None:
    with pytest.raises(ValueError, match=r"not 1\.1"):
        CaptionsConfig(scene_share=0.5, bent_share=0.3, duet_share=0.1)


def test_the_head_starts_as_principal_directions() -> None:
    vectors = np.zeros((20, 6), np.float32)
    vectors[:, 2] = np.linspace(1, 3, 20)
    vectors[:, 5] = np.linspace(-1, 1, 20)
    head = head_from(vectors, 2)
    kept = head(torch.from_numpy(vectors)).detach().numpy()
    np.testing.assert_allclose(kept @ kept.T, vectors @ vectors.T, atol=1e-4)


def test_the_loss_falls_when_eight_sounds_are_learnt(
    eight: list[Clip],
    cache: RecordingCache,
    scenes: Scenes,
    tiny_config: StarterConfig,
    tmp_path: Path,
) -> None:
    loop = LoopConfig(steps=250, warmup_steps=10, learning_rate=1e-2, precision="fp32", log_every=1)
    config = CaptionsConfig(
        batch_size=16,
        scene_share=0.25,
        bent_share=0.0,
        duet_share=0.0,
        tag_weight=1.0,
        probe_weight=1.0,
        speed=0.02,
        shift_bands=0,
        loop=loop,
    )
    quiet = dataclasses.replace(
        config.augment,
        noise_share=0.0,
        tilt_db=1.0,
        band_limit_share=0.0,
        time_masks=(0, 1),
        band_masks=(0, 1),
    )
    config = dataclasses.replace(config, augment=quiet, scene_augment=quiet)
    batches = batches_of(eight, cache, scenes, config)
    torch.manual_seed(0)
    tower_config = dataclasses.replace(tiny_config.tower, widths=(8, 16), pooled=16)
    mean, std = cache.mean_and_std(range(N))
    tower = AudioTower(tower_config, 16, mean, std)
    tags = TagSpace(2, 4, 12, TagSpaceConfig(dim=2))
    aligner = Aligner(tower, head_from(batches.draw(0).vectors.numpy(), 6), tags, config)
    align(aligner, batches, config, tmp_path)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    for name, share in (("captions", 0.6), ("tags", 0.6), ("probe", 0.6)):
        losses = [record[name] for record in log]
        assert np.mean(losses[-10:]) < share * np.mean(losses[:10]), name
    # And the sounds find their texts.
    batch = batches.draw(1000)
    features = ((batch.log_mel - mean) / std).transpose(1, 2)
    with torch.no_grad():
        scores = aligner.embed_audio(features) @ aligner.embed_text(batch.vectors).T
    right = batch.positive[4:, 4:]  # the scenes stand first
    assert right[torch.arange(12), scores[4:, 4:].argmax(dim=1)].float().mean() > 0.8
