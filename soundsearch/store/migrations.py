"""The schema of a database: made new, or brought up to date step by step."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from sqlalchemy.engine import Connection

from soundsearch.errors import StoreError
from soundsearch.store.backend import Backend


def _add_captions(connection: Connection) -> None:
    """Captions, and of which version words are: those that are there lack the UCS categories."""
    connection.exec_driver_sql("ALTER TABLE recordings ADD COLUMN captions TEXT")
    connection.exec_driver_sql("ALTER TABLE recordings ADD COLUMN words_version INTEGER")


def _add_sound_hash(connection: Connection) -> None:
    """Samples are not known here: until a file is read again, its bytes stand for its sound."""
    connection.exec_driver_sql("ALTER TABLE recordings ADD COLUMN sound_hash BLOB")
    connection.exec_driver_sql("UPDATE recordings SET sound_hash = content_hash")
    connection.exec_driver_sql("CREATE INDEX recordings_by_sound ON recordings (sound_hash)")


def _round_embeddings(connection: Connection) -> None:
    """Embeddings are read as float16 from here on, and made so by `Writer.convert_embeddings`.

    FAISS files of earlier revisions hold them as they were, so none of those is caught up.
    """
    connection.exec_driver_sql(
        "ALTER TABLE index_info ADD COLUMN float16_from INTEGER DEFAULT 0 NOT NULL"
    )
    connection.exec_driver_sql(
        "UPDATE index_info SET float16_from = (SELECT coalesce(max(id) + 1, 0) FROM windows)"
    )
    connection.exec_driver_sql("DELETE FROM revisions")
    connection.exec_driver_sql("INSERT INTO revisions (token) VALUES (?)", (secrets.token_hex(8),))


def _add_peaks(connection: Connection) -> None:
    """The outlines of recordings that are there are made when they are first asked for."""
    connection.exec_driver_sql(
        "CREATE TABLE peaks ( recording_id INTEGER NOT NULL, per_second DOUBLE NOT NULL, "
        "extremes BLOB NOT NULL, PRIMARY KEY (recording_id), "
        "FOREIGN KEY(recording_id) REFERENCES recordings (id) ON DELETE CASCADE )"
    )


#: Step i takes a database from schema i + 1 to i + 2. A step that was released is never changed.
STEPS: list[Callable[[Connection], None]] = [
    _add_captions,
    _add_sound_hash,
    _round_embeddings,
    _add_peaks,
]


def latest() -> int:
    """The schema version that this program writes."""
    return 1 + len(STEPS)


def create(database: Backend, connection: Connection) -> None:
    """Make all tables in an empty database."""
    database.create_tables(connection)
    database.set_version(connection, latest())


def bring_up_to_date(database: Backend) -> bool:
    """Take an older database to the latest schema, after a backup.

    Returns:
        Whether there is an index in it; an empty database stays as it is.

    Raises:
        StoreError: the database is no index, or a newer program wrote it.
        IndexBusyError: it is older, and another process writes it.
    """
    with database.transaction() as connection:
        found = database.version(connection)
    if found in (0, latest()):
        return found > 0
    if found > latest():
        raise StoreError(
            f"{database.name}: written by a newer soundsearch (schema {found}, this one knows "
            f"{latest()}); upgrade soundsearch"
        )
    if database.is_sealed:
        raise StoreError(
            f"{database.name}: made by an earlier soundsearch (schema {found}, this one needs "
            f"{latest()}), and cannot be changed from here; run a command once where it can be written, "
            "as a user who may, such as: soundsearch status"
        )
    with database.lock():
        database.back_up(found)
        with database.transaction(writes=True) as connection:
            # Another process may have been faster.
            for step in STEPS[database.version(connection) - 1 :]:
                step(connection)
            database.set_version(connection, latest())
    return True
