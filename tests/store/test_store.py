from __future__ import annotations

import contextlib
import os
import sqlite3
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from soundsearch.errors import IndexBusyError, StoreError
from soundsearch.store import store as store_module
from soundsearch.store.schema import metadata
from soundsearch.store.store import Failed, FileFacts, Indexed, PinnedEncoder, State, Store
from tests import program
from tests.conftest import Run
from tests.filled_store import FLAT, find, put, recording, windows_of
from tests.program import another_writer
from tests.sounds import tone, write

ROOT = Path("/library")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with contextlib.closing(Store.create(tmp_path / "index", FLAT)) as made:
        yield made


def _raw(store: Store) -> sqlite3.Connection:
    return sqlite3.connect(store.folder / "soundsearch.db", isolation_level=None)


def _states(store: Store) -> dict[str, State]:
    with store.snapshot() as connection:
        return {r.relative_path: r.state for r in store.recordings(connection)}


def _cause(store: Store, relative_path: str) -> tuple[str | None, str | None]:
    with contextlib.closing(_raw(store)) as connection:
        row: tuple[str | None, str | None] = connection.execute(
            "SELECT cause, error FROM recordings WHERE relative_path = ?", [relative_path]
        ).fetchone()
    return row


# ---- making and opening


def test_a_new_index_knows_its_encoder(tmp_path: Path) -> None:
    Store.create(tmp_path / "deep" / "index", FLAT).close()
    store = Store.open(tmp_path / "deep" / "index")
    with store.snapshot() as connection:
        assert store.encoder(connection) == FLAT
        assert store.revision(connection)
        assert store.roots(connection) == [] and list(store.recordings(connection)) == []


def test_making_an_index_twice_keeps_the_first(store: Store) -> None:
    put(store, ROOT, "a.wav")
    again = Store.create(store.folder, PinnedEncoder("other", "2", "0" * 64, 9))
    with again.snapshot() as connection:
        assert again.encoder(connection) == FLAT
    assert _states(again) == {"a.wav": State.INDEXED}


def test_no_index(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no index at .*; make one with: soundsearch index"):
        Store.open(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_index_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "index").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        Store.create(tmp_path / "index", FLAT)


def test_an_index_that_was_killed_while_it_was_made_is_made_again(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "soundsearch.db")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    store = Store.create(tmp_path, FLAT)
    put(store, ROOT, "a.wav")
    assert _states(Store.open(tmp_path)) == {"a.wav": State.INDEXED}


def test_a_database_of_another_program(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "soundsearch.db")) as connection:
        connection.execute("CREATE TABLE songs (title TEXT)")
    before = (tmp_path / "soundsearch.db").read_bytes()[100:]
    with pytest.raises(StoreError, match="not an index of soundsearch"):
        Store.open(tmp_path)
    assert (tmp_path / "soundsearch.db").read_bytes()[100:] == before


@pytest.mark.parametrize("content", [b"no database at all " * 300, os.urandom(8192)])
def test_a_file_that_is_no_database(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "soundsearch.db").write_bytes(content)
    with pytest.raises(StoreError, match="the database is damaged; restore "):
        Store.open(tmp_path)


def test_a_damaged_database_is_one_clear_error(store: Store) -> None:
    for i in range(200):
        put(store, ROOT, f"{i}.wav")
    store.close()
    path = store.folder / "soundsearch.db"
    content = bytearray(path.read_bytes())
    content[3 * 4096 :] = bytes([0xA5]) * (len(content) - 3 * 4096)
    path.write_bytes(content)

    opened = Store.open(store.folder)
    with (
        pytest.raises(StoreError, match="the database is damaged; restore "),
        opened.snapshot() as connection,
    ):
        list(opened.recordings(connection))


def test_an_index_of_a_newer_program_is_refused(store: Store) -> None:
    put(store, ROOT, "a.wav")
    with contextlib.closing(_raw(store)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match=r"newer soundsearch \(schema 99, this one knows \d"):
        Store.open(store.folder)


# ---- migrations


def _add_note(connection: sa.Connection) -> None:
    connection.exec_driver_sql("ALTER TABLE recordings ADD COLUMN note TEXT")
    connection.exec_driver_sql("UPDATE recordings SET note = 'old'")


def test_an_older_index_is_brought_up_to_date_with_a_backup(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, ROOT, "a.wav", [(1, 0), (0, 1)])
    store.close()
    before = len(store_module.MIGRATIONS)
    monkeypatch.setattr(store_module, "MIGRATIONS", [*store_module.MIGRATIONS, _add_note])

    for _ in range(2):  # the second opening finds nothing to do
        opened = Store.open(store.folder)
        with contextlib.closing(_raw(opened)) as connection:
            assert connection.execute("PRAGMA user_version").fetchone() == (before + 1,)
            assert connection.execute("SELECT note FROM recordings").fetchall() == [("old",)]
        with opened.snapshot() as snapshot:
            ids = opened.window_ids(snapshot)
            np.testing.assert_array_equal(opened.embeddings(snapshot, ids, 2), np.eye(2))
        opened.close()

    backup = store.folder / f"soundsearch-schema{before}.db"
    with contextlib.closing(sqlite3.connect(backup)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (before,)
        assert connection.execute("SELECT relative_path FROM recordings").fetchall() == [("a.wav",)]
        assert "note" not in _columns(connection, "recordings")


def test_a_migration_that_fails_changes_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(connection: sa.Connection) -> None:
        connection.exec_driver_sql("SELECT * FROM no_such_table")

    put(store, ROOT, "a.wav")
    store.close()
    steps = list(store_module.MIGRATIONS)
    monkeypatch.setattr(store_module, "MIGRATIONS", [*steps, _add_note, fail])
    with pytest.raises(StoreError, match="no_such_table"):
        Store.open(store.folder)

    monkeypatch.setattr(store_module, "MIGRATIONS", steps)
    with contextlib.closing(_raw(store)) as connection:
        assert "note" not in _columns(connection, "recordings")
    assert _states(Store.open(store.folder)) == {"a.wav": State.INDEXED}


def test_no_migration_while_another_process_writes(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "MIGRATIONS", [*store_module.MIGRATIONS, _add_note])
    with another_writer(store.folder), pytest.raises(IndexBusyError):
        Store.open(store.folder)


def _columns(connection: sqlite3.Connection, table: str) -> dict[str, bool]:
    """Columns of a table, and whether each must have a value."""
    rows = connection.execute(f"PRAGMA table_info({table})").fetchall()
    return {name: bool(not_null or is_key) for _, name, _, not_null, _, is_key in rows}


def test_the_tables_in_the_code_are_those_of_the_database(store: Store) -> None:
    with contextlib.closing(_raw(store)) as connection:
        tables = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        ).fetchall()
        assert {name for (name,) in tables} == set(metadata.tables)
        for name, table in metadata.tables.items():
            in_code = {column.name: not column.nullable for column in table.columns}
            assert _columns(connection, name) == in_code, name


# ---- transactions


def test_an_error_rolls_everything_back(store: Store) -> None:
    put(store, ROOT, "a.wav")
    with store.snapshot() as connection:
        revision = store.revision(connection)

    def write_and_fail() -> None:
        with store.transaction() as connection:
            root = store.add_root(connection, Path("/other"))
            store.put(connection, recording(root.id, "b.wav"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_and_fail()
    assert _states(store) == {"a.wav": State.INDEXED}
    with store.snapshot() as connection:
        assert [root.path for root in store.roots(connection)] == [ROOT]
        assert store.revision(connection) == revision


def test_every_write_gives_a_new_revision(store: Store) -> None:
    seen = set()
    for i in range(5):
        put(store, ROOT, f"{i}.wav")
        with store.snapshot() as connection:
            seen.add(store.revision(connection))
    with store.snapshot() as connection:
        assert store.revision(connection) in seen  # reading gives none
    assert len(seen) == 5


def test_sqlites_errors_are_told_as_ours(store: Store) -> None:
    insert = "INSERT INTO roots (path, added_at) VALUES ('/twice', 'now'), ('/twice', 'now')"
    with pytest.raises(StoreError, match="UNIQUE constraint failed"), store.transaction() as c:
        c.exec_driver_sql(insert)


def test_a_reader_sees_one_state_while_a_writer_commits(store: Store) -> None:
    put(store, ROOT, "a.wav")
    reader = Store.open(store.folder)
    with reader.snapshot() as connection:
        before = reader.revision(connection)
        put(store, ROOT, "b.wav")  # commits meanwhile
        put(store, ROOT, "a.wav", [(0, 1)])
        assert [r.relative_path for r in reader.recordings(connection)] == ["a.wav"]
        ids = reader.window_ids(connection)
        np.testing.assert_array_equal(reader.embeddings(connection, ids, 2), [[1, 0]])
        assert reader.revision(connection) == before
    assert _states(reader) == {"a.wav": State.INDEXED, "b.wav": State.INDEXED}


def test_a_full_disk_leaves_what_was_committed(store: Store) -> None:
    put(store, ROOT, "a.wav")
    store.close()
    small = Store(store.folder)

    @sa.event.listens_for(small.engine, "connect")
    def limit(connection: sqlite3.Connection, _: object) -> None:
        (n_pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {n_pages + 2}")

    with pytest.raises(StoreError, match="the disk is full; make room"):
        put(small, ROOT, "b.wav", np.tile((1.0, 0.0), (5000, 1)))
    small.close()

    opened = Store.open(store.folder)
    assert _states(opened) == {"a.wav": State.INDEXED}
    put(opened, ROOT, "b.wav")  # there is room again
    assert _states(opened) == {"a.wav": State.INDEXED, "b.wav": State.INDEXED}


def test_a_second_writer_is_told_so(store: Store) -> None:
    with store.lock():
        other = Store.open(store.folder)
        with pytest.raises(IndexBusyError, match="another soundsearch is writing"), other.lock():
            pass
    with other.lock():
        pass


def test_a_writer_in_another_process(store: Store) -> None:
    put(store, ROOT, "a.wav")
    with another_writer(store.folder) as process:
        with pytest.raises(IndexBusyError), store.lock():
            pass
        assert _states(store) == {"a.wav": State.INDEXED}  # reading goes on
        process.kill()
        process.wait()
        with store.lock():  # the lock died with its holder
            pass


# ---- embeddings


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """For Hypothesis, which runs many examples in one test."""
    folder = tmp_path_factory.mktemp("store")
    with contextlib.closing(Store.create(folder, FLAT)) as made:
        yield made


@given(
    embeddings=arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 6), st.integers(1, 5)),
        elements=st.floats(width=32, allow_nan=False),
    )
)
def test_embeddings_come_back_as_they_were(shared: Store, embeddings: NDArray[np.float32]) -> None:
    n, dim = embeddings.shape
    with shared.transaction() as connection:
        root = shared.add_root(connection, ROOT)
        spans = [(float(i), i + 1.0) for i in range(n)]
        recording_id = shared.put(
            connection,
            Indexed(FileFacts(root.id, "a.wav", 1, 1), b"", 1.0, 8000, 1, "WAV", spans, embeddings),
        )
    with shared.snapshot() as connection:
        found = shared.embeddings_of(connection, recording_id, dim)
    assert found.tobytes() == embeddings.tobytes()


def test_an_embedding_is_stored_as_little_endian_float32(store: Store) -> None:
    put(store, ROOT, "a.wav", [(3, 4)])
    with contextlib.closing(_raw(store)) as connection:
        (blob,) = connection.execute("SELECT embedding FROM windows").fetchone()
    assert struct.unpack("<2f", blob) == pytest.approx((0.6, 0.8))


def test_embeddings_stand_in_the_order_asked_for(store: Store) -> None:
    angles = np.linspace(0, np.pi, 1203)  # more than two chunks
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    put(store, ROOT, "a.wav", vectors)
    with store.snapshot() as connection:
        ids = store.window_ids(connection)
        order = np.random.default_rng(0).permutation(len(ids))
        found = store.embeddings(connection, ids[order], 2)
    np.testing.assert_allclose(found, vectors[order], atol=1e-6)


def test_a_missing_or_odd_embedding_is_told(store: Store) -> None:
    put(store, ROOT, "a.wav")
    with store.snapshot() as connection:
        (known,) = store.window_ids(connection)
        with pytest.raises(StoreError, match=r"window 99 holds 0 bytes.*expected 8"):
            store.embeddings(connection, np.array([known, 99]), 2)
        with pytest.raises(StoreError, match=r"holds 8 bytes.*expected 12"):
            store.embeddings(connection, np.array([known]), 3)


# ---- recordings


def test_putting_again_replaces_the_windows(store: Store) -> None:
    first = put(store, ROOT, "a.wav", [(1, 0), (0, 1), (1, 1)])
    before = windows_of(store)[first]
    again = put(store, ROOT, "a.wav", [(0, 1)])
    assert again == first
    after = windows_of(store)[first]
    assert len(before) == 3 and len(after) == 1 and after[0] > max(before)


def test_ids_are_never_handed_out_twice(store: Store) -> None:
    recordings = {put(store, ROOT, f"{i}.wav", [(1, 0), (0, 1)]) for i in range(3)}
    windows = {window for some in windows_of(store).values() for window in some}
    with store.transaction() as connection:
        store.forget(connection, recordings)
    assert windows_of(store) == {}
    store.close()
    opened = Store.open(store.folder)
    anew = put(opened, ROOT, "0.wav", [(1, 0)])
    assert anew > max(recordings)
    assert windows_of(opened)[anew][0] > max(windows)


def test_a_damaged_recording_is_indexed_with_a_note(store: Store) -> None:
    with store.transaction() as connection:
        root = store.add_root(connection, ROOT)
        store.put(connection, recording(root.id, "a.wav", damage="it ends early"))
    assert _states(store) == {"a.wav": State.INDEXED}
    assert _cause(store, "a.wav") == ("damaged", "it ends early")


def _fail(store: Store, relative_path: str, *, keep: bool) -> None:
    with store.transaction() as connection:
        root = store.add_root(connection, ROOT)
        file = FileFacts(root.id, relative_path, 7, 8)
        store.put_failed(connection, Failed(file, "not permitted", "no right to it", keep))


@pytest.mark.parametrize("keep", [False, True])
def test_a_new_file_that_fails(store: Store, keep: bool) -> None:
    _fail(store, "a.wav", keep=keep)
    assert _states(store) == {"a.wav": State.FAILED}
    assert _cause(store, "a.wav") == ("not permitted", "no right to it")


def test_a_known_file_that_fails_loses_its_windows(store: Store) -> None:
    a = put(store, ROOT, "a.wav")
    _fail(store, "a.wav", keep=False)
    assert _states(store) == {"a.wav": State.FAILED}
    assert windows_of(store, [a])[a] == []


def test_a_known_file_that_fails_for_now_keeps_them(store: Store) -> None:
    a = put(store, ROOT, "a.wav")
    _fail(store, "a.wav", keep=True)
    with store.snapshot() as connection:
        known = find(store, connection, ROOT / "a.wav")
    assert (known.id, known.state, known.size_bytes, known.mtime_ns) == (
        a,
        State.INDEXED,
        1000,
        2000,
    )
    assert len(windows_of(store)[a]) == 1
    assert _cause(store, "a.wav") == ("not permitted", "no right to it")


def test_a_passing_failure_is_forgotten_once_it_has_passed(store: Store) -> None:
    a = put(store, ROOT, "a.wav")
    _fail(store, "a.wav", keep=True)
    with store.transaction() as connection:
        root = store.add_root(connection, ROOT)
        store.move(connection, a, FileFacts(root.id, "a.wav", 1000, 3000))
    assert _cause(store, "a.wav") == (None, None)


def test_damage_is_not_forgotten_by_a_move(store: Store) -> None:
    with store.transaction() as connection:
        root = store.add_root(connection, ROOT)
        a = store.put(connection, recording(root.id, "a.wav", damage="it ends early"))
        store.move(connection, a, FileFacts(root.id, "b.wav", 1000, 2000))
    assert _cause(store, "b.wav") == ("damaged", "it ends early")


def test_a_moved_recording_keeps_id_and_windows(store: Store) -> None:
    a = put(store, ROOT, "a.wav", [(1, 0), (0, 1)])
    before = windows_of(store)
    _fail(store, "new/b.wav", keep=False)  # a row may stand in the way
    with store.transaction() as connection:
        store.mark_missing(connection, [a])
        root = store.add_root(connection, ROOT)
        store.move(connection, a, FileFacts(root.id, "new/b.wav", 1000, 3000))
    assert _states(store) == {"new/b.wav": State.INDEXED}
    assert windows_of(store) == before
    with store.snapshot() as connection:
        assert find(store, connection, ROOT / "new/b.wav").mtime_ns == 3000


def test_a_missing_recording_keeps_its_windows_unshown(store: Store) -> None:
    a, b = put(store, ROOT, "a.wav"), put(store, ROOT, "b.wav")
    _fail(store, "c.wav", keep=False)
    with store.transaction() as connection:
        store.mark_missing(connection, [r.id for r in store.recordings(connection) if r.id != b])
    assert _states(store) == {"a.wav": State.MISSING, "b.wav": State.INDEXED}
    windows = windows_of(store)
    assert len(windows[a]) == 1
    with store.snapshot() as connection:
        assert store.window_ids(connection).tolist() == windows[b]


def test_a_forgotten_recording_takes_its_windows_along(store: Store) -> None:
    a, b = put(store, ROOT, "a.wav"), put(store, ROOT, "b.wav")
    with store.transaction() as connection:
        store.forget(connection, [a])
    assert list(windows_of(store)) == [b]
    assert _states(store) == {"b.wav": State.INDEXED}


def test_many_recordings_at_once(store: Store) -> None:
    with store.transaction() as connection:
        root = store.add_root(connection, ROOT)
        ids = [store.put(connection, recording(root.id, f"{i}.wav")) for i in range(1201)]
        store.mark_missing(connection, ids[1:])
    assert sum(state is State.MISSING for state in _states(store).values()) == 1200
    with store.transaction() as connection:
        store.forget(connection, ids[:-1])
    assert list(windows_of(store)) == [ids[-1]]


# ---- roots


def test_a_root_is_added_once(store: Store) -> None:
    with store.transaction() as connection:
        first = store.add_root(connection, ROOT)
        store.add_root(connection, Path("/another"))
        assert store.add_root(connection, ROOT) == first
        assert [root.path for root in store.roots(connection)] == [Path("/another"), ROOT]


def test_a_root_absorbs_one_inside_it(store: Store) -> None:
    a = put(store, ROOT / "rain/storms", "a.wav", [(1, 0), (0, 1)])
    b = put(store, ROOT / "rain/storms", "far/b.wav")
    other = put(store, Path("/another"), "c.wav")
    before = windows_of(store)
    with store.transaction() as connection:
        old = store.add_root(connection, ROOT / "rain/storms")
        new = store.add_root(connection, ROOT)
        store.absorb(connection, old, new, Path("rain/storms"))
    with store.snapshot() as connection:
        assert [root.path for root in store.roots(connection)] == [Path("/another"), ROOT]
        assert find(store, connection, ROOT / "rain/storms/a.wav").id == a
        assert find(store, connection, ROOT / "rain/storms/far/b.wav").id == b
        assert find(store, connection, Path("/another/c.wav")).id == other
    assert windows_of(store) == before


def test_a_recording_is_found_by_its_absolute_path(store: Store) -> None:
    a = put(store, ROOT, "rain/a.wav")
    with store.snapshot() as connection:
        assert find(store, connection, ROOT / "rain/a.wav").id == a
        for path in ("/library/rain/b.wav", "/library/a.wav", "/elsewhere/rain/a.wav", "/library"):
            assert store.recording_at(connection, Path(path)) is None


# ---- names


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    name=st.binary(min_size=1, max_size=20).filter(lambda b: not {0, ord("/")} & set(b)),
    folder=st.binary(max_size=5).filter(lambda b: not {0, ord("/")} & set(b)),
)
def test_every_name_comes_back(shared: Store, name: bytes, folder: bytes) -> None:
    root = Path("/") / os.fsdecode(b"root" + folder)
    relative_path = os.fsdecode(b"in/." + name)
    recording_id = put(shared, root, relative_path)
    with shared.snapshot() as connection:
        found = {r.id: r for r in shared.recordings(connection)}[recording_id]
        assert found.relative_path == relative_path
        assert find(shared, connection, root / relative_path).id == recording_id
        assert root in [known.path for known in shared.roots(connection)]
        (window_id,) = shared.window_ids(connection, [root / relative_path])
        row = shared.describe_windows(connection, np.array([window_id]))[window_id]
        assert Path(row.root, row.relative_path) == root / relative_path


def _in_ascii(*arguments: object) -> subprocess.CompletedProcess[bytes]:
    """Run a command where Python takes no byte beyond ASCII for text."""
    ascii_alone = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    return program.soundsearch(*arguments, env=program.environment(**ascii_alone), check=True)


def test_a_file_is_the_same_in_every_locale(soundsearch: Run, tmp_path: Path) -> None:
    library = tmp_path / "ö"
    names = ["ü.wav", os.fsdecode(b"\xff.wav"), "plain.wav"]
    for hz, name in zip((100, 750, 3200), names, strict=True):
        write(library / "new.wav", tone(hz)).rename(library / name)
    assert soundsearch("index", library).stderr.startswith("3 new")
    for arguments in (["index", library], ["index"]):
        assert b"0 new, 0 changed, 0 moved, 3 unchanged" in _in_ascii(*arguments).stderr
    for below, n in ((library, 3), (library / "ü.wav", 1)):
        found = _in_ascii("query", "hum", "--paths", "--in", below).stdout.splitlines()
        assert len(found) == n and os.fsencode(library / "ü.wav") in found
    changed = "0 new, 1 changed, 0 moved, 2 unchanged"
    write(library / "ü.wav", tone(1150, 2))
    assert changed in _in_ascii("index").stderr.decode()
    write(library / "ü.wav", tone(480, 3))
    assert changed in soundsearch("index").stderr
    with contextlib.closing(Store.open(tmp_path / "index")) as store:
        assert set(_states(store)) == set(names)


def test_names_stored_as_blobs_by_earlier_versions_are_still_known(store: Store) -> None:
    root = Path("/bücher")
    a, b = put(store, root, "ü/a.wav"), put(store, root, "ü/b.wav")
    with contextlib.closing(_raw(store)) as connection:
        connection.execute("UPDATE recordings SET relative_path = CAST(relative_path AS BLOB)")
        connection.execute("UPDATE roots SET path = CAST(path AS BLOB)")
    assert put(store, root, "ü/a.wav", [(0, 1), (1, 1)]) == a
    with store.transaction() as connection:
        assert [known.path for known in store.roots(connection)] == [root]
        assert find(store, connection, root / "ü/b.wav").id == b
        for below in (root / "ü", root / "ü/a.wav"):
            assert len(store.window_ids(connection, [below])) == (3 if below.name == "ü" else 2)
        file = FileFacts(store.add_root(connection, root).id, "ü/b.wav", 1000, 3000)
        store.move(connection, a, file)  # onto the other
    assert set(windows_of(store)) == {a}
    assert _states(store) == {"ü/b.wav": State.INDEXED}
    with contextlib.closing(_raw(store)) as connection:
        assert connection.execute("SELECT relative_path FROM recordings").fetchall() == [
            ("ü/b.wav",)
        ]


FILES = [
    "top.wav",
    "a/b/one.wav",
    "a/b/deep/two.wav",
    "a/bc/three.wav",
    "a/b",  # a file of the folder's name cannot stand beside it, but in another run it could
    "a/b.wav",
    "a/b0.wav",
    "a/B/four.wav",
    "a_b/five.wav",
    os.fsdecode(b"a/b/\xff.wav"),
    os.fsdecode(b"\xff/six.wav"),
    os.fsdecode(b"\xff/\xfe.wav"),
    os.fsdecode(b"\xff0.wav"),
    "é/seven.wav",
    "100%/eight.wav",
    "100x/nine.wav",
]


@pytest.mark.parametrize(
    "below",
    [
        "/",
        "/library",
        "/library/a",
        "/library/a/b",
        "/library/a/b/deep",
        "/library/a/b/one.wav",
        "/library/a/bc",
        "/library/a_b",
        os.fsdecode(b"/library/\xff"),
        "/library/é",
        "/library/100%",
        "/library/no such folder",
        "/lib",
        "/elsewhere",
        "/another",
    ],
)
def test_only_what_lies_below_a_folder(store: Store, below: str) -> None:
    by_path = {ROOT / name: put(store, ROOT, name) for name in FILES}
    by_path[Path("/another/a/b/one.wav")] = put(store, Path("/another"), "a/b/one.wav")
    expected = {i for path, i in by_path.items() if path.is_relative_to(below)}

    with store.snapshot() as connection:
        ids = store.window_ids(connection, [Path(below)])
        rows = store.describe_windows(connection, ids)

    assert {row.recording_id for row in rows.values()} == expected
    assert len(ids) == len(expected) and (np.diff(ids) > 0).all()
