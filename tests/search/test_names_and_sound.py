"""Names and sound in one ranking: what is found, in which order, and what a hit says of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.errors import QueryError
from soundsearch.search import ranking
from soundsearch.search.index import Index
from soundsearch.store.pinned import create_index
from tests import sounds
from tests.filled_store import changing, recording
from tests.tiny_encoder import BAND_HZ, WORDS

pytestmark = pytest.mark.usefixtures("each_database")

ROOT = Path("/library")
N = len(WORDS)


@pytest.fixture
def index(tiny: EncoderBundle, tmp_path: Path) -> Iterator[Index]:
    """Two recordings that sound like each word, named a and b, and one of another sound named so."""
    with contextlib.closing(create_index(tmp_path / "index", tiny)) as store:
        with changing(store) as changes:
            root = changes.add_root(ROOT)
            for i in range(N):
                for name in "ab":
                    changes.put(recording(root.id, f"{name}{i}.wav", np.eye(N)[i]))
            for i, word in enumerate(WORDS):
                changes.put(recording(root.id, f"odd/{word}.wav", np.eye(N)[(i + 1) % N]))
        with Index(store, "cpu") as opened:
            yield opened


def names(index: Index, **query: object) -> list[str]:
    return [str(hit.path.relative_to(ROOT)) for hit in index.search(**query)]  # type: ignore[arg-type]


def test_both_find_what_is_named_so_and_what_sounds_so(index: Index) -> None:
    word = WORDS[3]
    assert names(index, text=word, top_k=2, by="sound") == ["a3.wav", "b3.wav"]
    assert names(index, text=word, by="words") == [f"odd/{word}.wav"]
    assert set(names(index, text=word, top_k=3)) == {"a3.wav", "b3.wav", f"odd/{word}.wav"}


def test_what_is_named_so_and_sounds_so_comes_first(index: Index) -> None:
    with changing(index.store) as changes:
        changes.put(recording(1, f"z/{WORDS[3]}.wav", np.eye(N)[3]))
    with Index(index.store, "cpu") as anew:
        assert names(anew, text=WORDS[3], top_k=1) == [f"z/{WORDS[3]}.wav"]


def test_one_word_of_many_counts_less_than_how_it_sounds(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking, "LISTED", 1)  # what is named so is not among the nearest
    word = WORDS[3]
    assert names(index, text=word, top_k=1) == [f"odd/{word}.wav"]
    longer = f"{word} beneath yonder creaking bridge"
    assert names(index, text=longer, top_k=1) == ["a3.wav"]


def test_a_hit_says_its_words_and_how_its_sound_fits(index: Index) -> None:
    hits = {hit.path.name: hit for hit in index.search(text=f"some {WORDS[3]}", top_k=30)}
    assert hits[f"{WORDS[3]}.wav"].words == (WORDS[3],) and hits["a3.wav"].words == ()
    by_sound = index.search(text=f"some {WORDS[3]}", top_k=30, by="sound")
    assert {hit.path.name: hit.score for hit in by_sound} == {
        name: hit.score for name, hit in hits.items()
    }
    assert all(hit.words == () for hit in by_sound)


def test_of_forms_of_one_word_a_hit_names_the_first(index: Index) -> None:
    with changing(index.store) as changes:
        changes.put(recording(1, "Zithers/zither plucked.wav", np.eye(N)[0]))
    with Index(index.store, "cpu") as anew:
        (hit,) = anew.search(text="zither plucking", by="words")
    assert hit.words == ("zither", "plucked")


def test_a_recording_found_by_its_name_has_its_best_window(index: Index) -> None:
    rows = np.eye(N)[[0, 1, 3, 2]]
    with changing(index.store) as changes:
        changes.put(recording(1, "long zither.wav", rows))
    with Index(index.store, "cpu") as anew:
        (hit,) = anew.search(
            text=f"zither {WORDS[3]}", by="words", within="/library/long zither.wav"
        )
    assert (hit.start_s, hit.end_s) == (2.0, 3.0)


def test_words_are_sought_in_the_named_folders_alone(index: Index) -> None:
    assert names(index, text=WORDS[3], within="/library/odd", top_k=1) == [f"odd/{WORDS[3]}.wav"]
    assert f"odd/{WORDS[3]}.wav" not in names(index, text=WORDS[3], within="/library/a3.wav")


def test_a_score_that_is_asked_for_holds_for_names_too(index: Index) -> None:
    assert names(index, text=WORDS[3], min_score=0.5)[:2] == ["a3.wav", "b3.wav"]
    assert names(index, text=WORDS[3], min_score=0.5, by="words") == []


def test_exact_copies_stand_together_in_the_order_they_were_indexed(index: Index) -> None:
    with changing(index.store) as changes:
        for folder in "yx":
            changes.put(recording(1, f"{folder}/{WORDS[3]}.wav", np.eye(N)[3]))
    with Index(index.store, "cpu") as anew:
        assert names(anew, text=WORDS[3], top_k=2) == [f"y/{WORDS[3]}.wav", f"x/{WORDS[3]}.wav"]


def test_a_text_without_words_is_asked_by_sound(index: Index) -> None:
    assert names(index, text="...", by="both") == names(index, text="...", by="sound")
    assert names(index, text="...", by="words") == []


@pytest.mark.parametrize("text", ['"', "a OR b", "NEAR(x y)", "name:*", "(", "-", "x AND", "^"])
def test_the_query_language_of_the_database_is_text(index: Index, text: str) -> None:
    for by in ("both", "words"):
        index.search(text=text, by=by)  # type: ignore[arg-type]


def test_a_recording_has_no_words(index: Index, tmp_path: Path) -> None:
    sounds.write(tmp_path / "q.wav", sounds.tone(BAND_HZ[3]))
    assert all(hit.words == () for hit in index.search(audio=tmp_path / "q.wav"))
    with pytest.raises(QueryError, match="words"):
        index.search(audio=tmp_path / "q.wav", by="words")
    with pytest.raises(QueryError, match=r"'smell'.*both"):
        index.search(text="x", by="smell")  # type: ignore[arg-type]
