"""The corpus: what enters, and what stays out."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.manifests import of_split, read_esc10, read_sounds
from trainer.starter.corpus import CorpusConfig, build_corpus, plural, whole_words, with_typo

WORDS = ["bell", "door", "engine"]


def test_every_kind_of_text_is_there_once(made_data: Path) -> None:
    clips = of_split(read_sounds(made_data) + read_esc10(made_data), "train")
    lessons = build_corpus(made_data, clips, WORDS, CorpusConfig(n_combinations=3))
    texts = {lesson.text for lesson in lessons}
    assert {
        "a buzz and a tone",
        "buzz",
        "The sound of a buzz.",
        "low tone",
        "low tone, tone",
    } <= texts
    assert {"bell", "bells", "a low tone"} <= texts
    assert len(set(lessons)) == len(lessons)
    slips = [lesson for lesson in lessons if lesson.text != lesson.meaning]
    assert slips and all(lesson.meaning in texts for lesson in slips)
    again = build_corpus(made_data, clips, WORDS, CorpusConfig(n_combinations=3))
    assert again == lessons


def test_what_the_training_rows_do_not_say_stays_out(made_data: Path) -> None:
    clips = [clip for clip in read_sounds(made_data) if clip.caption == "hiss"]
    texts = {lesson.text for lesson in build_corpus(made_data, clips, WORDS, CorpusConfig())}
    assert "hiss" in texts and "low tone" not in texts


def test_only_words_of_their_own_are_taken_from_a_vocabulary() -> None:
    assert whole_words(["[PAD]", "##ing", "dog", "a", "été", "12", "bark"]) == ["bark", "dog"]


@pytest.mark.parametrize(
    ("one", "many"), [("dog", "dogs"), ("glass", "glasses"), ("baby", "babies"), ("bay", "bays")]
)
def test_plurals(one: str, many: str) -> None:
    assert plural(one) == many


@given(st.text(alphabet="abcdefgh ,", max_size=40), st.integers(0, 1000))
def test_a_typo_touches_one_long_word_by_one_slip(text: str, seed: int) -> None:
    slipped = with_typo(text, random.Random(seed))
    before, after = text.split(" "), slipped.split(" ")
    assert len(before) == len(after)
    changed = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
    assert len(changed) <= 1
    for word, wrong in changed:
        assert len(word) > 4 and word[0] == wrong[0] and abs(len(word) - len(wrong)) <= 1
