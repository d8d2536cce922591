"""The words of recordings in the database: found after every change of names, and within folders."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from soundsearch.store import Failed, FileFacts, Store
from tests.filled_store import FLAT, changing, recording

ROOT = Path("/Field Recordings")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with contextlib.closing(Store.create(tmp_path / "index", FLAT)) as made:
        yield made


def put(
    store: Store, relative_path: str, metadata: Mapping[str, str] | None = None, root: Path = ROOT
) -> int:
    with changing(store) as changes:
        made = recording(changes.add_root(root).id, relative_path)
        return changes.put(replace(made, metadata=metadata or {}))


def found(store: Store, *terms: str, within: list[Path] | None = None) -> list[int]:
    """Ids of the recordings that whole words find, the best first."""
    with store.snapshot() as reader:
        return [m.recording_id for m in reader.find_words(terms, within=within, limit=100)]


def parts(store: Store, *terms: str) -> list[int]:
    with store.snapshot() as reader:
        return [m.recording_id for m in reader.find_name_parts(terms, within=None, limit=100)]


def test_words_of_names_folders_roots_and_metadata_are_found(store: Store) -> None:
    door = put(store, "Doors/DOORMetl_CellSlam02.wav")
    dog = put(store, "Animals/take 7.wav", {"description": "Große Hunde, barking"})
    assert found(store, "slam") == found(store, "doors") == [door]
    assert found(store, "animal") == found(store, "hunde") == found(store, "bark") == [dog]
    assert sorted(found(store, "recording")) == [door, dog]
    assert found(store, "wav") == found(store, "cow") == found(store) == []


def test_forms_of_a_word_and_accents_are_alike(store: Store) -> None:
    steps = put(store, "footsteps_café.wav")
    for term in ("footstep", "FOOTSTEPS", "cafe", "café"):
        assert found(store, term) == [steps]


def test_a_name_says_more_than_a_folder(store: Store) -> None:
    in_folder = put(store, "rain/a.wav")
    in_name = put(store, "b/rain.wav")
    assert found(store, "rain") == [in_name, in_folder]


def test_more_words_are_better_and_equal_names_are_equally_good(store: Store) -> None:
    one, both, twin = (put(store, n) for n in ("door.wav", "x/metal door.wav", "x/metal door.mp3"))
    with store.snapshot() as reader:
        first, second, third = reader.find_words(["metal", "door"], within=None, limit=9)
    assert (first.recording_id, second.recording_id, third.recording_id) == (both, twin, one)
    assert first.score == second.score > third.score
    assert first.words == ("metal", "door") and third.words == ("door",)


def test_parts_of_names_are_found_and_very_short_ones_are_not(store: Store) -> None:
    swoosh = put(store, "thudswoosh3.wav")
    assert parts(store, "swoosh") == parts(store, "THUD") == [swoosh]
    assert parts(store, "oos") == parts(store, "swish") == parts(store) == []


def test_a_search_in_folders_finds_nothing_outside(store: Store) -> None:
    near, far = put(store, "a/rain.wav"), put(store, "b/rain.wav")
    other = put(store, "rain.wav", root=Path("/elsewhere"))
    assert found(store, "rain", within=[ROOT / "a"]) == [near]
    assert found(store, "rain", within=[ROOT / "b", Path("/elsewhere")]) == [other, far]
    assert found(store, "rain", within=[ROOT / "a" / "rain.wav"]) == [near]
    assert found(store, "rain", within=[]) == []


def test_only_so_many_are_returned(store: Store) -> None:
    ids = [put(store, f"{i}/rain.wav") for i in range(5)]
    with store.snapshot() as reader:
        matches = reader.find_words(["rain"], within=None, limit=3)
    assert [match.recording_id for match in matches] == ids[:3]


@pytest.mark.parametrize("term", ["near", "or", "not", "and", "犬", "x" * 5000])
def test_words_of_the_query_language_are_words(store: Store, term: str) -> None:
    named = put(store, f"{term[:100]}.wav")
    assert found(store, term[:100]) == [named]
    found(store, term)
    parts(store, term)


def test_words_follow_a_recording_that_is_moved_changed_or_deleted(store: Store) -> None:
    moved = put(store, "rain.wav")
    with changing(store) as changes:
        root = changes.add_root(ROOT)
        changes.move(moved, FileFacts(root.id, "storm.wav", 1000, 2000))
    assert found(store, "rain") == parts(store, "rain") == []
    assert found(store, "storm") == parts(store, "storm") == [moved]

    assert put(store, "storm.wav", {"title": "hail"}) == moved
    assert found(store, "hail") == [moved]
    assert put(store, "storm.wav") == moved
    assert found(store, "hail") == []

    with changing(store) as changes:
        changes.mark_missing([moved])
    assert found(store, "storm") == []
    with changing(store) as changes:
        changes.delete([moved])
        new = changes.put(recording(root.id, "calm.wav"))
    assert found(store, "storm") == [] and found(store, "calm") == [new]


def test_what_fails_loses_its_words_unless_it_is_kept(store: Store) -> None:
    known = put(store, "rain.wav")
    file = FileFacts(1, "rain.wav", 1000, 2000)
    with changing(store) as changes:
        changes.put_failed(Failed(file, "unreadable", "for now", keep=True))
    assert found(store, "rain") == [known]
    with changing(store) as changes:
        changes.put_failed(Failed(file, "damaged", "for ever"))
    assert found(store, "rain") == []


def test_words_follow_roots_that_are_relocated_and_absorbed(store: Store) -> None:
    inner = put(store, "rain.wav", root=Path("/disk/Storms"))
    single = put(store, ".", root=Path("/disk/single hail.wav"))
    assert found(store, "storm") == [inner] and found(store, "hail") == [single]
    with changing(store) as changes:
        storms, hail = changes.roots()
        assert storms.path.name == "Storms"
        changes.relocate(storms, Path("/disk/Weather"))
        changes.relocate(hail, Path("/disk/sleet.wav"))
    assert found(store, "storm") == found(store, "hail") == []
    assert found(store, "weather") == [inner] and found(store, "sleet") == [single]
    with changing(store) as changes:
        outer = changes.add_root(Path("/disk/all"))
        (weather,) = (root for root in changes.roots() if root.path.name == "Weather")
        changes.absorb(weather, outer, Path("deep thunder"))
    assert found(store, "thunder") == [inner]


def test_odd_bytes_of_names_are_no_words(store: Store) -> None:
    odd = put(store, "rain\udcff.wav", {"title": "say \ud800 what\0not"})
    assert found(store, "rain") == found(store, "what") == parts(store, "rain") == [odd]
