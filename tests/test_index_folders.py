"""Indexing from Python, as somebody would who has read the docstrings alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import indexer.index_run
import soundsearch
from indexer.targets import choose_targets
from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.errors import BundleError, IndexMismatchError, QueryError, StoreError
from soundsearch.store import PinnedEncoder, Root, Store
from soundsearch.store.pinned import create_index
from tests.conftest import Run
from tests.index_contents import searchable
from tests.program import another_writer
from tests.recorded import Recorded
from tests.sounds import tone, write
from tests.tiny_encoder import write_tiny_bundle


@pytest.fixture
def library(tmp_path: Path, tiny: EncoderBundle) -> Path:
    for name, hz in (("a.wav", 100), ("deep/b.wav", 3200)):
        write(tmp_path / "library" / name, tone(hz))
    (tmp_path / "library" / "bad.wav").write_bytes(b"no sound at all")
    return tmp_path / "library"


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return tmp_path / "my index"


def test_index_then_search(library: Path, index: Path) -> None:
    report = soundsearch.index_folders([str(library)], str(index), model="tiny")
    assert (report.n_new, report.n_failed, report.interrupted) == (2, 1, False)
    ((path, reason),) = report.failures
    assert path == library / "bad.wav" and reason
    with soundsearch.open_index(index) as opened:
        assert {hit.path for hit in opened.search(text="hum")} == {
            library / "a.wav",
            library / "deep" / "b.wav",
        }
        (label, *_) = opened.describe(library / "a.wav", ["hum", "hiss"])
    assert isinstance(label, soundsearch.Label)


def test_again_over_all_that_was_indexed_before(library: Path, index: Path) -> None:
    soundsearch.index_folders(library, index, model="tiny", exclude="deep")
    (library / "a.wav").unlink()
    report = soundsearch.index_folders(index=index, prune=True, retry=True, jobs=1)
    assert (report.n_new, report.n_removed, report.n_pruned, report.n_failed) == (1, 1, 1, 1)
    assert searchable(index) == {library / "deep" / "b.wav"}
    report = soundsearch.index_folders(index=index, force=True)
    assert report.n_read_again == 1
    library.rename(library.with_name("away"))
    ((path, reason),) = soundsearch.index_folders(index=index).absent
    assert path == library and "not there" in reason
    assert searchable(index) == {library / "deep" / "b.wav"}


def test_the_index_of_the_command_line(library: Path, soundsearch: Run) -> None:
    import soundsearch as package

    report = package.index_folders(library / "a.wav", model="tiny")
    assert report.n_new == 1
    assert soundsearch("query", "hum", "--paths").stdout == f"{library / 'a.wav'}\n"
    assert package.index_folders([library / "a.wav", library / "deep"]).n_unchanged == 1


def test_a_run_can_be_watched(library: Path, index: Path) -> None:
    progress = Recorded()
    soundsearch.index_folders(library, index, model="tiny", progress=progress)
    assert progress.stage("files").total == progress.stage("files").done == 3
    assert [library.name in note and "bad.wav" in note for note in progress.notes] == [True]


@pytest.mark.parametrize(
    ("arguments", "error", "facts"),
    [
        ({"folders": []}, QueryError, ["folders", "nothing was indexed"]),
        ({"folders": 3}, QueryError, ["folders", "3"]),
        ({"folders": ["a", b"b"]}, QueryError, ["folders[1]", "b'b'"]),
        ({"folders": ["no such folder"]}, StoreError, ["no such folder"]),
        ({"index": ""}, QueryError, ["index", "empty"]),
        ({"model": "nobody's"}, BundleError, ["nobody's"]),
        ({"device": "tpu"}, QueryError, ["device", "tpu", "cpu"]),
        ({"jobs": 0}, QueryError, ["jobs", "0"]),
        ({"exclude": ["*.mp3", 4]}, QueryError, ["exclude[1]", "4"]),
        ({"exclude": 4}, QueryError, ["exclude", "4"]),
    ],
)  # fmt: skip
def test_bad_arguments_are_one_line_and_make_nothing(
    library: Path, index: Path, arguments: dict[str, object], error: type[Exception],
    facts: list[str],
) -> None:  # fmt: skip
    with pytest.raises(error) as raised:
        soundsearch.index_folders(
            **{"folders": library, "index": index, "model": "tiny", **arguments}
        )  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)
    for fact in facts:
        assert fact in str(raised.value)
    assert not index.exists()


def test_another_encoder_or_another_writer_is_refused(
    library: Path, index: Path, tmp_path: Path
) -> None:
    soundsearch.index_folders(library, index, model="tiny")
    other = write_tiny_bundle(tmp_path / "other", name="other", shift=1)
    with pytest.raises(IndexMismatchError, match="built with tiny"):
        soundsearch.index_folders(library, index, model=other.folder)
    with another_writer(index), pytest.raises(StoreError, match="another soundsearch is writing"):
        soundsearch.index_folders(library, index)


# ---- which parts of which roots, chosen once


@pytest.fixture
def choices(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many roots there were each time that targets were chosen."""
    counts: list[int] = []

    def counted(roots: list[Root], paths: list[Path]) -> object:
        counts.append(len(roots))
        return choose_targets(roots, paths)

    for module in ("index_run", "pipeline"):
        monkeypatch.setattr(f"indexer.{module}.choose_targets", counted)
    return counts


def test_targets_are_chosen_once_a_run(library: Path, index: Path, choices: list[int]) -> None:
    for folders in (library / "deep", library, (), library / "deep"):
        soundsearch.index_folders(folders, index, model="tiny")
    assert choices == [0, 1, 1, 1]
    assert searchable(index) == {library / "a.wav", library / "deep" / "b.wav"}


@pytest.mark.parametrize("inside", [".", "deep"])
def test_targets_are_chosen_again_where_another_process_changed_the_roots(
    library: Path, index: Path, tiny: EncoderBundle, choices: list[int], inside: str
) -> None:
    with indexer.index_run.IndexRun(index, [library / inside], "tiny") as run:
        store = create_index(index, tiny)  # meanwhile
        with store.writer() as writer, writer.transaction() as changes:
            changes.add_root(library)
        run.run()
        with store.snapshot() as reader:
            assert [root.path for root in reader.roots()] == [library]  # roots never overlap
            assert reader.encoder() == PinnedEncoder.of(tiny)
        store.close()
    assert choices == [0, 1]


def test_a_root_inside_a_new_one_needs_no_second_choice(
    library: Path, index: Path, tiny: EncoderBundle, choices: list[int]
) -> None:
    with indexer.index_run.IndexRun(index, [library], "tiny") as run:
        store = create_index(index, tiny)  # meanwhile
        with store.writer() as writer, writer.transaction() as changes:
            changes.add_root(library / "deep")
        run.run()
        with store.snapshot() as reader:
            assert [root.path for root in reader.roots()] == [library]
        store.close()
    assert choices == [0]
    assert os.fspath(library / "a.wav") in {str(path) for path in searchable(index)}
    assert Store.exists(index)
