"""An open index that is written meanwhile, and that several threads use."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

import soundsearch as package
from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.search import index as index_module
from soundsearch.search.index import Index
from tests.conftest import Run
from tests.reembedding import reembed
from tests.sounds import tone, write
from tests.tiny_encoder import BAND_HZ, WORDS


@pytest.fixture
def library(tmp_path: Path, soundsearch: Run) -> Path:
    for word, hz in zip(WORDS, BAND_HZ, strict=True):
        write(tmp_path / "library" / f"{word}.wav", tone(hz))
    soundsearch("index", tmp_path / "library")
    return tmp_path / "library"


def best(index: Index, text: str) -> str:
    return index.search(text=text, by="sound", top_k=1)[0].path.stem


def test_what_was_written_since_is_found_after_a_refresh(library: Path, soundsearch: Run) -> None:
    with package.open_index() as index:
        assert index.refresh() is True  # nothing was loaded
        assert index.refresh() is False
        assert best(index, "hum") == "hum"
        (library / "hum.wav").unlink()
        write(library / "new.wav", tone(BAND_HZ[1], 2))
        soundsearch("index", library)
        vectors = index.vectors
        assert index.refresh() is True
        assert index.vectors is not vectors
        assert best(index, "hum") == "new"
        assert index.refresh() is False


def test_searches_go_on_while_rows_are_newer_than_vectors(library: Path, soundsearch: Run) -> None:
    """Rows are read as they are now; the embeddings are those of the last refresh."""
    with package.open_index() as index:
        assert best(index, "hum") == "hum"
        write(library / "hum.wav", tone(BAND_HZ[1], 3))  # its windows get new ids
        write(library / "hum too.wav", tone(BAND_HZ[1], 2))
        (library / "hiss.wav").unlink()
        soundsearch("index", library, "--prune")
        for by in ("sound", "words", "both"):
            hits = index.search(text="hum hiss", minus="beep", by=by, top_k=20)
            assert "hiss" not in {hit.path.stem for hit in hits}
        index.refresh()
        names = {hit.path.stem for hit in index.search(text="hum", by="sound", top_k=2)}
        assert names == {"hum", "hum too"}


@pytest.mark.usefixtures("library")
def test_threads_load_what_they_need_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[object] = []
    load, is_loading = index_module.load_vectors, threading.Event()

    def counted(store: Any) -> Any:
        loads.append(store)
        is_loading.wait(0.2)
        return load(store)

    monkeypatch.setattr(index_module, "load_vectors", counted)
    found: list[str] = []
    with package.open_index() as index:
        threads = [
            threading.Thread(target=lambda word=word: found.append(best(index, word)))
            for word in WORDS
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(found) == sorted(WORDS)
    assert len(loads) == 1


def test_an_answer_is_made_again_where_another_thread_saw_the_new_encoder(
    library: Path, other: EncoderBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first search loads the old encoder; before it has ended, a second one sees the new one."""
    with package.open_index() as index:
        assert best(index, "hum") == "hum"
        is_ranked, may_go_on = threading.Event(), threading.Event()
        hits = Index._hits

        def held(*arguments: Any) -> Any:
            if threading.current_thread().name == "held":
                is_ranked.set()
                assert may_go_on.wait(120)
            return hits(*arguments)

        monkeypatch.setattr(Index, "_hits", held)
        found: list[str] = []
        thread = threading.Thread(target=lambda: found.append(best(index, "hum")), name="held")
        thread.start()
        assert is_ranked.wait(120)
        assert reembed().switched
        assert best(index, "hum") == WORDS[2]  # each word means another band now
        may_go_on.set()
        thread.join(120)
        assert found == [WORDS[2]]
