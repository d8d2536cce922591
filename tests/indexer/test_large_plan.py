"""Plans for many files: made a part at a time, from the same facts, in little memory."""

from __future__ import annotations

import contextlib
import dataclasses
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer import plan as plan_module
from indexer.plan import make_plan
from indexer.scan import Scan
from indexer.targets import choose_targets
from soundsearch.store import Failed, FileFacts, Store
from tests.filled_store import FLAT, changing, recording


@pytest.fixture
def library(tmp_path: Path) -> Path:
    folder = (tmp_path / "library").resolve()
    folder.mkdir()
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with contextlib.closing(Store.create(tmp_path / "index", FLAT)) as made:
        yield made


def touch(path: Path, content: bytes = b"") -> FileFacts:
    """A file, and what the database is to know of it; to be given a root and a relative path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    stat = path.stat()
    return FileFacts(0, "", stat.st_size, stat.st_mtime_ns)


def know(store: Store, root: Path, names: list[str], **changed: int) -> None:
    """Store these files as they are now. changed: facts that are stored otherwise."""
    with changing(store) as changes:
        root_id = changes.add_root(root).id
        made = []
        for name in names:
            path = root if name == "." else root / name
            facts = touch(path, path.read_bytes() if path.exists() else name.encode())
            file = dataclasses.replace(facts, root_id=root_id, relative_path=name, **changed)
            made.append(dataclasses.replace(recording(root_id, name), file=file))
        changes.put_all(made)


def mixed(store: Store, library: Path) -> None:
    """Unchanged, changed, gone, missing, failed and new files, in two roots, and a file that is one."""
    inner, single = library / "inner", library / "single.wav"
    know(store, inner, [f"{i}/{i}.wav" for i in range(7)])
    know(store, inner, ["changed.wav"], mtime_ns=1)
    know(store, inner, ["gone.wav", "missing.wav"])
    know(store, library / "other", ["a.wav", "b.wav"])
    touch(single)
    know(store, single, ["."])
    for name in ("gone.wav", "missing.wav", "6/6.wav"):
        (inner / name).unlink()
    with changing(store) as changes:
        rows = {r.relative_path: r for r in changes.recordings()}
        changes.mark_missing([rows["missing.wav"].id])
        facts = dataclasses.replace(
            touch(inner / "bad.wav", b"x"),
            root_id=rows["gone.wav"].root_id,
            relative_path="bad.wav",
        )
        changes.put_failed(Failed(facts, "not audio", "why"))
    for i in range(5):
        touch(library / "new" / f"{i}.wav", bytes([i]))


@pytest.mark.parametrize("named", [".", "inner", "inner/3", "single.wav"])
def test_a_plan_does_not_depend_on_how_many_files_are_compared_in_one_go(
    store: Store, library: Path, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixed(store, library)
    with store.snapshot() as reader:
        targets = choose_targets(reader.roots(), [library / named])
    whole = make_plan(store, targets)
    monkeypatch.setattr(plan_module, "COMPARED_AT_ONCE", 1)
    assert make_plan(store, targets) == whole
    counts = {
        ".": (5, 1, 1, 1, 1, 9),  # what lay in a folder that is empty now is doubted
        "inner": (0, 1, 1, 1, 1, 6),
        "inner/3": (0, 0, 0, 0, 0, 1),
        "single.wav": (0, 0, 0, 0, 0, 1),
    }
    lists = (whole.new, whole.changed, whole.missing, whole.missing_before, whole.failed_before)
    assert (*map(len, lists), whole.n_unchanged) == counts[named]


def test_memory_of_a_plan_does_not_grow_with_unchanged_files(
    store: Store, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_module, "COMPARED_AT_ONCE", 100)
    for part, n_files in (("few", 200), ("many", 1500)):
        know(
            store,
            library / part,
            [f"{i // 100}/{i:05d} a name of some length.wav" for i in range(n_files)],
        )
    with store.snapshot() as reader:
        roots = reader.roots()
    peaks = []
    for part, n_files in (("few", 200), ("few", 200), ("many", 1500)):  # the first warms up
        targets = choose_targets(roots, [library / part])
        tracemalloc.start()
        plan = make_plan(store, targets)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert plan.n_unchanged == n_files
    assert peaks[2] - peaks[1] < 100 * (
        3000 - 300
    )  # bytes a file; a row of it takes several times that


def test_a_folder_that_cannot_be_listed_among_many_that_can() -> None:
    """Of each file that is not found, only the folders that it lies in are asked."""
    found = Scan()
    for i in range(1000):
        found.add_unreadable(f"closed{i}/x", "why")
    assert not found.can_tell("closed7/x/y/a.wav")
    assert found.can_tell("closed7/a.wav") and found.can_tell("closed7/x.wav")
    found.add_unreadable(".", "why")
    assert not found.can_tell("closed7/a.wav")
