"""The outlines of recordings: stored by an index run, or made when they are first asked for."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from soundsearch.audio.peaks import Peaks
from soundsearch.audio.recording import AudioFile
from soundsearch.errors import AudioError, Cause
from soundsearch.store import Recording, Store
from soundsearch.waveforms import peaks_of
from tests import sounds
from tests.conftest import Run
from tests.filled_store import changing, find
from tests.program import another_writer

LEVELS = (0.1, 0.2, 0.4, 0.8)


@pytest.fixture
def path(tmp_path: Path, soundsearch: Run) -> Path:
    """A recording of four levels, indexed."""
    parts = [sounds.tone(400, 1, level=level) for level in LEVELS]
    made = sounds.write(tmp_path / "sounds" / "a.wav", np.concatenate(parts))
    soundsearch("index", "sounds")
    return made


def stored(store: Store, path: Path) -> tuple[Recording, Peaks | None]:
    with store.snapshot() as reader:
        recording = find(reader, path)
        return recording, reader.peaks(recording.id)


def forget(index: Path) -> None:
    """As an index of an earlier version is."""
    with contextlib.closing(sqlite3.connect(index / "soundsearch.db")) as connection:
        connection.execute("DELETE FROM peaks")
        connection.commit()


def revision(store: Store) -> str:
    with store.snapshot() as reader:
        return reader.revision()


def check_levels(peaks: Peaks) -> None:
    at = (np.arange(4) + 0.5) * peaks.per_second
    found = (peaks.values[at.astype(int)] / 255) ** 2
    np.testing.assert_allclose(found, np.repeat(LEVELS, 2).reshape(4, 2), atol=0.01)


def test_an_index_run_stores_the_outline(path: Path, tmp_path: Path) -> None:
    with contextlib.closing(Store.open(tmp_path / "index")) as store:
        recording, peaks = stored(store, path)
        assert peaks is not None
        check_levels(peaks)
        path.unlink()  # it is not read again
        assert peaks_of(store, recording, path).values.tolist() == peaks.values.tolist()


def test_an_outline_goes_with_its_recording_and_is_made_anew_with_it(
    path: Path, tmp_path: Path, soundsearch: Run
) -> None:
    with contextlib.closing(Store.open(tmp_path / "index")) as store:
        _, before = stored(store, path)
        sounds.write(path, sounds.tone(400, 2, level=0.9))
        soundsearch("index", "sounds")
        _, after = stored(store, path)
        assert before is not None and after is not None
        assert len(after.values) / after.per_second == 2
        assert after.values.max() > before.values.max()

        moved = path.rename(path.with_name("b.wav"))
        soundsearch("index", "sounds")
        recording, found = stored(store, moved)
        assert found is not None and found.values.tolist() == after.values.tolist()

        moved.write_bytes(b"no sound")
        soundsearch("index", "sounds")
        assert stored(store, moved)[1] is None
        moved.unlink()
        soundsearch("index", "sounds", "--prune")
        with store.snapshot() as reader:
            assert reader.peaks(recording.id) is None


def test_another_encoder_keeps_outlines(
    path: Path, tmp_path: Path, soundsearch: Run, other: object
) -> None:
    with contextlib.closing(Store.open(tmp_path / "index")) as store:
        _, before = stored(store, path)
        forget(tmp_path / "index")
        soundsearch("reembed", "--model", "other")
        _, after = stored(store, path)
        assert before is not None and after is not None
        assert after.values.tolist() == before.values.tolist()


def test_an_older_index_gets_the_outline_when_it_is_asked_for(path: Path, tmp_path: Path) -> None:
    forget(tmp_path / "index")
    with contextlib.closing(Store.open(tmp_path / "index")) as store:
        recording, none = stored(store, path)
        assert none is None
        before = revision(store)
        made = peaks_of(store, recording, path)
        check_levels(made)
        _, kept = stored(store, path)
        assert kept is not None and kept.values.tolist() == made.values.tolist()
        assert kept.per_second == made.per_second
        assert revision(store) == before  # the FAISS file stays as it is
        path.unlink()
        check_levels(peaks_of(store, recording, path))


def test_while_another_process_writes_it_is_made_and_not_stored(path: Path, tmp_path: Path) -> None:
    forget(tmp_path / "index")
    with contextlib.closing(Store.open(tmp_path / "index")) as store:
        recording, _ = stored(store, path)
        with another_writer(store.folder):
            check_levels(peaks_of(store, recording, path))
        assert stored(store, path)[1] is None


def test_the_outline_of_another_sound_is_never_stored(path: Path, tmp_path: Path) -> None:
    forget(tmp_path / "index")
    with contextlib.closing(Store.open(tmp_path / "index")) as store:
        recording, _ = stored(store, path)
        sounds.write(path, sounds.tone(400, 1, level=0.3))  # changed since it was indexed
        assert peaks_of(store, recording, path).values.max() == round(255 * 0.3**0.5)
        assert stored(store, path)[1] is None
        with AudioFile(path) as file:
            list(file.blocks())
            changed = file.peaks
        with sqlite3.connect(store.folder / "soundsearch.db") as connection:
            connection.execute("UPDATE recordings SET content_hash = x'00'")  # by an index run
        connection.close()
        with changing(store, new_revision=False) as changes:
            changes.add_peaks(recording, changed)
        assert stored(store, path)[1] is None


def test_a_file_that_is_gone_has_no_outline_and_says_so(path: Path, tmp_path: Path) -> None:
    forget(tmp_path / "index")
    with contextlib.closing(Store.open(tmp_path / "index")) as store:
        recording, _ = stored(store, path)
        path.unlink()
        with pytest.raises(AudioError) as raised:
            peaks_of(store, recording, path)
    assert raised.value.cause is Cause.VANISHED
