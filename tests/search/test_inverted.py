"""Searches of an index with an inverted file: what is chosen, and what may be asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from soundsearch.arrays import Ids
from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.search.index import Index
from soundsearch.store import Reader, Store
from soundsearch.store.pinned import create_index
from soundsearch.vectors import cache, vector_index
from tests.conftest import Run
from tests.filled_store import changing, recording
from tests.tiny_encoder import WORDS

ROOT = Path("/library")
N = len(WORDS)


@pytest.fixture
def store(tiny: EncoderBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """Fifteen hundred windows in two folders, as if a thousand were many."""
    monkeypatch.setattr(cache, "EXACT_WINDOWS", 1000)
    monkeypatch.setattr(vector_index, "FEW_WINDOWS", 0)
    random = np.random.default_rng(0)
    with contextlib.closing(create_index(tmp_path / "index", tiny)) as made:
        with changing(made) as changes:
            root = changes.add_root(ROOT)
            for i in range(150):
                vectors = np.abs(random.standard_normal((10, N)))
                changes.put(recording(root.id, f"{'ab'[i % 2]}/{i:04d}.wav", vectors))
        yield made


@pytest.fixture
def index(store: Store) -> Iterator[Index]:
    with Index(store, "cpu") as opened:
        yield opened


def test_an_exact_search_finds_what_brute_force_finds(index: Index, store: Store) -> None:
    assert index.vectors.base is not None
    assert index.vectors.base.facts.n_probe < index.vectors.base.facts.n_lists
    with store.snapshot() as reader:
        ids = reader.window_ids()
        embeddings = reader.embeddings(ids, N)
    for word in WORDS:
        cosines = embeddings @ index.encoder.embed_text([word])[0]
        best = np.sort(cosines.reshape(-1, 10).max(axis=1))[::-1][:20]
        hits = index.search(text=word, by="sound", top_k=20, exact=True)
        np.testing.assert_allclose([hit.cosine for hit in hits], best, atol=1e-5)


def test_most_of_it_is_found_without(index: Index) -> None:
    shares = []
    for word in WORDS:
        exact, quick = (
            {hit.path for hit in index.search(text=word, by="sound", exact=is_exact)}
            for is_exact in (True, False)
        )
        shares.append(len(exact & quick) / 10)
    assert np.mean(shares) > 0.9


def test_a_folder_that_holds_all_is_no_filter(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = index.search(text=WORDS[0])
    monkeypatch.setattr(Reader, "window_ids", lambda *_: pytest.fail("ids of all windows are read"))
    assert index.search(text=WORDS[0], within=ROOT) == expected


def test_windows_of_a_folder_are_chosen_once(
    index: Index, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_chosen = []
    choose = Reader.window_ids

    def counted(self: Reader, among: object = ()) -> Ids:
        n_chosen.append(among)
        return choose(self, among)  # type: ignore[arg-type]

    index.search(text=WORDS[0])
    monkeypatch.setattr(Reader, "window_ids", counted)
    for _ in range(3):
        hits = index.search(text=WORDS[0], within=ROOT / "a", by="sound")
        assert {hit.path.parent.name for hit in hits} == {"a"}
        assert len(n_chosen) == 1
    with changing(store) as changes:  # and again, once there may be others in it
        root = changes.add_root(ROOT)
        changes.put(recording(root.id, "a/new.wav", np.eye(N)[:1]))
    index.search(text=WORDS[0], within=ROOT / "a", by="sound")
    assert len(n_chosen) == 2


def test_words_are_asked_for_each_time(index: Index, store: Store) -> None:
    """Captions change without a new revision."""
    assert len(index.search(text=f"{WORDS[0]} tag:rain", by="sound")) == 0
    with changing(store, new_revision=False) as changes:
        first = next(iter(changes.recordings()))
        changes.put_captions({first.id: {"caption": "rain"}})
    assert len(index.search(text=f"{WORDS[0]} tag:rain", by="sound")) == 1


def test_one_search_serves_ranking_and_scores(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched = []
    search = vector_index.VectorIndex.search

    def counted(self: vector_index.VectorIndex, *args: object, **options: object) -> object:
        if len(args) < 4 or args[3] is None:  # not that for passages
            searched.append(args)
        return search(self, *args, **options)  # type: ignore[arg-type]

    index.search(text=WORDS[0], by="sound")
    monkeypatch.setattr(vector_index.VectorIndex, "search", counted)
    index.search(text=WORDS[0], by="sound")
    assert len(searched) == 1


def test_status_and_query_tell_of_it(soundsearch: Run, store: Store) -> None:
    folder = ["--index", store.folder]
    exact = soundsearch("query", WORDS[0], "--by", "sound", "--exact", "--json", *folder).stdout
    assert '"hits"' in exact
    line = next(
        line
        for line in soundsearch("status", *folder).stdout.splitlines()
        if line.startswith("search ")
    )
    with store.snapshot() as reader:
        facts = cache.facts_of_base(reader)
    assert facts is not None and f"{facts.n_probe} of {facts.n_lists} lists" in line
