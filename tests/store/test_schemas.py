"""An index of every earlier schema is still read, and brought up to date."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from soundsearch.health import status, verify
from soundsearch.store.schema import MIGRATIONS
from soundsearch.store.sqlite import BUSY_TIMEOUT_MS
from soundsearch.store.store import State, Store
from tests.filled_store import FLAT
from tests.ordinary_user import open_folder, ordinary_user

SCHEMA_1 = Path(__file__).parent / "schema_1.sql"


def make_old(folder: Path) -> None:
    """An index as an earlier version left it."""
    folder.mkdir()
    with contextlib.closing(sqlite3.connect(folder / "soundsearch.db")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(SCHEMA_1.read_text())


def version_of(database: Path) -> int:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def check_contents(store: Store) -> None:
    with store.snapshot() as connection:
        assert store.encoder(connection) == FLAT
        (recording,) = store.recordings(connection)
        assert (recording.relative_path, recording.state) == ("a.wav", State.INDEXED)
        assert recording.facts == (1000, 2000)
        np.testing.assert_array_equal(store.embeddings_of(connection, 1, 2), np.eye(2))
        assert store.skipped(connection) == Counter()


def test_an_index_of_schema_1_is_brought_up_to_date(tmp_path: Path) -> None:
    folder = tmp_path / "old"
    make_old(folder)
    for _ in range(2):
        with contextlib.closing(Store.open(folder)) as store:
            check_contents(store)
    assert version_of(folder / "soundsearch.db") == len(MIGRATIONS)
    assert version_of(folder / "soundsearch-schema1.db") == 1
    with contextlib.closing(Store.open(folder)) as store:
        with store.transaction() as connection:
            store.put_skipped(connection, 1, {".jpg": 3})
        assert status(store).skipped == Counter({".jpg": 3})
        assert [p.kind for p in verify(store) if p.kind in ("database", "rows")] == []


def test_an_index_of_schema_1_that_cannot_be_written_is_read_as_it_is() -> None:
    with open_folder() as place:
        folder = place / "old"
        make_old(folder)
        folder.chmod(0o555)
        with ordinary_user(), contextlib.closing(Store.open(folder)) as store:
            check_contents(store)
            assert status(store).n_indexed == 1
        assert version_of(folder / "soundsearch.db") == 1


# ---- what was skipped, by ending


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with contextlib.closing(Store.create(tmp_path / "index", FLAT)) as made:
        yield made


def test_counts_of_skipped_files_are_replaced_and_go_with_their_root(store: Store) -> None:
    with store.transaction() as connection:
        one, two = (store.add_root(connection, Path(f"/lib/{name}")) for name in "ab")
        store.put_skipped(connection, one.id, {".jpg": 5, ".old": 1})
        store.put_skipped(connection, one.id, {".jpg": 3, "": 2, ".\udcff": 1})
        store.put_skipped(connection, two.id, {".jpg": 4})
    with store.snapshot() as connection:
        assert store.skipped(connection, one.id) == {".jpg": 3, "": 2, ".\udcff": 1}
        assert store.skipped(connection) == {".jpg": 7, "": 2, ".\udcff": 1}
        revision = store.revision(connection)
    with store.transaction(new_revision=False) as connection:
        store.put_skipped(connection, one.id, {})
    with store.snapshot() as connection:
        assert store.skipped(connection) == {".jpg": 4}
        assert store.revision(connection) == revision  # the FAISS file stays as it is
    with store.transaction() as connection:
        store.absorb(connection, two, store.add_root(connection, Path("/lib")), Path("b"))
    with store.snapshot() as connection:
        assert store.skipped(connection) == {}


# ---- how the database is opened


def test_connections_wait_sync_and_hold_foreign_keys_as_documented(store: Store) -> None:
    expected = {
        "busy_timeout": 30_000,  # a writer's transaction may take seconds
        "synchronous": 1,  # NORMAL: after a power cut, nothing has to be repaired
        "journal_mode": "wal",  # readers need no lock
        "foreign_keys": 1,
    }
    assert expected["busy_timeout"] == BUSY_TIMEOUT_MS
    for opened in (store.snapshot, store.transaction):
        with opened() as connection:
            for name, value in expected.items():
                found = connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                assert found == value, f"{name} of {opened.__name__}"


def test_a_read_only_index_is_opened_with_the_same_settings() -> None:
    with open_folder() as place:
        folder = place / "index"
        Store.create(folder, FLAT).close()
        folder.chmod(0o555)
        with ordinary_user():
            sealed = Store.open(folder)
            with contextlib.closing(sealed), sealed.snapshot() as connection:
                found = {
                    name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                    for name in ("busy_timeout", "synchronous", "foreign_keys")
                }
    assert found == {"busy_timeout": 30_000, "synchronous": 1, "foreign_keys": 1}
