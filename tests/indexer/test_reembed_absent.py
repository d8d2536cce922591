"""Another encoder for an index of which some recordings are not there now."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import pytest

import soundsearch
from soundsearch.health import status
from soundsearch.store import State, Store
from tests.index_contents import rows_of, searchable
from tests.recorded import Recorded
from tests.reembedding import best, problems, reembed, rows_but_embeddings
from tests.sounds import tone, write
from tests.tiny_encoder import BAND_HZ


@pytest.fixture
def disk(index: Path, tmp_path: Path) -> Path:
    """A second root, with a recording."""
    write(tmp_path / "disk" / "far.wav", tone(BAND_HZ[3], 2.0))
    write(tmp_path / "disk" / "box" / "near.wav", tone(BAND_HZ[4], 2.0))
    soundsearch.index_folders(tmp_path / "disk", index)
    return tmp_path / "disk"


@pytest.mark.parametrize("mount_point", [False, True])
def test_a_disk_that_is_away_is_waited_for(index: Path, disk: Path, mount_point: bool) -> None:
    away = disk.rename(disk.parent / "away")
    if mount_point:
        disk.mkdir()
    progress = Recorded()
    report = reembed(progress=progress)
    assert not report.switched
    ((root, reason),) = report.absent
    assert root == disk
    assert "2" in reason and "roots move" in reason
    assert any(str(disk) in note for note in progress.notes)  # before anything is embedded
    assert best("hiss") == "high.wav"  # the old encoder answers
    assert len(searchable(index)) == 4
    if mount_point:
        disk.rmdir()
    away.rename(disk)
    report = reembed()
    assert (report.switched, report.n_embedded, report.n_ready) == (True, 2, 4)
    assert len(searchable(index)) == 4


def test_disks_may_be_there_one_after_the_other(index: Path, disk: Path, sounds: Path) -> None:
    away = disk.rename(disk.parent / "away")
    assert not reembed().switched
    away.rename(disk)
    sounds.rename(sounds.parent / "unplugged")
    report = reembed()
    assert (report.switched, report.n_embedded, report.n_ready) == (True, 2, 4)
    (sounds.parent / "unplugged").rename(sounds)
    assert soundsearch.index_folders((), index).n_unchanged == 4
    assert len(searchable(index)) == 4


@pytest.mark.parametrize("mount_point", [False, True])
def test_without_absent_they_are_embedded_when_they_return(
    index: Path, disk: Path, mount_point: bool, tmp_path: Path
) -> None:
    before = rows_but_embeddings(index)
    shutil.move(disk, tmp_path / "away")
    if mount_point:
        disk.mkdir()
    report = reembed(without_absent=True)
    assert (report.switched, report.n_left_out) == (True, 2)
    row = rows_of(index)[disk / "far.wav"]
    assert (row.state, row.cause, row.window_ids) == (State.INDEXED, "not embedded yet", ())
    assert len(searchable(index)) == 2
    assert all("no windows" not in text for text in problems(index))
    with soundsearch.open_index(index) as opened:
        assert opened.show(disk / "far.wav").nearest == []
        assert [hit.path.name for hit in opened.search(text="far", by="words")] == []
    for _ in range(2):
        report = soundsearch.index_folders((), index, prune=True)  # they are only away
        assert [path for path, _ in report.absent] == [disk]
    if mount_point:
        disk.rmdir()
    shutil.move(tmp_path / "away", disk)
    with contextlib.closing(Store.open(index)) as store:
        assert status(store).failures["not embedded yet"] == 2
    report = soundsearch.index_folders((), index)
    assert (report.n_unchanged, report.n_read_again) == (2, 2)
    assert len(searchable(index)) == 4
    assert rows_but_embeddings(index) == before
    assert problems(index) == []


def test_without_absent_what_returns_under_another_name_is_embedded(
    index: Path, disk: Path, tmp_path: Path
) -> None:
    ids = {path.name: row.id for path, row in rows_of(index).items()}
    disk.rename(tmp_path / "renamed")
    reembed(without_absent=True)
    report = soundsearch.index_folders(tmp_path / "renamed", index)
    assert report.n_moved == 2
    assert report.dropped_roots == [disk]
    rows = rows_of(index)
    assert rows[tmp_path / "renamed" / "far.wav"].id == ids["far.wav"]
    assert len(searchable(index)) == 4
    assert problems(index) == []


def test_without_absent_a_moved_one_waits_until_it_is_embedded(
    index: Path, disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is stopped between finding and embedding it leaves it waiting."""
    disk.rename(tmp_path / "renamed")
    reembed(without_absent=True)

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("indexer.embedding.Run.read", stopped)
        assert soundsearch.index_folders(tmp_path / "renamed", index).interrupted
    assert rows_of(index)[tmp_path / "renamed" / "far.wav"].cause == "not embedded yet"
    assert len(searchable(index)) == 2
    soundsearch.index_folders((), index)
    assert len(searchable(index)) == 4
    assert problems(index) == []


def test_a_recording_that_waits_can_be_asked_for(index: Path, disk: Path, tmp_path: Path) -> None:
    shutil.move(disk, tmp_path / "away")
    reembed(without_absent=True)
    shutil.move(tmp_path / "away", disk)
    with soundsearch.open_index(index) as opened:
        assert len(opened.search(audio=disk / "far.wav")) == 2  # it is read from its file


def test_what_waits_and_cannot_be_read_goes_on_waiting(
    index: Path, disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk.rename(tmp_path / "away")
    reembed(without_absent=True)
    (tmp_path / "away").rename(disk)
    with monkeypatch.context() as patched:
        patched.setattr("indexer.fetching.hash_of", _no_permission)
        assert soundsearch.index_folders((), index).n_failed == 2
    assert rows_of(index)[disk / "far.wav"].cause == "not embedded yet"
    assert soundsearch.index_folders((), index).n_read_again == 2
    assert problems(index) == []


def _no_permission(path: Path) -> bytes:
    raise PermissionError(13, "Permission denied", str(path))


def test_a_reading_that_fails_for_a_time_is_waited_for(
    index: Path, sounds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("indexer.fetching.hash_of", _no_permission)
        report = reembed()
    assert not report.switched
    assert len(report.failures) == 2
    ((root, reason),) = report.absent
    assert root == sounds and "could not be read: 2" in reason
    assert reembed().switched


def test_what_had_vanished_before_is_not_in_the_way(index: Path, sounds: Path) -> None:
    content = (sounds / "low.wav").read_bytes()
    (sounds / "low.wav").unlink()
    report = reembed()
    assert not report.switched  # it answers until it is known to have vanished
    assert "soundsearch index" in report.absent[0][1]
    soundsearch.index_folders((), index)
    assert rows_of(index)[sounds / "low.wav"].state is State.MISSING
    report = reembed()
    assert (report.switched, report.n_left_out) == (True, 1)
    row = rows_of(index)[sounds / "low.wav"]
    assert (row.state, row.window_ids) == (State.MISSING, ())
    assert problems(index) == []
    (sounds / "low.wav").write_bytes(content)
    soundsearch.index_folders((), index)
    assert len(searchable(index)) == 2
