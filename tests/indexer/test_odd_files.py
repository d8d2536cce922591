"""One file never ends a run, whatever is odd about it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import soundsearch
from indexer.scan import scan
from soundsearch.audio import AudioFile
from soundsearch.bundle import EncoderBundle
from soundsearch.health import verify
from soundsearch.store import State
from tests.far_dates import FUTURE_S, PAST_S, date, folder_that_takes
from tests.indexer.conftest import Indexer
from tests.sounds import noise, tone, write

# ---- facts that a 64-bit integer cannot hold


@pytest.fixture(params=[FUTURE_S, PAST_S])
def seconds(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


@pytest.fixture
def far(tmp_path: Path, tiny: EncoderBundle, seconds: int) -> Iterator[Indexer]:
    """An index of a library whose file system holds that date."""
    with folder_that_takes(seconds) as library:
        made = Indexer(tmp_path / "index", library, tiny)
        yield made
        made.store.close()


def test_a_file_dated_far_away_is_new_unchanged_moved_changed_and_failed(
    far: Indexer, seconds: int
) -> None:
    a, b = write(far.library / "a.wav", tone(100)), far.library / "b.wav"
    write(far.library / "other.wav", noise())
    date(a, seconds)
    assert far.run().n_new == 2
    assert far.run().n_unchanged == 2
    assert verify(far.store) == []
    a.rename(b)
    assert (far.run().n_moved, far.run().n_unchanged) == (1, 2)
    write(b, tone(480, 2))
    date(b, seconds)
    assert (far.run().n_changed, far.run().n_unchanged) == (1, 2)
    b.write_text("no sound")
    date(b, seconds)
    assert far.run().n_failed == 1
    assert far.rows()["b.wav"].state is State.FAILED


def test_a_recording_dated_far_away_is_known_to_a_search(
    far: Indexer, seconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = write(far.library / "a.wav", tone(100))
    write(far.library / "b.wav", tone(110))
    date(a, seconds)
    far.run()
    monkeypatch.delattr(AudioFile, "__enter__")  # nobody needs to decode it again
    with soundsearch.open_index(far.folder) as index:
        assert [hit.path.name for hit in index.search(audio=a)] == ["b.wav"]


def test_a_folder_with_far_dates_is_told_with_facts_that_fit(far: Indexer, seconds: int) -> None:
    date(write(far.library / "a.wav", tone(100)), seconds)
    for inside in (".", "a.wav"):
        ((_, mtime_ns),) = scan(far.library, inside).files.values()
        assert mtime_ns == (2**63 - 1 if seconds > 0 else -(2**63))


# ---- texts that a database takes ill


@pytest.mark.parametrize("said", ["a \udcff b", "a \0 b"])
def test_what_a_library_says_is_stored_whatever_is_in_it(
    indexer: Indexer, library: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    write(library / "a.wav", tone(100))

    class Says(AudioFile):
        def __init__(self, path: Path) -> None:
            super().__init__(path)
            self.format = said

    monkeypatch.setattr("indexer.pipeline.AudioFile", Says)
    monkeypatch.setattr(AudioFile, "_what_is_lost", lambda self: said)
    report = indexer.run()
    assert (report.n_new, report.n_failed) == (1, 0)
    error = indexer.rows()["a.wav"].error
    assert error is not None and error.isprintable()
    assert error.startswith("a \\") and error.endswith(" b")
