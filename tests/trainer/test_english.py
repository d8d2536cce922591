"""The head word of a caption, singular and plural."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.english import head_of, head_word, plural, singular, words_of

CAPTIONS = {
    "dog barking": "dog",
    "fire burning": "fire",
    "heavy door slams shut": "door",
    "a small dog barking in the rain": "dog",
    "Footsteps on gravel": "footstep",
    "the sound of umbrella": "umbrella",
    "a busy street with traffic and people": "street",
    "rain heard indoors": "rain",
    "a wooden door being smashed": "door",
    "a closed hi-hat": "hi-hat",
    "plucked reed": "reed",
    "a window shattered by a stone": "window",
    "explosion underwater": "explosion",
    "inside an airplane cabin in flight": "cabin",
    "a steel string": "string",
    "railway crossing bell": "bell",
    "running water": "water",
    "opening a book": "book",
    "knocking on a door": "knocking",
    "bubbles in water": "bubble",
    "a pistol, then a crash": "pistol",
    "glass breaking": "glass",
    "boxes": "box",
    "horses galloping": "horse",
    "a bus": "bus",
    "of the": "",
    "...": "",
}


@pytest.mark.parametrize(("caption", "head"), CAPTIONS.items())
def test_the_head_word_says_what_sounds(caption: str, head: str) -> None:
    assert head_word(caption) == head


words = st.sampled_from(
    sorted({word for caption in CAPTIONS for word in words_of(caption)} | {"ed", "ing", "s", "ß"})
)


@given(st.lists(words, max_size=6).map(" ".join))
def test_it_is_one_of_the_words_whatever_stands_before(caption: str) -> None:
    head = head_word(caption)
    assert head in {singular(word) for word in words_of(caption)} | {""}
    assert head_word(f"A {caption}") == head_word(f"the sound of {caption}") == head


def test_where_the_head_stands() -> None:
    assert head_of(["car", "horn", "honking"]) == 1
    assert head_of(["the", "opening", "of", "a", "book"]) == 1
    assert head_of(["of", "the"]) is head_of([]) is None


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("dog", "dogs"),
        ("glass", "glasses"),
        ("baby", "babies"),
        ("bay", "bays"),
        ("wolf", "wolves"),
    ],
)
def test_plurals(one: str, many: str) -> None:
    assert plural(one) == many
