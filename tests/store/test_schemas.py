"""The schema of the database: made new, brought up to date, refused; and how it is opened."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from soundsearch.errors import IndexBusyError, StoreError
from soundsearch.health import verify
from soundsearch.store import Reader, State, Store, migrations
from tests.filled_store import FLAT, changing, find, put, recording
from tests.ordinary_user import open_folder, ordinary_user
from tests.program import another_writer

ROOT = Path("/library")
#: A database as the first release of each schema made it, with one recording.
SCHEMAS = {version: Path(__file__).parent / f"schema_{version}.sql" for version in (1, 2, 3, 4, 5)}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with contextlib.closing(Store.create(tmp_path / "index", FLAT)) as made:
        yield made


def make_old(folder: Path, version: int = 1) -> None:
    """An index as this schema left it."""
    folder.mkdir()
    with contextlib.closing(sqlite3.connect(folder / "soundsearch.db")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(SCHEMAS[version].read_text())


def query(database: Path, statement: str) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return connection.execute(statement).fetchall()


def tables_of(database: Path) -> list[tuple[str, str]]:
    """Tables and indexes by name, each as the statement that made it, its space normalised."""
    rows = query(database, "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    return sorted((str(name), re.sub(r"\s+", " ", str(sql))) for name, sql in rows)


def check_contents(reader: Reader) -> None:
    assert reader.encoder() == FLAT
    (recording,) = reader.recordings()
    assert (recording.relative_path, recording.state) == ("a.wav", State.INDEXED)
    assert recording.facts == (1000, 2000)
    check_embeddings(reader)
    assert reader.skipped() == {".jpg": 3}


def check_embeddings(reader: Reader) -> None:
    np.testing.assert_array_equal(reader.embeddings_of(1, 2), np.eye(2))


# ---- every schema


def test_there_is_a_database_of_every_schema() -> None:
    assert list(SCHEMAS) == list(range(1, migrations.latest() + 1))


@pytest.mark.parametrize("version", SCHEMAS)
def test_an_index_of_any_schema_is_opened_and_has_the_tables_of_a_new_one(
    store: Store, tmp_path: Path, version: int
) -> None:
    """A change of the tables without a step in `migrations.py` fails here."""
    folder = tmp_path / "old"
    make_old(folder, version)
    with contextlib.closing(Store.open(folder)) as old:
        with old.snapshot() as reader:
            check_contents(reader)
            texts = {1: {"text": "rain on a tent"}} if version >= 2 else {}
            assert reader.captions() == texts and reader.fields([1]) == (texts or {1: {}})
        assert [p.text for p in verify(old) if p.kind in ("database", "rows")] == []
    assert tables_of(folder / "soundsearch.db") == tables_of(store.folder / "soundsearch.db")


def test_until_it_is_read_again_the_bytes_of_an_old_recording_stand_for_its_sound(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "old"
    make_old(folder)
    with contextlib.closing(Store.open(folder)) as old:
        with old.snapshot() as reader:
            facts = reader.facts(find(reader, ROOT / "a.wav"))
        assert facts.sound_hash == facts.content_hash == b"a.wav"
        copy = dataclasses.replace(
            recording(1, "b.wav"), content_hash=b"a.wav", sound_hash=b"its sound"
        )
        with changing(old) as changes:  # the same bytes, now with a known sound
            changes.put(copy)
        with old.snapshot() as reader:
            found = [(row.relative_path, row.sound_hash) for row in reader.copies()]
        assert found == [("a.wav", b"its sound"), ("b.wav", b"its sound")]


def test_recordings_of_one_sound_are_looked_up_and_not_searched_for(store: Store) -> None:
    plan = query(
        store.folder / "soundsearch.db",
        "EXPLAIN QUERY PLAN SELECT id FROM recordings WHERE sound_hash IN (x'00')",
    )
    assert "recordings_by_sound" in str(plan)


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("INSERT INTO recordings (id, root_id, relative_path, size_bytes, mtime_ns, state, indexed_at) "
         "SELECT 9, root_id, relative_path, 1, 1, 'indexed', '' FROM recordings", "UNIQUE"),
        ("UPDATE recordings SET state = 'lost'", "CHECK"),
        ("UPDATE recordings SET root_id = 9", "FOREIGN KEY"),
        ("INSERT INTO roots SELECT 9, path, '' FROM roots", "UNIQUE"),
        ("UPDATE windows SET recording_id = 9", "FOREIGN KEY"),
        ("UPDATE windows SET embedding = NULL", "NOT NULL"),
        ("INSERT INTO index_info SELECT 2, 'a', 'b', 'c', 2, 'd', 0", "CHECK"),
        ("UPDATE skipped_endings SET root_id = 9", "FOREIGN KEY"),
        ("INSERT INTO peaks SELECT 9, 20.0, x'00'", "FOREIGN KEY"),
        ("INSERT INTO revisions SELECT 9, token FROM revisions", "UNIQUE"),
    ],
)  # fmt: skip
def test_the_database_itself_refuses_rows_that_cannot_be(
    store: Store, statement: str, says: str
) -> None:
    put(store, ROOT, "a.wav")
    with changing(store) as changes:
        changes.put_skipped(1, {".jpg": 1})
    with contextlib.closing(sqlite3.connect(store.folder / "soundsearch.db")) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        with pytest.raises(sqlite3.IntegrityError, match=says):
            connection.execute(statement)


def test_paths_are_stored_in_one_form(store: Store) -> None:
    for name in ("plain.wav", "ü.wav", "\udcff.wav"):
        put(store, ROOT, name)
    with changing(store) as changes:
        changes.put_skipped(1, {".jpg": 1, ".\udcff": 1})
    database = store.folder / "soundsearch.db"
    for column in (
        "relative_path FROM recordings",
        "path FROM roots",
        "ending FROM skipped_endings",
    ):
        name, table = column.split(" FROM ")
        assert query(database, f"SELECT DISTINCT typeof({name}) FROM {table}") == [("blob",)]


# ---- other databases


def test_an_index_of_a_development_version_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "old"
    make_old(folder)
    database = folder / "soundsearch.db"
    for version in (1, 2):
        with contextlib.closing(sqlite3.connect(database)) as connection:
            connection.execute("PRAGMA application_id = 0")  # they set none
            connection.execute(f"PRAGMA user_version = {version}")
            before = list(connection.iterdump())
        for open_it in (Store.exists, Store.open, lambda folder: Store.create(folder, FLAT)):
            with pytest.raises(StoreError) as raised:
                open_it(folder)
            for fact in (str(folder), "development version", "index your folders again", "--index"):
                assert fact in str(raised.value)
        with contextlib.closing(sqlite3.connect(database)) as connection:
            assert list(connection.iterdump()) == before


def test_an_index_of_a_newer_program_is_refused(store: Store) -> None:
    with contextlib.closing(sqlite3.connect(store.folder / "soundsearch.db")) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match=r"newer soundsearch \(schema 99, this one knows \d"):
        Store.open(store.folder)


# ---- migrations


def test_words_of_an_old_index_are_found_as_before_and_made_again_by_a_writer(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "old"
    make_old(folder)
    with contextlib.closing(sqlite3.connect(folder / "soundsearch.db")) as connection:
        connection.execute("UPDATE recordings SET relative_path = ?", (b"DOORMetl_a.wav",))
        connection.commit()
    with contextlib.closing(Store.open(folder)) as old:
        with old.snapshot() as reader:
            before = reader.revision()
            assert reader.stale_words() == [1]
            assert len(reader.find_words(["library"], limit=9)) == 1
            assert reader.find_words(["metal"], limit=9) == []
        with old.writer() as writer:
            writer.renew_words()
        with old.snapshot() as reader:
            (match,) = reader.find_words(["metal"], limit=9)
            assert (match.recording_id, match.words) == (1, ("metal",))
            assert reader.stale_words() == [] and reader.revision() == before
            check_embeddings(reader)


def test_an_old_index_that_cannot_be_written_says_so() -> None:
    with open_folder() as place:
        folder = place / "index"
        make_old(folder)
        for file in folder.iterdir():
            if file.name != "soundsearch.db":
                file.unlink()
        folder.chmod(0o555)
        with ordinary_user(), pytest.raises(StoreError) as raised:
            Store.open(folder)
    for fact in (str(folder), "schema 1", f"needs {migrations.latest()}", "can be"):
        assert fact in str(raised.value)


def _add_note(connection: sa.Connection) -> None:
    connection.exec_driver_sql("ALTER TABLE recordings ADD COLUMN note TEXT")
    connection.exec_driver_sql("UPDATE recordings SET note = 'old'")


def _fail(connection: sa.Connection) -> None:
    connection.exec_driver_sql("SELECT * FROM no_such_table")


@pytest.fixture
def next_steps(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make up the steps that follow those there are."""
    return lambda *steps: monkeypatch.setattr(migrations, "STEPS", [*migrations.STEPS, *steps])


def test_an_older_index_is_brought_up_to_date_with_a_backup(
    store: Store, next_steps: Callable[..., None]
) -> None:
    put(store, ROOT, "a.wav", [(1, 0), (0, 1)])
    store.close()
    before = migrations.latest()
    next_steps(_add_note)
    database = store.folder / "soundsearch.db"

    for _ in range(2):  # the second opening finds nothing to do
        with contextlib.closing(Store.open(store.folder)) as opened, opened.snapshot() as reader:
            embeddings = reader.embeddings(reader.window_ids(), 2)
        np.testing.assert_array_equal(embeddings, np.eye(2))
        assert query(database, "PRAGMA user_version") == [(before + 1,)]
        assert query(database, "SELECT note FROM recordings") == [("old",)]

    backup = store.folder / f"soundsearch-schema{before}.db"
    assert query(backup, "PRAGMA user_version") == [(before,)]
    assert query(backup, "SELECT relative_path FROM recordings") == [(b"a.wav",)]
    assert not any("note" in sql for _, sql in tables_of(backup))


def test_a_migration_that_fails_changes_nothing(
    store: Store, next_steps: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, ROOT, "a.wav")
    store.close()
    with monkeypatch.context() as patched:
        patched.setattr(migrations, "STEPS", [*migrations.STEPS, _add_note, _fail])
        with pytest.raises(StoreError, match="no_such_table"):
            Store.open(store.folder)
    assert not any("note" in sql for _, sql in tables_of(store.folder / "soundsearch.db"))
    with contextlib.closing(Store.open(store.folder)) as opened, opened.snapshot() as reader:
        assert [r.relative_path for r in reader.recordings()] == ["a.wav"]


def test_no_migration_while_another_process_writes(
    store: Store, next_steps: Callable[..., None]
) -> None:
    next_steps(_add_note)
    with another_writer(store.folder), pytest.raises(IndexBusyError):
        Store.open(store.folder)


def test_a_new_index_needs_no_step(tmp_path: Path, next_steps: Callable[..., None]) -> None:
    next_steps(_fail)
    Store.create(tmp_path / "new", FLAT).close()
    assert query(tmp_path / "new" / "soundsearch.db", "PRAGMA user_version") == [
        (migrations.latest(),)
    ]


# ---- what was skipped, by ending


def test_counts_of_skipped_files_are_replaced_and_go_with_their_root(store: Store) -> None:
    with changing(store) as changes:
        one, two = (changes.add_root(Path(f"/lib/{name}")) for name in "ab")
        changes.put_skipped(one.id, {".jpg": 5, ".old": 1})
        changes.put_skipped(one.id, {".jpg": 3, "": 2, ".\udcff": 1})
        changes.put_skipped(two.id, {".jpg": 4})
    with store.snapshot() as reader:
        assert reader.skipped(one.id) == {".jpg": 3, "": 2, ".\udcff": 1}
        assert reader.skipped() == {".jpg": 7, "": 2, ".\udcff": 1}
        revision = reader.revision()
    with changing(store, new_revision=False) as changes:
        changes.put_skipped(one.id, {})
    with store.snapshot() as reader:
        assert reader.skipped() == {".jpg": 4}
        assert reader.revision() == revision  # the FAISS file stays as it is
    with changing(store) as changes:
        changes.absorb(two, changes.add_root(Path("/lib")), Path("b"))
    with store.snapshot() as reader:
        assert reader.skipped() == {}


# ---- how the database is opened


#: What every connection must be set to.
SETTINGS = {
    "busy_timeout": 30_000,  # ms; a writer's transaction may take seconds
    "synchronous": 1,  # NORMAL: after a power cut, nothing has to be repaired
    "foreign_keys": 1,
    "journal_mode": "wal",  # readers need no lock
}


def _settings(reader: Reader) -> dict[str, object]:
    connection = reader._connection
    return {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in SETTINGS}


def test_fresh_connections_wait_sync_and_hold_foreign_keys_as_documented(store: Store) -> None:
    with store.snapshot() as reader:
        assert _settings(reader) == SETTINGS
    store.close()
    with changing(store) as changes:
        assert _settings(changes) == SETTINGS
        with store.snapshot() as reader:  # a second connection of the same store
            assert reader._connection is not changes._connection
            assert _settings(reader) == SETTINGS


def test_a_read_only_index_is_opened_with_the_same_settings() -> None:
    with open_folder() as place:
        folder = place / "index"
        Store.create(folder, FLAT).close()
        folder.chmod(0o555)
        with (
            ordinary_user(),
            contextlib.closing(Store.open(folder)) as sealed,
            sealed.snapshot() as reader,
        ):
            found = _settings(reader)
    assert {**found, "journal_mode": "wal"} == SETTINGS


def _write(store: Store) -> None:
    put(store, ROOT, "a.wav")


def _read(store: Store) -> None:
    with store.snapshot() as reader:
        assert reader.roots() == []


@pytest.mark.parametrize("act", [_write, _read])
def test_a_database_that_is_held_for_a_moment_is_waited_for(
    store: Store, act: Callable[[Store], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.close()
    database = store.folder / "soundsearch.db"
    other = sqlite3.connect(database, isolation_level=None, check_same_thread=False)
    with contextlib.closing(other):
        other.execute("PRAGMA locking_mode = EXCLUSIVE")  # readers wait for it too
        other.execute("BEGIN IMMEDIATE")
        with monkeypatch.context() as patched:
            patched.setattr("soundsearch.store.sqlite.BUSY_TIMEOUT_MS", 1)
            with pytest.raises(StoreError, match="another process holds the database"):
                act(store)
        store.close()
        release = threading.Timer(0.2, other.close)
        release.start()
        act(store)
        release.join()
