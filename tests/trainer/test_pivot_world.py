"""The made-up world of examples/pivot_world: what its numbers rest on."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from examples.pivot_world import world
from examples.pivot_world.world import COMBINATIONS, Causes, WorldConfig
from examples.pivot_world.world_settings import lars
from trainer.presets import preset

PLAIN = WorldConfig(hidden=0.0, elsewhere=0.0, unsaid=0.0)


def test_held_out_combinations_are_never_trained_on_but_each_of_their_values_is() -> None:
    training, held_out = world.split(WorldConfig())

    assert len(held_out) == round(0.2 * len(COMBINATIONS))
    assert not set(training) & set(held_out)
    assert set(training) | set(held_out) == set(COMBINATIONS)
    for attribute, words in world.ATTRIBUTES.items():
        assert {getattr(causes, attribute) for causes in training} == set(range(len(words)))


def test_settings_are_chosen_without_the_combinations_of_the_table() -> None:
    training, held_out = world.split(WorldConfig())
    inner, validation = world.split_to_choose(WorldConfig())

    assert not {*inner, *validation} & {*held_out}
    assert {*inner, *validation} == {*training} and not {*inner} & {*validation}


def test_the_captions_stage_has_the_settings_of_the_paper() -> None:
    paper = preset("paper-at")
    few, many = (lars(30)(0, n, "run") for n in (10, 1000))
    names = ("optimiser", "weight_decay", "warmup_epochs", "schedule_epochs", "contrast", "texts")
    for found in (few, many):
        assert [getattr(found, x) for x in names] == [getattr(paper, x) for x in names]
    assert many.loop(1000).learning_rate == paper.learning_rate
    assert many.loop(1000).flat_learning_rate == pytest.approx(paper.flat_learning_rate)
    assert (few.batch_size, few.loop(10).steps, many.loop(1000).steps) == (10, 30, 469)


@pytest.mark.parametrize("attribute", world.ATTRIBUTES)
def test_every_cause_is_seen_heard_and_said(attribute: str) -> None:
    """Changing one cause, with all else drawn alike, changes picture, sound and sentence."""
    one = Causes(kind=0, number=1, motion=0, mood=0)
    other = dataclasses.replace(one, **{attribute: 2})

    def senses(causes: Causes) -> tuple[np.ndarray, np.ndarray, str]:
        picture = np.asarray(world.draw(causes, PLAIN, np.random.default_rng(1)), np.float32)
        waveform = world.sound(causes, np.random.default_rng(1))
        return picture, waveform, world.sound_sentence(causes, 0.0, np.random.default_rng(1))

    (picture, sound, said), (picture2, sound2, said2) = senses(one), senses(other)
    assert np.abs(picture - picture2).max() > 50
    assert np.abs(sound - sound2).max() > 0.1 * np.abs(sound).max()
    assert said != said2


def test_the_same_causes_come_in_many_guises() -> None:
    random = np.random.default_rng(0)
    causes = COMBINATIONS[100]
    assert not np.array_equal(world.draw(causes, PLAIN, random), world.draw(causes, PLAIN, random))
    assert not np.array_equal(world.sound(causes, random), world.sound(causes, random))
    assert len({world.sound_sentence(causes, 0.0, random) for _ in range(50)}) > 10


def test_pictures_and_sounds_have_their_shape() -> None:
    random = np.random.default_rng(0)
    for causes in COMBINATIONS[::37]:
        waveform = world.sound(causes, random)
        assert waveform.shape == (round(world.CLIP_S * world.SAMPLE_RATE),)
        assert waveform.dtype == np.float32
        assert 0.01 < np.abs(waveform).max() <= 1
        assert world.draw(causes, PLAIN, random).size == (world.IMAGE_SIZE, world.IMAGE_SIZE)


@pytest.mark.parametrize("number", range(4))
def test_the_number_of_things_is_the_number_of_notes(number: int) -> None:
    """Counted in the envelope of sharp notes without the noise floor's help."""
    for seed in range(5):
        causes = Causes(kind=1, number=number, motion=3, mood=world.MOODS.index("merry"))
        waveform = world.sound(causes, np.random.default_rng(seed))
        level = np.abs(waveform[: 16 * 1000]).reshape(-1, 160).max(axis=1)  # of each 10 ms
        loud = level > 0.55 * level.max()
        onsets = np.flatnonzero(loud[1:] & ~loud[:-1]).size + int(loud[0])
        assert onsets == number + 1


def test_only_those_who_see_name_colours() -> None:
    random = np.random.default_rng(0)
    colours = {"blue", "red", "yellow", "purple"}

    def words(sentences: list[str]) -> set[str]:
        return {word.strip(",") for sentence in sentences for word in sentence.split()}

    some = COMBINATIONS[::5]
    assert colours <= words(
        [world.picture_sentence(c, PLAIN, random) for c in some for _ in range(5)]
    )
    assert not colours & words(
        [world.sound_sentence(c, 0.0, random) for c in some for _ in range(5)]
    )


def test_sentences_can_leave_causes_out() -> None:
    random = np.random.default_rng(0)
    causes = Causes(kind=0, number=2, motion=0, mood=1)
    said = [world.sound_sentence(causes, 1.0, random) for _ in range(20)]
    told = {word for sentence in said for word in sentence.replace(",", "").split()}
    assert not {"three", "trio", "rising", "climbing", "angry", "fierce"} & told
    assert {"circles", "discs"} & told
