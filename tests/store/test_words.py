"""The words of recordings in the database: found after every change of names, and within folders."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from soundsearch.progress import Silent
from soundsearch.store import Failed, FileFacts, Store
from soundsearch.store import writer as writer_module
from soundsearch.store.conditions import AnyOf, Within
from tests.filled_store import FLAT, changing, recording

pytestmark = pytest.mark.usefixtures("each_database")

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
        among = [] if within is None else [AnyOf(tuple(map(Within, within)))]
        return [m.recording_id for m in reader.find_words(terms, among=among, limit=100)]


def parts(store: Store, *terms: str) -> list[int]:
    with store.snapshot() as reader:
        return [m.recording_id for m in reader.find_name_parts(terms, limit=100)]


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
        first, second, third = reader.find_words(["metal", "door"], limit=9)
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
        matches = reader.find_words(["rain"], limit=3)
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


# ---- fields: metadata, UCS categories, captions


def caption(store: Store, recording_id: int, **fields: str) -> None:
    with changing(store, new_revision=False) as changes:
        changes.put_captions({recording_id: fields})


def test_a_ucs_name_is_found_by_its_category(store: Store) -> None:
    slam = put(store, "DOORMetl_CellSlam02_TN_DORY.wav")
    put(store, "DOORXetl_CellSlam02_TN_DORY.wav")
    with store.snapshot() as reader:
        first, second = reader.find_words(["metal", "doors"], limit=9)
        assert reader.fields([slam]) == {slam: {"category": "DOORS", "subcategory": "METAL"}}
    assert first.recording_id == slam and set(first.words) == {"door", "doors", "metal"}
    assert second.words == ("door",)


def test_captions_are_found_and_stay_until_they_are_replaced(store: Store) -> None:
    known = put(store, "a.wav", {"title": "hail"})
    caption(store, known, text="sleet on slate")
    assert found(store, "slate") == found(store, "hail") == [known]
    assert put(store, "a.wav") == known  # read again
    assert found(store, "slate") == [known] and found(store, "hail") == []
    file = FileFacts(1, "a.wav", 1000, 2000)
    with changing(store) as changes:
        changes.put_failed(Failed(file, "damaged", "for now"))
    assert found(store, "slate") == []
    assert put(store, "a.wav") == known and found(store, "slate") == [known]
    with changing(store) as changes:
        changes.move(known, FileFacts(1, "b.wav", 1000, 2000))
    assert found(store, "slate") == [known]
    caption(store, known)
    assert found(store, "slate") == []
    with store.snapshot() as reader:
        assert reader.captions() == {}


def test_what_takes_the_place_of_a_recording_inherits_its_captions(store: Store) -> None:
    inner = put(store, "a.wav", root=Path("/disk/in"))
    outer = put(store, "in/a.wav", root=Path("/disk"))
    with changing(store) as changes:
        changes.mark_missing([outer])
        changes.put_captions({inner: {"text": "rain"}, outer: {"text": "hail", "mood": "grim"}})
        new, old = changes.roots()
        changes.absorb(old, new, Path("in"))
    with store.snapshot() as reader:
        assert reader.captions() == {inner: {"text": "rain; hail", "mood": "grim"}}
    with changing(store) as changes:
        changes.put_failed(Failed(FileFacts(new.id, "b.wav", 1, 1), "damaged", "for ever"))
        failed = max(r.id for r in changes.recordings())
        changes.put_captions({failed: {"place": "barn"}})
        changes.move(inner, FileFacts(new.id, "b.wav", 1000, 2000))
    with store.snapshot() as reader:
        assert reader.captions()[inner]["place"] == "barn"
    assert found(store, "grim") == found(store, "barn") == [inner]


# ---- words that are stale


def test_words_are_renewed_a_part_at_a_time_and_go_on_where_they_were_stopped(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [put(store, f"{i}.wav") for i in range(5)]
    monkeypatch.setattr(writer_module, "WORDS_AT_ONCE", 2)
    with store.writer() as writer:
        with writer.transaction() as changes:
            changes.relocate(changes.roots()[0], Path("/Storms"))
        assert found(store, "storm") == [] and len(found(store, "recording")) == 5

        class Stopping(Silent):
            def advance(self, n: float = 1, n_bytes: int = 0) -> None:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            writer.renew_words(Stopping())
        assert found(store, "storm") == ids[:2] and found(store, "recording") == ids[2:]
        with writer.snapshot() as reader:
            assert reader.stale_words() == ids[2:]
        writer.renew_words()
    assert sorted(found(store, "storm")) == ids and found(store, "recording") == []


def test_only_words_that_may_differ_are_stale(store: Store) -> None:
    same, moved, failed = (put(store, name) for name in ("a.wav", "b.wav", "c.wav"))
    with store.writer() as writer, writer.transaction() as changes:
        changes.move(same, FileFacts(1, "a.wav", 999, 999))
        assert changes.stale_words() == []
        changes.move(moved, FileFacts(1, "new.wav", 999, 999))
        assert changes.stale_words() == [moved]
        changes.relocate(changes.roots()[0], Path("/elsewhere/Field Recordings"))
        assert changes.stale_words() == [moved]
        changes.put_failed(Failed(FileFacts(1, "c.wav", 1, 1), "damaged", "for ever"))
        changes.put_captions({failed: {"text": "x"}})
        assert changes.stale_words() == [moved]
