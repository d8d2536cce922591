"""Recordings of the same sound: one hit, which names the others."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.search import ranking
from soundsearch.search.hits import Hit
from soundsearch.search.index import Index
from soundsearch.store import Store
from soundsearch.store.pinned import create_index
from tests.conftest import Run
from tests.filled_store import changing, recording
from tests.sounds import tone, write
from tests.tiny_encoder import BAND_HZ, WORDS, write_tiny_bundle

pytestmark = pytest.mark.usefixtures("each_kind")

ROOT = Path("/library")
EYE = np.eye(len(WORDS))


@pytest.fixture
def store(tiny: EncoderBundle, tmp_path: Path) -> Iterator[Store]:
    with contextlib.closing(create_index(tmp_path / "index", tiny)) as made:
        yield made


def put(store: Store, name: str, sound: bytes, vector: np.ndarray, root: Path = ROOT) -> int:
    with changing(store) as changes:
        made = recording(changes.add_root(root).id, name, [vector])
        return changes.put(replace(made, sound_hash=sound))


def names(hits: Sequence[Hit]) -> list[str]:
    return [str(hit.path.relative_to(ROOT)) for hit in hits]


def between(share: float) -> np.ndarray:
    """More and less like the second word."""
    vector: np.ndarray = share * EYE[1] + (1 - share) * EYE[2]
    return vector


def test_one_hit_for_all_copies_that_names_the_others(store: Store) -> None:
    for name in ("b.wav", "c.wav", "a.wav"):
        put(store, name, b"same", between(0.9))
    put(store, "other.wav", b"other", between(0.8))
    index = Index(store, "cpu")
    hits = index.search(text=WORDS[1])
    assert names(hits) == ["b.wav", "other.wav"]  # the first that was indexed
    assert [hit.rank for hit in hits] == [1, 2]
    assert hits[0].copies == (ROOT / "a.wav", ROOT / "c.wav") and hits[1].copies == ()
    every = index.search(text=WORDS[1], unique=False)
    assert names(every) == ["b.wav", "c.wav", "a.wav", "other.wav"]
    assert all(hit.copies == () for hit in every)


@pytest.mark.parametrize("over_fetch", [1, 8])
@pytest.mark.parametrize("by", ["sound", "both"])
def test_top_k_counts_each_sound_once(
    store: Store, monkeypatch: pytest.MonkeyPatch, over_fetch: int, by: ranking.By
) -> None:
    monkeypatch.setattr(ranking, "OVER_FETCH", over_fetch)
    for i in range(40):
        put(store, f"copy {i:02d}.wav", b"same", between(1.0))
    for i in range(5):
        put(store, f"other {i}.wav", b"%d" % i, between(0.9 - i / 10))
    index = Index(store, "cpu")
    for top_k in (1, 3, 6):
        hits = index.search(text=WORDS[1], top_k=top_k, by=by)
        assert names(hits) == ["copy 00.wav", *(f"other {i}.wav" for i in range(top_k - 1))]
        assert len(hits[0].copies) == 39


libraries = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from(["x", WORDS[1], WORDS[2]])), max_size=14
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> EncoderBundle:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(libraries, st.integers(1, 8), st.sampled_from(["sound", "words", "both"]))
def test_unique_hits_are_the_first_of_each_sound_of_all_hits(
    tmp_path_factory: pytest.TempPathFactory,
    bundle: EncoderBundle,
    library: list[tuple[int, str]],
    top_k: int,
    by: ranking.By,
) -> None:
    folder = tmp_path_factory.mktemp("index")
    with contextlib.closing(create_index(folder, bundle)) as store:
        sound_of = {}
        with changing(store) as changes:
            root = changes.add_root(ROOT)
            for i, (sound, word) in enumerate(library):
                made = recording(root.id, f"{word} {i}.wav", [between(sound / 4)])
                changes.put(replace(made, sound_hash=b"%d" % sound))
                sound_of[ROOT / f"{word} {i}.wav"] = sound
        index = Index(store, "cpu")
        every = index.search(text=WORDS[1], top_k=99, by=by, unique=False)
        first: dict[int, Hit] = {}
        for hit in every:
            first.setdefault(sound_of[hit.path], hit)
        hits = index.search(text=WORDS[1], top_k=top_k, by=by)
        assert [hit.path for hit in hits] == [hit.path for hit in first.values()][:top_k]
        for hit in hits:
            alike = [p for p, s in sound_of.items() if s == sound_of[hit.path] and p != hit.path]
            assert hit.copies == tuple(sorted(alike))


def test_a_copy_that_is_there_stands_for_one_that_is_not(store: Store, tmp_path: Path) -> None:
    there = tmp_path / "there"
    put(store, "gone.wav", b"same", between(1.0))
    put(store, "here.wav", b"same", between(1.0), there)
    write(there / "here.wav", tone(100))
    index = Index(store, "cpu")
    (hit,) = index.search(text=WORDS[1])
    assert (hit.path, hit.is_present) == (there / "here.wav", True)
    assert hit.copies == (ROOT / "gone.wav",)
    (hit,) = index.search(text=WORDS[1], within=ROOT)
    assert (hit.path, hit.is_present) == (ROOT / "gone.wav", False)
    assert hit.copies == (there / "here.wav",)


def test_missing_recordings_and_the_question_itself_are_no_other_place(
    soundsearch: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "a"
    write(folder / "hum.wav", tone(BAND_HZ[1]))
    for name in ("1.wav", "2.wav", "3.wav", "missing.wav"):
        shutil.copyfile(folder / "hum.wav", folder / name)
    soundsearch("index", folder)
    (folder / "missing.wav").unlink()
    soundsearch("index", folder)
    lines = soundsearch("query", "noise").stdout.splitlines()
    assert len(lines) == 2 and lines[1] == "   also in 3 other places"
    lines = soundsearch("similar", folder / "hum.wav").stdout.splitlines()
    assert len(lines) == 2 and lines[1] == "   also in 2 other places"
    assert len(soundsearch("query", "noise", "--no-unique").stdout.splitlines()) == 4
    paths = soundsearch("query", "noise", "--paths").stdout.splitlines()
    assert len(paths) == 1


def test_old_recordings_without_a_known_sound_are_compared_by_their_bytes(store: Store) -> None:
    for name in ("a.wav", "b.wav"):
        with changing(store) as changes:
            made = recording(changes.add_root(ROOT).id, name, [between(1.0)])
            changes.put(replace(made, content_hash=b"bytes"))
    (hit,) = Index(store, "cpu").search(text=WORDS[1])
    assert hit.copies == (ROOT / "b.wav",)
