"""Batches: which texts are right for which sounds, and what is drawn."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.trainer.conftest import MadeTagger
from tests.trainer.starter.conftest import Mix, batches_of
from trainer.data.manifests import Recording
from trainer.starter.batches import overlaid, relations
from trainer.starter.cache import RecordingCache, build_cache
from trainer.starter.config import CaptionsConfig, StarterConfig
from trainer.starter.scenes import SceneConfig, Scenes
from trainer.starter.texts import texts_of


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
    eight: list[Recording], cache: RecordingCache, scenes: Scenes
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


@pytest.mark.parametrize(
    ("share", "used", "what"),
    [
        ("bent_share", True, r"0.1 from scenes without one \(n_bent\)"),
        ("duet_share", True, "of two sounds together"),
        ("duet_share", False, "none of 8 recordings"),
    ],
)
def test_nothing_to_draw_from_is_said_at_once(
    share: str, used: bool, what: str, eight: list[Recording], cache: RecordingCache, mix: Mix
) -> None:
    scenes = mix(cache, eight, SceneConfig(n_scenes=4, n_bent=0, kinds=(1.0, 0.0, 0.0, 0.0)))
    shares = {"scene_share": 0.0, "bent_share": 0.0, "duet_share": 0.0} | {share: 0.1}
    with pytest.raises(ValueError, match=what):
        batches_of(eight, cache, scenes, CaptionsConfig(batch_size=20, **shares), lambda clip: used)


def test_duets_come_late_with_both_of_their_sounds(
    eight: list[Recording], cache: RecordingCache, scenes: Scenes
) -> None:
    config = CaptionsConfig(
        batch_size=12, scene_share=0.25, bent_share=0.0, duet_share=0.25, duets_after=0.5
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


def test_bent_scenes_have_a_teacher_and_no_text(
    eight: list[Recording], cache: RecordingCache, bent: Scenes
) -> None:
    config = CaptionsConfig(batch_size=10, scene_share=0.2, bent_share=0.3, duet_share=0.0)
    batch = batches_of(eight, cache, bent, config).draw(0)
    assert batch.log_mel.shape == (10, 48, 16)
    assert batch.logits.shape == (5, 2)
    assert batch.vectors.shape == (7, 12)
    assert batch.positive.shape == batch.counted.shape == (7, 7)


def test_nothing_of_a_clip_that_is_left_out_is_drawn(
    eight: list[Recording], tmp_path: Path, tiny_config: StarterConfig, mix: Mix
) -> None:
    eight[3].path.write_text("damaged")
    audio, features = tiny_config.audio, tiny_config.features
    cache = build_cache(eight, tmp_path / "again", audio, features, longest_s=3)
    scenes = mix(cache, eight, SceneConfig(n_scenes=60, n_bent=20))
    config = CaptionsConfig(
        batch_size=64, scene_share=0.4, bent_share=0.2, duet_share=0.1, duets_after=0.0
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


def test_of_what_is_not_named_only_the_teacher_speaks(
    eight: list[Recording], cache: RecordingCache, mix: Mix
) -> None:
    scenes = mix(cache, eight, SceneConfig(n_scenes=60, n_bent=20))
    config = CaptionsConfig(batch_size=64, scene_share=0.4, bent_share=0.2, duet_share=0.0)
    kept_back = eight[5]

    def members_heard(unnamed: bool) -> tuple[set[int], set[int]]:
        """The clips in scenes without a caption, and in those with one."""
        batches = batches_of(
            eight,
            cache,
            scenes,
            config,
            lambda clip: clip is not kept_back,
            lambda clip: unnamed and clip is kept_back,
        )
        found: tuple[set[int], set[int]] = set(), set()
        for step in range(20):
            batch = batches.draw(step)
            n_without = len(batch.log_mel) - len(batch.vectors)
            for row, logits in enumerate(batch.logits.numpy().astype(np.float16)):
                alike = np.flatnonzero((scenes.logits == logits).all(axis=1))
                if len(alike) == 1:
                    found[row >= n_without].update(scenes.members[alike[0]].tolist())
        return found

    without, captioned = members_heard(True)
    assert 5 in without and 5 not in captioned
    assert all(5 not in members for members in members_heard(False))


def test_shares_that_do_not_fit_into_a_batch_are_refused() -> None:
    with pytest.raises(ValueError, match=r"not 1\.1"):
        CaptionsConfig(scene_share=0.5, bent_share=0.3, duet_share=0.1)
