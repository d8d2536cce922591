from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from indexer.targets import Target, apply_targets, choose_targets
from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.errors import StoreError
from soundsearch.files import hash_of
from soundsearch.roots import way_out
from soundsearch.store import Root, State
from soundsearch.store.conditions import Within
from tests.index_contents import Row, searchable
from tests.indexer.conftest import Indexer
from tests.ordinary_user import open_folder, ordinary_user
from tests.sounds import noise, tone, write

# ---- choose_targets: which parts of which roots a person means


def test_a_folder_nobody_knows_becomes_a_root(tmp_path: Path, library: Path) -> None:
    (target,) = choose_targets([], [library])
    assert target == Target(Root(target.root.id, library), ".")
    assert target.root.id < 0  # not stored yet
    assert target.path == library


def test_a_known_root_and_what_lies_in_it(library: Path) -> None:
    (library / "x").mkdir()
    write(library / "x" / "a.wav", tone(100))
    root = Root(7, library)
    assert choose_targets([root], [library]) == [Target(root, ".")]
    assert choose_targets([root], [library / "x"]) == [Target(root, "x")]
    assert choose_targets([root], [library / "x" / "a.wav"]) == [Target(root, "x/a.wav")]


def test_a_folder_around_a_root_becomes_the_root(library: Path) -> None:
    (target,) = choose_targets([Root(7, library)], [library.parent])
    assert target.root.path == library.parent
    assert target.root.id < 0


def test_a_neighbour_with_a_longer_name_is_another_root(library: Path) -> None:
    neighbour = library.with_name("library2")
    neighbour.mkdir()
    (target,) = choose_targets([Root(7, library)], [neighbour])
    assert target.root.path == neighbour


def test_a_file_is_a_root_of_its_own(library: Path) -> None:
    path = write(library / "a.wav", tone(100))
    (target,) = choose_targets([], [path])
    assert (target.root.path, target.inside, target.path) == (path, ".", path)
    assert choose_targets([Root(7, path)], [path]) == [Target(Root(7, path), ".")]


@pytest.mark.parametrize("order", [1, -1])
def test_a_folder_named_beside_its_file_is_the_only_root(library: Path, order: int) -> None:
    path = write(library / "a.wav", tone(100))
    (target,) = choose_targets([], [path, library][::order])
    assert (target.root.path, target.inside) == (library, ".")


@pytest.mark.parametrize("order", [1, -1])
def test_what_is_named_twice_or_lies_in_another_is_looked_through_once(
    library: Path, order: int
) -> None:
    (library / "x" / "y").mkdir(parents=True)
    paths = [library, library / "x", library / "x" / "y", library][::order]
    (target,) = choose_targets([], paths)
    assert (target.root.path, target.inside) == (library, ".")


@pytest.mark.parametrize("order", [1, -1])
def test_overlapping_parts_of_a_known_root(library: Path, order: int) -> None:
    (library / "x" / "y").mkdir(parents=True)
    (library / "xx").mkdir()
    root = Root(7, library)
    paths = [library / "x" / "y", library / "x", library / "xx"][::order]
    assert {t.inside for t in choose_targets([root], paths)} == {"x", "xx"}


def test_relative_paths_dots_links_and_home(
    tmp_path: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "link").symlink_to(library)
    names = ["library", "./library/", "library/../library", "link", "~/library"]
    for name in names:
        (target,) = choose_targets([], [Path(name)])
        assert target.path == library, name


def test_a_path_that_is_nowhere_is_refused_by_the_name_it_was_given() -> None:
    with pytest.raises(
        StoreError, match=r"^nowhere/at/all: no such file or folder; give one that exists$"
    ):
        choose_targets([], [Path("nowhere/at/all")])


def test_a_path_that_is_gone_but_lies_in_a_root_is_no_error(library: Path) -> None:
    root = Root(7, library)
    assert choose_targets([root], [library / "gone.wav"]) == [Target(root, "gone.wav")]


def test_no_such_home_a_circle_and_a_closed_folder_are_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(StoreError, match=r"^~nobody-of-this-name/x: leads nowhere \("):
        choose_targets([], [Path("~nobody-of-this-name/x")])
    with pytest.raises(StoreError, match=r"loop: leads nowhere \("):
        choose_targets([], [tmp_path / "loop"])
    with pytest.raises(StoreError, match=r"x{300}: cannot be opened \("):
        choose_targets([], [Path("x" * 300)])
    with open_folder() as folder:
        (folder / "closed" / "lib").mkdir(parents=True)
        (folder / "closed").chmod(0)
        with ordinary_user(), pytest.raises(StoreError, match=r"closed/lib: cannot be opened \("):
            choose_targets([], [folder / "closed" / "lib"])


# ---- every way in which a file can have changed since the last run


@pytest.fixture
def two(indexer: Indexer, library: Path) -> Indexer:
    """An index of low.wav (three windows) and x/high.wav (one)."""
    write(library / "low.wav", tone(100, 2))
    write(library / "x" / "high.wav", tone(3200))
    assert indexer.run().n_new == 2
    return indexer


def test_new(indexer: Indexer, library: Path) -> None:
    write(library / "a.wav", tone(100))
    plan = indexer.plan()
    assert [file.relative_path for file in plan.new] == ["a.wav"]
    assert [plan.path_of(file) for file in plan.new] == [library / "a.wav"]
    assert indexer.roots() == []  # a plan writes nothing


def test_unchanged(two: Indexer) -> None:
    plan = two.plan()
    assert plan.n_unchanged == 2
    assert plan.to_read == [] and plan.moved == [] and plan.missing == []


def test_changed(two: Indexer, library: Path) -> None:
    before = two.rows()
    write(library / "low.wav", tone(750, 1))
    plan = two.plan()
    assert [(old.id, new.relative_path) for old, new in plan.changed] == [
        (before["low.wav"].id, "low.wav")
    ]
    assert two.run().n_changed == 1
    after = two.rows()
    assert after["low.wav"].id == before["low.wav"].id
    assert after["low.wav"].embeddings != before["low.wav"].embeddings
    assert not set(after["low.wav"].window_ids) & set(before["low.wav"].window_ids)
    assert after["x/high.wav"] == before["x/high.wav"]


def test_touched_is_read_but_not_embedded_again(two: Indexer, library: Path) -> None:
    before = two.rows()
    os.utime(library / "low.wav")
    assert len(two.plan().changed) == 1
    report = two.run()
    assert (report.n_unchanged, report.n_changed, report.n_windows) == (2, 0, 0)
    assert two.rows() == before
    assert two.plan().n_unchanged == 2


def test_vanished_keeps_its_embeddings_but_is_not_found(two: Indexer, library: Path) -> None:
    before = two.rows()["low.wav"]
    (library / "low.wav").unlink()
    assert [recording.relative_path for recording in two.plan().missing] == ["low.wav"]
    assert two.run().n_removed == 1
    after = two.rows()["low.wav"]
    assert after.state is State.MISSING
    assert after.window_ids == before.window_ids
    assert two.searchable() == {"x/high.wav"}
    assert [recording.relative_path for recording in two.plan().missing_before] == ["low.wav"]
    assert two.run().n_removed == 0  # it is told once


def test_back_again_needs_no_reading(two: Indexer, library: Path, tmp_path: Path) -> None:
    before = two.rows()
    shutil.move(library / "low.wav", tmp_path / "away.wav")
    two.run()
    shutil.move(tmp_path / "away.wav", library / "low.wav")
    plan = two.plan()
    assert [recording.relative_path for recording, _ in plan.returned] == ["low.wav"]
    assert plan.to_read == []
    report = two.run()
    assert (report.n_moved, report.n_windows) == (1, 0)
    assert two.rows() == before


def test_back_again_with_other_sound(two: Indexer, library: Path) -> None:
    before = two.rows()["low.wav"]
    (library / "low.wav").unlink()
    two.run()
    write(library / "low.wav", tone(3200, 1))
    assert two.run().n_changed == 1
    after = two.rows()["low.wav"]
    assert after.state is State.INDEXED
    assert after.embeddings != before.embeddings
    assert two.searchable() == {"low.wav", "x/high.wav"}


def test_moved_keeps_its_windows(two: Indexer, library: Path) -> None:
    ids = two.window_ids("low.wav")
    (library / "y").mkdir()
    (library / "low.wav").rename(library / "y" / "renamed.wav")
    plan = two.plan()
    assert [(r.relative_path, f.relative_path) for r, f in plan.moved] == [
        ("low.wav", "y/renamed.wav")
    ]
    assert plan.to_read == [] and plan.missing == []
    report = two.run()
    assert (report.n_moved, report.n_removed, report.n_windows) == (1, 0, 0)
    assert two.window_ids("y/renamed.wav") == ids
    assert two.searchable() == {"y/renamed.wav", "x/high.wav"}


def test_moved_while_nobody_looked_and_found_later(
    two: Indexer, library: Path, tmp_path: Path
) -> None:
    ids = two.window_ids("low.wav")
    shutil.move(library / "low.wav", tmp_path / "away.wav")
    two.run()
    shutil.move(tmp_path / "away.wav", library / "elsewhere.wav")
    assert two.run().n_moved == 1
    assert two.window_ids("elsewhere.wav") == ids


def test_renamed_by_case_only(two: Indexer, library: Path) -> None:
    ids = two.window_ids("low.wav")
    (library / "low.wav").rename(library / "Low.WAV")
    assert two.run().n_moved == 1
    assert two.window_ids("Low.WAV") == ids
    assert two.searchable() == {"Low.WAV", "x/high.wav"}


def test_moved_twice(two: Indexer, library: Path) -> None:
    ids = two.window_ids("low.wav")
    for old, new in (("low.wav", "x/a.wav"), ("x/a.wav", "b.wav"), ("b.wav", "low.wav")):
        (library / old).rename(library / new)
        assert two.run().n_moved == 1
        assert two.window_ids(new) == ids
    assert two.searchable() == {"low.wav", "x/high.wav"}


def test_a_whole_folder_renamed(two: Indexer, library: Path) -> None:
    ids = two.window_ids("x/high.wav")
    (library / "x").rename(library / "new name")
    report = two.run()
    assert (report.n_moved, report.n_removed) == (1, 0)
    assert two.window_ids("new name/high.wav") == ids


def test_moved_between_roots(two: Indexer, library: Path, tmp_path: Path) -> None:
    ids = two.window_ids("low.wav")
    other = tmp_path / "other"
    write(other / "o.wav", tone(750))
    two.run(other)
    shutil.move(library / "low.wav", other / "low.wav")
    report = two.run(library, other)
    assert (report.n_moved, report.n_removed, report.n_new) == (1, 0, 0)
    rows = two.all_rows()
    assert rows[other / "low.wav"].window_ids == ids
    assert library / "low.wav" not in rows


def test_moved_to_a_root_that_is_indexed_alone(two: Indexer, library: Path, tmp_path: Path) -> None:
    ids = two.window_ids("low.wav")
    other = tmp_path / "other"
    other.mkdir()
    shutil.move(library / "low.wav", other / "low.wav")
    report = two.run(other)
    assert (report.n_moved, report.n_new, report.dropped_roots) == (1, 0, [])
    rows = two.all_rows()
    assert rows[other / "low.wav"].window_ids == ids
    assert set(rows) == {other / "low.wav", library / "x" / "high.wav"}


def test_copied_to_a_root_that_is_indexed_alone(
    two: Indexer, library: Path, tmp_path: Path
) -> None:
    before = two.rows()
    other = tmp_path / "other"
    shutil.copytree(library, other)
    report = two.run(other)
    assert (report.n_moved, report.n_new) == (0, 2)
    assert {p: r for p, r in two.all_rows().items() if p.is_relative_to(library)} == {
        library / name: row for name, row in before.items()
    }


# ---- roots that were renamed or moved


def _without_root(rows: dict[Path, Row], root: Path) -> dict[str, Row]:
    return {str(path.relative_to(root)): row for path, row in rows.items()}


def test_a_renamed_root_is_taken_over_and_dropped(two: Indexer, library: Path) -> None:
    (library / "bad.wav").write_text("this is no sound")
    two.run()
    before = two.rows()
    renamed = library.rename(library.with_name("renamed"))
    plan, report = two.run_with_plan(renamed)
    assert (report.n_moved, report.n_new, report.n_windows, report.n_failed) == (2, 0, 0, 1)
    assert (report.dropped_roots, plan.left_behind, plan.absent) == ([library], [], [])
    assert two.roots() == [renamed]
    after = _without_root(two.all_rows(), renamed)
    assert {name: row for name, row in after.items() if name != "bad.wav"} == {
        name: row for name, row in before.items() if name != "bad.wav"
    }
    assert after["bad.wav"].state is State.FAILED
    assert two.run(renamed).n_unchanged == 2
    assert searchable(two.folder) == {renamed / "low.wav", renamed / "x" / "high.wav"}


@pytest.mark.parametrize("is_dry", [False, True])
def test_only_new_files_of_a_size_that_fits_are_hashed(
    two: Indexer, library: Path, monkeypatch: pytest.MonkeyPatch, is_dry: bool
) -> None:
    write(library / "other.wav", tone(480, 1.7))
    renamed = library.rename(library.with_name("renamed"))
    (renamed / "other.wav").rename(library.with_name("aside.wav"))
    write(renamed / "new.wav", tone(750, 1.3))
    hashed: list[str] = []

    def counted(path: Path) -> bytes:
        hashed.append(path.name)
        return hash_of(path)

    monkeypatch.setattr("indexer.plan.hash_of", counted)
    plan = two.plan(renamed) if is_dry else two.run_with_plan(renamed)[0]
    assert sorted(hashed) == ["high.wav", "low.wav"]
    assert len(plan.moved) == 2 and [f.relative_path for f in plan.new] == ["new.wav"]


def test_copies_are_not_hashed_to_find_out_that_they_are_no_moves(
    two: Indexer, library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(library, tmp_path / "copy")
    monkeypatch.setattr("indexer.plan.hash_of", lambda path: pytest.fail(str(path)))
    assert len(two.plan(tmp_path / "copy").new) == 2


def test_the_mount_point_left_behind_is_a_root_that_is_gone(two: Indexer, library: Path) -> None:
    ids = two.window_ids("low.wav")
    renamed = library.rename(library.with_name("renamed"))
    library.mkdir()
    report = two.run(renamed)
    assert (report.n_moved, report.dropped_roots) == (2, [library])
    assert two.all_rows()[renamed / "low.wav"].window_ids == ids


def test_a_link_left_in_place_of_a_root_is_a_root_that_is_gone(two: Indexer, library: Path) -> None:
    renamed = library.rename(library.with_name("renamed"))
    library.symlink_to(renamed)
    report = two.run(library)
    assert (report.n_moved, report.n_new, report.dropped_roots) == (2, 0, [library])
    assert set(two.all_rows()) == {renamed / "low.wav", renamed / "x" / "high.wav"}


def test_a_root_found_only_in_part_stays_and_says_the_way_out(two: Indexer, library: Path) -> None:
    renamed = library.rename(library.with_name("renamed"))
    (renamed / "low.wav").unlink()
    plan, report = two.run_with_plan(renamed)
    assert (report.n_moved, report.dropped_roots) == (1, [])
    ((path, reason),) = plan.left_behind
    assert path == library and reason.startswith("not there; recordings of it that are kept: 1; ")
    assert f"soundsearch roots move {library} NEW" in reason
    assert f"soundsearch roots remove {library}" in reason
    assert two.roots() == [library, renamed]
    plan, _ = two.run_with_plan(library, renamed)
    assert plan.left_behind == [] and plan.absent == [(path, reason)]


def test_old_and_new_name_given_together(two: Indexer, library: Path) -> None:
    renamed = library.rename(library.with_name("renamed"))
    plan, report = two.run_with_plan(library, renamed)
    assert (report.n_moved, report.dropped_roots, plan.absent) == (2, [library], [])


def test_what_was_missing_in_a_root_is_found_in_the_renamed_one(
    two: Indexer, library: Path, tmp_path: Path
) -> None:
    ids = two.window_ids("low.wav")
    shutil.move(library / "low.wav", tmp_path / "away.wav")
    two.run()
    renamed = library.rename(library.with_name("renamed"))
    shutil.move(tmp_path / "away.wav", renamed / "low.wav")
    report = two.run(renamed)
    assert (report.n_moved, report.dropped_roots) == (2, [library])
    assert two.all_rows()[renamed / "low.wav"].window_ids == ids


def test_twins_go_to_their_own_places_in_a_renamed_root(indexer: Indexer, library: Path) -> None:
    for name in ("b.wav", "a/b.wav", "a.wav", "z.wav"):
        write(library / name, tone(100))
    indexer.run()
    before = indexer.rows()
    renamed = library.rename(library.with_name("renamed"))
    (renamed / "z.wav").rename(renamed / "0.wav")  # the first to be looked at
    assert indexer.run(renamed).n_moved == 4
    after = _without_root(indexer.all_rows(), renamed)
    for name in ("b.wav", "a/b.wav", "a.wav"):
        assert after[name].window_ids == before[name].window_ids
    assert after["0.wav"].window_ids == before["z.wav"].window_ids


def test_other_sound_of_the_same_size_is_not_taken_over(two: Indexer, library: Path) -> None:
    renamed = library.rename(library.with_name("renamed"))
    write(renamed / "low.wav", tone(3200, 2))
    report = two.run(renamed)
    assert (report.n_moved, report.n_new, report.dropped_roots) == (1, 1, [])
    assert library / "low.wav" in two.all_rows()


def test_nothing_is_taken_from_a_root_that_cannot_be_seen(tiny: EncoderBundle) -> None:
    with open_folder() as folder:
        library, other = folder / "closed" / "library", folder / "other"
        write(library / "a.wav", tone(100))
        indexer = Indexer(folder / "index", library, tiny)
        indexer.run()
        shutil.copytree(library, other)
        (folder / "closed").chmod(0)
        with ordinary_user():
            plan = indexer.plan(other)
        assert (plan.moved, plan.gone_roots, len(plan.new)) == ([], [], 1)
        indexer.store.close()


# ---- files that were named themselves


def test_a_named_file_does_not_make_its_folder_a_root(indexer: Indexer, library: Path) -> None:
    named = write(library / "a.wav", tone(100))
    write(library / "private.wav", tone(750))
    assert indexer.run(named).n_new == 1
    assert indexer.roots() == [named]
    assert set(indexer.all_rows()) == searchable(indexer.folder) == {named}
    assert indexer.run(*indexer.roots()).n_unchanged == 1
    write(named, tone(480, 2))
    assert indexer.run(*indexer.roots()).n_changed == 1
    assert set(indexer.all_rows()) == {named}


def test_a_folder_absorbs_the_files_named_before(indexer: Indexer, library: Path) -> None:
    named = [write(library / name, tone(100 * i)) for i, name in enumerate(["a.wav", "x/b.wav"], 1)]
    indexer.run(*named)
    before = indexer.all_rows()
    write(library / "new.wav", tone(750))
    report = indexer.run()
    assert (report.n_unchanged, report.n_new) == (2, 1)
    assert indexer.roots() == [library]
    after = indexer.all_rows()
    assert {path: after[path] for path in named} == before


def test_a_named_file_that_is_deleted_is_missing_and_then_pruned(
    indexer: Indexer, library: Path
) -> None:
    named = write(library / "a.wav", tone(100))
    write(library / "b.wav", tone(100))
    indexer.run(named)
    named.unlink()
    plan, report = indexer.run_with_plan(named)
    assert (plan.absent, report.n_removed, report.dropped_roots) == ([], 1, [])
    assert indexer.all_rows()[named].state is State.MISSING
    plan, report = indexer.run_with_plan(named)
    assert (plan.absent, report.n_removed) == ([], 0)
    report = indexer.run(named, prune=True)
    assert (report.n_pruned, report.dropped_roots) == (1, [named])
    assert indexer.roots() == [] and indexer.all_rows() == {}


def test_a_named_file_that_failed_and_is_gone_is_forgotten(indexer: Indexer, library: Path) -> None:
    named = library / "a.wav"
    named.write_text("this is no sound")
    write(library / "b.wav", tone(100))
    assert indexer.run(named).n_failed == 1
    named.unlink()
    assert indexer.run(named).dropped_roots == [named]
    assert indexer.roots() == []


@pytest.mark.parametrize("is_empty", [False, True])
def test_a_named_file_on_a_disk_that_is_not_mounted_is_kept(
    indexer: Indexer, library: Path, is_empty: bool
) -> None:
    named = write(library / "disk" / "a.wav", tone(100))
    indexer.run(named)
    named.unlink()
    if not is_empty:
        named.parent.rmdir()
    plan, report = indexer.run_with_plan(named, prune=True)
    assert (report.n_removed, report.n_pruned, report.dropped_roots) == (0, 0, [])
    ((path, reason),) = plan.absent
    assert path == named and f"roots remove {named}" in reason
    assert searchable(indexer.folder) == {named}


def test_a_named_file_that_was_renamed(indexer: Indexer, library: Path) -> None:
    named = write(library / "a.wav", tone(100))
    indexer.run(named)
    ids = indexer.window_ids("a.wav")
    renamed = named.rename(library / "b.wav")
    report = indexer.run(renamed)
    assert (report.n_moved, report.dropped_roots) == (1, [named])
    assert indexer.window_ids("b.wav") == ids and indexer.roots() == [renamed]


def test_many_files_are_roots_of_their_own(indexer: Indexer, library: Path) -> None:
    """More than SQLite takes in one condition."""
    paths = [library / f"{i}.wav" for i in range(1200)]
    for path in paths:
        path.write_bytes(b"no sound")
    with indexer.store.writer() as writer:
        applied = apply_targets(writer, choose_targets([], paths))
    assert len(indexer.roots()) == 1200
    assert [target.path for target in applied] == paths
    with indexer.store.snapshot() as reader:
        assert reader.window_ids([Within(library)]).size == 0


@pytest.mark.parametrize("is_known", [False, True])
def test_what_is_neither_file_nor_folder_is_refused_by_what_it_is(
    indexer: Indexer, library: Path, is_known: bool
) -> None:
    write(library / "a.wav", tone(100))
    if is_known:
        indexer.run()
    os.mkfifo(library / "pipe.wav")
    with pytest.raises(StoreError, match=r"pipe\.wav: a named pipe; give a recording, or a folder"):
        indexer.plan(library / "pipe.wav")


def test_a_root_that_became_a_pipe_does_not_end_the_run(two: Indexer, library: Path) -> None:
    library.rename(library.with_name("aside"))
    os.mkfifo(library)
    write(library.with_name("other") / "b.wav", tone(750))
    plan, report = two.run_with_plan(library, library.with_name("other"))
    assert report.n_new == 1
    ((path, reason),) = plan.absent
    assert path == library and reason.startswith("a named pipe, neither a recording nor a folder; ")


def test_swapped_names(two: Indexer, library: Path) -> None:
    before = two.rows()
    (library / "low.wav").rename(library / "aside")
    (library / "x" / "high.wav").rename(library / "low.wav")
    (library / "aside").rename(library / "x" / "high.wav")
    two.run()
    after = two.rows()
    assert after["low.wav"].embeddings == before["x/high.wav"].embeddings
    assert after["x/high.wav"].embeddings == before["low.wav"].embeddings
    assert two.searchable() == {"low.wav", "x/high.wav"}


def test_moved_over_another(two: Indexer, library: Path) -> None:
    before = two.rows()
    (library / "low.wav").rename(library / "x" / "high.wav")
    two.run()
    assert two.rows()["x/high.wav"].embeddings == before["low.wav"].embeddings
    assert two.searchable() == {"x/high.wav"}


def test_a_chain_of_renames(two: Indexer, library: Path) -> None:
    before = two.rows()
    (library / "x" / "high.wav").rename(library / "last.wav")
    (library / "low.wav").rename(library / "x" / "high.wav")
    two.run()
    after = two.rows()
    assert after["last.wav"].embeddings == before["x/high.wav"].embeddings
    assert after["x/high.wav"].embeddings == before["low.wav"].embeddings
    assert two.searchable() == {"last.wav", "x/high.wav"}


def test_a_copy_is_new_while_the_original_is_there(two: Indexer, library: Path) -> None:
    before = two.rows()
    shutil.copy2(library / "low.wav", library / "copy.wav")
    report = two.run()
    assert (report.n_new, report.n_moved) == (1, 0)
    after = two.rows()
    assert after["low.wav"] == before["low.wav"]
    assert after["copy.wav"].embeddings == before["low.wav"].embeddings
    assert not set(after["copy.wav"].window_ids) & set(before["low.wav"].window_ids)


def test_one_of_two_copies_takes_the_place_of_the_original(two: Indexer, library: Path) -> None:
    ids = two.window_ids("low.wav")
    for name in ("copy1.wav", "copy2.wav"):
        shutil.copy2(library / "low.wav", library / name)
    (library / "low.wav").unlink()
    report = two.run()
    assert (report.n_moved, report.n_new, report.n_removed) == (1, 1, 0)
    rows = two.rows()
    assert sorted(rows) == ["copy1.wav", "copy2.wav", "x/high.wav"]
    assert rows["copy1.wav"].window_ids == ids
    assert rows["copy2.wav"].embeddings == rows["copy1.wav"].embeddings


@pytest.mark.parametrize("is_touched", [False, True])
def test_back_again_together_with_a_copy(
    two: Indexer, library: Path, tmp_path: Path, is_touched: bool
) -> None:
    """What is back at its own place is not taken for the source of a copy."""
    ids = two.window_ids("low.wav")
    shutil.move(library / "low.wav", tmp_path / "away.wav")
    two.run()
    shutil.copy2(tmp_path / "away.wav", library / "low.wav")
    shutil.copy2(tmp_path / "away.wav", library / "copy.wav")
    if is_touched:
        os.utime(library / "low.wav")
    two.run()
    assert two.window_ids("low.wav") == ids
    assert two.searchable() == {"copy.wav", "low.wav", "x/high.wav"}


def test_two_twins_both_moved_keep_their_own_windows(indexer: Indexer, library: Path) -> None:
    for name in ("a.wav", "b.wav"):
        write(library / name, tone(100))
    indexer.run()
    ids = {indexer.window_ids("a.wav"), indexer.window_ids("b.wav")}
    for name in ("a.wav", "b.wav"):
        (library / name).rename(library / f"new {name}")
    assert indexer.run().n_moved == 2
    assert {indexer.window_ids("new a.wav"), indexer.window_ids("new b.wav")} == ids


def test_the_same_size_is_not_the_same_sound(two: Indexer, library: Path) -> None:
    (library / "low.wav").unlink()
    write(library / "other.wav", tone(3200, 2))  # as many bytes
    report = two.run()
    assert (report.n_moved, report.n_new, report.n_removed) == (0, 1, 1)


def test_a_file_that_failed_is_tried_again_once_it_has_changed(
    indexer: Indexer, library: Path
) -> None:
    for text in ("this is no sound", "nor is this"):
        (library / "a.wav").write_text(text)
        assert indexer.run().n_failed == 1
    assert indexer.rows()["a.wav"].state is State.FAILED
    write(library / "a.wav", tone(100))
    report = indexer.run()
    assert (report.n_failed, report.n_new) == (0, 1)
    row = indexer.rows()["a.wav"]
    assert (row.state, row.cause, row.error) == (State.INDEXED, None, None)


def test_a_file_that_failed_and_is_gone_is_forgotten(indexer: Indexer, library: Path) -> None:
    (library / "a.wav").write_text("this is no sound")
    write(library / "b.wav", tone(100))
    indexer.run()
    (library / "a.wav").unlink()
    indexer.run()
    assert set(indexer.rows()) == {"b.wav"}


def test_a_good_file_moved_onto_one_that_failed(two: Indexer, library: Path) -> None:
    ids = two.window_ids("low.wav")
    (library / "bad.wav").write_text("this is no sound")
    two.run()
    (library / "low.wav").replace(library / "bad.wav")
    report = two.run()
    assert (report.n_moved, report.n_removed, report.n_failed) == (1, 0, 0)
    row = two.rows()["bad.wav"]
    assert (row.state, row.cause, row.window_ids) == (State.INDEXED, None, ids)
    assert set(two.rows()) == {"bad.wav", "x/high.wav"}


# ---- when nothing can be said, nothing is removed


def test_a_root_that_is_not_there_keeps_everything(two: Indexer, library: Path) -> None:
    before = two.rows()
    library.rename(library.with_name("unplugged"))
    plan, report = two.run_with_plan(prune=True)
    reason = f"not there; recordings of it that are kept: 2; {way_out(library)}"
    assert plan.absent == [(library, reason)]
    assert (report.n_removed, report.n_pruned) == (0, 0)
    assert two.rows() == before
    library.with_name("unplugged").rename(library)
    assert two.run().n_unchanged == 2


def test_a_part_of_a_root_that_is_not_there_keeps_everything(two: Indexer, library: Path) -> None:
    library.rename(library.with_name("unplugged"))
    plan, report = two.run_with_plan(library / "x")
    assert [path for path, _ in plan.absent] == [library / "x"]
    assert report.n_removed == 0
    assert two.searchable() == {"low.wav", "x/high.wav"}


def test_an_empty_root_is_an_unmounted_disk(two: Indexer, library: Path) -> None:
    before = two.rows()
    shutil.rmtree(library)
    library.mkdir()
    plan, report = two.run_with_plan(prune=True)
    reason = f"no audio in it any more; recordings of it that are kept: 2; {way_out(library)}"
    assert plan.absent == [(library, reason)]
    assert (report.n_removed, report.n_pruned) == (0, 0)
    assert two.rows() == before


def test_an_empty_root_that_never_held_anything_is_fine(indexer: Indexer, library: Path) -> None:
    plan, report = indexer.run_with_plan()
    assert plan.absent == []
    assert report.n_new == 0
    write(library / "a.wav", tone(100))
    assert indexer.run().n_new == 1


def test_an_empty_folder_in_a_root_is_an_unmounted_disk(
    two: Indexer, library: Path, tmp_path: Path
) -> None:
    before = two.rows()
    (library / "x" / "high.wav").rename(tmp_path / "elsewhere.wav")
    for path in (library, library / "x"):
        plan, report = two.run_with_plan(path, prune=True)
        assert plan.absent == [
            (
                library / "x",
                "nothing in it any more; recordings of it that are kept: 1; if they are gone, remove the folder",
            )
        ]
        assert (report.n_removed, report.n_pruned) == (0, 0)
        assert two.rows() == before and two.searchable() == {"low.wav", "x/high.wav"}
    (library / "x").rmdir()
    assert two.run().n_removed == 1
    assert two.searchable() == {"low.wav"}


def test_what_was_moved_out_of_an_emptied_folder_was_moved(two: Indexer, library: Path) -> None:
    (library / "x" / "high.wav").rename(library / "high.wav")
    plan, report = two.run_with_plan()
    assert plan.absent == [] and (report.n_moved, report.n_removed) == (1, 0)
    assert two.searchable() == {"low.wav", "high.wav"}


def test_a_folder_inside_a_root_may_go(two: Indexer, library: Path) -> None:
    shutil.rmtree(library / "x")
    assert two.run(library / "x").n_removed == 1
    assert two.searchable() == {"low.wav"}


def test_a_named_file_that_is_gone_is_gone(two: Indexer, library: Path) -> None:
    (library / "low.wav").unlink()
    assert two.run(library / "low.wav").n_removed == 1
    assert two.searchable() == {"x/high.wav"}


def test_only_what_is_looked_through_can_go(two: Indexer, library: Path) -> None:
    (library / "low.wav").unlink()
    assert two.run(library / "x").n_removed == 0
    assert two.searchable() == {"low.wav", "x/high.wav"}


def test_a_closed_folder_keeps_everything_in_it(tiny: object) -> None:
    with open_folder() as folder:
        library = folder / "library"
        write(library / "a.wav", tone(100))
        write(library / "closed" / "b.wav", tone(200))
        indexer = Indexer(folder / "index", library, tiny)  # type: ignore[arg-type]
        indexer.run()
        (library / "closed").chmod(0)
        with ordinary_user():
            plan = indexer.plan()
        assert plan.unreadable == [(library / "closed", "Permission denied")]
        assert plan.missing == []
        assert plan.n_unchanged == 1
        library.chmod(0)
        with ordinary_user():
            plan = indexer.plan()
        ((place, why),) = plan.absent
        assert place == library
        assert why.startswith("Permission denied; recordings of it that are kept: 2; check its ")
        assert plan.missing == []
        library.chmod(0o755)
        indexer.store.close()


# ---- roots inside and around others


def test_a_root_around_another_takes_its_recordings_over(
    two: Indexer, library: Path, tmp_path: Path
) -> None:
    before = two.all_rows()
    write(library.parent / "extra" / "more.wav", tone(750))
    plan = two.plan(library.parent)
    assert plan.n_unchanged == 2
    assert [f.relative_path for f in plan.new] == ["extra/more.wav"]
    report = two.run(library.parent)
    assert (report.n_unchanged, report.n_new, report.n_removed) == (2, 1, 0)
    assert two.roots() == [library.parent]
    after = two.all_rows()
    assert {path: row for path, row in after.items() if path in before} == before


def test_a_folder_in_a_root_adds_no_root(two: Indexer, library: Path) -> None:
    assert two.run(library / "x").n_unchanged == 1
    assert two.roots() == [library]


def test_a_move_seen_while_one_root_absorbs_another(two: Indexer, library: Path) -> None:
    ids = two.window_ids("low.wav")
    target = library.parent / "beside.wav"
    (library / "low.wav").rename(target)
    report = two.run(library.parent, exclude=["index", "models"])
    assert (report.n_moved, report.n_new, report.n_removed) == (1, 0, 0)
    assert two.all_rows()[target].window_ids == ids


# ---- what is passed over


def test_what_is_passed_over_from_now_on_is_not_found_any_more(two: Indexer, library: Path) -> None:
    assert two.run(exclude=["x"]).n_removed == 1
    assert two.searchable() == {"low.wav"}
    assert two.run().n_moved == 1  # back again
    assert two.searchable() == {"low.wav", "x/high.wav"}


def test_files_are_read_in_the_order_of_their_paths(indexer: Indexer, library: Path) -> None:
    names = ["b.wav", "a/z.wav", "a.wav", "C.wav"]
    for i, name in enumerate(names):
        write(library / name, noise(seed=i))
    assert [todo.file.relative_path for todo in indexer.plan().to_read] == [
        "C.wav",
        "a.wav",
        "a/z.wav",
        "b.wav",
    ]


def test_what_lies_behind_a_link_to_an_unmounted_disk_is_kept(
    indexer: Indexer, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    write(disk / "a.wav", tone(100))
    write(indexer.library / "b.wav", tone(400))
    (indexer.library / "archive").symlink_to(disk)
    assert indexer.run().n_new == 2
    disk.rename(tmp_path / "unplugged")
    assert indexer.run(prune=True).n_removed == 0
    assert indexer.searchable() == {"archive/a.wav", "b.wav"}
    (indexer.library / "archive").unlink()
    assert indexer.run().n_removed == 1
