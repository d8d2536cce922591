"""Texts that may stand for a sound."""

from __future__ import annotations

from tests.trainer.conftest import MadeTagger
from trainer.data.manifests import Recording
from trainer.starter.scenes import Scenes
from trainer.starter.texts import texts_of


def test_a_clip_has_its_caption_its_tags_and_sentences_around_it(
    eight: list[Recording], scenes: Scenes
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
