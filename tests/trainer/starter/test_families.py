"""Which recordings stay out of training, and which stand for one of the forty classes."""

from __future__ import annotations

from itertools import combinations, pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.manifests import Recording, of_split, read_esc10, read_sounds
from trainer.starter.families import LABELS, MOST_OF_A_CLASS, class_of, examples, held_out


def clip(caption: str, *tags: str) -> Recording:
    return Recording(
        path=Path("a.wav"), caption=caption, tags=tags, split="train", source="", licence=""
    )


@pytest.mark.parametrize(
    ("caption", "tags", "out", "label"),
    [
        ("a crow cawing", (), True, "crow cawing"),
        ("Crows cawing", (), True, "crow cawing"),
        ("crowd cheering", (), False, None),
        ("a village at night with crickets and distant dogs", (), True, None),
        ("birds and insects outdoors in summer", (), True, None),
        ("two vultures over a road", (), True, None),
        ("rubber duck squeak", (), True, None),
        ("goose honking", (), True, None),
        ("a car horn honking", (), True, "car horn honking"),
        ("French horn playing", (), False, None),
        ("a ship horn", (), True, None),
        ("a loud roar", ("animal", "lion"), True, None),
        ("a loud roar", ("dandelion",), False, None),
        ("a car door closing", (), True, None),
        ("a wooden door closing", (), True, "door slamming shut"),
        ('person saying "a bee" in English', (), True, None),
    ],
)
def test_a_recording_is_kept_out_by_any_word_and_classed_by_what_it_is_about(
    caption: str, tags: tuple[str, ...], out: bool, label: str | None
) -> None:
    assert held_out(clip(caption, *tags)) is out
    assert class_of(clip(caption, *tags)) == label


def test_a_label_is_of_its_own_class_and_never_stands_over_a_recording_in_training() -> None:
    assert len(LABELS) == len(set(LABELS)) == 40
    for label in LABELS:
        assert class_of(clip(label)) == label
        assert held_out(clip(label))
        assert held_out(clip("outdoors", label))


def test_a_recording_of_two_classes_stands_for_neither() -> None:
    for one, other in combinations(LABELS, 2):
        assert class_of(clip(f"{one} and {other}")) is None


@given(st.sampled_from(LABELS), st.text(max_size=8), st.text(max_size=8))
def test_what_stands_for_a_class_is_kept_out(label: str, before: str, after: str) -> None:
    about = clip(f"{before} {label} {after}")
    assert held_out(about)
    assert class_of(about) in (label, None)


def test_a_class_is_asked_with_some_of_its_recordings_from_all_over() -> None:
    clips = [clip("a dog barking"), *[clip("an owl hooting")] * 100, *[clip("a cat purring")] * 3]
    found = examples(clips)
    owls = [place for place, label in found.items() if label == "owl hooting"]
    assert len(owls) == MOST_OF_A_CLASS and owls == sorted(set(owls))
    assert owls[0] == 1 and 95 < owls[-1] <= 100
    assert max(b - a for a, b in pairwise(owls)) <= 4
    assert [place for place, label in found.items() if label == "cat purring"] == [101, 102, 103]
    assert len(found) == MOST_OF_A_CLASS + 3


@pytest.mark.data
def test_of_the_real_recordings_a_sixth_is_kept_out_and_none_of_esc10(data_folder: Path) -> None:
    clips = read_sounds(data_folder)
    labels = [class_of(clip) for clip in clips]
    assert set(labels) == {None, *LABELS}  # every class has recordings
    assert all(held_out(clip) for clip, label in zip(clips, labels, strict=True) if label)
    train = of_split(clips, "train")
    assert 0.15 < sum(map(held_out, train)) / len(train) < 0.25
    assert not any(map(held_out, read_esc10(data_folder)))
