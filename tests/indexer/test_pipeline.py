from __future__ import annotations

import dataclasses
import errno
import json
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexer import embedding, fetching, pipeline, reading
from soundsearch.audio.recording import AudioFile
from soundsearch.audio.windows import Window
from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.encoder.towers import BATCH_SIZE, Encoder
from soundsearch.errors import BundleError, IndexBusyError, SoundsearchError
from soundsearch.health import verify
from soundsearch.progress import Silent
from soundsearch.store import Indexed, State, Transaction
from soundsearch.vectors.cache import load_vectors
from tests import program
from tests.index_contents import sounds_of, vectors_of
from tests.indexer.conftest import Indexer
from tests.recorded import Recorded, Stage
from tests.sounds import encode, noise, tone, write


@pytest.fixture
def commit_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every recording gets a transaction of its own."""
    monkeypatch.setattr(embedding, "COMMIT_S", 0.0)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + 5
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not set(threading.enumerate()) - before


def fill(library: Path, n_files: int = 6) -> None:
    """Noises of 0.5 to 3 s, in two folders."""
    for i in range(n_files):
        write(library / f"{'ab'[i % 2]}" / f"{i:02d}.wav", noise(0.5 + i % 6 / 2, seed=i))


# ---- a run from end to end


def test_files_become_windows_with_the_embeddings_of_the_encoder(
    indexer: Indexer, library: Path
) -> None:
    fill(library)
    indexer.run()
    rows = indexer.all_rows()
    assert set(rows) == set(library.rglob("*.wav"))
    for path, row in rows.items():
        spans, embeddings = indexer.encoder.embed_file(path)
        assert row.spans == tuple(spans)
        np.testing.assert_array_equal(vectors_of(row), embeddings.astype(np.float16))
    assert verify(indexer.store) == []


def test_ultrasound_for_an_encoder_without_a_rate_of_its_own(
    tiny: EncoderBundle, library: Path, tmp_path: Path
) -> None:
    """It is resampled to the highest rate that is taken as it is, and features are of that rate."""
    bundle = dataclasses.replace(tiny, audio=dataclasses.replace(tiny.audio, sample_rate=None))
    bundle.write()
    own = Indexer(tmp_path / "own", library, bundle)
    path = write(library / "bat.wav", noise(1.5, 384_000), 384_000)
    own.run()
    np.testing.assert_array_equal(
        vectors_of(own.rows()["bat.wav"]), own.encoder.embed_file(path)[1].astype(np.float16)
    )


def test_the_summary_counts_what_was_done(indexer: Indexer, library: Path) -> None:
    write(library / "one.wav", tone(100, 1))  # one window
    write(library / "two.wav", tone(100, 1.5))  # two
    write(library / "three.wav", np.concatenate([tone(100, 1), np.zeros(16000, np.float32)]))
    (library / "bad.wav").write_text("no sound")
    progress = Recorded()
    plan, report = indexer.run_with_plan(progress=progress)
    assert (report.n_new, report.n_failed) == (3, 1)
    assert (report.n_changed, report.n_moved, report.n_unchanged, report.n_removed) == (0, 0, 0, 0)
    assert report.n_windows == 1 + 2 + 2  # the last two of three.wav are silent
    assert report.audio_s == 1 + 1.5 + 3
    assert [path.name for path, _ in report.failures] == ["bad.wav"]
    assert not report.interrupted
    assert sum(report.stage_s.values()) > 0
    assert set(report.stage_s) == {"decode", "features", "embed", "store"}
    assert report.elapsed_s > 0
    files = progress.stage("files")
    assert files.total == files.done == len(plan.to_read) == 4
    (note,) = progress.notes
    assert note.startswith(f"skipped {library / 'bad.wav'}: ")
    assert files.statuses[-1].startswith("4 s of sound, ")  # 1 + 1.5 + 1.5
    assert files.statuses[-1].endswith(", 1 failed")


def test_a_second_run_does_nothing_at_all(indexer: Indexer, library: Path) -> None:
    fill(library)
    indexer.run()
    before = {path: path.read_bytes() for path in indexer.folder.glob("vectors-*/*")}
    database = (indexer.folder / "soundsearch.db").stat().st_mtime_ns
    progress = Recorded()
    report = indexer.run(progress=progress)
    assert (report.n_unchanged, report.n_windows, report.audio_s) == (6, 0, 0.0)
    assert [stage.what for stage in progress.stages] == [
        "sound files found",
        "writing the vectors",
    ]
    assert {path: path.read_bytes() for path in indexer.folder.glob("vectors-*/*")} == before
    assert (indexer.folder / "soundsearch.db").stat().st_mtime_ns == database


def test_no_sound_is_read_where_nothing_changed(
    indexer: Indexer, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(library)
    indexer.run()
    monkeypatch.setattr(fetching, "AudioFile", None)
    monkeypatch.setattr(fetching, "hash_of", None)
    (library / "a" / "00.wav").rename(library / "moved.wav")
    assert indexer.run().n_moved == 1


def test_the_vectors_follow_every_run(indexer: Indexer, library: Path) -> None:
    fill(library)
    for change in (
        lambda: None,
        lambda: (library / "a" / "00.wav").unlink(),
        lambda: write(library / "a" / "02.wav", tone(100)),
        lambda: (library / "a" / "04.wav").rename(library / "new.wav"),
    ):
        change()
        indexer.run()
        (file,) = indexer.folder.glob("vectors-*")
        loaded = load_vectors(indexer.store)
        shown = [r for r in indexer.all_rows().values() if r.state is State.INDEXED]
        assert sorted(loaded.ids) == sorted(i for row in shown for i in row.window_ids)
        assert file.exists()
        assert verify(indexer.store) == []


def test_prune_forgets_what_has_vanished(indexer: Indexer, library: Path) -> None:
    fill(library)
    indexer.run()
    (library / "a" / "00.wav").unlink()
    indexer.run()
    (library / "a" / "02.wav").unlink()
    report = indexer.run(prune=True)
    assert (report.n_removed, report.n_pruned) == (1, 2)
    assert sorted(indexer.rows()) == ["a/04.wav", "b/01.wav", "b/03.wav", "b/05.wav"]
    assert verify(indexer.store) == []


def test_a_bounded_number_is_marked_and_pruned_at_once(
    indexer: Indexer, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(library, 9)
    indexer.run()
    monkeypatch.setattr(pipeline, "CHANGED_AT_ONCE", 2)
    sizes: dict[str, list[int]] = {"mark_missing": [], "delete": []}
    for name, found in sizes.items():
        change = getattr(Transaction, name)
        monkeypatch.setattr(
            Transaction,
            name,
            lambda self, ids, found=found, change=change: (
                found.append(len(ids)),
                change(self, ids),
            )[1],
        )
    for i in range(2, 7):
        (library / "ab"[i % 2] / f"{i:02d}.wav").unlink()
    report = indexer.run(prune=True)
    assert (report.n_removed, report.n_pruned) == (5, 5)
    assert sizes == {"mark_missing": [2, 2, 1], "delete": [2, 2, 1]}


def test_prune_stays_in_the_part_that_was_looked_through(indexer: Indexer, library: Path) -> None:
    fill(library)
    indexer.run()
    (library / "a" / "00.wav").unlink()
    (library / "b" / "01.wav").unlink()
    assert indexer.run(library / "a", prune=True).n_pruned == 1
    assert indexer.rows()["b/01.wav"].state is State.INDEXED


def test_window_ids_are_never_handed_out_twice(indexer: Indexer, library: Path) -> None:
    fill(library)
    indexer.run()
    used = {i for row in indexer.rows().values() for i in row.window_ids}
    for path in library.rglob("0[1-5].wav"):
        path.unlink()
    indexer.run(prune=True)
    write(library / "new.wav", tone(100))
    indexer.run()
    assert not used & set(indexer.window_ids("new.wav"))


@pytest.mark.parametrize("folders", [["a", "."], [".", "a"], ["a", "b", "."]])
def test_roots_around_roots_embed_nothing_twice(
    indexer: Indexer, library: Path, folders: list[str]
) -> None:
    fill(library)
    heard = [indexer.run(library / folder).n_windows for folder in folders]
    rows = indexer.rows()
    assert len(rows) == 6
    assert sum(heard) == sum(len(row.window_ids) for row in rows.values())
    assert indexer.roots() == [library]


@pytest.mark.parametrize("jobs", [2, 4])
def test_the_number_of_jobs_changes_nothing(
    indexer: Indexer, library: Path, tmp_path: Path, jobs: int
) -> None:
    fill(library, 30)
    indexer.run(jobs=1)
    other = Indexer(tmp_path / "other", library, indexer.encoder.bundle)
    other.run(jobs=jobs)
    assert sounds_of(other.folder) == sounds_of(indexer.folder)
    other.store.close()


@pytest.mark.parametrize("extra_s", [0.0, 0.25])
def test_a_long_recording_in_pieces_equals_the_whole(
    indexer: Indexer, library: Path, extra_s: float
) -> None:
    n_windows = 3 * BATCH_SIZE
    path = write(library / "long.wav", noise(1 + (n_windows - 1) * 0.5 + extra_s))
    write(library / "short.wav", noise(0.2))
    report = indexer.run(jobs=2)
    spans, embeddings = indexer.encoder.embed_file(path)
    row = indexer.rows()["long.wav"]
    assert len(spans) == n_windows + (extra_s > 0)
    assert report.n_windows == len(spans) + 1
    assert row.spans == tuple(spans)
    np.testing.assert_array_equal(vectors_of(row), embeddings.astype(np.float16))


def test_reading_waits_for_embedding(
    indexer: Indexer, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However slow the encoder is, only so many windows are held."""
    write(library / "long.wav", noise(60 * BATCH_SIZE * 0.5))
    made = embedded = most = 0
    features_of, embed_features = Encoder.features_of, Encoder.embed_features

    def count_made(self: Encoder, windows: list[object], rate: int) -> object:
        nonlocal made, most
        made += len(windows)
        most = max(most, made - embedded)
        return features_of(self, windows, rate)  # type: ignore[arg-type]

    def count_embedded(self: Encoder, features: np.ndarray) -> object:
        nonlocal embedded
        time.sleep(0.005)
        embedded += len(features)
        return embed_features(self, features)

    monkeypatch.setattr(Encoder, "features_of", count_made)
    monkeypatch.setattr(Encoder, "embed_features", count_embedded)
    assert indexer.run(jobs=1).n_windows > 50 * BATCH_SIZE
    assert embedded == made
    assert 2 * BATCH_SIZE <= most <= 8 * BATCH_SIZE


@pytest.mark.usefixtures("commit_at_once")
def test_what_is_stored_is_held_no_longer(
    indexer: Indexer, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many files there are, only those on their way are in memory."""
    fill(library, n_files=60)
    held: weakref.WeakSet[reading.PendingFile] = weakref.WeakSet()

    class Watched(reading.PendingFile):
        __hash__ = object.__hash__

        def __init__(self, *facts: Any, **more: Any) -> None:
            super().__init__(*facts, **more)
            held.add(self)

    most = 0

    def look(stage: Stage) -> None:
        nonlocal most
        most = max(most, sum(bool(todo.embeddings) for todo in held))

    monkeypatch.setattr("indexer.plan.PendingFile", Watched)
    for module in (embedding, reading):
        monkeypatch.setattr(module, "BATCH_SIZE", 4)
    assert indexer.run(jobs=1, progress=Recorded(look)).n_new == 60
    assert 0 < most <= 10


# ---- files that go wrong while the run goes on


def meddle(monkeypatch: pytest.MonkeyPatch, name: str, act: Callable[[Path], None]) -> None:
    """Do something to a file when its turn comes, after it was hashed."""

    class Meddled(AudioFile):
        def __init__(self, path: Path) -> None:
            if path.name == name:
                act(path)
            super().__init__(path)

    monkeypatch.setattr(fetching, "AudioFile", Meddled)


def bug(*_: object) -> None:
    raise ZeroDivisionError("a bug")


def test_a_file_that_vanishes_is_told_and_the_others_are_indexed(
    indexer: Indexer, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(library)
    meddle(monkeypatch, "02.wav", Path.unlink)
    report = indexer.run()
    assert (report.n_new, report.n_failed) == (5, 1)
    assert report.failures == [(library / "a" / "02.wav", "the file is not there any more")]
    assert indexer.rows()["a/02.wav"].cause == "vanished"
    indexer.run()
    assert "a/02.wav" not in indexer.rows()


def test_a_known_file_that_vanishes_is_not_lost_until_a_run_misses_it(
    indexer: Indexer, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(library)
    indexer.run()
    before = indexer.rows()["a/02.wav"]
    write(library / "a" / "02.wav", tone(100))
    meddle(monkeypatch, "02.wav", Path.unlink)
    assert indexer.run().n_failed == 1
    after = indexer.rows()["a/02.wav"]
    assert (after.state, after.window_ids) == (State.INDEXED, before.window_ids)
    assert indexer.run().n_removed == 1
    assert indexer.rows()["a/02.wav"].state is State.MISSING


def test_a_file_that_is_cut_short_is_used_as_far_as_it_goes(
    indexer: Indexer, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(library)
    meddle(monkeypatch, "05.wav", lambda path: os.truncate(path, 44 + 2 * 8000))
    report = indexer.run()
    assert report.n_failed == 0
    assert indexer.rows()["b/05.wav"].spans == ((0.0, 1.0),)
    report = indexer.run()  # its size is another one now
    assert report.n_changed + report.n_unchanged == 6


def test_a_file_that_turns_into_garbage_loses_its_place(indexer: Indexer, library: Path) -> None:
    fill(library)
    indexer.run()
    (library / "a" / "02.wav").write_bytes(os.urandom(5000))
    progress = Recorded()
    report = indexer.run(progress=progress)
    assert (report.n_failed, report.n_unchanged) == (1, 5)
    row = indexer.rows()["a/02.wav"]
    assert (row.state, row.window_ids) == (State.FAILED, ())
    assert row.error is not None and progress.notes[0].endswith(f": {row.error}")
    assert "a/02.wav" not in indexer.searchable()
    assert verify(indexer.store) == []


def test_a_known_file_that_may_not_be_read_keeps_its_place_and_loses_the_note_later(
    indexer: Indexer, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(library)
    indexer.run()
    before = indexer.rows()["a/02.wav"]
    os.utime(library / "a" / "02.wav")
    with monkeypatch.context() as patched:

        def denied(path: Path) -> bytes:
            raise PermissionError(13, "Permission denied")

        patched.setattr(fetching, "hash_of", denied)
        assert indexer.run().n_failed == 1
    row = indexer.rows()["a/02.wav"]
    assert (row.state, row.cause, row.window_ids) == (
        State.INDEXED,
        "not permitted",
        before.window_ids,
    )
    assert indexer.run().n_unchanged == 6
    assert indexer.rows()["a/02.wav"] == before


# ---- progress


def test_progress_counts_every_byte_once_and_grows_within_a_file(
    indexer: Indexer, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(library / "long.wav", noise(300))
    write(library / "silent.wav", np.zeros(8000 * 200, np.float32))
    (library / "bad.wav").write_text("no sound")
    sizes = {path.name: path.stat().st_size for path in library.iterdir()}
    progress = Recorded()
    indexer.run(progress=progress)
    files = progress.stage("files")
    assert files.n_bytes == sum(files.bytes_read) == sum(sizes.values())
    assert all(n_bytes > 0 for n_bytes in files.bytes_read)
    parts = np.cumsum(files.bytes_read)  # bad.wav, long.wav, silent.wav
    assert sum(parts < sizes["long.wav"]) >= 5
    assert sum(parts > sizes["long.wav"] + sizes["bad.wav"]) >= 5
    progress = Recorded()
    indexer.run(progress=progress)
    assert "files" not in [stage.what for stage in progress.stages]


def test_progress_of_a_file_that_ffmpeg_reads(indexer: Indexer, library: Path) -> None:
    path = encode(library / "long.m4a", noise(120), 8000, "aac", "mp4")
    progress = Recorded()
    indexer.run(progress=progress)
    assert sum(progress.stage("files").bytes_read) == path.stat().st_size
    assert len(progress.stage("files").bytes_read) >= 4


def test_progress_of_a_scan_and_of_looking_for_moves(indexer: Indexer, library: Path) -> None:
    fill(library)
    progress = Recorded()
    indexer.run(progress=progress)
    assert progress.stage("sound files found").done == 6
    assert [stage.what for stage in progress.stages if "compared" in stage.what] == []
    for path in library.rglob("*.wav"):
        path.rename(path.with_name(f"new {path.name}"))
    progress = Recorded()
    assert indexer.run(progress=progress).n_moved == 6
    compared = next(stage for stage in progress.stages if "compared" in stage.what)
    assert compared.total == compared.done == 6


# ---- stopping in the middle


def stop(stage: Stage) -> None:
    if stage.what == "files":
        raise KeyboardInterrupt


class Stopping(Silent):
    """Stops the run at one kind of report of one stage."""

    def __init__(self, method: str, what: str) -> None:
        self._at = (method, what)
        self._what = ""

    def _check(self, method: str) -> None:
        if (method, self._what) == self._at:
            raise KeyboardInterrupt

    def begin(self, what: str, total: int | None = None, n_bytes: int | None = None) -> None:
        self._what = what
        self._check("begin")

    def advance(self, n: float = 1, n_bytes: int = 0) -> None:
        self._check("read" if n_bytes else "advance")

    def status(self, text: str) -> None:
        self._check("status")


@pytest.mark.usefixtures("commit_at_once")
def test_ctrl_c_does_not_wait_for_a_disk_that_does_not_answer(
    indexer: Indexer, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(library, n_files=3)
    asked, answer = threading.Event(), threading.Event()
    answered: list[Path] = []
    hash_of = fetching.hash_of

    def hash_slowly(path: Path) -> bytes:
        if path.name == "00.wav":
            asked.set()
            answer.wait(60)
            answered.append(path)
        asked.wait(60)
        return hash_of(path)

    monkeypatch.setattr(fetching, "hash_of", hash_slowly)
    monkeypatch.setattr(reading, "PATIENCE_S", 0.2)
    for module in (embedding, reading):
        monkeypatch.setattr(module, "BATCH_SIZE", 1)
    try:
        report = indexer.run(jobs=2, progress=Recorded(stop))
        assert report.interrupted and not answered
        assert indexer.searchable() and "a/00.wav" not in indexer.searchable()
    finally:
        answer.set()


@pytest.mark.usefixtures("commit_at_once")
@pytest.mark.parametrize("jobs", [1, 4])
def test_ctrl_c_keeps_what_was_finished_and_the_next_run_completes(
    indexer: Indexer, library: Path, tmp_path: Path, jobs: int
) -> None:
    for i in range(3 * BATCH_SIZE):
        write(library / f"{i:03d}.wav", noise(0.3, seed=i))
    report = indexer.run(jobs=jobs, progress=Recorded(stop))
    assert report.interrupted
    kept = indexer.rows()
    assert 1 <= len(kept) <= 2 * BATCH_SIZE
    assert indexer.searchable() == set(kept)
    assert verify(indexer.store) == []
    report = indexer.run(jobs=jobs)
    assert (report.interrupted, report.n_unchanged) == (False, len(kept))
    whole = Indexer(tmp_path / "whole", library, indexer.encoder.bundle)
    whole.run()
    assert sounds_of(indexer.folder) == sounds_of(whole.folder)
    whole.store.close()
    rows = indexer.rows()
    assert all(rows[name] == row for name, row in kept.items())


@pytest.mark.parametrize(
    ("method", "what"),
    [
        ("begin", "sound files found"),
        ("advance", "sound files found"),
        ("begin", "files"),
        ("read", "files"),
        ("status", "files"),
        ("begin", "writing the vectors"),
    ],
)
def test_ctrl_c_at_other_moments(indexer: Indexer, library: Path, method: str, what: str) -> None:
    fill(library)
    assert indexer.run(progress=Stopping(method, what)).interrupted
    assert verify(indexer.store) == []
    assert indexer.run().n_new + len(indexer.rows()) >= 6
    assert len(indexer.rows()) == 6


def test_sigint_stops_a_process_quietly_and_keeps_what_was_finished(
    indexer: Indexer, library: Path, tmp_path: Path
) -> None:
    # far more than can be done before a slow machine gets round to the signal
    first = write(library / "000.wav", noise(240))
    for i in range(1, 600):
        os.link(first, library / f"{i:03d}.wav")
    process = program.start(
        *("index", library, "--json", "-j", 1, "--index", indexer.folder),
        command=program.COMMITTING_AT_ONCE,
    )
    deadline = time.monotonic() + 60
    while not indexer.rows() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, told = process.communicate(timeout=60)
    errors = told.decode()
    assert process.returncode == 130, errors
    assert errors.startswith("stopped; what was finished is kept, run it again to go on: ")
    assert errors.count("\n") == 1
    facts = json.loads(out)
    kept = indexer.rows()
    assert facts["interrupted"] is True
    assert 1 <= facts["new"] == len(kept) < 600
    assert verify(indexer.store) == []
    for path in library.glob("*.wav"):
        if path.name not in kept:
            path.unlink()  # a whole run would take long
    assert indexer.run().n_unchanged == len(kept)


# ---- what was not expected


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("no\nidea " * 200)])
@pytest.mark.parametrize("jobs", [1, 4])
def test_whatever_is_raised_in_a_reader_costs_its_file_alone(
    indexer: Indexer, library: Path, monkeypatch: pytest.MonkeyPatch, jobs: int, error: Exception
) -> None:
    fill(library, 40)

    def fail(path: Path) -> None:
        raise error

    meddle(monkeypatch, "07.wav", fail)
    report = indexer.run(jobs=jobs)
    assert (report.n_new, report.n_failed) == (39, 1)
    ((path, reason),) = report.failures
    assert path.name == "07.wav"
    assert type(error).__name__ in reason and "\n" not in reason and len(reason) < 300
    row = indexer.rows()["b/07.wav"]
    assert (row.state, row.cause, row.error) == (State.FAILED, "not handled", reason)
    assert verify(indexer.store) == []
    monkeypatch.undo()
    report = indexer.run()  # it is tried again by itself
    assert (report.n_new, report.n_unchanged, report.n_failed) == (1, 39, 0)


def test_what_is_raised_in_the_middle_of_a_file_leaves_nothing_of_it(
    indexer: Indexer, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(library / "long.wav", noise(3 * BATCH_SIZE * 0.5))
    write(library / "short.wav", noise(1))
    features_of = Encoder.features_of

    def fail_later(self: Encoder, windows: list[Window], rate: int) -> np.ndarray:
        if windows[0].start_s > BATCH_SIZE * 0.5:
            raise MemoryError
        return features_of(self, windows, rate)

    monkeypatch.setattr(Encoder, "features_of", fail_later)
    report = indexer.run()
    assert (report.n_new, report.n_failed, report.n_windows) == (1, 1, 1)
    assert indexer.window_ids("long.wav") == ()


def test_what_was_known_of_a_file_that_cannot_be_handled_is_kept(
    indexer: Indexer, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(library)
    indexer.run()
    before = indexer.rows()["a/02.wav"]
    write(library / "a" / "02.wav", tone(100, 5))
    meddle(monkeypatch, "02.wav", bug)
    assert indexer.run().n_failed == 1
    row = indexer.rows()["a/02.wav"]
    assert (row.state, row.cause, row.window_ids) == (
        State.INDEXED,
        "not handled",
        before.window_ids,
    )
    monkeypatch.undo()
    assert indexer.run().n_changed == 1


@pytest.mark.parametrize("jobs", [1, 4])
def test_what_cannot_be_embedded_costs_its_file_alone(
    indexer: Indexer, library: Path, monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    fill(library, 20)
    bad = write(library / "bad.wav", tone(3116, 4 * BATCH_SIZE * 0.5))
    embed_features = Encoder.embed_features

    def fail_on_tones(self: Encoder, features: np.ndarray) -> np.ndarray:
        levels = features.mean(axis=2)  # (n, n_mels), in nepers
        if (levels.std(axis=1) > 5).any():
            raise RuntimeError("CUDA says no")
        return embed_features(self, features)

    monkeypatch.setattr(Encoder, "embed_features", fail_on_tones)
    report = indexer.run(jobs=jobs)
    assert (report.n_new, report.n_failed) == (20, 1)
    ((path, reason),) = report.failures
    assert path == bad and "RuntimeError: CUDA says no" in reason
    row = indexer.rows()["bad.wav"]
    assert (row.state, row.cause, row.window_ids) == (State.FAILED, "not handled", ())
    monkeypatch.undo()
    assert verify(indexer.store) == []
    whole = {path: row for path, row in sounds_of(indexer.folder).items() if path != bad}
    for path, (spans, _) in whole.items():
        expected_spans, expected = indexer.encoder.embed_file(path)
        assert spans == tuple(expected_spans)
        np.testing.assert_array_equal(
            vectors_of(indexer.all_rows()[path]), expected.astype(np.float16)
        )


def test_what_cannot_be_stored_costs_its_file_alone(
    indexer: Indexer, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(library)
    put_all = Transaction.put_all

    def fail(self: Transaction, recordings: Iterable[Indexed]) -> list[int]:
        stored = list(recordings)
        ids = put_all(self, stored)
        if any(recording.file.relative_path == "a/02.wav" for recording in stored):
            raise OverflowError("a number too large")
        return ids

    monkeypatch.setattr(Transaction, "put_all", fail)
    report = indexer.run()
    assert (report.n_new, report.n_failed) == (5, 1)
    row = indexer.rows()["a/02.wav"]
    assert (row.state, row.cause, row.window_ids) == (State.FAILED, "not handled", ())
    assert row.error is not None and "OverflowError" in row.error
    assert verify(indexer.store) == []


@pytest.mark.parametrize("jobs", [1, 4])
def test_what_is_no_fault_of_a_file_ends_the_run(
    indexer: Indexer, library: Path, monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    fill(library, 40)

    def leave(path: Path) -> None:
        raise SystemExit(3)

    meddle(monkeypatch, "07.wav", leave)
    with pytest.raises(SystemExit):
        indexer.run(jobs=jobs)
    monkeypatch.undo()
    assert verify(indexer.store) == []
    indexer.run()  # the lock is free
    assert len(indexer.rows()) == 40


def test_an_encoder_that_embeds_nothing_is_one_error(
    indexer: Indexer, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(library / "long.wav", noise(60 * BATCH_SIZE * 0.5))  # its reader waits at a full queue
    fill(library)
    monkeypatch.setattr(Encoder, "embed_features", bug)
    with pytest.raises(BundleError, match=r"encoder tiny: .*ZeroDivisionError: a bug.*repair"):
        indexer.run(jobs=2)
    assert indexer.rows() == {}


def test_a_lost_tower_is_one_error_and_nothing_is_stored(indexer: Indexer, library: Path) -> None:
    fill(library)
    (indexer.encoder.bundle.folder / "audio.onnx").write_bytes(b"garbage")
    with pytest.raises(BundleError, match=r"audio\.onnx: damaged"):
        indexer.run()
    assert indexer.rows() == {}


def test_a_tower_that_cannot_be_opened_for_want_of_descriptors_is_no_fault_of_it(
    indexer: Indexer, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(library)

    def cannot_open(*_: object) -> None:
        raise BundleError("no such tower") from OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(Encoder, "embed_features", cannot_open)
    with pytest.raises(SoundsearchError, match=r"too many open files .*ulimit -n.*--jobs 1"):
        indexer.run()
    assert indexer.rows() == {}


def test_only_one_writes(indexer: Indexer, library: Path) -> None:
    fill(library)
    with indexer.store.writer(), pytest.raises(IndexBusyError):
        Indexer(indexer.folder, library, indexer.encoder.bundle).run()
    assert indexer.rows() == {}
