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

from soundsearch.errors import Cause, IndexBusyError, StoreError
from soundsearch.store import Failed, FileFacts, Indexed, PinnedEncoder, State, Store
from soundsearch.store.conditions import Within
from tests import program
from tests.conftest import Run
from tests.filled_store import FLAT, changing, find, put, recording, windows_of
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
    with store.snapshot() as reader:
        return {r.relative_path: r.state for r in reader.recordings()}


def _cause(store: Store, relative_path: str) -> tuple[str | None, str | None]:
    with contextlib.closing(_raw(store)) as connection:
        row: tuple[str | None, str | None] = connection.execute(
            "SELECT cause, error FROM recordings WHERE relative_path = ?",
            [os.fsencode(relative_path)],
        ).fetchone()
    return row


# ---- making and opening


def test_a_new_index_knows_its_encoder(tmp_path: Path) -> None:
    Store.create(tmp_path / "deep" / "index", FLAT).close()
    store = Store.open(tmp_path / "deep" / "index")
    with store.snapshot() as reader:
        assert reader.encoder() == FLAT
        assert reader.revision()
        assert reader.roots() == [] and list(reader.recordings()) == []


def test_making_an_index_twice_keeps_the_first(store: Store) -> None:
    put(store, ROOT, "a.wav")
    again = Store.create(store.folder, PinnedEncoder("other", "2", "0" * 64, 9))
    with again.snapshot() as reader:
        assert reader.encoder() == FLAT
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
    put(store, ROOT, "a.wav")
    store.close()
    path = store.folder / "soundsearch.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        found = "SELECT rootpage FROM sqlite_master WHERE name = 'recordings'"
        (page,) = connection.execute(found).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    content = bytearray(path.read_bytes())
    content[(page - 1) * size : page * size] = bytes([0xA5]) * size
    path.write_bytes(content)

    opened = Store.open(store.folder)
    with (
        pytest.raises(StoreError, match="the database is damaged; restore "),
        opened.snapshot() as reader,
    ):
        list(reader.recordings())


# ---- transactions


def test_an_error_rolls_everything_back(store: Store) -> None:
    put(store, ROOT, "a.wav")
    with store.snapshot() as reader:
        revision = reader.revision()

    def write_and_fail() -> None:
        with changing(store) as changes:
            root = changes.add_root(Path("/other"))
            changes.put(recording(root.id, "b.wav"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_and_fail()
    assert _states(store) == {"a.wav": State.INDEXED}
    with store.snapshot() as reader:
        assert [root.path for root in reader.roots()] == [ROOT]
        assert reader.revision() == revision


def test_every_write_gives_a_new_revision(store: Store) -> None:
    seen = set()
    for i in range(5):
        put(store, ROOT, f"{i}.wav")
        with store.snapshot() as reader:
            seen.add(reader.revision())
    with store.snapshot() as reader:
        assert reader.revision() in seen  # reading gives none
    assert len(seen) == 5


def test_errors_of_the_database_are_store_errors(store: Store) -> None:
    of_no_root = recording(99, "a.wav")
    with (
        pytest.raises(StoreError, match="FOREIGN KEY constraint failed"),
        changing(store) as changes,
    ):
        changes.put(of_no_root)
    assert _states(store) == {}


def test_a_reader_sees_one_state_while_a_writer_commits(store: Store) -> None:
    put(store, ROOT, "a.wav")
    other = Store.open(store.folder)
    with other.snapshot() as reader:
        before = reader.revision()
        put(store, ROOT, "b.wav")  # commits meanwhile
        put(store, ROOT, "a.wav", [(0, 1)])
        assert [r.relative_path for r in reader.recordings()] == ["a.wav"]
        ids = reader.window_ids()
        np.testing.assert_array_equal(reader.embeddings(ids, 2), [[1, 0]])
        assert reader.revision() == before
    assert _states(other) == {"a.wav": State.INDEXED, "b.wav": State.INDEXED}


def test_a_full_disk_leaves_what_was_committed(store: Store) -> None:
    put(store, ROOT, "a.wav")
    store.close()
    small = Store(store.folder)

    @sa.event.listens_for(small._database.engine, "connect")
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


def test_a_second_writer_is_refused(store: Store) -> None:
    with store.writer():
        other = Store.open(store.folder)
        with pytest.raises(IndexBusyError, match="another soundsearch is writing"):
            other.writer()
    with other.writer():
        pass


def test_a_writer_that_gave_up_the_lock_writes_nothing_more(store: Store) -> None:
    with store.writer() as writer, writer.transaction() as changes:
        changes.add_root(ROOT)
    with pytest.raises(RuntimeError, match="lock was released"), writer.transaction() as changes:
        changes.add_root(Path("/another"))
    with store.snapshot() as reader:
        assert [root.path for root in reader.roots()] == [ROOT]
        assert not hasattr(reader, "add_root")  # reading is another type


def test_a_writer_reads_what_it_has_changed(store: Store) -> None:
    with changing(store) as changes:
        root = changes.add_root(ROOT)
        changes.put(recording(root.id, "a.wav", [(1, 0), (0, 1)]))
        assert changes.roots() == [root]
        np.testing.assert_array_equal(changes.embeddings(changes.window_ids(), 2), np.eye(2))
        with store.snapshot() as reader:
            assert reader.roots() == []  # nobody else, before it is committed


def test_a_writer_in_another_process(store: Store) -> None:
    put(store, ROOT, "a.wav")
    with another_writer(store.folder) as process:
        with pytest.raises(IndexBusyError):
            store.writer()
        assert _states(store) == {"a.wav": State.INDEXED}  # reading goes on
        process.kill()
        process.wait()
        with store.writer():  # the lock died with its holder
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
        elements=st.floats(-1, 1, width=32),
    )
)
def test_embeddings_come_back_rounded_to_half_precision(
    shared: Store, embeddings: NDArray[np.float32]
) -> None:
    n, dim = embeddings.shape
    with changing(shared) as changes:
        root = changes.add_root(ROOT)
        spans = [(float(i), i + 1.0) for i in range(n)]
        recording_id = changes.put(
            Indexed(FileFacts(root.id, "a.wav", 1, 1), b"", 1.0, 8000, 1, "WAV", spans, embeddings),
        )
    with shared.snapshot() as reader:
        found = reader.embeddings_of(recording_id, dim)
    assert found.tobytes() == embeddings.astype(np.float16).astype(np.float32).tobytes()
    np.testing.assert_allclose(found, embeddings, rtol=2**-11, atol=2**-25)


def test_an_embedding_is_stored_as_little_endian_float16(store: Store) -> None:
    put(store, ROOT, "a.wav", [(3, 4)])
    with contextlib.closing(_raw(store)) as connection:
        (blob,) = connection.execute("SELECT embedding FROM windows").fetchone()
    assert struct.unpack("<2e", blob) == pytest.approx((0.6, 0.8), abs=1e-3)


def test_embeddings_stand_in_the_order_asked_for(store: Store) -> None:
    angles = np.linspace(0, np.pi, 1203)  # more than two chunks
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    put(store, ROOT, "a.wav", vectors)
    with store.snapshot() as reader:
        ids = reader.window_ids()
        order = np.random.default_rng(0).permutation(len(ids))
        found = reader.embeddings(ids[order], 2)
    np.testing.assert_array_equal(found, vectors[order].astype(np.float16))


def test_a_missing_or_odd_embedding_is_told(store: Store) -> None:
    put(store, ROOT, "a.wav")
    with store.snapshot() as reader:
        (known,) = reader.window_ids()
        with pytest.raises(StoreError, match=r"window 99 holds 0 bytes.*expected 4"):
            reader.embeddings(np.array([known, 99]), 2)
        with pytest.raises(StoreError, match=r"holds 4 bytes.*expected 6"):
            reader.embeddings(np.array([known]), 3)


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
    with changing(store) as changes:
        changes.delete(recordings)
    assert windows_of(store) == {}
    store.close()
    opened = Store.open(store.folder)
    anew = put(opened, ROOT, "0.wav", [(1, 0)])
    assert anew > max(recordings)
    assert windows_of(opened)[anew][0] > max(windows)


def test_a_damaged_recording_is_indexed_with_a_note(store: Store) -> None:
    with changing(store) as changes:
        root = changes.add_root(ROOT)
        changes.put(recording(root.id, "a.wav", damage="it ends early"))
    assert _states(store) == {"a.wav": State.INDEXED}
    assert _cause(store, "a.wav") == ("damaged", "it ends early")


def _fail(store: Store, relative_path: str, *, keep: bool) -> None:
    with changing(store) as changes:
        root = changes.add_root(ROOT)
        file = FileFacts(root.id, relative_path, 7, 8)
        changes.put_failed(Failed(file, "not permitted", "no right to it", keep))


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
    with store.snapshot() as reader:
        known = find(reader, ROOT / "a.wav")
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
    with changing(store) as changes:
        root = changes.add_root(ROOT)
        changes.move(a, FileFacts(root.id, "a.wav", 1000, 3000))
    assert _cause(store, "a.wav") == (None, None)


def test_damage_is_not_forgotten_by_a_move(store: Store) -> None:
    with changing(store) as changes:
        root = changes.add_root(ROOT)
        a = changes.put(recording(root.id, "a.wav", damage="it ends early"))
        changes.move(a, FileFacts(root.id, "b.wav", 1000, 2000))
    assert _cause(store, "b.wav") == ("damaged", "it ends early")


def test_a_moved_recording_keeps_id_and_windows(store: Store) -> None:
    a = put(store, ROOT, "a.wav", [(1, 0), (0, 1)])
    before = windows_of(store)
    _fail(store, "new/b.wav", keep=False)  # a row may stand in the way
    with changing(store) as changes:
        changes.mark_missing([a])
        root = changes.add_root(ROOT)
        changes.move(a, FileFacts(root.id, "new/b.wav", 1000, 3000))
    assert _states(store) == {"new/b.wav": State.INDEXED}
    assert windows_of(store) == before
    with store.snapshot() as reader:
        assert find(reader, ROOT / "new/b.wav").mtime_ns == 3000


def test_a_missing_recording_keeps_its_windows_unshown(store: Store) -> None:
    a, b = put(store, ROOT, "a.wav"), put(store, ROOT, "b.wav")
    _fail(store, "c.wav", keep=False)
    with changing(store) as changes:
        changes.mark_missing([r.id for r in changes.recordings() if r.id != b])
    assert _states(store) == {"a.wav": State.MISSING, "b.wav": State.INDEXED}
    windows = windows_of(store)
    assert len(windows[a]) == 1
    with store.snapshot() as reader:
        assert reader.window_ids().tolist() == windows[b]


def test_a_forgotten_recording_takes_its_windows_along(store: Store) -> None:
    a, b = put(store, ROOT, "a.wav"), put(store, ROOT, "b.wav")
    with changing(store) as changes:
        changes.delete([a])
    assert list(windows_of(store)) == [b]
    assert _states(store) == {"b.wav": State.INDEXED}


def test_many_recordings_at_once(store: Store) -> None:
    with changing(store) as changes:
        root = changes.add_root(ROOT)
        ids = [changes.put(recording(root.id, f"{i}.wav")) for i in range(1201)]
        changes.mark_missing(ids[1:])
    assert sum(state is State.MISSING for state in _states(store).values()) == 1200
    with changing(store) as changes:
        changes.delete(ids[:-1])
    assert list(windows_of(store)) == [ids[-1]]


# ---- roots


def test_a_root_is_added_once(store: Store) -> None:
    with changing(store) as changes:
        first = changes.add_root(ROOT)
        changes.add_root(Path("/another"))
        assert changes.add_root(ROOT) == first
        assert [root.path for root in changes.roots()] == [Path("/another"), ROOT]


def test_a_root_absorbs_one_inside_it(store: Store) -> None:
    a = put(store, ROOT / "rain/storms", "a.wav", [(1, 0), (0, 1)])
    b = put(store, ROOT / "rain/storms", "far/b.wav")
    other = put(store, Path("/another"), "c.wav")
    before = windows_of(store)
    with changing(store) as changes:
        old = changes.add_root(ROOT / "rain/storms")
        new = changes.add_root(ROOT)
        changes.absorb(old, new, Path("rain/storms"))
    with store.snapshot() as reader:
        assert [root.path for root in reader.roots()] == [Path("/another"), ROOT]
        assert find(reader, ROOT / "rain/storms/a.wav").id == a
        assert find(reader, ROOT / "rain/storms/far/b.wav").id == b
        assert find(reader, Path("/another/c.wav")).id == other
    assert windows_of(store) == before


def test_a_recording_is_found_by_its_absolute_path(store: Store) -> None:
    a = put(store, ROOT, "rain/a.wav")
    with store.snapshot() as reader:
        assert find(reader, ROOT / "rain/a.wav").id == a
        for path in ("/library/rain/b.wav", "/library/a.wav", "/elsewhere/rain/a.wav", "/library"):
            assert reader.recording_at(Path(path)) is None


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
    with shared.snapshot() as reader:
        found = {r.id: r for r in reader.recordings()}[recording_id]
        assert found.relative_path == relative_path
        assert find(reader, root / relative_path).id == recording_id
        assert root in [known.path for known in reader.roots()]
        (window_id,) = reader.window_ids([Within(root / relative_path)])
        row = reader.describe_windows(np.array([window_id]))[window_id]
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

    with store.snapshot() as reader:
        ids = reader.window_ids([Within(Path(below))])
        rows = reader.describe_windows(ids)

    assert {row.recording_id for row in rows.values()} == expected
    assert len(ids) == len(expected) and (np.diff(ids) > 0).all()


@pytest.mark.parametrize("dim", [96, 288, 512, 1024, 1500, 2048])
def test_the_room_that_windows_take_is_known_before(tmp_path: Path, dim: int) -> None:
    wide = PinnedEncoder("wide", "1", "f" * 64, dim)
    with contextlib.closing(Store.create(tmp_path, wide)) as made:
        before = _size_of_database(made)
        put(made, ROOT, "a.wav", np.ones((600, dim)))
        after = _size_of_database(made)
    assert made.bytes_of_windows(600, dim) == pytest.approx(after - before, rel=0.2)


def _size_of_database(made: Store) -> int:
    with made.snapshot() as reader:
        pages = reader._execute(sa.text("PRAGMA page_count")).scalar_one()
    return 4096 * int(pages)


def test_another_encoder_is_another_history(store: Store) -> None:
    with store.snapshot() as reader:
        before = reader.revision()
    other = PinnedEncoder("other", "2", "e" * 64, 3)
    with changing(store) as changes:
        changes.pin_another(other)
    with store.snapshot() as reader:
        assert reader.encoder() == other
        assert reader.revision() != before
        assert not reader.has_had_revision(before)


def test_what_waits_to_be_embedded_waits_through_moves_and_passing_failures(store: Store) -> None:
    recording_id = put(store, ROOT, "a.wav")
    with changing(store) as changes:
        changes.mark_not_embedded([recording_id], "its disk was away")
        assert changes.without_windows() == []
        file = FileFacts(find(changes, ROOT / "a.wav").root_id, "b.wav", 1, 2)
        changes.move(recording_id, file)
        changes.put_failed(Failed(file, Cause.NOT_PERMITTED, "may not be read", keep=True))
        found = find(changes, ROOT / "b.wav")
        assert (found.state, found.cause, found.is_embedded) == (
            State.INDEXED,
            Cause.NOT_EMBEDDED,
            False,
        )
        changes.put_failed(Failed(file, Cause.DAMAGED, "cannot be decoded", keep=True))
        found = find(changes, ROOT / "b.wav")
        assert (found.state, found.cause) == (State.FAILED, Cause.DAMAGED)
