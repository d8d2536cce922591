"""One file never ends a run, whatever is odd about it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import soundsearch
from indexer import embedding, fetching, reading
from indexer.scan import scan
from soundsearch.audio.recording import AudioFile
from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.errors import AudioError, Cause
from soundsearch.health import status, verify
from soundsearch.store import State
from tests.far_dates import FUTURE_S, PAST_S, date, folder_that_takes
from tests.index_contents import sounds_of, vectors_of
from tests.indexer.conftest import Indexer
from tests.recorded import Recorded, Stage
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

    monkeypatch.setattr("indexer.fetching.AudioFile", Says)
    monkeypatch.setattr(AudioFile, "_what_is_lost", lambda self: said)
    report = indexer.run()
    assert (report.n_new, report.n_failed) == (1, 0)
    error = indexer.rows()["a.wav"].error
    assert error is not None and error.isprintable()
    assert error.startswith("a \\") and error.endswith(" b")


# ---- files that failed before


def test_trying_in_vain_again_writes_no_new_vectors(indexer: Indexer, library: Path) -> None:
    write(library / "a.wav", noise())
    indexer.run()
    before = sorted(indexer.folder.glob("vectors-*"))
    (library / "lost.wav").symlink_to("nowhere")
    (library / "bad.wav").write_text("no sound")
    for n_failed in (2, 1):
        assert indexer.run().n_failed == n_failed
        assert sorted(indexer.folder.glob("vectors-*")) == before
    (library / "a.wav").write_text("no sound any more")
    indexer.run()
    assert sorted(indexer.folder.glob("vectors-*")) != before
    assert verify(indexer.store) == []


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were read."""
    names: list[str] = []
    hash_of = fetching.hash_of

    def remember(path: Path) -> bytes:
        names.append(path.name)
        return hash_of(path)

    monkeypatch.setattr(fetching, "hash_of", remember)
    return names


def test_a_file_that_failed_and_has_not_changed_is_not_read_again(
    indexer: Indexer, library: Path, hashed: list[str]
) -> None:
    write(library / "a.wav", noise())
    write(library / "silent.wav", np.zeros(80_000, np.float32))
    (library / "bad.wav").write_text("no sound")
    report = indexer.run()
    assert (report.n_failed, report.n_failed_before, len(hashed)) == (2, 0, 3)
    rows = indexer.rows()
    report = indexer.run()
    assert (report.n_failed, report.n_failed_before, len(hashed)) == (0, 2, 3)
    assert indexer.rows() == rows
    report = indexer.run(retry=True)
    assert (report.n_failed, report.n_failed_before) == (2, 0)
    assert sorted(hashed[3:]) == ["bad.wav", "silent.wav"]
    write(library / "bad.wav", noise(seed=1))
    report = indexer.run()
    assert (report.n_new, report.n_failed_before) == (1, 1)


def test_a_failure_that_may_have_passed_is_tried_again_by_itself(
    indexer: Indexer, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(library / "a.wav", noise())
    for error in (PermissionError(13, "no"), OSError(5, "I/O error"), MemoryError()):
        with monkeypatch.context() as patched:

            def fail(path: Path, error: Exception = error) -> bytes:
                raise error

            patched.setattr(fetching, "hash_of", fail)
            report = indexer.run()
            assert (report.n_failed, report.n_failed_before) == (1, 0), error
    assert indexer.run().n_new == 1


def test_retry_reads_again_what_was_read_in_part(
    indexer: Indexer, library: Path, monkeypatch: pytest.MonkeyPatch, hashed: list[str]
) -> None:
    write(library / "a.wav", noise())
    write(library / "b.wav", noise(seed=1))
    with monkeypatch.context() as patched:
        patched.setattr(AudioFile, "_what_is_lost", lambda self: "a scratch")
        patched.setattr(fetching, "AudioFile", AudioFile)
        indexer.run(library / "a.wav")
    indexer.run()
    hashed.clear()
    assert indexer.run().n_unchanged == 2 and hashed == []
    assert indexer.rows()["a.wav"].error == "a scratch"
    report = indexer.run(retry=True)
    assert (report.n_read_again, report.n_unchanged, hashed) == (1, 1, ["a.wav"])
    assert (indexer.rows()["a.wav"].cause, indexer.rows()["a.wav"].error) == (None, None)


# ---- reading again what looks unchanged


def test_force_reads_everything_again_and_changes_nothing(
    indexer: Indexer, library: Path, hashed: list[str]
) -> None:
    for i in range(4):
        write(library / f"{i}.wav", noise(seed=i))
    indexer.run()
    before = sounds_of(indexer.folder)
    (library / "0.wav").rename(library / "moved.wav")
    hashed.clear()
    report = indexer.run(force=True)
    assert sorted(hashed) == ["1.wav", "2.wav", "3.wav", "moved.wav"]
    assert (report.n_read_again, report.n_moved, report.n_unchanged, report.n_new) == (4, 1, 0, 0)
    after = sounds_of(indexer.folder)
    assert {after[p] for p in after} == {before[p] for p in before}
    assert verify(indexer.store) == []


def test_force_finds_a_change_that_kept_size_and_date(indexer: Indexer, library: Path) -> None:
    a = write(library / "a.wav", tone(100))
    indexer.run()
    stat = a.stat()
    write(a, tone(3200))
    os.utime(a, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert indexer.run().n_unchanged == 1
    assert indexer.run(force=True).n_changed == 1
    _, expected = indexer.encoder.embed_file(a)
    np.testing.assert_array_equal(vectors_of(indexer.rows()["a.wav"]), expected.astype(np.float16))


def test_force_stays_in_what_was_named(indexer: Indexer, library: Path, hashed: list[str]) -> None:
    write(library / "x" / "a.wav", noise())
    write(library / "b.wav", noise(seed=1))
    indexer.run()
    hashed.clear()
    assert indexer.run(library / "x", force=True).n_read_again == 1
    assert hashed == ["a.wav"]


def test_force_loses_nothing_where_a_decoder_has_become_worse(
    indexer: Indexer, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(library / "a.wav", noise())
    indexer.run()
    before = indexer.rows()["a.wav"]

    class Worse(AudioFile):
        def __init__(self, path: Path) -> None:
            raise AudioError(Cause.NOT_AUDIO, "what is this?")

    with monkeypatch.context() as patched:
        patched.setattr(fetching, "AudioFile", Worse)
        assert indexer.run(force=True).n_failed == 1
    row = indexer.rows()["a.wav"]
    assert (row.state, row.window_ids, row.error) == (
        State.INDEXED,
        before.window_ids,
        "what is this?",
    )


def test_force_that_is_stopped_keeps_everything(
    indexer: Indexer, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(8):
        write(library / f"{i}.wav", noise(seed=i))
    indexer.run()
    before = sounds_of(indexer.folder)
    monkeypatch.setattr(embedding, "COMMIT_S", 0.0)
    for module in (embedding, reading):
        monkeypatch.setattr(module, "BATCH_SIZE", 1)

    def stop(stage: Stage) -> None:
        if stage.what == "files":
            raise KeyboardInterrupt

    assert indexer.run(force=True, progress=Recorded(stop)).interrupted
    assert sounds_of(indexer.folder) == before
    assert verify(indexer.store) == []


# ---- files that are no sound, by ending


def test_files_that_are_skipped_are_counted_by_ending(indexer: Indexer, library: Path) -> None:
    write(library / "a.wav", noise())
    names = ["a.JPG", "b.jpg", "x/c.jpg", "notes.txt", "README", "x/.hidden.jpg", ".git/d.jpg"]
    names += ["y/e.jpg", "f.tar.gz", "a name with a dot. And a long sentence after it"]
    for name in names:
        (library / name).parent.mkdir(exist_ok=True)
        (library / name).write_text("no sound")
    os.mkfifo(library / "pipe.jpg")
    (library / "linked.jpg").symlink_to(library / "a.JPG")
    (library / "lost.jpg").symlink_to("nowhere")
    found = scan(library, exclude=["y"])
    assert list(found.files) == ["a.wav"]
    assert found.skipped == {".jpg": 4, ".txt": 1, ".gz": 1, "": 2}
    plan, _ = indexer.run_with_plan(exclude=["y"])
    assert plan.all_skipped == found.skipped
    assert status(indexer.store).skipped == found.skipped
    plan, _ = indexer.run_with_plan(library / "x")  # a part says nothing of the whole
    assert plan.all_skipped == {".jpg": 1}
    assert status(indexer.store).skipped == found.skipped
    (library / "notes.txt").unlink()
    indexer.run()
    assert status(indexer.store).skipped == {".jpg": 5, ".gz": 1, "": 2}


def test_only_so_many_endings_are_told_apart(
    library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexer.scan.MOST_ENDINGS", 10)
    for i in range(30):
        (library / f"{i:02d}.x{i}").write_text("")
    found = scan(library).skipped
    assert found.total() == 30
    assert found[""] == 20 and len(found) == 11


def test_the_number_of_skipped_files_alone_writes_no_new_vectors(
    indexer: Indexer, library: Path
) -> None:
    write(library / "a.wav", noise())
    indexer.run()
    before = sorted(indexer.folder.glob("vectors-*"))
    (library / "new.jpg").write_text("")
    indexer.run()
    assert status(indexer.store).skipped == {".jpg": 1}
    assert sorted(indexer.folder.glob("vectors-*")) == before
