from __future__ import annotations

import contextlib
import json
import os
import pty
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from soundsearch import roots
from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.errors import StoreError
from soundsearch.roots import Relocation, facts_of_roots, find_root, move_root, remove_root
from soundsearch.store import Failed, FileFacts, Root, State, Store, Transaction
from soundsearch.store.pinned import create_index
from tests import program
from tests.conftest import Run
from tests.filled_store import changing, put, recording
from tests.index_contents import rows_of, searchable
from tests.ordinary_user import open_folder, ordinary_user
from tests.sounds import tone, write
from tests.stages import Stages


@pytest.fixture
def library(tmp_path: Path, soundsearch: Run) -> Path:
    """low.wav and x/high.wav, indexed."""
    folder = tmp_path / "library"
    write(folder / "low.wav", tone(100, 2))
    write(folder / "x" / "high.wav", tone(3200))
    soundsearch("index", folder)
    return folder


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return tmp_path / "index"


# ---- the list


def test_the_roots_are_listed_with_what_is_in_them(
    soundsearch: Run, library: Path, tmp_path: Path
) -> None:
    named = write(tmp_path / "one" / "a.wav", tone(480))
    (tmp_path / "one" / "bad.wav").write_text("this is no sound")
    soundsearch("index", named)
    result = soundsearch("roots")
    assert result.stdout == f"2  {library}\n1  {named}\n"
    assert result.stderr == ""
    library.rename(library.with_name("away"))
    result = soundsearch("roots")
    assert result.stdout == f"2  {library} (not there now)\n1  {named}\n"
    assert f"soundsearch roots move {library} NEW" in result.stderr
    assert f"soundsearch roots remove {library}" in result.stderr
    assert json.loads(soundsearch("roots", "--json").stdout) == {
        "schema": 1,
        "roots": [
            {"path": str(path), "recordings": n, "failed": 0, "missing": 0, "present": is_there}
            for path, n, is_there in ((library, 2, False), (named, 1, True))
        ],
    }


def test_without_roots_and_without_an_index(
    soundsearch: Run, library: Path, index: Path, tmp_path: Path
) -> None:
    soundsearch("roots", "remove", library, "--yes")
    result = soundsearch("roots")
    assert result.stdout == "" and "soundsearch index FOLDER" in result.stderr
    result = soundsearch("roots", "--index", tmp_path / "none", code=1)
    assert result.stderr.startswith(f"error: no index at {tmp_path}/none")


def test_an_option_before_the_command_is_not_ignored(soundsearch: Run, library: Path) -> None:
    result = soundsearch("roots", "--index", "x", "remove", library, "--yes", code=2)
    assert "--index" in result.stderr and "remove" in result.stderr


# ---- a renamed root, from the first hit to the last word


def test_a_renamed_root_costs_nothing(soundsearch: Run, library: Path, index: Path) -> None:
    before = rows_of(index)
    renamed = library.rename(library.with_name("renamed"))
    result = soundsearch("index", renamed)
    assert " 2 moved, " in result.stderr and result.stderr.startswith("dropped root ")
    assert str(library) in result.stderr
    assert "sound in" not in result.stderr  # nothing was embedded
    assert [line.split("  ")[-1] for line in soundsearch("query", "hum").stdout.splitlines()] == [
        "renamed/low.wav",
        "renamed/x/high.wav",
    ]
    assert {path.relative_to(renamed): row for path, row in rows_of(index).items()} == {
        path.relative_to(library): row for path, row in before.items()
    }
    assert soundsearch("verify").stderr == "the index is sound\n"
    assert soundsearch("index").stderr.startswith("0 new, 0 changed, 0 moved, 2 unchanged")


def test_verify_says_the_same_way_out_as_index(soundsearch: Run, library: Path) -> None:
    library.rename(library.with_name("renamed"))
    result = soundsearch("verify")
    assert f"soundsearch roots move {library} NEW" in result.stdout
    assert "roots that are not there: 1" in result.stderr
    assert "soundsearch index" not in result.stderr  # which would only send back here
    assert f"soundsearch roots move {library} NEW" in soundsearch("index", code=1).stderr
    soundsearch("roots", "move", library, library.with_name("renamed"))
    assert soundsearch("verify").stderr == "the index is sound\n"
    soundsearch("index")


def test_a_root_that_may_not_be_read_is_neither_unmounted_nor_renamed(
    soundsearch: Run, tiny: EncoderBundle
) -> None:
    with open_folder() as folder:
        write(folder / "library" / "low.wav", tone(100))
        (folder / "index").mkdir()
        soundsearch("index", folder / "library", "--index", folder / "index")
        os.chmod(folder / "index", 0o555)
        (folder / "library").chmod(0)
        store = Store.open(folder / "index")
        with ordinary_user(), store.snapshot() as reader:
            (facts,) = facts_of_roots(reader)
        store.close()
    assert (facts.absence, facts.is_lost) == ("Permission denied", True)
    assert "permissions" in facts.way_out and "roots" not in facts.way_out


def test_what_is_left_of_a_renamed_root_is_told_and_may_be_moved_after_it(
    soundsearch: Run, library: Path, index: Path
) -> None:
    renamed = library.rename(library.with_name("renamed"))
    away = (renamed / "low.wav").rename(library.with_name("away.wav"))
    result = soundsearch("index", renamed, "--json")
    facts = json.loads(result.stdout)
    assert (facts["moved"], facts["dropped_roots"]) == (1, [])
    assert facts["left_behind"][0]["path"] == str(library)
    assert result.stderr.startswith(f"note: {library}: not there; ")
    away.rename(renamed / "low.wav")
    soundsearch("roots", "move", library, renamed)
    assert (
        set(rows_of(index))
        == searchable(index)
        == {
            renamed / "low.wav",
            renamed / "x" / "high.wav",
        }
    )


# ---- move


def test_move_reads_and_embeds_nothing(
    soundsearch: Run, library: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = rows_of(index)
    renamed = library.rename(library.with_name("my sounds"))
    monkeypatch.setattr("soundsearch.files.open_regular", lambda path: pytest.fail(str(path)))
    result = soundsearch("roots", "move", "library", "my sounds")
    assert result.stderr == (
        f"moved {library} to my sounds: recordings: 2; looked for 2, found 2\n"
    )
    assert {path.relative_to(renamed): row for path, row in rows_of(index).items()} == {
        path.relative_to(library): row for path, row in before.items()
    }
    assert soundsearch("roots").stdout == f"2  {renamed}\n"
    assert soundsearch("index").stderr.startswith("0 new, 0 changed, 0 moved, 2 unchanged")


def test_move_to_a_place_that_lacks_some_says_so(soundsearch: Run, library: Path) -> None:
    renamed = library.rename(library.with_name("renamed"))
    (renamed / "low.wav").unlink()
    result = soundsearch("roots", "move", library, renamed)
    assert "looked for 2, found 1" in result.stderr
    assert "soundsearch index" in result.stderr


def test_a_link_where_the_root_was_does_not_hide_it(
    soundsearch: Run, library: Path, index: Path, tmp_path: Path
) -> None:
    renamed = library.rename(library.with_name("renamed"))
    store = Store.open(index)
    put(store, renamed, "more.wav", _vector(0))
    store.close()
    library.symlink_to(renamed)
    soundsearch("roots", "move", library, renamed)
    assert soundsearch("roots").stdout == f"3  {renamed}\n"


def test_move_to_a_wrong_place_is_refused(
    soundsearch: Run, library: Path, index: Path, tmp_path: Path
) -> None:
    write(tmp_path / "wrong" / "low.wav", tone(100, 1))  # of the name, not of the size
    (tmp_path / "empty").mkdir()
    before = rows_of(index)
    for new, reasons in (
        ("wrong", ["holds none of the recordings of", str(library), "2 of 2"]),
        ("empty", ["empty"]),
        ("nowhere", ["not there"]),
        (library, ["there already"]),
    ):
        result = soundsearch("roots", "move", library, new, code=1)
        assert result.stderr.startswith(f"error: {new}: ") and result.stderr.count("\n") == 1
        assert all(reason in result.stderr for reason in reasons)
    result = soundsearch("roots", "move", tmp_path / "x", library, code=1)
    assert result.stderr == (
        f"error: {tmp_path}/x: no root of this index; its roots are: {library}\n"
    )
    assert rows_of(index) == before


def test_move_waits_for_nobody(soundsearch: Run, library: Path, index: Path) -> None:
    renamed = library.rename(library.with_name("renamed"))
    with contextlib.closing(Store.open(index)) as store, store.writer():
        for command in (["move", library, renamed], ["remove", library, "--yes"]):
            result = soundsearch("roots", *command, code=1)
            assert "another soundsearch is writing this index" in result.stderr
    assert soundsearch("roots").stdout == f"2  {library} (not there now)\n"


@pytest.fixture
def store(tmp_path: Path, tiny: EncoderBundle) -> Iterator[Store]:
    with contextlib.closing(create_index(tmp_path / "filled", tiny)) as made:
        yield made


def _vector(i: int) -> list[list[float]]:
    return [[float(i == place) for place in range(8)]]


def _move(store: Store, root: Root, path: Path) -> Relocation:
    with store.writer() as writer:
        return move_root(writer, root, path)


def _paths(store: Store) -> dict[str, State]:
    with store.snapshot() as reader:
        of_root = {root.id: root.path for root in reader.roots()}
        return {str(of_root[r.root_id] / r.relative_path): r.state for r in reader.recordings()}


def _make(path: Path, size_bytes: int = 1000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size_bytes))
    return path


@pytest.mark.parametrize("new", ["around", "around/deep", "around/deep/new"])
def test_move_into_another_root_makes_them_one(store: Store, tmp_path: Path, new: str) -> None:
    old, around = Path("/old"), tmp_path / "around"
    a = put(store, old, "a.wav", _vector(0))
    put(store, around, "other.wav", _vector(1))
    _make(tmp_path / new / "a.wav")
    done = _move(store, find_root(store, old), tmp_path / new)
    assert (done.root.path, done.n_recordings, done.n_found) == (around, 1, 1)
    with store.snapshot() as reader:
        assert [root.path for root in reader.roots()] == [around]
        found = reader.recording_at(tmp_path / new / "a.wav")
        assert found is not None and found.id == a


def test_move_to_a_folder_around_another_root_makes_them_one(store: Store, tmp_path: Path) -> None:
    new = tmp_path / "new"
    put(store, Path("/old"), "a.wav", _vector(0))
    put(store, new / "deep", "b.wav", _vector(1))
    put(store, tmp_path / "new2", "c.wav", _vector(2))
    _make(new / "a.wav")
    _move(store, find_root(store, Path("/old")), new)
    assert set(_paths(store)) == {
        str(path) for path in (new / "a.wav", new / "deep" / "b.wav", tmp_path / "new2" / "c.wav")
    }
    with store.snapshot() as reader:
        assert [root.path for root in reader.roots()] == [new, tmp_path / "new2"]


def test_what_is_known_under_both_names_is_known_once(store: Store, tmp_path: Path) -> None:
    """As an index has it whose renamed folder was embedded anew."""
    old, new = Path("/old"), tmp_path / "new"
    ids = {}
    for name in ("both", "missing in new", "missing in old", "failed in new", "old alone"):
        ids["old", name] = put(store, old, f"{name}.wav", _vector(0))
    for name in ("both", "missing in new", "missing in old", "new alone"):
        ids["new", name] = put(store, new, f"{name}.wav", _vector(1))
    with changing(store) as changes:
        changes.mark_missing([ids["new", "missing in new"], ids["old", "missing in old"]])
        root = changes.add_root(new)
        file = FileFacts(root.id, "failed in new.wav", 1000, 1)
        changes.put_failed(Failed(file, "damaged", "why"))
    _make(new / "both.wav")
    _move(store, find_root(store, old), new)
    with store.snapshot() as reader:
        found = {r.relative_path.removesuffix(".wav"): r for r in reader.recordings()}
        assert [root.path for root in reader.roots()] == [new]
    assert {name: r.id for name, r in found.items()} == {
        "both": ids["new", "both"],
        "missing in new": ids["old", "missing in new"],
        "missing in old": ids["new", "missing in old"],
        "failed in new": ids["old", "failed in new"],
        "old alone": ids["old", "old alone"],
        "new alone": ids["new", "new alone"],
    }
    assert {r.state for r in found.values()} == {State.INDEXED}


def test_move_one_level_down_and_up(store: Store, tmp_path: Path) -> None:
    root = tmp_path / "lib"
    put(store, root, "a.wav", _vector(0))
    _make(root / "sub" / "a.wav")
    _move(store, find_root(store, root), root / "sub")
    assert set(_paths(store)) == {str(root / "sub" / "a.wav")}
    _make(root / "a.wav")
    _move(store, find_root(store, root / "sub"), root)
    assert set(_paths(store)) == {str(root / "a.wav")}


def test_a_file_that_is_a_root_moves_too(store: Store, tmp_path: Path) -> None:
    put(store, tmp_path / "a.wav", ".", _vector(0))
    renamed = _make(tmp_path / "b.wav")
    _move(store, find_root(store, tmp_path / "a.wav"), renamed)
    assert set(_paths(store)) == {str(renamed)}
    put(store, tmp_path / "lib", "c.wav", _vector(1))
    moved = _make(tmp_path / "lib" / "b.wav")
    _move(store, find_root(store, renamed), moved)
    assert set(_paths(store)) == {str(moved), str(tmp_path / "lib" / "c.wav")}


def test_an_unknown_root_is_answered_with_those_there_are(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no root of this index; it has none"):
        find_root(store, Path("/x"))
    for i in range(roots.NAMED + 2):
        put(store, Path(f"/root{i:02d}"), "a.wav", _vector(0))
    with pytest.raises(StoreError, match=r"/x: no root .*: /root00, /root01, .*/root07 and 2 more"):
        find_root(store, Path("/x"))
    with pytest.raises(StoreError, match="no root"):
        find_root(store, Path("/root01/deep"))
    assert find_root(store, Path("/root01/deep/..")).path == Path("/root01")


# ---- remove


def test_remove_deletes_the_rows_and_leaves_the_files(
    soundsearch: Run, library: Path, index: Path, tmp_path: Path
) -> None:
    other = write(tmp_path / "other" / "a.wav", tone(480))
    soundsearch("index", other.parent)
    before = {path: path.read_bytes() for path in library.rglob("*.wav")}
    result = soundsearch("roots", "remove", "library", "--yes")
    assert result.stderr == f"{library}: recordings deleted from the index: 2\n"
    assert {path: path.read_bytes() for path in library.rglob("*.wav")} == before
    assert set(rows_of(index)) == searchable(index) == {other}
    assert soundsearch("roots").stdout == f"1  {other.parent}\n"
    assert soundsearch("verify").stderr == "the index is sound\n"


def test_a_root_that_is_gone_can_be_removed(soundsearch: Run, library: Path, index: Path) -> None:
    shutil.rmtree(library)
    soundsearch("index", code=1)
    soundsearch("roots", "remove", library, "--yes")
    assert rows_of(index) == {}
    result = soundsearch("roots", "remove", library, "--yes", code=1)
    assert result.stderr == f"error: {library}: no root of this index; it has none\n"


def test_remove_deletes_a_bounded_number_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(5):
        put(store, Path("/root"), f"{i}.wav", _vector(i))
    monkeypatch.setattr(roots, "DELETED_AT_ONCE", 2)
    deleted = []
    delete = Transaction.delete
    monkeypatch.setattr(
        Transaction, "delete", lambda *args: (deleted.append(len(args[1])), delete(*args))[1]
    )
    with store.writer() as writer:
        stages = Stages()
        assert remove_root(writer, find_root(store, Path("/root")), stages) == 5
    assert deleted == [2, 2, 1] and _paths(store) == {}
    assert stages.totals == stages.whole == {"recordings deleted": 5}


def test_removing_much_gives_its_disk_room_back(store: Store) -> None:
    for root in ("/small", "/large"):
        with changing(store) as changes:
            root_id = changes.add_root(Path(root)).id
            n_windows = 60_000 if root == "/large" else 10
            changes.put(recording(root_id, "a.wav", np.tile(_vector(1), (n_windows, 1))))
    with store.writer() as writer:
        n_before = writer._database.sizes()[1]
        remove_root(writer, find_root(store, Path("/small")))
        assert writer._database.sizes()[1] == n_before  # it is left for what is indexed next
        remove_root(writer, find_root(store, Path("/large")))
        assert writer._database.sizes()[1] < n_before / 2
    assert _paths(store) == {}


def test_remove_asks_at_no_terminal_but_for_yes(
    soundsearch: Run, library: Path, index: Path
) -> None:
    result = soundsearch("roots", "remove", library, code=2, stdin="y\n")
    assert "--yes" in result.stderr and str(library) in " ".join(result.stderr.split())
    assert len(rows_of(index)) == 2


@pytest.mark.parametrize(("answer", "code", "n_left"), [("n", 1, 2), ("y", 0, 0)])
def test_remove_asks_at_a_terminal(
    library: Path, index: Path, answer: str, code: int, n_left: int
) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*program.COMMAND, "roots", "remove", str(library)],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=program.environment(),
    ) as process:
        os.close(theirs)
        os.write(ours, f"{answer}\n".encode())
        stdout, stderr = process.communicate(timeout=60)
    os.close(ours)
    assert (process.returncode, stdout) == (code, b"")
    assert f"{library}: delete 2 recordings from the index? [y/N] ".encode() in stderr
    assert (b"nothing was deleted" in stderr) == (answer == "n")
    assert len(rows_of(index)) == n_left
